/* Random numbers.  The table of normals is the quantile function by bisection of erfc, scaled to variance 1.
 */
#include "train/rng.h"

#include <math.h>

double rng_normals[RNG_NORMALS];

void rng_begin(void)
{
    double sum = 0;

    for (int i = 0; i < RNG_NORMALS; i++) {
        double p = (i + 0.5) / RNG_NORMALS, lo = -6, hi = 6;

        for (int k = 0; k < 60; k++) {
            double mid = (lo + hi) / 2;

            if (erfc(-mid / sqrt(2)) / 2 < p)
                lo = mid;
            else
                hi = mid;
        }
        rng_normals[i] = lo;
        sum += lo * lo;
    }
    for (int i = 0; i < RNG_NORMALS; i++)
        rng_normals[i] /= sqrt(sum / RNG_NORMALS);
}

struct rng rng_of(uint64_t seed, uint64_t stream)
{
    struct rng rng = {.state = seed * UINT64_C(0xd1342543de82ef95) + 1};

    rng.state = rng_next(&rng) ^ stream * UINT64_C(0x2545f4914f6cdd1d);
    rng.state = rng_next(&rng);
    return rng;
}

double rng_power(struct rng *rng, double lo, double hi)
{
    return pow(10, rng_between(rng, lo, hi));
}
