/* The change that a prepared message announces, and its check-back, on a real Redis. */
#include "fixture.h"

#include "base/clock.h"

static void on_check(void *arg, struct saga_call *call)
{
    (void)arg;
    saga_call_check_back(call, "{s:1}");
}

static void on_untagged_check(void *arg, struct saga_call *call)
{
    (void)arg;
    saga_call_check_back(call, "s");
}

static void on_wrong_check(void *arg, struct saga_call *call)
{
    struct world *world = arg;
    saga_call_eval(call, &(struct saga_eval){.script = world->stock, .tag = "{s:1}"});
}

static int five_in_stock(void **state)
{
    struct world *world = *state;
    world_open(world, 5);
    saga_on_branch(world->saga, "shop.Stock/Check", on_check, NULL);
    saga_on_branch(world->saga, "shop.Stock/CheckUntagged", on_untagged_check, NULL);
    saga_on_branch(world->saga, "shop.Stock/CheckWrongly", on_wrong_check, world);
    return 0;
}

static int leave(void **state)
{
    world_close(*state);
    return 0;
}

struct outcome {
    bool done;
    enum saga_verdict verdict;
    char text[TEXT_SIZE];
};

static void on_change(void *arg, const struct saga_outcome *outcome)
{
    struct outcome *out = arg;
    out->done = true;
    out->verdict = outcome->verdict;
    snprintf(out->text, TEXT_SIZE, "%.*s", (int)outcome->text.len, outcome->text.ptr);
}

static struct outcome change_with(struct world *world, const char *gid, struct saga_eval eval)
{
    struct outcome outcome = {.done = false};
    saga_msg_change(world->saga, saga_text(gid), &eval, on_change, &outcome);
    assert_false(outcome.done);
    wait_for(world->loop, outcome.done);
    return outcome;
}

static struct outcome change(struct world *world, const char *gid, const char *pieces)
{
    struct saga_bytes key = saga_text("{s:1}:n"), num = saga_text(pieces);
    return change_with(world, gid,
                       (struct saga_eval){.script = world->stock,
                                          .tag = "{s:1}",
                                          .keys = &key,
                                          .key_count = 1,
                                          .args = &num,
                                          .arg_count = 1});
}

static struct reply ask(struct world *world, const char *gid, const char *method)
{
    struct wire_call call = branch_call(gid, "00", "msg");
    call.trans_type = slice_str("msg");
    call.method = slice_str(method);
    return send_call(world, &call);
}

static struct reply check_back(struct world *world, const char *gid)
{
    return ask(world, gid, "shop.Stock/Check");
}

#define assert_outcome(got, wanted, wanted_text)                                                   \
    do {                                                                                           \
        struct outcome o_ = (got);                                                                 \
        assert_string_equal(o_.text, (wanted_text));                                               \
        assert_int_equal(o_.verdict, (wanted));                                                    \
    } while (0)

static void a_change_is_made_once_and_found_by_the_check_back(void **state)
{
    struct world *world = *state;
    assert_outcome(change(world, "g", "2"), SAGA_OK, "left 3");
    assert_outcome(change(world, "g", "2"), SAGA_DUP, "left 3");
    assert_reply(check_back(world, "g"), WIRE_SUCCESS, "");
    assert_reply(check_back(world, "g"), WIRE_SUCCESS, "");
    assert_outcome(change(world, "g", "2"), SAGA_DUP, "left 3");
    assert_int_equal(stock_of(world), 3);
}

static void after_the_check_back_said_no_the_change_is_void(void **state)
{
    struct world *world = *state;
    assert_refused(check_back(world, "g"), WIRE_FAILURE, "was not made, and will not be");
    assert_outcome(change(world, "g", "2"), SAGA_VOID, "rollback came before msg");
    assert_refused(check_back(world, "g"), WIRE_FAILURE, "was not made");
    assert_int_equal(stock_of(world), 5);
    assert_outcome(change(world, "another", "2"), SAGA_OK, "left 3");
}

static void a_refused_change_leaves_nothing(void **state)
{
    struct world *world = *state;
    assert_outcome(change(world, "g", "6"), SAGA_FAIL, "stock is 5");
    assert_int_equal(stock_of(world), 5);
    assert_refused(check_back(world, "g"), WIRE_FAILURE, "was not made");
    assert_outcome(change(world, "g", "1"), SAGA_VOID, "rollback came before msg");
}

static void the_record_lives_as_long_as_a_barrier(void **state)
{
    struct world *world = *state;
    long week_ms = 7L * 24 * 3600 * 1000;
    check_back(world, "asked");
    change(world, "made", "1");
    for (int i = 0; i < 2; i++) {
        const char *gid = i ? "made" : "asked";
        long ttl = strtol(test_redis_ask(world->redis, "PTTL {s:1}:br:%s:00", gid), NULL, 10);
        assert_in_range(ttl, week_ms - DEADLINE_MS, week_ms);
    }
}

static void a_question_after_the_life_of_the_record_is_a_conflict(void **state)
{
    struct world *world = *state;
    struct wire_call call = branch_call("old", "00", "msg");
    call.method = slice_str("shop.Stock/Check");
    call.started_ms = clock_wall_ms() - INT64_C(7) * 24 * 3600 * 1000;
    assert_refused(send_call(world, &call), WIRE_RESULT_CONFLICT, "may have expired");
    assert_string_equal(test_redis_ask(world->redis, "EXISTS {s:1}:br:old:00"), "0");
}

static void what_is_mixed_up_is_an_error(void **state)
{
    struct world *world = *state;
    struct wire_call action = branch_call("g", "00", "action");
    action.method = slice_str("shop.Stock/Check");
    assert_refused(send_call(world, &action), WIRE_RESULT_ERROR, "not a check-back");
    assert_refused(ask(world, "g", "shop.Stock/CheckUntagged"), WIRE_RESULT_ERROR, "hash tag");
    assert_refused(ask(world, "g", "shop.Stock/CheckWrongly"), WIRE_RESULT_ERROR,
                   "a check-back changes nothing");
    assert_outcome(change(world, "", "1"), SAGA_BROKEN, "gid is empty");
    struct saga_eval eval = {.script = world->stock, .tag = "{s:1"};
    assert_outcome(change_with(world, "g", eval), SAGA_BROKEN,
                   "the tag must be a hash tag like {prd:1}");
    assert_string_equal(test_redis_ask(world->redis, "DBSIZE"), "1");
}

static void a_change_that_is_pending_at_the_end_completes(void **state)
{
    struct world *world = *state;
    struct outcome outcome = {.done = false};
    struct saga_eval eval = {.script = world->stock, .tag = "{s:1}"};
    saga_msg_change(world->saga, saga_text("g"), &eval, on_change, &outcome);
    leave(state);
    assert_true(outcome.done);
    assert_int_equal(outcome.verdict, SAGA_BROKEN);
}

int main(void)
{
#define MSG_TEST(name) cmocka_unit_test_setup_teardown(name, five_in_stock, leave)
    const struct CMUnitTest tests[] = {
        MSG_TEST(a_change_is_made_once_and_found_by_the_check_back),
        MSG_TEST(after_the_check_back_said_no_the_change_is_void),
        MSG_TEST(a_refused_change_leaves_nothing),
        MSG_TEST(the_record_lives_as_long_as_a_barrier),
        MSG_TEST(a_question_after_the_life_of_the_record_is_a_conflict),
        MSG_TEST(what_is_mixed_up_is_an_error),
        cmocka_unit_test_setup(a_change_that_is_pending_at_the_end_completes, five_in_stock),
    };
    return cmocka_run_group_tests(tests, world_setup, world_teardown);
}
