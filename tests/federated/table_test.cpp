#include "datasets/table.h"

#include <gtest/gtest.h>
#include <zip.h>

#include <cmath>
#include <cstdlib>
#include <string>
#include <utility>
#include <vector>

#include "tests/federated/data_folder.h"
#include "tests/io/files.h"

namespace fewbits::datasets {
namespace {

namespace fs = std::filesystem;
using Floats = std::vector<float>;
using Numbers = std::vector<std::uint32_t>;
using Strings = std::vector<std::string>;
using io::test::data_of;
using io::test::npy;

class TableFolder : public test::DataFolder {
 protected:
  Tables load() const { return load_tables("own", folder_); }
  std::string refusal() const {
    return message([&] { load(); });
  }
  std::string refusal_of(const std::string& train) const {
    save("train.csv", train);
    return refusal();
  }
  void save_npz(const std::string& name, const std::vector<std::pair<std::string, std::string>>& arrays) const {
    zip_t* archive = zip_open((folder_ / name).c_str(), ZIP_CREATE | ZIP_TRUNCATE, nullptr);
    for (const auto& [member, bytes] : arrays) {
      zip_file_add(archive, member.c_str(), zip_source_buffer(archive, bytes.data(), bytes.size(), 0), 0);
    }
    zip_close(archive);
  }
};

TEST_F(TableFolder, LabelsAreClassesAndAllOtherColumnsFeatures) {
  save("train.csv", "a,label,b\n1,0,-2.5\n3e2,2,.5\n");
  save("test.csv", "\xEF\xBB\xBF\"a\", label ,b\r\n \"7\" ,5,8\r\n");
  const Tables tables = load();
  EXPECT_EQ(tables.name, "own");
  EXPECT_EQ(tables.train.features, 2u);
  EXPECT_EQ(tables.train.x, (Floats{1, -2.5f, 300, 0.5f}));
  EXPECT_EQ(tables.train.y, (Floats{0, 2}));
  EXPECT_EQ(tables.test.x, (Floats{7, 8}));
  EXPECT_EQ(tables.classes, 6u);
  EXPECT_EQ(tables.columns, 0u);
  EXPECT_EQ(tables.target_mean, 0.0);
  EXPECT_TRUE(tables.train.user.empty());
  EXPECT_TRUE(tables.train.users.empty());
  ASSERT_EQ(tables.files.size(), 2u);
  EXPECT_EQ(tables.files[1].path, (folder_ / "test.csv").string());
}

TEST_F(TableFolder, TargetsAreRealAndUsersHaveTheSameNumbersInBothFiles) {
  save("train.csv", "user,x,target\n\"Roe, Jane\",1,0.25\nbob,2,-1\n\"Roe, Jane\",3,4\n");
  save("test.csv", "user,x,target\nbob,4,1\neve,5,2");
  const Tables tables = load();
  EXPECT_EQ(tables.classes, 0u);
  EXPECT_EQ(tables.train.features, 1u);
  EXPECT_EQ(tables.train.y, (Floats{0.25f, -1, 4}));
  EXPECT_EQ(tables.train.user, (Numbers{0, 1, 0}));
  EXPECT_EQ(tables.test.user, (Numbers{1, 2}));
  EXPECT_EQ(tables.train.users, (Strings{"Roe, Jane", "bob", "eve"}));
  EXPECT_EQ(tables.test.users, tables.train.users);
}

TEST_F(TableFolder, RefusalsNameFileAndLine) {
  save("test.csv", "x,label\n1,0\n");
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"", ":1: is empty"},
      {"x,label\n", "has no rows"},
      {"x,label\n1,0\nnan,1\n", ":3: 'x' is 'nan', expected a finite number"},
      {"x,label\n1,0\ninf,1\n", ":3: 'x' is 'inf'"},
      {"x,label\n1,0\n-1e39,1\n", ":3: 'x' is '-1e39'"},
      {"x,label\n1e999,1\n", ":2: 'x' is '1e999'"},
      {"x,label\none,1\n", ":2: 'x' is 'one'"},
      {"x,label\n1 2,1\n", ":2: 'x' is '1 2'"},
      {"x,label\n,1\n", ":2: 'x' is ''"},
      {"x,label\n1,0.5\n", ":2: 'label' is '0.5', expected an integer from 0 to 65535"},
      {"x,label\n1,-1\n", ":2: 'label' is '-1'"},
      {"x,label\n1,65536\n", ":2: 'label' is '65536'"},
      {"x,target\n1,nan\n", ":2: 'target' is 'nan'"},
      {"x,label\n1,0\n1\n", ":3: the row has 1 fields, the header 2"},
      {"x,label\n1,0,\n", ":2: the row has 3 fields, the header 2"},
      {"x,label\n1,0\n\n", ":3: the row has 1 fields"},
      {"x,label\n\"1,0\n", ":2: a quotation mark is not closed"},
      {"x,label\n\"1\"2,0\n", ":2: after the quotation mark"},
      {"x,x,label\n1,2,0\n", ":1: two columns are called 'x'"},
      {"x,,label\n1,2,0\n", ":1: a column has no name"},
      {"x,y\n1,2\n", ":1: expected one column 'label' or 'target'"},
      {"x,label,target\n1,2,3\n", ":1: expected one column"},
      {"label\n1\n", ":1: there is no column of features"},
      {"label,user\n1,1\n", ":1: there is no column of features"},
  };
  for (const auto& [text, wanted] : cases) {
    const std::string said = refusal_of(text);
    EXPECT_SAYS(said, (folder_ / "train.csv").string() + wanted.substr(wanted[0] == ':' ? 0 : wanted.size()));
    EXPECT_SAYS(said, wanted);
  }
}

