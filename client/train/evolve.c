/* Evolution strategies.
 *
 * Happy path: a generation draws new problems, runs them under 24 pairs of weights (mean +- sigma * e, the
 * same noise for all), moves the mean along sum (F+ - F-) e by Adam, and averages the means; of some averages
 * the one that does best on 480 validation problems is the model, its numbers rounded to six digits, its
 * envelope what those problems showed and a tenth more.  Failures: no memory, a checkpoint that is not one.
 * The result depends on seed and settings, not on threads or on how often it was interrupted. */
#include "train/evolve.h"

#include "train/parallel.h"
#include "train/run.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define PAIRS_MAX       64
#define PROBLEMS        82
#define VALIDATION      480
#define CANDIDATES      10  /* averages that are compared */
#define DIVERGED        2.0 /* what a divergence adds to J */
#define ENVELOPE        0.1 /* of the range seen, on both sides */
#define VALIDATION_SEED UINT64_C(0x5eed000000000000)

const struct problem_class *const trained_classes[TRAINED_CLASSES] = {
    &class_quadratic, &class_nmf, &class_valley, &class_logistic, &class_softmax};
/* In training classifiers are more than in the evaluation, whose mix is the older one. */
static const int shares[MIXES][TRAINED_CLASSES] = {
    [MIX_EVALUATION] = {32, 10, 32, 8, 0}, [MIX_TRAINING] = {24, 8, 24, 16, 10}};
/* What J counts: the loss of a classifier has less far to fall, and would have no say. */
static const double counts[TRAINED_CLASSES] = {1, 1, 1, 5, 5};

/* All that training goes on from. */
struct progress {
    uint32_t generation;
    double mean[LEARNED_WEIGHTS], first[LEARNED_WEIGHTS], second[LEARNED_WEIGHTS];
    double average[LEARNED_WEIGHTS];
    double best[LEARNED_WEIGHTS], best_j;
};

struct generation {
    const struct evolve_config *config;
    struct problem problems[PROBLEMS];
    double weights[2 * PAIRS_MAX][LEARNED_WEIGHTS], noise[PAIRS_MAX][LEARNED_WEIGHTS];
    double fitness[2 * PAIRS_MAX];
};

static uint32_t mix(uint32_t hash, double v)
{
    uint64_t bits;

    memcpy(&bits, &v, sizeof(bits));
    for (int i = 0; i < 8; i++)
        hash = (hash ^ (uint32_t)(bits >> (8 * i) & 0xff)) * UINT32_C(16777619);
    return hash;
}

uint32_t evolve_config_hash(const struct evolve_config *config)
{
    const double what[] = {config->generations,
                           config->pairs,
                           config->sigma,
                           config->rate,
                           config->up,
                           config->down,
                           PROBLEMS,
                           VALIDATION,
                           DIVERGED,
                           ENVELOPE,
                           LEARNED_FEATURE_SET,
                           CANDIDATES,
                           setting_training.noise,
                           setting_training.offset,
                           setting_training.near};
    uint32_t hash = UINT32_C(2166136261);

    if (config->past) hash = mix(hash, past_hash(config->past));

    for (size_t i = 0; i < sizeof(what) / sizeof(what[0]); i++)
        hash = mix(hash, what[i]);
    for (int class = 0; class < TRAINED_CLASSES; class ++)
        hash = mix(mix(hash, shares[MIX_TRAINING][class]), counts[class]);
    return hash;
}

bool evolve_problems(struct problem *out, size_t n, enum mix of, const struct setting *setting, uint64_t seed)
{
    struct rng rng = rng_of(seed, 3);

    for (size_t i = 0; i < n; i++) {
        int at = (int)(i * PROBLEMS / n) % PROBLEMS, class = 0;

        while (at >= shares[of][class])
            at -= shares[of][class ++];
        if (problem_draw(&out[i], trained_classes[class], setting, rng_next(&rng))) continue;
        while (i > 0)
            problem_free(&out[--i]);
        return false;
    }
    return true;
}

static void free_problems(struct problem *problems, size_t n)
{
    for (size_t i = 0; i < n; i++)
        problem_free(&problems[i]);
}

/* J as it counts in training. */
static double fitness_of(const struct problem *p, const struct result *result)
{
    for (int class = 0; class < TRAINED_CLASSES; class ++) {
        if (p->class == trained_classes[class])
            return counts[class] * result->j + DIVERGED * result->diverged;
    }
    return result->j + DIVERGED * result->diverged;
}

/* ---- one generation ---- */

static struct learned_model model_of(const struct evolve_config *config, const double *weights)
{
    struct learned_model model = {.feature_set = LEARNED_FEATURE_SET, .up = config->up, .down = config->down};

