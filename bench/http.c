/* Submits and no-op participants over HTTP: what a client of DTM would do. */
#include "bench/bench.h"

#include "base/mem.h"
#include "net/http.h"
#include "wire/json.h"

#include <stdio.h>
#include <stdlib.h>

enum { DEADLINE_MS = 10000, CONNECTIONS_MAX = 10000, BODY_MAX = 1024 * 1024 };

struct bench_http {
    struct http_server *server; /* the participants */
    struct http_client *client;
};

static void on_request(void *arg, struct http_request *request)
{
    (void)arg;
    http_reply(request, 200, "application/json", slice_str("{\"dtm_result\":\"SUCCESS\"}"));
}

bool bench_http_open(struct bench *bench)
{
    struct reason reason;
    struct bench_http *http = mem_new(struct bench_http);
    struct http_server_conf server = {.address = "127.0.0.1:0",
                                      .body_max = BODY_MAX,
                                      .header_max = 16 * 1024,
                                      .timeout_ms = DEADLINE_MS,
                                      .connections_max = CONNECTIONS_MAX};
    struct http_client_conf client = {.per_host_max = (int)bench->concurrency,
                                      .waiting_max = (int)bench->concurrency,
                                      .connect_timeout_ms = DEADLINE_MS,
                                      .idle_ms = DEADLINE_MS,
                                      .body_max = BODY_MAX};
    bench->http = http;
    http->client = http_client_new(bench->loop, &client);
    http->server = http_server_open(bench->loop, &server, on_request, NULL, &reason);
    if (!http->server) {
        fprintf(stderr, "sagabench: %s\n", reason.text);
        return false;
    }
    for (int i = 0; i < 4; i++) {
        snprintf(bench->urls[i], sizeof(bench->urls[i]), "http://127.0.0.1:%d/noop",
                 http_server_port(http->server));
    }
    return true;
}

void bench_http_close(struct bench *bench)
{
    if (bench->http) {
        http_client_free(bench->http->client);
        if (bench->http->server) {
            http_server_free(bench->http->server);
        }
        free(bench->http);
    }
}

/* ---- submit ---- */

struct exchange {
    saga_answer_cb cb;
    void *arg;
};

static void exchange_end(struct exchange *exchange, const struct saga_answer *answer)
{
    exchange->cb(exchange->arg, answer);
    free(exchange);
}

/* DTM's statuses of HTTP, when the result is waited for. */
static void on_answer(void *arg, const struct http_answer *http)
{
    struct saga_answer answer = {.message = "the coordinator refused"};
    if (http->err != ERR_OK || http->status >= 500) {
        answer.error = SAGA_E_UNAVAILABLE;
    } else if (http->status == 429) {
        answer.error = SAGA_E_BUSY;
    } else if (http->status == 200) {
        answer.status = "succeed";
    } else if (http->status == 409) {
        answer.status = "failed";
    } else if (http->status == 425) {
        answer.status = "submitted";
    } else {
        answer.error = SAGA_E_INVALID;
    }
    exchange_end(arg, &answer);
}

static void put_steps(struct json_writer *w, const struct saga_submission *submit)
{
    json_open_array(w, "steps");
    for (size_t i = 0; i < submit->step_count; i++) {
        json_open_object(w, NULL);
        json_put_text(w, "action", submit->steps[i].action);
        json_put_text(w, "compensate", submit->steps[i].compensate);
        json_close_object(w);
    }
    for (size_t i = 0; i < submit->branch_count; i++) {
        json_open_object(w, NULL);
        json_put_text(w, "try", submit->branches[i].try_url);
        json_put_text(w, "confirm", submit->branches[i].confirm);
        json_put_text(w, "cancel", submit->branches[i].cancel);
        json_close_object(w);
    }
    json_close_array(w);
    json_open_array(w, "payloads");
    for (size_t i = 0; i < submit->step_count + submit->branch_count; i++) {
        json_put_text(w, NULL, "{}");
    }
    json_close_array(w);
}

static void put_submission(struct buf *out, const struct saga_submission *submit)
{
    struct json_writer w;
    json_writer_init(&w, out);
    json_open_object(&w, NULL);
    json_put_string(&w, "gid", slice_make(submit->gid.ptr, submit->gid.len));
    json_put_text(&w, "trans_type", submit->trans_type ? submit->trans_type : "saga");
    json_put_bool(&w, "wait_result", submit->wait);
    put_steps(&w, submit);
    json_close_object(&w);
}

void bench_http_submit(struct bench *bench, int coordinator, const struct saga_submission *submit,
                       saga_answer_cb cb, void *arg)
{
    struct buf body = {0};
    char url[256];
    struct reason reason = {.text = ""};
    struct exchange *exchange = mem_new(struct exchange);
    *exchange = (struct exchange){cb, arg};
    put_submission(&body, submit);
    snprintf(url, sizeof(url), "%s/api/dtmsvr/submit", bench->env.http[coordinator]);
    struct http_call call = {.method = HTTP_POST,
                             .url = url,
                             .body = buf_slice(&body),
                             .deadline_ms = loop_now_ms(bench->loop) + DEADLINE_MS};
    if (http_client_call(bench->http->client, &call, on_answer, exchange, &reason) != ERR_OK) {
        exchange_end(exchange, &(struct saga_answer){.error = SAGA_E_BUSY, .message = reason.text});
    }
    buf_fini(&body);
}
