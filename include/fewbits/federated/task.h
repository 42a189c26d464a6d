#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "fewbits/export.h"
#include "fewbits/federated/model.h"

namespace fewbits::federated {

// Rows cut out of two long vectors: row r has the features x[r · x_step, ...) and the targets y[r · y_step, ...). Steps of
// 0 stand for rows side by side; shorter ones make overlapping windows, as those of a text.
struct Table {
  std::span<const float> x;
  std::span<const float> y;
  std::size_t x_step = 0;
  std::size_t y_step = 0;
};

// Who takes part. Both functions give the same for the same client each time, from several threads at once; they may draw
// their answer, so that a million clients need no memory.
struct Clients {
  std::size_t count = 0;
  std::function<std::size_t(std::uint32_t client)> size;                     // how many examples it has; may be none
  std::function<std::vector<std::uint32_t>(std::uint32_t client)> rows;      // of Task::train
};
FEWBITS_API Clients listed_clients(std::vector<std::vector<std::uint32_t>> rows_of_each);

// What is learned, by whom. The spans must outlive every trainer of the task.
struct Task {
  ModelFactory model;
  ExampleShape shape;
  Table train;
  Table test;
  std::span<const std::uint32_t> test_rows = {};   // of `test`, that are evaluated; empty: all
  Clients clients = {};
  std::span<const float> start = {};   // the parameters to begin with; empty: those of Model::initialize

  // Each client's own input vector, so many values behind the features of its examples, for a model made with that many
  // features more. It starts at 0, the client trains it with the model and keeps it.
  std::size_t personal = 0;

  // Examples on which a client's own model is tested, none where no models are personalized: rows of `train`, which are
  // then not among those it trains on, or of `test`.
  std::function<std::vector<std::uint32_t>(std::uint32_t client)> held_out = {};
  bool held_out_of_train = true;
};

}  // namespace fewbits::federated
