/*
 * transfer.c - export, import and warm: JSON Lines, streamed.
 *
 * Export: a worker makes a piece of whole lines, the front thread queues it; when the client reads slowly, the next
 * piece is made only after the queue has drained; both count against limits.answers_bytes. Import: the front thread
 * gathers what arrives, a worker takes it in; while a worker is behind, the connection is not read. Either way one
 * transfer holds a few hundred kilobytes, whatever the size of the cache.
 */
#include "base/check.h"
#include "cache/cache.h"
#include "serve/routes/handlers.h"
#include "serve/routes/lookup.h"
#include "serve/routes/reply.h"
#include "serve/routes/select.h"
#include "serve/routes/work.h"

#include <uv.h>

#define EXPORT_PIECE_BYTES 131072 /* a single line may be larger */
#define EXPORT_SLICE_BYTES 65536  /* queued at a time */
#define EXPORT_QUEUE_BYTES 393216 /* limits.queue_bytes and a slice more, with what frames them */
#define EXPORT_PAUSE_MS 50        /* before it is tried again, where there was no room */
#define EXPORT_PAUSES 200         /* then it is cut: exports may wait for each other */
#define IMPORT_BATCH_BYTES 262144 /* gathered while a worker is busy; more stops the reading */
#define IMPORT_MAX_ERRORS 100

/* ------------------------------------------------------------------------------------------------------- export -- */

struct export_job {
    struct work work;
    struct selection selection;
    aic_export *exporter;
    aic_view piece;           /* what is left to be sent of it */
    struct uv_timer_s *timer; /* of who waits for room; NULL: never did */
    unsigned pauses;          /* for the piece that is due */
    bool opened;
    bool head_only; /* a HEAD: what would not be sent is not read */
};

static void run_export(struct work *work)
{
    struct export_job *job = (struct export_job *)work;
    work->status = AIC_OK;
    if (job->exporter == NULL)
        work->status = export_create(work->front->routes->overview.options.cache, http_answer_mem(work->exchange),
                                     &job->selection.filter, &work->gone, &job->exporter, &work->error);
    if (work->status == AIC_OK && job->head_only) work->status = AIC_MISS;
    else if (work->status == AIC_OK) work->status = aic_export_next(job->exporter, EXPORT_PIECE_BYTES, &job->piece);
}

static void end_export(struct export_job *job)
{
    aic_export_destroy(&job->exporter);
    front_timer_close(job->work.front, &job->timer);
    work_free(&job->work);
}

/* Queues what the queue takes of the piece; when all of it is queued, a worker makes the next. Also called when the
 * queue has drained. */
static void go_on(struct http_exchange *exchange, void *context)
{
    struct export_job *job = context;
    if (http_is_gone(exchange)) {
        http_stream_abort(exchange);
        end_export(job);
        return;
    }
    while (job->piece.size > 0) {
        size_t size = job->piece.size < EXPORT_SLICE_BYTES ? job->piece.size : EXPORT_SLICE_BYTES;
        bool more = http_stream_write(exchange, (aic_view){job->piece.data, size});
        job->piece.data += size;
        job->piece.size -= size;
        if (more) continue;
        http_stream_drain(exchange, go_on, job);
        return;
    }
    work_again(&job->work);
}

/* The room for answers is full in the middle of an export: it is no reason to cut it. */
static void try_again(uv_timer_t *timer)
{
    struct export_job *job = timer->data;
    go_on(job->work.exchange, job); /* nothing is left of the piece */
}

static bool wait_for_room(struct export_job *job)
{
    if (++job->pauses > EXPORT_PAUSES) return false;
    if (job->timer == NULL && front_timer_open(job->work.front, &job->timer) != AIC_OK) return false;
    job->timer->data = job;
    CHECK(uv_timer_start(job->timer, try_again, EXPORT_PAUSE_MS, 0) == 0);
    return true;
}

