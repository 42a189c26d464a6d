#include "kernels/targets.h"

#include <atomic>
#include <cstdlib>

namespace fewbits::targets {

extern const Kernels kPortable;
#if defined(FEWBITS_X86)
extern const Kernels kAvx2;
extern const Kernels kAvx512;
#elif defined(FEWBITS_ARM)
extern const Kernels kNeon;
#endif

namespace {

struct Available {
  const Kernels* all[3] = {&kPortable};
  std::size_t count = 1;

  Available() noexcept {
#if defined(FEWBITS_X86)
    __builtin_cpu_init();
    if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma")) return;
    all[count++] = &kAvx2;
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
        __builtin_cpu_supports("avx512dq"))
      all[count++] = &kAvx512;
#elif defined(FEWBITS_ARM)
    all[count++] = &kNeon;
#endif
  }
};

const Kernels* best() noexcept {
  const auto all = available();
  if (const char* wanted = std::getenv("FEWBITS_TARGET"))
    for (const Kernels* kernels : all)
      if (kernels->name == wanted) return kernels;
  return all.back();
}

std::atomic<const Kernels*>& current() noexcept {
  static std::atomic<const Kernels*> kernels = best();
  return kernels;
}

}  // namespace

std::span<const Kernels* const> available() noexcept {
  static const Available found;
  return {found.all, found.count};
}

const Kernels& chosen() noexcept { return *current().load(std::memory_order_relaxed); }
void choose(const Kernels& kernels) noexcept { current().store(&kernels, std::memory_order_relaxed); }

}  // namespace fewbits::targets
