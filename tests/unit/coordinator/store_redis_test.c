/* The store port against a real server: what goes in comes out, fences hold, errors are told. */
#include "store_fixture.h"

#include "base/mem.h"

static const char *const nasty_gid = "a {x} / \xc3\xbc\\ \"'";

static void assert_slice(struct slice a, struct slice b)
{
    assert_int_equal(a.len, b.len);
    assert_true(slice_eq(a, b));
}

static void assert_same_branches(const struct txn *a, const struct txn *b)
{
    assert_int_equal(a->branch_count, b->branch_count);
    for (size_t i = 0; i < a->branch_count; i++) {
        assert_slice(a->branches[i].id, b->branches[i].id);
        assert_slice(a->branches[i].payload, b->branches[i].payload);
        for (int op = 0; op < TXN_BRANCH_OPS; op++) {
            assert_slice(a->branches[i].ops[op].url, b->branches[i].ops[op].url);
            assert_int_equal(a->branches[i].ops[op].status, b->branches[i].ops[op].status);
        }
    }
}

/* In any order: a large hash keeps none. */
static void assert_has_header(const struct txn *txn, const struct txn_header *header)
{
    size_t i = 0;
    while (i < txn->options.header_count && !slice_eq(txn->options.headers[i].name, header->name)) {
        i++;
    }
    assert_int_not_equal(i, txn->options.header_count);
    assert_slice(txn->options.headers[i].value, header->value);
}

static void assert_same(const struct txn *a, const struct txn *b)
{
    assert_slice(a->gid, b->gid);
    assert_int_equal(a->type, b->type);
    assert_int_equal(a->status, b->status);
    assert_int_equal(a->revision, b->revision);
    assert_int_equal(a->attempts, b->attempts);
    assert_int_equal(a->retry_count, b->retry_count);
    assert_slice(a->rollback_reason, b->rollback_reason);
    assert_slice(a->custom_data, b->custom_data);
    assert_int_equal(a->options.timeout_to_fail_ms, b->options.timeout_to_fail_ms);
    assert_int_equal(a->options.retry_interval_ms, b->options.retry_interval_ms);
    assert_int_equal(a->options.request_timeout_ms, b->options.request_timeout_ms);
    assert_int_equal(a->options.retry_limit, b->options.retry_limit);
    assert_int_equal(a->options.wait_result, b->options.wait_result);
    assert_int_equal(a->options.header_count, b->options.header_count);
    for (size_t i = 0; i < a->options.header_count; i++) {
        assert_has_header(b, &a->options.headers[i]);
    }
    assert_same_branches(a, b);
}

static struct txn *nasty_new(void)
{
    struct txn *txn = saga_new(nasty_gid);
    static struct txn_header headers[] = {{SLICE_LIT("X-A"), SLICE_LIT("1")},
                                          {SLICE_LIT("x b"), SLICE_LIT("\xff\x00z")}};
    txn->options = (struct txn_options){.timeout_to_fail_ms = 1,
                                        .retry_interval_ms = 2,
                                        .request_timeout_ms = 3,
                                        .retry_limit = 4,
                                        .wait_result = true,
                                        .headers = headers,
                                        .header_count = 2};
    txn->custom_data = slice_make("{\"a\":\"\\u0000\"}\0\n", 17);
    txn->attempts = 5;
    txn->retry_count = 6;
    return txn;
}

static void test_create_take_gives_the_same(void **state)
{
    struct fixture *f = *state;
    struct txn *txn = nasty_new();
    struct seen created = create(f, &f->a, txn, -1);
    assert_int_equal(created.status, STORE_OK);
    assert_true(created.now_ms > 1600000000000);
    struct seen taken = take(f, &f->b, txn->gid, false);
    assert_int_equal(taken.status, STORE_OK);
    assert_same(txn, taken.txn);
    assert_int_equal(taken.txn->epoch, 2);
    assert_int_equal(taken.txn->created_ms, created.now_ms);
    assert_int_equal(taken.txn->seen_ms, taken.now_ms);
    assert_false(taken.txn->released);
    assert_false(taken.txn->branches[0].ops[OP_ACTION].dirty);
    txn_free(taken.txn);
    txn_free(txn);
}

