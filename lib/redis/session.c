#include "redis/client.h"

#include "base/check.h"
#include "base/log.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { BACKOFF_MIN_MS = 50, BACKOFF_MAX_MS = 2000, BACKOFF_DOUBLINGS = 6 };

static bool has_text(const char *text)
{
    return text && text[0];
}

/* Half of the delay is chance, so that clients do not come back in step. */
static int64_t backoff_ms(struct redis *redis)
{
    unsigned doublings = redis->attempts < BACKOFF_DOUBLINGS ? redis->attempts : BACKOFF_DOUBLINGS;
    int64_t delay_ms = (int64_t)BACKOFF_MIN_MS << doublings;
    delay_ms = delay_ms < BACKOFF_MAX_MS ? delay_ms : BACKOFF_MAX_MS;
    return delay_ms / 2 + (int64_t)rng_below(&redis->rng, (uint64_t)delay_ms / 2 + 1);
}

/* One line for each new reason, not for each attempt. */
static void log_loss(struct redis *redis, const char *why)
{
    enum log_level level = strcmp(redis->why.text, why) == 0 ? LOG_DEBUG : LOG_WARN;
    if (log_is_on(level)) {
        log_line(level, "redis", "msg=\"no connection\" addr=%s why=\"%s\"", redis->conf.address,
                 why);
    }
    snprintf(redis->why.text, sizeof(redis->why.text), "%s", why);
}

void session_lose(struct redis *redis, const char *why)
{
    log_loss(redis, why);
    if (redis->dial) {
        dial_cancel(redis->dial);
        redis->dial = NULL;
    }
    if (redis->link) {
        redis_link_close(redis->link);
        redis->link = NULL;
    }
    redis->state = SESSION_DOWN;
    loop_timer_set(&redis->step_timer, loop_now_ms(redis->loop) + backoff_ms(redis));
    redis->attempts++;
    commands_drop_in_flight(redis, redis->why.text);
}

void session_drain(struct redis *redis)
{
    if (redis->state == SESSION_READY) {
        redis->state = SESSION_DRAINING;
    }
    if (redis->state == SESSION_DRAINING && !redis->in_flight) {
        session_lose(redis, "the server is read-only");
    }
}

static void session_ready(struct redis *redis)
{
    loop_timer_clear(&redis->step_timer);
    redis->state = SESSION_READY;
    redis->why.text[0] = '\0';
    log_info("redis", "msg=\"connected\" addr=%s", redis->conf.address);
    if (redis->connected) {
        redis->connected(redis->connected_arg);
    }
    commands_send_waiting(redis);
}

static void send_words(struct redis *redis, const char *const *words, size_t count)
{
    struct buf *out = redis_link_out(redis->link);
    command_add_count(out, count);
    for (size_t i = 0; i < count; i++) {
        command_add_word(out, slice_str(words[i]));
    }
}

static void session_select(struct redis *redis)
{
    char db[16];
    if (redis->conf.db == 0) {
        session_ready(redis);
        return;
    }
    snprintf(db, sizeof(db), "%d", redis->conf.db);
    redis->state = SESSION_SELECT;
    send_words(redis, (const char *const[]){"SELECT", db}, 2);
}

static void session_auth(struct redis *redis)
{
    const struct redis_conf *conf = &redis->conf;
    redis->state = SESSION_AUTH;
    if (has_text(conf->user)) {
        send_words(redis, (const char *const[]){"AUTH", conf->user, conf->password}, 3);
    } else if (has_text(conf->password)) {
        send_words(redis, (const char *const[]){"AUTH", conf->password}, 2);
    } else {
        session_select(redis);
    }
}

/* AUTH or SELECT was answered with an error. When that will not pass by itself, those who wait
 * learn it now. */
static void session_refused(struct redis *redis, struct slice text)
{
    struct reason why;
    enum err err = redis_error_classify(text);
    reason_set(&why, err, "%s refused: %.*s", redis->state == SESSION_AUTH ? "AUTH" : "SELECT",
               SLICE_ARG(text));
    if (err == ERR_SCRIPT && redis->state == SESSION_AUTH) {
        err = ERR_DENIED;
    }
    session_lose(redis, why.text);
    if (err != ERR_UNAVAILABLE && redis->state != SESSION_CLOSED) {
        commands_refuse_waiting(redis, err);
    }
}

static void on_reply(void *arg, const struct redis_value *value)
{
    struct redis *redis = arg;
    switch (redis->state) {
    case SESSION_AUTH:
    case SESSION_SELECT:
        if (value->is_error) {
            session_refused(redis, value->str);
        } else if (redis->state == SESSION_AUTH) {
            session_select(redis);
        } else {
            session_ready(redis);
        }
        return;
    case SESSION_READY:
    case SESSION_DRAINING: commands_take_reply(redis, value); return;
    case SESSION_DOWN:
    case SESSION_DIALING:
    case SESSION_CLOSED: unreachable("a reply without a link");
    }
}

static void on_link_closed(void *arg, const char *why)
{
    struct redis *redis = arg;
    redis->link = NULL;
    session_lose(redis, why);
}

static void on_dialled(void *arg, enum err err, int fd, const char *why)
{
    static const struct redis_link_events events = {.reply = on_reply, .closed = on_link_closed};
    struct redis *redis = arg;
    check(redis->state == SESSION_DIALING);
    redis->dial = NULL;
    if (err != ERR_OK) {
        session_lose(redis, why);
        return;
    }
    redis->link = redis_link_open(redis->loop, fd, &events, redis);
    session_auth(redis);
}

static void session_dial(struct redis *redis)
{
    const struct redis_conf *conf = &redis->conf;
    redis->state = SESSION_DIALING;
    loop_timer_set(&redis->step_timer, loop_now_ms(redis->loop) + conf->connect_timeout_ms);
    redis->dial =
        dial_start(redis->loop, conf->address, conf->connect_timeout_ms, on_dialled, redis);
}

static void on_step_timer(void *arg)
{
    struct redis *redis = arg;
    if (redis->state == SESSION_DOWN) {
        session_dial(redis);
    } else {
        session_lose(redis, redis->state == SESSION_DIALING ? "connecting took too long"
                                                            : "no reply to AUTH or SELECT in time");
    }
}

void session_init(struct redis *redis)
{
    rng_seed_system(&redis->rng);
    loop_timer_init(&redis->step_timer, redis->loop, on_step_timer, redis);
    session_dial(redis);
}

void session_fini(struct redis *redis)
{
    loop_timer_clear(&redis->step_timer);
    if (redis->dial) {
        dial_cancel(redis->dial);
        redis->dial = NULL;
    }
    if (redis->link) {
        redis_link_close(redis->link);
        redis->link = NULL;
    }
    redis->state = SESSION_CLOSED;
}
