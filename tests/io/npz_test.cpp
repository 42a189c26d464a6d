#include <zlib.h>

#include <array>
#include <optional>

#include "tests/engine/allocations.h"
#include "tests/io/files.h"

namespace fewbits::io::test {
namespace {

using Npz = Folder;

// A member of an archive; every field of its directory entry can lie.
struct Entry {
  std::string name;
  std::string bytes;
  bool deflated = false;
  std::optional<std::uint64_t> claimed_size = std::nullopt;
  std::optional<std::uint64_t> claimed_packed = std::nullopt;
  std::optional<std::size_t> same_place_as = std::nullopt;  // index of the entry whose bytes it takes
};

std::string deflate_raw(const std::string& bytes) {
  z_stream stream{};
  deflateInit2(&stream, 9, Z_DEFLATED, -15, 9, Z_DEFAULT_STRATEGY);
  std::string packed(deflateBound(&stream, bytes.size()), '\0');
  std::string copy = bytes;
  stream.next_in = reinterpret_cast<Bytef*>(copy.data());
  stream.avail_in = static_cast<uInt>(copy.size());
  stream.next_out = reinterpret_cast<Bytef*>(packed.data());
  stream.avail_out = static_cast<uInt>(packed.size());
  deflate(&stream, Z_FINISH);
  packed.resize(stream.total_out);
  deflateEnd(&stream);
  return packed;
}

// An archive by hand (PKWARE APPNOTE.TXT 4.3).
std::string zip(const std::vector<Entry>& entries) {
  std::string file;
  std::string directory;
  std::vector<std::size_t> offsets;
  for (const Entry& entry : entries) {
    const std::string packed = entry.deflated ? deflate_raw(entry.bytes) : entry.bytes;
    const auto checksum =
        crc32(0, reinterpret_cast<const Bytef*>(entry.bytes.data()), static_cast<uInt>(entry.bytes.size()));
    const std::string common = little_endian(20, 2) + little_endian(0, 2) + little_endian(entry.deflated ? 8 : 0, 2) +
                               little_endian(0, 2) + little_endian(0x21, 2) + little_endian(checksum, 4) +
                               little_endian(entry.claimed_packed.value_or(packed.size()), 4) +
                               little_endian(entry.claimed_size.value_or(entry.bytes.size()), 4) +
                               little_endian(entry.name.size(), 2) + little_endian(0, 2);
    offsets.push_back(entry.same_place_as ? offsets[*entry.same_place_as] : file.size());
    if (!entry.same_place_as) file += "PK\3\4" + common + entry.name + packed;
    directory +=
        "PK\1\2" + little_endian(20, 2) + common + little_endian(0, 10) + little_endian(offsets.back(), 4) + entry.name;
  }
  return file + directory + "PK\5\6" + little_endian(0, 4) + little_endian(entries.size(), 2) +
         little_endian(entries.size(), 2) + little_endian(directory.size(), 4) + little_endian(file.size(), 4) +
         little_endian(0, 2);
}

const std::string kMatrix = npy("<f4", "(2, 2)", data_of<float>({1, 2, 3, 4}));
const std::string kDoubles = npy("<f8", "(3,)", data_of<double>({5, 6, 7}));

TEST_F(Npz, ItsArraysAreTheLayoutInTheOrderOfTheFile) {
  for (const bool deflated : {false, true}) {
    const Arrays arrays = read("x.npz", zip({{"w/z.npy", kMatrix, deflated},
                                             {"b.npy", kDoubles, deflated},
                                             {"a.weight.npy", npy("<f4", "()", data_of<float>({8})), deflated}}));
    EXPECT_EQ(arrays.layout.text(), "w/z\t2,2\nb\t3\na.weight\t\n");
    EXPECT_EQ(arrays.values, (std::vector<float>{1, 2, 3, 4, 5, 6, 7, 8}));
    EXPECT_EQ(arrays.types, (std::vector<std::string>{"<f4", "<f8", "<f4"}));
  }
}

TEST_F(Npz, LongCompressedArraysAreReadWhole) {
  std::vector<float> values(600'000);
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(i % 1000);
  const std::string array = npy("<f4", "(600000,)", data_of(values));
  const Arrays arrays = read("x.npz", zip({{"a.npy", array, true}, {"b.npy", array, false}}));
  ASSERT_EQ(arrays.values.size(), 2 * values.size());
  EXPECT_TRUE(std::equal(values.begin(), values.end(), arrays.values.begin()));
  EXPECT_TRUE(std::equal(values.begin(), values.end(), arrays.values.begin() + 600'000));
}

TEST_F(Npz, ARefusalSaysWhatIsWrong) {
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"", "not a readable .npz"},
      {kMatrix, "not a readable .npz"},
      {zip({}), "holds no array"},
      {zip({{"readme.txt", "hello"}}), "'readme.txt' is no array; an .npz holds .npy files alone"},
      {zip({{"a.npy", "hello"}}), "'a': not an .npy"},
      {zip({{"a.npy", kMatrix}, {"a.npy", kMatrix}}), "two tensors are named 'a'"},
      {zip({{"a.npy", kMatrix + "x"}}), "'a': the shape needs 16 bytes of data, there are 17"},
      {zip({{"a.npy", kMatrix, true, kMatrix.size() + 4}}), "'a': the shape needs 16 bytes of data, there are 20"},
      {zip({{"a.npy", kMatrix, true, 1 << 30}}), "'a' claims more bytes than the file can hold"},
      {zip({{"a.npy", kMatrix},
            {"b.npy", kMatrix, false, {}, {}, 0},
            {"c.npy", kMatrix, false, {}, {}, 0},
            {"d.npy", kMatrix, false, {}, {}, 0},
            {"e.npy", kMatrix, false, {}, {}, 0},
            {"f.npy", kMatrix, false, {}, {}, 0}}),
       "claims more bytes than the file can hold"},
  };
  for (const auto& [bytes, words] : cases)
    EXPECT_NE(refusal("x.npz", bytes).find(words), std::string::npos)
        << "wanted: " << words << "\ngot: " << refusal("x.npz", bytes);
  EXPECT_NE(message([&] { read_arrays(folder_ / "none.npz"); }).find("no such file"), std::string::npos);
}

TEST_F(Npz, ADamagedArrayIsNoticedByItsChecksum) {
  for (const bool deflated : {false, true}) {
    std::string bytes = zip({{"a.npy", kMatrix, deflated}});
    const std::size_t data_end = bytes.find("PK\1\2");
    bytes[data_end - 1] = static_cast<char>(bytes[data_end - 1] ^ 1);
    EXPECT_NE(refusal("x.npz", bytes), "") << deflated;
  }
}

TEST_F(Npz, EveryTruncationIsRefused) {
  const std::string whole = zip({{"a.npy", kMatrix}, {"b.npy", kDoubles, true}});
  for (std::size_t length = 0; length < whole.size(); ++length)
    EXPECT_NE(refusal("x.npz", whole.substr(0, length)), "") << length;
}

// Names are outside the checksums of the members.
TEST_F(Npz, AFlippedBitNeverChangesAValueOrAShape) {
  const std::string whole = zip({{"a.npy", kMatrix}, {"b.npy", kDoubles, true}});
  const Arrays right = read("right.npz", whole);
  for (std::size_t bit = 0; bit < 8 * whole.size(); ++bit) {
    std::string bytes = whole;
    bytes[bit / 8] = static_cast<char>(bytes[bit / 8] ^ 1 << bit % 8);
    const auto path = save("x.npz", bytes);
    EXPECT_NO_THROW(message([&] {
      const Arrays arrays = read_arrays(path);
      EXPECT_EQ(arrays.values, right.values) << bit;
      ASSERT_EQ(arrays.layout.tensors().size(), 2u) << bit;
      for (std::size_t t = 0; t < 2; ++t)
        EXPECT_EQ(arrays.layout.tensors()[t].shape, right.layout.tensors()[t].shape) << bit;
    })) << bit;
  }
}

TEST_F(Npz, ClaimedSizesCostNoMemory) {
  const std::string head = npy("<f4", "(1000000000,)", "");
  const std::uint64_t size = head.size() + 4'000'000'000;
  std::vector<std::string> lies = {
      zip({{"a.npy", head, false, size, size}}),
      zip({{"a.npy", head, true, size}}),
      // What the file could just hold at the best of deflate, in an array that ends early.
      zip({{"a.npy", npy("<f4", "(25000000,)", std::string(100'000, '\0')), true,
            npy("<f4", "(25000000,)", "").size() + 100'000'000},
           {"b.npy", std::string(200'000, '\7')}}),
  };
  for (std::size_t i = 0; i < lies.size(); ++i) {
    const auto path = save("x.npz", lies[i]);
    const fewbits::test::PeakAllocation peak;
    EXPECT_THROW(read_arrays(path), Error) << i;
    EXPECT_LT(peak.bytes(), std::size_t{8} << 20) << i;
  }
}

TEST_F(Npz, WhatIsWrittenIsRead) {
  const Layout layout(std::vector<Tensor>{{"layer/w", {2, 2}}, {"été", {3}}, {"scalar", {}}, {"none", {0, 4}}});
  const std::vector<float> values = {1, -0.0f, 3, 4, 5, 6, 7, 1e-45f};
  write_arrays(folder_ / "y.npz", layout, values);
  const Arrays arrays = read_arrays(folder_ / "y.npz");
  EXPECT_EQ(arrays.layout.text(), layout.text());
  EXPECT_EQ(data_of(arrays.values), data_of(values));
  EXPECT_EQ(files(), std::vector<std::string>{"y.npz"});
}

TEST_F(Npz, TheSameArraysMakeTheSameFileWheneverTheyAreWritten) {
  write_arrays(folder_ / "y.npz", Layout(1), std::array{1.f});
  const std::string bytes = bytes_of("y.npz");
  EXPECT_EQ(bytes.substr(0, 4), "PK\3\4");
  EXPECT_EQ(bytes.substr(10, 4), little_endian(0x210000, 4));  // time and date of a local header
}

TEST_F(Npz, ATensorWithoutNameIsTheUpdate) {
  write_arrays(folder_ / "y.npz", Layout(2), std::array{1.f, 2.f});
  EXPECT_EQ(read_arrays(folder_ / "y.npz").layout.text(), "update\t2\n");
}

TEST_F(Npz, AFileThatCannotBeWrittenLeavesTheOldOne) {
  const std::string old = zip({{"a.npy", kMatrix}});
  save("y.npz", old);
  const Layout bad_name(std::vector<Tensor>{{"ok", {1}}, {"\xFF\xFE", {1}}});  // no UTF-8
  EXPECT_NE(message([&] {
              write_arrays(folder_ / "y.npz", bad_name, std::array{1.f, 2.f});
            }).find("cannot be written"),
            std::string::npos);
  EXPECT_NE(
      message([&] { write_arrays(folder_ / "none" / "y.npz", Layout(1), std::array{1.f}); }).find("cannot be written"),
      std::string::npos);
  EXPECT_EQ(files(), std::vector<std::string>{"y.npz"});
  EXPECT_EQ(bytes_of("y.npz"), old);
}

}  // namespace
}  // namespace fewbits::io::test
