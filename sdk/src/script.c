/* Scripts: gate, outbox and body, and their SHA-1. */
#include "base/check.h"
#include "base/mem.h"
#include "saga_internal.h"

#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>

extern const char barrier_gate[]; /* lua/barrier/gate.lua */
extern const size_t barrier_gate_len;
extern const char barrier_outbox[]; /* lua/barrier/outbox.lua */
extern const size_t barrier_outbox_len;

/* As SCRIPT LOAD answers it. */
static void sha1_hex(struct slice text, char out[41])
{
    static const char digits[] = "0123456789abcdef";
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned int len = 0;
    int done = EVP_Digest(text.ptr, text.len, digest, &len, EVP_sha1(), NULL);
    check(done == 1 && len == 20);
    for (size_t i = 0; i < len; i++) {
        out[2 * i] = digits[digest[i] >> 4];
        out[2 * i + 1] = digits[digest[i] & 15];
    }
    out[40] = '\0';
}

static struct saga_script *script_make(const char *name, struct slice body, bool gated, bool outbox)
{
    struct saga_script *script = mem_new(struct saga_script);
    struct buf text = {0};
    if (gated) {
        buf_add(&text, barrier_gate, barrier_gate_len);
        buf_add_str(&text, "\n");
    }
    if (outbox) {
        buf_add(&text, barrier_outbox, barrier_outbox_len);
        buf_add_str(&text, "\n");
    }
    buf_add_slice(&text, body);
    sha1_hex(buf_slice(&text), script->sha1);
    script->gated = gated;
    script->script = (struct redis_script){
        .name = mem_strdup(name),
        .text = mem_dup(text.data, text.len),
        .len = text.len,
        .sha1 = script->sha1,
    };
    buf_fini(&text);
    return script;
}

struct saga_script *saga_script_new(const char *name, const char *body, size_t len)
{
    return script_make(name, slice_make(body, len), true, false);
}

struct saga_script *saga_script_new_plain(const char *name, const char *body, size_t len)
{
    return script_make(name, slice_make(body, len), false, false);
}

struct saga_script *saga_script_new_outbox(const char *name, const char *body, size_t len)
{
    return script_make(name, slice_make(body, len), true, true);
}

struct saga_script *saga_script_new_plain_outbox(const char *name, const char *body, size_t len)
{
    return script_make(name, slice_make(body, len), false, true);
}

void saga_script_free(struct saga_script *script)
{
    if (script) {
        free((char *)(uintptr_t)script->script.name);
        free((char *)(uintptr_t)script->script.text);
        free(script);
    }
}

const char *saga_script_text(const struct saga_script *script)
{
    return script->script.text;
}

const char *saga_script_sha1(const struct saga_script *script)
{
    return script->sha1;
}
