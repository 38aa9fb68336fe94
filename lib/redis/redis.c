#include "redis/redis.h"

#include "base/check.h"
#include "base/mem.h"
#include "redis/client.h"

#include <stdlib.h>
#include <string.h>
#include <utlist.h>

/* A shorter silence than this says nothing about a peer, however short the deadline was. */
enum { SILENCE_MIN_MS = 200 };

/* ---- completing ---- */

static void command_complete(struct redis *redis, struct command *command,
                             struct redis_result *result)
{
    command->is_done = true;
    result->elapsed_us = loop_now_us(redis->loop) - command->queued_us;
    if (redis->observer) {
        redis->observer(redis->observer_arg, result);
    }
    if (command->cb) {
        command->cb(command->arg, result);
    }
}

static void command_complete_err(struct redis *redis, struct command *command, enum err err,
                                 const char *message)
{
    struct redis_result result = {.err = err, .message = message};
    command_complete(redis, command, &result);
}

/* Out of its line and out of the heap. */
static void command_unline(struct redis *redis, struct command **line, struct command *command)
{
    DL_DELETE(*line, command);
    heap_remove(&redis->deadlines, &command->deadline);
    redis->pending--;
}

static void on_fail_task(void *arg)
{
    struct redis *redis = arg;
    /* Only those of now: a caller that tries again at once must not keep us here. */
    size_t count = redis->failed_count;
    while (count-- > 0 && redis->failed && redis->state != SESSION_CLOSED) {
        struct command *command = redis->failed;
        command_unline(redis, &redis->failed, command);
        redis->failed_count--;
        command_complete_err(redis, command, command->err, command->message);
        command_release(&redis->pool, command);
    }
}

/* Completes the command, which is in no line, when the present callbacks are over. */
static void command_fail_later(struct redis *redis, struct command *command, enum err err,
                               const char *message)
{
    command->err = err;
    command->message = message;
    DL_APPEND(redis->failed, command);
    redis->pending++;
    redis->failed_count++;
    loop_defer(redis->loop, &redis->fail_task, on_fail_task, redis);
}

void commands_refuse_waiting(struct redis *redis, enum err err)
{
    while (redis->waiting) {
        struct command *command = redis->waiting;
        command_unline(redis, &redis->waiting, command);
        command_fail_later(redis, command, err, redis->why.text);
    }
}

void commands_drop_in_flight(struct redis *redis, const char *why)
{
    while (redis->in_flight && redis->state != SESSION_CLOSED) {
        struct command *command = redis->in_flight;
        command_unline(redis, &redis->in_flight, command);
        if (!command->is_done) {
            command_complete_err(redis, command, ERR_CLOSED, why);
        }
        command_release(&redis->pool, command);
    }
}

/* ---- deadlines ---- */

/* Since when the peer owes something to this command, the oldest in flight. */
static int64_t silent_since_ms(const struct redis *redis, const struct command *command)
{
    int64_t heard_ms = redis_link_heard_ms(redis->link);
    return heard_ms > command->sent_ms ? heard_ms : command->sent_ms;
}

/* When a peer that stays silent is taken for dead: it gets as long as the command had. */
static int64_t dead_at_ms(const struct redis *redis, const struct command *command)
{
    int64_t budget_ms = command->deadline_ms - command->sent_ms;
    return silent_since_ms(redis, command) +
           (budget_ms > SILENCE_MIN_MS ? budget_ms : SILENCE_MIN_MS);
}

static void deadline_timer_arm(struct redis *redis)
{
    struct heap_node *first = heap_first(&redis->deadlines);
    /* A timer that is set too early does no harm, and setting it for each command would cost. */
    if (first &&
        (!loop_timer_is_armed(&redis->deadline_timer) || first->at < redis->deadline_timer.at_ms)) {
        loop_timer_set(&redis->deadline_timer, first->at);
    }
}

/* The oldest one has timed out but keeps its place: its reply may still come. */
static void head_watch(struct redis *redis)
{
    struct command *head = redis->in_flight;
    if (head && head->is_done && !heap_has(&head->deadline)) {
        heap_set(&redis->deadlines, &head->deadline, dead_at_ms(redis, head));
        deadline_timer_arm(redis);
    }
}

