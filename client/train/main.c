/* greedylr-train: trains the model of the policy learned, and says how good it is.
 *
 * Happy path: options, data sets, then what was asked for.  Exit codes: 0 done, 1 it could not be done, 2
 * usage. */
#include "train/data.h"
#include "train/evaluate.h"
#include "train/evolve.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { EXIT_DONE, EXIT_FAILED, EXIT_USAGE };

struct arguments {
    struct evolve_config train;
    struct evaluate_config evaluate;
    const char *out, *header, *weights, *data, *from;
    struct past past;
    bool evaluating, tuning, help;
};

enum choice {
    OUT = 1,
    HEADER,
    SEED,
    GENERATIONS,
    THREADS,
    CHECKPOINT,
    UP,
    DOWN,
    EVALUATE,
    WEIGHTS,
    PROBLEMS,
    SVG,
    BRIEF,
    TUNE,
    DATA,
    FROM,
    QUIET,
    HELP
};

static const struct option_row {
    const char *name, *argument, *help;
} rows[] = {
    [OUT] = {"out", "FILE", "train, and write the model there (greedylrd --learned-weights FILE)"},
    [HEADER] = {"header", "FILE",
                "write the model, trained or given, as C, for daemon/core/learned_default.h"},
    [SEED] = {"seed", "N", "of the training, or of the evaluation's problems; default 1"},
    [GENERATIONS] = {"generations", "N", "length of the training; default 150"},
    [THREADS] = {"threads", "N", "default: the cores there are; results do not depend on it"},
    [CHECKPOINT] = {"checkpoint", "FILE", "keep the state of the training there, and go on from it"},
    [UP] = {"up", "X", "most that a report multiplies the rate by; default 1.5"},
    [DOWN] = {"down", "X", "most that a report divides it by; default 4"},
    [EVALUATE] = {"evaluate", NULL, "print the tables, of the model given, trained just now, or built in"},
    [WEIGHTS] = {"weights", "FILE", "the model to evaluate"},
    [PROBLEMS] = {"problems", "N",
                  "of the evaluation, trained classes; default 1200, a sixth of it held out"},
    [SVG] = {"svg", "FILE", "draw the evaluation"},
    [BRIEF] = {"brief", NULL, "the two main tables alone, of four schedules"},
    [TUNE] = {"tune-greedy", NULL, "search settings of GreedyLR for these problems, for evaluate.c"},
    [DATA] = {"data", "DIR", "data sets of scikit-learn; default: those of Debian's python3-sklearn"},
    [FROM] = {"from", "URL|DIR",
              "past jobs, of a daemon or a folder of CSV files: they shape the training, and are replayed"},
    [QUIET] = {"quiet", NULL, "show no progress"},
    [HELP] = {"help", NULL, "this text"},
};
#define ROWS (sizeof(rows) / sizeof(rows[0]))

static void help(FILE *out)
{
    fprintf(out, "greedylr-train --out FILE [--evaluate]      train a model\n"
                 "greedylr-train --evaluate [--weights FILE]  say how good one is\n"
                 "greedylr-train --from URL|DIR               what it does on the losses of past jobs\n\n");
    for (size_t i = 1; i < ROWS; i++)
        fprintf(out, "  --%s %-*s %s\n", rows[i].name, (int)(18 - strlen(rows[i].name)),
                rows[i].argument ? rows[i].argument : "", rows[i].help);
}

static bool whole(const char *name, const char *text, uint32_t least, uint32_t most, uint32_t *out)
{
    char *end;
    unsigned long v = strtoul(text, &end, 10);

    if (*text && !*end && v >= least && v <= most) {
        *out = (uint32_t)v;
        return true;
    }
    fprintf(stderr, "greedylr-train: --%s: must be a whole number from %u to %u, got %s\n", name, least, most,
            text);
    return false;
}

static bool factor(const char *name, const char *text, double most, double *out)
{
    char *end;

    *out = strtod(text, &end);
    if (*text && !*end && *out > 1 && *out <= most) return true;
    fprintf(stderr, "greedylr-train: --%s: must be in (1, %g], got %s\n", name, most, text);
    return false;
}

static bool take(struct arguments *a, int option, const char *text)
{
    uint32_t threads = 0;

    switch ((enum choice)option) {
    case OUT: a->out = text; return true;
    case HEADER: a->header = text; return true;
    case SEED:
        if (!whole("seed", text, 0, UINT32_MAX, &a->train.seed)) return false;
        a->evaluate.seed = a->train.seed;
        return true;
    case GENERATIONS: return whole("generations", text, 1, 100000, &a->train.generations);
    case THREADS:
        if (!whole("threads", text, 1, 64, &threads)) return false;
        a->train.threads = a->evaluate.threads = threads;
        return true;
    case CHECKPOINT: a->train.checkpoint = text; return true;
    case UP: return factor("up", text, 10, &a->train.up);
    case DOWN: return factor("down", text, 100, &a->train.down);
    case EVALUATE: return a->evaluating = true;
    case WEIGHTS: a->weights = text; return true;
    case PROBLEMS: return whole("problems", text, 12, 1000000, &a->evaluate.problems);
    case SVG: a->evaluate.svg = text; return true;
    case BRIEF: return a->evaluate.brief = true;
    case TUNE: return a->tuning = true;
    case FROM: a->from = text; return true;
    case DATA: a->data = text; return true;
    case QUIET: return a->train.quiet = true;
    case HELP: return a->help = true;
    }
    return false;
}

