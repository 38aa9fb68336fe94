/* What the tests of the store share: a private server, a loop, two coordinators' stores. */
#ifndef STORE_FIXTURE_H
#define STORE_FIXTURE_H

#include "coordinator/store_redis.h"
#include "harness/test_redis.h"
#include "harness/wait_for.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { PARTITIONS = 4, RETENTION_MS = 3600 * 1000 };

struct side { /* one coordinator */
    struct redis *redis;
    struct store_redis *store;
    struct store *port;
};

struct fixture {
    struct test_redis *server;
    struct loop *loop;
    struct side a, b;
    int64_t retention_ms, timeout_ms; /* for side_open */
};

int fixture_setup(void **state); /* cmocka: both sides open, an empty server */
int fixture_teardown(void **state);
void side_open(struct fixture *f, struct side *side, const char *owner);
void side_close(struct fixture *f, struct side *side);

/* What a callback saw; the texts are copies. */
struct seen {
    int count;
    enum store_status status;
    enum txn_status state;
    int64_t now_ms;
    char message[256], reason[256];
    struct txn *txn; /* the test frees it */
};
void on_store(void *arg, const struct store_result *result); /* arg: struct seen */

/* Each waits for the answer. */
struct seen create(struct fixture *f, struct side *side, const struct txn *txn, int64_t due_ms);
struct seen update(struct fixture *f, struct side *side, const struct store_update *update);
struct seen take(struct fixture *f, struct side *side, struct slice gid, bool force);
struct seen load(struct fixture *f, struct side *side, struct slice gid);
/* Opens side a anew, where Redis has 100 ms for a command from now on; it is connected already. */
void make_impatient(struct fixture *f);
struct archive_backlog count_backlog(struct fixture *f); /* asked of side a */

/* A saga of two branches; free it with txn_free. */
struct txn *saga_new(const char *gid);
void saga_store(struct fixture *f, const char *gid, int64_t due_ms);

#endif
