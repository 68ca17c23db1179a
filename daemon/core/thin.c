/* Extremes are kept by stretch: each stretch of the history remembers where its own are.  Stretches begin as
 * single points; when there are too many, each two neighbours become one, which is exact: the largest of two
 * largest is the largest.  So the pass needs no count beforehand, and ends with between max/2 and max
 * stretches, which are joined evenly, once more, into as many as there is room for.
 *
 * Points that did something are kept as a list; when it is full the most frequent action is halved. */
#include "core/thin.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum extreme { VALUE_MAX, VALUE_MIN, LR_MAX, LR_MIN, NO_NUMBER, EXTREMES };

#define ENDS   2                 /* the first and the last point */
#define ALWAYS (ENDS + EXTREMES) /* of the whole history */

/* Where a stretch has its extremes; revision 0: nowhere. */
struct stretch {
    struct {
        uint32_t revision;
        double at;
    } extreme[EXTREMES];
};

struct deed {
    uint32_t revision;
    uint32_t ordinal; /* among those of its action, from 0 */
    enum action action;
};

struct thin {
    uint32_t max;
    uint32_t first, last; /* revisions */
    uint64_t n;           /* points so far */
    uint64_t width;       /* points of a stretch: a power of two */
    uint32_t n_stretches;
    uint32_t n_deeds, max_deeds;
    uint32_t done[ACTION_COUNT];  /* how often so far */
    uint32_t kept[ACTION_COUNT];  /* of these in deeds */
    uint64_t every[ACTION_COUNT]; /* those whose ordinal it divides are kept: a power of two */
    struct stretch *stretches;    /* [max] */
    struct deed *deeds;           /* [max_deeds + 1] */
    uint32_t *picked;             /* [picked_size] */
};

static uint32_t deeds_of(uint32_t max)
{
    return max > ALWAYS ? (max - ALWAYS) / 4 * 3 : 0;
}

static size_t picked_size(uint32_t max)
{
    return ENDS + deeds_of(max) + (size_t)EXTREMES * max;
}

size_t thin_size(uint32_t max)
{
    return sizeof(struct thin) + max * sizeof(struct stretch) + (deeds_of(max) + 1) * sizeof(struct deed) +
           picked_size(max) * sizeof(uint32_t);
}

void thin_init(struct thin *thin, uint32_t max)
{
    *thin = (struct thin){.max = max, .width = 1, .max_deeds = deeds_of(max)};
    thin->stretches = (void *)(thin + 1);
    thin->deeds = (void *)(thin->stretches + max);
    thin->picked = (void *)(thin->deeds + thin->max_deeds + 1);
    for (int i = 0; i < ACTION_COUNT; i++)
        thin->every[i] = 1;
}

/* ---- extremes ---- */

/* Whether b is more of it than a, which comes first. */
static bool exceeds(int extreme, double b, double a)
{
    switch (extreme) {
    case VALUE_MAX:
    case LR_MAX: return b > a;
    case VALUE_MIN:
    case LR_MIN: return b < a;
    default: return false;
    }
}

static void take(struct stretch *s, int extreme, uint32_t revision, double at)
{
    if (s->extreme[extreme].revision && !exceeds(extreme, at, s->extreme[extreme].at)) return;
    s->extreme[extreme].revision = revision;
    s->extreme[extreme].at = at;
}

/* Makes b, which follows on a, a part of it. */
static void join(struct stretch *a, const struct stretch *b)
{
    for (int i = 0; i < EXTREMES; i++) {
        if (b->extreme[i].revision) take(a, i, b->extreme[i].revision, b->extreme[i].at);
    }
}

static void halve_stretches(struct thin *thin)
{
    uint32_t n = 0;

    for (uint32_t i = 0; i < thin->n_stretches; i += 2) {
        struct stretch s = thin->stretches[i];
        if (i + 1 < thin->n_stretches) join(&s, &thin->stretches[i + 1]);
        thin->stretches[n++] = s;
    }
    thin->n_stretches = n;
    thin->width *= 2;
}

static void add_extremes(struct thin *thin, const struct thin_point *p)
{
    if (thin->n == thin->width * thin->max) halve_stretches(thin);
    if (thin->n == thin->width * thin->n_stretches)
        thin->stretches[thin->n_stretches++] = (struct stretch){0};
    struct stretch *s = &thin->stretches[thin->n_stretches - 1];
    if (isnan(p->lr) || (p->has_value && isnan(p->value))) take(s, NO_NUMBER, p->revision, 0);
    if (!isnan(p->lr)) {
        take(s, LR_MAX, p->revision, p->lr);
        take(s, LR_MIN, p->revision, p->lr);
    }
    if (p->has_value && !isnan(p->value)) {
        take(s, VALUE_MAX, p->revision, p->value);
        take(s, VALUE_MIN, p->revision, p->value);
    }
}