    memcpy(model.weights, weights, sizeof(model.weights));
    return model;
}

static void run_member(void *arg, size_t i)
{
    struct generation *g = arg;
    struct learned_model model = model_of(g->config, g->weights[i]);
    struct schedule schedule = {.kind = BY_WEIGHTS, .model = &model};
    double sum = 0;

    for (int k = 0; k < PROBLEMS; k++) {
        struct result result = run_schedule(&g->problems[k], &schedule, NULL, NULL);

        sum += fitness_of(&g->problems[k], &result);
    }
    g->fitness[i] = sum / PROBLEMS;
}

static void perturb(struct generation *g, const double *mean, struct rng *rng)
{
    for (uint32_t i = 0; i < g->config->pairs; i++) {
        for (int w = 0; w < LEARNED_WEIGHTS; w++) {
            double e = rng_normal(rng);

            g->noise[i][w] = e;
            g->weights[2 * i][w] = mean[w] + g->config->sigma * e;
            g->weights[2 * i + 1][w] = mean[w] - g->config->sigma * e;
        }
    }
}

static void climb(const struct generation *g, struct progress *p)
{
    uint32_t n = p->generation + 1, total = g->config->generations;
    /* Full speed for two thirds, then down to a tenth. */
    double done = (double)p->generation / total,
           rate = g->config->rate * (done < 0.66 ? 1 : 1 - 0.9 * (done - 0.66) / 0.34);

    for (int w = 0; w < LEARNED_WEIGHTS; w++) {
        double gradient = 0;

        for (uint32_t i = 0; i < g->config->pairs; i++)
            gradient += (g->fitness[2 * i] - g->fitness[2 * i + 1]) * g->noise[i][w];
        gradient /= 2 * g->config->sigma * g->config->pairs;
        p->first[w] = 0.9 * p->first[w] + 0.1 * gradient;
        p->second[w] = 0.99 * p->second[w] + 0.01 * gradient * gradient;
        p->mean[w] -=
            rate * (p->first[w] / (1 - pow(0.9, n))) / (sqrt(p->second[w] / (1 - pow(0.99, n))) + 1e-8);
        p->average[w] += fmax(1.0 / n, 0.04) * (p->mean[w] - p->average[w]);
    }
}

/* ---- choosing ---- */

struct trial {
    const struct problem *problems;
    struct schedule schedule;
    double j[VALIDATION];
    double lo[VALIDATION][LEARNED_FEATURES], hi[VALIDATION][LEARNED_FEATURES];
};

static void run_trial(void *arg, size_t i)
{
    struct trial *trial = arg;

    for (int f = 0; f < LEARNED_FEATURES; f++) {
        trial->lo[i][f] = INFINITY;
        trial->hi[i][f] = -INFINITY;
    }
    struct result result = run_schedule(&trial->problems[i], &trial->schedule, trial->lo[i], trial->hi[i]);

    trial->j[i] = fitness_of(&trial->problems[i], &result);
}

/* Mean fitness; leaves the ranges of the features in trial. */
static double validate(const struct evolve_config *config, const double *weights, struct trial *trial)
{
    struct learned_model model = model_of(config, weights);
    double sum = 0;

    trial->schedule = (struct schedule){.kind = BY_WEIGHTS, .model = &model};
    parallel(config->threads, VALIDATION, run_trial, trial);
    for (int i = 0; i < VALIDATION; i++)
        sum += trial->j[i];
    return sum / VALIDATION;
}

static double round_to_digits(double v)
{
    char text[32];

    snprintf(text, sizeof(text), "%.6g", v);
    return strtod(text, NULL);
}

static void finish(const struct evolve_config *config, const double *weights, struct trial *trial,
                   struct learned_model *model)
{
    *model = model_of(config, weights);
    for (int w = 0; w < LEARNED_WEIGHTS; w++)
        model->weights[w] = round_to_digits(model->weights[w]);
    validate(config, model->weights, trial);
    for (int f = 0; f < LEARNED_FEATURES; f++) {
        double lo = INFINITY, hi = -INFINITY;

        for (int i = 0; i < VALIDATION; i++) {
            lo = fmin(lo, trial->lo[i][f]);
            hi = fmax(hi, trial->hi[i][f]);
        }
        double more = ENVELOPE * (hi - lo);

        model->lo[f] = round_to_digits(lo - more);
        model->hi[f] = round_to_digits(hi + more);
    }
}

/* ---- checkpoints ---- */

#define CHECKPOINT_MAGIC UINT64_C(0x31746b6370676c67)