static void test_update_reaches_the_record(void **state)
{
    struct fixture *f = *state;
    struct txn *txn = nasty_new();
    txn->revision = 1; /* attempts come with an update, or with what is stored anew */
    (void)create(f, &f->a, txn, 1000);
    txn->status = TXN_ABORTING;
    txn->revision = 2;
    txn->attempts = 0;
    txn->retry_count = 9;
    txn_set_reason(txn, slice_str("no stock"));
    txn->branches[1].ops[OP_ACTION] = (struct txn_op_record){
        .url = txn->branches[1].ops[OP_ACTION].url, .status = OP_FAILED, .dirty = true};
    struct store_note note = {SLICE_LIT("02.action"), SLICE_LIT("FAILURE"), 3, SLICE_LIT("a\nb")};
    struct store_update change = {.txn = txn,
                                  .expect = TXN_SUBMITTED,
                                  .due = {.in_ms = 1000, .release = true},
                                  .notes = &note,
                                  .note_count = 1};
    for (int i = 0; i < 2; i++) { /* sent twice: the same */
        assert_int_equal(update(f, &f->a, &change).status, STORE_OK);
        struct seen loaded = load(f, &f->b, txn->gid);
        assert_int_equal(loaded.status, STORE_OK);
        assert_same(txn, loaded.txn);
        assert_true(loaded.txn->released);
        txn_free(loaded.txn);
    }
    change.expect = TXN_ABORTING;
    txn->revision = 3;
    assert_int_equal(update(f, &f->a, &change).status, STORE_FENCED); /* released: not ours */
    txn_free(txn);
}

static void test_dirty_ops_only(void **state)
{
    struct fixture *f = *state;
    struct txn *txn = saga_new("dirty");
    (void)create(f, &f->a, txn, 1000);
    txn->revision = 1;
    txn->branches[0].ops[OP_ACTION].status = OP_SUCCEED;
    txn->branches[1].ops[OP_ACTION].status = OP_SUCCEED;
    for (size_t i = 0; i < 2; i++) {
        txn->branches[i].ops[OP_ACTION].dirty = i == 0;
    }
    struct store_update change = {.txn = txn, .expect = TXN_SUBMITTED, .due = {.in_ms = 1000}};
    assert_int_equal(update(f, &f->a, &change).status, STORE_OK);
    struct seen loaded = load(f, &f->a, txn->gid);
    assert_int_equal(loaded.txn->branches[0].ops[OP_ACTION].status, OP_SUCCEED);
    assert_int_equal(loaded.txn->branches[1].ops[OP_ACTION].status, OP_PREPARED);
    txn_free(loaded.txn);
    txn_free(txn);
}

static void test_known_gid_tells_its_state(void **state)
{
    struct fixture *f = *state;
    struct txn *txn = saga_new(nasty_gid);
    (void)create(f, &f->a, txn, 1000);
    txn->status = TXN_FAILED;
    txn->revision = 1;
    txn_set_reason(txn, slice_str("because"));
    struct store_update end = {.txn = txn, .expect = TXN_SUBMITTED};
    assert_int_equal(update(f, &f->a, &end).status, STORE_OK);
    struct txn *again = saga_new(nasty_gid);
    struct seen seen = create(f, &f->b, again, 1000);
    assert_int_equal(seen.status, STORE_EXISTS);
    assert_int_equal(seen.state, TXN_FAILED);
    assert_string_equal(seen.reason, "because");
    seen = take(f, &f->b, txn->gid, true);
    assert_int_equal(seen.status, STORE_FINISHED);
    assert_true(seen.txn->finished_ms > 0);
    assert_int_equal(seen.txn->epoch, 1);
    txn_free(seen.txn);
    seen = load(f, &f->b, txn->gid);
    assert_int_equal(seen.status, STORE_FINISHED);
    txn_free(seen.txn);
    txn_free(again);
    txn_free(txn);
}

static void test_old_owner_is_fenced(void **state)
{
    struct fixture *f = *state;
    struct txn *txn = saga_new("fenced");
    (void)create(f, &f->a, txn, -1);
    struct seen taken = take(f, &f->b, txn->gid, false);
    txn->revision = 1;
    txn->status = TXN_SUCCEED;
    struct store_update end = {.txn = txn, .expect = TXN_SUBMITTED};
    struct seen seen = update(f, &f->a, &end);
    assert_int_equal(seen.status, STORE_FENCED);
    assert_int_equal(seen.state, TXN_SUBMITTED);
    taken.txn->revision = 1;
    taken.txn->status = TXN_FAILED;
    end.txn = taken.txn;
    assert_int_equal(update(f, &f->b, &end).status, STORE_OK);
    txn_free(taken.txn);
    txn_free(txn);
}

