/* Workflows of libsaga, against a coordinator that is played by the test. */
#include "stage.h"

static const struct saga_header tenant = {"x-tenant", "7"};

static struct saga_workflow_spec spec(void)
{
    return (struct saga_workflow_spec){.gid = saga_text("g"),
                                       .name = "trip",
                                       .data = saga_text("to Rome"),
                                       .resume = "tcp://trips/a.B/Resume",
                                       .retry_interval_ms = 5,
                                       .request_timeout_ms = 6,
                                       .headers = &tenant,
                                       .header_count = 1};
}

static struct saga_workflow *begin(struct stage *stage)
{
    struct result result = {.done = false};
    struct saga_workflow_spec s = spec();
    struct saga_workflow *flow = saga_workflow_begin(stage->saga, &s, on_answer, &result);
    assert_false(result.done);
    wait_for(stage->loop, result.done);
    assert_string_equal(result.text, "|g|prepared");
    stage->log[0] = '\0';
    return flow;
}

static struct result step_op(struct stage *stage, struct saga_workflow *flow, const char *branch_id,
                             const char *op, const char *payload)
{
    struct result result = {.done = false};
    struct saga_work work = {
        .branch_id = branch_id, .op = op, .url = stage->try_url, .payload = saga_text(payload)};
    saga_workflow_step(flow, &work, on_response, &result);
    assert_false(result.done);
    wait_for(stage->loop, result.done);
    return result;
}

static struct result step(struct stage *stage, struct saga_workflow *flow, const char *branch_id,
                          const char *payload)
{
    return step_op(stage, flow, branch_id, NULL, payload);
}

static struct result report(struct stage *stage, struct saga_workflow *flow, const char *branch_id,
                            const char *data)
{
    struct result result = {.done = false};
    struct saga_report what = {.branch_id = branch_id, .failed = false, .data = saga_text(data)};
    saga_workflow_report(flow, &what, on_answer, &result);
    wait_for(stage->loop, result.done);
    return result;
}

static struct result end(struct stage *stage, struct saga_workflow *flow, const char *failure)
{
    struct result result = {.done = false};
    stage->log[0] = '\0';
    saga_workflow_end(flow, failure, saga_text("all"), on_answer, &result);
    wait_for(stage->loop, result.done);
    return result;
}

static void steps_are_called_and_reported(void **state)
{
    (void)state;
    struct stage stage;
    stage_open(&stage);
    struct result begun = {.done = false};
    struct saga_workflow_spec s = spec();
    struct saga_workflow *flow = saga_workflow_begin(stage.saga, &s, on_answer, &begun);
    wait_for(stage.loop, begun.done);
    struct result first = step(&stage, flow, "01", "yes");
    assert_int_equal(first.result, SAGA_SUCCESS);
    assert_string_equal(first.text, "|got");
    struct result second = step(&stage, flow, "02", "no");
    assert_int_equal(second.result, SAGA_FAILURE);
    assert_string_equal(second.text, "no stock|");
    assert_int_equal(step_op(&stage, flow, "01", "compensate", "yes").result, SAGA_SUCCESS);
    assert_string_equal(stage.log,
                        "workflow g trip(to Rome) resume=tcp://trips/a.B/Resume 5/6 x-tenant:7\n"
                        "call workflow g 01 action yes tenant 7\n"
                        "register workflow g 01   got action=succeed\n"
                        "call workflow g 02 action no tenant 7\n"
                        "register workflow g 02   no stock action=failed\n"
                        "call workflow g 01 compensate yes tenant 7\n"
                        "register workflow g 01   got compensate=succeed\n");
    assert_string_equal(end(&stage, flow, "no flight").text, "|g|succeed"); /* as it is played */
    assert_string_equal(stage.log, "finish g failed (all) no flight\n");
    flow = begin(&stage);
    end(&stage, flow, NULL);
    assert_string_equal(stage.log, "finish g succeed (all) \n");
    stage_close(&stage);
}