static bool checkpoint_read(const struct evolve_config *config, struct progress *p)
{
    uint64_t head[2];
    FILE *file = config->checkpoint ? fopen(config->checkpoint, "rb") : NULL;

    if (!file) return true;
    bool good = fread(head, sizeof(head), 1, file) == 1 && fread(p, sizeof(*p), 1, file) == 1 &&
                head[0] == CHECKPOINT_MAGIC &&
                head[1] == ((uint64_t)config->seed << 32 | evolve_config_hash(config));

    fclose(file);
    if (!good)
        fprintf(
            stderr,
            "greedylr-train: %s: no checkpoint of a training with these settings; remove it, or give them "
            "as they were\n",
            config->checkpoint);
    return good;
}

static void checkpoint_write(const struct evolve_config *config, const struct progress *p)
{
    const uint64_t head[2] = {CHECKPOINT_MAGIC, (uint64_t)config->seed << 32 | evolve_config_hash(config)};
    char name[4096];

    if (!config->checkpoint) return;
    snprintf(name, sizeof(name), "%s.new", config->checkpoint);
    FILE *file = fopen(name, "wb");
    bool good = file && fwrite(head, sizeof(head), 1, file) == 1 && fwrite(p, sizeof(*p), 1, file) == 1;

    if (file && fclose(file)) good = false;
    if (!good || rename(name, config->checkpoint))
        fprintf(stderr, "greedylr-train: %s: cannot be written; training goes on without\n",
                config->checkpoint);
}

/* ---- the whole ---- */

static void show(const struct evolve_config *config, const struct progress *p, double fitness, time_t begin)
{
    int width = 30, full = (int)(width * (double)(p->generation) / config->generations);

    if (config->quiet || !isatty(STDERR_FILENO)) return;
    fprintf(stderr, "\r[%.*s%.*s] %u/%u  J %.3f  best on validation %.3f  %lld s ", full,
            "##############################", width - full, "..............................", p->generation,
            config->generations, fitness, p->best_j, (long long)(time(NULL) - begin));
}

static double train_generation(struct generation *g, struct progress *p, bool *good)
{
    uint64_t seed = (uint64_t)g->config->seed << 32 | p->generation;
    struct rng rng = rng_of(seed, 2);
    struct setting setting = setting_training;
    double sum = 0;

    setting.past = g->config->past;
    *good = evolve_problems(g->problems, PROBLEMS, MIX_TRAINING, &setting, seed);
    if (!*good) return 0;
    perturb(g, p->mean, &rng);
    parallel(g->config->threads, 2 * g->config->pairs, run_member, g);
    free_problems(g->problems, PROBLEMS);
    climb(g, p);
    p->generation++;
    for (uint32_t i = 0; i < 2 * g->config->pairs; i++)
        sum += g->fitness[i] / (2 * g->config->pairs);
    return sum;
}

static bool is_candidate(const struct evolve_config *config, uint32_t generation)
{
    uint32_t half = config->generations / 2, every = (config->generations - half) / CANDIDATES;

    return generation == config->generations ||
           (every && generation > half && (generation - half) % every == 0);
}

static bool train(const struct evolve_config *config, struct progress *p, struct generation *g,
                  struct trial *trial)
{
    time_t begin = time(NULL);
    bool good = true;

    while (good && p->generation < config->generations) {
        double fitness = train_generation(g, p, &good);

        if (good && is_candidate(config, p->generation)) {
            double j = validate(config, p->average, trial);

            if (j < p->best_j) {
                p->best_j = j;
                memcpy(p->best, p->average, sizeof(p->best));
            }
            if (!config->quiet && !isatty(STDERR_FILENO))
                fprintf(stderr, "generation %u: J %.3f, average on validation %.3f\n", p->generation, fitness,
                        j);
            checkpoint_write(config, p);
        }
        show(config, p, fitness, begin);
    }
    if (!config->quiet && isatty(STDERR_FILENO)) fputc('\n', stderr);
    return good;
}

bool evolve(const struct evolve_config *config, struct learned_model *model)
{
    struct problem *problems = calloc(VALIDATION, sizeof(*problems));
    struct generation *g = calloc(1, sizeof(*g));
    struct trial *trial = calloc(1, sizeof(*trial));
    struct progress p = {.best_j = INFINITY};
    struct setting setting = setting_training;

    setting.past = config->past;
    bool good = problems && g && trial && checkpoint_read(config, &p) &&
                evolve_problems(problems, VALIDATION, MIX_TRAINING, &setting, VALIDATION_SEED + config->seed);

    if (good) {
        g->config = config;
        trial->problems = problems;
        good = train(config, &p, g, trial);
        if (good) finish(config, p.best, trial, model);
        free_problems(problems, VALIDATION);
    }
    free(problems);
    free(g);
    free(trial);
    return good;
}
