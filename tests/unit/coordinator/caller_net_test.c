/* Branch calls over real sockets: participants live in the same loop and answer when told to. */
#include "caller_net_fixture.h"

/* ---- tcp ---- */

static void test_tcp_call_carries_everything(void **state)
{
    struct fixture *f = *state;
    struct caller_net_conf conf = conf_small(f);
    open_tcp(state, &conf);
    struct txn_header header = {SLICE_LIT("x-tenant"), SLICE_LIT("t 1")};
    struct outcome outcome;
    call_with(f, "tcp://alpha/shop.Stock/Revert", "PAY", 4000, &header, 1, &outcome);
    wait_for(f->loop, f->a.held == 1);
    const struct wire_message *message = rpc_request_message(f->a.tcp_held[0]);
    assert_int_equal(message->kind, WIRE_CALL);
    const struct wire_call *got = &message->call;
    assert_true(slice_eq_str(got->gid, "gid 1/ä"));
    assert_true(slice_eq_str(got->branch_id, "02"));
    assert_true(slice_eq_str(got->op, "compensate"));
    assert_true(slice_eq_str(got->trans_type, "saga"));
    assert_true(slice_eq_str(got->method, "shop.Stock/Revert"));
    assert_true(slice_eq_str(got->payload, "PAY"));
    assert_in_range(got->timeout_ms, 1, 4000);
    assert_true(got->started_ms == 1700000000123);
    assert_int_equal(got->header_count, 1);
    assert_true(slice_eq_str(got->headers[0].name, "x-tenant"));
    assert_true(slice_eq_str(got->headers[0].value, "t 1"));
    assert_true(trace_parent_is_valid(got->traceparent));
    answer_tcp(&f->a, 0, WIRE_SUCCESS, "fine");
    wait_for(f->loop, outcome.done);
    assert_int_equal(outcome.verdict, CALL_SUCCESS);
    assert_string_equal(outcome.message, "fine");
}

static void test_tcp_results(void **state)
{
    static const struct {
        enum wire_result result;
        enum call_verdict verdict;
    } cases[] = {{WIRE_SUCCESS, CALL_SUCCESS},          {WIRE_FAILURE, CALL_FAILURE},
                 {WIRE_ONGOING, CALL_ONGOING},          {WIRE_RESULT_ERROR, CALL_ERROR},
                 {WIRE_RESULT_CONFLICT, CALL_CONFLICT}, {WIRE_RESULT_UNSPECIFIED, CALL_ERROR}};
    struct fixture *f = *state;
    struct caller_net_conf conf = conf_small(f);
    open_tcp(state, &conf);
    for (int i = 0; i < 6; i++) {
        struct outcome outcome;
        call(f, "tcp://alpha/a.B/C", &outcome);
        wait_for(f->loop, f->a.held == i + 1);
        answer_tcp(&f->a, i, cases[i].result, "why");
        wait_for(f->loop, outcome.done);
        assert_int_equal(outcome.verdict, cases[i].verdict);
        assert_string_equal(outcome.message, "why");
    }
}

static void test_tcp_error_frame_and_dropped_connection_are_errors(void **state)
{
    struct fixture *f = *state;
    struct caller_net_conf conf = conf_small(f);
    open_tcp(state, &conf);
    struct outcome refused, dropped;
    call(f, "tcp://alpha/a.B/C", &refused);
    wait_for(f->loop, f->a.held == 1);
    rpc_request_fail(f->a.tcp_held[0], WIRE_ERROR_NOT_FOUND, "method", "no such method");
    f->a.tcp_held[0] = NULL;
    wait_for(f->loop, refused.done);
    assert_int_equal(refused.verdict, CALL_ERROR);
    assert_string_equal(refused.message, "no such method");
    call(f, "tcp://alpha/a.B/C", &dropped);
    wait_for(f->loop, f->a.held == 2);
    rpc_request_drop(f->a.tcp_held[1]);
    f->a.tcp_held[1] = NULL;
    wait_for(f->loop, dropped.done);
    assert_int_equal(dropped.verdict, CALL_ERROR);
    assert_non_null(strstr(dropped.message, "connection closed"));
}

