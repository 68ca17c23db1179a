/* Both directions go through the size at the beginning of the caller's struct. */
#include "lib/struct_size.h"

#include "lib/error.h"

#include <string.h>

#define STRUCT_MAX 4096 /* no version will reach it: a size that was never set is found out */

static size_t size_of(const void *callers)
{
    size_t size;

    memcpy(&size, callers, sizeof size);
    return size;
}

enum glr_code struct_check(const void *callers, size_t least, const char *name)
{
    size_t size = size_of(callers);

    if (size >= least && size <= STRUCT_MAX) return GLR_OK;
    return error_argument("struct %s: its size cannot be %zu; set .size = sizeof the struct", name, size);
}

enum glr_code struct_take(void *own, size_t size, const void *callers, size_t least, const char *name)
{
    size_t theirs = size_of(callers);
    const char *bytes = callers;

    if (struct_check(callers, least, name)) return GLR_INVALID_ARGUMENT;
    for (size_t i = size; i < theirs; i++)
        if (bytes[i])
            return error_argument("struct %s: uses a field of a later version than this library, %s", name,
                                  glr_version());
    memset(own, 0, size);
    memcpy(own, callers, theirs < size ? theirs : size);
    return GLR_OK;
}

void struct_give(void *callers, const void *own, size_t size)
{
    size_t theirs = size_of(callers), both = theirs < size ? theirs : size;
    char *bytes = callers;

    memcpy(bytes + sizeof theirs, (const char *)own + sizeof theirs, both - sizeof theirs);
    memset(bytes + both, 0, theirs - both);
}
