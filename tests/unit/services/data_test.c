#include "fixture.h"

#include "base/clock.h"
#include "base/log.h"
#include "harness/test_redis.h"
#include "mall/product.pb.h"
#include "redis/redis.h"

/* A saga on a real Redis and the web side; /run runs the script `script`, /read GETs "k". */
struct world {
    struct fixture web;
    struct test_redis *redis;
    struct saga *saga;
    struct saga_script *script;
};

static void open_saga(struct world *world, const char *redis, int64_t timeout_ms)
{
    char error[256] = "";
    world->saga = saga_open(&(struct saga_conf){.program = "test",
                                                .listen = "127.0.0.1:0",
                                                .redis = redis,
                                                .timeout_ms = timeout_ms,
                                                .loop = world->web.loop},
                            error, sizeof(error));
    assert_string_equal(error, "");
}

static void handle_run(void *arg, struct web_request *request)
{
    struct world *world = arg;
    struct slice keys[] = {SLICE_LIT("k")};
    struct slice args[] = {SLICE_LIT("a")};
    data_run(world->saga, &(struct data_script_call){world->script, keys, 1, args, 1},
             data_changed_web, request);
}

static void on_read(void *arg, const struct data_answer *answer)
{
    if (answer->kind != DATA_OK) {
        data_fail_web(arg, answer);
        return;
    }
    struct web_answer body;
    struct json_writer *w = web_answer_begin(&body);
    json_put_string(w, NULL, redis_value_str(answer->value));
    web_answer_send(&body, arg, 200);
}

static void handle_read(void *arg, struct web_request *request)
{
    struct world *world = arg;
    struct slice argv[] = {SLICE_LIT("GET"), SLICE_LIT("k")};
    data_read(world->saga, argv, 2, on_read, request);
}

static const struct web_route routes[] = {
    {"/run", true, handle_run}, {"/read", true, handle_read}, {NULL, false, NULL}};

static int start_redis(void **state)
{
    static struct world world;
    world.redis = test_redis_start(NULL);
    *state = &world;
    return 0;
}

static int stop_redis(void **state)
{
    struct world *world = *state;
    test_redis_stop(world->redis);
    return 0;
}

static int begin(void **state)
{
    struct world *world = *state;
    test_redis_ask(world->redis, "FLUSHALL");
    fixture_open(&world->web, routes, world);
    open_saga(world, test_redis_unix(world->redis), 5000);
    return 0;
}

static int end(void **state)
{
    struct world *world = *state;
    saga_close(world->saga);
    loop_turn(world->web.loop, 0);
    fixture_close(&world->web);
    return 0;
}

static struct answer ask(struct world *world, const char *path)
{
    return fixture_ask(&world->web, &(struct ask){HTTP_POST, path, "{}", NULL, NULL});
}

static struct answer run(struct world *world, const char *lua)
{
    world->script = saga_script_new_plain("test", lua, strlen(lua));
    struct answer answer = ask(world, "/run");
    saga_script_free(world->script);
    return answer;
}

static void each_kind_has_its_http_status(void **state)
{
    struct world *world = *state;
    struct answer answer = run(world, "return {'OK', KEYS[1] .. ARGV[1]}");
    assert_int_equal(answer.status, 200);
    assert_string_equal(answer.body, "{}");
    answer = run(world, "return {'FAIL', 'no_order: there is none'}");
    assert_error(&answer, 404, "no_order", "there is none");
    answer = run(world, "return {'FAIL', 'order_paid: too late'}");
    assert_error(&answer, 409, "order_paid", "too late");
    answer = run(world, "return {'FAIL', 'bad_amount: too much'}");
    assert_error(&answer, 400, "bad_amount", "too much");
    answer = run(world, "return {'FAIL', 'without a code'}");
    assert_error(&answer, 409, "refused", "without a code");
}

