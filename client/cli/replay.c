/* What other settings would have decided on the values that a job has recorded.
 *
 * The daemon simulates the job's settings with the changes on the values of every report that counts now, and
 * each decision is put beside the recorded one.  A simulation begins anew and gets values only: what somebody
 * did to the job, and a cap that a report carried, happened on one side alone, and is named. */
#include "cli/replay.h"

#include "cli/call.h"
#include "cli/picture.h"
#include "cli/recorded.h"
#include "cli/run.h"
#include "cli/settings.h"
#include "cli/simulate.h"
#include "cli/text.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

struct ask {
    const struct invocation *in;
    struct transport *t;
    struct recorded recorded;
    json_t *spec;   /* what is replayed */
    json_t *answer; /* of Simulate */
};

/* ---- comparing ---- */

static void compare(struct replay *r, const json_t *recorded, const json_t *replayed)
{
    double was = value_number(json_object_get(recorded, "lr")),
           is = value_number(json_object_get(replayed, "lr"));
    bool same = json_equal(json_object_get(recorded, "lrs"), json_object_get(replayed, "lrs"));
    const json_t *sides[2] = {recorded, replayed};

    if (!same || !json_equal(json_object_get(recorded, "action"), json_object_get(replayed, "action"))) {
        if (!r->n_different++) r->first = r->n;
    }
    r->ratio = was > 0 && is > 0 ? is / was : NAN;
    if (isfinite(r->ratio)) {
        r->sum_of_logs += log(is) - log(was);
        r->n_ratios++;
    }
    for (int side = 0; side < 2; side++) {
        const char *action = json_string_value(json_object_get(sides[side], "action"));
        if (!action) continue;
        r->raises[side] += !strcmp(action, "raise");
        r->cuts[side] += !strcmp(action, "cut");
        r->resets[side] += !strcmp(action, "reset");
    }
    r->n++;
}

static void add_row(struct replay *r, json_t *recorded, json_t *replayed)
{
    compare(r, recorded, replayed);
    if (json_array_append(r->recorded, recorded) || json_array_append(r->replayed, replayed)) need(NULL);
}

/* Puts recorded reports and simulated ones side by side, and both into the series. */
static int pair(const struct ask *ask, struct replay *r, struct series *series)
{
    json_t *replayed = json_object_get(ask->answer, "decisions"), *decision;
    size_t i;

    if (json_array_size(replayed) != json_array_size(ask->recorded.values)) {
        say("%s answered with %zu decisions on %zu values; check --url or GREEDYLR_URL",
            transport_url(ask->t), json_array_size(replayed), json_array_size(ask->recorded.values));
        return EXIT_NO_ANSWER;
    }
    json_array_foreach(ask->recorded.decisions, i, decision)
    {
        json_t *other = json_object_get(decision, "value") ? json_array_get(replayed, r->n) : NULL;
        if (series) series_add(series, NAN, decision, other);
        if (other) add_row(r, decision, other);
        replay_note(r, decision);
    }
    return 0;
}

/* ---- asking ---- */

static int simulate(struct ask *ask)
{
    json_t *request;
    int rc;

    ask->spec = settings_of(json_object_get(ask->recorded.job, "spec"));
    rc = settings_apply(ask->in, ask->spec);
    if (rc) return rc;
    request = need(json_pack("{s:O, s:O}", "spec", ask->spec, "losses", ask->recorded.values));
    rc = simulate_json(ask->in, ask->t, request, &ask->answer);
    json_decref(request);
    return rc;
}

static int show(const struct ask *ask)
{
    const struct invocation *in = ask->in;
    struct replay r = {
        .in = in, .spec = ask->spec, .recorded = need(json_array()), .replayed = need(json_array())};
    const char *job = json_string_value(json_object_get(in->request, "job"));
    char *changes = replay_changes(in), title[300];
    struct series *series = NULL;
    int rc;

    if (picture_wanted(in)) {
        snprintf(title, sizeof(title), "%.128s%s%.150s", job, *changes ? ", replayed with " : ", replayed",
                 changes);
        series = series_new(title, "step", "recorded rate", "replayed rate");
        series->note = WHAT_IF_NOTE;
    }
    rc = pair(ask, &r, series);
    if (!rc && !picture_is_all(in)) replay_show_rows(&r);
    if (!rc && series) rc = picture_show(in, series);
    if (!rc && in->output != OUTPUT_JSON) replay_show_summary(&r);
    series_free(series);
    free(changes);
    json_decref(r.recorded);
    json_decref(r.replayed);
    return rc ? rc : finish_output();
}

int run_replay(const struct invocation *in)
{
    struct ask ask = {.in = in};
    int rc = picture_check(in);

    if (!rc) rc = session_open(in, &ask.t);
    if (rc) return rc;
    rc = recorded_fetch(in, ask.t, json_string_value(json_object_get(in->request, "job")), &ask.recorded);
    if (!rc) rc = simulate(&ask);
    if (!rc) rc = show(&ask);
    json_decref(ask.answer);
    json_decref(ask.spec);
    recorded_clear(&ask.recorded);
    transport_free(ask.t);
    return rc;
}
