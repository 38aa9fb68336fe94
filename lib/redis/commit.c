/*
 * Waiting for replicas. One WAIT at a time stands behind all durable commands that were written
 * before it; it blocks the connection until the replicas have caught up, so that what is started
 * meanwhile shares the next one. Replies come in the order of the commands: when WAIT is answered,
 * everything that is held by then was executed before it, on this same connection. A WAIT over
 * another connection could be answered by another server, after a failover.
 *
 * Redis notes for each client how far the replication stream was after its last command, whether
 * that wrote or not. So a script that finds its work done already (it is sent again, perhaps over a
 * new connection), or reads what somebody else has written, waits for that too.
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

static void wait_send(void *arg);

/* At the end of the turn: behind everything that is durable and leaves in it. */
static void wait_schedule(struct node *node)
{
    if (node->wait_due && !node->wait_in_flight) {
        loop_defer_last(node->loop, &node->wait_task, wait_send, node);
    }
}

static void on_waited(void *arg, const struct redis_result *result)
{
    struct node *node = arg;
    int64_t count = result->err == ERR_OK ? redis_value_int(result->value) : 0;
    node->wait_in_flight = false;
    if (result->err != ERR_OK) {
        held_complete(node, ERR_TIMEOUT, result->message);
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
    snprintf(replicas, sizeof(replicas), "%d", node->conf.wait_replicas);
    snprintf(wait_ms, sizeof(wait_ms), "%" PRId64, node->conf.wait_ms);
    const struct slice words[] = {slice_str("WAIT"), slice_str(replicas), slice_str(wait_ms)};
    int64_t deadline_ms =
        loop_now_ms(node->loop) + node->conf.wait_ms + node->conf.connect_timeout_ms;
    node->wait_due = false;
    node->wait_in_flight = true;
    /* queue_max does not count for it: those who are held fill the queue until it is sent. */
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
