/* Any bytes as an entry of an outbox stream: refused with a reason, or a spec within all limits.
 * Fields are what stands between NUL bytes. */
#include "fuzz.h"

#include "base/check.h"
#include "coordinator/outbox_entry.h"
#include "coordinator/topic_book.h"

#include <string.h>

enum { FIELDS_MAX = 512 };

static size_t split(const uint8_t *data, size_t size, struct slice fields[FIELDS_MAX])
{
    size_t count = 0, from = 0;
    for (size_t i = 0; i <= size && count < FIELDS_MAX; i++) {
        if (i == size || data[i] == 0) {
            fields[count++] = slice_make(data + from, i - from);
            from = i + 1;
        }
    }
    return count;
}

static void check_limits(const struct txn_spec *spec)
{
    size_t payloads = 0;
    check(utf8_is_valid(spec->gid) && !utf8_has_control(spec->gid));
    check(utf8_length(spec->gid) >= 1 && utf8_length(spec->gid) <= TXN_GID_CHARS_MAX);
    check(slice_eq_str(spec->trans_type, "msg"));
    check(spec->options.delay_ms >= 0 && spec->options.delay_ms <= TXN_TIME_MAX_MS);
    check(spec->options.header_count <= TXN_HEADERS_MAX);
    check(spec->step_count >= 1 && spec->step_count <= TXN_BRANCHES_MAX);
    for (size_t i = 0; i < spec->step_count; i++) {
        check(spec->steps[i].urls[OP_ACTION].len > 0);
        check(spec->steps[i].payload.len <= TXN_PAYLOAD_MAX);
        payloads += spec->steps[i].payload.len;
    }
    check(payloads <= TXN_PAYLOADS_MAX);
}

/* Two topics, as the coordinators have read them. */
static const struct topic_book *book_get(void)
{
    static struct topic_book *book;
    const struct slice fields[] = {
        SLICE_LIT("version"), SLICE_LIT("1-1"),
        SLICE_LIT("t:paid"),  SLICE_LIT("1 1 1\nhttp://a/x \ntcp://b/c.D/E remark"),
        SLICE_LIT("t:none"),  SLICE_LIT("1 1 1")};
    struct slice damaged;
    if (!book) {
        book = topic_book_new(fields, sizeof(fields) / sizeof(fields[0]), &damaged);
    }
    return book;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct outbox_entry entry;
    struct slice fields[FIELDS_MAX];
    struct arena arena = {0};
    struct reason reason = {""};
    enum err err = outbox_entry_parse(fields, split(data, size, fields), &entry, &reason);
    if (!err && topics_are_named(&entry.spec)) {
        err = topics_expand(book_get(), &entry.spec, &arena, &reason);
    }
    if (!err) {
        err = txn_spec_check(&entry.spec, &reason);
    }
    if (err) {
        check(reason.text[0] && (err == ERR_INVALID || err == ERR_LIMIT || err == ERR_NOT_FOUND));
    } else {
        check_limits(&entry.spec);
        txn_free(txn_new(&entry.spec)); /* what the engine does with it */
    }
    arena_fini(&arena);
    return 0;
}
