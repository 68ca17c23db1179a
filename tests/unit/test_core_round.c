/* Rounds: reductions against a naive reference, when a round may be decided, and what it leaves behind. */
#include "core/round.h"

#include "test_core_help.h"

enum { WORLD = 12 };

static uint64_t seed = 20251;

static uint32_t pick(uint32_t n)
{
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(seed >> 33) % n;
}

/* Magnitudes that make sums depend on their order. */
static double pick_value(void)
{
    static const double scale[] = {1, 1e-9, 1e9, 1e16, -1, -1e16, 3, 0};

    return scale[pick(8)] * (1 + pick(1000)) / 7;
}

static struct round *new_round(uint32_t world_size, uint32_t quorum, enum reduce reduce)
{
    const struct ranks ranks = {world_size, quorum, reduce, 60000};
    struct round *round = malloc(round_size(world_size));

    cr_assert_not_null(round);
    memset(round, 0xa5, round_size(world_size));
    round_open(round, 3, 70, &ranks);
    return round;
}

static struct round_report plain(double value)
{
    return (struct round_report){.value = value, .weight = 1, .lr_cap = INFINITY, .applied_lr = NAN};
}

/* What was reported, in the order of arrival. */
struct given {
    uint32_t n, rank[WORLD];
    double value[WORLD], weight[WORLD];
};

/* Distinct ranks in a random order of arrival. */
static struct given pick_given(void)
{
    struct given g = {.n = 1 + pick(WORLD)};

    for (uint32_t i = 0; i < g.n; i++) {
        bool taken = true;

        while (taken) {
            g.rank[i] = pick(WORLD);
            taken = false;
            for (uint32_t k = 0; k < i; k++)
                taken = taken || g.rank[k] == g.rank[i];
        }
        g.value[i] = pick_value();
        g.weight[i] = (1 + pick(100)) / 3.0;
    }
    return g;
}

static struct round *round_of(const struct given *g, enum reduce reduce)
{
    struct round *round = new_round(WORLD, WORLD, reduce);

    for (uint32_t i = 0; i < g->n; i++) {
        struct round_report report = plain(g->value[i]);

        report.weight = g->weight[i];
        cr_assert(round_add(round, g->rank[i], &report));
    }
    cr_assert_eq(round->n, g->n);
    return round;
}

/* The value with so many below it, by counting. */
static double nth(const struct given *g, uint32_t at)
{
    for (uint32_t i = 0; i < g->n; i++) {
        uint32_t below = 0, equal = 0;

        for (uint32_t k = 0; k < g->n; k++) {
            below += g->value[k] < g->value[i];
            equal += !(g->value[k] < g->value[i]) && !(g->value[k] > g->value[i]);
        }
        if (below <= at && at < below + equal) return g->value[i];
    }
    return NAN;
}

static double naive_mean(const struct given *g)
{
    double sum = 0, weights = 0;

    for (uint32_t rank = 0; rank < WORLD; rank++) {
        for (uint32_t i = 0; i < g->n; i++) {
            if (g->rank[i] != rank) continue;
            sum += g->weight[i] * g->value[i];
            weights += g->weight[i];
        }
    }
    return sum / weights;
}

static double naive(const struct given *g, enum reduce reduce)
{
    switch (reduce) {
    case REDUCE_MEAN: return naive_mean(g);
    case REDUCE_MIN: return nth(g, 0);
    case REDUCE_MAX: return nth(g, g->n - 1);
    case REDUCE_MEDIAN: return (nth(g, (g->n - 1) / 2) + nth(g, g->n / 2)) / 2;
    case REDUCE_FIRST: return g->value[0];
    }
    return NAN;
}

Test(core_round, reductions_are_those_of_a_naive_reference)
{
    for (int i = 0; i < 20000; i++) {
        struct given g = pick_given();

        for (enum reduce reduce = REDUCE_MEAN; reduce <= REDUCE_FIRST; reduce++) {
            struct round *round = round_of(&g, reduce);
            double got = round_reduce(round), want = naive(&g, reduce);

            cr_assert(got == want, "%s: %a, not %a", reduce_words[reduce], got, want);
            free(round);
        }
    }
}

