/* Any bytes as an HTTP message. The first byte chooses: request, answer, or a url. A message must
 * be understood the same way whether it comes at once or byte by byte. */
#include "fuzz.h"

#include "base/buf.h"
#include "base/check.h"
#include "base/mem.h"
#include "net/http_request.h"

#include <stdlib.h>
#include <string.h>

enum { BODY_MAX = 4096 };

/* Feeds the bytes in pieces of `step`; the end of the body is where `*left` begins. */
static enum err feed(const struct http_head *head, struct slice in, size_t step,
                     struct http_body *body, size_t *left)
{
    enum err err = http_body_init(body, head, BODY_MAX);
    size_t have = 0;
    size_t used = 0;
    while (!err) {
        have = in.len - have > step ? have + step : in.len;
        char *exact = mem_dup(in.ptr + used, have - used); /* asan sees an over-read */
        struct slice part = slice_make(exact, have - used);
        err = http_body_feed(body, &part);
        used = have - part.len;
        free(exact);
        if (err != ERR_UNAVAILABLE) {
            break;
        }
        err = have < in.len ? ERR_OK : ERR_UNAVAILABLE;
    }
    *left = in.len - used;
    return err;
}

static void check_body(const struct http_head *head, struct slice in)
{
    struct http_body whole = {0};
    struct http_body pieces = {0};
    size_t whole_left = 0;
    size_t pieces_left = 0;
    enum err a = feed(head, in, in.len ? in.len : 1, &whole, &whole_left);
    enum err b = feed(head, in, 1, &pieces, &pieces_left);
    check((a == ERR_OK) == (b == ERR_OK) && (a == ERR_UNAVAILABLE) == (b == ERR_UNAVAILABLE));
    if (a == ERR_OK) {
        check(slice_eq(buf_slice(&whole.bytes), buf_slice(&pieces.bytes)));
        check(whole_left == pieces_left);
    }
    check(whole.bytes.len <= BODY_MAX && pieces.bytes.len <= BODY_MAX);
    http_body_fini(&whole);
    http_body_fini(&pieces);
}

/* Length of the head, 0 when there is none; byte by byte it must be the same. */
static size_t find_head(struct slice in)
{
    size_t scanned = 0;
    size_t whole = 0;
    enum err err = http_head_find(in, &scanned, &whole);
    size_t pieces = 0;
    enum err by_byte = ERR_UNAVAILABLE;
    scanned = 0;
    for (size_t n = 1; n <= in.len && by_byte == ERR_UNAVAILABLE; n++) {
        by_byte = http_head_find(slice_make(in.ptr, n), &scanned, &pieces);
    }
    check(err == by_byte && (err || whole == pieces));
    return err ? 0 : whole;
}

static void check_head(const struct http_head *head)
{
    check(head->header_count <= HTTP_HEADERS_MAX);
    for (size_t i = 0; i < head->header_count; i++) {
        const struct http_header *header = &head->headers[i];
        check(strlen(header->name.ptr) == header->name.len);
        check(strlen(header->value.ptr) == header->value.len);
        check(http_head_get(head, header->name.ptr));
    }
}

static void fuzz_request(struct slice in, size_t head_len)
{
    struct http_request *request = NULL;
    const char *why = NULL;
    int status = http_request_new(slice_make(in.ptr, head_len), BODY_MAX, "id-1", &request, &why);
    check(status ? status >= 400 && !request && why : request != NULL);
    if (status) {
        return;
    }
    check_head(&request->head);
    check(strlen(http_request_path(request)) == request->path.len);
    for (size_t i = 0; i < request->query_count; i++) {
        check(http_request_query(request, request->query[i].name.ptr));
    }
    check_body(&request->head, slice_make(in.ptr + head_len, in.len - head_len));
    http_request_free(request);
}

static void fuzz_answer(struct slice in, size_t head_len, bool to_head)
{
    char *bytes = mem_dup(in.ptr, head_len);
    struct http_head head;
    const char *why = NULL;
    if (http_response_parse(bytes, head_len, to_head, &head, &why) == 0) {
        check(head.status >= 100 && head.status <= 999);
        check_head(&head);
        check_body(&head, slice_make(in.ptr + head_len, in.len - head_len));
        http_head_fini(&head);
    } else {
        check(why);
    }
    free(bytes);
}

/* A url that is taken must make a request that our own server takes. */
static void fuzz_url(struct slice in)
{
    struct buf url = {0};
    struct buf text = {0};
    buf_add_slice(&url, in);
    http_url_add_query(&url, "q", in);
    struct http_url parsed;
    struct http_call call = {.method = HTTP_GET, .url = url.data};
    if (!memchr(url.data, 0, url.len) && http_url_parse(url.data, &parsed, NULL) == ERR_OK) {
        check(http_call_format(&call, &parsed, &text, NULL) == ERR_OK);
        check(find_head(buf_slice(&text)) == text.len);
        fuzz_request(buf_slice(&text), text.len);
    }
    buf_fini(&url);
    buf_fini(&text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0) {
        return 0;
    }
    struct slice in = slice_make(data + 1, size - 1);
    if (data[0] == 'U') {
        fuzz_url(in);
        return 0;
    }
    size_t head_len = find_head(in);
    if (head_len > 0 && data[0] == 'Q') {
        fuzz_request(in, head_len);
    } else if (head_len > 0) {
        fuzz_answer(in, head_len, data[0] == 'H');
    }
    return 0;
}
