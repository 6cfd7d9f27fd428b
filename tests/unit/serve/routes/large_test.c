/* large_test.c - large responses over HTTP: who waits for the unpacked copy, who needs none, and what is said where
 * there is no room. */
#include "routes_world.h"

#include <semaphore.h>

#define LARGE_BYTES 3000000
#define READERS 6

static char entry[LARGE_BYTES + 1000];
static char path[128]; /* of the entry */
static _Atomic int large_blocks;
static sem_t begun, go_on;

/* Blocks as large as the response: what it is unpacked into. */
static void count_large(size_t bytes)
{
    if (bytes >= LARGE_BYTES) atomic_fetch_add(&large_blocks, 1);
}

static void stop_at_large(size_t bytes)
{
    if (bytes < LARGE_BYTES) return;
    sem_post(&begun);
    while (sem_wait(&go_on) != 0) continue;
}

static void put_large(const struct world *world)
{
    size_t size = (size_t)snprintf(entry, sizeof entry, "{\"operation\":\"qa\",\"text\":\"large\",\"response\":\"");
    memset(entry + size, 'x', LARGE_BYTES - 2);
    snprintf(entry + size + LARGE_BYTES - 2, 10, "\"}");
    assert_int_equal(ask(world, "PUT", "/cache/entries", entry), 201);
    assert_true(says("\"compressed\":true"));
    const char *location = strstr(answer.text, "Location: ");
    assert_non_null(location);
    assert_int_equal(sscanf(location, "Location: %100s", path), 1);
}

static int send_get(const struct world *world)
{
    char head[256];
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_port = htons(world->port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct timeval patience = {.tv_sec = 60};
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_true(fd >= 0);
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience), 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof address), 0);
    int size = snprintf(head, sizeof head, "GET %s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", path);
    assert_int_equal(send(fd, head, (size_t)size, MSG_NOSIGNAL), size);
    return fd;
}

static uint64_t requests(const struct world *world)
{
    struct figures counters = {0};
    http_server_figures(world->server, &counters);
    return counters.http_requests;
}

/* However many wait for a copy that is being made: whoever needs a thread of the same lane gets one. */
static void test_who_waits_for_a_copy_holds_no_thread(void **state)
{
    (void)state;
    static char got[65536];
    struct world world;
    int readers[READERS];
    start(&world, 64 << 20, NULL, 0);
    put_large(&world);
    assert_int_equal(sem_init(&begun, 0, 0), 0);
    assert_int_equal(sem_init(&go_on, 0, 0), 0);
    atomic_store(&on_acquire, stop_at_large);
    uint64_t before = requests(&world);
    for (int i = 0; i < READERS; i++) readers[i] = send_get(&world);
    while (sem_wait(&begun) != 0) continue;
    while (requests(&world) < before + READERS) usleep(1000);
    int status = ask(&world, "GET", "/monitoring/pools", "");
    atomic_store(&on_acquire, NULL);
    sem_post(&go_on);
    for (int i = 0; i < READERS; i++) {
        size_t size = 0;
        for (ssize_t more; (more = recv(readers[i], got, sizeof got, 0)) > 0;) {
            if (size == 0) assert_memory_equal(got, "HTTP/1.1 200", 12);
            size += (size_t)more;
        }
        assert_true(size > LARGE_BYTES);
        close(readers[i]);
    }
    assert_int_equal(status, 200);
    stop_server(&world);
    stop_cache(&world);
}

/* A HEAD tells the size, which is known: nothing is unpacked for it. */
static void test_a_head_unpacks_nothing(void **state)
{
    (void)state;
    struct world world;
    start(&world, 64 << 20, NULL, 0);
    put_large(&world);
    atomic_store(&large_blocks, 0);
    atomic_store(&on_acquire, count_large);
    assert_int_equal(ask(&world, "HEAD", path, ""), 200);
    assert_true(says("\r\nContent-Length: 3000000\r\n"));
    assert_true(says("\r\nx-cache: HIT\r\n"));
    assert_string_equal(strstr(answer.text, "\r\n\r\n"), "\r\n\r\n");
    assert_int_equal(atomic_load(&large_blocks), 0);
    assert_int_equal(ask(&world, "GET", path, ""), 200);
    assert_true(atomic_load(&large_blocks) > 0);
    atomic_store(&on_acquire, NULL);
    stop_server(&world);
    stop_cache(&world);
}

/* A body that is read by a worker, but for whose members there is no room, is refused by the name of that room. */
static void test_the_room_that_is_full_is_named(void **state)
{
    (void)state;
    struct world world;
    start(&world, 64 << 20, NULL, 0);
    size_t size = (size_t)snprintf(entry, sizeof entry, "{\"operation\":\"qa\",\"text\":\"many\",\"response\":[1");
    for (int i = 0; i < 50000; i++) size += (size_t)snprintf(entry + size, sizeof entry - size, ",1");
    snprintf(entry + size, sizeof entry - size, "]}");
    struct http_limits limits = {.bodies_bytes = 200000};
    http_server_set_limits(world.server, &limits);
    assert_int_equal(ask(&world, "PUT", "/cache/entries", entry), 503);
    assert_true(says("\"bodies_full\"") && says("200000 bytes (limits.bodies_bytes)"));
    assert_true(says("\r\nRetry-After: 1\r\n"));
    stop_server(&world);
    stop_cache(&world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_who_waits_for_a_copy_holds_no_thread),
        cmocka_unit_test(test_a_head_unpacks_nothing),
        cmocka_unit_test(test_the_room_that_is_full_is_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
