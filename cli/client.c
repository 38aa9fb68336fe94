#include "cli/cli.h"
#include "cli/commands.h"

#include <stdio.h>
#include <string.h>

enum { TELL_MS = 10000 };

void cli_open(struct cli *cli)
{
    struct http_client_conf conf = {.per_host_max = 1,
                                    .waiting_max = 1,
                                    .connect_timeout_ms = 3000,
                                    .idle_ms = 5000,
                                    .body_max = 64 * 1024 * 1024};
    cli->loop = loop_new();
    cli->client = http_client_new(cli->loop, &conf);
}

void cli_close(struct cli *cli)
{
    http_client_free(cli->client);
    loop_turn(cli->loop, 0);
    loop_free(cli->loop);
}

struct exchange {
    bool done;
    const char *url;
    struct cli_answer *answer;
};

static void on_answer(void *arg, const struct http_answer *http)
{
    struct exchange *exchange = arg;
    exchange->done = true;
    if (http->err != ERR_OK) {
        fprintf(stderr, "sagactl: %s: %s; is sagad running there? (--http URL)\n", exchange->url,
                http->why ? http->why : err_text(http->err));
        return;
    }
    exchange->answer->status = http->status;
    buf_add_slice(&exchange->answer->body, http->body);
}

/* A text that came over TCP may have a NUL, and JSON a word for it, which our reader does not take:
 * one such text must not hide all others from an operator. NULL: no JSON. */
static struct json *parse(struct slice body)
{
    struct json *json = NULL;
    struct buf text = {0};
    buf_add_slice(&text, body);
    for (size_t i = 0; i + 6 <= text.len; i++) {
        if (text.data[i] == '\\') { /* what it escapes is no backslash of its own */
            i++;
            if (memcmp(text.data + i, "u0000", 5) == 0) {
                memcpy(text.data + i, "ufffd", 5);
            }
        }
    }
    if (json_parse(buf_slice(&text), &json, NULL) != ERR_OK) {
        json = NULL;
    }
    buf_fini(&text);
    return json;
}

void cli_request(struct cli *cli, const char *path, const struct buf *body, int64_t timeout_ms,
                 struct cli_answer *answer)
{
    struct buf url = {0}, bearer = {0};
    struct reason reason;
    *answer = (struct cli_answer){0};
    size_t len = strlen(cli->http);
    buf_printf(&url, "%.*s%s", (int)(len > 0 && cli->http[len - 1] == '/' ? len - 1 : len),
               cli->http, path); /* the path begins with one */
    buf_printf(&bearer, "Bearer %s", cli->token ? cli->token : "");
    struct http_header header = {SLICE_LIT("Authorization"), buf_slice(&bearer)};
    struct exchange exchange = {.url = url.data, .answer = answer};
    struct http_call call = {.method = body ? HTTP_POST : HTTP_GET,
                             .url = url.data,
                             .headers = &header,
                             .header_count = cli->token ? 1 : 0,
                             .body = body ? buf_slice(body) : slice_str(""),
                             .deadline_ms = loop_now_ms(cli->loop) + timeout_ms};
    if (http_client_call(cli->client, &call, on_answer, &exchange, &reason) != ERR_OK) {
        fprintf(stderr, "sagactl: %s: %s\n", url.data, reason.text);
        exchange.done = true;
    }
    while (!exchange.done) {
        loop_turn(cli->loop, 100);
    }
    buf_fini(&url);
    buf_fini(&bearer);
    answer->json = answer->status != 0 ? parse(buf_slice(&answer->body)) : NULL;
}

void cli_answer_fini(struct cli_answer *answer)
{
    json_free(answer->json);
    buf_fini(&answer->body);
}

bool cli_answer_is_ok(const struct cli_answer *answer)
{
    if (answer->status == 200 && !answer->json) {
        fprintf(stderr, "sagactl: the coordinator answered 200, but no JSON; is it sagad? "
                        "(--http URL)\n");
        return false;
    }
    if (answer->status == 200) {
        return true;
    }
    if (answer->status != 0) {
        fprintf(stderr, "sagactl: the coordinator answered %d: ", answer->status);
        struct slice message = json_string(json_get(answer->json, "message"));
        char text[512];
        fprintf(
            stderr, "%s\n",
            slice_printable(message.len ? message : buf_slice(&answer->body), text, sizeof(text)));
    }
    return false;
}

/* It is the address that is wrong then, not what was asked. */
static bool is_no_such_path(const struct cli_answer *answer)
{
    struct slice message = json_string(json_get(answer->json, "message"));
    return message.len == 0 || slice_has_prefix(message, "no such path");
}

int cli_answer_code(const struct cli_answer *answer)
{
    switch (answer->status) {
    case 200: return answer->json ? CLI_OK : CLI_SERVER;
    case 400:
    case 413: return CLI_USAGE;
    case 404: return is_no_such_path(answer) ? CLI_SERVER : CLI_NOT_SO;
    case 409: return CLI_NOT_SO;
    default: return CLI_SERVER;
    }
}

static void stop_pause(void *arg)
{
    *(bool *)arg = true;
}

int cli_tell(struct cli *cli, const char *path, struct buf *body)
{
    struct cli_answer answer;
    cli_request(cli, path, body, TELL_MS, &answer);
    buf_fini(body);
    if (cli->json) {
        cli_print_body(&answer);
    }
    (void)cli_answer_is_ok(&answer);
    int code = cli_answer_code(&answer);
    cli_answer_fini(&answer);
    return code;
}

void cli_pause(struct cli *cli, int64_t ms)
{
    bool over = false;
    struct loop_timer timer;
    loop_timer_init(&timer, cli->loop, stop_pause, &over);
    loop_timer_set(&timer, loop_now_ms(cli->loop) + ms);
    while (!over) {
        loop_turn(cli->loop, ms);
    }
}
