#include "caller_net_fixture.h"

void hold_tcp(void *arg, struct rpc_request *request)
{
    struct participant_stub *stub = arg;
    assert_true(stub->held < CALLS_MAX);
    stub->tcp_held[stub->held++] = request;
}

static void hold_http(void *arg, struct http_request *request)
{
    struct participant_stub *stub = arg;
    assert_true(stub->held < CALLS_MAX);
    stub->http_held[stub->held++] = request;
}

void stub_open_tcp(struct fixture *f, struct participant_stub *stub, char address[64])
{
    struct rpc_server_conf conf = {.address = "127.0.0.1:0",
                                   .program = "stub",
                                   .connections_max = 16,
                                   .limits = rpc_limits_default};
    struct reason reason;
    stub->tcp = rpc_server_open(f->loop, &conf, hold_tcp, stub, &reason);
    assert_non_null(stub->tcp);
    snprintf(address, 64, "127.0.0.1:%d", rpc_server_port(stub->tcp));
}

void stub_open_http(struct fixture *f, struct participant_stub *stub, char address[64])
{
    struct http_server_conf conf = {
        .address = "127.0.0.1:0", .body_max = 1 << 20, .header_max = 16384, .timeout_ms = 5000};
    struct reason reason;
    stub->http = http_server_open(f->loop, &conf, hold_http, stub, &reason);
    assert_non_null(stub->http);
    snprintf(address, 64, "127.0.0.1:%d", http_server_port(stub->http));
}

struct caller_net_conf conf_small(struct fixture *f)
{
    return (struct caller_net_conf){.resolver = &f->resolver,
                                    .program = "sagad/test",
                                    .tcp_connections = 1,
                                    .tcp_in_flight_max = 2,
                                    .http_in_flight_max = 2,
                                    .waiting_max = 2,
                                    .in_flight_max = 100,
                                    .participants_max = 8,
                                    .connect_timeout_ms = 1000,
                                    .idle_ms = 60000,
                                    .answer_max = 1 << 20,
                                    .seed = 7};
}

int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    f->loop = loop_new();
    f->resolver = (struct conf_map){f->entries, 2};
    *state = f;
    return 0;
}

void stub_close(struct participant_stub *stub)
{
    for (int i = 0; i < stub->held; i++) {
        if (stub->tcp_held[i]) {
            rpc_request_drop(stub->tcp_held[i]);
        }
    }
    if (stub->tcp) {
        rpc_server_free(stub->tcp);
    }
    if (stub->http) {
        http_server_free(stub->http);
    }
    *stub = (struct participant_stub){0};
}

int teardown(void **state)
{
    struct fixture *f = *state;
    if (f->net) {
        caller_net_free(f->net);
    }
    stub_close(&f->a);
    stub_close(&f->b);
    loop_turn(f->loop, 0);
    loop_turn(f->loop, 0);
    loop_free(f->loop);
    free(f);
    return 0;
}

void names_set(struct fixture *f)
{
    static char a[] = "alpha", b[] = "beta";
    f->entries[0] = (struct conf_map_entry){a, f->a_address};
    f->entries[1] = (struct conf_map_entry){b, f->b_address};
}

/* Both participants over TCP, found by name. */
struct fixture *open_tcp(void **state, const struct caller_net_conf *conf)
{
    struct fixture *f = *state;
    stub_open_tcp(f, &f->a, f->a_address);
    stub_open_tcp(f, &f->b, f->b_address);
    names_set(f);
    f->net = caller_net_new(f->loop, conf);
    return f;
}

static void on_called(void *arg, const struct call_result *result)
{
    struct outcome *outcome = arg;
    assert_false(outcome->done);
    outcome->done = true;
    outcome->verdict = result->verdict;
    outcome->order = ++*outcome->counter;
    snprintf(outcome->message, sizeof(outcome->message), "%.*s", SLICE_ARG(result->message));
}

/* Everything that the call points at is overwritten as soon as start returns. */
void call_with(struct fixture *f, const char *url, const char *payload, int64_t timeout_ms,
               const struct txn_header *headers, size_t header_count, struct outcome *outcome)
{
    char gid_text[] = "gid 1/ä";
    char id_text[] = "02";
    char *url_text = strdup(url);
    char *payload_text = strdup(payload);
    struct txn_header copies[TXN_HEADERS_MAX];
    for (size_t i = 0; i < header_count; i++) {
        copies[i] = headers[i];
    }
    struct txn txn = {.gid = slice_str(gid_text),
                      .type = TXN_SAGA,
                      .created_ms = 1700000000123,
                      .options = {.headers = copies, .header_count = header_count}};
    struct txn_branch branch = {.id = slice_str(id_text), .payload = slice_str(payload_text)};
    struct branch_call call = {.txn = &txn,
                               .branch = &branch,
                               .op = "compensate",
                               .payload = branch.payload,
                               .headers = copies,
                               .header_count = header_count,
                               .url = slice_str(url_text),
                               .timeout_ms = timeout_ms};
    *outcome = (struct outcome){.counter = &f->ended};
    struct caller *port = caller_net_port(f->net);
    port->ops->start(port, &call, on_called, outcome);
    assert_false(outcome->done); /* never from inside the call */
    memset(gid_text, 'x', sizeof(gid_text));
    memset(id_text, 'x', sizeof(id_text));
    memset(url_text, 'x', strlen(url_text));
    memset(payload_text, 'x', strlen(payload_text));
    memset(copies, 0, sizeof(copies));
    free(url_text);
    free(payload_text);
}

void call(struct fixture *f, const char *url, struct outcome *outcome)
{
    call_with(f, url, "body", 5000, NULL, 0, outcome);
}

/* Sends and receives whatever is on its way. */
void settle(struct fixture *f)
{
    for (int i = 0; i < 20; i++) {
        loop_turn(f->loop, 1);
    }
}

void answer_tcp(struct participant_stub *stub, int index, enum wire_result result,
                const char *message)
{
    struct wire_message reply = {.kind = WIRE_CALL_REPLY,
                                 .call_reply = {.result = result, .message = slice_str(message)}};
    rpc_request_reply(stub->tcp_held[index], &reply);
    stub->tcp_held[index] = NULL;
}

void answer_http_conflict(struct participant_stub *stub, int index, int status, const char *body)
{
    http_reply_header(stub->http_held[index], "Saga-Result", "CONFLICT");
    answer_http(stub, index, status, body);
}

void answer_http(struct participant_stub *stub, int index, int status, const char *body)
{
    http_reply(stub->http_held[index], status, "text/plain", slice_str(body));
}

struct fixture *open_http(void **state)
{
    struct fixture *f = *state;
    struct caller_net_conf conf = conf_small(f);
    stub_open_http(f, &f->a, f->a_address);
    stub_open_http(f, &f->b, f->b_address);
    names_set(f);
    f->net = caller_net_new(f->loop, &conf);
    return f;
}
