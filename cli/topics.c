/* Topics of messages, and the retries of all transactions at once. */
#include "cli/commands.h"

#include "wire/json.h"

#include <stdio.h>

enum { TIMEOUT_MS = 10000, PAGE = 100, RESET_PAGE = 1000 };

/* ---- topics ---- */

/* `v` is the JSON text of [{"url", "remark"}, …]. */
static void print_subscribers(struct slice text)
{
    struct json *list = NULL;
    if (json_parse(text, &list, NULL) != ERR_OK) {
        return;
    }
    for (const struct json *item = json_first(list); item; item = json_next(item)) {
        struct slice remark = json_string(json_get(item, "remark"));
        printf("  ");
        cli_print_text(json_string(json_get(item, "url")));
        if (remark.len > 0) {
            printf("  # ");
            cli_print_text(remark);
        }
        printf("\n");
    }
    json_free(list);
}

static void print_topics(const struct json *document)
{
    const struct json *list = json_get(document, "kv");
    for (const struct json *topic = json_first(list); topic; topic = json_next(topic)) {
        cli_print_text(json_string(json_get(topic, "k")));
        printf("\n");
        print_subscribers(json_string(json_get(topic, "v")));
    }
}

int cli_run_topics(struct cli *cli, const char *argument)
{
    (void)argument;
    struct buf position = {0};
    int code;
    do {
        struct cli_answer answer;
        struct buf path = {0};
        buf_printf(&path, "/api/dtmsvr/scanKV?cat=topics&limit=%d", PAGE);
        if (position.len > 0) {
            http_url_add_query(&path, "position", buf_slice(&position));
        }
        cli_request(cli, path.data, NULL, TIMEOUT_MS, &answer);
        code = cli_answer_code(&answer);
        bool ok = cli_answer_is_ok(&answer);
        if (ok && cli->json) {
            cli_print_body(&answer);
        } else if (ok) {
            print_topics(answer.json);
        }
        buf_clear(&position);
        buf_add_slice(&position, json_string(json_get(answer.json, "next_position")));
        cli_answer_fini(&answer);
        buf_fini(&path);
    } while (code == CLI_OK && position.len > 0);
    buf_fini(&position);
    return code;
}

static int change(struct cli *cli, const char *path, const char *topic)
{
    if (!cli->url) {
        fprintf(stderr, "sagactl: --url URL is missing: whom the messages of the topic go to\n");
        return CLI_USAGE;
    }
    struct buf body = {0};
    struct json_writer w;
    json_writer_init(&w, &body);
    json_open_object(&w, NULL);
    json_put_text(&w, "topic", topic);
    json_put_text(&w, "url", cli->url);
    json_put_text(&w, "remark", cli->reason ? cli->reason : "");
    json_close_object(&w);
    return cli_tell(cli, path, &body);
}

int cli_run_subscribe(struct cli *cli, const char *topic)
{
    return change(cli, "/api/dtmsvr/subscribe", topic);
}

int cli_run_unsubscribe(struct cli *cli, const char *topic)
{
    return change(cli, "/api/dtmsvr/unsubscribe", topic);
}

/* ---- all retries now ---- */

int cli_run_retry_all(struct cli *cli, const char *argument)
{
    (void)argument;
    double count = 0;
    bool more;
    int code;
    do {
        struct cli_answer answer;
        struct buf path = {0}, body = {0};
        buf_printf(&path, "/api/dtmsvr/resetCronTime?timeout=0&limit=%d", RESET_PAGE);
        cli_request(cli, path.data, &body, TIMEOUT_MS, &answer);
        code = cli_answer_code(&answer);
        bool ok = cli_answer_is_ok(&answer);
        count += ok ? json_double(json_get(answer.json, "succeed_count")) : 0;
        more = ok && json_bool(json_get(answer.json, "has_remaining"));
        cli_answer_fini(&answer);
        buf_fini(&path);
    } while (more);
    if (code == CLI_OK && cli->json) {
        printf("{\"succeed_count\":%.0f}\n", count);
    } else if (code == CLI_OK) {
        printf("%.0f transactions are tried again now\n", count);
    }
    return code;
}
