/* Records of what shadows decided: what is written is read, and nothing else. */
#include "test_core_help.h"

#include "core/shadow.h"

Test(core_shadow_record, a_record_is_read_as_it_was_written)
{
    double lrs[GROUPS_MAX];
    uint8_t *record = malloc(1 << 16);
    struct state_io io = {.out = record};
    char reason[DECISION_REASON_MAX], name[SHADOW_NAME_MAX + 1];
    struct shadow_said said;
    struct error err;

    memset(reason, 'r', sizeof(reason) - 1);
    reason[sizeof(reason) - 1] = '\0';
    memset(name, 'n', SHADOW_NAME_MAX);
    name[SHADOW_NAME_MAX] = '\0';
    for (int i = 0; i < GROUPS_MAX; i++)
        lrs[i] = 0.1 / (i + 1);
    shadow_record_begin(&io, SHADOWS_MAX);
    for (int i = 0; i < SHADOWS_MAX; i++) {
        name[0] = (char)('a' + i);
        shadow_record_add(&io, name, (enum action)(i % ACTION_OVERRIDE), lrs, GROUPS_MAX, reason);
    }
    cr_assert_eq(shadow_record_check(record, io.pos, GROUPS_MAX, &err), ST_OK);
    cr_assert_eq(shadow_record_check(record, io.pos, 1, &err), ST_DATA_DAMAGED, "not the job's groups");
    struct shadow_reader reader = shadow_read(record, io.pos);
    int n = 0;

    for (; shadow_next(&reader, &said); n++) {
        cr_assert_eq(said.name[0], 'a' + n);
        cr_assert_eq(strlen(said.name), SHADOW_NAME_MAX);
        cr_assert_eq((int)said.action, n % ACTION_OVERRIDE);
        cr_assert_str_eq(said.reason, reason);
        cr_assert(memcmp(said.lrs, lrs, sizeof(lrs)) == 0);
    }
    cr_assert_eq(n, SHADOWS_MAX);
    reader = shadow_read(NULL, 0);
    cr_assert(!shadow_next(&reader, &said));
    free(record);
}

/* The bytes themselves, so that nobody changes them without a new version. */
static const uint8_t version_1[] = {1,   2, 1, 'a',  3,    'c', 'u', 't', 1, 0,   0,   0,    0,    0,   0,
                                    0,   0, 0, 0xe0, 0x3f, 2,   's', 'o', 2, 'b', 'c', 4,    'h',  'o', 'l',
                                    'd', 1, 0, 0,    0,    0,   0,   0,   0, 0,   0,   0xf0, 0x3f, 0};

Test(core_shadow_record, record_of_version_1_as_it_was_written)
{
    struct shadow_reader reader = shadow_read(version_1, sizeof(version_1));
    struct shadow_said said;
    struct error err;

    cr_assert_eq(shadow_record_check(version_1, sizeof(version_1), 1, &err), ST_OK, "%s", err.message);
    cr_assert(shadow_next(&reader, &said));
    cr_assert_str_eq(said.name, "a");
    cr_assert_eq(said.action, ACTION_CUT);
    cr_assert_eq(said.lrs[0], 0.5);
    cr_assert_str_eq(said.reason, "so");
    cr_assert(shadow_next(&reader, &said));
    cr_assert_str_eq(said.name, "bc");
    cr_assert_eq(said.lrs[0], 1.0);
    cr_assert_str_eq(said.reason, "");
    cr_assert(!shadow_next(&reader, &said));
}

static int check_copy(const uint8_t *bytes, size_t len)
{
    uint8_t *copy = malloc(len ? len : 1); /* for the sanitizer: nothing behind it */
    struct error err;

    memcpy(copy, bytes, len);
    int rc = shadow_record_check(copy, len, 1, &err);

    free(copy);
    return rc;
}

Test(core_shadow_record, damaged_records_are_refused)
{
    uint8_t bytes[sizeof(version_1) + 1] = {0};

    memcpy(bytes, version_1, sizeof(version_1));
    for (size_t n = 0; n < sizeof(version_1); n++)
        cr_assert_eq(check_copy(bytes, n), ST_DATA_DAMAGED, "cut to %zu", n);
    cr_assert_eq(check_copy(bytes, sizeof(bytes)), ST_DATA_DAMAGED, "one byte more");
    for (size_t i = 0; i < sizeof(version_1); i++) {
        for (int bit = 0; bit < 8; bit++) {
            bytes[i] ^= (uint8_t)(1 << bit);
            (void)check_copy(bytes, sizeof(version_1)); /* whatever it says, it reads nothing else */
            bytes[i] ^= (uint8_t)(1 << bit);
        }
    }
    static const struct {
        size_t at;
        uint8_t byte;
        const char *what;
    } cases[] = {
        {0, 2, "a later version"},       {1, 0, "no shadows"},
        {1, 3, "one that is not there"}, {2, 0, "no name"},
        {2, 200, "a name too long"},     {3, 0, "a NUL in a name"},
        {5, 'k', "no action"},           {8, 2, "other groups"},
        {19, 0xff, "a rate below 0"},    {21, 0, "a NUL in a reason"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        uint8_t was = bytes[cases[i].at];

        bytes[cases[i].at] = cases[i].byte;
        cr_assert_eq(check_copy(bytes, sizeof(version_1)), ST_DATA_DAMAGED, "%s", cases[i].what);
        bytes[cases[i].at] = was;
    }
}
