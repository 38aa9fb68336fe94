/* History, pages, backlog, trimming and the operator's commands against a real server. */
#include "store_fixture.h"

#include "base/mem.h"

struct read_seen {
    int count;
    enum store_status status;
    char text[2048]; /* op result note; … */
    bool ascending;
    size_t lines;
    bool has_txn, history_short;
    int partition;
};

static void on_record(void *arg, const struct archive_record *record)
{
    struct read_seen *seen = arg;
    struct buf text = {0};
    int64_t last_ms = 0;
    seen->count++;
    seen->status = record->status;
    seen->has_txn = record->txn != NULL;
    seen->lines = record->line_count;
    seen->partition = record->partition;
    seen->history_short = record->history_short;
    seen->ascending = true;
    for (size_t i = 0; i < record->line_count; i++) {
        const struct archive_line *line = &record->lines[i];
        if (i < 20) {
            buf_printf(&text, "%.*s,%.*s,%d,%.*s;", SLICE_ARG(line->op), SLICE_ARG(line->result),
                       (int)line->duration_ms, SLICE_ARG(line->note));
        }
        seen->ascending = seen->ascending && line->time_ms >= last_ms && line->time_ms > 0;
        last_ms = line->time_ms;
    }
    snprintf(seen->text, sizeof(seen->text), "%s", text.data ? text.data : "");
    buf_fini(&text);
}

static struct read_seen read_record(struct fixture *f, const char *gid)
{
    struct read_seen seen = {0};
    struct archive *archive = store_redis_archive(f->a.store);
    archive->ops->read(archive, slice_str(gid), on_record, &seen);
    assert_int_equal(seen.count, 0);
    wait_for(f->loop, seen.count > 0);
    assert_true(seen.ascending);
    return seen;
}

static void step(struct fixture *f, struct txn *txn, enum txn_status status, const char *op,
                 const char *result, const char *note)
{
    enum txn_status expect = txn->status;
    struct store_note notes[] = {{slice_str(op), slice_str(result), 12, slice_str(note)}};
    txn->status = status;
    txn->revision++;
    struct store_update change = {
        .txn = txn, .expect = expect, .due = {.in_ms = 1000}, .notes = notes, .note_count = 1};
    assert_int_equal(update(f, &f->a, &change).status, STORE_OK);
}

static void test_history_of_an_unfinished_one(void **state)
{
    struct fixture *f = *state;
    struct txn *txn = saga_new("g");
    (void)create(f, &f->a, txn, 1000);
    assert_string_equal(read_record(f, "g").text, "submitted,,0,;");
    step(f, txn, TXN_SUBMITTED, "01.action", "ERROR", "reset\nby peer");
    struct read_seen seen = read_record(f, "g");
    assert_true(seen.has_txn);
    assert_true(seen.history_short);
    assert_int_equal(seen.partition, redis_crc16(slice_str("g")) % PARTITIONS);
    assert_string_equal(seen.text, "submitted,,0,;01.action,ERROR,12,reset?by peer;");
    txn_free(txn);
}

static void test_short_history_of_a_finished_one(void **state)
{
    struct fixture *f = *state;
    struct txn *txn = saga_new("g");
    (void)create(f, &f->a, txn, 1000);
    step(f, txn, TXN_ABORTING, "02.action", "FAILURE", "no: stock, at all");
    step(f, txn, TXN_ABORTING, "01.compensate", "SUCCESS", "");
    step(f, txn, TXN_FAILED, "failed", "", "in the end");
    assert_string_equal(test_redis_ask(f->server, "KEYS *log*"), "");
    struct read_seen seen = read_record(f, "g");
    assert_int_equal(seen.status, STORE_OK);
    assert_true(seen.history_short);
    assert_string_equal(seen.text, "submitted,,0,;02.action,FAILURE,12,no: stock, at all;"
                                   "01.compensate,SUCCESS,12,;failed,,0,in the end;");
    txn_free(txn);
}

static void test_long_notes_are_cut_and_long_histories_bounded(void **state)
{
    struct fixture *f = *state;
    struct txn *txn = saga_new("g");
    char note[400];
    memset(note, 'n', sizeof(note) - 1);
    note[sizeof(note) - 1] = '\0';
    (void)create(f, &f->a, txn, 1000);
    for (int i = 0; i < 1200; i++) {
        step(f, txn, TXN_SUBMITTED, "01.action", "ERROR", i == 1199 ? "last" : note);
    }
    struct read_seen seen = read_record(f, "g");
    assert_int_equal(seen.lines, ARCHIVE_HISTORY_MAX);
    assert_false(seen.history_short);
    assert_int_equal(strspn(seen.text + strlen("01.action,ERROR,12,"), "n"), 256);
    txn_free(txn);
}

