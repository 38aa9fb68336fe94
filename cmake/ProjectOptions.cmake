# project_options: language level, warnings and hardening, for every target of this project.
# Linked PRIVATE, so that users of an installed library do not inherit them.
include(CheckCCompilerFlag)

set(SAGAD_SANITIZE "" CACHE STRING "Sanitizers, as for -fsanitize= (address,undefined)")
option(SAGAD_COVERAGE "Compile with gcov counters" OFF)
option(SAGAD_FAULTS "Compile the named fault points in, for tests (lib/base/fault.h)" OFF)

set(CMAKE_C_STANDARD 11)
set(CMAKE_C_STANDARD_REQUIRED ON)
set(CMAKE_C_EXTENSIONS OFF)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
# Our names must not take the place of a library's inside that library (json_string is jansson's too,
# which libjwt uses).
set(CMAKE_C_VISIBILITY_PRESET hidden)
if(NOT CMAKE_BUILD_TYPE)
  set(CMAKE_BUILD_TYPE RelWithDebInfo CACHE STRING "" FORCE)
endif()

add_library(project_options INTERFACE)
target_compile_definitions(project_options INTERFACE _GNU_SOURCE)
if(SAGAD_FAULTS)
  target_compile_definitions(project_options INTERFACE SAGAD_FAULTS)
endif()
target_include_directories(project_options INTERFACE ${PROJECT_SOURCE_DIR} ${PROJECT_SOURCE_DIR}/lib)
target_compile_options(project_options INTERFACE
  -Wall -Wextra -Wpedantic -Wconversion -Wsign-conversion -Wshadow -Wstrict-prototypes
  -Wmissing-prototypes -Wold-style-definition -Wformat=2 -Wundef -Wvla -Wcast-align -Wcast-qual
  -Wwrite-strings -Wswitch-enum -Wimplicit-fallthrough -Wnull-dereference -Wdouble-promotion
  $<$<C_COMPILER_ID:GNU>:-Wlogical-op -Wduplicated-cond -Wduplicated-branches>)

# Hardening (OpenSSF guide), as far as gcc 12 and clang 14 know it. Sanitizers bring their own checks.
if(NOT SAGAD_SANITIZE AND NOT SAGAD_COVERAGE)
  target_compile_options(project_options INTERFACE
    $<$<NOT:$<CONFIG:Debug>>:-U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=3>
    -fstack-protector-strong -fstack-clash-protection)
  check_c_compiler_flag(-fcf-protection=full HAVE_CF_PROTECTION)
  if(HAVE_CF_PROTECTION)
    target_compile_options(project_options INTERFACE -fcf-protection=full)
  endif()
  target_link_options(project_options INTERFACE -Wl,-z,relro,-z,now,-z,noexecstack)
endif()
if(SAGAD_SANITIZE)
  target_compile_options(project_options INTERFACE
    -fsanitize=${SAGAD_SANITIZE} -fno-sanitize-recover=all -fno-omit-frame-pointer)
  target_link_options(project_options INTERFACE -fsanitize=${SAGAD_SANITIZE})
endif()
if(SAGAD_COVERAGE)
  target_compile_options(project_options INTERFACE --coverage -O0)
  target_link_options(project_options INTERFACE --coverage)
endif()

include(CheckPIESupported)
check_pie_supported()

find_package(PkgConfig REQUIRED)
pkg_check_modules(LIBEVENT REQUIRED IMPORTED_TARGET libevent_core libevent_extra)
pkg_check_modules(HIREDIS REQUIRED IMPORTED_TARGET hiredis)
pkg_check_modules(CJSON REQUIRED IMPORTED_TARGET libcjson)
pkg_check_modules(CRYPTO REQUIRED IMPORTED_TARGET libcrypto)
pkg_check_modules(JWT REQUIRED IMPORTED_TARGET libjwt)
