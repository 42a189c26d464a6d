# What our own targets are compiled with; never passed on to a consumer:
#   target_link_libraries(fewbits PRIVATE $<BUILD_INTERFACE:fewbits_flags>)    a target that is installed
#   target_link_libraries(some_tool PRIVATE fewbits_flags)                     any other

if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU" AND CMAKE_CXX_COMPILER_VERSION VERSION_LESS 11)
  message(FATAL_ERROR "fewbits needs g++ 11 or newer, found ${CMAKE_CXX_COMPILER_VERSION}")
endif()

add_library(fewbits_flags INTERFACE)
# Without contraction: a multiply and an add fused on one CPU target and not on another give other frames.
target_compile_options(fewbits_flags INTERFACE -Wall -Wextra -Wconversion -Wshadow -ffp-contract=off)
# g++ 12 warns falsely where strings are joined by operator+ (GCC bug 105651).
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU" AND CMAKE_CXX_COMPILER_VERSION VERSION_LESS 13)
  target_compile_options(fewbits_flags INTERFACE -Wno-restrict)
endif()
target_include_directories(fewbits_flags INTERFACE ${PROJECT_SOURCE_DIR}/src ${PROJECT_SOURCE_DIR})

if(FEWBITS_WERROR)
  target_compile_options(fewbits_flags INTERFACE -Werror)
endif()

if(FEWBITS_FUZZ AND NOT CMAKE_CXX_COMPILER_ID MATCHES "Clang")
  message(FATAL_ERROR "FEWBITS_FUZZ needs clang (libFuzzer), found ${CMAKE_CXX_COMPILER_ID}")
endif()

# All code of the build, the library too, and whatever links it in this build.
if(FEWBITS_SANITIZE OR FEWBITS_FUZZ)
  set(sanitizers -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer)
  add_compile_options(${sanitizers})
  add_link_options(${sanitizers})
  add_compile_definitions(_GLIBCXX_ASSERTIONS)
endif()
if(FEWBITS_FUZZ)
  add_compile_options(-fsanitize=fuzzer-no-link)
endif()