static void waiting_expire(struct redis *redis, struct command *command)
{
    command_unline(redis, &redis->waiting, command);
    command_complete_err(redis, command, ERR_CONNECT,
                         redis->why.text[0] ? redis->why.text : "not connected yet");
    command_release(&redis->pool, command);
}

static void sent_expire(struct redis *redis, struct command *command)
{
    bool was_done = command->is_done;
    heap_remove(&redis->deadlines, &command->deadline);
    /* Nothing may free it while its callback runs: it stays in its line. */
    if (!was_done) {
        command_complete_err(redis, command, ERR_TIMEOUT, "no reply in time");
    }
    if (redis->state == SESSION_CLOSED || command != redis->in_flight) {
        return;
    }
    if (dead_at_ms(redis, command) <= loop_now_ms(redis->loop)) {
        session_lose(redis, "no reply in time");
    } else {
        head_watch(redis);
    }
}

static void on_deadline(void *arg)
{
    struct redis *redis = arg;
    int64_t now_ms = loop_now_ms(redis->loop);
    struct heap_node *first;
    while (redis->state != SESSION_CLOSED && (first = heap_first(&redis->deadlines)) &&
           first->at <= now_ms) {
        struct command *command = container_of(first, struct command, deadline);
        if (command->is_sent) {
            sent_expire(redis, command);
        } else {
            waiting_expire(redis, command);
        }
    }
    if (redis->state != SESSION_CLOSED) {
        deadline_timer_arm(redis);
    }
}

/* ---- sending ---- */

/* Puts the command, whose bytes are in the link's buffer, behind those in flight. */
static void command_sent(struct redis *redis, struct command *command)
{
    command->is_sent = true;
    command->sent_ms = loop_now_ms(redis->loop);
    redis->round_trips++;
    DL_APPEND(redis->in_flight, command);
    redis->pending++;
    heap_set(&redis->deadlines, &command->deadline, command->deadline_ms);
    deadline_timer_arm(redis);
}

static void command_wait(struct redis *redis, struct command *command)
{
    DL_APPEND(redis->waiting, command);
    redis->pending++;
    heap_set(&redis->deadlines, &command->deadline, command->deadline_ms);
    deadline_timer_arm(redis);
}

void commands_send_waiting(struct redis *redis)
{
    while (redis->waiting && redis->state == SESSION_READY) {
        struct command *command = redis->waiting;
        command_unline(redis, &redis->waiting, command);
        command_write(command, redis_link_out(redis->link));
        command_sent(redis, command);
    }
}

/* A new command, or NULL when it cannot be taken: then its callback is on the way. */
static struct command *command_begin(struct redis *redis, int64_t deadline_ms, redis_cb cb,
                                     void *arg)
{
    check(redis->state != SESSION_CLOSED);
    struct command *command = command_take(&redis->pool);
    command->cb = cb;
    command->arg = arg;
    command->queued_us = loop_now_us(redis->loop);
    command->deadline_ms = deadline_ms;
    if (redis->pending - redis->failed_count >= redis->conf.queue_max) {
        command_fail_later(redis, command, ERR_BUSY, "too many commands for Redis are pending");
        return NULL;
    }
    if (deadline_ms <= loop_now_ms(redis->loop)) {
        command_fail_later(redis, command, ERR_TIMEOUT,
                           "its deadline had passed before it was sent");
        return NULL;
    }
    return command;
}

void redis_command(struct redis *redis, int64_t deadline_ms, const struct slice *argv, size_t argc,
                   redis_cb cb, void *arg)
{
    check(argc > 0);
    struct command *command = command_begin(redis, deadline_ms, cb, arg);
    if (!command) {
        return;
    }
    bool now = redis->state == SESSION_READY;
    struct buf *out = now ? redis_link_out(redis->link) : &command->bytes;
    command_add_count(out, argc);
    command_add_words(out, argv, argc);
    if (now) {
        command_sent(redis, command);
    } else {
        command_wait(redis, command);
    }
}

void redis_eval(struct redis *redis, int64_t deadline_ms, const struct redis_eval *eval,
                redis_cb cb, void *arg)
{
    struct command *command = command_begin(redis, deadline_ms, cb, arg);
    if (!command) {
        return;
    }
    command_keep_eval(command, eval);
    if (redis->state == SESSION_READY) {
        command_write(command, redis_link_out(redis->link));
        command_sent(redis, command);
    } else {
        command_wait(redis, command);
    }
}

