#pragma once

// The library for C, and for languages that call C. Start with the rules in error.h.
#include "fewbits/c/aggregator.h"
#include "fewbits/c/codec.h"
#include "fewbits/c/error.h"
#include "fewbits/c/error_feedback.h"
#include "fewbits/c/profile.h"
