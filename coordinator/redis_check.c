#include "coordinator/redis_check.h"

#include "base/check.h"
#include "base/log.h"
#include "base/mem.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    VERSION_MAJOR_MIN = 7,
    STREAM_NODE_BYTES_MAX = 1024,
};

enum err durability_parse(struct slice name, enum durability *out)
{
    static const char *const names[] = {"memory", "everysec", "always"};
    for (int i = 0; i < 3; i++) {
        if (slice_eq_str(name, names[i])) {
            *out = (enum durability)i;
            return ERR_OK;
        }
    }
    return ERR_INVALID;
}

static const char *durability_name(enum durability durability)
{
    switch (durability) {
    case DURABILITY_MEMORY: return "memory";
    case DURABILITY_EVERYSEC: return "everysec";
    case DURABILITY_ALWAYS: return "always";
    }
    unreachable("durability");
}

/* ---- facts ---- */

static void facts_clear(struct redis_facts *facts)
{
    *facts = (struct redis_facts){
        .aof_enabled = -1, .maxmemory_bytes = -1, .stream_node_bytes = -1, .replicas = -1};
}

/* The value of "name:value\r\n", or the empty slice. */
static struct slice info_value(struct slice info, const char *name)
{
    size_t name_len = strlen(name);
    const char *at = info.ptr, *end = info.ptr + info.len;
    while (at && at < end) {
        const char *stop = memchr(at, '\n', (size_t)(end - at));
        size_t len = (size_t)((stop ? stop : end) - at);
        if (len > name_len && at[name_len] == ':' && memcmp(at, name, name_len) == 0) {
            struct slice value = slice_make(at + name_len + 1, len - name_len - 1);
            if (value.len > 0 && value.ptr[value.len - 1] == '\r') {
                value.len--;
            }
            return value;
        }
        at = stop ? stop + 1 : end;
    }
    return slice_str(NULL);
}

static void keep_text(char *out, size_t size, struct slice text)
{
    if (text.len > 0) {
        (void)slice_printable(text, out, size);
    }
}

static void keep_number(int64_t *out, struct slice text)
{
    int64_t number;
    if (slice_to_int64(text, &number)) {
        *out = number;
    }
}

/* "slave0:ip=…,port=…,state=online,offset=…": one that is loading yet is no help. */
static int count_replicas(struct slice info)
{
    static const char mark[] = ",state=online,";
    int count = 0;
    const char *at = info.ptr, *end = info.ptr + info.len;
    while (at && (at = memmem(at, (size_t)(end - at), mark, sizeof(mark) - 1))) {
        at += sizeof(mark) - 1;
        count++;
    }
    return count;
}

void redis_facts_add_info(struct redis_facts *facts, struct slice info)
{
    struct slice aof = info_value(info, "aof_enabled");
    keep_text(facts->version, sizeof(facts->version), info_value(info, "redis_version"));
    keep_text(facts->maxmemory_policy, sizeof(facts->maxmemory_policy),
              info_value(info, "maxmemory_policy"));
    keep_number(&facts->maxmemory_bytes, info_value(info, "maxmemory"));
    if (aof.len > 0) {
        facts->aof_enabled = slice_eq_str(aof, "1");
    }
    facts->replicas = count_replicas(info);
    facts->is_replica = slice_eq_str(info_value(info, "role"), "slave");
    facts->has_aof_failed = slice_eq_str(info_value(info, "aof_last_write_status"), "err");
    facts->is_loading = slice_eq_str(info_value(info, "loading"), "1");
}

static void facts_add_config(struct redis_facts *facts, const struct redis_value *reply)
{
    const struct redis_value *fsync = redis_value_field(reply, "appendfsync");
    const struct redis_value *rest = redis_value_field(reply, "no-appendfsync-on-rewrite");
    const struct redis_value *bytes = redis_value_field(reply, "stream-node-max-bytes");
    if (fsync) {
        keep_text(facts->appendfsync, sizeof(facts->appendfsync), redis_value_str(fsync));
    }
    if (rest) {
        facts->has_fsync_rest = slice_eq_str(redis_value_str(rest), "yes");
    }
    if (bytes) {
        keep_number(&facts->stream_node_bytes, redis_value_str(bytes));
    }
}

