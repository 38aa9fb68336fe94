#include "cli/commands.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

enum { TIMEOUT_MS = 10000, WATCH_MS = 200, WAIT_S = 600, FILE_MAX = 16 * 1024 * 1024 };
enum { GID_SHOWN_MAX = 600 };

void cli_print_body(const struct cli_answer *answer)
{
    printf("%s\n", answer->body.data ? answer->body.data : "");
}

static void add_path(struct buf *path, const char *base, const char *name, const char *value)
{
    buf_add_str(path, base);
    http_url_add_query(path, name, slice_str(value));
}

static bool status_is(const struct json *document, const char *status)
{
    const struct json *txn = json_get(document, "transaction");
    return slice_eq_str(json_string(json_get(txn, "status")), status);
}

/* Asks for one transaction. CLI_OK: answer->json has it. */
static int query(struct cli *cli, const char *gid, struct cli_answer *answer)
{
    struct buf path = {0};
    add_path(&path, "/api/dtmsvr/query", "gid", gid);
    cli_request(cli, path.data, NULL, TIMEOUT_MS, answer);
    buf_fini(&path);
    if (!cli_answer_is_ok(answer)) {
        return cli_answer_code(answer);
    }
    if (!json_get(answer->json, "transaction")) {
        fprintf(stderr, "sagactl: there is no transaction with this gid\n");
        return CLI_NOT_SO;
    }
    return CLI_OK;
}

/* What has become of it: CLI_OK, CLI_NOT_SO or CLI_PARKED. */
static int outcome(const struct json *document)
{
    bool parked = json_get(json_get(document, "transaction"), "parked");
    return status_is(document, "failed") ? CLI_NOT_SO : parked ? CLI_PARKED : CLI_OK;
}

static int run_get(struct cli *cli, const char *gid)
{
    struct cli_answer answer;
    int code = query(cli, gid, &answer);
    if (code == CLI_OK) {
        if (cli->json) {
            cli_print_body(&answer);
        } else {
            cli_view_transaction(cli, answer.json);
        }
        code = outcome(answer.json);
    }
    cli_answer_fini(&answer);
    return code;
}

/* Prints the history as it grows, until it has ended or waits for an operator. */
static int run_watch(struct cli *cli, const char *gid)
{
    size_t shown = 0;
    for (;;) {
        struct cli_answer answer;
        int code = query(cli, gid, &answer);
        bool found = code == CLI_OK;
        code = found ? outcome(answer.json) : code;
        bool over = code != CLI_OK || status_is(answer.json, "succeed");
        if (found && !cli->json) {
            shown = cli_view_history(cli, answer.json, shown);
        } else if (found && over) {
            cli_print_body(&answer);
        }
        if (code == CLI_PARKED && !cli->json) {
            cli_view_parked(answer.json);
        }
        cli_answer_fini(&answer);
        if (over) {
            return code;
        }
        cli_pause(cli, WATCH_MS);
    }
}

static int run_list(struct cli *cli, const char *argument)
{
    (void)argument;
    struct cli_answer answer;
    struct buf path = {0};
    buf_printf(&path, "/api/dtmsvr/all?limit=%lld", (long long)cli->limit);
    if (cli->status) {
        http_url_add_query(&path, "status", slice_str(cli->status));
    }
    if (cli->type) {
        http_url_add_query(&path, "transType", slice_str(cli->type));
    }
    if (cli->parked) {
        http_url_add_query(&path, "parked", slice_str("true"));
    }
    cli_request(cli, path.data, NULL, TIMEOUT_MS, &answer);
    buf_fini(&path);
    int code = cli_answer_code(&answer);
    bool ok = cli_answer_is_ok(&answer);
    if (ok && cli->json) {
        cli_print_body(&answer);
    } else if (ok) {
        cli_view_list(cli, answer.json);
    }
    cli_answer_fini(&answer);
    return code;
}

static int run_services(struct cli *cli, const char *argument)
{
    (void)argument;
    struct cli_answer answer;
    cli_request(cli, "/api/services", NULL, TIMEOUT_MS, &answer);
    int code = cli_answer_code(&answer);
    bool ok = cli_answer_is_ok(&answer);
    if (ok && cli->json) {
        cli_print_body(&answer);
    } else if (ok) {
        cli_view_services(answer.json);
    }
    cli_answer_fini(&answer);
    return code;
}

