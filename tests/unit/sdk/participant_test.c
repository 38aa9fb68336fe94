/* The participant: real sockets, real Redis. N1…N8 are the anomalies of the mall's acceptance list.
 */
#include "fixture.h"

#include "base/clock.h"
#include "base/rng.h"

/* ---- repeats and their order ---- */

static void n1_a_repeated_call_has_one_effect(void **state)
{
    struct world *world = *state;
    world_open(world, 5);
    assert_reply(take(world, "g", "action"), WIRE_SUCCESS, "left 4");
    assert_reply(take(world, "g", "action"), WIRE_SUCCESS, "left 4");
    assert_int_equal(stock_of(world), 4);
    assert_string_equal(rows_of(world, "g"), "action=action");
    assert_reply(take(world, "g", "compensate"), WIRE_SUCCESS, "back 1");
    assert_reply(take(world, "g", "compensate"), WIRE_SUCCESS, "back 1");
    assert_int_equal(stock_of(world), 5);
    assert_string_equal(rows_of(world, "g"), "action=action compensate=compensate");
    assert_int_equal(world->handled, 4);
    world_close(world);
}

static void n2_n3_an_empty_undo_voids_the_action_that_comes_later(void **state)
{
    struct world *world = *state;
    world_open(world, 5);
    assert_reply(take(world, "g", "compensate"), WIRE_SUCCESS, "");
    assert_string_equal(rows_of(world, "g"), "action=compensate compensate=compensate");
    assert_refused(take(world, "g", "action"), WIRE_FAILURE, "compensate came before action");
    assert_reply(take(world, "g", "compensate"), WIRE_SUCCESS, "");
    assert_int_equal(stock_of(world), 5);
    assert_string_equal(rows_of(world, "g"), "action=compensate compensate=compensate");
    world_close(world);
}

static void n4_a_lost_reply_is_repeated_though_the_stock_is_gone(void **state)
{
    struct world *world = *state;
    world_open(world, 1);
    struct wire_call call = branch_call("g", "01", "action");
    world->drop = true;
    assert_int_equal(send_call(world, &call).err, ERR_CLOSED);
    assert_int_equal(stock_of(world), 0);
    assert_reply(take(world, "g", "action"), WIRE_SUCCESS, "left 0");
    assert_int_equal(stock_of(world), 0);
    world_close(world);
}

static void a_refusal_leaves_nothing_and_its_undo_is_empty(void **state)
{
    struct world *world = *state;
    world_open(world, 0);
    assert_refused(take(world, "g", "action"), WIRE_FAILURE, "stock is 0");
    assert_string_equal(rows_of(world, "g"), "");
    assert_reply(take(world, "g", "compensate"), WIRE_SUCCESS, "");
    assert_string_equal(rows_of(world, "g"), "action=compensate compensate=compensate");
    assert_int_equal(stock_of(world), 0);
    world_close(world);
}

static void confirm_and_cancel_exclude_each_other(void **state)
{
    struct world *world = *state;
    world_open(world, 5);
    assert_reply(take(world, "g", "try"), WIRE_SUCCESS, "left 4");
    assert_reply(take(world, "g", "cancel"), WIRE_SUCCESS, "back 1");
    assert_refused(take(world, "g", "confirm"), WIRE_RESULT_CONFLICT, "cancel came before confirm");
    assert_int_equal(stock_of(world), 5);
    world_close(world);
}

static void an_empty_cancel_voids_the_try_that_comes_later(void **state)
{
    struct world *world = *state;
    world_open(world, 5);
    assert_reply(take(world, "g", "cancel"), WIRE_SUCCESS, "");
    assert_refused(take(world, "g", "try"), WIRE_FAILURE, "cancel came before try");
    assert_string_equal(rows_of(world, "g"), "cancel=cancel try=cancel");
    assert_int_equal(stock_of(world), 5);
    world_close(world);
}

