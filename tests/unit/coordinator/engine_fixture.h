/*
 * An engine between a store and a caller that do nothing by themselves: every effect is written to
 * a log, in order, and the test completes the oldest one with the answer it likes.
 *
 *   create g submitted rev 0 due 5000           update g aborting rev 1 due 5000 notes 2
 *   take g force                                load g
 *   call 01.action                              (due 300 released: ownership given up)
 */
#ifndef ENGINE_FIXTURE_H
#define ENGINE_FIXTURE_H

#include "base/buf.h"
#include "coordinator/engine.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { FAKE_OPS_MAX = 64, FAKE_ANSWERS_MAX = 16, FAKE_LEASE_MS = 5000 };

struct fake_op {
    store_cb cb;
    void *arg;
};

struct fake_call {
    call_cb cb;
    void *arg;
    int64_t timeout_ms;
};

struct fake_answer {
    enum err err;
    enum txn_status status;
    char reason[128], message[128];
};

struct fake {
    struct store store;
    struct caller caller;
    struct engine *engine;
    int64_t now_ms, store_now_ms;
    struct buf log;
    struct fake_op ops[FAKE_OPS_MAX];
    size_t op_count;
    struct fake_call calls[FAKE_OPS_MAX];
    size_t call_count;
    struct fake_answer answers[FAKE_ANSWERS_MAX];
    size_t answer_count;
    int wakes, released, submitted, finished, drained;
    int64_t released_in_ms;
    int64_t park_after;     /* of the next engine */
    int64_t live_bytes_max; /* the same */
    int troubles;
    enum txn_park trouble_park;
    char trouble[128]; /* the last one: "g 01.action 2 said so" */
    size_t dirty;      /* ops that the last update or create had to write */
};

int fake_setup(void **state);
int fake_teardown(void **state);
/* Another engine, with room for so many. */
void fake_restart(struct fake *fake, int64_t live_max);

/* The log since the last look is `text`, lines joined by " | ". */
void assert_log(struct fake *fake, const char *text);

void fake_store(struct fake *fake, enum store_status status); /* answers the oldest operation */
void fake_store_state(struct fake *fake, enum store_status status, enum txn_status state,
                      const char *reason);
void fake_store_txn(struct fake *fake, enum store_status status, struct txn *txn);
void fake_called(struct fake *fake, enum call_verdict verdict);
void fake_tick(struct fake *fake, int64_t ms); /* time passes, then a tick */

/* A saga "g" of so many steps. */
void fake_submit(struct fake *fake, size_t steps, enum engine_wait_mode mode, int64_t wait_ms);
void fake_submit_with(struct fake *fake, const char *gid, size_t steps, struct txn_options options,
                      struct engine_wait wait);
void fake_answer(void *arg, const struct engine_answer *answer); /* the callback of all requests */
struct txn *fake_txn(struct fake *fake, enum txn_status status, int64_t epoch);
/* The last answer, and that there are so many by now. */
const struct fake_answer *fake_answered(const struct fake *fake, size_t count);

#endif