/* Whether it was done in an earlier life, or in this one. */
static void a_step_that_was_done_is_not_called_again(void **state)
{
    (void)state;
    struct stage stage;
    stage_open(&stage);
    stage.done[0] = (struct wire_branch_op){SLICE_LIT("01"), SLICE_LIT("action"), SLICE_LIT(""),
                                            WIRE_STATUS_SUCCEED, SLICE_LIT("room 7")};
    stage.done[1] = (struct wire_branch_op){SLICE_LIT("02"), SLICE_LIT("action"), SLICE_LIT(""),
                                            WIRE_STATUS_FAILED, SLICE_LIT("full")};
    stage.done_count = 2;
    struct saga_workflow *flow = begin(&stage);
    struct result first = step(&stage, flow, "01", "yes"), second = step(&stage, flow, "02", "yes");
    assert_int_equal(first.result, SAGA_SUCCESS);
    assert_string_equal(first.text, "|room 7");
    assert_int_equal(second.result, SAGA_FAILURE);
    assert_string_equal(second.text, "full|");
    assert_string_equal(stage.log, "");
    const struct saga_op *done = saga_workflow_done(flow, "01", NULL);
    assert_string_equal(done->status, "succeed");
    assert_null(saga_workflow_done(flow, "01", "compensate"));
    assert_null(saga_workflow_done(flow, "03", NULL));
    step(&stage, flow, "03", "yes");
    stage.log[0] = '\0';
    assert_string_equal(step(&stage, flow, "03", "yes").text, "|got");
    assert_string_equal(stage.log, "");
    saga_workflow_leave(flow);
    stage_close(&stage);
}

static void what_the_program_does_itself_is_reported(void **state)
{
    (void)state;
    struct stage stage;
    stage_open(&stage);
    struct saga_workflow *flow = begin(&stage);
    assert_string_equal(report(&stage, flow, "01", "price 3").text, "|g|prepared");
    assert_string_equal(stage.log, "register workflow g 01   price 3 action=succeed\n");
    const struct saga_op *done = saga_workflow_done(flow, "01", "action");
    assert_int_equal(done->result.len, 7);
    assert_memory_equal(done->result.ptr, "price 3", 7);
    report(&stage, flow, "01", "price 3");
    assert_ptr_equal(saga_workflow_done(flow, "01", "action"), done);
    stage.refuse = WIRE_REGISTER;
    stage.code = WIRE_ERROR_CONFLICT; /* another run was faster */
    assert_int_equal(report(&stage, flow, "02", "x").error, SAGA_E_INVALID);
    assert_null(saga_workflow_done(flow, "02", NULL));
    saga_workflow_leave(flow);
    stage_close(&stage);
}

static void what_is_not_clear_is_not_reported(void **state)
{
    (void)state;
    struct stage stage;
    stage_open(&stage);
    struct saga_workflow *flow = begin(&stage);
    struct result undo = step_op(&stage, flow, "01", "compensate", "no"); /* has no choice */
    assert_int_equal(undo.error, SAGA_E_UNAVAILABLE);
    assert_int_equal(undo.result, SAGA_ERROR);
    assert_string_equal(undo.text, "no stock|");
    struct result later = step(&stage, flow, "01", "later");
    assert_int_equal(later.error, SAGA_E_UNAVAILABLE);
    assert_string_equal(later.text, "the participant has not decided yet|");
    assert_null(strstr(stage.log, "register"));
    stage.refuse = WIRE_REGISTER;
    stage.code = WIRE_ERROR_UNAVAILABLE;
    assert_int_equal(step(&stage, flow, "01", "yes").error, SAGA_E_UNAVAILABLE);
    stage.refuse = WIRE_NONE;
    stage.log[0] = '\0';
    assert_int_equal(step(&stage, flow, "01", "yes").result, SAGA_SUCCESS);
    assert_string_equal(stage.log, "call workflow g 01 action yes tenant 7\n"
                                   "register workflow g 01   got action=succeed\n");
    stage.log[0] = '\0';
    struct result lost = step(&stage, flow, "02", "drop");
    assert_int_equal(lost.error, SAGA_E_UNAVAILABLE);
    assert_int_equal(lost.result, SAGA_ERROR);
    assert_string_equal(stage.log, "call workflow g 02 action drop tenant 7\n");
    saga_workflow_leave(flow);
    stage_close(&stage);
}

