/* Non-negative matrix factorisation by SGD, with the learning rate decided by greedylrd under a bound that
 * the factorisation itself computes.
 *
 * X (handwritten digits, a row each) is to be W H with nothing negative: min 1/2 ||X - WH||^2 by projected
 * steps on W and H together, each on a quarter of the rows.  The joint gradient changes by at most L_J = ||H
 * H'|| + ||W' W|| + ||WH - X|| (spectral norms, here by power iteration) times the step near where it is, so
 * that a step of at most 2 / L_J along the full gradient does not raise the loss; sufficient, not tight, and
 * with the projection it holds for the gradient mapping.  Each report carries lr_cap = 0.9 * 2 / L_J: no
 * schedule's rate is ever above it.
 *
 *     nmf [--url URL] [--data FILE] [--seeds N] [--svg FILE]
 *
 * Schedules are compared on the same starts and the same minibatches; the initial rate is 1/100, 1/10 or 1/2
 * of the bound at the start, in turn.  The data are those of Debian's python3-sklearn. */
#define _DEFAULT_SOURCE /* popen, getpid */

#include <greedylr.h>

#include <errno.h>
#include <getopt.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define DIGITS  "/usr/lib/python3/dist-packages/sklearn/datasets/data/digits.csv.gz"
#define ROWS    300
#define COLUMNS 64
#define RANK    8
#define BATCH   75 /* rows of a step */
#define STEPS   4  /* before each report */
#define REPORTS 60
#define POWER   20 /* rounds of a power iteration */

static const struct schedule {
    const char *name, *settings;
} schedules[] = {
    {"constant", "{\"constant\": {}}"},
    {"step, /10 at 1/3 and 2/3", "{\"step\": {\"step_size\": 20, \"gamma\": 0.1}}"},
    {"step, /2 at each fifth", "{\"step\": {\"step_size\": 12, \"gamma\": 0.5}}"},
    {"cosine", "{\"cosine_annealing\": {\"t_max\": 60}}"},
    {"GreedyLR", "{\"greedy\": {\"patience\": 1}}"},
    {"learned", "{\"learned\": {\"total_reports\": 60}}"},
};
#define SCHEDULES (sizeof schedules / sizeof schedules[0])
#define STEP      2 /* the one that the others are compared with: the better of the two */

struct factors {
    double w[ROWS][RANK], h[RANK][COLUMNS], r[ROWS][COLUMNS]; /* and WH - X */
};

struct curve {
    double loss[REPORTS], lr[REPORTS];
    unsigned above; /* steps above the bound of the last report */
};

static double x[ROWS][COLUMNS], x_square;

/* ---- data ---- */

static int read_digits(const char *path)
{
    char command[1100], line[1024];
    int rows = 0;

    if (strchr(path, '\'')) return -1;
    snprintf(command, sizeof command, "gzip -dc '%.1000s'", path);
    FILE *pipe = popen(command, "r");

    while (pipe && rows < ROWS && fgets(line, sizeof line, pipe)) {
        char *at = line;

        for (int j = 0; j < COLUMNS; j++) {
            x[rows][j] = strtod(at, &at) / 16;
            if (*at == ',') at++;
            x_square += x[rows][j] * x[rows][j];
        }
        rows++;
    }
    if (pipe) pclose(pipe);
    if (rows == ROWS) return 0;
    fprintf(stderr, "nmf: %s: no %d rows of digits; install python3-sklearn, or give --data FILE\n", path,
            ROWS);
    return -1;
}

/* splitmix64; in [0, 1). */
static double uniform(uint64_t *state)
{
    uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);

    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return (double)((z ^ z >> 31) >> 11) * 0x1p-53;
}

/* ---- the factorisation ---- */

/* WH - X, and the loss as a share of that of W = 0. */
static double residual(struct factors *f)
{
    double sum = 0;

    for (int i = 0; i < ROWS; i++) {
        for (int j = 0; j < COLUMNS; j++) {
            double v = -x[i][j];

            for (int k = 0; k < RANK; k++)
                v += f->w[i][k] * f->h[k][j];
            f->r[i][j] = v;
            sum += v * v;
        }
    }
    return sum / x_square;
}

static void start(struct factors *f, uint64_t *random)
{
    for (int k = 0; k < RANK; k++) {
        for (int i = 0; i < ROWS; i++)
            f->w[i][k] = 0.1 + 0.4 * uniform(random);
        for (int j = 0; j < COLUMNS; j++)
            f->h[k][j] = 0.1 + 0.4 * uniform(random);
    }
}

