#include "redis/node.h"

#include "base/check.h"
#include "base/log.h"
#include "base/mem.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    BACKOFF_MIN_MS = 50,
    BACKOFF_MAX_MS = 2000,
    BACKOFF_FAILOVER_MAX_MS = 500, /* somebody else takes its place meanwhile */
    BACKOFF_DOUBLINGS = 6,
    LOOK_MS = 1000, /* between questions to the sentinels while connected */
};

static bool has_text(const char *text)
{
    return text && text[0];
}

/* Half of the delay is chance, so that clients do not come back in step. */
static int64_t backoff_ms(struct node *node)
{
    unsigned doublings = node->attempts < BACKOFF_DOUBLINGS ? node->attempts : BACKOFF_DOUBLINGS;
    int64_t delay_ms = (int64_t)BACKOFF_MIN_MS << doublings;
    int64_t most_ms =
        node->sentinels || node->is_impatient ? BACKOFF_FAILOVER_MAX_MS : BACKOFF_MAX_MS;
    delay_ms = delay_ms < most_ms ? delay_ms : most_ms;
    return delay_ms / 2 + (int64_t)rng_below(&node->rng, (uint64_t)delay_ms / 2 + 1);
}

static const char *server_of(const struct node *node)
{
    return node->master ? node->master : node->conf.address;
}

/* One line for each new reason, not for each attempt. */
static void log_loss(struct node *node, const char *why)
{
    enum log_level level = strcmp(node->why.text, why) == 0 ? LOG_DEBUG : LOG_WARN;
    if (log_is_on(level)) {
        log_line(level, "redis", "msg=\"no connection\" addr=%s why=\"%s\"", server_of(node), why);
    }
    snprintf(node->why.text, sizeof(node->why.text), "%s", why);
}

static void session_hang_up(struct node *node)
{
    if (node->search) {
        search_cancel(node->search);
        node->search = NULL;
    }
    if (node->dial) {
        dial_cancel(node->dial);
        node->dial = NULL;
    }
    if (node->link) {
        redis_link_close(node->link);
        node->link = NULL;
    }
}

void session_lose(struct node *node, enum err err, const char *why)
{
    log_loss(node, why);
    session_hang_up(node);
    node->state = SESSION_DOWN;
    node->sentinel++; /* one that is behind the others shall not be asked for ever */
    loop_timer_set(&node->step_timer, loop_now_ms(node->loop) + backoff_ms(node));
    node->attempts++;
    if (err != ERR_OK || node->is_impatient) {
        commands_refuse_waiting(node, err != ERR_OK ? err : ERR_CONNECT);
    }
    commands_drop_in_flight(node, node->why.text);
}

void session_drain(struct node *node)
{
    if (node->state == SESSION_READY) {
        node->state = SESSION_DRAINING;
    }
    if (node->state == SESSION_DRAINING && !node->in_flight) {
        session_lose(node, ERR_OK, "it is no master any more");
    }
}

static void session_ready(struct node *node)
{
    loop_timer_clear(&node->step_timer);
    if (node->sentinels) {
        loop_timer_set(&node->step_timer, loop_now_ms(node->loop) + LOOK_MS);
    }
    node->state = SESSION_READY;
    node->why.text[0] = '\0';
    log_info("redis", "msg=\"connected\" addr=%s", server_of(node));
    if (node->connected) {
        node->connected(node->connected_arg);
    }
    commands_send_waiting(node);
}

static void send_words(struct node *node, const char *const *words, size_t count)
{
    struct buf *out = redis_link_out(node->link);
    command_add_count(out, count);
    for (size_t i = 0; i < count; i++) {
        command_add_word(out, slice_str(words[i]));
    }
}

static void session_role(struct node *node)
{
    if (node->sentinels) {
        node->state = SESSION_ROLE;
        send_words(node, (const char *const[]){"ROLE"}, 1);
    } else {
        session_ready(node);
    }
}

static void session_select(struct node *node)
{
    char db[16];
    if (node->conf.db == 0) {
        session_role(node);
        return;
    }
    snprintf(db, sizeof(db), "%d", node->conf.db);
    node->state = SESSION_SELECT;
    send_words(node, (const char *const[]){"SELECT", db}, 2);
}

static void session_auth(struct node *node)
{
    const struct redis_conf *conf = &node->conf;
    node->state = SESSION_AUTH;
    if (has_text(conf->user)) {
        send_words(node, (const char *const[]){"AUTH", conf->user, conf->password}, 3);
    } else if (has_text(conf->password)) {
        send_words(node, (const char *const[]){"AUTH", conf->password}, 2);
    } else {
        session_select(node);
    }
}

/* A step before READY was answered with an error. When that will not pass by itself, those who wait
 * learn it now. */
static void session_refused(struct node *node, struct slice text)
{
    struct reason why;
    enum err err = redis_error_classify(text);
    const char *step = node->state == SESSION_AUTH     ? "AUTH"
                       : node->state == SESSION_SELECT ? "SELECT"
                                                       : "ROLE";
    (void)reason_set(&why, err, "%s refused: %.*s%s", step, SLICE_ARG(text),
                     node->state == SESSION_ROLE && err == ERR_DENIED
                         ? " (behind sentinels the user needs +role)"
                         : "");
    if (err == ERR_SCRIPT && node->state == SESSION_AUTH) {
        err = ERR_DENIED;
    }
    session_lose(node, err == ERR_UNAVAILABLE ? ERR_OK : err, why.text);
}

