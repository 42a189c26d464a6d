#include "codecs/rans.h"

#include <algorithm>
#include <bit>

#include "kernels/kernels.h"
#include "kernels/rans_models.h"
#include "kernels/tokens.h"

namespace fewbits {
namespace {

// How the symbols of a frame are coded, as its first byte says.
enum Way : unsigned { kPacked = 0, kTable = 1, kAdaptive = 2 };
constexpr unsigned kWayMask = 3;
constexpr unsigned kContexts = 1u << 2;
constexpr unsigned kSmooth = 1u << 3;
constexpr unsigned kFast = 1u << 4;
constexpr unsigned kClasses = 1u << 5;
constexpr unsigned kFrequent = 1u << 6;
constexpr unsigned kOneLane = 1u << 7;

constexpr std::uint64_t kMaxAdaptiveWork = 1u << 26;   // symbols × tokens: a bound of the time that a frame can take
constexpr std::size_t kSomeCells = 512;             // contexts × tokens, for any number of symbols
constexpr std::size_t kSample = 4096;               // symbols in which the encoder looks for a frequent one
constexpr std::uint64_t kThinLane = 1000;           // bytes a lane below which several cost more than they are worth

bool nothing_to_say(std::size_t symbols, std::uint64_t alphabet) noexcept { return symbols == 0 || alphabet <= 1; }

bool adaptive_allowed(std::size_t symbols, std::size_t tokens) noexcept { return symbols <= kMaxAdaptiveWork / tokens; }
bool contexts_allowed(std::size_t symbols, std::size_t tokens, std::size_t contexts) noexcept {
  return contexts > 1 && contexts * tokens <= kSomeCells + 2 * symbols;
}

unsigned lanes_for(std::size_t symbols, unsigned way) noexcept {
  if ((way & kOneLane) != 0) return 1;
  return static_cast<unsigned>(std::bit_floor(std::clamp<std::size_t>(symbols >> 15, 1, kMaxRansLanes)));
}

// `count` bits as they are, the low 15 first.
void put_raw(RansWriter& writer, unsigned lane, std::uint32_t value, unsigned count) noexcept {
  if (count > kRansBits) put_raw(writer, lane, value >> kRansBits, count - kRansBits);
  const unsigned low = std::min(count, kRansBits);
  writer.put_bits(lane, value & ((1u << low) - 1), low);
}

std::uint32_t raw(RansReader& reader, unsigned lane, unsigned count) noexcept {
  const std::uint32_t low = reader.bits(lane, std::min(count, kRansBits));
  return count <= kRansBits ? low : low | raw(reader, lane, count - kRansBits) << kRansBits;
}

// Sizes of scratch memory, for the most tokens that an alphabet can have.
struct Room {
  Room(std::size_t symbols, std::uint64_t alphabet, std::size_t contexts) noexcept
      : tokens(alphabet <= Tokens::kDirect ? alphabet : Tokens::kMost), cells(tokens) {
    if (contexts > 1) cells = std::max(tokens, std::min(contexts * tokens, kSomeCells + 2 * symbols));
    borders = cells + cells / 2;
    adaptive = cells + 2 * (cells / 2) + FollowingModel::words_for(tokens);
    log = std::max(symbols, 2 * cells);
    sample = alphabet <= Tokens::kDirect ? 0 : std::min(symbols, kSample);
    cut_counts = alphabet <= Tokens::kDirect ? 0 : tokens;
    packed = kernels::packed_bytes(symbols, symbol_bits(alphabet));
    words = RansWriter::words_for(8 * packed);
  }

  std::size_t bytes() const noexcept {
    const auto words32 = [](std::size_t count) { return Workspace::bytes_for<std::uint32_t>(count); };
    const auto words16 = [](std::size_t count) { return Workspace::bytes_for<std::uint16_t>(count); };
    const std::size_t encoding = words32(sample) + words32(cut_counts) + words32(tokens) + words32(cells) +
                                 words16(tokens + 1) + words16(borders) + words32(adaptive) + words32(log) + words16(words);
    const std::size_t decoding = 2 * words32(cells) + words16(borders) + words16(2 * cells) + words32(adaptive);
    return std::max(encoding, decoding);
  }

