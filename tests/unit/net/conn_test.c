/* Connections between peers that behave. */
#include "conn_fixture.h"
#include "net/admission.h"

#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

/* `host`: to connect to; NULL: to the address of the listener. */
static void echo_over(struct fixture *f, const char *listen_on, const char *host)
{
    fixture_listen(f, listen_on, SIDES_MAX, NULL);
    char address[64];
    snprintf(address, sizeof(address), "%s:%d", host ? host : "", conn_listener_port(f->listener));
    fixture_connect(f, host ? address : f->address, NULL);
    side_send(&f->client, "sent before it is open");
    PUMP_UNTIL(f, f->accepted == 1);
    f->servers[0].on_frame = side_echo;
    PUMP_UNTIL(f, f->client.frames == 1);
    assert_string_equal(f->client.last.data, "sent before it is open");
    assert_int_equal(f->client.opened, 1);
    assert_int_equal(f->servers[0].opened, 0);
    side_send(&f->client, "");
    PUMP_UNTIL(f, f->client.frames == 2);
    assert_int_equal(f->client.last.len, 0);
}

static void echo_over_tcp(void **state)
{
    struct fixture *f = *state;
    echo_over(f, "127.0.0.1:0", "127.0.0.1");
    assert_string_equal(conn_peer(f->client.conn), f->address);
    assert_int_equal(strncmp(conn_peer(f->servers[0].conn), "127.0.0.1:", 10), 0);
}

static void echo_over_a_name(void **state)
{
    echo_over(*state, "127.0.0.1:0", "localhost");
}

static void echo_over_a_unix_socket(void **state)
{
    struct fixture *f = *state;
    char address[64];
    snprintf(address, sizeof(address), "unix:%s/socket", f->dir);
    echo_over(f, address, NULL);
    assert_string_equal(conn_peer(f->servers[0].conn), address);
}

/* Frames of 0 … 1999 bytes; the first bytes say which it is. */
static struct slice numbered(char room[2000], int i)
{
    memset(room, 'a' + i % 26, 2000);
    int n = snprintf(room, 2000, "%d:", i);
    room[n] = 'x';
    size_t len = (size_t)(i % 2000);
    return slice_make(room, len < (size_t)n ? (size_t)n : len);
}

static void expect_numbered(struct side *side, struct slice frame)
{
    char room[2000];
    assert_true(slice_eq(frame, numbered(room, side->frames - 1)));
}

static void echo_numbered(struct side *side, struct slice frame)
{
    expect_numbered(side, frame);
    side_echo(side, frame);
}

static void ten_thousand_pipelined_frames_keep_order_and_content(void **state)
{
    struct fixture *f = *state;
    fixture_pair(f);
    f->servers[0].on_frame = echo_numbered;
    f->client.on_frame = expect_numbered;
    char room[2000];
    for (int i = 0; i < 10000; i++) {
        side_send_slice(&f->client, numbered(room, i));
    }
    PUMP_UNTIL(f, f->client.frames == 10000);
    assert_int_equal(f->servers[0].frames, 10000);
    assert_int_equal(conn_unsent(f->client.conn), 0);
    assert_false(conn_is_clogged(f->client.conn));
}

static void a_frame_as_long_as_allowed_arrives(void **state)
{
    struct fixture *f = *state;
    fixture_pair(f);
    struct buf big = {0};
    memset(buf_reserve(&big, 64 * 1024), 'b', 64 * 1024);
    buf_grow(&big, 64 * 1024);
    side_send_slice(&f->client, buf_slice(&big));
    PUMP_UNTIL(f, f->servers[0].frames == 1);
    assert_true(slice_eq(buf_slice(&f->servers[0].last), buf_slice(&big)));
    buf_fini(&big);
}

static void bytes_that_are_framed_already_go_out_as_they_are(void **state)
{
    struct fixture *f = *state;
    fixture_pair(f);
    conn_send_framed(f->client.conn, slice_make("\x02hi\x03you", 7));
    PUMP_UNTIL(f, f->servers[0].frames == 2);
    assert_string_equal(f->servers[0].last.data, "you");
}

static void a_frame_that_drips_in_is_delivered_once_and_whole(void **state)
{
    struct fixture *f = *state;
    fixture_listen(f, NULL, 1, NULL);
    int fd = raw_connect(f);
    PUMP_UNTIL(f, f->accepted == 1);
    char room[2000];
    struct slice text = numbered(room, 300);
    unsigned char head[FRAME_HEAD_MAX];
    raw_write(fd, head, frame_head(text.len, head));
    for (size_t i = 0; i < text.len; i++) {
        assert_int_equal(f->servers[0].frames, 0);
        raw_write(fd, text.ptr + i, 1);
        loop_turn(f->loop, 0);
    }
    PUMP_UNTIL(f, f->servers[0].frames == 1);
    assert_true(slice_eq(buf_slice(&f->servers[0].last), text));
    close(fd);
}