/* Its report would be refused, and what it has done could never be told. */
static void what_could_not_be_reported_is_not_called(void **state)
{
    (void)state;
    static const char long_id[] =
        "01345678901234567890123456789012345678901234567890123456789012345";
    static const char long_op[] = "a12345678901234567890123456789012";
    static const struct {
        const char *id, *op, *why;
    } cases[] = {{"a1", NULL, "branch_id: 'a1' must be 1 to 64 letters"},
                 {"00", NULL, "branch_id: '00' must"},
                 {"", NULL, "branch_id: '' must"},
                 {NULL, NULL, "branch_id: '' must"},
                 {"01.02", NULL, "branch_id: '01.02' must"},
                 {long_id, NULL, "branch_id: '01"},
                 {"01", "", "op: '' must be 1 to 32 letters"},
                 {"01", "go on", "op: 'go on' must"},
                 {"01", long_op, "op: 'a1"}};
    struct stage stage;
    stage_open(&stage);
    struct saga_workflow *flow = begin(&stage);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct result result = step_op(&stage, flow, cases[i].id, cases[i].op, "yes");
        assert_int_equal(result.error, SAGA_E_INVALID);
        assert_non_null(strstr(result.text, cases[i].why));
    }
    assert_int_equal(report(&stage, flow, "a1", "x").error, SAGA_E_INVALID);
    assert_string_equal(stage.log, "");
    saga_workflow_leave(flow);
    stage_close(&stage);
}

/* A program that starts its next step when the last one answers. */
struct march {
    struct stage *stage;
    struct saga_workflow *flow;
    const char *op;
    int done, refused;
    char why[TEXT_SIZE];
};

static void march_on(struct march *march);

static void on_march(void *arg, const struct saga_response *response)
{
    struct march *march = arg;
    if (response->error == SAGA_E_NONE) {
        march->done++;
        march_on(march);
        return;
    }
    assert_int_equal(response->error, SAGA_E_INVALID);
    snprintf(march->why, sizeof(march->why), "%s", response->message);
    march->refused = march->done + 1;
}

static void march_on(struct march *march)
{
    char id[16];
    snprintf(id, sizeof(id), "%02d", march->done + 1);
    march->stage->log[0] = '\0';
    struct saga_work work = {.branch_id = id,
                             .op = march->op,
                             .url = march->stage->try_url,
                             .payload = saga_text("yes")};
    saga_workflow_step(march->flow, &work, on_march, march);
}

static void there_is_room_for_the_way_back(void **state)
{
    (void)state;
    static const struct {
        const char *op, *why;
        int most;
    } cases[] = {{"action", "a workflow has at most 100 steps, besides undos", 100},
                 {"compensate", "a workflow has at most 200 undos, confirms and commits", 200}};
    struct stage stage;
    stage_open(&stage);
    struct saga_workflow *flow = begin(&stage);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct march march = {.stage = &stage, .flow = flow, .op = cases[i].op};
        march_on(&march);
        wait_for(stage.loop, march.refused > 0);
        assert_int_equal(march.done, cases[i].most);
        assert_non_null(strstr(march.why, cases[i].why));
        assert_string_equal(stage.log, ""); /* it was not called */
    }
    assert_int_equal(step(&stage, flow, "100", "yes").result, SAGA_SUCCESS); /* is known */
    assert_int_equal(report(&stage, flow, "100", "got").error, SAGA_E_NONE);
    assert_int_equal(report(&stage, flow, "101", "got").error, SAGA_E_INVALID);
    saga_workflow_leave(flow);
    stage_close(&stage);
}

