#include "conn_fixture.h"

#include "base/mem.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

struct conn_limits fixture_limits(void)
{
    return (struct conn_limits){.frame_max = 64 * 1024, .out_high = 256 * 1024};
}

int fixture_setup(void **state)
{
    struct fixture *f = mem_new(struct fixture);
    f->loop = loop_new();
    f->client.fixture = f;
    snprintf(f->dir, sizeof(f->dir), "/tmp/sagad-conn-XXXXXX");
    assert_non_null(mkdtemp(f->dir));
    *state = f;
    return 0;
}

static void side_fini(struct side *side)
{
    if (side->conn) {
        side_close(side, false);
    }
    buf_fini(&side->last);
}

int fixture_teardown(void **state)
{
    struct fixture *f = *state;
    for (int i = 0; i < SIDES_MAX; i++) {
        side_fini(&f->servers[i]);
    }
    side_fini(&f->client);
    if (f->listener) {
        conn_listener_free(f->listener);
    }
    loop_free(f->loop);
    assert_int_equal(rmdir(f->dir), 0); /* no socket file was left */
    free(f);
    return 0;
}

static void on_opened(void *arg)
{
    struct side *side = arg;
    assert_false(side->fixture->inside);
    side->opened++;
    if (side->on_opened) {
        side->on_opened(side);
    }
}

static void on_frame(void *arg, struct slice bytes)
{
    struct side *side = arg;
    assert_false(side->fixture->inside);
    assert_non_null(side->conn);
    side->frames++;
    side->bytes += bytes.len;
    buf_clear(&side->last);
    buf_add_slice(&side->last, bytes);
    if (side->on_frame) {
        side->on_frame(side, bytes);
    }
}

static void on_closed(void *arg, enum err err, const char *why)
{
    struct side *side = arg;
    assert_false(side->fixture->inside);
    assert_non_null(side->conn);
    side->closed++;
    side->err = err;
    snprintf(side->why, sizeof(side->why), "%s", why);
    if (side->on_closed) {
        side->on_closed(side);
    }
    side->conn = NULL;
}

static const struct conn_events events = {on_opened, on_frame, on_closed};

static void on_accepted(void *arg, struct conn *conn, const char *refusal)
{
    struct fixture *f = arg;
    if (refusal) {
        conn_send(conn, slice_str(refusal));
        conn_close(conn, true);
        return;
    }
    assert_true(f->accepted < SIDES_MAX);
    struct side *side = &f->servers[f->accepted++];
    side->fixture = f;
    side->conn = conn;
    conn_set_events(conn, &events, side);
    if (f->on_accept) {
        f->on_accept(side);
    }
}

void fixture_listen(struct fixture *f, const char *address, int max,
                    const struct conn_limits *limits)
{
    struct conn_listen_conf conf = {.address = address ? address : "127.0.0.1:0",
                                    .connections_max = max,
                                    .limits = limits ? *limits : fixture_limits()};
    struct reason reason = {""};
    f->listener = conn_listen(f->loop, &conf, on_accepted, f, &reason);
    assert_string_equal(reason.text, "");
    assert_non_null(f->listener);
    int port = conn_listener_port(f->listener);
    if (port != 0) {
        snprintf(f->address, sizeof(f->address), "127.0.0.1:%d", port);
    } else {
        snprintf(f->address, sizeof(f->address), "%s", address);
    }
}

void fixture_connect_within(struct fixture *f, const char *address, int64_t timeout_ms,
                            const struct conn_limits *limits)
{
    f->inside = true;
    f->client.conn = conn_connect(f->loop, address, timeout_ms, limits, &events, &f->client);
    f->inside = false;
}

void fixture_connect(struct fixture *f, const char *address, const struct conn_limits *limits)
{
    struct conn_limits usual = fixture_limits();
    fixture_connect_within(f, address, 5000, limits ? limits : &usual);
}

void fixture_pair(struct fixture *f)
{
    fixture_listen(f, NULL, SIDES_MAX, NULL);
    fixture_connect(f, f->address, NULL);
    PUMP_UNTIL(f, f->client.opened && f->accepted);
}

void side_send_slice(struct side *side, struct slice bytes)
{
    bool before = side->fixture->inside;
    side->fixture->inside = true;
    conn_send(side->conn, bytes);
    side->fixture->inside = before;
}

void side_send(struct side *side, const char *text)
{
    side_send_slice(side, slice_str(text));
}

void side_close(struct side *side, bool flush)
{
    struct conn *conn = side->conn;
    side->conn = NULL;
    side->fixture->inside = true;
    conn_close(conn, flush);
    side->fixture->inside = false;
}

void side_echo(struct side *side, struct slice frame)
{
    side_send_slice(side, frame);
}

void fixture_turn(struct fixture *f, int64_t end_ms, const char *cond)
{
    if (clock_mono_ms() > end_ms) {
        fail_msg("never came true: %s", cond);
    }
    loop_turn(f->loop, 2);
}

int raw_connect(const struct fixture *f)
{
    struct sockaddr_in addr = {.sin_family = AF_INET};
    addr.sin_port = htons((uint16_t)conn_listener_port(f->listener));
    addr.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    assert_int_equal(connect(fd, (const void *)&addr, sizeof(addr)), 0);
    return fd;
}

void raw_write(int fd, const void *data, size_t n)
{
    assert_int_equal(write(fd, data, n), n);
}

size_t raw_waiting(int fd)
{
    int n = 0;
    assert_int_equal(ioctl(fd, FIONREAD, &n), 0);
    return (size_t)n;
}
