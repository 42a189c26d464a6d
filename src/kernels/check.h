#pragma once

// A bug of ours, never bad input: checked in debug builds only.
#ifdef NDEBUG
#define FEWBITS_DCHECK(condition) static_cast<void>(0)
#else
#define FEWBITS_DCHECK(condition) ((condition) ? static_cast<void>(0) : __builtin_trap())
#endif