TEST_F(TableFolder, TrainAndTestMustBeOfOneKind) {
  save("test.csv", "x,label\n1,0\n");
  EXPECT_SAYS(refusal_of("z,label\n1,0\n"), "differ in their headers");
  EXPECT_SAYS(refusal_of("x,target\n1,0\n"), "differ in their headers");
  fs::remove(folder_ / "train.csv");
  EXPECT_SAYS(refusal(), "no train.csv and no train.npz");
  save_npz("train.npz", {{"x.npy", npy("<f4", "(1, 2)", data_of<float>({1, 2}))},
                         {"y.npy", npy("<i4", "(1,)", data_of<std::int32_t>({0}))}});
  EXPECT_SAYS(refusal(), "differ");
}

TEST_F(TableFolder, ArraysAreReadByTheirTypes) {
  save_npz("train.npz", {{"x.npy", npy("<f8", "(2, 3, 1)", data_of<double>({1, 2, 3, 4, 5, 6}))},
                         {"user.npy", npy("<i8", "(2,)", data_of<std::int64_t>({-7, 16'777'216}))},
                         {"y.npy", npy("|u1", "(2,)", data_of<std::uint8_t>({3, 1}))}});
  save_npz("test.npz", {{"x.npy", npy("|u1", "(1, 3)", data_of<std::uint8_t>({7, 8, 9}))},
                        {"user.npy", npy("<i2", "(1,)", data_of<std::int16_t>({5}))},
                        {"y.npy", npy("<i8", "(1,)", data_of<std::int64_t>({2}))}});
  const Tables tables = load();
  EXPECT_EQ(tables.train.features, 3u);
  EXPECT_EQ(tables.train.x, (Floats{1, 2, 3, 4, 5, 6}));
  EXPECT_EQ(tables.train.y, (Floats{3, 1}));
  EXPECT_EQ(tables.classes, 4u);
  EXPECT_EQ(tables.train.users, (Strings{"-7", "16777216", "5"}));
  EXPECT_EQ(tables.train.user, (Numbers{0, 1}));
  EXPECT_EQ(tables.test.user, Numbers{2});

  const std::string real = npy("<f4", "(1,)", data_of<float>({0.5f}));
  for (const char* name : {"train.npz", "test.npz"}) {
    save_npz(name, {{"x.npy", npy("<f4", "(1, 1)", data_of<float>({1}))}, {"y.npy", real}});
  }
  EXPECT_EQ(load().classes, 0u);
  EXPECT_EQ(load().train.y, Floats{0.5f});
}

