/* Alerts on their way to a real socket, whose owner takes them, refuses them or says nothing. */
#include "coordinator/alerts.h"

#include "base/log.h"
#include "base/mem.h"
#include "harness/wait_for.h"
#include "net/http.h"
#include "wire/json.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { HELD_MAX = 16 };

struct fixture {
    struct loop *loop;
    struct http_server *server;
    struct metrics *metrics;
    struct alerts *alerts;
    struct txn *txn;
    char hook[64];
    struct alerts_conf conf;
    int status;      /* that the hook answers; 0: holds the request */
    int fail_first;  /* so many are answered 500 */
    int got;         /* requests */
    char body[2000]; /* of the last */
    struct http_request *held[HELD_MAX];
    int held_count;
};

static void on_request(void *arg, struct http_request *request)
{
    struct fixture *f = arg;
    struct slice body = http_request_body(request);
    snprintf(f->body, sizeof(f->body), "%.*s", SLICE_ARG(body));
    assert_int_equal(http_request_method(request), HTTP_POST);
    assert_string_equal(http_request_header(request, "Content-Type"), "application/json");
    f->got++;
    if (f->status == 0) {
        assert_true(f->held_count < HELD_MAX);
        f->held[f->held_count++] = request;
        return;
    }
    int status = f->got <= f->fail_first ? 500 : f->status;
    http_reply(request, status, "text/plain", slice_str(""));
}

static void alerts_open(struct fixture *f)
{
    f->alerts = alerts_new(f->loop, &f->conf, f->metrics);
}

/* After a change of the settings. */
static void alerts_reopen(struct fixture *f)
{
    alerts_free(f->alerts);
    alerts_open(f);
}

static struct txn *txn_sample(void)
{
    struct txn_step step = {
        .urls = {[OP_ACTION] = SLICE_LIT("http://p/do"), [OP_UNDO] = SLICE_LIT("http://p/undo")}};
    struct txn_spec spec = {
        .gid = SLICE_LIT("g\"1"), .trans_type = SLICE_LIT("saga"), .steps = &step, .step_count = 1};
    return txn_new(&spec);
}

static int setup(void **state)
{
    struct fixture *f = mem_new(struct fixture);
    struct http_server_conf conf = {.address = "127.0.0.1:0",
                                    .body_max = 100000,
                                    .header_max = 10000,
                                    .timeout_ms = 10000,
                                    .connections_max = 100};
    struct reason reason;
    log_set_level((enum log_level)(LOG_ERROR + 1));
    f->loop = loop_new();
    f->server = http_server_open(f->loop, &conf, on_request, f, &reason);
    assert_non_null(f->server);
    f->metrics = metrics_new(1, "1");
    f->txn = txn_sample();
    f->status = 200;
    snprintf(f->hook, sizeof(f->hook), "http://127.0.0.1:%d/hook?k=1", http_server_port(f->server));
    f->conf = (struct alerts_conf){
        .webhook = f->hook, .retry_limit = 3, .retry_delay_ms = 1, .timeout_ms = 500};
    alerts_open(f);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    alerts_free(f->alerts);
    loop_turn(f->loop, 0);
    for (int i = 0; i < f->held_count; i++) {
        http_reply(f->held[i], 200, "text/plain", slice_str(""));
    }
    http_server_free(f->server);
    loop_turn(f->loop, 0);
    metrics_free(f->metrics);
    txn_free(f->txn);
    loop_free(f->loop);
    free(f);
    return 0;
}

static void trouble(struct fixture *f, enum txn_park parked, int64_t attempts)
{
    struct engine_trouble what = {.txn = f->txn,
                                  .branch = &f->txn->branches[0],
                                  .op = OP_UNDO,
                                  .parked = parked,
                                  .attempts = attempts,
                                  .error = SLICE_LIT("said \"no\"\n\xff")};
    alerts_troubled(f->alerts, &what);
}

static bool counted(struct fixture *f, const char *line)
{
    static const struct metrics_backlog unknown;
    struct buf text = {0};
    metrics_render(f->metrics, &unknown, &text);
    bool found = strstr(text.data, line);
    buf_fini(&text);
    return found;
}

