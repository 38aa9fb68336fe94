#include "coordinator/metrics.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static const char *const routes[] = {"/a", "/b"};
static const struct metrics_backlog unknown_backlog;

/* Whole lines: "name{labels} value". */
static bool has_line(const struct buf *text, const char *line)
{
    size_t len = strlen(line);
    for (const char *at = text->data; (at = strstr(at, line)); at += len) {
        bool begins = at == text->data || at[-1] == '\n';
        if (begins && at[len] == '\n') {
            return true;
        }
    }
    return false;
}

static int setup(void **state)
{
    struct metrics *metrics = metrics_new(2, "1.2.3");
    metrics_set_routes(metrics, routes, 2);
    *state = metrics;
    return 0;
}

static int teardown(void **state)
{
    metrics_free(*state);
    return 0;
}

static void test_counts_and_durations(void **state)
{
    struct metrics *metrics = *state;
    struct buf text = {0};
    metrics_submitted(metrics, TXN_SAGA);
    metrics_finished(metrics, TXN_SAGA, TXN_SUCCEED, 3);
    metrics_finished(metrics, TXN_SAGA, TXN_FAILED, 2000000);
    metrics_called(metrics, "action", CALL_FAILURE, 1000);
    metrics_redis(metrics, true, 90);
    metrics_redis(metrics, false, 101);
    metrics_render(metrics, &unknown_backlog, &text);
    assert_true(has_line(&text, "sagad_build_info{version=\"1.2.3\"} 1"));
    assert_true(has_line(&text, "sagad_transactions_total{type=\"saga\",status=\"submitted\"} 1"));
    assert_true(has_line(&text, "sagad_transactions_total{type=\"saga\",status=\"succeed\"} 1"));
    assert_true(has_line(&text, "sagad_transactions_total{type=\"saga\",status=\"failed\"} 1"));
    assert_true(has_line(
        &text, "sagad_transaction_duration_seconds_bucket{type=\"saga\",le=\"0.002500\"} 0"));
    assert_true(has_line(
        &text, "sagad_transaction_duration_seconds_bucket{type=\"saga\",le=\"0.005000\"} 1"));
    assert_true(
        has_line(&text, "sagad_transaction_duration_seconds_bucket{type=\"saga\",le=\"+Inf\"} 2"));
    assert_true(
        has_line(&text, "sagad_transaction_duration_seconds_sum{type=\"saga\"} 2000.003000"));
    assert_true(has_line(&text, "sagad_transaction_duration_seconds_count{type=\"saga\"} 2"));
    assert_true(has_line(&text, "sagad_branch_calls_total{op=\"action\",result=\"FAILURE\"} 1"));
    assert_true(has_line(&text, /* a bound belongs to its bucket */
                         "sagad_branch_call_duration_seconds_bucket{op=\"action\",le=\"0.001000\"} "
                         "1"));
    assert_true(has_line(&text, "sagad_redis_commands_total{result=\"ok\"} 1"));
    assert_true(has_line(&text, "sagad_redis_commands_total{result=\"error\"} 1"));
    assert_true(has_line(&text, "sagad_redis_round_trip_seconds_bucket{le=\"0.000100\"} 1"));
    assert_true(has_line(&text, "sagad_redis_round_trip_seconds_count 2"));
    buf_fini(&text);
}

static void test_labels_are_bounded(void **state)
{
    struct metrics *metrics = *state;
    struct buf text = {0};
    metrics_http(metrics, 0, 200, 5);
    metrics_http(metrics, 1, 299, 5);
    metrics_http(metrics, -1, 404, 5);
    metrics_http(metrics, 1000, 404, 5);
    metrics_render(metrics, &unknown_backlog, &text);
    assert_true(has_line(&text, "sagad_http_requests_total{path=\"/a\",status=\"200\"} 1"));
    assert_true(has_line(&text, "sagad_http_requests_total{path=\"/b\",status=\"other\"} 1"));
    assert_true(has_line(&text, "sagad_http_requests_total{path=\"other\",status=\"404\"} 2"));
    buf_fini(&text);
}

