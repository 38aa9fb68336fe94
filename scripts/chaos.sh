#!/usr/bin/env bash
# The whole system under load, while processes are killed and frozen, links break, clocks jump and the
# disk is full; then the proof that nothing was lost, doubled or left half. docs/reliability.md.
#   chaos.sh [--minutes 5] [--seed S] [--mode single-everysec|single-always|sentinel|cluster] [--dir D]
#            [--coordinators 2] [--workers N] [--clients 24] [--rate 200] [--self-check]
#            [--preset release]
#   chaos.sh --check D        the checker alone, on the folder of a run
# Builds what is missing, shows what happens, ends with 1 when something was wrong, then the folder
# stays; with 2 when it was called wrong. The same seed in the same mode breaks the same things at the
# same offsets; each coordinator has two workers when the seed is odd.
# Clock steps need the package libfaketime, a full disk needs root; else they are left out.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
export PYTHONPATH=$root/tests
chaos=(python3 -B "$root/tests/chaos/chaos.py")

if [ "${1:-}" = --check ]; then
  dir=${2:-}
  if [ ! -f "$dir/clients.jsonl" ] || [ ! -f "$dir/dump.json" ]; then
    echo "chaos.sh: --check needs the folder of a run, with clients.jsonl and dump.json: '$dir'" >&2
    exit 2
  fi
  exec python3 -B "$root/tests/chaos/checker.py" "$dir/clients.jsonl" "$dir/dump.json"
fi

preset=release args=()
while [ $# -gt 0 ]; do
  case "$1" in
    --preset)
      preset=${2:?chaos.sh: --preset needs a value}
      shift 2
      ;;
    -h | --help)
      sed -n '2,12s/^# \{0,1\}//p' "$0"
      exit 0
      ;;
    *)
      args+=("$1")
      shift
      ;;
  esac
done

log=$(mktemp)
trap 'rm -f "$log"' EXIT
"$root/scripts/deps.sh" --run
if ! (
  cd "$root"
  [ -f "build/$preset/build.ninja" ] || cmake --preset "$preset" -DSAGAD_TESTS=OFF
  cmake -D SAGAD_CHAOS=ON "build/$preset"
  cmake --build --preset "$preset" --target sagad orderd productd scored userd deskd
) >"$log" 2>&1; then
  tail -n 20 "$log" >&2
  echo "chaos.sh: the build failed" >&2
  exit 1
fi
SAGAD_BUILD=$root/build/$preset "${chaos[@]}" "${args[@]}"
