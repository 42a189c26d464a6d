#include "federated/client_states.h"

#include <algorithm>
#include <utility>

#include "fewbits/error.h"

namespace fewbits::federated {
namespace {

FeedbackOptions error_feedback_of(const PlanOptions& plan) {
  FeedbackOptions options = plan.error_feedback;
  options.method = plan.feedback == Feedback::kEf21 ? FeedbackMethod::kEf21 : FeedbackMethod::kEf14;
  if (plan.feedback != Feedback::kDgc && options.momentum != 0)
    throw Error(Errc::kBadArgument, "only feedback=dgc has a momentum");
  return options;
}

std::optional<ShiftMethod> server_method(Feedback feedback) {
  if (feedback == Feedback::kEf21) return ShiftMethod::kEf21;
  if (feedback == Feedback::kDiana) return ShiftMethod::kDiana;
  return std::nullopt;
}

}  // namespace

ClientStates::ClientStates(const Codec& codec, const PlanOptions& plan, const Clients& clients)
    : codec_(codec), plan_(plan), clients_of_task_(&clients) {
  if (!active()) return;
  if (plan_.feedback == Feedback::kReference) {
    reference_.emplace(codec_);
    return;
  }
  if (plan_.feedback == Feedback::kDiana)
    for (std::uint32_t client = 0; client < clients.count; ++client) all_examples_ += static_cast<double>(clients.size(client));
  make_state();   // refuses options before there is a client
  if (const auto method = server_method(plan_.feedback)) server_.emplace(codec_, *method, plan_.shift);
}

ClientStates::State ClientStates::make_state() const {
  if (plan_.feedback == Feedback::kDiana) return Shift(codec_, plan_.shift);
  return ErrorFeedback(codec_, error_feedback_of(plan_));
}

ClientStates::State ClientStates::restored_state(std::span<const std::byte> bytes) const {
  if (plan_.feedback == Feedback::kDiana) return Shift::restore(codec_, bytes, plan_.shift);
  return ErrorFeedback::restore(codec_, bytes, error_feedback_of(plan_));
}

void ClientStates::begin_round(std::span<const std::uint32_t> cohort) {
  if (!active() || reference_) return;
  for (auto& [client, state] : clients_) std::visit([](auto& own) { own.abandon(); }, state);
  for (const std::uint32_t client : cohort)
    if (!clients_.contains(client)) {
      clients_.emplace(client, make_state());
      changed_.insert(client);
    }
}

std::vector<std::byte> ClientStates::encode(std::span<const float> update, const Context& context) {
  if (reference_) return reference_->encode(update, context);
  return std::visit([&](auto& own) { return own.encode(update, context); },
                    clients_.at(static_cast<std::uint32_t>(context.client)));
}

std::vector<float> ClientStates::finish_round(const Aggregator& sum, std::span<const std::uint32_t> arrived) {
  if (reference_) {
    std::vector<float> mean = reference_->mean(sum);
    reference_->set(mean);
    return mean;
  }
  for (auto& [client, state] : clients_) {
    const bool in_the_sum = std::ranges::binary_search(arrived, client);
    std::visit([&](auto& own) { if (own.pending() && in_the_sum) own.commit(); else own.abandon(); }, state);
    if (in_the_sum) changed_.insert(client);
  }
  return server_ ? server_->update(sum, population()) : sum.mean();
}

// EF21 averages over those that have sent something; the others are not taken for zeros. DIANA's mean is unbiased over all
// that are drawn from.
double ClientStates::population() const {
  if (plan_.feedback == Feedback::kDiana) return all_examples_;
  double seen = 0;
  for (const auto& [client, state] : clients_)
    if (std::visit([](const auto& own) { return own.round().has_value(); }, state)) seen += static_cast<double>(clients_of_task_->size(client));
  return seen;
}

std::uint64_t ClientStates::download_bytes() const noexcept {
  return reference_ ? sizeof(float) * reference_->get().size() : 0;
}

ClientStates::Saved ClientStates::save() const {
  Saved saved = save_server();
  for (const auto& [client, state] : clients_)
    saved.clients.emplace(client, std::visit([](const auto& own) { return own.save(); }, state));
  return saved;
}

ClientStates::Saved ClientStates::save_changes() {
  Saved saved = save_server();
  for (const std::uint32_t client : changed_)
    saved.clients.emplace(client, std::visit([](const auto& own) { return own.save(); }, clients_.at(client)));
  changed_.clear();
  return saved;
}

ClientStates::Saved ClientStates::save_server() const {
  Saved saved{plan_.feedback, {}, {}};
  if (server_) saved.server = server_->save();
  if (reference_) saved.server = reference_->save();
  return saved;
}

void ClientStates::restore(const Saved& saved) {
  if (saved.feedback != plan_.feedback) throw Error(Errc::kBadArgument, "clients have saved states of another feedback");
  ClientStates restored(codec_, plan_, *clients_of_task_);
  for (const auto& [client, bytes] : saved.clients) {
    if (client >= clients_of_task_->count) throw Error(Errc::kBadArgument, "there is a state of a client that there is not");
    restored.clients_.emplace(client, restored_state(bytes));
  }
  if (const auto method = server_method(plan_.feedback))
    restored.server_ = ServerShift::restore(codec_, saved.server, *method, plan_.shift);
  if (reference_) restored.reference_ = Reference::restore(codec_, saved.server);
  *this = std::move(restored);
}

}  // namespace fewbits::federated
