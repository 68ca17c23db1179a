/* What commands do.  Each returns an exit code and has said on standard error why it is not 0. */
#ifndef GREEDYLR_CLI_RUN_H
#define GREEDYLR_CLI_RUN_H

struct invocation;

int run_request(const struct invocation *in);  /* one request, one answer */
int run_pages(const struct invocation *in);    /* a list, page after page */
int run_watch(const struct invocation *in);    /* a stream, resumed when it breaks */
int run_delete(const struct invocation *in);   /* asks first */
int run_simulate(const struct invocation *in); /* values may come from a file */
int run_plot(const struct invocation *in);     /* a job's values and rates, drawn */
int run_top(const struct invocation *in);      /* a live table of jobs */
int run_replay(const struct invocation *in);   /* a job's values, other settings */
int run_sweep(const struct invocation *in);    /* values, a grid of settings */
int run_doctor(const struct invocation *in);   /* what is wrong, and what to do */
int run_token(const struct invocation *in);    /* the daemon's token file */
int run_health(const struct invocation *in);
int run_version(const struct invocation *in);
int run_completion(const struct invocation *in); /* the script of a shell */
int run_help(const struct invocation *in);

#endif