/* ---- rules ---- */

static void judge_version(const struct redis_facts *facts, struct redis_verdict *verdict)
{
    struct slice version = slice_str(facts->version);
    const char *point = strchr(facts->version, '.');
    int64_t major = 0;
    if (version.len == 0) {
        return; /* INFO is hidden: warned of elsewhere */
    }
    version.len = point ? (size_t)(point - facts->version) : version.len;
    if (!slice_to_int64(version, &major) || major < VERSION_MAJOR_MIN) {
        buf_printf(&verdict->refusal,
                   "Redis %s is too old: install Redis %d.0 or newer, or point `redis` at one\n",
                   facts->version, VERSION_MAJOR_MIN);
    }
}

static void judge_fsync(const struct redis_facts *facts, enum durability durability,
                        struct redis_verdict *verdict)
{
    const char *fsync = facts->appendfsync;
    bool too_weak = strcmp(fsync, "no") == 0 ||
                    (durability == DURABILITY_ALWAYS && strcmp(fsync, "everysec") == 0);
    if (too_weak) {
        buf_printf(&verdict->refusal,
                   "appendfsync %s is weaker than durability = %s: run `CONFIG SET appendfsync %s` "
                   "and put `appendfsync %s` into redis.conf, or set a weaker durability\n",
                   fsync, durability_name(durability), durability_name(durability),
                   durability_name(durability));
    }
    if (facts->has_fsync_rest) {
        buf_printf(durability == DURABILITY_ALWAYS ? &verdict->refusal : &verdict->warnings,
                   "no-appendfsync-on-rewrite yes: while Redis rewrites its append-only file "
                   "nothing is fsynced, so a power cut loses all of that time; run `CONFIG SET "
                   "no-appendfsync-on-rewrite no` and put it into redis.conf\n");
    }
}

static void judge_aof(const struct redis_facts *facts, enum durability durability,
                      struct redis_verdict *verdict)
{
    if (durability == DURABILITY_MEMORY) {
        buf_add_str(&verdict->warnings,
                    "durability = memory: when Redis dies, acknowledged transactions may be lost; "
                    "set durability = everysec or always to keep them\n");
        return;
    }
    if (facts->aof_enabled == 0) {
        buf_printf(&verdict->refusal,
                   "durability = %s needs an append-only file, but appendonly is no: run "
                   "`CONFIG SET appendonly yes` and put `appendonly yes` into redis.conf, or set "
                   "durability = memory\n",
                   durability_name(durability));
        return;
    }
    judge_fsync(facts, durability, verdict);
    if (facts->has_aof_failed) {
        buf_add_str(
            &verdict->warnings,
            "the last write to the append-only file has failed: make room on its disk, then "
            "run `BGREWRITEAOF` before Redis is restarted, for the file may be damaged\n");
    }
}

static void judge_memory(const struct redis_facts *facts, struct redis_verdict *verdict)
{
    const char *policy = facts->maxmemory_policy;
    if (policy[0] == '\0' || strcmp(policy, "noeviction") == 0) {
        return;
    }
    if (facts->maxmemory_bytes != 0) {
        buf_printf(&verdict->refusal,
                   "maxmemory-policy %s lets Redis throw transactions away when memory is full: "
                   "run `CONFIG SET maxmemory-policy noeviction` and put it into redis.conf\n",
                   policy);
    } else {
        buf_printf(&verdict->warnings,
                   "maxmemory-policy is %s: harmless while maxmemory is 0, but set "
                   "`maxmemory-policy noeviction` before anybody gives it a limit\n",
                   policy);
    }
}

static void judge_rest(const struct redis_facts *facts, enum durability durability,
                       struct redis_verdict *verdict)
{
    if (facts->stream_node_bytes == 0 || facts->stream_node_bytes > STREAM_NODE_BYTES_MAX) {
        buf_printf(&verdict->warnings,
                   "stream-node-max-bytes is %" PRId64
                   ": each transaction with a longer history takes up to 4 KB for it; run "
                   "`CONFIG SET stream-node-max-bytes 256`\n",
                   facts->stream_node_bytes);
    }
    if (facts->is_replica) {
        buf_add_str(&verdict->warnings, "this Redis is a replica and refuses writes: point `redis` "
                                        "at its master\n");
    }
    if (facts->info_hidden) {
        buf_add_str(&verdict->warnings,
                    "INFO is not permitted, so version, append-only file and eviction cannot be "
                    "checked: allow the user +info\n");
    }
    if (facts->config_hidden) {
        buf_printf(&verdict->warnings,
                   "CONFIG GET is not permitted, so it cannot be checked whether appendfsync is "
                   "as strong as durability = %s: allow the user +config|get, or make sure of it\n",
                   durability_name(durability));
    }
}