static void assert_field(const struct json *body, const char *name, const char *value)
{
    assert_true(slice_eq_str(json_string(json_get(body, name)), value));
}

static void test_the_body_has_the_fields_of_dtm_and_ours(void **state)
{
    struct fixture *f = *state;
    struct json *body = NULL;
    trouble(f, PARK_CONFLICT, 1);
    wait_for(f->loop, counted(f, "sagad_alerts_total{result=\"sent\"} 1\n"));
    assert_int_equal(json_parse(slice_str(f->body), &body, NULL), ERR_OK);
    assert_field(body, "gid", "g\"1");
    assert_field(body, "status", "submitted");
    assert_field(body, "branch", "http://p/undo");
    assert_field(body, "error", "said \"no\"\n\xef\xbf\xbd");
    assert_true(json_double(json_get(body, "retry_count")) == 1);
    assert_field(body, "reason", "conflict");
    assert_field(body, "branch_id", "01");
    assert_field(body, "op", "compensate");
    assert_int_equal(json_string(json_get(body, "time")).len, strlen("2026-01-31T12:00:00.000Z"));
    json_free(body);
    assert_true(counted(f, "sagad_parkings_total{reason=\"conflict\"} 1\n"));
    assert_true(counted(f, "sagad_parkings_total{reason=\"attempts\"} 0\n"));
}

static void test_failures_are_told_from_the_limit_on(void **state)
{
    struct fixture *f = *state;
    for (int attempts = 1; attempts <= 5; attempts++) {
        trouble(f, PARK_NOT, attempts);
    }
    wait_for(f->loop, counted(f, "sagad_alerts_total{result=\"sent\"} 3\n"));
    assert_int_equal(f->got, 3);
    assert_non_null(strstr(f->body, "\"reason\":\"retry\""));
    assert_true(counted(f, "sagad_parkings_total{reason=\"attempts\"} 0\n"));
}

static void test_with_limit_zero_only_what_is_parked(void **state)
{
    struct fixture *f = *state;
    f->conf.retry_limit = 0;
    alerts_reopen(f);
    trouble(f, PARK_NOT, 100);
    trouble(f, PARK_ATTEMPTS, 101);
    wait_for(f->loop, counted(f, "sagad_alerts_total{result=\"sent\"} 1\n"));
    assert_int_equal(f->got, 1);
    assert_non_null(strstr(f->body, "\"retry_count\":101"));
}

static void test_what_is_refused_is_sent_again(void **state)
{
    struct fixture *f = *state;
    f->fail_first = ALERTS_TRIES - 1;
    trouble(f, PARK_ATTEMPTS, 9);
    wait_for(f->loop, counted(f, "sagad_alerts_total{result=\"sent\"} 1\n"));
    assert_int_equal(f->got, ALERTS_TRIES);
    assert_true(counted(f, "sagad_alerts_total{result=\"failed\"} 0\n"));
}

static void test_after_some_tries_it_is_given_up(void **state)
{
    struct fixture *f = *state;
    f->fail_first = 1000;
    trouble(f, PARK_ATTEMPTS, 9);
    wait_for(f->loop, counted(f, "sagad_alerts_total{result=\"failed\"} 1\n"));
    assert_int_equal(f->got, ALERTS_TRIES);
}

static void test_a_silent_hook_is_asked_again(void **state)
{
    struct fixture *f = *state;
    f->status = 0;
    trouble(f, PARK_ATTEMPTS, 9);
    wait_for(f->loop, f->got == 2);
    f->status = 204;
    wait_for(f->loop, counted(f, "sagad_alerts_total{result=\"sent\"} 1\n"));
}

static void test_the_queue_is_bounded(void **state)
{
    struct fixture *f = *state;
    f->status = 0;
    for (int i = 0; i < ALERTS_WAITING_MAX + 7; i++) {
        trouble(f, PARK_ATTEMPTS, 9);
    }
    assert_true(counted(f, "sagad_alerts_total{result=\"dropped\"} 7\n"));
    alerts_free(f->alerts); /* with all of them under way */
    f->alerts = NULL;
    assert_true(counted(f, "sagad_alerts_total{result=\"dropped\"} 1007\n"));
}

