/*
 * option_impl.h - what the files of the option loader share; nobody else includes it.
 */
#ifndef BASE_OPTION_IMPL_H
#define BASE_OPTION_IMPL_H

#include "base/option.h"

/* A word for a truth. */
bool option_bool(const char *text, bool *out);
/* The choice of an index. */
aic_view option_choice_name(const char *choices, unsigned index);

/* Reads one value into the target: a scalar text, or a node of any kind. What is wrong goes into the report.
 * AIC_NO_MEMORY. */
AIC_MUST_CHECK aic_status option_assign_text(const struct option_row *row, struct mem *mem, const char *text,
                                             struct option_origin origin, void *target, struct option_report *report);
AIC_MUST_CHECK aic_status option_assign_node(const struct option_row *row, struct mem *mem,
                                             const struct option_node *node, struct option_origin origin, void *target,
                                             struct option_report *report);
/* Adds one text to an OPTION_TEXT_LIST. */
AIC_MUST_CHECK aic_status option_texts_add(struct mem *mem, struct option_texts *texts, const char *text, size_t size);
/* Releases one row's value and zeroes it. */
void option_release_row(const struct option_row *row, struct mem *mem, void *target);

#endif
