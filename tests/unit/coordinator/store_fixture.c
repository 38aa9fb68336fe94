#include "store_fixture.h"

#include "base/check.h"
#include "base/mem.h"

void side_open(struct fixture *f, struct side *side, const char *owner)
{
    struct redis_conf conf = {
        .address = test_redis_unix(f->server), .connect_timeout_ms = 5000, .queue_max = 100000};
    struct store_redis_conf store_conf = {.owner = owner,
                                          .partitions = PARTITIONS,
                                          .retention_ms = f->retention_ms,
                                          .timeout_ms = f->timeout_ms};
    side->redis = redis_open(f->loop, &conf);
    side->store = store_redis_new(f->loop, side->redis, &store_conf);
    side->port = store_redis_port(side->store);
}

void side_close(struct fixture *f, struct side *side)
{
    if (side->redis) {
        redis_close(side->redis);
        loop_turn(f->loop, 0);
        store_redis_free(side->store);
        *side = (struct side){0};
    }
}

int fixture_setup(void **state)
{
    struct fixture *f = mem_new(struct fixture);
    f->server = test_redis_start(NULL);
    f->loop = loop_new();
    f->retention_ms = RETENTION_MS;
    f->timeout_ms = PATIENCE_MS;
    side_open(f, &f->a, "A");
    side_open(f, &f->b, "B");
    *state = f;
    return 0;
}

int fixture_teardown(void **state)
{
    struct fixture *f = *state;
    side_close(f, &f->a);
    side_close(f, &f->b);
    loop_free(f->loop);
    test_redis_stop(f->server);
    free(f);
    return 0;
}

void on_store(void *arg, const struct store_result *result)
{
    struct seen *seen = arg;
    seen->count++;
    seen->status = result->status;
    seen->state = result->state;
    seen->now_ms = result->now_ms;
    seen->txn = result->txn;
    snprintf(seen->message, sizeof(seen->message), "%s", result->message);
    snprintf(seen->reason, sizeof(seen->reason), "%.*s", SLICE_ARG(result->rollback_reason));
}

struct seen create(struct fixture *f, struct side *side, const struct txn *txn, int64_t due_ms)
{
    struct seen seen = {0};
    struct store_due due = {.in_ms = due_ms};
    side->port->ops->create(side->port, txn, due, on_store, &seen);
    assert_int_equal(seen.count, 0); /* never from inside the call */
    wait_for(f->loop, seen.count > 0);
    return seen;
}

struct seen update(struct fixture *f, struct side *side, const struct store_update *update)
{
    struct seen seen = {0};
    side->port->ops->update(side->port, update, on_store, &seen);
    wait_for(f->loop, seen.count > 0);
    return seen;
}

struct seen take(struct fixture *f, struct side *side, struct slice gid, bool force)
{
    struct seen seen = {0};
    struct store_due due = {.in_ms = 60000};
    struct store_take how = {.which = force ? STORE_TAKE_ANY : STORE_TAKE_OVERDUE};
    side->port->ops->take(side->port, gid, how, due, on_store, &seen);
    wait_for(f->loop, seen.count > 0);
    return seen;
}

struct seen load(struct fixture *f, struct side *side, struct slice gid)
{
    struct seen seen = {0};
    side->port->ops->load(side->port, gid, on_store, &seen);
    wait_for(f->loop, seen.count > 0);
    return seen;
}

void make_impatient(struct fixture *f)
{
    int64_t end_ms = clock_mono_ms() + PATIENCE_MS;
    side_close(f, &f->a);
    f->timeout_ms = 100;
    side_open(f, &f->a, "A");
    while (load(f, &f->a, slice_str("x")).status != STORE_NOT_FOUND) { /* to connect may last */
        assert_true(clock_mono_ms() < end_ms);
    }
}

struct txn *saga_new(const char *gid)
{
    const struct txn_step steps[] = {
        {.urls = {[OP_ACTION] = SLICE_LIT("tcp://order/order.Order/Create"),
                  [OP_UNDO] = SLICE_LIT("tcp://order/order.Order/Revert")},
         .payload = SLICE_LIT("payload\0one")},
        {.urls = {[OP_ACTION] = SLICE_LIT("http://127.0.0.1:1/stock?a=b+c")}},
    };
    struct txn_spec spec = {
        .gid = slice_str(gid), .trans_type = SLICE_LIT("saga"), .steps = steps, .step_count = 2};
    return txn_new(&spec);
}

void saga_store(struct fixture *f, const char *gid, int64_t due_ms)
{
    struct txn *txn = saga_new(gid);
    struct seen seen = create(f, &f->a, txn, due_ms);
    assert_int_equal(seen.status, STORE_OK);
    txn_free(txn);
}

static void on_backlog(void *arg, const struct archive_backlog *backlog)
{
    *(struct archive_backlog *)arg = *backlog;
}

struct archive_backlog count_backlog(struct fixture *f)
{
    struct archive_backlog backlog = {.due = -1};
    struct archive *archive = store_redis_archive(f->a.store);
    archive->ops->backlog(archive, on_backlog, &backlog);
    wait_for(f->loop, backlog.due >= 0);
    return backlog;
}
