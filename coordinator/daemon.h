/*
 * One process of sagad: everything wired together on one loop, from the first look at Redis until
 * it has drained. Only this module and main know the concrete implementations of the ports.
 */
#ifndef COORDINATOR_DAEMON_H
#define COORDINATOR_DAEMON_H

#include "coordinator/metrics.h"
#include "coordinator/settings.h"

/* Exit codes of the program. */
enum {
    EXIT_CLEAN = 0,    /* drained after a signal, or nothing to do (--help) */
    EXIT_AT_ONCE = 1,  /* a second signal: it (or a worker) did not wait for what was in flight */
    EXIT_USAGE = 2,    /* wrong command line */
    EXIT_SETTINGS = 3, /* wrong value or file */
    EXIT_BIND = 4,     /* cannot listen */
    EXIT_STORE = 5,    /* Redis cannot be used */
};

struct daemon_env {
    const struct settings *settings;
    struct metrics *metrics;
    int64_t connections_max; /* of each API: what the settings want, and the system allows */
    int index;               /* of this worker */
    int stop_signal;         /* the only one that stops it; 0: SIGTERM and SIGINT do */
    void (*ready)(void *arg);
    void (*stopping)(void *arg);
    enum err (*reload)(void *arg); /* brings `settings` up to date, in place */
    void *arg;
};

/* Runs until a signal has ended it; returns the exit code. */
int daemon_run(const struct daemon_env *env);

#endif
