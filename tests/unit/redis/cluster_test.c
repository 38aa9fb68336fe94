/* A cluster of nodes that say what a script says. */
#include "fixture.h"

#include "base/log.h"
#include "harness/fake_server.h"

enum { NODES = 3 };

/* Slots: b 3300, hello 866; a 15495, foo 12182. */
struct world {
    struct fixture f;
    struct fake_server *nodes[NODES];
    char address[256];
};

static const char *port_of(struct world *w, int node)
{
    return strrchr(fake_server_address(w->nodes[node]), ':') + 1;
}

static size_t add_range(struct world *w, char *out, size_t size, int first, int last, int node)
{
    return (size_t)snprintf(out, size,
                            "*3\\r\\n:%d\\r\\n:%d\\r\\n*3\\r\\n$9\\r\\n127.0.0.1\\r\\n:%s\\r\\n"
                            "$2\\r\\nid\\r\\n",
                            first, last, port_of(w, node));
}

/* All nodes say: the lower half of the slots is with `low`, the upper with `high`. */
static void map_is(struct world *w, int low, int high)
{
    char text[512] = "*2\\r\\n";
    size_t len = strlen(text);
    len += add_range(w, text + len, sizeof(text) - len, 0, 8191, low);
    add_range(w, text + len, sizeof(text) - len, 8192, 16383, high);
    for (int i = 0; i < NODES; i++) {
        fake_server_always(w->nodes[i], "CLUSTER SLOTS", text);
    }
}

static int set_up(void **state)
{
    static struct world world;
    struct world *w = &world;
    fixture_init(&w->f, w->address);
    for (int i = 0; i < NODES; i++) {
        w->nodes[i] = fake_server_start(w->f.loop);
    }
    snprintf(w->address, sizeof(w->address), "cluster://%s,%s", fake_server_address(w->nodes[0]),
             fake_server_address(w->nodes[1]));
    *state = w;
    return 0;
}

static int tear_down(void **state)
{
    struct world *w = *state;
    for (int i = 0; i < NODES; i++) {
        fake_server_stop(w->nodes[i]);
    }
    fixture_fini(&w->f);
    return 0;
}

/* The lower half at node 0, the upper at node 1, both connected. */
static struct world *connected(void **state)
{
    struct world *w = *state;
    map_is(w, 0, 1);
    fixture_open(&w->f);
    wait_for(w->f.loop, redis_is_connected(w->f.redis));
    return w;
}

static void play(struct world *w, int node, const char *script)
{
    fake_server_play(w->nodes[node], script);
}

/* "-MOVED 3300 127.0.0.1:PORT\r\n" */
static const char *points(struct world *w, const char *code, int to)
{
    static char text[128];
    snprintf(text, sizeof(text), "-%s 3300 127.0.0.1:%s\\r\\n", code, port_of(w, to));
    return text;
}

static void send_to(struct world *w, int node, const char *text)
{
    char step[160];
    snprintf(step, sizeof(step), "SEND %s", text);
    play(w, node, step);
}

static unsigned questions(struct world *w)
{
    unsigned count = 0;
    for (int i = 0; i < NODES; i++) {
        count += fake_server_count(w->nodes[i], "CLUSTER SLOTS");
    }
    return count;
}

static void assert_answer(const struct answer *answer, enum err err, const char *part)
{
    assert_int_equal(answer->count, 1);
    assert_string_equal(err_text(answer->err), err_text(err));
    if (!strstr(answer->text, part)) {
        fail_msg("'%s' does not tell '%s'", answer->text, part);
    }
}

static unsigned commands(struct world *w, const char *command)
{
    return fake_server_count(w->nodes[0], command) + fake_server_count(w->nodes[1], command);
}

/* What is refused until its deadline, after so many attempts. A machine that is busy makes it a
 * time-out, the end of that connection, or fewer attempts: then once more. */
static struct answer refused(struct world *w, const char *command, int64_t ms, unsigned least,
                             unsigned most)
{
    struct answer answer = {0};
    unsigned before;
    int tries = 0;
    do {
        before = commands(w, command);
        answer = (struct answer){0};
        tell_until(&w->f, command, in_ms(&w->f, ms), &answer);
        wait_for(w->f.loop, answer.count);
    } while (++tries < 10 &&
             (answer.err != ERR_UNAVAILABLE || commands(w, command) - before < least));
    assert_in_range(commands(w, command) - before, least, most);
    return answer;
}

