/* Each mode once through everything: initiator, a real sagad (its path is the first argument), a
 * participant with the barrier, a real Redis. */
#include "fixture.h"

#include "harness/test_port.h"

#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

enum { WAIT_MS = 5000 };

static const char *sagad_path;

/* A hotel with rooms: a try holds one ({h}:held), confirm books it ({h}:booked), cancel gives it
 * back; an action books it at once. */
static const char room_body[] =
    "local function add(key, n) redis.call('INCRBY', key, n) end\n"
    "return barrier(function(keys, args, undo, tried)\n"
    "  local free, held, booked = keys[1], keys[2], keys[3]\n"
    "  if ARGV[4] == 'confirm' then\n"
    "    if tried then add(held, -tried) add(booked, tried) end\n"
    "    return ok()\n"
    "  end\n"
    "  if undo then\n"
    "    if undo ~= '' then add(free, undo)\n"
    "      add(ARGV[4] == 'cancel' and held or booked, -undo) end\n"
    "    return ok()\n"
    "  end\n"
    "  local have = tonumber(redis.call('GET', free))\n"
    "  if have < tonumber(args[1]) then return fail('only ' .. have .. ' rooms') end\n"
    "  add(free, -args[1])\n"
    "  add(ARGV[4] == 'try' and held or booked, args[1])\n"
    "  return ok('room', args[1])\n"
    "end)\n";

struct hotel {
    struct test_redis *redis;
    struct loop *loop;
    struct saga *saga; /* initiator and participant in one */
    struct saga_script *script;
    struct test_port http, tcp;
    pid_t sagad;
    char url[128], echo[128], note[128];
    char notes[TEXT_SIZE]; /* calls of `note`: "branch.op tenant room" */
    int noted, silent_at;  /* so many; this one is not answered */
    struct saga_call *held;
    const char *verdict; /* what the check-back answers */
    int checks;
};

struct result {
    bool done;
    enum saga_error error;
    enum saga_result result;
    enum saga_verdict verdict;
    char text[TEXT_SIZE];
    char ops[TEXT_SIZE];
};

static void on_room(void *arg, struct saga_call *call)
{
    struct hotel *hotel = arg;
    struct saga_bytes keys[] = {saga_text("{h}:free"), saga_text("{h}:held"),
                                saga_text("{h}:booked")};
    struct saga_bytes args[] = {saga_call_payload(call)};
    saga_call_eval(call, &(struct saga_eval){.script = hotel->script,
                                             .tag = "{h}",
                                             .keys = keys,
                                             .key_count = 3,
                                             .args = args,
                                             .arg_count = 1});
}

static void on_echo(void *arg, struct saga_call *call)
{
    (void)arg;
    saga_call_reply(call, SAGA_SUCCESS, saga_call_payload(call), NULL);
}

static void on_note(void *arg, struct saga_call *call)
{
    struct hotel *hotel = arg;
    struct saga_bytes op = saga_call_op(call), branch = saga_call_branch_id(call);
    struct saga_bytes tenant = saga_call_header(call, "X-Tenant");
    struct saga_bytes room = saga_call_header(call, "x-room");
    size_t used = strlen(hotel->notes);
    snprintf(hotel->notes + used, TEXT_SIZE - used, "%.*s.%.*s %.*s %.*s\n", (int)branch.len,
             branch.ptr, (int)op.len, op.ptr, (int)tenant.len, tenant.len ? tenant.ptr : "",
             (int)room.len, room.len ? room.ptr : "");
    if (++hotel->noted == hotel->silent_at) {
        hotel->held = call;
        return;
    }
    saga_call_reply(call, SAGA_SUCCESS, saga_text(""), NULL);
}

static void on_check(void *arg, struct saga_call *call)
{
    struct hotel *hotel = arg;
    struct saga_bytes op = saga_call_op(call), branch = saga_call_branch_id(call);
    assert_true(op.len == 3 && memcmp(op.ptr, "msg", 3) == 0);
    assert_true(branch.len == 2 && memcmp(branch.ptr, "00", 2) == 0);
    hotel->checks++;
    saga_call_reply(call, strcmp(hotel->verdict, "send") == 0 ? SAGA_SUCCESS : SAGA_FAILURE,
                    saga_text(""), hotel->verdict);
}

