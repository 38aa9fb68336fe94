#include "rpc_fixture.h"

#include "base/clock.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static void copy_text(char *out, size_t size, struct slice text)
{
    size_t len = text.len < size ? text.len : size - 1;
    if (len > 0) {
        memcpy(out, text.ptr, len);
    }
    out[len] = '\0';
}

void on_reply(void *arg, enum err err, const struct wire_message *reply, const char *why)
{
    struct outcome *outcome = arg;
    outcome->count++;
    outcome->err = err;
    assert_non_null(why);
    if (err != ERR_OK) {
        assert_null(reply);
        copy_text(outcome->text, sizeof(outcome->text), slice_str(why));
        return;
    }
    outcome->kind = reply->kind;
    if (reply->kind == WIRE_ERROR) {
        outcome->code = reply->error.code;
        copy_text(outcome->text, sizeof(outcome->text), reply->error.message);
        copy_text(outcome->field, sizeof(outcome->field), reply->error.field);
    } else if (reply->kind == WIRE_CALL_REPLY) {
        copy_text(outcome->text, sizeof(outcome->text), reply->call_reply.payload);
    }
}

struct wire_message call_of(struct slice payload)
{
    return (struct wire_message){
        .kind = WIRE_CALL,
        .call = {.method = S("test.Echo/Echo"), .payload = payload},
    };
}

struct rpc_client_conf client_conf(const char *address)
{
    return (struct rpc_client_conf){.address = address,
                                    .program = "test/1",
                                    .connect_timeout_ms = 5000,
                                    .limits = rpc_limits_default};
}

struct rpc_server_conf server_conf(void)
{
    return (struct rpc_server_conf){.address = "127.0.0.1:0",
                                    .program = "server/1",
                                    .connections_max = 100,
                                    .limits = rpc_limits_default};
}

struct rpc_server *server_open(struct loop *loop, const struct rpc_server_conf *conf,
                               void (*handle)(void *arg, struct rpc_request *request), void *arg)
{
    struct reason reason = {""};
    struct rpc_server *server = rpc_server_open(loop, conf, handle, arg, &reason);
    if (!server) {
        fail_msg("%s", reason.text);
    }
    return server;
}

char *server_address(const struct rpc_server *server, char out[32])
{
    snprintf(out, 32, "127.0.0.1:%d", rpc_server_port(server));
    return out;
}

static void answer(struct rpc_request *request)
{
    const struct wire_message *message = rpc_request_message(request);
    assert_int_equal(message->kind, WIRE_CALL);
    struct wire_message reply = {
        .kind = WIRE_CALL_REPLY,
        .call_reply = {.result = WIRE_SUCCESS, .payload = message->call.payload},
    };
    rpc_request_reply(request, &reply);
}

void handle_echo(void *arg, struct rpc_request *request)
{
    (void)arg;
    answer(request);
}

void handle_keep(void *arg, struct rpc_request *request)
{
    struct shelf *shelf = arg;
    assert_true(shelf->count < sizeof(shelf->requests) / sizeof(shelf->requests[0]));
    shelf->requests[shelf->count++] = request;
}

void shelf_answer(struct shelf *shelf, size_t index)
{
    struct rpc_request *request = shelf->requests[index];
    shelf->requests[index] = shelf->requests[--shelf->count];
    answer(request);
}

void shelf_answer_all(struct shelf *shelf)
{
    while (shelf->count > 0) {
        shelf_answer(shelf, 0);
    }
}

static struct sockaddr_in loopback(int port)
{
    return (struct sockaddr_in){.sin_family = AF_INET,
                                .sin_port = htons((uint16_t)port),
                                .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
}

int raw_connect(int port)
{
    struct sockaddr_in to = loopback(port);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&to, sizeof(to)), 0);
    return fd;
}

int raw_listen(int *port)
{
    struct sockaddr_in at = loopback(0);
    socklen_t len = sizeof(at);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    assert_true(fd >= 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&at, sizeof(at)), 0);
    assert_int_equal(listen(fd, 64), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&at, &len), 0);
    *port = ntohs(at.sin_port);
    return fd;
}

int raw_accept(struct loop *loop, int listener)
{
    int fd = -1;
    wait_for(loop, (fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC)) >= 0);
    return fd;
}

void raw_send(int fd, struct slice bytes)
{
    assert_int_equal(send(fd, bytes.ptr, bytes.len, MSG_NOSIGNAL), bytes.len);
}

/* As recv without waiting; -2: nothing there. */
static ssize_t read_some(int fd, struct buf *in)
{
    ssize_t n = recv(fd, buf_reserve(in, 65536), 65536, MSG_DONTWAIT);
    if (n > 0) {
        buf_grow(in, (size_t)n);
    }
    return n < 0 && (errno == EAGAIN || errno == EINTR) ? -2 : n;
}

void raw_read_frames(struct loop *loop, int fd, struct buf *in, size_t frames)
{
    ssize_t n = -2;
    wait_for(loop, frame_count(in) >= frames || ((n = read_some(fd, in)) != -2 && n <= 0));
    assert_true(frame_count(in) >= frames);
}

void raw_read_to_end(struct loop *loop, int fd, struct buf *in)
{
    ssize_t n = -2;
    wait_for(loop, (n = read_some(fd, in)) == 0 || n == -1);
    if (n != 0) {
        fail_msg("not closed in order: %s", strerror(errno));
    }
}

static bool next_frame(struct slice *rest, struct slice *frame)
{
    return frame_next(rest, (size_t)64 << 20, frame) == ERR_OK;
}

size_t frame_count(const struct buf *in)
{
    struct slice rest = buf_slice(in);
    struct slice frame;
    size_t n = 0;
    while (next_frame(&rest, &frame)) {
        n++;
    }
    return n;
}

struct wire_message frame_at(const struct buf *in, size_t index)
{
    struct slice rest = buf_slice(in);
    struct slice frame;
    for (size_t i = 0; i <= index; i++) {
        assert_true(next_frame(&rest, &frame));
    }
    struct wire_message message;
    assert_int_equal(wire_decode(frame, &message, NULL), ERR_OK);
    return message;
}
