#include <fcntl.h>
#include <sys/stat.h>

#include <array>
#include <cmath>
#include <limits>
#include <thread>

#include "tests/engine/allocations.h"
#include "tests/io/files.h"

namespace fewbits::io::test {
namespace {

using Shape = std::vector<std::size_t>;
using Npy = Folder;

TEST_F(Npy, EveryItemTypeBecomesTheNearestFloat32) {
  struct Case {
    std::string type;
    std::string data;
    std::vector<float> values;
  };
  const std::uint16_t halves[] = {0x3C00, 0xC000, 0x0001, 0x7BFF, 0x8000};  // IEEE 754 binary16
  const std::vector<Case> cases = {
      {"<f4", data_of<float>({1.5f, -0.0f, 1e-45f}), {1.5f, -0.0f, 1e-45f}},
      // Half way between 1 and the next float32 goes to the even one, a little more goes up.
      {"<f8",
       data_of<double>({0.1, 1 + 0x1p-24, 1 + 0x1p-24 + 0x1p-50, 0x1.fffffep127}),
       {0.1f, 1.0f, 1 + 0x1p-23f, std::numeric_limits<float>::max()}},
      {"<f2",
       data_of(std::vector<std::uint16_t>(std::begin(halves), std::end(halves))),
       {1.0f, -2.0f, 0x1p-24f, 65504.0f, -0.0f}},
      {"|i1", data_of<std::int8_t>({-128, 127}), {-128, 127}},
      {"|u1", data_of<std::uint8_t>({0, 255}), {0, 255}},
      {"|b1", std::string("\0\1", 2), {0, 1}},
      {"<i2", data_of<std::int16_t>({-32768, 32767}), {-32768, 32767}},
      {"<u2", data_of<std::uint16_t>({65535}), {65535}},
      {"<i4", data_of<std::int32_t>({-2147483647 - 1, 16777217}), {-0x1p31f, 16777216}},
      {"<u4", data_of<std::uint32_t>({4294967295u}), {0x1p32f}},
      {"<i8", data_of<std::int64_t>({-1, std::int64_t{1} << 62}), {-1, 0x1p62f}},
      {"<u8", data_of<std::uint64_t>({std::uint64_t{1} << 63}), {0x1p63f}},
  };
  for (const Case& c : cases) {
    const Arrays arrays = read("x.npy", npy(c.type, "(" + std::to_string(c.values.size()) + ",)", c.data));
    EXPECT_EQ(data_of(arrays.values), data_of(c.values)) << c.type;
    ASSERT_EQ(arrays.layout.tensors().size(), 1u);
    EXPECT_EQ(arrays.layout.tensors()[0].name, "");
    EXPECT_EQ(arrays.layout.tensors()[0].shape, Shape{c.values.size()});
    EXPECT_EQ(arrays.types, std::vector<std::string>{c.type});
  }
}

TEST_F(Npy, NotANumberAndInfinityStayForTheCodecToRefuse) {
  const double infinity = std::numeric_limits<double>::infinity();
  const Arrays arrays = read("x.npy", npy("<f8", "(2,)", data_of<double>({infinity, std::nan("")})));
  EXPECT_EQ(arrays.values[0], std::numeric_limits<float>::infinity());
  EXPECT_TRUE(std::isnan(arrays.values[1]));
}

TEST_F(Npy, AllVersionsAndShapesAreRead) {
  const std::string data = data_of<float>({1, 2, 3, 4, 5, 6});
  for (const char version : {'\1', '\2', '\3'}) {
    const Arrays arrays = read("x.npy", npy("<f4", "(2, 3)", data, version));
    EXPECT_EQ(arrays.layout.tensors()[0].shape, (Shape{2, 3}));
    EXPECT_EQ(arrays.values, (std::vector<float>{1, 2, 3, 4, 5, 6}));
  }
  EXPECT_EQ(read("x.npy", npy("<f4", "()", data_of<float>({7}))).layout.tensors()[0].shape, Shape{});
  EXPECT_EQ(read("x.npy", npy("<f4", "(3, 0, 2)", "")).layout.tensors()[0].shape, (Shape{3, 0, 2}));
  // The keys in another order, with double quotes, as other writers have them.
  EXPECT_EQ(
      read("x.npy", npy_of_header("{\"shape\":(1,),\"descr\":\"<f4\",\"fortran_order\":False}", data_of<float>({9})))
          .values,
      std::vector<float>{9});
}

TEST_F(Npy, ARefusalSaysWhatIsWrongAndWhatWouldBeRight) {
  const std::string one = data_of<float>({1});
  const auto header = [](const std::string& text) { return npy_of_header(text, ""); };
  std::string axes = "(";
  for (int i = 0; i < 65; ++i) axes += "1,";
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"", "not an .npy"},
      {"PK\3\4 an archive", "not an .npy"},
      {npy("<f4", "(1,)", one, 4), "version 4; versions 1 to 3 are read"},
      {npy(">f4", "(1,)", one), "type '>f4' is not read; save the array as float32"},
      {npy("<c8", "(1,)", one + one), "type '<c8' is not read"},
      {npy("|O", "(1,)", one), "type '|O' is not read"},
      {npy("<f4", "(2,)", one), "the shape needs 8 bytes of data, there are 4"},
      {npy("<f4", "(1,)", one + "x"), "the shape needs 4 bytes of data, there are 5"},
      {npy("<f4", "(0,)", "x"), "the shape needs 0 bytes of data, there are 1"},
      {npy("<f8", "(1,)", data_of<double>({1e39})), "the value 1e+39 is beyond float32"},
      {npy("<f8", "(1,)", data_of<double>({-0x1.ffffffp127})), "is beyond float32"},
      {npy("<f4", axes + ")", one), "more than 64 axes"},
      {npy("<f4", "(65536, 65536)", one), "more than 4294967295 elements"},
      {npy("<f4", "(18446744073709551615, 2)", one), "more than 4294967295 elements"},
      {npy("<f4", "(18446744073709551616,)", one), "damaged"},
      {npy("<f4", "(-1,)", one), "damaged"},
      {npy("<f4", "(1 1)", one), "damaged"},
      {npy("<f4", "(1,", one), "damaged"},
      {npy("<f4", "[1]", one), "damaged"},
      {header("{'descr': '<f4', 'fortran_order': True, 'shape': (1,)}"),
       "Fortran order; save numpy.ascontiguousarray(array)"},
      {header("{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (1,)}"), "structured array"},
      {header("{'descr': '<f4', 'fortran_order': False}"), "damaged"},
      {header("{'descr': '<f4', 'descr': '<f4', 'fortran_order': False, 'shape': ()}"), "damaged"},
      {header("{'descr': '<f4', 'fortran_order': False, 'shape': (), 'more': 1}"), "damaged"},
      {header("{'descr': '<f4', 'fortran_order': False, 'shape': ()} {}"), "damaged"},
      {header("{'descr': '<f4"), "damaged"},
      {header(""), "damaged"},
      {npy_of_header(std::string(1 << 16, ' '), "", 2), "the header of the .npy claims 65536 bytes"},
      {std::string("\x93NUMPY\2\0\xFF\xFF\xFF\xFF", 12), "claims 4294967295 bytes"},
      {std::string("\x93NUMPY\1\0\x10\0{", 11), "the header of the .npy is cut off"},
  };
  for (const auto& [bytes, words] : cases)
    EXPECT_NE(refusal("x.npy", bytes).find(words), std::string::npos)
        << "wanted: " << words << "\ngot: " << refusal("x.npy", bytes);
  EXPECT_NE(message([&] { read_arrays(folder_ / "none.npy"); }).find("No such file"), std::string::npos);
  EXPECT_NE(message([&] { read_arrays(folder_); }).find("is a folder"), std::string::npos);
}

