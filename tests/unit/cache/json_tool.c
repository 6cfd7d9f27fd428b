/*
 * json_tool.c - what the scanner says of documents, for another parser to compare with: one document per line of
 * standard input in hex; one line of output each: "refused MESSAGE", or "accepted" with the canonical form of {"v":
 * document} in hex ("huge" where an exponent does not fit 64 bits).
 */
#include "base/check.h"
#include "cache/key.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Decodes hex in place; returns the size. */
static size_t decode_hex(char *line, size_t size)
{
    for (size_t i = 0; i + 1 < size; i += 2) {
        char digits[3] = {line[i], line[i + 1], '\0'};
        line[i / 2] = (char)strtoul(digits, NULL, 16);
    }
    return size / 2;
}

static void print_form(const struct json *document, struct buf *text, struct json *whole)
{
    struct buf form;
    buf_clear(text);
    buf_append_text(text, "{\"v\":");
    buf_append_view(text, json_text(document, 0));
    buf_append_byte(text, '}');
    buf_init(&form, text->mem, MEM_OTHER);
    /* One level deeper than the document: at the very limit the document stays alone. */
    aic_status status = json_scan(whole, buf_view(text), NULL);
    struct key_request request = {
        .ns = AIC_LITERAL("n"), .operation = AIC_LITERAL("o"), .text = {.plain = AIC_LITERAL("t")}, .options = whole};
    if (status == AIC_OK) status = key_canonical(text->mem, &request, &form, NULL);
    if (status != AIC_OK) printf("accepted huge\n");
    if (status == AIC_OK) {
        printf("accepted ");
        for (size_t i = 0; i < form.size; i++) printf("%02x", (unsigned)(uint8_t)form.data[i]);
        printf("\n");
    }
    buf_fini(&form);
}

int main(void)
{
    struct mem mem;
    struct json document;
    struct json whole;
    struct buf text;
    aic_error error;
    char *line = NULL;
    size_t capacity = 0;
    mem_init(&mem, NULL);
    json_init(&document, &mem, MEM_OTHER);
    json_init(&whole, &mem, MEM_OTHER);
    buf_init(&text, &mem, MEM_OTHER);
    for (ssize_t size; (size = getline(&line, &capacity, stdin)) > 0;) {
        size_t bytes = decode_hex(line, (size_t)size - (line[size - 1] == '\n'));
        if (json_scan(&document, (aic_view){line, bytes}, &error) == AIC_OK) print_form(&document, &text, &whole);
        else printf("refused %s\n", error.message);
    }
    free(line);
    buf_fini(&text);
    json_fini(&whole);
    json_fini(&document);
    mem_fini(&mem);
    return 0;
}
