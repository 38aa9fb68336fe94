#include "bench/bench.h"

#include "base/check.h"
#include "base/conf.h"
#include "base/log.h"
#include "base/mem.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { EXIT_BAD_BOOKS = 1, EXIT_USAGE = 2, EXIT_STACK = 3, TOTAL_MAX = 1000000, SLOTS_MAX = 10000 };

static const char usage[] =
    "sagabench - load on a running stack, then the books are checked\n"
    "\n"
    "Usage\n"
    "  sagabench [--mode saga|tcc|msg|outbox] -n N -c C --env D/env [options]\n"
    "\n"
    "Options\n"
    "  --mode MODE     saga: create an order and take its piece (the default); tcc: two branches\n"
    "                  whose tries the coordinator calls; msg: two branches, without a prepare.\n"
    "                  The branches of tcc and msg count behind their barriers in the stack's "
    "Redis.\n"
    "                  outbox: a script leaves a msg in the outbox stream of the order service\n"
    "  -n N            transactions, 1 to 1000000 (default 10000)\n"
    "  -c C            how many at a time, 1 to 10000 (default 128)\n"
    "  --env FILE      addresses, as scripts/stack.sh writes them to D/env\n"
    "  --tcp ADDRESS   the coordinator, host:port, instead of --env (needs --noop)\n"
    "  --noop          call participants that do nothing, in this process\n"
    "  --http          submit and call over HTTP, with the API of DTM (needs --noop and --env)\n"
    "  --retry MS      retry interval of the transactions, instead of the coordinator's default\n"
    "  --settle S      seconds to wait for transactions that are still running (default 60)\n"
    "  --json          one JSON object instead of text\n"
    "  --quiet         no progress bar\n"
    "  --version       which one this is\n"
    "  --help          this text\n"
    "\n"
    "Exit codes: 0 all ended and the books balance, 1 not so, 2 wrong usage, 3 the stack does not\n"
    "answer.\n";

static bool read_number(const char *name, const char *text, int64_t max, int64_t *out)
{
    if (slice_to_int64(slice_str(text), out) && *out >= 1 && *out <= max) {
        return true;
    }
    fprintf(stderr, "sagabench: %s: '%s' is not a number from 1 to %lld\n", name, text,
            (long long)max);
    return false;
}

enum bench_option {
    OPTION_ENV = 256,
    OPTION_RETRY,
    OPTION_TCP,
    OPTION_NOOP,
    OPTION_MODE,
    OPTION_HTTP,
    OPTION_SETTLE,
    OPTION_JSON,
    OPTION_VERSION,
    OPTION_QUIET
};

static const struct option long_options[] = {
    {"env", required_argument, NULL, OPTION_ENV},
    {"tcp", required_argument, NULL, OPTION_TCP},
    {"noop", no_argument, NULL, OPTION_NOOP},
    {"mode", required_argument, NULL, OPTION_MODE},
    {"http", no_argument, NULL, OPTION_HTTP},
    {"retry", required_argument, NULL, OPTION_RETRY},
    {"settle", required_argument, NULL, OPTION_SETTLE},
    {"json", no_argument, NULL, OPTION_JSON},
    {"quiet", no_argument, NULL, OPTION_QUIET},
    {"version", no_argument, NULL, OPTION_VERSION},
    {"help", no_argument, NULL, 'h'},
    {NULL, 0, NULL, 0},
};

const char *bench_mode_name(enum bench_mode mode)
{
    switch (mode) {
    case BENCH_SAGA: return "saga";
    case BENCH_TCC: return "tcc";
    case BENCH_MSG: return "msg";
    case BENCH_OUTBOX: return "outbox";
    }
    unreachable("bench_mode");
}

bool bench_is_hosted(const struct bench *bench)
{
    return bench->noop || bench->mode != BENCH_SAGA;
}

static bool read_mode(const char *text, enum bench_mode *out)
{
    for (int i = BENCH_SAGA; i <= BENCH_OUTBOX; i++) {
        if (strcmp(text, bench_mode_name((enum bench_mode)i)) == 0) {
            *out = (enum bench_mode)i;
            return true;
        }
    }
    fprintf(stderr, "sagabench: --mode: '%s' is not saga, tcc, msg or outbox\n", text);
    return false;
}

