/* Connections to peers that vanish, flood, stall or send rubbish. */
#include "conn_fixture.h"

#include "net/socket.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

static void expect_no_connection(struct fixture *f, const char *address, enum err err,
                                 const char *why)
{
    f->client.closed = 0;
    fixture_connect(f, address, NULL);
    PUMP_UNTIL(f, f->client.closed == 1);
    assert_int_equal(f->client.opened, 0);
    assert_int_equal(f->client.err, err);
    if (!strstr(f->client.why, why)) {
        fail_msg("'%s' is not in '%s'", why, f->client.why);
    }
}

static void a_refused_connect_is_told_through_closed(void **state)
{
    struct fixture *f = *state;
    struct reason reason;
    int fd = socket_listen("127.0.0.1:0", false, &reason);
    char address[64];
    snprintf(address, sizeof(address), "127.0.0.1:%d", socket_port(fd));
    close(fd);
    expect_no_connection(f, address, ERR_CONNECT, "refused");
    snprintf(address, sizeof(address), "unix:%s/none", f->dir);
    expect_no_connection(f, address, ERR_CONNECT, "No such file");
    expect_no_connection(f, "127.0.0.1", ERR_INVALID, "allowed");
    expect_no_connection(f, ":80", ERR_INVALID, "no host");
}

static struct sockaddr_in loopback_address(int fd)
{
    struct sockaddr_in addr;
    socklen_t len = sizeof(addr);
    assert_int_equal(getsockname(fd, (void *)&addr, &len), 0);
    return addr;
}

