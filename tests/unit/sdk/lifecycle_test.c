/* Opening, closing, Redis outside transactions, and misuse: every callback comes exactly once. */
#include "fixture.h"

#include "base/clock.h"

#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

/* ---- opening ---- */

static void opening_says_what_is_wrong(void **state)
{
    (void)state;
    char error[256] = "";
    assert_null(saga_open(&(struct saga_conf){.listen = "127.0.0.1:0"}, error, sizeof(error)));
    assert_non_null(strstr(error, "program is missing"));
    assert_null(
        saga_open(&(struct saga_conf){.program = "p", .timeout_ms = -1}, error, sizeof(error)));
    assert_non_null(strstr(error, "must not be negative"));
    assert_null(saga_open(&(struct saga_conf){.program = "p", .timeout_ms = INT64_MAX}, error,
                          sizeof(error)));
    assert_non_null(strstr(error, "timeout_ms must be 604800000 (7 days) at most"));
    assert_null(
        saga_open(&(struct saga_conf){.program = "p", .listen = "nonsense"}, error, sizeof(error)));
    assert_non_null(strstr(error, "nonsense"));
    assert_null(
        saga_open(&(struct saga_conf){.program = "p", .wait_replicas = 17}, error, sizeof(error)));
    assert_non_null(strstr(error, "wait_replicas = 17: must be 0 to 16"));
    assert_null(saga_open(
        &(struct saga_conf){
            .program = "p", .timeout_ms = 1000, .wait_replicas = 1, .wait_timeout_ms = 334},
        error, sizeof(error)));
    assert_non_null(strstr(error, "wait_timeout_ms = 334: must be a third of timeout_ms = 1000"));
}

static void two_cannot_listen_on_one_port(void **state)
{
    (void)state;
    char error[256] = "", address[64];
    struct saga *first = saga_open(&(struct saga_conf){.program = "p", .listen = "127.0.0.1:0"},
                                   error, sizeof(error));
    assert_non_null(first);
    snprintf(address, sizeof(address), "127.0.0.1:%d", saga_port(first));
    assert_null(
        saga_open(&(struct saga_conf){.program = "p", .listen = address}, error, sizeof(error)));
    assert_non_null(strstr(error, address));
    saga_close(first);
    struct saga *second =
        saga_open(&(struct saga_conf){.program = "p", .listen = address}, error, sizeof(error));
    assert_non_null(second);
    saga_close(second);
}

static void a_signal_ends_the_run(void **state)
{
    (void)state;
    char error[256] = "";
    struct saga *saga = saga_open(&(struct saga_conf){.program = "p", .listen = "127.0.0.1:0"},
                                  error, sizeof(error));
    saga_stop_on(saga, SIGUSR1);
    raise(SIGUSR1);
    saga_run(saga); /* hangs, and the test times out, when the signal is lost */
    saga_close(saga);
}

/* ---- calls in flight ---- */

static void a_call_survives_its_connection(void **state)
{
    struct world *world = *state;
    world_open(world, 5);
    assert_reply(take(world, "g1", "action"), WIRE_SUCCESS, "left 4"); /* connected */
    struct wire_call call = branch_call("g2", "01", "action");
    struct reply reply;
    test_redis_pause(world->redis); /* so that the script is in flight when the caller goes */
    start(world->client, &call, &reply);
    wait_for(world->loop, world->handled >= 2);
    rpc_client_free(world->client);
    loop_turn(world->loop, 0);
    assert_true(reply.done);
    assert_int_equal(reply.err, ERR_CANCELLED);
    test_redis_resume(world->redis);
    wait_for(world->loop, stock_of(world) == 3);
    saga_close(world->saga);
    loop_turn(world->loop, 0);
    loop_free(world->loop);
}

struct outcomes {
    int count;
    enum saga_verdict verdict;
    char text[256];
};

static void keep_outcome(void *arg, struct saga_call *call, const struct saga_outcome *outcome)
{
    struct outcomes *outcomes = arg;
    outcomes->count++;
    outcomes->verdict = outcome->verdict;
    snprintf(outcomes->text, sizeof(outcomes->text), "%.*s", (int)outcome->text.len,
             outcome->text.ptr);
    assert_memory_equal(saga_call_branch_id(call).ptr, "01", 2); /* still readable */
    saga_call_settle(call, outcome, outcome->text);
}

