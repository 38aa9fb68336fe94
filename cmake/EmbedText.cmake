# embed_text(OUT_VAR symbol file): generates a C file with the bytes of `file` (relative to the
# project) as `const char symbol[]`, ended by a NUL, and `const size_t symbol_len`; its path is put
# into OUT_VAR, for the sources of a target. Included by the project, and run with cmake -P.
if(CMAKE_SCRIPT_MODE_FILE)
  file(READ ${IN} hex HEX)
  string(REGEX REPLACE "([0-9a-f][0-9a-f])" "'\\\\x\\1'," bytes "${hex}")
  file(WRITE ${OUT} "/* Generated from ${NAME}. */\n#include <stddef.h>\n
extern const char ${SYMBOL}[];\nextern const size_t ${SYMBOL}_len;\n
const char ${SYMBOL}[] = {${bytes}0};\nconst size_t ${SYMBOL}_len = sizeof(${SYMBOL}) - 1;\n")
  return()
endif()

function(embed_text out_var symbol file)
  set(in ${PROJECT_SOURCE_DIR}/${file})
  set(out ${CMAKE_CURRENT_BINARY_DIR}/${symbol}.c)
  set(run ${PROJECT_SOURCE_DIR}/cmake/EmbedText.cmake)
  add_custom_command(
    OUTPUT ${out}
    COMMAND ${CMAKE_COMMAND} -DIN=${in} -DOUT=${out} -DSYMBOL=${symbol} -DNAME=${file} -P ${run}
    DEPENDS ${in} ${run}
    COMMENT "embed ${file}"
    VERBATIM)
  set(${out_var} ${out} PARENT_SCOPE)
endfunction()
