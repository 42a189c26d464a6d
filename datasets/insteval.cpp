#include "datasets/insteval.h"

#include <algorithm>
#include <array>
#include <string_view>

#include "datasets/csv.h"
#include "datasets/sources.h"
#include "fewbits/error.h"

namespace fewbits::datasets {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kFile = "insteval.csv";
constexpr std::string_view kSha256 = "78dbe99f11bc6b9108f2785823cf2ae86aad35314f2f8a0ae3041873782399c7";
constexpr std::string_view kBuilt = "build/data/insteval";
constexpr std::array<std::string_view, 5> kFeatures = {"d", "studage", "lectage", "service", "dept"};
constexpr std::size_t kMostLevel = 1'000'000;

struct Rows {
  std::vector<std::size_t> student;
  std::array<std::vector<std::size_t>, kFeatures.size()> levels;
  std::vector<float> rating;
};

fs::path find_folder(const fs::path& data) {
  fs::path folder = chosen_folder("insteval", data);
  if (folder.empty()) folder = kBuilt;
  if (fs::is_regular_file(folder / kFile)) return folder;
  throw Error(Errc::kBadArgument,
              "InstEval not found: no " + (folder / kFile).string() +
                  ". On Debian 12: make insteval writes build/data/insteval/insteval.csv. Elsewhere: "
                  "write it with datasets/convert_r.py from R's package lme4, and pass --data FOLDER");
}

Rows read_rows(const std::string& path, std::string_view text) {
  CsvReader csv(path, text);
  const std::size_t student = csv.require("s");
  const std::size_t rating = csv.require("y");
  std::array<std::size_t, kFeatures.size()> columns;
  std::transform(kFeatures.begin(), kFeatures.end(), columns.begin(),
                 [&](std::string_view name) { return csv.require(name); });
  Rows rows;
  while (csv.next()) {
    rows.student.push_back(csv.integer(student, kMostLevel));
    for (std::size_t i = 0; i < columns.size(); ++i) rows.levels[i].push_back(csv.integer(columns[i], kMostLevel));
    rows.rating.push_back(csv.number(rating));
  }
  return rows;
}

// Replaces each value by its rank among the different ones, and returns those.
std::vector<std::size_t> number_levels(std::vector<std::size_t>& values) {
  std::vector<std::size_t> levels = values;
  std::sort(levels.begin(), levels.end());
  levels.erase(std::unique(levels.begin(), levels.end()), levels.end());
  for (std::size_t& value : values) {
    value = static_cast<std::size_t>(std::lower_bound(levels.begin(), levels.end(), value) - levels.begin());
  }
  return levels;
}

// Rows of each student that train: all but the last fifth.
std::vector<std::size_t> train_rows(const std::vector<std::size_t>& student, std::size_t students) {
  std::vector<std::size_t> rows(students);
  for (const std::size_t s : student) ++rows[s];
  for (std::size_t& n : rows) n -= n / 5;
  return rows;
}

void append(const Rows& rows, std::size_t row, const std::array<std::size_t, kFeatures.size()>& offsets, Table& table) {
  for (std::size_t i = 0; i < offsets.size(); ++i) {
    table.x.push_back(static_cast<float>(offsets[i] + rows.levels[i][row]));
  }
  table.y.push_back(rows.rating[row]);
  table.user.push_back(static_cast<std::uint32_t>(rows.student[row]));
}

void subtract_mean(Tables& tables) {
  for (const float rating : tables.train.y) tables.target_mean += static_cast<double>(rating);
  tables.target_mean /= static_cast<double>(tables.train.rows());
  for (Table* table : {&tables.train, &tables.test}) {
    for (float& rating : table->y) rating = static_cast<float>(static_cast<double>(rating) - tables.target_mean);
  }
}

}  // namespace

Tables load_insteval(const fs::path& data) {
  const fs::path folder = find_folder(data);
  Tables tables;
  tables.name = "insteval";
  tables.folder = folder.string();
  const std::string text = read_source(folder / kFile, tables.files);
  if (data.empty()) check_source(tables.files.front(), kSha256, "InstEval");

  Rows rows = read_rows(tables.files.front().path, text);
  if (rows.rating.empty()) throw Error(Errc::kBadArgument, tables.files.front().path + " has no rows");
  const std::vector<std::size_t> students = number_levels(rows.student);
  std::array<std::size_t, kFeatures.size()> offsets;
  for (std::size_t i = 0; i < offsets.size(); ++i) {
    offsets[i] = tables.columns;
    tables.columns += number_levels(rows.levels[i]).size();
  }
  std::vector<std::size_t> left = train_rows(rows.student, students.size());
  for (std::size_t row = 0; row < rows.rating.size(); ++row) {
    std::size_t& train = left[rows.student[row]];
    append(rows, row, offsets, train > 0 ? tables.train : tables.test);
    if (train > 0) --train;
  }
  for (Table* table : {&tables.train, &tables.test}) {
    table->features = kFeatures.size();
    for (const std::size_t student : students) table->users.push_back(std::to_string(student));
  }
  subtract_mean(tables);
  return tables;
}

}  // namespace fewbits::datasets
