/*
 * The participant of the chaos runs that does what no service of the mall does: it sells seats.
 *
 * Announced by a two-phase message: the client prepares it, asks for the sale and submits, or
 * vanishes; then the coordinator asks the desk. Or in an XA, whose resource manager the desk is:
 * the client has the seats held, and the coordinator calls for commit or rollback. Besides, it
 * orders for its clients, by workflows (flow.c).
 *
 * Redis, under the tag {dsk:<n>} that follows from the gid: s, a hash, gid → seats that were
 * announced; x:<gid>:<branch>, a hash of one branch of an XA: held or sold = seats, commit and
 * rollback = how often each was called.
 */
#include "services/common/data.h"
#include "tests/chaos/desk/desk.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { KEY_SIZE = 48, XA_NAME_SIZE = 200 };

static void tag_make(const struct desk *desk, struct saga_bytes gid, char out[KEY_SIZE])
{
    int64_t sum = 0;
    for (size_t i = 0; i < gid.len; i++) {
        sum += (unsigned char)gid.ptr[i];
    }
    snprintf(out, KEY_SIZE, "{dsk:%" PRId64 "}", sum % desk->settings.common.shards);
}

/* Of a payload "word rest": cuts the word off. */
static struct saga_bytes take_word(struct saga_bytes *rest)
{
    const char *space = rest->len ? memchr(rest->ptr, ' ', rest->len) : NULL;
    size_t len = space ? (size_t)(space - rest->ptr) : rest->len;
    struct saga_bytes word = {rest->ptr, len};
    size_t taken = len + (space != NULL);
    *rest = (struct saga_bytes){rest->ptr + taken, rest->len - taken};
    return word;
}

/* ---- a sale ---- */

static const char sell_body[] = "return barrier(function(keys, args)\n"
                                "  if args[1] + 0 > 3 then\n"
                                "    return fail('too_many: nobody gets more than 3 seats')\n"
                                "  end\n"
                                "  redis.call('HINCRBY', keys[1], gid, args[1])\n"
                                "  return ok()\n"
                                "end)";

static void on_sold(void *arg, const struct saga_outcome *outcome)
{
    saga_call_settle(arg, outcome, saga_text(""));
}

/* Payload: "SEATS GID". */
static void on_sell(void *arg, struct saga_call *call)
{
    struct desk *desk = arg;
    char tag[KEY_SIZE], key[KEY_SIZE + 2];
    struct saga_bytes gid = saga_call_payload(call);
    struct saga_bytes args[] = {take_word(&gid)};
    tag_make(desk, gid, tag);
    snprintf(key, sizeof(key), "%s:s", tag);
    struct saga_bytes keys[] = {saga_text(key)};
    saga_msg_change(desk->service.saga, gid,
                    &(struct saga_eval){.script = desk->sell,
                                        .tag = tag,
                                        .keys = keys,
                                        .key_count = 1,
                                        .args = args,
                                        .arg_count = 1},
                    on_sold, call);
}

static void on_check(void *arg, struct saga_call *call)
{
    char tag[KEY_SIZE];
    tag_make(arg, saga_call_gid(call), tag);
    saga_call_check_back(call, tag);
}

/* ---- a resource manager of XA ---- */

static const char xa_hold_body[] = "if redis.call('HEXISTS', KEYS[1], 'rollback') == 1 then\n"
                                   "  return {'FAIL', 'too_late: it was rolled back'}\n"
                                   "elseif ARGV[1] + 0 > 3 then\n"
                                   "  return {'FAIL', 'too_many: nobody gets more than 3 seats'}\n"
                                   "elseif redis.call('HEXISTS', KEYS[1], 'sold') == 0 then\n"
                                   "  redis.call('HSET', KEYS[1], 'held', ARGV[1])\n"
                                   "end\n"
                                   "return {'OK', ''}";

