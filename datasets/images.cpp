#include <algorithm>
#include <array>
#include <iterator>
#include <string_view>

#include "datasets/dataset.h"
#include "datasets/idx.h"
#include "datasets/sources.h"
#include "fewbits/error.h"

namespace fewbits::datasets {
namespace {

namespace fs = std::filesystem;

constexpr std::array<std::string_view, 4> kFiles = {"train-images-idx3-ubyte", "train-labels-idx1-ubyte",
                                                    "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"};

struct Known {
  std::string_view name;
  std::string_view title;
  std::string_view folder;
  std::string_view package;
  std::array<std::string_view, 4> sha256;  // in the order of kFiles
};

// Adding a data set of this kind is a row here and in README.md.
constexpr Known kKnown[] = {
    {"fashion-mnist",
     "Fashion-MNIST",
     "/usr/share/datasets/fashion-mnist",
     "dataset-fashion-mnist",
     {"c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
      "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
      "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
      "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34"}},
};

const Known* find_known(std::string_view name) {
  const auto found = std::find_if(std::begin(kKnown), std::end(kKnown), [&](const Known& k) { return k.name == name; });
  return found == std::end(kKnown) ? nullptr : found;
}

[[noreturn]] void not_found(const std::string& name, const Known* known, const fs::path& folder,
                            std::string_view missing) {
  const std::string own = "put its four IDX files (.gz or not) in a folder and pass --data FOLDER";
  if (known == nullptr && folder.empty()) {
    throw Error(Errc::kBadArgument, "data set '" + name + "' is not known: choose fashion-mnist, kjv, fortunes or insteval, or pass " +
                                        "--data FOLDER with four IDX files of images, train.csv and test.csv (or .npz), or *.txt");
  }
  std::string message = (known != nullptr ? std::string(known->title) : name) + " not found in " + folder.string();
  message += missing.empty() ? "." : ": no " + std::string(missing) + " there.";
  if (known != nullptr) message += " On Debian 12: apt-get install " + std::string(known->package) + ". Elsewhere:";
  throw Error(Errc::kBadArgument, message + (known != nullptr ? " p" : " P") + own.substr(1));
}

fs::path choose_folder(const std::string& name, const Known* known, const fs::path& data) {
  if (!data.empty()) return data;
  if (fs::path folder = chosen_folder(name, {}); !folder.empty()) return folder;
  return known != nullptr ? fs::path(known->folder) : fs::path();
}

// The one file of `folder` whose name ends in `ending`, plain before packed; empty where there is none. Other spellings
// in circulation write a dot before idx, and EMNIST puts the name of a subset first.
fs::path find_file(const fs::path& folder, std::string_view ending) {
  std::string dotted(ending);
  dotted.replace(dotted.find("-idx"), 1, ".");
  for (const std::string_view packing : {"", ".gz"}) {
    std::vector<fs::path> found;
    for (const fs::directory_entry& entry : fs::directory_iterator(folder)) {
      const std::string file = entry.path().filename().string();
      if (file.ends_with(std::string(ending).append(packing)) || file.ends_with(dotted + std::string(packing))) {
        found.push_back(entry.path());
      }
    }
    std::sort(found.begin(), found.end());
    if (found.size() > 1) {
      throw Error(Errc::kBadArgument, folder.string() + " has several files for " + std::string(ending) + ": " +
                                          found[0].filename().string() + ", " + found[1].filename().string() +
                                          "; keep one set in the folder");
    }
    if (found.size() == 1) return found[0];
  }
  return {};
}

Split make_split(const IdxFile& images, const IdxFile& labels, const SourceFile& image_file,
                 const SourceFile& label_file) {
  if (images.shape[0] != labels.shape[0]) {
    throw Error(Errc::kBadArgument, image_file.path + " has " + std::to_string(images.shape[0]) + " images, " +
                                        label_file.path + " has " + std::to_string(labels.shape[0]) + " labels");
  }
  Split split;
  split.x.resize(images.values.size());
  std::transform(images.values.begin(), images.values.end(), split.x.begin(),
                 [](std::uint8_t pixel) { return static_cast<float>(pixel) / 255.0f; });
  split.y.assign(labels.values.begin(), labels.values.end());
  return split;
}

}  // namespace

Dataset load_images(const std::string& name, const fs::path& data) {
  const Known* known = find_known(name);
  const fs::path folder = choose_folder(name, known, data);
  if (folder.empty() || !fs::is_directory(folder)) not_found(name, known, folder, "");

  Dataset dataset;
  dataset.name = name;
  dataset.folder = folder.string();
  std::array<IdxFile, 4> files;
  std::array<fs::path, 4> paths;
  for (std::size_t i = 0; i < kFiles.size(); ++i) {
    paths[i] = find_file(folder, kFiles[i]);
    if (paths[i].empty()) not_found(name, known, folder, kFiles[i]);
  }
  for (std::size_t i = 0; i < kFiles.size(); ++i) {
    files[i] = read_idx(paths[i], i % 2 == 0 ? 3 : 1);
    dataset.files.push_back({paths[i].string(), files[i].sha256});
    if (known != nullptr && data.empty() && files[i].sha256 != known->sha256[i]) {
      throw Error(Errc::kBadArgument, paths[i].string() + " is not the file of " + std::string(known->title) +
                                          ": its SHA-256 is " + files[i].sha256 + ", expected " +
                                          std::string(known->sha256[i]) + "; reinstall it, or pass --data FOLDER to " +
                                          "train on a set of your own");
    }
  }
  if (files[0].shape[1] != files[2].shape[1] || files[0].shape[2] != files[2].shape[2]) {
    throw Error(Errc::kBadArgument, "images of " + dataset.files[0].path + " and " + dataset.files[2].path +
                                        " differ in size");
  }
  dataset.features = files[0].shape[1] * files[0].shape[2];
  dataset.train = make_split(files[0], files[1], dataset.files[0], dataset.files[1]);
  dataset.test = make_split(files[2], files[3], dataset.files[2], dataset.files[3]);
  float largest = 1;
  for (const Split* split : {&dataset.train, &dataset.test}) {
    largest = std::max(largest, *std::max_element(split->y.begin(), split->y.end()));
  }
  dataset.classes = static_cast<std::size_t>(largest) + 1;
  return dataset;
}

}  // namespace fewbits::datasets
