/* One picture for light and dark pages: it has no ground of its own, and its colours stand out on both.
 *
 * The text is written beside the file and renamed over it once it is on the disk. */
#include "cli/svg.h"

#include "cli/axis.h"
#include "cli/text.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define WIDTH  960
#define HEIGHT 520
#define LEFT   78.0
#define RIGHT  882.0
#define TOP    84.0
#define BOTTOM 446.0
#define TICKS  7

static const char head[] =
    "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 960 520\" width=\"960\" height=\"520\" "
    "role=\"img\">\n"
    "<style>\n"
    "text { font: 13px system-ui, sans-serif; fill: #7a7a7a }\n"
    ".title { font-size: 17px; font-weight: 600 }\n"
    ".grid, .frame { stroke: #7a7a7a; fill: none; stroke-width: 1 }\n"
    ".grid { stroke-opacity: .25 }\n"
    ".value, .rate0, .rate1 { fill: none; stroke-width: 1.8; stroke-linejoin: round; stroke-linecap: round "
    "}\n"
    ".value { stroke: #2f7fd1 }\n"
    ".rate0 { stroke: #c96a12 }\n"
    ".rate1 { stroke: #9a5fd0; stroke-dasharray: 7 4 }\n"
    "text.value { fill: #2f7fd1; stroke: none }\n"
    "text.rate0 { fill: #c96a12; stroke: none }\n"
    ".raise { fill: #2b9348 } .cut { fill: #d63a3a } .reset { fill: #b04fb0 } .event { fill: #7a7a7a }\n"
    ".marks1 path { fill: none; stroke-width: 1.5 }\n"
    ".marks1 .raise { stroke: #2b9348 } .marks1 .cut { stroke: #d63a3a } .marks1 .reset { stroke: #b04fb0 }\n"
    "</style>\n";

/* Around 0, 0. */
static const struct {
    const char *name, *path;
} shapes[MARKS] = {
    [MARK_RAISE] = {"raise", "m0-6 5 9h-10z"},
    [MARK_CUT] = {"cut", "m0 6 5-9h-10z"},
    [MARK_RESET] = {"reset", "m0-6 5 6-5 6-5-6z"},
    [MARK_EVENT] = {"event", "m-3-3h6v6h-6z"},
};

struct svg {
    const struct series *s;
    FILE *out;
    struct axis x, left, right;
};

/* Text that is well-formed whatever the bytes: what XML cannot hold becomes a question mark. */
static void put_text(FILE *out, const char *text)
{
    while (*text) {
        unsigned char c = (unsigned char)*text;
        size_t n = c < 0x80 ? 1 : c >= 0xf0 ? 4 : c >= 0xe0 ? 3 : 2;
        char one[5];
        snprintf(one, sizeof(one), "%.*s", (int)n, text);
        json_t *valid = json_string(one); /* NULL: not UTF-8 */
        if (c == '&')
            fputs("&amp;", out);
        else if (c == '<')
            fputs("&lt;", out);
        else if (c == '>')
            fputs("&gt;", out);
        else if (c < 0x20 || c == 0x7f || !valid)
            fputc('?', out);
        else
            fputs(one, out);
        text += valid ? strlen(one) : 1;
        json_decref(valid);
    }
}

static double at_x(const struct svg *g, double x)
{
    return LEFT + axis_at(&g->x, x) * (RIGHT - LEFT);
}

static double at_y(const struct axis *axis, double y)
{
    return BOTTOM - axis_at(axis, y) * (BOTTOM - TOP);
}

/* ---- axes ---- */

