#include "services/common/counters.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static void nothing_counted_is_still_valid_text(void **state)
{
    (void)state;
    struct counters *counters = counters_new("orderd");
    struct buf text = {0};
    counters_render(counters, &text);
    assert_string_equal(text.data,
                        "# HELP mall_http_requests_total Answered HTTP requests.\n"
                        "# TYPE mall_http_requests_total counter\n"
                        "# HELP mall_branch_calls_total Branch calls by what the barrier said.\n"
                        "# TYPE mall_branch_calls_total counter\n"
                        "# HELP mall_alerts_total Compensations that a person should look at.\n"
                        "# TYPE mall_alerts_total counter\n"
                        "mall_alerts_total{service=\"orderd\"} 0\n");
    buf_fini(&text);
    counters_free(counters);
}

static void each_combination_of_labels_has_its_count(void **state)
{
    (void)state;
    static const char *const lines[] = {
        "mall_http_requests_total{service=\"orderd\",path=\"/api/a\",status=\"200\"} 2\n",
        "mall_http_requests_total{service=\"orderd\",path=\"/api/a\",status=\"409\"} 1\n",
        "mall_http_requests_total{service=\"orderd\",path=\"/api/a\",status=\"other\"} 1\n",
        "mall_http_requests_total{service=\"orderd\",path=\"other\",status=\"404\"} 1\n",
        "mall_branch_calls_total{service=\"orderd\",method=\"o.O/C\",verdict=\"OK\"} 2\n",
        "mall_branch_calls_total{service=\"orderd\",method=\"o.O/C\",verdict=\"BROKEN\"} 1\n",
        "mall_branch_calls_total{service=\"orderd\",method=\"o.O/D\",verdict=\"DUP\"} 1\n",
        "mall_alerts_total{service=\"orderd\"} 1\n",
    };
    struct counters *counters = counters_new("orderd");
    char same[] = "/api/a"; /* the same text at another place is the same path */
    counters_request(counters, "/api/a", 200);
    counters_request(counters, same, 200);
    counters_request(counters, "/api/a", 409);
    counters_request(counters, "/api/a", 418);
    counters_request(counters, NULL, 404);
    counters_call(counters, "o.O/C", SAGA_OK);
    counters_call(counters, "o.O/C", SAGA_OK);
    counters_call(counters, "o.O/C", SAGA_BROKEN);
    counters_call(counters, "o.O/D", SAGA_DUP);
    counters_alert(counters);
    struct buf text = {0};
    counters_render(counters, &text);
    for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
        if (!strstr(text.data, lines[i])) {
            fail_msg("no line %s in:\n%s", lines[i], text.data);
        }
    }
    size_t samples = 0;
    for (const char *at = text.data; (at = strstr(at, "\nmall_")); at++) {
        samples++;
    }
    assert_int_equal(samples, sizeof(lines) / sizeof(lines[0]));
    buf_fini(&text);
    counters_free(counters);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_counted_is_still_valid_text),
        cmocka_unit_test(each_combination_of_labels_has_its_count),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
