#include <tbb/parallel_for.h>

#include "federated/score.h"
#include "federated/trainer_state.h"

namespace fewbits::federated {

std::vector<PersonalResult> Trainer::personalize(std::span<const std::uint32_t> clients, const PersonalOptions& options) {
  State& s = *state_;
  if (s.task.held_out == nullptr) throw Error(Errc::kBadArgument, "personalize: the task's clients hold no examples out");
  const Table& table = s.task.held_out_of_train ? s.task.train : s.task.test;
  const Descent descent{.epochs = options.epochs, .batch = s.options.batch, .learning_rate = options.learning_rate};
  const std::vector<float> no_vector(s.task.personal);
  std::vector<PersonalResult> results(clients.size());
  s.arena.execute([&] {
    tbb::parallel_for(std::size_t{0}, clients.size(), [&](std::size_t i) {
      const std::uint32_t client = clients[i];
      const std::vector<std::uint32_t> rows = s.task.held_out(client);
      results[i] = {.client = client, .examples = rows.size()};
      if (rows.empty()) return;
      Worker& worker = s.workers.local();
      const std::span<const float> released = s.server.released(s.parameters);
      std::vector<float> own(released.begin(), released.end());
      std::vector<float> personal = s.memories.of(client).personal;
      personal.resize(s.task.personal);
      const auto value = [&](std::span<const float> model, std::span<const float> vector) {
        const Score score = worker.score(table, rows, model, vector);
        return value_of(std::span(&score, 1), s.model->metric());
      };
      results[i].before = value(own, no_vector);
      worker.fine_tune(own, s.task.clients.rows(client), descent, s.round + 1, client, personal);
      results[i].after = value(own, personal);
    });
  });
  return results;
}

}  // namespace fewbits::federated
