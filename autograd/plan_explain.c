/* A plan as a person reads it. */
#include "autograd/memory_private.h"
#include "autograd/plan_private.h"
#include "autograd/scan.h"
#include "tensor/text.h"

#include <stdarg.h>
#include <string.h>

enum { TEXT = 16 << 10 };

/* What wf_explain_begin began: where the tape stood, and the text so far. */
struct explanation {
    wf_mark mark;
    uint64_t drawn;
    char text[TEXT];
};

bool wf_explain_begin(wf_tape *t)
{
    if (!wf_tape_ok(t)) return false;
    if (t->explaining) {
        wf_fail(t, "explain_begin: loops are being explained already");
        return false;
    }
    struct explanation *e = tape_take(t, "explain_begin", sizeof *e);
    if (!e) return false;
    e->text[0] = '\0';
    e->mark = wf_tape_mark(t);
    e->drawn = t->random_ops;
    t->explaining = e;
    return true;
}

const char *wf_explain_end(wf_tape *t)
{
    if (!t) return NULL;
    const struct explanation *e = t->explaining;
    t->explaining = NULL;
    return e && wf_tape_ok(t) ? e->text : NULL;
}

const char *wf_explain_forget(wf_tape *t)
{
    const struct explanation *e = t ? t->explaining : NULL;
    const char *text = wf_explain_end(t);
    if (!text || !wf_tape_rewind(t, e->mark, 0, NULL)) return NULL;
    t->random_ops = e->drawn;
    return text;
}

void wf_explain(wf_tape *t, const char *format, ...)
{
    if (!t || !t->explaining || !format) return;
    char line[512];
    va_list values;
    va_start(values, format);
    wf_vformat(line, sizeof line, format, values);
    va_end(values);
    wf_append(t->explaining->text, TEXT, "%s", line);
}

/* "sigmoid 2, tanh": the ops of a stage's tile program, in the order of their first use. */
static void tile_ops(wf_tape *t, const plan *p, int32_t number)
{
    bool any = false;
    for (int32_t i = 0; i < p->n[LIST_VALUE]; i++) {
        const value *v = &p->value[i];
        if (v->dead || v->stage != number || (v->kind != VALUE_TILE && v->kind != VALUE_COPY))
            continue;
        int count = 0;
        bool first = true;
        for (int32_t k = 0; k < p->n[LIST_VALUE]; k++) {
            const value *w = &p->value[k];
            if (w->dead || w->stage != number || w->kind != v->kind || w->op != v->op) continue;
            first &= k >= i;
            count++;
        }
        if (!first) continue;
        wf_explain(t, "%s%s", any ? ", " : "", v->kind == VALUE_COPY ? "copy" : v->op->name);
        if (count > 1) wf_explain(t, " x%d", count);
        any = true;
    }
    if (!any) wf_explain(t, "nothing");
}

static void one_stage(wf_tape *t, const plan *p, int32_t i)
{
    const stage *s = &p->stage[i];
    if (s->call >= 0) {
        const call *c = &p->call[s->call];
        wf_explain(t, "    %d. %s, by its own kernel%s\n", i + 1, c->node->op->name,
                   c->whole ? ", all rows at once: so one thread runs the loop" : "");
        return;
    }
    wf_explain(t, "    %d.", i + 1);
    for (int32_t k = s->product[0]; k < s->product_end[0]; k++) {
        const product *x = &p->product[k];
        wf_explain(t, "%s (%lld, %lld)%s", k == s->product[0] ? " products with packed" : ",",
                   (long long)x->n, (long long)x->k, x->add ? " added" : "");
    }
    wf_explain(t, "%s tiles of %s: ", s->product_end[0] > s->product[0] ? ";" : "",
               s->width > 0 ? "all units alike" : "different widths");
    tile_ops(t, p, i);
    wf_explain(t, "\n");
}

void plan_explain(const plan *p)
{
    wf_tape *t = p->t;
    const scan *s = p->s;
    if (!t->explaining) return;
    int64_t flops = 0, ahead = 0, elements = 0;
    wf_explain(t, "%s: planned, %lld steps of %lld rows%s%s\n", s->name, (long long)p->steps,
               (long long)s->batch, p->full ? "" : " or fewer", s->reverse ? ", in reverse" : "");
    for (int64_t i = 0; s->replay && i < s->replay->n; i++) {
        const hoisted *h = &s->replay->at[i];
        if (h->all)
            wf_explain(t, "  before the loop, %s: %s\n", h->rows ? "for all steps" : "once",
                       h->node->op->name);
    }
    for (int32_t i = 0; i < p->hoisted; i++) {
        const term *m = &p->term[p->bulk[i].term];
        const int64_t k = p->value[m->value].width;
        wf_explain(t, "  before the loop, for all steps: a product (%lld, %lld)\n",
                   (long long)p->bulk[i].width, (long long)k);
        ahead += 2 * p->bulk[i].width * k;
    }
    wf_explain(t, "  each step:\n");
    for (int32_t i = 0; i < p->n[LIST_STAGE]; i++) {
        one_stage(t, p, i);
        for (int32_t k = p->stage[i].product[0]; k < p->stage[i].product_end[0]; k++)
            flops += 2 * p->product[k].k * p->product[k].n;
        for (int32_t k = p->stage[i].order[0]; k < p->stage[i].order_end[0]; k++)
            elements += p->order[k].width;
    }
    if (!p->infer)
        wf_explain(t, "  on the way back, over %lld rows at a time: %d products\n",
                   (long long)p->slope_rows, (int)(p->n[LIST_BULK] - p->hoisted));
    const int64_t rows = p->kept_rows > 0 ? p->kept_rows : 1;
    wf_explain(t,
               "  a row of a step: %lld bytes kept, %lld operations in products (%lld of them "
               "before the loop), %lld numbers made by tiles\n",
               (long long)(p->space[SPACE_KEPT] / rows), (long long)(flops + ahead),
               (long long)ahead, (long long)elements);
}

const char *wf_scan_explain(wf_tape *t, const wf_scan_call *given)
{
    wf_var *output[WF_SCAN_VARS];
    if (!wf_explain_begin(t)) return NULL;
    wf_scan(t, given, output, NULL);
    return wf_explain_forget(t);
}
