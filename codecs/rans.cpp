#include "codecs/rans.h"

#include "kernels/kernels.h"

namespace fewbits {
namespace {

enum Mode : std::uint8_t { kPacked = 0 };

class Rans final : public Coder {
 public:
  std::size_t max_bytes(std::size_t symbols, const Quantizer& quantizer) const noexcept override {
    if (quantizer.knows_distribution()) return RansWriter::bytes_for(quantizer.max_symbol_bits());
    if (is_empty(symbols, quantizer.alphabet_size())) return 0;
    return 1 + kernels::packed_bytes(symbols, symbol_bits(quantizer.alphabet_size()));
  }
  bool fixed_size() const noexcept override { return false; }
  bool takes_distribution() const noexcept override { return true; }
  std::size_t scratch_bytes(std::size_t, const Quantizer& quantizer) const noexcept override {
    if (!quantizer.knows_distribution()) return 0;
    return Workspace::bytes_for<std::uint16_t>(RansWriter::words_for(quantizer.max_symbol_bits()));
  }

  void encode(const StageContext& context, std::span<const std::int32_t> symbols, const SymbolModel& model,
              ByteWriter& out) const override {
    const Workspace::Scope scope(*context.workspace);
    if (model.known != nullptr) {
      RansWriter writer(context.workspace->take<std::uint16_t>(RansWriter::words_for(model.known->max_symbol_bits())));
      model.known->write_symbols(model.quantizer_context, model.quantizer_side, symbols, writer);
      writer.finish(out.grow(writer.bytes()));
      return;
    }
    if (is_empty(symbols.size(), model.size)) return;
    const unsigned bits = symbol_bits(model.size);
    out.u8(kPacked);
    kernels::pack(symbols, bits, out.grow(kernels::packed_bytes(symbols.size(), bits)));
  }

  void decode(const StageContext& context, ByteReader& in, const SymbolModel& model,
              std::span<std::int32_t> symbols) const override {
    const Workspace::Scope scope(*context.workspace);
    if (model.known != nullptr) {
      RansReader reader(in.rest());
      model.known->read_symbols(model.quantizer_context, model.quantizer_side, reader, symbols);
      if (!reader.ok()) in.malformed("not a range coder's stream of these symbols");
      return;
    }
    std::ranges::fill(symbols, 0);
    if (is_empty(symbols.size(), model.size)) return;
    if (const unsigned mode = in.u8(); mode != kPacked)
      in.malformed("way " + std::to_string(mode) + " to code symbols is unknown; it is 0");
    const unsigned bits = symbol_bits(model.size);
    if (!kernels::unpack(in.bytes(kernels::packed_bytes(symbols.size(), bits)), bits, symbols))
      in.malformed("a padding bit is set");
  }

 private:
  static bool is_empty(std::size_t symbols, std::uint64_t alphabet) noexcept { return symbols == 0 || alphabet <= 1; }
};

}  // namespace

const StageDescriptor kRans{
    .id = 10,
    .name = "rans",
    .summary = "a range coder: about the symbols' entropy, whatever their alphabet; never more than two bytes over pack",
    .source = "Duda 2013, arXiv 1311.2540; interleaved states: Giesen 2014, arXiv 1402.3392",
    .parameters = {},
    .make_coder = [](const Parameters&) -> std::unique_ptr<Coder> { return std::make_unique<Rans>(); },
};

}  // namespace fewbits