static const struct redis_script echo = {
    .name = "echo",
    .text = "return ARGV[1]",
    .len = 14,
    .sha1 = "098e0f0d1448c0a81dafe820f66d460eb09263da",
    .keys = 1,
};
#define EVALSHA "EVALSHA 098e0f0d1448c0a81dafe820f66d460eb09263da 1 "
#define EVAL    "EVAL return ARGV[1] 1 "

static void eval(struct world *w, const char *key, struct answer *answer)
{
    struct slice key_slice = slice_str(key), arg = SLICE_LIT("x");
    struct redis_eval call = {.script = &echo, .keys = &key_slice, .args = &arg, .arg_count = 1};
    redis_eval(w->f.redis, in_ms(&w->f, 10000), &call, on_answer, answer);
}

static void each_command_goes_to_the_master_of_its_slot(void **state)
{
    struct world *w = connected(state);
    struct answer low = {0}, high = {0}, tagged = {0}, read = {0};
    tell(&w->f, "GET b", &low);
    tell(&w->f, "GET a", &high);
    tell(&w->f, "SET x{b}y 1", &tagged);
    tell(&w->f, "XREADGROUP GROUP g c STREAMS foo >", &read);
    play(w, 0, "EXPECT GET b\nEXPECT SET x{b}y 1\nSEND +low\\r\\n+tagged\\r\\n\nNOTHING");
    play(w, 1,
         "EXPECT GET a\nEXPECT XREADGROUP GROUP g c STREAMS foo >\n"
         "SEND +high\\r\\n+read\\r\\n\nNOTHING");
    wait_for(w->f.loop, low.count + high.count + tagged.count + read.count == 4);
    assert_answer(&low, ERR_OK, "low");
    assert_answer(&high, ERR_OK, "high");
    assert_answer(&tagged, ERR_OK, "tagged");
    assert_answer(&read, ERR_OK, "read");
}

static void what_has_no_key_goes_to_one_that_is_connected(void **state)
{
    struct world *w = connected(state);
    struct answer answers[4] = {0};
    for (int i = 0; i < 2; i++) {
        fake_server_always(w->nodes[i], "PING", "+PONG\\r\\n");
    }
    for (int i = 0; i < 4; i++) {
        tell(&w->f, "PING", &answers[i]);
    }
    wait_for(w->f.loop, answers[3].count && answers[2].count);
    assert_int_equal(fake_server_count(w->nodes[0], "PING"), 2);
    assert_int_equal(fake_server_count(w->nodes[1], "PING"), 2);
}

static void commands_wait_until_the_map_is_known(void **state)
{
    struct world *w = *state;
    struct answer low = {0}, any = {0};
    fixture_open(&w->f);
    tell(&w->f, "GET b", &low);
    tell(&w->f, "PING", &any);
    map_is(w, 1, 1);
    fake_server_always(w->nodes[1], "PING", "+PONG\\r\\n");
    play(w, 1, "EXPECT GET b\nSEND +low\\r\\n");
    wait_for(w->f.loop, low.count && any.count);
    assert_answer(&low, ERR_OK, "low");
    assert_answer(&any, ERR_OK, "PONG");
}

static void each_node_learns_a_script_by_itself(void **state)
{
    struct world *w = connected(state);
    struct answer answers[3] = {0};
    eval(w, "b", &answers[0]);
    eval(w, "a", &answers[1]);
    play(w, 0, "EXPECT " EVALSHA "b x\nSEND -NOSCRIPT no\\r\\n\nEXPECT " EVAL "b x\nSEND +x\\r\\n");
    play(w, 1, "EXPECT " EVALSHA "a x\nSEND -NOSCRIPT no\\r\\n\nEXPECT " EVAL "a x\nSEND +x\\r\\n");
    eval(w, "b", &answers[2]);
    play(w, 0, "EXPECT " EVALSHA "b x\nSEND +x\\r\\n");
    wait_for(w->f.loop, answers[0].count + answers[1].count + answers[2].count == 3);
    for (int i = 0; i < 3; i++) {
        assert_answer(&answers[i], ERR_OK, "x");
    }
}

