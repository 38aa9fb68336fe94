/* The exchange that docs/protocol.md prints, byte by byte, against the real client and server. The
 * path of the document is the first argument. */
#include "base/clock.h"
#include "rpc_fixture.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char *document_path;

/* ---- the document ---- */

static void read_document(struct buf *out)
{
    FILE *file = fopen(document_path, "r");
    if (!file) {
        fail_msg("cannot read %s", document_path);
    }
    size_t n;
    while ((n = fread(buf_reserve(out, 65536), 1, 65536, file)) > 0) {
        buf_grow(out, n);
    }
    assert_int_equal(fclose(file), 0);
}

/* "  08 01   ; version = 1": the bytes before the comment. */
static void add_line(struct buf *out, const char *line, const char *end)
{
    while (line < end && *line != ';') {
        if (*line == ' ') {
            line++;
            continue;
        }
        assert_true(end - line >= 2);
        char digits[3] = {line[0], line[1], '\0'};
        assert_true(isxdigit((unsigned char)digits[0]) && isxdigit((unsigned char)digits[1]));
        char byte = (char)strtoul(digits, NULL, 16);
        buf_add(out, &byte, 1);
        line += 2;
    }
}

/* The bytes of the block "```hexdump TITLE". */
static struct buf block(const char *title)
{
    struct buf text = {0};
    struct buf bytes = {0};
    char head[100];
    snprintf(head, sizeof(head), "\n```hexdump %s\n", title);
    read_document(&text);
    const char *line = strstr(text.data, head);
    if (!line) {
        fail_msg("%s has no block '%s'", document_path, title);
    }
    for (line += strlen(head); strncmp(line, "```", 3) != 0;) {
        const char *end = strchr(line, '\n');
        assert_non_null(end);
        add_line(&bytes, line, end);
        line = end + 1;
    }
    buf_fini(&text);
    assert_int_equal(frame_count(&bytes), 2);
    return bytes;
}

/* ---- the messages ---- */

static struct wire_step steps[] = {
    {.action = SLICE_LIT("tcp://order/order.Order/Create"),
     .compensate = SLICE_LIT("tcp://order/order.Order/CreateRevert"),
     .payload = SLICE_LIT("\x08\x01\x10\x01\x18\x05")},
    {.action = SLICE_LIT("tcp://product/product.Product/DecrStock"),
     .compensate = SLICE_LIT("tcp://product/product.Product/DecrStockRevert"),
     .payload = SLICE_LIT("\x08\x01\x10\x01")},
};
static const struct wire_message submit = {.kind = WIRE_SUBMIT,
                                           .submit = {.gid = SLICE_LIT("g-1"),
                                                      .trans_type = SLICE_LIT("saga"),
                                                      .steps = steps,
                                                      .step_count = 2,
                                                      .wait_result = true,
                                                      .wait_timeout_ms = 5000}};
static const struct wire_message submit_reply = {
    .kind = WIRE_SUBMIT_REPLY,
    .submit_reply = {.gid = SLICE_LIT("g-1"), .status = WIRE_STATUS_SUCCEED}};
static const struct wire_message call = {
    .kind = WIRE_CALL,
    .call = {.gid = SLICE_LIT("g-1"),
             .branch_id = SLICE_LIT("01"),
             .op = SLICE_LIT("action"),
             .trans_type = SLICE_LIT("saga"),
             .method = SLICE_LIT("order.Order/Create"),
             .payload = SLICE_LIT("\x08\x01\x10\x01\x18\x05"),
             .timeout_ms = 3000,
             .started_ms = 1767225600000,
             .traceparent = SLICE_LIT("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")}};
static const struct wire_message call_reply = {
    .kind = WIRE_CALL_REPLY,
    .call_reply = {.result = WIRE_SUCCESS, .payload = SLICE_LIT("\x08\x07")}};

/* Equal but for the id: the encoding is canonical. */
static void assert_same(const struct wire_message *got, const struct wire_message *expected)
{
    struct wire_message one = *got;
    struct wire_message other = *expected;
    struct buf one_bytes = {0};
    struct buf other_bytes = {0};
    one.id = 1;
    other.id = 1;
    wire_encode(&one_bytes, &one);
    wire_encode(&other_bytes, &other);
    assert_true(slice_eq(buf_slice(&one_bytes), buf_slice(&other_bytes)));
    buf_fini(&one_bytes);
    buf_fini(&other_bytes);
}

