#include "base/mem.h"
#include "coordinator/outbox_impl.h"
#include "coordinator_scripts.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    BLOCK_MS = 1000, /* how long a read waits for entries */
    RETRY_MS = 200,  /* after a failure of Redis */
    POLL_MAX_MS = 320,
    FULL_MS = 50,       /* until the next look at an engine that has no room */
    FORGET_MS = 600000, /* a silent reader without entries */
    READ_ARGS = 9,      /* of XREADGROUP, before the keys */
};

void place_wake(struct place *place)
{
    struct outbox *outbox = place->outbox;
    if (!outbox->stopped) {
        loop_defer(outbox->loop, &place->run_task, place_run, place);
    }
}

/* One line when it begins to fail, one when that is over. */
static void judge(const struct place *place, const char *key, bool *failing,
                  const struct redis_result *result)
{
    bool failed = result->err != ERR_OK;
    if (failed == *failing || result->err == ERR_CANCELLED) {
        return;
    }
    *failing = failed;
    if (failed) {
        char shown[160];
        log_warn("outbox", "msg=\"cannot use the outbox\" outbox=%s key=\"%s\" error=\"%s: %s\"",
                 place->name, key, err_text(result->err),
                 log_text(slice_str(result->message), shown, sizeof(shown)));
    } else {
        log_info("outbox", "msg=\"the outbox can be used again\" outbox=%s key=\"%s\"", place->name,
                 key);
    }
}

void stream_judge(struct stream *stream, const struct redis_result *result)
{
    judge(stream->place, stream->key, &stream->failing, result);
}

static bool is_error(const struct redis_result *result, const char *code)
{
    return result->err == ERR_SCRIPT && strncmp(result->message, code, strlen(code)) == 0;
}

/* ---- sweeping ---- */

static void gauges_update(const struct outbox *outbox)
{
    int64_t length = 0, pending = 0, oldest_ms = 0;
    for (size_t i = 0; outbox->gauges && i < outbox->place_count; i++) {
        const struct place *place = &outbox->places[i];
        for (size_t j = 0; j < place->stream_count; j++) {
            const struct stream *stream = &place->streams[j];
            length += stream->length;
            pending += stream->pending;
            oldest_ms = stream->oldest_ms > oldest_ms ? stream->oldest_ms : oldest_ms;
        }
    }
    metrics_set(outbox->env.metrics, GAUGE_OUTBOX_ENTRIES, length);
    metrics_set(outbox->env.metrics, GAUGE_OUTBOX_PENDING, pending);
    metrics_set(outbox->env.metrics, GAUGE_OUTBOX_OLDEST_S, oldest_ms / 1000);
}

static void stream_swept(struct stream *stream, const struct redis_value *value)
{
    struct slice cursor = redis_value_str(redis_value_at(value, 0));
    const struct redis_value *taken = redis_value_at(value, 1);
    slice_printable(cursor, stream->cursor, sizeof(stream->cursor));
    stream->place->behind |= redis_value_count(taken) > 0 && !slice_eq_str(cursor, OUTBOX_BEGIN);
    stream->usable = true;
    stream->length = redis_value_int(redis_value_at(value, 2));
    stream->pending = redis_value_int(redis_value_at(value, 3));
    stream->oldest_ms = redis_value_int(redis_value_at(value, 4));
    if (!stream->place->outbox->stopped) {
        stream_take_all(stream, taken, &stream->place->claim_count);
    }
}

/* What Redis says about this stream alone (a key of another type, no rights) holds up no other. */
static void on_swept(void *arg, const struct redis_result *result)
{
    struct stream *stream = arg;
    struct place *place = stream->place;
    place->sweeping = false;
    if (!is_error(result, "MOVED")) { /* the stream of another node: it has a line of its own */
        stream_judge(stream, result);
    }
    if (result->err == ERR_OK) {
        stream_swept(stream, result->value);
    } else if (result->err == ERR_SCRIPT || result->err == ERR_DENIED) {
        stream->usable = false;
    } else {
        place->swept = false;
        place->sweep_next = place->stream_count;
        place->sweep_at_ms = place_now(place) + RETRY_MS;
        place_wake(place);
        return;
    }
    if (++place->sweep_next == place->stream_count) {
        place->swept = true;
        place->sweep_at_ms = place_now(place) + place->outbox->sweep_ms;
        gauges_update(place->outbox);
    }
    place_wake(place);
}