/* A store that went back in time gives out the same epoch twice: the name must tell them apart. */
static void test_same_epoch_of_another_owner_is_fenced(void **state)
{
    struct fixture *f = *state;
    struct txn *txn = saga_new("twice");
    (void)create(f, &f->a, txn, 1000);
    txn->revision = 1;
    struct store_update change = {.txn = txn, .expect = TXN_SUBMITTED, .due = {.in_ms = 1000}};
    assert_int_equal(update(f, &f->b, &change).status, STORE_FENCED);
    txn_free(txn);
}

/* Whether another coordinator that takes the transaction is sure of how far it got; then loads. */
static bool taker_is_sure(struct fixture *f, struct side *side, struct slice gid)
{
    struct seen taken = take(f, side, gid, true);
    struct seen loaded = load(f, &f->a, gid);
    assert_int_equal(taken.status, STORE_OK);
    assert_int_equal(loaded.status, STORE_OK);
    bool sure = taken.txn->sure;
    assert_int_equal(loaded.txn->sure, sure);
    txn_free(taken.txn);
    txn_free(loaded.txn);
    return sure;
}

static void test_taker_is_sure_only_after_a_release(void **state)
{
    struct fixture *f = *state;
    struct txn *txn = saga_new("released");
    struct store_update release = {.txn = txn, .expect = TXN_SUBMITTED, .due = {.release = true}};
    saga_store(f, "released", 1000);
    txn->revision = 1;
    assert_int_equal(update(f, &f->a, &release).status, STORE_OK);
    assert_true(taker_is_sure(f, &f->b, txn->gid));
    assert_false(taker_is_sure(f, &f->a, txn->gid)); /* b did not release it */
    txn->revision = 2;
    txn->epoch = 3;
    assert_int_equal(update(f, &f->a, &release).status, STORE_OK);
    assert_false(taker_is_sure(f, &f->b, txn->gid)); /* for good */
    txn_free(txn);
}

static void test_lost_record_is_stored_again_with_its_doubt(void **state)
{
    struct fixture *f = *state;
    for (int doubt = 0; doubt < 2; doubt++) {
        struct txn *txn = saga_new(doubt ? "doubtful" : "sure");
        txn->revision = 3;
        txn->sure = !doubt;
        assert_int_equal(create(f, &f->a, txn, 1000).status, STORE_OK);
        struct seen loaded = load(f, &f->b, txn->gid);
        assert_int_equal(loaded.txn->sure, !doubt);
        txn_free(loaded.txn);
        txn_free(txn);
    }
}

static void test_not_there_and_not_due(void **state)
{
    struct fixture *f = *state;
    struct txn *txn = saga_new("elsewhere");
    txn->revision = 1;
    struct store_update change = {.txn = txn, .expect = TXN_SUBMITTED};
    assert_int_equal(take(f, &f->a, txn->gid, false).status, STORE_NOT_FOUND);
    assert_int_equal(load(f, &f->a, txn->gid).status, STORE_NOT_FOUND);
    assert_int_equal(update(f, &f->a, &change).status, STORE_NOT_FOUND);
    (void)create(f, &f->a, txn, 60000);
    assert_int_equal(take(f, &f->b, txn->gid, false).status, STORE_NOT_DUE);
    txn_free(txn);
}

static void test_gid_beyond_the_limit_is_just_unknown(void **state)
{
    struct fixture *f = *state;
    char gid[4000];
    memset(gid, 'g', sizeof(gid));
    assert_int_equal(load(f, &f->a, slice_make(gid, sizeof(gid))).status, STORE_NOT_FOUND);
}

