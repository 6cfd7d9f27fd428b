/*
 * The routes on a real server in this process, where a test can hold the storage tier, the allocator and the keys in
 * its hand: what is slow is a miss in time, what comes late is released, and no failed allocation ends more than its
 * own request.
 */
#include "routes_world.h"

#include "../../../support/test_in.h"
#include "base/digest.h"
#include "serve/routes/memo.h"
#include "serve/routes/work.h"

#include <time.h>

#define PUT_BODY "{\"operation\":\"qa\",\"text\":\"slow\",\"response\":\"answer\"}"
#define LOOKUP_BODY "{\"operation\":\"qa\",\"text\":\"slow\"}"

/* A clock that stands still. */
static uint64_t standing_wall_ms(void *context)
{
    (void)context;
    return UINT64_C(1700000000000);
}

static uint64_t standing_mono_ns(void *context)
{
    (void)context;
    return UINT64_C(1000000000);
}

/* -------------------------------------------------------------------------------------- where the tests work -- */

static void put_into_storage(struct world *world)
{
    assert_int_equal(ask(world, "PUT", "/cache/entries", PUT_BODY), 201);
    assert_int_equal(aic_cache_sync(world->cache), AIC_OK);
}

static void run_in(void **state, struct world world, uint64_t memory_bytes, void (*prepare)(struct world *))
{
    void (*run)(struct world *) = *state;
    start_world(&world, memory_bytes, NULL, 0);
    if (prepare != NULL) prepare(&world);
    run(&world);
    stop_server(&world);
    atomic_store(&world.storage->hang, false);
    stop_cache(&world);
}

static void a_world(void **state)
{
    run_in(state, (struct world){0}, 0, NULL);
}

/* No memory tier, and PUT_BODY's entry in storage. */
static void a_world_of_storage(void **state)
{
    run_in(state, (struct world){0}, AIC_ZERO, put_into_storage);
}

/* The same, and storage does not answer until the server has ended: only the deadline ends a lookup. */
static void hang_with_an_entry(struct world *world)
{
    put_into_storage(world);
    atomic_store(&world->storage->hang, true);
}

static void a_world_that_hangs(void **state)
{
    run_in(state, (struct world){.deadline_ms = 20}, AIC_ZERO, hang_with_an_entry);
}

/* A lookup of PUT_BODY's entry. */
static void expect_miss(struct world *world)
{
    assert_int_equal(ask(world, "POST", "/cache/lookup", LOOKUP_BODY), 200);
    assert_true(says("\"hit\":false"));
}

/* ------------------------------------------------------------------------------------------------- storage -- */

static void test_a_hit_of_storage(struct world *world)
{
    for (int i = 0; i < 3; i++) {
        assert_int_equal(ask(world, "POST", "/cache/lookup", LOOKUP_BODY), 200);
        assert_true(says("\"tier\":\"storage\""));
        assert_true(says("\"response\":\"answer\""));
    }
}

/* Found, but what it holds cannot be decoded: a miss, and counted as nothing else. */
static void test_a_damaged_entry_is_counted_as_a_miss(struct world *world)
{
    char *response = make_response(3000, 1), body[4096];
    snprintf(body, sizeof body, "{\"operation\":\"qa\",\"text\":\"slow\",\"response\":%s}", response);
    assert_int_equal(ask(world, "PUT", "/cache/entries", body), 201);
    aic_request request = request_of("qa", "slow");
    aic_key key;
    assert_int_equal(aic_cache_key(world->cache, &request, &key, NULL), AIC_OK);
    struct pin pin;
    assert_int_equal(store_peek(cache_store(world->cache), &key, &pin), AIC_OK);
    struct iovec piece;
    size_t covered;
    assert_int_equal(pin_pieces(&pin, pin_size(&pin) - 64, 64, &piece, 1, &covered), 1);
    memset(piece.iov_base, 0xFF, covered);
    pin_release(&pin);
    expect_miss(world);
    struct figures stats = {0};
    cache_figures(world->cache, &stats);
    assert_int_equal(stats.damaged, 1);
    assert_int_equal(stats.misses, 1);
    assert_int_equal(stats.hits_memory + stats.hits_storage, 0);
    assert_int_equal(ask(world, "GET", "/metrics", ""), 200);
    assert_true(says("result=\"miss\""));
    assert_false(says("result=\"hit\",kind=\"exact\",tier=\"memory\",namespace=\"default\",operation=\"qa\"} 1"));
    free(response);
}