/* The journal of the try is what confirm works with, once, however often it comes. */
static void a_confirm_finds_what_its_try_did(void **state)
{
    struct world *world = *state;
    world_open(world, 5);
    const char *body =
        "return barrier(function(keys, args, undo, tried)\n"
        "  if tried then redis.call('INCRBY', keys[1], tried) return ok('kept') end\n"
        "  if ARGV[4] == 'confirm' then return ok('nothing to keep') end\n"
        "  return ok('held', '7')\n"
        "end)";
    struct saga_script *good = world->stock;
    world->stock = saga_script_new("hold", body, strlen(body));
    assert_reply(take(world, "g", "try"), WIRE_SUCCESS, "held");
    assert_int_equal(stock_of(world), 5);
    assert_reply(take(world, "g", "confirm"), WIRE_SUCCESS, "kept");
    assert_reply(take(world, "g", "confirm"), WIRE_SUCCESS, "kept");
    assert_int_equal(stock_of(world), 12);
    assert_refused(take(world, "g", "cancel"), WIRE_RESULT_CONFLICT, "confirm came before cancel");
    assert_int_equal(stock_of(world), 12);
    assert_reply(take(world, "h", "confirm"), WIRE_SUCCESS, "nothing to keep"); /* without a try */
    saga_script_free(world->stock);
    world->stock = good;
    world_close(world);
}

static void an_undo_that_the_script_refuses_is_an_error_never_a_failure(void **state)
{
    struct world *world = *state;
    world_open(world, 5);
    const char *body = "return barrier(function(_, _, undo)\n"
                       "  if undo then return fail('no') end\n"
                       "  return ok()\n"
                       "end)";
    struct saga_script *good = world->stock;
    world->stock = saga_script_new("stubborn", body, strlen(body));
    assert_reply(take(world, "g", "action"), WIRE_SUCCESS, "");
    assert_refused(take(world, "g", "compensate"), WIRE_RESULT_ERROR, "must not fail");
    assert_string_equal(rows_of(world, "g"), "action=action");
    saga_script_free(world->stock);
    world->stock = good;
    world_close(world);
}

/* Either the action was first (both effects, none left) or the undo was (no effect at all). */
/* Returns whether the undo was first. */
static bool n5_check_race(struct world *world, const char *gid, const struct reply *replies,
                          size_t count)
{
    const char *rows = rows_of(world, gid);
    bool undone_first = strcmp(rows, "action=compensate compensate=compensate") == 0;
    if (!undone_first) {
        assert_string_equal(rows, "action=action compensate=compensate");
    }
    size_t done = 0;
    for (size_t i = 0; i < count; i++) {
        assert_int_equal(replies[i].err, ERR_OK);
        bool is_undo = i % 2 == 1;
        assert_true(replies[i].result == WIRE_SUCCESS ||
                    (!is_undo && replies[i].result == WIRE_FAILURE));
        done += !is_undo && replies[i].result == WIRE_SUCCESS;
    }
    assert_true((done == 0) == undone_first); /* a repeat behind the undo fails as well */
    assert_int_equal(stock_of(world), 5);
    return undone_first;
}

static void n5_action_and_undo_may_race(void **state)
{
    enum { RACES = 1000, CALLS = 4 };
    struct world *world = *state;
    struct rng rng;
    world_open(world, 5);
    char address[64];
    snprintf(address, sizeof(address), "127.0.0.1:%d", saga_port(world->saga));
    struct rpc_client *second =
        rpc_client_new(world->loop, &(struct rpc_client_conf){.address = address,
                                                              .program = "second",
                                                              .connect_timeout_ms = 3000,
                                                              .limits = rpc_limits_default});
    int undone_first = 0;
    rng_seed(&rng, 20240611);
    for (int race = 0; race < RACES; race++) {
        struct reply replies[CALLS];
        char gid[32];
        snprintf(gid, sizeof(gid), "race-%d", race);
        size_t order[CALLS] = {0, 1, 2, 3}; /* even: action, odd: compensate */
        for (size_t i = CALLS; i-- > 0;) {
            size_t j = (size_t)rng_below(&rng, i + 1);
            size_t call = order[j];
            order[j] = order[i];
            struct wire_call wire = branch_call(gid, "01", call % 2 ? "compensate" : "action");
            start(rng_below(&rng, 2) ? second : world->client, &wire, &replies[call]);
            if (rng_below(&rng, 3) == 0) {
                loop_turn(world->loop, 0);
            }
        }
        for (size_t i = 0; i < CALLS; i++) {
            wait_for(world->loop, replies[i].done);
        }
        undone_first += n5_check_race(world, gid, replies, CALLS);
    }
    assert_in_range(undone_first, RACES / 10, RACES - RACES / 10); /* both ways were raced */
    rpc_client_free(second);
    world_close(world);
}