/* Returns −1 to go on, or an exit code. */
static int read_option(struct bench *bench, int option)
{
    int64_t seconds;
    switch (option) {
    case 'n': return read_number("-n", optarg, TOTAL_MAX, &bench->total) ? -1 : EXIT_USAGE;
    case 'c': return read_number("-c", optarg, SLOTS_MAX, &bench->concurrency) ? -1 : EXIT_USAGE;
    case OPTION_ENV: return bench_env_read(&bench->env, optarg) ? -1 : EXIT_USAGE;
    case OPTION_TCP:
        bench->env.tcp[0] = mem_strdup(optarg);
        bench->env.coordinators = 1;
        return -1;
    case OPTION_NOOP: bench->noop = true; return -1;
    case OPTION_MODE: return read_mode(optarg, &bench->mode) ? -1 : EXIT_USAGE;
    case OPTION_HTTP: bench->over_http = true; return -1;
    case OPTION_SETTLE:
        if (!read_number("--settle", optarg, 86400, &seconds)) {
            return EXIT_USAGE;
        }
        bench->settle_ms = seconds * 1000;
        return -1;
    case OPTION_RETRY:
        return read_number("--retry", optarg, 600000, &bench->retry_ms) ? -1 : EXIT_USAGE;
    case OPTION_JSON: bench->json = true; return -1;
    case OPTION_QUIET: bench->quiet = true; return -1;
    case OPTION_VERSION: printf("sagabench %s\n", conf_version()); return 0;
    case 'h': fputs(usage, stdout); return 0;
    default: fputs("sagabench: see --help\n", stderr); return EXIT_USAGE;
    }
}

static int read_options(struct bench *bench, int argc, char **argv)
{
    int option;
    while ((option = getopt_long(argc, argv, "n:c:h", long_options, NULL)) != -1) {
        int code = read_option(bench, option);
        if (code >= 0) {
            return code;
        }
    }
    if (optind < argc || bench->env.coordinators == 0) {
        fputs("sagabench: which stack? --env D/env, or --tcp ADDRESS --noop; see --help\n", stderr);
        return EXIT_USAGE;
    }
    if (bench->over_http && (!bench->noop || !bench->env.http[0])) {
        fputs("sagabench: --http needs --noop, and --env for the address (SAGA_HTTP)\n", stderr);
        return EXIT_USAGE;
    }
    if (bench->over_http && bench->mode == BENCH_OUTBOX) {
        fputs("sagabench: --http: a message is left in the outbox by a script, not over HTTP\n",
              stderr);
        return EXIT_USAGE;
    }
    if (bench->concurrency > bench->total) {
        bench->concurrency = bench->total;
    }
    return -1;
}

static void bench_alloc(struct bench *bench)
{
    size_t total = (size_t)bench->total;
    bench->loop = loop_new();
    bench->latency_us = mem_alloc(total * sizeof(int64_t));
    bench->late = mem_alloc(total * sizeof(int64_t));
    bench->gids = mem_alloc(total * BENCH_GID_SIZE);
}

static void bench_free(struct bench *bench)
{
    for (int i = 0; i < bench->env.coordinators; i++) {
        if (bench->sagas[i]) {
            saga_close(bench->sagas[i]);
        }
    }
    bench_http_close(bench);
    bench_host_close(bench);
    loop_turn(bench->loop, 0);
    free(bench->slots); /* nothing names them any more */
    loop_free(bench->loop);
    free(bench->latency_us);
    free(bench->late);
    free(bench->gids);
    bench_env_fini(&bench->env);
}

int main(int argc, char **argv)
{
    struct bench bench = {.total = 10000,
                          .concurrency = 128,
                          .settle_ms = 60000,
                          .quiet = isatty(STDERR_FILENO) != 1,
                          .redis_bytes = -1};
    int code = read_options(&bench, argc, argv);
    if (code >= 0) {
        bench_env_fini(&bench.env);
        return code;
    }
    log_set_level(LOG_ERROR);
    bench_alloc(&bench);
    saga_gid(bench.run);
    code = EXIT_STACK;
    if (bench_setup(&bench)) {
        bench_costs_before(&bench);
        bench_run(&bench);
        if (bench_books(&bench)) {
            bench_costs_after(&bench);
            bench_report(&bench);
            code = bench_is_good(&bench) ? 0 : EXIT_BAD_BOOKS;
        }
    }
    bench_free(&bench);
    return code;
}
