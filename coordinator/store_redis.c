#include "coordinator/store_redis.h"

#include "base/check.h"
#include "base/fault.h"
#include "base/log.h"
#include "base/mem.h"
#include "coordinator/store_internal.h"
#include "coordinator_scripts.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* One call of the port on its way. Kept in a free list: no allocation per call once warm. */
struct store_request {
    struct store_redis *store;
    struct store_request *next;
    store_cb cb;
    store_overdue_cb overdue_cb;
    void *arg;
    const struct redis_script *script; /* of the five that go through request_send */
    size_t gid_len;
    char gid[GID_BYTES_MAX];
};

/* ---- life ---- */

static const struct store_ops store_redis_ops;

struct store_redis *store_redis_new(struct loop *loop, struct redis *redis,
                                    const struct store_redis_conf *conf)
{
    check(conf->partitions > 0 && conf->partitions <= KEYS_PARTITIONS_MAX);
    check(conf->retention_ms > 0 && conf->timeout_ms > 0);
    /* The empty name is nobody's. */
    check(conf->owner[0] != '\0' && strlen(conf->owner) <= STORE_OWNER_MAX);
    struct store_redis *store = mem_new(struct store_redis);
    store->port.ops = &store_redis_ops;
    store->archive.ops = &store_archive_ops;
    store->loop = loop;
    store->redis = redis;
    store->owner = mem_strdup(conf->owner);
    store->partitions = conf->partitions;
    store->retention_ms = conf->retention_ms;
    store->timeout_ms = conf->timeout_ms;
    store->trims = mem_zalloc((size_t)conf->partitions * sizeof(*store->trims));
    store->warned_ms = INT64_MIN / 2;
    return store;
}

void store_redis_tune(struct store_redis *store, int64_t retention_ms)
{
    check(retention_ms > 0);
    store->retention_ms = retention_ms;
}

void store_redis_free(struct store_redis *store)
{
    if (!store) {
        return;
    }
    while (store->idle) {
        struct store_request *next = store->idle->next;
        free(store->idle);
        store->idle = next;
    }
    store_reads_drop(store);
    scratch_fini(&store->scratch);
    buf_fini(&store->key_text);
    free(store->trims);
    free(store->owner);
    free(store);
}

struct store *store_redis_port(struct store_redis *store)
{
    return &store->port;
}

struct archive *store_redis_archive(struct store_redis *store)
{
    return &store->archive;
}

static struct store_redis *store_of(struct store *port)
{
    return container_of(port, struct store_redis, port);
}

int64_t store_redis_now_ms(const struct store_redis *store)
{
    return store->clock_ahead_ms ? loop_now_ms(store->loop) + store->clock_ahead_ms : 0;
}

void store_saw_time(struct store_redis *store, int64_t now_ms)
{
    if (now_ms > 0) {
        store->clock_ahead_ms = now_ms - loop_now_ms(store->loop);
    }
}

/* ---- replies ---- */

struct slice store_text_at(const struct redis_value *array, size_t index)
{
    const struct redis_value *value = array ? redis_value_at(array, index) : NULL;
    return value ? redis_value_str(value) : slice_str(NULL);
}

int64_t store_int_at(const struct redis_value *array, size_t index)
{
    const struct redis_value *value = array ? redis_value_at(array, index) : NULL;
    return value ? redis_value_int(value) : 0;
}

/* ---- scripts ---- */

void store_keys_begin(struct store_redis *store, size_t count, size_t gid_bytes)
{
    check(count <= STORE_KEYS_MAX);
    buf_clear(&store->key_text);
    (void)buf_reserve(&store->key_text, count * (KEYS_TEXT_MAX + gid_bytes));
    store->key_count = 0;
}

static void store_key_end(struct store_redis *store, size_t begin)
{
    check(store->key_count < STORE_KEYS_MAX);
    store->keys[store->key_count++] =
        slice_make(store->key_text.data + begin, store->key_text.len - begin);
}

void store_key_tx(struct store_redis *store, struct slice gid)
{
    size_t begin = store->key_text.len;
    keys_add_tx(&store->key_text, keys_partition(gid, store->partitions), gid);
    store_key_end(store, begin);
}

