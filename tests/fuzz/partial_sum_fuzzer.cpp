#include <cmath>
#include <cstring>

#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/plans.h"

// One byte for the plan, then a partial sum, with fingerprint, hash of the seed and hash of the whole put right.
namespace fewbits::fuzz {

bool accepts(std::span<const std::uint8_t> input) {
  if (input.empty()) return false;
  const Codec& codec = codecs()[(input[0] & ~kAsItIs) % codecs().size()];
  const auto given = std::as_bytes(input.subspan(1));
  std::vector<std::byte> bytes(given.begin(), given.end());
  if ((input[0] & kAsItIs) == 0) {
    const std::uint64_t known[] = {codec.fingerprint(), stream_key({kContext.seed})};
    if (bytes.size() >= 2 + sizeof known) std::memcpy(bytes.data() + 2, known, sizeof known);
    test::reseal_partial_sum(bytes);
  }
  try {
    Aggregator sum = Aggregator::restore(codec, kContext, bytes);
    require(sum.serialize() == bytes);  // one sum has one encoding
    require(std::isfinite(sum.total_weight()) && sum.clients() <= bytes.size());
    try {
      require(test::all_finite(sum.mean()));
    } catch (const Error& error) {
      require(error.code() == Errc::kTooLarge || error.code() == Errc::kEmpty);
    }
    return true;
  } catch (const Error&) {
    return false;
  }
}

}  // namespace fewbits::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  fewbits::fuzz::accepts({data, size});
  return 0;
}
