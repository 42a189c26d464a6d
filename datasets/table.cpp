#include "datasets/table.h"

#include <algorithm>
#include <cmath>
#include <optional>
#include <span>
#include <string_view>
#include <unordered_map>
#include <utility>

#include "datasets/csv.h"
#include "datasets/insteval.h"
#include "datasets/sources.h"
#include "fewbits/error.h"
#include "io/arrays.h"

namespace fewbits::datasets {
namespace {

namespace fs = std::filesystem;

constexpr float kMostUser = 0x1p24f;  // all integers up to it are float32

[[noreturn]] void fail(const std::string& what) { throw Error(Errc::kBadArgument, what); }

class UserNumbers {
 public:
  std::uint32_t number(std::string_view name) {
    const auto [entry, is_new] = numbers_.try_emplace(std::string(name), static_cast<std::uint32_t>(names_.size()));
    if (is_new) names_.push_back(entry->first);
    return entry->second;
  }
  const std::vector<std::string>& names() const noexcept { return names_; }

 private:
  std::unordered_map<std::string, std::uint32_t> numbers_;
  std::vector<std::string> names_;
};

// One file's rows, and what must be the same in the other.
struct Part {
  Table table;
  bool classes = false;
  std::vector<std::string> columns;
};

// What the columns of a CSV file are.
struct Roles {
  std::size_t target = 0;
  bool classes = false;
  std::optional<std::size_t> user;
  std::vector<std::size_t> features;
};

Roles roles_of(const CsvReader& csv) {
  const std::size_t none = csv.columns().size();
  Roles roles;
  roles.classes = csv.find("label") != none;
  if (roles.classes == (csv.find("target") != none)) csv.fail("expected one column 'label' or 'target'");
  roles.target = csv.find(roles.classes ? "label" : "target");
  if (csv.find("user") != none) roles.user = csv.find("user");
  for (std::size_t column = 0; column < none; ++column) {
    if (column != roles.target && column != roles.user) roles.features.push_back(column);
  }
  if (roles.features.empty()) csv.fail("there is no column of features");
  return roles;
}

Part read_csv(const fs::path& path, UserNumbers& users, std::vector<SourceFile>& files) {
  const std::string text = read_source(path, files);
  CsvReader csv(path.string(), text);
  const Roles roles = roles_of(csv);
  Part part{{}, roles.classes, csv.columns()};
  part.table.features = roles.features.size();
  while (csv.next()) {
    for (const std::size_t column : roles.features) part.table.x.push_back(csv.number(column));
    part.table.y.push_back(roles.classes ? static_cast<float>(csv.integer(roles.target, kMostClasses - 1))
                                         : csv.number(roles.target));
    if (roles.user) part.table.user.push_back(users.number(csv.field(*roles.user)));
  }
  return part;
}

// An array of an .npz.
struct Array {
  const std::vector<std::size_t>* shape;
  std::span<const float> values;
  bool integers;
};

std::optional<Array> find_array(const io::Arrays& arrays, std::string_view name) {
  for (std::size_t i = 0; i < arrays.types.size(); ++i) {
    const Tensor& tensor = arrays.layout.tensors()[i];
    if (tensor.name != name) continue;
    const bool integers = std::string_view("iub").find(arrays.types[i][1]) != std::string_view::npos;
    return Array{&tensor.shape, std::span(arrays.values).subspan(arrays.layout.offset(i), tensor.elements()), integers};
  }
  return std::nullopt;
}

// Reads the arrays of one .npz.
class NpzReader {
 public:
  explicit NpzReader(const fs::path& path) : path_(path.string()), arrays_(io::read_arrays(path)) {}

  Part read(UserNumbers& users) const {
    const Array x = require("x");
    const Array y = require("y");
    if (x.shape->size() < 2 || x.values.empty()) fail_in("x", "has no rows of features: its shape is [rows, features]");
    const std::size_t rows = x.shape->front();
    Part part{{}, y.integers, {}};
    part.table.features = x.values.size() / rows;
    part.table.x = finite("x", x, part.table.features);
    check_rows("y", y, rows);
    part.table.y = finite("y", y, 1);
    if (y.integers) check_range("y", y, 0, static_cast<float>(kMostClasses - 1));
    if (const std::optional<Array> user = find_array(arrays_, "user"))
      part.table.user = user_numbers(*user, rows, users);
    return part;
  }

 private:
  [[noreturn]] void fail_in(const std::string& name, const std::string& what) const {
    fail(path_ + ": '" + name + "' " + what);
  }

