#include "serve/routes/tag.h"

#include "base/hex.h"

#include <endian.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

aic_view tag_write(const struct record *record, char out[TAG_BYTES])
{
    const uint64_t facts[] = {htobe64(record->created_ms), htobe64(record->plain_bytes), htobe64(record->content)};
    uint64_t hash = htobe64(XXH3_64bits(facts, sizeof facts));
    out[0] = out[TAG_BYTES - 1] = '"';
    hex_write(&hash, sizeof hash, out + 1);
    return (aic_view){out, TAG_BYTES};
}
