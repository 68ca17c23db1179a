/* Thinning out: what must be kept is, whatever the history looks like. */
#include "core/thin.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static uint64_t seed = 77;

static uint32_t pick(uint32_t n)
{
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(seed >> 33) % n;
}

struct history {
    struct thin_point *points;
    size_t n;
};

/* Losses that fall and are noisy; acts: percent of points that do something; odd: percent of odd values. */
static struct history make_history(size_t n, uint32_t acts, uint32_t odd)
{
    struct history h = {calloc(n + 1, sizeof(*h.points)), n};
    double lr = 0.1;

    for (size_t i = 0; i < n; i++) {
        struct thin_point *p = &h.points[i];
        p->revision = (i ? p[-1].revision : 0) + 1 + (pick(10) ? 0 : pick(5));
        p->action = pick(100) < acts ? (enum action)pick(ACTION_COUNT) : ACTION_HOLD;
        p->has_value = action_is_report(p->action);
        p->value = 2.0 / (1 + (double)i / 1000) + pick(1000) / 3000.0;
        if (pick(100) < odd) p->value = pick(2) ? NAN : pick(2) ? INFINITY : -INFINITY;
        if (p->action == ACTION_RAISE) lr *= 1.1;
        if (p->action == ACTION_CUT) lr *= 0.9;
        p->lr = lr;
    }
    return h;
}

static size_t choose(const struct history *h, uint32_t max, uint32_t *out)
{
    struct thin *thin = malloc(thin_size(max));

    memset(thin, 0xa5, thin_size(max));
    thin_init(thin, max);
    for (size_t i = 0; i < h->n; i++)
        thin_add(thin, &h->points[i]);
    size_t n = thin_choose(thin, out);
    free(thin);
    return n;
}

static bool is_in(const uint32_t *list, size_t n, uint32_t revision)
{
    size_t low = 0;

    while (n > 1) {
        size_t half = n / 2;
        if (list[low + half] <= revision) low += half;
        n -= half;
    }
    return n && list[low] == revision;
}

/* The first of the largest (sign 1) or smallest (-1) values or rates; NULL: there is none. */
static const struct thin_point *extreme(const struct history *h, bool rate, double sign)
{
    const struct thin_point *best = NULL;

    for (const struct thin_point *p = h->points; p < h->points + h->n; p++) {
        double x = rate ? p->lr : p->value;
        if (isnan(x) || (!rate && !p->has_value)) continue;
        if (!best || sign * x > sign * (rate ? best->lr : best->value)) best = p;
    }
    return best;
}

static void check_bounds(const struct history *h, uint32_t max, const uint32_t *list, size_t n)
{
    cr_assert_leq(n, max);
    for (size_t i = 1; i < n; i++)
        cr_assert_lt(list[i - 1], list[i]);
    size_t found = 0;
    for (size_t i = 0; i < h->n; i++)
        found += is_in(list, n, h->points[i].revision);
    cr_assert_eq(found, n, "revisions that are none");
    if (h->n <= max) cr_assert_eq(n, h->n, "%zu of %zu although %u fit", n, h->n, max);
    if (!h->n) return;
    cr_assert(is_in(list, n, h->points[0].revision), "not the first");
    cr_assert(is_in(list, n, h->points[h->n - 1].revision), "not the last");
}

static void check_extremes(const struct history *h, const uint32_t *list, size_t n)
{
    for (int i = 0; i < 4; i++) {
        const struct thin_point *p = extreme(h, i / 2, i % 2 ? 1 : -1);
        cr_assert(!p || is_in(list, n, p->revision), "extreme %d", i);
    }
    for (size_t i = 0; i < h->n; i++) {
        if (!h->points[i].has_value || !isnan(h->points[i].value)) continue;
        cr_assert(is_in(list, n, h->points[i].revision), "the first that is no number");
        return;
    }
}

static size_t count_deeds(const struct history *h, const uint32_t *list, size_t n, bool kept)
{
    size_t found = 0;

    for (const struct thin_point *p = h->points; p < h->points + h->n; p++) {
        if (p->action == ACTION_HOLD || p->action == ACTION_SCHEDULE || p->action == ACTION_RAMP) continue;
        found += !kept || is_in(list, n, p->revision);
    }
    return found;
}