Test(core_round, median_of_even_and_odd)
{
    static const struct {
        uint32_t n;
        double values[5], want;
    } rows[] = {{1, {7}, 7},
                {2, {7, 1}, 4},
                {3, {9, 1, 2}, 2},
                {4, {9, 1, 2, 4}, 3},
                {5, {5, 5, 1, 9, 5}, 5},
                {4, {-1, -1, -2, 8}, -1},
                {2, {1e308, 1.5e308}, INFINITY}}; /* as the page says: (a + b) / 2 */

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct round *round = new_round(rows[i].n, rows[i].n, REDUCE_MEDIAN);

        for (uint32_t rank = 0; rank < rows[i].n; rank++) {
            struct round_report report = plain(rows[i].values[rank]);
            cr_assert(round_add(round, rank, &report));
        }
        cr_assert_eq(round_reduce(round), rows[i].want, "row %zu: %g", i, round_reduce(round));
        free(round);
    }
}

/* Shuffled arrivals give the same bits; only `first` is about the order. */
Test(core_round, the_order_of_arrival_does_not_matter)
{
    for (int i = 0; i < 3000; i++) {
        struct given g = pick_given(), h = g;

        for (uint32_t k = h.n - 1; k > 0; k--) {
            uint32_t with = pick(k + 1), rank = h.rank[k];
            double value = h.value[k], weight = h.weight[k];

            h.rank[k] = h.rank[with], h.value[k] = h.value[with], h.weight[k] = h.weight[with];
            h.rank[with] = rank, h.value[with] = value, h.weight[with] = weight;
        }
        for (enum reduce reduce = REDUCE_MEAN; reduce < REDUCE_FIRST; reduce++) {
            struct round *a = round_of(&g, reduce), *b = round_of(&h, reduce);
            double x = round_reduce(a), y = round_reduce(b);

            cr_assert(memcmp(&x, &y, sizeof(x)) == 0, "%s: %a %a", reduce_words[reduce], x, y);
            free(a);
            free(b);
        }
    }
}

Test(core_round, a_value_that_is_not_finite_makes_it_nan)
{
    static const double odd[] = {NAN, INFINITY, -INFINITY};

    for (enum reduce reduce = REDUCE_MEAN; reduce <= REDUCE_FIRST; reduce++) {
        for (size_t i = 0; i < 3; i++) {
            for (uint32_t at = 0; at < 4; at++) {
                struct round *round = new_round(5, 5, reduce); /* one rank is missing */

                for (uint32_t rank = 0; rank < 4; rank++) {
                    struct round_report report = plain(rank == at ? odd[i] : rank);
                    cr_assert(round_add(round, rank, &report));
                }
                cr_assert(isnan(round_reduce(round)), "%s %g", reduce_words[reduce], odd[i]);
                free(round);
            }
        }
    }
}

Test(core_round, the_first_report_of_a_rank_stands)
{
    struct round *round = new_round(2, 2, REDUCE_MEAN);
    struct round_report one = plain(1), two = plain(2);

    cr_assert(round_add(round, 1, &one));
    cr_assert(!round_add(round, 1, &two));
    cr_assert(!round_add(round, 1, &one));
    cr_assert_eq(round->n, 1);
    cr_assert(round_add(round, 0, &two));
    cr_assert_eq(round_reduce(round), 1.5);
    cr_assert_eq(round->reports[1].order, 1);
    cr_assert_eq(round->reports[0].order, 2);
    free(round);
}

