/* rpc against peers that do not keep to the protocol, byte by byte. */
#include "base/clock.h"
#include "base/mem.h"
#include "base/rng.h"
#include "rpc_fixture.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define HELLO "\x07\x12\x05\x08\x01\x12\x01t" /* version 1, program "t" */

struct fixture {
    struct loop *loop;
    struct rpc_server *server;
    struct shelf *shelf;
    struct rpc_client *client; /* of a listener that the test plays */
    int listener;
    int fd;
    char address[32];
    struct buf in;
};

static int setup(void **state)
{
    struct fixture *f = mem_new(struct fixture);
    f->loop = loop_new();
    f->shelf = mem_new(struct shelf);
    f->listener = -1;
    f->fd = -1;
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    if (f->client) {
        rpc_client_free(f->client);
    }
    if (f->server) {
        rpc_server_free(f->server);
    }
    shelf_answer_all(f->shelf);
    loop_turn(f->loop, 0);
    loop_free(f->loop);
    if (f->fd >= 0) {
        close(f->fd);
    }
    if (f->listener >= 0) {
        close(f->listener);
    }
    buf_fini(&f->in);
    free(f->shelf);
    free(f);
    return 0;
}

/* ---- a bad client ---- */

static void open_server(struct fixture *f, int64_t handshake_ms)
{
    struct rpc_server_conf conf = server_conf();
    conf.limits.frame_max = 4096;
    conf.limits.handshake_ms = handshake_ms ? handshake_ms : conf.limits.handshake_ms;
    f->server = server_open(f->loop, &conf, handle_keep, f->shelf);
}

static void connect_and_send(struct fixture *f, struct slice bytes)
{
    if (f->fd >= 0) {
        close(f->fd);
    }
    buf_clear(&f->in);
    f->fd = raw_connect(rpc_server_port(f->server));
    raw_send(f->fd, bytes);
}

/* Everything the server says, to its end: `frames` of which the last is this error. */
static void assert_refused(struct fixture *f, size_t frames, enum wire_error_code code,
                           const char *field, const char *text)
{
    raw_read_to_end(f->loop, f->fd, &f->in);
    assert_int_equal(frame_count(&f->in), frames);
    struct wire_message message = frame_at(&f->in, frames - 1);
    assert_int_equal(message.kind, WIRE_ERROR);
    assert_int_equal(message.id, 0);
    assert_int_equal(message.error.code, code);
    assert_true(slice_eq_str(message.error.field, field));
    assert_true(slice_eq_str(message.error.message, text));
    wire_message_fini(&message);
    assert_int_equal(f->shelf->count, 0);
}

static void test_unknown_version(void **state)
{
    struct fixture *f = *state;
    open_server(f, 0);
    /* a hello of version 9 and a call behind it, in one write */
    connect_and_send(f, S("\x04\x12\x02\x08\x09\x05\x08\x01\xf2\x01\x00"));
    assert_refused(f, 1, WIRE_ERROR_VERSION, "version", "version 9 is not supported, only 1");
    connect_and_send(f, S("\x02\x12\x00"));
    assert_refused(f, 1, WIRE_ERROR_VERSION, "version", "version 0 is not supported, only 1");
}

static void test_no_hello_first(void **state)
{
    struct fixture *f = *state;
    open_server(f, 0);
    connect_and_send(f, S("\x05\x08\x01\xf2\x01\x00" HELLO));
    assert_refused(f, 1, WIRE_ERROR_INVALID, "hello", "the first frame must be a hello");
    connect_and_send(f, S("\x00"));
    assert_refused(f, 1, WIRE_ERROR_INVALID, "hello", "the first frame must be a hello");
}

static void test_no_hello_at_all(void **state)
{
    struct fixture *f = *state;
    open_server(f, 50);
    int64_t since_ms = clock_mono_ms();
    connect_and_send(f, S("\x07\x12\x05\x08")); /* half a hello */
    assert_refused(f, 1, WIRE_ERROR_INVALID, "hello", "no hello in time");
    assert_true(clock_mono_ms() - since_ms >= 49); /* the loop's clock is read once a turn */
}

static void test_second_hello(void **state)
{
    struct fixture *f = *state;
    open_server(f, 0);
    connect_and_send(f, S(HELLO HELLO));
    assert_refused(f, 2, WIRE_ERROR_INVALID, "hello", "a second hello");
}

static void test_request_without_id(void **state)
{
    struct fixture *f = *state;
    open_server(f, 0);
    connect_and_send(f, S(HELLO "\x03\xf2\x01\x00"));
    assert_refused(f, 2, WIRE_ERROR_INVALID, "id", "a request must have an id above 0");
}

static void test_garbage(void **state)
{
    struct fixture *f = *state;
    open_server(f, 0);
    connect_and_send(f,
                     S("GET / HTTP/1.1\r\nHost: localhost\r\nUser-Agent: somebody who came to the "
                       "wrong port\r\nAccept: */*\r\n\r\n"));
    assert_refused(f, 1, WIRE_ERROR_INVALID, "", "body: wrong wire type");
    connect_and_send(f, S(HELLO "\x03\x08\x80\x80"));
    assert_refused(f, 2, WIRE_ERROR_INVALID, "", "not a frame: end-of-stream");
    connect_and_send(f, S(HELLO "\xff\xff\xff\xff\xff\xff"));
    assert_refused(f, 2, WIRE_ERROR_INVALID, "", "frame length is not a varint of 32 bits");
}

