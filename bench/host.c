/* Participants that live in this process: they do nothing, or count behind their barriers. */
#include "bench/bench.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { COUNTERS = 64, TTL_MS = 3600 * 1000 };

/* A try is counted as held, its cancel takes that back; a confirm or an action is counted for good.
 * As little as a business change can be: what is measured is the barrier. */
static const char counter_lua[] =
    "return barrier(function(keys, args, undo, tried)\n"
    "    local op = ARGV[4]\n"
    "    if undo then\n"
    "        if undo ~= '' then redis.call('HINCRBY', keys[1], undo, -1) end\n"
    "        return ok()\n"
    "    end\n"
    "    local field = op == 'try' and 'held' or 'counted'\n"
    "    redis.call('HINCRBY', keys[1], field, 1)\n"
    "    return ok('', field)\n"
    "end)\n";

/* Two branches, as the other modes have. */
static const char outbox_lua[] = "outbox(KEYS[1], ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5])\n"
                                 "return 1\n";

static void on_noop(void *arg, struct saga_call *call)
{
    bench_delivered(arg, saga_call_gid(call), saga_call_branch_id(call));
    saga_call_reply(call, SAGA_SUCCESS, saga_text(""), NULL);
}

/* "{bench:RUN:7}:n" */
static struct saga_bytes counter_key(const struct bench *bench, const char *number, char out[96])
{
    snprintf(out, 96, "{bench:%s:%.8s}:n", bench->run, number);
    return saga_text(out);
}

/* The payload is the number of the counter. */
static void on_count(void *arg, struct saga_call *call)
{
    struct bench *bench = arg;
    struct saga_bytes payload = saga_call_payload(call);
    bench_delivered(bench, saga_call_gid(call), saga_call_branch_id(call));
    char number[32], key[96], tag[96];
    snprintf(number, sizeof(number), "%.*s", (int)payload.len, payload.ptr);
    struct saga_bytes keys[] = {counter_key(bench, number, key)};
    snprintf(tag, sizeof(tag), "%.*s", (int)strcspn(key, "}") + 1, key);
    saga_call_eval(call, &(struct saga_eval){
                             .script = bench->counter, .tag = tag, .keys = keys, .key_count = 1});
}

static bool needs_redis(const struct bench *bench)
{
    return !bench->noop || bench->mode == BENCH_OUTBOX;
}

static bool open_host(struct bench *bench)
{
    char error[256];
    struct saga_conf conf = {.program = "sagabench",
                             .listen = "127.0.0.1:0",
                             .redis = needs_redis(bench) ? bench->env.redis : NULL,
                             .redis_user = bench->env.redis_user,
                             .redis_password = bench->env.redis_password,
                             .barrier_ttl_ms = TTL_MS,
                             .loop = bench->loop};
    bench->host = saga_open(&conf, error, sizeof(error));
    if (!bench->host) {
        fprintf(stderr, "sagabench: %s\n", error);
    }
    return bench->host != NULL;
}

bool bench_host_open(struct bench *bench)
{
    if (needs_redis(bench) && !bench->env.redis) {
        fprintf(stderr, "sagabench: REDIS is not known; use --env D/env of a stack%s\n",
                bench->mode == BENCH_OUTBOX ? "" : ", or --noop");
        return false;
    }
    if (!open_host(bench)) {
        return false;
    }
    const char *method = bench->noop ? "noop.Noop/Do" : "bench.Counter/Step";
    if (bench->noop) {
        saga_on_branch(bench->host, method, on_noop, bench);
    } else {
        bench->counter = saga_script_new("counter", counter_lua, strlen(counter_lua));
        saga_on_branch(bench->host, method, on_count, bench);
    }
    bench->outbox = saga_script_new_plain_outbox("outbox", outbox_lua, strlen(outbox_lua));
    for (int i = 0; i < 4; i++) {
        snprintf(bench->urls[i], sizeof(bench->urls[i]), "tcp://127.0.0.1:%d/%s",
                 saga_port(bench->host), method);
    }
    return true;
}

void bench_host_close(struct bench *bench)
{
    if (bench->host) {
        saga_close(bench->host);
        loop_turn(bench->loop, 0);
        bench->host = NULL;
    }
    saga_script_free(bench->counter);
    saga_script_free(bench->outbox);
}

struct saga_bytes bench_host_payload(const struct bench *bench, int64_t index, char out[32])
{
    (void)bench;
    snprintf(out, 32, "%lld", (long long)(index % COUNTERS));
    return saga_text(out);
}

/* ---- books ---- */

struct reading {
    struct bench *bench;
    int pending;
    bool done, failed;
};

static void on_counter(void *arg, const struct saga_redis_answer *answer)
{
    struct reading *reading = arg;
    if (answer->ok) {
        reading->bench->held += saga_value_int(saga_value_at(answer->value, 0));
        reading->bench->counted += saga_value_int(saga_value_at(answer->value, 1));
    }
    reading->failed = reading->failed || !answer->ok;
    reading->done = --reading->pending == 0;
}

/* The counters are gone afterwards; the barrier records expire. */
static void on_deleted(void *arg, const struct saga_redis_answer *answer)
{
    struct reading *reading = arg;
    (void)answer;
    reading->done = --reading->pending == 0;
}

static void ask_counters(struct reading *reading, const char *command, saga_redis_done done)
{
    reading->done = false;
    for (int i = 0; i < COUNTERS; i++) {
        char number[32], key[96];
        struct saga_bytes argv[] = {
            saga_text(command),
            counter_key(reading->bench, bench_host_payload(reading->bench, i, number).ptr, key),
            saga_text("held"), saga_text("counted")};
        reading->pending++;
        saga_redis_command(reading->bench->host, argv, strcmp(command, "DEL") == 0 ? 2 : 4, done,
                           reading);
    }
    bench_await(reading->bench, &reading->done);
}

bool bench_host_books(struct bench *bench)
{
    struct reading reading = {.bench = bench};
    ask_counters(&reading, "HMGET", on_counter);
    if (reading.failed) {
        fprintf(stderr, "sagabench: the counters cannot be read\n");
        return false;
    }
    bench->books_checked = true;
    /* Every try was confirmed or taken back, and each success counted twice. */
    bench->held -= bench->mode == BENCH_TCC ? bench->counted : 0;
    bench->books_balanced = bench->held == 0 && bench->counted == 2 * bench->succeeded;
    ask_counters(&reading, "DEL", on_deleted);
    return true;
}