static void test_slow_storage_is_a_miss_in_time(struct world *world)
{
    expect_miss(world);
    struct figures stats = {0};
    cache_figures(world->cache, &stats);
    assert_int_equal(stats.storage_timeouts, 1);
    assert_int_equal(stats.misses, 1);
    /* The connection's other requests go on while storage hangs. */
    assert_int_equal(ask(world, "GET", "/livez", ""), 200);
}

static void test_what_comes_after_the_end_is_released(struct world *world)
{
    expect_miss(world);
    /* The reader is still at it when the world ends. */
}

static void test_storage_down(struct world *world)
{
    atomic_store(&world->storage->down, true);
    assert_int_equal(ask(world, "PUT", "/cache/entries", PUT_BODY), 201);
    assert_int_equal(ask(world, "POST", "/cache/lookup", LOOKUP_BODY), 200);
    assert_true(says("\"tier\":\"memory\""));
    for (int i = 0; i < 20; i++) {
        assert_int_equal(ask(world, "POST", "/cache/lookup", "{\"operation\":\"qa\",\"text\":\"not there\"}"), 200);
        assert_true(says("\"hit\":false"));
    }
    /* The check finds it by itself when it is due. */
    for (int i = 0; i < 300 && !says("\"storage\":{\"status\":\"unhealthy\""); i++) {
        usleep(100000);
        routes_turn(world->routes);
        assert_int_equal(ask(world, "GET", "/health", ""), 200);
    }
    assert_true(says("\"storage\":{\"status\":\"unhealthy\""));
    assert_true(says("{\"status\":\"degraded\""));
    assert_int_equal(ask(world, "GET", "/health/storage", ""), 503);
}

static double seconds(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec * 1e-9;
}

/* A read that does not come back costs its check its deadline, and /health nothing: it answers from what is known. */
static void test_health_answers_while_storage_hangs(struct world *world)
{
    expect_miss(world);
    double quickest = 1e9;
    bool noticed = false;
    for (int i = 0; i < 600 && !noticed; i++) {
        routes_turn(world->routes);
        double began = seconds();
        assert_int_equal(ask(world, "GET", "/health", ""), 200);
        double took = seconds() - began;
        if (took < quickest) quickest = took;
        noticed = !says("\"storage\":{\"status\":\"healthy\"");
        usleep(50000);
    }
    assert_true(noticed);
    assert_true(says("{\"status\":\"degraded\""));
    assert_true(quickest < 1.5); /* the check's deadline is two seconds: nobody waited for it */
}

/* --------------------------------------------------------------------------------------------- keys, stopping -- */

static void test_keys_change_live(void **state)
{
    (void)state;
    struct world world;
    uint8_t old_digest[32], new_digest[32];
    assert_int_equal(digest_sha256("old", 3, old_digest), AIC_OK);
    assert_int_equal(digest_sha256("new", 3, new_digest), AIC_OK);
    start(&world, 0, &(struct auth_key){"one", old_digest, "a", false}, 1);
    request(&world, "GET", "/cache/status", "old", "", &answer);
    assert_int_equal(answer.status, 200);
    request(&world, "GET", "/cache/status", "new", "", &answer);
    assert_int_equal(answer.status, 401);
    struct auth *changed;
    assert_int_equal(auth_create(&world.mem, &(struct auth_key){"two", new_digest, "b", false}, 1,
                                 (struct auth_hosts){0}, &changed, NULL),
                     AIC_OK);
    routes_reload_auth(world.routes, changed);
    auth_release(&changed);
    for (int i = 0; i < 4; i++) { /* every thread has noticed */
        request(&world, "GET", "/cache/status", "old", "", &answer);
        assert_int_equal(answer.status, 401);
        request(&world, "GET", "/cache/status", "new", "", &answer);
        assert_int_equal(answer.status, 200);
    }
    stop_server(&world);
    stop_cache(&world);
}

