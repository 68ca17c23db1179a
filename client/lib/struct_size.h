/* Public structs that begin with their size: between callers of an older or newer header and this library. */
#ifndef GREEDYLR_LIB_STRUCT_SIZE_H
#define GREEDYLR_LIB_STRUCT_SIZE_H

#include "lib/greedylr.h"

#include <stddef.h>

/* Bytes up to and with a field: the size of the version in which that field was the last. */
#define SIZE_UP_TO(type, field) (offsetof(type, field) + sizeof(((type *)0)->field))

/* Copies a caller's struct into one of ours (size bytes).  Fields the caller does not know are zero; fields
 * that we do not know have to be.  least: size of the first version.  name: for the error. */
enum glr_code struct_take(void *own, size_t size, const void *callers, size_t least, const char *name)
    __attribute__((warn_unused_result));

/* Whether a caller's struct can be filled. */
enum glr_code struct_check(const void *callers, size_t least, const char *name)
    __attribute__((warn_unused_result));
/* Fills it, except for its size, with as much of ours as it has room for; the rest becomes zero. */
void struct_give(void *callers, const void *own, size_t size);

#endif
