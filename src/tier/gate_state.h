/*
 * gate_state.h - what the files of the gate share. See gate.h for what it is.
 *
 * One lock protects everything; nothing that may wait is called under it: no read or write of the tier, no `done`, no
 * log. It is held for a table look-up and a list operation; a hit in the memory tier never comes here.
 */
#ifndef TIER_GATE_STATE_H
#define TIER_GATE_STATE_H

#include "net/breaker.h"
#include "tier/gate.h"
#include "tier/queue.h"

#include <pthread.h>
#include <stdatomic.h>

enum {
    GATE_MAX_READERS = 16,
    GATE_CALLERS = 2,
    GATE_CALL_LABELS = 4,
    GATE_MAX_JOBS = 1024,
    GATE_BATCH_ITEMS = 64,
    GATE_BATCH_BYTES = 4 << 20,
    GATE_KEEP_BYTES = 1 << 20, /* a reader's buffer larger than this is given back after the read */
};
#define GATE_MS_NS ((uint64_t)1000 * 1000)
#define GATE_GATHER_NS (2 * GATE_MS_NS)  /* a batch waits this long for company */
#define GATE_HANG_NS (1000 * GATE_MS_NS) /* a read that takes longer trips the breaker */
#define GATE_RETRY_NS (20 * GATE_MS_NS)  /* between writes that fail, until the breaker opens */
#define GATE_SYNC_BYTES ((uint64_t)64 << 20)
#define GATE_CALM_NS (10000 * GATE_MS_NS) /* a queue that has refused nothing for so long is full no more */

/* What is worth a line in the log; collected under the lock, told after it. In the order of the bits. */
#define GATE_NOTE_MAP(X)                                                                                               \
    X(READS_DOWN, WARNING, "storage: reads fail; lookups go past it until it answers again")                           \
    X(READS_UP, INFO, "storage: reads are answered again")                                                             \
    X(WRITES_DOWN, WARNING, "storage: writes fail; they wait in the queue until it takes them again")                  \
    X(WRITES_UP, INFO, "storage: writes are taken again")                                                              \
    X(WRITES_HANG, WARNING, "storage: a write does not come back; those after it wait in the queue")                   \
    X(WRITES_MOVE, INFO, "storage: the write that hung has come back")                                                 \
    X(DISTRUSTED, WARNING,                                                                                             \
      "storage: what it holds may be damaged or out of date; nothing of it is served until it was emptied")            \
    X(TRUSTED, INFO, "storage: was emptied and is in use again")                                                       \
    X(QUEUE_FULL, WARNING, "storage: the write queue is full; new entries are not stored until it drains")             \
    X(QUEUE_FITS, INFO, "storage: the write queue takes entries again")
enum gate_note {
#define GATE_NOTE_ENUM(name, level, text) GATE_NOTE_##name,
    GATE_NOTE_MAP(GATE_NOTE_ENUM)
#undef GATE_NOTE_ENUM
};

/* Somebody who waits for a read until a deadline. Two references: his and the job's. */
struct waiter {
    struct mem *mem;
    _Atomic uint32_t references; /* acquire-release: the last one frees what both have seen */
    _Atomic bool gone;           /* relaxed hint: the reader need not bother; the truth is `left`, under the lock */
    pthread_mutex_t lock;        /* protects the rest; taken alone */
    pthread_cond_t answered;
    bool done, left;
    aic_status status;
    struct buf record;
};

struct job {
    aic_key key;
    gate_done_fn *done;
    void *context;
    struct waiter *waiter; /* NULL for gate_read; borrowed: the context holds the reference */
    bool probe;
    struct job *next;
};

struct reader {
    struct gate *gate;
    pthread_t thread;
    uint64_t busy_since_ns; /* 0: not in the tier */
    struct job *job;        /* in the tier with it; NULL when destroy has answered in its place */
    aic_key key;            /* of that job, which may be gone before the tier comes back */
    struct buf record;      /* the reader's alone */
};

/* Something that the tier is asked past readers and queue. */
enum call_kind {
    CALL_PAGE,
    CALL_HOLDS,
    CALL_REMOVE,
    CALL_EXPIRE,
    CALL_HARDEN,
    CALL_BLOB_GET,
    CALL_BLOB_PUT,
    CALL_BLOB_DROP,
    CALL_BLOB_NEXT,
    CALL_VERIFY
};
enum call_state { CALL_WAITING, CALL_RUNNING, CALL_DONE, CALL_LEFT /* nobody waits: who runs it frees it */ };
struct call {
    struct gate *gate;
    enum call_kind kind;
    enum call_state state; /* under the lock */
    struct call *next;     /* of those that wait */
    aic_status status;
    size_t max, removed;
    struct tier_filter filter;
    struct tier_label labels[GATE_CALL_LABELS];
    struct tier_page page;
    struct tier_check check;
    aic_error error;
    struct buf texts;       /* of the labels; a prefix of names */
    struct buf name, bytes; /* of a blob; keys, and for each whether it is there */
};

