/* What waits for an operator: brought back, or resolved. */
#include "cli/commands.h"

#include <stdio.h>

enum { TIMEOUT_MS = 60000, PAGE = 100 };

static void print_failed(const struct json *list)
{
    for (const struct json *item = json_first(list); item; item = json_next(item)) {
        char gid[600], message[300];
        fprintf(stderr, "sagactl: %s: %s\n",
                slice_printable(json_string(json_get(item, "gid")), gid, sizeof(gid)),
                slice_printable(json_string(json_get(item, "message")), message, sizeof(message)));
    }
}

/* One page. CLI_OK or the exit code after a message. */
static int retry_page(struct cli *cli, struct buf *position, double *good, int *bad)
{
    struct cli_answer answer;
    struct buf path = {0}, body = {0};
    buf_printf(&path, "/api/dtmsvr/retryParked?limit=%d", PAGE);
    if (position->len > 0) {
        http_url_add_query(&path, "position", buf_slice(position));
    }
    cli_request(cli, path.data, &body, TIMEOUT_MS, &answer);
    int code = cli_answer_code(&answer);
    buf_clear(position);
    if (cli_answer_is_ok(&answer)) {
        const struct json *failed = json_get(answer.json, "failed");
        *good += json_double(json_get(answer.json, "succeed_count"));
        *bad += (int)json_count(failed);
        print_failed(failed);
        buf_add_slice(position, json_string(json_get(answer.json, "next_position")));
    }
    cli_answer_fini(&answer);
    buf_fini(&path);
    return code;
}

int cli_run_retry_parked(struct cli *cli)
{
    struct buf position = {0};
    double good = 0;
    int bad = 0, code;
    do {
        code = retry_page(cli, &position, &good, &bad);
    } while (code == CLI_OK && position.len > 0);
    buf_fini(&position);
    bool ok = code == CLI_OK;
    if (ok && cli->json) {
        printf("{\"succeed_count\":%.0f,\"failed_count\":%d}\n", good, bad);
    } else if (ok) {
        printf("%.0f parked transactions are tried again now\n", good);
    }
    return ok && bad > 0 ? CLI_NOT_SO : code;
}

int cli_run_resolve(struct cli *cli, const char *gid)
{
    if (!cli->branch || !cli->op || !cli->as || !cli->reason) {
        fprintf(stderr, "sagactl: resolve wants --branch ID --op OP --as succeed --reason TEXT: "
                        "which op was done by hand, and why\n");
        return CLI_USAGE;
    }
    struct buf body = {0};
    struct json_writer w;
    json_writer_init(&w, &body);
    json_open_object(&w, NULL);
    json_put_text(&w, "gid", gid);
    json_put_text(&w, "branch_id", cli->branch);
    json_put_text(&w, "op", cli->op);
    json_put_text(&w, "as", cli->as);
    json_put_text(&w, "reason", cli->reason);
    json_close_object(&w);
    return cli_tell(cli, "/api/dtmsvr/resolve", &body);
}
