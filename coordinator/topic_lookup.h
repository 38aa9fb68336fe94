/*
 * A msg on its way from topics to branches, the same for all that submit: HTTP, TCP and outbox. It
 * may take questions to Redis: another coordinator may have heard of a topic a moment ago, and a
 * msg whose topic is gone, or has grown too large, may be known already, with the branches that it
 * got then.
 */
#ifndef COORDINATOR_TOPIC_LOOKUP_H
#define COORDINATOR_TOPIC_LOOKUP_H

#include "coordinator/archive.h"
#include "coordinator/topics.h"

enum topic_lookup_state {
    TOPIC_LOOKUP_DONE,    /* the spec has its branches; txn_spec_check must follow */
    TOPIC_LOOKUP_ASKS,    /* `again` comes, once and never from inside the call; ask again then */
    TOPIC_LOOKUP_REFUSED, /* err and why tell: ERR_NOT_FOUND, ERR_LIMIT: there are no such
                             branches; ERR_UNAVAILABLE: nobody knows at present */
};

/* One msg. The caller sets the first part and keeps it until the last `again`. */
struct topic_lookup {
    struct topics *topics; /* NULL: there are none here */
    struct archive *archive;
    void (*again)(void *arg);
    void *arg;
    /* What came of it so far; zeroed at first: */
    enum err err;
    struct reason why;
    bool fresh;              /* the topics were read for this msg */
    const struct txn *known; /* the msg as it was stored; valid in `again` */
};

/* Puts subscribers in place of the topics of a spec (topics_are_named). It must be the same spec
 * each time. Steps and their ids are in the arena; other texts may point to what is valid until
 * the loop goes on. */
enum topic_lookup_state topic_lookup_run(struct topic_lookup *lookup, struct txn_spec *spec,
                                         struct arena *arena);

#endif