  Array require(const std::string& name) const {
    const std::optional<Array> array = find_array(arrays_, name);
    if (!array) fail(path_ + ": there is no array '" + name + "'");
    return *array;
  }

  void check_rows(const std::string& name, const Array& array, std::size_t rows) const {
    if (array.shape->size() == 1 && array.values.size() == rows) return;
    fail_in(name, "has not one value for each of the " + std::to_string(rows) + " rows of 'x'");
  }

  std::vector<float> finite(const std::string& name, const Array& array, std::size_t width) const {
    const auto bad =
        std::find_if_not(array.values.begin(), array.values.end(), [](float v) { return std::isfinite(v); });
    if (bad != array.values.end()) {
      const auto at = static_cast<std::size_t>(bad - array.values.begin());
      fail_in(name, "is not finite in row " + std::to_string(at / width) + ": " + std::to_string(*bad));
    }
    return {array.values.begin(), array.values.end()};
  }

  void check_range(const std::string& name, const Array& array, float least, float most) const {
    for (std::size_t row = 0; row < array.values.size(); ++row) {
      if (array.values[row] >= least && array.values[row] <= most) continue;
      fail_in(name, "is " + std::to_string(array.values[row]) + " in row " + std::to_string(row) + ", expected " +
                        std::to_string(static_cast<long>(least)) + " to " + std::to_string(static_cast<long>(most)));
    }
  }

  std::vector<std::uint32_t> user_numbers(const Array& user, std::size_t rows, UserNumbers& users) const {
    check_rows("user", user, rows);
    if (!user.integers) fail_in("user", "is of no integer type");
    check_range("user", user, -kMostUser, kMostUser);
    std::vector<std::uint32_t> numbers;
    for (const float value : user.values) numbers.push_back(users.number(std::to_string(static_cast<long>(value))));
    return numbers;
  }

  std::string path_;
  io::Arrays arrays_;
};

Part read_npz(const fs::path& path, UserNumbers& users, std::vector<SourceFile>& files) {
  read_source(path, files);
  return NpzReader(path).read(users);
}

Part read_part(const fs::path& folder, const std::string& stem, UserNumbers& users, std::vector<SourceFile>& files) {
  const fs::path csv = folder / (stem + ".csv");
  const fs::path npz = folder / (stem + ".npz");
  if (fs::exists(csv) && fs::exists(npz))
    fail(folder.string() + " has both " + stem + ".csv and " + stem + ".npz; keep one");
  if (!fs::exists(csv) && !fs::exists(npz)) {
    fail(folder.string() + " has no " + stem + ".csv and no " + stem + ".npz; it needs a train and a test");
  }
  Part part = fs::exists(csv) ? read_csv(csv, users, files) : read_npz(npz, users, files);
  if (part.table.y.empty()) fail(files.back().path + " has no rows");
  return part;
}

void check_alike(const Part& train, const Part& test, const Tables& tables) {
  const std::string both = tables.files[0].path + " and " + tables.files[1].path;
  if (train.columns != test.columns) fail(both + " differ in their headers");
  if (train.table.features != test.table.features) fail(both + " differ in their numbers of features");
  if (train.classes != test.classes) fail(both + " differ: one has class numbers, the other real values");
  if (train.table.user.empty() != test.table.user.empty()) fail(both + " differ: only one of them has users");
}

std::size_t classes_of(const Tables& tables) {
  float largest = 0;
  for (const Table* table : {&tables.train, &tables.test}) {
    largest = std::max(largest, *std::max_element(table->y.begin(), table->y.end()));
  }
  return static_cast<std::size_t>(largest) + 1;
}

}  // namespace

Tables load_tables(const std::string& name, const fs::path& data) {
  if (name == "insteval") return load_insteval(data);
  const fs::path folder = chosen_folder(name, data);
  if (folder.empty()) {
    fail("table '" + name +
         "' is not known: choose insteval, or put train.csv and test.csv in a folder and pass --data " + "FOLDER");
  }
  Tables tables;
  tables.name = name;
  tables.folder = folder.string();
  UserNumbers users;
  Part train = read_part(folder, "train", users, tables.files);
  Part test = read_part(folder, "test", users, tables.files);
  check_alike(train, test, tables);
  tables.train = std::move(train.table);
  tables.test = std::move(test.table);
  tables.train.users = tables.test.users = users.names();
  if (train.classes) tables.classes = classes_of(tables);
  return tables;
}

}  // namespace fewbits::datasets
