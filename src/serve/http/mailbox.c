#include "serve/http/mailbox.h"

#include "base/check.h"

aic_status mailbox_init(struct mailbox *mailbox, uv_loop_t *loop, uv_async_cb wake)
{
    atomic_init(&mailbox->head, NULL);
    int result = uv_async_init(loop, &mailbox->wake, wake);
    if (result == UV_ENOMEM) return AIC_NO_MEMORY;
    return result == 0 ? AIC_OK : AIC_IO;
}

void mailbox_post(struct mailbox *mailbox, struct http_post *post)
{
    struct http_post *head = atomic_load_explicit(&mailbox->head, memory_order_relaxed);
    /* Release, paired with the acquire in mailbox_run(): the owner sees what the poster wrote into the message. */
    do post->next = head;
    while (!atomic_compare_exchange_weak_explicit(&mailbox->head, &head, post, memory_order_release,
                                                  memory_order_relaxed));
    CHECK(uv_async_send(&mailbox->wake) == 0);
}

void mailbox_run(struct mailbox *mailbox)
{
    /* Acquire, paired with the release in mailbox_post(). */
    struct http_post *newest = atomic_exchange_explicit(&mailbox->head, NULL, memory_order_acquire);
    struct http_post *oldest = NULL;
    while (newest != NULL) {
        struct http_post *next = newest->next;
        newest->next = oldest;
        oldest = newest;
        newest = next;
    }
    while (oldest != NULL) {
        struct http_post *next = oldest->next; /* read first: run() may free the message */
        oldest->run(oldest);
        oldest = next;
    }
}
