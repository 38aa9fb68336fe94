/* Instances that register themselves: what is on the list, when it is renewed, when it goes. */
#include "fixture.h"

#include "base/clock.h"

static int setup(void **state)
{
    *state = test_redis_start(NULL);
    return 0;
}

static int teardown(void **state)
{
    test_redis_stop(*state);
    return 0;
}

/* An instance and what it registers. */
struct party {
    struct saga_conf conf;
    struct saga_advert advert;
};

static struct party party_of(struct test_redis *redis)
{
    return (struct party){.conf = {.program = "orderd", .listen = "127.0.0.1:0"},
                          .advert = {.service = "order",
                                     .address = "127.0.0.1:9002",
                                     .redis = test_redis_unix(redis)}};
}

static struct saga *open_party(struct party *party)
{
    char error[256] = "";
    party->conf.advert = &party->advert;
    struct saga *saga = saga_open(&party->conf, error, sizeof(error));
    if (!saga) {
        fail_msg("%s", error);
    }
    return saga;
}

static const char *listed(struct test_redis *redis)
{
    return test_redis_ask(redis, "ZRANGE saga:services 0 -1");
}

static const char *listed_until(struct test_redis *redis)
{
    static const char *const ask[] = {"ZSCORE", "saga:services", "order tcp://127.0.0.1:9002"};
    return test_redis_askv(redis, ask, 3);
}

static void turn_until_listed(struct test_redis *redis, struct saga *saga, const char *member)
{
    wait_for(saga_loop(saga), strcmp(listed(redis), member) == 0);
}

static void an_instance_is_listed_while_it_is_open(void **state)
{
    struct test_redis *redis = *state;
    struct party party = party_of(redis);
    party.advert.address = "127.0.0.1:0";
    struct saga *saga = open_party(&party);
    char member[80];
    snprintf(member, sizeof(member), "order tcp://127.0.0.1:%d", saga_port(saga));
    turn_until_listed(redis, saga, member);
    saga_close(saga);
    assert_string_equal(listed(redis), "");
}

