#include "redis/node.h"

#include "base/check.h"
#include "base/mem.h"

#include <stdlib.h>
#include <string.h>
#include <utlist.h>

/* A shorter silence than this says nothing about a peer, however short the deadline was. */
enum { SILENCE_MIN_MS = 200 };

/* ---- completing ---- */

static void command_complete(struct node *node, struct command *command,
                             struct redis_result *result)
{
    command->is_done = true;
    result->elapsed_us = loop_now_us(node->loop) - command->queued_us;
    if (node->observer) {
        node->observer(node->observer_arg, result);
    }
    if (command->cb) {
        command->cb(command->arg, result);
    }
}

static void command_complete_err(struct node *node, struct command *command, enum err err,
                                 const char *message)
{
    struct redis_result result = {.err = err, .message = message};
    command_complete(node, command, &result);
}

/* Out of its line and out of the heap. */
static void command_unline(struct node *node, struct command **line, struct command *command)
{
    DL_DELETE(*line, command);
    heap_remove(&node->deadlines, &command->deadline);
    node->pending--;
}

static void on_fail_task(void *arg)
{
    struct node *node = arg;
    /* Only those of now: a caller that tries again at once must not keep us here. */
    size_t count = node->failed_count;
    while (count-- > 0 && node->failed && node->state != SESSION_CLOSED) {
        struct command *command = node->failed;
        command_unline(node, &node->failed, command);
        node->failed_count--;
        command_complete_err(node, command, command->err, command->message);
        command_release(&node->pool, command);
    }
}

/* Completes the command, which is in no line, when the present callbacks are over. */
static void command_fail_later(struct node *node, struct command *command, enum err err,
                               const char *message)
{
    command->err = err;
    command->message = message;
    DL_APPEND(node->failed, command);
    node->pending++;
    node->failed_count++;
    loop_defer(node->loop, &node->fail_task, on_fail_task, node);
}

void commands_refuse_waiting(struct node *node, enum err err)
{
    while (node->waiting) {
        struct command *command = node->waiting;
        command_unline(node, &node->waiting, command);
        command_fail_later(node, command, err, node->why.text);
    }
}

void held_complete(struct node *node, enum err err, const char *message)
{
    while (node->held && node->state != SESSION_CLOSED) {
        struct command *command = node->held;
        struct redis_result result = {
            .err = err, .value = err ? NULL : command->held, .message = message};
        command_unline(node, &node->held, command);
        command_complete(node, command, &result);
        command_release(&node->pool, command);
    }
    if (!node->held) {
        arena_fini(&node->held_arena);
        node->held_arena = (struct arena){0};
    }
}

void commands_drop_in_flight(struct node *node, const char *why)
{
    held_complete(node, ERR_CLOSED, why);
    while (node->in_flight && node->state != SESSION_CLOSED) {
        struct command *command = node->in_flight;
        command_unline(node, &node->in_flight, command);
        if (!command->is_done) {
            command_complete_err(node, command, ERR_CLOSED, why);
        }
        command_release(&node->pool, command);
    }
}

/* ---- deadlines ---- */

/* Since when the peer owes something to this command, the oldest in flight. */
static int64_t silent_since_ms(const struct node *node, const struct command *command)
{
    int64_t heard_ms = redis_link_heard_ms(node->link);
    return heard_ms > command->sent_ms ? heard_ms : command->sent_ms;
}

/* When a peer that stays silent is taken for dead: it gets as long as the command had. */
static int64_t dead_at_ms(const struct node *node, const struct command *command)
{
    int64_t budget_ms = command->deadline_ms - command->sent_ms;
    return silent_since_ms(node, command) +
           (budget_ms > SILENCE_MIN_MS ? budget_ms : SILENCE_MIN_MS);
}

static void deadline_timer_arm(struct node *node)
{
    struct heap_node *first = heap_first(&node->deadlines);
    /* A timer that is set too early does no harm, and setting it for each command would cost. */
    if (first &&
        (!loop_timer_is_armed(&node->deadline_timer) || first->at < node->deadline_timer.at_ms)) {
        loop_timer_set(&node->deadline_timer, first->at);
    }
}

/* The oldest one has timed out but keeps its place: its reply may still come. */
static void head_watch(struct node *node)
{
    struct command *head = node->in_flight;
    if (head && head->is_done && !heap_has(&head->deadline)) {
        heap_set(&node->deadlines, &head->deadline, dead_at_ms(node, head));
        deadline_timer_arm(node);
    }
}

static void waiting_expire(struct node *node, struct command *command)
{
    command_unline(node, &node->waiting, command);
    command_complete_err(node, command, ERR_CONNECT,
                         node->why.text[0] ? node->why.text : "not connected yet");
    command_release(&node->pool, command);
}

