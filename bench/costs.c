/* What a transaction costs the store: round trips (the coordinators' own counters) and memory (of a
 * sample of keys, asked of Redis). Both are left out when their address is not known. */
#include "bench/bench.h"

#include "base/mem.h"
#include "net/http.h"
#include "redis/redis.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SAMPLE = 200, DEADLINE_MS = 3000 };

/* ---- round trips ---- */

struct scrape {
    bool done;
    double commands;
};

static void on_metrics(void *arg, const struct http_answer *answer)
{
    static const char name[] = "\nsagad_redis_commands_total{result=\"ok\"} ";
    struct scrape *scrape = arg;
    scrape->done = true;
    scrape->commands = -1;
    if (answer->err == ERR_OK && answer->status == 200) {
        char *text = slice_dup(answer->body);
        const char *at = strstr(text, name);
        if (at) {
            scrape->commands = strtod(at + strlen(name), NULL);
        }
        free(text);
    }
}

static double read_commands(struct bench *bench)
{
    struct http_client_conf conf = {.per_host_max = 1,
                                    .waiting_max = 1,
                                    .connect_timeout_ms = DEADLINE_MS,
                                    .idle_ms = DEADLINE_MS,
                                    .body_max = 1024 * 1024};
    struct http_client *client = http_client_new(bench->loop, &conf);
    double sum = 0;
    for (int i = 0; i < bench->env.coordinators && sum >= 0; i++) {
        struct scrape scrape = {.done = true, .commands = -1};
        char url[256];
        snprintf(url, sizeof(url), "%s/api/metrics", bench->env.http[i] ? bench->env.http[i] : "");
        struct http_call call = {
            .method = HTTP_GET, .url = url, .deadline_ms = loop_now_ms(bench->loop) + DEADLINE_MS};
        if (http_client_call(client, &call, on_metrics, &scrape, NULL) == ERR_OK) {
            scrape.done = false;
        }
        bench_await(bench, &scrape.done);
        sum = scrape.commands < 0 ? -1 : sum + scrape.commands;
    }
    http_client_free(client);
    return sum;
}

/* ---- memory ---- */

struct sample {
    struct bench *bench;
    struct redis *redis;
    int64_t partitions;
    double bytes; /* of keys of the sampled transactions, and their share of the lists */
    int64_t members;
    double list_bytes;
    int pending;
    bool done, failed;
};

static void on_done(void *arg, const struct redis_result *result)
{
    struct sample *sample = arg;
    sample->failed = sample->failed || result->err != ERR_OK;
    sample->done = --sample->pending == 0;
}

static void on_partitions(void *arg, const struct redis_result *result)
{
    struct sample *sample = arg;
    sample->partitions = result->err == ERR_OK ? redis_value_int(result->value) : 0;
    on_done(sample, result);
}

static void on_bytes(void *arg, const struct redis_result *result)
{
    struct sample *sample = arg;
    sample->bytes += result->err == ERR_OK ? (double)redis_value_int(result->value) : 0;
    on_done(sample, result);
}

static void on_list_bytes(void *arg, const struct redis_result *result)
{
    struct sample *sample = arg;
    sample->list_bytes += result->err == ERR_OK ? (double)redis_value_int(result->value) : 0;
    on_done(sample, result);
}

static void on_members(void *arg, const struct redis_result *result)
{
    struct sample *sample = arg;
    sample->members += result->err == ERR_OK ? redis_value_int(result->value) : 0;
    on_done(sample, result);
}

static void send(struct sample *sample, const char *command, redis_cb cb)
{
    struct slice words[6];
    size_t n = 0;
    char copy[512];
    char *save = NULL;
    snprintf(copy, sizeof(copy), "%s", command);
    for (char *word = strtok_r(copy, " ", &save); word && n < 6;
         word = strtok_r(NULL, " ", &save)) {
        words[n++] = slice_str(word);
    }
    sample->pending++;
    sample->done = false;
    redis_command(sample->redis, loop_now_ms(sample->bench->loop) + DEADLINE_MS, words, n, cb,
                  sample);
}

static void ask_keys(struct sample *sample)
{
    const struct bench *bench = sample->bench;
    char command[256];
    int64_t count = bench->started < SAMPLE ? bench->started : SAMPLE;
    for (int64_t i = 0; i < count; i++) {
        const char *gid = bench->gids[i * (bench->started / count)];
        int64_t p = redis_crc16(slice_str(gid)) % sample->partitions;
        snprintf(command, sizeof(command), "MEMORY USAGE saga:{%lld}:tx:%s SAMPLES 0", (long long)p,
                 gid);
        send(sample, command, on_bytes);
        snprintf(command, sizeof(command), "MEMORY USAGE saga:{%lld}:log:%s SAMPLES 0",
                 (long long)p, gid);
        send(sample, command, on_bytes);
    }
    bench_await(sample->bench, &sample->done);
    sample->bytes /= (double)(count > 0 ? count : 1);
}

/* The lists' share of one member. Five samples of a zset's members are enough: all are alike. */
static void ask_lists(struct sample *sample)
{
    char command[128];
    for (int64_t p = 0; p < sample->partitions; p++) {
        snprintf(command, sizeof(command), "MEMORY USAGE saga:{%lld}:recent", (long long)p);
        send(sample, command, on_list_bytes);
        snprintf(command, sizeof(command), "ZCARD saga:{%lld}:recent", (long long)p);
        send(sample, command, on_members);
    }
    bench_await(sample->bench, &sample->done);
}

static double read_bytes(struct bench *bench)
{
    struct redis_conf conf = {.address = bench->env.redis,
                              .user = bench->env.redis_user,
                              .password = bench->env.redis_password,
                              .connect_timeout_ms = DEADLINE_MS,
                              .queue_max = 10000};
    struct sample sample = {.bench = bench, .redis = redis_open(bench->loop, &conf)};
    send(&sample, "HGET saga:meta partitions", on_partitions);
    bench_await(bench, &sample.done);
    if (sample.partitions > 0) {
        ask_keys(&sample);
        ask_lists(&sample);
    }
    redis_close(sample.redis);
    loop_turn(bench->loop, 0);
    if (sample.failed || sample.members == 0) {
        return -1;
    }
    return sample.bytes + sample.list_bytes / (double)sample.members;
}

void bench_costs_before(struct bench *bench)
{
    bench->scripts_before = read_commands(bench);
}

void bench_costs_after(struct bench *bench)
{
    bench->scripts_after = read_commands(bench);
    bench->redis_bytes = bench->env.redis ? read_bytes(bench) : -1;
}
