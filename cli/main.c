#include "cli/cli.h"

#include "base/conf.h"
#include "base/log.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum cli_option {
    OPTION_HTTP = 256,
    OPTION_JSON,
    OPTION_WAIT,
    OPTION_STATUS,
    OPTION_TYPE,
    OPTION_REASON,
    OPTION_GID,
    OPTION_URL,
    OPTION_LIMIT,
    OPTION_PARKED,
    OPTION_ALL_PARKED,
    OPTION_BRANCH,
    OPTION_OP,
    OPTION_AS,
    OPTION_VERSION,
};

static const struct option long_options[] = {
    {"http", required_argument, NULL, OPTION_HTTP},
    {"json", no_argument, NULL, OPTION_JSON},
    {"wait", no_argument, NULL, OPTION_WAIT},
    {"status", required_argument, NULL, OPTION_STATUS},
    {"type", required_argument, NULL, OPTION_TYPE},
    {"reason", required_argument, NULL, OPTION_REASON},
    {"gid", required_argument, NULL, OPTION_GID},
    {"url", required_argument, NULL, OPTION_URL},
    {"limit", required_argument, NULL, OPTION_LIMIT},
    {"parked", no_argument, NULL, OPTION_PARKED},
    {"all-parked", no_argument, NULL, OPTION_ALL_PARKED},
    {"branch", required_argument, NULL, OPTION_BRANCH},
    {"op", required_argument, NULL, OPTION_OP},
    {"as", required_argument, NULL, OPTION_AS},
    {"version", no_argument, NULL, OPTION_VERSION},
    {"help", no_argument, NULL, 'h'},
    {NULL, 0, NULL, 0},
};

static void print_help(void)
{
    printf("sagactl - look at and act on the transactions of sagad\n\n"
           "Usage\n  sagactl COMMAND [ARGUMENT] [options]\n\nCommands\n");
    for (const struct cli_command *command = cli_commands; command->name; command++) {
        printf("  %-11s %-5s  %s\n", command->name, command->argument ? command->argument : "",
               command->help);
    }
    printf("\nOptions\n"
           "  --http URL      the coordinator (environment SAGA_HTTP; default "
           "http://127.0.0.1:36789)\n"
           "  --json          the server's JSON instead of text\n"
           "  --gid GID       submit, prepare, register: for a file without one (of the first two\n"
           "                  a missing gid is made)\n"
           "  --wait          submit: watch it to its end\n"
           "  --status S      list: only prepared, submitted, aborting, succeed or failed\n"
           "  --type T        list: only of this type\n"
           "  --limit N       list: at most N (default 20)\n"
           "  --parked        list: only what waits for an operator, the last one first\n"
           "  --all-parked    retry: all that wait for an operator\n"
           "  --branch ID, --op OP, --as succeed\n"
           "                  resolve: which op was done by hand, \"--branch 02 --op compensate\"\n"
           "  --url URL       subscribe, unsubscribe: of the one who gets the messages\n"
           "  --reason TEXT   abort, resolve: why, kept with the transaction; subscribe: a\n"
           "                  remark\n"
           "  --version, --help\n\n"
           "The environment variable SAGA_TOKEN holds the token, when the coordinator wants one.\n"
           "Exit codes: 0 done, 1 the transaction failed or is not there, 2 wrong usage, 3 the\n"
           "coordinator does not answer or refuses.\n");
}

static bool read_limit(const char *text, int64_t *out)
{
    if (slice_to_int64(slice_str(text), out) && *out >= 1 && *out <= 1000) {
        return true;
    }
    fprintf(stderr, "sagactl: --limit: '%s' is not a number from 1 to 1000\n", text);
    return false;
}

/* Returns −1 to go on, or an exit code. */
static int read_option(struct cli *cli, int option)
{
    switch (option) {
    case OPTION_HTTP: cli->http = optarg; return -1;
    case OPTION_JSON: cli->json = true; return -1;
    case OPTION_WAIT: cli->wait = true; return -1;
    case OPTION_STATUS: cli->status = optarg; return -1;
    case OPTION_TYPE: cli->type = optarg; return -1;
    case OPTION_REASON: cli->reason = optarg; return -1;
    case OPTION_GID: cli->gid = optarg; return -1;
    case OPTION_URL: cli->url = optarg; return -1;
    case OPTION_PARKED: cli->parked = true; return -1;
    case OPTION_ALL_PARKED: cli->all_parked = true; return -1;
    case OPTION_BRANCH: cli->branch = optarg; return -1;
    case OPTION_OP: cli->op = optarg; return -1;
    case OPTION_AS: cli->as = optarg; return -1;
    case OPTION_LIMIT: return read_limit(optarg, &cli->limit) ? -1 : CLI_USAGE;
    case OPTION_VERSION: printf("sagactl %s\n", conf_version()); return CLI_OK;
    case 'h': print_help(); return CLI_OK;
    default: fputs("sagactl: see --help\n", stderr); return CLI_USAGE;
    }
}

static const struct cli_command *find_command(const char *name)
{
    for (const struct cli_command *command = cli_commands; command->name; command++) {
        if (strcmp(command->name, name) == 0) {
            return command;
        }
    }
    fprintf(stderr, "sagactl: there is no command '%s'; see --help\n", name);
    return NULL;
}

static int run(struct cli *cli, int argc, char **argv)
{
    const struct cli_command *command = argc > 0 ? find_command(argv[0]) : NULL;
    if (argc == 0) {
        print_help();
        return CLI_USAGE;
    }
    if (!command) {
        return CLI_USAGE;
    }
    bool may_miss = command->argument && command->argument[0] == '[';
    if (argc - 1 != (command->argument ? 1 : 0) && !(argc == 1 && may_miss)) {
        fprintf(stderr, "sagactl: usage: sagactl %s %s\n", command->name,
                command->argument ? command->argument : "");
        return CLI_USAGE;
    }
    cli_open(cli);
    int code = command->run(cli, argv[1]);
    cli_close(cli);
    return code;
}

int main(int argc, char **argv)
{
    const char *http = getenv("SAGA_HTTP");
    struct cli cli = {.http = http ? http : "http://127.0.0.1:36789",
                      .token = getenv("SAGA_TOKEN"),
                      .colour = isatty(STDOUT_FILENO) == 1,
                      .limit = 20};
    int option;
    log_set_level(LOG_ERROR);
    while ((option = getopt_long(argc, argv, "h", long_options, NULL)) != -1) {
        int code = read_option(&cli, option);
        if (code >= 0) {
            return code;
        }
    }
    return run(&cli, argc - optind, argv + optind);
}
