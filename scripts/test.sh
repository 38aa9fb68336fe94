#!/usr/bin/env bash
# Installs what is missing, builds and runs the tests.
#   scripts/test.sh [--preset dev|release|asan|coverage] [ctest arguments]
# Examples: scripts/test.sh          scripts/test.sh --preset asan -L unit
set -euo pipefail
cd "$(dirname "$0")/.."

preset=dev
case "${1:-}" in
  -h | --help)
    sed -n '2,4s/^# \{0,1\}//p' "$0"
    exit 0
    ;;
  --preset)
    preset=${2:?--preset needs a name: dev, release, asan, coverage}
    shift 2
    ;;
esac

scripts/deps.sh
cmake --preset "$preset" -D SAGAD_TESTS=ON # scripts/stack.sh may have made it without
cmake --build --preset "$preset"
code=0
ctest --preset "$preset" --no-tests=error "$@" || code=$?
# ctest keeps to itself why a test was skipped.
grep -h '^skipped: ' "build/$preset/Testing/Temporary/LastTest.log" || true
exit $code
