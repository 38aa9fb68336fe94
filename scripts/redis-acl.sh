#!/usr/bin/env bash
# Prints the ACL file of a Redis that sagad and the mall share: one user for each program, each
# confined to its own keys. Passwords come from the environment (they are stored hashed):
#   OPS_PASSWORD SAGAD_PASSWORD ORDER_PASSWORD PRODUCT_PASSWORD USER_PASSWORD SCORE_PASSWORD
set -euo pipefail

hash_of() { # NAME of the variable
  if [ -z "${!1:-}" ]; then
    echo "redis-acl.sh: $1 is not set: give each program a password" >&2
    return 1
  fi
  printf '%s' "${!1}" | sha256sum | cut -d' ' -f1
}

# All in assignments, before anything is printed: one that fails ends the script. Inside a
# here-document it would not, and that user would get the hash of an empty password.
ops=$(hash_of OPS_PASSWORD)
sagad=$(hash_of SAGAD_PASSWORD)
order=$(hash_of ORDER_PASSWORD)
product=$(hash_of PRODUCT_PASSWORD)
user=$(hash_of USER_PASSWORD)
score=$(hash_of SCORE_PASSWORD)

# sagad may also take messages out of the outbox of the order service (docs/outbox.md).

# What scripts and reads need, what clients of sentinels and of a cluster ask, and nothing that
# administers the server.
program="-@all +@read +@write +@scripting +@connection +time +wait -@dangerous +role +cluster|slots"

# The default user keeps every right, behind a password: Redis 7.0 loads its append-only file with the
# rights of the default user, and drops what that user may not do.
cat <<EOF
user default on #$ops ~* &* +@all
user ops on #$ops ~* &* +@all
user sagad on #$sagad resetchannels ~saga:* ~{ord:*}:outbox* $program +info +config|get +memory|usage
user order on #$order resetchannels ~{ord:* ~saga:services $program
user product on #$product resetchannels ~{prd:* ~saga:services $program
user user on #$user resetchannels ~{usr:* ~saga:services $program
user score on #$score resetchannels ~{scr:* ~saga:services $program
EOF