/* A cluster does not read streams of several slots with one command; and to wait for replicas of
 * what was read takes a script, which reads one stream and does not block. */
static void on_hello(void *arg, const struct redis_result *result)
{
    struct place *place = arg;
    if (result->err == ERR_OK) {
        const struct redis_value *mode = redis_value_field(result->value, "mode");
        bool is_cluster = mode && slice_eq_str(redis_value_str(mode), "cluster");
        place->split = place->waits || (is_cluster && place->stream_count > 1);
    }
    place->mode_known =
        result->err == ERR_OK || result->err == ERR_SCRIPT || result->err == ERR_DENIED;
    place_wake(place);
}

static void mode_ask(struct place *place)
{
    const struct slice argv[] = {SLICE_LIT("HELLO")};
    redis_command(place->writer, place_deadline(place), argv, 1, on_hello, place);
}

static void sweep(struct place *place)
{
    char silence[24], forget[24], most[24];
    if (place->sweeping || place->claim_count > 0) {
        return;
    }
    if (place->sweep_next == place->stream_count) {
        bool at_once = place->swept && place->behind && !place->refused;
        if (!at_once && place_now(place) < place->sweep_at_ms) {
            return;
        }
        place->sweep_next = 0;
        place->behind = place->refused = false;
    }
    if (!place->mode_known) {
        mode_ask(place);
    }
    struct stream *stream = &place->streams[place->sweep_next];
    size_t room = (size_t)engine_room(place->outbox->env.engine);
    snprintf(silence, sizeof(silence), "%" PRId64, place->outbox->silence_ms);
    snprintf(forget, sizeof(forget), "%d", FORGET_MS);
    /* Without room it is looked at all the same; one is the least that can be asked for. */
    snprintf(most, sizeof(most), "%zu",
             room < 1                  ? 1
             : room > OUTBOX_CLAIM_MAX ? OUTBOX_CLAIM_MAX
                                       : room);
    struct slice keys[] = {slice_str(stream->key)};
    struct slice args[] = {SLICE_LIT(OUTBOX_GROUP), slice_str(place->outbox->consumer),
                           slice_str(silence),      slice_str(stream->cursor),
                           slice_str(most),         slice_str(forget)};
    place->sweeping = true;
    redis_eval(place->writer, place_deadline(place),
               &(struct redis_eval){&script_outbox_sweep, keys, args, 6, true}, on_swept, stream);
}

/* ---- reading ---- */

static struct stream *stream_find(struct place *place, struct slice key)
{
    for (size_t i = 0; i < place->stream_count; i++) {
        if (slice_eq_str(key, place->streams[i].key)) {
            return &place->streams[i];
        }
    }
    return NULL;
}

static void read_failed(struct place *place, const struct redis_result *result)
{
    bool gone = is_error(result, "NOGROUP") || is_error(result, "UNBLOCKED");
    if (!gone && !is_error(result, "MOVED")) {
        judge(place, place->streams[0].key, &place->failing, result);
    }
    place->swept = false; /* a sweep makes a stream or group that is gone */
    place->mode_known = gone;
    if (!place->sweeping) {
        place->sweep_next = place->stream_count;
    }
    place->sweep_at_ms = place_now(place) + (gone ? 0 : RETRY_MS);
}

static void stream_read(struct stream *stream, const struct redis_value *entries)
{
    struct place *place = stream->place;
    if (redis_value_count(entries) > 0) {
        place->poll_ms = OUTBOX_POLL_MIN_MS;
        stream_take_all(stream, entries, &place->read_count);
    }
}

static void read_end(struct place *place, const struct redis_result *result)
{
    if (result->err == ERR_OK) {
        judge(place, place->streams[0].key, &place->failing, result);
    } else {
        read_failed(place, result);
    }
    if (place->reads == 0 && place->split && place->poll_ms > OUTBOX_POLL_MIN_MS) {
        place->read_at_ms = place_now(place) + place->poll_ms;
    }
    place_wake(place);
}

static void on_read_together(void *arg, const struct redis_result *result)
{
    struct place *place = arg;
    place->reads--;
    if (place->outbox->stopped) {
        return;
    }
    for (size_t i = 0; result->value && i < redis_value_count(result->value); i++) {
        const struct redis_value *read = redis_value_at(result->value, i);
        struct stream *stream = stream_find(place, redis_value_str(redis_value_at(read, 0)));
        if (stream) {
            stream_read(stream, redis_value_at(read, 1));
        }
    }
    read_end(place, result);
}

