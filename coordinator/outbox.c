#include "coordinator/outbox_impl.h"

#include "base/buf.h"
#include "base/check.h"
#include "base/fault.h"
#include "base/mem.h"
#include "coordinator_scripts.h"

#include <stdlib.h>

enum { SWEEP_MIN_MS = 100, SWEEP_MAX_MS = 5000, QUEUE_MAX = 4096 };

#define DEAD_MOST "10000"

/* ---- the end of an entry ---- */

/* Not acknowledged: it stays in the stream, and is taken over again after silence_ms. */
static void entry_free(struct entry *entry)
{
    (*entry->count)--;
    place_wake(entry->stream->place);
    free(entry);
}

static void entries_free(struct entry *first)
{
    while (first) {
        struct entry *next = first->next;
        entry_free(first);
        first = next;
    }
}

struct ack {
    struct stream *stream;
    struct entry *entries;
};

static void on_acked(void *arg, const struct redis_result *result)
{
    struct ack *ack = arg;
    stream_judge(ack->stream, result);
    if (result->err == ERR_OK) {
        metrics_outbox(ack->stream->place->outbox->env.metrics, METRICS_OUTBOX_CONSUMED,
                       redis_value_int(result->value));
    }
    entries_free(ack->entries);
    free(ack);
}

static void stream_ack(struct stream *stream)
{
    struct place *place = stream->place;
    struct slice args[1 + OUTBOX_READ_MAX + OUTBOX_CLAIM_MAX + OUTBOX_STREAMS_MAX] = {
        SLICE_LIT(OUTBOX_GROUP)};
    size_t count = 1;
    struct ack *ack = mem_new(struct ack);
    *ack = (struct ack){stream, stream->stored};
    stream->stored = NULL;
    for (struct entry *entry = ack->entries; entry; entry = entry->next) {
        args[count++] = slice_str(entry->id);
    }
    struct slice keys[] = {slice_str(stream->key)};
    redis_eval(place->writer, place_deadline(place),
               &(struct redis_eval){&script_outbox_ack, keys, args, count, false}, on_acked, ack);
}

static void on_ack_due(void *arg)
{
    struct place *place = arg;
    for (size_t i = 0; i < place->stream_count; i++) {
        if (place->streams[i].stored) {
            stream_ack(&place->streams[i]);
        }
    }
}

static void on_dead(void *arg, const struct redis_result *result)
{
    struct entry *entry = arg;
    stream_judge(entry->stream, result);
    if (result->err == ERR_OK && redis_value_int(result->value) > 0) {
        metrics_outbox(entry->stream->place->outbox->env.metrics, METRICS_OUTBOX_DEAD, 1);
    }
    entry_free(entry);
}

static void entry_bury(struct entry *entry, const char *why)
{
    struct stream *stream = entry->stream;
    struct place *place = stream->place;
    char shown[256];
    log_error("outbox", "msg=\"dead letter\" alert=1 outbox=%s key=\"%s\" id=%s why=\"%s\"",
              place->name, stream->key, entry->id, log_text(slice_str(why), shown, sizeof(shown)));
    if (place->outbox->alerts) {
        alerts_dead_letter(place->outbox->alerts, stream->key, entry->id, why);
    }
    struct slice keys[] = {slice_str(stream->key), slice_str(stream->dead_key)};
    struct slice args[] = {SLICE_LIT(OUTBOX_GROUP), slice_str(entry->id), slice_str(why),
                           SLICE_LIT(DEAD_MOST)};
    redis_eval(place->writer, place_deadline(place),
               &(struct redis_eval){&script_outbox_dead, keys, args, 4, false}, on_dead, entry);
}

/* ---- from the stream to the engine ---- */

static void on_settled(void *arg, const struct outbox_verdict *verdict)
{
    struct entry *entry = arg;
    struct stream *stream = entry->stream;
    struct place *place = stream->place;
    switch (verdict->fate) {
    case OUTBOX_STORED:
        if (FAULT("outbox.after_submit_before_ack")) {
            break;
        }
        entry->next = stream->stored;
        stream->stored = entry;
        loop_defer_last(place->outbox->loop, &place->ack_task, on_ack_due, place);
        return;
    case OUTBOX_DEAD: entry_bury(entry, verdict->why); return;
    case OUTBOX_REFUSED:
        place->refused = true;
        place->read_at_ms = place_now(place) + OUTBOX_REFUSED_MS;
        break;
    case OUTBOX_LEFT: break;
    }
    entry_free(entry);
}

