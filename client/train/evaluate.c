/* The tables.
 *
 * Happy path: each table draws its problems from seeds of its own, runs the schedules on all of them, and
 * prints means with 95 % intervals, differences problem by problem.  Failures: no memory, a file that cannot
 * be written. */
#include "train/evaluate.h"

#include "train/picture.h"
#include "train/suite.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Bounds as wide as the learned policy's, so that it is the rule that is compared. */
#define DEFAULTS "min_lr=1e-4 max_lr=1e3"
#define BOUNDS   " " DEFAULTS
#define TUNED    "factor=0.7 patience=0 threshold=0.0001 smooth=false guard_ratio=2" BOUNDS

/* The first four are the brief evaluation's. */
enum {
    CONSTANT,
    STEP,
    TUNED_GREEDY,
    LEARNED,
    BRIEF_METHODS,
    COSINE = BRIEF_METHODS,
    EXPONENTIAL,
    PUBLISHED,
    HYPER,
    HYPER_EACH,
    LINE_SEARCH,
    METHODS
};

static const struct schedule methods[METHODS] = {
    [CONSTANT] = {.name = "constant", .policy = "constant"},
    [STEP] = {.name = "step (/10 at 1/3 and 2/3)",
              .policy = "step",
              .settings = "step_size=T*0.3334 gamma=0.1"},
    [COSINE] = {.name = "cosine", .policy = "cosine_annealing", .settings = "t_max=T"},
    [EXPONENTIAL] = {.name = "exponential (to 1/100)", .policy = "exponential", .settings = "gamma=E"},
    [PUBLISHED] = {.name = "GreedyLR, published",
                   .policy = "greedy",
                   .settings = "factor=0.95 patience=10 threshold=1e-6 threshold_mode=abs stage_mode=hold "
                               "smooth=false" BOUNDS},
    [TUNED_GREEDY] = {.name = "GreedyLR, tuned", .policy = "greedy", .settings = TUNED},
    [HYPER] = {.name = "hypergradient (sees gradients)", .kind = HYPERGRADIENT, .rate = 0.05},
    [HYPER_EACH] = {.name = "the same, a rate per parameter", .kind = HYPERGRADIENT_EACH, .rate = 0.05},
    [LINE_SEARCH] = {.name = "stochastic Armijo (sees losses of steps)", .kind = ARMIJO},
    [LEARNED] = {.name = "learned", .policy = "learned", .settings = "total_reports=T"},
};

#define HINDSIGHT 12 /* rates, from 10^-2 to 10^0.75 of the reference */

static void note(FILE *out, const char *name, struct mean m)
{
    fprintf(out, "| %s | %.2f +- %.2f |", name, m.mean, m.half);
}

/* J of everything, and the differences that matter. */
static void main_table(FILE *out, const struct suite *suite)
{
    fprintf(out,
            "| n = %zu | J | against GreedyLR, tuned | against step | diverged |\n|---|---|---|---|---|\n",
            suite->n);
    for (size_t k = 0; k < suite->n_schedules; k++) {
        struct mean greedy = suite_paired(suite, k, TUNED_GREEDY, NULL),
                    step = suite_paired(suite, k, STEP, NULL);

        note(out, suite->schedules[k].name, suite_mean(suite, k, NULL));
        fprintf(out, " %+.2f +- %.2f | %+.2f +- %.2f | %.1f %% |\n", greedy.mean, greedy.half, step.mean,
                step.half, 100.0 * (double)suite_diverged(suite, k) / (double)suite->n);
    }
}

static bool hindsight(FILE *out, struct suite *suite, unsigned threads)
{
    static const char *const names[] = {"best constant of 12, in hindsight",
                                        "best cosine of 12, in hindsight"};
    static const char *const policies[] = {"constant", "cosine_annealing"}, *const settings[] = {NULL,
                                                                                                 "t_max=T"};

    for (int kind = 0; kind < 2; kind++) {
        struct schedule schedules[HINDSIGHT];

        for (int k = 0; k < HINDSIGHT; k++)
            schedules[k] = (struct schedule){
                .policy = policies[kind], .settings = settings[kind], .factor = -pow(10, -2 + 0.25 * k)};
        if (!suite_run(suite, schedules, HINDSIGHT, threads)) return false;
        note(out, names[kind], suite_best(suite, 0, HINDSIGHT));
        fprintf(out, " | | |\n");
    }
    return true;
}