  std::size_t tokens;   // at most
  std::size_t cells;    // contexts × tokens, where contexts are used
  std::size_t borders;
  std::size_t adaptive;
  std::size_t log;
  std::size_t sample;
  std::size_t cut_counts;
  std::size_t packed;
  std::size_t words;
};

struct Input {
  std::span<const std::int32_t> symbols;
  std::span<const std::uint16_t> contexts;
  std::uint64_t alphabet;
  std::size_t context_count;

  std::uint32_t symbol(std::size_t i) const noexcept { return static_cast<std::uint32_t>(symbols[i]); }
};

// Σ count·log2(total/count), rounded down.
std::uint64_t entropy_bits(std::span<const std::uint32_t> counts, std::uint64_t total) noexcept {
  std::uint64_t sum = 0;
  for (const std::uint32_t count : counts)
    if (count != 0) sum += count * (log2_fixed(total) - log2_fixed(count));
  return sum >> 16;
}

Tokens::Cut cut(unsigned way, std::uint32_t frequent) noexcept {
  return {.classes = (way & kClasses) != 0, .has_frequent = (way & kFrequent) != 0, .frequent = frequent};
}

// How symbols of a large alphabet are cut: what looks shortest by the counts of tokens. Its flags go to `way`.
Tokens choose_tokens(Workspace& workspace, const Input& in, const Room& room, unsigned& way) {
  if (in.alphabet <= Tokens::kDirect) return {in.alphabet, {}};
  const Workspace::Scope scope(workspace);
  const auto sample = workspace.take<std::uint32_t>(room.sample);
  for (std::size_t i = 0; i < sample.size(); ++i) sample[i] = in.symbol(i * in.symbols.size() / sample.size());
  std::ranges::sort(sample);
  std::uint32_t frequent = 0;
  std::size_t most = 1;   // what is there once is not frequent
  for (std::size_t i = 0, run = 0; i < sample.size(); ++i) {
    run = i > 0 && sample[i] == sample[i - 1] ? run + 1 : 1;
    if (run > most) most = run, frequent = sample[i];
  }

  constexpr std::uint64_t kTokenBits = 8;   // that a token costs a table, or what it takes to learn it
  const auto counts = workspace.take<std::uint32_t>(room.cut_counts);
  std::uint64_t shortest = ~std::uint64_t{0};
  unsigned best = 0;
  for (const unsigned kind : {0u, kClasses}) {
    for (const unsigned flag : {0u, kFrequent}) {
      if (flag != 0 && most == 1) continue;
      const Tokens tokens(in.alphabet, cut(kind | flag, frequent));
      const auto own = counts.first(tokens.count());
      std::ranges::fill(own, 0u);
      for (std::size_t i = 0; i < in.symbols.size(); ++i) ++own[tokens.token(in.symbol(i))];
      std::uint64_t bits = entropy_bits(own, in.symbols.size()) + (flag != 0 ? symbol_bits(in.alphabet) : 0);
      for (std::size_t token = 0; token < own.size(); ++token)
        bits += static_cast<std::uint64_t>(own[token]) * tokens.raw_bits(token) + (own[token] != 0 ? kTokenBits : 0);
      if (bits >= shortest) continue;
      shortest = bits;
      best = kind | flag;
    }
  }
  way |= best;
  return {in.alphabet, cut(way, frequent)};
}

// Whether whole rounds of lanes can be coded at once under one table.
bool by_rounds(const Tokens& tokens, std::uint64_t alphabet, unsigned lanes) noexcept {
  return lanes == kMaxRansLanes && alphabet <= Tokens::kDirect && tokens.count() <= kRansTableSymbols;
}

struct RoundBorders {
  explicit RoundBorders(std::span<const std::uint16_t> borders) noexcept {
    std::ranges::fill(all, static_cast<std::uint16_t>(kRansTotal));
    std::ranges::copy(borders, all);
  }
  std::uint16_t all[kRansTableSymbols + 1];
};

class Encoding {
 public:
  Encoding(Workspace& workspace, const Input& input, const Room& room)
      : workspace_(workspace),
        in_(input),
        room_(room),
        tokens_(choose_tokens(workspace, input, room, cut_)),
        contexts_(contexts_allowed(in_.symbols.size(), tokens_.count(), in_.context_count) ? in_.context_count : 1),
        total_(workspace.take<std::uint32_t>(tokens_.count())),
        counts_(workspace.take<std::uint32_t>(contexts_ > 1 ? contexts_ * tokens_.count() : 0)),
        total_borders_(workspace.take<std::uint16_t>(tokens_.count() + 1)),
        borders_(workspace.take<std::uint16_t>(contexts_ > 1 ? contexts_ * (tokens_.count() + 1) : 0)) {}

