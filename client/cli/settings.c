/* The contract's descriptors say which settings there are, as they do for flags.
 *
 * A job's spec is changed, not its effective settings: defaults that follow from what is changed then follow.
 */
#include "cli/settings.h"

#include "cli/nearest.h"
#include "cli/text.h"

#include "greedylr/v1/scheduler.pb-c.h"

#include <stdlib.h>
#include <string.h>

#define SPEC "spec."

/* What of a spec beside the policy decides rates. */
static const char *const deciding[] = {"lr", "ramp", "anneal", "on_nonfinite", NULL};

static bool is_policy(const ProtobufCFieldDescriptor *f)
{
    return f->flags & PROTOBUF_C_FIELD_FLAG_ONEOF;
}

static bool is_deciding(const char *name)
{
    for (const char *const *d = deciding; *d; d++) {
        if (!strcmp(*d, name)) return true;
    }
    return false;
}

/* Calls each with every policy there is, until it returns true. */
static bool each_policy(bool (*each)(void *arg, const char *name), void *arg)
{
    const ProtobufCMessageDescriptor *message = &greedylr__v1__job_spec__descriptor;

    for (unsigned i = 0; i < message->n_fields; i++) {
        if (is_policy(&message->fields[i]) && each(arg, message->fields[i].name)) return true;
    }
    return false;
}

struct found {
    const json_t *spec;
    const char *name;
};

static bool is_in_spec(void *arg, const char *name)
{
    struct found *found = arg;

    if (!json_object_get(found->spec, name)) return false;
    found->name = name;
    return true;
}

const char *settings_policy(const json_t *spec)
{
    struct found found = {spec, "greedy"};

    each_policy(is_in_spec, &found);
    return found.name;
}

json_t *settings_of(const json_t *spec)
{
    json_t *out = need(json_object()), *value;
    const char *policy = settings_policy(spec), *name;

    json_object_foreach((json_t *)spec, name, value)
    {
        if (!is_deciding(name) && strcmp(name, policy)) continue;
        if (json_object_set_new(out, name, json_deep_copy(value))) need(NULL);
    }
    return out;
}

/* ---- another policy ---- */

struct visitor {
    void (*visit)(void *arg, const char *name);
    void *arg;
};

static bool visit_policy(void *arg, const char *name)
{
    const struct visitor *visitor = arg;

    visitor->visit(visitor->arg, name);
    return false;
}

void settings_policies(void (*visit)(void *arg, const char *name), void *arg)
{
    each_policy(visit_policy, &(struct visitor){visit, arg});
}

static bool is_named(void *arg, const char *name)
{
    const char **wanted = arg;

    if (!same_flag(*wanted, name)) return false;
    *wanted = name;
    return true;
}

static void offer_policy(void *arg, const char *name)
{
    nearest_offer(arg, name);
}

int settings_set_policy(json_t *spec, const char *policy, char *error, size_t size)
{
    struct nearest near;

    if (!each_policy(is_named, &policy)) {
        nearest_begin(&near, policy);
        settings_policies(offer_policy, &near);
        const char *meant = nearest_word(&near);
        snprintf(error, size,
                 "--policy %.80s: there is no such policy%s%s%s; greedylr help create names them", policy,
                 meant ? "; did you mean " : "", meant ? meant : "", meant ? "?" : "");
        return -1;
    }
    json_object_del(spec, settings_policy(spec));
    json_object_del(spec, "on_nonfinite");
    if (json_object_set_new(spec, policy, json_object())) need(NULL);
    return 0;
}

/* ---- one setting ---- */

struct names {
    const char *policy;
    void (*visit)(void *arg, const char *name, const struct field *field);
    void *arg;
};

static int visit_field(void *arg, const struct field *field)
{
    struct names *names = arg;
    const char *path = field->path + strlen(SPEC), *rest;
    char top[FIELD_PATH_MAX];
    size_t n;

    if (strncmp(field->path, SPEC, strlen(SPEC))) return 0;
    n = strcspn(path, ".");
    rest = path[n] ? path + n + 1 : "";
    snprintf(top, sizeof(top), "%.*s", (int)n, path);
    if (is_deciding(top))
        names->visit(names->arg, path, field);
    else if (!strcmp(top, names->policy) && *rest)
        names->visit(names->arg, rest, field);
    return 0;
}

