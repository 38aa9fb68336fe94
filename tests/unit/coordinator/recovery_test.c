/* Recovery against a real server: everything overdue is taken, by one coordinator only. */
#include "store_fixture.h"

#include "base/check.h"
#include "base/mem.h"
#include "coordinator/recovery.h"

enum { MANY = 5000 };

/* An engine that only counts. */
struct driver {
    struct recovery *recovery;
    int room;          /* how many more it takes */
    const char *alive; /* this gid is driven here already */
    int *adopted;      /* by number of the gid "g<number>" */
    int total;
    int64_t sent_ms; /* when the last one was asked for */
};

static bool driver_has_room(void *arg)
{
    struct driver *driver = arg;
    return driver->total < driver->room;
}

static bool driver_is_live(void *arg, struct slice gid)
{
    struct driver *driver = arg;
    return driver->alive && slice_eq_str(gid, driver->alive);
}

static void driver_adopt(void *arg, struct txn *txn, int64_t sent_ms)
{
    struct driver *driver = arg;
    driver->sent_ms = sent_ms;
    int64_t number;
    assert_true(slice_to_int64(slice_make(txn->gid.ptr + 1, txn->gid.len - 1), &number));
    driver->adopted[number]++;
    driver->total++;
    txn_free(txn);
}

static int counters[2][MANY];

static void driver_start(struct fixture *f, struct side *side, struct driver *driver,
                         int64_t period_ms, int64_t lease_ms)
{
    struct recovery_conf conf = recovery_conf_default;
    struct recovery_sink sink = {driver_has_room, driver_is_live, driver_adopt, driver};
    conf.lease_ms = lease_ms;
    conf.period_ms = period_ms;
    driver->room = driver->room ? driver->room : INT32_MAX;
    driver->adopted = counters[side == &f->b];
    memset(driver->adopted, 0, sizeof(counters[0]));
    driver->recovery = recovery_new(f->loop, side->port, side->store, &conf, &sink);
}

static void driver_end(struct fixture *f, struct side *side, struct driver *driver)
{
    recovery_stop(driver->recovery);
    side_close(f, side);
    recovery_free(driver->recovery);
}

struct tally {
    int done, ok;
};

static void on_created(void *arg, const struct store_result *result)
{
    struct tally *tally = arg;
    tally->done++;
    tally->ok += result->status == STORE_OK;
}

/* g<first> … , all in one go. */
static void store_many(struct fixture *f, int first, int count, int64_t due_ms)
{
    struct tally tally = {0};
    struct store_due due = {.in_ms = due_ms};
    for (int i = first; i < first + count; i++) {
        char gid[16];
        snprintf(gid, sizeof(gid), "g%d", i);
        struct txn *txn = saga_new(gid);
        f->a.port->ops->create(f->a.port, txn, due, on_created, &tally);
        txn_free(txn);
    }
    wait_for(f->loop, tally.done == count);
    assert_int_equal(tally.ok, count);
}

static void test_two_take_each_exactly_once(void **state)
{
    struct fixture *f = *state;
    struct driver a = {0}, b = {0};
    store_many(f, 0, MANY, -1);
    driver_start(f, &f->a, &a, 1000, 60000);
    driver_start(f, &f->b, &b, 1000, 60000);
    wait_for(f->loop, a.total + b.total >= MANY);
    int64_t looks = recovery_stats(a.recovery).looks;
    wait_for(f->loop, recovery_stats(a.recovery).looks >= looks + 2 * PARTITIONS); /* and no more */
    assert_int_equal(a.total + b.total, MANY);
    assert_true(a.total > 0 && b.total > 0);
    for (int i = 0; i < MANY; i++) {
        assert_int_equal(a.adopted[i] + b.adopted[i], 1);
    }
    driver_end(f, &f->a, &a);
    driver_end(f, &f->b, &b);
}

