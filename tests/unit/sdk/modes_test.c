/* More than plain sagas: concurrent ones, messages and tccs, against a coordinator that is played
 * by the test and notes what it is asked. */
#include "stage.h"

static struct result submit(struct stage *stage, const struct saga_submission *submission)
{
    struct result result = {.done = false};
    stage->log[0] = '\0';
    saga_submit(stage->saga, submission, on_answer, &result);
    wait_for(stage->loop, result.done);
    return result;
}

static struct result prepare(struct stage *stage, const struct saga_submission *submission)
{
    struct result result = {.done = false};
    stage->log[0] = '\0';
    saga_prepare(stage->saga, submission, on_answer, &result);
    wait_for(stage->loop, result.done);
    return result;
}

/* ---- submissions ---- */

static void a_concurrent_saga_carries_its_orders(void **state)
{
    (void)state;
    const struct saga_step steps[] = {step_of("http://a", NULL, "0"),
                                      step_of("http://b", NULL, "1"),
                                      step_of("http://c", NULL, "2")};
    static const struct saga_order orders[] = {{2, 0}, {1, 0}, {2, 1}};
    struct stage stage;
    stage_open(&stage);
    struct saga_submission s = {.gid = saga_text("g"),
                                .steps = steps,
                                .step_count = 3,
                                .concurrent = true,
                                .orders = orders,
                                .order_count = 3};
    assert_string_equal(submit(&stage, &s).text, "|g|submitted");
    assert_string_equal(stage.log, "submit saga g fail=0 delay=0 check= concurrent [http://a  0] "
                                   "[http://b  1 <0] [http://c  2 <0 <1]\n");
    s.step_count = 2; /* the orders name a third one */
    assert_int_equal(submit(&stage, &s).error, SAGA_E_INVALID);
    assert_string_equal(stage.log, "");
    stage_close(&stage);
}

static void a_declared_tcc_carries_its_tries(void **state)
{
    (void)state;
    const struct saga_branch branches[] = {
        branch_of("tcp://a/b.C/T", "tcp://a/b.C/Y", "tcp://a/b.C/N", "1"),
        branch_of("http://t", "", NULL, "")};
    struct stage stage;
    stage_open(&stage);
    struct saga_submission s = {.gid = saga_text("g"),
                                .trans_type = "tcc",
                                .branches = branches,
                                .branch_count = 2,
                                .wait = true};
    assert_string_equal(submit(&stage, &s).text, "|g|submitted");
    assert_string_equal(stage.log, "submit tcc g fail=0 delay=0 check= wait [tcp://a/b.C/T "
                                   "tcp://a/b.C/Ytcp://a/b.C/N 1] [http://t  ]\n");
    s.trans_type = "saga";
    assert_int_equal(submit(&stage, &s).error, SAGA_E_INVALID);
    s = (struct saga_submission){.gid = saga_text("g"), .trans_type = "tcc"};
    assert_string_equal(submit(&stage, &s).text, "|g|submitted"); /* one that was prepared */
    s.trans_type = "xa";
    assert_string_equal(submit(&stage, &s).text, "|g|submitted");
    assert_string_equal(stage.log, "submit xa g fail=0 delay=0 check=\n");
    stage_close(&stage);
}

static void a_message_is_prepared_then_submitted_or_aborted(void **state)
{
    (void)state;
    const struct saga_step step = step_of("http://a", NULL, "p");
    struct stage stage;
    struct result result = {.done = false};
    stage_open(&stage);
    struct saga_submission s = {.gid = saga_text("g"),
                                .trans_type = "msg",
                                .steps = &step,
                                .step_count = 1,
                                .query_prepared = "http://q",
                                .delay_ms = 5,
                                .timeout_to_fail_ms = 6};
    assert_string_equal(prepare(&stage, &s).text, "|g|prepared");
    assert_string_equal(stage.log, "prepare msg g fail=6 delay=5 check=http://q [http://a  p]\n");
    assert_string_equal(submit(&stage, &s).text, "|g|submitted");
    assert_string_equal(stage.log, "submit msg g fail=6 delay=5 check=http://q [http://a  p]\n");
    stage.log[0] = '\0';
    saga_abort(stage.saga, saga_text("g"), "changed my mind", on_answer, &result);
    wait_for(stage.loop, result.done);
    assert_string_equal(result.text, "|g|aborting");
    assert_string_equal(stage.log, "abort g: changed my mind\n");
    s.wait = true;
    assert_int_equal(prepare(&stage, &s).error, SAGA_E_INVALID);
    result.done = false;
    saga_abort(stage.saga, saga_text(""), NULL, on_answer, &result);
    wait_for(stage.loop, result.done);
    assert_int_equal(result.error, SAGA_E_INVALID);
    stage_close(&stage);
}