void store_key_log(struct store_redis *store, struct slice gid)
{
    size_t begin = store->key_text.len;
    keys_add_log(&store->key_text, keys_partition(gid, store->partitions), gid);
    store_key_end(store, begin);
}

void store_key_due(struct store_redis *store, int partition)
{
    size_t begin = store->key_text.len;
    keys_add_due(&store->key_text, partition);
    store_key_end(store, begin);
}

void store_key_recent(struct store_redis *store, int partition)
{
    size_t begin = store->key_text.len;
    keys_add_recent(&store->key_text, partition);
    store_key_end(store, begin);
}

void store_key_parked(struct store_redis *store, int partition)
{
    size_t begin = store->key_text.len;
    keys_add_parked(&store->key_text, partition);
    store_key_end(store, begin);
}

static bool is_update(const struct redis_script *script)
{
    return script == &script_txn_update || script == &script_txn_park;
}

/* There are points around every operation that a decision rests on. */
static bool fault_before(const struct redis_script *script)
{
    return (script == &script_txn_create && FAULT("store.before_create")) ||
           (is_update(script) && FAULT("store.before_update")) ||
           (script == &script_txn_take && FAULT("store.before_take")) ||
           (script == &script_txn_register && FAULT("store.before_register"));
}

static void eval(struct store_redis *store, const struct redis_script *script, bool is_durable,
                 redis_cb cb, void *arg)
{
    check(store->key_count == (size_t)script->keys);
    struct redis_eval run = {
        .script = script,
        .keys = store->keys,
        .args = store->scratch.argv,
        .arg_count = store->scratch.argc,
        .is_durable = is_durable,
    };
    int64_t timeout_ms = fault_before(script) ? 0 : store->timeout_ms; /* 0: it is never sent */
    redis_eval(store->redis, loop_now_ms(store->loop) + timeout_ms, &run, cb, arg);
}

void store_eval(struct store_redis *store, const struct redis_script *script, redis_cb cb,
                void *arg)
{
    eval(store, script, false, cb, arg);
}

void store_eval_durable(struct store_redis *store, const struct redis_script *script, redis_cb cb,
                        void *arg)
{
    eval(store, script, true, cb, arg);
}

/* ---- requests ---- */

static struct store_request *request_new(struct store_redis *store, struct slice gid, store_cb cb,
                                         void *arg)
{
    struct store_request *request = store->idle;
    if (request) {
        store->idle = request->next;
    } else {
        request = mem_alloc(sizeof(*request));
    }
    request->store = store;
    request->cb = cb;
    request->arg = arg;
    /* A longer one passes no check, so there is no record of it: cutting spares a special case. */
    request->gid_len = gid.len < sizeof(request->gid) ? gid.len : sizeof(request->gid);
    if (gid.len > 0) {
        memcpy(request->gid, gid.ptr, request->gid_len);
    }
    return request;
}

static void request_free(struct store_request *request)
{
    request->next = request->store->idle;
    request->store->idle = request;
}

enum store_status store_status_of(enum err err)
{
    switch (err) {
    case ERR_OK: return STORE_OK;
    case ERR_TIMEOUT:
    case ERR_CLOSED:
    case ERR_CANCELLED: return STORE_UNKNOWN;
    case ERR_INVALID:
    case ERR_LIMIT:
    case ERR_CONNECT:
    case ERR_PROTOCOL:
    case ERR_BUSY:
    case ERR_UNAVAILABLE:
    case ERR_NOT_FOUND:
    case ERR_CONFLICT:
    case ERR_DENIED:
    case ERR_SCRIPT:
    case ERR_SYSTEM: return STORE_REFUSED;
    }
    unreachable("err");
}

void store_warn(struct store_redis *store, const struct redis_result *result)
{
    bool is_fault = result->err == ERR_SCRIPT || result->err == ERR_DENIED;
    int64_t now_ms = loop_now_ms(store->loop);
    if (is_fault && now_ms - store->warned_ms >= 1000) {
        char shown[256];
        store->warned_ms = now_ms;
        log_error("store", "msg=\"redis answered with an error\" error=\"%s\"",
                  log_text(slice_str(result->message), shown, sizeof(shown)));
    }
}

