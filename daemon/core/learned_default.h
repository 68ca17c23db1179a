/* Model f6b7f789f295e2f9.  Written by greedylr-train --header; not to be edited. */
#ifndef GREEDYLRD_CORE_LEARNED_DEFAULT_H
#define GREEDYLRD_CORE_LEARNED_DEFAULT_H

#include "core/learned_model.h"

/* clang-format off */
const struct learned_origin learned_default_origin = {.seed = 1, .config = 0x39ae5a07};

const struct learned_model learned_default_model = {
    .feature_set = 1,
    .up = 1.5,
    .down = 4,
    .weights =
        {
            -0.372959, /* ratio */
            -0.083966, /* fast */
            -0.0146386, /* mid */
            -0.130526, /* slow */
            -0.0717529, /* noise */
            -0.0475038, /* mid_by_noise */
            -0.467009, /* slow_by_noise */
            -0.0693587, /* gap */
            -0.570483, /* since_best */
            -0.462067, /* rate */
            -0.380017, /* rate_by_best */
            -0.422375, /* rate_by_top */
            -0.367786, /* done */
            -0.0338813, /* known */
            0.153909, /* reports */
            -0.23093, /* action */
            -0.207531, /* acted */
            0.10158, /* swing */
            -0.0291703, /* pace */
            -0.0587248, /* progress */
            0.143083, /* echo */
            0.301919, /* left */
            0.401605, /* bias */
        },
    .lo =
        {
            -6.45723, /* ratio */
            -5.35468, /* fast */
            -6.00667, /* mid */
            -6.83841, /* slow */
            -2.11288, /* noise */
            -13.4641, /* mid_by_noise */
            -13.4641, /* slow_by_noise */
            -0.520779, /* gap */
            -0.246724, /* since_best */
            -2.04, /* rate */
            -4.02625, /* rate_by_best */
            -4.23804, /* rate_by_top */
            -0.1, /* done */
            -0.1, /* known */
            0.0651835, /* reports */
            -1.2, /* action */
            -0.621009, /* acted */
            -0.0999619, /* swing */
            -6.45332, /* pace */
            -0.363149, /* progress */
            -3.6, /* echo */
            -0.125266, /* left */
        },
    .hi =
        {
            6.14773, /* ratio */
            5.22789, /* fast */
            5.76717, /* mid */
            6.59889, /* slow */
            2.40031, /* noise */
            13.2246, /* mid_by_noise */
            13.2246, /* slow_by_noise */
            5.72857, /* gap */
            2.71396, /* since_best */
            2.06939, /* rate */
            1.0526, /* rate_by_best */
            0.385276, /* rate_by_top */
            1.1, /* done */
            1.1, /* known */
            1.36242, /* reports */
            1.2, /* action */
            1.04561, /* acted */
            1.09958, /* swing */
            5.23717, /* pace */
            3.99464, /* progress */
            3.6, /* echo */
            1.37792, /* left */
        },
};
/* clang-format on */

#endif