/* They may come yet. */
static enum err judge_replicas(const struct redis_facts *facts, int wanted,
                               struct redis_verdict *verdict)
{
    if (facts->replicas < 0 || facts->replicas >= wanted) {
        return ERR_OK;
    }
    buf_printf(&verdict->refusal,
               "wait_replicas = %d, but only %d replicas are connected: start more of them, or set "
               "wait_replicas = %d\n",
               wanted, facts->replicas, facts->replicas);
    return ERR_UNAVAILABLE;
}

void redis_facts_judge(const struct redis_facts *facts, struct redis_promise promise,
                       struct redis_verdict *verdict)
{
    if (facts->is_loading) { /* what INFO says then of the append-only file is not so */
        buf_add_str(&verdict->refusal, "cannot look at Redis: it is loading its data\n");
        verdict->err = ERR_UNAVAILABLE;
        return;
    }
    judge_version(facts, verdict);
    judge_aof(facts, promise.durability, verdict);
    judge_memory(facts, verdict);
    judge_rest(facts, promise.durability, verdict);
    bool is_unfit = verdict->refusal.len > 0;
    enum err replicas = judge_replicas(facts, promise.wait_replicas, verdict);
    verdict->err = is_unfit ? ERR_CONFLICT : replicas;
}

void redis_verdict_fini(struct redis_verdict *verdict)
{
    buf_fini(&verdict->refusal);
    buf_fini(&verdict->warnings);
}

static void log_lines(enum log_level level, const struct buf *lines)
{
    const char *at = lines->data, *end = at ? at + lines->len : NULL;
    while (at && at < end) {
        const char *stop = memchr(at, '\n', (size_t)(end - at));
        int len = (int)((stop ? stop : end) - at);
        log_line(level, "redis", "msg=\"%.*s\"", len, at);
        at = stop ? stop + 1 : end;
    }
}

void redis_verdict_log(const struct redis_verdict *verdict)
{
    log_lines(LOG_ERROR, &verdict->refusal);
    log_lines(LOG_WARN, &verdict->warnings);
}

/* ---- asking ---- */

struct check_job;

/* One master. */
struct check_server {
    struct check_job *job;
    struct redis_facts facts;
    char address[64]; /* "" when there is only this one */
};

struct check_job {
    struct redis *redis;
    int64_t deadline_ms;
    struct redis_promise promise;
    redis_check_cb cb;
    void *arg;
    struct check_server *servers;
    size_t count;
    enum err err; /* a master did not answer: with this */
    struct reason why;
    struct redis_verdict verdict;
    bool is_loading; /* one of them: no verdict yet */
    size_t waiting;
};

static void job_fail(struct check_job *job, const struct redis_result *reply)
{
    if (job->err == ERR_OK) {
        job->err = reason_set(&job->why, reply->err, "cannot look at Redis: %s\n", reply->message);
    }
}

/* Adds the lines to `out`, each with the address in front when there are several. */
static void lines_add(struct buf *out, const struct check_server *server, const struct buf *lines)
{
    const char *at = lines->data, *end = at ? at + lines->len : NULL;
    while (at && at < end) {
        const char *stop = memchr(at, '\n', (size_t)(end - at));
        int len = (int)((stop ? stop : end) - at);
        buf_printf(out, "%s%s%.*s\n", server->address, server->address[0] ? ": " : "", len, at);
        at = stop ? stop + 1 : end;
    }
}

