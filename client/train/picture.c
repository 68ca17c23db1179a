/* An SVG of bars.  Failure: the file cannot be written. */
#include "train/picture.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#define LABELS 270 /* widths and heights in pixels */
#define SIDE   300
#define BAR    22
#define TOP    48

void picture_add(struct picture *picture, int side, const char *name, struct mean mean, bool marked)
{
    size_t i = picture->n[side];

    if (i >= PICTURE_BARS) return;
    picture->bars[side][i].name = name;
    picture->bars[side][i].mean = mean;
    picture->bars[side][i].marked = marked;
    picture->n[side]++;
}

static void draw_side(FILE *file, const struct picture *picture, int side)
{
    static const char *const titles[] = {"trained classes", "held-out class: small networks"};
    double lowest = -0.1, left = LABELS + side * (SIDE + 30);

    for (size_t i = 0; i < picture->n[side]; i++)
        lowest = fmin(lowest, picture->bars[side][i].mean.mean - picture->bars[side][i].mean.half);
    fprintf(file, "<text x=\"%g\" y=\"36\" class=\"t\">%s</text>\n", left, titles[side]);
    for (size_t i = 0; i < picture->n[side]; i++) {
        struct mean m = picture->bars[side][i].mean;
        double y = TOP + (double)i * BAR, scale = (SIDE - 50) / lowest, x = left + m.mean * scale;

        if (side == 0)
            fprintf(file, "<text x=\"%d\" y=\"%g\" text-anchor=\"end\">%s</text>\n", LABELS - 8, y + 14,
                    picture->bars[side][i].name);
        fprintf(file, "<rect x=\"%g\" y=\"%g\" width=\"%.1f\" height=\"%d\" class=\"%s\"/>\n", left, y + 2,
                fmax(m.mean * scale, 0), BAR - 6, picture->bars[side][i].marked ? "m" : "b");
        fprintf(file, "<path d=\"M%.1f %gH%.1f\" class=\"i\"/><text x=\"%.1f\" y=\"%g\">%.2f</text>\n",
                left + (m.mean + m.half) * scale, y + 10, left + (m.mean - m.half) * scale,
                fmax(left, x + m.half * fabs(scale)) + 5, y + 14, m.mean);
    }
}

bool picture_write(const struct picture *picture, const char *path)
{
    FILE *file = fopen(path, "w");
    size_t rows = picture->n[0] > picture->n[1] ? picture->n[0] : picture->n[1];

    if (file) {
        fprintf(
            file,
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%d\" height=\"%zu\" "
            "font-family=\"sans-serif\" "
            "font-size=\"12\">\n<style>.b{fill:#9bb}.m{fill:#27a}.i{stroke:#333;stroke-width:1.5}.t{font-"
            "weight:bold}"
            "</style>\n<rect width=\"100%%\" height=\"100%%\" fill=\"white\"/>\n<text x=\"8\" y=\"18\">J: "
            "half the mean "
            "and half the end of ln(loss / first loss), without its sign; longer is better; lines are 95 %% "
            "intervals</text>\n",
            LABELS + 2 * SIDE + 60, TOP + rows * BAR + 10);
        draw_side(file, picture, 0);
        draw_side(file, picture, 1);
        fprintf(file, "</svg>\n");
    }
    if (file && !ferror(file) && !fclose(file)) return true;
    fprintf(stderr, "greedylr-train: %s: %s\n", path, strerror(errno));
    return false;
}