static void put_axes(const struct svg *g)
{
    double ticks[TICKS];
    size_t n = axis_ticks(&g->left, ticks, TICKS), i;

    for (i = 0; i < n; i++) {
        double y = at_y(&g->left, ticks[i]);
        fprintf(g->out, "<path class=\"grid\" d=\"M%.1f %.1fH%.1f\"/>\n", LEFT, y, RIGHT);
        fprintf(g->out, "<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"end\">%.4g</text>\n", LEFT - 8, y + 4.5,
                ticks[i]);
    }
    n = axis_ticks(&g->right, ticks, TICKS);
    for (i = 0; i < n; i++) {
        double y = at_y(&g->right, ticks[i]);
        fprintf(g->out, "<path class=\"frame\" d=\"M%.1f %.1fh5\"/>\n", RIGHT, y);
        fprintf(g->out, "<text x=\"%.1f\" y=\"%.1f\">%.4g</text>\n", RIGHT + 9, y + 4.5, ticks[i]);
    }
    n = axis_ticks(&g->x, ticks, TICKS + 0);
    for (i = 0; i < n; i++) {
        double x = at_x(g, ticks[i]);
        fprintf(g->out, "<path class=\"frame\" d=\"M%.1f %.1fv5\"/>\n", x, BOTTOM);
        fprintf(g->out, "<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"middle\">%.10g</text>\n", x, BOTTOM + 20,
                ticks[i]);
    }
    fprintf(g->out, "<path class=\"frame\" d=\"M%.1f %.1fV%.1fH%.1fV%.1f\"/>\n", LEFT, TOP, BOTTOM, RIGHT,
            TOP);
    fprintf(g->out, "<text x=\"%.1f\" y=\"%.1f\" class=\"value\" text-anchor=\"end\">value%s</text>\n",
            LEFT - 8, TOP - 12, g->left.log ? " (log)" : "");
    fprintf(g->out, "<text x=\"%.1f\" y=\"%.1f\" class=\"rate0\">rate%s</text>\n", RIGHT + 9, TOP - 12,
            g->right.log ? " (log)" : "");
    fprintf(g->out, "<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"middle\">%s</text>\n", (LEFT + RIGHT) / 2,
            BOTTOM + 42, g->s->x_name);
}

/* ---- curves ---- */

static void put_values(const struct svg *g)
{
    const struct series *s = g->s;
    bool pen = false;

    fputs("<path class=\"value\" d=\"", g->out);
    for (size_t i = 0; i < s->n; i++) {
        if (s->event[i]) continue;
        if (isfinite(s->value[i])) {
            double x = at_x(g, s->x[i]), y = at_y(&g->left, s->value[i]);
            /* A point alone is a line of no length, which round ends make a dot. */
            fprintf(g->out, pen ? "L%.1f %.1f" : "M%.1f %.1fh0", x, y);
        }
        pen = isfinite(s->value[i]);
    }
    fputs("\"/>\n", g->out);
}

static void put_rates(const struct svg *g, size_t line)
{
    const struct series *s = g->s;
    bool pen = false;

    fprintf(g->out, "<path class=\"rate%zu\" d=\"", line);
    for (size_t i = 0; i < s->n; i++) {
        double rate = s->lines[line].rate[i];
        if (isfinite(rate))
            fprintf(g->out, pen ? "H%.1fV%.1f" : "M%.1f %.1fh0", at_x(g, s->x[i]), at_y(&g->right, rate));
        pen = isfinite(rate);
    }
    fputs("\"/>\n", g->out);
}

static void put_shape(FILE *out, enum mark mark, double x, double y)
{
    fprintf(out, "<path class=\"%s\" transform=\"translate(%.1f %.1f)\" d=\"%s\"/>\n", shapes[mark].name, x,
            y, shapes[mark].path);
}

static void put_marks(const struct svg *g, size_t line)
{
    const struct series *s = g->s;

    fprintf(g->out, "<g class=\"marks%zu\">\n", line);
    for (size_t i = 0; i < s->n; i++) {
        enum mark mark = s->lines[line].mark[i];
        double y = at_y(&g->right, s->lines[line].rate[i]);
        if (mark && isfinite(y)) put_shape(g->out, mark, at_x(g, s->x[i]), y);
    }
    fputs("</g>\n", g->out);
}

/* ---- words ---- */

static double put_entry(const struct svg *g, double x, const char *class, const char *name)
{
    fprintf(g->out, "<path class=\"%s\" d=\"M%.1f 50h26\"/>\n", class, x);
    fprintf(g->out, "<text x=\"%.1f\" y=\"54.5\">%s</text>\n", x + 32, name);
    return x + 32 + 7.5 * (double)strlen(name) + 18;
}

