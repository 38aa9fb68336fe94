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

/* ---- stored anew ---- */

/* All fields but two: what happened is lost with the record, and `updated` is the time of this. */
static void record_show(struct fixture *f, struct slice gid, char out[2048])
{
    char key[128];
    snprintf(key, sizeof(key), "saga:{%d}:tx:%.*s", redis_crc16(gid) % PARTITIONS, SLICE_ARG(gid));
    const char *const show[] = {"EVAL",
                                "local flat, lines = redis.call('HGETALL', KEYS[1]), {} "
                                "for i = 1, #flat, 2 do "
                                "    if flat[i] ~= 'history' and flat[i] ~= 'updated' then "
                                "        lines[#lines + 1] = flat[i] .. '=' .. flat[i + 1] "
                                "    end "
                                "end "
                                "table.sort(lines) return table.concat(lines, '; ')",
                                "1", key};
    snprintf(out, 2048, "%s", test_redis_askv(f->server, show, sizeof(show) / sizeof(show[0])));
}

static void add_branch(struct fixture *f, const struct txn *txn, struct store_branch branch)
{
    struct seen seen = {0};
    branch.type = txn->type;
    f->a.port->ops->add_branch(f->a.port, txn->gid, &branch, on_store, &seen);
    wait_for(f->loop, seen.count > 0);
    assert_int_equal(seen.status, STORE_OK);
}

/* Two branches whose ids do not tell their order; of a workflow two steps. */
static void register_two(struct fixture *f, const struct txn *txn)
{
    struct store_branch branch = {.payload = SLICE_LIT("a payload b"), .status = OP_SUCCEED};
    if (txn->type == TXN_WORKFLOW) {
        branch.op = slice_str("action");
    } else {
        branch.urls[OP_CONFIRM] = slice_str("http://h/yes");
        branch.urls[OP_UNDO] = slice_str("http://h/no");
    }
    branch.id = slice_str("0101");
    add_branch(f, txn, branch);
    branch.id = slice_str("01");
    branch.op = slice_str(txn->type == TXN_WORKFLOW ? "compensate" : NULL); /* counted apart */
    add_branch(f, txn, branch);
}

/* Steps of types that declare them; the others are prepared, and their branches registered. */
static struct txn *any_new(enum txn_type type, bool declared)
{
    static const struct txn_header header = {SLICE_LIT("X-B"), SLICE_LIT("of one branch")};
    static const uint8_t first[] = {0};
    struct txn_step steps[] = {
        {.urls = {[OP_ACTION] = SLICE_LIT("http://h/a")}, .headers = &header, .header_count = 1},
        {.urls = {[OP_ACTION] = SLICE_LIT("http://h/b")},
         .payload = SLICE_LIT("b"),
         .request_timeout_ms = 7,
         .retry_interval_ms = 8},
    };
    if (type == TXN_SAGA) {
        steps[1].after = first;
        steps[1].after_count = 1;
    }
    struct txn_spec spec = {.prepare = !declared,
                            .gid = slice_str(txn_type_name(type)),
                            .trans_type = slice_str(txn_type_name(type)),
                            .custom_data = SLICE_LIT("{}"),
                            .steps = steps,
                            .step_count = declared ? 2 : 0};
    spec.options.declared = declared && type == TXN_TCC;
    if (type == TXN_MSG || type == TXN_WORKFLOW) {
        spec.query_prepared = slice_str("http://h/check");
    }
    if (type == TXN_WORKFLOW) {
        spec.workflow = slice_str("ship");
        spec.workflow_data = slice_str("input");
    }
    return txn_new(&spec);
}

/* An update in the midst of it: something is done, something failed, an operator has left a note.
 */
static void go_on(struct fixture *f, struct txn *txn)
{
    enum txn_status expect = txn->status;
    txn->status = TXN_ABORTING;
    txn->revision++;
    txn->attempts = 2;
    txn->retry_count = 3;
    txn_set_reason(txn, slice_str("no stock"));
    txn->result = slice_str(txn->type == TXN_WORKFLOW ? "its result" : "");
    for (size_t i = 0; i < txn->branch_count; i++) {
        struct txn_branch *branch = &txn->branches[i];
        enum txn_op op = branch->ops[OP_ACTION].url.len > 0 ? OP_ACTION : OP_UNDO;
        branch->ops[op].status = i == 0 ? OP_SUCCEED : OP_FAILED;
        branch->ops[op].dirty = true;
        branch->result = slice_str(op == OP_ACTION ? "what it answered" : "");
    }
    struct store_update change = {.txn = txn, .expect = expect, .due = {.in_ms = 60000}};
    assert_int_equal(update(f, &f->a, &change).status, STORE_OK);
    test_redis_ask(f->server, "HSET saga:{%d}:tx:%.*s note by-hand",
                   redis_crc16(txn->gid) % PARTITIONS, SLICE_ARG(txn->gid));
}

/* The store lost the record after a coordinator had taken it. */
static void lose_and_store_anew(struct fixture *f, struct txn *txn)
{
    char lost[2048], anew[2048];
    struct seen taken = take(f, &f->a, txn->gid, true);
    assert_int_equal(taken.status, STORE_OK);
    record_show(f, txn->gid, lost);
    test_redis_ask(f->server, "FLUSHALL");
    assert_int_equal(create(f, &f->a, taken.txn, 60000).status, STORE_OK);
    record_show(f, txn->gid, anew);
    assert_string_equal(anew, lost);
    struct seen loaded = load(f, &f->b, txn->gid);
    assert_int_equal(loaded.status, STORE_OK);
    assert_same(taken.txn, loaded.txn);
    assert_true(loaded.txn->updated_ms >= loaded.now_ms - 10000);
    txn_free(loaded.txn);
    txn_free(taken.txn);
}

static void test_lost_record_is_stored_again_as_it_was(void **state)
{
    struct fixture *f = *state;
    for (int type = TXN_SAGA; type <= TXN_WORKFLOW; type++) {
        for (int declared = 0; declared < 2; declared++) {
            bool can_be = type == TXN_TCC || declared == (type == TXN_SAGA || type == TXN_MSG);
            if (!can_be) {
                continue;
            }
            struct txn *txn = any_new((enum txn_type)type, declared);
            txn->created_ms = 1000; /* long ago */
            struct seen seen = {0};
            struct store_due due = {.in_ms = 60000, .release = true};
            f->a.port->ops->create(f->a.port, txn, due, on_store, &seen);
            wait_for(f->loop, seen.count > 0);
            if (!declared) {
                register_two(f, txn);
            }
            seen = take(f, &f->a, txn->gid, true);
            go_on(f, seen.txn);
            lose_and_store_anew(f, seen.txn);
            txn_free(seen.txn);
            txn_free(txn);
        }
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
        store_test(test_lost_record_is_stored_again_as_it_was),
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
