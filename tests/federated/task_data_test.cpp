#include "federated/task_data.h"

#include <gtest/gtest.h>
#include <sys/resource.h>

#include <algorithm>
#include <limits>
#include <set>
#include <string>
#include <vector>

#include "datasets/text.h"
#include "federated/table.h"
#include "fewbits/federated/federated.h"
#include "tests/federated/data_folder.h"

namespace fewbits::federated {
namespace {

using Floats = std::vector<float>;
using Rows = std::vector<std::uint32_t>;

struct Example {
  Floats x, y;
  bool operator==(const Example&) const = default;
};

Example example(const Table& table, const ExampleShape& shape, std::uint32_t row) {
  Gatherer gatherer;
  const Examples one = gatherer.gather(table, shape, {&row, 1});
  return {{one.x.begin(), one.x.end()}, {one.y.begin(), one.y.end()}};
}

std::vector<Example> examples(const Table& table, const ExampleShape& shape, const Rows& rows) {
  std::vector<Example> result;
  for (const std::uint32_t row : rows) result.push_back(example(table, shape, row));
  return result;
}

class TaskFolder : public datasets::test::DataFolder {
 protected:
  DataOptions options(const std::string& model) const { return {.dataset = "own", .data = folder_.string(), .model = model}; }
  DataOptions text_options(const std::string& model, std::size_t context) const {
    DataOptions result = options(model);
    result.dataset = "text";
    result.context = context;
    return result;
  }
  // Three users; of the last one there is nothing that trains in a sequence of 4.
  void save_texts() const {
    save("a.txt", "In the beginning God created the heaven and the earth.");
    save("b.txt", "zyxwvutsrqponmlk");
    save("c.txt", "Xerxes");
  }
  static Floats floats(const std::vector<std::uint16_t>& tokens, std::size_t begin, std::size_t count) {
    return {tokens.begin() + static_cast<std::ptrdiff_t>(begin), tokens.begin() + static_cast<std::ptrdiff_t>(begin + count)};
  }
  std::string refused(const DataOptions& of) const {
    return message([&] { TaskData data(of); });
  }
};

// Each token of a user is the target of one window: what stands before it in this user's text, line ends (0) where that
// begins, and nothing of the others'.
TEST_F(TaskFolder, WindowsHaveTheTokensOfTheText) {
  save_texts();
  constexpr std::size_t kContext = 5;
  const datasets::Text text = datasets::load_text("text", folder_, datasets::Tokens::kCharacters, 0);
  const TaskData data(text_options("window", kContext));
  const Task task = data.task(1);
  EXPECT_EQ(task.shape.features, kContext);
  EXPECT_EQ(task.shape.targets, 1u);
  EXPECT_EQ(task.shape.tokens, text.vocabulary.size());
  ASSERT_EQ(task.clients.count, 3u);
  Rows tests;
  for (std::uint32_t client = 0; client < 3; ++client) {
    const auto& user = text.users[client];
    std::vector<std::uint16_t> all(kContext, 0);
    all.insert(all.end(), user.train.begin(), user.train.end());
    all.insert(all.end(), user.test.begin(), user.test.end());
    std::vector<Example> expected;
    for (std::size_t i = 0; i + kContext < all.size(); ++i) expected.push_back({floats(all, i, kContext), floats(all, i + kContext, 1)});
    const auto test_begins = expected.begin() + static_cast<std::ptrdiff_t>(user.train.size());

    EXPECT_EQ(task.clients.size(client), user.train.size());
    const Rows rows = task.clients.rows(client), held = task.held_out(client);
    EXPECT_EQ(examples(task.train, task.shape, rows), std::vector<Example>(expected.begin(), test_begins)) << client;
    EXPECT_FALSE(task.held_out_of_train);
    EXPECT_EQ(examples(task.test, task.shape, held), std::vector<Example>(test_begins, expected.end())) << client;
    tests.insert(tests.end(), held.begin(), held.end());
  }
  EXPECT_EQ(Rows(task.test_rows.begin(), task.test_rows.end()), tests);   // what is evaluated: the tests of all
}

// Whole sequences alone, side by side; targets are the features one token on, and the first feature of a test is the last
// token that trains.
TEST_F(TaskFolder, SequencesHaveTheTokensOfTheText) {
  save_texts();
  constexpr std::size_t kContext = 4;
  const datasets::Text text = datasets::load_text("text", folder_, datasets::Tokens::kCharacters, 0);
  const TaskData data(text_options("gru", kContext));
  const Task task = data.task(1);
  EXPECT_EQ(task.shape.targets, kContext);
  ASSERT_EQ(task.clients.count, 3u);
  for (std::uint32_t client = 0; client < 3; ++client) {
    const auto& user = text.users[client];
    const auto cut = [&](const std::vector<std::uint16_t>& part, std::uint16_t before) {
      std::vector<std::uint16_t> tokens{before};
      tokens.insert(tokens.end(), part.begin(), part.end());
      std::vector<Example> result;
      for (std::size_t i = 0; i + kContext < tokens.size(); i += kContext) result.push_back({floats(tokens, i, kContext), floats(tokens, i + 1, kContext)});
      return result;
    };
    const auto train = cut(user.train, 0), test = cut(user.test, user.train.empty() ? std::uint16_t{0} : user.train.back());
    EXPECT_EQ(task.clients.size(client), train.size());
    EXPECT_EQ(examples(task.train, task.shape, task.clients.rows(client)), train) << client;
    EXPECT_EQ(examples(task.test, task.shape, task.held_out(client)), test) << client;
  }
  EXPECT_EQ(task.test_rows.size(), 11u / kContext + 4u / kContext);   // of 54, 16 and 6 characters the last 11, 4 and 2
}

TEST_F(TaskFolder, ContextsHaveUsualLengths) {
  save("a.txt", std::string(2000, 'a'));
  EXPECT_EQ(TaskData(text_options("window", 0)).task(1).shape.features, 16u);
  EXPECT_EQ(TaskData(text_options("gru", 0)).task(1).shape.features, 80u);
}

void train_some(const Task& task, std::uint32_t rounds, std::size_t clients) {
  Options of;
  of.rounds = rounds;
  of.clients_per_round = clients;
  Trainer trainer(task, of, {});
  while (!trainer.done()) EXPECT_TRUE(trainer.step().has_value());
}

TEST_F(TaskFolder, TextsTrain) {
  save_texts();
  for (const char* model : {"window", "gru"}) {
    const TaskData data(text_options(model, 4));
    train_some(data.task(1), 2, 3);
  }
}

constexpr const char* kTrain = "user,a,b,label\nann,1,2,0\nbob,3,4,1\nann,5,6,2\nann,7,8,0\nbob,9,10,1\nann,11,12,2\n";

TEST_F(TaskFolder, UsersOfATableAreItsClients) {
  save("train.csv", kTrain);
  save("test.csv", "user,a,b,label\nbob,13,14,1\nann,15,16,0\nbob,17,18,2\n");
  const TaskData data(options("softmax"));
  EXPECT_EQ(data.partition(), "natural");
  const Task task = data.task(1);
  ASSERT_EQ(task.clients.count, 2u);
  EXPECT_EQ(task.clients.rows(0), (Rows{0, 2, 3, 5}));
  EXPECT_EQ(task.clients.rows(1), (Rows{1, 4}));
  EXPECT_EQ(task.held_out(0), (Rows{1}));
  EXPECT_EQ(task.held_out(1), (Rows{0, 2}));
  EXPECT_FALSE(task.held_out_of_train);
  EXPECT_TRUE(task.test_rows.empty());   // all
  EXPECT_EQ(example(task.train, task.shape, 4), (Example{{9, 10}, {1}}));
  EXPECT_EQ(example(task.test, task.shape, 2), (Example{{17, 18}, {2}}));
  EXPECT_EQ(task.shape.classes, 3u);
  train_some(task, 2, 2);
}

TEST_F(TaskFolder, ATableWithoutUsersIsDealt) {
  std::string train = "a,b,label\n", test = train;
  for (int i = 0; i < 60; ++i) train += std::to_string(i) + ",1," + std::to_string(i % 3) + "\n";
  save("train.csv", train);
  save("test.csv", test + "1,2,0\n");
  DataOptions of = options("softmax");
  of.clients = 4;
  of.partition = "iid";
  const TaskData data(of);
  const Task task = data.task(1), again = data.task(1), other = data.task(2);
  EXPECT_EQ(task.held_out, nullptr);
  EXPECT_EQ(task.clients.count, 4u);
  std::multiset<std::uint32_t> all;
  for (std::uint32_t client = 0; client < 4; ++client) {
    const Rows rows = task.clients.rows(client);
    EXPECT_EQ(rows.size(), task.clients.size(client));
    EXPECT_EQ(rows, again.clients.rows(client));
    EXPECT_NE(rows, other.clients.rows(client));
    all.insert(rows.begin(), rows.end());
  }
  EXPECT_EQ(all.size(), 60u);
  EXPECT_EQ(std::set<std::uint32_t>(all.begin(), all.end()).size(), 60u);

  // Of each client the last rows, rounded down; what is held out does not train.
  of.held_out = 0.3;
  const TaskData holding(of);
  const Task split = holding.task(1);
  EXPECT_TRUE(split.held_out_of_train);
  for (std::uint32_t client = 0; client < 4; ++client) {
    Rows rows = split.clients.rows(client);
    const Rows held = split.held_out(client), whole = task.clients.rows(client);
    EXPECT_EQ(held.size(), whole.size() * 3 / 10);
    EXPECT_EQ(split.clients.size(client), whole.size() - held.size());
    rows.insert(rows.end(), held.begin(), held.end());
    EXPECT_EQ(rows, whole);
  }
}

// Which have no classes to be uneven in.
TEST_F(TaskFolder, RealTargetsAreDealtAsOneClass) {
  std::string rows = "a,target\n";
  for (int i = 0; i < 60; ++i) rows += std::to_string(i) + "," + std::to_string(i - 30) + ".5\n";
  save("train.csv", rows);
  save("test.csv", rows);
  for (const char* partition : {"auto", "iid", "dirichlet-client:alpha=1", "drawn:size=15"}) {
    DataOptions of = options("linear");
    of.clients = 4;
    of.partition = partition;
    const TaskData data(of);
    const Task task = data.task(1);
    std::size_t size = 0;
    for (std::uint32_t client = 0; client < 4; ++client) size += task.clients.size(client);
    EXPECT_EQ(size, 60u) << partition;
    EXPECT_FALSE(data.describe(1).empty());
  }
}

TEST_F(TaskFolder, InputVectorsWidenTheModelAndNotTheData) {
  save("train.csv", kTrain);
  save("test.csv", kTrain);
  DataOptions of = options("softmax");
  of.personal = 3;
  const TaskData data(of);
  const Task task = data.task(1);
  EXPECT_EQ(task.personal, 3u);
  EXPECT_EQ(task.shape.features, 2u);
  EXPECT_EQ(task.model()->layout().elements(), (2u + 3 + 1) * 3);
  train_some(task, 2, 2);
}

// Models that look at public examples are shown the first of the test, as they are, with input vectors at zero.
TEST_F(TaskFolder, TheSampleIsOfTestExamples) {
  std::string rows = "a,b,label\n";
  for (int i = 0; i < 40; ++i) rows += std::to_string(i) + "," + std::to_string(100 + i) + ",0\n";
  save("train.csv", rows);
  save("test.csv", rows);
  DataOptions of = options("kmeans:clusters=3");
  of.clients = 2;
  of.partition = "iid";
  const TaskData data(of);
  const std::unique_ptr<Model> model = data.task(1).model();
  Floats centres(model->layout().elements());
  model->initialize(1, centres);
  ASSERT_EQ(centres.size() % 3, 0u);
  // A centre is an example: 100 apart.
  for (std::size_t i = 0; i < 3; ++i) EXPECT_EQ(centres[2 * i + 1] - centres[2 * i], 100) << i;
}

// Clients that draw their rows.
TEST_F(TaskFolder, DrawnClientsHaveTheSameRowsEachTime) {
  save("train.csv", kTrain);
  save("test.csv", kTrain);
  DataOptions of = options("softmax");
  of.clients = 1000;
  for (const char* partition : {"drawn:size=7", "drawn:size=7,alpha=0.5"}) {
    of.partition = partition;
    const TaskData data(of);
    const Task task = data.task(1), again = data.task(1), other = data.task(2);
    EXPECT_EQ(task.clients.count, 1000u);
    std::set<Rows> different;
    std::size_t same_with_another_seed = 0;
    for (std::uint32_t client = 0; client < 1000; ++client) {
      const Rows rows = task.clients.rows(client);
      EXPECT_EQ(rows.size(), 7u);
      EXPECT_EQ(task.clients.size(client), 7u);
      EXPECT_TRUE(std::ranges::all_of(rows, [](std::uint32_t row) { return row < 6; }));
      EXPECT_EQ(rows, again.clients.rows(client));
      same_with_another_seed += rows == other.clients.rows(client);
      different.insert(rows);
    }
    EXPECT_GT(different.size(), 300u) << partition;
    EXPECT_LT(same_with_another_seed, 200u);
  }
}

double most_memory() {   // MiB
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return static_cast<double>(usage.ru_maxrss) / 1024;
}

TEST_F(TaskFolder, AMillionClientsTakeNoMemory) {
  save("train.csv", kTrain);
  save("test.csv", kTrain);
  DataOptions of = options("softmax");
  of.clients = 1'000'000;
  of.partition = "drawn:size=100,alpha=1";   // listed, 400 MB of rows
  const double before = most_memory();
  const TaskData data(of);
  train_some(data.task(1), 3, 50);
  EXPECT_LT(most_memory() - before, 300);
  EXPECT_NE(data.describe(1).find("1000000 clients, drawn:size=100,alpha=1"), std::string::npos);
}

TEST_F(TaskFolder, WhatIsWrongBeforeDataIsReadIsSaidFirst) {
  const auto says = [&](auto change, const char* words) {
    DataOptions of = options("softmax");
    TaskData::check(of);
    change(of);
    const std::string said = message([&] { TaskData::check(of); });
    EXPECT_SAYS(said, words);
    EXPECT_EQ(refused(of), said);   // though there is no data
  };
  says([](DataOptions& of) { of.model = "rnn"; }, "choose one of");
  says([](DataOptions& of) { of.tokens = "letters"; }, "tokens is 'letters', expected characters or words");
  says([](DataOptions& of) { of.context = 4097; }, "context is 4097, expected at most 4096");
  says([](DataOptions& of) { of.personal = 4097; }, "personal is 4097, expected at most 4096");
  for (const double share : {-0.1, 1.0, std::numeric_limits<double>::quiet_NaN()})
    says([&](DataOptions& of) { of.held_out = share; }, "held-out must be at least 0 and less than 1");
  const std::pair<const char*, const char*> partitions[] = {{"dirichelt:alpha=1", "choose one of"}, {"drawn", "size"}, {"drawn:size=0", "size"},
                                                           {"drawn:size=5,alpha=-1", "alpha"}, {"drawn:size=5,beta=1", "beta"}};
  for (const auto& wrong : partitions) says([&](DataOptions& of) { of.partition = wrong.first; }, wrong.second);
}

TEST_F(TaskFolder, WhatDoesNotFitTheDataIsRefused) {
  save("train.csv", "a,b,label\n1,2,0\n3,4,1\n");
  save("test.csv", "a,b,label\n1,2,0\n");
  DataOptions of = options("softmax");
  of.clients = 2;
  for (const char* model : {"window", "gru"}) {
    of.model = model;
    EXPECT_SAYS(refused(of), "reads texts, and own is none");
  }
  of.model = "softmax";
  of.partition = "natural";
  EXPECT_SAYS(refused(of), "partition natural: own does not say whose its examples are");
  of.partition = "drawn:size=5";
  of.held_out = 0.2;
  const TaskData shared(of);
  EXPECT_SAYS(message([&] { shared.task(1); }), "held-out: clients of a drawn partition share their examples");

  save("train.csv", "a,target\n1,0.5\n2,1.5\n");   // real values have no classes
  save("test.csv", "a,target\n1,0.5\n");
  of = options("linear");
  of.partition = "drawn:size=5,alpha=1";
  const TaskData real(of);
  EXPECT_SAYS(message([&] { real.task(1); }), "alpha is for data with classes");

  save("train.csv", "");
  std::filesystem::remove(folder_ / "train.csv");
  save("a.txt", "some text");
  of = text_options("softmax", 4);
  EXPECT_SAYS(refused(of), "reads no text; choose window or gru");
  of.model = "window";
  of.partition = "iid";
  EXPECT_SAYS(refused(of), "texts belong to their authors");
  of.partition = "auto";
  of.personal = 2;
  EXPECT_SAYS(refused(of), "an input vector goes with models of values, not of tokens");
}

}  // namespace
}  // namespace fewbits::federated