/* What is wrong inside is for the log; clients learn nothing of it. */
static void faults_of_ours_are_500_and_tell_nothing(void **state)
{
    struct world *world = *state;
    static const char *const scripts[] = {"return redis.error_reply('ERR secret detail')",
                                          "return {'MAYBE', 'secret detail'}",
                                          "return 5",
                                          "return {}",
                                          "return nil .. 'secret detail'",
                                          "this is no Lua"};
    for (size_t i = 0; i < sizeof(scripts) / sizeof(scripts[0]); i++) {
        struct answer answer = run(world, scripts[i]);
        assert_error(&answer, 500, "internal", "internal error");
        assert_null(strstr(answer.body, "secret"));
    }
    test_redis_ask(world->redis, "LPUSH k 1");
    struct answer answer = ask(world, "/read");
    assert_error(&answer, 500, "internal", "internal error");
}

static void reads_give_the_reply(void **state)
{
    struct world *world = *state;
    test_redis_ask(world->redis, "SET k hello");
    assert_string_equal(ask(world, "/read").body, "\"hello\"");
}

static void redis_that_is_away_is_503(void **state)
{
    struct world *world = *state;
    saga_close(world->saga);
    loop_turn(world->web.loop, 0);
    open_saga(world, "unix:/nonexistent/redis.sock", 50);
    struct answer answer = ask(world, "/read");
    assert_error(&answer, 503, "unavailable", "try again");
    assert_string_equal(answer.retry_after, "1");
    answer = run(world, "return {'OK', ''}");
    assert_error(&answer, 503, "unavailable", "try again");
}

static void refusals_for_now_are_503(void **state)
{
    struct world *world = *state;
    test_redis_ask(world->redis, "CONFIG SET maxmemory 1");
    struct answer answer = run(world, "redis.call('SET', KEYS[1], 'x') return {'OK', ''}");
    test_redis_ask(world->redis, "CONFIG SET maxmemory 0");
    assert_error(&answer, 503, "unavailable", "try again");
}

/* ---- plain requests between services ---- */

static const struct {
    const char *method;
    struct data_answer answer;
    enum saga_result result;
    const char *message;
} replies[] = {
    {"t.T/Ok", {DATA_OK, SLICE_LIT("x"), NULL}, SAGA_SUCCESS, ""},
    {"t.T/No", {DATA_REFUSED, SLICE_LIT("no_x: none"), NULL}, SAGA_FAILURE, "no_x: none"},
    {"t.T/Away", {DATA_AWAY, SLICE_LIT("redis is away"), NULL}, SAGA_ERROR, "redis is away"},
    {"t.T/Broken", {DATA_BROKEN, SLICE_LIT("internal"), NULL}, SAGA_ERROR, "internal"},
};
enum { REPLIES = sizeof(replies) / sizeof(replies[0]) };

static void on_call(void *arg, struct saga_call *call)
{
    size_t i = (size_t)(uintptr_t)arg;
    product_CreateResponse message = {.id = 5};
    product_DetailRequest request = product_DetailRequest_init_zero;
    if (data_decode(call, product_DetailRequest_fields, &request)) {
        data_reply_call(call, &replies[i].answer, product_CreateResponse_fields, &message);
    }
}

struct response {
    bool done;
    enum saga_result result;
    size_t payload_len;
    char message[128];
};

static void on_response(void *arg, const struct saga_response *from)
{
    struct response *response = arg;
    assert_int_equal(from->error, SAGA_E_NONE);
    response->result = from->result;
    response->payload_len = from->payload.len;
    snprintf(response->message, sizeof(response->message), "%s",
             from->message ? from->message : "");
    response->done = true;
}

static struct response request(struct world *world, const char *method, struct saga_bytes payload)
{
    struct response response = {0};
    char address[64];
    snprintf(address, sizeof(address), "127.0.0.1:%d", saga_port(world->saga));
    saga_request(world->saga, address, method, payload, on_response, &response);
    wait_for(world->web.loop, response.done);
    return response;
}

static void each_kind_has_its_result(void **state)
{
    struct world *world = *state;
    for (size_t i = 0; i < REPLIES; i++) {
        saga_on_request(world->saga, replies[i].method, on_call, (void *)(uintptr_t)i);
        struct response got = request(world, replies[i].method, saga_text("\x08\x05"));
        assert_int_equal(got.result, replies[i].result);
        assert_string_equal(got.message, replies[i].message);
        assert_int_equal(got.payload_len, replies[i].result == SAGA_SUCCESS ? 2 : 0);
    }
}

struct asked {
    bool done;
    enum data_kind kind;
    char text[128];
};

