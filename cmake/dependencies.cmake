# The two libraries that fewbits links, as targets fewbits::zstd and fewbits::xxhash. Installed with the package: a static
# fewbits needs them where it is linked. Found without pkg-config; CMAKE_PREFIX_PATH says where to look first.
# FEWBITS_MISSING says what is not there, and what to do.
set(FEWBITS_MISSING "")
function(fewbits_find_dependency target header library package)
  if(TARGET ${target})
    return()
  endif()
  string(MAKE_C_IDENTIFIER "FEWBITS_${package}" prefix)
  string(TOUPPER "${prefix}" prefix)
  find_path(${prefix}_INCLUDE_DIR ${header})
  find_library(${prefix}_LIBRARY ${library})
  mark_as_advanced(${prefix}_INCLUDE_DIR ${prefix}_LIBRARY)
  if(NOT ${prefix}_INCLUDE_DIR OR NOT ${prefix}_LIBRARY)
    string(CONCAT missing "${FEWBITS_MISSING}fewbits needs ${library}: ${header} and lib${library} not found. On Debian or "
                          "Ubuntu: apt-get install ${package}. Elsewhere: CMAKE_PREFIX_PATH names its folder.\n")
    set(FEWBITS_MISSING "${missing}" PARENT_SCOPE)
    return()
  endif()
  add_library(${target} UNKNOWN IMPORTED GLOBAL)
  set_target_properties(${target} PROPERTIES IMPORTED_LOCATION "${${prefix}_LIBRARY}"
                                             INTERFACE_INCLUDE_DIRECTORIES "${${prefix}_INCLUDE_DIR}")
endfunction()

fewbits_find_dependency(fewbits::zstd zstd.h zstd libzstd-dev)
fewbits_find_dependency(fewbits::xxhash xxhash.h xxhash libxxhash-dev)
