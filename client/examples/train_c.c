/* Trains a small language model in C, with the learning rate decided by greedylrd.
 *
 * The model predicts the next character of a text from the two before it: softmax regression, one weight for
 * each (position, character, next character), trained by plain SGD.  The last tenth of the text validates.
 * Debian has the text on every machine: the GPL.  The rate starts too small on purpose; the daemon raises it.
 *
 *     train_c [--url URL] [--job NAME] [--text FILE] [--lr RATE] [--epochs N] [--budget MILLISECONDS]
 *
 * The same run again gets the recorded decisions: the text and the order of the examples are always the same.
 */
#include <greedylr.h>

#include <getopt.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CONTEXT  2   /* characters that predict the next one */
#define VOCAB    128 /* at most: ASCII */
#define TEXT_MAX (1 << 20)

struct model {
    int vocab;
    double weights[CONTEXT][VOCAB][VOCAB]; /* [position][character there][next character] */
    double bias[VOCAB];
};

struct text {
    int vocab;
    size_t len, train; /* characters, and those of them to train on */
    unsigned char at[TEXT_MAX];
};

/* Reads a text as numbers from 0 to vocab - 1, numbered as they first appear. */
static int read_text(const char *path, struct text *text)
{
    int number[256];
    FILE *file = fopen(path, "r");

    if (!file) {
        perror(path);
        return -1;
    }
    memset(number, -1, sizeof number);
    for (int c; (c = getc(file)) != EOF && text->len < TEXT_MAX;) {
        c &= 127;
        if (number[c] < 0) number[c] = text->vocab++;
        text->at[text->len++] = (unsigned char)number[c];
    }
    fclose(file);
    text->train = text->len / 10 * 9;
    if (text->len >= 1000) return 0;
    fprintf(stderr, "%s: a text of at least 1000 characters is needed\n", path);
    return -1;
}

/* Probabilities of the character at i; returns the loss: -log of that of the one that is there, in nats. */
static double predict(const struct model *model, const unsigned char *at, double p[VOCAB])
{
    double max = -INFINITY, sum = 0;

    for (int c = 0; c < model->vocab; c++) {
        p[c] = model->bias[c];
        for (int k = 0; k < CONTEXT; k++)
            p[c] += model->weights[k][at[k - CONTEXT]][c];
        if (p[c] > max) max = p[c];
    }
    for (int c = 0; c < model->vocab; c++)
        sum += p[c] = exp(p[c] - max);
    for (int c = 0; c < model->vocab; c++)
        p[c] /= sum;
    return -log(p[at[0]] > 1e-300 ? p[at[0]] : 1e-300);
}

/* One pass of SGD, in an order that depends on the epoch only. */
static void train(struct model *model, const struct text *text, unsigned epoch, double lr)
{
    double p[VOCAB];
    size_t examples = text->train - CONTEXT, i = (size_t)epoch * 7919 % examples;

    for (size_t n = 0; n < examples; n++) {
        i = (i + 4999) % examples; /* a prime: each example once, unless their number is a multiple of it */
        const unsigned char *at = text->at + CONTEXT + i;
        predict(model, at, p);
        p[at[0]] -= 1; /* the gradient of the loss in the logits */
        for (int c = 0; c < model->vocab; c++) {
            model->bias[c] -= lr * p[c];
            for (int k = 0; k < CONTEXT; k++)
                model->weights[k][at[k - CONTEXT]][c] -= lr * p[c];
        }
    }
}

/* Mean loss in nats per character of the text that was not trained on. */
static double validate(const struct model *model, const struct text *text)
{
    double p[VOCAB], sum = 0;

    for (size_t i = text->train; i < text->len; i++)
        sum += predict(model, text->at + i, p);
    return sum / (double)(text->len - text->train);
}

