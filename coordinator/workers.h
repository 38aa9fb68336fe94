/*
 * Several processes that share the listening ports: the parent starts them, starts again those that
 * die (with back-off), passes SIGTERM, SIGINT and SIGHUP on and ends when they have ended. Nothing
 * else happens in the parent.
 */
#ifndef COORDINATOR_WORKERS_H
#define COORDINATOR_WORKERS_H

#include <stdint.h>

struct workers_conf {
    int count;
    /* Runs in the new process and returns its exit code; must call workers_tell_ready once. SIGHUP
     * is blocked in it until it is ready for that. */
    int (*run)(void *arg, int index);
    void (*all_ready)(void *arg); /* in the parent, once; may be NULL */
    void (*stopping)(void *arg);  /* in the parent, at the first signal; may be NULL */
    void (*reload)(void *arg);    /* in the parent, at SIGHUP; workers get the signal afterwards */
    void (*tick)(void *arg);      /* in the parent, every tick_ms; for a watchdog */
    int64_t tick_ms;              /* 0: never */
    void *arg;
};

/* Returns the exit code of the program: 0 after a signal; the code of a worker that gave up before
 * it was ready (what stopped one would stop all). */
int workers_run(const struct workers_conf *conf);
/* In a worker: it serves now. */
void workers_tell_ready(int index);

#endif