static void moved_is_followed_at_once_and_the_map_is_read_again(void **state)
{
    struct world *w = connected(state);
    struct answer first = {0}, next = {0};
    unsigned before = questions(w);
    map_is(w, 2, 1);
    tell(&w->f, "GET b", &first);
    play(w, 0, "EXPECT GET b");
    send_to(w, 0, points(w, "MOVED", 2));
    play(w, 2, "EXPECT GET b\nSEND +b\\r\\n");
    wait_for(w->f.loop,
             first.count && redis_masters(w->f.redis) == 2); /* not the first one any more */
    assert_answer(&first, ERR_OK, "b");
    tell(&w->f, "GET hello", &next); /* of a slot that nobody has told about */
    play(w, 2, "EXPECT GET hello\nSEND +there\\r\\n");
    wait_for(w->f.loop, next.count);
    assert_int_equal(questions(w), before + 1);
}

static void moved_without_a_host_means_the_same_host(void **state)
{
    struct world *w = connected(state);
    struct answer answer = {0};
    char step[64];
    eval(w, "b", &answer);
    snprintf(step, sizeof(step), "SEND -MOVED 3300 :%s\\r\\n", port_of(w, 2));
    play(w, 0, "EXPECT " EVALSHA "b x");
    play(w, 0, step);
    play(w, 2, "EXPECT " EVALSHA "b x\nSEND -NOSCRIPT no\\r\\n\nEXPECT " EVAL "b x\nSEND +x\\r\\n");
    wait_for(w->f.loop, answer.count);
    assert_answer(&answer, ERR_OK, "x");
}

static void nodes_that_send_us_in_circles_end_at_the_deadline(void **state)
{
    struct world *w = connected(state);
    unsigned before = questions(w);
    int64_t began_ms = clock_mono_ms();
    fake_server_always(w->nodes[0], "GET b", points(w, "MOVED", 1));
    fake_server_always(w->nodes[1], "GET b", points(w, "MOVED", 0));
    /* three at once, then a pause of 10, 20, 40 … ms */
    struct answer answer = refused(w, "GET b", 500, 4, 3 * 8);
    assert_answer(&answer, ERR_UNAVAILABLE, "MOVED 3300 127.0.0.1:");
    assert_true(questions(w) - before <= 4 + (clock_mono_ms() - began_ms) / 200);
}

static void what_moved_says_may_be_nonsense(void **state)
{
    static const char *const texts[] = {"-MOVED\\r\\n",
                                        "-MOVED 3300\\r\\n",
                                        "-MOVED x 127.0.0.1:1\\r\\n",
                                        "-MOVED 99999 127.0.0.1:1\\r\\n",
                                        "-MOVED 1 127.0.0.1:0\\r\\n",
                                        "-MOVED -1 127.0.0.1:1\\r\\n",
                                        "-ASK 1 :\\r\\n"};
    struct world *w = connected(state);
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        fake_server_always(w->nodes[0], "GET b", texts[i]);
        struct answer answer = refused(w, "GET b", 100, 1, 8);
        assert_answer(&answer, ERR_UNAVAILABLE, "");
    }
}

static void ask_is_followed_for_this_one_command(void **state)
{
    struct world *w = connected(state);
    struct answer asked = {0}, script = {0}, next = {0};
    tell(&w->f, "GET b", &asked);
    play(w, 0, "EXPECT GET b");
    send_to(w, 0, points(w, "ASK", 2));
    play(w, 2, "EXPECT ASKING\nEXPECT GET b\nSEND +OK\\r\\n+b\\r\\n");
    wait_for(w->f.loop, asked.count);
    assert_answer(&asked, ERR_OK, "b");
    eval(w, "b", &script);
    play(w, 0, "EXPECT " EVALSHA "b x");
    send_to(w, 0, points(w, "ASK", 2));
    play(w, 2, "EXPECT ASKING\nEXPECT " EVAL "b x\nSEND +OK\\r\\n+x\\r\\n");
    wait_for(w->f.loop, script.count);
    assert_answer(&script, ERR_OK, "x");
    tell(&w->f, "GET b", &next);
    play(w, 0, "EXPECT GET b\nSEND +here\\r\\n");
    wait_for(w->f.loop, next.count);
    assert_answer(&next, ERR_OK, "here");
}