static void test_parked_ones_come_back_as_they_were(void **state)
{
    struct fixture *f = *state;
    struct txn *txn = saga_new("stuck");
    struct store_note note = {.op = SLICE_LIT("parked"), .note = SLICE_LIT("why")};
    assert_int_equal(create(f, &f->a, txn, 60000).status, STORE_OK);
    txn->revision = 1;
    txn->attempts = 3;
    txn->branches[1].ops[OP_ACTION].parked = PARK_CONFLICT;
    struct store_update parking = {.txn = txn,
                                   .expect = TXN_SUBMITTED,
                                   .due = {.release = true, .park = true},
                                   .notes = &note,
                                   .note_count = 1};
    struct seen parked = update(f, &f->a, &parking);
    assert_int_equal(parked.status, STORE_OK);
    assert_int_equal(update(f, &f->a, &parking).status, STORE_OK);
    struct archive_backlog backlog = count_backlog(f);
    assert_int_equal(backlog.due, 0);
    assert_int_equal(backlog.parked, 1);
    assert_int_equal(take(f, &f->b, txn->gid, false).status, STORE_NOT_DUE);

    struct seen taken = take(f, &f->b, txn->gid, true);
    assert_int_equal(taken.txn->parked_ms, parked.now_ms);
    assert_int_equal(taken.txn->branches[1].ops[OP_ACTION].parked, PARK_CONFLICT);
    assert_int_equal(taken.txn->branches[0].ops[OP_ACTION].parked, PARK_NOT);
    assert_int_equal(taken.txn->attempts, 3);
    assert_true(taken.txn->sure);
    taken.txn->revision++;
    struct store_update going = {
        .txn = taken.txn, .expect = TXN_SUBMITTED, .due = {.in_ms = 60000}};
    assert_int_equal(update(f, &f->b, &going).status, STORE_OK);
    struct seen loaded = load(f, &f->a, txn->gid);
    assert_int_equal(loaded.txn->parked_ms, 0);
    assert_int_equal(loaded.txn->branches[1].ops[OP_ACTION].parked, PARK_NOT);
    assert_int_equal(count_backlog(f).parked, 0);
    txn_free(loaded.txn);
    txn_free(taken.txn);
    txn_free(txn);
}

static void test_damaged_records_are_refused(void **state)
{
    struct fixture *f = *state;
    static const struct {
        const char *command, *rest;
    } damages[] = {
        {"HSET", "status lost"}, {"HSET", "lease many"}, {"HDEL", "status"},
        {"HSET", "lease 1.-4"},  {"HDEL", "01"},         {"HSET", "01.action nonsense"},
        {"HDEL", "created"},     {"HSET", "77 x"},       {"SET", "text"},
    };
    for (size_t i = 0; i < sizeof(damages) / sizeof(damages[0]); i++) {
        char gid[32];
        snprintf(gid, sizeof(gid), "damaged%zu", i);
        saga_store(f, gid, -1);
        test_redis_ask(f->server, "%s saga:{%d}:tx:%s %s", damages[i].command,
                       redis_crc16(slice_str(gid)) % PARTITIONS, gid, damages[i].rest);
        struct seen seen = take(f, &f->b, slice_str(gid), false);
        assert_int_equal(seen.status, STORE_REFUSED);
        assert_non_null(strstr(seen.message, "damaged record: "));
        assert_null(seen.txn);
        assert_int_equal(take(f, &f->b, slice_str(gid), false).status, STORE_NOT_DUE);
    }
    assert_int_equal(count_backlog(f).parked, sizeof(damages) / sizeof(damages[0]));
}

static void test_refused_and_unknown(void **state)
{
    struct fixture *f = *state;
    struct txn *txn = saga_new("unclear");
    test_redis_ask(f->server, "CONFIG SET min-replicas-to-write 1");
    struct seen seen = create(f, &f->a, txn, 1000);
    assert_int_equal(seen.status, STORE_REFUSED);
    assert_non_null(strstr(seen.message, "NOREPLICAS"));
    test_redis_ask(f->server, "CONFIG SET min-replicas-to-write 0");
    assert_int_equal(load(f, &f->a, txn->gid).status, STORE_NOT_FOUND);
    make_impatient(f);
    test_redis_pause(f->server);
    assert_int_equal(create(f, &f->a, txn, 1000).status, STORE_UNKNOWN);
    test_redis_resume(f->server);
    txn_free(txn);
}

static void test_pending_ones_complete_when_redis_closes(void **state)
{
    struct fixture *f = *state;
    struct seen seen[3] = {{0}};
    for (int i = 0; i < 3; i++) {
        f->a.port->ops->load(f->a.port, slice_str("x"), on_store, &seen[i]);
    }
    side_close(f, &f->a);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(seen[i].count, 1);
        assert_int_equal(seen[i].status, STORE_UNKNOWN);
    }
}

