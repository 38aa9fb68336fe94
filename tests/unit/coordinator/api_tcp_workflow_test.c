/* Workflows over TCP: begin, steps and end, and how the client learns what was done. */
#include "api_tcp_fixture.h"

static struct wire_header header = {SLICE_LIT("x"), SLICE_LIT("y")};

static struct wire_message workflow(void)
{
    return (struct wire_message){.kind = WIRE_WORKFLOW,
                                 .workflow = {.gid = SLICE_LIT("g"),
                                              .name = SLICE_LIT("trip"),
                                              .data = SLICE_LIT("to Rome"),
                                              .resume = SLICE_LIT("tcp://trips/trip.Trip/Resume"),
                                              .options = {.retry_interval_ms = 5,
                                                          .request_timeout_ms = 6,
                                                          .headers = &header,
                                                          .header_count = 1}}};
}

static struct wire_message report(void)
{
    return (struct wire_message){.kind = WIRE_REGISTER,
                                 .register_branch = {.gid = SLICE_LIT("g"),
                                                     .trans_type = SLICE_LIT("workflow"),
                                                     .branch_id = SLICE_LIT("01"),
                                                     .payload = SLICE_LIT("room 7"),
                                                     .op = SLICE_LIT("action"),
                                                     .status = WIRE_STATUS_SUCCEED}};
}

static struct wire_message finish(enum wire_status status, const char *reason, const char *result)
{
    return (struct wire_message){.kind = WIRE_FINISH,
                                 .finish = {.gid = SLICE_LIT("g"),
                                            .status = status,
                                            .reason = slice_str(reason),
                                            .result = slice_str(result)}};
}

static struct txn *txn_of(struct fixture *f, const char *type)
{
    struct txn_spec spec = {.prepare = true,
                            .gid = SLICE_LIT("g"),
                            .trans_type = slice_str(type),
                            .workflow = SLICE_LIT("trip")};
    struct txn *txn = txn_new(&spec);
    f->record = (struct archive_record){.status = STORE_OK, .message = "", .txn = txn};
    return txn;
}

static void assert_refused(struct fixture *f, const struct wire_message *request, const char *field)
{
    char want[64];
    snprintf(want, sizeof(want), "error 1 field=%s retry=0 %s: ", field, field);
    if (!strstr(ask(f, request), want)) {
        fail_msg("'%s' is not in '%s'", want, f->got);
    }
    assert_string_equal(f->asked, "");
}

static void test_begin_reaches_the_engine_whole(void **state)
{
    struct fixture *f = *state;
    struct txn *txn = txn_of(f, "workflow");
    struct wire_message request = workflow();
    f->keep_asked = true;
    assert_string_equal(ask(f, &request), "found=1 gid=g type=workflow status=prepared why= at=0");
    assert_string_equal(f->asked, "prepare g workflow prepare delay=0 "
                                  "check=tcp://trips/trip.Trip/Resume custom= "
                                  "workflow=trip(to Rome) times=5/6 headers=1; read g");
    txn_free(txn);
}

static void test_begin_tells_what_was_done_and_how_it_ended(void **state)
{
    struct fixture *f = *state;
    struct txn *txn = txn_of(f, "workflow");
    struct txn_progress progress[] = {
        {SLICE_LIT("01"), SLICE_LIT("action"), OP_SUCCEED, SLICE_LIT("room 7")},
        {SLICE_LIT("02"), SLICE_LIT("action"), OP_FAILED, SLICE_LIT("full")}};
    struct archive_line line = {78, SLICE_LIT("00.resume"), SLICE_LIT("ERROR"), 3, SLICE_LIT("no")};
    txn->progress = progress;
    txn->progress_count = 2;
    txn->status = TXN_FAILED;
    txn->result = slice_str("stayed");
    txn_set_reason(txn, slice_str("no flight"));
    f->record.lines = &line;
    f->record.line_count = 1;
    f->answer.err = ERR_CONFLICT; /* it is not prepared any more */
    struct wire_message request = workflow();
    assert_string_equal(ask(f, &request),
                        "found=1 gid=g type=workflow status=failed why=no flight at=0 "
                        "01.action=succeed(room 7) 02.action=failed(full) result=stayed");
    request = (struct wire_message){.kind = WIRE_QUERY, .query_gid = SLICE_LIT("g")};
    assert_string_equal(ask(f, &request),
                        "found=1 gid=g type=workflow status=failed why=no flight at=0 "
                        "01.action=succeed(room 7) 02.action=failed(full) result=stayed "
                        "{78 00.resume ERROR 3 no}");
    txn_free(txn);
}

static void test_begin_of_a_gid_that_is_something_else(void **state)
{
    struct fixture *f = *state;
    struct txn *txn = txn_of(f, "tcc");
    struct wire_message request = workflow();
    assert_string_equal(ask(f, &request), "error 7 field= retry=0 trans_type is 'tcc'");
    f->record = (struct archive_record){.status = STORE_UNKNOWN, .message = "away"};
    assert_string_equal(ask(f, &request), "error 6 field= retry=1000 away");
    f->answer.err = ERR_UNAVAILABLE;
    f->answer.message = "the store is away";
    assert_string_equal(ask(f, &request), "error 6 field= retry=1000 the store is away");
    txn_free(txn);
}