/* The words that scripts answer with. A word that is not known is damage. */
static bool answer_parse(struct slice word, enum store_status *out)
{
    static const struct {
        const char *word;
        enum store_status status;
    } words[] = {
        {"OK", STORE_OK},           {"EXISTS", STORE_EXISTS},
        {"FENCED", STORE_FENCED},   {"NOT_FOUND", STORE_NOT_FOUND},
        {"NOT_DUE", STORE_NOT_DUE}, {"FINISHED", STORE_FINISHED},
        {"DAMAGED", STORE_REFUSED}, {"CONFLICT", STORE_CONFLICT},
    };
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
        if (slice_eq_str(word, words[i].word)) {
            *out = words[i].status;
            return true;
        }
    }
    return false;
}

static void on_parked(void *arg, const struct redis_result *reply)
{
    if (reply->err != ERR_OK) {
        store_warn(arg, reply); /* the next one who finds it parks it */
    }
}

static void park(struct store_redis *store, struct slice gid)
{
    store_keys_begin(store, 2, gid.len);
    store_key_parked(store, keys_partition(gid, store->partitions));
    store_key_tx(store, gid);
    scratch_begin(&store->scratch, 0);
    scratch_add(&store->scratch, gid);
    store_eval(store, &script_damage_park, on_parked, store);
}

/* A record that nobody can read: say it loudly, it needs a person. */
static void refuse_damaged(const struct store_request *request, struct store_result *result,
                           struct reason *reason, const char *what)
{
    char gid[128], shown[160];
    log_text(slice_make(request->gid, request->gid_len), gid, sizeof(gid));
    log_text(slice_str(what), shown, sizeof(shown));
    park(request->store, slice_make(request->gid, request->gid_len));
    log_error("store", "msg=\"damaged record\" gid=\"%s\" fault=\"%s\"", gid, shown);
    (void)reason_set(reason, ERR_INVALID, "damaged record: %s", shown);
    result->status = STORE_REFUSED;
    result->message = reason->text;
}

enum err store_record_parse(struct store_redis *store, struct slice gid,
                            const struct redis_value *fields, struct txn **out,
                            struct reason *reason)
{
    struct scratch *scratch = &store->scratch;
    scratch_begin(scratch, 0);
    for (size_t i = 0; i < redis_value_count(fields); i++) {
        scratch_add(scratch, store_text_at(fields, i));
    }
    return record_parse(gid, scratch->argv, scratch->argc, out, reason);
}

static void read_record(const struct store_request *request, const struct redis_value *fields,
                        struct store_result *result, struct reason *reason)
{
    struct slice gid = slice_make(request->gid, request->gid_len);
    struct reason fault;
    if (store_record_parse(request->store, gid, fields, &result->txn, &fault) != ERR_OK) {
        refuse_damaged(request, result, reason, fault.text);
        return;
    }
    result->txn->seen_ms = result->now_ms;
    result->state = result->txn->status;
    if (txn_status_is_final(result->state)) {
        result->status = STORE_FINISHED;
    }
}

/* EXISTS and FENCED carry the stored status, EXISTS the type as well; what is none is damage. */
static void read_state(const struct store_request *request, const struct redis_value *reply,
                       struct store_result *result, struct reason *reason)
{
    struct slice word = store_text_at(reply, 2);
    if (txn_status_parse(word, &result->state) != ERR_OK) {
        refuse_damaged(request, result, reason, "field status is not a status");
    } else if (result->status != STORE_EXISTS) {
        return;
    } else if (txn_type_parse(store_text_at(reply, 4), &result->type) != ERR_OK) {
        refuse_damaged(request, result, reason, "field type is not a transaction type");
    } else {
        result->rollback_reason = store_text_at(reply, 3);
    }
}

