/*
 * key_tool.c - computes keys for another implementation to compare with: one request per line as JSON on standard
 * input, one line of output each: the key, or "refused FIELD" or "invalid". The secret is the first argument.
 */
#include "base/check.h"
#include "cache/key.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct key_text text_of(const struct json *json, const char *name)
{
    uint32_t token = json_member(json, 0, name);
    if (token == UINT32_MAX || json->tokens[token].type != JSON_STRING) return (struct key_text){0};
    return (struct key_text){.json = json, .token = token};
}

static void answer(struct digest *digest, struct json *json, aic_view line)
{
    char name[AIC_MAX_NAME_BYTES];
    aic_error error = {0};
    aic_key key;
    char hex[AIC_KEY_HEX_SIZE];
    if (json_scan(json, line, &error) != AIC_OK) {
        printf("invalid\n");
        return;
    }
    uint32_t operation = json_member(json, 0, "operation");
    CHECK(operation != UINT32_MAX);
    struct key_request request = {
        .ns = AIC_LITERAL("default"), .text = text_of(json, "text"), .question = text_of(json, "question")};
    request.operation = (aic_view){name, json_unescape_front(json, operation, (uint8_t *)name, sizeof name)};
    request.options_token = json_member(json, 0, "options");
    if (request.options_token != UINT32_MAX) request.options = json;
    char model[AIC_MAX_NAME_BYTES];
    uint32_t given = json_member(json, 0, "model");
    if (given != UINT32_MAX)
        request.model = (aic_view){model, json_unescape_front(json, given, (uint8_t *)model, sizeof model)};
    if (key_compute(digest, json->mem, &request, &key, NULL, &error) != AIC_OK) {
        for (char *at = error.field; *at != '\0'; at++) *at = *at == '\n' ? ' ' : *at;
        printf("refused %s\n", error.field);
        return;
    }
    aic_key_format(&key, hex);
    printf("%s\n", hex);
}

int main(int argc, char **argv)
{
    CHECK(argc == 2);
    struct mem mem;
    struct digest *digest;
    struct json json;
    char *line = NULL;
    size_t capacity = 0;
    mem_init(&mem, NULL);
    CHECK(digest_create(&mem, argv[1], strlen(argv[1]), &digest) == AIC_OK);
    json_init(&json, &mem, MEM_CACHE);
    for (ssize_t size; (size = getline(&line, &capacity, stdin)) > 0;) {
        if (line[size - 1] == '\n') size--;
        answer(digest, &json, (aic_view){line, (size_t)size});
    }
    free(line);
    json_fini(&json);
    digest_destroy(&digest);
    mem_fini(&mem);
    return 0;
}