/* ---- Redis in trouble ---- */

static void redis_away_is_an_error_that_passes(void **state)
{
    struct world *world = *state;
    world_open(world, 5);
    assert_reply(take(world, "g1", "action"), WIRE_SUCCESS, "left 4");
    test_redis_kill(world->redis);
    struct wire_call call = branch_call("g2", "01", "action");
    call.timeout_ms = 300;
    assert_refused(send_call(world, &call), WIRE_RESULT_ERROR, "redis:");
    test_redis_restart(world->redis);
    test_redis_ask(world->redis, "SET {s:1}:n 4");
    assert_reply(take(world, "g2", "action"), WIRE_SUCCESS, "left 3");
    world_close(world);
}

static void a_silent_redis_is_given_the_callers_time_only(void **state)
{
    struct world *world = *state;
    world_open(world, 5);
    assert_reply(take(world, "g1", "action"), WIRE_SUCCESS, "left 4");
    test_redis_pause(world->redis);
    struct wire_call call = branch_call("g2", "01", "action");
    call.timeout_ms = 100;
    int64_t before_ms = loop_now_ms(world->loop);
    assert_refused(send_call(world, &call), WIRE_RESULT_ERROR, "redis:");
    assert_true(loop_now_ms(world->loop) - before_ms < 2500); /* the SDK's own limit is 3 s */
    test_redis_resume(world->redis);
    assert_int_equal(take(world, "g2", "action").result, WIRE_SUCCESS);
    assert_int_equal(stock_of(world), 3);
    world_close(world);
}

static void flushed_scripts_come_back(void **state)
{
    struct world *world = *state;
    world_open(world, 5);
    assert_reply(take(world, "g1", "action"), WIRE_SUCCESS, "left 4");
    test_redis_ask(world->redis, "SCRIPT FLUSH");
    assert_reply(take(world, "g2", "action"), WIRE_SUCCESS, "left 3");
    assert_reply(take(world, "g1", "compensate"), WIRE_SUCCESS, "back 1");
    world_close(world);
}

static void a_broken_script_says_what_is_wrong(void **state)
{
    struct world *world = *state;
    world_open(world, 5);
    test_redis_ask(world->redis, "DEL {s:1}:n");
    test_redis_ask(world->redis, "LPUSH {s:1}:n x");
    assert_refused(take(world, "g", "action"), WIRE_RESULT_ERROR, "WRONGTYPE");
    assert_string_equal(rows_of(world, "g"), "");
    world_close(world);
}

/* ---- what reaches the handler ---- */

static void n8_a_call_that_names_no_branch_is_refused(void **state)
{
    struct world *world = *state;
    world_open(world, 5);
    const char *names[] = {"gid", "branch_id", "op", "trans_type"};
    for (size_t i = 0; i < 4; i++) {
        struct wire_call call = branch_call("g", "01", "action");
        struct slice *fields[] = {&call.gid, &call.branch_id, &call.op, &call.trans_type};
        char wanted[64];
        snprintf(wanted, sizeof(wanted), "%s is missing", names[i]);
        *fields[i] = (struct slice){0};
        assert_refused(send_call(world, &call), WIRE_RESULT_ERROR, wanted);
    }
    struct wire_call plain = {.method = slice_str("shop.Stock/Take"), .payload = slice_str("1")};
    assert_refused(send_call(world, &plain), WIRE_RESULT_ERROR, "gid is missing");
    assert_int_equal(world->handled, 0);
    assert_int_equal(stock_of(world), 5);
    world_close(world);
}