static void steps_and_branches_have_options_of_their_own(void **state)
{
    (void)state;
    static const struct saga_header all = {"x-tenant", "7"}, own[] = {{"a", "1"}, {"b", ""}};
    const struct saga_call_options options = {
        .request_timeout_ms = 500, .retry_interval_ms = 20, .headers = own, .header_count = 2};
    struct saga_step steps[] = {step_of("http://a", NULL, "0"), step_of("http://b", NULL, "1")};
    struct saga_branch branch = branch_of("tcp://a/b.C/T", "", "", "p");
    struct stage stage;
    stage_open(&stage);
    steps[1].options = branch.options = options;
    struct saga_submission s = {
        .gid = saga_text("g"), .steps = steps, .step_count = 2, .headers = &all, .header_count = 1};
    assert_string_equal(submit(&stage, &s).text, "|g|submitted");
    assert_string_equal(stage.log, "submit saga g fail=0 delay=0 check= x-tenant:7 [http://a  0] "
                                   "[http://b  1 500/20 a:1 b:]\n");
    struct saga_submission tcc = {
        .gid = saga_text("g"), .trans_type = "tcc", .branches = &branch, .branch_count = 1};
    assert_string_equal(submit(&stage, &tcc).text, "|g|submitted");
    assert_string_equal(stage.log, "submit tcc g fail=0 delay=0 check= [tcp://a/b.C/T  p 500/20 "
                                   "a:1 b:]\n");
    branch.options.retry_interval_ms = -1;
    assert_int_equal(submit(&stage, &tcc).error, SAGA_E_INVALID);
    steps[1].options.header_count = 33;
    assert_int_equal(submit(&stage, &s).error, SAGA_E_INVALID);
    steps[1].options.header_count = 0;
    s.header_count = 33;
    assert_int_equal(submit(&stage, &s).error, SAGA_E_INVALID);
    assert_string_equal(stage.log, "");
    stage_close(&stage);
}

/* ---- tcc with tries of one's own ---- */

struct within {
    struct saga_tcc *tcc;
    struct result ended;
};

static struct saga_tcc *begin(struct stage *stage)
{
    struct result result = {.done = false};
    struct saga_submission s = {.gid = saga_text("g"), .timeout_to_fail_ms = 7, .wait = true};
    stage->log[0] = '\0';
    struct saga_tcc *tcc = saga_tcc_begin(stage->saga, &s, on_answer, &result);
    wait_for(stage->loop, result.done);
    assert_string_equal(result.text, "|g|prepared");
    assert_string_equal(stage->log, "prepare tcc g fail=7 delay=0 check=\n");
    stage->log[0] = '\0';
    return tcc;
}

static struct result try_branch(struct stage *stage, struct saga_tcc *tcc, const char *url,
                                const char *payload)
{
    struct result result = {.done = false};
    struct saga_branch branch = branch_of(url, "tcp://x/a.B/Y", "tcp://x/a.B/N", payload);
    saga_tcc_try(tcc, &branch, on_response, &result);
    assert_false(result.done);
    wait_for(stage->loop, result.done);
    return result;
}

static struct result end(struct stage *stage, struct saga_tcc *tcc, bool confirm)
{
    struct result result = {.done = false};
    stage->log[0] = '\0';
    saga_tcc_end(tcc, confirm, on_answer, &result);
    wait_for(stage->loop, result.done);
    return result;
}

static void a_tcc_whose_tries_succeed_is_confirmed(void **state)
{
    (void)state;
    struct stage stage;
    stage_open(&stage);
    struct saga_tcc *tcc = begin(&stage);
    struct result first = try_branch(&stage, tcc, stage.try_url, "y1");
    assert_int_equal(first.result, SAGA_SUCCESS);
    assert_string_equal(first.text, "|got");
    try_branch(&stage, tcc, stage.try_url, "y2");
    assert_string_equal(stage.log, "register tcc g 01 tcp://x/a.B/Y tcp://x/a.B/N y1\n"
                                   "call tcc g 01 try y1\n"
                                   "register tcc g 02 tcp://x/a.B/Y tcp://x/a.B/N y2\n"
                                   "call tcc g 02 try y2\n");
    assert_string_equal(end(&stage, tcc, true).text, "|g|submitted");
    assert_string_equal(stage.log, "submit tcc g fail=0 delay=0 check= wait\n");
    stage_close(&stage);
}

