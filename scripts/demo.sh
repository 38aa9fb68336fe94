#!/usr/bin/env bash
# Builds everything, starts a private system on free ports and plays the flows A to H of the mall:
# an order that succeeds, one that finds no stock, one that fails after its work was done, a
# registration, one that is undone, and orders paid with points (a TCC): one that succeeds, one that
# finds no stock, one without enough points; at last an order that is paid while no coordinator runs
# (the outbox). Shows what was expected and what is; exit code 1 when they differ.
#   demo.sh [--stay] [--preset release]     --stay: leave the system running, and say how to use it
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)

stay='' preset=release
while [ $# -gt 0 ]; do
  case "$1" in
    --stay) stay=1 ;;
    --preset) preset=${2:?--preset needs a name} && shift ;;
    -h | --help)
      sed -n '2,7s/^# \{0,1\}//p' "$0"
      exit 0
      ;;
    *)
      echo "demo.sh: unknown option $1; see --help" >&2
      exit 2
      ;;
  esac
  shift
done

dir=$(mktemp -d "${TMPDIR:-/tmp}/sagad-demo.XXXXXX")
finish() {
  code=$?
  if [ -n "$stay" ] && [ $code -eq 0 ]; then
    echo "The system runs on; its addresses:  . $dir/env"
    echo "Stop it with:  $here/stack.sh down --dir $dir"
  else
    "$here/stack.sh" down --dir "$dir" >/dev/null 2>&1 || true
    rm -rf "$dir"
  fi
  exit $code
}
trap finish EXIT

echo "Building and starting redis, sagad and the four services in $dir …"
"$here/stack.sh" up --dir "$dir" --preset "$preset"
python3 "$here/demo.py" --dir "$dir"
