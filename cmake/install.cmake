include(CMakePackageConfigHelpers)

set(package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/fewbits)

function(fewbits_install_libraries export file)
  install(TARGETS ${ARGN} EXPORT ${export}
          ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR}
          LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR}
          INCLUDES DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
  install(EXPORT ${export} NAMESPACE fewbits:: DESTINATION ${package_dir} FILE ${file})
endfunction()

# Shared, they find each other where they lie.
set_target_properties(fewbits_privacy PROPERTIES INSTALL_RPATH "$ORIGIN")
fewbits_install_libraries(fewbits fewbits-targets.cmake fewbits fewbits_privacy)
set(absent federated)   # the harness is a part of the build, not of the package
if(TARGET fewbits_secure)
  set_target_properties(fewbits_secure PROPERTIES INSTALL_RPATH "$ORIGIN")
  fewbits_install_libraries(fewbits_secure fewbits-secure-targets.cmake fewbits_secure)
  install(FILES cmake/secure_dependencies.cmake DESTINATION ${package_dir})
else()
  string(APPEND absent "|secure")
endif()
install(DIRECTORY include/fewbits ${PROJECT_BINARY_DIR}/include/fewbits
        DESTINATION ${CMAKE_INSTALL_INCLUDEDIR} FILES_MATCHING PATTERN "*.h"
        REGEX "/fewbits/(${absent})$" EXCLUDE)

# Before version 1.0 a minor version may change the interface.
write_basic_package_version_file(fewbits-config-version.cmake COMPATIBILITY SameMinorVersion)
install(FILES cmake/fewbits-config.cmake cmake/dependencies.cmake
              ${CMAKE_CURRENT_BINARY_DIR}/fewbits-config-version.cmake
        DESTINATION ${package_dir})

include(cmake/pkg_config.cmake)

install(FILES LICENSE DESTINATION ${CMAKE_INSTALL_DOCDIR})

if(FEWBITS_BUILD_PROGRAM)
  install(TARGETS fewbits_program RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
endif()
