#include "engine_fixture.h"

#include "base/check.h"
#include "base/log.h"
#include "base/mem.h"

#include <inttypes.h>
#include <stdio.h>

/* Where the next line of the log goes. */
static struct buf *next_line(struct fake *fake)
{
    buf_add_str(&fake->log, fake->log.len > 0 ? " | " : "");
    return &fake->log;
}

void assert_log(struct fake *fake, const char *text)
{
    assert_string_equal(fake->log.len > 0 ? fake->log.data : "", text);
    buf_clear(&fake->log);
}

/* ---- store ---- */

static struct fake *of_store(struct store *store)
{
    return container_of(store, struct fake, store);
}

static void op_add(struct fake *fake, store_cb cb, void *arg)
{
    assert_true(fake->op_count < FAKE_OPS_MAX);
    fake->ops[fake->op_count++] = (struct fake_op){cb, arg};
}

static size_t count_dirty(const struct txn *txn)
{
    size_t n = 0;
    for (size_t i = 0; i < txn->branch_count; i++) {
        for (size_t op = 0; op < TXN_BRANCH_OPS; op++) {
            n += txn->branches[i].ops[op].dirty;
        }
    }
    return n;
}

static void log_write(struct fake *fake, const char *what, const struct txn *txn,
                      struct store_due due)
{
    char until[40] = "";
    if (!txn_status_is_final(txn->status)) {
        snprintf(until, sizeof(until), " due %" PRId64 "%s", due.in_ms,
                 due.park      ? " parked"
                 : due.release ? " released"
                               : "");
    }
    buf_printf(next_line(fake), "%s %.*s %s rev %" PRId64 "%s", what, SLICE_ARG(txn->gid),
               txn_status_name(txn->status), txn->revision, until);
    fake->dirty = count_dirty(txn);
}

static void fake_create(struct store *store, const struct txn *txn, struct store_due due,
                        store_cb cb, void *arg)
{
    struct fake *fake = of_store(store);
    log_write(fake, "create", txn, due);
    op_add(fake, cb, arg);
}

static void fake_update(struct store *store, const struct store_update *update, store_cb cb,
                        void *arg)
{
    struct fake *fake = of_store(store);
    log_write(fake, "update", update->txn, update->due);
    buf_printf(&fake->log, " notes %zu", update->note_count);
    op_add(fake, cb, arg);
}

static void fake_take(struct store *store, struct slice gid, struct store_take how,
                      struct store_due due, store_cb cb, void *arg)
{
    struct fake *fake = of_store(store);
    assert_int_equal(due.in_ms, FAKE_LEASE_MS);
    static const char *const which[] = {"", " force", " parked", " prepared"};
    buf_printf(next_line(fake), "take %.*s%s", SLICE_ARG(gid), which[how.which]);
    op_add(fake, cb, arg);
}

static void fake_load(struct store *store, struct slice gid, store_cb cb, void *arg)
{
    struct fake *fake = of_store(store);
    buf_printf(next_line(fake), "load %.*s", SLICE_ARG(gid));
    op_add(fake, cb, arg);
}

static const struct store_ops store_ops = {
    .create = fake_create, .update = fake_update, .take = fake_take, .load = fake_load};

static void complete(struct fake *fake, struct store_result *result)
{
    assert_true(fake->op_count > 0);
    struct fake_op op = fake->ops[0];
    memmove(fake->ops, fake->ops + 1, --fake->op_count * sizeof(op));
    result->message = result->message ? result->message : "";
    result->now_ms = fake->store_now_ms;
    op.cb(op.arg, result);
}

void fake_store(struct fake *fake, enum store_status status)
{
    struct store_result result = {.status = status, .message = "the store is away"};
    complete(fake, &result);
}

void fake_store_state(struct fake *fake, enum store_status status, enum txn_status state,
                      const char *reason)
{
    struct store_result result = {
        .status = status, .state = state, .rollback_reason = slice_str(reason)};
    complete(fake, &result);
}

void fake_store_txn(struct fake *fake, enum store_status status, struct txn *txn)
{
    struct store_result result = {.status = status, .txn = txn};
    complete(fake, &result);
}

/* ---- caller ---- */

static void fake_start(struct caller *caller, const struct branch_call *call, call_cb cb, void *arg)
{
    struct fake *fake = container_of(caller, struct fake, caller);
    assert_true(fake->call_count < FAKE_OPS_MAX && call->url.len > 0);
    buf_printf(next_line(fake), "call %.*s.%s", SLICE_ARG(call->branch->id), call->op);
    fake->calls[fake->call_count++] = (struct fake_call){cb, arg, call->timeout_ms};
}

static const struct caller_ops caller_ops = {.start = fake_start};

void fake_called(struct fake *fake, enum call_verdict verdict)
{
    assert_true(fake->call_count > 0);
    struct fake_call call = fake->calls[0];
    memmove(fake->calls, fake->calls + 1, --fake->call_count * sizeof(call));
    char text[] = "said so";
    struct call_result result = {verdict, slice_str(text), 2000};
    call.cb(call.arg, &result);
}

/* ---- engine ---- */

static int64_t fake_now(void *arg)
{
    const struct fake *fake = arg;
    return fake->now_ms;
}

static void on_released(void *arg, const struct txn *txn, int64_t due_in_ms)
{
    struct fake *fake = arg;
    (void)txn;
    fake->released++;
    fake->released_in_ms = due_in_ms;
}

