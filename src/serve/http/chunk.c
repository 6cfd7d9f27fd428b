/*
 * chunk.c - see chunk.h. A state per position in the grammar; each step takes one byte, data is taken in pieces.
 */
#include "serve/http/chunk.h"

enum chunk_state {
    SIZE,            /* a digit of the size */
    SIZE_BLANK,      /* blanks after the size: an extension must follow */
    EXTENSION_BLANK, /* blanks after `;` */
    EXTENSION_NAME,
    EXTENSION_EQUALS, /* blanks after a name: `=`, `;` */
    EXTENSION_VALUE_BLANK,
    EXTENSION_VALUE,
    EXTENSION_QUOTED,
    EXTENSION_ESCAPED,
    EXTENSION_AFTER, /* after a value: `;` or the end of the line */
    SIZE_LF,
    DATA,
    DATA_CR,
    DATA_LF,
    TRAILER_START,
    TRAILER_NAME,
    TRAILER_VALUE,
    TRAILER_LF,
    END_LF,
    ENDED,
    BROKEN,
};

static bool is_blank(char byte)
{
    return byte == ' ' || byte == '\t';
}

static bool is_token(char byte)
{
    return head_is_token((aic_view){&byte, 1});
}

static bool is_value(char byte)
{
    return head_is_value((aic_view){&byte, 1});
}

static int hex_value(char byte)
{
    if (byte >= '0' && byte <= '9') return byte - '0';
    if (byte >= 'a' && byte <= 'f') return byte - 'a' + 10;
    if (byte >= 'A' && byte <= 'F') return byte - 'A' + 10;
    return -1;
}

static enum chunk_state step_size(struct chunk *chunk, char byte)
{
    int digit = hex_value(byte);
    if (digit >= 0) {
        if (chunk->digits == 15) return BROKEN; /* 60 bits are more than any body */
        chunk->digits++;
        chunk->left = chunk->left << 4 | (unsigned)digit;
        return SIZE;
    }
    if (chunk->digits == 0) return BROKEN;
    if (byte == '\r') return SIZE_LF;
    if (byte == ';') return EXTENSION_BLANK;
    return is_blank(byte) ? SIZE_BLANK : BROKEN;
}

/* Between a name or value and what may follow it. */
static enum chunk_state step_between(char byte, enum chunk_state blank_state)
{
    if (byte == ';') return EXTENSION_BLANK;
    return is_blank(byte) ? blank_state : BROKEN;
}

static enum chunk_state step_extension(enum chunk_state state, char byte)
{
    switch (state) {
    case EXTENSION_BLANK:
        if (is_blank(byte)) return EXTENSION_BLANK;
        return is_token(byte) ? EXTENSION_NAME : BROKEN;
    case EXTENSION_NAME:
        if (is_token(byte)) return EXTENSION_NAME;
        if (byte == '=') return EXTENSION_VALUE_BLANK;
        return byte == '\r' ? SIZE_LF : step_between(byte, EXTENSION_EQUALS);
    case EXTENSION_EQUALS:
        if (byte == '=') return EXTENSION_VALUE_BLANK;
        return step_between(byte, EXTENSION_EQUALS);
    case EXTENSION_VALUE_BLANK:
        if (is_blank(byte)) return EXTENSION_VALUE_BLANK;
        if (byte == '"') return EXTENSION_QUOTED;
        return is_token(byte) ? EXTENSION_VALUE : BROKEN;
    case EXTENSION_VALUE:
        if (is_token(byte)) return EXTENSION_VALUE;
        return byte == '\r' ? SIZE_LF : step_between(byte, EXTENSION_AFTER);
    case EXTENSION_QUOTED:
        if (byte == '"') return EXTENSION_AFTER;
        if (byte == '\\') return EXTENSION_ESCAPED;
        return is_value(byte) ? EXTENSION_QUOTED : BROKEN;
    case EXTENSION_ESCAPED: return is_value(byte) ? EXTENSION_QUOTED : BROKEN;
    case EXTENSION_AFTER: return byte == '\r' ? SIZE_LF : step_between(byte, EXTENSION_AFTER);
    default: return BROKEN;
    }
}

static enum chunk_state step_trailer(enum chunk_state state, char byte)
{
    switch (state) {
    case TRAILER_START:
        if (byte == '\r') return END_LF;
        return is_token(byte) ? TRAILER_NAME : BROKEN;
    case TRAILER_NAME:
        if (byte == ':') return TRAILER_VALUE;
        return is_token(byte) ? TRAILER_NAME : BROKEN;
    case TRAILER_VALUE:
        if (byte == '\r') return TRAILER_LF;
        return is_value(byte) ? TRAILER_VALUE : BROKEN;
    default: return BROKEN;
    }
}

static enum chunk_state step(struct chunk *chunk, char byte)
{
    enum chunk_state state = (enum chunk_state)chunk->state;
    switch (state) {
    case SIZE: return step_size(chunk, byte);
    case SIZE_BLANK: return step_between(byte, SIZE_BLANK);
    case SIZE_LF:
        if (byte != '\n') return BROKEN;
        return chunk->left > 0 ? DATA : TRAILER_START;
    case DATA_CR: return byte == '\r' ? DATA_LF : BROKEN;
    case DATA_LF: chunk->digits = 0; return byte == '\n' ? SIZE : BROKEN;
    case TRAILER_START:
    case TRAILER_NAME:
    case TRAILER_VALUE: chunk->trailer++; return step_trailer(state, byte);
    case TRAILER_LF: return byte == '\n' ? TRAILER_START : BROKEN;
    case END_LF: return byte == '\n' ? ENDED : BROKEN;
    default: chunk->extension++; return step_extension(state, byte);
    }
}

static enum chunk_event refuse(struct chunk *chunk, struct head_refusal *why, int status, const char *code,
                               const char *message)
{
    chunk->state = BROKEN;
    head_refuse(why, status, code, "%s", message);
    return CHUNK_REFUSED;
}

enum chunk_event chunk_read(struct chunk *chunk, const char *data, size_t size, size_t *used, aic_view *piece,
                            struct head_refusal *why)
{
    size_t at = 0;
    while (at < size && chunk->state != ENDED) {
        if (chunk->state == DATA) {
            size_t take = size - at < chunk->left ? size - at : (size_t)chunk->left;
            *piece = (aic_view){data + at, take};
            chunk->left -= take;
            if (chunk->left == 0) chunk->state = DATA_CR;
            *used = at + take;
            return CHUNK_DATA;
        }
        chunk->state = (uint8_t)step(chunk, data[at++]);
        if (chunk->state == BROKEN) return refuse(chunk, why, 400, "bad_request", "The chunked body is malformed.");
        if (chunk->extension > CHUNK_MAX_EXTENSION_BYTES)
            return refuse(chunk, why, 400, "bad_request", "The chunk extensions are larger than 4096 bytes.");
        if (chunk->trailer > CHUNK_MAX_TRAILER_BYTES)
            return refuse(chunk, why, 431, "header_too_large", "The trailers are larger than 8192 bytes.");
    }
    *used = at;
    return chunk->state == ENDED ? CHUNK_END : CHUNK_MORE;
}
