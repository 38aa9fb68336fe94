#!/usr/bin/env bash
# A whole private system in the background: Redis, coordinators, the four services.
#   stack.sh up --dir D [--coordinators N] [--port-base P] [--durability memory|everysec|always]
#               [--servers 2] [--preset release] [--set PROGRAM.OPTION=VALUE …]
#                                  --servers 2: the services' data have a Redis of their own, redis2
#   stack.sh down --dir D          stops everything that `up` started, by process id
#   stack.sh status --dir D        who runs, on which port
#   stack.sh kill NAME --dir D     kill -9 of one process
#   stack.sh start NAME --dir D [--set OPTION=VALUE …]
#                                  starts it again on the same port; the settings given here are
#                                  kept for the next start; "--set OPTION=" goes back to the default
# NAME: redis, redis2, sagad1, sagad2, …, order, product, score, user.
# `up` builds what is missing, returns when all are healthy and writes D/env with SAGA_HTTP SAGA_TCP
# (SAGA_HTTP_2 …) REDIS_CLI ORDER_API PRODUCT_API USER_API SCORE_API, and REDIS_CLI_2 with --servers 2.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)

fail() {
  echo "stack.sh: $*" >&2
  exit 1
}

usage() {
  sed -n '2,15s/^# \{0,1\}//p' "$0"
  exit "${1:-0}"
}

# ---- ports: a block of 40 from the base ----