static void read_reply(const struct store_request *request, const struct redis_value *reply,
                       struct store_result *result, struct reason *reason)
{
    size_t count = redis_value_count(reply);
    if (count < 2 || !answer_parse(store_text_at(reply, 0), &result->status)) {
        refuse_damaged(request, result, reason, "the script answered something unknown");
        return;
    }
    result->now_ms = store_int_at(reply, 1);
    store_saw_time(request->store, result->now_ms);
    const struct redis_value *third = count > 2 ? redis_value_at(reply, 2) : NULL;
    switch (result->status) {
    case STORE_EXISTS:
    case STORE_FENCED: read_state(request, reply, result, reason); break;
    case STORE_OK:
    case STORE_FINISHED:
        if (third && redis_value_type(third) == REDIS_ARRAY) {
            read_record(request, third, result, reason);
        }
        break;
    case STORE_REFUSED: {
        char what[128];
        struct slice text = third ? redis_value_str(third) : slice_str(NULL);
        refuse_damaged(request, result, reason, slice_printable(text, what, sizeof(what)));
        break;
    }
    case STORE_CONFLICT:
        slice_printable(store_text_at(reply, 2), reason->text, sizeof(reason->text));
        result->message = reason->text;
        break;
    case STORE_NOT_FOUND:
    case STORE_NOT_DUE:
    case STORE_UNKNOWN: break;
    }
}

static void request_end(struct store_request *request, const struct redis_result *reply)
{
    struct store_result result = {.status = store_status_of(reply->err), .message = reply->message};
    struct reason reason;
    if (reply->err == ERR_OK) {
        result.message = "";
        read_reply(request, reply->value, &result, &reason);
    } else {
        store_warn(request->store, reply);
    }
    store_cb cb = request->cb;
    void *cb_arg = request->arg;
    request_free(request);
    cb(cb_arg, &result);
}

/* The answer got lost. */
static bool fault_after(const struct redis_script *script)
{
    return (script == &script_txn_create && FAULT("store.after_create")) ||
           (is_update(script) && FAULT("store.after_update")) ||
           (script == &script_txn_take && FAULT("store.after_take")) ||
           (script == &script_txn_register && FAULT("store.after_register"));
}

static void on_reply(void *arg, const struct redis_result *reply)
{
    struct store_request *request = arg;
    struct redis_result lost = {.err = ERR_CLOSED};
    if (fault_after(request->script)) {
        lost.message = "fault point";
        reply = &lost;
    }
    request_end(request, reply);
}

static void request_send(struct store_request *request, const struct redis_script *script)
{
    request->script = script;
    store_eval_durable(request->store, script, on_reply, request);
}

/* ---- the port ---- */

static void add_lease(struct store_redis *store, const struct txn *txn, int64_t revision,
                      bool owned)
{
    struct slice owner = slice_str(owned ? store->owner : NULL);
    record_add_lease(&store->scratch, txn->epoch, revision, owner);
}

/* The history of a new transaction begins without an entry, unless this says more than `created`.
 */
static void add_first_event(struct scratch *scratch, const struct txn *txn)
{
    if (txn->revision > 0) {
        scratch_add_joined(scratch, slice_str(txn_status_name(txn->status)),
                           slice_str(": stored again, the store had lost it"), slice_str(NULL));
    } else {
        scratch_add_str(scratch, txn->status == TXN_SUBMITTED ? "" : txn_status_name(txn->status));
    }
}

static void store_redis_create(struct store *port, const struct txn *txn, struct store_due due,
                               store_cb cb, void *arg)
{
    struct store_redis *store = store_of(port);
    struct scratch *scratch = &store->scratch;
    int partition = keys_partition(txn->gid, store->partitions);
    store_keys_begin(store, 4, txn->gid.len);
    store_key_tx(store, txn->gid);
    store_key_log(store, txn->gid);
    store_key_due(store, partition);
    store_key_recent(store, partition);
    bool final = txn_status_is_final(txn->status);
    scratch_begin(scratch, record_text_bytes(txn));
    scratch_add(scratch, txn->gid);
    add_lease(store, txn, txn->revision, !final && !due.release);
    scratch_add_str(scratch, txn_status_name(txn->status));
    scratch_add_str(scratch, txn_type_name(txn->type));
    scratch_add_int(scratch, txn->created_ms);
    scratch_add_int(scratch, due.in_ms);
    scratch_add_int(scratch, store->retention_ms);
    add_first_event(scratch, txn);
    record_add_all(scratch, txn);
    request_send(request_new(store, txn->gid, cb, arg), &script_txn_create);
}

enum { NOTE_BYTES_MAX = 256, EVENT_FIXED_BYTES = NOTE_BYTES_MAX + 64 };