static void on_submitted(void *arg, const struct txn *txn)
{
    struct fake *fake = arg;
    assert_true(txn->status == TXN_SUBMITTED || txn->status == TXN_SUCCEED);
    fake->submitted++;
}

static void on_finished(void *arg, const struct txn *txn, int64_t duration_ms)
{
    struct fake *fake = arg;
    assert_true(txn_status_is_final(txn->status) && duration_ms >= 0);
    fake->finished++;
}

static void on_troubled(void *arg, const struct engine_trouble *trouble)
{
    struct fake *fake = arg;
    fake->troubles++;
    fake->trouble_park = trouble->parked;
    snprintf(fake->trouble, sizeof(fake->trouble), "%.*s %.*s.%s %" PRId64 " %.*s",
             SLICE_ARG(trouble->txn->gid), SLICE_ARG(trouble->branch->id),
             txn_op_label(trouble->txn, trouble->branch, trouble->op), trouble->attempts,
             SLICE_ARG(trouble->error));
}

static void on_wake(void *arg)
{
    struct fake *fake = arg;
    fake->wakes++;
}

static void engine_start(struct fake *fake, int64_t live_max)
{
    struct engine_conf conf = {
        .retry_interval_ms = 1000,
        .retry_interval_max_ms = 60000,
        .request_timeout_ms = 3000,
        .lease_ms = FAKE_LEASE_MS,
        .lazy_ms = 20,
        .live_max = live_max,
        .park_after = fake->park_after,
        .live_bytes_max = fake->live_bytes_max,
    };
    struct engine_env env = {
        .store = &fake->store,
        .caller = &fake->caller,
        .now_ms = fake_now,
        .now_arg = fake,
        .seed = 1,
        .observer = {.submitted = on_submitted,
                     .finished = on_finished,
                     .released = on_released,
                     .troubled = on_troubled,
                     .arg = fake},
    };
    fake->engine = engine_new(&conf, &env);
    engine_on_wake(fake->engine, on_wake, fake);
}

void fake_restart(struct fake *fake, int64_t live_max)
{
    engine_free(fake->engine);
    fake->op_count = fake->call_count = fake->answer_count = 0;
    fake->troubles = 0;
    engine_start(fake, live_max);
}

int fake_setup(void **state)
{
    struct fake *fake = mem_new(struct fake);
    log_set_level((enum log_level)(LOG_ERROR + 1));
    fake->store.ops = &store_ops;
    fake->caller.ops = &caller_ops;
    fake->now_ms = 1000;
    fake->store_now_ms = 777000;
    engine_start(fake, 100);
    *state = fake;
    return 0;
}

int fake_teardown(void **state)
{
    struct fake *fake = *state;
    engine_free(fake->engine);
    buf_fini(&fake->log);
    free(fake);
    return 0;
}

void fake_tick(struct fake *fake, int64_t ms)
{
    fake->now_ms += ms;
    fake->store_now_ms += ms;
    engine_tick(fake->engine);
}

void fake_answer(void *arg, const struct engine_answer *answer)
{
    struct fake *fake = arg;
    assert_true(fake->answer_count < FAKE_ANSWERS_MAX);
    struct fake_answer *copy = &fake->answers[fake->answer_count++];
    copy->err = answer->err;
    copy->status = answer->status;
    slice_printable(answer->rollback_reason, copy->reason, sizeof(copy->reason));
    slice_printable(slice_str(answer->message), copy->message, sizeof(copy->message));
}

const struct fake_answer *fake_answered(const struct fake *fake, size_t count)
{
    assert_int_equal(fake->answer_count, count);
    return &fake->answers[count - 1];
}

/* ---- transactions ---- */

static struct txn_spec spec_of(const char *gid, size_t steps, struct txn_options options)
{
    static struct txn_step all[TXN_BRANCHES_MAX];
    for (size_t i = 0; i < steps; i++) {
        all[i].urls[OP_ACTION] = slice_str("tcp://p/P.S/Do");
        all[i].urls[OP_UNDO] = slice_str("tcp://p/P.S/Undo");
    }
    return (struct txn_spec){
        .gid = slice_str(gid),
        .trans_type = slice_str("saga"),
        .options = options,
        .steps = all,
        .step_count = steps,
    };
}

void fake_submit_with(struct fake *fake, const char *gid, size_t steps, struct txn_options options,
                      struct engine_wait wait)
{
    struct txn_spec spec = spec_of(gid, steps, options);
    size_t before = fake->answer_count;
    engine_submit(fake->engine, &spec, wait, fake_answer, fake);
    assert_int_equal(fake->answer_count, before); /* never from inside */
}

void fake_submit(struct fake *fake, size_t steps, enum engine_wait_mode mode, int64_t wait_ms)
{
    fake_submit_with(fake, "g", steps, (struct txn_options){0},
                     (struct engine_wait){mode, wait_ms});
}

struct txn *fake_txn(struct fake *fake, enum txn_status status, int64_t epoch)
{
    struct txn_spec spec = spec_of("g", 2, (struct txn_options){0});
    struct txn *txn = txn_new(&spec);
    txn->status = status;
    txn->epoch = epoch;
    txn->created_ms = fake->store_now_ms - 100;
    txn->seen_ms = fake->store_now_ms;
    txn->run.inherited = true;
    return txn;
}