port_of() { # NAME http|rpc
  local n
  case "$1" in
    user) n=20 ;; product) n=22 ;; order) n=24 ;; score) n=26 ;;
    sagad*) n=$((2 * ${1#sagad} - 1)) ;;
  esac
  echo $((base + n + ($([ "${2:-http}" = http ] && echo 0 || echo 1))))
}

place_of() { # NAME
  if [[ $1 = redis* ]]; then
    echo "$dir/$1.sock"
  else
    echo "127.0.0.1:$(port_of "$1")"
  fi
}

port_is_free() {
  ! (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null
}

# A block that nobody listens on; below the range that the kernel hands out, and below the one of the
# tests (tests/harness/ports.py), whose programs may be down just then.
find_base() {
  local try p
  for try in $(seq 1 50); do
    base=$((12000 + (RANDOM % 100) * 40))
    for p in $(seq "$base" $((base + 27))); do
      port_is_free "$p" || continue 2
    done
    return
  done
  fail "found no free block of ports after $try tries; give one with --port-base"
}

# ---- processes ----

pid_file() { echo "$dir/run/$1.pid"; }

started_at() { # PID: when it started, in ticks since boot; nothing when it is gone or a zombie
  local state rest
  read -r rest <"/proc/$1/stat" || return 0
  read -r state rest <<<"${rest##*) }"
  [ "$state" = Z ] || cut -d' ' -f19 <<<"$rest"
} 2>/dev/null

# A pid counts only while it is still the process that we started (pids are used again). One that
# had ended before we looked has no time of its start.
is_up() {
  local pid started
  [ -f "$(pid_file "$1")" ] || return 1
  read -r pid started <"$(pid_file "$1")"
  [ -n "$started" ] && [ "$(started_at "$pid")" = "$started" ]
}

spawn() { # NAME command…
  local name=$1 pid
  shift
  setsid "$@" >>"$dir/log/$name.log" 2>&1 </dev/null &
  pid=$!
  echo "$pid $(started_at "$pid")" >"$(pid_file "$name")"
}

healthy() { # NAME
  case "$1" in
    redis*) [ "$(redis_cli "$1" ping 2>/dev/null)" = PONG ] ;;
    *) curl -fs -m 2 -o /dev/null "http://127.0.0.1:$(port_of "$1")/api/ping" ;;
  esac
}

await() { # NAME: until it is healthy
  local deadline=$((SECONDS + 30))
  until healthy "$1"; do
    is_up "$1" || {
      tail -n 5 "$dir/log/$1.log" >&2
      fail "$1 ended while starting; its log is $dir/log/$1.log"
    }
    [ $SECONDS -lt $deadline ] || fail "$1 is not healthy after 30 s; its log is $dir/log/$1.log"
    sleep 0.05
  done
}

stop_one() { # NAME: asks, then insists
  local pid deadline=$((SECONDS + 10))
  is_up "$1" || return 0
  read -r pid _ <"$(pid_file "$1")"
  kill -TERM "$pid" 2>/dev/null || true
  while is_up "$1"; do
    [ $SECONDS -lt $deadline ] || { kill -KILL "$pid" 2>/dev/null || true; break; }
    sleep 0.05
  done
  rm -f "$(pid_file "$1")"
}

kill_one() {
  local pid
  is_up "$1" || fail "$1 does not run"
  read -r pid _ <"$(pid_file "$1")"
  kill -KILL "$pid"
  while is_up "$1"; do
    sleep 0.01
  done
  rm -f "$(pid_file "$1")"
}

settings_of() { # NAME: "--option value" pairs that were set with --set
  [ -f "$dir/conf/$1.set" ] || return 0
  sed -n 's/^\([a-z_.]*\)=\(..*\)$/--\1=\2/p' "$dir/conf/$1.set"
}

keep_setting() { # NAME OPTION=VALUE
  touch "$dir/conf/$1.set"
  sed -i "/^${2%%=*}=/d" "$dir/conf/$1.set"
  echo "$2" >>"$dir/conf/$1.set"
}

redis_cli() { # NAME command…
  redis-cli -s "$dir/$1.sock" --user ops --pass "$OPS_PASSWORD" --no-auth-warning "${@:2}"
}

# Redis' one thread stays on one core where there are others for the rest: what it wakes up pushes it
# around otherwise (docs/performance.md). Its child that rewrites the file is not bound to that core.
redis_cores() {
  local all
  all=$(sed -n 's/^Cpus_allowed_list:[[:space:]]*//p' /proc/self/status)
  if [[ $servers = 1 && $all = *[-,]* ]]; then
    echo "--server_cpulist ${all%%[-,]*} --aof_rewrite_cpulist $all"
  fi
}

start_redis() { # NAME
  local fsync=everysec aof=yes cores
  read -ra cores <<<"$(redis_cores)"
  case "$durability" in
    always) fsync=always ;;
    memory) aof=no ;;
  esac
  mkdir -p "$dir/$1"
  # On a unix socket alone: cheaper than TCP, and nobody else can reach it.
  spawn "$1" redis-server "$root/conf/redis.conf" --port 0 --unixsocketperm 700 \
    --unixsocket "$dir/$1.sock" --dir "$dir/$1" --aclfile "$dir/conf/users.acl" \
    --appendonly "$aof" --appendfsync "$fsync" "${cores[@]}"
}

outbox_place() { # where the order service leaves messages; with a password, so not for a command line
  local path=${dir//%/%25}
  [ "$servers" = 1 ] || printf 'unix://sagad:%s@%s/redis2.sock:' "$SAGAD_PASSWORD" "${path//:/%3A}"
  echo '{ord:0}:outbox'
}

start_sagad() { # NAME
  SAGAD_REDIS_PASSWORD=$SAGAD_PASSWORD SAGAD_OUTBOX_ORDER=$(outbox_place) spawn "$1" "$bin/coordinator/sagad" \
    --listen_http "127.0.0.1:$(port_of "$1")" --listen_tcp "127.0.0.1:$(port_of "$1" rpc)" \
    --redis "unix:$dir/redis.sock" --redis_user sagad --durability "$durability" \
    --resolver.order "127.0.0.1:$(port_of order rpc)" \
    --resolver.product "127.0.0.1:$(port_of product rpc)" \
    --resolver.user "127.0.0.1:$(port_of user rpc)" \
    --resolver.score "127.0.0.1:$(port_of score rpc)" \
    "${extra[@]}"
}

start_service() { # NAME
  local upper=${1^^} peers=() password redis=redis
  [ "$servers" = 1 ] || redis=redis2
  password=${upper}_PASSWORD
  [ "$1" != order ] || peers=(--user_rpc "127.0.0.1:$(port_of user rpc)"
    --product_rpc "127.0.0.1:$(port_of product rpc)" --paid_score 5)
  (
    export "${upper}D_REDIS_PASSWORD=${!password}" "${upper}D_JWT_SECRET=$JWT_SECRET"
    spawn "$1" "$bin/services/$1/${1}d" \
      --listen_http "127.0.0.1:$(port_of "$1")" --listen_rpc "127.0.0.1:$(port_of "$1" rpc)" \
      --redis "unix:$dir/$redis.sock" --redis_user "$1" \
      --coordinator "127.0.0.1:$(port_of sagad1 rpc)" \
      "${peers[@]}" "${extra[@]}"
  )
}

start_one() { # NAME
  mapfile -t extra < <(settings_of "$1")
  case "$1" in
    redis*) start_redis "$1" ;;
    sagad[1-9]) start_sagad "$1" ;;
    order | product | score | user) start_service "$1" ;;
  esac
  await "$1"
}

