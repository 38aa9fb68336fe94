#include "fixture.h"

#include "base/clock.h"
#include "base/log.h"
#include "services/common/token.h"

const char fixture_secret[] = "the secret of these tests, long enough";

void fixture_open(struct fixture *fx, const struct web_route *routes, void *arg)
{
    struct reason reason = {""};
    log_set_level(LOG_ERROR);
    *fx = (struct fixture){.loop = loop_new(), .counters = counters_new("testd")};
    fx->web = web_open(fx->loop,
                       &(struct web_conf){.listen = "127.0.0.1:0",
                                          .body_max = BODY_MAX,
                                          .jwt_secret = fixture_secret,
                                          .routes = routes,
                                          .counters = fx->counters,
                                          .arg = arg},
                       &reason);
    if (!fx->web) {
        fail_msg("%s", reason.text);
    }
    fx->client = http_client_new(fx->loop, &(struct http_client_conf){.per_host_max = 4,
                                                                      .waiting_max = 4,
                                                                      .connect_timeout_ms = 3000,
                                                                      .idle_ms = 10000,
                                                                      .body_max = 1 << 20});
}

void fixture_close(struct fixture *fx)
{
    http_client_free(fx->client);
    web_close(fx->web);
    loop_turn(fx->loop, 0);
    loop_free(fx->loop);
    counters_free(fx->counters);
}

static void copy_header(const struct http_answer *from, const char *name, char *out, size_t size)
{
    const char *value = from->header(from, name);
    snprintf(out, size, "%s", value ? value : "");
}

/* Every error must be one object of two texts, whoever made it. */
static void read_error(struct answer *answer)
{
    struct json *root = NULL;
    struct reason reason = {""};
    assert_memory_equal(answer->type, "application/json", 16);
    assert_int_equal(json_parse(slice_str(answer->body), &root, &reason), ERR_OK);
    assert_true(json_is_object(root));
    struct slice code = json_string(json_get(root, "code"));
    struct slice message = json_string(json_get(root, "message"));
    assert_true(code.len > 0 && message.len > 0);
    data_copy(code, answer->code, sizeof(answer->code));
    data_copy(message, answer->message, sizeof(answer->message));
    json_free(root);
}

static void on_answer(void *arg, const struct http_answer *from)
{
    struct answer *answer = arg; /* looked at when the loop stands still again */
    answer->done = true;
    answer->err = from->err;
    if (from->err != ERR_OK) {
        return;
    }
    answer->status = from->status;
    data_copy(from->body, answer->body, sizeof(answer->body));
    copy_header(from, "Allow", answer->allow, sizeof(answer->allow));
    copy_header(from, "Retry-After", answer->retry_after, sizeof(answer->retry_after));
    copy_header(from, "Content-Type", answer->type, sizeof(answer->type));
}

struct answer fixture_ask(struct fixture *fx, const struct ask *ask)
{
    struct answer answer = {0};
    struct reason reason = {""};
    struct http_header headers[2];
    size_t count = 0;
    char url[256];
    snprintf(url, sizeof(url), "http://127.0.0.1:%d%s", web_port(fx->web), ask->path);
    if (ask->authorization) {
        headers[count++] =
            (struct http_header){slice_str("Authorization"), slice_str(ask->authorization)};
    }
    if (ask->key) {
        headers[count++] = (struct http_header){slice_str("Idempotency-Key"), slice_str(ask->key)};
    }
    struct http_call call = {.method = ask->method,
                             .url = url,
                             .headers = headers,
                             .header_count = count,
                             .body = slice_str(ask->body),
                             .deadline_ms = clock_mono_ms() + DEADLINE_MS};
    assert_int_equal(http_client_call(fx->client, &call, on_answer, &answer, &reason), ERR_OK);
    wait_for(fx->loop, answer.done);
    assert_int_equal(answer.err, ERR_OK);
    if (answer.status >= 400) {
        read_error(&answer);
    }
    return answer;
}

struct answer fixture_post(struct fixture *fx, const char *path, const char *body)
{
    char header[512];
    char *token = token_sign(fixture_secret, 7, clock_wall_ms() / 1000);
    snprintf(header, sizeof(header), "Bearer %s", token);
    free(token);
    return fixture_ask(fx, &(struct ask){HTTP_POST, path, body, header, NULL});
}

void assert_error(const struct answer *answer, int status, const char *code, const char *part)
{
    assert_int_equal(answer->status, status);
    assert_string_equal(answer->code, code);
    if (!strstr(answer->message, part)) {
        fail_msg("message is '%s', wanted '%s' in it", answer->message, part);
    }
}
