#include "fewbits/c/error.h"

#include "c/handle.h"
#include "fewbits/version.h"

namespace fewbits::c {

fewbits_code report(fewbits_error* error, fewbits_code code, const char* message, std::size_t offset) noexcept {
  if (error == nullptr) return code;
  error->code = code;
  error->offset = offset;
  std::size_t length = std::strlen(message);
  if (length >= sizeof(error->message)) {
    length = sizeof(error->message) - 1;
    const auto continues = [&](std::size_t i) { return (static_cast<unsigned char>(message[i]) & 0xC0u) == 0x80u; };
    while (length > 0 && continues(length)) --length;
  }
  std::memcpy(error->message, message, length);
  error->message[length] = '\0';
  return code;
}

fewbits_code report_exception(fewbits_error* error) noexcept {
  try {
    throw;
  } catch (const Error& refused) {
    return report(error, static_cast<fewbits_code>(refused.code()), refused.what(), refused.offset());
  } catch (const ShortBuffer& refused) {
    return report(error, FEWBITS_SHORT_BUFFER, refused.what());
  } catch (const std::bad_alloc&) {
    return report(error, FEWBITS_OUT_OF_MEMORY, "there is not enough memory");
  } catch (const std::length_error&) {  // what containers throw for sizes that no memory has
    return report(error, FEWBITS_OUT_OF_MEMORY, "there is not enough memory");
  } catch (const std::exception& fault) {
    return report(error, FEWBITS_INTERNAL, fault.what());
  } catch (...) {
    return report(error, FEWBITS_INTERNAL, "an exception of an unknown type");
  }
}

}  // namespace fewbits::c

const char* fewbits_version(void) { return fewbits::kVersion.data(); }
