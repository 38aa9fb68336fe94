/* The web side of a service and a client of it, on real sockets and one loop. */
#ifndef SERVICES_FIXTURE_H
#define SERVICES_FIXTURE_H

#include "harness/wait_for.h"
#include "services/common/data.h"
#include "services/common/web.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { DEADLINE_MS = 10000, BODY_MAX = 4096 };
extern const char fixture_secret[];

struct fixture {
    struct loop *loop;
    struct web *web;
    struct counters *counters;
    struct http_client *client;
};

/* What came back; `code` and `message` of an error body, "" otherwise. */
struct answer {
    bool done;
    enum err err;
    int status;
    char body[2048];
    char code[64];
    char message[512];
    char allow[32];
    char retry_after[32];
    char type[64];
};

void fixture_open(struct fixture *fx, const struct web_route *routes, void *arg);
void fixture_close(struct fixture *fx);

struct ask {
    enum http_method method;
    const char *path;
    const char *body;
    const char *authorization; /* whole header, or NULL */
    const char *key;           /* Idempotency-Key, or NULL */
};
struct answer fixture_ask(struct fixture *fx, const struct ask *ask);
/* POST with a good token of user 7. */
struct answer fixture_post(struct fixture *fx, const char *path, const char *body);

void assert_error(const struct answer *answer, int status, const char *code, const char *part);

#endif
