#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace fewbits::datasets {

struct Split {
  std::vector<float> x;         // shape [rows, features], row-major
  std::vector<float> y;         // numbers of classes, from 0
  std::size_t rows() const noexcept { return y.size(); }
};

struct SourceFile {
  std::string path;
  std::string sha256;  // of the unpacked bytes
};

struct Dataset {
  std::string name;
  std::string folder;
  std::vector<SourceFile> files;
  std::size_t features = 0;
  std::size_t classes = 0;
  Split train;
  Split test;
};

// Images of the MNIST kind: four IDX files (plain or .gz), whose names end in train-images-idx3-ubyte and so on; pixels
// become floats in [0, 1]. `data` is the folder to read; where it is empty, the first that exists of $FEWBITS_DATA/NAME
// and, for "fashion-mnist", the folder of Debian's package. Checksums of a known data set are verified unless `data`
// names the folder. Throws Error when nothing is found, or a file is damaged or none of this kind.
Dataset load_images(const std::string& name, const std::filesystem::path& data = {});

}  // namespace fewbits::datasets