static void a_try_that_did_not_succeed_cancels_whatever_the_program_wants(void **state)
{
    (void)state;
    static const struct {
        const char *payload, *why;
        enum saga_error error;
    } cases[] = {{"no", "try of branch 02: no stock", SAGA_E_NONE},
                 {"drop", "try of branch 02: ", SAGA_E_UNAVAILABLE}};
    struct stage stage;
    stage_open(&stage);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct saga_tcc *tcc = begin(&stage);
        try_branch(&stage, tcc, stage.try_url, "yes");
        struct result second = try_branch(&stage, tcc, stage.try_url, cases[i].payload);
        assert_int_equal(second.error, cases[i].error);
        assert_string_equal(end(&stage, tcc, true).text, "|g|aborting");
        assert_non_null(strstr(stage.log, "abort g: "));
        assert_non_null(strstr(stage.log, cases[i].why));
    }
    struct saga_tcc *tcc = begin(&stage);
    try_branch(&stage, tcc, stage.try_url, "yes");
    end(&stage, tcc, false);
    assert_string_equal(stage.log, "abort g: cancelled by its initiator\n");
    stage_close(&stage);
}

/* Wherever the long answer of the try is cut, one of the two would end within a letter. */
static void a_long_reason_is_one_that_the_coordinator_takes(void **state)
{
    (void)state;
    static const char *const payloads[] = {"8", "81"};
    struct stage stage;
    stage_open(&stage);
    for (size_t i = 0; i < sizeof(payloads) / sizeof(payloads[0]); i++) {
        struct saga_tcc *tcc = begin(&stage);
        struct result tried = try_branch(&stage, tcc, stage.try_url, payloads[i]);
        assert_int_equal(tried.result, SAGA_FAILURE);
        assert_string_equal(end(&stage, tcc, true).text, "|g|aborting");
        assert_true(utf8_is_valid(slice_str(tried.text)));
        assert_non_null(strstr(stage.log, i == 0 ? "try of branch 01: !éé" : "branch 01: ééé"));
    }
    stage_close(&stage);
}

static void a_branch_that_is_not_registered_is_not_tried(void **state)
{
    (void)state;
    static const char *const bad[] = {"tcp://stock/a.B/C", "http://h/t", "", "tcp://127.0.0.1:9",
                                      NULL};
    struct stage stage;
    stage_open(&stage);
    struct saga_tcc *tcc = begin(&stage);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct result result = try_branch(&stage, tcc, bad[i], "y");
        assert_int_equal(result.error, SAGA_E_INVALID);
        assert_non_null(strstr(result.text, "tcp://HOST:PORT/"));
    }
    assert_string_equal(stage.log, "");
    stage.refuse = WIRE_REGISTER;
    stage.code = WIRE_ERROR_CONFLICT;
    struct result result = try_branch(&stage, tcc, stage.try_url, "y");
    assert_int_equal(result.error, SAGA_E_INVALID);
    assert_null(strstr(stage.log, "call "));
    end(&stage, tcc, true);
    assert_non_null(strstr(stage.log, "abort g: "));
    stage_close(&stage);
}

static void an_end_that_is_not_known_is_repeated_and_does_not_turn(void **state)
{
    (void)state;
    struct stage stage;
    stage_open(&stage);
    struct saga_tcc *tcc = begin(&stage);
    try_branch(&stage, tcc, stage.try_url, "yes");
    stage.refuse = WIRE_SUBMIT;
    stage.code = WIRE_ERROR_UNAVAILABLE;
    assert_int_equal(end(&stage, tcc, true).error, SAGA_E_UNAVAILABLE);
    stage.refuse = WIRE_NONE;
    assert_string_equal(end(&stage, tcc, false).text, "|g|submitted");
    stage_close(&stage);
}

