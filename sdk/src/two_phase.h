/*
 * What a tcc whose tries the program calls and an xa have in common: they are begun, branches are
 * registered one by one, and at the end all are done or all undone. Not installed.
 *
 * It lives from begin until its end was answered, or begin with an error (and the callback did not
 * ask for the end), and nothing that joins is under way any more.
 */
#ifndef SAGA_TWO_PHASE_H
#define SAGA_TWO_PHASE_H

#include "base/arena.h"
#include "saga_internal.h"

struct two_phase {
    struct saga *saga;
    struct two_phase *prev, *next; /* in saga->two_phases */
    const char *type;              /* "tcc", "xa" */
    struct arena arena;
    struct slice gid;
    struct wire_options options; /* of begin */
    bool wait;                   /* of begin, for the end */
    int64_t wait_timeout_ms;
    bool prepared, refused; /* what begin has answered; neither: perhaps it is prepared */
    bool asking;            /* the answer to begin or end is to come */
    bool gone;              /* ended; freed with the last that joins */
    enum { OPEN, DONE, UNDONE } decision;
    int branches, succeeded, joining;
    struct reason why; /* the first branch that did not succeed */
    saga_answer_cb cb; /* of begin, then of end */
    void *arg;
};
struct saga_tcc {
    struct two_phase all;
};
struct saga_xa {
    struct two_phase all;
};

/* One branch between its registration and its success; part of something of the caller's. */
struct joining {
    struct two_phase *all;
    char id[16];
};

void two_phase_begin(struct two_phase *all, struct saga *saga, const char *type,
                     const struct saga_submission *begin, saga_answer_cb cb, void *arg);
/* Registers the next branch: its confirm, cancel and payload. The caller ends it with
 * two_phase_count and two_phase_joined, in `cb` or later. */
void two_phase_join(struct two_phase *all, struct joining *joining,
                    const struct wire_register *branch, const char *wrong, saga_answer_cb cb,
                    void *arg);
/* Counts it, before its callback may ask for the end: `why` it has not succeeded, or NULL. */
void two_phase_count(struct joining *joining, const char *what, const char *why);
void two_phase_joined(struct joining *joining); /* `all` may be gone then */
/* Registers, and that is all. */
void two_phase_register(struct two_phase *all, const struct wire_register *branch,
                        const char *wrong, saga_answer_cb cb, void *arg);
void two_phase_end(struct two_phase *all, bool wanted, saga_answer_cb cb, void *arg);

#endif