static void server_judge(struct check_server *server)
{
    struct redis_verdict one = {.err = ERR_OK};
    struct redis_verdict *all = &server->job->verdict;
    server->job->is_loading = server->job->is_loading || server->facts.is_loading;
    redis_facts_judge(&server->facts, server->job->promise, &one);
    if (all->err == ERR_OK || one.err == ERR_CONFLICT) { /* the worst of them */
        all->err = one.err;
    }
    lines_add(&all->refusal, server, &one.refusal);
    lines_add(&all->warnings, server, &one.warnings);
    redis_verdict_fini(&one);
}

/* What one master must not be is said although another one is silent. */
static void job_end(struct check_job *job)
{
    if (--job->waiting > 0) {
        return;
    }
    for (size_t i = 0; i < job->count; i++) {
        server_judge(&job->servers[i]);
    }
    job->verdict.judged =
        (job->err == ERR_OK && !job->is_loading) || job->verdict.err == ERR_CONFLICT;
    if (job->verdict.err == ERR_OK && job->err != ERR_OK) {
        job->verdict.err = job->err;
        buf_add_str(&job->verdict.refusal, job->why.text);
    }
    job->cb(job->arg, &job->verdict);
    redis_verdict_fini(&job->verdict);
    free(job->servers);
    free(job);
}

/* An ACL answers NOPERM; services that have removed the command answer an error (SCRIPT). A wrong
 * or missing password is another matter: it must be told as what it is. */
static bool is_hidden(const struct redis_result *reply)
{
    return reply->err == ERR_SCRIPT ||
           (reply->err == ERR_DENIED && strstr(reply->message, "NOPERM"));
}

static void on_info(void *arg, const struct redis_result *reply)
{
    struct check_server *server = arg;
    if (reply->err == ERR_OK) {
        redis_facts_add_info(&server->facts, redis_value_str(reply->value));
    } else if (is_hidden(reply)) {
        server->facts.info_hidden = true;
    } else {
        job_fail(server->job, reply);
    }
    job_end(server->job);
}

static void on_config(void *arg, const struct redis_result *reply)
{
    struct check_server *server = arg;
    if (reply->err == ERR_OK) {
        facts_add_config(&server->facts, reply->value);
    } else if (is_hidden(reply)) {
        server->facts.config_hidden = true;
    } else {
        job_fail(server->job, reply);
    }
    job_end(server->job);
}

static void masters_ask(struct check_job *job)
{
    static const struct slice info[] = {SLICE_LIT("INFO")};
    static const struct slice config[] = {
        SLICE_LIT("CONFIG"), SLICE_LIT("GET"), SLICE_LIT("appendfsync"),
        SLICE_LIT("no-appendfsync-on-rewrite"), SLICE_LIT("stream-node-max-bytes")};
    job->count = redis_masters(job->redis);
    job->servers = mem_zalloc(job->count * sizeof(*job->servers));
    job->waiting = 2 * job->count;
    for (size_t i = 0; i < job->count; i++) {
        struct check_server *server = &job->servers[i];
        server->job = job;
        facts_clear(&server->facts);
        if (job->count > 1) {
            snprintf(server->address, sizeof(server->address), "%s",
                     redis_master_address(job->redis, i));
        }
        redis_command_at(job->redis, i, job->deadline_ms, info, 1, on_info, server);
        redis_command_at(job->redis, i, job->deadline_ms, config,
                         sizeof(config) / sizeof(config[0]), on_config, server);
    }
}

/* Somebody has answered, so the masters are known. */
static void on_ping(void *arg, const struct redis_result *reply)
{
    struct check_job *job = arg;
    if (reply->err == ERR_OK && redis_masters(job->redis) > 0) {
        masters_ask(job);
    } else {
        job_fail(job, reply);
        job->waiting = 1;
        job_end(job);
    }
}

void redis_check(struct redis *redis, int64_t deadline_ms, struct redis_promise promise,
                 redis_check_cb cb, void *arg)
{
    static const struct slice ping[] = {SLICE_LIT("PING")};
    struct check_job *job = mem_new(struct check_job);
    job->redis = redis;
    job->deadline_ms = deadline_ms;
    job->promise = promise;
    job->cb = cb;
    job->arg = arg;
    if (redis_masters(redis) > 0) {
        masters_ask(job);
    } else {
        redis_command(redis, deadline_ms, ping, 1, on_ping, job);
    }
}
