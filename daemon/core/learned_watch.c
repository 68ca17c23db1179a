/* The watch: whether the model drives the rate away, as weights that nobody trained do.
 *
 * Happy path: a model that was trained is steady at all but one report in hundreds, and nothing comes of it.
 * A trained model may be wrong about a rate; what it does not do is to cut in the first reports of a run
 * without a loss that rose, or to stay at a fiftieth of the initial rate where the loss does not move.  At
 * such a report the rate is held; the third in a row hands over: on trial to the GreedyLR that ran along, so
 * that next to nothing is lost, later to one that starts again from the initial rate.  Nothing can fail. */
#include "core/learned.h"

#include <string.h>

#define CUT   (-0.1)   /* an action that counts as one */
#define FAR   (-3.912) /* log of a fiftieth */
#define LEAST 0.002    /* what a loss has to fall by in a report, and half of its noise, to count as moving */

bool learned_decides(const struct learned_state *s)
{
    return s->pilot == LEARNED_FLIES || s->pilot == LEARNED_WATCHED;
}

bool learned_on_trial(const struct learned_state *s)
{
    return s->pilot == LEARNED_WATCHED && s->t < LEARNED_TRIAL;
}

enum learned_course learned_watch(const struct learned_state *s, double log_rate, double action)
{
    if (s->pilot != LEARNED_WATCHED) return LEARNED_STEADY;
    if (s->t <= LEARNED_TRIAL)
        return action >= CUT ? LEARNED_STEADY : s->ratio > 0 ? LEARNED_EXCUSED : LEARNED_CUTS;
    if (log_rate < FAR && s->acted < 0 && -s->mid < LEAST + s->noise / 2) return LEARNED_LOST;
    return LEARNED_STEADY;
}

void learned_watch_end(const struct job_spec *spec, struct learned_state *s)
{
    if (s->pilot == LEARNED_WATCHED && s->t == LEARNED_TRIAL)
        memset(learned_greedy_block(spec, s), 0, learned_greedy_size(spec));
}