static void on_change_check(void *arg, struct saga_call *call)
{
    (void)arg;
    saga_call_check_back(call, "{h}");
}

static void on_changed(void *arg, const struct saga_outcome *outcome)
{
    struct result *result = arg;
    result->done = true;
    result->verdict = outcome->verdict;
}

static void on_answer(void *arg, const struct saga_answer *answer)
{
    struct result *result = arg;
    result->done = true;
    result->error = answer->error;
    snprintf(result->text, TEXT_SIZE, "%s%s|%.*s", answer->message ? answer->message : "",
             answer->status ? answer->status : "-", (int)answer->rollback_reason.len,
             answer->rollback_reason.ptr ? answer->rollback_reason.ptr : "");
    result->ops[0] = '\0';
    for (size_t i = 0; i < answer->op_count; i++) {
        const struct saga_op *op = &answer->ops[i];
        size_t used = strlen(result->ops);
        snprintf(result->ops + used, TEXT_SIZE - used, "%s%.*s.%.*s=%s%s%.*s%s", i ? " " : "",
                 (int)op->branch_id.len, op->branch_id.ptr, (int)op->op.len, op->op.ptr, op->status,
                 op->result.len ? "(" : "", (int)op->result.len, op->result.ptr,
                 op->result.len ? ")" : "");
    }
}

static void on_response(void *arg, const struct saga_response *response)
{
    struct result *result = arg;
    result->done = true;
    result->error = response->error;
    result->result = response->result;
    snprintf(result->text, TEXT_SIZE, "%s|%.*s", response->message ? response->message : "",
             (int)response->payload.len, response->payload.ptr ? response->payload.ptr : "");
}

static struct result query(struct hotel *hotel, const char *gid)
{
    struct result result = {.done = false};
    saga_query(hotel->saga, saga_text(gid), on_answer, &result);
    wait_for(hotel->loop, result.done);
    return result;
}

static struct result submit(struct hotel *hotel, struct saga_submission submission)
{
    struct result result = {.done = false};
    submission.wait = true;
    submission.wait_timeout_ms = WAIT_MS;
    saga_submit(hotel->saga, &submission, on_answer, &result);
    wait_for(hotel->loop, result.done);
    assert_int_equal(result.error, SAGA_E_NONE);
    return result;
}

static const char *books(struct hotel *hotel)
{
    static char text[100];
    snprintf(text, sizeof(text), "%s",
             test_redis_ask(hotel->redis, "MGET {h}:free {h}:held {h}:booked"));
    for (char *c = strchr(text, '\n'); c; c = strchr(c, '\n')) {
        *c = ' ';
    }
    return text;
}

/* ---- the world ---- */

static void sagad_run(const struct hotel *hotel, pid_t parent)
{
    char redis[200], http[64], tcp[64];
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent) {
        _exit(126);
    }
    snprintf(redis, sizeof(redis), "--redis=%s", test_redis_unix(hotel->redis));
    snprintf(http, sizeof(http), "--listen_http=127.0.0.1:%d", hotel->http.number);
    snprintf(tcp, sizeof(tcp), "--listen_tcp=127.0.0.1:%d", hotel->tcp.number);
    execl(sagad_path, "sagad", redis, http, tcp, "--durability=memory", "--retry_interval=100ms",
          "--log_level=error", (char *)NULL);
    _exit(127);
}

static void await_sagad(struct hotel *hotel)
{
    int64_t until_ms = loop_now_ms(hotel->loop) + DEADLINE_MS;
    while (loop_now_ms(hotel->loop) < until_ms) {
        struct result result = {.done = false};
        saga_new_gid(hotel->saga, on_answer, &result);
        wait_for(hotel->loop, result.done);
        if (result.error == SAGA_E_NONE) {
            return;
        }
        assert_int_equal(waitpid(hotel->sagad, NULL, WNOHANG), 0);
        loop_turn(hotel->loop, 20);
    }
    fail_msg("sagad does not answer");
}