struct eval_plan {
    struct saga_eval eval;
    struct outcomes outcomes;
    int handled;
};

static void run_plan(void *arg, struct saga_call *call)
{
    struct eval_plan *plan = arg;
    plan->handled++;
    plan->eval.done = keep_outcome;
    plan->eval.arg = &plan->outcomes;
    saga_call_eval(call, &plan->eval);
}

static void closing_ends_what_is_in_flight_once(void **state)
{
    struct world *world = *state;
    struct eval_plan plan = {.eval = {.script = world->stock, .tag = "{s:1}"}};
    struct reply replies[20];
    world_open(world, 5);
    assert_reply(take(world, "g", "action"), WIRE_SUCCESS, "left 4");
    saga_on_branch(world->saga, "shop.Stock/Plan", run_plan, &plan);
    struct wire_call call = branch_call("g2", "01", "action");
    call.method = slice_str("shop.Stock/Plan");
    test_redis_pause(world->redis);
    for (int i = 0; i < 20; i++) {
        start(world->client, &call, &replies[i]);
    }
    wait_for(world->loop, plan.handled >= 20);
    assert_int_equal(plan.outcomes.count, 0);
    saga_close(world->saga);
    assert_int_equal(plan.outcomes.count, 0); /* never from inside */
    loop_turn(world->loop, 0);
    assert_int_equal(plan.outcomes.count, 20);
    assert_int_equal(plan.outcomes.verdict, SAGA_BROKEN);
    for (int i = 0; i < 20; i++) {
        wait_for(world->loop, replies[i].done);
    }
    test_redis_resume(world->redis);
    rpc_client_free(world->client);
    loop_free(world->loop);
}

static void never_answer(void *arg, struct saga_call *call)
{
    int *count = arg;
    (void)call;
    (*count)++;
}

static void closing_drops_calls_that_nobody_answered(void **state)
{
    struct world *world = *state;
    int count = 0;
    struct reply reply;
    world_open(world, 5);
    saga_on_branch(world->saga, "shop.Stock/Hang", never_answer, &count);
    struct wire_call call = branch_call("g", "01", "action");
    call.method = slice_str("shop.Stock/Hang");
    start(world->client, &call, &reply);
    wait_for(world->loop, count >= 1);
    saga_close(world->saga);
    wait_for(world->loop, reply.done);
    assert_int_equal(reply.err, ERR_CLOSED);
    rpc_client_free(world->client);
    loop_free(world->loop);
}

/* ---- misuse is an error reply, later ---- */

static void expect_broken(struct world *world, struct eval_plan plan, const char *part)
{
    saga_on_branch(world->saga, "shop.Stock/Plan", run_plan, &plan);
    struct wire_call call = branch_call("g", "01", "action");
    call.method = slice_str("shop.Stock/Plan");
    assert_refused(send_call(world, &call), WIRE_RESULT_ERROR, part);
    assert_int_equal(plan.outcomes.count, 1);
    assert_int_equal(plan.outcomes.verdict, SAGA_BROKEN);
}

static void a_wrong_eval_is_refused(void **state)
{
    struct world *world = *state;
    world_open(world, 5);
    const char *tags[] = {NULL, "", "{}", "prd:1", "{prd:1", "{a}b", "x{a}", "{a}b}"};
    for (size_t i = 0; i < sizeof(tags) / sizeof(tags[0]); i++) {
        expect_broken(world, (struct eval_plan){.eval = {.script = world->stock, .tag = tags[i]}},
                      "must be a hash tag");
    }
    struct saga_script *plain = saga_script_new_plain("plain", "return 1", 8);
    expect_broken(world, (struct eval_plan){.eval = {.script = plain, .tag = "{a}"}},
                  "has no gate");
    struct saga_bytes foreign = saga_text("{s:2}:n");
    expect_broken(
        world,
        (struct eval_plan){
            .eval = {.script = world->stock, .tag = "{s:1}", .keys = &foreign, .key_count = 1}},
        "must begin with the tag {s:1}");
    saga_script_free(plain);
    world_close(world);
}

