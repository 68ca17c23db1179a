/* How much a token may use.
 *
 * Requests are a bucket that fills with `requests` a second and holds two seconds of them; the others are
 * counts of what there is.  Failure mode: ST_QUOTA_EXCEEDED, naming the quota, its value and the token. */
#include "server/auth.h"

static int refuse(const struct auth_token *token, enum limit limit, const char *quota, uint32_t most,
                  const char *what, struct error *err)
{
    return error_limit(err, limit, ST_QUOTA_EXCEEDED, "%s=%u is the quota of token %s; %s", quota, most,
                       token->id, what);
}

int auth_take_request(struct auth_token *token, uint64_t now_ms, struct error *err)
{
    double rate = token->limits.requests, full = 2 * rate;

    if (!token->limits.requests) return 0;
    token->credit =
        token->credit_ms ? token->credit + rate * (double)(now_ms - token->credit_ms) / 1000 : full;
    token->credit_ms = now_ms;
    if (token->credit > full) token->credit = full;
    if (token->credit < 1)
        return refuse(token, LIMIT_TOKEN_REQUESTS, "requests", token->limits.requests,
                      "that many requests a second are taken; repeat it in a second", err);
    token->credit--;
    return 0;
}

int auth_check_jobs(const struct auth_token *token, struct error *err)
{
    if (!token || !token->limits.jobs || token->jobs < token->limits.jobs) return 0;
    return refuse(token, LIMIT_TOKEN_JOBS, "jobs", token->limits.jobs,
                  "there are that many jobs with its prefix; delete some", err);
}

int auth_check_rounds(const struct auth_token *token, struct error *err)
{
    if (!token || !token->limits.rounds || token->rounds < token->limits.rounds) return 0;
    return refuse(token, LIMIT_TOKEN_ROUNDS, "rounds", token->limits.rounds,
                  "that many rounds it began are open; report their missing ranks, then repeat this", err);
}

int auth_check_watchers(const struct auth_token *token, struct error *err)
{
    if (!token || !token->limits.watchers || token->watchers < token->limits.watchers) return 0;
    return refuse(token, LIMIT_TOKEN_WATCHERS, "watchers", token->limits.watchers,
                  "it has that many; close some, then watch again", err);
}
