# What the harness and the program stand on; the library needs none of it. FEWBITS_PROGRAM_MISSING says what is not there, and
# what to do.
include(cmake/secure_dependencies.cmake)
find_package(Threads QUIET)
find_package(PkgConfig QUIET)
find_package(Eigen3 3.3 QUIET NO_MODULE)    # Eigen3::Eigen
find_package(TBB QUIET)                     # TBB::tbb
find_package(CLI11 QUIET)                   # CLI11::CLI11
find_package(nlohmann_json 3 QUIET)         # nlohmann_json::nlohmann_json
find_package(ZLIB QUIET)                    # ZLIB::ZLIB
if(PkgConfig_FOUND)
  # Not libzip's own package file: Debian's asks for programs of libzip that are packaged apart.
  pkg_check_modules(LIBZIP QUIET IMPORTED_TARGET GLOBAL libzip)
endif()
if(LIBZIP_FOUND AND NOT TARGET libzip::zip)
  add_library(libzip::zip ALIAS PkgConfig::LIBZIP)
endif()

# BLAS::BLAS is OpenBLAS, which picks its loops for the CPU when the program runs: our code is compiled for the baseline of
# the architecture and is fast all the same. Calls come from several threads at once, which needs the build with locks;
# Debian keeps it in a folder of its own, so that it is the one that runs whatever the system's choice is.
find_library(FEWBITS_OPENBLAS openblas PATH_SUFFIXES openblas-pthread)
mark_as_advanced(FEWBITS_OPENBLAS)
if(FEWBITS_OPENBLAS)
  add_library(BLAS::BLAS UNKNOWN IMPORTED GLOBAL)
  set_target_properties(BLAS::BLAS PROPERTIES IMPORTED_LOCATION "${FEWBITS_OPENBLAS}")
else()
  set(BLA_VENDOR OpenBLAS)
  find_package(BLAS QUIET)
endif()
set(CMAKE_INSTALL_RPATH_USE_LINK_PATH ON)

set(FEWBITS_PROGRAM_MISSING "")
foreach(package Threads PkgConfig Eigen3 TBB CLI11 nlohmann_json ZLIB LIBZIP BOTAN)
  if(NOT ${package}_FOUND)
    list(APPEND FEWBITS_PROGRAM_MISSING ${package})
  endif()
endforeach()
if(NOT TARGET BLAS::BLAS)
  list(APPEND FEWBITS_PROGRAM_MISSING OpenBLAS)
endif()
if(FEWBITS_PROGRAM_MISSING)
  list(JOIN FEWBITS_PROGRAM_MISSING ", " FEWBITS_PROGRAM_MISSING)
  string(CONCAT FEWBITS_PROGRAM_MISSING "The program needs what is not found: ${FEWBITS_PROGRAM_MISSING}. On Debian and Ubuntu "
                                        "tools/setup.sh installs it; -DFEWBITS_BUILD_PROGRAM=OFF builds the library alone.")
endif()
