/* The panels that matrix products pack pieces of B into: too large for a thread's stack, too
 * often wanted for the heap. They are the library's own memory, of which the system gives what
 * is used. */
#include "tensor/kernels.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>

enum { PANELS = 128 };

static char panels[PANELS][WF_PANEL_BYTES] __attribute__((aligned(WF_ALIGNMENT)));
/* Whether a panel is in use, each in a cache line of its own. */
static struct {
    atomic_bool value;
    char line[WF_ALIGNMENT - sizeof(atomic_bool)];
} taken[PANELS] __attribute__((aligned(WF_ALIGNMENT)));

/* Where a thread looks first: the panel that it had last may still lie in its cache. */
static _Thread_local int latest;

void *wf_panel_take(void)
{
    for (int i = latest;; i = i + 1 < PANELS ? i + 1 : 0) {
        if (!atomic_load_explicit(&taken[i].value, memory_order_relaxed) &&
            !atomic_exchange_explicit(&taken[i].value, true, memory_order_acquire)) {
            latest = i;
            return panels[i];
        }
        if (i + 1 == PANELS) sched_yield(); /* more threads than panels: one will be given back */
    }
}

void wf_panel_give(void *panel)
{
    const size_t i = (size_t)((char *)panel - panels[0]) / WF_PANEL_BYTES;
    atomic_store_explicit(&taken[i].value, false, memory_order_release);
}

static void in_forked_child(void)
{
    for (int i = 0; i < PANELS; i++) atomic_store(&taken[i].value, false);
}

__attribute__((constructor)) static void at_load(void)
{
    pthread_atfork(NULL, NULL, in_forked_child);
}
