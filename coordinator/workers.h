/*
 * Several processes that share the listening ports: the parent starts them, starts again those that
 * die (with back-off), tells them to stop (SIGTERM, SIGINT) or to reload (SIGHUP), and ends when
 * they have ended. Nothing else happens in the parent.
 *
 * Workers stop when their parent says so, by a signal of its own, or when it dies. They ignore
 * SIGTERM and SIGINT: Ctrl-C, timeout(1), killall and service managers signal all processes at
 * once, and a worker that heard both them and its parent would take the second for "at once".
 */
#ifndef COORDINATOR_WORKERS_H
#define COORDINATOR_WORKERS_H

#include <signal.h>
#include <stdint.h>

enum { WORKERS_STOP_SIGNAL = SIGUSR1 };

struct workers_conf {
    int count;
    /* Runs in the new process and returns its exit code; must call workers_tell_ready once. SIGHUP
     * and WORKERS_STOP_SIGNAL are blocked in it: it unblocks each when it can take it. */
    int (*run)(void *arg, int index);
    void (*all_ready)(void *arg); /* in the parent, once; may be NULL */
    void (*stopping)(void *arg);  /* in the parent, at the first signal; may be NULL */
    void (*reload)(void *arg);    /* in the parent, at SIGHUP; workers get the signal afterwards */
    void (*tick)(void *arg);      /* in the parent, every tick_ms; for a watchdog */
    int64_t tick_ms;              /* 0: never */
    void *arg;
};

/* Returns the exit code of the program: that of a worker that gave up before it was ready (what
 * stopped one would stop all), or of the first that, told to stop, did not end with 0. One that was
 * killed then counts as 1. */
int workers_run(const struct workers_conf *conf);
/* In a worker: it serves now. */
void workers_tell_ready(int index);

#endif
