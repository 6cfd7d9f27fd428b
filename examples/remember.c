/*
 * remember.c - the smallest useful program with libaicache: ask a (slow) model once, answer from the cache afterwards.
 *
 *     cc remember.c $(pkg-config --cflags --libs aicache) -o remember
 *     ./remember /tmp/remembered "What is the capital of France?"     # asks
 *     ./remember /tmp/remembered "What is the capital of France?"     # remembers, also after a restart
 */
#include <aicache/aicache.h>

#include <stdio.h>
#include <string.h>

/* Stands for the model: any JSON value can be an answer. */
static const char *ask_model(const char *question)
{
    static char answer[256];
    snprintf(answer, sizeof answer, "{\"answer\":\"I thought about %zu characters.\",\"sure\":true}", strlen(question));
    return answer;
}

static int answer(aic_cache *cache, const char *question)
{
    aic_request request = {
        .operation = AIC_LITERAL("qa"),
        .text = aic_view_of(question),
        .options = AIC_LITERAL("{\"model\":\"small\",\"temperature\":0}"), /* part of the identity, in any order */
    };
    aic_error error;
    aic_hit *hit;
    aic_status status = aic_cache_lookup(cache, &request, NULL, &hit, &error);
    if (status == AIC_OK) {
        aic_view response;
        status = aic_hit_response(hit, &response);
        if (status == AIC_OK) printf("remembered: %.*s\n", (int)response.size, response.data);
        aic_hit_release(&hit); /* the bytes were pinned until here */
        return status == AIC_OK ? 0 : 1;
    }
    if (status != AIC_MISS) {
        fprintf(stderr, "%s: %s\n", error.field, error.message);
        return 1;
    }
    const char *response = ask_model(question);
    aic_put put = {.request = request, .response = aic_view_of(response), .ttl_given = true, .ttl_seconds = 3600};
    if (aic_cache_put(cache, &put, NULL, &error) < 0) fprintf(stderr, "not kept: %s\n", error.message);
    printf("asked: %s\n", response);
    return 0;
}

int main(int count, char **arguments)
{
    if (count != 3) return fprintf(stderr, "usage: remember DIRECTORY QUESTION\n"), 2;
    aic_options options = {.data_dir = arguments[1]};
    aic_error error;
    aic_cache *cache;
    if (aic_cache_open(&options, &cache, &error) != AIC_OK) return fprintf(stderr, "%s\n", error.message), 1;
    int result = answer(cache, arguments[2]);
    aic_cache_close(&cache); /* everything is on disk */
    return result;
}
