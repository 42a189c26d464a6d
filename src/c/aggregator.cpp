#include "fewbits/c/aggregator.h"

#include "c/handles.h"

using namespace fewbits::c;

namespace {

fewbits::RoundContext round_of(const fewbits_round* round) {
  const fewbits_round& r = required(round, "the round");
  return {r.seed, r.round, cohort_of(0, r.cohort_size).size};
}

fewbits::Limits limits_of(const fewbits_limits* limits) noexcept {
  return limits == nullptr ? fewbits::Limits() : fewbits::Limits{limits->max_abs, limits->max_weight};
}

}  // namespace

fewbits_code fewbits_aggregator_create(const fewbits_codec* codec, const fewbits_round* round,
                                       const fewbits_limits* limits, fewbits_aggregator** aggregator,
                                       fewbits_error* error) {
  return made(aggregator, error, [&] { return fewbits::Aggregator(use(codec), round_of(round), limits_of(limits)); });
}

void fewbits_aggregator_free(fewbits_aggregator* aggregator) { release(aggregator); }

fewbits_code fewbits_aggregator_add(fewbits_aggregator* aggregator, const uint8_t* frame, size_t size,
                                    const fewbits_contribution* from, fewbits_error* error) {
  return guarded(error, [&] {
    const fewbits_contribution& c = required(from, "the contribution");
    use(aggregator).add(bytes(frame, size, "the frame"), {c.client, c.weight, c.cohort_index});
  });
}

fewbits_code fewbits_aggregator_merge(fewbits_aggregator* aggregator, const fewbits_aggregator* other,
                                      fewbits_error* error) {
  return guarded(error, [&] { use(aggregator).merge(use(other)); });
}

size_t fewbits_aggregator_clients(const fewbits_aggregator* aggregator) {
  return is(aggregator) ? aggregator->value.clients() : 0;
}

double fewbits_aggregator_total_weight(const fewbits_aggregator* aggregator) {
  return is(aggregator) ? aggregator->value.total_weight() : 0;
}

fewbits_code fewbits_aggregator_mean(const fewbits_aggregator* aggregator, float* mean, size_t capacity,
                                     fewbits_error* error) {
  return guarded(error, [&] {
    const auto values = use(aggregator).mean();
    put(std::span(values), mean, capacity, "the mean");
  });
}

fewbits_code fewbits_aggregator_serialize(const fewbits_aggregator* aggregator, uint8_t* bytes, size_t capacity,
                                          size_t* size, fewbits_error* error) {
  return guarded(error, [&] { put_bytes(use(aggregator).serialize(), bytes, capacity, size); });
}

fewbits_code fewbits_aggregator_restore(const fewbits_codec* codec, const fewbits_round* round,
                                        const fewbits_limits* limits, const uint8_t* saved, size_t size,
                                        fewbits_aggregator** aggregator, fewbits_error* error) {
  return made(aggregator, error, [&] {
    return fewbits::Aggregator::restore(use(codec), round_of(round), bytes(saved, size, "the bytes"),
                                        limits_of(limits));
  });
}
