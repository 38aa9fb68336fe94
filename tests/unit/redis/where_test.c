/* What may stand in the setting `redis`. */
#include "redis/where.h"

#include "base/buf.h"
#include "redis/redis.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static void good_ones_are_taken_apart(void **state)
{
    static const struct {
        const char *text;
        enum where_kind kind;
        size_t count;
        const char *last, *master;
    } cases[] = {
        {"127.0.0.1:6379", WHERE_SERVER, 1, "127.0.0.1:6379", NULL},
        {"[::1]:6379", WHERE_SERVER, 1, "[::1]:6379", NULL},
        {"unix:/run/redis.sock", WHERE_SERVER, 1, "unix:/run/redis.sock", NULL},
        {"sentinel://a:26379/m", WHERE_SENTINELS, 1, "a:26379", "m"},
        {"sentinel://a:1,[::1]:2,c.example:3/my-master", WHERE_SENTINELS, 3, "c.example:3",
         "my-master"},
        {"cluster://a:7000", WHERE_CLUSTER, 1, "a:7000", NULL},
        {"cluster://a:7000,b:7001", WHERE_CLUSTER, 2, "b:7001", NULL},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct where where;
        struct reason reason = {""};
        assert_int_equal(where_parse(cases[i].text, &where, &reason), ERR_OK);
        assert_int_equal(where.kind, cases[i].kind);
        assert_int_equal(where.count, cases[i].count);
        assert_string_equal(where.hosts[where.count - 1], cases[i].last);
        if (cases[i].master) {
            assert_string_equal(where.master, cases[i].master);
        } else {
            assert_null(where.master);
        }
        where_fini(&where);
        assert_int_equal(redis_address_check(cases[i].text, 0, &reason), ERR_OK);
    }
}

static void bad_ones_are_refused_with_what_is_wrong(void **state)
{
    static const char *const cases[][2] = {
        {"", "is not an address of Redis"},
        {"localhost", "is not an address of Redis"},
        {":6379", "is not an address of Redis"},
        {"redis://localhost:6379", "is not an address of Redis"},
        {"sentinel://a:1", "the master's name is missing"},
        {"sentinel://a:1/", "the master's name is missing"},
        {"sentinel://a:1/my master", "the master's name cannot be one"},
        {"sentinel://a:1/m/n", "the master's name cannot be one"},
        {"sentinel:///m", "not every server is host:port"},
        {"sentinel://a/m", "not every server is host:port"},
        {"sentinel://a:1,/m", "not every server is host:port"},
        {"sentinel://a:0/m", "not every server is host:port"},
        {"sentinel://user:secret@a:1/m", "not every server is host:port"},
        {"cluster://", "not every server is host:port"},
        {"cluster://a:1,,b:2", "not every server is host:port"},
        {"cluster://unix:/x", "not every server is host:port"},
        {"cluster://a:1/0", "not every server is host:port"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct reason reason = {""};
        assert_int_equal(redis_address_check(cases[i][0], 0, &reason), ERR_INVALID);
        if (!strstr(reason.text, cases[i][1]) || !strstr(reason.text, "allowed: host:port")) {
            fail_msg("'%s' → %s", cases[i][0], reason.text);
        }
    }
}

static void too_many_hosts_are_refused(void **state)
{
    struct buf text = {0};
    struct reason reason;
    (void)state;
    buf_add_str(&text, "cluster://a:1");
    for (size_t i = 1; i < WHERE_HOSTS_MAX; i++) {
        buf_add_str(&text, ",a:1");
    }
    assert_int_equal(redis_address_check(text.data, 0, &reason), ERR_OK);
    buf_add_str(&text, ",a:1");
    assert_int_equal(redis_address_check(text.data, 0, &reason), ERR_INVALID);
    assert_non_null(strstr(reason.text, "more than 32"));
    buf_fini(&text);
}

static void a_cluster_has_one_database(void **state)
{
    struct reason reason;
    (void)state;
    assert_int_equal(redis_address_check("cluster://a:1", 1, &reason), ERR_INVALID);
    assert_non_null(strstr(reason.text, "a cluster has only database 0"));
    assert_int_equal(redis_address_check("sentinel://a:1/m", 1, &reason), ERR_OK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(good_ones_are_taken_apart),
        cmocka_unit_test(bad_ones_are_refused_with_what_is_wrong),
        cmocka_unit_test(too_many_hosts_are_refused),
        cmocka_unit_test(a_cluster_has_one_database),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
