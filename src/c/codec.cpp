#include "fewbits/c/codec.h"

#include "c/handles.h"

using namespace fewbits::c;

fewbits_code fewbits_codec_compile(const char* plan, size_t elements, fewbits_codec** codec, fewbits_error* error) {
  return made(codec, error,
              [&] { return fewbits::Codec::compile(&required(plan, "the plan"), fewbits::Layout(elements)); });
}

fewbits_code fewbits_codec_compile_tensors(const char* plan, const fewbits_tensor* tensors, size_t count,
                                           fewbits_codec** codec, fewbits_error* error) {
  return made(codec, error, [&] {
    std::vector<fewbits::Tensor> layout;
    for (const fewbits_tensor& tensor : array(tensors, count, "tensors")) {
      const auto shape = array(tensor.shape, tensor.dimensions, "the shape of a tensor");
      layout.push_back({&required(tensor.name, "the name of a tensor"), {shape.begin(), shape.end()}});
    }
    return fewbits::Codec::compile(&required(plan, "the plan"), fewbits::Layout(std::move(layout)));
  });
}

fewbits_code fewbits_codec_with_profile(const fewbits_codec* codec, const fewbits_profile* profile,
                                        fewbits_codec** with_profile, fewbits_error* error) {
  return made(with_profile, error, [&] { return use(codec).with_profile(use(profile)); });
}

void fewbits_codec_free(fewbits_codec* codec) { release(codec); }

const char* fewbits_codec_plan(const fewbits_codec* codec) { return is(codec) ? codec->value.plan().c_str() : nullptr; }
size_t fewbits_codec_elements(const fewbits_codec* codec) { return is(codec) ? codec->value.elements() : 0; }
size_t fewbits_codec_max_frame_size(const fewbits_codec* codec) {
  return is(codec) ? codec->value.max_frame_size() : 0;
}
uint64_t fewbits_codec_fingerprint(const fewbits_codec* codec) { return is(codec) ? codec->value.fingerprint() : 0; }
int fewbits_codec_takes_profile(const fewbits_codec* codec) {
  return is(codec) && codec->value.takes_profile() ? 1 : 0;
}

fewbits_code fewbits_codec_encode(const fewbits_codec* codec, const float* update, size_t elements,
                                  const fewbits_context* context, uint8_t* frame, size_t capacity, size_t* size,
                                  fewbits_error* error) {
  return guarded(error, [&] {
    required(size, "size");
    put_bytes(use(codec).encode(array(update, elements, "the update"), context_of(context)), frame, capacity, size);
  });
}

fewbits_code fewbits_codec_decode(const fewbits_codec* codec, const uint8_t* frame, size_t size,
                                  const fewbits_context* context, float* update, size_t capacity,
                                  fewbits_error* error) {
  return guarded(error, [&] {
    const fewbits::Context keys = context_of(context);
    const auto decoded = use(codec).decode(bytes(frame, size, "the frame"), {keys.seed, keys.cohort});
    put(std::span(decoded), update, capacity, "the update");
  });
}

fewbits_code fewbits_encoder_create(const fewbits_codec* codec, fewbits_encoder** encoder, fewbits_error* error) {
  return made(encoder, error, [&] { return fewbits::Encoder(use(codec)); });
}

void fewbits_encoder_free(fewbits_encoder* encoder) { release(encoder); }

fewbits_code fewbits_encoder_encode(fewbits_encoder* encoder, const float* update, size_t elements,
                                    const fewbits_context* context, const uint8_t** frame, size_t* size,
                                    fewbits_error* error) {
  return guarded(error, [&] {
    const uint8_t*& start = required(frame, "the place for the frame");
    size_t& length = required(size, "size");
    const auto written = use(encoder).encode(array(update, elements, "the update"), context_of(context));
    start = reinterpret_cast<const uint8_t*>(written.data());
    length = written.size();
  });
}

fewbits_code fewbits_encoder_save(const fewbits_encoder* encoder, uint8_t* bytes, size_t capacity, size_t* size,
                                  fewbits_error* error) {
  return guarded(error, [&] { put_bytes(use(encoder).save(), bytes, capacity, size); });
}

fewbits_code fewbits_encoder_restore(fewbits_encoder* encoder, const uint8_t* saved, size_t size,
                                     fewbits_error* error) {
  return guarded(error, [&] { use(encoder).restore(bytes(saved, size, "the bytes")); });
}
