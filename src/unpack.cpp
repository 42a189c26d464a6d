#include "unpack.h"

#include <algorithm>

#include "frame.h"
#include "profile_state.h"

namespace fewbits {

void unpack(const Codec::Impl& codec, std::span<const std::byte> frame, const Expected& expected, Workspace& workspace,
            UnpackedFrame& out) {
  codec.check_cohort(expected.cohort);
  read_header(frame, out.info);
  if (out.info.fingerprint != codec.fingerprint())
    throw Error(Errc::kWrongPlan, std::string("the frame was made with another plan or layout") +
                                      (codec.learns() ? ", or another profile" : "") + ": its fingerprint is " +
                                      std::to_string(out.info.fingerprint) + ", that of '" + codec.text() + "' is " +
                                      std::to_string(codec.fingerprint()), 4);
  if (expected.round && out.info.round != *expected.round)
    throw Error(Errc::kWrongRound, "the frame is of round " + std::to_string(out.info.round) + ", not " +
                                       std::to_string(*expected.round));
  if (expected.client && out.info.client != *expected.client)
    throw Error(Errc::kWrongClient, "the frame names client " + std::to_string(out.info.client) + ", not " +
                                        std::to_string(*expected.client));
  const auto groups = codec.groups();
  const std::size_t sections = std::max<std::size_t>(groups.size(), 1);
  read_sections(frame, sections, out.info);
  if (out.info.sections.size() != sections)
    throw Error(Errc::kMalformed, "the frame has " + std::to_string(out.info.sections.size()) +
                                      " sections, its plan makes " + std::to_string(sections), out.info.header_bytes);

  out.keys = {expected.seed, out.info.round, out.info.client, expected.cohort};
  out.sections.resize(groups.size());
  out.symbols.resize(codec.symbols());
  out.max_abs = 0;
  if (!codec.tiled()) workspace.reserve(codec.workspace_bytes());
  std::span<std::int32_t> symbols = out.symbols;
  for (std::size_t i = 0; i < groups.size(); ++i) {
    const auto [offset, bytes] = out.info.sections[i];
    ByteReader reader(frame.subspan(offset, bytes), offset);
    const Chain& chain = groups[i].chain;
    const auto own = symbols.first(chain.tiled() ? 0 : chain.values());
    chain.unpack(out.keys, workspace, reader, own, out.sections[i]);
    symbols = symbols.subspan(own.size());
    out.max_abs = std::max(out.max_abs, out.sections[i].max_abs);
  }
  if (groups.empty()) ByteReader(frame.subspan(out.info.header_bytes), out.info.header_bytes).expect_end();
}

void UnpackedFrame::accumulate(const Codec::Impl& codec, Workspace& workspace, double weight,
                               std::span<double> sum) const noexcept {
  for (std::size_t i = 0; i < sections.size(); ++i) {
    const auto& group = codec.groups()[i];
    group.chain.accumulate(keys, workspace, sections[i], weight, sum.subspan(group.sum_offset, group.chain.sum_size()));
  }
}

void UnpackedFrame::add_energies(const Codec::Impl& codec, Workspace& workspace, double weight,
                                 std::span<double> sums) const noexcept {
  for (std::size_t g = 0; g < sections.size(); ++g) {
    const auto& group = codec.groups()[g];
    if (!group.chain.learns()) continue;
    const Workspace::Scope scope(workspace);
    const SparseEnergies found = group.chain.energies(keys, workspace, sections[g], weight);
    EnergyFolder folder(codec.layout(), sums);
    std::size_t done = 0;
    std::size_t k = 0;
    for (const auto& [offset, length] : group.ranges) {
      for (; k < found.places.size() && found.places[k] < done + length; ++k)
        folder.add(offset + found.places[k] - done, found.energies[k]);
      done += length;
    }
    folder.finish();
  }
}

}  // namespace fewbits