/* One projected step on a random quarter of the rows, scaled to be the full gradient in the mean. */
static void step(struct factors *f, double lr, uint64_t *random)
{
    static double gh[RANK][COLUMNS];
    double scale = lr * ROWS / BATCH;

    memset(gh, 0, sizeof gh);
    for (int n = 0; n < BATCH; n++) {
        int i = (int)(uniform(random) * ROWS);
        double r[COLUMNS], gw[RANK] = {0};

        for (int j = 0; j < COLUMNS; j++) {
            r[j] = -x[i][j];
            for (int k = 0; k < RANK; k++)
                r[j] += f->w[i][k] * f->h[k][j];
            for (int k = 0; k < RANK; k++) {
                gh[k][j] += f->w[i][k] * r[j];
                gw[k] += f->h[k][j] * r[j];
            }
        }
        for (int k = 0; k < RANK; k++)
            f->w[i][k] = fmax(f->w[i][k] - scale * gw[k], 0);
    }
    for (int k = 0; k < RANK; k++) {
        for (int j = 0; j < COLUMNS; j++)
            f->h[k][j] = fmax(f->h[k][j] - scale * gh[k][j], 0);
    }
}

/* ---- the bound ---- */

/* Largest eigenvalue of a symmetric matrix that has no negative one. */
static double largest(double m[RANK][RANK])
{
    double v[RANK], norm = 0;

    for (int k = 0; k < RANK; k++)
        v[k] = 1;
    for (int n = 0; n < POWER; n++) {
        double next[RANK] = {0}, sum = 0;

        for (int a = 0; a < RANK; a++) {
            for (int b = 0; b < RANK; b++)
                next[a] += m[a][b] * v[b];
            sum += next[a] * next[a];
        }
        norm = sqrt(sum);
        for (int a = 0; a < RANK && norm > 0; a++)
            v[a] = next[a] / norm;
    }
    return norm;
}

/* Spectral norm of the residual: largest singular value. */
static double residual_norm(const struct factors *f)
{
    double v[COLUMNS], u[ROWS], norm = 0;

    for (int j = 0; j < COLUMNS; j++)
        v[j] = 1 + 0.01 * j;
    for (int n = 0; n < POWER; n++) {
        double sum = 0;

        for (int i = 0; i < ROWS; i++) {
            u[i] = 0;
            for (int j = 0; j < COLUMNS; j++)
                u[i] += f->r[i][j] * v[j];
        }
        for (int j = 0; j < COLUMNS; j++) {
            v[j] = 0;
            for (int i = 0; i < ROWS; i++)
                v[j] += f->r[i][j] * u[i];
            sum += v[j] * v[j];
        }
        sum = sqrt(sum);
        norm = sqrt(sum);
        for (int j = 0; j < COLUMNS && sum > 0; j++)
            v[j] /= sum;
    }
    return norm;
}

/* 2 / L_J, after residual(). */
static double bound(const struct factors *f)
{
    double w[RANK][RANK] = {{0}}, h[RANK][RANK] = {{0}};

    for (int a = 0; a < RANK; a++) {
        for (int b = 0; b < RANK; b++) {
            for (int i = 0; i < ROWS; i++)
                w[a][b] += f->w[i][a] * f->w[i][b];
            for (int j = 0; j < COLUMNS; j++)
                h[a][b] += f->h[a][j] * f->h[b][j];
        }
    }
    return 2 / (largest(w) + largest(h) + residual_norm(f));
}

/* ---- runs ---- */

/* One run with rates from the daemon; 0, or -1 and why on stderr. */
static int run(struct glr_client *client, size_t schedule, unsigned seed, struct curve *curve)
{
    static const double shares[] = {0.01, 0.1, 0.5};
    static struct factors f;
    uint64_t random = seed * 7919 + 1;
    struct glr_decision d = {.size = sizeof d};
    struct glr_job *job;
    char id[64];

    start(&f, &random);
    residual(&f);
    double most = bound(&f);

    d.lr = shares[seed % 3] * most;
    snprintf(id, sizeof id, "nmf-%ld-%zu-%u", (long)getpid(), schedule, seed);
    enum glr_code code = glr_job_create(client, id, &d.lr, 1, schedules[schedule].settings, &job);

    for (uint32_t t = 0; !code && t < REPORTS; t++) {
        for (int n = 0; n < STEPS; n++) {
            curve->above += d.lr > most;
            step(&f, d.lr, &random);
        }
        curve->lr[t] = d.lr;
        curve->loss[t] = residual(&f);
        most = bound(&f);
        struct glr_report report = {.size = sizeof report,
                                    .value = curve->loss[t],
                                    .lr_cap = 0.9 * most,
                                    .has_step = true,
                                    .step = t + 1};
        code = glr_report(job, &report, &d);
    }
    if (code) fprintf(stderr, "nmf: %s: %s\n", id, glr_error()->message);
    glr_job_close(job);
    return code ? -1 : 0;
}

/* ---- the answer ---- */

static struct curve *curve_of(struct curve *curves, size_t schedule, unsigned seed)
{
    return &curves[seed * SCHEDULES + schedule];
}

