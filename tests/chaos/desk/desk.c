/*
 * The participant of the chaos runs that does what no service of the mall does: it sells seats, and
 * announces each sale by a two-phase message. Its client prepares the message, asks for the sale
 * and submits, or vanishes; then the coordinator asks the desk.
 *
 * Redis, under the tag {dsk:<n>} that follows from the gid: s, a hash with the seats of each gid.
 */
#include "services/common/data.h"
#include "services/common/service.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { KEY_SIZE = 48 };

struct desk {
    struct service service;
    struct service_settings settings;
    struct saga_script *sell;
};

static void tag_make(const struct desk *desk, struct saga_bytes gid, char out[KEY_SIZE])
{
    int64_t sum = 0;
    for (size_t i = 0; i < gid.len; i++) {
        sum += (unsigned char)gid.ptr[i];
    }
    snprintf(out, KEY_SIZE, "{dsk:%" PRId64 "}", sum % desk->settings.shards);
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

/* ---- main ---- */

static const struct conf_option options[] = {
    SERVICE_OPTIONS("127.0.0.1:8005", "127.0.0.1:9005"),
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
}

int main(int argc, char **argv)
{
    const struct redis_script sell = {
        .name = "sell", .text = sell_body, .len = strlen(sell_body), .keys = 2};
    struct desk desk = {0};
    const struct service_script scripts[] = {{&desk.sell, &sell, SERVICE_GATE}};
    struct service_program program = {
        .conf = &conf,
        .settings = &desk.settings,
        .service = &desk.service,
        .scripts = scripts,
        .script_count = sizeof(scripts) / sizeof(scripts[0]),
        .routes = routes,
        .opened = opened,
        .arg = &desk,
    };
    return service_main(&program, argc, argv);
}