/* A thread that carries calls out. */
struct caller {
    struct gate *gate;
    pthread_t thread;
    uint64_t busy_since_ns; /* 0: not in the tier */
};

struct gate {
    struct mem *mem;
    const aic_clock *clock;
    struct tier *tier;
    void (*log)(void *context, aic_log_level level, const char *line);
    void *log_context;
    uint64_t sync_ns, close_ns, write_hang_ns;
    unsigned reader_count;

    pthread_mutex_t lock; /* protects all that follows; a leaf */
    pthread_cond_t jobs_changed, writes_changed, progress;
    unsigned notes; /* bits of enum gate_note */
    bool stopping, abandoned;
    unsigned threads; /* still running */

    struct breaker reads;
    struct job *first_job, *last_job;
    size_t job_count;
    struct reader readers[GATE_MAX_READERS];

    pthread_cond_t calls_changed, calls_done;
    struct call *first_call, **last_call;
    struct caller callers[GATE_CALLERS];

    pthread_t writer;
    struct breaker writes;
    struct queue queue;
    /* For the log: from the first put that found no room until the queue has fallen to half and refused nothing for
     * GATE_CALM_NS, so that a queue under steady load is one line and not one for each turn. */
    bool queue_is_full;
    uint64_t refused_ns; /* when the last put found no room */
    uint64_t refused;    /* puts since queue_is_full */
    bool distrusted;
    uint64_t distrusts;      /* times; a read that saw another number before it asked is a miss */
    bool gave_up;            /* the end of the gate met a tier that fails */
    uint64_t write_retry_ns; /* not before */
    uint64_t write_since_ns; /* by the system's clock: the writer went into the tier; 0: it is not there */
    bool write_hang_told;
    uint64_t writes_down_ms; /* wall clock: when they last began to fail, or the tier was distrusted */
    uint64_t reads_down_ms;  /* wall clock: when they last began to fail */
    unsigned flushing;       /* flushes that wait: no gathering of batches */
    bool sync_wanted;        /* by a flush */
    uint64_t sync_due_ns;
    uint64_t unsynced_bytes;          /* applied since the last sync began */
    uint64_t syncs_begun, syncs_done; /* numbers of syncs: a flush waits for one that began after it */

    struct figure_counts counts;
};

void gate_lock(struct gate *gate);
/* Unlocks and tells the log what happened meanwhile. */
void gate_unlock(struct gate *gate);
/* How long the writer has been in the tier, once that is a hang; else 0. Under the lock. */
uint64_t gate_write_hang_ns(const struct gate *gate);
/* How both sides are. Under the lock. */
struct gate_health gate_health_now(const struct gate *gate);
void gate_note(struct gate *gate, enum gate_note note);
uint64_t gate_now(const struct gate *gate);
/* Waits on a condition for at most this long (UINT64_MAX: until it is signalled). */
void gate_wait(struct gate *gate, pthread_cond_t *condition, uint64_t ns);
/* A failure that tells of the tier's health, not of the one record. */
bool gate_is_failure(aic_status status);
/* A thread's last words: under the lock; the last one after an abandoned end frees the gate. Unlocks. */
void gate_thread_ends(struct gate *gate);

/* gate_read.c: the main function of a reader; jobs to be answered without the tier. */
void *gate_reader_main(void *reader);
/* Takes all waiting jobs out of the list (under the lock), to be answered by gate_answer_jobs (without it). */
struct job *gate_take_jobs(struct gate *gate);
void gate_answer_jobs(struct gate *gate, struct job *jobs, aic_status status);

/* gate_call.c: the main function of a caller; ends the calls that wait. Under the lock. */
void *gate_caller_main(void *caller);
void gate_end_calls(struct gate *gate);

/* gate_write.c */
void *gate_writer_main(void *gate);
/* Drops what is queued, serves nothing of the tier until it was emptied. Under the lock. */
void gate_begin_distrust(struct gate *gate);
/* Distrusts a tier that says of itself that it is damaged: the writer empties it. Under the lock. */
void gate_look_for_damage(struct gate *gate);

#endif