  // Appends the stream, with the byte that says how; false, with nothing written, where it is not under `limit` bytes.
  bool write(std::size_t limit, ByteWriter& out) {
    count();
    std::uint64_t bits = 0;
    unsigned way = choose(bits);
    if (bits > 8 * limit) return false;
    lanes_ = lanes_for(size(), way);
    if (lanes_ > 1 && bits < 8 * kThinLane * lanes_) way |= kOneLane, lanes_ = 1;
    RansWriter writer(workspace_.take<std::uint16_t>(room_.words));
    writer.begin(lanes_);
    if ((way & kWayMask) == kTable) {
      put_by_table(way, writer);
    } else {
      put_adaptively(way, writer);
    }
    if (tokens_.has_frequent()) put_raw(writer, 0, tokens_.frequent(), symbol_bits(in_.alphabet));
    if (writer.bytes() >= limit) return false;
    out.u8(static_cast<std::uint8_t>(way));
    writer.finish(out.grow(writer.bytes()));
    return true;
  }

 private:
  std::size_t size() const noexcept { return in_.symbols.size(); }
  // Symbols on which adaptive models are tried: fewer where each takes longer.
  std::size_t trial() const noexcept { return std::clamp<std::size_t>((1u << 17) / tokens_.count(), 512, 4096); }
  std::size_t token(std::size_t i) const noexcept { return tokens_.token(in_.symbol(i)); }
  std::size_t context(std::size_t i, unsigned way) const noexcept { return (way & kContexts) != 0 ? in_.contexts[i] : 0; }
  std::size_t contexts(unsigned way) const noexcept { return (way & kContexts) != 0 ? contexts_ : 1; }
  std::span<const std::uint32_t> counts(std::size_t context, unsigned way) const noexcept {
    return (way & kContexts) == 0 ? total_ : counts_.subspan(context * tokens_.count(), tokens_.count());
  }
  std::span<std::uint16_t> borders(std::size_t context, unsigned way) const noexcept {
    const std::size_t step = tokens_.count() + 1;
    return (way & kContexts) == 0 ? total_borders_ : borders_.subspan(context * step, step);
  }
  RansInterval interval(std::size_t i, unsigned way) const noexcept {
    const auto starts = borders(context(i, way), way).subspan(token(i), 2);
    return {starts[0], static_cast<std::uint32_t>(starts[1] - starts[0])};
  }

  void count() {
    std::ranges::fill(total_, 0u);
    std::ranges::fill(counts_, 0u);
    if (contexts_ == 1 && in_.alphabet <= kRansTableSymbols) return count_all();
    for (std::size_t i = 0; i < size(); ++i) {
      const std::size_t own = token(i);
      ++total_[own];
      if (contexts_ > 1) ++counts_[in_.contexts[i] * tokens_.count() + own];
    }
  }

  void count_all() {
    std::uint32_t all[kRansTableSymbols] = {};
    kernels::count_symbols(in_.symbols, all);
    std::copy_n(all, total_.size(), total_.begin());
  }

  // The shortest way; `bits` is its length.
  unsigned choose(std::uint64_t& bits) {
    std::uint64_t always = tokens_.has_frequent() ? symbol_bits(in_.alphabet) : 0;
    for (std::size_t token = 0; token < total_.size(); ++token)
      always += static_cast<std::uint64_t>(total_[token]) * tokens_.raw_bits(token);
    unsigned best = cut_ | kTable;
    bits = table_bits(best);
    const auto consider = [&](unsigned way, std::uint64_t length) {
      if (length < bits) bits = length, best = way;
    };
    if (contexts_ > 1) consider(cut_ | kTable | kContexts, table_bits(cut_ | kTable | kContexts));
    if (adaptive_allowed(size(), tokens_.count()) && (contexts_ > 1 || may_change())) {
      const unsigned way = likely_adaptive();
      if (size() <= 4 * trial() || follows_better(way, best)) {
        consider(way, adaptive_bits(way, 0, size()));
        if (size() >= AdaptiveOptions::kMinFastSymbols)
          consider(way | kFast, adaptive_bits(way | kFast, 0, size()));
      }
    }
    bits += always;
    return best;
  }

