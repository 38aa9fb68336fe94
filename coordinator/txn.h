/*
 * The vocabulary of the coordinator: a global transaction, its branches and their ops, its limits,
 * and what a client may ask for. No I/O. Words as in docs/architecture.md.
 */
#ifndef COORDINATOR_TXN_H
#define COORDINATOR_TXN_H

#include "base/arena.h"
#include "base/buf.h"
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
    TXN_WORKFLOW_NAME_MAX = 256,     /* bytes */
    TXN_HEADER_VALUE_MAX = 4096,     /* bytes */
    TXN_CUSTOM_DATA_MAX = 64 * 1024, /* bytes */
    TXN_RETRY_LIMIT_MAX = 1000000,
    TXN_REASON_MAX = 1024, /* bytes of rollback_reason; longer ones are cut */
    TXN_BRANCH_OPS = 3,
    TXN_SECOND_PHASE_MAX = 200, /* undos, confirms and commits that a workflow reports, besides its
                                   TXN_BRANCHES_MAX other steps */
    TXN_BRANCH_ID_MAX = 64,     /* bytes */
    TXN_BRANCH_OP_MAX = 32,
    TXN_RESULT_MAX = 4096, /* bytes of what an action answers, when results are kept */
};

/* The longest timeout or interval a client may ask for: 366 days, so that no sum of times
 * overflows. */
#define TXN_TIME_MAX_MS INT64_C(31622400000)

enum txn_type { TXN_SAGA, TXN_TCC, TXN_MSG, TXN_XA, TXN_WORKFLOW };

enum txn_status { TXN_PREPARED, TXN_SUBMITTED, TXN_ABORTING, TXN_SUCCEED, TXN_FAILED };

/*
 * What a branch can be asked to do. Each type has its own names for the three and lacks some:
 *
 *              OP_ACTION   OP_CONFIRM   OP_UNDO
 *   saga       action                   compensate
 *   tcc        try         confirm      cancel
 *   msg        action
 *   xa                     commit       rollback
 *   workflow   (its steps are called by the client; what it reports is kept)
 */
enum txn_op { OP_ACTION, OP_CONFIRM, OP_UNDO };

/* OP_STARTED: an action that was called, or may have been, when the transaction turned round; what
 * came of it is unknown. */
enum op_status { OP_PREPARED, OP_STARTED, OP_SUCCEED, OP_FAILED };

/* Whether an op waits for an operator, and why; while it does it is not called any more. */
enum txn_park {
    PARK_NOT,
    PARK_ATTEMPTS, /* it has failed too often in a row */
    PARK_CONFLICT, /* its participant says that it can never be done */
};

/* DTM's words. The parsers answer ERR_INVALID for anything else. */
const char *txn_type_name(enum txn_type type);
const char *txn_status_name(enum txn_status status);
const char *txn_op_name(enum txn_type type, enum txn_op op); /* NULL: the type has no such op */
const char *op_status_name(enum op_status status);
enum err txn_type_parse(struct slice name, enum txn_type *out) MUST_CHECK;
enum err txn_status_parse(struct slice name, enum txn_status *out) MUST_CHECK;
enum err txn_op_parse(enum txn_type type, struct slice name, enum txn_op *out) MUST_CHECK;
enum err op_status_parse(struct slice name, enum op_status *out) MUST_CHECK;
const char *txn_park_name(enum txn_park park); /* "attempts", "conflict" */
enum err txn_park_parse(struct slice name, enum txn_park *out) MUST_CHECK; /* never PARK_NOT */
bool txn_status_is_final(enum txn_status status);                          /* succeed, failed */

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
    bool wait_result;  /* kept because DTM's query shows it */
    bool concurrent;   /* saga, msg: branches do not wait for one another, but for `after` */
    bool declared;     /* tcc: the tries are called by the coordinator, not by the client */
    bool keep_results; /* what actions and tries answer is kept, and put into later payloads */
    bool json_rpc;     /* branches with an http url that names a method are called by JSON-RPC */
    int64_t delay_ms;  /* msg: nothing is called before so long after the submit */
    struct txn_header *headers;
    size_t header_count;
};

/* ---- what a client submits: views on its request ---- */

struct txn_step {
    struct slice id;                   /* empty: "01", "02", … by its index */
    struct slice urls[TXN_BRANCH_OPS]; /* by enum txn_op; may be empty: nothing to call */
    struct slice payload;
    int64_t request_timeout_ms;       /* of the calls of this branch; 0: of the transaction */
    int64_t retry_interval_ms;        /* likewise */
    const struct txn_header *headers; /* besides those of the transaction */
    size_t header_count;
    const uint8_t *after; /* concurrent saga: indices of the steps that must have succeeded */
    size_t after_count;
};

struct txn_spec {
    bool prepare; /* wait for the client's submit or abort; a declared tcc never waits */
    struct slice gid;
    struct slice trans_type;
    struct txn_options options;
    const struct txn_step *steps;
    size_t step_count;
    struct slice custom_data;    /* kept as it is, shown by query */
    struct slice query_prepared; /* url of the check-back (msg) or of the resume (workflow) */
    struct slice workflow, workflow_data; /* name and input, for the resume */
};