static bool in_low(const struct problem *p)
{
    return p->lr < 0.03 * p->reference;
}
static bool in_middle(const struct problem *p)
{
    return p->lr >= 0.03 * p->reference && p->lr < 0.3 * p->reference;
}
static bool in_near(const struct problem *p)
{
    return p->lr >= 0.3 * p->reference && p->lr < p->reference;
}
static bool in_high(const struct problem *p)
{
    return p->lr >= p->reference;
}

static void strata(FILE *out, const struct suite *suite)
{
    static const struct {
        const char *name;
        bool (*of)(const struct problem *p);
    } rows[] = {
        {"below 0.03", in_low}, {"0.03 to 0.3", in_middle}, {"0.3 to 1", in_near}, {"1 to 3.2", in_high}};

    fprintf(out,
            "\n| initial rate, of the reference | n | learned: J | against GreedyLR, tuned | against step |\n"
            "|---|---|---|---|---|\n");
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct mean j = suite_mean(suite, LEARNED, rows[i].of);
        struct mean greedy = suite_paired(suite, LEARNED, TUNED_GREEDY, rows[i].of);
        struct mean step = suite_paired(suite, LEARNED, STEP, rows[i].of);

        fprintf(out, "| %s | %zu | %.2f | %+.2f +- %.2f | %+.2f +- %.2f |\n", rows[i].name, j.n, j.mean,
                greedy.mean, greedy.half, step.mean, step.half);
    }
}

static void set_model(struct schedule *schedules, size_t n, const struct learned_model *model)
{
    for (size_t k = 0; k < n; k++) {
        if (!schedules[k].model) schedules[k].model = model;
    }
}

static bool main_part(const struct evaluate_config *c, FILE *out, const struct problem_class *class, size_t n,
                      struct picture *picture)
{
    struct schedule schedules[METHODS];
    size_t methods_run = c->brief ? BRIEF_METHODS : METHODS;
    struct suite suite = {0};
    bool good =
        suite_draw(&suite, class, n, &setting_evaluation, (uint64_t)c->seed << 32 | 0xe0a1, c->threads);

    memcpy(schedules, methods, sizeof(schedules));
    set_model(schedules, METHODS, c->model);
    if (good) good = suite_run(&suite, schedules, methods_run, c->threads);
    if (good) {
        fprintf(out, "\n%s\n\n",
                class ? "Held-out class: small networks on digits, breast cancer and wine"
                      : "Trained classes: quadratics, NMF, valleys, logistic regression");
        main_table(out, &suite);
        for (size_t k = 0; k < methods_run; k++)
            picture_add(picture, class != NULL, methods[k].name, suite_mean(&suite, k, NULL), k == LEARNED);
        strata(out, &suite);
        fflush(out);
        fputc('\n', out);
        if (!c->brief) good = hindsight(out, &suite, c->threads);
    }
    suite_free(&suite);
    return good;
}

/* ---- where it is not at home ---- */

static const struct {
    const char *name;
    bool networks;
    unsigned n;
    struct setting setting;
} abroad[] = {
    {"20 % noise", false, 600, {0.20, 10, -2.5, 0.5, 0.20, 0, 0, NULL}},
    {"offset of 30 first losses", false, 600, {0.05, 30, -2.5, 0.5, 0, 30, 0, NULL}},
    {"near-optimal starts (0.3 to 1)", false, 600, {0.05, 10, -0.5, 0, 0, 0, 0, NULL}},
    {"networks, 20 % noise", true, 100, {0.20, 10, -2.5, 0.5, 0.20, 0, 0, NULL}},
    {"networks, near-optimal starts (0.5 to 2)", true, 100, {0.05, 10, -0.3, 0.3, 0, 0, 0, NULL}},
    {"networks, starts above the reference (1 to 3.2)", true, 100, {0.05, 10, 0, 0.5, 0, 0, 0, NULL}},
};