  // Whether the distribution seems to change on the way, so that adaptive models, which take long to try, may save 1/256.
  // Looked at where the table is fast: blocks of some pieces, each coded by its own counts, take less than the table by what
  // counts of so few symbols take from their entropy, (T − 1)/2·log2 e bits a block, and by what the changes are worth.
  bool may_change() const {
    if (!by_rounds(tokens_, in_.alphabet, lanes_for(size(), 0))) return true;
    constexpr std::size_t kPieces = 8, kBlocks = 8, kBlock = 512;
    std::uint32_t pieces[kRansTableSymbols] = {};
    std::uint64_t own_bits = 0;
    for (std::size_t piece = 0; piece < kPieces; ++piece)
      for (std::size_t block = 0; block < kBlocks; ++block) {
        std::uint32_t counts[kRansTableSymbols] = {};
        const std::size_t first = (size() - kBlocks * kBlock) / (kPieces - 1) * piece + block * kBlock;
        for (std::size_t i = first; i < first + kBlock; ++i) ++counts[in_.symbol(i)];
        for (std::size_t k = 0; k < kRansTableSymbols; ++k) pieces[k] += counts[k];
        own_bits += entropy_bits(counts, kBlock);
      }
    std::uint64_t occurring = 0;
    std::uint64_t table = 0;   // in 2^-16 bits
    for (std::size_t k = 0; k < kRansTableSymbols; ++k) {
      if (pieces[k] == 0) continue;
      ++occurring;
      table += pieces[k] * ((std::uint64_t{kRansBits} << 16) -
                            log2_fixed(static_cast<std::uint64_t>(total_borders_[k + 1] - total_borders_[k])));
    }
    const std::uint64_t bits = table >> 16;
    return own_bits + kPieces * kBlocks * (occurring - 1) * 47'274 / 65'536 < bits - bits / 256;
  }

  // Options of the adaptive model that suit the first symbols.
  unsigned likely_adaptive() {
    unsigned best = 0;
    std::uint64_t shortest = ~std::uint64_t{0};
    for (const unsigned contexts : {kContexts, 0u}) {
      for (const unsigned smooth : {kSmooth, 0u}) {
        if ((contexts != 0 && contexts_ == 1) || (smooth != 0 && tokens_.count() < AdaptiveOptions::kMinSmoothTokens)) continue;
        const unsigned way = cut_ | kAdaptive | contexts | smooth;
        const std::uint64_t length = adaptive_bits(way, 0, std::min(size(), trial()));
        if (length < shortest) shortest = length, best = way;
      }
    }
    return best;
  }

  // Whether an adaptive model does better than the tables on pieces of the symbols, although it learns each anew: where
  // the distribution changes on the way.
  bool follows_better(unsigned adaptive, unsigned table) {
    constexpr std::size_t kPieces = 4;
    std::uint64_t following = 0;
    CodeLength fixed;
    for (std::size_t piece = 0; piece < kPieces; ++piece) {
      const std::size_t first = (size() - trial()) / (kPieces - 1) * piece;
      following += std::min(adaptive_bits(adaptive, first, trial()), adaptive_bits(adaptive | kFast, first, trial()));
      for (std::size_t i = first; i < first + trial(); ++i) fixed.add(interval(i, table));
    }
    return following < fixed.bits();
  }

  AdaptiveModel adaptive_model(unsigned way) {
    return {workspace_.take<std::uint32_t>(AdaptiveModel::words_for(contexts(way), tokens_.count())), tokens_.count(),
            {.smooth = (way & kSmooth) != 0, .fast = (way & kFast) != 0}};
  }

  std::uint64_t adaptive_bits(unsigned way, std::size_t first, std::size_t count) {
    const Workspace::Scope scope(workspace_);
    AdaptiveModel model = adaptive_model(way);
    CodeLength length;
    for (std::size_t i = first; i < first + count; ++i) {
      length.add(model.interval(context(i, way), token(i)));
      model.follow(context(i, way), token(i));
    }
    return length.bits();
  }

