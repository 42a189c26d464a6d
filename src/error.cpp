#include "fewbits/error.h"

namespace fewbits {

Error::Error(Errc code, const std::string& message, std::size_t offset)
    : std::runtime_error(message), code_(code), offset_(offset) {}

Error::~Error() = default;

}  // namespace fewbits