static void test_backlog_is_left_out_when_the_store_is_away(void **state)
{
    struct metrics *metrics = *state;
    struct metrics_backlog backlog = {.known = true, .due = 7, .overdue = 2, .parked = 3};
    struct buf text = {0};
    metrics_render(metrics, &unknown_backlog, &text);
    assert_null(strstr(text.data, "sagad_due_transactions"));
    buf_clear(&text);
    metrics_render(metrics, &backlog, &text);
    assert_true(has_line(&text, "sagad_due_transactions 7"));
    assert_true(has_line(&text, "sagad_overdue_transactions 2"));
    assert_true(has_line(&text, "sagad_parked_transactions 3"));
    buf_fini(&text);
}

/* Another process counts in its part; this one answers for both. */
static void test_workers_are_added_up(void **state)
{
    struct metrics *metrics = *state;
    metrics_attach(metrics, 0);
    metrics_submitted(metrics, TXN_SAGA);
    metrics_set(metrics, GAUGE_LIVE, 3);
    metrics_set(metrics, GAUGE_OUTBOX_OLDEST_S, 7);
    metrics_outbox(metrics, METRICS_OUTBOX_CONSUMED, 5);
    metrics_outbox(metrics, METRICS_OUTBOX_DEAD, 2);
    pid_t pid = fork();
    if (pid == 0) {
        metrics_attach(metrics, 1);
        metrics_submitted(metrics, TXN_SAGA);
        metrics_set(metrics, GAUGE_LIVE, 4);
        metrics_set(metrics, GAUGE_CALLS_MOVED, 6);
        metrics_set(metrics, GAUGE_CONNECTIONS_REFUSED, 8);
        _exit(0);
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    struct buf text = {0};
    metrics_render(metrics, &unknown_backlog, &text);
    assert_true(has_line(&text, "sagad_transactions_total{type=\"saga\",status=\"submitted\"} 2"));
    assert_true(has_line(&text, "sagad_live_transactions 7"));
    assert_true(has_line(&text, "sagad_outbox_oldest_seconds 7"));
    assert_true(has_line(&text, "sagad_outbox_consumed_total 5"));
    assert_true(has_line(&text, "sagad_outbox_dead_total 2"));
    buf_clear(&text);
    metrics_attach(metrics, 1); /* as a worker that was started again */
    metrics_render(metrics, &unknown_backlog, &text);
    assert_true(has_line(&text, "sagad_transactions_total{type=\"saga\",status=\"submitted\"} 2"));
    assert_true(has_line(&text, "sagad_live_transactions 3"));
    assert_true(has_line(&text, "sagad_branch_calls_moved_total 6"));
    assert_true(has_line(&text, "sagad_connections_refused_total 8"));
    buf_clear(&text);
    metrics_set(metrics, GAUGE_CALLS_MOVED, 1);
    metrics_attach(metrics, 1); /* and once more */
    metrics_set(metrics, GAUGE_CONNECTIONS_REFUSED, 2);
    metrics_render(metrics, &unknown_backlog, &text);
    assert_true(has_line(&text, "sagad_branch_calls_moved_total 7"));
    assert_true(has_line(&text, "sagad_connections_refused_total 10"));
    buf_fini(&text);
}

/* Every line is a comment or "name value" / "name{…} value"; every name has HELP and TYPE before.
 */
static void test_text_has_the_form_that_prometheus_reads(void **state)
{
    struct metrics *metrics = *state;
    struct buf text = {0};
    metrics_http(metrics, 0, 200, 5);
    metrics_render(metrics, &unknown_backlog, &text);
    assert_int_equal(text.data[text.len - 1], '\n');
    char family[128] = "";
    char *rest = text.data;
    for (char *line; (line = strsep(&rest, "\n")) && line[0];) {
        if (strncmp(line, "# TYPE ", 7) == 0) {
            snprintf(family, sizeof(family), "%.*s", (int)strcspn(line + 7, " "), line + 7);
        } else if (line[0] != '#') {
            assert_int_equal(strncmp(line, family, strlen(family)), 0);
            char *value = strrchr(line, ' ');
            assert_non_null(value);
            char *end;
            strtod(value + 1, &end);
            assert_int_equal(*end, '\0');
        }
    }
    buf_fini(&text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_counts_and_durations, setup, teardown),
        cmocka_unit_test_setup_teardown(test_labels_are_bounded, setup, teardown),
        cmocka_unit_test_setup_teardown(test_backlog_is_left_out_when_the_store_is_away, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_workers_are_added_up, setup, teardown),
        cmocka_unit_test_setup_teardown(test_text_has_the_form_that_prometheus_reads, setup,
                                        teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
