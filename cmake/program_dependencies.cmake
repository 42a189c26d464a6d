# What the harness and the program stand on; the library needs none of it.
find_package(Threads REQUIRED)
find_package(PkgConfig REQUIRED)
find_package(Eigen3 3.3 REQUIRED NO_MODULE)    # Eigen3::Eigen
find_package(TBB REQUIRED)                     # TBB::tbb
find_package(CLI11 REQUIRED)                   # CLI11::CLI11
find_package(nlohmann_json 3 REQUIRED)         # nlohmann_json::nlohmann_json
find_package(ZLIB REQUIRED)                    # ZLIB::ZLIB

# Not libzip's own package file: Debian's asks for programs of libzip that are packaged apart.
pkg_check_modules(LIBZIP REQUIRED IMPORTED_TARGET GLOBAL libzip)
if(NOT TARGET libzip::zip)
  add_library(libzip::zip ALIAS PkgConfig::LIBZIP)
endif()

pkg_search_module(BOTAN REQUIRED IMPORTED_TARGET GLOBAL botan-3 botan-2)
if(NOT TARGET Botan::Botan)
  add_library(Botan::Botan ALIAS PkgConfig::BOTAN)
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
  find_package(BLAS REQUIRED)
endif()
set(CMAKE_INSTALL_RPATH_USE_LINK_PATH ON)