#define CALLERS 4

/* Sends a request and reads the beginning of what comes. */
static int begin_request(const struct world *world, const char *key, const char *rest, const char *until)
{
    char head[512], text[4096] = "";
    struct timeval patience = {.tv_sec = 60};
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_port = htons(world->port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM, 0), room = 4096;
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience), 0);
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &room, sizeof room), 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof address), 0);
    int size = snprintf(head, sizeof head, "%s", rest);
    char *mark = strstr(head, "KEY");
    memcpy(mark, key, 3);
    assert_int_equal(send(fd, head, (size_t)size, MSG_NOSIGNAL), size);
    for (size_t got = 0; strstr(text, until) == NULL;) {
        ssize_t more = recv(fd, text + got, 1, 0);
        assert_int_equal(more, 1);
        got++;
        assert_true(got + 1 < sizeof text);
    }
    return fd;
}

/* What still comes, up to the end; its last bytes are in `answer`. */
static size_t read_to_the_end(int fd)
{
    size_t sum = 0, kept = 0;
    ssize_t more;
    char piece[4096];
    while ((more = recv(fd, piece, sizeof piece, 0)) > 0) {
        sum += (size_t)more;
        if (kept + (size_t)more >= sizeof answer.text) kept = 0;
        memcpy(answer.text + kept, piece, (size_t)more);
        kept += (size_t)more;
    }
    assert_true(more == 0 || errno == ECONNRESET);
    answer.text[kept] = '\0';
    close(fd);
    return sum;
}

#define STREAM "GET /monitoring/stream HTTP/1.1\r\nHost: localhost\r\nX-API-Key: KEY\r\n\r\n"
#define EXPORT "GET /cache/export?all_namespaces=1 HTTP/1.1\r\nHost: localhost\r\nX-API-Key: KEY\r\n\r\n"
#define HALF_A_BODY                                                                                                    \
    "PUT /cache/entries HTTP/1.1\r\nHost: localhost\r\nX-API-Key: KEY\r\nExpect: 100-continue\r\n"                     \
    "Content-Length: 1000\r\n\r\n"
#define HALF_AN_IMPORT                                                                                                 \
    "POST /cache/import HTTP/1.1\r\nHost: localhost\r\nX-API-Key: KEY\r\nExpect: 100-continue\r\n"                     \
    "Content-Length: 1000\r\n\r\n"
#define PROBE "GET /livez HTTP/1.1\r\nHost: localhost\r\nX-API-Key: KEY\r\n\r\n"