/* A listener whose queue is full answers nothing at all. */
static void a_connect_that_gets_no_answer_times_out(void **state)
{
    struct fixture *f = *state;
    enum { FILLERS = 8 };
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in addr = {.sin_family = AF_INET};
    addr.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    assert_int_equal(bind(listener, (const void *)&addr, sizeof(addr)), 0);
    assert_int_equal(listen(listener, 0), 0);
    addr = loopback_address(listener);
    int fillers[FILLERS];
    for (int i = 0; i < FILLERS; i++) {
        fillers[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
        (void)connect(fillers[i], (const void *)&addr, sizeof(addr));
    }
    char address[64];
    snprintf(address, sizeof(address), "127.0.0.1:%d", ntohs(addr.sin_port));
    struct conn_limits limits = fixture_limits();
    fixture_connect_within(f, address, 60, &limits);
    PUMP_UNTIL(f, f->client.closed == 1);
    assert_int_equal(f->client.err, ERR_TIMEOUT);
    assert_non_null(strstr(f->client.why, "no answer within 60 ms"));
    for (int i = 0; i < FILLERS; i++) {
        close(fillers[i]);
    }
    close(listener);
}

static void a_name_that_is_being_resolved_can_be_given_up(void **state)
{
    struct fixture *f = *state;
    fixture_connect(f, "no-such-host.invalid:80", NULL);
    loop_turn(f->loop, 0);
    if (f->client.conn) {
        side_close(&f->client, false);
    }
    fixture_connect(f, "other-host.invalid:80", NULL);
    side_close(&f->client, true);
}

static void a_peer_that_closes_within_a_frame_is_told_apart(void **state)
{
    struct fixture *f = *state;
    fixture_listen(f, NULL, 1, NULL);
    int fd = raw_connect(f);
    raw_write(fd, "\x05hello\x05hel", 10);
    close(fd);
    PUMP_UNTIL(f, f->servers[0].closed == 1);
    assert_int_equal(f->servers[0].frames, 1);
    assert_int_equal(f->servers[0].err, ERR_CLOSED);
    assert_string_equal(f->servers[0].why, "peer closed in the middle of a frame");
}

static void say_goodbye(struct side *side)
{
    side_send(side, "too long!");
}

static void expect_goodbye_after(struct fixture *f, const char *bytes, size_t n, enum err err,
                                 const char *why)
{
    fixture_listen(f, NULL, 1, NULL);
    int fd = raw_connect(f);
    PUMP_UNTIL(f, f->accepted == 1);
    f->servers[0].on_closed = say_goodbye;
    raw_write(fd, bytes, n);
    for (int i = 0; i < 20; i++) { /* the rest of what was announced: must not destroy the answer */
        raw_write(fd, "0123456789abcdef0123456789abcdef", 32);
    }
    PUMP_UNTIL(f, f->servers[0].closed == 1);
    assert_int_equal(f->servers[0].err, err);
    assert_string_equal(f->servers[0].why, why);
    PUMP_UNTIL(f, raw_waiting(fd) == 10);
    char answer[16];
    assert_int_equal(read(fd, answer, sizeof(answer)), 10);
    assert_memory_equal(answer, "\x09too long!", 10);
    shutdown(fd, SHUT_WR);
    PUMP_UNTIL(f, conn_listener_connections(f->listener) == 0);
    assert_int_equal(read(fd, answer, sizeof(answer)), 0);
    close(fd);
}

static void a_frame_over_the_limit_ends_the_connection_with_a_last_word(void **state)
{
    expect_goodbye_after(*state, "\x81\x80\x04", 3, ERR_LIMIT, "frame longer than 65536 bytes");
}

static void rubbish_ends_the_connection_with_a_last_word(void **state)
{
    expect_goodbye_after(*state, "\xFF\xFF\xFF\xFF\xFF\xFF", 6, ERR_PROTOCOL,
                         "frame length is not a varint of 32 bits");
}

static void a_silent_connection_is_closed_after_idle_ms(void **state)
{
    struct fixture *f = *state;
    struct conn_limits limits = fixture_limits();
    limits.idle_ms = 60;
    fixture_listen(f, NULL, 1, &limits);
    int64_t start = clock_mono_ms();
    int fd = raw_connect(f);
    PUMP_UNTIL(f, f->accepted == 1);
    while (clock_mono_ms() < start + 150) { /* talking keeps it open */
        raw_write(fd, "\x01x", 2);
        loop_turn(f->loop, 5);
        assert_int_equal(f->servers[0].closed, 0);
    }
    int64_t quiet_since = clock_mono_ms();
    PUMP_UNTIL(f, f->servers[0].closed == 1);
    assert_true(clock_mono_ms() - quiet_since >= 40);
    assert_int_equal(f->servers[0].err, ERR_TIMEOUT);
    assert_string_equal(f->servers[0].why, "sent nothing for 60 ms");
    close(fd);
}

static void fill(struct side *side, size_t bytes)
{
    char room[1000];
    memset(room, 'f', sizeof(room));
    for (size_t sent = 0; sent < bytes; sent += sizeof(room)) {
        side_send_slice(side, slice_make(room, sizeof(room)));
    }
}

static void a_peer_that_takes_nothing_is_cut_off_after_stall_ms(void **state)
{
    struct fixture *f = *state;
    struct conn_limits limits = fixture_limits();
    limits.stall_ms = 60;
    limits.idle_ms = 1; /* must not count while reading is paused */
    fixture_listen(f, NULL, 1, &limits);
    int fd = raw_connect(f);
    PUMP_UNTIL(f, f->accepted == 1);
    fill(&f->servers[0], 16 * 1024 * 1024);
    assert_true(conn_is_clogged(f->servers[0].conn));
    PUMP_UNTIL(f, f->servers[0].closed == 1);
    assert_int_equal(f->servers[0].err, ERR_TIMEOUT);
    assert_string_equal(f->servers[0].why, "took nothing for 60 ms");
    close(fd);
}

/* Most of a large frame. */
static void send_part_of_a_frame(int fd)
{
    static const char zeros[100 * 1024];
    unsigned char head[FRAME_HEAD_MAX];
    raw_write(fd, head, frame_head(sizeof(zeros) + 1, head));
    raw_write(fd, zeros, sizeof(zeros));
}

static void without_room_in_the_quota_large_frames_are_refused(void **state)
{
    struct fixture *f = *state;
    struct quota quota = {.max = SIZE_MAX};
    struct conn_limits limits = fixture_limits();
    limits.frame_max = 128 * 1024;
    limits.quota = &quota;
    fixture_listen(f, NULL, 2, &limits);
    int small = raw_connect(f);
    PUMP_UNTIL(f, f->accepted == 1);
    send_part_of_a_frame(small);
    raw_write(small, "x", 1); /* the rest: it was large once */
    PUMP_UNTIL(f, f->servers[0].frames == 1);
    quota.max = quota.used = 1; /* others have taken all */
    int large = raw_connect(f);
    PUMP_UNTIL(f, f->accepted == 2);
    send_part_of_a_frame(large);
    PUMP_UNTIL(f, f->servers[1].closed == 1);
    assert_int_equal(f->servers[1].err, ERR_BUSY);
    assert_string_equal(f->servers[1].why, quota_text);
    for (int i = 0; i < 10; i++) {
        raw_write(small, "\x02hi", 3);
        PUMP_UNTIL(f, f->servers[0].frames == i + 2);
        side_send(&f->servers[0], "there is always room for this");
    }
    close(small);
    close(large);
    PUMP_UNTIL(f, conn_listener_connections(f->listener) == 0);
    assert_int_equal(quota.used, 1);
}

static void without_room_in_the_quota_a_slow_reader_is_cut_off(void **state)
{
    struct fixture *f = *state;
    struct quota quota = {.max = 16 * 1024 * 1024};
    struct conn_limits limits = fixture_limits();
    limits.quota = &quota;
    fixture_listen(f, NULL, 1, &limits);
    int fd = raw_connect(f);
    PUMP_UNTIL(f, f->accepted == 1);
    fill(&f->servers[0], 12 * 1024 * 1024); /* more than the socket takes: it is blocked */
    for (int i = 0; i < 5; i++) {
        loop_turn(f->loop, 1);
    }
    assert_int_equal(f->servers[0].closed, 0);
    fill(&f->servers[0], 12 * 1024 * 1024);
    PUMP_UNTIL(f, f->servers[0].closed == 1);
    assert_int_equal(f->servers[0].err, ERR_BUSY);
    PUMP_UNTIL(f, conn_listener_connections(f->listener) == 0);
    assert_int_equal(quota.used, 0);
    close(fd);
}

/* Writes what the socket takes and counts it; 0 when it takes nothing. */
static size_t flood(int fd, size_t *offset, const struct buf *pattern)
{
    ssize_t n = send(fd, pattern->data + *offset, pattern->len - *offset, MSG_DONTWAIT);
    if (n < 0) {
        assert_int_equal(errno, EAGAIN);
        return 0;
    }
    *offset = (*offset + (size_t)n) % pattern->len;
    return (size_t)n;
}

static size_t drain(int fd)
{
    static char room[65536];
    ssize_t n = recv(fd, room, sizeof(room), MSG_DONTWAIT);
    return n > 0 ? (size_t)n : 0;
}

enum { PATTERN_FRAMES = 64 };

static void add_pattern(struct buf *pattern)
{
    unsigned char head[FRAME_HEAD_MAX];
    for (int i = 0; i < PATTERN_FRAMES; i++) {
        buf_add(pattern, head, frame_head(1000, head));
        memset(buf_reserve(pattern, 1000), 'p', 1000);
        buf_grow(pattern, 1000);
    }
}

static void a_reader_that_does_not_read_cannot_make_the_process_grow(void **state)
{
    struct fixture *f = *state;
    fixture_listen(f, NULL, 1, NULL);
    int fd = raw_connect(f);
    int small = 64 * 1024; /* the kernel's share, so that the test is quick */
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small)), 0);
    PUMP_UNTIL(f, f->accepted == 1);
    struct side *server = &f->servers[0];
    server->on_frame = side_echo;
    struct buf pattern = {0};
    add_pattern(&pattern);
    size_t offset = 0;
    size_t sent = 0;
    int quiet = 0; /* turns in which nothing moved */
    PUMP_UNTIL(f, quiet > 20 && conn_is_clogged(server->conn))
    {
        size_t n = flood(fd, &offset, &pattern);
        sent += n;
        quiet = n > 0 ? 0 : quiet + 1;
        assert_true(conn_unsent(server->conn) <= 256 * 1024 + 1002);
    }
    assert_true(sent > server->bytes); /* the rest waits in the kernel */
    size_t got = 0;
    PUMP_UNTIL(f, offset == 0 && got == sent)
    {
        sent += offset ? flood(fd, &offset, &pattern) : 0;
        got += drain(fd);
    }
    assert_int_equal(server->bytes, sent / 1002 * 1000);
    assert_false(conn_is_clogged(server->conn));
    buf_fini(&pattern);
    close(fd);
}

