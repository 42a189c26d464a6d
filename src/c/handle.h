#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <exception>
#include <new>
#include <span>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "fewbits/c/error.h"
#include "fewbits/error.h"

// What all functions of the C interface share: handles that know their type, and the border that exceptions do not
// cross.
namespace fewbits::c {

// The first word of every handle, so that one of another type is refused instead of read.
enum class Kind : std::uint32_t {
  kCodec = 0x66620001,
  kEncoder,
  kAggregator,
  kProfile,
  kLearner,
  kFeedback,
};

template <class T, Kind kOwn>
struct Handle {
  using Value = T;
  static constexpr Kind kKind = kOwn;

  explicit Handle(T the_value) : value(std::move(the_value)) {}

  Kind kind = kOwn;
  T value;
};

constexpr const char* name_of(Kind kind) noexcept {
  switch (kind) {
    case Kind::kCodec:
      return "codec";
    case Kind::kEncoder:
      return "encoder";
    case Kind::kAggregator:
      return "aggregator";
    case Kind::kProfile:
      return "profile";
    case Kind::kLearner:
      return "learner";
    case Kind::kFeedback:
      return "error feedback";
  }
  return "handle";
}

template <class H>
bool is(const H* handle) noexcept {
  if (handle == nullptr) return false;
  Kind kind;
  std::memcpy(&kind, static_cast<const void*>(handle), sizeof(kind));
  return kind == H::kKind;
}

// The object of a handle; throws kBadArgument where it is none of this type.
template <class H>
auto& use(H* handle) {
  if (!is(handle))
    throw Error(Errc::kBadArgument, std::string("the ") + name_of(H::kKind) +
                                        (handle == nullptr ? " is NULL" : " is a handle of another type"));
  return handle->value;
}

template <class H>
void release(H* handle) noexcept {
  if (is(handle)) delete handle;
}

template <class T>
T& required(T* pointer, const char* name) {
  if (pointer == nullptr) throw Error(Errc::kBadArgument, std::string(name) + " is NULL");
  return *pointer;
}

template <class T>
std::span<T> array(T* pointer, std::size_t count, const char* name) {
  if (count != 0) required(pointer, name);
  return {pointer, count};
}

inline std::span<const std::byte> bytes(const std::uint8_t* pointer, std::size_t count, const char* name) {
  return std::as_bytes(array(pointer, count, name));
}

// A result that does not fit into the caller's buffer.
class ShortBuffer : public std::length_error {
 public:
  using std::length_error::length_error;
};

// Copies a result into the caller's buffer; throws ShortBuffer where it is too short.
template <class From, class To>
void put(std::span<const From> result, To* buffer, std::size_t capacity, const char* name) {
  static_assert(sizeof(From) == sizeof(To) && std::is_trivially_copyable_v<From>);
  if (result.size() > capacity)
    throw ShortBuffer(std::string(name) + " takes " + std::to_string(result.size()) + ", the buffer has " +
                      std::to_string(capacity));
  array(buffer, result.size(), name);
  if (!result.empty()) std::memcpy(buffer, result.data(), result.size_bytes());
}

// The same for bytes, whose length the caller is told either way.
inline void put_bytes(std::span<const std::byte> result, std::uint8_t* buffer, std::size_t capacity,
                      std::size_t* size) {
  required(size, "size") = result.size();
  put(result, buffer, capacity, "bytes");
}

// Writes what happened to the caller's error, if there is one; allocates nothing.
fewbits_code report(fewbits_error* error, fewbits_code code, const char* message,
                    std::size_t offset = Error::kNoOffset) noexcept;

// Reports the exception that is being handled.
fewbits_code report_exception(fewbits_error* error) noexcept;

// Runs `work`, and turns what it throws into a code.
template <class Work>
fewbits_code guarded(fewbits_error* error, Work work) noexcept {
  try {
    work();
  } catch (...) {
    return report_exception(error);
  }
  return report(error, FEWBITS_OK, "");
}

// The same for a work that gives the value of a new handle; the handle is NULL where it fails.
template <class H, class Make>
fewbits_code made(H** handle, fewbits_error* error, Make make) noexcept {
  if (handle != nullptr) *handle = nullptr;
  return guarded(error, [&] {
    H*& place = required(handle, "the place for the new handle");
    place = new H(make());
  });
}

}  // namespace fewbits::c