/* Three administrators: one's key goes, one's namespace changes, one is none any more; the fourth's stays as it is. */
static void test_what_is_under_way_ends_with_its_key(void **state)
{
    (void)state;
    struct world world;
    const char *const names[CALLERS] = {"one", "two", "six", "ten"};
    uint8_t digests[CALLERS][32];
    struct auth_key keys[CALLERS];
    char *response = make_response(1 << 20, 1);
    for (size_t i = 0; i < CALLERS; i++) {
        assert_int_equal(digest_sha256(names[i], 3, digests[i]), AIC_OK);
        keys[i] = (struct auth_key){names[i], digests[i], "a", true};
    }
    start(&world, 0, keys, CALLERS);
    for (unsigned i = 0; i < 24; i++) { /* more than the sockets between take in */
        char text[16];
        snprintf(text, sizeof text, "%u", i);
        aic_put put = {.request = request_of("qa", text), .response = aic_view_of(response)};
        aic_put_result result;
        assert_int_equal(aic_cache_put(world.cache, &put, &result, NULL), AIC_OK);
    }
    free(response);
    int streams[CALLERS], exports[CALLERS], bodies[CALLERS], imports[CALLERS], probes[CALLERS];
    for (size_t i = 0; i < CALLERS; i++) {
        streams[i] = begin_request(&world, names[i], STREAM, "retry: 2000");
        exports[i] = begin_request(&world, names[i], EXPORT, "\"response\"");
        bodies[i] = begin_request(&world, names[i], HALF_A_BODY, "100 Continue\r\n\r\n");
        imports[i] = begin_request(&world, names[i], HALF_AN_IMPORT, "100 Continue\r\n\r\n");
        probes[i] = begin_request(&world, names[i], PROBE, "alive");
    }
    keys[0] = keys[3];
    keys[1].ns = "b";
    keys[2].admin = false;
    struct auth *changed;
    assert_int_equal(auth_create(&world.mem, keys, CALLERS - 1, (struct auth_hosts){0}, &changed, NULL), AIC_OK);
    routes_reload_auth(world.routes, changed);
    routes_reload_auth(world.routes, changed); /* once more before the first is noticed */
    auth_release(&changed);
    for (size_t i = 0; i < CALLERS - 1; i++) {
        read_to_the_end(streams[i]);
        read_to_the_end(exports[i]);
        assert_null(strstr(answer.text, "\r\n0\r\n\r\n")); /* cut: the client sees that some is missing */
        read_to_the_end(bodies[i]);
        assert_true(says("HTTP/1.1 401 ") && says("taken back"));
        read_to_the_end(imports[i]);
        assert_true(says("HTTP/1.1 401 ") && says("taken back"));
    }
    routes_tick(world.routes);
    char text[4096];
    assert_true(recv(streams[3], text, sizeof text, 0) > 0);
    close(streams[3]);
    assert_int_equal(shutdown(exports[3], SHUT_WR), 0);
    assert_true(read_to_the_end(exports[3]) > 8 << 20);
    assert_non_null(strstr(answer.text, "\r\n0\r\n\r\n"));
    for (size_t i = 0; i < CALLERS; i++) { /* without a request under way nothing ends, and the next one is judged */
        const char *next = "GET /cache/ping HTTP/1.1\r\nHost: localhost\r\nX-API-Key: one\r\nConnection: close\r\n\r\n";
        assert_int_equal(send(probes[i], next, strlen(next), MSG_NOSIGNAL), (ssize_t)strlen(next));
        read_to_the_end(probes[i]);
        assert_true(says("HTTP/1.1 401 ") && !says("taken back"));
    }
    close(bodies[3]);
    close(imports[3]);
    stop_server(&world);
    stop_cache(&world);
}

/* A put that waits for storage, of this many bytes, with its connection's end after it. */
static int begin_durable_put(const struct world *world, unsigned number, int bytes)
{
    static char body[2 * WORK_LARGE_BODY];
    char head[256];
    struct timeval patience = {.tv_sec = 60};
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_port = htons(world->port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    int size = snprintf(body, sizeof body,
                        "{\"operation\":\"qa\",\"text\":\"%u\",\"response\":\"%0*d\",\"durability\":\"storage\"}",
                        number, bytes, 1);
    const char *lines = "PUT /cache/entries HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: ";
    int head_size = snprintf(head, sizeof head, "%s%d\r\n\r\n", lines, size);
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience), 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof address), 0);
    assert_int_equal(send(fd, head, (size_t)head_size, MSG_NOSIGNAL), head_size);
    assert_int_equal(send(fd, body, (size_t)size, MSG_NOSIGNAL), size);
    return fd;
}

/* Puts that wait for storage, large and small ones, keep the figures from nobody. */
static void test_durable_puts_keep_no_figures(struct world *world)
{
    enum { PUTS = 8 };
    int puts[PUTS];
    char byte;
    struct figures stats = {0};
    atomic_store(&world->storage->hang, true);
    for (unsigned i = 0; i < PUTS; i++) puts[i] = begin_durable_put(world, i, i < PUTS / 2 ? 10 : WORK_LARGE_BODY + 1);
    do { /* all are stored, and wait */
        usleep(1000);
        stats = (struct figures){0};
        cache_figures(world->cache, &stats);
    } while (stats.puts < PUTS);
    assert_int_equal(ask(world, "GET", "/metrics", ""), 200);
    /* Its answer came before theirs, which come after five seconds at the latest. */
    for (unsigned i = 0; i < PUTS; i++) assert_int_equal(recv(puts[i], &byte, 1, MSG_DONTWAIT), -1);
    atomic_store(&world->storage->hang, false);
    for (unsigned i = 0; i < PUTS; i++) {
        read_to_the_end(puts[i]);
        assert_true(says("HTTP/1.1 201 "));
    }
}