static void a_begin_that_is_refused_leaves_nothing(void **state)
{
    (void)state;
    const struct saga_branch branch = branch_of("", "", "", "");
    struct stage stage;
    struct result result = {.done = false};
    stage_open(&stage);
    stage.refuse = WIRE_PREPARE;
    stage.code = WIRE_ERROR_CONFLICT;
    struct saga_submission s = {.gid = saga_text("g")};
    saga_tcc_begin(stage.saga, &s, on_answer, &result);
    wait_for(stage.loop, result.done);
    assert_int_equal(result.error, SAGA_E_INVALID);
    result.done = false;
    s.branches = &branch;
    s.branch_count = 1;
    saga_tcc_begin(stage.saga, &s, on_answer, &result);
    wait_for(stage.loop, result.done);
    assert_int_equal(result.error, SAGA_E_INVALID);
    stage_close(&stage);
}

/* Ends what may be prepared, from the callback of its begin. */
struct failing {
    struct stage *stage;
    enum wire_kind refuse; /* from then on */
    struct saga_tcc *tcc;
    struct saga_xa *xa;
    enum saga_error begun;
    struct result ended, again;
};

static void end_what_is_not_begun(void *arg, const struct saga_answer *answer)
{
    struct failing *failing = arg;
    failing->begun = answer->error;
    failing->stage->refuse = failing->refuse;
    if (failing->xa) {
        saga_xa_end(failing->xa, true, on_answer, &failing->ended);
    } else {
        saga_tcc_end(failing->tcc, true, on_answer, &failing->ended);
    }
}

static void a_begin_that_is_not_known_may_be_cancelled(void **state)
{
    (void)state;
    struct stage stage;
    stage_open(&stage);
    stage.code = WIRE_ERROR_UNAVAILABLE;
    struct saga_submission s = {.gid = saga_text("g")};
    for (int i = 0; i < 2; i++) {
        struct failing failing = {.stage = &stage};
        stage.refuse = WIRE_PREPARE;
        stage.log[0] = '\0';
        if (i == 0) {
            failing.tcc = saga_tcc_begin(stage.saga, &s, end_what_is_not_begun, &failing);
        } else {
            failing.xa = saga_xa_begin(stage.saga, &s, end_what_is_not_begun, &failing);
        }
        wait_for(stage.loop, failing.ended.done);
        assert_int_equal(failing.begun, SAGA_E_UNAVAILABLE);
        assert_string_equal(failing.ended.text, "|g|aborting");
        assert_non_null(strstr(stage.log, "abort g: cancelled by its initiator\n"));
    }
    stage_close(&stage);
}

/* A tcc whose begin gets this error, up to the answer to its end. */
static void begin_failing(struct failing *failing, struct stage *stage, enum wire_error_code code)
{
    stage_open(stage);
    stage->refuse = WIRE_PREPARE;
    stage->code = code;
    failing->stage = stage;
    struct saga_submission s = {.gid = saga_text("g")};
    failing->tcc = saga_tcc_begin(stage->saga, &s, end_what_is_not_begun, failing);
    wait_for(stage->loop, failing->ended.done);
}

static void its_cancel_is_repeated_like_any_end(void **state)
{
    (void)state;
    struct stage stage;
    struct failing failing = {.refuse = WIRE_ABORT};
    begin_failing(&failing, &stage, WIRE_ERROR_UNAVAILABLE);
    assert_int_equal(failing.ended.error, SAGA_E_UNAVAILABLE);
    stage.refuse = WIRE_NONE;
    saga_tcc_end(failing.tcc, true, on_answer, &failing.again);
    wait_for(stage.loop, failing.again.done);
    assert_string_equal(failing.again.text, "|g|aborting");
    assert_null(strstr(stage.log, "submit "));
    stage_close(&stage);
}

/* Its gid may be that of another transaction, which must live on. */
static void a_begin_that_is_refused_has_nothing_to_cancel(void **state)
{
    (void)state;
    struct stage stage;
    struct failing failing = {0};
    begin_failing(&failing, &stage, WIRE_ERROR_CONFLICT);
    assert_int_equal(failing.ended.error, SAGA_E_INVALID);
    assert_null(strstr(stage.log, "abort "));
    stage_close(&stage);
}

static void end_from_within(void *arg, const struct saga_response *response)
{
    struct within *within = arg;
    assert_int_equal(response->result, SAGA_SUCCESS);
    saga_tcc_end(within->tcc, true, on_answer, &within->ended);
}