static void finish_export(struct work *work)
{
    struct export_job *job = (struct export_job *)work;
    struct http_exchange *exchange = work->exchange;
    bool good = work->status == AIC_OK || work->status == AIC_MISS;
    bool fits = job->opened || !good || http_stream_reserve(exchange, EXPORT_QUEUE_BYTES);
    if (!job->opened && (!good || !fits)) {
        if (!fits) http_reply_refused(exchange, mem_refused_by());
        else work_refuse(work);
        end_export(job);
        return;
    }
    if (!job->opened) {
        http_reply_header(exchange, "Cache-Control", AIC_LITERAL("no-store"));
        http_stream_open(exchange, 200, "application/x-ndjson");
        job->opened = true;
    }
    if (work->status == AIC_OK) {
        job->pauses = 0;
        go_on(exchange, job);
        return;
    }
    if (work->full != NULL && wait_for_room(job)) return;
    if (good) http_stream_close(exchange);
    else http_stream_abort(exchange);
    end_export(job);
}

void handle_export(struct http_exchange *exchange)
{
    struct export_job *job = work_create(exchange, LANE_WALKS, sizeof *job);
    if (job == NULL) return;
    aic_error error = {0};
    aic_status status = select_from_query(exchange, SELECT_LABELS | SELECT_MORE, &job->selection, &error);
    if (status != AIC_OK) {
        http_reply_error(exchange, status, &error);
        work_free(&job->work);
        return;
    }
    job->head_only = http_verb(exchange) == HTTP_VERB_HEAD;
    job->work.run = run_export;
    job->work.finish = finish_export;
    job->work.deadline_ms = WORK_LONG_MS;
    work_start(&job->work);
}

/* ------------------------------------------------------------------------------------------------------- import -- */

struct import_job {
    struct work work;       /* work.body: what the worker takes in */
    struct buf incoming;    /* what arrives meanwhile */
    const struct mem *full; /* why it failed, as work.full */
    aic_import *importer;
    bool busy; /* a worker has the importer and work.body */
    bool paused;
    bool ended;  /* the whole body is here */
    bool broken; /* the body was cut short: nobody reads an answer */
    bool last;   /* the run under way is the last */
};

static void run_import(struct work *work)
{
    struct import_job *job = (struct import_job *)work;
    work->status = aic_import_add(job->importer, buf_view(&work->body));
    if (work->status == AIC_OK && job->last) work->status = aic_import_finish(job->importer);
}

static void write_rejections(struct json_writer *writer, const aic_import *importer)
{
    uint64_t line;
    aic_error error;
    json_key(writer, "errors");
    json_open(writer, '[');
    for (size_t i = 0; i < IMPORT_MAX_ERRORS && aic_import_rejection(importer, i, &line, &error) == AIC_OK; i++) {
        json_open(writer, '{');
        json_key(writer, "line");
        json_put_u64(writer, line);
        json_key(writer, "param");
        if (error.field[0] != '\0') json_put_text(writer, error.field);
        else json_put_null(writer);
        json_key(writer, "message");
        json_put_text(writer, error.message);
        json_close(writer, '}');
    }
    json_close(writer, ']');
}

static void write_report(struct buf *out, const aic_import *importer)
{
    aic_import_counts counts;
    struct json_writer writer;
    aic_import_count(importer, &counts);
    json_writer_init(&writer, out);
    json_open(&writer, '{');
    json_key(&writer, "lines");
    json_put_u64(&writer, counts.lines);
    json_key(&writer, "accepted");
    json_put_u64(&writer, counts.accepted);
    json_key(&writer, "expired");
    json_put_u64(&writer, counts.expired);
    json_key(&writer, "rejected");
    json_put_u64(&writer, counts.rejected);
    write_rejections(&writer, importer);
    json_close(&writer, '}');
}