static void print_table(struct curve *curves, unsigned seeds)
{
    printf("%-26s %10s %34s %18s\n", "", "final loss", "against step, /2 at each fifth", "steps above bound");
    for (size_t k = 0; k < SCHEDULES; k++) {
        double sum = 0, squares = 0, loss = 0;
        unsigned above = 0;

        for (unsigned s = 0; s < seeds; s++) {
            double d =
                log(curve_of(curves, k, s)->loss[REPORTS - 1] / curve_of(curves, STEP, s)->loss[REPORTS - 1]);

            sum += d;
            squares += d * d;
            loss += log(curve_of(curves, k, s)->loss[REPORTS - 1]);
            above += curve_of(curves, k, s)->above;
        }
        double mean = sum / seeds, half = 1.96 * sqrt(fmax(squares / seeds - mean * mean, 0) / seeds);

        printf("%-26s %10.4f     %+6.1f %% (%+6.1f to %+6.1f)  %18u\n", schedules[k].name, exp(loss / seeds),
               100 * (exp(mean) - 1), 100 * (exp(mean - half) - 1), 100 * (exp(mean + half) - 1), above);
    }
    printf("Final losses are shares of ||X||^2, geometric means of %u seeds; differences are seed by seed, "
           "95 %%.\n",
           seeds);
}

#define LEFT   60 /* pixels */
#define WIDTH  420
#define HEIGHT 260

/* Geometric means over seeds of losses or rates, on a log scale, as a polyline. */
static void draw(FILE *file, struct curve *curves, unsigned seeds, int rates)
{
    static const char *const colours[] = {"#999", "#c60", "#e9a23b", "#7a5", "#27a", "#b04"};
    double mean[SCHEDULES][REPORTS], lo = INFINITY, hi = -INFINITY;
    int x0 = LEFT + rates * (WIDTH + 70);

    for (size_t k = 0; k < SCHEDULES; k++) {
        for (int t = 0; t < REPORTS; t++) {
            mean[k][t] = 0;
            for (unsigned s = 0; s < seeds; s++) {
                const struct curve *c = curve_of(curves, k, s);

                mean[k][t] += log10(fmax(rates ? c->lr[t] : c->loss[t], 1e-12)) / seeds;
            }
            lo = fmin(lo, mean[k][t]);
            hi = fmax(hi, mean[k][t]);
        }
    }
    fprintf(file, "<text x=\"%d\" y=\"20\">%s, 10^%.1f to 10^%.1f, over %d reports</text>\n", x0,
            rates ? "learning rate" : "loss", lo, hi, REPORTS);
    for (size_t k = 0; k < SCHEDULES; k++) {
        fprintf(file, "<polyline fill=\"none\" stroke=\"%s\" stroke-width=\"2\" points=\"", colours[k]);
        for (int t = 0; t < REPORTS; t++)
            fprintf(file, "%.1f,%.1f ", x0 + (double)WIDTH * t / (REPORTS - 1),
                    30 + HEIGHT * (hi - mean[k][t]) / fmax(hi - lo, 1e-9));
        fprintf(file, "\"/>\n");
        if (!rates)
            fprintf(file, "<text x=\"%d\" y=\"%d\" fill=\"%s\">%s</text>\n", LEFT + 160 * (int)(k % 3),
                    HEIGHT + 55 + 20 * (int)(k / 3), colours[k], schedules[k].name);
    }
}

static int draw_all(const char *path, struct curve *curves, unsigned seeds)
{
    FILE *file = fopen(path, "w");

    if (!file) {
        fprintf(stderr, "nmf: %s: %s\n", path, strerror(errno));
        return -1;
    }
    fprintf(file,
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%d\" height=\"%d\" font-family=\"sans-serif\" "
            "font-size=\"12\"><rect width=\"100%%\" height=\"100%%\" fill=\"white\"/>\n",
            2 * WIDTH + 70 + 2 * LEFT, HEIGHT + 90);
    draw(file, curves, seeds, 0);
    draw(file, curves, seeds, 1);
    fprintf(file, "</svg>\n");
    return fclose(file);
}

int main(int argc, char **argv)
{
    static const struct option options[] = {{"url", required_argument, NULL, 'u'},
                                            {"data", required_argument, NULL, 'd'},
                                            {"seeds", required_argument, NULL, 'n'},
                                            {"svg", required_argument, NULL, 's'},
                                            {0}};
    const char *data = DIGITS, *svg = NULL;
    struct glr_options where = {.size = sizeof where};
    struct glr_client *client;
    unsigned seeds = 12;
    int option, failed = 0;

    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
        if (option == 'u') where.url = optarg;
        if (option == 'd') data = optarg;
        if (option == 's') svg = optarg;
        if (option == 'n') seeds = (unsigned)strtoul(optarg, NULL, 10);
        if (option == '?') return 2;
    }
    if (!seeds || seeds > 1000) {
        fprintf(stderr, "nmf: --seeds: must be from 1 to 1000\n");
        return 2;
    }
    if (read_digits(data)) return 1;
    if (glr_client_open(&where, &client)) {
        fprintf(stderr, "nmf: %s\n", glr_error()->message);
        return 1;
    }
    struct curve *curves = calloc(seeds * SCHEDULES, sizeof *curves);

    for (unsigned s = 0; curves && !failed && s < seeds; s++) {
        for (size_t k = 0; !failed && k < SCHEDULES; k++)
            failed = run(client, k, s, curve_of(curves, k, s));
    }
    if (curves && !failed) print_table(curves, seeds);
    if (curves && !failed && svg) failed = draw_all(svg, curves, seeds);
    free(curves);
    glr_client_close(client);
    return failed || !curves ? 1 : 0;
}
