#pragma once

// Marks what a shared build of the library exports. The attribute also keeps `Error` one type across library
// boundaries, so that it can be caught by a program that was built apart from the library.
#define FEWBITS_API __attribute__((visibility("default")))