static void what_is_advertised_is_taken_as_it_is(void **state)
{
    struct test_redis *redis = *state;
    static const char *const cases[][2] = {
        {"shop.example:9002", "order tcp://shop.example:9002"},
        {"[fd00::7]:9002", "order tcp://[fd00::7]:9002"},
        {"unix:/run/order.sock", "order tcp://unix:/run/order.sock"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct party party = party_of(redis);
        party.advert.address = cases[i][0];
        struct saga *saga = open_party(&party);
        turn_until_listed(redis, saga, cases[i][1]);
        saga_close(saga);
    }
}

static void the_lease_is_renewed_while_it_lives_and_ends_without_it(void **state)
{
    struct test_redis *redis = *state;
    struct party party = party_of(redis);
    party.advert.lease_ms = 600;
    struct saga *saga = open_party(&party);
    turn_until_listed(redis, saga, "order tcp://127.0.0.1:9002");
    char first[64];
    snprintf(first, sizeof(first), "%s", listed_until(redis));
    wait_for(saga_loop(saga), strcmp(first, listed_until(redis)) < 0);
    saga_close(saga);
}

static void it_comes_back_when_redis_has_lost_it(void **state)
{
    struct test_redis *redis = *state;
    struct party party = party_of(redis);
    party.advert.lease_ms = 600;
    struct saga *saga = open_party(&party);
    turn_until_listed(redis, saga, "order tcp://127.0.0.1:9002");
    test_redis_ask(redis, "FLUSHALL");
    turn_until_listed(redis, saga, "order tcp://127.0.0.1:9002");
    test_redis_restart(redis);
    turn_until_listed(redis, saga, "order tcp://127.0.0.1:9002");
    saga_close(saga);
}

static void on_withdrawn(void *arg)
{
    ++*(int *)arg;
}

static void withdrawing_takes_it_off_and_it_serves_on(void **state)
{
    struct test_redis *redis = *state;
    struct party party = party_of(redis);
    party.advert.lease_ms = 600;
    struct saga *saga = open_party(&party);
    int count = 0;
    turn_until_listed(redis, saga, "order tcp://127.0.0.1:9002");
    saga_withdraw(saga, on_withdrawn, &count);
    assert_int_equal(count, 0); /* never from inside the call */
    wait_for(saga_loop(saga), count >= 1);
    assert_string_equal(listed(redis), "");
    saga_withdraw(saga, on_withdrawn, &count); /* again: nothing to do */
    wait_for(saga_loop(saga), count >= 2);
    int64_t until_ms = clock_mono_ms() + 400; /* longer than a third of the lease */
    while (clock_mono_ms() < until_ms) {
        loop_turn(saga_loop(saga), 10);
    }
    assert_string_equal(listed(redis), "");
    saga_close(saga);
}

static void who_is_not_registered_can_withdraw_as_well(void **state)
{
    (void)state;
    int count = 0;
    char error[256] = "";
    struct saga_conf conf = {.program = "p", .listen = "127.0.0.1:0"};
    struct saga *saga = saga_open(&conf, error, sizeof(error));
    assert_non_null(saga);
    saga_withdraw(saga, on_withdrawn, &count);
    wait_for(saga_loop(saga), count >= 1);
    saga_close(saga);
}

static void closing_does_not_wait_for_a_redis_that_is_away(void **state)
{
    struct test_redis *redis = *state;
    struct party party = party_of(redis);
    struct saga *saga = open_party(&party);
    turn_until_listed(redis, saga, "order tcp://127.0.0.1:9002");
    test_redis_pause(redis);
    int64_t began_ms = clock_mono_ms();
    saga_close(saga);
    assert_in_range(clock_mono_ms() - began_ms, 0, 3000);
    test_redis_resume(redis);
}

static void its_own_redis_serves_when_no_other_is_named(void **state)
{
    struct test_redis *redis = *state;
    struct party party = party_of(redis);
    party.conf.redis = party.advert.redis;
    party.advert.redis = NULL;
    test_redis_ask(redis, "FLUSHALL");
    struct saga *saga = open_party(&party);
    turn_until_listed(redis, saga, "order tcp://127.0.0.1:9002");
    saga_close(saga);
    assert_string_equal(listed(redis), "");
}

static void what_cannot_be_advertised_is_refused(void **state)
{
    static const struct {
        const char *service, *address, *redis, *listen;
        int64_t lease_ms;
        const char *says;
    } cases[] = {
        {NULL, "h:1", "r:1", "127.0.0.1:0", 0, "service"},
        {"", "h:1", "r:1", "127.0.0.1:0", 0, "service"},
        {"a b", "h:1", "r:1", "127.0.0.1:0", 0, "'a b'"},
        {"a/b", "h:1", "r:1", "127.0.0.1:0", 0, "letters, digits"},
        {"order", NULL, "r:1", "127.0.0.1:0", 0, "is not an address"},
        {"order", "nonsense", "r:1", "127.0.0.1:0", 0, "nonsense"},
        {"order", "0.0.0.0:1", "r:1", "127.0.0.1:0", 0, "must name the host"},
        {"order", ":1", "r:1", "127.0.0.1:0", 0, "must name the host"},
        {"order", "h:1", NULL, "127.0.0.1:0", 0, "needs redis"},
        {"order", "h:1", "r:1", NULL, 0, "listen"},
        {"order", "h:1", "r:1", "127.0.0.1:0", 499, "lease_ms"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char error[256] = "";
        struct saga_advert advert = {.service = cases[i].service,
                                     .address = cases[i].address,
                                     .redis = cases[i].redis,
                                     .lease_ms = cases[i].lease_ms};
        struct saga_conf conf = {.program = "p", .listen = cases[i].listen, .advert = &advert};
        assert_null(saga_open(&conf, error, sizeof(error)));
        assert_non_null(strstr(error, cases[i].says));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_instance_is_listed_while_it_is_open),
        cmocka_unit_test(what_is_advertised_is_taken_as_it_is),
        cmocka_unit_test(the_lease_is_renewed_while_it_lives_and_ends_without_it),
        cmocka_unit_test(it_comes_back_when_redis_has_lost_it),
        cmocka_unit_test(withdrawing_takes_it_off_and_it_serves_on),
        cmocka_unit_test(who_is_not_registered_can_withdraw_as_well),
        cmocka_unit_test(closing_does_not_wait_for_a_redis_that_is_away),
        cmocka_unit_test(its_own_redis_serves_when_no_other_is_named),
        cmocka_unit_test(what_cannot_be_advertised_is_refused),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