/* What predicting from frequencies alone would lose there, for comparison. */
static double frequencies_loss(const struct text *text)
{
    double count[VOCAB] = {0}, sum = 0;

    for (size_t i = 0; i < text->train; i++)
        count[text->at[i]]++;
    for (size_t i = text->train; i < text->len; i++)
        sum -= log((count[text->at[i]] + 1) / (double)(text->train + (size_t)text->vocab));
    return sum / (double)(text->len - text->train);
}

struct settings {
    const char *job, *text;
    double lr;
    unsigned epochs;
    struct glr_options options;
};

static int parse(int argc, char **argv, struct settings *settings)
{
    static const struct option options[] = {
        {"url", required_argument, NULL, 'u'},
        {"job", required_argument, NULL, 'j'},
        {"text", required_argument, NULL, 't'},
        {"lr", required_argument, NULL, 'l'},
        {"epochs", required_argument, NULL, 'e'},
        {"budget", required_argument, NULL, 'b'},
        {NULL, 0, NULL, 0},
    };

    for (int c; (c = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        switch (c) {
        case 'u': settings->options.url = optarg; break;
        case 'j': settings->job = optarg; break;
        case 't': settings->text = optarg; break;
        case 'l': settings->lr = strtod(optarg, NULL); break;
        case 'e': settings->epochs = (unsigned)strtoul(optarg, NULL, 10); break;
        case 'b': settings->options.budget_ms = strtoul(optarg, NULL, 10); break;
        default: return -1;
        }
    }
    return optind == argc ? 0 : -1;
}

static void run(struct glr_job *job, const struct settings *settings, const struct text *text)
{
    static struct model model;
    struct glr_decision decision = {.size = sizeof decision, .lr = settings->lr};

    model.vocab = text->vocab;
    printf("%5s  %8s  %-10s  %-8s  %s\n", "epoch", "loss", "next rate", "action", "why");
    for (unsigned epoch = 1; epoch <= settings->epochs; epoch++) {
        double used = decision.lr;
        train(&model, text, epoch, used);
        struct glr_report report = {
            .size = sizeof report,
            .value = validate(&model, text),
            .has_step = true,
            .step = epoch,
            .applied_lr = used,
            .has_applied_lr = true,
        };
        /* Without an answer `decision` stays as it is: training goes on at the same rate. */
        enum glr_code code = glr_report(job, &report, &decision);
        printf("%5u  %8.4f  %-10.4g  %-8s  %s\n", epoch, report.value, decision.lr,
               code ? "kept" : decision.action, code ? glr_error()->message : decision.reason);
        fflush(stdout);
    }
    printf("loss %.17g of the trained model, %.4f from frequencies alone\n", validate(&model, text),
           frequencies_loss(text));
}

int main(int argc, char **argv)
{
    static struct text text;
    struct settings settings = {
        .job = "train-c",
        .text = "/usr/share/common-licenses/GPL-3",
        .lr = 0.002,
        .epochs = 40,
        .options = {.size = sizeof settings.options},
    };
    struct glr_client *client;
    struct glr_job *job;

    if (parse(argc, argv, &settings)) {
        fprintf(stderr,
                "usage: %s [--url URL] [--job NAME] [--text FILE] [--lr RATE] [--epochs N] [--budget MS]\n",
                argv[0]);
        return 2;
    }
    if (read_text(settings.text, &text)) return 1;
    if (glr_client_open(&settings.options, &client)) {
        fprintf(stderr, "%s\n", glr_error()->message);
        return 1;
    }
    enum glr_code code = glr_job_create(client, settings.job, &settings.lr, 1, NULL, &job);
    if (code) fprintf(stderr, "%s: %s\n", glr_error()->reason, glr_error()->message);
    if (!code || code == GLR_UNAVAILABLE) { /* unavailable: training does not wait for the daemon */
        run(job, &settings, &text);
        code = glr_flush(job);
        if (code) fprintf(stderr, "%zu values were not delivered: %s\n", glr_held(job), glr_error()->message);
        glr_job_close(job);
    }
    glr_client_close(client);
    return code ? 1 : 0;
}
