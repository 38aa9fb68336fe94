/* The client against a real redis-server. */
#include "fixture.h"

#include "harness/test_redis.h"

struct server_fixture {
    struct test_redis *server;
    struct fixture f;
};

static struct server_fixture *with_server(void **state)
{
    return *state;
}

static int set_up(void **state)
{
    static struct server_fixture fixture;
    fixture.server = test_redis_start(NULL);
    fixture_init(&fixture.f, test_redis_unix(fixture.server));
    *state = &fixture;
    return 0;
}

static int tear_down(void **state)
{
    fixture_fini(&with_server(state)->f);
    test_redis_stop(with_server(state)->server);
    return 0;
}

static void replies_have_types(void **state)
{
    struct fixture *f = &with_server(state)->f;
    fixture_open(f);
    struct answer a = ask(f, "SET k v");
    assert_int_equal(a.err, ERR_OK);
    assert_int_equal(a.type, REDIS_STATUS);
    assert_string_equal(a.text, "OK");
    a = ask(f, "GET k");
    assert_int_equal(a.type, REDIS_STRING);
    assert_string_equal(a.text, "v");
    a = ask(f, "INCRBY n -7");
    assert_int_equal(a.type, REDIS_INTEGER);
    assert_int_equal(a.integer, -7);
    a = ask(f, "GET n");
    assert_int_equal(a.type, REDIS_STRING);
    assert_int_equal(a.integer, -7);
    assert_int_equal(ask(f, "GET none").type, REDIS_NIL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(replies_have_types, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
