/* Model 33e8dc80371f300a.  Written by greedylr-train --header; not to be edited. */
#ifndef GREEDYLRD_CORE_LEARNED_DEFAULT_H
#define GREEDYLRD_CORE_LEARNED_DEFAULT_H

#include "core/learned_model.h"

/* clang-format off */
const struct learned_origin learned_default_origin = {.seed = 1, .config = 0xa5a05353};

const struct learned_model learned_default_model = {
    .feature_set = 1,
    .up = 1.5,
    .down = 4,
    .weights =
        {
            -0.381769, /* ratio */
            -0.391987, /* fast */
            0.107233, /* mid */
            -0.0739321, /* slow */
            0.163277, /* noise */
            0.112096, /* mid_by_noise */
            -0.249295, /* slow_by_noise */
            -0.113649, /* gap */
            -0.563738, /* since_best */
            -0.63932, /* rate */
            -0.484422, /* rate_by_best */
            -0.167442, /* rate_by_top */
            -0.660796, /* done */
            0.186363, /* known */
            0.0125055, /* reports */
            -0.0492101, /* action */
            0.0883217, /* acted */
            0.450851, /* swing */
            0.028388, /* pace */
            0.034822, /* progress */
            -0.102865, /* echo */
            0.132071, /* left */
            0.502407, /* bias */
        },
    .lo =
        {
            -6.49351, /* ratio */
            -5.2625, /* fast */
            -5.86473, /* mid */
            -6.69646, /* slow */
            -2.12325, /* noise */
            -13.2655, /* mid_by_noise */
            -13.2655, /* slow_by_noise */
            -0.511512, /* gap */
            -0.247082, /* since_best */
            -2.20131, /* rate */
            -3.98543, /* rate_by_best */
            -4.85389, /* rate_by_top */
            -0.1, /* done */
            -0.1, /* known */
            0.0651835, /* reports */
            -1.19999, /* action */
            -0.626368, /* acted */
            -0.0996344, /* swing */
            -6.72721, /* pace */
            -0.370711, /* progress */
            -3.6, /* echo */
            -0.125266, /* left */
        },
    .hi =
        {
            6.17045, /* ratio */
            5.30844, /* fast */
            6.11923, /* mid */
            6.95097, /* slow */
            2.51443, /* noise */
            13.5716, /* mid_by_noise */
            13.5716, /* slow_by_noise */
            5.62663, /* gap */
            2.7179, /* since_best */
            2.08405, /* rate */
            1.11156, /* rate_by_best */
            0.441263, /* rate_by_top */
            1.1, /* done */
            1.1, /* known */
            1.36242, /* reports */
            1.19994, /* action */
            1.09112, /* acted */
            1.09598, /* swing */
            4.23504, /* pace */
            4.07782, /* progress */
            3.6, /* echo */
            1.37792, /* left */
        },
};
/* clang-format on */

#endif
