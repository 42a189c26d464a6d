#include <Eigen/Core>

#include "bench/cases.h"

namespace fewbits::bench {

Case eigen_low_rank(Shared<float> matrix, std::size_t side, std::size_t rank) {
  using Rows = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
  struct Factors {
    Eigen::MatrixXf q, p, z;
  };
  const auto n = static_cast<Eigen::Index>(side);
  const auto r = static_cast<Eigen::Index>(rank);
  auto factors = std::make_shared<Factors>();
  factors->q = Eigen::MatrixXf::Ones(n, r);
  factors->p = factors->z = Eigen::MatrixXf::Zero(n, r);
  return {"Eigen", Kind::kPeer, repeated([matrix, n, factors] {
            const Eigen::Map<const Rows> m(matrix->data(), n, n);
            factors->p.noalias() = m * factors->q;
            factors->z.noalias() = m.transpose() * factors->p;
          })};
}

}  // namespace fewbits::bench
