#include "bench/bench.h"

#include "base/mem.h"
#include "redis/redis.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void set(char **slot, const char *value)
{
    free(*slot);
    *slot = mem_strdup(value);
}

/* "SAGA_TCP" is the first, "SAGA_TCP_2" the second; −1 when the name is not one of `base`. */
static int coordinator_index(const char *name, const char *base)
{
    size_t len = strlen(base);
    if (strncmp(name, base, len) != 0) {
        return -1;
    }
    if (name[len] == '\0') {
        return 0;
    }
    bool numbered =
        name[len] == '_' && name[len + 1] >= '2' && name[len + 1] <= '9' && !name[len + 2];
    return numbered ? name[len + 1] - '1' : -1;
}

static void assign(struct bench_env *env, const char *name, const char *value)
{
    const struct {
        const char *name;
        char **slot;
    } plain[] = {{"ORDER_RPC", &env->order_rpc},
                 {"PRODUCT_RPC", &env->product_rpc},
                 {"REDIS", &env->redis},
                 {"REDIS_USER", &env->redis_user},
                 {"REDIS_PASSWORD", &env->redis_password}};
    for (size_t i = 0; i < sizeof(plain) / sizeof(plain[0]); i++) {
        if (strcmp(name, plain[i].name) == 0) {
            set(plain[i].slot, value);
        }
    }
    int tcp = coordinator_index(name, "SAGA_TCP");
    int http = coordinator_index(name, "SAGA_HTTP");
    if (tcp >= 0) {
        set(&env->tcp[tcp], value);
        env->coordinators = tcp + 1 > env->coordinators ? tcp + 1 : env->coordinators;
    }
    if (http >= 0) {
        set(&env->http[http], value);
    }
}

/* A line of shell assignment, NAME=VALUE or NAME='VALUE'. */
static void read_line(struct bench_env *env, char *line)
{
    line[strcspn(line, "\n")] = '\0';
    char *equals = strchr(line, '=');
    if (!equals) {
        return;
    }
    *equals = '\0';
    char *value = equals + 1;
    size_t len = strlen(value);
    if (len >= 2 && value[0] == '\'' && value[len - 1] == '\'') {
        value[len - 1] = '\0';
        value++;
    }
    assign(env, line, value);
}

bool bench_env_read(struct bench_env *env, const char *path)
{
    char line[1024];
    FILE *file = fopen(path, "re");
    if (!file) {
        fprintf(stderr, "sagabench: --env %s: %s; scripts/stack.sh up --dir D writes D/env\n", path,
                strerror(errno));
        return false;
    }
    while (fgets(line, sizeof(line), file)) {
        read_line(env, line);
    }
    fclose(file);
    struct reason reason;
    if (env->redis && redis_address_check(env->redis, 0, &reason)) {
        fprintf(stderr, "sagabench: --env %s: REDIS=%s\n", path, reason.text);
        return false;
    }
    if (env->coordinators == 0) {
        fprintf(stderr, "sagabench: --env %s: there is no SAGA_TCP in it\n", path);
        return false;
    }
    return true;
}

void bench_env_fini(struct bench_env *env)
{
    for (int i = 0; i < BENCH_COORDINATORS_MAX; i++) {
        free(env->tcp[i]);
        free(env->http[i]);
    }
    free(env->order_rpc);
    free(env->product_rpc);
    free(env->redis);
    free(env->redis_user);
    free(env->redis_password);
}
