#include "federated/blas.h"

// OpenBLAS's own interface; absent where another BLAS is linked.
extern "C" {
__attribute__((weak)) void openblas_set_num_threads(int threads);
__attribute__((weak)) int openblas_get_parallel(void);  // 0: no threads, 1: its own, 2: OpenMP
}

namespace fewbits::federated {
namespace {

bool prepare() {
  if (openblas_set_num_threads != nullptr) openblas_set_num_threads(1);
  return openblas_get_parallel != nullptr && openblas_get_parallel() != 0;
}

}  // namespace

std::unique_lock<std::mutex> product_lock() {
  static const bool reentrant = prepare();
  static std::mutex mutex;
  return reentrant ? std::unique_lock<std::mutex>() : std::unique_lock<std::mutex>(mutex);
}

}  // namespace fewbits::federated