struct started {
    int count;
    enum err err;
    char text[256];
};

static void on_start(void *arg, enum err err, const char *text)
{
    struct started *started = arg;
    started->count++;
    started->err = err;
    snprintf(started->text, sizeof(started->text), "%s", text);
}

static struct started start(struct fixture *f, struct side *side)
{
    struct started started = {0};
    store_redis_start(side->store, on_start, &started);
    wait_for(f->loop, started.count > 0);
    return started;
}

static void test_partitions_cannot_change(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(start(f, &f->a).err, ERR_OK);
    assert_int_equal(start(f, &f->b).err, ERR_OK);
    test_redis_ask(f->server, "HSET saga:meta partitions 8");
    struct started other = start(f, &f->b);
    assert_int_equal(other.err, ERR_CONFLICT);
    assert_non_null(strstr(other.text, "set partitions = 8"));
    test_redis_ask(f->server, "HSET saga:meta layout 9");
    other = start(f, &f->b);
    assert_int_equal(other.err, ERR_CONFLICT);
    assert_non_null(strstr(other.text, "layout 9"));
    test_redis_ask(f->server, "HSET saga:meta partitions many");
    other = start(f, &f->b);
    assert_int_equal(other.err, ERR_CONFLICT);
    assert_non_null(strstr(other.text, "damaged"));
}

static void test_scripts_may_be_flushed_at_any_time(void **state)
{
    struct fixture *f = *state;
    for (int i = 0; i < 3; i++) {
        char gid[16];
        snprintf(gid, sizeof(gid), "flushed%d", i);
        test_redis_ask(f->server, "SCRIPT FLUSH");
        saga_store(f, gid, -1);
        test_redis_ask(f->server, "SCRIPT FLUSH");
        struct seen seen = take(f, &f->b, slice_str(gid), false);
        assert_int_equal(seen.status, STORE_OK);
        txn_free(seen.txn);
    }
}

static void test_largest_saga(void **state)
{
    struct fixture *f = *state;
    static struct txn_step steps[TXN_BRANCHES_MAX];
    char *url = mem_alloc(TXN_URL_MAX);
    memset(url, 'u', TXN_URL_MAX);
    for (size_t i = 0; i < TXN_BRANCHES_MAX; i++) {
        steps[i] = (struct txn_step){.urls = {[OP_ACTION] = slice_make(url, TXN_URL_MAX),
                                              [OP_UNDO] = slice_make(url, TXN_URL_MAX)},
                                     .payload = slice_make(url, 1 + i)};
    }
    struct txn_spec spec = {.gid = SLICE_LIT("large"),
                            .trans_type = SLICE_LIT("saga"),
                            .steps = steps,
                            .step_count = TXN_BRANCHES_MAX};
    struct txn *txn = txn_new(&spec);
    assert_int_equal(create(f, &f->a, txn, -1).status, STORE_OK);
    struct seen seen = take(f, &f->a, txn->gid, false);
    assert_int_equal(seen.status, STORE_OK);
    assert_same(txn, seen.txn);
    txn_free(seen.txn);
    txn_free(txn);
    free(url);
}

#define store_test(fn) cmocka_unit_test_setup_teardown(fn, fixture_setup, fixture_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        store_test(test_create_take_gives_the_same),
        store_test(test_update_reaches_the_record),
        store_test(test_dirty_ops_only),
        store_test(test_known_gid_tells_its_state),
        store_test(test_old_owner_is_fenced),
        store_test(test_same_epoch_of_another_owner_is_fenced),
        store_test(test_taker_is_sure_only_after_a_release),
        store_test(test_lost_record_is_stored_again_with_its_doubt),
        store_test(test_not_there_and_not_due),
        store_test(test_gid_beyond_the_limit_is_just_unknown),
        store_test(test_parked_ones_come_back_as_they_were),
        store_test(test_damaged_records_are_refused),
        store_test(test_refused_and_unknown),
        store_test(test_pending_ones_complete_when_redis_closes),
        store_test(test_partitions_cannot_change),
        store_test(test_scripts_may_be_flushed_at_any_time),
        store_test(test_largest_saga),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
