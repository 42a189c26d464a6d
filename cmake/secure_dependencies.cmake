# Botan::Botan, the cryptographic library of fewbits::secure, where it is found.
find_package(PkgConfig QUIET)
if(PkgConfig_FOUND AND NOT TARGET Botan::Botan)
  pkg_search_module(BOTAN QUIET IMPORTED_TARGET GLOBAL botan-3 botan-2)
  if(BOTAN_FOUND)
    add_library(Botan::Botan ALIAS PkgConfig::BOTAN)
  endif()
endif()