struct burst {
    struct side *side;
    int fd;
    struct loop_task task;
};

static void send_burst(void *arg)
{
    struct burst *burst = arg;
    for (int i = 0; i < 100; i++) {
        side_send(burst->side, "hello");
        assert_int_equal(raw_waiting(burst->fd), 0);
    }
}

static void frames_of_one_turn_leave_together_at_its_end(void **state)
{
    struct fixture *f = *state;
    fixture_listen(f, NULL, 1, NULL);
    int fd = raw_connect(f);
    PUMP_UNTIL(f, f->accepted == 1);
    struct burst burst = {.side = &f->servers[0], .fd = fd};
    loop_defer(f->loop, &burst.task, send_burst, &burst);
    loop_turn(f->loop, 0);
    assert_int_equal(conn_unsent(f->servers[0].conn), 0);
    PUMP_UNTIL(f, raw_waiting(fd) == 600);
    close(fd);
}

static void hold_at_second_frame(struct side *side, struct slice frame)
{
    (void)frame;
    if (side->frames == 2) {
        conn_hold(side->conn, true);
    }
}

static void an_owner_can_hold_the_frames_back(void **state)
{
    struct fixture *f = *state;
    fixture_pair(f);
    f->servers[0].on_frame = hold_at_second_frame;
    for (int i = 0; i < 5; i++) {
        side_send(&f->client, "frame");
    }
    PUMP_UNTIL(f, f->servers[0].frames == 2);
    side_send(&f->client, "later");
    side_close(&f->client, true);
    for (int i = 0; i < 5; i++) {
        loop_turn(f->loop, 1);
    }
    assert_int_equal(f->servers[0].frames, 2);
    assert_int_equal(f->servers[0].closed, 0);
    conn_hold(f->servers[0].conn, false);
    assert_int_equal(f->servers[0].frames, 2); /* not from inside the call */
    PUMP_UNTIL(f, f->servers[0].closed == 1);
    assert_int_equal(f->servers[0].frames, 6);
}

static void closing_with_flush_delivers_everything_before(void **state)
{
    struct fixture *f = *state;
    fixture_pair(f);
    char room[2000];
    for (int i = 0; i < 2000; i++) { /* 2 MB: far more than a socket takes at once */
        side_send_slice(&f->client, numbered(room, i));
    }
    side_close(&f->client, true);
    f->servers[0].on_frame = expect_numbered;
    PUMP_UNTIL(f, f->servers[0].closed == 1);
    assert_int_equal(f->servers[0].frames, 2000);
    assert_int_equal(f->servers[0].err, ERR_CLOSED);
    assert_string_equal(f->servers[0].why, "peer closed");
    assert_int_equal(f->client.closed, 0);
}

static void closing_with_flush_works_before_the_connection_is_there(void **state)
{
    struct fixture *f = *state;
    fixture_listen(f, NULL, 1, NULL);
    fixture_connect(f, f->address, NULL);
    side_send(&f->client, "bye");
    side_close(&f->client, true);
    PUMP_UNTIL(f, f->accepted && f->servers[0].closed);
    assert_int_equal(f->servers[0].frames, 1);
    assert_int_equal(f->client.opened, 0);
}

static void closing_without_flush_ends_at_once(void **state)
{
    struct fixture *f = *state;
    fixture_pair(f);
    side_send(&f->client, "lost");
    side_close(&f->client, false);
    PUMP_UNTIL(f, f->servers[0].closed == 1);
    assert_int_equal(f->servers[0].frames, 0);
}

static void close_in_callback(struct side *side)
{
    side_close(side, true);
}

static void close_at_third_frame(struct side *side, struct slice frame)
{
    (void)frame;
    if (side->frames == 3) {
        side_close(side, false);
    }
}

static void a_connection_can_be_closed_in_each_of_its_callbacks(void **state)
{
    struct fixture *f = *state;
    fixture_listen(f, NULL, SIDES_MAX, NULL);
    f->client.on_opened = close_in_callback;
    fixture_connect(f, f->address, NULL);
    PUMP_UNTIL(f, f->accepted == 1 && f->servers[0].closed);

    f->client.on_opened = NULL;
    fixture_connect(f, f->address, NULL);
    PUMP_UNTIL(f, f->accepted == 2);
    f->servers[1].on_frame = close_at_third_frame;
    for (int i = 0; i < 10; i++) {
        side_send(&f->client, "one of ten in one read");
    }
    PUMP_UNTIL(f, f->client.closed == 1);
    assert_int_equal(f->servers[1].frames, 3);
    assert_int_equal(f->servers[1].closed, 0);

    f->on_accept = close_in_callback;
    fixture_connect(f, f->address, NULL);
    PUMP_UNTIL(f, f->client.closed == 2);
    assert_int_equal(f->accepted, 3);
}