static bool abroad_part(const struct evaluate_config *c, FILE *out)
{
    struct schedule schedules[] = {methods[STEP], methods[TUNED_GREEDY], methods[LEARNED]};

    set_model(schedules, 3, c->model);
    fprintf(out, "\nOut of distribution\n\n| | n | step: J | GreedyLR, tuned: J | learned: J | learned "
                 "against GreedyLR | "
                 "learned against step | GreedyLR against step |\n|---|---|---|---|---|---|---|---|\n");
    for (size_t i = 0; i < sizeof(abroad) / sizeof(abroad[0]); i++) {
        struct suite suite = {0};
        bool good = suite_draw(&suite, abroad[i].networks ? &class_network : NULL, abroad[i].n,
                               &abroad[i].setting, (uint64_t)c->seed << 32 | (0xab0 + i), c->threads) &&
                    suite_run(&suite, schedules, 3, c->threads);

        if (good) {
            struct mean a = suite_paired(&suite, 2, 1, NULL), b = suite_paired(&suite, 2, 0, NULL),
                        d = suite_paired(&suite, 1, 0, NULL);

            fprintf(
                out, "| %s | %zu | %.2f | %.2f | %.2f | %+.2f +- %.2f | %+.2f +- %.2f | %+.2f +- %.2f |\n",
                abroad[i].name, suite.n, suite_mean(&suite, 0, NULL).mean, suite_mean(&suite, 1, NULL).mean,
                suite_mean(&suite, 2, NULL).mean, a.mean, a.half, b.mean, b.half, d.mean, d.half);
        }
        suite_free(&suite);
        if (!good) return false;
    }
    return true;
}

/* ---- safety ---- */

/* Weights that nobody trained: all signs turned, and noise. */
static void sabotage(const struct learned_model *model, struct learned_model *turned,
                     struct learned_model *noise)
{
    struct rng rng = rng_of(99, 1);

    *turned = *noise = *model;
    for (int i = 0; i < LEARNED_WEIGHTS; i++) {
        turned->weights[i] = -model->weights[i];
        noise->weights[i] = rng_normal(&rng);
    }
}

static bool safety_part(const struct evaluate_config *c, FILE *out)
{
    struct learned_model turned, noise;
    static const struct setting any = {0.05, 10, -2.5, 0.5, 0, 0, 0, NULL};
    struct suite suite = {0};
    /* Without and with lr_cap by turns; the first four are what the others are compared with. */
    struct schedule rows[] = {
        {.name = "GreedyLR, tuned", .policy = "greedy", .settings = TUNED},
        {.name = "GreedyLR, tuned, lr_cap", .policy = "greedy", .settings = TUNED, .capped = true},
        {.name = "GreedyLR, defaults", .policy = "greedy", .settings = DEFAULTS},
        {.name = "GreedyLR, defaults, lr_cap", .policy = "greedy", .settings = DEFAULTS, .capped = true},
        {.name = "learned", .policy = "learned", .settings = "total_reports=T"},
        {.name = "learned, lr_cap", .policy = "learned", .settings = "total_reports=T", .capped = true},
        {.name = "weights with turned signs", .policy = "learned", .model = &turned},
        {.name = "weights with turned signs, lr_cap", .policy = "learned", .model = &turned, .capped = true},
        {.name = "random weights", .policy = "learned", .model = &noise},
        {.name = "random weights, lr_cap", .policy = "learned", .model = &noise, .capped = true},
    };
    size_t n = sizeof(rows) / sizeof(rows[0]), half = 450;

    sabotage(c->model, &turned, &noise);
    set_model(rows, n, c->model);
    /* The two classes that know their lr_cap, half and half. */
    suite.problems = calloc(2 * half, sizeof(*suite.problems));
    suite.n = 2 * half;
    bool good = suite.problems != NULL;

    for (size_t i = 0; good && i < suite.n; i++) {
        struct rng rng = rng_of((uint64_t)c->seed << 32 | 0x5afe, i);

        good =
            problem_draw(&suite.problems[i], i < half ? &class_quadratic : &class_nmf, &any, rng_next(&rng));
    }
    if (good) good = suite_run(&suite, rows, n, c->threads);
    if (good) {
        fprintf(out,
                "\nSafety: quadratics and NMF, which know their lr_cap (n = %zu)\n\n| | J | against "
                "GreedyLR, tuned, the "
                "same cap | against GreedyLR, defaults, the same cap | diverged |\n|---|---|---|---|---|\n",
                suite.n);
        for (size_t k = 0; k < n; k++) {
            struct mean tuned = suite_paired(&suite, k, rows[k].capped ? 1 : 0, NULL),
                        defaults = suite_paired(&suite, k, rows[k].capped ? 3 : 2, NULL);

            note(out, rows[k].name, suite_mean(&suite, k, NULL));
            fprintf(out, " %+.2f +- %.2f | %+.2f +- %.2f | %zu |\n", tuned.mean, tuned.half, defaults.mean,
                    defaults.half, suite_diverged(&suite, k));
        }
    }
    suite_free(&suite);
    return good;
}

