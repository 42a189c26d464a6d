#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "datasets/dataset.h"

namespace fewbits::datasets {

struct Table {
  std::vector<float> x;             // shape [rows, features], row-major; finite
  std::vector<float> y;             // shape [rows]; finite
  std::vector<std::uint32_t> user;  // shape [rows], numbers of `users`; empty where the rows are nobody's
  std::vector<std::string> users;   // the same in train and test; one may have no rows in either
  std::size_t features = 0;
  std::size_t rows() const noexcept { return y.size(); }
};

struct Tables {
  std::string name;
  std::string folder;
  std::vector<SourceFile> files;
  Table train;
  Table test;
  std::size_t classes = 0;  // over 0: y are class numbers below it; 0: real values
  std::size_t columns = 0;  // over 0: the features are numbers below it, those of the one-hot columns that are 1
  double target_mean = 0;   // was subtracted from the real values
};

inline constexpr std::size_t kMostClasses = 65536;

// Rows with a target, from the folder `data`; where that is empty, from $FEWBITS_DATA/NAME.
//
// "insteval"       InstEval of R's lme4, ratings of lecturers by students, who are the users: insteval.csv, as
//                  convert_r.py writes it. Each row has 5 one-hot columns: lecturer, studage, lectage, service, dept.
//                  The target is the rating less the mean of those that train. The last 20 % of each student's rows,
//                  rounded down, are the test. Also looked for in build/data/insteval, where `make insteval` puts it;
//                  verified unless `data` names the folder.
// any other name   train.csv and test.csv, with the same header: a column `label` (class numbers from 0) or `target`
//                  (real values), `user` if there are users (any text), all others features. Or train.npz and
//                  test.npz: arrays x (shape [rows, ...]), y (shape [rows]; class numbers when of an integer type),
//                  `user` if there are users (integers up to 2^24).
//
// Users are numbered in the order in which they occur, those of train first; students by their numbers. Throws
// kBadArgument, with file and line, for NaN, infinity, rows of different lengths and what is no number; when nothing is
// found; when a file has no rows or train and test differ in features or in what a target is.
Tables load_tables(const std::string& name, const std::filesystem::path& data = {});

}  // namespace fewbits::datasets