TEST_F(TableFolder, ArraysThatDoNotFitAreRefused) {
  const std::string x = npy("<f4", "(2, 1)", data_of<float>({1, 2}));
  const std::string y = npy("<i4", "(2,)", data_of<std::int32_t>({0, 1}));
  const auto refusal_of_arrays = [&](const std::vector<std::pair<std::string, std::string>>& arrays) {
    save_npz("train.npz", arrays);
    return refusal();
  };
  save_npz("test.npz", {{"x.npy", x}, {"y.npy", y}});
  EXPECT_SAYS(refusal_of_arrays({{"x.npy", x}}), "train.npz: there is no array 'y'");
  EXPECT_SAYS(refusal_of_arrays({{"y.npy", y}}), "train.npz: there is no array 'x'");
  EXPECT_SAYS(refusal_of_arrays({{"x.npy", y}, {"y.npy", y}}), "'x' has no rows of features");
  EXPECT_SAYS(refusal_of_arrays({{"x.npy", npy("<f4", "(0, 1)", "")}, {"y.npy", y}}), "'x' has no rows of features");
  EXPECT_SAYS(refusal_of_arrays({{"x.npy", npy("<f4", "(2, 0)", "")}, {"y.npy", y}}), "'x' has no rows of features");
  EXPECT_SAYS(refusal_of_arrays({{"x.npy", x}, {"y.npy", npy("<i4", "(1,)", data_of<std::int32_t>({0}))}}),
              "'y' has not one value");
  EXPECT_SAYS(refusal_of_arrays({{"x.npy", x}, {"y.npy", x}}), "'y' has not one value");
  EXPECT_SAYS(refusal_of_arrays({{"x.npy", x}, {"y.npy", npy("<i4", "(2,)", data_of<std::int32_t>({0, -1}))}}),
              "'y' is -1.000000 in row 1, expected 0 to 65535");
  EXPECT_SAYS(refusal_of_arrays({{"x.npy", x}, {"y.npy", npy("<i4", "(2,)", data_of<std::int32_t>({65536, 0}))}}),
              "in row 0, expected 0 to 65535");
  EXPECT_SAYS(refusal_of_arrays({{"x.npy", x}, {"y.npy", y}, {"user.npy", npy("<f4", "(2,)", data_of<float>({0, 1}))}}),
              "'user' is of no integer type");
  EXPECT_SAYS(
      refusal_of_arrays(
          {{"x.npy", x}, {"y.npy", y}, {"user.npy", npy("<i8", "(2,)", data_of<std::int64_t>({0, 16'777'220}))}}),
      "'user' is 16777220");
  EXPECT_SAYS(refusal_of_arrays({{"x.npy", x}, {"y.npy", y}, {"user.npy", y}}), "only one of them has users");
  EXPECT_SAYS(refusal_of_arrays({{"x.npy", x}, {"y.npy", npy("<f4", "(2,)", data_of<float>({0, 1}))}}),
              "one has class numbers, the other real values");
  EXPECT_SAYS(refusal_of_arrays({{"x.npy", npy("<f4", "(2, 1)", data_of<float>({1, INFINITY}))}, {"y.npy", y}}),
              "'x' is not finite in row 1: inf");
  EXPECT_SAYS(refusal_of_arrays({{"x.npy", x}, {"y.npy", npy("<f4", "(2,)", data_of<float>({NAN, 0}))}}),
              "'y' is not finite in row 0");
  save("train.csv", "x,label\n1,0\n");
  EXPECT_SAYS(refusal(), "has both train.csv and train.npz");
}

TEST_F(TableFolder, WhatIsNotFoundIsSaid) {
  EXPECT_SAYS(message([] { load_tables("no-such-table"); }), "--data FOLDER");
  EXPECT_SAYS(message([&] { load_tables("own", folder_ / "absent"); }), "is no folder");
  EXPECT_SAYS(message([&] { load_tables("insteval", folder_); }), "make insteval");
  save("own/train.csv", "x,label\n1,0\n");
  save("own/test.csv", "x,label\n1,1\n");
  setenv("FEWBITS_DATA", folder_.c_str(), 1);
  EXPECT_EQ(load_tables("own").classes, 2u);
  unsetenv("FEWBITS_DATA");
}