/* ---- the exchange ---- */

struct waiting {
    const struct wire_message *expected;
    int count;
};

static void on_expected(void *arg, enum err err, const struct wire_message *reply, const char *why)
{
    struct waiting *waiting = arg;
    if (err != ERR_OK) {
        fail_msg("%s: %s", err_text(err), why);
    }
    assert_same(reply, waiting->expected);
    waiting->count++;
}

/* The client sends the bytes of one block and understands those of the other. */
static void assert_client(const char *program, const struct wire_message *request,
                          const char *request_block, const struct wire_message *reply,
                          const char *reply_block)
{
    struct loop *loop = loop_new();
    int port = 0;
    int listener = raw_listen(&port);
    char address[32];
    snprintf(address, sizeof(address), "127.0.0.1:%d", port);
    struct rpc_client_conf conf = client_conf(address);
    conf.program = program;
    struct rpc_client *client = rpc_client_new(loop, &conf);
    struct waiting waiting = {.expected = reply};
    rpc_client_call(client, request, loop_now_ms(loop) + WAIT_MS, on_expected, &waiting);

    struct buf sent = {0};
    struct buf expected = block(request_block);
    int fd = raw_accept(loop, listener);
    raw_read_frames(loop, fd, &sent, 2);
    assert_true(slice_eq(buf_slice(&sent), buf_slice(&expected)));
    buf_fini(&expected);
    expected = block(reply_block);
    raw_send(fd, buf_slice(&expected));
    wait_for(loop, waiting.count > 0);

    buf_fini(&sent);
    buf_fini(&expected);
    rpc_client_free(client);
    loop_turn(loop, 0);
    loop_free(loop);
    close(fd);
    close(listener);
}

struct answering {
    const struct wire_message *request, *reply;
};

static void answer(void *arg, struct rpc_request *request)
{
    const struct answering *answering = arg;
    assert_same(rpc_request_message(request), answering->request);
    struct wire_message reply = *answering->reply;
    rpc_request_reply(request, &reply);
}

/* The server understands the bytes of one block and answers with those of the other. */
static void assert_server(const char *program, const struct wire_message *request,
                          const char *request_block, const struct wire_message *reply,
                          const char *reply_block)
{
    struct loop *loop = loop_new();
    struct rpc_server_conf conf = server_conf();
    conf.program = program;
    struct answering answering = {request, reply};
    struct rpc_server *server = server_open(loop, &conf, answer, &answering);

    struct buf bytes = block(request_block);
    struct buf got = {0};
    int fd = raw_connect(rpc_server_port(server));
    raw_send(fd, buf_slice(&bytes));
    raw_read_frames(loop, fd, &got, 2);
    buf_fini(&bytes);
    bytes = block(reply_block);
    assert_true(slice_eq(buf_slice(&got), buf_slice(&bytes)));

    buf_fini(&bytes);
    buf_fini(&got);
    rpc_server_free(server);
    loop_turn(loop, 0);
    loop_free(loop);
    close(fd);
}

#define SUBMIT_BLOCKS &submit, "submit: client to sagad", &submit_reply, "submit: sagad to client"
#define CALL_BLOCKS   &call, "call: sagad to participant", &call_reply, "call: participant to sagad"

static void test_submit_as_printed(void **state)
{
    (void)state;
    assert_client("client/1.0", SUBMIT_BLOCKS);
    assert_server("sagad/0.1.0", SUBMIT_BLOCKS);
}

static void test_call_as_printed(void **state)
{
    (void)state;
    assert_client("sagad/0.1.0", CALL_BLOCKS);
    assert_server("orderd/0.1.0", CALL_BLOCKS);
}

int main(int argc, char **argv)
{
    if (argc != 2) {
        fprintf(stderr, "usage: %s docs/protocol.md\n", argv[0]);
        return 2;
    }
    document_path = argv[1];
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_submit_as_printed),
        cmocka_unit_test(test_call_as_printed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