static void without_redis_scripts_are_refused(void **state)
{
    struct world *world = *state;
    world_open_conf(world, 5, &(struct saga_conf){.program = "p", .listen = "127.0.0.1:0"});
    expect_broken(world, (struct eval_plan){.eval = {.script = world->stock, .tag = "{a}"}},
                  "has no Redis");
    world_close(world);
}

/* ---- several scripts in one call ---- */

static void second_done(void *arg, struct saga_call *call, const struct saga_outcome *outcome)
{
    (void)arg;
    saga_call_settle(call, outcome, outcome->text);
}

static void first_done(void *arg, struct saga_call *call, const struct saga_outcome *outcome)
{
    struct saga_eval *eval = arg;
    assert_true(outcome->verdict != SAGA_BROKEN);
    eval->done = second_done;
    saga_call_eval(call, eval);
}

static void run_twice(void *arg, struct saga_call *call)
{
    struct saga_eval *eval = arg;
    eval->done = first_done;
    eval->arg = eval;
    saga_call_eval(call, eval);
}

static void scripts_of_one_call_have_barriers_of_their_own(void **state)
{
    struct world *world = *state;
    world_open(world, 5);
    struct saga_bytes key = saga_text("{s:1}:n"), num = saga_text("2");
    struct saga_eval eval = {.script = world->stock,
                             .tag = "{s:1}",
                             .keys = &key,
                             .key_count = 1,
                             .args = &num,
                             .arg_count = 1};
    saga_on_branch(world->saga, "shop.Stock/Twice", run_twice, &eval);
    struct wire_call call = branch_call("g", "01", "action");
    call.method = slice_str("shop.Stock/Twice");
    for (int i = 0; i < 2; i++) {
        assert_reply(send_call(world, &call), WIRE_SUCCESS, "left 1");
        assert_int_equal(stock_of(world), 1);
    }
    call.op = slice_str("compensate");
    for (int i = 0; i < 2; i++) {
        assert_reply(send_call(world, &call), WIRE_SUCCESS, "back 2");
        assert_int_equal(stock_of(world), 5);
    }
    world_close(world);
}

/* ---- lateness is told to the operator ---- */

static void a_late_undo_is_a_conflict_with_an_alert(void **state)
{
    struct world *world = *state;
    char path[128], line[4096] = "";
    world_open_conf(world, 5,
                    &(struct saga_conf){.program = "shop",
                                        .listen = "127.0.0.1:0",
                                        .barrier_ttl_ms = 100000,
                                        .redis = test_redis_unix(world->redis)});
    snprintf(path, sizeof(path), "%s/stderr", test_redis_dir(world->redis));
    int file = open(path, O_CREAT | O_RDWR | O_CLOEXEC, 0600);
    int saved = dup(STDERR_FILENO);
    assert_true(file >= 0 && saved >= 0 && dup2(file, STDERR_FILENO) >= 0);
    struct wire_call call = branch_call("g\"x", "01", "compensate");
    call.started_ms = clock_wall_ms() - 95000; /* beyond nine tenths of the barrier's life */
    struct reply late = send_call(world, &call);
    dup2(saved, STDERR_FILENO);
    close(saved);
    assert_true(pread(file, line, sizeof(line) - 1, 0) > 0);
    close(file);
    assert_refused(late, WIRE_RESULT_CONFLICT, "compensate without a record of action");
    assert_non_null(strstr(line, "level=error"));
    assert_non_null(strstr(line, "alert: a record of the barrier may have expired"));
    assert_non_null(strstr(line, "gid=\"g'x\""));
    assert_string_equal(rows_of(world, "g\"x"), "");
    call.started_ms = clock_wall_ms() - 50000;
    assert_reply(send_call(world, &call), WIRE_SUCCESS, "");
    world_close(world);
}

/* ---- Redis outside transactions ---- */

struct store_reply {
    bool done;
    bool ok;
    bool temporary;
    char text[256];
};

static void on_store(void *arg, const struct saga_redis_answer *answer)
{
    struct store_reply *reply = arg;
    assert_false(reply->done);
    reply->done = true;
    reply->ok = answer->ok;
    reply->temporary = answer->temporary;
    struct saga_bytes text =
        answer->ok ? saga_value_bytes(answer->value) : saga_text(answer->error);
    if (answer->ok && saga_value_type(answer->value) == SAGA_VALUE_ARRAY) {
        assert_int_equal(saga_value_count(answer->value), 4);
        assert_int_equal(saga_value_int(saga_value_at(answer->value, 1)), 7);
        text = saga_value_bytes(saga_value_field(answer->value, "b"));
        assert_null(saga_value_field(answer->value, "c"));
    }
    snprintf(reply->text, sizeof(reply->text), "%.*s", (int)text.len, text.ptr ? text.ptr : "");
}

