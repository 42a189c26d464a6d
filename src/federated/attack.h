#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "federated/spread.h"
#include "fewbits/federated/task.h"

// What an eavesdropper sees of a client's images in what is sent. The first layer of a dense network gives them away: of one
// example x, the derivatives by the weights into a unit are x times that by its bias (Phong et al. 2018, IEEE TIFS 13(5), section
// 3.2), and so are updates of local steps. An attack that fails is no proof: there are better ones.
namespace fewbits::federated {

// What is sent, and seen.
struct AttackSetting {
  std::string plan = "f32";
  std::size_t local_steps = 1;       // of one batch, the same in each
  std::size_t batch = 1;             // examples of a client
  std::size_t clients = 1;           // of which the mean alone is seen
  double noise_multiplier = 0;       // of noise that is added, over the norm of the update; 0: none

  bool operator==(const AttackSetting&) const = default;
};

struct AttackOptions {
  std::uint64_t seed = 1;
  std::size_t runs = 50;             // each with another victim, and another initial model
  std::uint32_t warm_rounds = 0;     // over 0: attacked is a model that so many rounds of training have made, the same in all runs
  double learning_rate = 0.1;
  std::size_t shown = 6;             // runs of which images are kept
  std::vector<AttackSetting> settings = {};
};

// Cosines with the victim's image, by runs.
struct AttackResult {
  AttackSetting setting;
  double bits_per_coordinate = 0;    // of a frame
  Spread cosine;                     // of what is reconstructed
  Spread closest;                    // the same with the image, of all in the sum, that it is most like
  Spread closest_mean_image;         // and of the mean image with the one that that is most like
  bool reads = false;                // closer to the victim's image than the mean image, by over three standard errors of the difference
  bool reads_one = false;            // to the closest image
  std::vector<double> cosines;       // of the runs that are kept
  std::vector<float> images;         // shape [shown, features]
};

struct AttackReport {
  std::size_t parameters = 0;
  std::size_t features = 0;
  std::size_t shown = 0;
  Spread mean_image;                 // cosine of the victim's image with the mean of all training images
  Spread unrelated;                  // and with another one
  std::vector<float> victims;        // shape [shown, features]
  std::vector<float> mean;           // shape [features]
  std::vector<AttackResult> results; // one a setting
};

// Throws kBadArgument for tasks and models other than images, put into classes by dense layers.
AttackReport attack(const Task& task, const AttackOptions& options);

// The image that a change of a dense network's parameters gives away: the weights into the first layer's unit whose bias has
// changed most, over that change; with the sign that makes it bright. `weight` has shape [image, units], `bias` shape [units].
std::vector<float> reconstruct(std::span<const float> weight, std::span<const float> bias);

}  // namespace fewbits::federated