/* For the shell, in single quotes; a quote inside ends them, is escaped and begins them again. */
static void print_quoted(struct slice text)
{
    putchar('\'');
    for (size_t i = 0; i < text.len; i++) {
        if (text.ptr[i] == '\'') {
            printf("'\\''");
        } else {
            putchar(text.ptr[i]);
        }
    }
    putchar('\'');
}

static void print_redis_command(const char *verb, struct slice key, const char *rest)
{
    printf("redis-cli %s ", verb);
    print_quoted(key);
    printf("%s\n", rest);
}

static void print_score(struct slice key, const char *gid)
{
    printf("redis-cli ZSCORE ");
    print_quoted(key);
    putchar(' ');
    print_quoted(slice_str(gid));
    putchar('\n');
}

static void print_keys(const struct json *document, const char *gid)
{
    const struct json *keys = json_get(document, "keys");
    struct slice tx = json_string(json_get(keys, "tx"));
    bool ended = status_is(document, "succeed") || status_is(document, "failed");
    print_redis_command("HGETALL", tx, "");
    if (slice_eq(json_string(json_get(keys, "history")), tx)) {
        printf("# a short history is a field of this hash, not a stream\n");
        print_redis_command("HGET", tx, " history");
    } else {
        print_redis_command("XRANGE", json_string(json_get(keys, "log")), " - +");
    }
    if (!ended) {
        bool parked = json_get(json_get(document, "transaction"), "parked");
        print_score(json_string(json_get(keys, parked ? "parked" : "due")), gid);
    }
    print_score(json_string(json_get(keys, "recent")), gid);
}

static int run_keys(struct cli *cli, const char *gid)
{
    struct cli_answer answer;
    int code = query(cli, gid, &answer);
    if (code == CLI_OK && cli->json) {
        cli_print_body(&answer);
    } else if (code == CLI_OK) {
        print_keys(answer.json, gid);
    }
    cli_answer_fini(&answer);
    return code;
}

/* ---- submit ---- */

static bool read_file(const char *name, struct buf *out)
{
    FILE *file = strcmp(name, "-") == 0 ? stdin : fopen(name, "re");
    size_t n = 1;
    if (!file) {
        fprintf(stderr, "sagactl: %s: %s\n", name, strerror(errno));
        return false;
    }
    while (n > 0 && out->len <= FILE_MAX) {
        n = fread(buf_reserve(out, 4096), 1, 4096, file);
        buf_grow(out, n);
    }
    if (file != stdin) {
        fclose(file);
    }
    if (out->len > FILE_MAX) {
        fprintf(stderr, "sagactl: %s: larger than 16 MB\n", name);
    }
    return out->len <= FILE_MAX;
}

/* Printed before anything is sent with it: whoever is interrupted then can ask for it, and does not
 * submit the same thing again under another one. */
static int new_gid(struct cli *cli, struct buf *gid)
{
    struct cli_answer answer;
    cli_request(cli, "/api/dtmsvr/newGid", NULL, TIMEOUT_MS, &answer);
    int code = cli_answer_code(&answer);
    if (cli_answer_is_ok(&answer)) {
        char shown[GID_SHOWN_MAX];
        buf_add_slice(gid, json_string(json_get(answer.json, "gid")));
        fprintf(stderr, "sagactl: the gid is %s\n",
                slice_printable(buf_slice(gid), shown, sizeof(shown)));
    }
    cli_answer_fini(&answer);
    return code;
}

static void add_member(struct buf *body, const char *name, struct slice value)
{
    struct buf rest = {0};
    struct json_writer w;
    const char *open = strchr(body->data, '{') + 1;
    size_t head = (size_t)(open - body->data);
    buf_add(&rest, body->data + head, body->len - head);
    body->len = head;
    json_writer_init(&w, body);
    json_put_string(&w, name, value);
    buf_add_str(body, ",");
    buf_add_slice(body, buf_slice(&rest));
    buf_fini(&rest);
}