static void sent_expire(struct node *node, struct command *command)
{
    bool was_done = command->is_done;
    heap_remove(&node->deadlines, &command->deadline);
    /* Nothing may free it while its callback runs: it stays in its line. */
    if (!was_done) {
        command_complete_err(node, command, ERR_TIMEOUT, "no reply in time");
    }
    if (node->state == SESSION_CLOSED || command != node->in_flight) {
        return;
    }
    if (dead_at_ms(node, command) <= loop_now_ms(node->loop)) {
        session_lose(node, ERR_OK, "no reply in time");
    } else {
        head_watch(node);
    }
}

static void held_expire(struct node *node, struct command *command)
{
    command_unline(node, &node->held, command);
    command_complete_err(node, command, ERR_TIMEOUT, "replicas have not confirmed it in time");
    command_release(&node->pool, command);
}

static void on_deadline(void *arg)
{
    struct node *node = arg;
    int64_t now_ms = loop_now_ms(node->loop);
    struct heap_node *first;
    while (node->state != SESSION_CLOSED && (first = heap_first(&node->deadlines)) &&
           first->at <= now_ms) {
        struct command *command = container_of(first, struct command, deadline);
        if (command->held) {
            held_expire(node, command);
        } else if (command->is_sent) {
            sent_expire(node, command);
        } else {
            waiting_expire(node, command);
        }
    }
    if (node->state != SESSION_CLOSED) {
        deadline_timer_arm(node);
    }
}

/* ---- sending ---- */

/* Puts the command, whose bytes are in the link's buffer, behind those in flight. */
static void command_sent(struct node *node, struct command *command)
{
    command->is_sent = true;
    command->sent_ms = loop_now_ms(node->loop);
    node->round_trips++;
    DL_APPEND(node->in_flight, command);
    node->pending++;
    heap_set(&node->deadlines, &command->deadline, command->deadline_ms);
    deadline_timer_arm(node);
}

static void command_wait(struct node *node, struct command *command)
{
    DL_APPEND(node->waiting, command);
    node->pending++;
    heap_set(&node->deadlines, &command->deadline, command->deadline_ms);
    deadline_timer_arm(node);
}

void commands_send_waiting(struct node *node)
{
    while (node->waiting && node->state == SESSION_READY) {
        struct command *command = node->waiting;
        command_unline(node, &node->waiting, command);
        commit_expect(node, command);
        command_write(command, redis_link_out(node->link));
        command_sent(node, command);
    }
}

static struct command *command_new(struct node *node, int64_t deadline_ms, redis_cb cb, void *arg)
{
    check(node->state != SESSION_CLOSED);
    struct command *command = command_take(&node->pool);
    command->cb = cb;
    command->arg = arg;
    command->queued_us = loop_now_us(node->loop);
    command->deadline_ms = deadline_ms;
    return command;
}

/* A new command, or NULL when it cannot be taken: then its callback is on the way. */
static struct command *command_begin(struct node *node, int64_t deadline_ms, redis_cb cb, void *arg)
{
    struct command *command = command_new(node, deadline_ms, cb, arg);
    if (node->pending - node->failed_count >= node->conf.queue_max) {
        command_fail_later(node, command, ERR_BUSY, "too many commands for Redis are pending");
        return NULL;
    }
    if (deadline_ms <= loop_now_ms(node->loop)) {
        command_fail_later(node, command, ERR_TIMEOUT,
                           "its deadline had passed before it was sent");
        return NULL;
    }
    return command;
}

static void words_send(struct node *node, struct command *command, const struct slice *argv,
                       size_t argc)
{
    bool now = node->state == SESSION_READY;
    struct buf *out = now ? redis_link_out(node->link) : &command->bytes;
    check(argc > 0);
    command_add_count(out, argc);
    command_add_words(out, argv, argc);
    if (now) {
        command_sent(node, command);
    } else {
        command_wait(node, command);
    }
}

void node_command(struct node *node, int64_t deadline_ms, const struct slice *argv, size_t argc,
                  redis_cb cb, void *arg)
{
    struct command *command = command_begin(node, deadline_ms, cb, arg);
    if (command) {
        words_send(node, command, argv, argc);
    }
}

void command_send_now(struct node *node, int64_t deadline_ms, const struct slice *argv, size_t argc,
                      redis_cb cb, void *arg)
{
    check(node->state == SESSION_READY);
    words_send(node, command_new(node, deadline_ms, cb, arg), argv, argc);
}