static void test_takes_no_more_than_there_is_room(void **state)
{
    struct fixture *f = *state;
    struct driver a = {.room = 100}, b = {.room = 50};
    store_many(f, 0, 1000, -1);
    driver_start(f, &f->a, &a, 1000, 60000);
    wait_for(f->loop, a.total >= 100 && recovery_stats(a.recovery).in_flight == 0);
    int before = a.total;
    assert_true(before <= 100 + recovery_conf_default.takes_max);
    int64_t looks = recovery_stats(a.recovery).looks;
    driver_start(f, &f->b, &b, 1000, 60000);
    wait_for(f->loop, b.total >= 50 && recovery_stats(b.recovery).in_flight == 0);
    assert_int_equal(a.total, before);
    assert_int_equal(recovery_stats(a.recovery).looks, looks); /* full: asks for nothing */
    a.room = INT32_MAX;
    wait_for(f->loop, a.total + b.total == 1000);
    for (int i = 0; i < 1000; i++) {
        assert_int_equal(a.adopted[i] + b.adopted[i], 1);
    }
    driver_end(f, &f->a, &a);
    driver_end(f, &f->b, &b);
}

/* A store that keeps a take back until it is told. */
struct slow {
    struct store port;
    struct store *real;
    struct loop *loop;
    int64_t sent_ms;
    struct store_due due;
    store_cb cb;
    void *arg;
};

static void slow_take(struct store *port, struct slice gid, struct store_take how,
                      struct store_due due, store_cb cb, void *arg)
{
    struct slow *slow = container_of(port, struct slow, port);
    assert_true(slice_eq_str(gid, "g0") && how.which == STORE_TAKE_OVERDUE);
    slow->sent_ms = loop_now_ms(slow->loop);
    slow->due = due;
    slow->cb = cb;
    slow->arg = arg;
}

static void slow_overdue(struct store *port, int partition, int limit, store_overdue_cb cb,
                         void *arg)
{
    struct slow *slow = container_of(port, struct slow, port);
    slow->real->ops->overdue(slow->real, partition, limit, cb, arg);
}

static int slow_partitions(const struct store *port)
{
    (void)port;
    return PARTITIONS;
}

static void test_the_lease_counts_from_the_question(void **state)
{
    static const struct store_ops ops = {
        .take = slow_take, .overdue = slow_overdue, .partitions = slow_partitions};
    struct fixture *f = *state;
    struct driver a = {0};
    struct slow slow = {.port.ops = &ops, .real = f->a.port, .loop = f->loop};
    struct side side = {.port = &slow.port, .store = f->a.store};
    store_many(f, 0, 1, -1);
    driver_start(f, &side, &a, 100, 60000);
    wait_for(f->loop, slow.cb);
    wait_for(f->loop, loop_now_ms(f->loop) >= slow.sent_ms + 5);
    slow.real->ops->take(slow.real, slice_str("g0"), (struct store_take){0}, slow.due, slow.cb,
                         slow.arg);
    wait_for(f->loop, a.total == 1);
    assert_int_equal(a.sent_ms, slow.sent_ms);
    driver_end(f, &f->a, &a);
}

static void test_leaves_alone_what_lives_here(void **state)
{
    struct fixture *f = *state;
    struct driver a = {.alive = "g3"};
    store_many(f, 0, 10, -1);
    driver_start(f, &f->a, &a, 100, 60000);
    wait_for(f->loop, a.total >= 9);
    int64_t looks = recovery_stats(a.recovery).looks;
    wait_for(f->loop, recovery_stats(a.recovery).looks >= looks + 3 * PARTITIONS);
    assert_int_equal(a.total, 9);
    assert_int_equal(a.adopted[3], 0);
    a.alive = NULL;
    wait_for(f->loop, a.total == 10);
    driver_end(f, &f->a, &a);
}

/* The period is an hour: only the next due time of the listing tells when to look. */
static void test_looks_when_the_next_one_is_due(void **state)
{
    struct fixture *f = *state;
    struct driver a = {0};
    int64_t began_ms = clock_mono_ms();
    store_many(f, 0, 20, 150);
    driver_start(f, &f->a, &a, 3600 * 1000, 60000);
    wait_for(f->loop, a.total == 20);
    assert_true(clock_mono_ms() - began_ms >= 150 - 1); /* by two clocks */
    driver_end(f, &f->a, &a);
}

