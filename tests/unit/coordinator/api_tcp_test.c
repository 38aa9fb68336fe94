/* The TCP API: what reaches the engine, and what is refused. */
#include "api_tcp_fixture.h"

static struct wire_step step_of(const char *action)
{
    return (struct wire_step){.action = slice_str(action),
                              .compensate = slice_str("tcp://order/mall.Order/CreateRevert"),
                              .payload = slice_make("\x08\x96\x01", 3)};
}

static struct wire_message submit_of(const char *gid, struct wire_step *steps, size_t count)
{
    return (struct wire_message){.kind = WIRE_SUBMIT,
                                 .submit = {.gid = slice_str(gid),
                                            .trans_type = slice_str("saga"),
                                            .steps = steps,
                                            .step_count = count}};
}

static void test_new_gids_differ(void **state)
{
    struct fixture *f = *state;
    struct wire_message request = {.kind = WIRE_NEW_GID};
    char first[64];
    snprintf(first, sizeof(first), "%.60s", ask(f, &request));
    assert_int_equal(strlen(first), 22);
    assert_string_not_equal(first, ask(f, &request));
}

static void test_submit_reaches_the_engine_whole(void **state)
{
    struct fixture *f = *state;
    struct wire_step step = step_of("tcp://order/mall.Order/Create");
    struct wire_header header = {SLICE_LIT("x"), SLICE_LIT("y")};
    struct wire_message request = submit_of("g 1", &step, 1);
    request.submit.options = (struct wire_options){.timeout_to_fail_ms = 1,
                                                   .retry_interval_ms = 2,
                                                   .request_timeout_ms = 3,
                                                   .retry_limit = 4,
                                                   .headers = &header,
                                                   .header_count = 1};
    request.submit.wait_result = true;
    request.submit.wait_timeout_ms = 700;
    f->answer.status = TXN_FAILED;
    f->answer.rollback_reason = slice_str("no stock");
    assert_string_equal(ask(f, &request), "gid=g 1 status=failed why=no stock");
    assert_string_equal(f->asked,
                        "g 1 saga steps=1 [tcp://order/mall.Order/Create|"
                        "tcp://order/mall.Order/CreateRevert|\x08\x96\x01] times=1/2/3 limit=4 "
                        "headers=1 wait=2/700");
}

static void test_submit_wait_modes(void **state)
{
    struct fixture *f = *state;
    struct wire_step step = step_of("");
    step.payload = slice_str("");
    struct wire_message request = submit_of("g", &step, 1);
    f->answer.status = TXN_SUBMITTED;
    assert_string_equal(ask(f, &request), "gid=g status=submitted why=");
    assert_non_null(strstr(f->asked, "wait=0/0"));
    request.submit.wait_result = true;
    ask(f, &request);
    assert_non_null(strstr(f->asked, "wait=1/0"));
    request.submit.wait_timeout_ms = 600000;
    ask(f, &request);
    assert_non_null(strstr(f->asked, "wait=2/600000"));
}

static void test_submit_that_is_wrong_names_the_field(void **state)
{
    struct fixture *f = *state;
    struct wire_step steps[2] = {step_of("tcp://order/mall.Order/Create"), step_of("ftp://x")};
    struct wire_message request = submit_of("", steps, 1);
    assert_string_equal(ask(f, &request), "error 1 field=gid retry=0 gid: is empty; must have 1 to "
                                          "128 characters");
    request = submit_of("g", steps, 2);
    assert_non_null(strstr(ask(f, &request), "error 1 field=steps[1].action retry=0 "));
    request = submit_of("g", steps, 1);
    request.submit.trans_type = slice_str("dance");
    assert_non_null(strstr(ask(f, &request), "field=trans_type"));
    request = submit_of("g", steps, 1);
    request.submit.wait_timeout_ms = 5;
    assert_non_null(strstr(ask(f, &request), "field=wait_timeout_ms"));
    request.submit.wait_result = true;
    request.submit.wait_timeout_ms = 600001;
    assert_non_null(strstr(ask(f, &request), "field=wait_timeout_ms"));
    assert_string_equal(f->asked, "");
}

