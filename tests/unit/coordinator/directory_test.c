/* Names and what stands behind them, without DNS; members of the registry taken apart. */
#include "coordinator/directory.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static char order[] = "order", order_at[] = "10.0.0.7:9002, 10.0.0.8:9002,10.0.0.7:9002";
static char mixed[] = "mixed", mixed_at[] = "unix:/run/mixed.sock, [fd00::7]:80";
static char local[] = "local", local_at[] = "unix:/run/local.sock";
static struct conf_map_entry entries[] = {{order, order_at}, {mixed, mixed_at}, {local, local_at}};
static const struct conf_map map = {entries, 3};

struct world {
    struct loop *loop;
    struct directory *directory;
};

static int setup(void **state)
{
    struct world *world = calloc(1, sizeof(*world));
    struct directory_conf conf = {.map = &map, .idle_ms = 1000, .services_max = 4};
    world->loop = loop_new();
    world->directory = directory_new(world->loop, &conf);
    *state = world;
    return 0;
}

static int teardown(void **state)
{
    struct world *world = *state;
    directory_free(world->directory);
    loop_free(world->loop);
    free(world);
    return 0;
}

static struct service *find(struct world *world, const char *url, struct reason *reason)
{
    struct branch_address to;
    assert_int_equal(resolver_parse(slice_str(url), &to, reason), ERR_OK);
    return directory_find(world->directory, &to, reason);
}

static void test_names_become_instances(void **state)
{
    static const struct {
        const char *url, *addresses;
        enum directory_source source;
    } cases[] = {
        {"tcp://order/a.B/C", "10.0.0.7:9002 10.0.0.8:9002 ", DIRECTORY_MAP},
        {"http://order/x", "10.0.0.7:9002 10.0.0.8:9002 ", DIRECTORY_MAP},
        {"tcp://order:1/a.B/C", "order:1 ", DIRECTORY_ADDRESS},
        {"tcp://mixed/a.B/C", "unix:/run/mixed.sock [fd00::7]:80 ", DIRECTORY_MAP},
        {"http://mixed/x", "[fd00::7]:80 ", DIRECTORY_MAP},
        {"tcp://local/a.B/C", "unix:/run/local.sock ", DIRECTORY_MAP},
        {"http://shop.example/x", "shop.example:80 ", DIRECTORY_ADDRESS},
        {"http://[::1]/x", "[::1]:80 ", DIRECTORY_ADDRESS},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct reason reason = {.text = ""};
        const struct service *service = find(*state, cases[i].url, &reason);
        if (!service) {
            fail_msg("%s: %s", cases[i].url, reason.text);
        }
        char text[200] = "";
        for (size_t k = 0; k < service->count; k++) {
            size_t len = strlen(text);
            snprintf(text + len, sizeof(text) - len, "%s ", service->instances[k].address);
        }
        assert_string_equal(text, cases[i].addresses);
        assert_int_equal(service->source, cases[i].source);
    }
}

static void test_unknown_names_say_what_is_missing(void **state)
{
    static const char *const cases[][2] = {
        {"tcp://gamma/a.B/C", "name 'gamma': it is not in the resolver map"},
        {"http://local/x", "unix socket"},
    };
    for (size_t i = 0; i < 2; i++) {
        struct reason reason = {.text = ""};
        assert_null(find(*state, cases[i][0], &reason));
        assert_non_null(strstr(reason.text, cases[i][1]));
    }
}

static void count_services(void *arg, const struct service *service)
{
    assert_true(service->count > 0);
    ++*(int *)arg;
}

/* Who submits chooses the names: any number of them neither fills the memory nor locks others out.
 */
static void test_number_of_names_is_bounded(void **state)
{
    struct world *world = *state;
    struct reason reason;
    for (int i = 0; i < 100; i++) {
        char url[64];
        snprintf(url, sizeof(url), "http://host%d.example/x", i);
        assert_non_null(find(world, url, &reason));
    }
    assert_non_null(find(world, "tcp://order/a.B/C", &reason));
    int count = 0;
    directory_each(world->directory, count_services, &count);
    assert_true(count <= 4 + 3); /* the bound, and the map */
}

static void test_the_map_is_always_shown(void **state)
{
    struct world *world = *state;
    struct directory_stats stats = directory_stats(world->directory);
    assert_int_equal(stats.services, 3);
    assert_int_equal(stats.instances, 5);
}

static void test_members_of_the_registry(void **state)
{
    static const struct {
        const char *member;
        bool good;
        enum branch_scheme scheme;
        const char *service, *address;
    } cases[] = {
        {"order tcp://10.0.0.7:9002", true, BRANCH_TCP, "order", "10.0.0.7:9002"},
        {"order http://shop.example:80", true, BRANCH_HTTP, "order", "shop.example:80"},
        {"a.b-c_D tcp://[::1]:1", true, BRANCH_TCP, "a.b-c_D", "[::1]:1"},
        {"order tcp://unix:/run/o.sock", true, BRANCH_TCP, "order", "unix:/run/o.sock"},
        {"order http://unix:/run/o.sock", false, 0, NULL, NULL},
        {"order tcp://10.0.0.7", false, 0, NULL, NULL},
        {"order tcp://10.0.0.7:0", false, 0, NULL, NULL},
        {"order tcp://10.0.0.7:65536", false, 0, NULL, NULL},
        {"order tcp://10.0.0.7:1/x", false, 0, NULL, NULL},
        {"order tcp://", false, 0, NULL, NULL},
        {"order ftp://h:1", false, 0, NULL, NULL},
        {" tcp://h:1", false, 0, NULL, NULL},
        {"order  tcp://h:1", false, 0, NULL, NULL},
        {"order", false, 0, NULL, NULL},
        {"", false, 0, NULL, NULL},
        {"or\nder tcp://h:1", false, 0, NULL, NULL},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct registry_entry entry;
        bool good = registry_parse(slice_str(cases[i].member), &entry);
        if (good != cases[i].good) {
            fail_msg("'%s'", cases[i].member);
        }
        if (good) {
            assert_int_equal(entry.scheme, cases[i].scheme);
            assert_true(slice_eq_str(entry.service, cases[i].service));
            assert_true(slice_eq_str(entry.address, cases[i].address));
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_names_become_instances, setup, teardown),
        cmocka_unit_test_setup_teardown(test_unknown_names_say_what_is_missing, setup, teardown),
        cmocka_unit_test_setup_teardown(test_number_of_names_is_bounded, setup, teardown),
        cmocka_unit_test_setup_teardown(test_the_map_is_always_shown, setup, teardown),
        cmocka_unit_test(test_members_of_the_registry),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
