/*
 * The event loop of a process: one thread, no locks. Wraps libevent; its types stay in net/.
 *
 * A turn: wait for events, run their callbacks, then run what was deferred (loop_defer), until
 * nothing is deferred any more. Frees and completions are deferred, so that no callback ever runs
 * inside the call that started it and no object is freed under its caller's feet.
 */
#ifndef NET_LOOP_H
#define NET_LOOP_H

#include <stdbool.h>
#include <stdint.h>

struct loop;
struct event_base; /* libevent's, for the other files of net/ and redis/ only */
struct evdns_base;

struct loop *loop_new(void);       /* also makes the process ignore SIGPIPE */
void loop_free(struct loop *loop); /* everything on the loop must have been closed before */
void loop_run(struct loop *loop);  /* until loop_stop */
void loop_stop(struct loop *loop); /* ends after the present turn; deferred work is still done */
/* One turn, waiting at most `wait_ms` (0: only what is ready); for tests and start-up code. */
void loop_turn(struct loop *loop, int64_t wait_ms);
/* Runs what is deferred until nothing is, and no event and no timer: for the end, when what was
 * closed still has to complete, and nothing new may begin. */
void loop_settle(struct loop *loop);
/* Monotonic ms/us, read once per turn. */
int64_t loop_now_ms(const struct loop *loop);
int64_t loop_now_us(const struct loop *loop);
struct event_base *loop_base(struct loop *loop);
struct evdns_base *loop_dns(struct loop *loop); /* made at first use; does not keep a loop busy */

/* Ask this name server, "10.0.0.53" or "10.0.0.53:5353", instead of those of /etc/resolv.conf.
 * Before anything is resolved; NULL or "": those of the file. */
void loop_set_dns(struct loop *loop, const char *server);

/* Deferred work: embedded in its owner, zeroed at first. Setting it twice runs it once. */
struct loop_task {
    struct loop_task *prev, *next; /* utlist */
    struct loop_task **queue;      /* where it stands; NULL: nowhere */
    void (*run)(void *arg);
    void *arg;
};
void loop_defer(struct loop *loop, struct loop_task *task, void (*run)(void *arg), void *arg);
/* After all other deferred work of the turn: for writers, so that everything that was queued in a
 * turn leaves in one write. */
void loop_defer_last(struct loop *loop, struct loop_task *task, void (*run)(void *arg), void *arg);
/* In loop_free: for objects that nobody owns any more but that still have something to finish. */
void loop_at_free(struct loop *loop, struct loop_task *task, void (*run)(void *arg), void *arg);
/* Forgets any of the three; nothing when not queued. */
void loop_undefer(struct loop *loop, struct loop_task *task);
bool loop_is_deferred(const struct loop_task *task);
/* Frees the pointer with `free_fn` when this turn's callbacks and deferred work are over. */
void loop_defer_free(struct loop *loop, void *ptr, void (*free_fn)(void *));

/* A timer, embedded in its owner; costs no allocation. Fires once at the absolute time, never
 * before it and never inside loop_timer_set. Must be cleared before its owner is freed. */
struct loop_timer {
    _Alignas(16) unsigned char storage[192]; /* libevent's struct event */
    struct loop *loop;
    void (*fire)(void *arg);
    void *arg;
    int64_t at_ms;
    bool armed;
};
void loop_timer_init(struct loop_timer *timer, struct loop *loop, void (*fire)(void *arg),
                     void *arg);
void loop_timer_set(struct loop_timer *timer, int64_t at_ms); /* moves it when it is armed */
void loop_timer_clear(struct loop_timer *timer);
bool loop_timer_is_armed(const struct loop_timer *timer);

/* Runs `fire` in the loop when the signal arrives; kept until loop_free. */
void loop_on_signal(struct loop *loop, int signo, void (*fire)(void *arg), void *arg);

#endif