/* Puts within one millisecond, each with a tag of its own: whoever holds the first one's removes no later answer. */
static void test_two_puts_in_one_millisecond_have_two_tags(void **state)
{
    (void)state;
    static const aic_clock still = {standing_wall_ms, standing_mono_ns, NULL};
    struct world world = {.clock = &still};
    char tags[3][19] = {""}, path[128], key[65];
    start_world(&world, 0, NULL, 0);
    for (size_t i = 0; i < 3; i++) {
        const char *body = i < 2 ? PUT_BODY : "{\"operation\":\"qa\",\"text\":\"slow\",\"response\":\"other!\"}";
        assert_int_equal(ask(&world, "PUT", "/cache/entries", body), 201);
        assert_int_equal(sscanf(strstr(answer.text, "\"key\":\"") + 7, "%64[0-9a-f]", key), 1);
        snprintf(path, sizeof path, "/cache/entries/%s", key);
        for (int again = 0; again < 2; again++) { /* the same put keeps its tag */
            char tag[19] = "";
            assert_int_equal(ask(&world, "GET", path, ""), 200);
            assert_int_equal(sscanf(strstr(answer.text, "ETag: "), "ETag: %18s", tag), 1);
            if (again > 0) assert_string_equal(tag, tags[i]);
            memcpy(tags[i], tag, sizeof tag);
        }
        for (size_t before = 0; before < i; before++) assert_string_not_equal(tags[before], tags[i]);
    }
    stop_server(&world);
    stop_cache(&world);
}

static void test_draining_is_not_ready(struct world *world)
{
    assert_int_equal(ask(world, "GET", "/health/ready", ""), 200);
    assert_int_equal(ask(world, "GET", "/health", ""), 200);
    routes_drain(world->routes);
    assert_int_equal(ask(world, "GET", "/health/ready", ""), 503);
    assert_true(says("draining"));
    assert_int_equal(ask(world, "GET", "/health", ""), 503);
    assert_int_equal(ask(world, "GET", "/livez", ""), 200);
    assert_int_equal(ask(world, "POST", "/cache/lookup", LOOKUP_BODY), 200);
    /* The streams were ended; one that begins now would hold the stop up. */
    assert_int_equal(ask(world, "GET", "/monitoring/stream", ""), 503);
}

/* Two requests of one connection: the answer to the first is its head alone, and the second is served. */
static void test_a_head_of_a_stream_is_complete(struct world *world)
{
    static const char *const paths[] = {"/monitoring/stream", "/cache/export"};
    put_into_storage(world);
    for (size_t i = 0; i < COUNT_OF(paths); i++) {
        char head[512];
        snprintf(
            head, sizeof head,
            "HEAD %s HTTP/1.1\r\nHost: localhost\r\n\r\nGET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
            paths[i]);
        talk(world, head, "", &answer);
        assert_int_equal(answer.status, 200);
        assert_true(says("\r\n\r\nHTTP/1.1 200"));
        assert_true(says("alive"));
    }
}

/* What is not sent is not read either. */
static void test_a_head_of_an_export_reads_nothing(struct world *world)
{
    uint64_t before = atomic_load(&world->storage->selects);
    assert_int_equal(ask(world, "HEAD", "/cache/export", ""), 200);
    assert_int_equal(atomic_load(&world->storage->selects), before);
    assert_int_equal(ask(world, "GET", "/cache/export", ""), 200);
    assert_true(atomic_load(&world->storage->selects) > before);
}

/* ---------------------------------------------------------------------------------------------- out of memory -- */

/* Fails one allocation, the n-th from here, during one request. An answer is either as it should be or a 503; or the
 * connection is closed. */
