/* Lines are drawn in dots: 2 by 4 in a character of Braille, or 1 by 2 in one of ASCII.  Every point is
 * drawn, however many there are, so that what is between two columns is not lost. */
#include "cli/plot.h"

#include "cli/text.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define LABEL          10 /* characters for the numbers at the left */
#define WIDTH_MIN      40
#define WIDTH_MAX      400
#define VALUE_ROWS     12
#define RATE_ROWS      8
#define ROWS_MIN       4
#define VALUE_ROWS_MAX 20
#define RATE_ROWS_MAX  14
#define TICKS_MAX      7
#define X_TICKS        9
#define NO_TERMINAL    80
#define BRAILLE_BASE   0x2800u

static const struct {
    const char *utf8, *ascii, *style, *name;
} signs[MARKS + 1] = {
    [MARK_NONE] = {" ", " ", "", ""},
    [MARK_RAISE] = {"\xe2\x96\xb2", "^", "\033[32m", "raises"}, /* triangles */
    [MARK_CUT] = {"\xe2\x96\xbc", "v", "\033[31m", "cuts"},
    [MARK_RESET] = {"\xe2\x86\xba", "0", "\033[35m", "resets"}, /* an arrow in a circle */
    [MARK_EVENT] = {"\xe2\x94\x82", "|", "\033[36m", "events"},
    [MARKS] = {"\xe2\x97\x86", "#", "", "several"}, /* a diamond */
};

struct plot {
    const struct series *s;
    FILE *out;
    struct paper on;
    size_t width;         /* characters of the panels */
    size_t across, down;  /* dots of a character */
    unsigned char *cells; /* [rows * width] of the panel at hand */
    size_t rows, value_rows, rate_rows;
    struct axis x, y;
};

bool plot_take_log(const char *log, struct plot_look *look)
{
    static const struct {
        const char *word;
        enum scale value, rate;
    } words[] = {
        {"rate", SCALE_LINEAR, SCALE_LOG},
        {"value", SCALE_LOG, SCALE_LINEAR},
        {"both", SCALE_LOG, SCALE_LOG},
        {"none", SCALE_LINEAR, SCALE_LINEAR},
    };

    look->value = SCALE_AUTO;
    look->rate = SCALE_LOG;
    for (size_t i = 0; log && i < sizeof(words) / sizeof(words[0]); i++) {
        if (strcmp(words[i].word, log)) continue;
        look->value = words[i].value;
        look->rate = words[i].rate;
        return true;
    }
    return !log;
}

/* ---- dots ---- */

static void set_dot(struct plot *p, long x, long y)
{
    static const unsigned char bits[4][2] = {{0x01, 0x08}, {0x02, 0x10}, {0x04, 0x20}, {0x40, 0x80}};
    size_t column = (size_t)x / p->across, row = (size_t)y / p->down;

    if (x < 0 || y < 0 || column >= p->width || row >= p->rows) return;
    p->cells[row * p->width + column] |= bits[(size_t)y % p->down][(size_t)x % p->across];
}

static long dot_x(const struct plot *p, double x)
{
    return lround(axis_at(&p->x, x) * (double)(p->width * p->across - 1));
}

static long dot_y(const struct plot *p, double y)
{
    return lround((1 - axis_at(&p->y, y)) * (double)(p->rows * p->down - 1));
}

static void draw_line(struct plot *p, double x0, double y0, double x1, double y1)
{
    long ax = dot_x(p, x0), ay = dot_y(p, y0), bx = dot_x(p, x1), by = dot_y(p, y1);
    long n = labs(bx - ax) > labs(by - ay) ? labs(bx - ax) : labs(by - ay);

    for (long i = 0; i <= n; i++)
        set_dot(p, ax + (n ? lround((double)((bx - ax) * i) / (double)n) : 0),
                ay + (n ? lround((double)((by - ay) * i) / (double)n) : 0));
}

static void draw_values(struct plot *p)
{
    const struct series *s = p->s;
    double x = NAN, y = NAN;

    for (size_t i = 0; i < s->n; i++) {
        if (s->event[i]) continue;
        double now = s->value[i];
        if (isfinite(now)) draw_line(p, isfinite(y) ? x : s->x[i], isfinite(y) ? y : now, s->x[i], now);
        x = s->x[i];
        y = now;
    }
}