/* The peer says why it goes, then closes although bytes for it are under way. */
static void the_last_words_of_a_peer_are_read_when_writing_fails(void **state)
{
    struct fixture *f = *state;
    fixture_listen(f, NULL, 1, NULL);
    int fd = raw_connect(f);
    PUMP_UNTIL(f, f->accepted == 1);
    fill(&f->servers[0], 16 * 1024 * 1024); /* clogged: it does not read */
    loop_turn(f->loop, 0);
    raw_write(fd, "\x07goodbye", 8);
    close(fd);
    PUMP_UNTIL(f, f->servers[0].closed == 1);
    assert_int_equal(f->servers[0].err, ERR_CLOSED);
    assert_int_equal(f->servers[0].frames, 1);
    assert_string_equal(f->servers[0].last.data, "goodbye");
}

static void close_again(struct side *side)
{
    conn_close(side->conn, true);
}

static void closing_inside_closed_does_no_harm(void **state)
{
    struct fixture *f = *state;
    fixture_pair(f);
    f->client.on_closed = close_again;
    side_close(&f->servers[0], false);
    PUMP_UNTIL(f, f->client.closed == 1);
}

static int lowest_free_fd(void)
{
    int fd = dup(STDERR_FILENO);
    close(fd);
    return fd;
}