static int hotel_open(void **state)
{
    static struct hotel world;
    struct hotel *hotel = &world;
    char error[256] = "", coordinator[64];
    *hotel = (struct hotel){.redis = test_redis_start(NULL), .loop = loop_new()};
    test_port_take(&hotel->http);
    test_port_take(&hotel->tcp);
    pid_t parent = getpid();
    hotel->sagad = fork();
    if (hotel->sagad == 0) {
        sagad_run(hotel, parent);
    }
    snprintf(coordinator, sizeof(coordinator), "127.0.0.1:%d", hotel->tcp.number);
    hotel->saga = saga_open(&(struct saga_conf){.program = "hotel",
                                                .listen = "127.0.0.1:0",
                                                .redis = test_redis_unix(hotel->redis),
                                                .coordinator = coordinator,
                                                .loop = hotel->loop},
                            error, sizeof(error));
    assert_string_equal(error, "");
    hotel->script = saga_script_new("room", room_body, strlen(room_body));
    saga_on_branch(hotel->saga, "hotel.Room/Book", on_room, hotel);
    saga_on_branch(hotel->saga, "hotel.Room/Check", on_check, hotel);
    saga_on_branch(hotel->saga, "hotel.Room/Changed", on_change_check, hotel);
    snprintf(hotel->url, sizeof(hotel->url), "tcp://127.0.0.1:%d/hotel.Room/Book",
             saga_port(hotel->saga));
    saga_on_branch(hotel->saga, "hotel.Room/Echo", on_echo, hotel);
    snprintf(hotel->echo, sizeof(hotel->echo), "tcp://127.0.0.1:%d/hotel.Room/Echo",
             saga_port(hotel->saga));
    saga_on_branch(hotel->saga, "hotel.Room/Note", on_note, hotel);
    snprintf(hotel->note, sizeof(hotel->note), "tcp://127.0.0.1:%d/hotel.Room/Note",
             saga_port(hotel->saga));
    await_sagad(hotel);
    *state = hotel;
    return 0;
}

static int hotel_close(void **state)
{
    struct hotel *hotel = *state;
    int status = 0;
    kill(hotel->sagad, SIGTERM);
    waitpid(hotel->sagad, &status, 0);
    saga_close(hotel->saga);
    loop_turn(hotel->loop, 0);
    loop_free(hotel->loop);
    saga_script_free(hotel->script);
    test_redis_stop(hotel->redis);
    test_port_release(&hotel->http);
    test_port_release(&hotel->tcp);
    return status;
}

static int ten_rooms(void **state)
{
    struct hotel *hotel = *state;
    test_redis_ask(hotel->redis, "MSET {h}:free 10 {h}:held 0 {h}:booked 0");
    hotel->notes[0] = '\0';
    hotel->noted = hotel->silent_at = 0;
    return 0;
}

/* ---- the modes ---- */

static void a_concurrent_saga_with_an_order(void **state)
{
    struct hotel *hotel = *state;
    const struct saga_step steps[] = {step_of(hotel->url, hotel->url, "1"),
                                      step_of(hotel->url, hotel->url, "2"),
                                      step_of(hotel->url, hotel->url, "3")};
    const struct saga_order orders[] = {{0, 1}, {2, 0}};
    struct saga_submission s = {.gid = saga_text("concurrent"),
                                .steps = steps,
                                .step_count = 3,
                                .concurrent = true,
                                .orders = orders,
                                .order_count = 2};
    assert_string_equal(submit(hotel, s).text, "succeed|");
    assert_string_equal(books(hotel), "4 0 6");
    s.gid = saga_text("concurrent-2"); /* the last step finds too few */
    struct result result = submit(hotel, s);
    assert_true(strncmp(result.text, "failed|", 7) == 0 && strstr(result.text, "only 1 rooms"));
    assert_string_equal(books(hotel), "4 0 6");
}