/* A rate stays until the next one. */
static void draw_rates(struct plot *p, const struct line *line)
{
    const struct series *s = p->s;

    for (size_t i = 0; i < s->n; i++) {
        double rate = line->rate[i];
        if (!isfinite(rate)) continue;
        if (i && isfinite(line->rate[i - 1])) draw_line(p, s->x[i], line->rate[i - 1], s->x[i], rate);
        draw_line(p, s->x[i], rate, i + 1 < s->n ? s->x[i + 1] : s->x[i], rate);
    }
}

/* ---- panels ---- */

static void put_cell(const struct plot *p, unsigned char cell)
{
    unsigned code = BRAILLE_BASE + cell;

    if (!cell)
        fputc(' ', p->out);
    else if (!p->on.utf8)
        fputc(" '.:"[cell & 3], p -> out);
    else
        fprintf(p->out, "%c%c%c", 0xe0 | (code >> 12), 0x80 | ((code >> 6) & 0x3f), 0x80 | (code & 0x3f));
}

static void put_style(const struct plot *p, const char *style)
{
    if (p->on.colour && *style) fputs(style, p->out);
}

static const char *sign_of(const struct plot *p, const char *utf8, const char *ascii)
{
    return p->on.utf8 ? utf8 : ascii;
}

static void put_panel(const struct plot *p, const char *style)
{
    double ticks[TICKS_MAX];
    size_t n = axis_ticks(&p->y, ticks, p->rows < 6 ? 3 : p->rows < 9 ? 4 : TICKS_MAX);

    for (size_t row = 0; row < p->rows; row++) {
        char label[LABEL + 8] = "";
        for (size_t i = 0; i < n; i++) {
            if ((size_t)dot_y(p, ticks[i]) / p->down == row) snprintf(label, sizeof(label), "%.4g", ticks[i]);
        }
        fprintf(p->out, "%*s %s", LABEL, label,
                *label ? sign_of(p, "\xe2\x94\xa4", "+") : sign_of(p, "\xe2\x94\x82", "|"));
        size_t used = p->width;
        while (used && !p->cells[row * p->width + used - 1])
            used--;
        if (used) put_style(p, style);
        for (size_t i = 0; i < used; i++)
            put_cell(p, p->cells[row * p->width + i]);
        if (used) put_style(p, STYLE_PLAIN);
        fputc('\n', p->out);
    }
}

static void begin_panel(struct plot *p, size_t rows, const char *name, enum scale asked)
{
    char heading[100];
    const char *scale = p->y.log ? " (log)" : "";

    if (asked == SCALE_LOG && !p->y.log && p->y.any && p->y.lo < 0) scale = " (not log: some are below 0)";
    p->rows = rows;
    memset(p->cells, 0, rows * p->width);
    snprintf(heading, sizeof(heading), "%*s %s%s", LABEL, "", name, scale);
    put_heading(p->out, heading);
}

static void put_value_panel(struct plot *p, enum scale scale)
{
    p->y = (struct axis){0};
    for (size_t i = 0; i < p->s->n; i++)
        axis_take(&p->y, p->s->value[i]);
    axis_fit(&p->y, scale, false);
    begin_panel(p, p->value_rows, "value", scale);
    draw_values(p);
    put_panel(p, "\033[34m");
}

/* ---- marks ---- */

/* A row of marks; whether some are in each other's way is returned. */
static bool put_marks(const struct plot *p, const struct line *line)
{
    unsigned char *marks = need(calloc(p->width, 1));
    size_t used = 0;
    bool several;

    for (size_t i = 0; i < p->s->n; i++) {
        unsigned char mark = line->mark[i];
        size_t column = (size_t)dot_x(p, p->s->x[i]) / p->across;
        if (!mark) continue;
        marks[column] = !marks[column] || marks[column] == mark ? mark : MARKS;
        if (column >= used) used = column + 1;
    }
    if (used) fprintf(p->out, "%*s", LABEL + 2, "");
    for (size_t i = 0; i < used; i++) {
        if (marks[i]) put_style(p, signs[marks[i]].style);
        fputs(sign_of(p, signs[marks[i]].utf8, signs[marks[i]].ascii), p->out);
        if (marks[i]) put_style(p, STYLE_PLAIN);
    }
    fputc('\n', p->out);
    several = memchr(marks, MARKS, p->width);
    free(marks);
    return several;
}

