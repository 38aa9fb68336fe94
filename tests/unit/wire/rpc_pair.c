#include "rpc_pair.h"

#include "base/clock.h"
#include "base/mem.h"

#include <stdlib.h>

int pair_setup(void **state)
{
    struct pair *f = mem_new(struct pair);
    f->loop = loop_new();
    f->shelf = mem_new(struct shelf);
    *state = f;
    return 0;
}

int pair_teardown(void **state)
{
    struct pair *f = *state;
    if (f->client) {
        rpc_client_free(f->client);
    }
    shelf_answer_all(f->shelf);
    if (f->server) {
        rpc_server_free(f->server);
    }
    loop_turn(f->loop, 0);
    loop_free(f->loop);
    free(f->shelf);
    free(f);
    return 0;
}

void pair_open(struct pair *f, const struct rpc_server_conf *conf,
               void (*handle)(void *arg, struct rpc_request *request))
{
    struct rpc_server_conf standard = server_conf();
    f->server = server_open(f->loop, conf ? conf : &standard, handle, f->shelf);
    struct rpc_client_conf client = client_conf(server_address(f->server, f->address));
    f->client = rpc_client_new(f->loop, &client);
}

int64_t pair_in_ms(const struct pair *f, int64_t ms)
{
    return loop_now_ms(f->loop) + ms;
}

void pair_call(struct pair *f, struct slice payload, struct outcome *outcome)
{
    struct wire_message request = call_of(payload);
    rpc_client_call(f->client, &request, pair_in_ms(f, WAIT_MS), on_reply, outcome);
    assert_int_equal(outcome->count, 0); /* never from inside */
}

void pair_assert_echo(struct pair *f, struct slice payload)
{
    struct outcome outcome = {0};
    pair_call(f, payload, &outcome);
    wait_for(f->loop, outcome.count > 0);
    assert_int_equal(outcome.err, ERR_OK);
    assert_int_equal(outcome.kind, WIRE_CALL_REPLY);
    assert_true(slice_eq_str(payload, outcome.text));
}