static void on_asked(void *arg, const struct data_answer *answer)
{
    struct asked *asked = arg;
    *asked = (struct asked){true, answer->kind, ""};
    data_copy(answer->text, asked->text, sizeof(asked->text));
}

static struct asked ask_peer(struct world *world, const char *address, const char *method)
{
    struct asked asked = {0};
    product_DetailRequest request = {.id = 5};
    data_ask(world->saga, address, method, product_DetailRequest_fields, &request, on_asked,
             &asked);
    assert_false(asked.done);
    wait_for(world->web.loop, asked.done);
    return asked;
}

/* What the peer found broken is no fault of this service: it counts as away. */
static void each_result_has_its_kind(void **state)
{
    static const enum data_kind kinds[REPLIES] = {DATA_OK, DATA_REFUSED, DATA_AWAY, DATA_AWAY};
    struct world *world = *state;
    char address[64];
    snprintf(address, sizeof(address), "127.0.0.1:%d", saga_port(world->saga));
    for (size_t i = 0; i < REPLIES; i++) {
        saga_on_request(world->saga, replies[i].method, on_call, (void *)(uintptr_t)i);
        struct asked asked = ask_peer(world, address, replies[i].method);
        assert_int_equal(asked.kind, kinds[i]);
        assert_string_equal(asked.text, i == 0 ? "\x08\x05" : replies[i].message);
    }
    assert_int_equal(ask_peer(world, "unix:/nonexistent/peer.sock", "t.T/Ok").kind, DATA_AWAY);
}

static void payload_of_another_kind_is_a_failure(void **state)
{
    struct world *world = *state;
    saga_on_request(world->saga, replies[0].method, on_call, (void *)(uintptr_t)0);
    struct response got = request(world, replies[0].method, saga_text("{\"id\":5}"));
    assert_int_equal(got.result, SAGA_FAILURE);
    assert_memory_equal(got.message, "bad_payload: ", 13);
}

/* ---- ids and numbers ---- */

struct taken {
    bool done;
    enum data_kind kind;
    int64_t id;
};

static void on_taken(void *arg, const struct data_answer *answer, int64_t id)
{
    *(struct taken *)arg = (struct taken){true, answer->kind, id};
}

static struct taken take(struct world *world, const char *lua, int64_t shard, int64_t shards)
{
    struct taken taken = {0};
    world->script = saga_script_new_plain("test", lua, strlen(lua));
    struct slice keys[] = {SLICE_LIT("k")};
    data_take_id(world->saga, &(struct data_script_call){world->script, keys, 1, NULL, 0}, shard,
                 shards, on_taken, &taken);
    assert_false(taken.done);
    wait_for(world->web.loop, taken.done);
    saga_script_free(world->script);
    return taken;
}

static void ids_carry_their_shard(void **state)
{
    struct world *world = *state;
    const char *lua = "return {'OK', tostring(redis.call('INCR', KEYS[1]))}";
    assert_int_equal(take(world, lua, 0, 1).id, 1);
    assert_int_equal(take(world, lua, 0, 1).id, 2);
    assert_int_equal(take(world, lua, 3, 8).id, 3 * 8 + 3);
    struct taken refused = take(world, "return {'FAIL', 'key_reused: x'}", 3, 8);
    assert_int_equal(refused.kind, DATA_REFUSED);
    assert_int_equal(refused.id, 0);
}

static void numbers_as_text(void **state)
{
    (void)state;
    char out[DATA_NUMBER_SIZE];
    assert_true(slice_eq_str(data_number(0, out), "0"));
    assert_true(slice_eq_str(data_number(INT64_MAX, out), "9223372036854775807"));
    assert_true(slice_eq_str(data_number(INT64_MIN, out), "-9223372036854775808"));
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(each_kind_has_its_http_status), CASE(faults_of_ours_are_500_and_tell_nothing),
        CASE(reads_give_the_reply),          CASE(redis_that_is_away_is_503),
        CASE(refusals_for_now_are_503),      CASE(each_kind_has_its_result),
        CASE(each_result_has_its_kind),      CASE(payload_of_another_kind_is_a_failure),
        CASE(ids_carry_their_shard),         cmocka_unit_test(numbers_as_text),
    };
    return cmocka_run_group_tests(tests, start_redis, stop_redis);
}
