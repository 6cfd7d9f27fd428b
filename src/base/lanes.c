#include "base/lanes.h"

#include "base/check.h"

/* How many threads were given a number, and the number of this one plus one; 0: none yet. Relaxed: numbers only spread
 * threads over lanes. */
static _Atomic unsigned numbered;
static _Thread_local unsigned number;

unsigned lane_of_thread(void)
{
    if (number == 0) number = atomic_fetch_add_explicit(&numbered, 1, memory_order_relaxed) % LANES + 1;
    return number - 1;
}

static_assert(COUNT_OF(((struct lanes *)NULL)->objects) + 1 == LANES_MOST, "the first place is nobody's lane");

static void *create(struct lanes *lanes)
{
    void *object = mem_zalloc(lanes->mem, lanes->owner, lanes->bytes);
    if (object != NULL) lanes->init(object, lanes->context);
    return object;
}

aic_status lanes_setup(struct lanes *lanes, struct mem *mem, enum mem_owner owner, size_t bytes, lanes_init_fn *init,
                       const void *context)
{
    CHECK(bytes > 0 && init != NULL);
    *lanes = (struct lanes){.mem = mem, .owner = owner, .bytes = bytes, .init = init, .context = context};
    lanes->first = create(lanes);
    return lanes->first != NULL ? AIC_OK : AIC_NO_MEMORY;
}

void lanes_teardown(struct lanes *lanes)
{
    for (unsigned place = LANES_MOST; place-- > 0;) {
        void *object = lanes_at(lanes, place);
        if (object != NULL) mem_free(lanes->mem, lanes->owner, object, lanes->bytes);
    }
    *lanes = (struct lanes){0};
}

/* An object for a lane that has none; the first one where it is still free, or where no memory is left. */
static void *settle(struct lanes *lanes, void *_Atomic *lane)
{
    bool spare = !atomic_exchange_explicit(&lanes->taken, true, memory_order_relaxed);
    void *made = spare ? lanes->first : create(lanes), *there = NULL;
    if (made == NULL) return lanes->first;
    /* Publishes what init wrote: pairs with the acquire in lanes_mine() and lanes_at(). */
    if (atomic_compare_exchange_strong_explicit(lane, &there, made, memory_order_release, memory_order_acquire))
        return made;
    if (made != lanes->first) mem_free(lanes->mem, lanes->owner, made, lanes->bytes);
    return there;
}

void *lanes_mine(struct lanes *lanes)
{
    void *_Atomic *lane = &lanes->objects[lane_of_thread()];
    void *object = atomic_load_explicit(lane, memory_order_acquire);
    return object != NULL ? object : settle(lanes, lane);
}

void *lanes_at(const struct lanes *lanes, unsigned place)
{
    CHECK(place < LANES_MOST);
    if (place == 0) return lanes->first;
    void *object = atomic_load_explicit(&lanes->objects[place - 1], memory_order_acquire);
    return object != lanes->first ? object : NULL;
}
