/*
 * replay.c - `aicache replay`: a file of requests through lookup and, on a miss, put.
 *
 * One request after the other over one connection, as an application would: so that a line repeats what the lines
 * before it have stored. The request's members pass as the file spells them, byte for byte. Latencies are those of
 * whole requests as this client sees them.
 */
#include "cli/commands.h"

#include "base/check.h"
#include "base/clock.h"
#include "base/hist.h"
#include "base/plural.h"
#include "base/status.h"
#include "base/view.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

struct replay {
    struct cli *cli;
    FILE *file;
    const char *name;
    uint64_t answer_bytes; /* 0: none are generated */
    uint64_t ttl;
    bool ttl_given;
    uint64_t line, hits, misses, puts, not_kept, bad;
    uint64_t first_bad; /* the line */
    char first_why[600];
    uint64_t bytes_read, bytes_served, bytes_put, tokens_saved;
    double cost_saved;
    struct hist hit_ns, miss_ns, put_ns;
    struct json json;
    struct buf body;
    struct progress progress;
};

/* Set by SIGINT and SIGTERM: what was sent so far is summed up. */
static volatile sig_atomic_t replay_stopped;

static void on_signal(int number)
{
    replay_stopped = number;
}

/* Members of a line, in the order in which they are sent. */
static const char *const members[] = {"operation", "text", "options", "question", "model"};
static const char *const put_members[] = {"tags", "tokens", "cost_usd"};

static void bad_line(struct replay *replay, const char *why)
{
    enum { TOLD = 20 };
    progress_end(&replay->progress);
    if (replay->bad == 0) {
        replay->first_bad = replay->line;
        snprintf(replay->first_why, sizeof replay->first_why, "%s", why);
    }
    if (++replay->bad <= TOLD) {
        fprintf(stderr, "aicache: %s:%" PRIu64 ": ", replay->name, replay->line);
        print_cell(stderr, why, sizeof replay->first_why, false); /* a name in it may be the file's */
        fputc('\n', stderr);
    }
    if (replay->bad == TOLD) fprintf(stderr, "aicache: further bad lines are only counted\n");
}

static void copy_member(struct replay *replay, const char *name, struct json_writer *out)
{
    uint32_t token = json_member(&replay->json, 0, name);
    if (token == UINT32_MAX) return;
    json_key(out, name);
    json_put_raw(out, json_text(&replay->json, token));
}

static void write_request(struct replay *replay, struct json_writer *out)
{
    for (size_t i = 0; i < COUNT_OF(members); i++) copy_member(replay, members[i], out);
    const char *name = cli_value(replay->cli, "namespace");
    if (name == NULL) {
        copy_member(replay, "namespace", out);
    } else {
        json_key(out, "namespace");
        json_put_text(out, name);
    }
}

/* Text that looks like text and depends on the line, so that runs are alike and compression has something to do. */
static void write_answer(struct replay *replay, struct json_writer *out)
{
    static const char *const words[] = {"the",  "answer", "of",    "model",  "is",  "that",    "cache", "keeps",
                                        "what", "was",    "asked", "before", "and", "gives",   "it",    "again",
                                        "in",   "less",   "time",  "than",   "a",   "thought", "would", "need",
                                        "so",   "this",   "text",  "stands", "for", "one",     "such",  "reply"};
    uint64_t state = replay->line * 0x9e3779b97f4a7c15u + 1;
    struct buf text;
    buf_init(&text, &replay->cli->mem, MEM_OTHER);
    while (text.size < replay->answer_bytes && !text.failed) {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        buf_append_text(&text, words[state >> 20 & 31]);
        buf_append_byte(&text, state >> 40 & 15 ? ' ' : '.');
    }
    if (text.size > replay->answer_bytes) text.size = replay->answer_bytes;
    json_put_view(out, buf_view(&text));
    if (text.failed) out->out->failed = true;
    buf_fini(&text);
}

/* The line is a bad one: the daemon says why. */
static void refused_line(struct replay *replay, struct reply *reply)
{
    char why[600];
    reply_parse(reply);
    const char *param = json_text_at(reply->json, "error.param", NULL);
    const char *message = json_text_at(reply->json, "error.message", "the answer explains nothing");
    snprintf(why, sizeof why, "refused with %ld: %s%s%s", reply->status, param != NULL ? param : "",
             param != NULL ? ": " : "", message);
    bad_line(replay, why);
}

/* Begins a body with the members that all requests of the line have. */
static void begin_body(struct replay *replay, struct json_writer *out)
{
    buf_clear(&replay->body);
    json_writer_init(out, &replay->body);
    json_open(out, '{');
    write_request(replay, out);
}

