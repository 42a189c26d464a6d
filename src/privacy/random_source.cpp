#include "fewbits/privacy/random_source.h"

namespace fewbits::privacy {

RandomSource::~RandomSource() = default;

}  // namespace fewbits::privacy
