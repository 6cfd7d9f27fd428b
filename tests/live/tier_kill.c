/*
 * tier_kill.c - a process that writes under load through the gate is killed (SIGKILL) at random moments, again and
 * again. After each death the store opens, verifies, and holds every write that was reported as flushed, with the right
 * bytes; at most what came after that is missing.
 *
 * Writes are numbered, and write number n is a function of n alone: which key, put or delete, how many bytes of what.
 * So whoever knows the last number that was issued and the last that was flushed can tell, key by key, which states are
 * possible. The writer counts what it issues in shared memory, and reports what it has flushed through a pipe.
 *
 * Every second time the checker too dies without closing, so that the next writer opens what a dead process left.
 *
 * Usage: tier_kill [ROUNDS [SEED]]; rounds also by AICACHE_KILL_ROUNDS.
 */
#include "base/check.h"
#include "support.h"
#include "tier/gate.h"
#include "tier/lmdb/lmdb.h"

#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { KEYS = 1500, FLUSH_MS = 30000 };

struct shared {
    _Atomic uint64_t issued; /* the last write that may have been handed to the gate */
    uint64_t versions[KEYS]; /* by the checker: number of the write whose record is there, 0: none */
    char complaint[512];     /* by the checker: empty when all is well */
};

struct operation {
    uint64_t key;
    bool is_delete;
    struct sample sample;
};

static struct scratch scratch;
static struct shared *shared;

static struct operation operation_of(uint64_t number)
{
    uint64_t state = number * 1000003;
    struct operation operation = {.key = random_below(&state, KEYS), .is_delete = random_below(&state, 8) == 0};
    size_t bytes = random_below(&state, 12000);
    if (random_below(&state, 50) == 0) bytes = random_below(&state, 400000);
    operation.sample = (struct sample){.created_ms = number,
                                       .labels = {"0default", number % 2 == 0 ? "1qa" : "1summarize"},
                                       .payload_bytes = bytes,
                                       .payload_seed = number};
    return operation;
}

static void open_store(struct mem *mem, struct tier **tier)
{
    struct lmdb_options options = {.mem = mem,
                                   .clock = clock_system(),
                                   .directory = scratch.path,
                                   .max_bytes = (uint64_t)1 << 30,
                                   .describe = sample_describe};
    aic_error error = {0};
    if (lmdb_tier_open(&options, tier, &error) == AIC_OK) return;
    snprintf(shared->complaint, sizeof shared->complaint, "cannot open: %s", error.message);
    _exit(1);
}

/* ---------------------------------------------------------------------------------------------------- the victim -- */

static void write_for_ever(int report_fd, uint64_t number)
{
    struct mem mem;
    struct tier *tier;
    struct gate *gate;
    mem_init(&mem, NULL);
    open_store(&mem, &tier);
    struct gate_options options = {
        .mem = &mem, .clock = clock_system(), .tier = tier, .queue_bytes = 128 << 20, .sync_ms = 10};
    CHECK(gate_create(&options, &gate) == AIC_OK);
    struct buf record;
    buf_init(&record, &mem, MEM_OTHER);
    for (;; number++) {
        struct operation operation = operation_of(number);
        aic_key key = sample_key(operation.key);
        atomic_store(&shared->issued, number);
        aic_status status;
        if (operation.is_delete) {
            status = gate_delete(gate, &key);
        } else {
            buf_clear(&record);
            sample_write(&operation.sample, &record);
            struct iovec part = {.iov_base = record.data, .iov_len = record.size};
            status = gate_put(gate, &key, &part, 1, NULL);
        }
        CHECK(status == AIC_OK); /* the queue holds more than is written between two flushes */
        if (number % 97 != 0) continue;
        CHECK(gate_flush(gate, number % 2 == 0, FLUSH_MS) == AIC_OK);
        CHECK(write(report_fd, &number, sizeof number) == sizeof number);
    }
}

/* --------------------------------------------------------------------------------------------------- the checker -- */

static bool check_record(void *context, const aic_key *key, aic_view record)
{
    (void)context;
    struct tier_description description = {0};
    if (sample_describe(NULL, record, &description) != AIC_OK) {
        snprintf(shared->complaint, sizeof shared->complaint, "a damaged record");
        return false;
    }
    struct operation operation = operation_of(description.created_ms);
    aic_key wanted_key = sample_key(operation.key);
    struct mem mem;
    struct buf wanted;
    mem_init(&mem, NULL);
    buf_init(&wanted, &mem, MEM_OTHER);
    sample_write(&operation.sample, &wanted);
    bool fine = !operation.is_delete && memcmp(wanted_key.bytes, key->bytes, AIC_KEY_BYTES) == 0 &&
                wanted.size == record.size && memcmp(wanted.data, record.data, record.size) == 0;
    if (fine) shared->versions[operation.key] = description.created_ms;
    else snprintf(shared->complaint, sizeof shared->complaint, "wrong bytes of write %" PRIu64, description.created_ms);
    buf_fini(&wanted);
    return fine;
}