/* The write before WAIT names a key of the slot that moves; it goes where the script went. */
static void what_asked_waits_for_replicas_where_it_was_sent(void **state)
{
    struct world *w = *state;
    w->f.conf.wait_replicas = 1;
    w->f.conf.wait_ms = 300;
    w = connected(state);
    struct answer script = {0};
    struct slice key = SLICE_LIT("b"), arg = SLICE_LIT("x");
    struct redis_eval call = {
        .script = &echo, .keys = &key, .args = &arg, .arg_count = 1, .is_durable = true};
    redis_eval(w->f.redis, in_ms(&w->f, 10000), &call, on_answer, &script);
    play(w, 0, "EXPECT " EVALSHA "b x\nEXPECT EVAL ** 1 b\nEXPECT WAIT 1 300");
    send_to(w, 0, points(w, "ASK", 2));
    send_to(w, 0, points(w, "ASK", 2));
    play(w, 0, "SEND :1\\r\\n");
    play(w, 2,
         "EXPECT ASKING\nEXPECT " EVAL "b x\nEXPECT ASKING\nEXPECT EVAL ** 1 b\n"
         "EXPECT WAIT 1 300\nSEND +OK\\r\\n+x\\r\\n+OK\\r\\n:1\\r\\n:1\\r\\n");
    wait_for(w->f.loop, script.count);
    assert_answer(&script, ERR_OK, "x");
}

static void what_is_refused_for_now_is_tried_again(void **state)
{
    static const char *const texts[] = {
        "TRYAGAIN Multiple keys", "CLUSTERDOWN Hash slot not served", "LOADING Redis is loading"};
    struct world *w = connected(state);
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        struct answer good = {0};
        char text[96];
        tell(&w->f, "GET b", &good);
        snprintf(text, sizeof(text), "EXPECT GET b\nSEND -%s\\r\\n\nEXPECT GET b\nSEND +b\\r\\n",
                 texts[i]);
        play(w, 0, text);
        wait_for(w->f.loop, good.count);
        assert_answer(&good, ERR_OK, "b");
        snprintf(text, sizeof(text), "-%s\\r\\n", texts[i]);
        fake_server_always(w->nodes[0], "GET hello", text);
        struct answer late = refused(w, "GET hello", 300, 3, 8);
        assert_answer(&late, ERR_UNAVAILABLE, texts[i]);
    }
}

static void other_errors_are_told_at_once(void **state)
{
    struct world *w = connected(state);
    struct answer script = {0}, oom = {0}, denied = {0};
    tell(&w->f, "GET b", &script);
    tell(&w->f, "SET b 1", &oom);
    tell(&w->f, "DEL b", &denied);
    play(w, 0,
         "EXPECT GET b\nEXPECT SET b 1\nEXPECT DEL b\n"
         "SEND -ERR wrong\\r\\n-OOM command not allowed\\r\\n-NOPERM no\\r\\n");
    wait_for(w->f.loop, denied.count);
    assert_answer(&script, ERR_SCRIPT, "ERR wrong");
    assert_answer(&oom, ERR_UNAVAILABLE, "OOM");
    assert_answer(&denied, ERR_DENIED, "NOPERM");
}

static void a_node_that_dies_is_replaced_by_the_one_that_the_map_names(void **state)
{
    struct world *w = connected(state);
    struct answer lost = {0}, waits = {0}, other = {0};
    tell(&w->f, "INCR b", &lost);
    play(w, 0, "EXPECT INCR b\nREFUSE\nRESET");
    wait_for(w->f.loop, lost.count);
    assert_answer(&lost, ERR_CLOSED, "");
    assert_false(redis_is_connected(w->f.redis));
    unsigned before = questions(w);
    tell(&w->f, "INCR b", &waits);
    tell(&w->f, "INCR a", &other); /* is not held up */
    play(w, 1, "EXPECT INCR a\nSEND :1\\r\\n");
    wait_for(w->f.loop, other.count);
    wait_for(w->f.loop, questions(w) >= before + 3); /* as long as nobody takes its place */
    assert_int_equal(waits.count, 0);
    map_is(w, 2, 1);
    play(w, 2, "EXPECT INCR b\nSEND :2\\r\\n");
    wait_for(w->f.loop, waits.count);
    assert_answer(&waits, ERR_OK, "");
    wait_for(w->f.loop, redis_is_connected(w->f.redis));
}