static void test_deadline_ends_a_call_and_the_late_answer_is_ignored(void **state)
{
    struct fixture *f = *state;
    struct caller_net_conf conf = conf_small(f);
    open_tcp(state, &conf);
    struct outcome late, next;
    call_with(f, "tcp://alpha/a.B/C", "", 50, NULL, 0, &late);
    wait_for(f->loop, late.done);
    assert_int_equal(late.verdict, CALL_ERROR);
    assert_non_null(strstr(late.message, "deadline passed"));
    wait_for(f->loop, f->a.held == 1);
    answer_tcp(&f->a, 0, WIRE_SUCCESS, "too late");
    call(f, "tcp://alpha/a.B/C", &next);
    wait_for(f->loop, f->a.held == 2);
    answer_tcp(&f->a, 1, WIRE_FAILURE, "mine");
    wait_for(f->loop, next.done);
    assert_int_equal(next.verdict, CALL_FAILURE);
    assert_string_equal(next.message, "mine");
}

static void test_a_deadline_that_the_wire_cannot_tell_is_told_as_the_longest(void **state)
{
    struct fixture *f = *state;
    struct caller_net_conf conf = conf_small(f);
    open_tcp(state, &conf);
    struct outcome outcome;
    call_with(f, "tcp://alpha/a.B/C", "", INT64_C(4294967296) + 1000, NULL, 0, &outcome);
    wait_for(f->loop, f->a.held == 1);
    assert_true(rpc_request_message(f->a.tcp_held[0])->call.timeout_ms == UINT32_MAX);
    answer_tcp(&f->a, 0, WIRE_SUCCESS, "fine");
    wait_for(f->loop, outcome.done);
}

static void test_unreachable_unknown_and_malformed_are_errors(void **state)
{
    struct fixture *f = *state;
    struct caller_net_conf conf = conf_small(f);
    open_tcp(state, &conf);
    struct outcome outcome;
    stub_close(&f->b); /* nobody listens any more */
    settle(f);
    call(f, "tcp://beta/a.B/C", &outcome);
    wait_for(f->loop, outcome.done);
    assert_non_null(strstr(outcome.message, "cannot connect"));
    call(f, "tcp://gamma/a.B/C", &outcome);
    wait_for(f->loop, outcome.done);
    assert_int_equal(outcome.verdict, CALL_ERROR);
    assert_non_null(strstr(outcome.message, "not in the resolver map"));
}

/* ---- limits ---- */

static void test_calls_over_the_cap_wait_in_order(void **state)
{
    struct fixture *f = *state;
    struct caller_net_conf conf = conf_small(f);
    open_tcp(state, &conf);
    struct outcome outcomes[4];
    for (int i = 0; i < 4; i++) {
        char payload[2] = {(char)('0' + i), '\0'};
        call_with(f, "tcp://alpha/a.B/C", payload, 5000, NULL, 0, &outcomes[i]);
    }
    wait_for(f->loop, f->a.held == 2);
    settle(f);
    assert_int_equal(f->a.held, 2);
    assert_int_equal(caller_net_stats(f->net).waiting, 2);
    for (int i = 0; i < 4; i++) {
        wait_for(f->loop, f->a.held > i);
        char want[2] = {(char)('0' + i), '\0'};
        const struct wire_call *got = &rpc_request_message(f->a.tcp_held[i])->call;
        assert_true(slice_eq_str(got->payload, want));
        assert_true(slice_eq_str(got->gid, "gid 1/ä")); /* kept while it waited */
        answer_tcp(&f->a, i, WIRE_SUCCESS, "");
        wait_for(f->loop, outcomes[i].done);
        assert_int_equal(outcomes[i].verdict, CALL_SUCCESS);
    }
    assert_int_equal(caller_net_stats(f->net).waiting, 0);
    assert_int_equal(caller_net_stats(f->net).in_flight, 0);
}