static void test_frame_over_the_limit(void **state)
{
    struct fixture *f = *state;
    open_server(f, 0);
    connect_and_send(f, S(HELLO "\x81\x20")); /* 4097 announced */
    assert_refused(f, 2, WIRE_ERROR_LIMIT, "", "frame longer than 4096 bytes");
}

static void test_random_bytes_never_harm(void **state)
{
    struct fixture *f = *state;
    open_server(f, 0);
    struct rng rng;
    rng_seed(&rng, 7);
    for (int round = 0; round < 300; round++) {
        char bytes[300];
        size_t hello = round % 2 ? sizeof(HELLO) - 1 : 0;
        memcpy(bytes, HELLO, hello);
        for (size_t i = hello; i < sizeof(bytes); i++) {
            bytes[i] = (char)rng_next(&rng);
        }
        connect_and_send(f, slice_make(bytes, sizeof(bytes)));
        loop_turn(f->loop, 0);
        shelf_answer_all(f->shelf);
    }
    /* and it still serves */
    connect_and_send(f, S(HELLO "\x05\x08\x01\xf2\x01\x00"));
    wait_for(f->loop, f->shelf->count == 1);
}

/* Bodies from the future are the handler's business, errors of a client nobody's. */
static void test_unknown_bodies_and_errors(void **state)
{
    struct fixture *f = *state;
    open_server(f, 0);
    connect_and_send(f, S(HELLO "\x04\x08\x07\x1a\x00" /* error, id 7 */
                                "\x05\x08\x08\x9a\x06\x00" /* body 99, id 8 */));
    wait_for(f->loop, f->shelf->count == 1);
    const struct wire_message *message = rpc_request_message(f->shelf->requests[0]);
    assert_int_equal(message->kind, WIRE_NONE);
    assert_int_equal(message->id, 8);
    rpc_request_fail(f->shelf->requests[0], WIRE_ERROR_INVALID, NULL, "unknown request");
    f->shelf->count = 0;
    raw_read_frames(f->loop, f->fd, &f->in, 2);
    struct wire_message reply = frame_at(&f->in, 1);
    assert_int_equal(reply.kind, WIRE_ERROR);
    assert_int_equal(reply.id, 8);
    wire_message_fini(&reply);
}

static void test_bytes_one_at_a_time(void **state)
{
    struct fixture *f = *state;
    open_server(f, 0);
    connect_and_send(f, S(""));
    static const char bytes[] = HELLO "\x08\x08\x01\xf2\x01\x03\x0a\x01g";
    for (size_t i = 0; i < sizeof(bytes) - 1; i++) {
        assert_int_equal(f->shelf->count, 0);
        raw_send(f->fd, slice_make(bytes + i, 1));
        loop_turn(f->loop, 5);
    }
    wait_for(f->loop, f->shelf->count == 1);
    assert_true(slice_eq_str(rpc_request_message(f->shelf->requests[0])->call.gid, "g"));
}

/* ---- a bad server ---- */

static void open_client(struct fixture *f, int64_t handshake_ms)
{
    int port = 0;
    f->listener = raw_listen(&port);
    snprintf(f->address, sizeof(f->address), "127.0.0.1:%d", port);
    struct rpc_client_conf conf = client_conf(f->address);
    conf.limits.handshake_ms = handshake_ms ? handshake_ms : conf.limits.handshake_ms;
    conf.limits.frame_max = 4096;
    f->client = rpc_client_new(f->loop, &conf);
}

static void call(struct fixture *f, struct outcome *outcome)
{
    struct wire_message request = call_of(S("x"));
    *outcome = (struct outcome){0};
    rpc_client_call(f->client, &request, loop_now_ms(f->loop) + WAIT_MS, on_reply, outcome);
}

/* The client's call gets `bytes` as an answer; what becomes of it. */
static void assert_outcome(struct slice bytes, enum err err, const char *text)
{
    struct fixture *f = NULL;
    setup((void **)&f);
    open_client(f, 0);
    struct outcome outcome;
    call(f, &outcome);
    f->fd = raw_accept(f->loop, f->listener);
    raw_send(f->fd, bytes);
    wait_for(f->loop, outcome.count > 0);
    assert_int_equal(outcome.err, err);
    assert_string_equal(outcome.text, text);
    assert_false(rpc_client_is_connected(f->client));
    teardown((void **)&f);
}