static void end_import(struct import_job *job)
{
    struct work *work = &job->work;
    struct buf report;
    buf_init(&report, http_mem(work->exchange), MEM_CONNECTIONS);
    if (work->status == AIC_OK && !job->broken) {
        write_report(&report, job->importer);
        reply_json(work->exchange, 200, &report);
    } else if (work->full != NULL) {
        http_reply_header(work->exchange, "Retry-After", AIC_LITERAL("1"));
        http_reply_problem(work->exchange, 503, "bodies_full", NULL,
                           "no room for the lines: bodies and what is made of them may hold limits.bodies_bytes "
                           "together; the lines before are stored");
    } else {
        http_reply_error(work->exchange, work->status != AIC_OK ? work->status : AIC_INVALID, NULL);
    }
    buf_fini(&report);
    aic_import_destroy(&job->importer);
    buf_fini(&job->incoming);
    work_free(work);
}

/* Hands what arrived to a worker, or ends. Nobody else has the job. */
static void advance(struct import_job *job)
{
    struct work *work = &job->work;
    if (work->status == AIC_OK && buf_status(&job->incoming) != AIC_OK) {
        work->status = AIC_NO_MEMORY;
        work->full = job->full;
    }
    if (job->broken || work->status != AIC_OK || job->last) {
        end_import(job);
        return;
    }
    if (job->incoming.size == 0 && !job->ended) return;
    struct buf swapped = work->body;
    work->body = job->incoming;
    job->incoming = swapped;
    buf_clear(&job->incoming);
    job->last = job->ended;
    job->busy = true;
    work_again(work);
    if (job->paused) {
        job->paused = false;
        http_body_resume(work->exchange);
    }
}

static void finish_import(struct work *work)
{
    struct import_job *job = (struct import_job *)work;
    job->busy = false;
    advance(job);
}

static void on_body(struct http_exchange *exchange, enum http_body_event event, aic_view bytes, void *context)
{
    struct import_job *job = context;
    bool failed = job->incoming.failed;
    if (event == HTTP_BODY_DATA) buf_append_view(&job->incoming, bytes);
    else if (event == HTTP_BODY_END) job->ended = true;
    else job->broken = true;
    if (job->incoming.failed && !failed) job->full = mem_refused_by();
    if (!job->busy) {
        advance(job);
        return;
    }
    if (event == HTTP_BODY_DATA && job->incoming.size >= IMPORT_BATCH_BYTES && !job->paused) {
        job->paused = true;
        http_body_pause(exchange);
    }
}

/* The one namespace that is filled: that of `?namespace=`, or that of who may touch no other; else each line's own, and
 * the caller's where it names none. What was named is all that is filled: a line of another one is rejected, and its
 * key would be of no use elsewhere. */
static aic_status take_namespaces(struct http_exchange *exchange, const struct call *call, aic_import_options *options,
                                  aic_error *error)
{
    aic_view wanted;
    TRY(call_query(exchange, "namespace", &wanted, error));
    bool each = wanted.data == NULL && call->admin;
    return call_namespace(call, wanted, each ? &options->default_ns : &options->only_ns, error);
}

static void start_import(struct http_exchange *exchange, bool refuse_keys)
{
    struct import_job *job = work_create(exchange, LANE_WALKS, sizeof *job);
    if (job == NULL) return;
    const struct call *call = job->work.call;
    aic_error error = {0};
    /* A key stands for a request of one namespace. Who may touch only one could name another's key and so push its
     * entry out. */
    aic_import_options options = {.refuse_keys = refuse_keys || !call->admin, .max_rejections = IMPORT_MAX_ERRORS};
    aic_status status = take_namespaces(exchange, call, &options, &error);
    aic_cache *cache = front_of(exchange)->routes->overview.options.cache;
    struct mem *mem = http_body_mem(exchange);
    if (status == AIC_OK) status = import_create(cache, mem, &options, &job->work.gone, &job->importer, &error);
    if (status != AIC_OK) {
        http_reply_error(exchange, status, &error);
        work_free(&job->work);
        return;
    }
    buf_init(&job->incoming, mem, MEM_CONNECTIONS);
    buf_init(&job->work.body, mem, MEM_CONNECTIONS);
    job->work.run = run_import;
    job->work.finish = finish_import;
    http_body_start(exchange, on_body, job);
}

void handle_import(struct http_exchange *exchange)
{
    start_import(exchange, false);
}

void handle_warm(struct http_exchange *exchange)
{
    start_import(exchange, true);
}