static void test_unknown_and_damaged(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(read_record(f, "nobody").status, STORE_NOT_FOUND);
    saga_store(f, "g", 1000);
    test_redis_ask(f->server, "HSET saga:{%d}:tx:g lease x",
                   redis_crc16(slice_str("g")) % PARTITIONS);
    struct read_seen seen = read_record(f, "g");
    assert_int_equal(seen.status, STORE_REFUSED);
    assert_false(seen.has_txn);
}

/* The script is not known to the server: its answer comes after that of the stream. */
static void test_answers_in_any_order(void **state)
{
    struct fixture *f = *state;
    saga_store(f, "g", 1000);
    test_redis_ask(f->server, "SCRIPT FLUSH");
    assert_string_equal(read_record(f, "g").text, "submitted,,0,;");
}

enum { MANY_READS = 200, READS_AT_ONCE = 32 };

static void read_many(struct fixture *f, struct read_seen *seen)
{
    struct archive *archive = store_redis_archive(f->a.store);
    for (int i = 0; i < MANY_READS; i++) {
        archive->ops->read(archive, slice_str("g"), on_record, &seen[i]);
    }
}

static int count_seen(const struct read_seen *seen)
{
    int count = 0;
    for (int i = 0; i < MANY_READS; i++) {
        count += seen[i].count;
    }
    return count;
}

/* Their answers stand between a transaction and its own. */
static void test_many_reads_do_not_hold_up_transactions(void **state)
{
    struct fixture *f = *state;
    static struct read_seen seen[MANY_READS];
    memset(seen, 0, sizeof(seen));
    saga_store(f, "g", 1000);
    read_many(f, seen);
    assert_int_equal(load(f, &f->a, slice_str("x")).status, STORE_NOT_FOUND);
    assert_in_range(count_seen(seen), READS_AT_ONCE, MANY_READS / 2);
    wait_for(f->loop, count_seen(seen) == MANY_READS);
    for (int i = 0; i < MANY_READS; i++) {
        assert_int_equal(seen[i].status, STORE_OK);
    }
}

static void test_reads_that_wait_too_long_are_refused(void **state)
{
    struct fixture *f = *state;
    static struct read_seen seen[MANY_READS];
    memset(seen, 0, sizeof(seen));
    make_impatient(f);
    test_redis_pause(f->server);
    read_many(f, seen);
    wait_for(f->loop, count_seen(seen) == MANY_READS);
    test_redis_resume(f->server);
    assert_int_equal(seen[0].status, STORE_UNKNOWN); /* nobody knows that it is only a read */
    assert_int_equal(seen[MANY_READS - 1].status, STORE_REFUSED);
}

static void test_reads_that_wait_are_forgotten_with_the_store(void **state)
{
    struct fixture *f = *state;
    static struct read_seen seen[MANY_READS];
    memset(seen, 0, sizeof(seen));
    read_many(f, seen);
    side_close(f, &f->a); /* asan looks for what is left */
    assert_int_equal(count_seen(seen), READS_AT_ONCE);
}

/* ---- pages ---- */

enum { LISTED_MAX = 400 };

struct page_seen {
    int count, pages;
    enum store_status status;
    char gids[LISTED_MAX][16];
    int listed;
    char next[ARCHIVE_POSITION_MAX];
    size_t size;
};

static void on_page(void *arg, const struct archive_page *page)
{
    struct page_seen *seen = arg;
    seen->count++;
    seen->pages++;
    seen->status = page->status;
    seen->size = page->count;
    for (size_t i = 0; i < page->count; i++) {
        assert_true(seen->listed < LISTED_MAX);
        snprintf(seen->gids[seen->listed++], sizeof(seen->gids[0]), "%.*s",
                 SLICE_ARG(page->txns[i]->gid));
    }
    assert_true(page->next_position.len < sizeof(seen->next));
    snprintf(seen->next, sizeof(seen->next), "%.*s", SLICE_ARG(page->next_position));
}