names() {
  echo redis
  [ "$servers" = 1 ] || echo redis2
  seq -f 'sagad%g' 1 "$coordinators"
  printf '%s\n' user product score order
}

check_name() { # NAME [what it was given for]
  names | grep -x -- "$1" >/dev/null || fail "${2:+$2: }no such process: $1 (this stack has $(names | xargs))"
}

# ---- commands ----

# An assignment ends the script when making one fails; an echo would print an empty one.
write_secrets() {
  local name secret
  for name in OPS SAGAD ORDER PRODUCT USER SCORE; do
    secret=$(od -An -N16 -tx1 /dev/urandom | tr -d ' \n')
    echo "export ${name}_PASSWORD=$secret"
  done
  secret=$(od -An -N32 -tx1 /dev/urandom | tr -d ' \n')
  echo "export JWT_SECRET=$secret"
}

write_env() {
  local i
  {
    for i in $(seq 1 "$coordinators"); do
      local suffix=_$i
      [ "$i" -gt 1 ] || suffix=
      echo "SAGA_HTTP$suffix=http://127.0.0.1:$(port_of "sagad$i")"
      echo "SAGA_TCP$suffix=127.0.0.1:$(port_of "sagad$i" rpc)"
    done
    for i in order product user score; do
      echo "${i^^}_API=http://127.0.0.1:$(port_of $i)"
      echo "${i^^}_RPC=127.0.0.1:$(port_of $i rpc)"
    done
    echo "REDIS=unix:$dir/redis.sock"
    echo "REDIS_USER=ops"
    echo "REDIS_PASSWORD=$OPS_PASSWORD"
    echo "REDIS_CLI='$REDIS_CLI'"
    [ "$servers" = 1 ] || echo "REDIS_CLI_2='${REDIS_CLI/redis.sock/redis2.sock}'"
  } >"$dir/env"
}

build() {
  "$root/scripts/deps.sh" --run
  (
    cd "$root"
    [ -f "build/$preset/build.ninja" ] || cmake --preset "$preset" -DSAGAD_TESTS=OFF
    cmake --build --preset "$preset" --target sagad orderd productd scored userd sagactl sagabench
  ) >"$dir/log/build.log" 2>&1 || {
    tail -n 20 "$dir/log/build.log" >&2
    fail "the build failed; its log is $dir/log/build.log"
  }
}

load_state() {
  [ -f "$dir/conf/state" ] || fail "$dir is not a stack; make one with: stack.sh up --dir $dir"
  # shellcheck source=/dev/null
  . "$dir/conf/state"
  # shellcheck source=/dev/null
  . "$dir/conf/secrets"
  bin=$root/build/$preset
  REDIS_CLI="redis-cli -s $dir/redis.sock --user ops --pass $OPS_PASSWORD --no-auth-warning"
}