static void running_out_of_descriptors_only_delays_new_connections(void **state)
{
    struct fixture *f = *state;
    fixture_listen(f, NULL, 4, NULL);
    int fd = raw_connect(f);
    struct rlimit before;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    struct rlimit none = {(rlim_t)lowest_free_fd(), before.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
    int64_t start = clock_mono_ms();
    int turns = 0;
    while (clock_mono_ms() < start + 60) {
        loop_turn(f->loop, 10);
        turns++;
    }
    assert_int_equal(f->accepted, 0);
    assert_true(turns < 30); /* it does not spin */
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    PUMP_UNTIL(f, f->accepted == 1);
    close(fd);
}

static void a_loop_can_be_freed_while_connections_linger(void **state)
{
    struct fixture *f = *state;
    fixture_pair(f);
    fill(&f->client, 8 * 1024 * 1024);
    side_close(&f->client, true);
    fixture_connect(f, f->address, NULL);
    side_close(&f->client, true); /* teardown checks that nothing is left */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CONN_TEST(without_room_in_the_quota_large_frames_are_refused),
        CONN_TEST(without_room_in_the_quota_a_slow_reader_is_cut_off),
        CONN_TEST(a_refused_connect_is_told_through_closed),
        CONN_TEST(a_connect_that_gets_no_answer_times_out),
        CONN_TEST(a_name_that_is_being_resolved_can_be_given_up),
        CONN_TEST(a_peer_that_closes_within_a_frame_is_told_apart),
        CONN_TEST(a_frame_over_the_limit_ends_the_connection_with_a_last_word),
        CONN_TEST(rubbish_ends_the_connection_with_a_last_word),
        CONN_TEST(a_silent_connection_is_closed_after_idle_ms),
        CONN_TEST(a_peer_that_takes_nothing_is_cut_off_after_stall_ms),
        CONN_TEST(a_reader_that_does_not_read_cannot_make_the_process_grow),
        CONN_TEST(the_last_words_of_a_peer_are_read_when_writing_fails),
        CONN_TEST(closing_inside_closed_does_no_harm),
        CONN_TEST(running_out_of_descriptors_only_delays_new_connections),
        CONN_TEST(a_loop_can_be_freed_while_connections_linger),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
