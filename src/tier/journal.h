/*
 * journal.h - a few facts that must outlive the process although storage takes no writes: a small file beside the
 * store.
 *
 *   header   "aicowed2", generation, end of the records, checksum
 *   record   checksum (seeded with generation and place), size, bytes, padding to 8       one after the other
 *
 * The idea: the room is allocated when the file is made and written in place, so that a full disk does not refuse the
 * records that are needed most when it is full. Each record proves itself, its place and its generation by its
 * checksum, and the header, which is written with every sync, tells how far they go: what it counts and does not prove
 * itself is damage, and is told; behind that the first record that does not is the end. To forget all of them the
 * header gets another generation, which no older record fits.
 *
 * Why not the store itself: it is the store that cannot be written. Why so small: what does not fit is the caller's to
 * join into one record, for which JOURNAL_RESERVE stays free.
 *
 * One thread at a time; the caller has a lock. All calls may wait for the disk.
 */
#ifndef TIER_JOURNAL_H
#define TIER_JOURNAL_H

#include "base/mem.h"

#define JOURNAL_BYTES 65536
#define JOURNAL_RESERVE 64 /* only for the last record */

struct journal;

/* One record, borrowed for the call. */
typedef aic_status journal_visit_fn(void *context, aic_view record);

/*
 * Opens or makes the file and shows every record of it in order. *intact is false when the file is none of ours, of
 * another version, or damaged: what else it said is not known, and it begins anew. A file whose room cannot be
 * allocated now is opened all the same; journal_add() tries again. AIC_IO, AIC_NO_MEMORY, or what `visit` returned.
 */
AIC_MUST_CHECK aic_status journal_open(struct mem *mem, const char *path, journal_visit_fn *visit, void *context,
                                       bool *intact, struct journal **out);
/* Nulls; accepts a pointer to NULL. The records stay. */
void journal_close(struct journal **journal);

/* Writes one record; on disk after journal_sync(). AIC_FULL: no room (`last`: also not in the reserve); AIC_IO. */
AIC_MUST_CHECK aic_status journal_add(struct journal *journal, aic_view record, bool last);
/* AIC_IO: nothing that was added since the last one is sure to stay. */
AIC_MUST_CHECK aic_status journal_sync(struct journal *journal);
/* How far it is written: 0 when there is no record, and another number after each one. */
uint64_t journal_size(const struct journal *journal);
/* Forgets every record, durably. AIC_IO: they may or may not be there. */
AIC_MUST_CHECK aic_status journal_clear(struct journal *journal);

#endif
