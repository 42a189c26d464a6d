#pragma once

#include <vector>

#include "fewbits/codec.h"
#include "tests/engine/support.h"

namespace fewbits::fuzz {

// The first byte of an input chooses one of these. New ones go to the end, so that the corpus keeps its meaning.
inline const std::vector<Codec>& codecs() {
  static const std::vector<Codec> all = [] {
    std::vector<Codec> made;
    for (const char* plan :
         {"f32", "f16", "bf16+zstd", "quantize:bits=1", "quantize:bits=3,block=10", "quantize:bits=8+zstd",
          "hadamard+quantize:bits=2", "hadamard:seed=client+f32", "mask:keep=0.3+quantize:bits=2",
          "mask:keep=0.3,seed=round+bf16", "hadamard+mask:keep=0.25+quantize:bits=4", "mask:keep=0.5+mask:keep=0.5+f32",
          "train=mask:keep=0.5 | hadamard+quantize:bits=2"})
      made.push_back(Codec::compile(plan, 37));
    for (const char* plan : {"*.bias=f32; *=hadamard+quantize:bits=2", "in.*=quantize:bits=2+zstd; out.*=f16; *=bf16",
                             "in.weight=f32; in.bias=mask:keep=0.5+f32; *=quantize:bits=7",
                             "train=lowrank:rank=2 | in.*=f32; *=quantize:bits=1"})
      made.push_back(Codec::compile(plan, test::net(60)));
    made.push_back(Codec::compile("quantize:bits=2", Layout(0)));
    made.push_back(Codec::compile("quantize:bits=2", 1));
    for (const char* plan : {"quantize:bits=4+rans", "f32+rans", "mask:keep=0.7+quantize:bits=1+rans", "bf16+rans"})
      made.push_back(Codec::compile(plan, 300));
    for (const char* plan : {"hadamard:seed=client+lloyd:bits=3", "ecsq:bits=2+pack", "qsgd:levels=3,bucket=8+pack",
                             "ternary+pack", "natural", "sign", "topk:keep=0.2+sign", "qsgd:levels=1"})
      made.push_back(Codec::compile(plan, 37));
    return made;
  }();
  return all;
}

inline constexpr RoundContext kContext{.seed = 42, .round = 3};
inline constexpr std::uint8_t kAsItIs = 0x80;  // set in the first byte: fingerprints and hashes of the input stay

}  // namespace fewbits::fuzz
