#include "base/figures.h"

#include "base/json.h"
#include "base/view.h"

#include <string.h>

const struct figure_row figure_rows[FIGURE_TOTAL] = {
#define FIGURE(owner, name, kind, metric, labels, path, help)                                                          \
    {FIGURES_##owner, FIGURE_##kind, metric, labels, path, help},
#include "base/figures.def"
};

void figures_add(struct figures *out, const struct figure_counts *counts)
{
    for (size_t i = 0; i < FIGURE_TOTAL; i++) {
        uint64_t counted = atomic_load_explicit(&counts->of[i], memory_order_relaxed);
        double real;
        memcpy(&real, &counted, sizeof real);
        if (figure_is_real(&figure_rows[i])) out->of[i].real += real;
        else out->of[i].whole += counted;
    }
}

void figures_add_lanes(struct figures *out, const struct figure_lanes *lanes)
{
    for (size_t i = 0; i < LANES; i++) figures_add(out, &lanes->lanes[i].counts);
}

void figures_since(struct figures *figures, const struct figures *mark)
{
    for (size_t i = 0; i < FIGURE_TOTAL; i++) {
        uint64_t whole = mark->of[i].whole;
        double real = mark->of[i].real;
        if (figure_rows[i].kind == FIGURE_COUNTER)
            figures->of[i].whole -= whole < figures->of[i].whole ? whole : figures->of[i].whole;
        else if (figure_rows[i].kind == FIGURE_REAL_COUNTER)
            figures->of[i].real -= real < figures->of[i].real ? real : figures->of[i].real;
    }
}

static aic_view section_of(size_t figure)
{
    const char *path = figure_rows[figure].path;
    return (aic_view){path, (size_t)(strchr(path, '.') - path)};
}

/* Is there a row of the same section before this one? */
static bool is_begun(size_t figure)
{
    for (size_t before = 0; before < figure; before++)
        if (view_equal(section_of(before), section_of(figure))) return true;
    return false;
}

void figures_write(const struct figures *figures, figures_words_fn *words, const void *context, struct json_writer *out)
{
    for (size_t first = 0; first < FIGURE_TOTAL; first++) {
        aic_view section = section_of(first);
        if (is_begun(first)) continue;
        json_key_view(out, section);
        json_open(out, '{');
        if (words != NULL) words(context, figures, section, out);
        for (size_t i = first; i < FIGURE_TOTAL; i++) {
            if (!view_equal(section_of(i), section)) continue;
            json_key(out, figure_rows[i].path + section.size + 1);
            if (figure_is_real(&figure_rows[i])) json_put_double(out, figures->of[i].real);
            else json_put_u64(out, figures->of[i].whole);
        }
        json_close(out, '}');
    }
}
