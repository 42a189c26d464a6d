#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "datasets/dataset.h"
#include "fewbits/federated/task.h"

namespace fewbits::federated {

// What data a training is about, and how it is dealt to clients.
struct DataOptions {
  std::string dataset = "fashion-mnist";
  std::string data;                       // folder to read instead of the usual places
  std::string model = "mlp";
  std::string partition = "auto";         // natural for data that has users, else dirichlet-client:alpha=3
  std::size_t clients = 100;              // of other partitions than natural
  std::string tokens = "characters";      // of texts: or words
  std::size_t words = 4000;               // that have a number of their own
  std::size_t context = 0;                // tokens of an example; 0: windows of 16, sequences of 80
  double held_out = 0;                    // share of a client's examples on which its own model is tested; texts and tables
                                          // with users have their tests for that
  std::size_t personal = 0;               // values of each client's input vector
};

// Data that tasks are made of: images, a table, or a text, as their name or the files in their folder say.
class TaskData {
 public:
  // All that can be wrong with the options before data is read. Throws kBadArgument.
  static void check(const DataOptions& options);

  // Throws Error for data that is not found or damaged, and for a model that it is not for.
  explicit TaskData(const DataOptions& options);

  // Clients as they are dealt with this seed. Throws kBadArgument for a partition that cannot be made. The data must
  // outlive the task.
  Task task(std::uint64_t seed) const;

  const std::string& name() const noexcept { return name_; }
  const std::string& folder() const noexcept { return folder_; }
  const std::vector<datasets::SourceFile>& files() const noexcept { return files_; }
  const std::string& partition() const noexcept { return partition_; }   // not auto

  // One line for people: the data, and how it is dealt.
  std::string describe(std::uint64_t seed) const;

 private:
  using RowsOfEach = std::vector<std::vector<std::uint32_t>>;

  void load_images();
  void load_table();
  void load_text(Reading reading);
  struct Labels {
    std::vector<float> of_each;
    std::size_t classes;
  };
  Labels labels() const;
  RowsOfEach deal(std::uint64_t seed) const;

  DataOptions options_;
  std::string name_;
  std::string folder_;
  std::vector<datasets::SourceFile> files_;
  std::string partition_;
  ExampleShape shape_;
  ModelFactory model_;
  std::vector<float> train_x_, train_y_, test_x_, test_y_;
  bool is_text_ = false;                    // one vector of tokens, of which all tables are windows
  RowsOfEach users_;                        // rows of `train` of each user; none where rows are nobody's
  RowsOfEach user_tests_;                   // and of `test`
  std::vector<std::uint32_t> test_rows_;    // of a text
};

}  // namespace fewbits::federated
