#!/usr/bin/env bash
# Prints the ACL file of a Redis that sagad and the mall share: one user for each program, each
# confined to its own keys. Passwords come from the environment (they are stored hashed):
#   OPS_PASSWORD SAGAD_PASSWORD ORDER_PASSWORD PRODUCT_PASSWORD USER_PASSWORD SCORE_PASSWORD
set -euo pipefail

hashed() {
  printf '%s' "${!1:?$1 is not set: give each program a password}" | sha256sum | cut -d' ' -f1
}

# sagad may also take messages out of the outbox of the order service (docs/outbox.md).

# What scripts and reads need, what clients of sentinels and of a cluster ask, and nothing that
# administers the server.
program="-@all +@read +@write +@scripting +@connection +time +wait -@dangerous +role +cluster|slots"

# The default user keeps every right, behind a password: Redis 7.0 loads its append-only file with the
# rights of the default user, and drops what that user may not do.
cat <<EOF
user default on #$(hashed OPS_PASSWORD) ~* &* +@all
user ops on #$(hashed OPS_PASSWORD) ~* &* +@all
user sagad on #$(hashed SAGAD_PASSWORD) resetchannels ~saga:* ~{ord:*}:outbox* $program +info +config|get +memory|usage
user order on #$(hashed ORDER_PASSWORD) resetchannels ~{ord:* ~saga:services $program
user product on #$(hashed PRODUCT_PASSWORD) resetchannels ~{prd:* ~saga:services $program
user user on #$(hashed USER_PASSWORD) resetchannels ~{usr:* ~saga:services $program
user score on #$(hashed SCORE_PASSWORD) resetchannels ~{scr:* ~saga:services $program
EOF