/* The period is an hour, and it was stored after the look: only its release tells. */
static void test_looks_for_what_was_released(void **state)
{
    struct fixture *f = *state;
    struct driver a = {0};
    driver_start(f, &f->a, &a, 3600 * 1000, 60000);
    wait_for(f->loop, recovery_stats(a.recovery).looks == PARTITIONS);
    store_many(f, 7, 1, 100);
    recovery_expect(a.recovery, slice_str("g7"), 100);
    wait_for(f->loop, a.total == 1);
    assert_true(recovery_stats(a.recovery).looks <= PARTITIONS + 3);
    driver_end(f, &f->a, &a);
}

static void test_damaged_ones_stand_in_nobodys_way(void **state)
{
    struct fixture *f = *state;
    struct driver a = {0};
    for (int i = 0; i < 1000; i++) { /* several batches of each partition, and older */
        char gid[16];
        snprintf(gid, sizeof(gid), "bad%d", i);
        int p = redis_crc16(slice_str(gid)) % PARTITIONS;
        test_redis_ask(f->server, "HSET saga:{%d}:tx:%s status lost", p, gid);
        test_redis_ask(f->server, "ZADD saga:{%d}:due 1 %s", p, gid);
    }
    store_many(f, 0, 50, -1);
    driver_start(f, &f->a, &a, 1000, 60000);
    wait_for(f->loop, a.total == 50);
    driver_end(f, &f->a, &a);
}

/* The takes that Redis got before it fell silent count as unknown: they come again when their
 * lease is over. */
static void test_goes_on_when_redis_comes_back(void **state)
{
    struct fixture *f = *state;
    struct driver a = {0};
    store_many(f, 0, 500, -1);
    make_impatient(f);
    test_redis_pause(f->server);
    driver_start(f, &f->a, &a, 100, 200);
    int64_t paused_ms = clock_mono_ms();
    wait_for(f->loop, clock_mono_ms() - paused_ms >= 500);
    int64_t looks = recovery_stats(a.recovery).looks;
    assert_true(looks >= PARTITIONS && looks <= 4 * PARTITIONS); /* backs off */
    test_redis_resume(f->server);
    for (int i = 0; i < 500; i++) {
        wait_for(f->loop, a.adopted[i] > 0);
    }
    driver_end(f, &f->a, &a);
}

static void test_idle_cost(void **state)
{
    struct fixture *f = *state;
    struct driver a = {0};
    int64_t began_ms = clock_mono_ms();
    driver_start(f, &f->a, &a, 200, 60000);
    wait_for(f->loop, recovery_stats(a.recovery).looks >= 6 * PARTITIONS);
    int64_t periods = (clock_mono_ms() - began_ms) / 200;
    assert_true(periods >= 4);
    assert_true(recovery_stats(a.recovery).looks <= (periods + 2) * PARTITIONS);
    driver_end(f, &f->a, &a);
}

static void test_stop_drops_what_is_on_its_way(void **state)
{
    struct fixture *f = *state;
    struct driver a = {0};
    store_many(f, 0, 500, -1);
    driver_start(f, &f->a, &a, 1000, 60000);
    wait_for(f->loop, recovery_stats(a.recovery).in_flight > 0);
    recovery_stop(a.recovery);
    int before = a.total;
    wait_for(f->loop, recovery_stats(a.recovery).in_flight == 0);
    assert_int_equal(a.total, before);
    driver_end(f, &f->a, &a);
}

#define store_test(fn) cmocka_unit_test_setup_teardown(fn, fixture_setup, fixture_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        store_test(test_two_take_each_exactly_once),
        store_test(test_takes_no_more_than_there_is_room),
        store_test(test_leaves_alone_what_lives_here),
        store_test(test_looks_when_the_next_one_is_due),
        store_test(test_looks_for_what_was_released),
        store_test(test_the_lease_counts_from_the_question),
        store_test(test_damaged_ones_stand_in_nobodys_way),
        store_test(test_goes_on_when_redis_comes_back),
        store_test(test_idle_cost),
        store_test(test_stop_drops_what_is_on_its_way),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
