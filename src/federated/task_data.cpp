#include "federated/task_data.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <memory>
#include <numeric>
#include <utility>

#include "datasets/drawn.h"
#include "datasets/partition.h"
#include "datasets/sources.h"
#include "datasets/spec.h"
#include "datasets/table.h"
#include "datasets/text.h"
#include "fewbits/error.h"

namespace fewbits::federated {
namespace {

namespace fs = std::filesystem;

constexpr const char* kNatural = "natural";
constexpr const char* kUsualPartition = "dirichlet-client:alpha=3";
constexpr std::size_t kWindow = 16;
constexpr std::size_t kSequence = 80;
constexpr std::size_t kMostContext = 4096;
constexpr std::size_t kMostPersonal = 4096;
constexpr std::size_t kSampleRows = 1000;

[[noreturn]] void fail(const std::string& what) { throw Error(Errc::kBadArgument, what); }

enum class Kind { kImages, kTable, kText };

// By the name where it is known, else by the files of the folder.
Kind kind_of(const DataOptions& options) {
  const std::string name = datasets::Spec("dataset", options.dataset).name();
  if (name == "kjv" || name == "fortunes" || name == "text") return Kind::kText;
  if (name == "insteval") return Kind::kTable;
  const fs::path folder = options.data.empty() ? datasets::chosen_folder(name, {}) : fs::path(options.data);
  std::error_code error;
  if (fs::exists(folder / "train.csv", error) || fs::exists(folder / "train.npz", error)) return Kind::kTable;
  for (fs::directory_iterator entry(folder, error), end; !error && entry != end; entry.increment(error))
    if (entry->path().extension() == ".txt") return Kind::kText;
  return Kind::kImages;
}

// That of the folder; no colon, which would begin options.
std::string own_name(const fs::path& folder) {
  std::string name = fs::weakly_canonical(folder).filename().string();
  std::erase(name, ':');
  return name.empty() ? "own" : name;
}

datasets::Tokens tokens_of(const std::string& name) {
  if (name == "words") return datasets::Tokens::kWords;
  if (name != "characters") fail("tokens is '" + name + "', expected characters or words");
  return datasets::Tokens::kCharacters;
}

std::vector<std::uint32_t> numbers(std::size_t begin, std::size_t count, std::size_t step) {
  std::vector<std::uint32_t> list(count);
  for (std::size_t i = 0; i < count; ++i) list[i] = static_cast<std::uint32_t>(begin + i * step);
  return list;
}

std::vector<std::vector<std::uint32_t>> rows_by_user(const datasets::Table& table) {
  std::vector<std::vector<std::uint32_t>> rows(table.users.size());
  for (std::size_t row = 0; row < table.user.size(); ++row) rows[table.user[row]].push_back(static_cast<std::uint32_t>(row));
  return rows;
}

// Takes the last share of each client's rows from it.
std::vector<std::vector<std::uint32_t>> hold_out(std::vector<std::vector<std::uint32_t>>& rows, double share) {
  std::vector<std::vector<std::uint32_t>> held(rows.size());
  for (std::size_t client = 0; client < rows.size(); ++client) {
    const auto keep = rows[client].size() - static_cast<std::size_t>(std::floor(share * static_cast<double>(rows[client].size())));
    held[client].assign(rows[client].begin() + static_cast<std::ptrdiff_t>(keep), rows[client].end());
    rows[client].resize(keep);
  }
  return held;
}

}  // namespace

void TaskData::check(const DataOptions& options) {
  check_model(options.model);
  tokens_of(options.tokens);
  if (options.context > kMostContext) fail("context is " + std::to_string(options.context) + ", expected at most " + std::to_string(kMostContext));
  if (options.personal > kMostPersonal) fail("personal is " + std::to_string(options.personal) + ", expected at most " + std::to_string(kMostPersonal));
  if (!(options.held_out >= 0 && options.held_out < 1)) fail("held-out must be at least 0 and less than 1");
  if (options.partition == "auto" || options.partition == kNatural) return;
  if (datasets::is_drawn(options.partition)) {
    const float label = 0;
    datasets::DrawnClients(options.partition, {&label, 1}, 1, 0);
  } else {
    datasets::check_partition(options.partition);
  }
}

TaskData::TaskData(const DataOptions& options) : options_(options) {
  check(options);
  // A folder of one's own is not called by the name of a set that it is not.
  if (fs::is_directory(options.data) && options.dataset == DataOptions().dataset) options_.dataset = own_name(options.data);
  const Reading reading = reading_of(options.model);
  const Kind kind = kind_of(options_);
  if ((reading != Reading::kNone) != (kind == Kind::kText)) {
    fail(kind == Kind::kText ? "model '" + options.model + "' reads no text; choose window or gru for " + options.dataset
                             : "model '" + options.model + "' reads texts, and " + options.dataset + " is none; try --dataset kjv");
  }
  if (kind == Kind::kImages) load_images();
  if (kind == Kind::kTable) load_table();
  if (kind == Kind::kText) load_text(reading);
  if (options.partition == kNatural && users_.empty()) fail("partition natural: " + name_ + " does not say whose its examples are");
  partition_ = options.partition != "auto" ? options.partition : users_.empty() ? kUsualPartition : kNatural;
  if (is_text_ && partition_ != kNatural) fail("partition '" + partition_ + "': texts belong to their authors; leave it out");
  ExampleShape shape = shape_;
  shape.features += options.personal;
  if (options.personal > 0 && options.model.starts_with("cnn")) fail("personal: an input vector is no part of an image; choose mlp or softmax");
  if (options.personal > 0 && shape.tokens > 0) fail("personal: an input vector goes with models of values, not of tokens");
  shape.sample = std::span(test_x_).first(std::min(test_x_.size() / shape.features, kSampleRows) * shape.features);
  model_ = model_factory(options.model, shape);
}

void TaskData::load_images() {
  datasets::Dataset images = datasets::load_images(options_.dataset, options_.data);
  name_ = images.name;
  folder_ = images.folder;
  files_ = images.files;
  shape_ = {.features = images.features, .classes = images.classes};
  train_x_ = std::move(images.train.x);
  train_y_ = std::move(images.train.y);
  test_x_ = std::move(images.test.x);
  test_y_ = std::move(images.test.y);
}

void TaskData::load_table() {
  datasets::Tables tables = datasets::load_tables(options_.dataset, options_.data);
  name_ = tables.name;
  folder_ = tables.folder;
  files_ = tables.files;
  shape_ = {.features = tables.train.features, .classes = tables.classes, .tokens = tables.columns};
  users_ = rows_by_user(tables.train);
  user_tests_ = rows_by_user(tables.test);
  train_x_ = std::move(tables.train.x);
  train_y_ = std::move(tables.train.y);
  test_x_ = std::move(tables.test.x);
  test_y_ = std::move(tables.test.y);
}

// All texts one after the other, each behind line ends for the windows of its first tokens: row r is what begins at token r.
void TaskData::load_text(Reading reading) {
  const bool windows = reading == Reading::kWindows;
  const std::size_t context = options_.context != 0 ? options_.context : windows ? kWindow : kSequence;
  const datasets::Text text = datasets::load_text(options_.dataset, options_.data, tokens_of(options_.tokens), options_.words);
  name_ = text.name;
  folder_ = text.folder;
  files_ = text.files;
  is_text_ = true;
  shape_ = {.features = context, .targets = windows ? 1 : context, .classes = text.vocabulary.size(), .tokens = text.vocabulary.size()};
  const std::size_t before = windows ? context : 1, step = windows ? 1 : context;
  for (const datasets::Text::User& user : text.users) {
    const std::size_t begin = train_x_.size();
    train_x_.resize(begin + before, 0.0f);
    train_x_.insert(train_x_.end(), user.train.begin(), user.train.end());
    train_x_.insert(train_x_.end(), user.test.begin(), user.test.end());
    users_.push_back(numbers(begin, user.train.size() / step, step));
    user_tests_.push_back(numbers(begin + user.train.size(), user.test.size() / step, step));
    test_rows_.insert(test_rows_.end(), user_tests_.back().begin(), user_tests_.back().end());
  }
}

// Real values are all of one class.
TaskData::Labels TaskData::labels() const {
  if (shape_.classes == 0) return {std::vector<float>(train_y_.size()), 1};
  return {train_y_, shape_.classes};
}

TaskData::RowsOfEach TaskData::deal(std::uint64_t seed) const {
  if (partition_ == kNatural) return users_;
  const Labels labels_of_rows = labels();
  return datasets::make_partition(partition_, labels_of_rows.of_each, labels_of_rows.classes, options_.clients, seed);
}

Task TaskData::task(std::uint64_t seed) const {
  Task task{.model = model_, .shape = shape_, .train = {train_x_, train_y_}, .test = {test_x_, test_y_},
            .test_rows = test_rows_, .personal = options_.personal};
  if (is_text_) {
    const std::size_t targets_begin = shape_.features - shape_.targets + 1;
    const std::span<const float> tokens(train_x_);
    task.train = {.x = tokens.first(tokens.size() - 1), .y = tokens.subspan(targets_begin), .x_step = 1, .y_step = 1};
    task.test = task.train;
  }
  if (datasets::is_drawn(partition_)) {
    const auto drawn = std::make_shared<const datasets::DrawnClients>(partition_, train_y_, shape_.classes, seed);
    task.clients = {.count = options_.clients,
                    .size = [drawn](std::uint32_t) { return drawn->size(); },
                    .rows = [drawn](std::uint32_t client) { return drawn->rows(client); }};
    if (options_.held_out > 0) fail("held-out: clients of a drawn partition share their examples; choose another partition");
    return task;
  }
  RowsOfEach rows = deal(seed);
  RowsOfEach held;
  if (partition_ == kNatural && !user_tests_.empty()) {
    held = user_tests_;
    task.held_out_of_train = false;
  } else if (options_.held_out > 0) {
    held = hold_out(rows, options_.held_out);
  }
  task.clients = listed_clients(std::move(rows));
  if (!held.empty()) task.held_out = listed_clients(std::move(held)).rows;
  return task;
}

std::string TaskData::describe(std::uint64_t seed) const {
  const std::string source = name_ + " from " + folder_ + "; ";
  if (datasets::is_drawn(partition_)) return source + std::to_string(options_.clients) + " clients, " + partition_;
  if (partition_ != kNatural) {
    const Labels labels_of_rows = labels();
    return source + datasets::describe_partition(partition_, deal(seed), labels_of_rows.of_each, labels_of_rows.classes);
  }
  std::vector<std::size_t> sizes;
  for (const auto& rows : users_) sizes.push_back(rows.size());
  std::ranges::sort(sizes);
  return source + std::to_string(sizes.size()) + " users, " + std::to_string(sizes.front()) + " to " + std::to_string(sizes.back()) +
         " examples, median " + std::to_string(sizes[sizes.size() / 2]);
}

}  // namespace fewbits::federated