static void put_legend(const struct svg *g)
{
    static const char *const classes[SERIES_LINES] = {"rate0", "rate1"};
    double x = LEFT;

    fputs("<g class=\"legend\">\n", g->out);
    x = put_entry(g, x, "value", "value");
    for (size_t i = 0; i < g->s->n_lines; i++)
        x = put_entry(g, x, classes[i], g->s->lines[i].name);
    for (int mark = MARK_RAISE; mark < MARKS; mark++) {
        size_t n = 0;
        for (size_t i = 0; i < g->s->n_lines; i++)
            n += series_count(g->s, i, mark);
        if (!n) continue;
        put_shape(g->out, mark, x + 5, 50);
        fprintf(g->out, "<text x=\"%.1f\" y=\"54.5\">%s</text>\n", x + 15, shapes[mark].name);
        x += 15 + 7.5 * (double)strlen(shapes[mark].name) + 16;
    }
    fputs("</g>\n", g->out);
}

static void put_picture(struct svg *g, const struct plot_look *look)
{
    const struct series *s = g->s;

    for (size_t i = 0; i < s->n; i++) {
        axis_take(&g->x, s->x[i]);
        axis_take(&g->left, s->value[i]);
        for (size_t k = 0; k < s->n_lines; k++)
            axis_take(&g->right, s->lines[k].rate[i]);
    }
    axis_fit(&g->x, SCALE_LINEAR, true);
    axis_fit(&g->left, look->value, false);
    axis_fit(&g->right, look->rate, false);
    fputs(head, g->out);
    fputs("<title>", g->out);
    put_text(g->out, s->title);
    fprintf(g->out, "</title>\n<text class=\"title\" x=\"%.1f\" y=\"28\">", LEFT);
    put_text(g->out, s->title);
    fputs("</text>\n", g->out);
    put_legend(g);
    put_axes(g);
    put_values(g);
    for (size_t i = 0; i < s->n_lines; i++)
        put_rates(g, i);
    for (size_t i = 0; i < s->n_lines; i++)
        put_marks(g, i);
    if (s->note) fprintf(g->out, "<text x=\"%.1f\" y=\"%d\">%s</text>\n", LEFT, HEIGHT - 8, s->note);
    fputs("</svg>\n", g->out);
}

/* ---- the file ---- */

/* What is there may be replaced if it is nothing, or an SVG. */
static bool is_replaceable(const char *path, char *error, size_t size)
{
    char begin[200] = "";
    struct stat at;
    FILE *file;

    if (stat(path, &at)) return errno == ENOENT;
    file = S_ISREG(at.st_mode) ? fopen(path, "re") : NULL;
    if (file) {
        begin[fread(begin, 1, sizeof(begin) - 1, file)] = '\0';
        fclose(file);
    }
    if (file && (!at.st_size || strstr(begin, "<svg"))) return true;
    snprintf(error, size, "%s: exists and is no SVG; it is left as it is, give another name", path);
    return false;
}

int svg_write(const struct series *s, const struct plot_look *look, const char *path, char *error,
              size_t size)
{
    struct svg g = {.s = s};
    char *beside = NULL, *real = realpath(path, NULL);
    const char *into = real ? real : path;
    int rc = -1, fd = -1;

    *error = '\0';
    if (!is_replaceable(path, error, size)) goto out;
    if (asprintf(&beside, "%s.%ld.tmp", into, (long)getpid()) < 0) need(NULL);
    fd = open(beside, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    g.out = fd < 0 ? NULL : fdopen(fd, "w");
    if (!g.out) goto out;
    put_picture(&g, look);
    bool written = !fflush(g.out) && !ferror(g.out) && !fsync(fd);
    if (fclose(g.out) || !written || rename(beside, into)) {
        snprintf(error, size, "%s: cannot be written: %s", path, strerror(errno));
        unlink(beside);
        goto out;
    }
    rc = 0;
out:
    if (rc && !*error) snprintf(error, size, "%s: cannot be written: %s", path, strerror(errno));
    free(beside);
    free(real);
    return rc;
}
