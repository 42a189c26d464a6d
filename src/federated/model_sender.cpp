#include "federated/model_sender.h"

#include <algorithm>

#include "federated/bytes.h"

namespace fewbits::federated {

ModelSender::ModelSender(const std::string& plan, const Layout& layout, std::span<const float> model, std::uint64_t seed)
    : start_(model.begin(), model.end()), seed_(seed), sent_(1) {
  if (!plan.empty()) downlink_.emplace(Codec::compile(plan, layout), model);
}

std::span<const float> ModelSender::send(std::span<const float> model, std::uint32_t round) {
  if (!downlink_) return model;
  if (sent_.size() > round) return downlink_->view();
  sent_.resize(round, sent_.back());
  sent_.push_back(sent_.back() + downlink_->encode(model, seed_, round).size());
  return downlink_->view();
}

std::uint64_t ModelSender::bytes(std::uint32_t last_round) const noexcept {
  const std::uint64_t whole = sizeof(float) * start_.size();
  if (!downlink_ || last_round == 0) return whole;
  return std::min(whole, sent_.back() - sent_[last_round]);
}

std::vector<std::byte> ModelSender::save() const {
  if (!downlink_) return {};
  BytesOut out;
  out.list(sent_);
  out.list(downlink_->save());
  return std::move(out).take();
}

void ModelSender::restore(std::span<const std::byte> bytes) {
  if (downlink_.has_value() == bytes.empty())
    throw Error(Errc::kBadArgument, "checkpoint is of another plan: one of the two sends the model compressed");
  if (!downlink_) return;
  BytesIn in(bytes);
  std::vector<std::uint64_t> sent = in.list<std::vector<std::uint64_t>>();
  if (sent.empty()) BytesIn::damaged();
  Downlink restored = Downlink::restore(downlink_->codec(), start_, in.list<std::vector<std::byte>>());
  in.expect_end();
  sent_ = std::move(sent);
  downlink_ = std::move(restored);
}

}  // namespace fewbits::federated
