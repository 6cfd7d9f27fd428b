/*
 * key_form.h - the canonical form piece by piece, shared by the key (key.c) and the shape (key_shape.c). Internal to
 * this folder.
 *
 * Every value begins with a letter that tells its type and carries its length in front, so each form ends where it says
 * and no two sequences of values are spelled the same (docs/keys.md has the grammar and the argument).
 */
#ifndef CACHE_KEY_FORM_H
#define CACHE_KEY_FORM_H

#include "cache/key.h"

/* Where the bytes go, and what is needed on the way. One thread. */
struct key_form {
    json_piece_fn *add;
    void *context;
    struct mem *mem;
    aic_error *error;
};

/* The way to a value, linked on the stack from the inside out. The root has only a text. */
struct key_step {
    const struct key_step *parent;
    const char *root; /* "options" */
    const struct json *json;
    uint32_t name;  /* a member's name token; UINT32_MAX: an element */
    uint32_t index; /* of an element */
};

/* Writes the path as a user would ("options.stop[0]"), at most `max` - 1 bytes and a NUL; a longer one ends in an
 * ellipsis. max >= 8. Returns its size. */
size_t key_path(const struct key_step *step, char *out, size_t max);

/* An object's members in order of their unescaped names. begin may fail with AIC_NO_MEMORY; end accepts what begin
 * gave. */
enum { KEY_FEW_MEMBERS = 16 };
struct key_members {
    uint64_t few[2 * KEY_FEW_MEMBERS];
    uint64_t *cells;
    size_t bytes; /* of `cells`, when they are not `few` */
};
AIC_MUST_CHECK aic_status key_members_begin(struct key_members *members, struct mem *mem, const struct json *json,
                                            uint32_t object);
void key_members_end(struct key_members *members, struct mem *mem);
static inline uint32_t key_members_at(const struct key_members *members, uint32_t i)
{
    return (uint32_t)members->cells[i];
}

bool key_text_absent(const struct key_text *text);
/* The text as a string value; *points (may be NULL) gets its code points. A plain text must be valid UTF-8. */
void key_form_text(const struct key_form *form, const struct key_text *text, uint64_t *points);
/* AIC_INVALID with the path, AIC_NO_MEMORY. */
AIC_MUST_CHECK aic_status key_form_value(const struct key_form *form, const struct json *json, uint32_t token,
                                         const struct key_step *step);

#endif