static void test_servers_that_are_none(void **state)
{
    (void)state;
    assert_outcome(S("\x04\x12\x02\x08\x02"), ERR_PROTOCOL,
                   "the peer's first frame is not a hello of version 1");
    assert_outcome(S("\x05\x08\x01\xfa\x01\x00"), ERR_PROTOCOL,
                   "the peer's first frame is not a hello of version 1");
    assert_outcome(S("\x05HTTP/"), ERR_PROTOCOL, "body: wrong wire type");
    assert_outcome(S(HELLO "\x02\x08\x80"), ERR_CLOSED, "not a frame: end-of-stream");
    assert_outcome(S(HELLO "\x81\x20"), ERR_CLOSED, "frame longer than 4096 bytes");
    /* errors that concern the connection: version, denied, and after the hello */
    assert_outcome(S("\x08\x1a\x06\x08\x02\x12\x02no"), ERR_PROTOCOL, "no");
    assert_outcome(S("\x08\x1a\x06\x08\x03\x12\x02no"), ERR_DENIED, "no");
    assert_outcome(S(HELLO "\x08\x1a\x06\x08\x03\x12\x02no"), ERR_CLOSED, "no");
}

static void test_server_without_hello(void **state)
{
    struct fixture *f = *state;
    open_client(f, 50);
    struct outcome outcome;
    call(f, &outcome);
    f->fd = raw_accept(f->loop, f->listener);
    wait_for(f->loop, outcome.count > 0);
    assert_int_equal(outcome.err, ERR_CLOSED);
    assert_string_equal(outcome.text, "no hello in time");
}

static void test_hello_and_the_first_requests_come_in_one_write(void **state)
{
    struct fixture *f = *state;
    open_client(f, 0);
    static struct outcome outcomes[3]; /* they end after this function */
    for (int i = 0; i < 3; i++) {
        call(f, &outcomes[i]);
    }
    f->fd = raw_accept(f->loop, f->listener);
    raw_read_frames(f->loop, f->fd, &f->in, 1); /* one read */
    assert_int_equal(frame_count(&f->in), 4);
    static const enum wire_kind kinds[] = {WIRE_HELLO, WIRE_CALL, WIRE_CALL, WIRE_CALL};
    for (size_t i = 0; i < 4; i++) {
        struct wire_message message = frame_at(&f->in, i);
        assert_int_equal(message.kind, kinds[i]);
        assert_int_equal(message.id, i);
        wire_message_fini(&message);
    }
}

static void test_replies_to_nobody_are_dropped(void **state)
{
    struct fixture *f = *state;
    open_client(f, 0);
    struct outcome outcome;
    call(f, &outcome);
    f->fd = raw_accept(f->loop, f->listener);
    raw_send(f->fd, S(HELLO "\x05\x08\x00\xfa\x01\x00"         /* id 0 */
                            "\x05\x08\x02\xfa\x01\x00"         /* a slot nobody uses */
                            "\x07\x08\x81\x80\x40\xfa\x01\x00" /* another use of our slot */
                            "\x08\x08\xff\xff\xff\x7f\xfa\x01\x00"
                            "\x06\x08\x63\xfa\x01\x01\x1a" /* broken, but not our bytes */));
    wait_for(f->loop, outcome.count > 0);
    assert_int_equal(outcome.err, ERR_CLOSED); /* by the broken one: no reply came before */
    assert_int_equal(outcome.count, 1);
}

static void test_a_reply_that_comes_twice_counts_once(void **state)
{
    struct fixture *f = *state;
    open_client(f, 0);
    struct outcome outcome;
    call(f, &outcome);
    f->fd = raw_accept(f->loop, f->listener);
    raw_send(f->fd, S(HELLO "\x07\x08\x01\xfa\x01\x02\x08\x01"
                            "\x07\x08\x01\xfa\x01\x02\x08\x01"));
    wait_for(f->loop, outcome.count > 0);
    loop_turn(f->loop, 5);
    assert_int_equal(outcome.count, 1);
    assert_int_equal(outcome.err, ERR_OK);
    assert_true(rpc_client_is_connected(f->client));
}

/* A peer that fails is not hammered: between five attempts lie at least half of 20, 40, 80 and
 * 160 ms. */
static void test_attempts_back_off(void **state)
{
    struct fixture *f = *state;
    open_client(f, 0);
    int accepts = 0;
    struct outcome outcome = {.count = 1};
    int64_t began_ms = clock_mono_ms();
    while (accepts < 5) {
        assert_true(clock_mono_ms() < began_ms + 20000);
        if (outcome.count > 0) {
            call(f, &outcome);
        }
        loop_turn(f->loop, 1);
        int fd = accept(f->listener, NULL, NULL);
        if (fd >= 0) {
            accepts++;
            close(fd);
        }
    }
    assert_true(clock_mono_ms() - began_ms >= 150);
    wait_for(f->loop, outcome.count > 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_unknown_version),
        TEST(test_no_hello_first),
        TEST(test_no_hello_at_all),
        TEST(test_second_hello),
        TEST(test_request_without_id),
        TEST(test_garbage),
        TEST(test_frame_over_the_limit),
        TEST(test_random_bytes_never_harm),
        TEST(test_unknown_bodies_and_errors),
        TEST(test_bytes_one_at_a_time),
        cmocka_unit_test(test_servers_that_are_none),
        TEST(test_server_without_hello),
        TEST(test_hello_and_the_first_requests_come_in_one_write),
        TEST(test_replies_to_nobody_are_dropped),
        TEST(test_a_reply_that_comes_twice_counts_once),
        TEST(test_attempts_back_off),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