/* Every call is counted, under its op. */
static const char xa_end_body[] =
    "redis.call('HINCRBY', KEYS[1], ARGV[1], 1)\n"
    "local held = redis.call('HGET', KEYS[1], 'held')\n"
    "redis.call('HDEL', KEYS[1], 'held')\n"
    "if ARGV[1] == 'commit' and held then\n"
    "  redis.call('HINCRBY', KEYS[1], 'sold', held)\n"
    "elseif (ARGV[1] == 'commit') ~= (redis.call('HEXISTS', KEYS[1], 'sold') == 1) then\n"
    "  return {'FAIL', 'too_late: it has ended otherwise, or was never held'}\n"
    "end\n"
    "return {'OK', ''}";

static void xa_run(struct desk *desk, const struct saga_script *script, struct saga_call *call,
                   struct saga_bytes gid, struct saga_bytes branch_id, struct saga_bytes word)
{
    char tag[KEY_SIZE], key[KEY_SIZE + XA_NAME_SIZE];
    tag_make(desk, gid, tag);
    snprintf(key, sizeof(key), "%s:x:%.*s:%.*s", tag, (int)gid.len, gid.ptr, (int)branch_id.len,
             branch_id.ptr);
    struct slice keys[] = {slice_str(key)}, args[] = {service_slice(word)};
    data_run(desk->service.saga, &(struct data_script_call){script, keys, 1, args, 1},
             data_changed_call, call);
}

/* The first phase, by the client. Payload: "SEATS BRANCH GID". */
static void on_hold(void *arg, struct saga_call *call)
{
    struct desk *desk = arg;
    struct saga_bytes gid = saga_call_payload(call);
    struct saga_bytes seats = take_word(&gid);
    struct saga_bytes branch_id = take_word(&gid);
    xa_run(desk, desk->xa_hold, call, gid, branch_id, seats);
}

/* The second one, by the coordinator: commit or rollback. */
static void on_end(void *arg, struct saga_call *call)
{
    struct desk *desk = arg;
    xa_run(desk, desk->xa_end, call, saga_call_gid(call), saga_call_branch_id(call),
           saga_call_op(call));
}

/* ---- main ---- */

static const struct conf_option options[] = {
    SERVICE_OPTIONS("127.0.0.1:8005", "127.0.0.1:9005"),
    SETTINGS_OPTION(struct desk_settings, "order_rpc", CONF_STRING, order_rpc, "127.0.0.1:9002", 0,
                    0, NULL, "TCP address of the order service."),
    SETTINGS_OPTION(struct desk_settings, "product_rpc", CONF_STRING, product_rpc, "127.0.0.1:9001",
                    0, 0, NULL, "TCP address of the product service."),
    {.name = NULL},
};

static const struct conf_program conf = {
    .name = "deskd",
    .prefix = "DESKD",
    .summary = "A participant for tests: it sells seats, and announces each sale.",
    .options = options,
    .judge = service_settings_check,
};

static const struct web_route routes[] = {{.path = NULL}};

static void opened(void *arg)
{
    struct desk *desk = arg;
    saga_on_request(desk->service.saga, "desk.Desk/Sell", on_sell, desk);
    saga_on_branch(desk->service.saga, "desk.Desk/Check", on_check, desk);
    saga_on_request(desk->service.saga, "desk.Desk/Hold", on_hold, desk);
    saga_on_branch(desk->service.saga, "desk.Desk/End", on_end, desk);
    flow_register(desk);
}

int main(int argc, char **argv)
{
    const struct redis_script sell = {"sell", sell_body, strlen(sell_body), NULL, 2};
    const struct redis_script xa_hold = {"xa_hold", xa_hold_body, strlen(xa_hold_body), NULL, 1};
    const struct redis_script xa_end = {"xa_end", xa_end_body, strlen(xa_end_body), NULL, 1};
    struct desk desk = {0};
    const struct service_script scripts[] = {{&desk.sell, &sell, SERVICE_GATE},
                                             {&desk.xa_hold, &xa_hold, 0},
                                             {&desk.xa_end, &xa_end, 0}};
    struct service_program program = {
        .conf = &conf,
        .settings = &desk.settings.common,
        .service = &desk.service,
        .scripts = scripts,
        .script_count = sizeof(scripts) / sizeof(scripts[0]),
        .routes = routes,
        .opened = opened,
        .arg = &desk,
    };
    return service_main(&program, argc, argv);
}
