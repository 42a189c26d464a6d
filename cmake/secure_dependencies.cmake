# Botan::Botan, the cryptographic library of fewbits::secure, where it is found: Botan 3, or else 2.19. Installed with the
# package: a static fewbits::secure needs it where it is linked. Found without pkg-config; CMAKE_PREFIX_PATH says where to look
# first.
set(BOTAN_FOUND FALSE)
if(TARGET Botan::Botan)
  set(BOTAN_FOUND TRUE)
endif()
foreach(major 3 2)
  if(NOT BOTAN_FOUND)
    find_path(FEWBITS_BOTAN_${major}_INCLUDE_DIR botan/tss.h PATH_SUFFIXES botan-${major})
    find_library(FEWBITS_BOTAN_${major}_LIBRARY botan-${major})
    mark_as_advanced(FEWBITS_BOTAN_${major}_INCLUDE_DIR FEWBITS_BOTAN_${major}_LIBRARY)
    if(FEWBITS_BOTAN_${major}_INCLUDE_DIR AND FEWBITS_BOTAN_${major}_LIBRARY)
      set(BOTAN_FOUND TRUE)
      add_library(Botan::Botan UNKNOWN IMPORTED GLOBAL)
      set_target_properties(Botan::Botan PROPERTIES IMPORTED_LOCATION "${FEWBITS_BOTAN_${major}_LIBRARY}"
                                                    INTERFACE_INCLUDE_DIRECTORIES "${FEWBITS_BOTAN_${major}_INCLUDE_DIR}")
    endif()
  endif()
endforeach()