/* Every number of reports, of a round before and after its deadline. */
Test(core_round, when_it_may_be_decided)
{
    for (uint32_t world = 1; world <= 5; world++) {
        for (uint32_t quorum = 1; quorum <= world; quorum++) {
            for (enum reduce reduce = REDUCE_MEAN; reduce <= REDUCE_FIRST; reduce++) {
                struct round *round = new_round(world, quorum, reduce);

                for (uint32_t n = 0; n <= world; n++) {
                    bool all = n == world || (reduce == REDUCE_FIRST && n > 0);
                    struct round_report report = plain(n);

                    cr_assert_eq(round->n, n);
                    cr_assert_eq(round_complete(round), all, "%u of %u", n, world);
                    cr_assert_eq(round_ready(round), all, "%u of %u", n, world);
                    round->overdue = true;
                    cr_assert_eq(round_complete(round), all);
                    cr_assert_eq(round_ready(round), all || n >= quorum, "%u of %u, quorum %u", n, world,
                                 quorum);
                    round->overdue = false;
                    if (n < world) cr_assert(round_add(round, world - 1 - n, &report));
                }
                free(round);
            }
        }
    }
}

Test(core_round, missing_ranks)
{
    struct round *round = new_round(6, 6, REDUCE_MEAN);
    struct round_report report = plain(1);
    static const uint32_t absent[] = {1, 2, 3, 5}, not_durable[] = {0, 1, 2, 3, 5};
    uint32_t missing[6];

    cr_assert_eq(round_missing(round, false, missing, 6), 6);
    cr_assert(round_add(round, 4, &report));
    cr_assert(round_add(round, 0, &report));
    round->reports[4].recorded = true;
    cr_assert_eq(round_missing(round, false, missing, 6), 4);
    for (uint32_t i = 0; i < 4; i++)
        cr_assert_eq(missing[i], absent[i]);
    cr_assert_eq(round_missing(round, true, missing, 6), 5, "a value that is not durable is not there yet");
    for (uint32_t i = 0; i < 5; i++)
        cr_assert_eq(missing[i], not_durable[i]);
    missing[2] = 99;
    cr_assert_eq(round_missing(round, false, missing, 2), 4, "counts beyond what it may write");
    cr_assert_eq(missing[1], 2);
    cr_assert_eq(missing[2], 99);
    cr_assert_eq(round_missing(round, false, NULL, 0), 4);
    free(round);
}

Test(core_round, missing_ranks_as_text)
{
    static const struct {
        uint32_t world, reported;
        const char *want;
    } rows[] = {{1, 0, "rank 0"},
                {2, 1, "rank 1"},
                {2, 0, "ranks 0 and 1"},
                {5, 2, "ranks 2, 3 and 4"},
                {8, 0, "ranks 0, 1, 2, 3, 4, 5, 6 and 7"},
                {9, 0, "ranks 0, 1, 2, 3, 4, 5, 6, 7 and 1 more"},
                {1000, 1, "ranks 1, 2, 3, 4, 5, 6, 7, 8 and 991 more"}};
    char text[160], small[64];

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct round *round = new_round(rows[i].world, 1, REDUCE_MEAN);
        struct round_report report = plain(1);

        for (uint32_t rank = 0; rank < rows[i].reported; rank++)
            cr_assert(round_add(round, rank, &report));
        round_missing_text(round, text, sizeof(text));
        cr_assert_str_eq(text, rows[i].want);
        memset(small, 'x', sizeof(small));
        round_missing_text(round, small, sizeof(small));
        cr_assert_not_null(memchr(small, '\0', sizeof(small)));
        free(round);
    }
}