/* A gid: 1 … 128 characters of UTF-8, no control characters; everything else is allowed and kept.
 */
enum err txn_gid_check(struct slice gid, struct reason *reason) MUST_CHECK;
/* A branch url: empty, tcp://host[:port]/package.Service/Method or http(s)://host[:port]/…; `field`
 * ("steps[2].action") goes into the reason. https is refused until it is supported. */
enum err txn_url_check(struct slice url, const char *field, struct reason *reason) MUST_CHECK;
/* The id of a branch that a client registers: 1 to 64 letters, digits, '-' or '_', the first a
 * digit, and not "00" (that is the check-back). */
enum err txn_branch_id_check(struct slice id, struct reason *reason) MUST_CHECK;
/* The name of an op that a workflow reports: 1 to 32 letters, digits, '-' or '_'. */
enum err txn_branch_op_check(struct slice op) MUST_CHECK;
/* Whether it is the undo, confirm or commit of any type. */
bool txn_op_is_second_phase(struct slice op);
/* Everything about a submission; the reason names the field, the value and what is allowed. */
enum err txn_spec_check(const struct txn_spec *spec, struct reason *reason) MUST_CHECK;

/* ---- a transaction in memory ---- */

struct txn_op_record {
    struct slice url;
    enum op_status status;
    enum txn_park parked; /* then `attempts` is not 0 */
    bool dirty;           /* changed since the store last acknowledged it */
    /* What only the coordinator that drives it knows; never stored: */
    bool calling;        /* a call is in flight */
    bool called;         /* it was called at least once */
    int64_t attempts;    /* failed ones in a row */
    int64_t retry_at_ms; /* monotonic; not called before; 0: nothing to wait for */
};

struct txn_branch {
    struct slice id; /* "01", "02", … */
    int64_t seq;     /* its number in the order of registration; 0: it was not registered */
    struct slice payload;
    struct slice result; /* what its action or try answered; see keep_results */
    int64_t request_timeout_ms, retry_interval_ms; /* 0: those of the transaction */
    struct txn_header *headers;                    /* besides those of the transaction */
    size_t header_count;
    uint8_t *after; /* indices of the branches that come before this one */
    size_t after_count;
    struct txn_op_record ops[TXN_BRANCH_OPS]; /* indexed by enum txn_op */
};

/* workflow: a step that the client has done itself, as it reported it. */
struct txn_progress {
    struct slice id, op;
    enum op_status status;
    struct slice data;
};

/* A field of the record that only the store understands, or an operator, or a later version. */
struct txn_field {
    struct txn_field *next;
    struct slice name, value;
};

/* What only the coordinator that drives it knows; never stored. Times are of its monotonic clock.
 */
struct txn_run {
    size_t calls;          /* in flight */
    bool inherited;        /* read from the store: what could be called may have been called */
    int64_t timeout_at_ms; /* when timeout_to_fail is over; INT64_MAX: never */
    int64_t start_at_ms;   /* msg: nothing is called before */
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
                  told by the op records, but for actions that could have begun. Set by take */
    int64_t attempts;    /* most failed attempts in a row of an open op; drives the back-off */
    int64_t retry_count; /* failed attempts of actions, against retry_limit */
    int64_t parked_ms;   /* since when the store has it parked; 0: it has not */
    struct slice rollback_reason;
    struct slice custom_data;
    struct slice result;  /* workflow: what the client reported at its end */
    const char *workflow; /* its name; else NULL */
    int64_t start_ms;     /* msg with a delay: Redis time before which nothing is called; 0: none */
    struct txn_options options;
    struct txn_branch *branches; /* one more than branch_count: the check-back, see below */
    size_t branch_count;
    struct txn_progress *progress; /* set by take and load; in no order */
    size_t progress_count;
    struct txn_field *others; /* likewise; to be stored anew with the rest */
    struct txn_run run;
};

/* Copies all of a checked spec; epoch 1, revision 0, every op prepared. Status: submitted, or
 * prepared (spec->prepare; a declared tcc, whose tries come first). */
struct txn *txn_new(const struct txn_spec *spec);
/* An empty record to be filled by a store; `branch_count` branches with ids "01", "02", …; no op is
 * dirty, not `sure`, inherited. */
struct txn *txn_new_blank(struct slice gid, size_t branch_count);
/* The branch "00" whose action is the check-back of a msg, or the resume of a workflow. Its index
 * in `branches` is branch_count. */
struct txn_branch *txn_check_branch(struct txn *txn);
void txn_set_workflow(struct txn *txn, struct slice name); /* copies */
struct slice txn_check_url(const struct txn *txn);
/* The op as history and metrics know it: "action", "cancel"; "msg" for the check-back, "resume" for
 * the resume of a workflow. */
const char *txn_op_label(const struct txn *txn, const struct txn_branch *branch, enum txn_op op);
/* Appends "conflict 02.confirm,03.confirm": why it is parked, and the ops; nothing when none is. */
void txn_add_parked(struct buf *text, const struct txn *txn);
void txn_free(struct txn *txn);
void txn_set_reason(struct txn *txn, struct slice reason); /* copies, cuts at TXN_REASON_MAX on a
                                                              character boundary */

#endif