static void test_errors_of_the_engine(void **state)
{
    static const struct {
        enum err err;
        const char *want;
    } cases[] = {
        {ERR_BUSY, "error 5 field= retry=1000 over live_max"},
        {ERR_UNAVAILABLE, "error 6 field= retry=1000 over live_max"},
        {ERR_CONFLICT, "error 7 field= retry=0 over live_max"},
        {ERR_SYSTEM, "error 9 field= retry=0 over live_max"},
    };
    struct fixture *f = *state;
    struct wire_step step = step_of("");
    struct wire_message request = submit_of("g", &step, 1);
    f->answer.message = "over live_max";
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        f->answer.err = cases[i].err;
        assert_string_equal(ask(f, &request), cases[i].want);
    }
}

static void test_query(void **state)
{
    struct fixture *f = *state;
    struct txn_step step = {
        .urls = {[OP_ACTION] = SLICE_LIT("http://h/a"), [OP_UNDO] = SLICE_LIT("http://h/c")},
        .payload = SLICE_LIT("pay")};
    struct txn_spec spec = {
        .gid = SLICE_LIT("g1"), .trans_type = SLICE_LIT("saga"), .steps = &step, .step_count = 1};
    struct txn *txn = txn_new(&spec);
    txn->status = TXN_ABORTING;
    txn->created_ms = 77;
    txn->branches[0].ops[OP_ACTION].status = OP_FAILED;
    txn_set_reason(txn, slice_str("why"));
    struct archive_line line = {78, SLICE_LIT("01.action"), SLICE_LIT("FAILURE"), 3,
                                SLICE_LIT("no")};
    f->record = (struct archive_record){
        .status = STORE_OK, .message = "", .txn = txn, .lines = &line, .line_count = 1};
    struct wire_message request = {.kind = WIRE_QUERY, .query_gid = slice_str("g1")};
    assert_string_equal(ask(f, &request),
                        "found=1 gid=g1 type=saga status=aborting why=why at=77 "
                        "01.compensate=prepared(http://h/c) 01.action=failed(http://h/a) "
                        "{78 01.action FAILURE 3 no}");
    assert_string_equal(f->asked, "read g1");
    f->record = (struct archive_record){.status = STORE_NOT_FOUND, .message = ""};
    assert_string_equal(ask(f, &request), "found=0 gid=g1 type= status=- why= at=0");
    f->record = (struct archive_record){.status = STORE_UNKNOWN, .message = "away"};
    assert_string_equal(ask(f, &request), "error 6 field= retry=1000 away");
    request.query_gid = slice_str("a\nb");
    assert_non_null(strstr(ask(f, &request), "error 1 field=gid"));
    txn_free(txn);
}

/* ---- other types than plain sagas ---- */

static struct wire_message message_of(enum wire_kind kind, const char *type,
                                      struct wire_step *steps, size_t count)
{
    return (struct wire_message){.kind = kind,
                                 .submit = {.gid = slice_str("g"),
                                            .trans_type = slice_str(type),
                                            .steps = steps,
                                            .step_count = count}};
}

static struct wire_step tcc_step(const char *payload)
{
    return (struct wire_step){.try_url = slice_str("tcp://a/b.C/Try"),
                              .confirm = slice_str("tcp://a/b.C/Confirm"),
                              .cancel = slice_str("tcp://a/b.C/Cancel"),
                              .payload = slice_str(payload)};
}

static void test_a_concurrent_saga_and_its_order(void **state)
{
    struct fixture *f = *state;
    f->whole = true;
    uint8_t after[] = {0, 1};
    struct wire_step steps[3] = {{.action = slice_str("http://h/a")},
                                 {.action = slice_str("http://h/b")},
                                 {.action = slice_str("http://h/c"),
                                  .compensate = slice_str("http://h/u"),
                                  .payload = slice_str("p"),
                                  .after = after,
                                  .after_count = 2}};
    struct wire_message request = message_of(WIRE_SUBMIT, "saga", steps, 3);
    request.submit.concurrent = true;
    request.submit.custom_data = slice_str("{}");
    assert_string_equal(ask(f, &request), "gid=g status=prepared why=");
    assert_string_equal(f->asked, "submit g saga concurrent delay=0 check= custom={} "
                                  "[http://h/a|||] [http://h/b|||] "
                                  "[http://h/c||http://h/u|p after 0 after 1]");
    after[1] = 2;
    assert_non_null(strstr(ask(f, &request), "orders: step 2 comes after step 2"));
    after[1] = 3;
    assert_non_null(strstr(ask(f, &request), "orders: step 2 comes after step 3"));
    request.submit.concurrent = false;
    assert_non_null(strstr(ask(f, &request), "field=steps.after"));
}