check_up() {
  local name
  [[ $coordinators =~ ^[1-9]$ ]] || fail "--coordinators: '$coordinators' is not a number from 1 to 9"
  [[ $servers =~ ^[12]$ ]] || fail "--servers: 1 or 2"
  [[ $durability =~ ^(memory|everysec|always)$ ]] || fail "--durability: memory, everysec or always"
  [[ -z $base || ($base =~ ^[0-9]{4,5}$ && $base -ge 1024 && $base -le 65500) ]] ||
    fail "--port-base: '$base' is not a number from 1024 to 65500"
  grep -qF "\"name\": \"$preset\"," "$root/CMakePresets.json" ||
    fail "--preset: no preset '$preset' in CMakePresets.json"
  for name in "${sets[@]}"; do
    [[ $name =~ ^[a-z0-9]+\.[a-z_.]+= ]] || fail "--set $name: must be PROGRAM.OPTION=VALUE"
    check_name "${name%%.*}" "--set $name"
  done
}

check_down() { # in a subshell, because the state of the old stack must not become ours
  (
    load_state
    for name in $(names); do
      ! is_up "$name" || fail "$dir is up already; stop it with: stack.sh down --dir $dir"
    done
  )
}

cmd_up() {
  local name
  check_up
  [ ! -f "$dir/conf/state" ] || check_down
  (umask 077 && mkdir -p "$dir")
  mkdir -p "$dir"/{run,log,conf}
  build
  [ -n "$base" ] || find_base
  umask 077
  printf 'base=%s\ncoordinators=%s\ndurability=%s\npreset=%s\nservers=%s\n' \
    "$base" "$coordinators" "$durability" "$preset" "$servers" >"$dir/conf/state"
  [ -f "$dir/conf/secrets" ] || write_secrets >"$dir/conf/secrets"
  load_state
  "$root/scripts/redis-acl.sh" >"$dir/conf/users.acl"
  for name in "${sets[@]}"; do
    keep_setting "${name%%.*}" "${name#*.}"
  done
  write_env
  trap stop_all EXIT # all or nothing
  for name in $(names); do
    start_one "$name"
  done
  trap - EXIT
  cmd_status
  echo "settings for your shell: . $dir/env"
}

stop_all() {
  local name
  for name in $(names | tac); do
    stop_one "$name"
  done
}

cmd_down() {
  load_state
  stop_all
}

cmd_status() {
  local name state
  load_state
  for name in $(names); do
    state=down
    ! is_up "$name" || state=up
    printf '%-10s %-5s %s\n' "$name" "$state" "$(place_of "$name")"
  done
}

cmd_kill() {
  load_state
  check_name "$1"
  kill_one "$1"
}

cmd_start() {
  local set
  load_state
  check_name "$1"
  ! is_up "$1" || fail "$1 runs already"
  for set in "${sets[@]}"; do
    [[ $set =~ ^[a-z_.]+= ]] || fail "--set $set: must be OPTION=VALUE"
    keep_setting "$1" "$set"
  done
  start_one "$1"
}

command=${1:-}
[ -n "$command" ] || usage 2
shift
dir='' base='' coordinators=1 durability=everysec preset=release servers=1
target='' sets=()
while [ $# -gt 0 ]; do
  case "$1" in
    --dir | --coordinators | --port-base | --durability | --preset | --servers | --set)
      [ -n "${2:-}" ] || fail "$1 needs a value"
      ;;
  esac
  case "$1" in
    --dir) dir=$(realpath -m "$2") ;;
    --coordinators) coordinators=$2 ;;
    --port-base) base=$2 ;;
    --durability) durability=$2 ;;
    --preset) preset=$2 ;;
    --servers) servers=$2 ;;
    --set) sets+=("$2") ;;
    -h | --help) usage ;;
    -*) fail "unknown option $1; see --help" ;;
    *)
      target=$1
      shift
      continue
      ;;
  esac
  shift 2
done
case "$command" in -h | --help | help) usage ;; esac
[ -n "$dir" ] || fail "--dir D is missing: the folder that holds the stack's data, logs and pids"

case "$command" in
  up) cmd_up ;;
  down) cmd_down ;;
  status) cmd_status ;;
  kill | start)
    [ -n "$target" ] || fail "$command needs the NAME of a process"
    "cmd_$command" "$target"
    ;;
  *) usage 2 ;;
esac
