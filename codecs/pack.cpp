#include "codecs/pack.h"

#include <bit>

#include "kernels/kernels.h"

namespace fewbits {
namespace {

class Pack final : public Coder {
 public:
  std::size_t max_bytes(std::size_t symbols, const Quantizer& quantizer) const noexcept override {
    return kernels::packed_bytes(symbols, symbol_bits(quantizer.alphabet_size()));
  }
  bool fixed_size() const noexcept override { return true; }

  void encode(const StageContext&, std::span<const std::int32_t> symbols, const SymbolModel& model,
              ByteWriter& out) const override {
    const unsigned bits = symbol_bits(model.size);
    kernels::pack(symbols, bits, out.grow(kernels::packed_bytes(symbols.size(), bits)));
  }

  // Where all of a symbol is in one place: symbols of 1, 2, 4, … bits.
  bool random_access(const Quantizer& quantizer) const noexcept override {
    return std::has_single_bit(symbol_bits(quantizer.alphabet_size()));
  }

  bool decode_part(std::span<const std::byte> bytes, const Quantizer& quantizer, std::size_t first,
                   std::span<std::int32_t> symbols) const noexcept override {
    const unsigned bits = symbol_bits(quantizer.alphabet_size());
    return kernels::unpack(bytes.subspan(first / 8 * bits, kernels::packed_bytes(symbols.size(), bits)), bits, symbols);
  }

  void decode(const StageContext&, ByteReader& in, const SymbolModel& model,
              std::span<std::int32_t> symbols) const override {
    const unsigned bits = symbol_bits(model.size);
    if (!kernels::unpack(in.bytes(kernels::packed_bytes(symbols.size(), bits)), bits, symbols))
      in.malformed("a padding bit is set");
  }
};

}  // namespace

const StageDescriptor kPack{
    .id = 8,
    .name = "pack",
    .summary = "the same number of bits for every symbol; what a chain ends with when it names no coder",
    .source = "layout: docs/frame-format.md",
    .parameters = {},
    .make_coder = [](const Parameters&) -> std::unique_ptr<Coder> { return std::make_unique<Pack>(); },
};

}  // namespace fewbits
