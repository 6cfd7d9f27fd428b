/*
 * page.c - records of a walk in the tier's pages, which every tier fills in the same form.
 */
#include "base/check.h"
#include "base/view.h"
#include "tier/tier.h"

#include <string.h>

void tier_place_after(struct tier_place *place, const aic_key *key)
{
    place->key = *key;
    place->ended = !key_next(&place->key);
}

bool tier_page_read(const struct tier_page *page, size_t *at, struct tier_row *row, aic_view *record)
{
    const struct buf *bytes = &page->bytes;
    if (*at == bytes->size) return false;
    CHECK(bytes->size - *at >= sizeof *row);
    memcpy(row, bytes->data + *at, sizeof *row);
    *at += sizeof *row;
    CHECK(bytes->size - *at >= row->size);
    *record = (aic_view){bytes->data + *at, (size_t)row->size};
    *at += record->size;
    return true;
}
