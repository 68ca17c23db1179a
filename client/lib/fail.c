/* One sentence, one result. */
#include "lib/fail.h"

#include <stdarg.h>
#include <stdio.h>

int fail_with(char *error, size_t size, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(error, size, fmt, ap);
    va_end(ap);
    return -1;
}
