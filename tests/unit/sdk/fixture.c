#include "fixture.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"

const char stock_body[] =
    "return barrier(function(keys, args, undo)\n"
    "  if undo then\n"
    "    redis.call('INCRBY', keys[1], undo)\n"
    "    return ok('back ' .. undo)\n"
    "  end\n"
    "  local have = tonumber(redis.call('GET', keys[1]))\n"
    "  if have < tonumber(args[1]) then return fail('stock is ' .. have) end\n"
    "  redis.call('DECRBY', keys[1], args[1])\n"
    "  return ok('left ' .. (have - args[1]), args[1])\n"
    "end)\n";

int world_setup(void **state)
{
    struct world *world = mem_new(struct world);
    log_set_level(LOG_WARN);
    world->redis = test_redis_start(NULL);
    world->stock = saga_script_new("stock", stock_body, strlen(stock_body));
    *state = world;
    return 0;
}

int world_teardown(void **state)
{
    struct world *world = *state;
    saga_script_free(world->stock);
    test_redis_stop(world->redis);
    free(world);
    return 0;
}

static void on_stock_done(void *arg, struct saga_call *call, const struct saga_outcome *outcome)
{
    struct world *world = arg;
    if (world->drop) {
        world->drop = false;
        saga_call_drop(call);
        return;
    }
    saga_call_settle(call, outcome, outcome->text);
}

static void take_stock(void *arg, struct saga_call *call)
{
    struct world *world = arg;
    struct saga_bytes key = saga_text("{s:1}:n");
    struct saga_bytes num = saga_call_payload(call);
    world->handled++;
    saga_call_eval(call, &(struct saga_eval){.script = world->stock,
                                             .tag = "{s:1}",
                                             .keys = &key,
                                             .key_count = 1,
                                             .args = &num,
                                             .arg_count = 1,
                                             .done = on_stock_done,
                                             .arg = world});
}

void world_open_conf(struct world *world, int stock, const struct saga_conf *conf)
{
    char error[256] = "";
    char address[64];
    test_redis_ask(world->redis, "FLUSHALL");
    test_redis_ask(world->redis, "SET {s:1}:n %d", stock);
    world->handled = 0;
    world->drop = false;
    world->loop = loop_new();
    struct saga_conf with_loop = *conf;
    with_loop.loop = world->loop;
    world->saga = saga_open(&with_loop, error, sizeof(error));
    assert_string_equal(error, "");
    saga_on_branch(world->saga, "shop.Stock/Take", take_stock, world);
    snprintf(address, sizeof(address), "127.0.0.1:%d", saga_port(world->saga));
    world->client = rpc_client_new(world->loop, &(struct rpc_client_conf){
                                                    .address = address,
                                                    .program = "test",
                                                    .connect_timeout_ms = 3000,
                                                    .limits = rpc_limits_default,
                                                });
}

void world_open(struct world *world, int stock)
{
    world_open_conf(world, stock,
                    &(struct saga_conf){.program = "shop",
                                        .listen = "127.0.0.1:0",
                                        .redis = test_redis_unix(world->redis)});
}

void world_close(struct world *world)
{
    rpc_client_free(world->client);
    saga_close(world->saga);
    loop_turn(world->loop, 0);
    loop_free(world->loop);
}

struct rpc_server *coordinator_open(struct loop *loop,
                                    void (*handle)(void *arg, struct rpc_request *request),
                                    void *arg, char address[64])
{
    struct reason reason;
    struct rpc_server_conf conf = {.address = "127.0.0.1:0",
                                   .program = "coordinator",
                                   .connections_max = 10,
                                   .limits = rpc_limits_default};
    struct rpc_server *server = rpc_server_open(loop, &conf, handle, arg, &reason);
    assert_non_null(server);
    snprintf(address, 64, "127.0.0.1:%d", rpc_server_port(server));
    return server;
}

struct wire_call branch_call(const char *gid, const char *branch, const char *op)
{
    return (struct wire_call){.gid = slice_str(gid),
                              .branch_id = slice_str(branch),
                              .op = slice_str(op),
                              .trans_type = slice_str("saga"),
                              .method = slice_str("shop.Stock/Take"),
                              .payload = slice_str("1"),
                              .timeout_ms = 5000};
}

static void on_reply(void *arg, enum err err, const struct wire_message *message, const char *why)
{
    struct reply *reply = arg;
    assert_false(reply->done);
    reply->done = true;
    reply->err = err;
    struct slice payload = {0}, text = slice_str(why ? why : "");
    if (err == ERR_OK) {
        reply->kind = message->kind;
        payload = message->kind == WIRE_CALL_REPLY ? message->call_reply.payload : payload;
        text =
            message->kind == WIRE_CALL_REPLY ? message->call_reply.message : message->error.message;
        reply->result =
            message->kind == WIRE_CALL_REPLY ? message->call_reply.result : WIRE_RESULT_ERROR;
    }
    snprintf(reply->payload, TEXT_SIZE, "%.*s", SLICE_ARG(payload));
    snprintf(reply->message, TEXT_SIZE, "%.*s", SLICE_ARG(text));
}

void start(struct rpc_client *client, const struct wire_call *call, struct reply *reply)
{
    *reply = (struct reply){.done = false};
    struct wire_message message = {.kind = WIRE_CALL, .call = *call};
    rpc_client_call(client, &message, clock_mono_ms() + DEADLINE_MS, on_reply, reply);
}

struct reply send_call(struct world *world, const struct wire_call *call)
{
    struct reply reply;
    start(world->client, call, &reply);
    wait_for(world->loop, reply.done);
    return reply;
}

struct reply take(struct world *world, const char *gid, const char *op)
{
    struct wire_call call = branch_call(gid, "01", op);
    struct reply reply = send_call(world, &call);
    assert_int_equal(reply.err, ERR_OK);
    return reply;
}

int stock_of(struct world *world)
{
    return (int)strtol(test_redis_ask(world->redis, "GET {s:1}:n"), NULL, 10);
}

static int compare_texts(const void *a, const void *b)
{
    return strcmp(a, b);
}

/* A row is a field "<op>:01" whose value is "<reason>|<ms>|<trans_type>|<journal>". */
const char *rows_of(struct world *world, const char *gid)
{
    static char out[TEXT_SIZE];
    char rows[16][64];
    size_t count = 0;
    char key[256];
    snprintf(key, sizeof(key), "{s:1}:br:%s:01", gid);
    char *text = mem_strdup(test_redis_askv(world->redis, (const char *[]){"HGETALL", key}, 2));
    char *rest = text;
    char *field, *value;
    while ((field = strsep(&rest, "\n")) && (value = strsep(&rest, "\n"))) {
        const char *colon = strchr(field, ':');
        const char *bar = strchr(value, '|');
        if (colon && bar && strcmp(colon, ":01") == 0) {
            snprintf(rows[count++], sizeof(rows[0]), "%.*s=%.*s", (int)(colon - field), field,
                     (int)(bar - value), value);
        }
    }
    free(text);
    qsort(rows, count, sizeof(rows[0]), compare_texts);
    out[0] = '\0';
    for (size_t i = 0; i < count; i++) {
        size_t used = strlen(out);
        snprintf(out + used, sizeof(out) - used, "%s%s", i ? " " : "", rows[i]);
    }
    return out;
}