/* Ends and sends it. */
static int send_body(struct replay *replay, const char *verb, const char *route, struct json_writer *out,
                     struct reply *reply, uint64_t *took_ns)
{
    *reply = (struct reply){0};
    json_close(out, '}');
    if (buf_status(&replay->body) != AIC_OK) return cli_fail("no memory");
    uint64_t started = clock_mono_ns(clock_system());
    int result = session_send(replay->cli, verb, route, buf_view(&replay->body), reply);
    *took_ns = clock_mono_ns(clock_system()) - started;
    return result;
}

static int send_put(struct replay *replay, uint32_t response)
{
    struct json_writer writer;
    struct reply reply;
    uint64_t took_ns = 0;
    begin_body(replay, &writer);
    for (size_t i = 0; i < COUNT_OF(put_members); i++) copy_member(replay, put_members[i], &writer);
    if (replay->ttl_given) {
        json_key(&writer, "ttl");
        json_put_u64(&writer, replay->ttl);
    } else {
        copy_member(replay, "ttl", &writer);
    }
    json_key(&writer, "response");
    size_t before = replay->body.size;
    if (response != UINT32_MAX) json_put_raw(&writer, json_text(&replay->json, response));
    else write_answer(replay, &writer);
    uint64_t bytes = replay->body.size - before;
    int result = send_body(replay, "PUT", "/cache/entries", &writer, &reply, &took_ns);
    if (result == CLI_OK) hist_record(&replay->put_ns, took_ns);
    if (result == CLI_OK && reply.status == 201) replay->puts++;
    else if (result == CLI_OK && reply.status == 200) replay->not_kept++;
    else if (result == CLI_OK) refused_line(replay, &reply);
    if (result == CLI_OK && reply.status < 300) replay->bytes_put += bytes;
    reply_fini(&reply);
    return result;
}

/* What a hit saved: its bytes, tokens and price. */
static void count_hit(struct replay *replay, const struct reply *reply)
{
    struct json answer;
    json_init(&answer, &replay->cli->mem, MEM_OTHER);
    if (json_scan(&answer, buf_view(&reply->body), NULL) == AIC_OK && answer.tokens[0].type == JSON_OBJECT) {
        uint32_t response = json_member(&answer, 0, "response");
        uint32_t metadata = json_member(&answer, 0, "metadata");
        bool known = metadata != UINT32_MAX && answer.tokens[metadata].type == JSON_OBJECT;
        uint32_t tokens = known ? json_member(&answer, metadata, "tokens") : UINT32_MAX;
        uint32_t cost = known ? json_member(&answer, metadata, "cost_usd") : UINT32_MAX;
        int64_t saved = 0;
        double price = 0;
        if (response != UINT32_MAX) replay->bytes_served += json_text(&answer, response).size;
        if (tokens != UINT32_MAX && answer.tokens[tokens].type == JSON_NUMBER &&
            json_integer(&answer, tokens, &saved) == AIC_OK)
            replay->tokens_saved += (uint64_t)saved;
        if (cost != UINT32_MAX && answer.tokens[cost].type == JSON_NUMBER &&
            json_double(&answer, cost, &price) == AIC_OK)
            replay->cost_saved += price;
    }
    json_fini(&answer);
}

static int send_lookup(struct replay *replay, bool *miss)
{
    struct json_writer writer;
    struct reply reply;
    uint64_t took_ns = 0;
    *miss = false;
    begin_body(replay, &writer);
    int result = send_body(replay, "POST", "/cache/lookup", &writer, &reply, &took_ns);
    aic_view hit = AIC_LITERAL("{\"hit\":true");
    if (result == CLI_OK && (reply.status == 401 || reply.status == 403 || reply.status == 404)) {
        result = cli_fail("the daemon refuses with %ld: %.*s", reply.status, (int)reply.body.size,
                          reply.body.size > 0 ? reply.body.data : "");
    } else if (result == CLI_OK && reply.status != 200) {
        refused_line(replay, &reply);
    } else if (result == CLI_OK && reply.body.size > hit.size && memcmp(reply.body.data, hit.data, hit.size) == 0) {
        replay->hits++;
        hist_record(&replay->hit_ns, took_ns);
        count_hit(replay, &reply);
    } else if (result == CLI_OK) {
        replay->misses++;
        hist_record(&replay->miss_ns, took_ns);
        *miss = true;
    }
    reply_fini(&reply);
    return result;
}

static bool is_request(const struct json *json)
{
    if (json->tokens[0].type != JSON_OBJECT) return false;
    uint32_t operation = json_member(json, 0, "operation"), text = json_member(json, 0, "text");
    return operation != UINT32_MAX && text != UINT32_MAX && json->tokens[operation].type == JSON_STRING &&
           json->tokens[text].type == JSON_STRING;
}