static void ids_that_no_coordinator_makes_are_refused(void **state)
{
    struct world *world = *state;
    world_open(world, 5);
    char longest[130];
    memset(longest, 'g', 129);
    longest[129] = '\0';
    assert_refused(take(world, longest, "action"), WIRE_RESULT_ERROR, "gid must be");
    assert_refused(take(world, "a\nb", "action"), WIRE_RESULT_ERROR, "gid must be");
    struct wire_call call = branch_call("g", "0\x7f", "action");
    assert_refused(send_call(world, &call), WIRE_RESULT_ERROR, "branch_id must be");
    assert_int_equal(world->handled, 0);
    assert_refused(take(world, "g", "destroy"), WIRE_RESULT_ERROR, "op, is 'destroy'");
    longest[128] = '\0';
    assert_reply(take(world, longest, "action"), WIRE_SUCCESS, "left 4");
    assert_reply(take(world, "{x}} 訂單/1:", "action"), WIRE_SUCCESS, "left 3");
    assert_string_equal(rows_of(world, "{x}} 訂單/1:"), "action=action");
    world_close(world);
}

static void answer_hello(void *arg, struct saga_call *call)
{
    (void)arg;
    saga_call_reply(call, SAGA_ONGOING, saga_text("hello"), NULL);
}

static void methods_are_what_they_are_registered_as(void **state)
{
    struct world *world = *state;
    world_open(world, 5);
    saga_on_request(world->saga, "shop.Stock/Read", answer_hello, NULL);
    struct wire_call call = {.method = slice_str("shop.Stock/Read")};
    assert_reply(send_call(world, &call), WIRE_ONGOING, "hello");
    struct wire_call branch = branch_call("g", "01", "action");
    branch.method = call.method;
    assert_refused(send_call(world, &branch), WIRE_RESULT_ERROR, "is not a branch");
    branch.method = slice_str("shop.Stock/take");
    assert_refused(send_call(world, &branch), WIRE_RESULT_ERROR,
                   "no such method 'shop.Stock/take'; known: shop.Stock/Take, shop.Stock/Read");
    world_close(world);
}

static void on_query_reply(void *arg, enum err err, const struct wire_message *reply,
                           const char *why)
{
    bool *done = arg;
    (void)why;
    assert_int_equal(err, ERR_OK);
    assert_int_equal(reply->kind, WIRE_ERROR);
    assert_int_equal(reply->error.code, WIRE_ERROR_INVALID);
    *done = true;
}

static void only_calls_are_served(void **state)
{
    struct world *world = *state;
    world_open(world, 5);
    bool done = false;
    rpc_client_call(world->client,
                    &(struct wire_message){.kind = WIRE_QUERY, .query_gid = slice_str("g")},
                    loop_now_ms(world->loop) + DEADLINE_MS, on_query_reply, &done);
    wait_for(world->loop, done);
    assert_reply(take(world, "g", "action"), WIRE_SUCCESS, "left 4"); /* the connection goes on */
    world_close(world);
}

struct refusal {
    bool done;
    enum wire_error_code code;
};

static void on_refusal(void *arg, enum err err, const struct wire_message *reply, const char *why)
{
    struct refusal *refusal = arg;
    (void)why;
    assert_int_equal(err, ERR_OK);
    assert_int_equal(reply->kind, WIRE_ERROR);
    *refusal = (struct refusal){true, reply->error.code};
}

