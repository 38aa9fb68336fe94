#include "coordinator/settings.h"

#include "base/slice.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* Longer than the kernel takes. */
#define LONG_PATH                                                                                  \
    "0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890"  \
    "0123456789012345678901234567890123456789"

static enum err load(const char *text, struct reason *reason)
{
    struct settings settings = {0};
    conf_defaults(&settings_program, &settings);
    enum err err = conf_parse(&settings_program, &settings, text, strlen(text), reason);
    if (!err) {
        err = settings_check(&settings, reason);
    }
    settings_fini(&settings);
    return err;
}

static void test_defaults_are_valid_and_those_of_the_documentation(void **state)
{
    struct settings settings = {0};
    struct reason reason = {.text = ""};
    (void)state;
    conf_defaults(&settings_program, &settings);
    assert_int_equal(settings_check(&settings, &reason), ERR_OK);
    assert_string_equal(settings.listen_http, "127.0.0.1:36789");
    assert_string_equal(settings.listen_tcp, "127.0.0.1:36791");
    assert_string_equal(settings.token, "");
    assert_string_equal(settings.durability, "everysec");
    assert_true(settings.partitions == 16);
    assert_true(settings.workers == 1);
    assert_true(settings.retry_interval_ms == 10000); /* DTM's */
    assert_true(settings.retry_interval_max_ms == 300000);
    assert_true(settings.request_timeout_ms == 3000); /* DTM's */
    assert_true(settings.lease_ms == 3000);
    assert_true(settings.retention_ms == 86400000);
    settings_fini(&settings);
}

static void test_every_option_has_help_and_a_valid_default(void **state)
{
    (void)state;
    for (const struct conf_option *option = settings_program.options; option->name; option++) {
        assert_true(strlen(option->help) > 10);
        assert_int_equal(option->help[strlen(option->help) - 1], '.');
    }
}

static void test_good_files(void **state)
{
    static const char *const cases[] = {
        "",
        "listen_http = 0.0.0.0:80\nworkers = 2\n",
        "listen_tcp = unix:/run/sagad.sock\nframe_max = 2mb\n",
        "listen_tcp = [::1]:36791\n",
        "resolver.order = 10.0.0.1:9002\nresolver.local = unix:/x\n",
        "outbox.order = {ord:0..15}:outbox\noutbox.score = redis://u:p@10.0.0.1:6379/{scr:0}:o\n",
        "resolver.order = 10.0.0.1:9002, shop.example:9002,[::1]:9\n",
        "dns_server = 10.0.0.53\ndns_ttl = 0\n",
        "dns_server = [fd00::53]:5353\ndns_ttl = 1d\n",
        "retry_interval = 1m\nretry_interval_max = 1m\n",
        "retention = 2s\nlease = 2s\n",
        "durability = always\nredis = unix:/run/redis.sock\nredis_db = 3\n",
        "wait_replicas = 2\nwait_timeout = 1s\nstore_timeout = 3s\n",
    };
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct reason reason = {.text = ""};
        if (load(cases[i], &reason)) {
            fail_msg("%s: %s", cases[i], reason.text);
        }
    }
}

static void test_bad_files_are_refused_by_the_name_of_the_option(void **state)
{
    static const struct {
        const char *text, *says;
    } cases[] = {
        {"listen_http = 36789\n", "listen_http"},
        {"listen_http = :36789\n", "listen_http"},
        {"listen_tcp = host:70000\n", "listen_tcp"},
        {"listen_tcp = host:\n", "listen_tcp"},
        {"listen_tcp = ::1:80\n", "listen_tcp = '::1:80': must be host:port"},
        {"listen_http = unix:/" LONG_PATH "\n", "listen_http"},
        {"workers = 2\nlisten_http = 127.0.0.1:0\n", "workers"},
        {"workers = 0\n", "workers"},
        {"frame_max = 2047kb\n", "frame_max"},
        {"retry_interval = 10m\n", "retry_interval_max"},
        {"retention = 2s\n", "must not be below lease"},
        {"wait_replicas = 1\nwait_timeout = 700ms\n", "wait_timeout"},
        {"outbox.o = {k}?wait_replicas=1\nwait_timeout = 700ms\n", "wait_timeout"},
        {"wait_replicas = 17\n", "wait_replicas"},
        {"resolver.order = nowhere\n", "resolver.order"},
        {"outbox.order = redis://nowhere/{k}\n", "outbox.order"},
        {"outbox.pay = rediss://u:p@h:1/{p:0}:outbox\n", "outbox.pay"},
        {"outbox.order = {ord:1..0}:outbox\n", "outbox.order"},
        {"resolver.order = h:1,nowhere\n", "resolver.order"},
        {"alert_webhook = https://hooks.example/x\n", "alert_webhook"},
        {"alert_webhook = hooks.example\n", "alert_webhook"},
        {"park_after = -1\n", "park_after"},
        {"dns_server = ns.example\n", "dns_server"},
        {"dns_server = 10.0.0.53:x\n", "dns_server"},
        {"dns_ttl = 2d\n", "dns_ttl"},
        {"durability = sometimes\n", "durability"},
        {"partitions = 5000\n", "partitions"},
        {"lease = 10ms\n", "lease"},
        {"no_such_option = 1\n", "no_such_option"},
        {"log_level = loud\n", "log_level"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct reason reason = {.text = ""};
        assert_int_equal(load(cases[i].text, &reason), ERR_INVALID);
        if (!strstr(reason.text, cases[i].says)) {
            fail_msg("%s: %s", cases[i].text, reason.text);
        }
    }
}

static void test_load_gives_the_verdict(void **state)
{
    static char name[] = "sagad", bad[] = "--retry_interval=10m", check[] = "--check-config";
    char *good_args[] = {name, NULL};
    char *bad_args[] = {name, bad, NULL};
    char *check_args[] = {name, check, bad, NULL};
    struct settings settings = {0};
    (void)state;
    assert_int_equal(settings_load(&settings, 1, good_args), CONF_RUN);
    settings_fini(&settings);
    memset(&settings, 0, sizeof(settings));
    assert_int_equal(settings_load(&settings, 2, bad_args), CONF_BAD);
    settings_fini(&settings);
    memset(&settings, 0, sizeof(settings));
    assert_int_equal(settings_load(&settings, 3, check_args), CONF_BAD);
    settings_fini(&settings);
    memset(&settings, 0, sizeof(settings));
    assert_int_equal(settings_load(&settings, 2, check_args), CONF_EXIT_OK);
    settings_fini(&settings);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_defaults_are_valid_and_those_of_the_documentation),
        cmocka_unit_test(test_every_option_has_help_and_a_valid_default),
        cmocka_unit_test(test_good_files),
        cmocka_unit_test(test_bad_files_are_refused_by_the_name_of_the_option),
        cmocka_unit_test(test_load_gives_the_verdict),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