void settings_names(const char *policy, void (*visit)(void *arg, const char *name, const struct field *field),
                    void *arg)
{
    struct names names = {policy, visit, arg};

    fields_walk(&greedylr__v1__simulate_request__descriptor, visit_field, &names);
}

struct search {
    const char *policy, *wanted;
    bool found;
    struct field field;
    struct nearest near;
};

static void match(void *arg, const char *name, const struct field *field)
{
    struct search *s = arg;
    char full[FIELD_PATH_MAX];

    snprintf(full, sizeof(full), "%s.%s", s->policy, name);
    nearest_offer(&s->near, name);
    if (s->found || (!same_flag(s->wanted, name) && !same_flag(s->wanted, full))) return;
    s->found = true;
    s->field = *field;
}

/* The object that holds the field, and its own name in it; NULL: there is none yet. */
static json_t *holder(json_t *spec, const char *path, const char **name)
{
    const char *dot = strchr(path, '.');
    char top[FIELD_PATH_MAX];

    *name = dot ? dot + 1 : path;
    if (!dot) return spec;
    snprintf(top, sizeof(top), "%.*s", (int)(dot - path), path);
    return json_object_get(spec, top);
}

/* One number for all groups is given to each. */
static void repeat_number(json_t *list, size_t groups)
{
    while (json_array_size(list) && json_array_size(list) < groups) {
        if (json_array_append(list, json_array_get(list, 0))) need(NULL);
    }
}

static int put(json_t *spec, const struct field *field, const char *text, char *error, size_t size)
{
    const char *name, *path = field->path + strlen(SPEC);
    size_t groups = json_array_size(json_object_get(spec, "lr"));
    json_t *request, *at = holder(spec, path, &name);
    bool single = !strpbrk(text, ",[");
    int rc;

    json_object_del(at, name);
    if (field_is_message(field) && !strcmp(text, "none")) return 0;
    request = json_pack("{s:O}", "spec", spec);
    rc = field_set(need(request), field, text, error, size);
    json_decref(request);
    if (!rc && single && field->desc->label == PROTOBUF_C_LABEL_REPEATED &&
        field->desc->type == PROTOBUF_C_TYPE_DOUBLE)
        repeat_number(json_object_get(holder(spec, path, &name), name), groups);
    return rc;
}

int settings_set(json_t *spec, const char *name, const char *text, char *error, size_t size)
{
    struct search s = {.policy = settings_policy(spec), .wanted = name};
    char why[400];

    nearest_begin(&s.near, name);
    settings_names(s.policy, match, &s);
    if (!s.found) {
        const char *meant = nearest_word(&s.near);
        snprintf(error, size,
                 "--set %.80s: %s has no such setting%s%s%s; greedylr help create lists them, --policy "
                 "takes another policy",
                 name, s.policy, meant ? "; did you mean " : "", meant ? meant : "", meant ? "?" : "");
        return -1;
    }
    if (!put(spec, &s.field, text, why, sizeof(why))) return 0;
    /* "--greedy.patience x: must be ..." is about a flag that was not given. */
    const char *colon = strstr(why, ": ");
    snprintf(error, size, "--set %.80s=%.80s%s", name, text, colon ? colon : "");
    return -1;
}

const char *settings_split(const char *set, char *name, size_t size)
{
    size_t n = strcspn(set, "=");

    snprintf(name, size, "%.*s", (int)n, set);
    return set + n + (set[n] == '=');
}

int settings_apply(const struct invocation *in, json_t *spec)
{
    char error[600], name[FIELD_PATH_MAX];

    if (in->options[OPTION_POLICY] &&
        settings_set_policy(spec, in->options[OPTION_POLICY], error, sizeof(error)))
        return usage_error(in, "%s", error);
    for (size_t i = 0; i < in->n_sets; i++) {
        const char *text = settings_split(in->sets[i], name, sizeof(name));
        if (settings_set(spec, name, text, error, sizeof(error))) return usage_error(in, "%s", error);
    }
    return 0;
}