static void test_a_begin_that_is_wrong_names_the_field(void **state)
{
    struct fixture *f = *state;
    char *large = calloc(1, TXN_PAYLOAD_MAX + 1);
    memset(large, 'x', TXN_PAYLOAD_MAX + 1);
    const struct {
        const char *field;
        struct slice gid, name, resume;
        size_t data;
    } cases[] = {{"gid", SLICE_LIT(""), SLICE_LIT("n"), SLICE_LIT(""), 0},
                 {"name", SLICE_LIT("g"), SLICE_LIT(""), SLICE_LIT(""), 0},
                 {"name", SLICE_LIT("g"), SLICE_LIT("a\nb"), SLICE_LIT(""), 0},
                 {"name", SLICE_LIT("g"), {large, TXN_WORKFLOW_NAME_MAX + 1}, SLICE_LIT(""), 0},
                 {"resume", SLICE_LIT("g"), SLICE_LIT("n"), SLICE_LIT("ftp://x"), 0},
                 {"data", SLICE_LIT("g"), SLICE_LIT("n"), SLICE_LIT(""), TXN_PAYLOAD_MAX + 1}};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct wire_message request = {.kind = WIRE_WORKFLOW,
                                       .workflow = {.gid = cases[i].gid,
                                                    .name = cases[i].name,
                                                    .resume = cases[i].resume,
                                                    .data = slice_make(large, cases[i].data)}};
        assert_refused(f, &request, cases[i].field);
    }
    struct wire_message request = workflow();
    request.workflow.options.timeout_to_fail_ms = 1;
    assert_refused(f, &request, "options.timeout_to_fail_ms");
    request.workflow.options = (struct wire_options){.retry_limit = 1};
    assert_refused(f, &request, "options.retry_limit");
    request.workflow.options = (struct wire_options){.keep_results = true};
    assert_refused(f, &request, "options.keep_results");
    free(large);
}

static void test_a_step_is_reported(void **state)
{
    struct fixture *f = *state;
    struct wire_message request = report();
    assert_string_equal(ask(f, &request), "gid=g status=prepared why=");
    assert_string_equal(f->asked, "register g workflow 01 [||room 7] action=succeed");
    request.register_branch.status = WIRE_STATUS_FAILED;
    ask(f, &request);
    assert_string_equal(f->asked, "register g workflow 01 [||room 7] action=failed");
    f->answer.err = ERR_NOT_FOUND;
    f->answer.message = "no such transaction";
    assert_string_equal(ask(f, &request), "error 8 field= retry=0 no such transaction");
}

static void test_a_report_that_is_wrong_names_the_field(void **state)
{
    struct fixture *f = *state;
    struct wire_message bad[] = {report(), report(), report(), report(), report(), report()};
    static const char *const fields[] = {"op", "op", "status", "status", "confirm", "cancel"};
    bad[0].register_branch.op = slice_str("");
    bad[1].register_branch.op = slice_str("a b");
    bad[2].register_branch.status = WIRE_STATUS_UNSPECIFIED;
    bad[3].register_branch.status = WIRE_STATUS_ABORTING;
    bad[4].register_branch.confirm = slice_str("http://h/c");
    bad[5].register_branch.cancel = slice_str("http://h/c");
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_refused(f, &bad[i], fields[i]);
    }
}

static void test_the_end_is_told(void **state)
{
    struct fixture *f = *state;
    struct wire_message request = finish(WIRE_STATUS_SUCCEED, "", "all");
    f->answer.status = TXN_SUCCEED;
    assert_string_equal(ask(f, &request), "gid=g status=succeed why=");
    assert_string_equal(f->asked, "finish g succeed (all) ");
    request = finish(WIRE_STATUS_FAILED, "no flight", "");
    f->answer.status = TXN_FAILED;
    f->answer.rollback_reason = slice_str("no flight");
    assert_string_equal(ask(f, &request), "gid=g status=failed why=no flight");
    assert_string_equal(f->asked, "finish g failed () no flight");
    f->answer.err = ERR_CONFLICT;
    f->answer.message = "it has ended otherwise";
    assert_string_equal(ask(f, &request), "error 7 field= retry=0 it has ended otherwise");
}

static void test_an_end_that_is_wrong_names_the_field(void **state)
{
    struct fixture *f = *state;
    char *large = calloc(1, TXN_PAYLOAD_MAX + 1);
    struct wire_message request = finish(WIRE_STATUS_SUBMITTED, "", "");
    assert_refused(f, &request, "status");
    request = finish(WIRE_STATUS_SUCCEED, "why not", "");
    assert_refused(f, &request, "reason");
    request = finish(WIRE_STATUS_SUCCEED, "", "");
    request.finish.result = slice_make(large, TXN_PAYLOAD_MAX + 1);
    assert_refused(f, &request, "result");
    request.finish.gid = slice_str("");
    assert_refused(f, &request, "gid");
    free(large);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(test_begin_reaches_the_engine_whole),
        CASE(test_begin_tells_what_was_done_and_how_it_ended),
        CASE(test_begin_of_a_gid_that_is_something_else),
        CASE(test_a_begin_that_is_wrong_names_the_field),
        CASE(test_a_step_is_reported),
        CASE(test_a_report_that_is_wrong_names_the_field),
        CASE(test_the_end_is_told),
        CASE(test_an_end_that_is_wrong_names_the_field),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
