#include "observe/webhook.h"

#include "base/check.h"
#include "base/status.h"
#include "net/backend.h"

#include <pthread.h>
#include <string.h>

#define QUEUE_SLOTS 32
#define DEADLINE_MS 10000

struct webhook {
    struct mem *mem;
    struct log *log;
    struct backend *backend;
    struct backend_call call; /* the one notice that is under way */
    char *notice;             /* its text; owned */
    pthread_mutex_t mutex;    /* guards what follows */
    bool busy;                /* `call` and `notice` are in use */
    bool stopping;
    char *queue[QUEUE_SLOTS]; /* owned; a ring */
    size_t first, count;
    struct figure_counts counts;
};

static char *take_first(struct webhook *webhook)
{
    CHECK(webhook->count > 0);
    char *message = webhook->queue[webhook->first];
    webhook->first = (webhook->first + 1) % QUEUE_SLOTS;
    webhook->count--;
    return message;
}

static void on_done(struct backend_call *call);

/* Sends the next notice, if there is one and none is under way. */
static void send_next(struct webhook *webhook)
{
    pthread_mutex_lock(&webhook->mutex);
    bool send = !webhook->busy && !webhook->stopping && webhook->count > 0;
    if (send) {
        webhook->busy = true;
        webhook->notice = take_first(webhook);
    }
    pthread_mutex_unlock(&webhook->mutex);
    if (!send) return;
    webhook->call = (struct backend_call){.verb = "POST",
                                          .body = aic_view_of(webhook->notice),
                                          .deadline_ms = DEADLINE_MS,
                                          .repeatable = true,
                                          .done = on_done};
    CHECK(webhook->notice != NULL);
    backend_call(webhook->backend, &webhook->call);
}

/* On the loop's thread. */
static void on_done(struct backend_call *call)
{
    struct webhook *webhook = (struct webhook *)(void *)((char *)call - offsetof(struct webhook, call));
    CHECK(webhook->busy && webhook->notice != NULL);
    bool sent = call->status == AIC_OK && call->code >= 200 && call->code < 300;
    if (!sent && call->status != AIC_CLOSED && webhook->log != NULL)
        log_line(webhook->log, AIC_LOG_WARNING, "webhook", "an alert was not delivered: %s", call->why);
    mem_free_string(webhook->mem, MEM_MONITOR, webhook->notice);
    pthread_mutex_lock(&webhook->mutex);
    if (sent) FIGURE_COUNT(&webhook->counts, notices_sent, 1);
    else FIGURE_COUNT(&webhook->counts, notices_failed, 1);
    webhook->busy = false;
    webhook->notice = NULL;
    pthread_mutex_unlock(&webhook->mutex);
    send_next(webhook);
}

aic_status webhook_create(struct mem *mem, const char *url, struct loop *loop, struct log *log, struct webhook **out,
                          aic_error *error)
{
    struct webhook *made = mem_zalloc(mem, MEM_MONITOR, sizeof *made);
    if (made == NULL) return error_set(error, AIC_NO_MEMORY, NULL, "no memory for the webhook");
    made->mem = mem;
    made->log = log;
    struct backend_options options = {
        .mem = mem, .log = log, .loop = loop, .name = "alerts.webhook", .url = url, .slots = 1};
    aic_status status = backend_create(&options, &made->backend, error);
    if (status != AIC_OK) {
        mem_free(mem, MEM_MONITOR, made, sizeof *made);
        return status;
    }
    CHECK(pthread_mutex_init(&made->mutex, NULL) == 0);
    *out = made;
    return AIC_OK;
}

void webhook_destroy(struct webhook **webhook)
{
    struct webhook *self = *webhook;
    if (self == NULL) return;
    *webhook = NULL;
    pthread_mutex_lock(&self->mutex);
    self->stopping = true;
    pthread_mutex_unlock(&self->mutex);
    backend_destroy(&self->backend);
    CHECK(!self->busy && self->notice == NULL); /* its last call has ended */
    while (self->count > 0) mem_free_string(self->mem, MEM_MONITOR, take_first(self));
    pthread_mutex_destroy(&self->mutex);
    mem_free(self->mem, MEM_MONITOR, self, sizeof *self);
}

void webhook_send(struct webhook *webhook, aic_view json)
{
    char *message = mem_copy_string(webhook->mem, MEM_MONITOR, json), *dropped = NULL;
    pthread_mutex_lock(&webhook->mutex);
    if (message == NULL || webhook->count == QUEUE_SLOTS) FIGURE_COUNT(&webhook->counts, notices_dropped, 1);
    if (message != NULL && webhook->count == QUEUE_SLOTS) dropped = take_first(webhook);
    if (message != NULL) webhook->queue[(webhook->first + webhook->count++) % QUEUE_SLOTS] = message;
    pthread_mutex_unlock(&webhook->mutex);
    mem_free_string(webhook->mem, MEM_MONITOR, dropped);
    send_next(webhook);
}

void webhook_figures(struct webhook *webhook, struct figures *out)
{
    CHECK(!figures_are_read(out, FIGURES_WEBHOOK));
    out->owners |= 1U << FIGURES_WEBHOOK;
    figures_add(out, &webhook->counts);
    pthread_mutex_lock(&webhook->mutex);
    out->notices_waiting = webhook->count;
    pthread_mutex_unlock(&webhook->mutex);
}
