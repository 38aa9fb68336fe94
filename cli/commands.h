/* What the files of the commands share. Each command returns an exit code (cli.h). */
#ifndef CLI_COMMANDS_H
#define CLI_COMMANDS_H

#include "cli/cli.h"

void cli_print_body(const struct cli_answer *answer); /* the server's JSON, as it is */

/* parked.c */
int cli_run_retry_parked(struct cli *cli);
int cli_run_resolve(struct cli *cli, const char *gid);

/* topics.c */
int cli_run_topics(struct cli *cli, const char *argument);
int cli_run_subscribe(struct cli *cli, const char *topic);
int cli_run_unsubscribe(struct cli *cli, const char *topic);
int cli_run_retry_all(struct cli *cli, const char *argument);

#endif