static size_t events_text_bytes(const struct store_update *update)
{
    size_t bytes = 0;
    for (size_t i = 0; i < update->note_count; i++) {
        bytes += EVENT_FIXED_BYTES + update->notes[i].op.len + update->notes[i].result.len;
    }
    return bytes;
}

/* "01.action FAILURE 12ms: out of stock". Notes are texts of others: what cannot be shown becomes
 * '?', '|' is the mark between events, what is too long is cut. */
static void add_event(struct buf *text, const struct store_note *note)
{
    buf_add_slice(text, note->op);
    if (note->result.len > 0) {
        buf_add_str(text, " ");
        buf_add_slice(text, note->result);
        buf_printf(text, " %" PRId64 "ms", note->duration_ms);
    }
    if (note->note.len > 0) {
        buf_add_str(text, ": ");
        char *to = text->data + text->len;
        slice_printable(note->note, to, NOTE_BYTES_MAX + 1);
        for (char *at = strchr(to, '|'); at; at = strchr(at, '|')) {
            *at = '/';
        }
        buf_grow(text, strlen(to));
    }
}

/* All of them as one argument: Redis pays for each. */
static void add_events(struct scratch *scratch, const struct store_update *update)
{
    size_t begin = scratch->text.len;
    check(scratch->text.cap - begin > events_text_bytes(update));
    for (size_t i = 0; i < update->note_count; i++) {
        buf_add_str(&scratch->text, i > 0 ? " | " : "");
        add_event(&scratch->text, &update->notes[i]);
    }
    scratch_add(scratch, slice_make(scratch->text.data + begin, scratch->text.len - begin));
}

static void store_redis_update(struct store *port, const struct store_update *update, store_cb cb,
                               void *arg)
{
    struct store_redis *store = store_of(port);
    struct scratch *scratch = &store->scratch;
    const struct txn *txn = update->txn;
    bool park = update->due.park;
    int partition = keys_partition(txn->gid, store->partitions);
    store_keys_begin(store, 4, txn->gid.len);
    store_key_tx(store, txn->gid);
    store_key_log(store, txn->gid);
    store_key_due(store, partition);
    bool final = txn_status_is_final(txn->status);
    scratch_begin(scratch, record_text_bytes(txn) + events_text_bytes(update));
    scratch_add(scratch, txn->gid);
    add_lease(store, txn, txn->revision - 1, true);
    add_lease(store, txn, txn->revision, !final && !update->due.release);
    scratch_add_str(scratch, txn_status_name(update->expect));
    if (park) {
        store_key_parked(store, partition);
        scratch_add_int(scratch, txn->parked_ms);
        record_add_parked(scratch, txn);
    } else {
        scratch_add_str(scratch, txn_status_name(txn->status));
        scratch_add_int(scratch, update->due.in_ms);
        scratch_add_int(scratch, store->retention_ms);
    }
    add_events(scratch, update);
    size_t sets_at = scratch->argc, sets = 0;
    scratch_add(scratch, slice_str(NULL)); /* filled in below */
    record_add_changes(scratch, txn, &sets);
    scratch_add_int(scratch, (int64_t)sets);
    scratch->argv[sets_at] = scratch->argv[--scratch->argc];
    if (!park && txn->parked_ms > 0) {
        scratch_add_str(scratch, "parked");
    }
    request_send(request_new(store, txn->gid, cb, arg),
                 park ? &script_txn_park : &script_txn_update);
}

static const char *take_word(struct store_take how)
{
    switch (how.which) {
    case STORE_TAKE_OVERDUE: return "0";
    case STORE_TAKE_ANY: return "1";
    case STORE_TAKE_PARKED: return "parked";
    case STORE_TAKE_PREPARED: return txn_type_name(how.type);
    }
    unreachable("which");
}

