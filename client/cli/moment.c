/* Wall clocks: of this machine, and of another one that says what it shows. */
#include "cli/moment.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define CUT 1.5 /* seconds: what a date leaves out, and the way it came */

double moment_now(void)
{
    struct timespec now;

    clock_gettime(CLOCK_REALTIME, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

double moment_parse(const char *text)
{
    struct tm parts = {0};
    double fraction = 0;
    const char *rest = text ? strptime(text, "%Y-%m-%dT%H:%M:%S", &parts) : NULL;

    if (!rest) return NAN;
    for (double digit = 0.1; *rest == '.' || (*rest >= '0' && *rest <= '9'); rest++) {
        if (*rest == '.') continue;
        fraction += digit * (*rest - '0');
        digit /= 10;
    }
    return strcmp(rest, "Z") ? NAN : (double)timegm(&parts) + fraction;
}

double moment_ahead(int64_t date)
{
    double ahead = (double)date - moment_now();

    if (ahead > -CUT && ahead < 0.5) return 0;
    return ahead + 0.5; /* the middle of the second it was in */
}

void moment_age(double seconds, char *out, size_t size)
{
    static const struct {
        double length;
        char name;
    } units[] = {{86400, 'd'}, {3600, 'h'}, {60, 'm'}, {1, 's'}};
    size_t i = 0;

    if (seconds < 0) seconds = 0;
    while (i + 1 < sizeof(units) / sizeof(units[0]) && seconds < units[i].length)
        i++;
    if (isnan(seconds))
        *out = '\0';
    else
        snprintf(out, size, "%.0f%c", floor(seconds / units[i].length), units[i].name);
}