/* ---- replies ---- */

/* The server does not know the script (it restarted, or SCRIPT FLUSH): it did nothing, so the same
 * call goes out once more, with the text. */
static void command_resend(struct redis *redis, struct command *command)
{
    if (redis->state == SESSION_READY) {
        command_write_eval(command, redis_link_out(redis->link));
        command_sent(redis, command);
    } else {
        command->is_sent = false;
        command_wait(redis, command);
    }
}

static void command_answer(struct redis *redis, struct command *command,
                           const struct redis_value *value)
{
    enum err err = value->is_error ? redis_error_classify(value->str) : ERR_OK;
    struct redis_result result = {.err = err, .message = ""};
    if (value->is_error) {
        result.message = value->str.ptr;
    } else {
        result.value = value;
    }
    if (err == ERR_OK || err == ERR_SCRIPT) {
        redis->attempts = 0;
    }
    if (!command->is_done) {
        command_complete(redis, command, &result);
    }
    command_release(&redis->pool, command);
}

static void reply_unasked(struct redis *redis, const struct redis_value *value)
{
    struct reason why;
    reason_set(&why, ERR_PROTOCOL, "a reply that nobody asked for: %.*s", SLICE_ARG(value->str));
    session_lose(redis, why.text);
}

void commands_take_reply(struct redis *redis, const struct redis_value *value)
{
    struct command *command = redis->in_flight;
    if (!command) {
        reply_unasked(redis, value);
        return;
    }
    command_unline(redis, &redis->in_flight, command);
    head_watch(redis);
    if (value->is_error && redis_error_is(value->str, "READONLY")) {
        redis->state = SESSION_DRAINING;
    }
    if (value->is_error && command->script && !command->is_done &&
        redis_error_is(value->str, "NOSCRIPT")) {
        command_resend(redis, command);
    } else {
        command_answer(redis, command, value);
    }
    if (redis->state == SESSION_DRAINING) {
        session_drain(redis);
    }
}

/* ---- open and close ---- */

struct redis *redis_open(struct loop *loop, const struct redis_conf *conf)
{
    struct redis *redis = mem_new(struct redis);
    redis->loop = loop;
    redis->conf = *conf;
    redis->conf.address = mem_strdup(conf->address);
    redis->conf.user = mem_strdup(conf->user);
    redis->conf.password = mem_strdup(conf->password);
    loop_timer_init(&redis->deadline_timer, loop, on_deadline, redis);
    session_init(redis);
    return redis;
}

static void redis_free(void *arg)
{
    struct redis *redis = arg;
    char *password = (char *)(uintptr_t)redis->conf.password;
    explicit_bzero(password, strlen(password));
    free(password);
    free((char *)(uintptr_t)redis->conf.address);
    free((char *)(uintptr_t)redis->conf.user);
    command_pool_fini(&redis->pool);
    heap_fini(&redis->deadlines);
    free(redis);
}

static void line_cancel(struct redis *redis, struct command **line)
{
    while (*line) {
        struct command *command = *line;
        command_unline(redis, line, command);
        if (!command->is_done) {
            command_complete_err(redis, command, ERR_CANCELLED, "the client was closed");
        }
        command_release(&redis->pool, command);
    }
}

static void on_close_task(void *arg)
{
    struct redis *redis = arg;
    loop_undefer(redis->loop, &redis->fail_task);
    line_cancel(redis, &redis->in_flight);
    line_cancel(redis, &redis->waiting);
    line_cancel(redis, &redis->failed);
    loop_defer_free(redis->loop, redis, redis_free);
}

void redis_close(struct redis *redis)
{
    check(redis->state != SESSION_CLOSED);
    session_fini(redis);
    loop_timer_clear(&redis->deadline_timer);
    loop_defer(redis->loop, &redis->close_task, on_close_task, redis);
}

void redis_observe(struct redis *redis, redis_observer observer, void *arg)
{
    redis->observer = observer;
    redis->observer_arg = arg;
}

bool redis_is_connected(const struct redis *redis)
{
    return redis->state == SESSION_READY;
}

uint64_t redis_round_trips(const struct redis *redis)
{
    return redis->round_trips;
}

void redis_on_connect(struct redis *redis, void (*fn)(void *arg), void *arg)
{
    redis->connected = fn;
    redis->connected_arg = arg;
}
