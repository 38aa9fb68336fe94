# Component doc: manual pages, sample settings, systemd units.
set(examples ${CMAKE_INSTALL_DOCDIR}/examples)
set(man ${PROJECT_SOURCE_DIR}/docs/man)

foreach(section 1 5 8)
  file(GLOB pages CONFIGURE_DEPENDS ${man}/*.${section})
  install(FILES ${pages} DESTINATION ${CMAKE_INSTALL_MANDIR}/man${section} COMPONENT doc)
endforeach()
# orderd(8) describes all four services.
foreach(name productd scored userd)
  file(WRITE ${PROJECT_BINARY_DIR}/man/${name}.8 ".so man8/orderd.8\n")
  install(FILES ${PROJECT_BINARY_DIR}/man/${name}.8 DESTINATION ${CMAKE_INSTALL_MANDIR}/man8
    COMPONENT doc)
endforeach()

# As examples: an installation never writes over settings that somebody made.
install(DIRECTORY ${PROJECT_SOURCE_DIR}/conf/ DESTINATION ${examples} COMPONENT doc
  FILES_MATCHING PATTERN *.conf PATTERN systemd EXCLUDE)
install(PROGRAMS ${PROJECT_SOURCE_DIR}/scripts/redis-acl.sh DESTINATION ${examples} COMPONENT doc)
install(FILES README.md LICENSE DESTINATION ${CMAKE_INSTALL_DOCDIR} COMPONENT doc)

# The units name the programs by their full paths, which are known when the prefix is.
install(CODE "
  file(GLOB units \"${PROJECT_SOURCE_DIR}/conf/systemd/*.service\")
  foreach(unit IN LISTS units)
    get_filename_component(name \${unit} NAME)
    file(READ \${unit} text)
    string(REPLACE /usr/local/sbin/ \${CMAKE_INSTALL_PREFIX}/${CMAKE_INSTALL_SBINDIR}/ text \"\${text}\")
    string(REPLACE /usr/local/bin/ \${CMAKE_INSTALL_PREFIX}/${CMAKE_INSTALL_BINDIR}/ text \"\${text}\")
    file(WRITE \"${PROJECT_BINARY_DIR}/systemd/\${name}\" \"\${text}\")
    file(INSTALL \"${PROJECT_BINARY_DIR}/systemd/\${name}\"
      DESTINATION \"\${CMAKE_INSTALL_PREFIX}/lib/systemd/system\")
  endforeach()" COMPONENT doc)
