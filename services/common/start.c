/*
 * What a service asks of Redis before it serves: over how many shards its ids are spread. The
 * number is written at the first start and never changes, for the id of a record tells by it under
 * which tag the record lies; with another one nothing would be found, and ids would be given twice.
 */
#include "base/log.h"
#include "base/mem.h"
#include "redis/redis.h"
#include "service_scripts.h"
#include "services/common/data.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PAUSE_MS = 500 };

struct service_start {
    struct service *service;
    const char *meta_key;
    struct saga_script *script;
    struct loop_timer again;
    service_start_cb cb;
    bool over;
    char why[160]; /* Redis did not answer, as it was logged last */
};

static void finish(struct service_start *start, bool good)
{
    start->over = true;
    start->cb(start->service, good);
}

static void compare(struct service_start *start, int64_t stored)
{
    int64_t wanted = start->service->settings->shards;
    if (stored != wanted) {
        fprintf(stderr,
                "%s: shards: %" PRId64 " is set, but the data in Redis are spread over %" PRId64
                ", which cannot change, for ids tell by it where a record lies: set shards = "
                "%" PRId64 ", or use a Redis without data of this service (redis, redis_db)\n",
                start->service->name, wanted, stored, stored);
    }
    finish(start, stored == wanted);
}

/* Whatever it is, a wrong password too, can be mended in Redis: it is waited for, as a service that
 * runs does. */
static void ask_later(struct service_start *start, const char *why)
{
    if (strncmp(why, start->why, sizeof(start->why) - 1) != 0) {
        snprintf(start->why, sizeof(start->why), "%s", why);
        log_warn("service", "msg=\"waiting for Redis\" program=%s error=\"%s\"",
                 start->service->name, start->why);
    }
    loop_timer_set(&start->again, loop_now_ms(start->service->loop) + PAUSE_MS);
}

static void on_answer(void *arg, const struct saga_redis_answer *answer)
{
    struct service_start *start = arg;
    if (start->over) {
        return;
    }
    if (answer->ok) {
        compare(start, redis_value_int(redis_value_at(answer->value, 1)));
    } else {
        ask_later(start, answer->error);
    }
}

static void ask(void *arg)
{
    struct service_start *start = arg;
    char number[DATA_NUMBER_SIZE];
    struct saga_bytes keys[] = {saga_text(start->meta_key)};
    struct saga_bytes args[] = {
        service_bytes(data_number(start->service->settings->shards, number))};
    saga_redis_eval(start->service->saga, start->script, keys, 1, args, 1, on_answer, start);
}

struct service_start *service_start_new(struct service *service, const char *meta_key,
                                        service_start_cb cb)
{
    const struct redis_script *source = &script_id_shards;
    struct service_start *start = mem_new(struct service_start);
    start->service = service;
    start->meta_key = meta_key;
    start->script = saga_script_new_plain(source->name, source->text, source->len);
    start->cb = cb;
    loop_timer_init(&start->again, service->loop, ask, start);
    if (meta_key) {
        ask(start);
    } else {
        finish(start, true);
    }
    return start;
}

void service_start_stop(struct service_start *start)
{
    start->over = true;
    loop_timer_clear(&start->again);
}

void service_start_free(struct service_start *start)
{
    saga_script_free(start->script);
    free(start);
}
