#include "net/loop.h"

#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"

#include <event2/dns.h>
#include <event2/event.h>
#include <event2/event_struct.h>
#include <signal.h>
#include <stdlib.h>
#include <utlist.h>

/* Deferred tasks that may run in one turn before events get their chance again. */
enum { TASKS_PER_TURN = 100000 };

struct deferred_free {
    void *ptr;
    void (*free_fn)(void *);
};

struct signal_watch {
    struct signal_watch *next;
    struct event *event;
    void (*fire)(void *arg);
    void *arg;
};

/* The time of the turn. It is read when it is first asked for after the wait: libevent has no hook
 * between waiting and the first callback. */
struct turn_clock {
    int64_t us;
    bool in_turn;
    bool is_read;
};

struct loop {
    struct event_base *base;
    struct evdns_base *dns;
    char *dns_server;   /* NULL: those of /etc/resolv.conf */
    struct event *wake; /* ends the wait of loop_turn */
    struct turn_clock *clock;
    struct loop_task *tasks;
    struct loop_task *last_tasks;
    struct loop_task *at_free;
    struct deferred_free *frees;
    size_t free_count;
    size_t free_cap;
    struct signal_watch *signals;
    bool stop;
};

static void log_libevent(int severity, const char *text)
{
    enum log_level level = severity == EVENT_LOG_DEBUG  ? LOG_DEBUG
                           : severity == EVENT_LOG_MSG  ? LOG_INFO
                           : severity == EVENT_LOG_WARN ? LOG_WARN
                                                        : LOG_ERROR;
    log_line(level, "loop", "msg=\"libevent: %s\"", text);
}

static void on_wake(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    (void)arg;
}

static struct event_base *base_new(void)
{
    struct event_config *config = event_config_new();
    check(config);
    /* One thread needs no locks; the change list saves the system calls of events that are removed
     * and added again within a turn. */
    event_config_set_flag(config, EVENT_BASE_FLAG_NOLOCK | EVENT_BASE_FLAG_EPOLL_USE_CHANGELIST);
    struct event_base *base = event_base_new_with_config(config);
    event_config_free(config);
    check(base);
    return base;
}

struct loop *loop_new(void)
{
    event_set_log_callback(log_libevent);
    signal(SIGPIPE, SIG_IGN);
    struct loop *loop = mem_new(struct loop);
    loop->clock = mem_new(struct turn_clock);
    loop->base = base_new();
    loop->wake = event_new(loop->base, -1, 0, on_wake, NULL);
    check(loop->wake);
    return loop;
}

static struct loop_task *next_task(struct loop *loop)
{
    return loop->tasks ? loop->tasks : loop->last_tasks;
}

static void run_frees(struct loop *loop)
{
    for (size_t i = 0; i < loop->free_count; i++) { /* may grow meanwhile */
        struct deferred_free item = loop->frees[i];
        item.free_fn(item.ptr);
    }
    loop->free_count = 0;
}

/* Memory goes only when no task is left, for a task may still look at it. */
static void run_deferred(struct loop *loop)
{
    int budget = TASKS_PER_TURN;
    struct loop_task *task;
    do {
        while ((task = next_task(loop)) && budget-- > 0) {
            loop_undefer(loop, task);
            task->run(task->arg);
        }
        if (!task) {
            run_frees(loop);
        }
    } while (!task && next_task(loop));
}

static void drop_signals(struct loop *loop)
{
    struct signal_watch *watch;
    struct signal_watch *next;
    LL_FOREACH_SAFE(loop->signals, watch, next)
    {
        event_free(watch->event);
        free(watch);
    }
}

void loop_free(struct loop *loop)
{
    run_deferred(loop);
    while (loop->at_free) {
        struct loop_task *task = loop->at_free;
        loop_undefer(loop, task);
        task->run(task->arg);
    }
    run_deferred(loop);
    if (loop->dns) {
        event_base_loop(loop->base, EVLOOP_NONBLOCK); /* requests that were cancelled end here */
        evdns_base_free(loop->dns, 0);
    }
    drop_signals(loop);
    event_free(loop->wake);
    event_base_free(loop->base);
    free(loop->dns_server);
    free(loop->frees);
    free(loop->clock);
    free(loop);
}

static bool has_deferred(struct loop *loop)
{
    return next_task(loop) || loop->free_count > 0;
}

static void turn(struct loop *loop, bool may_wait)
{
    struct turn_clock *clock = loop->clock;
    check(!clock->in_turn);
    bool ready = !may_wait || has_deferred(loop);
    *clock = (struct turn_clock){.in_turn = true};
    int flags = EVLOOP_ONCE | EVLOOP_NO_EXIT_ON_EMPTY | (ready ? EVLOOP_NONBLOCK : 0);
    check(event_base_loop(loop->base, flags) >= 0);
    run_deferred(loop);
    *clock = (struct turn_clock){.in_turn = false};
}

void loop_run(struct loop *loop)
{
    while (!loop->stop) {
        turn(loop, true);
    }
    loop->stop = false;
}

void loop_stop(struct loop *loop)
{
    loop->stop = true;
}

static struct timeval ms_to_timeval(int64_t ms)
{
    ms = ms < 0 ? 0 : ms;
    return (struct timeval){.tv_sec = (time_t)(ms / 1000), .tv_usec = (ms % 1000) * 1000};
}

void loop_turn(struct loop *loop, int64_t wait_ms)
{
    if (wait_ms <= 0) {
        turn(loop, false);
        return;
    }
    struct timeval wait = ms_to_timeval(wait_ms);
    check(event_add(loop->wake, &wait) == 0);
    turn(loop, true);
    event_del(loop->wake);
}