static void on_read_apart(void *arg, const struct redis_result *result)
{
    struct stream *stream = arg;
    struct place *place = stream->place;
    place->reads--;
    if (place->outbox->stopped) {
        return;
    }
    if (result->value) {
        stream_read(stream, result->value);
    }
    read_end(place, result);
}

/* All streams in one command, which waits for the first entry. */
static void read_together(struct place *place, const char *count)
{
    char block[24];
    size_t argc = READ_ARGS, usable = 0;
    struct slice *argv = mem_alloc((READ_ARGS + 2 * place->stream_count) * sizeof(*argv));
    snprintf(block, sizeof(block), "%d", BLOCK_MS);
    const struct slice head[READ_ARGS] = {
        SLICE_LIT("XREADGROUP"), SLICE_LIT("GROUP"),
        SLICE_LIT(OUTBOX_GROUP), slice_str(place->outbox->consumer),
        SLICE_LIT("COUNT"),      slice_str(count),
        SLICE_LIT("BLOCK"),      slice_str(block),
        SLICE_LIT("STREAMS")};
    memcpy(argv, head, sizeof(head));
    for (size_t i = 0; i < place->stream_count; i++) {
        if (place->streams[i].usable) {
            argv[argc++] = slice_str(place->streams[i].key);
            usable++;
        }
    }
    for (size_t i = 0; i < usable; i++) {
        argv[argc++] = slice_str(">");
    }
    if (usable > 0) {
        place->reads++;
        redis_command(place->reader, place_deadline(place) + BLOCK_MS, argv, argc, on_read_together,
                      place);
    }
    free(argv);
}

/* Each stream by itself. To wait for one would hold up the others, so all are asked now and then:
 * the less often, the longer nothing came. */
static void read_apart(struct place *place, const char *count)
{
    struct slice args[] = {SLICE_LIT(OUTBOX_GROUP), slice_str(place->outbox->consumer),
                           slice_str(count)};
    place->poll_ms = 2 * place->poll_ms < POLL_MAX_MS ? 2 * place->poll_ms : POLL_MAX_MS;
    for (size_t i = 0; i < place->stream_count; i++) {
        struct stream *stream = &place->streams[i];
        struct slice keys[] = {slice_str(stream->key)};
        if (stream->usable) {
            place->reads++;
            redis_eval(place->reader, place_deadline(place),
                       &(struct redis_eval){&script_outbox_read, keys, args, 3, true},
                       on_read_apart, stream);
        }
    }
}

static void read_send(struct place *place, size_t per_stream)
{
    char count[24];
    snprintf(count, sizeof(count), "%zu", per_stream);
    if (place->split) {
        read_apart(place, count);
    } else {
        read_together(place, count);
    }
}

/* COUNT counts for each stream, so there must be room for that many of each; where the engine has
 * less, what it refuses is taken over later. A read waits until half of the room is free: many
 * small ones would cost more. */
static void place_read(struct place *place)
{
    size_t streams = place->stream_count;
    size_t most = streams > OUTBOX_READ_MAX ? streams : OUTBOX_READ_MAX;
    size_t least = streams > OUTBOX_READ_MAX / 2 ? streams : OUTBOX_READ_MAX / 2;
    size_t free_count = most - place->read_count,
           room = (size_t)engine_room(place->outbox->env.engine);
    int64_t now_ms = place_now(place);
    if (!place->swept || !place->mode_known || place->reads > 0 || now_ms < place->read_at_ms ||
        free_count < least) {
        return;
    }
    if (room == 0) {
        place->read_at_ms = now_ms + FULL_MS;
        return;
    }
    size_t per_stream = (room < free_count ? room : free_count) / streams;
    read_send(place, per_stream > 0 ? per_stream : 1);
}

void place_run(void *arg)
{
    struct place *place = arg;
    if (place->outbox->stopped) {
        return;
    }
    sweep(place);
    place_read(place);
    int64_t at_ms = place->sweep_at_ms, now_ms = place_now(place);
    if (place->read_at_ms > now_ms && place->read_at_ms < at_ms) {
        at_ms = place->read_at_ms;
    }
    if (at_ms > now_ms) {
        loop_timer_set(&place->timer, at_ms);
    } /* else the answer that is under way wakes it */
}