/* The try that is being told counts already. */
static void a_tcc_may_be_ended_when_its_last_try_answers(void **state)
{
    (void)state;
    struct stage stage;
    stage_open(&stage);
    struct within within = {.tcc = begin(&stage)};
    struct saga_branch branch = branch_of(stage.try_url, "", "", "yes");
    saga_tcc_try(within.tcc, &branch, end_from_within, &within);
    wait_for(stage.loop, within.ended.done);
    assert_string_equal(within.ended.text, "|g|submitted");
    stage_close(&stage);
}

static void a_branch_may_be_registered_and_tried_by_the_program_itself(void **state)
{
    (void)state;
    struct stage stage;
    stage_open(&stage);
    struct saga_tcc *tcc = begin(&stage);
    struct saga_branch branch = branch_of(NULL, "http://h/y", "http://h/n", "p");
    struct result result = {.done = false};
    saga_tcc_register(tcc, &branch, on_answer, &result);
    wait_for(stage.loop, result.done);
    assert_string_equal(result.text, "|g|prepared");
    try_branch(&stage, tcc, stage.try_url, "y2"); /* the numbers go on */
    assert_string_equal(stage.log, "register tcc g 01 http://h/y http://h/n p\n"
                                   "register tcc g 02 tcp://x/a.B/Y tcp://x/a.B/N y2\n"
                                   "call tcc g 02 try y2\n");
    branch.try_url = "http://h/t";
    result.done = false;
    saga_tcc_register(tcc, &branch, on_answer, &result);
    wait_for(stage.loop, result.done);
    assert_int_equal(result.error, SAGA_E_INVALID);
    end(&stage, tcc, true); /* one is not registered */
    assert_non_null(strstr(stage.log, "abort g: registration of branch 03: "));
    stage_close(&stage);
}

static void headers_of_begin_come_with_the_tries(void **state)
{
    (void)state;
    struct saga_header header = {"x-tenant", "7"};
    struct saga_submission s = {.gid = saga_text("g"), .headers = &header, .header_count = 1};
    struct stage stage;
    struct result result = {.done = false};
    stage_open(&stage);
    struct saga_tcc *tcc = saga_tcc_begin(stage.saga, &s, on_answer, &result);
    header = (struct saga_header){"gone", "by now"};
    wait_for(stage.loop, result.done);
    try_branch(&stage, tcc, stage.try_url, "yes");
    assert_non_null(strstr(stage.log, "prepare tcc g fail=0 delay=0 check= x-tenant:7\n"));
    assert_non_null(strstr(stage.log, "call tcc g 01 try yes tenant 7\n"));
    struct saga_branch branch = branch_of(stage.try_url, "", "", "y");
    branch.options.request_timeout_ms = 5;
    struct result refused = {.done = false};
    saga_tcc_try(tcc, &branch, on_response, &refused);
    wait_for(stage.loop, refused.done);
    assert_int_equal(refused.error, SAGA_E_INVALID);
    assert_non_null(strstr(refused.text, "declared"));
    end(&stage, tcc, false);
    stage_close(&stage);
}

/* ---- xa ---- */

static struct saga_xa *xa_begin(struct stage *stage)
{
    struct result result = {.done = false};
    struct saga_submission s = {.gid = saga_text("g"), .timeout_to_fail_ms = 7, .wait = true};
    stage->log[0] = '\0';
    struct saga_xa *xa = saga_xa_begin(stage->saga, &s, on_answer, &result);
    wait_for(stage->loop, result.done);
    assert_string_equal(result.text, "|g|prepared");
    return xa;
}

static struct result xa_register(struct stage *stage, struct saga_xa *xa, const char *payload)
{
    struct result result = {.done = false};
    saga_xa_register(xa, &(struct saga_xa_branch){"http://h/c", "http://h/r", saga_text(payload)},
                     on_answer, &result);
    wait_for(stage->loop, result.done);
    return result;
}

static struct result xa_end(struct stage *stage, struct saga_xa *xa, bool commit)
{
    struct result result = {.done = false};
    saga_xa_end(xa, commit, on_answer, &result);
    wait_for(stage->loop, result.done);
    return result;
}