/* Its program registers them when it is ready; another instance may be. */
static void without_any_method_it_is_not_there_yet(void **state)
{
    struct world *world = *state;
    char error[256] = "", address[64];
    world_open(world, 5);
    struct saga *early = saga_open(
        &(struct saga_conf){.program = "early", .listen = "127.0.0.1:0", .loop = world->loop},
        error, sizeof(error));
    assert_string_equal(error, "");
    snprintf(address, sizeof(address), "127.0.0.1:%d", saga_port(early));
    struct rpc_client *client = rpc_client_new(
        world->loop, &(struct rpc_client_conf){
                         .address = address, .program = "test", .limits = rpc_limits_default});
    struct wire_message call = {.kind = WIRE_CALL, .call = branch_call("g", "01", "action")};
    struct refusal refusal = {0};
    rpc_client_call(client, &call, loop_now_ms(world->loop) + DEADLINE_MS, on_refusal, &refusal);
    wait_for(world->loop, refusal.done);
    assert_int_equal(refusal.code, WIRE_ERROR_UNAVAILABLE);
    rpc_client_free(client);
    saga_close(early);
    world_close(world);
}

/* ---- replicas ---- */

static struct test_redis *follower_of(struct world *world)
{
    char extra[128];
    snprintf(extra, sizeof(extra), "replicaof 127.0.0.1 %d\n", test_redis_port(world->redis));
    struct test_redis *follower = test_redis_start(extra);
    wait_for(world->loop,
             strstr(test_redis_ask(world->redis, "INFO replication"), "state=online") &&
                 strstr(test_redis_ask(follower, "INFO replication"), "master_link_status:up"));
    return follower;
}

/* Again while the replica does not confirm it in time, as a coordinator does. */
static struct reply take_until_confirmed(struct world *world, const char *gid)
{
    struct reply reply = take(world, gid, "action");
    int64_t end_ms = clock_mono_ms() + DEADLINE_MS;
    while (reply.result == WIRE_RESULT_ERROR && clock_mono_ms() < end_ms) {
        reply = take(world, gid, "action");
    }
    return reply;
}

static void on_own_store(void *arg, struct saga_call *call)
{
    const struct saga_outcome *outcome = arg;
    saga_call_settle(call, outcome, saga_text("done"));
}

/* A participant whose store is not this Redis makes the outcome itself; no script has run. */
static void an_outcome_of_ones_own_is_settled_like_a_scripts(void **state)
{
    struct world *world = *state;
    static const struct {
        enum saga_verdict verdict;
        enum wire_result action, undo;
    } cases[] = {{SAGA_OK, WIRE_SUCCESS, WIRE_SUCCESS},
                 {SAGA_DUP, WIRE_SUCCESS, WIRE_SUCCESS},
                 {SAGA_NULL, WIRE_SUCCESS, WIRE_SUCCESS},
                 {SAGA_FAIL, WIRE_FAILURE, WIRE_RESULT_ERROR},
                 {SAGA_VOID, WIRE_FAILURE, WIRE_RESULT_ERROR},
                 {SAGA_CONFLICT, WIRE_RESULT_CONFLICT, WIRE_RESULT_CONFLICT},
                 {SAGA_LATE, WIRE_RESULT_CONFLICT, WIRE_RESULT_CONFLICT},
                 {SAGA_BROKEN, WIRE_RESULT_ERROR, WIRE_RESULT_ERROR}};
    world_open(world, 5);
    struct saga_outcome outcome;
    saga_on_branch(world->saga, "shop.Stock/Own", on_own_store, &outcome);
    for (size_t i = 0; i < 2 * sizeof(cases) / sizeof(cases[0]); i++) {
        struct wire_call call = branch_call("g", "01", i % 2 ? "compensate" : "action");
        enum wire_result wanted = i % 2 ? cases[i / 2].undo : cases[i / 2].action;
        call.method = slice_str("shop.Stock/Own");
        outcome = (struct saga_outcome){cases[i / 2].verdict, saga_text("my own words")};
        bool good = wanted == WIRE_SUCCESS;
        struct reply reply = send_call(world, &call);
        assert_int_equal(reply.result, wanted);
        assert_string_equal(reply.payload, good ? "done" : "");
        assert_string_equal(reply.message, good ? "" : "my own words");
    }
    world_close(world);
}

