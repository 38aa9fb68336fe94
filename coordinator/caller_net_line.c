#include "base/check.h"
#include "coordinator/caller_net_internal.h"

#include <stdio.h>

static int participant_cap(const struct caller_net *net, const struct participant *participant)
{
    return peer_is_tcp(participant) ? net->conf.tcp_in_flight_max : net->conf.http_in_flight_max;
}

static bool may_send(const struct caller_net *net, const struct participant *participant)
{
    return net->in_flight < net->conf.in_flight_max &&
           participant->in_flight < participant_cap(net, participant) &&
           participant->in_flight_bytes < LINK_BYTES_MAX;
}

bool line_is_needed(const struct caller_net *net, const struct participant *participant)
{
    return participant->line || !may_send(net, participant);
}

void line_deadline_update(struct caller_net *net)
{
    struct heap_node *first = heap_first(&net->deadlines);
    if (first) {
        loop_timer_set(&net->deadline_timer, first->at);
    } else {
        loop_timer_clear(&net->deadline_timer);
    }
}

void line_join(struct net_call *call, const struct link_call *what)
{
    struct caller_net *net = call->net;
    struct participant *participant = call->participant;
    call_keep(call, what);
    if (!participant->line) {
        DL_APPEND(net->queued, participant);
    }
    DL_APPEND(participant->line, call);
    participant->waiting++;
    net->waiting++;
    heap_set(&net->deadlines, &call->deadline, call->kept.deadline_ms);
    line_deadline_update(net);
}

void line_leave(struct net_call *call)
{
    struct caller_net *net = call->net;
    struct participant *participant = call->participant;
    DL_DELETE(participant->line, call);
    participant->waiting--;
    net->waiting--;
    heap_remove(&net->deadlines, &call->deadline);
    if (!participant->line) {
        DL_DELETE(net->queued, participant);
    }
}

static void line_advance(struct participant *participant)
{
    struct net_call *call = participant->line;
    line_leave(call);
    call_send(call, &call->kept);
}

void lines_pump_all(struct caller_net *net)
{
    bool moved = true;
    while (moved && net->in_flight < net->conf.in_flight_max) {
        moved = false;
        struct participant *participant, *next;
        DL_FOREACH_SAFE(net->queued, participant, next)
        {
            if (may_send(net, participant)) {
                line_advance(participant);
                moved = true;
            }
        }
    }
    /* whoever was served first this time is served last the next time */
    struct participant *first = net->queued;
    if (first && first->next) {
        DL_DELETE(net->queued, first);
        DL_APPEND(net->queued, first);
    }
    line_deadline_update(net);
}

void line_pump_after(struct caller_net *net, struct participant *participant)
{
    if (net->waiting == 0) {
        return;
    }
    if (net->in_flight + 1 >= net->conf.in_flight_max) {
        lines_pump_all(net);
        return;
    }
    while (participant->line && may_send(net, participant)) { /* one big one was many small ones */
        line_advance(participant);
    }
    line_deadline_update(net);
}

void line_on_deadline(void *arg)
{
    struct caller_net *net = arg;
    struct heap_node *first;
    while ((first = heap_first(&net->deadlines)) && first->at <= loop_now_ms(net->loop)) {
        struct net_call *call = container_of(first, struct net_call, deadline);
        struct participant *participant = call->participant;
        char text[BRANCH_ADDRESS_SIZE + 120];
        snprintf(text, sizeof(text),
                 "deadline passed in line: %d calls to %s are in flight, %d wait",
                 participant->in_flight, participant->key + 1, participant->waiting);
        line_leave(call);
        call_finish(call, CALL_ERROR, slice_str(text));
    }
    line_deadline_update(net);
}