static void commands_and_plain_scripts_answer(void **state)
{
    struct world *world = *state;
    world_open(world, 5);
    struct store_reply reply = {.done = false};
    struct saga_bytes get[] = {saga_text("GET"), saga_text("{s:1}:n")};
    saga_redis_command(world->saga, get, 2, on_store, &reply);
    assert_false(reply.done);
    wait_for(world->loop, reply.done);
    assert_true(reply.ok);
    assert_string_equal(reply.text, "5");

    const char *body = "return {'a', 7, 'b', KEYS[1] .. ARGV[1]}";
    struct saga_script *script = saga_script_new_plain("array", body, strlen(body));
    struct saga_bytes key = saga_text("{s:1}:k"), arg = saga_text("-arg");
    reply = (struct store_reply){.done = false};
    saga_redis_eval(world->saga, script, &key, 1, &arg, 1, on_store, &reply);
    wait_for(world->loop, reply.done);
    assert_true(reply.ok);
    assert_string_equal(reply.text, "{s:1}:k-arg");

    reply = (struct store_reply){.done = false};
    saga_redis_eval(world->saga, world->stock, &key, 1, &arg, 1, on_store, &reply);
    wait_for(world->loop, reply.done);
    assert_false(reply.ok);
    assert_non_null(strstr(reply.text, "use saga_call_eval"));

    struct saga_bytes wrong[] = {saga_text("LPUSH"), saga_text("{s:1}:n"), saga_text("x")};
    reply = (struct store_reply){.done = false};
    saga_redis_command(world->saga, wrong, 3, on_store, &reply);
    wait_for(world->loop, reply.done);
    assert_false(reply.ok || reply.temporary);
    assert_non_null(strstr(reply.text, "WRONGTYPE"));
    saga_script_free(script);
    world_close(world);
}

static void closing_cancels_commands(void **state)
{
    (void)state;
    struct store_reply first = {.done = false}, second = {.done = false};
    char error[64];
    struct saga *saga = saga_open(&(struct saga_conf){.program = "p", .redis = "127.0.0.1:1"},
                                  error, sizeof(error)); /* nobody listens there */
    struct saga_bytes ping = saga_text("PING");
    saga_redis_command(saga, &ping, 1, on_store, &first);
    saga_redis_command(saga, NULL, 0, on_store, &second);
    assert_false(first.done || second.done);
    saga_close(saga);
    assert_true(first.done && second.done);
    assert_false(first.ok || second.ok || second.temporary);
}

static void a_script_is_gate_and_body_with_the_servers_sha(void **state)
{
    struct world *world = *state;
    const char *text = saga_script_text(world->stock);
    const char *sha = test_redis_askv(world->redis, (const char *[]){"SCRIPT", "LOAD", text}, 3);
    assert_string_equal(sha, saga_script_sha1(world->stock));
    assert_non_null(strstr(text, "local function barrier("));
    assert_string_equal(text + strlen(text) - strlen(stock_body), stock_body);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(opening_says_what_is_wrong),
        cmocka_unit_test(two_cannot_listen_on_one_port),
        cmocka_unit_test(a_signal_ends_the_run),
        cmocka_unit_test(a_call_survives_its_connection),
        cmocka_unit_test(closing_ends_what_is_in_flight_once),
        cmocka_unit_test(closing_drops_calls_that_nobody_answered),
        cmocka_unit_test(a_wrong_eval_is_refused),
        cmocka_unit_test(without_redis_scripts_are_refused),
        cmocka_unit_test(scripts_of_one_call_have_barriers_of_their_own),
        cmocka_unit_test(a_late_undo_is_a_conflict_with_an_alert),
        cmocka_unit_test(commands_and_plain_scripts_answer),
        cmocka_unit_test(closing_cancels_commands),
        cmocka_unit_test(a_script_is_gate_and_body_with_the_servers_sha),
    };
    return cmocka_run_group_tests(tests, world_setup, world_teardown);
}
