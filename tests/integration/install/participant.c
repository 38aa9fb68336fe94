/* A participant: takes pieces out of a stock, and puts them back when the transaction fails. */
#include <saga.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

static const char take_lua[] =
    "return barrier(function(keys, args, undo)\n"
    "    if undo then\n"
    "        redis.call('INCRBY', keys[1], undo)\n"
    "        return ok()\n"
    "    end\n"
    "    local num = tonumber(args[1])\n"
    "    local have = tonumber(redis.call('GET', keys[1]) or 0)\n"
    "    if not num or num < 1 or num % 1 ~= 0 then return fail('bad number') end\n"
    "    if have < num then return fail('stock is ' .. have) end\n"
    "    redis.call('DECRBY', keys[1], num)\n"
    "    return ok('left ' .. (have - num), num)\n"
    "end)\n";

static void take(void *script, struct saga_call *call)
{
    struct saga_bytes keys[] = {saga_text("{stock}:n")}, args[] = {saga_call_payload(call)};
    struct saga_eval eval = {.script = script,
                             .tag = "{stock}",
                             .keys = keys,
                             .key_count = 1,
                             .args = args,
                             .arg_count = 1};
    saga_call_eval(call, &eval);
}

int main(int argc, char **argv)
{
    struct saga_conf conf = {.program = "stock",
                             .listen = argc > 1 ? argv[1] : "127.0.0.1:9001",
                             .redis = argc > 2 ? argv[2] : "127.0.0.1:6379"};
    char error[256];
    struct saga *saga = saga_open(&conf, error, sizeof(error));
    if (!saga) {
        fprintf(stderr, "%s\n", error);
        return 1;
    }
    struct saga_script *script = saga_script_new("take", take_lua, strlen(take_lua));
    saga_on_branch(saga, "stock.Stock/Take", take, script); /* action and compensate */
    saga_stop_on(saga, SIGTERM);
    printf("listening on %d\n", saga_port(saga));
    fflush(stdout);
    saga_run(saga);
    saga_close(saga);
    saga_script_free(script);
    return 0;
}
