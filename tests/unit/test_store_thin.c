/* Histories as points, and what is picked of them: the same rows as a listing's, wherever they lie. */
#include "test_store_help.h"

enum { MAX = 200 };

struct thinned {
    uint32_t points[MAX], n_points;
    uint32_t each; /* picks every so many */
    uint32_t picked[MAX];
    uint32_t entries[MAX], n_entries;
    uint32_t stop_points, stop_entries; /* 0: never */
    bool wrong;
};

static int take_point(void *arg, const struct thin_point *point)
{
    struct thinned *t = arg;
    struct made m;
    const struct job_decision *d = &make_decision(&m, 1, point->revision)->decision;

    t->wrong = t->wrong || point->action != d->action || point->value != d->value || point->lr != d->lrs[0] ||
               !point->has_value;
    t->points[t->n_points++] = point->revision;
    return t->n_points == t->stop_points;
}

static size_t pick_some(void *arg, const uint32_t **revisions)
{
    struct thinned *t = arg;
    size_t n = 0;

    for (uint32_t i = 0; i < t->n_points; i += t->each)
        t->picked[n++] = t->points[i];
    *revisions = t->picked;
    return n;
}

static int take_entry(void *arg, const struct store_entry *entry)
{
    struct thinned *t = arg;
    struct made m;
    const struct job_decision *d = &make_decision(&m, 1, entry->decision.revision)->decision;

    t->wrong = t->wrong || strcmp(d->reason, entry->decision.reason) || d->step != entry->decision.step ||
               strcmp(m.request_id, entry->request_id) || d->shadow_len != entry->decision.shadow_len;
    t->entries[t->n_entries++] = entry->decision.revision;
    return t->n_entries == t->stop_entries;
}

static const struct store_thinning how = {.point = take_point, .pick = pick_some, .each = take_entry};

static void thin(struct fix *f, struct store_decisions_query query, struct thinned *t)
{
    if (!t->each) t->each = 1;
    query.uid = 1;
    OK(store_thin_decisions(f->reader, &query, &how, t, &f->err), f);
    cr_assert(!t->wrong);
}

/* Points first .. last of the query, of which every third is picked. */
static void check(struct fix *f, struct store_decisions_query query, uint32_t first, uint32_t last)
{
    struct thinned t = {.each = 3};

    thin(f, query, &t);
    cr_assert_eq(t.n_points, last + 1 - first, "%u points", t.n_points);
    for (uint32_t i = 0; i < t.n_points; i++)
        cr_assert_eq(t.points[i], first + i);
    cr_assert_eq(t.n_entries, (t.n_points + 2) / 3, "%u of %u entries", t.n_entries, t.n_points);
    for (uint32_t i = 0; i < t.n_entries; i++)
        cr_assert_eq(t.entries[i], first + 3 * i);
}

/* A decision's step is ten times its revision. */
#define STEPS(from, to) .has_from = true, .has_to = true, .from_step = (from), .to_step = (to)

Test(store, thins_history_and_log_alike)
{
    struct fix f;

    fix_begin(&f);
    create_job(&f, 1, "a", "");
    check(&f, (struct store_decisions_query){.limit = 1}, 1, 0);
    decide(&f, 1, 1, 60);
    for (int folded = 0; folded < 3; folded++) {
        if (folded == 1) fold(&f);
        if (folded == 2) decide(&f, 1, 61, 100);
        uint32_t end = folded == 2 ? 100 : 60;
        check(&f, (struct store_decisions_query){.limit = 1}, 1, end);
        check(&f, (struct store_decisions_query){.superseded = true}, 1, end);
        check(&f, (struct store_decisions_query){.after_revision = 50}, 51, end);
        check(&f, (struct store_decisions_query){.has_from = true, .from_step = 295}, 30, end);
        check(&f, (struct store_decisions_query){.has_to = true, .to_step = 295}, 1, 29);
        check(&f, (struct store_decisions_query){.superseded = true, STEPS(200, 420)}, 20, 42);
        check(&f, (struct store_decisions_query){STEPS(200, 420)}, 20, 42);
        check(&f, (struct store_decisions_query){STEPS(200, 100)}, 1, 0);
        check(&f, (struct store_decisions_query){STEPS(201, 209)}, 1, 0);
        check(&f, (struct store_decisions_query){.has_from = true, .from_step = 5000}, 1, 0);
    }
    check(&f, (struct store_decisions_query){STEPS(550, 700)}, 55, 70);
    check(&f, (struct store_decisions_query){STEPS(650, 700)}, 65, 70);
    check(&f, (struct store_decisions_query){.after_revision = 70}, 71, 100);
    fix_end(&f);
}

Test(store, thinning_stops_when_told)
{
    struct fix f;

    fix_begin(&f);
    create_job(&f, 1, "a", "");
    decide(&f, 1, 1, 10);
    fold(&f);
    decide(&f, 1, 11, 20);
    for (uint32_t stop = 4; stop < 20; stop += 10) {
        struct thinned points = {.stop_points = stop}, entries = {.stop_entries = stop};

        thin(&f, (struct store_decisions_query){.limit = 0}, &points);
        cr_assert_eq(points.n_points, stop);
        cr_assert_eq(points.n_entries, 0);
        thin(&f, (struct store_decisions_query){.limit = 0}, &entries);
        cr_assert_eq(entries.n_points, 20);
        cr_assert_eq(entries.n_entries, stop);
    }
    fix_end(&f);
}

Test(store, thinning_leaves_out_what_is_superseded)
{
    struct fix f;
    struct made m;

    fix_begin(&f);
    create_job(&f, 1, "a", "");
    decide(&f, 1, 1, 30);
    struct store_change change = change_of(1, make_decision(&m, 1, 31));
    change.supersedes = true;
    change.superseded_after = 20;
    OK(store_commit(f.store, &change, 1, &f.err), &f);
    for (int folded = 0; folded < 2; folded++) {
        struct thinned most = {0}, all = {0};

        thin(&f, (struct store_decisions_query){.limit = 0}, &most);
        cr_assert_eq(most.n_entries, 21);
        cr_assert_eq(most.entries[19], 20);
        cr_assert_eq(most.entries[20], 31);
        thin(&f, (struct store_decisions_query){.superseded = true}, &all);
        cr_assert_eq(all.n_entries, 31);
        fold(&f);
    }
    fix_end(&f);
}
