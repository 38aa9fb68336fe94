/*
 * sagactl: the operator's command line, over the coordinator's HTTP API.
 *
 * Exit codes, of all commands: what the enum below says. get, watch and submit --wait tell with
 * them what has become of the transaction.
 */
#ifndef CLI_CLI_H
#define CLI_CLI_H

#include "base/buf.h"
#include "net/http.h"
#include "net/loop.h"
#include "wire/json.h"

enum cli_code {
    CLI_OK = 0,     /* done, or accepted: the transaction succeeded or goes on by itself */
    CLI_NOT_SO = 1, /* it failed, or does not exist, or its status forbids what was asked for */
    CLI_USAGE = 2,  /* wrong usage, or the coordinator calls the request wrong */
    CLI_SERVER = 3, /* the coordinator does not answer, or cannot do it now */
    CLI_PARKED = 4, /* the transaction waits for an operator */
};

struct cli {
    const char *http;  /* base url of the coordinator */
    const char *token; /* or NULL */
    bool json;         /* print the server's JSON as it is */
    bool colour;
    bool wait;
    bool parked;                        /* list: only what is */
    bool all_parked;                    /* retry: all that are, instead of one */
    const char *status, *type, *reason; /* options of list, abort and subscribe, or NULL */
    const char *branch, *op, *as;       /* of resolve, or NULL */
    const char *url;                    /* of subscribe and unsubscribe, or NULL */
    const char *gid;                    /* of submit, prepare and register, or NULL */
    int64_t limit;
    struct loop *loop;
    struct http_client *client;
};

/* ---- client.c: one request, answered when it returns ---- */

struct cli_answer {
    int status; /* of HTTP; 0: no answer, and a message was printed */
    struct buf body;
    struct json *json; /* NULL when the body is not JSON */
};
void cli_open(struct cli *cli);
void cli_close(struct cli *cli);
/* `path` with query; body NULL: GET. `timeout_ms` bounds the whole request. */
void cli_request(struct cli *cli, const char *path, const struct buf *body, int64_t timeout_ms,
                 struct cli_answer *answer);
void cli_answer_fini(struct cli_answer *answer);
/* True for status 200 with JSON; otherwise prints the server's message. */
bool cli_answer_is_ok(const struct cli_answer *answer);
/* What an answer means, in all commands alike. */
int cli_answer_code(const struct cli_answer *answer);
/* Posts what is to be done, and gives `body` up; the exit code says how it went. */
int cli_tell(struct cli *cli, const char *path, struct buf *body);
void cli_pause(struct cli *cli, int64_t ms);

/* ---- view.c: text for people ---- */

const char *cli_paint_status(const struct cli *cli, struct slice status, char out[64]);
/* Untrusted text, with control characters replaced. */
void cli_print_text(struct slice text);
void cli_view_transaction(const struct cli *cli, const struct json *document);
/* The last line of a watch: since when and why it is parked, and what is to be done. */
void cli_view_parked(const struct json *document);
/* History from entry `from` on; returns how many entries there are. */
size_t cli_view_history(const struct cli *cli, const struct json *document, size_t from);
void cli_view_services(const struct json *document);
void cli_view_list(const struct cli *cli, const struct json *document);

/* ---- commands.c ---- */

struct cli_command {
    const char *name;
    const char *argument; /* NULL: takes none; in brackets: may be left out */
    const char *options;  /* those that it has besides --http and --json: "--gid --wait" */
    const char *help;
    int (*run)(struct cli *cli, const char *argument);
};
extern const struct cli_command cli_commands[]; /* ends with name NULL */

#endif