static bool parse(struct arguments *a, int argc, char **argv)
{
    struct option options[ROWS] = {{0}};
    int option;

    for (size_t i = 1; i < ROWS; i++)
        options[i - 1] =
            (struct option){rows[i].name, rows[i].argument ? required_argument : no_argument, NULL, (int)i};
    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
        if (!take(a, option, optarg)) return false;
    }
    if (optind == argc && (a->out || a->header || a->from || a->evaluating || a->tuning || a->help))
        return true;
    if (optind < argc)
        fprintf(stderr, "greedylr-train: %s: not understood\n", argv[optind]);
    else
        fprintf(stderr,
                "greedylr-train: say what to do: --out FILE trains, --evaluate says how good a model is\n");
    return false;
}

static bool write_text(const char *path, const char *text)
{
    FILE *file = fopen(path, "w");
    bool good = file && fputs(text, file) >= 0;

    if (file && fclose(file)) good = false;
    if (!good) fprintf(stderr, "greedylr-train: %s: %s\n", path, strerror(errno));
    return good;
}

static bool write_model(const char *path, const struct learned_model *model,
                        const struct learned_origin *origin)
{
    char text[16384];

    learned_write(model, origin, text, sizeof(text));
    return write_text(path, text);
}

static size_t put_row(char *out, size_t size, const char *field, const double *v, int n)
{
    size_t len = (size_t)snprintf(out, size, "    .%s =\n        {\n", field);

    for (int i = 0; i < n; i++)
        len += (size_t)snprintf(out + len, size - len, "            %.6g, /* %s */\n", v[i],
                                i < LEARNED_FEATURES ? learned_feature_names[i] : "bias");
    return len + (size_t)snprintf(out + len, size - len, "        },\n");
}

static bool write_header(const char *path, const struct learned_model *model,
                         const struct learned_origin *origin)
{
    char text[16384], hash[LEARNED_HASH_LEN + 1];
    size_t n;

    learned_hash(model, hash);
    n = (size_t)snprintf(
        text, sizeof(text),
        "/* Model %s.  Written by greedylr-train --header; not to be edited. */\n"
        "#ifndef GREEDYLRD_CORE_LEARNED_DEFAULT_H\n#define GREEDYLRD_CORE_LEARNED_DEFAULT_H\n\n#include "
        "\"core/learned_model.h\"\n\n"
        "/* clang-format off */\n"
        "const struct learned_origin learned_default_origin = {.seed = %u, .config = 0x%08x};\n\n"
        "const struct learned_model learned_default_model = {\n    .feature_set = %u,\n    .up = %.6g,\n"
        "    .down = %.6g,\n",
        hash, origin->seed, origin->config, model->feature_set, model->up, model->down);
    n += put_row(text + n, sizeof(text) - n, "weights", model->weights, LEARNED_WEIGHTS);
    n += put_row(text + n, sizeof(text) - n, "lo", model->lo, LEARNED_FEATURES);
    n += put_row(text + n, sizeof(text) - n, "hi", model->hi, LEARNED_FEATURES);
    snprintf(text + n, sizeof(text) - n, "};\n/* clang-format on */\n\n#endif\n");
    return write_text(path, text);
}

static bool read_model(const char *path, struct learned_model *model, struct learned_origin *origin)
{
    char text[16384];
    struct error err;
    FILE *file = fopen(path, "rb");
    size_t n = file ? fread(text, 1, sizeof(text), file) : 0;

    if (!file) {
        fprintf(stderr, "greedylr-train: --weights: %s: %s\n", path, strerror(errno));
        return false;
    }
    fclose(file);
    if (!learned_read(path, text, n, model, origin, &err)) return true;
    fprintf(stderr, "greedylr-train: --weights: %s\n", err.message);
    return false;
}

static int work(struct arguments *a)
{
    struct learned_model model = learned_default_model;
    struct learned_origin origin = learned_default_origin;
    char hash[LEARNED_HASH_LEN + 1];

    if (!data_load(a->data)) return EXIT_FAILED;
    if (a->tuning)
        return evaluate_tune(a->evaluate.seed, 240, 100, a->evaluate.threads, stdout) ? EXIT_DONE
                                                                                      : EXIT_FAILED;
    if (a->from && !past_load(a->from, &a->past)) return EXIT_FAILED;
    if (a->from) a->train.past = &a->past;
    if (a->weights && !read_model(a->weights, &model, &origin)) return EXIT_FAILED;
    if (a->out) {
        if (!evolve(&a->train, &model)) return EXIT_FAILED;
        origin = (struct learned_origin){a->train.seed, evolve_config_hash(&a->train)};
        if (!write_model(a->out, &model, &origin)) return EXIT_FAILED;
    }
    if (a->header && !write_header(a->header, &model, &origin)) return EXIT_FAILED;
    if (a->from && !past_replay(&a->past, &model, stdout)) return EXIT_FAILED;
    if (!a->evaluating) return EXIT_DONE;
    learned_hash(&model, hash);
    printf("Model %s (training seed %u, configuration %08x), problems of seed %u\n", hash, origin.seed,
           origin.config, a->evaluate.seed);
    a->evaluate.model = &model;
    return evaluate(&a->evaluate, stdout) ? EXIT_DONE : EXIT_FAILED;
}

int main(int argc, char **argv)
{
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    unsigned threads = cores < 1 ? 1 : cores > 64 ? 64 : (unsigned)cores;
    struct arguments a = {
        .train = {.seed = 1,
                  .generations = 150,
                  .pairs = 24,
                  .sigma = 0.06,
                  .rate = 0.03,
                  .up = 1.5,
                  .down = 4,
                  .threads = threads},
        .evaluate = {.seed = 1, .problems = 1200, .threads = threads},
    };

    if (!parse(&a, argc, argv)) return EXIT_USAGE;
    if (a.help) {
        help(stdout);
        return EXIT_DONE;
    }
    rng_begin();
    int code = work(&a);

    past_free(&a.past);
    data_free();
    return code;
}
