#include <string_view>

#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/plans.h"

// One byte for the layout, then the text of a plan.
namespace fewbits::fuzz {
namespace {

const std::vector<Layout>& layouts() {
  static const std::vector<Layout> all = {Layout(37), test::net(60), Layout(0), Layout(1),
                                          Layout({{"a.bias", {3}}, {"b", {}}, {"c", {0}}, {"*", {4, 5}}})};
  return all;
}

}  // namespace

bool accepts(std::span<const std::uint8_t> input) {
  if (input.empty()) return false;
  const Layout& layout = layouts()[input[0] % layouts().size()];
  const std::string_view text(reinterpret_cast<const char*>(input.data()) + 1, input.size() - 1);
  try {
    const Codec codec = Codec::compile(text, layout);
    const Codec again = Codec::compile(codec.plan(), layout);
    require(again.plan() == codec.plan() && again.fingerprint() == codec.fingerprint());
    require(codec.elements() <= layout.elements());
    const Description promise = codec.describe();
    require(promise.plan == codec.plan() && promise.parameters == codec.elements());
    const Context keys{kContext.seed, kContext.round, 17};
    const auto frame = codec.encode(test::normal(codec.elements(), 1), keys);
    require(frame.size() <= codec.max_frame_size());
    require(test::all_finite(codec.decode(frame, {kContext.seed})));
    return true;
  } catch (const Error& error) {
    require(error.code() == Errc::kBadPlan && error.offset() <= text.size());
    return false;
  }
}

}  // namespace fewbits::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  fewbits::fuzz::accepts({data, size});
  return 0;
}