/* The gid of the document: its own, else that of --gid, else (`make`) a new one. CLI_OK or the exit
 * code after a message. */
static int gid_choose(struct cli *cli, struct slice own, bool make, struct buf *gid)
{
    if (cli->gid && own.len > 0 && !slice_eq_str(own, cli->gid)) {
        fprintf(stderr, "sagactl: the file has another gid than --gid\n");
        return CLI_USAGE;
    }
    if (own.len > 0 || cli->gid) {
        buf_add_slice(gid, own.len > 0 ? own : slice_str(cli->gid));
        return CLI_OK;
    }
    if (!make) {
        fprintf(stderr, "sagactl: of which transaction? The file has no gid, and there is no "
                        "--gid\n");
        return CLI_USAGE;
    }
    return new_gid(cli, gid);
}

/* Also when it is null: a second one cannot be put beside it. */
static bool has_member(const struct json *document, const char *name)
{
    const struct json *member = json_first(document);
    while (member && !slice_eq_str(json_name(member), name)) {
        member = json_next(member);
    }
    return member;
}

/* Reads a document and gives it a gid when it has none. CLI_OK or the exit code after a message. */
static int document_read(struct cli *cli, const char *name, bool make, struct buf *body,
                         struct buf *gid)
{
    struct json *document = NULL;
    struct reason reason;
    if (!read_file(name, body)) {
        return CLI_USAGE;
    }
    int code = CLI_USAGE;
    bool parsed = json_parse(buf_slice(body), &document, &reason) == ERR_OK;
    if (!parsed) {
        fprintf(stderr, "sagactl: %s: %s\n", name, reason.text);
    } else if (!json_is_object(document) || !json_first(document)) {
        fprintf(stderr, "sagactl: %s: must hold a JSON object\n", name);
    } else if (has_member(document, "gid") && json_string(json_get(document, "gid")).len == 0) {
        fprintf(
            stderr,
            "sagactl: %s: field 'gid': must be a text of 1 to 128 characters; or leave it out\n",
            name);
    } else {
        struct slice own = json_string(json_get(document, "gid"));
        code = gid_choose(cli, own, make, gid);
        if (code == CLI_OK && own.len == 0) {
            add_member(body, "gid", buf_slice(gid));
        }
    }
    json_free(document);
    return code;
}

/* What is not in the answer, and matters for what to do next. */
static void tell_outcome(const struct cli *cli, const struct cli_answer *answer, int code,
                         struct slice gid)
{
    char shown[GID_SHOWN_MAX];
    slice_printable(gid, shown, sizeof(shown));
    if (code == CLI_SERVER && answer->status != 401 && answer->status != 429) {
        fprintf(stderr,
                "sagactl: whether it was stored is not known: repeat it with the same gid, %s, "
                "which is harmless\n",
                shown);
    } else if (answer->status == 425 && !cli->wait) {
        fprintf(stderr, "sagactl: accepted, and not decided yet: sagactl watch %s\n", shown);
    }
}

/* Posts a document; prints its gid when it is accepted, or the answer. */
static int post_file(struct cli *cli, const char *path, const char *name, bool make,
                     struct buf *gid)
{
    struct buf body = {0};
    int code = document_read(cli, name, make, &body, gid);
    if (code == CLI_OK) {
        struct cli_answer answer;
        cli_request(cli, path, &body, WAIT_S * 1000, &answer);
        /* 425: accepted, and not decided yet. */
        code = answer.status == 425 ? CLI_OK : cli_answer_code(&answer);
        if (cli->json && answer.status != 0) {
            cli_print_body(&answer);
        } else if (code == CLI_OK) {
            printf("%s\n", gid->data);
            fflush(stdout);
        } else {
            (void)cli_answer_is_ok(&answer);
        }
        tell_outcome(cli, &answer, code, buf_slice(gid));
        cli_answer_fini(&answer);
    }
    buf_fini(&body);
    return code;
}

static int run_submit(struct cli *cli, const char *name)
{
    struct buf gid = {0};
    int code = post_file(cli, "/api/dtmsvr/submit", name, true, &gid);
    if (code == CLI_OK && cli->wait) {
        code = run_watch(cli, gid.data);
    }
    buf_fini(&gid);
    return code;
}