static void the_other_end_can_be_closed_from_a_callback(void **state)
{
    struct fixture *f = *state;
    fixture_pair(f);
    side_close(&f->servers[0], true);
    side_send(&f->client, "crossing the end");
    PUMP_UNTIL(f, f->client.closed == 1);
    assert_int_equal(f->client.err, ERR_CLOSED);
}

/* The frame that says why, then the end. */
static void expect_refusal(struct fixture *f, int fd)
{
    static const char text[] = "too many connections; try again later";
    char got[100];
    size_t want = strlen(text) + 1;
    PUMP_UNTIL(f, raw_waiting(fd) == want);
    assert_int_equal(recv(fd, got, sizeof(got), 0), want);
    assert_memory_equal(got + 1, text, want - 1);
    PUMP_UNTIL(f, recv(fd, got, 1, MSG_DONTWAIT) == 0);
    close(fd);
}

static void more_connections_than_allowed_are_told_so(void **state)
{
    struct fixture *f = *state;
    fixture_listen(f, NULL, 2, NULL);
    int first = raw_connect(f), second = raw_connect(f);
    PUMP_UNTIL(f, f->accepted == 2);
    expect_refusal(f, raw_connect(f));
    assert_int_equal(conn_listener_connections(f->listener), 2);
    assert_int_equal(conn_listener_refused(f->listener), 1);
    close(first);
    PUMP_UNTIL(f, conn_listener_connections(f->listener) == 1);
    int third = raw_connect(f);
    PUMP_UNTIL(f, f->accepted == 3);
    expect_refusal(f, raw_connect(f));
    close(second);
    close(third);
}

/* Clients that do not close after they were refused: those after them wait, and nothing grows. */
static void refusals_are_bounded(void **state)
{
    struct fixture *f = *state;
    enum { MANY = ADMISSION_TELLS_MAX + 1 };
    int fds[MANY];
    fixture_listen(f, NULL, 1, NULL);
    int first = raw_connect(f);
    PUMP_UNTIL(f, f->accepted == 1);
    for (int i = 0; i < MANY; i++) {
        fds[i] = raw_connect(f);
    }
    PUMP_UNTIL(f, conn_listener_refused(f->listener) == ADMISSION_TELLS_MAX);
    for (int i = 0; i < 5; i++) {
        loop_turn(f->loop, 1);
    }
    assert_int_equal(conn_listener_refused(f->listener), ADMISSION_TELLS_MAX);
    close(first);
    PUMP_UNTIL(f, f->accepted == 2);
    for (int i = 0; i < MANY; i++) {
        close(fds[i]);
    }
    PUMP_UNTIL(f, conn_listener_connections(f->listener) == 0);
}

static void accepted_connections_outlive_their_listener(void **state)
{
    struct fixture *f = *state;
    fixture_pair(f);
    conn_listener_free(f->listener);
    f->listener = NULL;
    f->servers[0].on_frame = side_echo;
    side_send(&f->client, "still there");
    PUMP_UNTIL(f, f->client.frames == 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CONN_TEST(echo_over_tcp),
        CONN_TEST(echo_over_a_name),
        CONN_TEST(echo_over_a_unix_socket),
        CONN_TEST(ten_thousand_pipelined_frames_keep_order_and_content),
        CONN_TEST(a_frame_as_long_as_allowed_arrives),
        CONN_TEST(bytes_that_are_framed_already_go_out_as_they_are),
        CONN_TEST(a_frame_that_drips_in_is_delivered_once_and_whole),
        CONN_TEST(frames_of_one_turn_leave_together_at_its_end),
        CONN_TEST(an_owner_can_hold_the_frames_back),
        CONN_TEST(closing_with_flush_delivers_everything_before),
        CONN_TEST(closing_with_flush_works_before_the_connection_is_there),
        CONN_TEST(closing_without_flush_ends_at_once),
        CONN_TEST(a_connection_can_be_closed_in_each_of_its_callbacks),
        CONN_TEST(the_other_end_can_be_closed_from_a_callback),
        CONN_TEST(more_connections_than_allowed_are_told_so),
        CONN_TEST(refusals_are_bounded),
        CONN_TEST(accepted_connections_outlive_their_listener),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
