/*
 * health.c - /health and its relatives: the last results of the checks, rendered on the front thread in
 * microseconds.
 */
#include "observe/parts.h"
#include "serve/http/negotiate.h"
#include "serve/routes/front.h"
#include "serve/routes/handlers.h"
#include "serve/routes/reply.h"

#include <stdio.h>
#include <string.h>

#define DRAFT_TYPE "application/health+json"

static void look(struct http_exchange *exchange, struct overview_health *health)
{
    struct routes *routes = front_of(exchange)->routes;
    overview_health(&routes->overview, atomic_load_explicit(&routes->draining, memory_order_relaxed), health);
}

void handle_health(struct http_exchange *exchange)
{
    struct overview_health health;
    struct json_writer writer;
    struct buf body;
    look(exchange, &health);
    buf_init(&body, http_mem(exchange), MEM_CONNECTIONS);
    json_writer_init(&writer, &body);
    bool draft = negotiate(exchange, "Accept", DRAFT_TYPE, "application/json");
    if (draft) parts_write_draft(&health, &writer);
    else parts_write_health(&health, &writer);
    buf_append_byte(&body, '\n');
    http_reply_header(exchange, "Vary", AIC_LITERAL("Accept"));
    http_reply_header(exchange, "Cache-Control", AIC_LITERAL("no-store"));
    http_reply_buf(exchange, health.overall == HEALTH_UNHEALTHY ? 503 : 200, draft ? DRAFT_TYPE : HTTP_JSON, &body);
    buf_fini(&body);
}

static void reply_word(struct http_exchange *exchange, int status, const char *word)
{
    char body[64];
    int size = snprintf(body, sizeof body, "{\"status\":\"%s\"}\n", word);
    http_reply_header(exchange, "Cache-Control", AIC_LITERAL("no-store"));
    http_reply_bytes(exchange, status, HTTP_JSON, (aic_view){body, (size_t)size});
}

/* That this runs at all says that the loop turns; backends do not belong here, or an orchestrator would restart a good
 * process. */
void handle_live(struct http_exchange *exchange)
{
    reply_word(exchange, 200, "alive");
}

void handle_ready(struct http_exchange *exchange)
{
    struct overview_health health;
    look(exchange, &health);
    if (health.stopping) reply_word(exchange, 503, "draining");
    else if (health.overall == HEALTH_UNHEALTHY) reply_word(exchange, 503, "unhealthy");
    else reply_word(exchange, 200, "ready");
}

static bool find_part(struct http_exchange *exchange, size_t *out)
{
    struct overview *overview = &front_of(exchange)->routes->overview;
    char names[256];
    int size = 0;
    if (health_find(overview->health, http_parameter(exchange, 0), out) == AIC_OK) return true;
    for (size_t i = 0; i < parts_count && (size_t)size < sizeof names; i++) {
        const char *before = i == 0 ? "" : i + 1 < parts_count ? ", " : " and ";
        size += snprintf(names + size, sizeof names - (size_t)size, "%s%s", before, parts[i].name);
    }
    char message[320];
    snprintf(message, sizeof message, "no part has this name; %s are known", names);
    http_reply_problem(exchange, 404, "not_found", "part", message);
    return false;
}

void handle_health_part(struct http_exchange *exchange)
{
    struct overview_health health;
    struct json_writer writer;
    struct buf body;
    size_t part;
    if (!find_part(exchange, &part)) return;
    look(exchange, &health);
    buf_init(&body, http_mem(exchange), MEM_CONNECTIONS);
    json_writer_init(&writer, &body);
    parts_write_part(&health, part, &writer);
    reply_json(exchange, health.reports[part].status == HEALTH_UNHEALTHY ? 503 : 200, &body);
    buf_fini(&body);
}

void handle_health_history(struct http_exchange *exchange)
{
    struct json_writer writer;
    struct buf body;
    size_t part;
    if (!find_part(exchange, &part)) return;
    buf_init(&body, http_mem(exchange), MEM_CONNECTIONS);
    json_writer_init(&writer, &body);
    health_write_history(front_of(exchange)->routes->overview.health, part, &writer);
    reply_json(exchange, 200, &body);
    buf_fini(&body);
}