static bool ask_without_memory(struct world *world, const char *method, const char *path, const char *body, int64_t n)
{
    atomic_store(&failed_once, false);
    atomic_store(&allocations_left, n);
    int status = ask(world, method, path, body);
    atomic_store(&allocations_left, NEVER);
    bool fine = status == 0 || (status >= 200 && status < 300) || status == 503 || status == 404;
    if (!fine) print_message("%s %s with allocation %lld failing: %.600s\n", method, path, (long long)n, answer.text);
    assert_true(fine);
    return atomic_load(&failed_once);
}

/* What a caller says that the route does not take is refused before anything happens: who asks for one namespace must
 * not empty all of them. */
static void test_what_is_not_taken_is_refused(struct world *world)
{
    static const struct {
        const char *method, *path, *body, *says;
    } refused[] = {
        {"POST", "/cache/flushall?namespace=other", "", "\"namespace\""},
        {"POST", "/cache/flushall", "{\"namespace\":\"x\"}", "\"namespace\""},
        {"POST", "/cache/flushall", "garbage", "JSON"},
        {"POST", "/cache/verify", "{\"x\":1}", "\"x\""},
        {"POST", "/monitoring/reset", "{\"x\":1}", "known is none"},
        {"PUT", "/cache/entries?namespace=team", "{\"operation\":\"qa\",\"text\":\"q\",\"response\":1}",
         "\"namespace\""},
        {"PUT", "/cache/entries?ttl=-5", "{\"operation\":\"qa\",\"text\":\"q\",\"response\":1}", "\"ttl\""},
        {"POST", "/cache/lookup?namespace=team", "{\"operation\":\"qa\",\"text\":\"q\"}", "\"namespace\""},
        {"POST", "/cache/import?operation=team", "", "known are: namespace"},
        {"POST", "/cache/invalidate?operation=qa", "{\"operation\":\"qa\"}", "not both"},
        {"GET", "/cache/entries?operatoin=qa", "", "operation model"},
        {"GET", "/monitoring/slow?multiplyer=3", "", "known are: multiplier"},
        {"GET", "/cache/status?verbose=1", "", "known is none"},
    };
    assert_int_equal(ask(world, "PUT", "/cache/entries", "{\"operation\":\"qa\",\"text\":\"kept\",\"response\":[1]}"),
                     201);
    for (size_t i = 0; i < COUNT_OF(refused); i++) {
        assert_int_equal(ask(world, refused[i].method, refused[i].path, refused[i].body), 400);
        assert_true(says(refused[i].says));
    }
    assert_int_equal(ask(world, "POST", "/cache/lookup", "{\"operation\":\"qa\",\"text\":\"kept\"}"), 200);
    assert_true(says("\"hit\":true"));
    assert_int_equal(ask(world, "GET", "/health?probe=1", ""), 200);
    assert_int_equal(ask(world, "POST", "/cache/flushall", " {} "), 200);
    assert_true(says("\"removed\":1"));
}

