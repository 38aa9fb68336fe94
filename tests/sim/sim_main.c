/* sagad_sim: plays schedules and stops at the first that breaks an invariant. */
#include "sim.h"

#include "base/log.h"

#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

const char *const sim_break_names[BREAK_COUNT] = {
    [BREAK_NOTHING] = "nothing",
    [BREAK_I1_ACK_CREATE] = "i1-ack-create",
    [BREAK_I2_ACK_EARLY] = "i2-ack-early",
    [BREAK_I3_NO_FENCE] = "i3-no-fence",
    [BREAK_I4_NO_BARRIER] = "i4-no-barrier",
    [BREAK_I5_NO_DUE] = "i5-no-due",
    [BREAK_I7_BLIND_UNDO] = "i7-blind-undo",
    [BREAK_I8_LATE_ACTION] = "i8-late-action",
    [BREAK_I8_LATE_SUCCESS] = "i8-late-success",
    [BREAK_I9_ERROR_REFUSES] = "i9-error-refuses",
    [BREAK_I5_LOST_PARK] = "i5-lost-park",
    [BREAK_DOUBT] = "doubt",
    [BREAK_OUTBOX_ACK_EARLY] = "outbox-ack-early",
    [BREAK_OUTBOX_NOT_ATOMIC] = "outbox-not-atomic",
    [BREAK_OUTBOX_NO_CLAIM] = "outbox-no-claim",
    [BREAK_I2_ACK_COMMIT] = "i2-ack-commit",
    [BREAK_REGISTER_LOST] = "register-lost",
    [BREAK_REGISTER_LATE] = "register-late",
    [BREAK_REGISTER_ORDER] = "register-order",
    [BREAK_REGISTER_CROSSED] = "register-crossed",
    [BREAK_CHECK_BLIND] = "check-blind",
    [BREAK_CHECK_UNBARRED] = "check-unbarred",
    [BREAK_REPORT_TURNS] = "report-turns",
    [BREAK_RESUME_DEAF] = "resume-deaf",
    [BREAK_FINISH_EARLY] = "finish-early",
};

enum { MANY = 1000, RARE = 50 };

static const char usage[] =
    "usage: sagad_sim [--schedules N] [--seed S] [--verbose] [--break NAME]\n"
    "                 [--expect-violation | --expect WHAT]\n"
    "Plays N schedules with the seeds S, S+1, … (S: 1). With --seed alone it plays that one and\n"
    "prints what happens. Exit 0: every invariant held, or, with --expect-violation, one did not,\n"
    "or, with --expect, the one of this name (half, told, …) did not; others are passed over.\n"
    "--break switches a wrong rule on in the store or the participants:\n";

struct options {
    int64_t schedules;
    int64_t seed;
    bool has_seed, verbose, expect_violation;
    const char *expect; /* NULL: any */
    enum sim_break broken;
};

static int fail_usage(void)
{
    fputs(usage, stderr);
    for (int i = 1; i < BREAK_COUNT; i++) {
        fprintf(stderr, "  %s\n", sim_break_names[i]);
    }
    return 2;
}

static bool parse_number(const char *text, int64_t *out)
{
    return text && slice_to_int64(slice_str(text), out) && *out >= 0;
}

static bool parse_break(const char *text, enum sim_break *out)
{
    for (int i = 1; text && i < BREAK_COUNT; i++) {
        if (strcmp(text, sim_break_names[i]) == 0) {
            *out = (enum sim_break)i;
            return true;
        }
    }
    return false;
}

/* An option with a value. */
static bool parse_value(struct options *options, const char *name, const char *value)
{
    if (strcmp(name, "--schedules") == 0) {
        return parse_number(value, &options->schedules) && options->schedules > 0;
    }
    if (strcmp(name, "--seed") == 0) {
        options->has_seed = true;
        return parse_number(value, &options->seed);
    }
    if (strcmp(name, "--expect") == 0) {
        options->expect = value;
        options->expect_violation = value;
        return value;
    }
    return strcmp(name, "--break") == 0 && parse_break(value, &options->broken);
}

static bool parse(struct options *options, int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--verbose") == 0) {
            options->verbose = true;
        } else if (strcmp(argv[i], "--expect-violation") == 0) {
            options->expect_violation = true;
        } else if (parse_value(options, argv[i], i + 1 < argc ? argv[i + 1] : NULL)) {
            i++;
        } else {
            return false;
        }
    }
    if (options->schedules == 0) {
        options->verbose = options->verbose || options->has_seed;
        options->schedules = options->has_seed ? 1 : 1000;
    }
    return true;
}

/* "half at 8180 ms: …" */
static bool is_expected(const struct options *options, const struct world *world)
{
    size_t len = options->expect ? strlen(options->expect) : 0;
    return len == 0 || (strncmp(world->violation, options->expect, len) == 0 &&
                        strncmp(world->violation + len, " at ", 4) == 0);
}

/* A check of the engine ends the program: the seed is told all the same. */
static char replay_text[64];

static void on_abort(int number)
{
    (void)number;
    ssize_t n = write(STDOUT_FILENO, replay_text, strlen(replay_text));
    (void)n;
}

/* True when it held, or another invariant than the expected one did not. */
static bool play(const struct options *options, int64_t seed, struct world *sum)
{
    static struct world world; /* large */
    memset(&world, 0, sizeof(world));
    world.seed = (uint64_t)seed;
    world.verbose = options->verbose;
    world.broken = options->broken;
    snprintf(replay_text, sizeof(replay_text), "replay: sagad_sim --seed %" PRId64 "\n", seed);
    bool fine = sim_run(&world) || !is_expected(options, &world);
    sum->hits += world.hits;
    sum->checked_hits += world.checked_hits;
    sum->crashes += world.crashes;
    sum->left += world.left;
    sum->reread += world.reread;
    sum->parkings += world.parkings;
    sum->prepared += world.prepared;
    sum->vanished += world.vanished;
    sum->committed += world.committed;
    if (!fine) {
        printf("seed %" PRId64 ": %s\n", seed, world.violation);
        printf("replay: sagad_sim --seed %" PRId64 "%s%s\n", seed,
               options->broken ? " --break " : "",
               options->broken ? sim_break_names[options->broken] : "");
    }
    return fine;
}

int main(int argc, char **argv)
{
    static struct world sum;
    struct options options = {.seed = 1};
    if (!parse(&options, argc, argv)) {
        return fail_usage();
    }
    if (!options.verbose) {
        log_set_level((enum log_level)(LOG_ERROR + 1)); /* faults are what this is about */
    }
    signal(SIGABRT, on_abort);
    for (int64_t i = 0; i < options.schedules; i++) {
        if (!play(&options, options.seed + i, &sum)) {
            return options.expect_violation ? 0 : 1;
        }
    }
    printf("%" PRId64 " schedules held: %d crashes, %d parkings, %d transactions whose writes were "
           "lost (%d of them fully checked), %d entries left in an outbox and %d taken over, %d "
           "prepared by their clients, of whom %d vanished; %d tcc and xa of them committed\n",
           options.schedules, sum.crashes, sum.parkings, sum.hits, sum.checked_hits, sum.left,
           sum.reread, sum.prepared, sum.vanished, sum.committed);
    if (options.schedules >= MANY && sum.committed * RARE < sum.prepared) {
        puts("what is prepared is hardly ever committed: that holds too easily");
        return 1;
    }
    return options.expect_violation ? 1 : 0;
}
