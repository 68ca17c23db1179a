/* greedylr token: makes tokens, lists and revokes them, in the daemon's token file.
 *
 * A token is printed once, after its hash is on the disk; nothing else ever holds it.  The daemon reads the
 * file again when it is told to. */
#include "cli/token.h"

#include "cli/arguments.h"
#include "cli/call.h"
#include "cli/run.h"
#include "cli/table.h"
#include "cli/text.h"

#include <gnutls/crypto.h>
#include <gnutls/gnutls.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define ERROR_MAX   600
#define SECRET_SIZE 32
#define SECRET_LEN  43
#define TOKEN_MAX   (TOKEN_ID_MAX + 1 + SECRET_LEN + 1)

const char *const token_roles[] = {"observe", "report", "admin", NULL};

/* Quotas: the flag is named like the field. */
static const enum option_id quotas[] = {OPTION_JOBS, OPTION_REQUESTS, OPTION_ROUNDS, OPTION_WATCHERS};
#define QUOTAS (sizeof(quotas) / sizeof(quotas[0]))

/* ---- what is asked for ---- */

static int check_id(const struct invocation *in, const char *id)
{
    size_t n = strspn(id, "abcdefghijklmnopqrstuvwxyz0123456789-");

    if (n && n <= TOKEN_ID_MAX && !id[n]) return 0;
    return usage_error(in, "--id %.40s: must be 1 to %d of a-z 0-9 -", id, TOKEN_ID_MAX);
}

static int check_role(const struct invocation *in)
{
    const char *role = in->options[OPTION_ROLE];

    for (int i = 0; role && token_roles[i]; i++) {
        if (!strcmp(role, token_roles[i])) return 0;
    }
    return usage_error(in,
                       role ? "--role %.40s: must be observe, report or admin"
                            : "--role is missing: observe, report or admin%.0s",
                       role ? role : "");
}

static int check_prefix(const struct invocation *in)
{
    const char *prefix = in->options[OPTION_PREFIX];

    if (!prefix)
        return usage_error(
            in, "--prefix is missing: what the ids of its jobs begin with; --prefix= is every job");
    if (*prefix && !is_job_id(prefix))
        return usage_error(in,
                           "--prefix %.140s: must be what the ids of its jobs begin with: A-Z a-z 0-9 . _ -, "
                           "not starting with a dot or a dash",
                           prefix);
    return 0;
}

static bool is_text(const char *note)
{
    json_t *value = json_string(note ? note : "");

    json_decref(value);
    return value != NULL;
}

static int check_texts(const struct invocation *in)
{
    const char *note = in->options[OPTION_NOTE];

    for (size_t i = 0; i < QUOTAS; i++) {
        const char *value = in->options[quotas[i]];
        size_t n = value ? strspn(value, "0123456789") : 0;
        if (value && (!n || value[n] || n > 10 || strtoull(value, NULL, 10) > UINT32_MAX))
            return usage_error(in, "--%s %.40s: must be a whole number, 0 for any number",
                               option(quotas[i])->name, value);
    }
    if (note && strlen(note) > 200) return usage_error(in, "--note: must be at most 200 bytes");
    for (const char *at = note; at && *at; at++) {
        if ((unsigned char)*at < ' ' || *at == 0x7f)
            return usage_error(in, "--note: must be one line of text");
    }
    return is_text(note) ? 0 : usage_error(in, "--note: must be UTF-8");
}

/* ---- making one ---- */

static void base64url(const unsigned char *bytes, size_t n, char *out)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    unsigned held = 0, bits = 0;

    for (size_t i = 0; i < n; i++) {
        held = held << 8 | bytes[i];
        for (bits += 8; bits >= 6; bits -= 6)
            *out++ = digits[held >> (bits - 6) & 63];
    }
    if (bits) *out++ = digits[held << (6 - bits) & 63];
    *out = '\0';
}

static void hex(const unsigned char *bytes, size_t n, char *out)
{
    for (size_t i = 0; i < n; i++)
        sprintf(out + 2 * i, "%02x", bytes[i]);
}