static void list(struct fixture *f, const struct archive_filter *filter, struct page_seen *seen)
{
    struct archive *archive = store_redis_archive(f->a.store);
    seen->count = 0;
    assert_int_equal(archive->ops->list(archive, filter, on_page, seen), ERR_OK);
    assert_int_equal(seen->count, 0);
    wait_for(f->loop, seen->count > 0);
}

/* All pages, one after the other. */
static void list_all(struct fixture *f, struct archive_filter filter, struct page_seen *seen)
{
    char position[ARCHIVE_POSITION_MAX];
    *seen = (struct page_seen){0};
    do {
        snprintf(position, sizeof(position), "%s", seen->next);
        filter.position = slice_str(position);
        list(f, &filter, seen);
        assert_int_equal(seen->status, STORE_OK);
        assert_true(seen->size <= (size_t)filter.limit);
        assert_true(seen->pages < 1000);
    } while (seen->next[0]);
}

/* Many share a millisecond, and every third one is failed. */
static void fill(struct fixture *f, int count)
{
    for (int i = 0; i < count; i++) {
        char gid[16];
        snprintf(gid, sizeof(gid), "g%03d", i);
        struct txn *txn = saga_new(gid);
        txn->created_ms = 1000 + i / 50;
        txn->status = i % 3 == 0 ? TXN_FAILED : TXN_SUBMITTED;
        assert_int_equal(create(f, &f->a, txn, 1000).status, STORE_OK);
        txn_free(txn);
    }
}

/* Of the greatest length, in one millisecond, and they differ in the last byte only. */
static void test_pages_of_the_longest_gids(void **state)
{
    struct fixture *f = *state;
    struct page_seen seen;
    char gid[TXN_GID_CHARS_MAX * 4 + 1] = "";
    for (int i = 0; i < TXN_GID_CHARS_MAX; i++) {
        memcpy(gid + (size_t)i * 4, "\xf0\x9d\x84\x9e", 5);
    }
    for (int i = 0; i < 5; i++) {
        gid[sizeof(gid) - 2] = (char)(0x90 + i);
        struct txn *txn = saga_new(gid);
        txn->created_ms = 1000;
        assert_int_equal(create(f, &f->a, txn, 1000).status, STORE_OK);
        txn_free(txn);
    }
    list_all(f, (struct archive_filter){.limit = 1}, &seen);
    assert_int_equal(seen.listed, 5);
    list_all(f, (struct archive_filter){.limit = 1, .gid = slice_str(gid)}, &seen);
    assert_int_equal(seen.listed, 1);
    assert_int_equal(seen.pages, 1);
}

static void test_pages_give_each_once_newest_first(void **state)
{
    struct fixture *f = *state;
    struct page_seen seen;
    fill(f, 203);
    for (int limit = 1; limit <= 1000; limit = limit * 3 + 4) {
        list_all(f, (struct archive_filter){.limit = limit}, &seen);
        assert_int_equal(seen.listed, 203);
        for (int i = 0; i < seen.listed; i++) {
            char gid[16];
            snprintf(gid, sizeof(gid), "g%03d", 202 - i);
            assert_string_equal(seen.gids[i], gid);
        }
    }
}

static void test_filters(void **state)
{
    struct fixture *f = *state;
    struct page_seen seen;
    fill(f, 203);
    list_all(f, (struct archive_filter){.limit = 7, .has_status = true, .status = TXN_FAILED},
             &seen);
    assert_int_equal(seen.listed, 68);
    list_all(f, (struct archive_filter){.limit = 1, .has_status = true, .status = TXN_SUCCEED},
             &seen);
    assert_int_equal(seen.listed, 0);
    assert_true(seen.pages > 10 && seen.pages < 30); /* one call does not look at everything */
    list_all(f,
             (struct archive_filter){.limit = 30, .created_from_ms = 1001, .created_to_ms = 1002},
             &seen);
    assert_int_equal(seen.listed, 100);
    assert_string_equal(seen.gids[0], "g149");
    assert_string_equal(seen.gids[99], "g050");
}

/* Those that are parked, by the time of that, whatever their age; a damaged one is not among them.
 */