TEST_F(TableFolder, RatingsHaveOneHotColumnsAndTheLastFifthOfEachStudentIsTheTest) {
  const std::string header = "s,d,studage,lectage,service,dept,y\n";
  std::string rows;
  for (const int rating : {1, 2, 3, 4, 5})
    rows += "20,107,2,1,0,9," + std::to_string(rating) + "\n";  // the 5 is the test
  rows += "3,11,4,1,1,9,2\n";
  save("insteval.csv", header + rows);
  const Tables tables = load_tables("insteval", folder_);
  EXPECT_EQ(tables.columns, 2u + 2 + 1 + 2 + 1);
  EXPECT_EQ(tables.classes, 0u);
  EXPECT_EQ(tables.train.features, 5u);
  EXPECT_EQ(tables.train.users, (Strings{"3", "20"}));
  EXPECT_EQ(tables.train.user, (Numbers{1, 1, 1, 1, 0}));
  EXPECT_DOUBLE_EQ(tables.target_mean, 2.4);
  EXPECT_EQ(tables.test.user, Numbers{1});
  EXPECT_EQ(tables.test.x, (Floats{1, 2, 4, 5, 7}));
  EXPECT_EQ(tables.test.y, Floats{static_cast<float>(5 - 2.4)});
  EXPECT_EQ(Floats(tables.train.x.end() - 5, tables.train.x.end()), (Floats{0, 3, 4, 6, 7}));

  const auto refusal_of_rows = [&](const std::string& text) {
    save("insteval.csv", text);
    return message([&] { load_tables("insteval", folder_); });
  };
  EXPECT_SAYS(refusal_of_rows(header), "has no rows");
  EXPECT_SAYS(refusal_of_rows("s,d,y\n1,1,1\n"), ":1: there is no column 'studage'");
  EXPECT_SAYS(refusal_of_rows(header + "1,2,x,4,5,6,7\n"), ":2: 'studage' is 'x'");
}

TEST_F(TableFolder, RatingsAreVerifiedUnlessTheCallerNamesTheFolder) {
  save("insteval/insteval.csv", "s,d,studage,lectage,service,dept,y\n1,2,3,4,5,6,7\n");
  setenv("FEWBITS_DATA", folder_.c_str(), 1);
  const std::string text = message([] { load_tables("insteval"); });
  unsetenv("FEWBITS_DATA");
  EXPECT_SAYS(text, "expected 78dbe99f");
}

// The real ratings; `make insteval` writes them.
TEST(InstEval, HasItsRows) {
  const fs::path source = FEWBITS_SOURCE_DIR;
  if (std::getenv("FEWBITS_DATA") == nullptr && !fs::exists(source / "build/data/insteval/insteval.csv")) {
    const char* no_skips = std::getenv("FEWBITS_NO_SKIPS");
    if (no_skips != nullptr && *no_skips == '1') FAIL() << "no InstEval here: make insteval";
    GTEST_SKIP() << "no InstEval here: make insteval";
  }
  const fs::path before = fs::current_path();
  fs::current_path(source);
  const Tables tables = load_tables("insteval");
  fs::current_path(before);
  EXPECT_EQ(tables.columns, 1154u);
  EXPECT_EQ(tables.train.users.size(), 2972u);
  ASSERT_EQ(tables.train.rows(), 59'873u);
  ASSERT_EQ(tables.test.rows(), 13'548u);
  double sum = 0, squares = 0;
  for (const float y : tables.train.y) sum += static_cast<double>(y);
  for (const float y : tables.test.y) squares += static_cast<double>(y) * static_cast<double>(y);
  EXPECT_NEAR(sum, 0, 0.01);
  EXPECT_NEAR(std::sqrt(squares / 13'548), 1.3405, 5e-5);
}

}  // namespace
}  // namespace fewbits::datasets