static void test_full_line_is_an_error_and_others_are_not_concerned(void **state)
{
    struct fixture *f = *state;
    struct caller_net_conf conf = conf_small(f);
    open_tcp(state, &conf);
    struct outcome sick[5], healthy;
    for (int i = 0; i < 5; i++) {
        call(f, "tcp://alpha/a.B/C", &sick[i]);
    }
    call(f, "tcp://beta/a.B/C", &healthy);
    wait_for(f->loop, sick[4].done);
    assert_int_equal(sick[4].verdict, CALL_ERROR);
    assert_non_null(strstr(sick[4].message, "too many calls"));
    wait_for(f->loop, f->b.held == 1);
    answer_tcp(&f->b, 0, WIRE_SUCCESS, "");
    wait_for(f->loop, healthy.done);
    assert_int_equal(healthy.verdict, CALL_SUCCESS);
    assert_false(sick[0].done || sick[3].done);
}

static void test_deadline_counts_in_line(void **state)
{
    struct fixture *f = *state;
    struct caller_net_conf conf = conf_small(f);
    conf.tcp_in_flight_max = 1;
    open_tcp(state, &conf);
    struct outcome first, second;
    call(f, "tcp://alpha/a.B/C", &first);
    call_with(f, "tcp://alpha/a.B/C", "", 60, NULL, 0, &second);
    wait_for(f->loop, second.done);
    assert_int_equal(second.verdict, CALL_ERROR);
    assert_non_null(strstr(second.message, "in line"));
    assert_false(first.done);
    assert_int_equal(f->a.held, 1); /* it was never sent */
}

static void test_lines_take_turns_when_all_together_are_too_many(void **state)
{
    struct fixture *f = *state;
    struct caller_net_conf conf = conf_small(f);
    conf.in_flight_max = 1;
    open_tcp(state, &conf);
    struct outcome running, a[2], b[2];
    call(f, "tcp://alpha/a.B/C", &running);
    call(f, "tcp://alpha/a.B/C", &a[0]);
    call(f, "tcp://alpha/a.B/C", &a[1]);
    call(f, "tcp://beta/a.B/C", &b[0]);
    call(f, "tcp://beta/a.B/C", &b[1]);
    int answered_a = 0, answered_b = 0;
    while (answered_a + answered_b < 5) {
        wait_for(f->loop, f->a.held > answered_a || f->b.held > answered_b);
        assert_int_equal(caller_net_stats(f->net).in_flight, 1);
        if (f->a.held > answered_a) {
            answer_tcp(&f->a, answered_a++, WIRE_SUCCESS, "");
        } else {
            answer_tcp(&f->b, answered_b++, WIRE_SUCCESS, "");
        }
    }
    wait_for(f->loop, f->ended == 5);
    assert_true(b[0].order < a[1].order); /* alpha, though first in line, had to let beta through */
    assert_true(a[0].order < b[1].order);
}

/* Big payloads: far fewer calls than the cap fill the pipe; none may fail for it. */
static void test_bytes_in_flight_are_bounded(void **state)
{
    enum { CALLS = 60, PAYLOAD = TXN_PAYLOAD_MAX, MOST = LINK_BYTES_MAX / TXN_PAYLOAD_MAX };
    struct fixture *f = *state;
    struct caller_net_conf conf = conf_small(f);
    conf.tcp_in_flight_max = 1000;
    conf.waiting_max = 1000;
    open_tcp(state, &conf);
    struct outcome outcomes[CALLS];
    char *payload = calloc(1, PAYLOAD + 1);
    memset(payload, 'p', PAYLOAD);
    for (int i = 0; i < CALLS; i++) {
        call_with(f, "tcp://alpha/a.B/C", payload, 20000, NULL, 0, &outcomes[i]);
    }
    assert_int_equal(caller_net_stats(f->net).in_flight, MOST);
    for (int answered = 0; answered < CALLS; answered++) {
        wait_for(f->loop, f->a.held > answered);
        assert_true(caller_net_stats(f->net).in_flight <= MOST);
        answer_tcp(&f->a, answered, WIRE_SUCCESS, "");
    }
    wait_for(f->loop, f->ended == CALLS);
    for (int i = 0; i < CALLS; i++) {
        assert_int_equal(outcomes[i].verdict, CALL_SUCCESS);
    }
    free(payload);
}

