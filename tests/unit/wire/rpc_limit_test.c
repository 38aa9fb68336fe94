/* What rpc does at its limits: frames, bytes and requests in flight. */
#include "base/clock.h"
#include "rpc_pair.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

static void test_server_reads_no_more_than_it_may_serve(void **state)
{
    struct pair *f = *state;
    struct rpc_server_conf conf = server_conf();
    conf.limits.in_flight_max = 10;
    pair_open(f, &conf, handle_keep);
    enum { CALLS = 100 };
    static struct outcome outcomes[CALLS];
    memset(outcomes, 0, sizeof(outcomes));
    for (int i = 0; i < CALLS; i++) {
        pair_call(f, S("x"), &outcomes[i]);
    }
    int done = 0;
    for (size_t served = 0; done < CALLS; served++) {
        wait_for(f->loop, f->shelf->count == 10 || served + f->shelf->count == CALLS);
        loop_turn(f->loop, 0);
        loop_turn(f->loop, 0);
        assert_true(f->shelf->count <= 10);
        shelf_answer(f->shelf, 0);
        done++;
    }
    wait_for(f->loop, rpc_client_in_flight(f->client) == 0);
    for (int i = 0; i < CALLS; i++) {
        assert_int_equal(outcomes[i].err, ERR_OK);
    }
}

static void test_server_bounds_the_bytes_in_flight(void **state)
{
    struct pair *f = *state;
    struct rpc_server_conf conf = server_conf();
    conf.limits.frame_max = 100 * 1024;
    pair_open(f, &conf, handle_keep);
    static char payload[99 * 1024];
    enum { CALLS = 20 };
    static struct outcome outcomes[CALLS];
    memset(outcomes, 0, sizeof(outcomes));
    for (int i = 0; i < CALLS; i++) {
        pair_call(f, slice_make(payload, sizeof(payload)), &outcomes[i]);
    }
    wait_for(f->loop, f->shelf->count == 5);
    for (int i = 0; i < 20; i++) {
        loop_turn(f->loop, 0);
    }
    assert_int_equal(f->shelf->count, 5);
    while (rpc_client_in_flight(f->client) > 0) {
        wait_for(f->loop, f->shelf->count > 0 || rpc_client_in_flight(f->client) == 0);
        shelf_answer_all(f->shelf);
    }
    for (int i = 0; i < CALLS; i++) {
        assert_int_equal(outcomes[i].err, ERR_OK);
    }
}

static void test_client_refuses_more_than_it_may_have_in_flight(void **state)
{
    struct pair *f = *state;
    struct rpc_server_conf conf = server_conf();
    f->server = server_open(f->loop, &conf, handle_keep, f->shelf);
    struct rpc_client_conf client = client_conf(server_address(f->server, f->address));
    client.limits.in_flight_max = 2;
    f->client = rpc_client_new(f->loop, &client);
    struct outcome outcomes[3] = {0};
    for (int i = 0; i < 3; i++) {
        pair_call(f, S("x"), &outcomes[i]);
    }
    wait_for(f->loop, outcomes[2].count > 0);
    assert_int_equal(outcomes[2].err, ERR_BUSY);
    wait_for(f->loop, f->shelf->count == 2);
    shelf_answer_all(f->shelf);
    wait_for(f->loop, outcomes[0].count > 0 && outcomes[1].count > 0);
    assert_int_equal(outcomes[0].err, ERR_OK);
    assert_int_equal(outcomes[1].err, ERR_OK);
}

static void test_client_refuses_when_the_peer_takes_nothing(void **state)
{
    struct pair *f = *state;
    int port = 0;
    int listener = raw_listen(&port);
    snprintf(f->address, sizeof(f->address), "127.0.0.1:%d", port);
    struct rpc_client_conf conf = client_conf(f->address);
    conf.limits.out_high = 64 * 1024;
    f->client = rpc_client_new(f->loop, &conf);
    static char payload[256 * 1024];
    struct outcome outcome = {0};
    static struct outcome sent[100]; /* they end after this function */
    size_t n = 0;
    while (n < 100 && outcome.count == 0) {
        pair_call(f, slice_make(payload, sizeof(payload)), &sent[n]);
        loop_turn(f->loop, 0);
        outcome = sent[n++];
    }
    assert_int_equal(outcome.err, ERR_BUSY);
    assert_true(n > 1 && n < 100);
    close(listener);
}

static void test_frames_over_the_limit(void **state)
{
    struct pair *f = *state;
    struct rpc_server_conf conf = server_conf();
    conf.limits.frame_max = 2048;
    f->server = server_open(f->loop, &conf, handle_echo, NULL);
    struct rpc_client_conf client = client_conf(server_address(f->server, f->address));
    client.limits.frame_max = 4096;
    f->client = rpc_client_new(f->loop, &client);
    static const char payload[5000];
    struct outcome own = {0};
    pair_call(f, slice_make(payload, 5000), &own);
    wait_for(f->loop, own.count > 0);
    assert_int_equal(own.err, ERR_LIMIT);
    pair_assert_echo(f, S("still there"));
    struct outcome theirs = {0};
    pair_call(f, slice_make(payload, 3000), &theirs);
    wait_for(f->loop, theirs.count > 0);
    assert_int_equal(theirs.err, ERR_CLOSED);
    assert_string_equal(theirs.text, "frame longer than 2048 bytes");
    pair_assert_echo(f, S("and back"));
}

static void handle_long(void *arg, struct rpc_request *request)
{
    (void)arg;
    static const char payload[5000];
    struct wire_message reply = {
        .kind = WIRE_CALL_REPLY,
        .call_reply = {.result = WIRE_SUCCESS, .payload = slice_make(payload, 5000)},
    };
    rpc_request_reply(request, &reply);
}

static void test_a_reply_over_the_limit_becomes_an_error(void **state)
{
    struct pair *f = *state;
    struct rpc_server_conf conf = server_conf();
    conf.limits.frame_max = 2048;
    pair_open(f, &conf, handle_long);
    struct outcome outcome = {0};
    pair_call(f, S("x"), &outcome);
    wait_for(f->loop, outcome.count > 0);
    assert_int_equal(outcome.err, ERR_OK);
    assert_int_equal(outcome.kind, WIRE_ERROR);
    assert_int_equal(outcome.code, WIRE_ERROR_LIMIT);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, pair_setup, pair_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_server_reads_no_more_than_it_may_serve),
        TEST(test_server_bounds_the_bytes_in_flight),
        TEST(test_client_refuses_more_than_it_may_have_in_flight),
        TEST(test_client_refuses_when_the_peer_takes_nothing),
        TEST(test_frames_over_the_limit),
        TEST(test_a_reply_over_the_limit_becomes_an_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