  // Each table, in the order of contexts, to put(RansInterval).
  template <class Put>
  void tables(unsigned way, Put put) const {
    std::uint32_t memory[FollowingModel::words_for(count_table::kWidths)];
    FollowingModel widths{memory};
    widths.begin();
    for (std::size_t c = 0; c < contexts(way); ++c)
      if (std::ranges::any_of(counts(c, way), [](std::uint32_t n) { return n != 0; }))
        count_table::write(counts(c, way), widths, put);
  }

  // Makes the borders, too.
  std::uint64_t table_bits(unsigned way) {
    CodeLength table;
    tables(way, [&](RansInterval symbol) { table.add(symbol); });
    std::uint64_t sum = 0;
    for (std::size_t c = 0; c < contexts(way); ++c) {
      const auto own = counts(c, way);
      if (std::ranges::none_of(own, [](std::uint32_t n) { return n != 0; })) continue;
      const auto starts = borders(c, way);
      count_table::borders(own, starts);
      for (std::size_t token = 0; token < own.size(); ++token)
        if (own[token] != 0)
          sum += own[token] *
                 ((std::uint64_t{kRansBits} << 16) - log2_fixed(static_cast<std::uint64_t>(starts[token + 1] - starts[token])));
    }
    return table.bits() + (sum >> 16) + 1;
  }

  void put_symbol(std::size_t i, RansInterval symbol, RansWriter& writer) const {
    const auto lane = static_cast<unsigned>(i & (lanes_ - 1));
    const std::size_t own = token(i);
    put_raw(writer, lane, in_.symbol(i) - tokens_.first_symbol(own), tokens_.raw_bits(own));
    writer.put(lane, symbol);
  }

  void put_by_table(unsigned way, RansWriter& writer) {
    std::size_t left = size();
    if (contexts(way) == 1 && by_rounds(tokens_, in_.alphabet, lanes_)) {
      for (; left % lanes_ != 0; --left) put_symbol(left - 1, interval(left - 1, way), writer);
      left = writer.put_table(RoundBorders(borders(0, way)).all, in_.symbols.first(left));
    }
    while (left-- > 0) put_symbol(left, interval(left, way), writer);
    const Workspace::Scope scope(workspace_);
    const auto log = workspace_.take<std::uint32_t>(room_.log);
    std::size_t logged = 0;
    tables(way, [&](RansInterval symbol) { log[logged++] = packed(symbol); });
    while (logged-- > 0) writer.put(0, unpacked(log[logged]));
  }

  // The model goes forwards, the writer backwards.
  void put_adaptively(unsigned way, RansWriter& writer) {
    const Workspace::Scope scope(workspace_);
    const auto log = workspace_.take<std::uint32_t>(size());
    AdaptiveModel model = adaptive_model(way);
    for (std::size_t i = 0; i < size(); ++i) {
      log[i] = packed(model.interval(context(i, way), token(i)));
      model.follow(context(i, way), token(i));
    }
    for (std::size_t i = size(); i-- > 0;) put_symbol(i, unpacked(log[i]), writer);
  }

  static std::uint32_t packed(RansInterval symbol) noexcept { return symbol.start << 16 | symbol.frequency; }
  static RansInterval unpacked(std::uint32_t word) noexcept { return {word >> 16, word & 0xFFFF}; }

  Workspace& workspace_;
  const Input& in_;
  const Room& room_;
  unsigned cut_ = 0;
  Tokens tokens_;
  std::size_t contexts_;   // 1 where they are not used
  unsigned lanes_ = 1;
  std::span<std::uint32_t> total_;
  std::span<std::uint32_t> counts_;   // shape [contexts × tokens]
  std::span<std::uint16_t> total_borders_;
  std::span<std::uint16_t> borders_;  // shape [contexts × (tokens + 1)]
};

class Decoding {
 public:
  Decoding(Workspace& workspace, ByteReader& in, const SymbolModel& model, std::span<std::int32_t> symbols)
      : workspace_(workspace), in_(in), model_(model), symbols_(symbols) {}

