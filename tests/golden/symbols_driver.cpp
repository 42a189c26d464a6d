// `rans` between symbols and bytes, for golden_test.py: contexts, and alphabets that no quantizer has.
//
//   symbols_driver encode ALPHABET CONTEXTS in.u32 contexts.u16 out.bytes
//   symbols_driver decode ALPHABET CONTEXTS in.bytes contexts.u16 out.u32
//
// There are as many symbols as contexts. A refusal is one line on stderr and exit code 2.
#include <cstring>
#include <fstream>
#include <iostream>
#include <iterator>
#include <stdexcept>
#include <string>
#include <vector>

#include "codecs/rans.h"
#include "stage.h"

namespace {

using namespace fewbits;

class AnySymbols final : public Quantizer {
 public:
  AnySymbols(std::uint64_t alphabet, std::uint32_t contexts) : alphabet_(alphabet), contexts_(contexts) {}
  Traits traits(const InputTraits&) const override { return {}; }
  std::uint64_t alphabet_size() const noexcept override { return alphabet_; }
  std::uint32_t context_count() const noexcept override { return contexts_; }
  void quantize(const StageContext&, std::span<const float>, std::span<std::int32_t>, ByteWriter&) const override {}
  double check_symbols(const StageContext&, std::span<const std::byte>, std::span<const std::int32_t>) const override {
    return 0;
  }
  void accumulate(const StageContext&, std::span<const std::byte>, std::span<const std::int32_t>, double,
                  std::span<double>) const noexcept override {}

 private:
  std::uint64_t alphabet_;
  std::uint32_t contexts_;
};

template <class T>
std::vector<T> read(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  if (!in) throw std::runtime_error("cannot read " + path);
  const std::string text{std::istreambuf_iterator<char>(in), {}};
  std::vector<T> values(text.size() / sizeof(T));
  if (!values.empty()) std::memcpy(values.data(), text.data(), values.size() * sizeof(T));
  return values;
}

void write(const std::string& path, std::span<const std::byte> bytes) {
  std::ofstream out(path, std::ios::binary);
  for (const std::byte byte : bytes) out.put(static_cast<char>(byte));
  if (!out) throw std::runtime_error("cannot write " + path);
}

int run(const std::vector<std::string>& arguments) {
  if (arguments.size() != 6) throw std::runtime_error("six arguments are due");
  const AnySymbols quantizer(std::stoull(arguments[1]), static_cast<std::uint32_t>(std::stoul(arguments[2])));
  const auto contexts = read<std::uint16_t>(arguments[4]);
  const auto coder = kRans.make_coder(Parameters("rans", {}, ""));
  Workspace workspace;
  workspace.reserve(coder->workspace_bytes() + coder->scratch_bytes(contexts.size(), quantizer));
  SymbolModel model;
  model.size = quantizer.alphabet_size();
  model.context_count = quantizer.context_count();
  if (model.context_count > 1) model.contexts = contexts;
  const StageContext context{.keys = {}, .workspace = &workspace};
  if (arguments[0] == "encode") {
    const auto symbols = read<std::int32_t>(arguments[3]);
    if (symbols.size() != contexts.size()) throw std::runtime_error("as many symbols as contexts are due");
    std::vector<std::byte> out;
    ByteWriter writer(out);
    coder->encode(context, symbols, model, writer);
    write(arguments[5], out);
  } else {
    const auto bytes = read<std::byte>(arguments[3]);
    std::vector<std::int32_t> symbols(contexts.size());
    ByteReader reader(bytes);
    coder->decode(context, reader, model, symbols);
    reader.expect_end();
    write(arguments[5], std::as_bytes(std::span(symbols)));
  }
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    return run({argv + 1, argv + argc});
  } catch (const Error& error) {
    std::cerr << error.what() << '\n';
    return 2;
  } catch (const std::exception& error) {
    std::cerr << error.what() << '\n';
    return 1;
  }
}
