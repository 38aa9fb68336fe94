#include "coordinator/topic_lookup.h"

static void on_refreshed(void *arg, enum err err, const char *message)
{
    struct topic_lookup *lookup = arg;
    lookup->fresh = true;
    if (err) {
        lookup->err = reason_set(&lookup->why, ERR_UNAVAILABLE, "the topics cannot be read: %s",
                                 message && message[0] ? message : err_text(err));
    }
    lookup->again(lookup->arg);
}

static void on_known(void *arg, const struct archive_record *record)
{
    struct topic_lookup *lookup = arg;
    if (record->status == STORE_OK && record->txn->type == TXN_MSG) {
        lookup->known = record->txn;
    } else if (record->status != STORE_OK && record->status != STORE_NOT_FOUND) {
        lookup->err = reason_set(&lookup->why, ERR_UNAVAILABLE, "the store does not answer: %s",
                                 record->message ? record->message : "?");
    }
    lookup->again(lookup->arg);
}

static void steps_take(const struct txn *txn, struct txn_spec *spec, struct arena *arena)
{
    struct txn_step *steps = arena_alloc(arena, (txn->branch_count + 1) * sizeof(*steps));
    for (size_t i = 0; i < txn->branch_count; i++) {
        const struct txn_branch *branch = &txn->branches[i];
        steps[i].id = arena_copy(arena, branch->id);
        steps[i].urls[OP_ACTION] = arena_copy(arena, branch->ops[OP_ACTION].url);
        steps[i].payload = arena_copy(arena, branch->payload);
    }
    spec->steps = steps;
    spec->step_count = txn->branch_count;
}

/* What the topics say, as far as they are known here. */
static enum err topics_try(struct topic_lookup *lookup, struct txn_spec *spec, struct arena *arena)
{
    const struct topic_book *book = lookup->topics ? topics_book(lookup->topics) : NULL;
    return book ? topics_expand(book, spec, arena, &lookup->why)
                : reason_set(&lookup->why, ERR_UNAVAILABLE, "the topics cannot be read");
}

enum topic_lookup_state topic_lookup_run(struct topic_lookup *lookup, struct txn_spec *spec,
                                         struct arena *arena)
{
    if (lookup->known) {
        steps_take(lookup->known, spec, arena);
        return TOPIC_LOOKUP_DONE;
    }
    if (lookup->err) {
        return TOPIC_LOOKUP_REFUSED;
    }
    enum err err = topics_try(lookup, spec, arena);
    if (!err) {
        return TOPIC_LOOKUP_DONE;
    }
    if (lookup->topics && !lookup->fresh && err != ERR_LIMIT) {
        topics_refresh(lookup->topics, on_refreshed, lookup);
        return TOPIC_LOOKUP_ASKS;
    }
    lookup->err = err;
    if (err == ERR_UNAVAILABLE) {
        return TOPIC_LOOKUP_REFUSED;
    }
    lookup->archive->ops->read(lookup->archive, spec->gid, on_known, lookup);
    return TOPIC_LOOKUP_ASKS;
}