static void a_declared_tcc(void **state)
{
    struct hotel *hotel = *state;
    const struct saga_branch branches[] = {branch_of(hotel->url, hotel->url, hotel->url, "4"),
                                           branch_of(hotel->url, hotel->url, hotel->url, "2")};
    struct saga_submission s = {
        .gid = saga_text("declared"), .trans_type = "tcc", .branches = branches, .branch_count = 2};
    assert_string_equal(submit(hotel, s).text, "succeed|");
    assert_string_equal(books(hotel), "4 0 6");
    assert_string_equal(query(hotel, "declared").ops,
                        "01.cancel=prepared 01.confirm=succeed 01.try=succeed "
                        "02.cancel=prepared 02.confirm=succeed 02.try=succeed");
    s.gid = saga_text("declared-2");
    struct result result = submit(hotel, s);
    assert_true(strncmp(result.text, "failed|", 7) == 0 && strstr(result.text, ": only "));
    assert_string_equal(books(hotel), "4 0 6");
}

static struct saga_tcc *begin(struct hotel *hotel, const char *gid, int64_t timeout_ms)
{
    struct result result = {.done = false};
    struct saga_tcc *tcc =
        saga_tcc_begin(hotel->saga,
                       &(struct saga_submission){.gid = saga_text(gid),
                                                 .timeout_to_fail_ms = timeout_ms,
                                                 .wait = true,
                                                 .wait_timeout_ms = WAIT_MS},
                       on_answer, &result);
    wait_for(hotel->loop, result.done);
    assert_string_equal(result.text, "prepared|");
    return tcc;
}

static struct result try_rooms(struct hotel *hotel, struct saga_tcc *tcc, const char *rooms)
{
    struct result result = {.done = false};
    struct saga_branch branch = branch_of(hotel->url, hotel->url, hotel->url, rooms);
    saga_tcc_try(tcc, &branch, on_response, &result);
    wait_for(hotel->loop, result.done);
    return result;
}

static struct result end(struct hotel *hotel, struct saga_tcc *tcc, bool confirm)
{
    struct result result = {.done = false};
    saga_tcc_end(tcc, confirm, on_answer, &result);
    wait_for(hotel->loop, result.done);
    assert_int_equal(result.error, SAGA_E_NONE);
    return result;
}

static struct result watch(struct hotel *hotel, const char *gid)
{
    struct result result = {.done = false};
    saga_watch(hotel->saga, saga_text(gid), WAIT_MS, on_answer, &result);
    wait_for(hotel->loop, result.done);
    return result;
}

static void await_status(struct hotel *hotel, const char *gid, const char *status)
{
    struct result result = watch(hotel, gid);
    if (strncmp(result.text, status, strlen(status)) != 0) {
        fail_msg("%s is %s, not %s", gid, result.text, status);
    }
}

static void a_tcc_with_tries_of_ones_own(void **state)
{
    struct hotel *hotel = *state;
    struct saga_tcc *tcc = begin(hotel, "own", 0);
    assert_string_equal(try_rooms(hotel, tcc, "4").text, "|room");
    assert_string_equal(try_rooms(hotel, tcc, "3").text, "|room");
    assert_string_equal(books(hotel), "3 7 0");
    assert_string_equal(end(hotel, tcc, true).text, "succeed|");
    assert_string_equal(books(hotel), "3 0 7");
    tcc = begin(hotel, "own-2", 0);
    try_rooms(hotel, tcc, "2");
    assert_int_equal(try_rooms(hotel, tcc, "2").result, SAGA_FAILURE);
    assert_string_equal(books(hotel), "1 2 7");
    end(hotel, tcc, true); /* a try was refused: cancelled all the same */
    await_status(hotel, "own-2", "failed");
    assert_string_equal(books(hotel), "3 0 7");
}

static void a_tcc_that_is_given_up_is_cancelled_in_time(void **state)
{
    struct hotel *hotel = *state;
    struct saga_tcc *tcc = begin(hotel, "given-up", 200);
    try_rooms(hotel, tcc, "5");
    assert_string_equal(books(hotel), "5 5 0");
    await_status(hotel, "given-up", "failed");
    assert_string_equal(books(hotel), "10 0 0");
    assert_true(strncmp(end(hotel, tcc, true).text, "failed", 6) == 0); /* too late */
    assert_string_equal(books(hotel), "10 0 0");
}

