/* Lines are drawn in dots: 2 by 4 in a character of Braille, or one in a character of ASCII.  Every point is
 * drawn, however many there are, so that what is between two columns is not lost. */
#include "cli/plot.h"

#include "cli/axis.h"
#include "cli/table.h"
#include "cli/text.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define LABEL        10 /* characters for the numbers at the left */
#define WIDTH_MIN    40
#define WIDTH_MAX    400
#define VALUE_ROWS   12
#define RATE_ROWS    8
#define TICKS        5
#define NO_TERMINAL  80
#define BRAILLE_BASE 0x2800u

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
    bool utf8, colour;
    size_t width;         /* characters of the panels */
    size_t across, down;  /* dots of a character */
    unsigned char *cells; /* [rows * width] of the panel at hand */
    size_t rows;
    struct axis x, y;
};

static bool has_utf8(void)
{
    static const char *const names[] = {"LC_ALL", "LC_CTYPE", "LANG"};

    for (int i = 0; i < 3; i++) {
        const char *value = getenv(names[i]);
        if (value && *value) return strcasestr(value, "utf-8") || strcasestr(value, "utf8");
    }
    return false;
}

/* ---- dots ---- */

static void set_dot(struct plot *p, long x, long y)
{
    static const unsigned char bits[4][2] = {{0x01, 0x08}, {0x02, 0x10}, {0x04, 0x20}, {0x40, 0x80}};
    size_t column = (size_t)x / p->across, row = (size_t)y / p->down;

    if (x < 0 || y < 0 || column >= p->width || row >= p->rows) return;
    p->cells[row * p->width + column] |= p->utf8 ? bits[(size_t)y % 4][(size_t)x % 2] : 1;
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

    if (!cell || !p->utf8)
        putchar(cell ? '*' : ' ');
    else
        printf("%c%c%c", 0xe0 | (code >> 12), 0x80 | ((code >> 6) & 0x3f), 0x80 | (code & 0x3f));
}

static void put_style(const struct plot *p, const char *style)
{
    if (p->colour && *style) fputs(style, stdout);
}

static void print_panel(const struct plot *p, const char *style)
{
    double ticks[TICKS];
    size_t n = axis_ticks(&p->y, ticks, p->rows < 10 ? 4 : TICKS);

    for (size_t row = 0; row < p->rows; row++) {
        char label[LABEL + 8] = "";
        for (size_t i = 0; i < n; i++) {
            if ((size_t)dot_y(p, ticks[i]) / p->down == row) snprintf(label, sizeof(label), "%.4g", ticks[i]);
        }
        printf("%*s %s", LABEL, label,
               p->utf8  ? (*label ? "\xe2\x94\xa4" : "\xe2\x94\x82")
               : *label ? "+"
                        : "|");
        put_style(p, style);
        size_t used = p->width;
        while (used && !p->cells[row * p->width + used - 1])
            used--;
        for (size_t i = 0; i < used; i++)
            put_cell(p, p->cells[row * p->width + i]);
        put_style(p, "\033[0m");
        putchar('\n');
    }
}

static void begin_panel(struct plot *p, size_t rows, const char *name)
{
    char heading[100];

    p->rows = rows;
    memset(p->cells, 0, rows * p->width);
    snprintf(heading, sizeof(heading), "%*s %s%s", LABEL, "", name, p->y.log ? " (log)" : "");
    print_heading(heading);
}

static void print_value_panel(struct plot *p)
{
    p->y = (struct axis){0};
    for (size_t i = 0; i < p->s->n; i++)
        axis_take(&p->y, p->s->value[i]);
    axis_fit(&p->y, SCALE_AUTO, false);
    begin_panel(p, VALUE_ROWS, "value");
    draw_values(p);
    print_panel(p, "\033[34m");
}

/* ---- marks ---- */

/* A row of marks; whether some are in each other's way is returned. */
static bool print_marks(const struct plot *p, const struct line *line)
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
    if (used) printf("%*s", LABEL + 2, "");
    for (size_t i = 0; i < used; i++) {
        put_style(p, signs[marks[i]].style);
        fputs(p->utf8 ? signs[marks[i]].utf8 : signs[marks[i]].ascii, stdout);
        if (marks[i]) put_style(p, "\033[0m");
    }
    if (used) putchar('\n');
    several = memchr(marks, MARKS, p->width);
    free(marks);
    return several;
}

static void print_counts(const struct plot *p, size_t line, bool several)
{
    const char *between = "";

    printf("%*s", LABEL + 2, "");
    for (int mark = MARK_RAISE; mark < MARKS; mark++) {
        size_t n = series_count(p->s, line, mark);
        if (!n && mark > MARK_CUT) continue;
        printf("%s%s %s %zu", between, p->utf8 ? signs[mark].utf8 : signs[mark].ascii, signs[mark].name, n);
        between = "   ";
    }
    if (several) printf("   %s several", p->utf8 ? signs[MARKS].utf8 : signs[MARKS].ascii);
    putchar('\n');
}

static void print_rate_panels(struct plot *p)
{
    static const char *const styles[SERIES_LINES] = {"\033[33m", "\033[35m"};
    const struct series *s = p->s;

    p->y = (struct axis){0};
    for (size_t i = 0; i < s->n * s->n_lines; i++)
        axis_take(&p->y, s->lines[i % s->n_lines].rate[i / s->n_lines]);
    axis_fit(&p->y, SCALE_LOG, false);
    for (size_t i = 0; i < s->n_lines; i++) {
        begin_panel(p, RATE_ROWS, s->lines[i].name);
        draw_rates(p, &s->lines[i]);
        print_panel(p, styles[i]);
        print_counts(p, i, print_marks(p, &s->lines[i]));
    }
}

static void print_x(const struct plot *p)
{
    char lo[40], hi[40];
    const char *name = p->s->x_name;

    snprintf(lo, sizeof(lo), "%.10g", p->s->n ? p->s->x[0] : 0);
    snprintf(hi, sizeof(hi), "%.10g", p->s->n ? p->s->x[p->s->n - 1] : 0);
    size_t used = strlen(lo) + strlen(name) + strlen(hi), gap = p->width > used ? (p->width - used) / 2 : 1;
    printf("%*s%s%*s%s%*s%s\n", LABEL + 2, "", lo, (int)gap, "", name, (int)gap, "", hi);
}

void plot_print(const struct series *s)
{
    struct paper on = paper();
    size_t width = on.width ? on.width : NO_TERMINAL;
    struct plot p = {.s = s, .utf8 = has_utf8(), .colour = on.colour};

    if (width < WIDTH_MIN) width = WIDTH_MIN;
    if (width > WIDTH_MAX) width = WIDTH_MAX;
    p.width = width - LABEL - 3;
    p.across = p.utf8 ? 2 : 1;
    p.down = p.utf8 ? 4 : 1;
    p.cells = need(calloc(VALUE_ROWS, p.width));
    for (size_t i = 0; i < s->n; i++)
        axis_take(&p.x, s->x[i]);
    axis_fit(&p.x, SCALE_LINEAR, true);
    put_safe(stdout, s->title, width);
    putchar('\n');
    print_value_panel(&p);
    print_rate_panels(&p);
    print_x(&p);
    free(p.cells);
}