static void a_node_that_comes_back_gets_what_waited_for_it(void **state)
{
    struct world *w = connected(state);
    struct answer lost = {0}, waits = {0};
    tell(&w->f, "INCR b", &lost);
    play(w, 0, "EXPECT INCR b\nREFUSE\nRESET");
    wait_for(w->f.loop, lost.count);
    tell(&w->f, "INCR b", &waits);
    play(w, 0, "LISTEN\nEXPECT INCR b\nSEND :2\\r\\n");
    wait_for(w->f.loop, waits.count);
    assert_answer(&waits, ERR_OK, "");
}

static void a_dead_master_does_not_cause_a_storm(void **state)
{
    struct world *w = connected(state);
    struct answer lost = {0}, waits[50] = {0};
    tell(&w->f, "INCR b", &lost);
    play(w, 0, "EXPECT INCR b\nREFUSE\nRESET");
    wait_for(w->f.loop, lost.count);
    unsigned before = questions(w);
    for (int i = 0; i < 50; i++) {
        tell_until(&w->f, "INCR b", in_ms(&w->f, 1000), &waits[i]);
    }
    wait_for(w->f.loop, waits[49].count);
    for (int i = 0; i < 50; i++) {
        assert_answer(&waits[i], ERR_CONNECT, "refused");
    }
    assert_true(questions(w) - before <= 5); /* 0, 200, 400, 800 ms */
}

static void a_seed_that_is_away_or_knows_nothing_is_passed_over(void **state)
{
    struct world *w = *state;
    map_is(w, 1, 1);
    play(w, 0, "REFUSE");
    fixture_open(&w->f);
    wait_for(w->f.loop, redis_is_connected(w->f.redis));
    redis_close(w->f.redis);
    play(w, 0, "LISTEN");
    fake_server_always(w->nodes[0], "CLUSTER SLOTS", "*0\\r\\n");
    fixture_open(&w->f);
    wait_for(w->f.loop, redis_is_connected(w->f.redis));
}

static void a_map_that_makes_no_sense_is_not_used(void **state)
{
    static const char *const texts[] = {
        "+OK\\r\\n",
        ":1\\r\\n",
        "*1\\r\\n:1\\r\\n",
        "*1\\r\\n*3\\r\\n:0\\r\\n:16384\\r\\n*2\\r\\n$1\\r\\nh\\r\\n:1\\r\\n",
        "*1\\r\\n*3\\r\\n:5\\r\\n:4\\r\\n*2\\r\\n$1\\r\\nh\\r\\n:1\\r\\n",
        "*1\\r\\n*3\\r\\n:-1\\r\\n:4\\r\\n*2\\r\\n$1\\r\\nh\\r\\n:1\\r\\n",
        "*1\\r\\n*3\\r\\n:0\\r\\n:4\\r\\n*2\\r\\n$1\\r\\nh\\r\\n:70000\\r\\n",
        "*1\\r\\n*2\\r\\n:0\\r\\n:4\\r\\n",
        "*1\\r\\n*3\\r\\n:0\\r\\n:4\\r\\n*0\\r\\n",
    };
    struct world *w = *state;
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        struct answer answer = {0};
        for (int n = 0; n < NODES; n++) {
            fake_server_always(w->nodes[n], "CLUSTER SLOTS", texts[i]);
        }
        fixture_open(&w->f);
        tell_until(&w->f, "GET b", in_ms(&w->f, 100), &answer);
        wait_for(w->f.loop, answer.count);
        assert_answer(&answer, ERR_CONNECT, "it knows of no slots");
        redis_close(w->f.redis);
        w->f.redis = NULL;
        loop_turn(w->f.loop, 0);
    }
}

static void what_will_not_pass_by_itself_is_told_at_once(void **state)
{
    struct world *w = *state;
    struct answer denied = {0}, single = {0};
    for (int i = 0; i < NODES; i++) {
        fake_server_always(w->nodes[i], "CLUSTER SLOTS", "-NOPERM not for you\\r\\n");
    }
    fixture_open(&w->f);
    tell(&w->f, "GET b", &denied);
    wait_for(w->f.loop, denied.count);
    assert_answer(&denied, ERR_DENIED, "the user needs +cluster|slots");
    for (int i = 0; i < NODES; i++) {
        fake_server_always(w->nodes[i], "CLUSTER SLOTS",
                           "-ERR This instance has cluster support disabled\\r\\n");
    }
    tell(&w->f, "GET b", &single);
    wait_for(w->f.loop, single.count);
    assert_true(single.err == ERR_SCRIPT || single.err == ERR_DENIED);
}