/* The token and its hash as text; false: GnuTLS has none. */
static bool make_token(const char *given, char id[TOKEN_ID_MAX + 1], char token[TOKEN_MAX], char hash[65])
{
    unsigned char secret[SECRET_SIZE], digest[32], random[4];
    bool ok = !gnutls_rnd(GNUTLS_RND_KEY, secret, sizeof(secret)) &&
              !gnutls_rnd(GNUTLS_RND_NONCE, random, sizeof(random));

    if (given)
        snprintf(id, TOKEN_ID_MAX + 1, "%s", given);
    else
        hex(random, sizeof(random), id);
    size_t n = (size_t)snprintf(token, TOKEN_MAX, "%s.", id);

    base64url(secret, sizeof(secret), token + n);
    ok = ok && !gnutls_hash_fast(GNUTLS_DIG_SHA256, token, strlen(token), digest);
    hex(digest, sizeof(digest), hash);
    gnutls_memset(secret, 0, sizeof(secret));
    return ok;
}

/* text, a new line behind it. */
static char *with_line(const struct invocation *in, const char *text, const char *id, const char *hash)
{
    const char *note = in->options[OPTION_NOTE];
    char *out = NULL, created[32];
    time_t now = time(NULL);
    struct tm when;
    size_t len;
    FILE *f = need(open_memstream(&out, &len));

    strftime(created, sizeof(created), "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&now, &when));
    fprintf(f, "%s%s role=%s prefix=%s sha256=%s", text, id, in->options[OPTION_ROLE],
            in->options[OPTION_PREFIX], hash);
    for (size_t i = 0; i < QUOTAS; i++) {
        if (in->options[quotas[i]]) fprintf(f, " %s=%s", option(quotas[i])->name, in->options[quotas[i]]);
    }
    fprintf(f, " created=%s", created);
    if (note && *note) fprintf(f, " note=%s", note);
    fputc('\n', f);
    end_text(f, &out);
    return out;
}

static int say_reload(const char *what)
{
    say("%s once the daemon has read the file again: systemctl reload greedylrd, or SIGHUP; where systemd "
        "hands it over as a credential, systemctl restart greedylrd",
        what);
    return EXIT_OK;
}

/* EXIT_REFUSED after saying so, if the daemon would refuse the text of the file. */
static int check_text(const struct invocation *in, const char *text, const char *what)
{
    char error[ERROR_MAX];

    if (!token_text_check(text, error, sizeof(error))) return EXIT_OK;
    say("%s: %s.  For this the daemon refuses the whole file and keeps the tokens that it has%s: mend the "
        "line "
        "or take it out, then systemctl reload greedylrd, or SIGHUP",
        in->options[OPTION_FILE], error, what);
    return EXIT_REFUSED;
}

static int create(const struct invocation *in, struct token_file *file)
{
    char id[TOKEN_ID_MAX + 1], token[TOKEN_MAX], hash[65], error[ERROR_MAX], *text;
    const char *given = in->options[OPTION_ID];
    size_t len;

    if (check_role(in) || check_prefix(in) || check_texts(in)) return EXIT_USAGE;
    if (check_text(in, token_file_text(file), ", so no token was made")) return EXIT_REFUSED;
    do {
        if (!make_token(given, id, token, hash)) {
            say("GnuTLS has no random numbers");
            return EXIT_REFUSED;
        }
    } while (!given && token_line_find(token_file_text(file), id, &len));
    if (token_line_find(token_file_text(file), id, &len))
        return usage_error(in, "--id %s: is in the file already; revoke it first, or take another", id);
    text = with_line(in, token_file_text(file), id, hash);
    int rc = token_file_replace(file, text, error, sizeof(error));

    free(text);
    if (rc) {
        say("%s", error);
        return EXIT_REFUSED;
    }
    puts(token);
    gnutls_memset(token, 0, sizeof(token));
    say("token %s is shown this once; keep it in a file that only its user can read, and name that in "
        "GREEDYLR_TOKEN_FILE",
        id);
    say_reload("it works");
    return finish_output();
}

static int revoke(const struct invocation *in, struct token_file *file)
{
    const char *text = token_file_text(file), *id = in->options[OPTION_ID];
    char error[ERROR_MAX], *rest, *line;
    size_t len;

    if (!id) return usage_error(in, "--id is missing: greedylr token list shows the ids");
    if (!token_line_find(text, id, &len)) {
        (void)check_text(in, text, ", those that were taken out of it too");
        return usage_error(in, "--id %s: is not in the file; greedylr token list shows those that are", id);
    }
    rest = need(strdup(text));
    /* Every line of it: one that was pasted twice would let the token in again. */
    while ((line = token_line_find(rest, id, &len)))
        memmove(line, line + len + 1, strlen(line + len + 1) + 1);
    int rc = token_file_replace(file, rest, error, sizeof(error));

    if (rc)
        say("%s", error);
    else
        rc = check_text(in, rest, ", this one too, although it is out of the file");
    free(rest);
    return rc ? EXIT_REFUSED : say_reload("it is refused");
}

/* ---- listing ---- */

/* By hand anything can have been written: what is not UTF-8 is shown as question marks. */
static json_t *text_of(char *value)
{
    json_t *text = json_string(value);

    if (text) return text;
    for (char *at = value; *at; at++) {
        if ((unsigned char)*at >= 0x80) *at = '?';
    }
    return need(json_string(value));
}

/* Fields of a line as an object, without the hash. */
static json_t *read_line(const char *line, size_t len)
{
    json_t *row = need(json_object());
    char *copy = need(strndup(line, len)), *rest = copy, *word;

    word = strtok_r(rest, " \t", &rest);
    if (word && json_object_set_new(row, "id", text_of(word))) need(NULL);
    while (word && rest) {
        rest += strspn(rest, " \t");
        word = strncmp(rest, "note=", 5) ? strtok_r(NULL, " \t", &rest) : rest;
        if (word == rest) rest = NULL;
        if (!word) break;
        char *value = strchr(word, '=');
        if (!value) continue;
        *value++ = '\0';
        if (strcmp(word, "sha256") && json_object_set_new_nocheck(row, word, text_of(value))) need(NULL);
    }
    free(copy);
    return row;
}

static json_t *read_lines(const char *text)
{
    json_t *rows = need(json_array());

    while (*text) {
        size_t len = strcspn(text, "\n"), blank = strspn(text, " \t");
        if (blank < len && text[blank] != '#' && json_array_append_new(rows, read_line(text, len)))
            need(NULL);
        text += len + (text[len] == '\n');
    }
    return rows;
}

static int list(const struct invocation *in, struct token_file *file)
{
    static const struct column columns[] = {
        {"ID", false, 0, 0},      {"ROLE", false, 0, 0},    {"PREFIX", false, 0, 0},
        {"JOBS", true, 0, 5},     {"REQUESTS", true, 0, 4}, {"ROUNDS", true, 0, 3},
        {"WATCHERS", true, 0, 2}, {"CREATED", false, 0, 1}, {"NOTE", false, 0, 0}};
    static const char *const names[] = {"id",     "role",     "prefix",  "jobs", "requests",
                                        "rounds", "watchers", "created", "note"};
    json_t *rows = read_lines(token_file_text(file)), *row;
    struct table *table;
    size_t i;

    if (in->output == OUTPUT_JSON) {
        put_json(stdout, rows);
        putchar('\n');
    } else {
        table = table_new(columns, sizeof(columns) / sizeof(columns[0]));
        json_array_foreach(rows, i, row)
        {
            for (size_t k = 0; k < sizeof(names) / sizeof(names[0]); k++)
                table_add(table, json_string_value(json_object_get(row, names[k])));
        }
        table_print(table);
        table_free(table);
    }
    json_decref(rows);
    int rc = finish_output();

    return rc ? rc : check_text(in, token_file_text(file), "");
}

/* ---- the command ---- */

static const struct action {
    const char *name;
    int (*run)(const struct invocation *in, struct token_file *file);
} actions[] = {{"create", create}, {"list", list}, {"revoke", revoke}};

int run_token(const struct invocation *in)
{
    const char *word = in->words[0], *path = in->options[OPTION_FILE];
    const struct action *action = NULL;
    struct token_file *file;
    char error[ERROR_MAX];

    for (size_t i = 0; i < sizeof(actions) / sizeof(actions[0]); i++) {
        if (!strcmp(actions[i].name, word)) action = &actions[i];
    }
    if (!action) return usage_error(in, "%.40s: must be create, list or revoke", word);
    if (!path) return usage_error(in, "--file is missing: the token file of the daemon");
    if (in->options[OPTION_ID] && check_id(in, in->options[OPTION_ID])) return EXIT_USAGE;
    if (token_file_open(path, action->run == create, &file, error, sizeof(error))) {
        say("%s", error);
        return EXIT_USAGE;
    }
    int rc = action->run(in, file);

    token_file_close(file);
    return rc;
}