static int send_line(struct replay *replay, aic_view line)
{
    aic_error error = {0};
    bool miss;
    if (json_scan(&replay->json, line, &error) != AIC_OK) {
        bad_line(replay, error.message);
        return CLI_OK;
    }
    if (!is_request(&replay->json)) {
        bad_line(replay, "no request; accepted: {\"operation\": text, \"text\": text, options?, question?, response?}");
        return CLI_OK;
    }
    if (send_lookup(replay, &miss) != CLI_OK) return CLI_ERROR;
    uint32_t response = json_member(&replay->json, 0, "response");
    if (!miss || (response == UINT32_MAX && replay->answer_bytes == 0)) return CLI_OK;
    return send_put(replay, response);
}

static double hit_rate(const struct replay *replay)
{
    uint64_t lookups = replay->hits + replay->misses;
    return lookups > 0 ? (double)replay->hits / (double)lookups : 0;
}

static void show(struct replay *replay)
{
    char note[96];
    if (!replay->progress.on) return;
    snprintf(note, sizeof note, "%" PRIu64 " %s, hit rate %.1f %%", replay->line, plural(replay->line, "line", "lines"),
             100 * hit_rate(replay));
    progress_show(&replay->progress, replay->bytes_read, note);
}

static int send_all(struct replay *replay, uint64_t limit)
{
    char *line = NULL;
    size_t room = 0;
    int result = CLI_OK;
    ssize_t size = 0;
    while (result == CLI_OK && !replay_stopped && replay->line < limit &&
           (size = getline(&line, &room, replay->file)) >= 0) {
        replay->line++;
        replay->bytes_read += (uint64_t)size;
        aic_view text = view_trim_end((aic_view){line, (size_t)size}, "\r\n \t");
        if (replay->line == 1) text = view_skip_bom(text);
        if (text.size > 0) result = send_line(replay, text);
        show(replay);
    }
    if (size < 0 && !replay_stopped && !feof(replay->file)) /* a line too long for the memory is no error of the file */
        result = cli_fail("%s: %s", replay->name, strerror(errno));
    progress_end(&replay->progress);
    free(line);
    return result;
}

static void print_result(const struct replay *replay, double seconds)
{
    char served[PRINT_BYTES], put[PRINT_BYTES];
    uint64_t lookups = replay->hits + replay->misses;
    printf("%" PRIu64 " %s in %.2f s: %" PRIu64 " %s, %" PRIu64 " %s, hit rate %.1f %%\n", lookups,
           plural(lookups, "lookup", "lookups"), seconds, replay->hits, plural(replay->hits, "hit", "hits"),
           replay->misses, plural(replay->misses, "miss", "misses"), 100 * hit_rate(replay));
    if (replay->bad > 0) {
        printf("%" PRIu64 " bad %s, the first is line %" PRIu64 ": ", replay->bad, plural(replay->bad, "line", "lines"),
               replay->first_bad);
        print_cell(stdout, replay->first_why, sizeof replay->first_why, false);
        putchar('\n');
    }
    print_times_head();
    print_times("hit", &replay->hit_ns);
    print_times("miss", &replay->miss_ns);
    print_times("put", &replay->put_ns);
    printf("stored   %" PRIu64 " %s, %s", replay->puts, plural(replay->puts, "answer", "answers"),
           print_size(put, replay->bytes_put));
    if (replay->not_kept > 0)
        printf("; %" PRIu64 " %s not kept", replay->not_kept, plural(replay->not_kept, "was", "were"));
    printf("\nsaved    %" PRIu64 " %s, %s of answers", replay->hits, plural(replay->hits, "call", "calls"),
           print_size(served, replay->bytes_served));
    if (replay->tokens_saved > 0)
        printf(", %" PRIu64 " %s", replay->tokens_saved, plural(replay->tokens_saved, "token", "tokens"));
    if (replay->cost_saved > 0) printf(", %.4f USD", replay->cost_saved);
    putchar('\n');
}

static void write_percentiles(const char *name, const struct hist *hist, struct json_writer *out)
{
    static const struct {
        const char *name;
        double fraction;
    } wanted[] = {{"p50", 0.5}, {"p90", 0.9}, {"p99", 0.99}, {"p999", 0.999}};
    struct hist_total total = {0};
    hist_add(&total, hist);
    json_key(out, name), json_open(out, '{');
    json_key(out, "count"), json_put_u64(out, total.count);
    for (size_t i = 0; i < COUNT_OF(wanted); i++) {
        double ns = total.count > 0 ? (double)hist_percentile(&total, wanted[i].fraction) : 0;
        json_key(out, wanted[i].name), json_put_double(out, ns * 1e-9);
    }
    json_key(out, "max"), json_put_double(out, (double)total.max * 1e-9);
    json_close(out, '}');
}