static struct saga_submission message(struct hotel *hotel, const char *gid,
                                      const struct saga_step *step, char check[128])
{
    snprintf(check, 128, "tcp://127.0.0.1:%d/hotel.Room/Check", saga_port(hotel->saga));
    return (struct saga_submission){.gid = saga_text(gid),
                                    .trans_type = "msg",
                                    .steps = step,
                                    .step_count = 1,
                                    .query_prepared = check};
}

static void prepare(struct hotel *hotel, const struct saga_submission *submission)
{
    struct result result = {.done = false};
    saga_prepare(hotel->saga, submission, on_answer, &result);
    wait_for(hotel->loop, result.done);
    assert_string_equal(result.text, "prepared|");
}

static void messages(void **state)
{
    struct hotel *hotel = *state;
    const struct saga_step step = step_of(hotel->url, NULL, "1");
    char check[128];
    struct saga_submission s = message(hotel, "sent", &step, check);
    prepare(hotel, &s);
    assert_string_equal(books(hotel), "10 0 0");
    assert_string_equal(submit(hotel, s).text, "succeed|");
    assert_string_equal(books(hotel), "9 0 1");
    s.gid = saga_text("alone"); /* without a prepare */
    assert_string_equal(submit(hotel, s).text, "succeed|");
    assert_string_equal(books(hotel), "8 0 2");
    struct result result = {.done = false};
    s.gid = saga_text("aborted");
    prepare(hotel, &s);
    saga_abort(hotel->saga, s.gid, "changed my mind", on_answer, &result);
    wait_for(hotel->loop, result.done);
    await_status(hotel, "aborted", "failed|changed my mind");
    assert_int_equal(hotel->checks, 0);
    s.timeout_to_fail_ms = 100; /* nobody says what becomes of it: the check-back does */
    s.gid = saga_text("checked");
    hotel->verdict = "send";
    prepare(hotel, &s);
    await_status(hotel, "checked", "succeed");
    s.gid = saga_text("checked-2");
    hotel->verdict = "there is no such order";
    prepare(hotel, &s);
    await_status(hotel, "checked-2", "failed|");
    assert_non_null(strstr(query(hotel, "checked-2").text, "there is no such order"));
    assert_int_equal(hotel->checks, 2);
    assert_string_equal(books(hotel), "7 0 3");
}

/* Takes a room as the change that the message announces. */
static enum saga_verdict change(struct hotel *hotel, const char *gid)
{
    struct result result = {.done = false};
    struct saga_bytes keys[] = {saga_text("{h}:free"), saga_text("{h}:held"),
                                saga_text("{h}:booked")};
    struct saga_bytes args[] = {saga_text("1")};
    saga_msg_change(hotel->saga, saga_text(gid),
                    &(struct saga_eval){.script = hotel->script,
                                        .tag = "{h}",
                                        .keys = keys,
                                        .key_count = 3,
                                        .args = args,
                                        .arg_count = 1},
                    on_changed, &result);
    wait_for(hotel->loop, result.done);
    return result.verdict;
}

static void a_message_is_sent_if_and_only_if_its_change_was_made(void **state)
{
    struct hotel *hotel = *state;
    const struct saga_step step = step_of(hotel->echo, NULL, "a room was taken");
    char check[128];
    struct saga_submission s = message(hotel, "changed", &step, check);
    snprintf(check, sizeof(check), "tcp://127.0.0.1:%d/hotel.Room/Changed", saga_port(hotel->saga));
    s.timeout_to_fail_ms = 100;
    char gid[32];
    int tries = 0;
    do { /* on a busy machine it may come too late */
        assert_true(tries < 10);
        snprintf(gid, sizeof(gid), "changed-%d", tries++);
        s.gid = saga_text(gid);
        prepare(hotel, &s);
    } while (change(hotel, gid) != SAGA_OK); /* then it dies, without a submit */
    await_status(hotel, gid, "succeed");
    assert_string_equal(books(hotel), "9 0 1");
    s.gid = saga_text("not-changed");
    prepare(hotel, &s);
    await_status(hotel, "not-changed", "failed|");
    assert_int_equal(change(hotel, "not-changed"), SAGA_VOID); /* wakes up too late */
    assert_string_equal(books(hotel), "9 0 1");
}

