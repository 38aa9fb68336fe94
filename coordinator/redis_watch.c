#include "coordinator/redis_watch.h"

#include "base/log.h"
#include "base/mem.h"

#include <stdlib.h>

enum { LOOK_MS = 10000 };

struct redis_watch {
    struct loop *loop;
    struct redis *redis;
    struct redis_watch_conf conf;
    struct loop_timer timer;
    struct buf told; /* the verdict that the log knows */
};

/* Whether the verdict says something else than the last one. */
static bool is_news(struct redis_watch *watch, const struct redis_verdict *verdict)
{
    struct buf told = {0};
    buf_add_slice(&told, buf_slice(&verdict->refusal));
    buf_add_slice(&told, buf_slice(&verdict->warnings));
    bool is_news = !slice_eq(buf_slice(&told), buf_slice(&watch->told));
    buf_fini(&watch->told);
    watch->told = told;
    return is_news;
}

/* An answer that does not come is no news; it is looked at again. */
static void on_looked(void *arg, const struct redis_verdict *verdict)
{
    struct redis_watch *watch = arg;
    if (!verdict->judged || !is_news(watch, verdict)) {
        return;
    }
    redis_verdict_log(verdict);
    if (verdict->err == ERR_OK) {
        log_info("main", "msg=\"Redis keeps what the settings promise\" redis=%s",
                 watch->conf.address);
    } else {
        log_error(
            "main",
            "msg=\"Redis does not keep what the settings promise any more, goes on\" redis=%s",
            watch->conf.address);
    }
}

static void look(void *arg)
{
    struct redis_watch *watch = arg;
    redis_check(watch->redis, loop_now_ms(watch->loop) + watch->conf.timeout_ms,
                watch->conf.promise, on_looked, watch);
}

static void on_timer(void *arg)
{
    struct redis_watch *watch = arg;
    if (redis_is_connected(watch->redis)) {
        look(watch);
    }
    loop_timer_set(&watch->timer, loop_now_ms(watch->loop) + LOOK_MS);
}

struct redis_watch *redis_watch_open(struct loop *loop, struct redis *redis,
                                     const struct redis_watch_conf *conf,
                                     const struct redis_verdict *known)
{
    struct redis_watch *watch = mem_new(struct redis_watch);
    watch->loop = loop;
    watch->redis = redis;
    watch->conf = *conf;
    (void)is_news(watch, known);
    loop_timer_init(&watch->timer, loop, on_timer, watch);
    loop_timer_set(&watch->timer, loop_now_ms(loop) + LOOK_MS);
    redis_on_connect(redis, look, watch);
    return watch;
}

void redis_watch_stop(struct redis_watch *watch)
{
    if (watch) {
        loop_timer_clear(&watch->timer);
    }
}

void redis_watch_free(struct redis_watch *watch)
{
    if (watch) {
        loop_timer_clear(&watch->timer);
        buf_fini(&watch->told);
        free(watch);
    }
}