TEST_F(Npy, EveryTruncationIsRefused) {
  const std::string whole = npy("<f4", "(2, 2)", data_of<float>({1, 2, 3, 4}));
  for (std::size_t length = 0; length < whole.size(); ++length)
    EXPECT_NE(refusal("x.npy", whole.substr(0, length)), "") << length;
}

TEST_F(Npy, AFlippedBitOfTheHeaderIsReadOrRefusedButNeverWorse) {
  const std::string whole = npy("<f4", "(2, 2)", data_of<float>({1, 2, 3, 4}));
  for (std::size_t bit = 0; bit < 8 * (whole.size() - 16); ++bit) {
    std::string bytes = whole;
    bytes[bit / 8] = static_cast<char>(bytes[bit / 8] ^ 1 << bit % 8);
    EXPECT_NO_THROW(refusal("x.npy", bytes)) << bit;
  }
}

TEST_F(Npy, AClaimedSizeCostsNoMemory) {
  const auto path = save("x.npy", npy("<f4", "(4294967295,)", data_of<float>({1})));
  const fewbits::test::PeakAllocation peak;
  EXPECT_THROW(read_arrays(path), Error);
  EXPECT_LT(peak.bytes(), std::size_t{1} << 20);
}

// More than one chunk of the reader, with items that do not begin where chunks do.
TEST_F(Npy, LongFilesAreReadWhole) {
  std::vector<double> values(400'000);
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = static_cast<double>(i);
  const Arrays arrays = read("x.npy", npy("<f8", "(400000,)", data_of(values)));
  ASSERT_EQ(arrays.values.size(), values.size());
  for (std::size_t i = 0; i < values.size(); ++i) ASSERT_EQ(arrays.values[i], static_cast<float>(i));
}

TEST_F(Npy, WhatIsWrittenIsRead) {
  const std::vector<float> values = {1.5f, -0.0f, 1e-45f, 3e38f, 0, 7};
  for (const Shape& shape : {Shape{6}, Shape{2, 3}, Shape{1, 6, 1}}) {
    write_arrays(folder_ / "y.npy", Layout(std::vector<Tensor>{{"any name", shape}}), values);
    const Arrays arrays = read_arrays(folder_ / "y.npy");
    EXPECT_EQ(data_of(arrays.values), data_of(values));
    EXPECT_EQ(arrays.layout.tensors()[0].shape, shape);
    EXPECT_EQ((bytes_of("y.npy").size() - 4 * values.size()) % 64, 0u);  // NEP 1 aligns the data
  }
  write_arrays(folder_ / "y.npy", Layout(std::vector<Tensor>{{"", {}}}), std::array{4.0f});
  EXPECT_EQ(read_arrays(folder_ / "y.npy").layout.tensors()[0].shape, Shape{});
  write_arrays(folder_ / "y.npy", Layout(0), {});
  EXPECT_EQ(read_arrays(folder_ / "y.npy").layout.tensors()[0].shape, Shape{0});
  EXPECT_EQ(files(), std::vector<std::string>{"y.npy"});
}

TEST_F(Npy, AFileThatCannotBeWrittenLeavesNothingBehind) {
  EXPECT_NE(message([&] { write_arrays(folder_ / "none" / "y.npy", Layout(0), {}); }), "");
  EXPECT_NE(message([&] { write_arrays(folder_ / "y.txt", Layout(0), {}); }).find("must end in .npy or .npz"),
            std::string::npos);
  const Layout two(std::vector<Tensor>{{"a", {1}}, {"b", {1}}});
  EXPECT_NE(message([&] {
              write_arrays(folder_ / "y.npy", two, std::array{1.f, 2.f});
            }).find("write an .npz"),
            std::string::npos);
  EXPECT_EQ(files(), std::vector<std::string>{});
  std::filesystem::create_directory(folder_ / "y.npy");
  EXPECT_NE(message([&] { write_arrays(folder_ / "y.npy", Layout(0), {}); }).find("is a folder"), std::string::npos);
  EXPECT_EQ(files(), std::vector<std::string>{"y.npy"});
}

TEST_F(Npy, APipeIsReadFromAndWrittenToAndStaysAPipe) {
  const std::filesystem::path pipe = folder_ / "pipe.npy";
  ASSERT_EQ(mkfifo(pipe.c_str(), 0600), 0);
  const int held = open(pipe.c_str(), O_RDWR);  // both ends, so that nobody waits
  ASSERT_GE(held, 0);
  write_arrays(pipe, Layout(3), std::array{1.f, 2.f, 3.f});
  EXPECT_TRUE(std::filesystem::is_fifo(pipe));
  std::string bytes(1000, '\0');
  bytes.resize(static_cast<std::size_t>(::read(held, bytes.data(), bytes.size())));
  EXPECT_EQ(read("x.npy", bytes).values, (std::vector<float>{1, 2, 3}));
  close(held);
  std::thread writer(
      [&] { std::ofstream(pipe, std::ios::binary).write(bytes.data(), static_cast<std::streamsize>(bytes.size())); });
  EXPECT_EQ(read_arrays(pipe).values, (std::vector<float>{1, 2, 3}));
  writer.join();
}

}  // namespace
}  // namespace fewbits::io::test