static void test_options_of_steps_and_results(void **state)
{
    struct fixture *f = *state;
    f->whole = true;
    struct wire_header headers[] = {{SLICE_LIT("x"), SLICE_LIT("1")},
                                    {SLICE_LIT("y"), SLICE_LIT("2")}};
    struct wire_step steps[] = {{.action = slice_str("http://h/a")},
                                {.action = slice_str("http://h/b"),
                                 .payload = slice_str("${01.result}"),
                                 .headers = headers,
                                 .header_count = 2},
                                {.action = slice_str("http://h/c"),
                                 .request_timeout_ms = 7,
                                 .retry_interval_ms = 8,
                                 .headers = headers + 1,
                                 .header_count = 1}};
    struct wire_message request = message_of(WIRE_SUBMIT, "saga", steps, 3);
    request.submit.options.keep_results = true;
    assert_string_equal(ask(f, &request), "gid=g status=prepared why=");
    assert_string_equal(f->asked, "submit g saga results delay=0 check= custom= [http://h/a|||] "
                                  "[http://h/b|||${01.result} x:1 y:2] [http://h/c||| y:2 7/8]");
    steps[0].payload = slice_str("${02.result}"); /* comes later */
    assert_non_null(strstr(ask(f, &request), "error 1 "));
    steps[0].payload = slice_str("");
    headers[1].name = slice_str("not a token");
    assert_non_null(strstr(ask(f, &request), "field=steps[1].branch_headers"));
}

static void test_a_declared_tcc(void **state)
{
    struct fixture *f = *state;
    f->whole = true;
    struct wire_step steps[2] = {tcc_step("1"), tcc_step("2")};
    struct wire_message request = message_of(WIRE_SUBMIT, "tcc", steps, 2);
    assert_string_equal(ask(f, &request), "gid=g status=prepared why=");
    assert_string_equal(f->asked, "submit g tcc declared delay=0 check= custom= "
                                  "[tcp://a/b.C/Try|tcp://a/b.C/Confirm|tcp://a/b.C/Cancel|1] "
                                  "[tcp://a/b.C/Try|tcp://a/b.C/Confirm|tcp://a/b.C/Cancel|2]");
    steps[1].action = slice_str("http://h/a");
    assert_non_null(strstr(ask(f, &request), "field=steps[1].action retry=0 steps[1].action: a tcc "
                                             "has no such op"));
    request.kind = WIRE_PREPARE;
    steps[1] = tcc_step("2");
    assert_non_null(strstr(ask(f, &request), "field=steps retry=0 "));
}

static void test_a_message_is_prepared_and_submitted(void **state)
{
    struct fixture *f = *state;
    f->whole = true;
    struct wire_step step = {.action = slice_str("http://h/a"), .payload = slice_str("p")};
    struct wire_message request = message_of(WIRE_PREPARE, "msg", &step, 1);
    request.submit.query_prepared = slice_str("http://h/q");
    request.submit.delay_ms = 9;
    assert_string_equal(ask(f, &request), "gid=g status=prepared why=");
    assert_string_equal(f->asked, "prepare g msg prepare delay=9 check=http://h/q custom= "
                                  "[http://h/a|||p]");
    request.kind = WIRE_SUBMIT;
    ask(f, &request);
    assert_string_equal(f->asked, "submit g msg delay=9 check=http://h/q custom= [http://h/a|||p]");
    request.kind = WIRE_PREPARE;
    request.submit.query_prepared = slice_str("");
    assert_non_null(strstr(ask(f, &request), "field=query_prepared"));
    step.compensate = slice_str("http://h/u");
    assert_non_null(strstr(ask(f, &request), "field=steps[0].compensate"));
}

static void test_a_topic_without_topics(void **state)
{
    struct fixture *f = *state;
    struct wire_step step = {.action = slice_str("topic://paid")};
    struct wire_message request = message_of(WIRE_SUBMIT, "msg", &step, 1);
    assert_non_null(
        strstr(ask(f, &request), "error 6 field= retry=1000 the topics cannot be read"));
    request = message_of(WIRE_SUBMIT, "saga", &step, 1);
    assert_non_null(strstr(ask(f, &request), "field=steps[0].action"));
    assert_string_equal(f->asked, "");
}