static void node_send(struct node *node, struct command *command)
{
    if (node->state == SESSION_READY) {
        commit_expect(node, command);
        command_write(command, redis_link_out(node->link));
        command_sent(node, command);
    } else {
        command->is_sent = false;
        command_wait(node, command);
    }
}

void node_eval(struct node *node, int64_t deadline_ms, const struct redis_eval *eval,
               bool is_asking, redis_cb cb, void *arg)
{
    struct command *command = command_begin(node, deadline_ms, cb, arg);
    if (command) {
        command_keep_eval(command, eval);
        command->as_text = is_asking;
        command->is_asking = is_asking;
        command->is_durable = eval->is_durable && node->conf.wait_replicas > 0;
        node_send(node, command);
    }
}

/* ---- replies ---- */

static void command_answer(struct node *node, struct command *command,
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
        node->attempts = 0;
    }
    if (command->is_durable && !command->is_done && err == ERR_OK) {
        commit_hold(node, command, value);
        return;
    }
    if (!command->is_done) {
        command_complete(node, command, &result);
    }
    command_release(&node->pool, command);
}

static void reply_unasked(struct node *node, const struct redis_value *value)
{
    struct reason why;
    reason_set(&why, ERR_PROTOCOL, "a reply that nobody asked for: %.*s", SLICE_ARG(value->str));
    session_lose(node, ERR_OK, why.text);
}

void commands_take_reply(struct node *node, const struct redis_value *value)
{
    struct command *command = node->in_flight;
    if (!command) {
        reply_unasked(node, value);
        return;
    }
    command_unline(node, &node->in_flight, command);
    head_watch(node);
    if (value->is_error && redis_error_is(value->str, "READONLY")) {
        node->state = SESSION_DRAINING;
    }
    if (value->is_error && command->script && !command->as_text && !command->is_done &&
        redis_error_is(value->str, "NOSCRIPT")) {
        /* It restarted, or SCRIPT FLUSH: it did nothing, so the same call goes out with the text.
         */
        command->as_text = true;
        node_send(node, command);
    } else {
        command_answer(node, command, value);
    }
    if (node->state == SESSION_DRAINING) {
        session_drain(node);
    }
}

/* ---- open and close ---- */

struct node *node_open(struct loop *loop, const struct redis_conf *conf,
                       const struct node_conf *node_conf)
{
    struct node *node = mem_new(struct node);
    node->loop = loop;
    node->conf = *conf;
    node->conf.address = mem_strdup(node_conf->address);
    node->conf.user = mem_strdup(conf->user);
    node->conf.password = mem_strdup(conf->password);
    node->sentinels = node_conf->sentinels;
    node->is_impatient = node_conf->is_impatient;
    loop_timer_init(&node->deadline_timer, loop, on_deadline, node);
    session_init(node);
    return node;
}

static void node_free(void *arg)
{
    struct node *node = arg;
    char *password = (char *)(uintptr_t)node->conf.password;
    explicit_bzero(password, strlen(password));
    free(password);
    free((char *)(uintptr_t)node->conf.address);
    free((char *)(uintptr_t)node->conf.user);
    free(node->master);
    command_pool_fini(&node->pool);
    heap_fini(&node->deadlines);
    arena_fini(&node->held_arena);
    free(node);
}

static void line_cancel(struct node *node, struct command **line)
{
    while (*line) {
        struct command *command = *line;
        command_unline(node, line, command);
        if (!command->is_done) {
            command_complete_err(node, command, ERR_CANCELLED, "the client was closed");
        }
        command_release(&node->pool, command);
    }
}

static void on_close_task(void *arg)
{
    struct node *node = arg;
    loop_undefer(node->loop, &node->fail_task);
    loop_undefer(node->loop, &node->wait_task);
    line_cancel(node, &node->held);
    line_cancel(node, &node->in_flight);
    line_cancel(node, &node->waiting);
    line_cancel(node, &node->failed);
    loop_defer_free(node->loop, node, node_free);
}

void node_close(struct node *node)
{
    check(node->state != SESSION_CLOSED);
    session_fini(node);
    loop_timer_clear(&node->deadline_timer);
    loop_defer(node->loop, &node->close_task, on_close_task, node);
}

void node_observe(struct node *node, redis_observer observer, void *arg)
{
    node->observer = observer;
    node->observer_arg = arg;
}

bool node_is_usable(const struct node *node)
{
    return node->state != SESSION_DOWN && node->state != SESSION_DRAINING &&
           node->state != SESSION_CLOSED;
}

bool node_is_idle(const struct node *node)
{
    return node->pending == 0;
}

void node_on_connect(struct node *node, void (*fn)(void *arg), void *arg)
{
    node->connected = fn;
    node->connected_arg = arg;
}