static void fill_with_retry_news(struct fixture *f)
{
    for (int i = 0; i < ALERTS_WAITING_MAX; i++) {
        trouble(f, PARK_NOT, 3);
    }
    assert_true(counted(f, "sagad_alerts_total{result=\"dropped\"} 0\n"));
}

/* The hook answers one that it holds, and gets the next. */
static const char *next_body(struct fixture *f)
{
    int before = f->got;
    http_reply(f->held[--f->held_count], 200, "text/plain", slice_str(""));
    wait_for(f->loop, f->got == before + 1);
    return f->body;
}

static void test_what_is_told_once_pushes_out_what_repeats_and_goes_first(void **state)
{
    struct fixture *f = *state;
    f->conf.timeout_ms = PATIENCE_MS;
    alerts_reopen(f);
    f->status = 0;
    fill_with_retry_news(f);
    wait_for(f->loop, f->held_count == 4); /* as many as it takes at a time */
    trouble(f, PARK_CONFLICT, 1);
    alerts_dead_letter(f->alerts, "{t:0}:outbox", "5-1", "no gid");
    assert_true(counted(f, "sagad_alerts_total{result=\"dropped\"} 2\n"));
    trouble(f, PARK_NOT, 3); /* pushes nobody out */
    assert_true(counted(f, "sagad_alerts_total{result=\"dropped\"} 3\n"));
    assert_non_null(strstr(next_body(f), "\"reason\":\"conflict\""));
    assert_non_null(strstr(next_body(f), "\"reason\":\"dead_letter\""));
    assert_non_null(strstr(next_body(f), "\"reason\":\"retry\""));
}

static void test_what_waits_for_its_next_try_is_pushed_out_too(void **state)
{
    struct fixture *f = *state;
    f->conf.retry_delay_ms = 60000;
    alerts_reopen(f);
    f->fail_first = ALERTS_WAITING_MAX;
    fill_with_retry_news(f);
    wait_for(f->loop, f->got == ALERTS_WAITING_MAX);
    trouble(f, PARK_CONFLICT, 1);
    wait_for(f->loop, counted(f, "sagad_alerts_total{result=\"sent\"} 1\n"));
    assert_non_null(strstr(f->body, "\"reason\":\"conflict\""));
    assert_true(counted(f, "sagad_alerts_total{result=\"dropped\"} 1\n"));
}

static void test_a_dead_letter(void **state)
{
    struct fixture *f = *state;
    alerts_dead_letter(f->alerts, "{t:0}:outbox", "5-1", "no gid");
    wait_for(f->loop, f->got == 1);
    static const char want[] = "{\"gid\":\"\",\"status\":\"dead\",\"branch\":\"{t:0}:outbox\","
                               "\"error\":\"no gid\",\"retry_count\":0,\"reason\":\"dead_letter\","
                               "\"branch_id\":\"5-1\",\"op\":\"outbox\",";
    assert_int_equal(strncmp(f->body, want, strlen(want)), 0);
}

static void test_without_a_hook_it_is_counted_and_logged_only(void **state)
{
    struct fixture *f = *state;
    f->conf.webhook = "";
    alerts_reopen(f);
    trouble(f, PARK_ATTEMPTS, 9);
    alerts_dead_letter(f->alerts, "k", "1-1", "why");
    assert_true(counted(f, "sagad_parkings_total{reason=\"attempts\"} 1\n"));
    assert_true(counted(f, "sagad_alerts_total{result=\"dropped\"} 0\n"));
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(test_the_body_has_the_fields_of_dtm_and_ours),
        CASE(test_failures_are_told_from_the_limit_on),
        CASE(test_with_limit_zero_only_what_is_parked),
        CASE(test_what_is_refused_is_sent_again),
        CASE(test_after_some_tries_it_is_given_up),
        CASE(test_a_silent_hook_is_asked_again),
        CASE(test_the_queue_is_bounded),
        CASE(test_what_is_told_once_pushes_out_what_repeats_and_goes_first),
        CASE(test_what_waits_for_its_next_try_is_pushed_out_too),
        CASE(test_a_dead_letter),
        CASE(test_without_a_hook_it_is_counted_and_logged_only),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