static void test_parked_ones(void **state)
{
    struct fixture *f = *state;
    struct page_seen seen;
    fill(f, 60);
    for (int i = 0; i < 7; i++) {
        char gid[16];
        snprintf(gid, sizeof(gid), "p%d", i);
        struct txn *txn = saga_new(gid);
        txn->created_ms = 9000 - i;
        assert_int_equal(create(f, &f->a, txn, 1000).status, STORE_OK);
        txn->revision = txn->attempts = 1;
        txn->parked_ms = 5000 + i / 2; /* some at the same time */
        txn->branches[0].ops[OP_ACTION].parked = PARK_ATTEMPTS;
        struct store_update parking = {
            .txn = txn, .expect = TXN_SUBMITTED, .due = {.release = true, .park = true}};
        assert_int_equal(update(f, &f->a, &parking).status, STORE_OK);
        txn_free(txn);
    }
    test_redis_ask(f->server, "ZADD saga:{%d}:parked 5001 g001",
                   redis_crc16(slice_str("g001")) % PARTITIONS);
    for (int limit = 1; limit < 20; limit += 3) {
        list_all(f, (struct archive_filter){.limit = limit, .parked = true}, &seen);
        assert_int_equal(seen.listed, 7);
        for (int i = 0; i < seen.listed; i++) {
            char gid[16];
            snprintf(gid, sizeof(gid), "p%d", 6 - i);
            assert_string_equal(seen.gids[i], gid);
        }
    }
    list_all(f, (struct archive_filter){.limit = 9, .parked = true, .created_from_ms = 8998},
             &seen);
    assert_int_equal(seen.listed, 3);
    list_all(f, (struct archive_filter){.limit = 9, .parked = true, .gid = SLICE_LIT("p3")}, &seen);
    assert_int_equal(seen.listed, 1);
    list_all(f, (struct archive_filter){.limit = 9, .parked = true, .gid = SLICE_LIT("g003")},
             &seen);
    assert_int_equal(seen.listed, 0);
}

static void test_empty_list_and_wrong_positions(void **state)
{
    struct fixture *f = *state;
    struct page_seen seen;
    list_all(f, (struct archive_filter){.limit = 10}, &seen);
    assert_int_equal(seen.pages, 1);
    assert_int_equal(seen.listed, 0);
    static const char *const wrong[] = {"x", "!!!!", "YWJj", "OmE=", "LTE6YQ=="};
    struct archive *archive = store_redis_archive(f->a.store);
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        struct archive_filter filter = {.limit = 1, .position = slice_str(wrong[i])};
        assert_int_equal(archive->ops->list(archive, &filter, on_page, &seen), ERR_INVALID);
    }
}

static void test_gone_and_damaged_ones_are_left_out(void **state)
{
    struct fixture *f = *state;
    struct page_seen seen;
    fill(f, 10);
    int p = redis_crc16(slice_str("g004")) % PARTITIONS;
    test_redis_ask(f->server, "DEL saga:{%d}:tx:g004", p);
    p = redis_crc16(slice_str("g005")) % PARTITIONS;
    test_redis_ask(f->server, "HSET saga:{%d}:tx:g005 lease x", p);
    list_all(f, (struct archive_filter){.limit = 3}, &seen);
    assert_int_equal(seen.listed, 8);
}

static void test_list_of_a_silent_server_fails(void **state)
{
    struct fixture *f = *state;
    struct page_seen seen = {0};
    make_impatient(f);
    test_redis_pause(f->server);
    list(f, &(struct archive_filter){.limit = 10}, &seen);
    test_redis_resume(f->server);
    assert_int_equal(seen.status, STORE_UNKNOWN);
    assert_string_equal(seen.next, "");
}

/* ---- backlog, trimming, commands ---- */

static void test_backlog(void **state)
{
    struct fixture *f = *state;
    for (int i = 0; i < 30; i++) {
        char gid[16];
        snprintf(gid, sizeof(gid), "g%d", i);
        saga_store(f, gid, i < 10 ? -1 : 60000);
    }
    struct archive_backlog backlog = count_backlog(f);
    assert_int_equal(backlog.status, STORE_OK);
    assert_int_equal(backlog.due, 30);
    assert_int_equal(backlog.overdue, 10);
}

struct trim_seen {
    int count;
    enum err err;
    int64_t forgotten;
    bool more;
};

static void on_trim(void *arg, enum err err, int64_t forgotten, bool more)
{
    struct trim_seen *seen = arg;
    seen->count++;
    seen->err = err;
    seen->forgotten += forgotten;
    seen->more = more;
}