  // Reads all that is left behind the first byte.
  void read(unsigned way) {
    way_ = way;
    const unsigned kind = way & kWayMask;
    if (kind != kTable && kind != kAdaptive) refuse_way();
    if ((way & (kClasses | kFrequent)) != 0 && model_.size <= Tokens::kDirect) refuse_way();
    RansReader reader(in_.rest());
    if ((way & kOneLane) != 0 && lanes_for(symbols_.size(), 0) == 1) refuse_way();
    lanes_ = lanes_for(symbols_.size(), way);
    reader.begin(lanes_);
    const std::uint32_t frequent = (way & kFrequent) != 0 ? raw(reader, 0, symbol_bits(model_.size)) : 0;
    const Tokens tokens(model_.size, cut(way, frequent));
    contexts_ = 1;
    if ((way & kContexts) != 0) {
      if (!contexts_allowed(symbols_.size(), tokens.count(), model_.context_count)) refuse_way();
      contexts_ = model_.context_count;
    }
    bool found = false;
    if (kind == kTable) {
      if ((way & (kSmooth | kFast)) != 0) refuse_way();
      found = read_by_table(reader, tokens);
    } else {
      if (!adaptive_allowed(symbols_.size(), tokens.count())) refuse_way();
      if ((way & kSmooth) != 0 && tokens.count() < AdaptiveOptions::kMinSmoothTokens) refuse_way();
      if ((way & kFast) != 0 && symbols_.size() < AdaptiveOptions::kMinFastSymbols) refuse_way();
      found = read_adaptively(reader, tokens);
    }
    if (!reader.ok()) in_.malformed("not a range coder's stream of these symbols");
    if (tokens.has_frequent() && !found) in_.malformed("the frequent symbol does not occur");
  }

 private:
  [[noreturn]] void refuse_way() const {
    in_.malformed("way " + std::to_string(way_) + " to code symbols cannot stand for this plan");
  }
  std::size_t context(std::size_t i) const noexcept { return contexts_ > 1 ? model_.contexts[i] : 0; }

  // Sets symbol i; whether it is the frequent one.
  bool finish(RansReader& reader, const Tokens& tokens, std::size_t i, std::size_t token) {
    const auto lane = static_cast<unsigned>(i & (lanes_ - 1));
    const std::uint32_t symbol = tokens.first_symbol(token) + raw(reader, lane, tokens.raw_bits(token));
    symbols_[i] = static_cast<std::int32_t>(symbol);
    if (!tokens.has_frequent()) return false;
    const bool by_name = tokens.is_frequent(token);
    if (!by_name && symbol == tokens.frequent()) reader.fail();
    return by_name;
  }

  bool read_adaptively(RansReader& reader, const Tokens& tokens) {
    AdaptiveModel model(workspace_.take<std::uint32_t>(AdaptiveModel::words_for(contexts_, tokens.count())),
                        tokens.count(), {.smooth = (way_ & kSmooth) != 0, .fast = (way_ & kFast) != 0});
    bool found = false;
    for (std::size_t i = 0; i < symbols_.size() && reader.good(); ++i) {
      const auto lane = static_cast<unsigned>(i & (lanes_ - 1));
      RansInterval interval;
      const std::size_t token = model.token_at(context(i), reader.slot(lane), interval);
      reader.advance(lane, interval);
      model.follow(context(i), token);
      found |= finish(reader, tokens, i, token);
    }
    return found;
  }

