/* Every allocation of a function failing, one after the other: it says so, and leaves nothing behind.
 *
 * The linker puts the functions below in front of the allocator, for what this binary allocates itself; what
 * libraries do is the daemon's test (tests/integration/test_allocations.py).  Leaks are AddressSanitizer's to
 * find. */
#include "rpc/json.h"
#include "rpc/state_dict.h"
#include "server/convert.h"
#include "test_store_help.h"

#include "greedylr/v1/scheduler.pb-c.h"

static _Thread_local long left; /* allocations until one fails; 0: none does */
static _Thread_local bool hit;

static bool fails(void)
{
    if (!left || --left) return false;
    hit = true;
    return true;
}

void *__real_malloc(size_t size);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *old, size_t size);
char *__real_strdup(const char *text);
char *__real_strndup(const char *text, size_t n);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_realloc(void *old, size_t size);
char *__wrap_strdup(const char *text);
char *__wrap_strndup(const char *text, size_t n);

void *__wrap_malloc(size_t size)
{
    return fails() ? NULL : __real_malloc(size);
}
void *__wrap_calloc(size_t n, size_t size)
{
    return fails() ? NULL : __real_calloc(n, size);
}
void *__wrap_realloc(void *old, size_t size)
{
    return fails() ? NULL : __real_realloc(old, size);
}
char *__wrap_strdup(const char *text)
{
    return fails() ? NULL : __real_strdup(text);
}
char *__wrap_strndup(const char *text, size_t n)
{
    return fails() ? NULL : __real_strndup(text, n);
}

/* Runs it with the 1st, 2nd, ... allocation failing until none does; then it ends with `expected`. */
static void go_through(int (*run)(struct error *err), int expected)
{
    for (long at = 1; at < 10000; at++) {
        struct error err = {0};

        hit = false;
        left = at;
        int rc = run(&err);
        left = 0;
        if (!hit) {
            cr_assert_eq(rc, expected, "%s", err.message);
            cr_assert_gt(at, 1, "it allocates nothing");
            return;
        }
        cr_assert(rc == ST_OUT_OF_MEMORY || rc == expected, "allocation %ld: %d %s", at, rc, err.message);
        if (rc) cr_expect_eq((int)err.status, rc);
    }
    cr_assert_fail("it never ends");
}

static const char spec_text[] =
    "{\"job\":\"a-name-that-is-longer-than-the-lexers-first-buffer\",\"lr\":[0.1,0.20000000000000001,NaN],"
    "\"group_names\":[\"a\",\"b\",\"c\"],\"labels\":[\"team=nlp\"],"
    "\"greedy\":{\"patience\":3,\"min_lr\":[0.01,0.02,0.03],\"smooth\":true,\"window_size\":5},"
    "\"ranks\":{\"world_size\":4,\"deadline\":\"30s\"},"
    "\"shadow\":[{\"name\":\"other\",\"plateau\":{\"patience\":2}}]}";

static int decode(struct error *err)
{
    ProtobufCMessage *message = NULL;
    int rc =
        json_decode(&greedylr__v1__job_spec__descriptor, spec_text, strlen(spec_text), "", &message, err);

    if (!rc) protobuf_c_message_free_unpacked(message, NULL);
    return rc;
}

Test(server_memory, decoding)
{
    go_through(decode, 0);
}

static int decode_unknown(struct error *err)
{
    static const char text[] = "{\"nothing_like_it\":[1,2,{\"a\":\"0123456789abcdef0123456789abcdef\"}]}";
    ProtobufCMessage *message = NULL;

    return json_decode(&greedylr__v1__job_spec__descriptor, text, strlen(text), "", &message, err);
}

Test(server_memory, decoding_an_unknown_field)
{
    go_through(decode_unknown, ST_FIELD_UNKNOWN);
}

static int decode_overflow(struct error *err)
{
    static const char text[] = "{\"lr\":[1e400]}";
    ProtobufCMessage *message = NULL;

    return json_decode(&greedylr__v1__job_spec__descriptor, text, strlen(text), "", &message, err);
}

Test(server_memory, decoding_a_number_that_is_too_large)
{
    go_through(decode_overflow, ST_FIELD_INVALID);
}

static int decode_bad(struct error *err)
{
    ProtobufCMessage *message = NULL;

    return json_decode(&greedylr__v1__job_spec__descriptor, "{\"lr\":", 6, "", &message, err);
}

Test(server_memory, decoding_what_is_not_json)
{
    go_through(decode_bad, ST_BODY_INVALID);
}

static int parse_dict(struct error *err)
{
    static const char text[] = "{\"factor\":0.12345678901234567,\"min_lrs\":[0.0,Infinity],\"mode\":\"min\","
                               "\"inner\":{\"a\":[1,2],\"b\":null},\"best\":NaN}";
    struct state_dict *dict = NULL;
    int rc = state_dict_parse(text, &dict, err);

    if (!rc) state_dict_free(dict);
    return rc;
}

Test(server_memory, state_dicts)
{
    go_through(parse_dict, 0);
}

static spec_message *message;

static void load(void)
{
    static const char text[] =
        "{\"job\":\"a\",\"lr\":[0.1,0.2],\"greedy\":{\"patience\":3,\"min_lr\":[0.01,0.02]},"
        "\"shadow\":[{\"name\":\"other\",\"plateau\":{\"patience\":2}}]}";
    ProtobufCMessage *out = NULL;
    struct error err = {0};

    cr_assert_eq(json_decode(&greedylr__v1__job_spec__descriptor, text, strlen(text), "", &out, &err), 0,
                 "%s", err.message);
    message = (spec_message *)(void *)out;
}

static void unload(void)
{
    greedylr__v1__job_spec__free_unpacked(message, NULL);
}

static int resolve(struct error *err)
{
    struct job_spec *spec = NULL, *copy;
    spec_message *effective = NULL;
    struct buf text = {0};
    int rc = convert_spec(message, &spec, err);

    if (rc) return rc;
    rc = convert_effective(message, spec, &effective, err);
    if (!rc) rc = json_encode(&effective->base, &text, err);
    if (!rc && !(copy = spec_copy(spec)))
        rc = error_set(err, ST_OUT_OF_MEMORY, "no copy");
    else if (!rc)
        spec_free(copy);
    buf_free(&text);
    if (effective) greedylr__v1__job_spec__free_unpacked(effective, NULL);
    spec_free(spec);
    return rc;
}

Test(server_memory, settings, .init = load, .fini = unload)
{
    go_through(resolve, 0);
}

static struct fix fix;

static void begin_store(void)
{
    fix_begin(&fix);
}

static void end_store(void)
{
    fix_end(&fix);
}

static int open_reader(struct error *err)
{
    struct store_reader *reader = NULL;
    int rc = store_reader_open(fix.store, &reader, err);

    store_reader_close(rc ? NULL : reader);
    return rc;
}

Test(server_memory, readers, .init = begin_store, .fini = end_store)
{
    go_through(open_reader, 0);
}