static int run_prepare(struct cli *cli, const char *name)
{
    struct buf gid = {0};
    int code = post_file(cli, "/api/dtmsvr/prepare", name, true, &gid);
    buf_fini(&gid);
    return code;
}

static int run_register(struct cli *cli, const char *name)
{
    struct buf gid = {0};
    int code = post_file(cli, "/api/dtmsvr/registerBranch", name, false, &gid);
    buf_fini(&gid);
    return code;
}

/* ---- interventions ---- */

static int post_gid(struct cli *cli, const char *path, const char *gid, struct slice type,
                    const char *reason)
{
    struct buf body = {0};
    struct json_writer w;
    json_writer_init(&w, &body);
    json_open_object(&w, NULL);
    json_put_text(&w, "gid", gid);
    if (type.len > 0) {
        json_put_string(&w, "trans_type", type);
    }
    if (reason) {
        json_put_text(&w, "rollback_reason", reason);
    }
    json_close_object(&w);
    return cli_tell(cli, path, &body);
}

/* The coordinator wants to be told the type. */
static int run_abort(struct cli *cli, const char *gid)
{
    struct cli_answer answer;
    int code = query(cli, gid, &answer);
    if (code == CLI_OK) {
        const struct json *txn = json_get(answer.json, "transaction");
        code = post_gid(cli, "/api/dtmsvr/abort", gid, json_string(json_get(txn, "trans_type")),
                        cli->reason ? cli->reason : "aborted by sagactl");
    }
    cli_answer_fini(&answer);
    return code;
}

static int run_retry(struct cli *cli, const char *gid)
{
    if (!gid == !cli->all_parked) {
        fprintf(stderr, "sagactl: retry wants a gid, or --all-parked\n");
        return CLI_USAGE;
    }
    if (!gid) {
        return cli_run_retry_parked(cli);
    }
    return post_gid(cli, "/api/dtmsvr/resetNextCronTime", gid, (struct slice){0}, NULL);
}

static int run_force_stop(struct cli *cli, const char *gid)
{
    return post_gid(cli, "/api/dtmsvr/forceStop", gid, (struct slice){0}, NULL);
}

const struct cli_command cli_commands[] = {
    {"submit", "FILE", "--gid --wait",
     "submit the JSON of a transaction (\"-\": standard input), or let a prepared one go on",
     run_submit},
    {"prepare", "FILE", "--gid",
     "store a tcc, msg, xa or workflow that waits for its submit or abort", run_prepare},
    {"register", "FILE", "--gid",
     "add the branch of this JSON to a prepared tcc or xa, the step to a workflow", run_register},
    {"get", "GID", "", "statuses, branches and timeline of a transaction", run_get},
    {"list", NULL, "--status --type --limit --parked", "transactions, newest first", run_list},
    {"watch", "GID", "", "follow a transaction to its end, or until it is parked", run_watch},
    {"keys", "GID", "", "the redis-cli commands that show a transaction", run_keys},
    {"services", NULL, "",
     "participants that are known by name, and how it goes with each instance", run_services},
    {"abort", "GID", "--reason", "turn a running or prepared transaction round", run_abort},
    {"retry", "[GID]", "--all-parked",
     "try now what waits for its next attempt, or for an operator", run_retry},
    {"resolve", "GID", "--branch --op --as --reason",
     "say that a parked op was done by hand: --branch, --op, --as, --reason", cli_run_resolve},
    {"force-stop", "GID", "", "end it as failed without calling anybody: the books are yours then",
     run_force_stop},
    {"retry-all", NULL, "", "try now all that wait for their next attempt", cli_run_retry_all},
    {"topics", NULL, "", "topics of messages, with those who have subscribed", cli_run_topics},
    {"subscribe", "TOPIC", "--url --reason", "send the messages of this topic to --url as well",
     cli_run_subscribe},
    {"unsubscribe", "TOPIC", "--url", "send them there no more", cli_run_unsubscribe},
    {NULL, NULL, NULL, NULL, NULL},
};
