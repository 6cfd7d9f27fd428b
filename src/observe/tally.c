#include "observe/tally.h"

void tally_add(struct tally_sum *sum, const struct tally *tally)
{
    for (size_t number = 0; number <= LABELS_PAIRS; number++) {
        for (size_t outcome = 0; outcome < TALLY_OUTCOMES; outcome++)
            sum->lookups[number][outcome] += atomic_load_explicit(&tally->lookups[number][outcome],
                                                                  memory_order_relaxed);
    }
    for (unsigned outcome = 0; outcome < TALLY_OUTCOMES; outcome++)
        hist_add(&sum->lookup_ns[outcome], &tally->lookup_ns[outcome]);
    hist_add(&sum->store_ns, &tally->store_ns);
    hist_add(&sum->key_ns, &tally->key_ns);
    hist_add(&sum->age_ms, &tally->age_ms);
    for (size_t route = 0; route < TALLY_MAX_ROUTES; route++) {
        for (size_t class = 0; class < TALLY_STATUS_CLASSES; class ++)
            sum->answers[route][class] += atomic_load_explicit(&tally->answers[route][class], memory_order_relaxed);
    }
    figures_add(&sum->figures, &tally->counts);
}