Test(core_round, the_event_that_decides)
{
    struct help_job job = help_job("0.1", "");
    struct round *round = new_round(4, 2, REDUCE_MAX);
    struct job_event event = {.time_us = 1234};
    struct round_report report = plain(2);

    report.lr_cap = 0.5;
    report.applied_lr = 0.1; /* what was answered */
    cr_assert(round_add(round, 0, &report));
    report.value = 3;
    report.lr_cap = 0.2;
    report.applied_lr = NAN;
    cr_assert(round_add(round, 3, &report));
    round_event(round, job.state, &event);
    cr_assert_eq(event.kind, EVENT_REPORT);
    cr_assert_eq(event.time_us, 1234);
    cr_assert(event.actor == NULL);
    cr_assert_eq(event.report.value, 3);
    cr_assert(event.report.has_step && event.report.has_attempt);
    cr_assert_eq(event.report.step, 70);
    cr_assert_eq(event.report.attempt, 3);
    cr_assert_eq(event.report.ranks, 2);
    cr_assert_eq(event.report.lr_cap, 0.2, "the smallest");
    cr_assert(!job_applied_differs(job.state, event.report.applied_lr));

    report.applied_lr = 0.3; /* one of them is wrong */
    report.lr_cap = INFINITY;
    cr_assert(round_add(round, 1, &report));
    report.applied_lr = 0.1;
    cr_assert(round_add(round, 2, &report));
    round_event(round, job.state, &event);
    cr_assert(job_applied_differs(job.state, event.report.applied_lr));
    cr_assert_eq(event.report.lr_cap, 0.2);
    cr_assert_eq(event.report.ranks, 4);
    free(round);

    round = new_round(2, 2, REDUCE_MEAN);
    report = plain(1);
    cr_assert(round_add(round, 0, &report));
    round_event(round, job.state, &event);
    cr_assert_eq(event.report.lr_cap, INFINITY);
    cr_assert(isnan(event.report.applied_lr));
    free(round);
    help_job_free(&job);
}

Test(core_round, a_record_holds_every_report_to_the_bit)
{
    for (int i = 0; i < 2000; i++) {
        struct given g = pick_given();

        g.value[0] = (double[]){NAN, INFINITY, -INFINITY, -0.0, 5e-324}[pick(5)];
        struct round *round = round_of(&g, REDUCE_MEAN);
        size_t n = round_record_size(round);
        uint8_t *record = malloc(n);

        cr_assert_eq(n, 12 * g.n);
        round_record(round, record);
        for (uint32_t rank = 0; rank < WORLD + 2; rank++) {
            const double *want = NULL;
            double got = 77;

            for (uint32_t k = 0; k < g.n; k++) {
                if (g.rank[k] == rank) want = &g.value[k];
            }
            cr_assert_eq(round_record_find(record, n, rank, &got), want != NULL);
            if (want)
                cr_assert(memcmp(&got, want, sizeof(got)) == 0, "rank %u", rank);
            else
                cr_assert_eq(got, 77, "left as it was");
        }
        free(record);
        free(round);
    }
}

Test(core_round, a_record_as_bytes)
{
    static const uint8_t want[] = {1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xf8, 0x3f,  /* rank 1: 1.5 */
                                   0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0,    0xc0}; /* rank 256: -2 */
    struct round *round = new_round(300, 300, REDUCE_MEAN);
    struct round_report report = plain(-2);
    uint8_t record[sizeof(want)];
    double value;

    cr_assert(round_add(round, 256, &report));
    report.value = 1.5;
    cr_assert(round_add(round, 1, &report));
    cr_assert_eq(round_record_size(round), sizeof(want));
    round_record(round, record);
    cr_assert(memcmp(record, want, sizeof(want)) == 0);
    cr_assert(round_record_find(want, sizeof(want), 256, &value) && value == -2);
    free(round);
}

Test(core_round, damaged_records_hold_nobody)
{
    double value = 77;

    cr_assert(!round_record_find(NULL, 0, 0, &value));
    for (size_t n = 0; n < 12; n++) {
        uint8_t *short_one = calloc(1, n ? n : 1); /* exact, so that a sanitizer sees a read beyond it */

        cr_assert(!round_record_find(short_one, n, 0, &value), "%zu", n);
        free(short_one);
    }
    for (int i = 0; i < 2000; i++) {
        size_t n = pick(60);
        uint8_t *noise = malloc(n ? n : 1);

        for (size_t k = 0; k < n; k++)
            noise[k] = (uint8_t)pick(4);
        for (uint32_t rank = 0; rank < 8; rank++)
            (void)round_record_find(noise, n, rank, &value);
        free(noise);
    }
}
