#include "datasets/idx.h"

#include <gtest/gtest.h>
#include <zlib.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "data_folder.h"
#include "datasets/dataset.h"
#include "fewbits/error.h"

namespace fewbits::datasets {
namespace {

namespace fs = std::filesystem;
using Bytes = std::vector<unsigned char>;

class IdxFolder : public test::DataFolder {
 protected:
  fs::path plain(const std::string& name, const Bytes& bytes) const {
    return save(name, {bytes.begin(), bytes.end()});
  }
  fs::path packed(const std::string& name, const Bytes& bytes) const {
    gzFile file = gzopen((folder_ / name).c_str(), "wb");
    gzwrite(file, bytes.data(), static_cast<unsigned>(bytes.size()));
    gzclose(file);
    return folder_ / name;
  }
  static std::string refusal(const fs::path& path, std::size_t dimensions) {
    return message([&] { read_idx(path, dimensions); });
  }
};

const Bytes kImages = {0, 0, 8, 3, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, 3, 0, 51, 102, 153, 204, 255};
const Bytes kLabels = {0, 0, 8, 1, 0, 0, 0, 2, 4, 1};

TEST_F(IdxFolder, PlainAndPackedFilesGiveTheSame) {
  const IdxFile a = read_idx(plain("a", kImages), 3);
  const IdxFile b = read_idx(packed("b.gz", kImages), 3);
  EXPECT_EQ(a.shape, (std::vector<std::size_t>{2, 1, 3}));
  EXPECT_EQ(a.values, (std::vector<std::uint8_t>{0, 51, 102, 153, 204, 255}));
  EXPECT_EQ(b.shape, a.shape);
  EXPECT_EQ(b.values, a.values);
  EXPECT_EQ(b.sha256, a.sha256);
}

TEST_F(IdxFolder, TheChecksumIsOfTheUnpackedBytes) {
  // sha256sum of the ten bytes of kLabels.
  EXPECT_EQ(read_idx(packed("labels.gz", kLabels), 1).sha256,
            "471f1a71a1fb98b42acb6ba5717a4c305b251530015126ed639f0c8f04ed2ce8");
}

TEST_F(IdxFolder, EveryTruncationIsRefused) {
  for (std::size_t size = 0; size < kImages.size(); ++size) {
    const Bytes part(kImages.begin(), kImages.begin() + static_cast<std::ptrdiff_t>(size));
    EXPECT_NE(refusal(plain("part", part), 3).find("is cut short"), std::string::npos) << size;
    EXPECT_NE(refusal(packed("part.gz", part), 3).find("is cut short"), std::string::npos) << size;
  }
}

TEST_F(IdxFolder, ACutGzipStreamIsRefused) {
  const fs::path path = packed("cut.gz", kImages);
  fs::resize_file(path, fs::file_size(path) - 4);
  EXPECT_NE(refusal(path, 3).find("is cut short"), std::string::npos);
}

TEST_F(IdxFolder, ADamagedGzipStreamIsRefused) {
  const fs::path path = packed("bad.gz", kImages);
  std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
  file.seekp(static_cast<std::streamoff>(fs::file_size(path)) - 8);  // the CRC
  file.put('\x55');
  file.close();
  EXPECT_NE(refusal(path, 3).find("cannot be read"), std::string::npos);
}

TEST_F(IdxFolder, BytesAfterTheEndAreRefused) {
  Bytes more = kImages;
  more.push_back(0);
  EXPECT_NE(refusal(plain("more", more), 3).find("goes on after the 6 values"), std::string::npos);
}

TEST_F(IdxFolder, AnotherMagicIsRefused) {
  for (const std::size_t at : {0u, 1u, 2u, 3u}) {
    Bytes other = kImages;
    other[at] ^= 1;
    EXPECT_NE(refusal(plain("magic", other), 3).find("expected 00000803"), std::string::npos) << at;
  }
  EXPECT_NE(refusal(plain("labels", kLabels), 3).find("begins with 00000801"), std::string::npos);
}

TEST_F(IdxFolder, AGiantClaimCostsNothing) {
  Bytes giant = kImages;
  for (std::size_t i = 4; i < 16; ++i) giant[i] = 0xFF;
  EXPECT_NE(refusal(plain("giant", giant), 3).find("claims more than"), std::string::npos);
  Bytes large = kImages;
  large[4] = 0x20;  // 2 GB less a little, in a file of 22 bytes
  EXPECT_NE(refusal(plain("large", large), 3).find("is cut short"), std::string::npos);
}

TEST_F(IdxFolder, AZeroDimensionIsRefused) {
  Bytes zero = kImages;
  zero[7] = 0;
  EXPECT_NE(refusal(plain("zero", zero), 3).find("dimension of 0"), std::string::npos);
}

TEST_F(IdxFolder, FourFilesAreADataSet) {
  packed("train-images-idx3-ubyte.gz", kImages);
  plain("train-labels.idx1-ubyte", kLabels);
  plain("t10k-images-idx3-ubyte", kImages);
  packed("emnist-t10k-labels-idx1-ubyte.gz", kLabels);
  const Dataset set = load_images("own", folder_);
  EXPECT_EQ(set.features, 3u);
  EXPECT_EQ(set.classes, 5u);
  EXPECT_EQ(set.train.y, (std::vector<float>{4, 1}));
  ASSERT_EQ(set.train.x.size(), 6u);
  EXPECT_EQ(set.train.x[0], 0.0f);
  EXPECT_EQ(set.train.x[1], 0.2f);
  EXPECT_EQ(set.train.x[5], 1.0f);
  ASSERT_EQ(set.files.size(), 4u);
  EXPECT_EQ(set.files[0].sha256, set.files[2].sha256);
}

TEST_F(IdxFolder, AMissingFileIsNamed) {
  packed("train-images-idx3-ubyte.gz", kImages);
  const std::string text = message([&] { load_images("own", folder_); });
  EXPECT_NE(text.find("no train-labels-idx1-ubyte there"), std::string::npos) << text;
  EXPECT_NE(text.find("--data FOLDER"), std::string::npos) << text;
}

TEST_F(IdxFolder, ImagesAndLabelsMustBeAsMany) {
  Bytes three = kLabels;
  three[7] = 3;
  three.push_back(0);
  plain("train-images-idx3-ubyte", kImages);
  plain("train-labels-idx1-ubyte", three);
  plain("t10k-images-idx3-ubyte", kImages);
  plain("t10k-labels-idx1-ubyte", kLabels);
  EXPECT_NE(message([&] { load_images("own", folder_); }).find("has 3 labels"), std::string::npos);
}

TEST_F(IdxFolder, TheEnvironmentNamesAFolderOfDataSetsAndKnownOnesAreVerified) {
  folder_ /= "fashion-mnist";
  fs::create_directories(folder_);
  plain("train-images-idx3-ubyte", kImages);
  plain("train-labels-idx1-ubyte", kLabels);
  plain("t10k-images-idx3-ubyte", kImages);
  plain("t10k-labels-idx1-ubyte", kLabels);
  setenv("FEWBITS_DATA", folder_.parent_path().c_str(), 1);
  const std::string text = message([&] { load_images("fashion-mnist"); });
  unsetenv("FEWBITS_DATA");
  EXPECT_NE(text.find("expected c59f468a"), std::string::npos) << text;
  EXPECT_EQ(load_images("fashion-mnist", folder_).train.rows(), 2u);  // a folder that the caller names is only recorded
  folder_ = folder_.parent_path();
}

TEST_F(IdxFolder, WhatIsNotFoundIsSaid) {
  EXPECT_NE(message([] { load_images("no-such-set"); }).find("is not known"), std::string::npos);
  const std::string text = message([&] { load_images("fashion-mnist", folder_ / "absent"); });
  EXPECT_NE(text.find("apt-get install dataset-fashion-mnist"), std::string::npos) << text;
}

}  // namespace
}  // namespace fewbits::datasets
