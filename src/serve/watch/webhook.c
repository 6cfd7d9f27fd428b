#include "serve/watch/webhook.h"

#include "base/check.h"
#include "base/status.h"
#include "base/url.h"

#include <curl/curl.h>
#include <pthread.h>
#include <string.h>

#define QUEUE_SLOTS 32
#define DEADLINE_MS 10000L

struct webhook {
    struct mem *mem;
    struct log *log;
    char *url;
    pthread_t thread;
    bool started;
    _Atomic bool
        stopping; /* set under the mutex; read by the transfer's progress callback, relaxed: it is only ever set */
    pthread_mutex_t mutex;    /* guards the queue and the figures */
    pthread_cond_t changed;   /* the queue got a message, or it is time to stop */
    char *queue[QUEUE_SLOTS]; /* owned; a ring */
    size_t first, count;
    struct webhook_stats figures;
};

/* Ends a transfer early when the program stops. */
static int on_progress(void *context, curl_off_t a, curl_off_t b, curl_off_t c, curl_off_t d)
{
    (void)a, (void)b, (void)c, (void)d;
    return atomic_load_explicit(&((struct webhook *)context)->stopping, memory_order_relaxed) ? 1 : 0;
}

static size_t drop_answer(char *bytes, size_t size, size_t count, void *context)
{
    (void)bytes;
    (void)context;
    return size * count;
}

static CURL *make_handle(struct webhook *webhook, struct curl_slist *headers)
{
    CURL *curl = curl_easy_init();
    if (curl == NULL) return NULL;
    curl_easy_setopt(curl, CURLOPT_URL, webhook->url);
    curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    if (url_is_local(webhook->url)) curl_easy_setopt(curl, CURLOPT_PROXY, ""); /* of the environment: for other hosts */
    curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, DEADLINE_MS);
    curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers);
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, drop_answer);
    curl_easy_setopt(curl, CURLOPT_NOPROGRESS, 0L);
    curl_easy_setopt(curl, CURLOPT_XFERINFOFUNCTION, on_progress);
    curl_easy_setopt(curl, CURLOPT_XFERINFODATA, webhook);
    return curl;
}

/* Waits for a message; NULL when it is time to stop. */
static char *next_message(struct webhook *webhook)
{
    pthread_mutex_lock(&webhook->mutex);
    while (webhook->count == 0 && !atomic_load_explicit(&webhook->stopping, memory_order_relaxed))
        pthread_cond_wait(&webhook->changed, &webhook->mutex);
    char *message = NULL;
    if (!atomic_load_explicit(&webhook->stopping, memory_order_relaxed)) {
        message = webhook->queue[webhook->first];
        webhook->first = (webhook->first + 1) % QUEUE_SLOTS;
        webhook->count--;
    }
    pthread_mutex_unlock(&webhook->mutex);
    return message;
}

static void deliver(struct webhook *webhook, CURL *curl, const char *message)
{
    long code = 0;
    CURLcode result = CURLE_FAILED_INIT;
    if (curl != NULL) {
        curl_easy_setopt(curl, CURLOPT_POSTFIELDS, message);
        result = curl_easy_perform(curl);
        curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &code);
    }
    bool sent = result == CURLE_OK && code >= 200 && code < 300;
    pthread_mutex_lock(&webhook->mutex);
    if (sent) webhook->figures.sent++;
    else webhook->figures.failed++;
    pthread_mutex_unlock(&webhook->mutex);
    if (!sent && webhook->log != NULL && !atomic_load_explicit(&webhook->stopping, memory_order_relaxed))
        log_line(webhook->log, AIC_LOG_WARNING, "webhook", "an alert was not delivered: %s, status %ld",
                 result == CURLE_OK ? "the webhook refused it" : curl_easy_strerror(result), code);
}

static void *deliver_all(void *context)
{
    struct webhook *webhook = context;
    struct curl_slist *headers = curl_slist_append(NULL, "Content-Type: application/json");
    CURL *curl = make_handle(webhook, headers);
    for (char *message; (message = next_message(webhook)) != NULL;) {
        deliver(webhook, curl, message);
        mem_free_string(webhook->mem, MEM_MONITOR, message);
    }
    if (curl != NULL) curl_easy_cleanup(curl);
    curl_slist_free_all(headers);
    return NULL;
}

aic_status webhook_create(struct mem *mem, const char *url, struct log *log, struct webhook **out, aic_error *error)
{
    if (strncmp(url, "http://", 7) != 0 && strncmp(url, "https://", 8) != 0)
        return error_set(error, AIC_INVALID, "alerts.webhook",
                         "an address that begins with http:// or https:// is accepted");
    if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK)
        return error_set(error, AIC_NO_MEMORY, NULL, "no memory for libcurl");
    struct webhook *made = mem_zalloc(mem, MEM_MONITOR, sizeof *made);
    if (made == NULL) return error_set(error, AIC_NO_MEMORY, NULL, "no memory for the webhook");
    made->mem = mem;
    made->log = log;
    CHECK(pthread_mutex_init(&made->mutex, NULL) == 0);
    CHECK(pthread_cond_init(&made->changed, NULL) == 0);
    made->url = mem_copy_string(mem, MEM_MONITOR, aic_view_of(url));
    made->started = made->url != NULL && pthread_create(&made->thread, NULL, deliver_all, made) == 0;
    if (!made->started) {
        webhook_destroy(&made);
        return error_set(error, AIC_NO_MEMORY, NULL, "no memory for the webhook");
    }
    *out = made;
    return AIC_OK;
}

void webhook_destroy(struct webhook **webhook)
{
    struct webhook *self = *webhook;
    if (self == NULL) return;
    pthread_mutex_lock(&self->mutex);
    atomic_store_explicit(&self->stopping, true, memory_order_relaxed);
    pthread_cond_signal(&self->changed);
    pthread_mutex_unlock(&self->mutex);
    if (self->started) pthread_join(self->thread, NULL);
    for (; self->count > 0; self->count--) {
        mem_free_string(self->mem, MEM_MONITOR, self->queue[self->first]);
        self->first = (self->first + 1) % QUEUE_SLOTS;
    }
    mem_free_string(self->mem, MEM_MONITOR, self->url);
    pthread_cond_destroy(&self->changed);
    pthread_mutex_destroy(&self->mutex);
    mem_free(self->mem, MEM_MONITOR, self, sizeof *self);
    *webhook = NULL;
}

void webhook_send(struct webhook *webhook, aic_view json)
{
    char *message = mem_copy_string(webhook->mem, MEM_MONITOR, json);
    char *dropped = NULL;
    pthread_mutex_lock(&webhook->mutex);
    if (message == NULL || webhook->count == QUEUE_SLOTS) webhook->figures.dropped++;
    if (message != NULL && webhook->count == QUEUE_SLOTS) {
        dropped = webhook->queue[webhook->first];
        webhook->first = (webhook->first + 1) % QUEUE_SLOTS;
        webhook->count--;
    }
    if (message != NULL) webhook->queue[(webhook->first + webhook->count++) % QUEUE_SLOTS] = message;
    pthread_cond_signal(&webhook->changed);
    pthread_mutex_unlock(&webhook->mutex);
    mem_free_string(webhook->mem, MEM_MONITOR, dropped);
}

void webhook_stats(struct webhook *webhook, struct webhook_stats *out)
{
    pthread_mutex_lock(&webhook->mutex);
    *out = webhook->figures;
    out->waiting = webhook->count;
    pthread_mutex_unlock(&webhook->mutex);
}