static void an_xa_is_begun_registered_and_ended(void **state)
{
    (void)state;
    struct stage stage;
    stage_open(&stage);
    struct saga_xa *xa = xa_begin(&stage);
    assert_string_equal(xa_register(&stage, xa, "1").text, "|g|prepared");
    xa_register(&stage, xa, "2");
    assert_string_equal(xa_end(&stage, xa, true).text, "|g|submitted");
    assert_string_equal(stage.log, "prepare xa g fail=7 delay=0 check=\n"
                                   "register xa g 01 http://h/c http://h/r 1\n"
                                   "register xa g 02 http://h/c http://h/r 2\n"
                                   "submit xa g fail=0 delay=0 check= wait\n");
    xa = xa_begin(&stage);
    xa_register(&stage, xa, "1");
    stage.log[0] = '\0';
    assert_string_equal(xa_end(&stage, xa, false).text, "|g|aborting");
    assert_string_equal(stage.log, "abort g: cancelled by its initiator\n");
    stage_close(&stage);
}

static void an_xa_with_a_branch_that_nobody_knows_is_rolled_back(void **state)
{
    (void)state;
    struct stage stage;
    stage_open(&stage);
    struct saga_xa *xa = xa_begin(&stage);
    xa_register(&stage, xa, "1");
    stage.refuse = WIRE_REGISTER;
    stage.code = WIRE_ERROR_CONFLICT;
    assert_int_equal(xa_register(&stage, xa, "2").error, SAGA_E_INVALID);
    assert_string_equal(xa_end(&stage, xa, true).text, "|g|aborting");
    assert_non_null(strstr(stage.log, "abort g: registration of branch 02: not today"));
    stage_close(&stage);
}

/* ---- watch ---- */

static void a_watch_ends_with_the_transaction_or_its_time(void **state)
{
    (void)state;
    struct stage stage;
    struct result result = {.done = false};
    stage_open(&stage);
    stage.queries_open = 3;
    saga_watch(stage.saga, saga_text("g"), 0, on_answer, &result);
    wait_for(stage.loop, result.done);
    assert_string_equal(result.text, "|g|succeed");
    assert_string_equal(stage.log, "query g\nquery g\nquery g\nquery g\n");
    result.done = false;
    stage.queries_open = 1000;
    saga_watch(stage.saga, saga_text("g"), 50, on_answer, &result);
    wait_for(stage.loop, result.done);
    assert_string_equal(result.text, "|g|submitted");
    result.done = false;
    saga_watch(stage.saga, saga_text(""), 0, on_answer, &result);
    wait_for(stage.loop, result.done);
    assert_int_equal(result.error, SAGA_E_INVALID);
    stage_close(&stage);
}

static void a_watch_tells_of_a_parked_transaction(void **state)
{
    (void)state;
    struct stage stage;
    struct result result = {.done = false};
    stage_open(&stage);
    stage.queries_open = 1000; /* it never ends by itself */
    saga_watch(stage.saga, saga_text("g"), 0, on_answer, &result);
    wait_for(stage.loop, stage.queries >= 2);
    assert_false(result.done);
    stage.parked = slice_str("conflict 01.compensate");
    wait_for(stage.loop, result.done);
    assert_string_equal(result.text, "|g|submitted parked conflict 01.compensate");
    stage_close(&stage);
}

static void a_watch_goes_on_while_the_coordinator_is_away(void **state)
{
    (void)state;
    struct stage stage;
    struct result result = {.done = false};
    stage_open(&stage);
    stage.refuse = WIRE_QUERY;
    stage.code = WIRE_ERROR_UNAVAILABLE;
    saga_watch(stage.saga, saga_text("g"), 0, on_answer, &result);
    wait_for(stage.loop, strstr(stage.log, "query g\nquery g\n"));
    assert_false(result.done);
    stage.refuse = WIRE_NONE;
    wait_for(stage.loop, result.done);
    assert_string_equal(result.text, "|g|succeed");
    stage_close(&stage);
}

static void a_time_that_never_comes_is_waited_for(void **state)
{
    (void)state;
    struct stage stage;
    struct result watched = {.done = false}, called = {.done = false};
    stage_open(&stage);
    stage.queries_open = 2;
    saga_watch(stage.saga, saga_text("g"), INT64_MAX, on_answer, &watched);
    wait_for(stage.loop, watched.done);
    assert_string_equal(watched.text, "|g|succeed");
    struct saga_submission s = {.gid = saga_text("g"), .request_timeout_ms = INT64_MAX};
    struct result begun = {.done = false};
    struct saga_tcc *tcc = saga_tcc_begin(stage.saga, &s, on_answer, &begun);
    wait_for(stage.loop, begun.done);
    struct saga_branch branch = branch_of(stage.try_url, "tcp://x/a.B/Y", "tcp://x/a.B/N", "y");
    saga_tcc_try(tcc, &branch, on_response, &called);
    wait_for(stage.loop, called.done);
    assert_string_equal(called.text, "|got");
    end(&stage, tcc, true);
    stage_close(&stage);
}

