#pragma once

// Products go to OpenBLAS, everything else of Eigen stays in the baseline instruction set.
#define EIGEN_USE_BLAS
#define EIGEN_DONT_PARALLELIZE
#include <Eigen/Core>
#include <mutex>

namespace fewbits::federated {

using Matrix = Eigen::Map<Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>>;
using ConstMatrix = Eigen::Map<const Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>>;

// To be held around matrix products. OpenBLAS is set to one thread a call, so that sums do not depend on free cores; a
// build without threads of its own (Debian's openblas-serial, 0.3.21) shares its scratch memory between calls without
// locks and gives wrong products now and then when called from two threads, so with such a one the lock is a real one.
std::unique_lock<std::mutex> product_lock();

}  // namespace fewbits::federated