bool evaluate(const struct evaluate_config *c, FILE *out)
{
    struct picture picture = {0};
    size_t held_out = c->problems / 6 ? c->problems / 6 : 1;
    bool good = main_part(c, out, NULL, c->problems, &picture) &&
                main_part(c, out, &class_network, held_out, &picture);

    if (good && !c->brief) good = abroad_part(c, out) && safety_part(c, out);
    if (!good) fprintf(stderr, "greedylr-train: out of memory\n");
    return good && (!c->svg || picture_write(&picture, c->svg));
}

/* ---- GreedyLR's settings ---- */

static void draw_settings(struct rng *rng, char *out, size_t size)
{
    static const char *const
        factors[] = {"0.5", "0.6", "0.7", "0.8", "0.9"},
        *const patiences[] = {"0", "1", "2", "3", "5"}, *const thresholds[] = {"0.0001", "0.001", "0.01"},
        *const smooths[] = {"smooth=false", "smoothing=median window_size=3",
                            "smoothing=median window_size=5", "smoothing=ema window_size=3"},
        *const guards[] = {"0", "1.3", "2", "4"};

    snprintf(out, size, "factor=%s patience=%s threshold=%s %s guard_ratio=%s" BOUNDS,
             factors[rng_below(rng, 5)], patiences[rng_below(rng, 5)], thresholds[rng_below(rng, 3)],
             smooths[rng_below(rng, 4)], guards[rng_below(rng, 4)]);
}

bool evaluate_tune(uint32_t seed, uint32_t problems, uint32_t candidates, unsigned threads, FILE *out)
{
    struct schedule *schedules = calloc(candidates, sizeof(*schedules));
    char(*settings)[256] = calloc(candidates, sizeof(*settings));
    struct suite suite = {0};
    struct rng rng = rng_of(seed, 11);
    bool good =
        schedules && settings &&
        suite_draw(&suite, NULL, problems, &setting_evaluation, (uint64_t)seed << 32 | 0x70e, threads);

    for (uint32_t k = 0; good && k < candidates; k++) {
        draw_settings(&rng, settings[k], sizeof(settings[k]));
        schedules[k] = (struct schedule){.policy = "greedy", .settings = settings[k]};
    }
    if (good) good = suite_run(&suite, schedules, candidates, threads);
    for (int rank = 0; good && rank < 10; rank++) {
        size_t best = 0;
        double least = INFINITY;

        for (uint32_t k = 0; k < candidates; k++) {
            double j = schedules[k].policy ? suite_mean(&suite, k, NULL).mean : INFINITY;

            if (j < least) {
                least = j;
                best = k;
            }
        }
        fprintf(out, "%.3f  %s\n", least, settings[best]);
        schedules[best].policy = NULL;
    }
    suite_free(&suite);
    free(schedules);
    free(settings);
    return good;
}