/* One for one, a burst of big payloads would leave so few in flight for as long as there is a line.
 */
static void test_a_big_payload_makes_room_for_many_small_ones(void **state)
{
    enum { PAYLOAD = TXN_PAYLOAD_MAX, BIG = LINK_BYTES_MAX / TXN_PAYLOAD_MAX, SMALL = 10 };
    struct fixture *f = *state;
    struct caller_net_conf conf = conf_small(f);
    conf.tcp_in_flight_max = 1000;
    conf.waiting_max = 1000;
    open_tcp(state, &conf);
    struct outcome big[BIG], small[SMALL];
    char *payload = calloc(1, PAYLOAD + 1);
    memset(payload, 'p', PAYLOAD);
    for (int i = 0; i < BIG; i++) {
        call_with(f, "tcp://alpha/a.B/C", payload, 20000, NULL, 0, &big[i]);
    }
    for (int i = 0; i < SMALL; i++) {
        call_with(f, "tcp://alpha/a.B/C", "", 20000, NULL, 0, &small[i]);
    }
    wait_for(f->loop, f->a.held == BIG);
    assert_int_equal(caller_net_stats(f->net).waiting, SMALL);
    answer_tcp(&f->a, 0, WIRE_SUCCESS, "");
    wait_for(f->loop, f->ended == 1);
    assert_int_equal(caller_net_stats(f->net).waiting, 0);
    assert_int_equal(caller_net_stats(f->net).in_flight, BIG - 1 + SMALL);
    wait_for(f->loop, f->a.held == BIG + SMALL);
    for (int i = 1; i < BIG + SMALL; i++) {
        answer_tcp(&f->a, i, WIRE_SUCCESS, "");
    }
    wait_for(f->loop, f->ended == BIG + SMALL);
    free(payload);
}

static void test_unused_participants_are_forgotten(void **state)
{
    struct fixture *f = *state;
    struct caller_net_conf conf = conf_small(f);
    conf.idle_ms = 30;
    open_tcp(state, &conf);
    struct outcome outcome;
    call(f, "tcp://alpha/a.B/C", &outcome);
    wait_for(f->loop, f->a.held == 1);
    settle(f);
    assert_int_equal(caller_net_stats(f->net).participants, 1); /* in use, however long */
    answer_tcp(&f->a, 0, WIRE_SUCCESS, "");
    wait_for(f->loop, outcome.done);
    wait_for(f->loop, caller_net_stats(f->net).participants == 0);
}

static void test_number_of_participants_is_bounded(void **state)
{
    struct fixture *f = *state;
    struct caller_net_conf conf = conf_small(f);
    conf.participants_max = 1;
    open_tcp(state, &conf);
    struct outcome first, second, third;
    call(f, "tcp://alpha/a.B/C", &first);
    call(f, "tcp://beta/a.B/C", &second);
    wait_for(f->loop, second.done);
    assert_int_equal(second.verdict, CALL_ERROR);
    assert_non_null(strstr(second.message, "too many different participants"));
    wait_for(f->loop, f->a.held == 1);
    answer_tcp(&f->a, 0, WIRE_SUCCESS, "");
    wait_for(f->loop, first.done);
    call(f, "tcp://beta/a.B/C", &third); /* alpha is idle now and gives way */
    wait_for(f->loop, f->b.held == 1);
    answer_tcp(&f->b, 0, WIRE_SUCCESS, "");
    wait_for(f->loop, third.done);
    assert_int_equal(third.verdict, CALL_SUCCESS);
}

static void test_free_ends_everything_silently(void **state)
{
    struct fixture *f = *state;
    struct caller_net_conf conf = conf_small(f);
    open_tcp(state, &conf);
    struct outcome outcomes[5];
    for (int i = 0; i < 4; i++) { /* two in flight, two in line */
        call(f, "tcp://alpha/a.B/C", &outcomes[i]);
    }
    wait_for(f->loop, f->a.held == 2);
    call(f, "tcp://gamma/a.B/C", &outcomes[4]); /* refused, not told yet */
    caller_net_free(f->net);
    f->net = NULL;
    settle(f);
    assert_int_equal(f->ended, 0);
}

