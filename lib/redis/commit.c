/*
 * Waiting for replicas. One WAIT at a time stands behind all durable commands that were written
 * before it; it blocks the connection until the replicas have caught up, so that what is started
 * meanwhile shares the next one. Replies come in the order of the commands: when WAIT is answered,
 * everything that is held by then was executed before it, on this same connection. A WAIT over
 * another connection could be answered by another server, after a failover.
 *
 * WAIT waits for what Redis has noted for this client: how far the replication stream was after its
 * last command, in Redis 7.0; after its last command that has added something to the stream, since
 * 7.2. A script that finds its work done already (it is sent again, perhaps over a new connection),
 * or reads what somebody else has written, adds nothing; it must wait for that too. Hence the mark:
 * in front of each WAIT goes a write that always adds something, and changes nothing.
 *
 * It names the key of a script, for that is sure to be served by this node and permitted to this
 * user, also while the slot moves; any key does, as there is one stream for all.
 */
#include "redis/node.h"

#include <inttypes.h>
#include <stdio.h>
#include <utlist.h>

static struct redis_value *value_copy_to(struct arena *arena, const struct redis_value *value,
                                         struct redis_value *copy)
{
    *copy = *value;
    if (value->str.ptr) {
        copy->str = arena_copy(arena, value->str);
    }
    if (value->count > 0) {
        copy->items = arena_alloc(arena, value->count * sizeof(*copy->items));
        for (size_t i = 0; i < value->count; i++) {
            value_copy_to(arena, &value->items[i], &copy->items[i]);
        }
    }
    return copy;
}

/* A transaction of Redis, for replicas and the append-only file. Should a command of it be refused
 * (an ACL that knows one and not another), what is left behind does no harm: a key that lasts until
 * the year 9999, or an empty one for a millisecond. Numbers as text: what Lua makes of a large one
 * differs between versions. Works also when Redis is full. */
static const char mark[] = "#!lua flags=allow-oom\n"
                           "local key, at = KEYS[1], redis.call('PEXPIRETIME', KEYS[1])\n"
                           "if at == -2 then\n"
                           "    redis.call('SET', key, '', 'PX', '1')\n"
                           "    redis.call('DEL', key)\n"
                           "elseif at == -1 then\n"
                           "    redis.call('PEXPIREAT', key, '253402300799000')\n"
                           "    redis.call('PERSIST', key)\n"
                           "else\n"
                           "    redis.call('PEXPIREAT', key, string.format('%.0f', at))\n"
                           "end\n"
                           "return 1\n";

static void wait_send(void *arg);

/* At the end of the turn: behind everything that is durable and leaves in it. */
static void wait_schedule(struct node *node)
{
    if (node->wait_due && !node->wait_in_flight) {
        loop_defer_last(node->loop, &node->wait_task, wait_send, node);
    }
}

/* The newest one of the line that is durable, if possible one with a key. */
static const struct command *newest_durable(const struct command *line)
{
    const struct command *found = NULL;
    const struct command *at = line ? line->prev : NULL; /* utlist: the last one */
    while (at) {
        if (at->is_durable && !at->is_done) {
            found = found ? found : at;
            if (command_first_key(at).len > 0) {
                return at;
            }
        }
        at = at == line ? NULL : at->prev;
    }
    return found;
}

/* Whose key the mark takes: one that has served, rather than one that may be refused. NULL: nobody
 * waits any more. */
static const struct command *mark_choose(struct node *node)
{
    const struct command *held = newest_durable(node->held);
    node->mark_is_sure = held && command_first_key(held).len > 0;
    if (node->mark_is_sure) {
        return held;
    }
    const struct command *sent = newest_durable(node->in_flight);
    return sent ? sent : held;
}

static void on_marked(void *arg, const struct redis_result *result)
{
    struct node *node = arg;
    if (result->err != ERR_OK) {
        (void)reason_set(&node->mark_why, result->err, "replicas cannot be waited for: %s",
                         result->message);
    }
}

static void mark_send(struct node *node, const struct command *command, int64_t deadline_ms)
{
    static const struct slice asking[] = {SLICE_LIT("ASKING")};
    const struct slice words[] = {slice_str("EVAL"), slice_make(mark, sizeof(mark) - 1),
                                  slice_str("1"), command_first_key(command)};
    node->mark_why.text[0] = '\0';
    if (words[3].len == 0) {
        return; /* without a key nothing can have been read */
    }
    if (command->is_asking) {
        command_send_now(node, deadline_ms, asking, 1, NULL, NULL);
    }
    command_send_now(node, deadline_ms, words, 4, on_marked, node);
}

static void on_waited(void *arg, const struct redis_result *result)
{
    struct node *node = arg;
    int64_t count = result->err == ERR_OK ? redis_value_int(result->value) : 0;
    node->wait_in_flight = false;
    if (result->err != ERR_OK) {
        held_complete(node, ERR_TIMEOUT, result->message);
    } else if (node->mark_why.text[0] && node->held && !node->mark_is_sure) {
        /* That key was refused to its script, too; there are others now. */
        node->wait_due = true;
    } else if (node->mark_why.text[0]) {
        held_complete(node, ERR_TIMEOUT, node->mark_why.text);
    } else if (count < node->conf.wait_replicas) {
        char text[128];
        snprintf(text, sizeof(text),
                 "only %" PRId64 " of %d replicas have confirmed it within %" PRId64 " ms", count,
                 node->conf.wait_replicas, node->conf.wait_ms);
        held_complete(node, ERR_TIMEOUT, text);
    } else {
        held_complete(node, ERR_OK, "");
    }
    if (node->state != SESSION_CLOSED) {
        wait_schedule(node);
    }
}

static void wait_send(void *arg)
{
    struct node *node = arg;
    char replicas[16], wait_ms[24];
    if (node->state != SESSION_READY) {
        return; /* what it would have waited for is dropped with the connection */
    }
    const struct command *command = mark_choose(node);
    node->wait_due = false;
    if (!command) {
        return;
    }
    snprintf(replicas, sizeof(replicas), "%d", node->conf.wait_replicas);
    snprintf(wait_ms, sizeof(wait_ms), "%" PRId64, node->conf.wait_ms);
    const struct slice words[] = {slice_str("WAIT"), slice_str(replicas), slice_str(wait_ms)};
    int64_t deadline_ms =
        loop_now_ms(node->loop) + node->conf.wait_ms + node->conf.connect_timeout_ms;
    node->wait_in_flight = true;
    mark_send(node, command, deadline_ms);
    /* queue_max does not count for them: those who are held fill the queue until they are sent. */
    command_send_now(node, deadline_ms, words, 3, on_waited, node);
}

void commit_expect(struct node *node, const struct command *command)
{
    if (command->is_durable) {
        node->wait_due = true;
        wait_schedule(node);
    }
}

void commit_hold(struct node *node, struct command *command, const struct redis_value *value)
{
    struct redis_value *copy = arena_alloc(&node->held_arena, sizeof(*copy));
    command->held = value_copy_to(&node->held_arena, value, copy);
    DL_APPEND(node->held, command);
    node->pending++;
    heap_set(&node->deadlines, &command->deadline, command->deadline_ms);
}