static void print_result_json(struct replay *replay, double seconds)
{
    struct json_writer out;
    buf_clear(&replay->body);
    json_writer_init(&out, &replay->body);
    json_open(&out, '{');
    json_key(&out, "lines"), json_put_u64(&out, replay->line);
    json_key(&out, "lookups"), json_put_u64(&out, replay->hits + replay->misses);
    json_key(&out, "hits"), json_put_u64(&out, replay->hits);
    json_key(&out, "misses"), json_put_u64(&out, replay->misses);
    json_key(&out, "hit_rate"), json_put_double(&out, hit_rate(replay));
    json_key(&out, "bad_lines"), json_put_u64(&out, replay->bad);
    if (replay->bad > 0) {
        json_key(&out, "first_bad_line"), json_put_u64(&out, replay->first_bad);
        json_key(&out, "first_bad_reason"), json_put_text(&out, replay->first_why);
    }
    json_key(&out, "puts"), json_put_u64(&out, replay->puts);
    json_key(&out, "not_kept"), json_put_u64(&out, replay->not_kept);
    json_key(&out, "bytes_put"), json_put_u64(&out, replay->bytes_put);
    json_key(&out, "bytes_served"), json_put_u64(&out, replay->bytes_served);
    json_key(&out, "tokens_saved"), json_put_u64(&out, replay->tokens_saved);
    json_key(&out, "cost_saved_usd"), json_put_double(&out, replay->cost_saved);
    json_key(&out, "seconds"), json_put_double(&out, seconds);
    json_key(&out, "latency_seconds"), json_open(&out, '{');
    write_percentiles("hit", &replay->hit_ns, &out);
    write_percentiles("miss", &replay->miss_ns, &out);
    write_percentiles("put", &replay->put_ns, &out);
    json_close(&out, '}');
    json_close(&out, '}');
    if (buf_status(&replay->body) == AIC_OK) print_view(buf_view(&replay->body));
    else cli_fail("no memory");
}

static int run(struct replay *replay)
{
    struct stat facts;
    uint64_t limit = UINT64_MAX, total = 0;
    replay->ttl_given = cli_has(replay->cli, "ttl");
    if (cli_number(replay->cli, "answer-bytes", OPTION_SIZE, &replay->answer_bytes) != CLI_OK) return CLI_ERROR;
    if (cli_number(replay->cli, "ttl", OPTION_SECONDS, &replay->ttl) != CLI_OK) return CLI_ERROR;
    if (cli_number(replay->cli, "limit", OPTION_U64, &limit) != CLI_OK) return CLI_ERROR;
    if (fstat(fileno(replay->file), &facts) == 0 && S_ISREG(facts.st_mode)) total = (uint64_t)facts.st_size;
    progress_begin(&replay->progress, "replay", total);
    /* One signal ends it with its summary, a second one at once. Without SA_RESTART a read of a pipe ends, too. */
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = (int)SA_RESETHAND};
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    uint64_t started = clock_mono_ns(clock_system());
    int result = send_all(replay, limit);
    double seconds = (double)(clock_mono_ns(clock_system()) - started) * 1e-9;
    if (replay->cli->json) print_result_json(replay, seconds);
    else print_result(replay, seconds);
    if (result != CLI_OK) return result;
    if (replay_stopped) return cli_fail("stopped by a signal after line %" PRIu64, replay->line);
    return replay->bad > 0 ? CLI_NO : CLI_OK;
}

int command_replay(struct cli *cli)
{
    bool standard = strcmp(cli->arguments[0], "-") == 0;
    struct replay *replay = mem_zalloc(&cli->mem, MEM_OTHER, sizeof *replay);
    if (replay == NULL) return cli_fail("no memory");
    replay->cli = cli;
    replay->name = standard ? "standard input" : cli->arguments[0];
    replay->file = standard ? stdin : fopen(cli->arguments[0], "rb");
    int why = errno;
    json_init(&replay->json, &cli->mem, MEM_OTHER);
    buf_init(&replay->body, &cli->mem, MEM_OTHER);
    int result = replay->file != NULL ? run(replay) : cli_fail("%s: %s", replay->name, strerror(why));
    if (replay->file != NULL && !standard) fclose(replay->file);
    buf_fini(&replay->body);
    json_fini(&replay->json);
    mem_free(&cli->mem, MEM_OTHER, replay, sizeof *replay);
    return result;
}
