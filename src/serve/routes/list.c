/*
 * list.c - GET /cache/entries: metadata of entries, page by page. A worker's job.
 */
#include "cache/cache.h"
#include "serve/routes/handlers.h"
#include "serve/routes/render.h"
#include "serve/routes/select.h"
#include "serve/routes/work.h"

static void write_page(struct buf *out, const aic_page *page, uint64_t now_ms)
{
    struct json_writer writer;
    json_writer_init(&writer, out);
    json_open(&writer, '{');
    json_key(&writer, "entries");
    json_open(&writer, '[');
    for (size_t i = 0; i < aic_page_count(page); i++) render_metadata(&writer, aic_page_entry(page, i), now_ms);
    json_close(&writer, ']');
    json_key(&writer, "count");
    json_put_u64(&writer, aic_page_count(page));
    json_key(&writer, "cursor");
    aic_view cursor = aic_page_cursor(page);
    if (cursor.size > 0) json_put_view(&writer, cursor);
    else json_put_null(&writer);
    json_close(&writer, '}');
}

struct list_job {
    struct work work;
    struct selection selection;
};

static void run_list(struct work *work)
{
    struct list_job *job = (struct list_job *)work;
    const struct overview_options *options = &work->front->routes->overview.options;
    aic_page *page = NULL;
    work->status = cache_list(options->cache, &job->selection.filter, job->selection.limit, job->selection.cursor,
                              &work->gone, &page, &work->error);
    if (work->status == AIC_OK) {
        write_page(&work->body, page, clock_wall_ms(options->clock));
        work->status = buf_status(&work->body);
    }
    aic_page_release(&page);
}

void handle_list(struct http_exchange *exchange)
{
    struct list_job *job = work_create(exchange, LANE_WALKS, sizeof *job);
    if (job == NULL) return;
    aic_error error = {0};
    aic_status status = select_from_query(exchange, SELECT_LABELS | SELECT_MORE | SELECT_PAGE, &job->selection, &error);
    if (status != AIC_OK) {
        http_reply_error(exchange, status, &error);
        work_free(&job->work);
        return;
    }
    job->work.run = run_list;
    job->work.finish = work_reply;
    job->work.deadline_ms = WORK_LONG_MS;
    job->work.ends_at_hangup = true;
    work_start(&job->work);
}