static void session_ask(struct node *node, search_cb cb)
{
    node->search = search_start(node->loop, node->sentinels, &node->sentinel,
                                node->conf.connect_timeout_ms, cb, node);
}

/* It has said that it is a master; it may have hung while it was replaced, and not know it. */
static void on_confirmed(void *arg, const char *master, const char *why)
{
    struct node *node = arg;
    node->search = NULL;
    if (!master) {
        session_lose(node, ERR_OK, why);
    } else if (strcmp(master, node->master) != 0) {
        session_lose(node, ERR_OK, "the sentinels name another master by now");
    } else {
        session_ready(node);
    }
}

/* The sentinels may be behind: what was a master is a replica by now, or is not one yet. */
static void session_judge_role(struct node *node, const struct redis_value *value)
{
    struct slice role = value->count > 0 ? value->items[0].str : slice_str(NULL);
    if (node->search) {
        session_lose(node, ERR_OK, "a second reply to ROLE");
    } else if (slice_eq_str(role, "master")) {
        session_ask(node, on_confirmed);
    } else {
        struct reason why;
        (void)reason_set(&why, ERR_UNAVAILABLE,
                         "the sentinels name %s as master, but its role is '%.*s': they are asked "
                         "again",
                         node->master, SLICE_ARG(role));
        session_lose(node, ERR_OK, why.text);
    }
}

static void on_reply(void *arg, const struct redis_value *value)
{
    struct node *node = arg;
    switch (node->state) {
    case SESSION_AUTH:
    case SESSION_SELECT:
    case SESSION_ROLE:
        if (value->is_error) {
            session_refused(node, value->str);
        } else if (node->state == SESSION_AUTH) {
            session_select(node);
        } else if (node->state == SESSION_SELECT) {
            session_role(node);
        } else {
            session_judge_role(node, value);
        }
        return;
    case SESSION_READY:
    case SESSION_DRAINING: commands_take_reply(node, value); return;
    case SESSION_DOWN:
    case SESSION_FINDING:
    case SESSION_DIALING:
    case SESSION_CLOSED: unreachable("a reply without a link");
    }
}

static void on_link_closed(void *arg, const char *why)
{
    struct node *node = arg;
    node->link = NULL;
    session_lose(node, ERR_OK, why);
}

static void on_dialled(void *arg, enum err err, int fd, const char *why)
{
    static const struct redis_link_events events = {.reply = on_reply, .closed = on_link_closed};
    struct node *node = arg;
    check(node->state == SESSION_DIALING);
    node->dial = NULL;
    if (err != ERR_OK) {
        session_lose(node, ERR_OK, why);
        return;
    }
    node->link = redis_link_open(node->loop, fd, &events, node);
    session_auth(node);
}

static void session_dial(struct node *node, const char *address)
{
    int64_t timeout_ms = node->conf.connect_timeout_ms;
    node->state = SESSION_DIALING;
    loop_timer_set(&node->step_timer, loop_now_ms(node->loop) + timeout_ms);
    node->dial = dial_start(node->loop, address, timeout_ms, on_dialled, node);
}

static void on_found(void *arg, const char *master, const char *why)
{
    struct node *node = arg;
    node->search = NULL;
    free(node->master);
    node->master = master ? mem_strdup(master) : NULL;
    if (master) {
        session_dial(node, master);
    } else {
        session_lose(node, ERR_OK, why);
    }
}

static void session_begin(struct node *node)
{
    if (node->sentinels) {
        node->state = SESSION_FINDING;
        session_ask(node, on_found);
    } else {
        session_dial(node, node->conf.address);
    }
}

/* A master that was replaced may serve on for seconds, and what it takes then is lost. The sentinel
 * that named it is asked first, so that one that is behind does not send us back and forth. */
static void on_looked(void *arg, const char *master, const char *why)
{
    struct node *node = arg;
    (void)why;
    node->search = NULL;
    if (master && strcmp(master, node->master) != 0) {
        log_warn("redis", "msg=\"the sentinels name another master\" addr=%s", master);
        session_drain(node);
    } else {
        loop_timer_set(&node->step_timer, loop_now_ms(node->loop) + LOOK_MS);
    }
}

static void on_step_timer(void *arg)
{
    struct node *node = arg;
    if (node->state == SESSION_DOWN) {
        session_begin(node);
    } else if (node->state == SESSION_READY) {
        session_ask(node, on_looked);
    } else if (node->state != SESSION_DRAINING) {
        session_lose(node, ERR_OK,
                     node->state == SESSION_DIALING ? "connecting took too long"
                                                    : "no reply to AUTH, SELECT or ROLE in time");
    }
}

void session_init(struct node *node)
{
    rng_seed_system(&node->rng);
    loop_timer_init(&node->step_timer, node->loop, on_step_timer, node);
    session_begin(node);
}

void session_fini(struct node *node)
{
    loop_timer_clear(&node->step_timer);
    session_hang_up(node);
    node->state = SESSION_CLOSED;
}
