/*
 * The vocabulary of the coordinator: a global transaction, its branches and their ops, its limits,
 * and what a client may ask for. No I/O. Words as in docs/architecture.md.
 */
#ifndef COORDINATOR_TXN_H
#define COORDINATOR_TXN_H

#include "base/arena.h"
#include "base/err.h"
#include "base/slice.h"

enum {
    TXN_GID_CHARS_MAX = 128, /* code points; DTM's limit */
    TXN_BRANCHES_MAX = 100,
    TXN_URL_MAX = 2048,             /* bytes */
    TXN_PAYLOAD_MAX = 256 * 1024,   /* bytes of one step */
    TXN_PAYLOADS_MAX = 1024 * 1024, /* bytes of all steps together */
    TXN_HEADERS_MAX = 32,
    TXN_HEADER_NAME_MAX = 256,       /* bytes */
    TXN_HEADER_VALUE_MAX = 4096,     /* bytes */
    TXN_CUSTOM_DATA_MAX = 64 * 1024, /* bytes */
    TXN_RETRY_LIMIT_MAX = 1000000,
    TXN_REASON_MAX = 1024, /* bytes of rollback_reason; longer ones are cut */
    TXN_BRANCH_OPS = 2,
};

/* The longest timeout or interval a client may ask for: 366 days, so that no sum of times
 * overflows. */
#define TXN_TIME_MAX_MS INT64_C(31622400000)

enum txn_type { TXN_SAGA };

enum txn_status { TXN_PREPARED, TXN_SUBMITTED, TXN_ABORTING, TXN_SUCCEED, TXN_FAILED };

enum txn_op { OP_ACTION, OP_COMPENSATE };

enum op_status { OP_PREPARED, OP_SUCCEED, OP_FAILED };

/* DTM's words. The parsers answer ERR_INVALID for anything else. */
const char *txn_type_name(enum txn_type type);
const char *txn_status_name(enum txn_status status);
const char *txn_op_name(enum txn_op op);
const char *op_status_name(enum op_status status);
enum err txn_type_parse(struct slice name, enum txn_type *out) MUST_CHECK;
enum err txn_status_parse(struct slice name, enum txn_status *out) MUST_CHECK;
enum err txn_op_parse(struct slice name, enum txn_op *out) MUST_CHECK;
enum err op_status_parse(struct slice name, enum op_status *out) MUST_CHECK;
bool txn_status_is_final(enum txn_status status); /* succeed, failed */

struct txn_header {
    struct slice name, value;
};

/* What the client chose; 0 means the coordinator's default, for timeout_to_fail_ms: never, for
 * retry_limit: endless. */
struct txn_options {
    int64_t timeout_to_fail_ms;
    int64_t retry_interval_ms;
    int64_t request_timeout_ms;
    int64_t retry_limit;
    bool wait_result; /* kept because DTM's query shows it */
    struct txn_header *headers;
    size_t header_count;
};

/* ---- what a client submits: views on its request ---- */

struct txn_step {
    struct slice action, compensate; /* urls, may be empty: nothing to call */
    struct slice payload;
};

struct txn_spec {
    struct slice gid;
    struct slice trans_type;
    struct txn_options options;
    const struct txn_step *steps;
    size_t step_count;
    struct slice custom_data; /* kept as it is, shown by query */
};

/* A gid: 1 … 128 characters of UTF-8, no control characters; everything else is allowed and kept.
 */
enum err txn_gid_check(struct slice gid, struct reason *reason) MUST_CHECK;
/* A branch url: empty, tcp://host[:port]/package.Service/Method or http(s)://host[:port]/…; `field`
 * ("steps[2].action") goes into the reason. https is refused until it is supported. */
enum err txn_url_check(struct slice url, const char *field, struct reason *reason) MUST_CHECK;
/* Everything about a submission; the reason names the field, the value and what is allowed. */
enum err txn_spec_check(const struct txn_spec *spec, struct reason *reason) MUST_CHECK;

/* ---- a transaction in memory ---- */

struct txn_op_record {
    struct slice url;
    enum op_status status;
    bool dirty; /* changed since the store last acknowledged it */
};

struct txn_branch {
    struct slice id; /* "01", "02", … */
    struct slice payload;
    struct txn_op_record ops[TXN_BRANCH_OPS]; /* indexed by enum txn_op */
};

/* What only the coordinator that drives it knows; never stored. Times are of its monotonic clock.
 */
struct txn_run {
    bool calling; /* a call is in flight: `op` of branches[branch] */
    size_t branch;
    enum txn_op op;
    bool maybe_started;    /* the first action that is still prepared may have been called */
    int64_t retry_at_ms;   /* nothing is called before; 0: nothing to wait for */
    int64_t timeout_at_ms; /* when timeout_to_fail is over; INT64_MAX: never */
};

struct txn {
    struct arena arena; /* every slice below points into it */
    struct slice gid;
    enum txn_type type;
    enum txn_status status;
    int64_t epoch;      /* fencing number of the owner */
    int64_t revision;   /* counts the updates of this record; makes a repeated update harmless */
    int64_t created_ms; /* Redis time, as all times here */
    int64_t updated_ms;
    int64_t finished_ms; /* 0 until finished */
    int64_t seen_ms; /* the store's time when it answered with this record; set by take and load */
    bool released;   /* nobody owns it at present: it waits in the store; set by load */
    bool sure; /* every owner so far has stored all it did before it gave it up: what was called is
                  told by the op records, but for the first prepared action. Set by take */
    int64_t attempts;    /* failed attempts in a row of the present op; drives the back-off */
    int64_t retry_count; /* failed attempts of actions, against retry_limit */
    struct slice rollback_reason;
    struct slice custom_data;
    struct txn_options options;
    struct txn_branch *branches;
    size_t branch_count;
    struct txn_run run;
};

/* Copies all of a checked spec; status submitted, epoch 1, revision 0, every op prepared and dirty.
 */
struct txn *txn_new(const struct txn_spec *spec);
/* An empty record to be filled by a store; `branch_count` branches with ids "01", "02", …; no op is
 * dirty, not `sure`, and the first prepared action counts as perhaps started. */
struct txn *txn_new_blank(struct slice gid, size_t branch_count);
void txn_free(struct txn *txn);
void txn_set_reason(struct txn *txn, struct slice reason); /* copies, cuts at TXN_REASON_MAX on a
                                                              character boundary */

#endif