/* ---- http ---- */

static void test_http_call_follows_the_conventions(void **state)
{
    struct fixture *f = open_http(state);
    struct txn_header headers[] = {{SLICE_LIT("Content-Type"), SLICE_LIT("text/x-own")},
                                   {SLICE_LIT("X-Tenant"), SLICE_LIT("t1")},
                                   {SLICE_LIT("Content-Length"), SLICE_LIT("999")}};
    struct outcome outcome;
    call_with(f, "http://alpha/pay/undo?own=1%202&gid=kept#fragment", "{\"n\":1}", 5000, headers, 3,
              &outcome);
    wait_for(f->loop, f->a.held == 1);
    struct http_request *got = f->a.http_held[0];
    assert_int_equal(http_request_method(got), HTTP_POST);
    assert_string_equal(http_request_path(got), "/pay/undo");
    assert_string_equal(http_request_query(got, "own"), "1 2");
    assert_string_equal(http_request_query(got, "branch_id"), "02");
    assert_string_equal(http_request_query(got, "op"), "compensate");
    assert_string_equal(http_request_query(got, "trans_type"), "saga");
    assert_true(slice_eq_str(http_request_body(got), "{\"n\":1}"));
    assert_string_equal(http_request_header(got, "Content-Type"), "text/x-own");
    assert_string_equal(http_request_header(got, "X-Tenant"), "t1");
    assert_true(trace_parent_is_valid(slice_str(http_request_header(got, "traceparent"))));
    answer_http(&f->a, 0, 204, "");
    wait_for(f->loop, outcome.done);
    assert_int_equal(outcome.verdict, CALL_SUCCESS);
}

static void test_http_call_without_payload_is_a_get(void **state)
{
    struct fixture *f = open_http(state);
    struct outcome outcome;
    call_with(f, "http://alpha", "", 5000, NULL, 0, &outcome);
    wait_for(f->loop, f->a.held == 1);
    struct http_request *got = f->a.http_held[0];
    assert_int_equal(http_request_method(got), HTTP_GET);
    assert_string_equal(http_request_path(got), "/");
    assert_string_equal(http_request_query(got, "gid"), "gid 1/ä");
    assert_string_equal(http_request_header(got, "Content-Type"), "application/json");
    answer_http(&f->a, 0, 500, "broken");
    wait_for(f->loop, outcome.done);
    assert_int_equal(outcome.verdict, CALL_ERROR);
    assert_string_equal(outcome.message, "status 500: broken");
}

static void test_http_traceparent_of_the_client_goes_on(void **state)
{
    struct fixture *f = open_http(state);
    const char *given = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    struct txn_header header = {SLICE_LIT("traceparent"), slice_str(given)};
    struct outcome outcome;
    call_with(f, "http://alpha/x", "", 5000, &header, 1, &outcome);
    wait_for(f->loop, f->a.held == 1);
    assert_string_equal(http_request_header(f->a.http_held[0], "traceparent"), given);
    answer_http(&f->a, 0, 409, "no");
    wait_for(f->loop, outcome.done);
    assert_int_equal(outcome.verdict, CALL_FAILURE);
}

static void test_http_cap_of_connections_holds(void **state)
{
    struct fixture *f = open_http(state);
    struct outcome outcomes[3];
    for (int i = 0; i < 3; i++) {
        call(f, "http://alpha/x", &outcomes[i]);
    }
    wait_for(f->loop, f->a.held == 2);
    settle(f);
    assert_int_equal(f->a.held, 2);
    answer_http(&f->a, 0, 200, "");
    wait_for(f->loop, f->a.held == 3);
    answer_http(&f->a, 1, 200, "");
    answer_http(&f->a, 2, 200, "");
    wait_for(f->loop, f->ended == 3);
}

static void test_http_free_ends_everything_silently(void **state)
{
    struct fixture *f = open_http(state);
    struct outcome outcomes[3];
    for (int i = 0; i < 3; i++) {
        call(f, "http://alpha/x", &outcomes[i]);
    }
    wait_for(f->loop, f->a.held == 2);
    caller_net_free(f->net);
    f->net = NULL;
    settle(f);
    assert_int_equal(f->ended, 0);
}