Test(thin, whatever_the_history)
{
    static const uint32_t maxima[] = {2, 3, 4, 5, 6, 7, 8, 10, 11, 15, 60, 100, 333, 1000};
    static uint32_t list[1001], again[1001];

    for (int round = 0; round < 400; round++) {
        uint32_t max = maxima[pick(sizeof(maxima) / sizeof(*maxima))];
        uint32_t acts = pick(3) ? pick(10) : pick(101), odd = pick(2) ? 0 : pick(101);
        struct history h = make_history(pick(4) ? pick(max * 10 + 10) : max + pick(3) - 1, acts, odd);
        size_t n = choose(&h, max, list);

        check_bounds(&h, max, list, n);
        if (max >= 7) check_extremes(&h, list, n);
        size_t deeds = count_deeds(&h, list, n, false);
        if (max >= 7 && deeds <= (max - 7) / 4 * 3)
            cr_assert_eq(count_deeds(&h, list, n, true), deeds, "not all that did something");
        cr_assert_eq(choose(&h, max, again), n);
        cr_assert_eq(memcmp(list, again, n * sizeof(*list)), 0, "not the same again");
        free(h.points);
    }
}

Test(thin, one_spike_in_a_million)
{
    static uint32_t list[1000];
    struct history h = make_history(1000000, 50, 0);

    for (int round = 0; round < 5; round++) {
        struct thin_point *spike = &h.points[pick(1000000)];
        spike->has_value = true;
        spike->value = 3 + round;
        spike->action = ACTION_HOLD;
        cr_assert(is_in(list, choose(&h, round ? 1000 : 20, list), spike->revision), "round %d", round);
    }
    free(h.points);
}

/* Near every point there is one that is kept and at least as large, and one at least as small. */
Test(thin, the_shape_stays)
{
    static uint32_t list[500];
    enum { N = 20000, NEAR = 40 * N / 500 };

    for (uint32_t acts = 0; acts <= 100; acts += 50) {
        struct history h = make_history(N, acts, 0);
        size_t n = choose(&h, 500, list);
        size_t *kept = calloc(n, sizeof(*kept)), m = 0, from = 0;

        for (size_t i = 0; i < N; i++) {
            if (is_in(list, n, h.points[i].revision)) kept[m++] = i;
        }
        cr_assert_eq(m, n);
        for (size_t i = 0; i < N; i++) {
            const struct thin_point *p = &h.points[i];
            bool above = !p->has_value, below = above, faster = false, slower = false;
            while (kept[from] + NEAR < i)
                from++;
            for (size_t k = from; k < n && kept[k] < i + NEAR; k++) {
                const struct thin_point *q = &h.points[kept[k]];
                above = above || (q->has_value && q->value >= p->value);
                below = below || (q->has_value && q->value <= p->value);
                faster = faster || q->lr >= p->lr;
                slower = slower || q->lr <= p->lr;
            }
            cr_assert(above && below && faster && slower, "point %zu of %u %% acts", i, acts);
        }
        free(kept);
        free(h.points);
    }
}

Test(thin, a_noisy_history_fills_the_room)
{
    static uint32_t list[1000];

    for (size_t n = 1001; n < 9000; n += 777) {
        struct history h = make_history(n, 3, 0);
        cr_assert_geq(choose(&h, 1000, list), 850, "of %zu", n);
        free(h.points);
    }
}

/* What is frequent makes room for what is rare, and stays spread over the whole. */
Test(thin, frequent_actions_are_halved)
{
    static uint32_t list[100];
    struct history h = make_history(100000, 0, 0);
    size_t cuts = 0, tenths[10] = {0};

    for (size_t i = 0; i < h.n; i++)
        h.points[i].action = ACTION_CUT;
    h.points[4321].action = h.points[99000].action = ACTION_OVERRIDE;
    h.points[77777].action = ACTION_REWIND;
    size_t n = choose(&h, 100, list);
    cr_assert(is_in(list, n, h.points[4321].revision) && is_in(list, n, h.points[99000].revision) &&
              is_in(list, n, h.points[77777].revision));
    for (size_t i = 0; i < h.n; i++) {
        if (h.points[i].action != ACTION_CUT || !is_in(list, n, h.points[i].revision)) continue;
        cuts++;
        tenths[i / 10000]++;
    }
    cr_assert_geq(cuts, 35);
    for (int i = 0; i < 10; i++)
        cr_assert_geq(tenths[i], 2);
    free(h.points);
}
