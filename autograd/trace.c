/* Recording without running: addresses in place of memory, and running what was recorded. */
#include "autograd/memory_private.h"
#include "autograd/trace_private.h"

#include "tensor/size.h"

enum { FIRST = 64, APART = 64 };

typedef struct traced_view {
    wf_var *view;
    struct traced_view *next;
} traced_view;

bool trace_begin(wf_tape *t, trace *r)
{
    trace *outer = t->tracing;
    *r = (trace){ .before = t->last,
                  .epoch = t->epoch,
                  .bytes = outer ? outer->bytes : FIRST,
                  .quiet = outer && outer->quiet,
                  .outer = outer,
                  .sweeping = t->sweeping };
    if (!wf_tape_ok(t)) return false;
    t->sweeping = "trace"; /* what sweeps and commits read is not there */
    t->tracing = r;
    return true;
}

bool trace_end(wf_tape *t, trace *r)
{
    if (t->tracing == r) {
        if (r->outer) r->outer->bytes = r->bytes;
        t->tracing = r->outer;
        t->sweeping = r->sweeping;
    }
    return wf_tape_ok(t) && call_survived(t, r->epoch, "trace");
}

bool trace_outputs(wf_tape *t, const char *who, int n, wf_var out[])
{
    trace *r = t->tracing;
    for (int i = 0; i < n; i++) {
        out[i].value.data = (void *)(uintptr_t)r->bytes;
        if (!wf_size_add(r->bytes, out[i].bytes + 1, &r->bytes) ||
            !wf_size_align(r->bytes, APART, &r->bytes)) {
            tape_fail_oom(t, who, out[i].bytes);
            return false;
        }
        out[i].flags |= VAR_TRACED;
    }
    return true;
}

bool trace_view(wf_tape *t, wf_var *v)
{
    if (!(v->root->flags & VAR_TRACED)) return true;
    traced_view *link = tape_take(t, "trace", sizeof *link);
    if (!link) return false;
    *link = (traced_view){ v, t->tracing->views };
    t->tracing->views = link;
    v->flags |= VAR_TRACED;
    return true;
}

/* A view's place in its root is kept while the root moves into memory. */
bool trace_run(wf_tape *t, trace *r)
{
    if (!wf_tape_ok(t) || !call_survived(t, r->epoch, "trace")) return false;
    for (const traced_view *l = r->views; l; l = l->next) {
        wf_tensor *x = &l->view->value;
        x->data = (void *)((uintptr_t)x->data - (uintptr_t)l->view->root->value.data);
    }
    node *first = r->before ? r->before->next : t->first;
    for (node *n = first; n; n = n->next)
        if (!node_allocate(t, n)) return false;
    for (const traced_view *l = r->views; l; l = l->next) {
        wf_tensor *x = &l->view->value;
        x->data = (char *)l->view->root->value.data + (uintptr_t)x->data;
        l->view->flags &= ~(uint32_t)VAR_TRACED;
    }
    r->views = NULL;
    for (node *n = first; n; n = n->next)
        if (!node_run(t, n)) return false;
    return true;
}