static void steps_that_are_under_way_count(void **state)
{
    (void)state;
    enum { STEPS = 102 };
    struct result results[STEPS] = {{.done = false}};
    struct stage stage;
    stage_open(&stage);
    struct saga_workflow *flow = begin(&stage);
    for (int i = 0; i < STEPS; i++) {
        char id[16];
        snprintf(id, sizeof(id), "%02d", i + 1);
        struct saga_work work = {
            .branch_id = id, .url = stage.try_url, .payload = saga_text(i == 0 ? "later" : "yes")};
        saga_workflow_step(flow, &work, on_response, &results[i]);
    }
    int refused = 0;
    for (int i = 0; i < STEPS; i++) {
        wait_for(stage.loop, results[i].done);
        refused += results[i].error == SAGA_E_INVALID;
    }
    assert_int_equal(refused, 2);
    assert_int_equal(results[STEPS - 1].error, SAGA_E_INVALID);
    assert_int_not_equal(results[0].error, SAGA_E_NONE); /* its room is free again */
    assert_int_equal(step(&stage, flow, "01", "yes").result, SAGA_SUCCESS);
    saga_workflow_leave(flow);
    stage_close(&stage);
}

static void a_reply_that_cannot_be_kept_is_told_and_not_reported(void **state)
{
    (void)state;
    struct stage stage;
    stage_open(&stage);
    struct saga_workflow *flow = begin(&stage);
    struct result action = step(&stage, flow, "01", "big");
    assert_int_equal(action.error, SAGA_E_INVALID);
    assert_non_null(strstr(action.text, "done, but its reply of 262145 bytes cannot be kept"));
    assert_null(strstr(stage.log, "register "));
    assert_int_equal(report(&stage, flow, "01", "its number").error, SAGA_E_NONE);
    assert_string_equal(step(&stage, flow, "01", "big").text, "|its number");
    stage.log[0] = '\0';
    assert_int_equal(step_op(&stage, flow, "01", "compensate", "big").result, SAGA_SUCCESS);
    assert_non_null(strstr(stage.log, "register workflow g 01    compensate=succeed\n"));
    saga_workflow_leave(flow);
    stage_close(&stage);
}

static void all_replies_together_have_a_limit(void **state)
{
    (void)state;
    struct stage stage;
    stage_open(&stage);
    struct saga_workflow *flow = begin(&stage);
    for (int i = 0; i < 4; i++) {
        char id[16];
        snprintf(id, sizeof(id), "%02d", i + 1);
        assert_int_equal(step(&stage, flow, id, "fill").result, SAGA_SUCCESS);
    }
    assert_int_equal(step(&stage, flow, "05", "yes").error, SAGA_E_INVALID);
    struct result refusal = step(&stage, flow, "05", "no"); /* of which the word must be kept */
    assert_int_equal(refusal.result, SAGA_FAILURE);
    assert_string_equal(refusal.text, "|");
    assert_int_equal(step_op(&stage, flow, "05", "compensate", "yes").result, SAGA_SUCCESS);
    saga_workflow_leave(flow);
    stage_close(&stage);
}

static void one_that_has_ended_is_only_told(void **state)
{
    (void)state;
    struct stage stage;
    stage_open(&stage);
    stage.workflow_status = WIRE_STATUS_FAILED;
    stage.workflow_result = slice_str("stayed");
    struct result result = {.done = false};
    struct saga_workflow_spec s = spec();
    saga_workflow_begin(stage.saga, &s, on_answer, &result);
    wait_for(stage.loop, result.done);
    assert_string_equal(result.text, "|g|failed (stayed)");
    stage_close(&stage);
}

static void an_end_that_is_refused_or_not_known(void **state)
{
    (void)state;
    struct stage stage;
    stage_open(&stage);
    struct saga_workflow *flow = begin(&stage);
    stage.refuse = WIRE_FINISH;
    stage.code = WIRE_ERROR_UNAVAILABLE;
    assert_int_equal(end(&stage, flow, NULL).error, SAGA_E_UNAVAILABLE);
    flow = begin(&stage);             /* once more */
    stage.code = WIRE_ERROR_CONFLICT; /* another run has ended it otherwise */
    assert_int_equal(end(&stage, flow, NULL).error, SAGA_E_INVALID);
    stage_close(&stage);
}