static void store_redis_take(struct store *port, struct slice gid, struct store_take how,
                             struct store_due due, store_cb cb, void *arg)
{
    struct store_redis *store = store_of(port);
    int partition = keys_partition(gid, store->partitions);
    store_keys_begin(store, 4, gid.len);
    store_key_tx(store, gid);
    store_key_log(store, gid);
    store_key_due(store, partition);
    store_key_parked(store, partition);
    scratch_begin(&store->scratch, SCRATCH_INT_BYTES);
    scratch_add(&store->scratch, gid);
    scratch_add_str(&store->scratch, due.release ? "" : store->owner);
    scratch_add_str(&store->scratch, take_word(how));
    scratch_add_int(&store->scratch, due.in_ms);
    request_send(request_new(store, gid, cb, arg), &script_txn_take);
}

static void store_redis_add_branch(struct store *port, struct slice gid,
                                   const struct store_branch *branch, store_cb cb, void *arg)
{
    struct store_redis *store = store_of(port);
    struct scratch *scratch = &store->scratch;
    bool second_phase = txn_op_is_second_phase(branch->op);
    store_keys_begin(store, 1, gid.len);
    store_key_tx(store, gid);
    scratch_begin(scratch, record_branch_bytes(branch) + branch->id.len + branch->op.len + 64);
    scratch_add_str(scratch, txn_type_name(branch->type));
    if (branch->op.len > 0) {
        scratch_add_joined(scratch, branch->id, slice_str("."), branch->op);
    } else {
        scratch_add(scratch, branch->id);
    }
    record_add_branch(scratch, branch);
    scratch_add_int(scratch, second_phase ? TXN_SECOND_PHASE_MAX : TXN_BRANCHES_MAX);
    scratch_add_int(scratch, TXN_PAYLOADS_MAX);
    scratch_add_str(scratch, second_phase ? "second_phase" : "branches");
    request_send(request_new(store, gid, cb, arg), &script_txn_register);
}

static void store_redis_load(struct store *port, struct slice gid, store_cb cb, void *arg)
{
    struct store_redis *store = store_of(port);
    store_keys_begin(store, 1, gid.len);
    store_key_tx(store, gid);
    scratch_begin(&store->scratch, 0);
    request_send(request_new(store, gid, cb, arg), &script_txn_read);
}

static void on_overdue(void *arg, const struct redis_result *reply)
{
    struct store_request *request = arg;
    struct store_redis *store = request->store;
    struct store_overdue overdue = {.status = store_status_of(reply->err)};
    struct scratch *scratch = &store->scratch;
    scratch_begin(scratch, 0);
    if (reply->err != ERR_OK) {
        store_warn(store, reply);
    } else if (redis_value_count(reply->value) != 3) {
        overdue.status = STORE_REFUSED;
    } else {
        const struct redis_value *gids = redis_value_at(reply->value, 2);
        overdue.now_ms = store_int_at(reply->value, 0);
        overdue.next_ms = store_int_at(reply->value, 1);
        store_saw_time(store, overdue.now_ms);
        overdue.count = redis_value_count(gids);
        for (size_t i = 0; i < overdue.count; i++) {
            scratch_add(scratch, store_text_at(gids, i));
        }
    }
    /* Lent out for the time of the callback, which may start other scripts. */
    struct slice *lent = scratch->argv;
    overdue.gids = lent;
    scratch->argv = NULL;
    scratch->argc = scratch->cap = 0;
    store_overdue_cb cb = request->overdue_cb;
    void *cb_arg = request->arg;
    request_free(request);
    cb(cb_arg, &overdue);
    free(lent);
}

static void store_redis_overdue(struct store *port, int partition, int limit, store_overdue_cb cb,
                                void *arg)
{
    struct store_redis *store = store_of(port);
    struct store_request *request = request_new(store, slice_str(NULL), NULL, arg);
    request->overdue_cb = cb;
    store_keys_begin(store, 1, 0);
    store_key_due(store, partition);
    scratch_begin(&store->scratch, SCRATCH_INT_BYTES);
    scratch_add_int(&store->scratch, limit);
    store_eval(store, &script_due_list, on_overdue, request);
}

static int store_redis_partitions(const struct store *port)
{
    return ((const struct store_redis *)(const void *)port)->partitions; /* its first member */
}

static const struct store_ops store_redis_ops = {
    .create = store_redis_create,
    .update = store_redis_update,
    .take = store_redis_take,
    .add_branch = store_redis_add_branch,
    .load = store_redis_load,
    .overdue = store_redis_overdue,
    .partitions = store_redis_partitions,
};
