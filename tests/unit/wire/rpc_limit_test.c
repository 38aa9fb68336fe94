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
    assert_int_equal(outcome.code, WIRE_ERROR_INTERNAL); /* not LIMIT: it was done */
}

static void test_a_request_without_room_in_the_quota_is_busy(void **state)
{
    struct pair *f = *state;
    struct quota quota = {.max = 100 * 1024};
    struct rpc_server_conf conf = server_conf();
    conf.limits.quota = &quota;
    pair_open(f, &conf, handle_keep);
    static const char payload[10 * 1024];
    enum { FIT = (100 + QUOTA_FREE / 1024) / 10 };
    struct outcome outcomes[FIT + 1] = {0};
    for (size_t i = 0; i < FIT; i++) {
        pair_call(f, slice_make(payload, sizeof(payload)), &outcomes[i]);
        wait_for(f->loop, f->shelf->count == i + 1);
    }
    pair_call(f, slice_make(payload, sizeof(payload)), &outcomes[FIT]);
    wait_for(f->loop, outcomes[FIT].count > 0);
    assert_int_equal(outcomes[FIT].code, WIRE_ERROR_BUSY);
    shelf_answer_all(f->shelf);
    wait_for(f->loop, outcomes[FIT - 1].count > 0);
    assert_int_equal(outcomes[FIT - 1].kind, WIRE_CALL_REPLY);
    assert_int_equal(quota.used, 0);
    rpc_client_free(f->client);
    f->client = NULL;
    rpc_server_free(f->server); /* before the quota */
    f->server = NULL;
    loop_turn(f->loop, 0);
    loop_turn(f->loop, 0);
}

static void test_a_connection_over_the_limit_is_refused_with_busy(void **state)
{
    struct pair *f = *state;
    struct rpc_server_conf conf = server_conf();
    conf.client_max = 1;
    pair_open(f, &conf, handle_echo);
    pair_assert_echo(f, S("in"));
    struct buf in = {0};
    int fd = raw_connect(rpc_server_port(f->server));
    raw_read_to_end(f->loop, fd, &in);
    assert_int_equal(frame_count(&in), 1);
    struct wire_message error = frame_at(&in, 0);
    assert_int_equal(error.kind, WIRE_ERROR);
    assert_int_equal(error.error.code, WIRE_ERROR_BUSY);
    assert_int_equal(error.error.retry_after_ms, 1000);
    wire_message_fini(&error);
    buf_fini(&in);
    close(fd);
    pair_assert_echo(f, S("still in"));
    assert_int_equal(rpc_server_connections(f->server), 1);
    assert_int_equal(rpc_server_refused(f->server), 1);
}

/* It was not read, so it may be sent elsewhere, or again. */
static void test_a_request_over_a_refused_connection_was_not_executed(void **state)
{
    struct pair *f = *state;
    struct rpc_server_conf conf = server_conf();
    conf.connections_max = 1;
    f->server = server_open(f->loop, &conf, handle_echo, NULL);
    int fd = raw_connect(rpc_server_port(f->server));
    wait_for(f->loop, rpc_server_connections(f->server) == 1);
    struct rpc_client_conf client = client_conf(server_address(f->server, f->address));
    f->client = rpc_client_new(f->loop, &client);
    struct outcome outcome = {0};
    pair_call(f, S("x"), &outcome);
    wait_for(f->loop, outcome.count > 0);
    assert_int_equal(outcome.err, ERR_CONNECT);
    assert_non_null(strstr(outcome.text, "too many connections"));
    close(fd);
    wait_for(f->loop, rpc_server_connections(f->server) == 0);
    do {
        memset(&outcome, 0, sizeof(outcome));
        pair_call(f, S("x"), &outcome);
        wait_for(f->loop, outcome.count > 0);
    } while (outcome.err == ERR_CONNECT); /* it backs off for a while */
    assert_int_equal(outcome.err, ERR_OK);
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
        TEST(test_a_request_without_room_in_the_quota_is_busy),
        TEST(test_a_connection_over_the_limit_is_refused_with_busy),
        TEST(test_a_request_over_a_refused_connection_was_not_executed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