static void a_result_is_kept_and_named_by_a_later_payload(void **state)
{
    struct hotel *hotel = *state;
    const struct saga_step steps[] = {step_of(hotel->echo, NULL, "3"),
                                      step_of(hotel->url, hotel->url, "${01.result}")};
    struct saga_submission s = {
        .gid = saga_text("results"), .steps = steps, .step_count = 2, .keep_results = true};
    assert_string_equal(submit(hotel, s).text, "succeed|");
    assert_string_equal(books(hotel), "7 0 3");
    assert_string_equal(query(hotel, "results").ops,
                        "01.compensate=prepared 01.action=succeed(3) "
                        "02.compensate=prepared 02.action=succeed(room)");
}

/* The first call of step 2 is given up after its own 50 ms, not after the 20 s of the others. On a
 * busy machine the second one may be, too. */
static void a_step_has_headers_and_times_of_its_own(void **state)
{
    struct hotel *hotel = *state;
    const struct saga_header tenant = {"x-tenant", "7"}, room = {"X-Room", "12"};
    struct saga_step steps[] = {step_of(hotel->note, NULL, "1"), step_of(hotel->note, NULL, "2")};
    steps[1].options = (struct saga_call_options){
        .request_timeout_ms = 50, .retry_interval_ms = 10, .headers = &room, .header_count = 1};
    struct saga_submission s = {.gid = saga_text("options"),
                                .steps = steps,
                                .step_count = 2,
                                .headers = &tenant,
                                .header_count = 1,
                                .request_timeout_ms = 20000};
    int64_t from_ms = loop_now_ms(hotel->loop);
    hotel->silent_at = 2;
    assert_string_equal(submit(hotel, s).text, "succeed|");
    static const char notes[] = "01.action 7 \n02.action 7 12\n02.action 7 12\n";
    assert_memory_equal(hotel->notes, notes, strlen(notes));
    assert_true(loop_now_ms(hotel->loop) - from_ms < 10000);
    saga_call_reply(hotel->held, SAGA_SUCCESS, saga_text(""), NULL); /* far too late */
}

static void xa_end(struct hotel *hotel, const char *gid, bool commit, const char *status)
{
    struct result result = {.done = false};
    struct saga_submission s = {.gid = saga_text(gid), .wait = true, .wait_timeout_ms = WAIT_MS};
    struct saga_xa_branch branch = {hotel->note, hotel->note, saga_text("")};
    struct saga_xa *xa = saga_xa_begin(hotel->saga, &s, on_answer, &result);
    wait_for(hotel->loop, result.done);
    assert_string_equal(result.text, "prepared|");
    for (int i = 0; i < 2; i++) {
        result.done = false;
        saga_xa_register(xa, &branch, on_answer, &result);
        wait_for(hotel->loop, result.done);
        assert_int_equal(result.error, SAGA_E_NONE);
    }
    result.done = false;
    saga_xa_end(xa, commit, on_answer, &result);
    wait_for(hotel->loop, result.done);
    assert_int_equal(result.error, SAGA_E_NONE);
    await_status(hotel, gid, status);
}

static void an_xa(void **state)
{
    struct hotel *hotel = *state;
    xa_end(hotel, "xa", true, "succeed|");
    assert_string_equal(hotel->notes, "01.commit  \n02.commit  \n");
    assert_string_equal(query(hotel, "xa").ops, "01.rollback=prepared 01.commit=succeed "
                                                "02.rollback=prepared 02.commit=succeed");
    hotel->notes[0] = '\0';
    xa_end(hotel, "xa-2", false, "failed|cancelled by its initiator");
    assert_string_equal(hotel->notes, "01.rollback  \n02.rollback  \n");
}

static struct result work_step(struct hotel *hotel, struct saga_workflow *flow, int number,
                               const char *op)
{
    char id[16];
    struct result result = {.done = false};
    snprintf(id, sizeof(id), "%02d", number);
    struct saga_work work = {
        .branch_id = id, .op = op, .url = hotel->url, .payload = saga_text("1")};
    saga_workflow_step(flow, &work, on_response, &result);
    wait_for(hotel->loop, result.done);
    return result;
}