static void test_http_verdicts(void **state)
{
    static const struct {
        int status;
        const char *body;
        enum call_verdict verdict;
    } cases[] = {
        {200, "", CALL_SUCCESS},
        {201, "x", CALL_SUCCESS},
        {204, "", CALL_SUCCESS},
        {200, "{\"dtm_result\":\"FAILURE\"}", CALL_FAILURE},
        {200, "{\"dtm_result\":\"ONGOING\"}", CALL_ONGOING},
        {409, "", CALL_FAILURE},
        {425, "", CALL_ONGOING},
        {500, "FAILURE", CALL_FAILURE},
        {500, "ONGOING", CALL_ONGOING},
        {409, "ONGOING", CALL_ONGOING},
        {425, "FAILURE", CALL_ONGOING},
        {200, "FAILURE ONGOING", CALL_ONGOING},
        {200, "failure", CALL_SUCCESS},
        {302, "", CALL_ERROR},
        {404, "", CALL_ERROR},
        {503, "", CALL_ERROR},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        assert_int_equal(http_verdict(cases[i].status, slice_str(cases[i].body)), cases[i].verdict);
    }
}

/* Whatever the body says: a word in it may be an accident, the header is none. */
static void test_http_header_tells_a_conflict(void **state)
{
    struct fixture *f = open_http(state);
    for (int i = 0; i < 2; i++) {
        struct outcome outcome;
        call(f, "http://alpha/x", &outcome);
        wait_for(f->loop, f->a.held == i + 1);
        answer_http_conflict(&f->a, i, i == 0 ? 500 : 200, "FAILURE: was cancelled");
        wait_for(f->loop, outcome.done);
        assert_int_equal(outcome.verdict, CALL_CONFLICT);
        assert_non_null(strstr(outcome.message, "was cancelled"));
    }
}

static void test_http_body_is_searched_only_so_far(void **state)
{
    (void)state;
    size_t word = strlen("FAILURE");
    char *body = calloc(1, HTTP_BODY_MATCH_MAX + 16);
    memset(body, '.', HTTP_BODY_MATCH_MAX + 8);
    memcpy(body + HTTP_BODY_MATCH_MAX - word, "FAILURE", word);
    assert_int_equal(http_verdict(200, slice_make(body, HTTP_BODY_MATCH_MAX + 8)), CALL_FAILURE);
    memmove(body + HTTP_BODY_MATCH_MAX - word + 1, "FAILURE", word);
    body[HTTP_BODY_MATCH_MAX - word] = '.';
    assert_int_equal(http_verdict(200, slice_make(body, HTTP_BODY_MATCH_MAX + 8)), CALL_SUCCESS);
    free(body);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(test_tcp_call_carries_everything),
        CASE(test_tcp_results),
        CASE(test_tcp_error_frame_and_dropped_connection_are_errors),
        CASE(test_deadline_ends_a_call_and_the_late_answer_is_ignored),
        CASE(test_a_deadline_that_the_wire_cannot_tell_is_told_as_the_longest),
        CASE(test_unreachable_unknown_and_malformed_are_errors),
        CASE(test_calls_over_the_cap_wait_in_order),
        CASE(test_full_line_is_an_error_and_others_are_not_concerned),
        CASE(test_deadline_counts_in_line),
        CASE(test_lines_take_turns_when_all_together_are_too_many),
        CASE(test_bytes_in_flight_are_bounded),
        CASE(test_a_big_payload_makes_room_for_many_small_ones),
        CASE(test_unused_participants_are_forgotten),
        CASE(test_number_of_participants_is_bounded),
        CASE(test_free_ends_everything_silently),
        CASE(test_http_call_follows_the_conventions),
        CASE(test_http_call_without_payload_is_a_get),
        CASE(test_http_traceparent_of_the_client_goes_on),
        CASE(test_http_cap_of_connections_holds),
        CASE(test_http_free_ends_everything_silently),
        CASE(test_http_verdicts),
        CASE(test_http_header_tells_a_conflict),
        CASE(test_http_body_is_searched_only_so_far),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