static void test_trim_forgets_what_expired_and_keeps_the_rest(void **state)
{
    struct fixture *f = *state;
    struct trim_seen seen = {0};
    assert_int_equal(load(f, &f->a, slice_str("x")).status, STORE_NOT_FOUND); /* knows the time */
    int64_t old_ms = store_redis_now_ms(f->a.store) - RETENTION_MS - 1000;
    for (int i = 0, n = 0; i < 500; n++) { /* every fifth is still there, two are young */
        char gid[16];
        snprintf(gid, sizeof(gid), "g%d", n);
        if (redis_crc16(slice_str(gid)) % PARTITIONS != 0) {
            continue;
        }
        if (i % 5 == 0) {
            test_redis_ask(f->server, "HSET saga:{0}:tx:%s a b", gid);
        }
        int64_t created_ms = i >= 498 ? old_ms + 60000 : old_ms;
        test_redis_ask(f->server, "ZADD saga:{0}:recent %lld %s", (long long)created_ms, gid);
        i++;
    }
    int steps = 0;
    do {
        int before = seen.count;
        store_redis_trim(f->a.store, 0, on_trim, &seen);
        wait_for(f->loop, seen.count > before);
        assert_int_equal(seen.err, ERR_OK);
        steps++;
    } while (seen.more);
    assert_int_equal(seen.forgotten, 398);
    assert_true(steps >= 7 && steps <= 9);
    assert_string_equal(test_redis_ask(f->server, "ZCARD saga:{0}:recent"), "102");
}

/* Until the step says that there is nothing left to do at once. */
static int64_t trim(struct fixture *f, int partition)
{
    struct trim_seen seen = {0};
    do {
        int before = seen.count;
        store_redis_trim(f->a.store, partition, on_trim, &seen);
        wait_for(f->loop, seen.count > before);
        assert_int_equal(seen.err, ERR_OK);
    } while (seen.more);
    return seen.forgotten;
}

/* Damages the record, and has it looked at. */
static void look_at_damaged(struct fixture *f, const char *gid)
{
    test_redis_ask(f->server, "HSET saga:{%d}:tx:%s created x",
                   redis_crc16(slice_str(gid)) % PARTITIONS, gid);
    assert_int_equal(load(f, &f->b, slice_str(gid)).status, STORE_REFUSED);
}

static void end(struct fixture *f, const char *gid)
{
    struct txn *txn = saga_new(gid);
    txn->status = TXN_FAILED;
    txn->revision = 1;
    struct store_update change = {.txn = txn, .expect = TXN_SUBMITTED};
    assert_int_equal(update(f, &f->a, &change).status, STORE_OK);
    txn_free(txn);
}

static void test_a_damaged_one_that_has_ended_waits_for_nobody(void **state)
{
    struct fixture *f = *state;
    saga_store(f, "g", 60000);
    end(f, "g");
    look_at_damaged(f, "g");
    assert_int_equal(load(f, &f->b, slice_str("x")).status, STORE_NOT_FOUND); /* all is done */
    assert_int_equal(count_backlog(f).parked, 0);
}

/* Its owner never noticed, or somebody has deleted it: it is counted no longer. */
static void test_trim_forgets_parked_ones_that_have_ended_or_are_gone(void **state)
{
    struct fixture *f = *state;
    static const char *const gids[] = {"ends", "deleted", "waits"};
    for (size_t i = 0; i < 3; i++) {
        saga_store(f, gids[i], 60000);
        look_at_damaged(f, gids[i]);
    }
    assert_int_equal(count_backlog(f).parked, 3);
    end(f, "ends");
    test_redis_ask(f->server, "DEL saga:{%d}:tx:deleted",
                   redis_crc16(slice_str("deleted")) % PARTITIONS);
    int64_t forgotten = 0;
    for (int p = 0; p < PARTITIONS; p++) {
        forgotten += trim(f, p);
    }
    assert_int_equal(forgotten, 2);
    assert_int_equal(count_backlog(f).parked, 1);
}

/* More than one step looks at, and most of them stay. */
static void test_trim_comes_to_every_parked_one(void **state)
{
    struct fixture *f = *state;
    for (int n = 0, parked = 0; parked < 300; n++) {
        char gid[16];
        snprintf(gid, sizeof(gid), "g%d", n);
        if (redis_crc16(slice_str(gid)) % PARTITIONS != 0) {
            continue;
        }
        test_redis_ask(f->server, "ZADD saga:{0}:parked %d %s", parked, gid);
        if (++parked % 50 != 0) {
            test_redis_ask(f->server, "HSET saga:{0}:tx:%s status submitted", gid);
        }
    }
    int64_t forgotten = 0;
    for (int step = 0; step < 10 && forgotten < 6; step++) {
        forgotten += trim(f, 0);
    }
    assert_int_equal(forgotten, 6);
    assert_string_equal(test_redis_ask(f->server, "ZCARD saga:{0}:parked"), "294");
}