/* Whoever has done as many steps as there may be can still end what they began. */
static void a_workflow_of_a_hundred_steps_finds_its_way_back(void **state)
{
    struct hotel *hotel = *state;
    enum { STEPS = 100 };
    static const char *const ends[] = {"confirm", "cancel", "commit", "rollback"};
    struct result result = {.done = false};
    struct saga_workflow_spec spec = {.gid = saga_text("long"), .name = "stay"};
    test_redis_ask(hotel->redis, "SET {h}:free %d", STEPS + 1);
    struct saga_workflow *flow = saga_workflow_begin(hotel->saga, &spec, on_answer, &result);
    wait_for(hotel->loop, result.done);
    for (int i = 1; i <= STEPS; i++) {
        assert_string_equal(work_step(hotel, flow, i, "action").text, "|room");
    }
    assert_int_equal(work_step(hotel, flow, STEPS + 1, "action").error, SAGA_E_INVALID);
    assert_string_equal(books(hotel), "1 0 100"); /* it has not taken the last room */
    for (int i = STEPS; i > 0; i--) {
        assert_string_equal(work_step(hotel, flow, i, "compensate").text, "|");
    }
    assert_string_equal(books(hotel), "101 0 0");
    for (size_t i = 0; i < sizeof(ends) / sizeof(ends[0]); i++) {
        result.done = false;
        saga_workflow_report(flow, &(struct saga_report){.branch_id = "01", .op = ends[i]},
                             on_answer, &result);
        wait_for(hotel->loop, result.done);
        assert_int_equal(result.error, SAGA_E_NONE);
    }
    result.done = false;
    saga_workflow_end(flow, "no room for all", saga_text(""), on_answer, &result);
    wait_for(hotel->loop, result.done);
    assert_string_equal(query(hotel, "long").text, "failed|no room for all");
}

static void what_cannot_be_done_is_an_error(void **state)
{
    struct hotel *hotel = *state;
    struct result result = {.done = false};
    saga_abort(hotel->saga, saga_text("nobody"), NULL, on_answer, &result);
    wait_for(hotel->loop, result.done);
    assert_int_equal(result.error, SAGA_E_INVALID);
    assert_non_null(strstr(result.text, "no such transaction"));
    result.done = false;
    saga_submit(hotel->saga,
                &(struct saga_submission){.gid = saga_text("nobody"), .trans_type = "tcc"},
                on_answer, &result);
    wait_for(hotel->loop, result.done);
    assert_int_equal(result.error, SAGA_E_INVALID);
    struct saga_step step = step_of(hotel->url, NULL, "1");
    struct saga_submission s = {
        .gid = saga_text("m"), .trans_type = "msg", .steps = &step, .step_count = 1};
    result.done = false;
    saga_prepare(hotel->saga, &s, on_answer, &result);
    wait_for(hotel->loop, result.done);
    assert_non_null(strstr(result.text, "query_prepared"));
}

int main(int argc, char **argv)
{
    if (argc != 2) {
        fprintf(stderr, "usage: %s path/to/sagad\n", argv[0]);
        return 2;
    }
    sagad_path = argv[1];
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(a_concurrent_saga_with_an_order, ten_rooms),
        cmocka_unit_test_setup(a_declared_tcc, ten_rooms),
        cmocka_unit_test_setup(a_tcc_with_tries_of_ones_own, ten_rooms),
        cmocka_unit_test_setup(a_tcc_that_is_given_up_is_cancelled_in_time, ten_rooms),
        cmocka_unit_test_setup(messages, ten_rooms),
        cmocka_unit_test_setup(a_message_is_sent_if_and_only_if_its_change_was_made, ten_rooms),
        cmocka_unit_test_setup(a_result_is_kept_and_named_by_a_later_payload, ten_rooms),
        cmocka_unit_test_setup(a_step_has_headers_and_times_of_its_own, ten_rooms),
        cmocka_unit_test_setup(an_xa, ten_rooms),
        cmocka_unit_test_setup(a_workflow_of_a_hundred_steps_finds_its_way_back, ten_rooms),
        cmocka_unit_test_setup(what_cannot_be_done_is_an_error, ten_rooms),
    };
    return cmocka_run_group_tests(tests, hotel_open, hotel_close);
}