static void put_counts(const struct plot *p, size_t line, bool several)
{
    const char *between = "";

    fprintf(p->out, "%*s", LABEL + 2, "");
    for (int mark = MARK_RAISE; mark < MARKS; mark++) {
        size_t n = series_count(p->s, line, mark);
        if (!n && mark > MARK_CUT) continue;
        fputs(between, p->out);
        put_style(p, signs[mark].style);
        fputs(sign_of(p, signs[mark].utf8, signs[mark].ascii), p->out);
        put_style(p, STYLE_PLAIN);
        fprintf(p->out, " %s %zu%s", signs[mark].name, n, n && p->s->thinned ? "+" : "");
        between = "   ";
    }
    if (several) fprintf(p->out, "   %s several", sign_of(p, signs[MARKS].utf8, signs[MARKS].ascii));
    fputc('\n', p->out);
}

/* The numbers along the steps, each below its place; those that would touch the one before are left out. */
static void put_x(const struct plot *p)
{
    double ticks[X_TICKS];
    size_t n = axis_ticks(&p->x, ticks, p->width < 60 ? 4 : p->width < 120 ? 6 : X_TICKS);
    size_t at = 0;

    fprintf(p->out, "%*s  ", LABEL, p->s->x_name);
    for (size_t i = 0; i < n; i++) {
        char label[40];
        size_t len = (size_t)snprintf(label, sizeof(label), "%.10g", ticks[i]);
        size_t column = (size_t)dot_x(p, ticks[i]) / p->across;
        column = column > len / 2 ? column - len / 2 : 0;
        if (column + len > p->width) column = p->width - len;
        if (at && column < at + 2) continue;
        fprintf(p->out, "%*s%s", (int)(column - at), "", label);
        at = column + len;
    }
    fputc('\n', p->out);
}

static void put_rate_panels(struct plot *p, enum scale scale)
{
    static const char *const styles[SERIES_LINES] = {"\033[33m", "\033[35m"};
    const struct series *s = p->s;

    p->y = (struct axis){0};
    for (size_t i = 0; i < s->n * s->n_lines; i++)
        axis_take(&p->y, s->lines[i % s->n_lines].rate[i / s->n_lines]);
    axis_fit(&p->y, scale, false);
    for (size_t i = 0; i < s->n_lines; i++) {
        begin_panel(p, p->rate_rows, s->lines[i].name, scale);
        draw_rates(p, &s->lines[i]);
        put_panel(p, styles[i]);
        bool several = put_marks(p, &s->lines[i]);
        if (i + 1 == s->n_lines) put_x(p);
        put_counts(p, i, several);
    }
}

/* How many rows the panels have: three fifths are the values'. */
static void share_rows(struct plot *p, bool fill)
{
    size_t n = p->s->n_lines, around = 3 + 3 * n, height = p->on.height, rows;

    p->value_rows = VALUE_ROWS;
    p->rate_rows = RATE_ROWS;
    if (!height) return;
    rows = height > around + 1 ? height - around - 1 : 0; /* one is the prompt's */
    if (!fill && rows > VALUE_ROWS_MAX + n * RATE_ROWS_MAX) rows = VALUE_ROWS_MAX + n * RATE_ROWS_MAX;
    p->rate_rows = rows * 2 / (3 + 2 * n);
    if (p->rate_rows < ROWS_MIN) p->rate_rows = ROWS_MIN;
    p->value_rows = rows > n * p->rate_rows + ROWS_MIN ? rows - n * p->rate_rows : ROWS_MIN;
}

void plot_put(FILE *out, const struct series *s, const struct plot_look *look)
{
    struct plot p = {.s = s, .out = out, .on = look->paper};
    size_t width = p.on.width ? p.on.width : NO_TERMINAL, rows;

    if (width < WIDTH_MIN) width = WIDTH_MIN;
    if (width > WIDTH_MAX) width = WIDTH_MAX;
    p.width = width - LABEL - 3;
    p.across = p.on.utf8 ? 2 : 1;
    p.down = p.on.utf8 ? 4 : 2;
    share_rows(&p, look->fill);
    rows = p.value_rows > p.rate_rows ? p.value_rows : p.rate_rows;
    p.cells = need(calloc(rows, p.width));
    for (size_t i = 0; i < s->n; i++)
        axis_take(&p.x, s->x[i]);
    axis_fit(&p.x, SCALE_LINEAR, true);
    put_safe(out, s->title, width);
    fputc('\n', out);
    if (!s->n) {
        fputs("nothing was decided here yet\n", out);
        free(p.cells);
        return;
    }
    put_value_panel(&p, look->value);
    put_rate_panels(&p, look->rate);
    free(p.cells);
}