static void nobody_there_is_told_at_the_deadline(void **state)
{
    struct world *w = *state;
    struct answer answer = {0};
    play(w, 0, "REFUSE");
    play(w, 1, "REFUSE");
    fixture_open(&w->f);
    tell_until(&w->f, "GET b", in_ms(&w->f, 300), &answer);
    wait_for(w->f.loop, answer.count);
    assert_answer(&answer, ERR_CONNECT, "no map of the cluster from 127.0.0.1:");
    assert_int_equal(redis_round_trips(w->f.redis), 0);
}

static void every_node_gets_the_handshake(void **state)
{
    struct world *w = *state;
    w->f.conf.user = "bob";
    w->f.conf.password = "secret";
    map_is(w, 0, 1);
    fixture_open(&w->f);
    play(w, 0, "EXPECT AUTH bob secret\nSEND +OK\\r\\n");
    play(w, 1, "EXPECT AUTH bob secret\nSEND +OK\\r\\n");
    wait_for(w->f.loop, redis_is_connected(w->f.redis));
}

static void count_connects(void *arg)
{
    ++*(int *)arg;
}

static void masters_can_be_asked_one_by_one(void **state)
{
    struct world *w = *state;
    struct answer answers[3] = {0};
    int connects = 0;
    struct slice info = SLICE_LIT("INFO");
    fixture_open(&w->f);
    redis_on_connect(w->f.redis, count_connects, &connects);
    assert_int_equal(redis_masters(w->f.redis), 0);
    map_is(w, 0, 1);
    wait_for(w->f.loop, redis_is_connected(w->f.redis));
    assert_int_equal(connects, 2);
    assert_int_equal(redis_masters(w->f.redis), 2);
    for (size_t i = 0; i < 3; i++) {
        redis_command_at(w->f.redis, i, in_ms(&w->f, 10000), &info, 1, on_answer, &answers[i]);
        assert_int_equal(answers[i].count, 0);
    }
    for (int i = 0; i < 2; i++) {
        assert_string_equal(redis_master_address(w->f.redis, (size_t)i),
                            fake_server_address(w->nodes[i]));
        play(w, i, i == 0 ? "EXPECT INFO\nSEND +0\\r\\n" : "EXPECT INFO\nREFUSE\nRESET");
    }
    wait_for(w->f.loop, answers[0].count && answers[1].count && answers[2].count);
    assert_answer(&answers[0], ERR_OK, "0");
    assert_answer(&answers[1], ERR_CLOSED, "");
    assert_answer(&answers[2], ERR_CONNECT, "fewer masters");
}

static void a_node_that_serves_nothing_any_more_is_left(void **state)
{
    struct world *w = connected(state);
    struct answer answer = {0};
    map_is(w, 2, 1);
    tell(&w->f, "GET b", &answer);
    play(w, 0, "EXPECT GET b");
    send_to(w, 0, points(w, "MOVED", 2));
    play(w, 2, "EXPECT GET b\nSEND +b\\r\\n");
    play(w, 0, "GONE");
    assert_answer(&answer, ERR_OK, "b");
}

static void callbacks_never_come_inside_the_call(void **state)
{
    struct world *w = *state;
    struct answer waits = {0}, busy = {0}, late = {0};
    w->f.conf.queue_max = 2;
    fixture_open(&w->f);
    tell_until(&w->f, "GET b", in_ms(&w->f, 0), &late);
    tell(&w->f, "GET b", &waits);
    tell(&w->f, "GET b", &busy);
    assert_int_equal(late.count + waits.count + busy.count, 0);
    loop_turn(w->f.loop, 0);
    assert_answer(&late, ERR_TIMEOUT, "had passed");
    assert_answer(&busy, ERR_BUSY, "too many");
    map_is(w, 0, 0);
    play(w, 0, "EXPECT GET b\nSEND +b\\r\\n");
    wait_for(w->f.loop, waits.count);
    assert_answer(&waits, ERR_OK, "b");
}

