#include "codecs/zstd.h"

#include <zstd.h>

#include <memory>
#include <new>

#include "kernels/kernels.h"

namespace fewbits {
namespace {

constexpr ParameterSpec kParameters[] = {
    {.name = "level", .type = ParameterType::kInteger, .min = 1, .max = 19, .default_value = "3",
     .summary = "effort of the compressor; any level is decoded alike", .rate_wish = true},
};

struct FreeContext {
  void operator()(ZSTD_CCtx* context) const noexcept { ZSTD_freeCCtx(context); }
};

// The packed bytes as one zstd frame without content size, checksum and dictionary.
class Zstd final : public Coder {
 public:
  explicit Zstd(const Parameters& parameters) : level_(static_cast<int>(parameters.integer("level"))) {}

  std::size_t max_bytes(std::size_t symbols, const Quantizer& quantizer) const noexcept override {
    return ZSTD_compressBound(kernels::packed_bytes(symbols, symbol_bits(quantizer.alphabet_size())));
  }
  bool fixed_size() const noexcept override { return false; }

  std::size_t scratch_bytes(std::size_t symbols, const Quantizer& quantizer) const noexcept override {
    return Workspace::bytes_for<std::byte>(kernels::packed_bytes(symbols, symbol_bits(quantizer.alphabet_size()))) +
           Workspace::bytes_for<std::byte>(max_bytes(symbols, quantizer));
  }

  void encode(const StageContext& stage, std::span<const std::int32_t> symbols, const SymbolModel& model,
              ByteWriter& out) const override {
    const unsigned bits = symbol_bits(model.size);
    const Workspace::Scope scope(*stage.workspace);
    const auto packed = stage.workspace->take<std::byte>(kernels::packed_bytes(symbols.size(), bits));
    kernels::pack(symbols, bits, packed);
    const std::unique_ptr<ZSTD_CCtx, FreeContext> context(ZSTD_createCCtx());
    if (!context) throw std::bad_alloc();
    ZSTD_CCtx_setParameter(context.get(), ZSTD_c_compressionLevel, level_);
    ZSTD_CCtx_setParameter(context.get(), ZSTD_c_contentSizeFlag, 0);
    const auto compressed = stage.workspace->take<std::byte>(ZSTD_compressBound(packed.size()));
    const std::size_t size =
        ZSTD_compress2(context.get(), compressed.data(), compressed.size(), packed.data(), packed.size());
    if (ZSTD_isError(size)) throw std::bad_alloc();   // the buffer is large enough, so memory is all that can be missing
    out.bytes(compressed.first(size));
  }

  void decode(const StageContext& stage, ByteReader& in, const SymbolModel& model,
              std::span<std::int32_t> symbols) const override {
    const unsigned bits = symbol_bits(model.size);
    const auto compressed = in.rest();
    // Skippable frames carry no data, and a second frame is a trailing one.
    if (compressed.size() < 4 || ByteReader(compressed).u32() != ZSTD_MAGICNUMBER) in.malformed("no zstd frame");
    if (ZSTD_findFrameCompressedSize(compressed.data(), compressed.size()) != compressed.size())
      in.malformed("not one whole zstd frame");
    const Workspace::Scope scope(*stage.workspace);
    const auto packed = stage.workspace->take<std::byte>(kernels::packed_bytes(symbols.size(), bits));
    const std::size_t size = ZSTD_decompress(packed.data(), packed.size(), compressed.data(), compressed.size());
    if (ZSTD_isError(size) || size != packed.size())
      in.malformed("the zstd frame does not hold the " + std::to_string(packed.size()) + " bytes of its symbols");
    if (!kernels::unpack(packed, bits, symbols)) in.malformed("a padding bit is set");
  }

 private:
  int level_;
};

}  // namespace

const StageDescriptor kZstd{
    .id = 9,
    .name = "zstd",
    .summary = "the packed symbols compressed by zstd; worth it where symbols are far from equally likely",
    .source = "RFC 8878; libzstd",
    .parameters = kParameters,
    .make_coder = [](const Parameters& p) -> std::unique_ptr<Coder> { return std::make_unique<Zstd>(p); },
};

}  // namespace fewbits