static void entry_submit(struct entry *entry, const struct txn_spec *spec)
{
    struct reason reason;
    entry->item = (struct outbox_item){on_settled, entry};
    if (outbox_item_submit(&entry->item, entry->stream->place->outbox->env.engine, spec, &reason)) {
        entry_bury(entry, reason.text);
    }
}

/* ---- a message to topics ---- */

/* The topics may have to be looked up, which takes longer than its fields live. */
struct routing {
    struct entry *entry;
    struct topic_lookup lookup;
    struct arena arena;
    struct slice *fields;
    size_t count;
};

static void routing_free(struct routing *routing)
{
    arena_fini(&routing->arena);
    free(routing);
}

static void route(void *arg)
{
    struct routing *routing = arg;
    struct entry *entry = routing->entry;
    struct outbox_entry *parsed = &entry->stream->place->outbox->parsed;
    struct topic_lookup *lookup = &routing->lookup;
    enum err err =
        outbox_entry_parse(routing->fields, routing->count, parsed, &(struct reason){""});
    check(err == ERR_OK); /* it could be read before */
    switch (topic_lookup_run(lookup, &parsed->spec, &routing->arena)) {
    case TOPIC_LOOKUP_DONE: entry_submit(entry, &parsed->spec); break;
    case TOPIC_LOOKUP_ASKS: return;
    case TOPIC_LOOKUP_REFUSED:
        on_settled(entry, &(struct outbox_verdict){.fate = outbox_fate_of(lookup->err),
                                                   .why = lookup->why.text});
        break;
    }
    routing_free(routing);
}

static struct routing *routing_new(struct entry *entry, const struct slice *fields, size_t count)
{
    const struct outbox_env *env = &entry->stream->place->outbox->env;
    struct routing *routing = mem_new(struct routing);
    routing->entry = entry;
    routing->lookup = (struct topic_lookup){
        .topics = env->topics, .archive = env->archive, .again = route, .arg = routing};
    routing->fields = arena_alloc(&routing->arena, count * sizeof(*routing->fields));
    routing->count = count;
    for (size_t i = 0; i < count; i++) {
        routing->fields[i] = arena_copy(&routing->arena, fields[i]);
    }
    return routing;
}

/* ---- what was read ---- */

static void entry_take(struct entry *entry, const struct slice *fields, size_t count)
{
    struct outbox_entry *parsed = &entry->stream->place->outbox->parsed;
    struct reason reason;
    if (outbox_entry_parse(fields, count, parsed, &reason)) {
        entry_bury(entry, reason.text);
    } else if (topics_are_named(&parsed->spec)) {
        route(routing_new(entry, fields, count));
    } else {
        entry_submit(entry, &parsed->spec);
    }
}

/* `item`: id and fields, as XRANGE gives them. */
static void stream_take(struct stream *stream, const struct redis_value *item, size_t *count)
{
    struct slice texts[OUTBOX_FIELDS_MAX];
    const struct redis_value *fields = redis_value_at(item, 1);
    struct slice id = redis_value_str(redis_value_at(item, 0));
    size_t field_count = redis_value_count(fields);
    if (id.len == 0 || id.len >= OUTBOX_ID_SIZE) {
        return;
    }
    struct entry *entry = mem_new(struct entry);
    entry->stream = stream;
    entry->count = count;
    slice_printable(id, entry->id, OUTBOX_ID_SIZE);
    (*count)++;
    if (field_count > OUTBOX_FIELDS_MAX) {
        entry_bury(entry, "has more fields than a message can have");
        return;
    }
    for (size_t i = 0; i < field_count; i++) {
        texts[i] = redis_value_str(redis_value_at(fields, i));
    }
    entry_take(entry, texts, field_count);
}

void stream_take_all(struct stream *stream, const struct redis_value *items, size_t *count)
{
    for (size_t i = 0; i < redis_value_count(items); i++) {
        stream_take(stream, redis_value_at(items, i), count);
    }
}

/* ---- life ---- */

static int replicas_of(const struct outbox_conf *conf, const struct outbox_place *parsed)
{
    bool is_one = parsed->address && !parsed->has_failover;
    return parsed->wait_replicas >= 0 ? parsed->wait_replicas : is_one ? 0 : conf->wait_replicas;
}

static struct redis *link_open(const struct outbox *outbox, const struct outbox_conf *conf,
                               const struct outbox_place *parsed)
{
    struct redis_conf link = {
        .address = parsed->address ? parsed->address : conf->redis,
        .user = parsed->address ? parsed->user : conf->redis_user,
        .password = parsed->address ? parsed->password : conf->redis_password,
        .db = parsed->db >= 0 ? parsed->db : (parsed->address ? 0 : conf->redis_db),
        .connect_timeout_ms = conf->connect_timeout_ms,
        .queue_max = QUEUE_MAX,
        .wait_replicas = replicas_of(conf, parsed),
        .wait_ms = conf->wait_ms,
    };
    return redis_open(outbox->loop, &link);
}

