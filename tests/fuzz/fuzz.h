#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

// A fuzzer defines `accepts`. Built with libFuzzer, and with regression_driver.cpp by any compiler.
namespace fewbits::fuzz {

// Whether the library takes the input; ends the program where it breaks a promise.
bool accepts(std::span<const std::uint8_t> input);

inline void require(bool promise) {
  if (!promise) __builtin_trap();
}

}  // namespace fewbits::fuzz