void loop_settle(struct loop *loop)
{
    struct turn_clock *clock = loop->clock;
    check(!clock->in_turn);
    *clock = (struct turn_clock){.in_turn = true};
    while (has_deferred(loop)) {
        run_deferred(loop);
    }
    *clock = (struct turn_clock){.in_turn = false};
}

int64_t loop_now_us(const struct loop *loop)
{
    struct turn_clock *clock = loop->clock;
    if (!clock->in_turn || !clock->is_read) {
        clock->us = clock_mono_us();
        clock->is_read = true;
    }
    return clock->us;
}

int64_t loop_now_ms(const struct loop *loop)
{
    return loop_now_us(loop) / 1000;
}

struct event_base *loop_base(struct loop *loop)
{
    return loop->base;
}

struct evdns_base *loop_dns(struct loop *loop)
{
    if (!loop->dns) {
        loop->dns = evdns_base_new(loop->base, EVDNS_BASE_DISABLE_WHEN_INACTIVE);
        check(loop->dns);
        int what = loop->dns_server ? DNS_OPTIONS_ALL & ~DNS_OPTION_NAMESERVERS : DNS_OPTIONS_ALL;
        /* Without the file: a name server on this machine, and still the names in /etc/hosts. */
        if (evdns_base_resolv_conf_parse(loop->dns, what, "/etc/resolv.conf") != 0) {
            log_debug("loop", "msg=\"no name servers in /etc/resolv.conf\"");
        }
        if (loop->dns_server) {
            (void)evdns_base_clear_nameservers_and_suspend(loop->dns);
            if (evdns_base_nameserver_ip_add(loop->dns, loop->dns_server) != 0) {
                log_error("loop", "msg=\"not a name server\" addr=%s", loop->dns_server);
            }
            (void)evdns_base_resume(loop->dns);
        }
    }
    return loop->dns;
}

void loop_set_dns(struct loop *loop, const char *server)
{
    check(!loop->dns);
    free(loop->dns_server);
    loop->dns_server = server && server[0] ? mem_strdup(server) : NULL;
}

static void defer_to(struct loop_task **queue, struct loop_task *task, void (*run)(void *arg),
                     void *arg)
{
    task->run = run;
    task->arg = arg;
    if (!task->queue) {
        task->queue = queue;
        DL_APPEND(*queue, task);
    }
}

void loop_defer(struct loop *loop, struct loop_task *task, void (*run)(void *arg), void *arg)
{
    defer_to(&loop->tasks, task, run, arg);
}

void loop_defer_last(struct loop *loop, struct loop_task *task, void (*run)(void *arg), void *arg)
{
    defer_to(&loop->last_tasks, task, run, arg);
}

void loop_at_free(struct loop *loop, struct loop_task *task, void (*run)(void *arg), void *arg)
{
    defer_to(&loop->at_free, task, run, arg);
}

void loop_undefer(struct loop *loop, struct loop_task *task)
{
    (void)loop;
    if (task->queue) {
        DL_DELETE(*task->queue, task);
        task->queue = NULL;
    }
}

bool loop_is_deferred(const struct loop_task *task)
{
    return task->queue != NULL;
}

void loop_defer_free(struct loop *loop, void *ptr, void (*free_fn)(void *))
{
    if (loop->free_count == loop->free_cap) {
        loop->free_cap = loop->free_cap ? loop->free_cap * 2 : 64;
        loop->frees = mem_resize(loop->frees, loop->free_cap * sizeof(struct deferred_free));
    }
    loop->frees[loop->free_count++] = (struct deferred_free){ptr, free_fn};
}

static struct event *timer_event(struct loop_timer *timer)
{
    return (struct event *)(void *)timer->storage;
}

static void timer_arm(struct loop_timer *timer)
{
    struct timeval wait = ms_to_timeval(timer->at_ms - loop_now_ms(timer->loop));
    check(event_add(timer_event(timer), &wait) == 0);
    timer->armed = true;
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    struct loop_timer *timer = arg;
    /* libevent's clock is a coarse one, a few milliseconds behind ours. */
    if (loop_now_ms(timer->loop) < timer->at_ms) {
        timer_arm(timer);
        return;
    }
    timer->armed = false;
    timer->fire(timer->arg);
}

void loop_timer_init(struct loop_timer *timer, struct loop *loop, void (*fire)(void *arg),
                     void *arg)
{
    check(event_get_struct_event_size() <= sizeof(timer->storage));
    timer->loop = loop;
    timer->fire = fire;
    timer->arg = arg;
    timer->at_ms = 0;
    timer->armed = false;
    check(event_assign(timer_event(timer), loop->base, -1, 0, on_timer, timer) == 0);
}

void loop_timer_set(struct loop_timer *timer, int64_t at_ms)
{
    if (timer->armed && timer->at_ms == at_ms) {
        return;
    }
    timer->at_ms = at_ms;
    timer_arm(timer);
}

void loop_timer_clear(struct loop_timer *timer)
{
    if (timer->armed) {
        event_del(timer_event(timer));
        timer->armed = false;
    }
}

bool loop_timer_is_armed(const struct loop_timer *timer)
{
    return timer->armed;
}

static void on_signal(evutil_socket_t signo, short what, void *arg)
{
    (void)signo;
    (void)what;
    struct signal_watch *watch = arg;
    watch->fire(watch->arg);
}

void loop_on_signal(struct loop *loop, int signo, void (*fire)(void *arg), void *arg)
{
    struct signal_watch *watch = mem_new(struct signal_watch);
    watch->fire = fire;
    watch->arg = arg;
    watch->event = evsignal_new(loop->base, signo, on_signal, watch);
    check(watch->event && event_add(watch->event, NULL) == 0);
    LL_PREPEND(loop->signals, watch);
}
