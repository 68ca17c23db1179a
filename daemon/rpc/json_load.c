/* Parsing in memory of its own.
 *
 * Happy path: what the parser asks for is cut from blocks, which go all at once with what was parsed. Failure
 * mode: the parser cannot be told that there is no memory.  Its lexer ignores it (jansson 2.14, lex_save) and
 * then loses the last byte of a long number, ends the process by an assertion, or calls good text bad.  So it
 * never sees a failed allocation: that jumps out of the parser, and the blocks go. */
#include "rpc/json_load.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdlib.h>

#define BLOCK_MIN 960 /* with its head what malloc has at hand */
#define BLOCK_MAX 262144

struct json_block {
    struct json_block *next;
    size_t used, size;
    _Alignas(max_align_t) char bytes[];
};

struct loading {
    struct json_block *blocks; /* newest first */
    jmp_buf out_of_memory;
};

static _Thread_local struct loading *loading; /* NULL outside of json_load_text */

static void *cut(struct json_block *block, size_t size)
{
    void *at = block->bytes + block->used;

    block->used += size;
    return at;
}

static void *allocate(size_t size)
{
    struct loading *l = loading;
    size_t room = BLOCK_MIN;

    if (!l) return malloc(size);
    size = (size + _Alignof(max_align_t) - 1) / _Alignof(max_align_t) * _Alignof(max_align_t);
    if (l->blocks && l->blocks->size - l->blocks->used >= size) return cut(l->blocks, size);
    if (l->blocks && l->blocks->size >= BLOCK_MIN)
        room = l->blocks->size < BLOCK_MAX ? l->blocks->size * 2 : BLOCK_MAX;
    if (room < size) room = size;
    struct json_block *block = malloc(sizeof(*block) + room);
    if (!block) longjmp(l->out_of_memory, 1);
    block->next = l->blocks;
    block->used = 0;
    block->size = room;
    l->blocks = block;
    return cut(block, size);
}

static void give_back(void *at)
{
    if (!loading) free(at);
}

static void set_up(void)
{
    json_set_alloc_funcs(allocate, give_back);
}

static void free_blocks(struct json_block *block)
{
    while (block) {
        struct json_block *next = block->next;
        free(block);
        block = next;
    }
}

int json_load_text(const char *text, size_t len, size_t flags, struct json_loaded *out, json_error_t *why)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    struct loading own;

    pthread_once(&once, set_up);
    own.blocks = NULL;
    *out = (struct json_loaded){0};
    loading = &own;
    if (setjmp(own.out_of_memory)) {
        loading = NULL;
        free_blocks(own.blocks);
        return ST_OUT_OF_MEMORY;
    }
    out->root = json_loadb(text, len, flags, why);
    loading = NULL;
    if (out->root) {
        out->blocks = own.blocks;
        return 0;
    }
    free_blocks(own.blocks);
    return ST_BODY_INVALID;
}

void json_loaded_free(struct json_loaded *loaded)
{
    free_blocks(loaded->blocks);
    *loaded = (struct json_loaded){0};
}