static void test_no_allocation_ends_more_than_its_request(struct world *world)
{
    static const struct {
        const char *method, *path, *body;
    } requests[] = {
        {"PUT", "/cache/entries",
         "{\"operation\":\"q\\u0061\",\"text\":\"oom\",\"response\":[1,2],\"tags\":[\"a\",\"b\\u0062\"],\"model\":\"m\"}"},
        {"POST", "/cache/lookup", "{\"operation\":\"q\\u0061\",\"text\":\"oom\"}"},
        {"POST", "/cache/lookup", "{\"operation\":\"qa\",\"text\":\"nothing\"}"},
        {"POST", "/cache/lookup-many",
         "{\"requests\":[{\"operation\":\"qa\",\"text\":\"oom\"},{\"operation\":\"qa\",\"text\":\"no\"},{\"operation\":1}]}"},
        {"GET", "/cache/entries", ""},
        {"GET", "/cache/entries/0000000000000000000000000000000000000000000000000000000000000000", ""},
        {"DELETE", "/cache/entries/0000000000000000000000000000000000000000000000000000000000000000", ""},
        {"POST", "/cache/invalidate", "{\"operation\":\"none\",\"dry_run\":true}"},
        {"POST", "/cache/explain", "{\"operation\":\"qa\",\"text\":\"oom\"}"},
        {"GET", "/cache/status", ""},
        {"GET", "/cache/export", ""},
        {"POST", "/cache/import", "{\"operation\":\"qa\",\"text\":\"line\",\"response\":1}\n"},
        {"POST", "/cache/delete", "{\"keys\":[]}"},
        {"GET", "/cache/ping", ""},
        {"GET", "/metrics", ""},
        {"GET", "/health", ""},
        {"GET", "/health/history/storage", ""},
        {"GET", "/monitoring/pools", ""},
        {"GET", "/monitoring/pressure", ""},
        {"GET", "/monitoring/alerts", ""},
    };
    assert_int_equal(ask(world, "PUT", "/cache/entries", "{\"operation\":\"qa\",\"text\":\"oom\",\"response\":[1,2]}"),
                     201);
    for (size_t i = 0; i < COUNT_OF(requests); i++) {
        int64_t n = 0;
        /* Other threads allocate as well, so that a pass without a failure is asked for twice. */
        for (int quiet = 0; quiet < 2; n++) {
            quiet = ask_without_memory(world, requests[i].method, requests[i].path, requests[i].body, n) ? 0
                                                                                                         : quiet + 1;
            assert_true(n < 2000);
        }
    }
    assert_int_equal(ask(world, "POST", "/cache/lookup", "{\"operation\":\"qa\",\"text\":\"oom\"}"), 200);
    assert_true(says("\"hit\":true"));
}

static void test_starting_without_memory(void **state)
{
    (void)state;
    aic_cache *cache;
    aic_options cache_options = {.allocator = &allocator};
    assert_int_equal(aic_cache_open(&cache_options, &cache, NULL), AIC_OK);
    bool done = false;
    for (int64_t n = 0; !done; n++) {
        struct mem mem;
        struct auth *auth;
        struct routes *routes = NULL;
        mem_init(&mem, &allocator);
        assert_int_equal(auth_create(&mem, NULL, 0, (struct auth_hosts){0}, &auth, NULL), AIC_OK);
        struct overview_options options = {.mem = &mem, .clock = clock_system(), .cache = cache, .version = "test"};
        atomic_store(&allocations_left, n);
        aic_status status = routes_create(&options, auth, MEMO_MAX_BODY, &routes);
        atomic_store(&allocations_left, NEVER);
        assert_true(status == AIC_OK || status == AIC_NO_MEMORY);
        done = status == AIC_OK;
        routes_destroy(&routes);
        auth_release(&auth);
        mem_fini(&mem);
        assert_true(n < 500);
    }
    aic_cache_close(&cache);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_in(test_a_hit_of_storage, a_world_of_storage),
        cmocka_unit_test_in(test_a_damaged_entry_is_counted_as_a_miss, a_world),
        cmocka_unit_test_in(test_slow_storage_is_a_miss_in_time, a_world_that_hangs),
        cmocka_unit_test_in(test_what_comes_after_the_end_is_released, a_world_that_hangs),
        cmocka_unit_test_in(test_storage_down, a_world),
        cmocka_unit_test_in(test_health_answers_while_storage_hangs, a_world_that_hangs),
        cmocka_unit_test_in(test_durable_puts_keep_no_figures, a_world),
        cmocka_unit_test(test_keys_change_live),
        cmocka_unit_test(test_what_is_under_way_ends_with_its_key),
        cmocka_unit_test(test_two_puts_in_one_millisecond_have_two_tags),
        cmocka_unit_test_in(test_draining_is_not_ready, a_world),
        cmocka_unit_test_in(test_a_head_of_a_stream_is_complete, a_world),
        cmocka_unit_test_in(test_a_head_of_an_export_reads_nothing, a_world_of_storage),
        cmocka_unit_test_in(test_what_is_not_taken_is_refused, a_world),
        cmocka_unit_test_in(test_no_allocation_ends_more_than_its_request, a_world),
        cmocka_unit_test(test_starting_without_memory),
    };
    if (argc > 1) cmocka_set_test_filter(argv[1]);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