static void check_store(bool closes)
{
    struct mem mem;
    struct tier *tier;
    aic_error error = {0};
    mem_init(&mem, NULL);
    open_store(&mem, &tier);
    if (check_tier(tier, &error) != AIC_OK) {
        snprintf(shared->complaint, sizeof shared->complaint, "verify: %s", error.message);
        _exit(1);
    }
    memset(shared->versions, 0, sizeof shared->versions);
    struct tier_filter all = {0};
    struct tier_label label = sample_label("0default");
    struct tier_filter labelled = {.labels = &label, .label_count = 1};
    if (walk_tier(&mem, tier, closes ? &all : &labelled, NULL, check_record, NULL) != AIC_OK) {
        snprintf(shared->complaint, sizeof shared->complaint, "select failed");
    }
    if (closes) tier->ops->close(tier);
    _exit(shared->complaint[0] == '\0' ? 0 : 1);
}

/* ---------------------------------------------------------------------------------------------------- the parent -- */

/* Which states of each key are possible, given what was issued and flushed? `before` is what was there when the round
 * began. */
static void judge(const uint64_t *before, uint64_t first, uint64_t flushed, uint64_t issued)
{
    static uint64_t certain[KEYS];
    static bool open[KEYS]; /* written after the last flush */
    memcpy(certain, before, sizeof certain);
    memset(open, 0, sizeof open);
    for (uint64_t number = first; number <= flushed; number++) {
        struct operation operation = operation_of(number);
        certain[operation.key] = operation.is_delete ? 0 : number;
    }
    for (uint64_t number = flushed + 1; number <= issued; number++) {
        struct operation operation = operation_of(number);
        open[operation.key] = true;
        if (shared->versions[operation.key] == (operation.is_delete ? 0 : number))
            certain[operation.key] = shared->versions[operation.key];
    }
    for (uint64_t key = 0; key < KEYS; key++) {
        if (shared->versions[key] == certain[key]) continue;
        fprintf(stderr,
                "tier_kill: key %" PRIu64 " holds write %" PRIu64 " instead of %" PRIu64 "%s (flushed %" PRIu64
                ", issued %" PRIu64 ")\n",
                key, shared->versions[key], certain[key], open[key] ? " or a later one" : "", flushed, issued);
        abort();
    }
}

static uint64_t last_report(int fd, uint64_t none)
{
    uint64_t number, last = none;
    while (read(fd, &number, sizeof number) == sizeof number) last = number;
    return last;
}

static void run_checker(bool closes)
{
    pid_t checker = fork();
    CHECK(checker >= 0);
    if (checker == 0) check_store(closes);
    int result;
    CHECK(waitpid(checker, &result, 0) == checker);
    if (result == 0) return;
    fprintf(stderr, "tier_kill: %s (status %d)\n", shared->complaint, result);
    abort();
}

/* One life and death. Returns how many writes were flushed. */
static uint64_t play_round(uint64_t round, uint64_t *seed)
{
    static uint64_t before[KEYS];
    int pipe_fds[2];
    memcpy(before, shared->versions, sizeof before);
    uint64_t first = atomic_load(&shared->issued) + 1;
    CHECK(pipe2(pipe_fds, O_CLOEXEC) == 0);
    pid_t victim = fork();
    CHECK(victim >= 0);
    if (victim == 0) {
        close(pipe_fds[0]);
        write_for_ever(pipe_fds[1], first);
    }
    close(pipe_fds[1]);
    uint64_t micros = round % 10 == 0 ? random_below(seed, 4000) : random_below(seed, 150000);
    nanosleep(&(struct timespec){.tv_nsec = (long)micros * 1000}, NULL);
    CHECK(kill(victim, SIGKILL) == 0);
    int result;
    CHECK(waitpid(victim, &result, 0) == victim);
    if (!WIFSIGNALED(result) || WTERMSIG(result) != SIGKILL) {
        fprintf(stderr, "tier_kill: the writer ended by itself: %s\n", shared->complaint);
        abort();
    }
    uint64_t flushed = last_report(pipe_fds[0], first - 1);
    close(pipe_fds[0]);
    run_checker(round % 2 == 0);
    judge(before, first, flushed, atomic_load(&shared->issued));
    return flushed - (first - 1);
}

int main(int count, char **arguments)
{
    const char *rounds_text = count > 1 ? arguments[1] : getenv("AICACHE_KILL_ROUNDS");
    uint64_t rounds = rounds_text != NULL ? strtoull(rounds_text, NULL, 10) : 60;
    uint64_t seed = count > 2 ? strtoull(arguments[2], NULL, 10) : (uint64_t)time(NULL);
    printf("tier_kill: %" PRIu64 " rounds, seed %" PRIu64 "\n", rounds, seed);
    fflush(stdout);
    scratch_make(&scratch);
    shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    CHECK(shared != MAP_FAILED);
    uint64_t flushed = 0;
    for (uint64_t round = 1; round <= rounds; round++) flushed += play_round(round, &seed);
    printf("tier_kill: %" PRIu64 " writes issued, %" PRIu64 " reported as flushed, all of them found\n",
           atomic_load(&shared->issued), flushed);
    CHECK(rounds < 20 || flushed > 0);
    scratch_remove(&scratch);
    return 0;
}