static void test_what_does_not_fit_the_type_is_refused(void **state)
{
    static const struct {
        enum wire_kind kind;
        const char *type;
        bool concurrent, wait;
        int delay_ms;
        const char *field;
    } cases[] = {
        {WIRE_SUBMIT, "workflow", false, false, 0, "trans_type"},
        {WIRE_PREPARE, "saga", false, false, 0, "trans_type"},
        {WIRE_PREPARE, "nonsense", false, false, 0, "trans_type"},
        {WIRE_PREPARE, "tcc", true, false, 0, "concurrent"},
        {WIRE_PREPARE, "tcc", false, true, 0, "wait_result"},
        {WIRE_SUBMIT, "tcc", false, false, 5, "delay_ms"},
        {WIRE_SUBMIT, "saga", false, false, 0, "steps"},
    };
    struct fixture *f = *state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct wire_message request = message_of(cases[i].kind, cases[i].type, NULL, 0);
        char want[64];
        request.submit.concurrent = cases[i].concurrent;
        request.submit.wait_result = cases[i].wait;
        request.submit.delay_ms = cases[i].delay_ms;
        snprintf(want, sizeof(want), "error 1 field=%s retry=0 ", cases[i].field);
        assert_non_null(strstr(ask(f, &request), want));
        assert_string_equal(f->asked, "");
    }
}

static void test_a_tcc_is_prepared_registered_and_aborted(void **state)
{
    struct fixture *f = *state;
    struct wire_message request = message_of(WIRE_PREPARE, "tcc", NULL, 0);
    assert_string_equal(ask(f, &request), "gid=g status=prepared why=");
    assert_string_equal(f->asked, "prepare g tcc prepare delay=0 check= custom=");
    request = (struct wire_message){
        .kind = WIRE_REGISTER,
        .register_branch = {SLICE_LIT("g"), SLICE_LIT("tcc"), SLICE_LIT("01"),
                            SLICE_LIT("http://h/confirm"), SLICE_LIT("http://h/cancel"),
                            SLICE_LIT("pay"), SLICE_LIT(""), WIRE_STATUS_UNSPECIFIED}};
    assert_string_equal(ask(f, &request), "gid=g status=prepared why=");
    assert_string_equal(f->asked, "register g tcc 01 [http://h/confirm|http://h/cancel|pay]");
    request = (struct wire_message){.kind = WIRE_ABORT, .abort = {SLICE_LIT("g"), SLICE_LIT("no")}};
    f->answer.status = TXN_ABORTING;
    f->answer.rollback_reason = slice_str("no");
    assert_string_equal(ask(f, &request), "gid=g status=aborting why=no");
    assert_string_equal(f->asked, "abort g: no");
    f->answer.err = ERR_NOT_FOUND;
    f->answer.message = "no such transaction";
    assert_string_equal(ask(f, &request), "error 8 field= retry=0 no such transaction");
}

static void test_a_register_that_is_wrong_names_the_field(void **state)
{
    struct fixture *f = *state;
    const struct wire_register good = {.gid = SLICE_LIT("g"),
                                       .trans_type = SLICE_LIT("xa"),
                                       .branch_id = SLICE_LIT("01"),
                                       .confirm = SLICE_LIT("http://h/commit"),
                                       .cancel = SLICE_LIT("http://h/r")};
    char *large = calloc(1, TXN_PAYLOAD_MAX + 1);
    struct wire_register bad[] = {good, good, good, good, good, good, good, good};
    static const char *const fields[] = {"gid",    "trans_type", "branch_id", "confirm",
                                         "cancel", "payload",    "op",        "status"};
    bad[0].gid = slice_str("");
    bad[1].trans_type = slice_str("saga");
    bad[2].branch_id = slice_str("00");
    bad[3].confirm = slice_str("ftp://x");
    bad[4].cancel = slice_str("ftp://x");
    bad[5].payload = slice_make(large, TXN_PAYLOAD_MAX + 1);
    bad[6].op = slice_str("action");
    bad[7].status = WIRE_STATUS_SUCCEED;
    for (int i = 0; i < 8; i++) {
        struct wire_message request = {.kind = WIRE_REGISTER, .register_branch = bad[i]};
        char want[64];
        snprintf(want, sizeof(want), "error 1 field=%s retry=0 ", fields[i]);
        assert_non_null(strstr(ask(f, &request), want));
        assert_string_equal(f->asked, "");
    }
    free(large);
    struct wire_message request = {.kind = WIRE_ABORT, .abort = {.gid = SLICE_LIT("")}};
    assert_non_null(strstr(ask(f, &request), "error 1 field=gid"));
}

