#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

// Low-rank approximation of matrices. Every sum has one order, so that results are the same on every machine.
namespace fewbits::kernels {

// Subspace iteration, as PowerSGD does it (Vogels et al. 2019, arXiv 1905.13727, algorithm 1): P = M Q, P made orthonormal,
// Q = Mᵀ P, `iterations` (≥ 1) times over. `matrix` (shape [rows, columns]) is finite and not empty.
// right (shape [rank, columns]) holds the start, finite and of any scale, and then Q over the unit that is returned, a power of two:
// M ≈ unit · Σ_k left_k ⊗ right_k. left (shape [rank, rows]) receives P: columns of norm 1, or zeros where the products depend on
// those before. energies (shape [rank]) are the squared norms of Q. products (as `right`) and triangle (shape [rank, rank]) are
// room to work in.
double low_rank(std::span<const float> matrix, std::size_t rows, std::size_t columns, std::size_t rank, std::size_t iterations,
                std::span<float> right, std::span<double> left, std::span<double> energies, std::span<float> products,
                std::span<double> triangle) noexcept;

// ‖M‖².
double low_rank_energy(std::span<const float> matrix) noexcept;

// out (shape [columns]) = row `row` of Σ_k left_k ⊗ right_k, summed over k in rising order. factors (shape [rank, rows + columns])
// are left_0, right_0, left_1, right_1, …
void low_rank_row(std::span<const double> factors, std::size_t rank, std::size_t rows, std::size_t columns, std::size_t row,
                  std::span<double> out) noexcept;

}  // namespace fewbits::kernels
