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
           "  --wait          submit: watch it to its end, or until it is parked\n"
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
           "Exit codes: 0 done, or it runs; 1 the transaction failed, is not there, or its\n"
           "status forbids it; 2 wrong usage or request; 3 the coordinator does not answer, or\n"
           "not now: repeat it with the same gid; 4 the transaction is parked, and waits for an\n"
           "operator.\n");
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

static bool command_has(const struct cli_command *command, const char *option)
{
    const char *word = command->options;
    bool has = strcmp(option, "http") == 0 || strcmp(option, "json") == 0;
    while (*word && !has) {
        size_t len = strcspn(word, " ");
        has = len == strlen("--") + strlen(option) && memcmp(word + 2, option, len - 2) == 0;
        word += len + strspn(word + len, " ");
    }
    return has;
}

/* Who gives an option to a command that does not have it expects something else of it: that
 * force-stop ends one branch alone, say. `given` has a bit for each of the long options. */
static bool options_fit(const struct cli_command *command, unsigned given)
{
    for (size_t i = 0; long_options[i].name; i++) {
        if ((given >> i & 1) && !command_has(command, long_options[i].name)) {
            fprintf(stderr, "sagactl: %s has no option --%s; it has %s%s--http --json\n",
                    command->name, long_options[i].name, command->options,
                    command->options[0] ? " " : "");
            return false;
        }
    }
    return true;
}

static int run(struct cli *cli, unsigned given, int argc, char **argv)
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
    if (!options_fit(command, given)) {
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
    int option, index = 0;
    unsigned given = 0;
    log_set_level(LOG_ERROR);
    while ((option = getopt_long(argc, argv, "h", long_options, &index)) != -1) {
        int code = read_option(&cli, option);
        if (code >= 0) {
            return code;
        }
        given |= 1U << index;
    }
    return run(&cli, given, argc - optind, argv + optind);
}
