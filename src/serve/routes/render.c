#include "serve/routes/render.h"

#include <string.h>

static void put_digits(char *out, uint64_t number, int digits)
{
    for (int i = digits - 1; i >= 0; i--) {
        out[i] = (char)('0' + number % 10);
        number /= 10;
    }
}

/*
 * The date of a day since the epoch, by the method of eras of 400 years that begin on the first of March (Howard
 * Hinnant, "chrono-compatible low-level date algorithms"). gmtime_r() would take the C library's time zone lock on
 * every answer.
 */
static void civil_date(uint64_t days, uint64_t *year, uint64_t *month, uint64_t *day)
{
    days += 719468;
    uint64_t era = days / 146097;
    uint64_t of_era = days - era * 146097;
    uint64_t years = (of_era - of_era / 1460 + of_era / 36524 - of_era / 146096) / 365;
    uint64_t of_year = of_era - (365 * years + years / 4 - years / 100);
    uint64_t shifted = (5 * of_year + 2) / 153;
    *day = of_year - (153 * shifted + 2) / 5 + 1;
    *month = shifted < 10 ? shifted + 3 : shifted - 9;
    *year = years + era * 400 + (*month <= 2);
}

void render_time(uint64_t wall_ms, char out[RENDER_TIME_BYTES])
{
    uint64_t year, month, day;
    civil_date(wall_ms / 86400000, &year, &month, &day);
    uint64_t of_day = wall_ms % 86400000;
    memcpy(out, "0000-00-00T00:00:00.000Z", RENDER_TIME_BYTES);
    put_digits(out, year, 4);
    put_digits(out + 5, month, 2);
    put_digits(out + 8, day, 2);
    put_digits(out + 11, of_day / 3600000, 2);
    put_digits(out + 14, of_day / 60000 % 60, 2);
    put_digits(out + 17, of_day / 1000 % 60, 2);
    put_digits(out + 20, of_day % 1000, 3);
}

void render_time_or_null(struct json_writer *writer, uint64_t wall_ms)
{
    char text[RENDER_TIME_BYTES + 2];
    if (wall_ms == 0) {
        json_put_null(writer);
        return;
    }
    text[0] = '"';
    render_time(wall_ms, text + 1);
    text[RENDER_TIME_BYTES] = '"';
    json_put_raw(writer, (aic_view){text, RENDER_TIME_BYTES + 1});
}

void render_ttl(struct json_writer *writer, uint64_t expires_ms, uint64_t now_ms)
{
    if (expires_ms == 0) json_put_null(writer);
    else json_put_u64(writer, expires_ms > now_ms ? (expires_ms - now_ms + 999) / 1000 : 0);
}

void render_tiers(struct json_writer *writer, unsigned tiers)
{
    json_open(writer, '[');
    if (tiers & AIC_IN_MEMORY) json_put_text(writer, "memory");
    if (tiers & AIC_IN_STORAGE) json_put_text(writer, "storage");
    json_close(writer, ']');
}

void render_key(struct json_writer *writer, const aic_key *key)
{
    char text[AIC_KEY_HEX_SIZE + 2];
    text[0] = '"';
    aic_key_format(key, text + 1);
    text[AIC_KEY_HEX_SIZE] = '"';
    json_put_raw(writer, (aic_view){text, AIC_KEY_HEX_SIZE + 1});
}

static void render_labels(struct json_writer *writer, const aic_metadata *metadata)
{
    json_key(writer, "namespace");
    json_put_view(writer, metadata->ns);
    json_key(writer, "operation");
    json_put_view(writer, metadata->operation);
    json_key(writer, "model");
    if (metadata->model.size > 0) json_put_view(writer, metadata->model);
    else json_put_null(writer);
    json_key(writer, "tags");
    json_open(writer, '[');
    for (size_t i = 0; i < metadata->tag_count; i++) json_put_view(writer, metadata->tags[i]);
    json_close(writer, ']');
}

static void render_savings(struct json_writer *writer, const aic_metadata *metadata)
{
    json_key(writer, "tokens");
    json_put_u64(writer, metadata->prompt_tokens + metadata->completion_tokens);
    json_key(writer, "prompt_tokens");
    json_put_u64(writer, metadata->prompt_tokens);
    json_key(writer, "completion_tokens");
    json_put_u64(writer, metadata->completion_tokens);
    json_key(writer, "cost_usd");
    /* Mostly unknown, and printing a double is dear. */
    if (metadata->cost_usd == 0) json_put_u64(writer, 0);
    else json_put_double(writer, metadata->cost_usd);
}

void render_metadata_rest(struct json_writer *writer, const aic_metadata *metadata)
{
    json_key(writer, "key");
    render_key(writer, &metadata->key);
    render_labels(writer, metadata);
    json_key(writer, "created_at");
    render_time_or_null(writer, metadata->created_ms);
    json_key(writer, "cached_at");
    render_time_or_null(writer, metadata->created_ms);
    json_key(writer, "expires_at");
    render_time_or_null(writer, metadata->expires_ms);
    json_key(writer, "size_bytes");
    json_put_u64(writer, metadata->size_bytes);
    json_key(writer, "stored_bytes");
    json_put_u64(writer, metadata->stored_bytes);
    json_key(writer, "compressed");
    json_put_bool(writer, metadata->compressed);
    json_key(writer, "compression_used");
    json_put_bool(writer, metadata->compressed);
    json_key(writer, "text_length");
    json_put_u64(writer, metadata->text_length);
    render_savings(writer, metadata);
    json_key(writer, "tier");
    render_tiers(writer, metadata->tiers);
    json_key(writer, "cache_hit");
    json_put_bool(writer, true);
}

void render_metadata(struct json_writer *writer, const aic_metadata *metadata, uint64_t now_ms)
{
    json_open(writer, '{');
    json_key(writer, "ttl_seconds");
    render_ttl(writer, metadata->expires_ms, now_ms);
    render_metadata_rest(writer, metadata);
    json_close(writer, '}');
}