static void test_commands_are_quoted(void **state)
{
    struct fixture *f = *state;
    struct buf out = {0};
    store_redis_add_commands(f->a.store, slice_str("a'b"), &out);
    char wanted[256];
    int p = redis_crc16(slice_str("a'b")) % PARTITIONS;
    snprintf(wanted, sizeof(wanted),
             "redis-cli HGETALL 'saga:{%d}:tx:a'\\''b'\n"
             "redis-cli XRANGE 'saga:{%d}:log:a'\\''b' - +\n"
             "redis-cli ZSCORE 'saga:{%d}:due' 'a'\\''b'\n",
             p, p, p);
    assert_string_equal(out.data, wanted);
    buf_fini(&out);
}

/* ---- reset ---- */

static int64_t reset_moved;
static size_t reset_owned;
static int reset_answers;
static bool reset_remaining;

static void on_reset(void *arg, const struct archive_reset *reset)
{
    (void)arg;
    assert_int_equal(reset->status, STORE_OK);
    reset_answers++;
    reset_moved = reset->moved;
    reset_owned = reset->owned_count;
    reset_remaining = reset->remaining;
    for (size_t i = 0; i < reset->owned_count; i++) {
        assert_true(slice_has_prefix(reset->owned[i], "g"));
    }
}

static void reset_due(struct fixture *f, int64_t later_ms, int limit)
{
    struct archive *archive = store_redis_archive(f->a.store);
    reset_answers = 0;
    archive->ops->reset(archive, later_ms, limit, on_reset, NULL);
    wait_for(f->loop, reset_answers == 1);
}

static void test_reset_moves_what_nobody_owns(void **state)
{
    struct fixture *f = *state;
    const int count = 300;
    for (int i = 0; i < count; i++) {
        char gid[16];
        snprintf(gid, sizeof(gid), "g%03d", i);
        struct txn *txn = saga_new(gid);
        struct store_due due = {.in_ms = 3600000, .release = i % 3 > 0};
        struct seen seen = {0};
        f->a.port->ops->create(f->a.port, txn, due, on_store, &seen);
        wait_for(f->loop, seen.count == 1);
        txn_free(txn);
    }
    reset_due(f, 7200000, 1000);
    assert_int_equal(reset_moved, 0);
    reset_due(f, 1800000, 150);
    assert_int_equal(reset_moved, 150);
    assert_true(reset_remaining);
    reset_due(f, 1800000, 150);
    assert_int_equal(reset_moved, 50);
    assert_int_equal(reset_owned, 100);
    assert_false(reset_remaining);
    reset_due(f, 1800000, 3);
    assert_int_equal(reset_moved, 0);
    assert_int_equal(reset_owned, 3);
}

#define store_test(fn) cmocka_unit_test_setup_teardown(fn, fixture_setup, fixture_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        store_test(test_history_of_an_unfinished_one),
        store_test(test_short_history_of_a_finished_one),
        store_test(test_long_notes_are_cut_and_long_histories_bounded),
        store_test(test_unknown_and_damaged),
        store_test(test_answers_in_any_order),
        store_test(test_many_reads_do_not_hold_up_transactions),
        store_test(test_reads_that_wait_too_long_are_refused),
        store_test(test_reads_that_wait_are_forgotten_with_the_store),
        store_test(test_pages_give_each_once_newest_first),
        store_test(test_pages_of_the_longest_gids),
        store_test(test_reset_moves_what_nobody_owns),
        store_test(test_filters),
        store_test(test_parked_ones),
        store_test(test_empty_list_and_wrong_positions),
        store_test(test_gone_and_damaged_ones_are_left_out),
        store_test(test_list_of_a_silent_server_fails),
        store_test(test_backlog),
        store_test(test_trim_forgets_what_expired_and_keeps_the_rest),
        store_test(test_a_damaged_one_that_has_ended_waits_for_nobody),
        store_test(test_trim_forgets_parked_ones_that_have_ended_or_are_gone),
        store_test(test_trim_comes_to_every_parked_one),
        store_test(test_commands_are_quoted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