static void test_query_tells_every_op(void **state)
{
    struct fixture *f = *state;
    struct txn_step step = {.urls = {[OP_ACTION] = SLICE_LIT("http://h/t"),
                                     [OP_CONFIRM] = SLICE_LIT("http://h/c"),
                                     [OP_UNDO] = SLICE_LIT("http://h/x")}};
    struct txn_spec spec = {.gid = SLICE_LIT("g"),
                            .trans_type = SLICE_LIT("tcc"),
                            .options = {.declared = true},
                            .steps = &step,
                            .step_count = 1};
    struct txn *txn = txn_new(&spec);
    f->record = (struct archive_record){.status = STORE_OK, .message = "", .txn = txn};
    struct wire_message request = {.kind = WIRE_QUERY, .query_gid = slice_str("g")};
    assert_string_equal(ask(f, &request),
                        "found=1 gid=g type=tcc status=prepared why= at=0 "
                        "01.cancel=prepared(http://h/x) 01.confirm=prepared(http://h/c) "
                        "01.try=prepared(http://h/t)");
    txn->options.declared = false; /* its client calls the tries: nothing is known of them */
    assert_string_equal(ask(f, &request),
                        "found=1 gid=g type=tcc status=prepared why= at=0 "
                        "01.cancel=prepared(http://h/x) 01.confirm=prepared(http://h/c)");
    txn_free(txn);
}

static void test_query_tells_what_is_parked(void **state)
{
    struct fixture *f = *state;
    struct txn_step steps[] = {{.urls = {[OP_ACTION] = SLICE_LIT("http://h/a")}},
                               {.urls = {[OP_ACTION] = SLICE_LIT("http://h/b")}}};
    struct txn_spec spec = {
        .gid = SLICE_LIT("g"), .trans_type = SLICE_LIT("msg"), .steps = steps, .step_count = 2};
    struct txn *txn = txn_new(&spec);
    txn->parked_ms = 99;
    txn->branches[0].ops[OP_ACTION].parked = PARK_CONFLICT;
    txn->branches[1].ops[OP_ACTION].parked = PARK_CONFLICT;
    f->record = (struct archive_record){.status = STORE_OK, .message = "", .txn = txn};
    struct wire_message request = {.kind = WIRE_QUERY, .query_gid = slice_str("g")};
    assert_string_equal(ask(f, &request),
                        "found=1 gid=g type=msg status=submitted why= at=0 "
                        "01.action=prepared(http://h/a) 02.action=prepared(http://h/b) "
                        "parked=conflict 01.action,02.action since=99");
    txn_free(txn);
}

static void test_calls_are_for_participants(void **state)
{
    struct fixture *f = *state;
    struct wire_message request = {.kind = WIRE_CALL, .call = {.method = slice_str("a.B/C")}};
    assert_string_equal(ask(f, &request),
                        "error 1 field=body retry=0 a coordinator takes new_gid, submit, prepare, "
                        "register_branch, abort, workflow, finish and query");
}

static void test_token(void **state)
{
    struct fixture *f = *state;
    struct wire_message request = {.kind = WIRE_NEW_GID};
    api_tcp_free(f->api);
    api_tcp_open_with(f, "s3cret");
    rpc_client_free(f->client);
    api_tcp_client_open(f, "wrong");
    assert_non_null(strstr(ask(f, &request), err_text(ERR_DENIED)));
    rpc_client_free(f->client);
    api_tcp_client_open(f, "s3cret");
    assert_int_equal(strlen(ask(f, &request)), 22);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(test_new_gids_differ),
        CASE(test_submit_reaches_the_engine_whole),
        CASE(test_submit_wait_modes),
        CASE(test_submit_that_is_wrong_names_the_field),
        CASE(test_errors_of_the_engine),
        CASE(test_query),
        CASE(test_a_concurrent_saga_and_its_order),
        CASE(test_options_of_steps_and_results),
        CASE(test_a_declared_tcc),
        CASE(test_a_message_is_prepared_and_submitted),
        CASE(test_a_topic_without_topics),
        CASE(test_what_does_not_fit_the_type_is_refused),
        CASE(test_a_tcc_is_prepared_registered_and_aborted),
        CASE(test_a_register_that_is_wrong_names_the_field),
        CASE(test_query_tells_every_op),
        CASE(test_query_tells_what_is_parked),
        CASE(test_calls_are_for_participants),
        CASE(test_token),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
