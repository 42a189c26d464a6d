# find_package(fewbits) gives the target fewbits::fewbits.
include("${CMAKE_CURRENT_LIST_DIR}/fewbits-targets.cmake")

# A shared library brings its own; a static one needs them where it is linked.
get_target_property(fewbits_type fewbits::fewbits TYPE)
if(fewbits_type STREQUAL "STATIC_LIBRARY")
  include("${CMAKE_CURRENT_LIST_DIR}/dependencies.cmake")
  if(FEWBITS_MISSING)
    set(fewbits_FOUND FALSE)
    set(fewbits_NOT_FOUND_MESSAGE "${FEWBITS_MISSING}")
  endif()
endif()
