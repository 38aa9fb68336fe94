/* The helper itself: a server that starts, dies, comes back on the same address and leaves nothing.
 */
#include "harness/test_redis.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static void answers_as_redis_cli_prints(void **state)
{
    (void)state;
    struct test_redis *server = test_redis_start(NULL);
    assert_string_equal(test_redis_ask(server, "SET k%d v", 1), "OK");
    assert_string_equal(test_redis_ask(server, "GET k1"), "v");
    assert_string_equal(test_redis_ask(server, "GET none"), "");
    assert_string_equal(test_redis_ask(server, "INCR n"), "1");
    assert_string_equal(test_redis_ask(server, "MGET k1 none n"), "v\n\n1");
    assert_memory_equal(test_redis_ask(server, "NOSUCH"), "ERR unknown command", 19);
    const char *const argv[] = {"SET", "k1", "a b"};
    assert_string_equal(test_redis_askv(server, argv, 3), "OK");
    assert_string_equal(test_redis_ask(server, "GET k1"), "a b");
    test_redis_stop(server);
}

static void comes_back_on_the_same_address_with_its_data(void **state)
{
    (void)state;
    struct test_redis *server = test_redis_start("appendonly yes\nappendfsync always");
    int port = test_redis_port(server);
    test_redis_ask(server, "SET k v");
    test_redis_kill(server);
    assert_int_equal(test_redis_pid(server), 0);
    test_redis_restart(server);
    assert_int_equal(test_redis_port(server), port);
    assert_string_equal(test_redis_ask(server, "GET k"), "v");
    test_redis_stop(server);
}

static void two_servers_do_not_meet_and_leave_nothing(void **state)
{
    (void)state;
    struct stat info;
    char dir[128];
    struct test_redis *a = test_redis_start(NULL);
    struct test_redis *b = test_redis_start("cluster-enabled yes");
    snprintf(dir, sizeof(dir), "%s", test_redis_dir(b));
    assert_string_not_equal(test_redis_tcp(a), test_redis_tcp(b));
    assert_string_equal(test_redis_ask(a, "SET k v"), "OK");
    assert_non_null(strstr(test_redis_ask(b, "CLUSTER INFO"), "cluster_state"));
    test_redis_stop(b);
    test_redis_stop(a);
    assert_int_equal(stat(dir, &info), -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(answers_as_redis_cli_prints),
        cmocka_unit_test(comes_back_on_the_same_address_with_its_data),
        cmocka_unit_test(two_servers_do_not_meet_and_leave_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
