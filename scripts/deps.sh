#!/usr/bin/env bash
# Installs what building, testing and running need on Debian 12 / Ubuntu 24.04; says what it does.
# Nothing happens when everything is there already.
#   scripts/deps.sh [--run]     --run: only what building and running needs, not the test tools
set -euo pipefail

build=(cmake ninja-build gcc libc6-dev pkg-config protobuf-compiler nanopb libnanopb-dev python3
  python3-protobuf libevent-dev libhiredis-dev libcjson-dev libssl-dev libjwt-dev uthash-dev
  redis-server redis-tools curl ca-certificates)
test=(libcmocka-dev clang-format shellcheck lua-check mandoc git spin libfaketime)

packages=("${build[@]}")
[ "${1:-}" = "--run" ] || packages+=("${test[@]}")

missing=()
for package in "${packages[@]}"; do
  if ! dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null | grep -qx installed; then
    missing+=("$package")
  fi
done
[ ${#missing[@]} -gt 0 ] || exit 0

root=()
if [ "$(id -u)" -ne 0 ]; then
  command -v sudo >/dev/null || {
    echo "deps.sh: missing packages: ${missing[*]}" >&2
    echo "deps.sh: run this as root, or install sudo" >&2
    exit 1
  }
  root=(sudo)
fi
echo "installing: ${missing[*]}"
"${root[@]}" apt-get update -qq
# The package redis-server would start a system service; ours are private ones.
policy=/usr/sbin/policy-rc.d
if [ ! -e $policy ]; then
  trap '"${root[@]}" rm -f $policy' EXIT
  printf '#!/bin/sh\nexit 101\n' | "${root[@]}" tee $policy >/dev/null
  "${root[@]}" chmod 755 $policy
fi
"${root[@]}" env DEBIAN_FRONTEND=noninteractive \
  apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