  bool read_by_table(RansReader& reader, const Tokens& tokens) {
    const std::size_t count = tokens.count();
    const auto claimed = workspace_.take<std::uint32_t>(contexts_ * count);
    const auto occurring = workspace_.take<std::uint32_t>(contexts_ * count);
    const auto borders = workspace_.take<std::uint16_t>(contexts_ * (count + 1));
    // For each of 2^k parts of the total, k enough for one a token: the token that holds its first slot.
    const auto part_bits = static_cast<unsigned>(std::bit_width(count - 1));
    const std::size_t parts = std::size_t{1} << part_bits;
    const auto first = workspace_.take<std::uint16_t>(contexts_ * parts);
    std::ranges::fill(claimed, 0u);
    std::ranges::fill(occurring, 0u);
    occurring[0] = 1;   // for now: whether any symbol of a context does
    if (contexts_ > 1) {
      occurring[0] = 0;
      for (std::size_t i = 0; i < symbols_.size(); ++i) occurring[context(i) * count] = 1;
    }

    std::uint32_t memory[FollowingModel::words_for(count_table::kWidths)];
    FollowingModel widths{memory};
    widths.begin();
    for (std::size_t c = 0; c < contexts_; ++c) {
      if (occurring[c * count] == 0) continue;
      occurring[c * count] = 0;
      const auto own = claimed.subspan(c * count, count);
      count_table::read(reader, widths, own);
      if (!reader.good() || std::ranges::none_of(own, [](std::uint32_t n) { return n != 0; }))
        in_.malformed("not a table of counts");
      const auto starts = borders.subspan(c * (count + 1), count + 1);
      count_table::borders(own, starts);
      std::size_t token = 0;
      for (std::size_t part = 0; part < parts; ++part) {
        while (starts[token + 1] <= part << (kRansBits - part_bits)) ++token;
        first[c * parts + part] = static_cast<std::uint16_t>(token);
      }
    }

    std::size_t read = 0;
    if (contexts_ == 1 && by_rounds(tokens, model_.size, lanes_)) {
      std::uint32_t counts[kRansTableSymbols] = {};
      read = reader.take_table(RoundBorders(borders).all, symbols_, counts);
      std::copy_n(counts, count, occurring.begin());
    }
    bool found = false;
    for (std::size_t i = read; i < symbols_.size() && reader.good(); ++i) {
      const std::size_t c = context(i);
      const auto lane = static_cast<unsigned>(i & (lanes_ - 1));
      const std::uint32_t slot = reader.slot(lane);
      const std::uint16_t* starts = borders.data() + c * (count + 1);
      std::size_t token = first[c * parts + (slot >> (kRansBits - part_bits))];
      while (starts[token + 1] <= slot) ++token;
      reader.advance(lane, {starts[token], static_cast<std::uint32_t>(starts[token + 1] - starts[token])});
      ++occurring[c * count + token];
      found |= finish(reader, tokens, i, token);
    }
    if (reader.good() && !std::ranges::equal(occurring, claimed, {}, count_table::rounded))
      in_.malformed("the table is not that of the symbols");
    return found;
  }

  Workspace& workspace_;
  ByteReader& in_;
  const SymbolModel& model_;
  std::span<std::int32_t> symbols_;
  unsigned way_ = 0;
  unsigned lanes_ = 1;
  std::size_t contexts_ = 1;
};

class Rans final : public Coder {
 public:
  std::size_t max_bytes(std::size_t symbols, const Quantizer& quantizer) const noexcept override {
    if (quantizer.knows_distribution()) return RansWriter::bytes_for(quantizer.max_symbol_bits());
    if (nothing_to_say(symbols, quantizer.alphabet_size())) return 0;
    return 1 + kernels::packed_bytes(symbols, symbol_bits(quantizer.alphabet_size()));
  }
  bool fixed_size() const noexcept override { return false; }
  bool takes_distribution() const noexcept override { return true; }
  std::size_t scratch_bytes(std::size_t symbols, const Quantizer& quantizer) const noexcept override {
    if (quantizer.knows_distribution())
      return Workspace::bytes_for<std::uint16_t>(RansWriter::words_for(quantizer.max_symbol_bits()));
    if (nothing_to_say(symbols, quantizer.alphabet_size())) return 0;
    return Room(symbols, quantizer.alphabet_size(), quantizer.context_count()).bytes();
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
    if (nothing_to_say(symbols.size(), model.size)) return;
    const Room room(symbols.size(), model.size, model.context_count);
    const Input input{symbols, model.contexts, model.size, model.context_count};
    if (Encoding(*context.workspace, input, room).write(room.packed, out)) return;
    out.u8(kPacked);
    kernels::pack(symbols, symbol_bits(model.size), out.grow(room.packed));
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
    if (nothing_to_say(symbols.size(), model.size)) return std::ranges::fill(symbols, 0), void();
    if (const unsigned way = in.u8(); way != kPacked) return Decoding(*context.workspace, in, model, symbols).read(way);
    const unsigned bits = symbol_bits(model.size);
    if (!kernels::unpack(in.bytes(kernels::packed_bytes(symbols.size(), bits)), bits, symbols))
      in.malformed("a padding bit is set");
  }
};

}  // namespace

const StageDescriptor kRans{
    .id = 10,
    .name = "rans",
    .summary = "a range coder: about the symbols' entropy, whatever their alphabet; never over one byte more than pack",
    .source = "Duda 2013, arXiv 1311.2540; interleaved states: Giesen 2014, arXiv 1402.3392",
    .parameters = {},
    .make_coder = [](const Parameters&) -> std::unique_ptr<Coder> { return std::make_unique<Rans>(); },
};

}  // namespace fewbits