/* One waits for an answer, one for its next question. */
static void closing_cancels_watches(void **state)
{
    (void)state;
    struct stage stage;
    struct result first = {.done = false}, second = {.done = false};
    stage_open(&stage);
    stage.queries_open = 1000;
    saga_watch(stage.saga, saga_text("g"), 0, on_answer, &first);
    wait_for(stage.loop, stage.queries >= 4); /* then its pause is long */
    for (int i = 0; i < 3; i++) {
        loop_turn(stage.loop, 0);
    }
    saga_watch(stage.saga, saga_text("h"), 0, on_answer, &second);
    saga_close(stage.saga);
    stage.saga = NULL;
    loop_turn(stage.loop, 0);
    assert_int_equal(first.error, SAGA_E_CANCELLED);
    assert_int_equal(second.error, SAGA_E_CANCELLED);
    stage_close(&stage);
}

/* Whatever is under way: every callback comes, and nothing is left (the sanitizers look). */
static void closing_in_the_middle_cancels_what_is_asked(void **state)
{
    (void)state;
    struct stage stage;
    struct result begun = {.done = false}, tried = {.done = false}, ended = {.done = false};
    stage_open(&stage);
    struct saga_tcc *open = begin(&stage);
    saga_tcc_try(open, &(struct saga_branch){.try_url = stage.try_url, .payload = {"y", 1}},
                 on_response, &tried);
    saga_tcc_begin(stage.saga, &(struct saga_submission){.gid = saga_text("h")}, on_answer, &begun);
    saga_tcc_end(open, true, on_answer, &ended); /* before its try has succeeded */
    saga_close(stage.saga);
    stage.saga = NULL;
    loop_turn(stage.loop, 0);
    assert_int_equal(begun.error, SAGA_E_CANCELLED);
    assert_int_equal(tried.error, SAGA_E_CANCELLED);
    assert_int_equal(ended.error, SAGA_E_CANCELLED);
    stage_close(&stage);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_concurrent_saga_carries_its_orders),
        cmocka_unit_test(a_declared_tcc_carries_its_tries),
        cmocka_unit_test(a_message_is_prepared_then_submitted_or_aborted),
        cmocka_unit_test(steps_and_branches_have_options_of_their_own),
        cmocka_unit_test(a_tcc_whose_tries_succeed_is_confirmed),
        cmocka_unit_test(a_begin_that_is_not_known_may_be_cancelled),
        cmocka_unit_test(its_cancel_is_repeated_like_any_end),
        cmocka_unit_test(a_begin_that_is_refused_has_nothing_to_cancel),
        cmocka_unit_test(a_tcc_may_be_ended_when_its_last_try_answers),
        cmocka_unit_test(a_branch_may_be_registered_and_tried_by_the_program_itself),
        cmocka_unit_test(headers_of_begin_come_with_the_tries),
        cmocka_unit_test(an_xa_is_begun_registered_and_ended),
        cmocka_unit_test(an_xa_with_a_branch_that_nobody_knows_is_rolled_back),
        cmocka_unit_test(a_try_that_did_not_succeed_cancels_whatever_the_program_wants),
        cmocka_unit_test(a_long_reason_is_one_that_the_coordinator_takes),
        cmocka_unit_test(a_branch_that_is_not_registered_is_not_tried),
        cmocka_unit_test(an_end_that_is_not_known_is_repeated_and_does_not_turn),
        cmocka_unit_test(a_begin_that_is_refused_leaves_nothing),
        cmocka_unit_test(a_watch_ends_with_the_transaction_or_its_time),
        cmocka_unit_test(a_watch_tells_of_a_parked_transaction),
        cmocka_unit_test(a_watch_goes_on_while_the_coordinator_is_away),
        cmocka_unit_test(a_time_that_never_comes_is_waited_for),
        cmocka_unit_test(closing_cancels_watches),
        cmocka_unit_test(closing_in_the_middle_cancels_what_is_asked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