static void what_is_wrong_is_refused(void **state)
{
    (void)state;
    struct stage stage;
    stage_open(&stage);
    struct saga_workflow_spec bad[] = {spec(), spec(), spec(), spec(), spec()};
    bad[0].gid = saga_text("");
    bad[1].name = NULL;
    bad[2].retry_interval_ms = -1;
    bad[3].request_timeout_ms = -1;
    bad[4].header_count = 33;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct result result = {.done = false};
        saga_workflow_begin(stage.saga, &bad[i], on_answer, &result);
        wait_for(stage.loop, result.done);
        assert_int_equal(result.error, SAGA_E_INVALID);
    }
    assert_string_equal(stage.log, "");
    struct saga_workflow *flow = begin(&stage);
    static const char *const urls[] = {"tcp://stock/a.B/C", "http://h:1/t", "", NULL};
    for (size_t i = 0; i < sizeof(urls) / sizeof(urls[0]); i++) {
        struct result result = {.done = false};
        struct saga_work work = {.branch_id = "01", .url = urls[i]};
        saga_workflow_step(flow, &work, on_response, &result);
        wait_for(stage.loop, result.done);
        assert_int_equal(result.error, SAGA_E_INVALID);
        assert_int_equal(result.result, SAGA_ERROR);
        assert_non_null(strstr(result.text, "tcp://HOST:PORT/"));
    }
    saga_workflow_leave(flow);
    assert_string_equal(stage.log, "");
    stage_close(&stage);
}

struct within {
    struct saga_workflow *flow;
    struct result result;
};

static void leave_from_within(void *arg, const struct saga_response *response)
{
    struct within *within = arg;
    saga_workflow_leave(within->flow);
    on_response(&within->result, response);
}

/* A flow is left while it answers, and a step before begin has answered: nothing is left behind
 * (the sanitizers look), and every callback comes. */
static void leaving_and_closing_at_any_time(void **state)
{
    (void)state;
    struct stage stage;
    stage_open(&stage);
    struct within within = {.flow = begin(&stage)};
    struct saga_work work = {.branch_id = "01", .url = stage.try_url, .payload = saga_text("yes")};
    saga_workflow_step(within.flow, &work, leave_from_within, &within);
    wait_for(stage.loop, within.result.done);
    assert_string_equal(within.result.text, "|got");

    struct result early = {.done = false}, begun = {.done = false}, known = {.done = false};
    struct result open = {.done = false}, ended = {.done = false};
    struct saga_workflow *flow = begin(&stage);
    step(&stage, flow, "01", "yes");
    saga_workflow_step(flow, &work, on_response, &known);
    work.branch_id = "02";
    saga_workflow_step(flow, &work, on_response, &open);
    saga_workflow_end(flow, NULL, saga_text(""), on_answer, &ended);
    struct saga_workflow_spec s = spec();
    struct saga_workflow *second = saga_workflow_begin(stage.saga, &s, on_answer, &begun);
    saga_workflow_step(second, &work, on_response, &early);
    saga_close(stage.saga);
    stage.saga = NULL;
    loop_turn(stage.loop, 0);
    assert_int_equal(known.result, SAGA_SUCCESS);
    assert_int_equal(open.error, SAGA_E_CANCELLED);
    assert_int_equal(ended.error, SAGA_E_CANCELLED);
    assert_int_equal(begun.error, SAGA_E_CANCELLED);
    assert_int_equal(early.error, SAGA_E_INVALID); /* begin has not answered */
    stage_close(&stage);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(steps_are_called_and_reported),
        cmocka_unit_test(a_step_that_was_done_is_not_called_again),
        cmocka_unit_test(what_the_program_does_itself_is_reported),
        cmocka_unit_test(what_is_not_clear_is_not_reported),
        cmocka_unit_test(what_could_not_be_reported_is_not_called),
        cmocka_unit_test(there_is_room_for_the_way_back),
        cmocka_unit_test(steps_that_are_under_way_count),
        cmocka_unit_test(a_reply_that_cannot_be_kept_is_told_and_not_reported),
        cmocka_unit_test(all_replies_together_have_a_limit),
        cmocka_unit_test(one_that_has_ended_is_only_told),
        cmocka_unit_test(an_end_that_is_refused_or_not_known),
        cmocka_unit_test(what_is_wrong_is_refused),
        cmocka_unit_test(leaving_and_closing_at_any_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
