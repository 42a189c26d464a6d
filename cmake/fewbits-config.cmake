# find_package(fewbits) gives the target fewbits::fewbits.
include("${CMAKE_CURRENT_LIST_DIR}/dependencies.cmake")
include("${CMAKE_CURRENT_LIST_DIR}/fewbits-targets.cmake")