static void an_answer_waits_for_the_replica(void **state)
{
    struct world *world = *state;
    world_open_conf(world, 5,
                    &(struct saga_conf){.program = "shop",
                                        .listen = "127.0.0.1:0",
                                        .redis = test_redis_unix(world->redis),
                                        .wait_replicas = 1,
                                        .wait_timeout_ms = 1000});
    test_redis_ask(world->redis, "CONFIG SET repl-diskless-sync-delay 0");
    struct test_redis *follower = follower_of(world);
    assert_reply(take_until_confirmed(world, "g"), WIRE_SUCCESS, "left 4");
    assert_string_equal(test_redis_ask(follower, "GET {s:1}:n"), "4");
    test_redis_pause(follower);
    for (int i = 0; i < 2; i++) { /* a repeat finds it done, and waits all the same */
        assert_refused(take(world, "h", "action"), WIRE_RESULT_ERROR,
                       "only 0 of 1 replicas have confirmed it");
        assert_int_equal(stock_of(world), 3);
    }
    test_redis_resume(follower);
    assert_reply(take_until_confirmed(world, "h"), WIRE_SUCCESS, "left 3");
    assert_int_equal(stock_of(world), 3);
    world_close(world);
    test_redis_stop(follower);
}

static void on_answer(void *arg, const struct saga_redis_answer *answer)
{
    struct reply *reply = arg;
    reply->done = true;
    reply->result = answer->ok ? WIRE_SUCCESS : WIRE_RESULT_ERROR;
}

static void a_plain_script_waits_for_it_too(void **state)
{
    struct world *world = *state;
    struct saga_script *script = saga_script_new_plain("one", "return 1", strlen("return 1"));
    world_open_conf(world, 5,
                    &(struct saga_conf){.program = "shop",
                                        .redis = test_redis_unix(world->redis),
                                        .wait_replicas = 1,
                                        .wait_timeout_ms = 50});
    struct reply reply = {.done = false};
    struct saga_bytes key = saga_text("{s:1}:n");
    saga_redis_eval(world->saga, script, &key, 1, NULL, 0, on_answer, &reply);
    wait_for(world->loop, reply.done);
    assert_int_equal(reply.result, WIRE_RESULT_ERROR); /* there is no replica */
    world_close(world);
    saga_script_free(script);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(n1_a_repeated_call_has_one_effect),
        cmocka_unit_test(n2_n3_an_empty_undo_voids_the_action_that_comes_later),
        cmocka_unit_test(n4_a_lost_reply_is_repeated_though_the_stock_is_gone),
        cmocka_unit_test(a_refusal_leaves_nothing_and_its_undo_is_empty),
        cmocka_unit_test(confirm_and_cancel_exclude_each_other),
        cmocka_unit_test(an_empty_cancel_voids_the_try_that_comes_later),
        cmocka_unit_test(a_confirm_finds_what_its_try_did),
        cmocka_unit_test(an_undo_that_the_script_refuses_is_an_error_never_a_failure),
        cmocka_unit_test(n5_action_and_undo_may_race),
        cmocka_unit_test(redis_away_is_an_error_that_passes),
        cmocka_unit_test(a_silent_redis_is_given_the_callers_time_only),
        cmocka_unit_test(flushed_scripts_come_back),
        cmocka_unit_test(a_broken_script_says_what_is_wrong),
        cmocka_unit_test(n8_a_call_that_names_no_branch_is_refused),
        cmocka_unit_test(ids_that_no_coordinator_makes_are_refused),
        cmocka_unit_test(methods_are_what_they_are_registered_as),
        cmocka_unit_test(only_calls_are_served),
        cmocka_unit_test(without_any_method_it_is_not_there_yet),
        cmocka_unit_test(an_outcome_of_ones_own_is_settled_like_a_scripts),
        cmocka_unit_test(an_answer_waits_for_the_replica),
        cmocka_unit_test(a_plain_script_waits_for_it_too),
    };
    return cmocka_run_group_tests(tests, world_setup, world_teardown);
}