/* ---- what did something ---- */

static bool did_something(enum action action)
{
    return action != ACTION_HOLD && action != ACTION_SCHEDULE && action != ACTION_RAMP;
}

/* Drops every second one of the action that has most, or its last, where none has more than one. */
static void drop_deeds(struct thin *thin)
{
    uint32_t n = 0;
    int most = 0;

    for (int i = 1; i < ACTION_COUNT; i++) {
        if (thin->kept[i] > thin->kept[most]) most = i;
    }
    if (thin->kept[most] < 2) {
        thin->n_deeds--;
        thin->kept[thin->deeds[thin->n_deeds].action]--;
        return;
    }
    thin->every[most] *= 2;
    for (uint32_t i = 0; i < thin->n_deeds; i++) {
        const struct deed *d = &thin->deeds[i];
        if (d->action == (enum action)most && d->ordinal % thin->every[most]) {
            thin->kept[most]--;
            continue;
        }
        thin->deeds[n++] = *d;
    }
    thin->n_deeds = n;
}

static void add_deed(struct thin *thin, const struct thin_point *p)
{
    uint32_t ordinal = thin->done[p->action]++;

    if (!thin->max_deeds || ordinal % thin->every[p->action]) return;
    thin->deeds[thin->n_deeds++] =
        (struct deed){.revision = p->revision, .ordinal = ordinal, .action = p->action};
    thin->kept[p->action]++;
    while (thin->n_deeds > thin->max_deeds)
        drop_deeds(thin);
}

void thin_add(struct thin *thin, const struct thin_point *point)
{
    if (!thin->first) thin->first = point->revision;
    thin->last = point->revision;
    add_extremes(thin, point);
    if (did_something(point->action)) add_deed(thin, point);
    thin->n++;
}

/* ---- the choice ---- */

static int by_number(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

    return (x > y) - (x < y);
}

/* Sorts, each once; how many are left. */
static size_t sort(uint32_t *list, size_t n)
{
    size_t kept = 0;

    qsort(list, n, sizeof(*list), by_number);
    for (size_t i = 0; i < n; i++) {
        if (!kept || list[kept - 1] != list[i]) list[kept++] = list[i];
    }
    return kept;
}

/* All that is kept if the stretches are joined into so many groups. */
static size_t pick(struct thin *thin, uint32_t groups)
{
    size_t n = 0;

    thin->picked[n++] = thin->last;
    thin->picked[n++] = thin->first;
    for (uint32_t i = 0; i < thin->n_deeds; i++)
        thin->picked[n++] = thin->deeds[i].revision;
    for (uint32_t g = 0; g < groups; g++) {
        uint64_t from = (uint64_t)g * thin->n_stretches / groups;
        uint64_t to = ((uint64_t)g + 1) * thin->n_stretches / groups;
        struct stretch s = thin->stretches[from];
        while (++from < to)
            join(&s, &thin->stretches[from]);
        for (int i = 0; i < EXTREMES; i++) {
            if (s.extreme[i].revision) thin->picked[n++] = s.extreme[i].revision;
        }
    }
    return sort(thin->picked, n);
}

/* Where there is not even room for the extremes of the whole. */
static size_t pick_few(struct thin *thin)
{
    struct stretch s = thin->stretches[0];
    uint32_t few[ALWAYS] = {thin->last, thin->first};
    size_t n = ENDS;

    for (uint32_t i = 1; i < thin->n_stretches; i++)
        join(&s, &thin->stretches[i]);
    for (int i = 0; i < EXTREMES && n < thin->max; i++) {
        uint32_t revision = s.extreme[i].revision;
        bool there = !revision;
        for (size_t k = 0; k < n; k++)
            there = there || few[k] == revision;
        if (!there) few[n++] = revision;
    }
    memcpy(thin->picked, few, n * sizeof(*few));
    return sort(thin->picked, n);
}

size_t thin_choose(struct thin *thin, uint32_t *out)
{
    uint32_t fits = 1, too_many = thin->n_stretches + 1;
    size_t n;

    if (!thin->n) return 0;
    if (thin->max < ALWAYS && thin->n > thin->max) {
        n = pick_few(thin);
    } else if (thin->n <= thin->max) { /* every point is a stretch */
        n = pick(thin, thin->n_stretches);
    } else {
        while (too_many - fits > 1) {
            uint32_t middle = fits + (too_many - fits) / 2;
            if (pick(thin, middle) <= thin->max)
                fits = middle;
            else
                too_many = middle;
        }
        n = pick(thin, fits);
    }
    memcpy(out, thin->picked, n * sizeof(*out));
    return n;
}