static void place_open(struct place *place, const char *name, const struct outbox_conf *conf,
                       struct outbox_place *parsed)
{
    struct outbox *outbox = place->outbox;
    place->name = mem_strdup(name);
    place->poll_ms = OUTBOX_POLL_MIN_MS;
    place->waits = place->split = replicas_of(conf, parsed) > 0;
    place->reader = link_open(outbox, conf, parsed);
    place->writer = link_open(outbox, conf, parsed);
    place->stream_count = place->sweep_next = parsed->key_count;
    place->streams = mem_zalloc(parsed->key_count * sizeof(*place->streams));
    for (size_t i = 0; i < parsed->key_count; i++) {
        struct buf dead = {0};
        buf_printf(&dead, "%s:dead", parsed->keys[i]);
        place->streams[i] = (struct stream){.place = place,
                                            .key = mem_strdup(parsed->keys[i]),
                                            .dead_key = mem_strdup(dead.data),
                                            .cursor = OUTBOX_BEGIN};
        buf_fini(&dead);
    }
    loop_timer_init(&place->timer, outbox->loop, place_run, place);
    log_info("outbox", "msg=\"consumes\" outbox=%s redis=%s streams=%zu first=\"%s\"", name,
             parsed->address ? parsed->address : conf->redis, parsed->key_count, parsed->keys[0]);
    place_wake(place);
}

struct outbox *outbox_open(struct loop *loop, const struct outbox_conf *conf,
                           const struct outbox_env *env)
{
    struct outbox *outbox = mem_new(struct outbox);
    int64_t half_ms = conf->silence_ms / 2;
    outbox->loop = loop;
    outbox->env = *env;
    outbox->consumer = mem_strdup(conf->consumer);
    outbox->timeout_ms = conf->timeout_ms;
    outbox->silence_ms = conf->silence_ms;
    outbox->sweep_ms = half_ms < SWEEP_MIN_MS   ? SWEEP_MIN_MS
                       : half_ms > SWEEP_MAX_MS ? SWEEP_MAX_MS
                                                : half_ms;
    outbox->gauges = conf->gauges;
    outbox->alerts = conf->alerts;
    outbox->place_count = conf->places->count;
    outbox->places = mem_zalloc((outbox->place_count + 1) * sizeof(*outbox->places));
    for (size_t i = 0; i < outbox->place_count; i++) {
        const struct conf_map_entry *entry = &conf->places->entries[i];
        struct outbox_place parsed;
        struct reason reason;
        enum err err = outbox_place_parse(entry->key, entry->value, &parsed, &reason);
        check(err == ERR_OK); /* the settings were checked */
        outbox->places[i].outbox = outbox;
        place_open(&outbox->places[i], entry->key, conf, &parsed);
        outbox_place_fini(&parsed);
    }
    return outbox;
}

void outbox_stop(struct outbox *outbox)
{
    if (outbox->stopped) {
        return;
    }
    outbox->stopped = true;
    for (size_t i = 0; i < outbox->place_count; i++) {
        struct place *place = &outbox->places[i];
        loop_timer_clear(&place->timer);
        loop_undefer(outbox->loop, &place->run_task);
        redis_close(place->reader);
    }
}

size_t outbox_in_flight(const struct outbox *outbox)
{
    size_t count = 0;
    for (size_t i = 0; i < outbox->place_count; i++) {
        count += outbox->places[i].read_count + outbox->places[i].claim_count;
    }
    return count;
}

static void place_fini(struct place *place)
{
    for (size_t i = 0; i < place->stream_count; i++) {
        entries_free(place->streams[i].stored);
        free(place->streams[i].key);
        free(place->streams[i].dead_key);
    }
    free(place->streams);
    free(place->name);
}

static void outbox_free_now(void *arg)
{
    struct outbox *outbox = arg;
    for (size_t i = 0; i < outbox->place_count; i++) {
        place_fini(&outbox->places[i]);
    }
    free(outbox->places);
    free(outbox->consumer);
    free(outbox);
}

void outbox_free(struct outbox *outbox)
{
    outbox_stop(outbox);
    for (size_t i = 0; i < outbox->place_count; i++) {
        loop_undefer(outbox->loop, &outbox->places[i].ack_task);
        redis_close(outbox->places[i].writer);
    }
    loop_defer_free(outbox->loop, outbox, outbox_free_now);
}
