# nanopb_library(NAME file.proto…): a static library with the generated code, in the build folder.
# Paths are relative to the folder proto/; a file.options beside a file.proto is honoured.
find_package(nanopb REQUIRED CONFIG)
find_program(PROTOC protoc REQUIRED)
find_program(PROTOC_GEN_NANOPB protoc-gen-nanopb REQUIRED)

function(nanopb_library name)
  set(root ${PROJECT_SOURCE_DIR}/proto)
  set(out ${CMAKE_CURRENT_BINARY_DIR}/${name})
  set(sources)
  foreach(proto IN LISTS ARGN)
    string(REGEX REPLACE "\\.proto$" "" stem ${proto})
    set(deps ${root}/${proto})
    if(EXISTS ${root}/${stem}.options)
      list(APPEND deps ${root}/${stem}.options)
    endif()
    add_custom_command(
      OUTPUT ${out}/${stem}.pb.c ${out}/${stem}.pb.h
      COMMAND ${CMAKE_COMMAND} -E make_directory ${out}
      COMMAND ${PROTOC} --plugin=protoc-gen-nanopb=${PROTOC_GEN_NANOPB} -I${root}
              --nanopb_opt=-I${root} --nanopb_out=${out} ${root}/${proto}
      DEPENDS ${deps}
      COMMENT "nanopb ${proto}"
      VERBATIM)
    list(APPEND sources ${out}/${stem}.pb.c ${out}/${stem}.pb.h)
  endforeach()
  add_library(${name} STATIC ${sources})
  target_include_directories(${name} SYSTEM PUBLIC ${out})
  target_link_libraries(${name} PUBLIC nanopb::protobuf-nanopb-static)
endfunction()