static void close_cancels_everything_once(void **state)
{
    struct world *w = connected(state);
    struct answer sent = {0}, refused = {0}, late = {0}, lost = {0}, stray = {0};
    fake_server_always(w->nodes[0], "GET b", "-TRYAGAIN later\\r\\n");
    tell(&w->f, "GET a", &sent);
    play(w, 1, "EXPECT GET a");
    tell(&w->f, "GET b", &refused);
    wait_for(w->f.loop, fake_server_count(w->nodes[0], "GET b") >= 3);
    tell(&w->f, "INCR b", &lost);
    play(w, 0, "EXPECT INCR b\nREFUSE\nRESET");
    wait_for(w->f.loop, lost.count);
    tell(&w->f, "INCR b", &stray);
    tell_until(&w->f, "GET b", in_ms(&w->f, 0), &late);
    redis_close(w->f.redis);
    w->f.redis = NULL;
    assert_int_equal(sent.count + refused.count + late.count + stray.count, 0);
    loop_turn(w->f.loop, 0);
    assert_answer(&sent, ERR_CANCELLED, "");
    assert_answer(&refused, ERR_CANCELLED, "");
    assert_answer(&late, ERR_CANCELLED, "");
    assert_answer(&stray, ERR_CANCELLED, "");
}

struct closer {
    struct world *w;
    struct answer answer;
};

static void close_in_callback(void *arg, const struct redis_result *result)
{
    struct closer *closer = arg;
    on_answer(&closer->answer, result);
    if (closer->w->f.redis) {
        redis_close(closer->w->f.redis);
        closer->w->f.redis = NULL;
    }
}

static void close_inside_a_reply_and_inside_a_deadline(void **state)
{
    struct slice words[] = {SLICE_LIT("GET"), SLICE_LIT("b")};
    for (int i = 0; i < 2; i++) {
        struct world *w = *state;
        struct closer closer = {.w = w};
        struct answer other = {0};
        map_is(w, 0, 1);
        fixture_open(&w->f);
        if (i == 0) {
            wait_for(w->f.loop, redis_is_connected(w->f.redis));
            fake_server_always(w->nodes[0], "GET b", "+b\\r\\n");
        } else {
            fake_server_always(w->nodes[0], "GET b", "-TRYAGAIN later\\r\\n");
        }
        redis_command(w->f.redis, in_ms(&w->f, 60), words, 2, close_in_callback, &closer);
        tell(&w->f, "GET foo", &other);
        wait_for(w->f.loop, closer.answer.count && other.count);
        assert_int_equal(closer.answer.count, 1);
        assert_answer(&other, ERR_CANCELLED, "");
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(each_command_goes_to_the_master_of_its_slot),
        TEST(what_has_no_key_goes_to_one_that_is_connected),
        TEST(commands_wait_until_the_map_is_known),
        TEST(each_node_learns_a_script_by_itself),
        TEST(moved_is_followed_at_once_and_the_map_is_read_again),
        TEST(moved_without_a_host_means_the_same_host),
        TEST(nodes_that_send_us_in_circles_end_at_the_deadline),
        TEST(what_moved_says_may_be_nonsense),
        TEST(ask_is_followed_for_this_one_command),
        TEST(what_asked_waits_for_replicas_where_it_was_sent),
        TEST(what_is_refused_for_now_is_tried_again),
        TEST(other_errors_are_told_at_once),
        TEST(a_node_that_dies_is_replaced_by_the_one_that_the_map_names),
        TEST(a_node_that_comes_back_gets_what_waited_for_it),
        TEST(a_dead_master_does_not_cause_a_storm),
        TEST(a_seed_that_is_away_or_knows_nothing_is_passed_over),
        TEST(a_map_that_makes_no_sense_is_not_used),
        TEST(what_will_not_pass_by_itself_is_told_at_once),
        TEST(nobody_there_is_told_at_the_deadline),
        TEST(every_node_gets_the_handshake),
        TEST(masters_can_be_asked_one_by_one),
        TEST(a_node_that_serves_nothing_any_more_is_left),
        TEST(callbacks_never_come_inside_the_call),
        TEST(close_cancels_everything_once),
        TEST(close_inside_a_reply_and_inside_a_deadline),
    };
    log_set_level(LOG_ERROR);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
