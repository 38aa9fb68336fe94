# embed_lua(NAME script.lua…): a static library with one `const struct redis_script` for each
# script (lua/order/order_create.lua → script_order_create), its bytes and its SHA-1.
# The header is <NAME.h> (NAME without "_scripts" is not changed). Scripts are checked by name:
# the header comment of each says how many KEYS it takes ("-- KEYS: 4").
function(embed_lua name)
  set(out ${CMAKE_CURRENT_BINARY_DIR}/${name})
  set(paths)
  foreach(script IN LISTS ARGN)
    list(APPEND paths ${PROJECT_SOURCE_DIR}/lua/${script})
  endforeach()
  string(REPLACE ";" "," joined "${paths}")
  add_custom_command(
    OUTPUT ${out}/${name}.c ${out}/${name}.h
    COMMAND ${CMAKE_COMMAND} -DNAME=${name} -DOUT=${out} -DSCRIPTS=${joined}
            -P ${PROJECT_SOURCE_DIR}/cmake/EmbedLuaRun.cmake
    DEPENDS ${paths} ${PROJECT_SOURCE_DIR}/cmake/EmbedLuaRun.cmake
    COMMENT "embed ${name}"
    VERBATIM)
  add_library(${name} STATIC ${out}/${name}.c ${out}/${name}.h)
  target_include_directories(${name} PUBLIC ${out})
  target_link_libraries(${name} PRIVATE project_options)
endfunction()
