/* Running an op, in five parts: inputs enter the tape, shapes are inferred, memory is taken, the
 * kernel runs, and the node is recorded. A trace (autograd/trace.c) leaves out the third and the
 * fourth, and catches up on them later. */
#include "autograd/memory_private.h"
#include "autograd/ops_private.h"
#include "autograd/state_private.h"
#include "autograd/trace_private.h"
#include "autograd/var_private.h"
#include "tensor/par.h"
#include "tensor/rng.h"
#include "tensor/text.h"

#include <stdarg.h>
#include <string.h>

enum { FEW = 16 };

/* The parts of an application are one function: a tiny op is as quick as its calls are few. What
 * an application holds is then in registers, as long as no call that stays one is given its
 * address. */
#define INLINE static inline __attribute__((always_inline))
/* What is rarer is a function of its own: its arrays would cost the others room and registers. */
#define APART static __attribute__((noinline))

bool wf_refuse(wf_error *error, const char *format, ...)
{
    if (!error || error->text[0]) return false;
    if (!format) format = "refused without a sentence";
    va_list values;
    va_start(values, format);
    wf_vformat(error->text, sizeof error->text, format, values);
    va_end(values);
    return false;
}

/* Can everything that reads a row count on its numbers? As quick as an op needs it; row_sound says
 * what is wrong. */
static inline bool sound(const wf_op *op)
{
    return op->name && op->shape && op->forward && op->inputs >= -1 && op->outputs >= 1 &&
           op->outputs <= WF_OP_OUTPUTS &&
           (uint32_t)op->hidden <= (uint32_t)(WF_OP_OUTPUTS - op->outputs) &&
           (uint32_t)op->attr_size <= WF_ROW_BYTES;
}

bool row_sound(const wf_op *op, wf_error *error)
{
    if (sound(op)) return true;
    if (!op->name || !op->shape || !op->forward)
        return wf_refuse(error, "its row has no %s",
                         !op->name    ? "name"
                         : !op->shape ? "shape"
                                      : "forward");
    if (op->inputs < -1)
        return wf_refuse(error, "its row takes %d inputs; it can be 0 or more, and -1 for any",
                         op->inputs);
    if ((uint32_t)op->attr_size > WF_ROW_BYTES)
        return wf_refuse(error, "its row has %d bytes of attributes; 0 to %d can be", op->attr_size,
                         WF_ROW_BYTES);
    return wf_refuse(error, "its row has %d outputs and %d hidden ones; 1 to %d can be",
                     op->outputs, op->hidden, WF_OP_OUTPUTS);
}

/* ---- what an application is made of ---- */

/* What one application holds while the row's functions run. */
typedef struct application {
    const wf_op *op;
    int n_in;
    const wf_tensor **value;
    const void *attr;
    uint32_t wanted; /* bit i mod 32: input i leads to a gradient */
    wf_var *out;     /* side by side */
    node *node; /* behind them, then its inputs and its attributes; NULL: nothing is recorded */
    int64_t scratch_forward, scratch_backward;
} application;

/* One piece of memory for the outputs (unless they are there), and where it may be recorded for a
 * node, its list of inputs and its attributes. */
INLINE bool take(wf_tape *t, application *a, int n_out, bool records)
{
    const int64_t outs = a->out ? 0 : n_out * (int64_t)sizeof(wf_var);
    const int64_t rest = (int64_t)sizeof(node) + a->n_in * (int64_t)sizeof(wf_var *) +
                         a->op->attr_size;
    char *at = tape_take(t, a->op->name, outs + (records ? rest : 0));
    if (!at) return false;
    if (!a->out) a->out = (wf_var *)(void *)at;
    a->node = records ? (node *)(void *)(at + outs) : NULL;
    return true;
}

INLINE wf_var **list_of(node *n)
{
    return (wf_var **)(n + 1);
}

INLINE void *attr_of(node *n, int n_in)
{
    return list_of(n) + n_in;
}

/* ---- enter: the inputs as they are on this tape ---- */

INLINE bool enter(wf_tape *t, application *a, wf_var *const given[])
{
    a->wanted = 0;
    for (int i = 0; i < a->n_in; i++) {
        wf_var *v = given[i];
        if ((!v || v->tape != t || v->epoch < t->fresh) &&
            (v || i >= 32 || !(a->op->optional >> i & 1)) && !(v = var_enter(t, v, a->op->name, i)))
            return false;
        if (a->node) list_of(a->node)[i] = v;
        a->value[i] = v ? &v->value : NULL;
        if (v) a->wanted |= (v->flags & VAR_WANTS_GRAD) << (i & 31);
    }
    if (a->wanted || !a->node || t->tracing) return true;
    arena_shorten(&t->values, (char *)attr_of(a->node, a->n_in) + a->op->attr_size, a->node);
    a->node = NULL;
    return true;
}

/* Which gradients may be asked for: none where nothing is recorded, a trace's nodes aside. */
INLINE uint32_t asked_for(const wf_tape *t, const application *a)
{
    return t->mode == WF_INFER ? 0 : a->wanted;
}

/* ---- shape: the outputs in the forms that the row gives them ---- */

static COLD bool form_refused(wf_tape *t, const wf_op *op, int i, const wf_tensor *form)
{
    wf_fail(t, "%s: its row gave output %d rank %d and dtype %s", op->name, i, (int)form->rank,
            wf_dtype_name(form->dtype));
    return false;
}

static COLD bool shape_refused(wf_tape *t, bool fits, const wf_shaping *s)
{
    if (!fits)
        wf_fail(t, "%s: %s", s->op->name,
                s->error->text[0] ? s->error->text : "these shapes do not go together");
    else
        wf_fail(t, "%s: its row asked for %lld bytes of scratch", s->op->name,
                (long long)(s->scratch_forward < 0 ? s->scratch_forward : s->scratch_backward));
    return false;
}

/* Forms are written where they stay, unless they do not lie side by side. */
INLINE bool shape(wf_tape *t, application *a, int n_out)
{
    const wf_op *op = a->op;
    wf_tensor several[WF_OP_OUTPUTS], *form = n_out == 1 ? &a->out->value : several;
    for (int i = 0; i < n_out; i++) { /* what shape does not fill is refused */
        form[i].rank = -1;
        memset(form[i].dim, 0xff, sizeof form[i].dim);
    }
    wf_error error;
    error.text[0] = '\0';
    wf_shaping s = { .op = op,
                     .n_in = a->n_in,
                     .n_out = n_out,
                     .in = a->value,
                     .attr = a->attr,
                     .threads = t->threads,
                     .out = form,
                     .wanted = asked_for(t, a),
                     .error = &error };
    uint64_t epoch = t->epoch;
    bool fits = op->shape(&s);
    if (t->epoch != epoch && !call_survived(t, epoch, op->name)) return false;
    if (!fits || s.scratch_forward < 0 || s.scratch_backward < 0) return shape_refused(t, fits, &s);
    a->scratch_forward = s.scratch_forward;
    a->scratch_backward = s.scratch_backward;
    for (int i = 0; i < n_out; i++) {
        if (form[i].rank < 0 || form[i].rank > WF_RANK || (unsigned)form[i].dtype >= WF_DTYPES)
            return form_refused(t, op, i, &form[i]);
        if (n_out > 1) a->out[i].value = form[i];
        var_root(t, &a->out[i]);
        if (!form_settle(&a->out[i].value, &a->out[i].bytes))
            return var_too_large(t, &a->out[i], op->name);
    }
    return true;
}

/* ---- allocate: memory for the values ---- */

/* Nobody reads a saved value that no sweep will: it is gone after forward. */
INLINE bool goes(const application *a, int i)
{
    return i >= a->op->outputs && !(a->node && a->op->reads_out >> i & 1);
}

INLINE bool allocate(wf_tape *t, const application *a, int n_out)
{
    for (int i = 0; i < n_out; i++) {
        wf_var *v = &a->out[i];
        if (!goes(a, i))
            var_memory(t, v, a->op->name);
        else
            v->value.data = tape_borrow(t, a->op->name, v->bytes);
        if (!v->value.data) return false;
    }
    return true;
}

INLINE void give_back(wf_tape *t, const application *a, int n_out)
{
    for (int i = a->op->outputs; i < n_out; i++) {
        wf_tensor *x = &a->out[i].value;
        if (!goes(a, i)) continue;
        pool_give(&t->grads, x->data, a->out[i].bytes);
        x->data = NULL;
    }
}

/* ---- run: the row's check and forward ---- */

/* The floating-point state is set as late as can be: a register just written is slow to read. The
 * row's shape may run in the caller's, it sees no values. */
INLINE void run_forward(wf_tape *t, const wf_call *c)
{
    WF_TAPE_SCOPE tape_scope inside = tape_enter(t);
    c->op->forward(c);
}

/* What a check refused, and at which step of a loop. */
static COLD void check_refused(wf_tape *t, const wf_op *op, const char *text)
{
    char at[64] = "";
    const char *rest = strchr(text, '\n'); /* a hint comes last */
    const int first = (int)(rest ? rest - text : (ptrdiff_t)strlen(text));
    if (t->looping)
        wf_format(at, sizeof at, ", at step %lld of the loop", (long long)t->looping - 1);
    wf_fail(t, "%s: %.*s%s%s", op->name, first, text, at, rest ? rest : "");
}

static bool run_check(wf_tape *t, const wf_call *c)
{
    uint64_t epoch = t->epoch;
    wf_error error;
    error.text[0] = '\0';
    bool good;
    {
        WF_TAPE_SCOPE tape_scope inside = tape_enter(t);
        good = c->op->check(c, &error);
    }
    if (t->epoch != epoch && !call_survived(t, epoch, c->op->name)) return false;
    if (good) return true;
    check_refused(t, c->op, error.text[0] ? error.text : "a value is out of range");
    return false;
}

INLINE bool run(wf_tape *t, const application *a, int n_out)
{
    const wf_op *op = a->op;
    const wf_tensor *made[WF_OP_OUTPUTS];
    for (int i = 0; i < n_out; i++) made[i] = &a->out[i].value;
    wf_call c = { .op = op,
                  .n_in = a->n_in,
                  .n_out = n_out,
                  .in = a->value,
                  .out = made,
                  .attr = a->attr,
                  .threads = t->threads,
                  .wanted = asked_for(t, a) };
    uint64_t epoch = t->epoch;
    if (op->check && !run_check(t, &c)) return false;
    if (a->scratch_forward > 0 && !(c.scratch = tape_borrow(t, op->name, a->scratch_forward)))
        return false;
    if (op->flags & WF_OP_RANDOM) {
        c.key = wf_key_with(t->seed, t->step);
        c.counter = t->random_ops++ << 32;
    }
    if (a->node) {
        a->node->key = c.key;
        a->node->counter = c.counter;
    }
    run_forward(t, &c);
    if (t->epoch != epoch && !call_survived(t, epoch, op->name)) return false;
    if (c.scratch) pool_give(&t->grads, c.scratch, a->scratch_forward);
    if (op->hidden) give_back(t, a, n_out);
    return !t->failed;
}

/* ---- record: a node at the end of the tape ---- */

INLINE void record(wf_tape *t, const application *a, int n_out)
{
    node *n = a->node;
    n->op = a->op;
    n->prev = t->last;
    n->next = NULL;
    n->n_in = a->n_in;
    n->n_out = n_out;
    n->in = list_of(n);
    n->out = a->out;
    void *attr = attr_of(n, a->n_in);
    n->attr = attr;
    if (a->op->attr_size == sizeof(double)) /* a number: no call */
        memcpy(attr, a->attr, sizeof(double));
    else if (a->op->attr_size)
        memcpy(attr, a->attr, (size_t)a->op->attr_size);
    n->scratch_forward = a->scratch_forward;
    n->scratch_backward = a->scratch_backward;
    n->where = t->where;
    n->needed = false;
    if (t->last)
        t->last->next = n;
    else
        t->first = n;
    t->last = n;
    t->nodes++;
    const bool leads = a->wanted && !(a->op->flags & OP_CUTS);
    for (int i = 0; i < n_out; i++) {
        a->out[i].producer = n;
        if (leads && a->out[i].value.dtype != WF_I32) a->out[i].flags |= VAR_WANTS_GRAD;
    }
}

node *node_record(wf_tape *t, const wf_op *op, int n_in, wf_var *const in[], wf_var *out,
                  const void *attr)
{
    application a = { .op = op, .n_in = n_in, .attr = attr, .out = out, .wanted = 1 };
    if (!take(t, &a, 1, true)) return NULL;
    for (int i = 0; i < n_in; i++) list_of(a.node)[i] = in[i];
    a.node->key = a.node->counter = 0;
    record(t, &a, 1);
    return a.node;
}

bool node_allocate(wf_tape *t, node *n)
{
    application a = { .op = n->op, .node = n, .out = n->out };
    for (int i = 0; i < n->n_out; i++) n->out[i].flags &= ~(uint32_t)VAR_TRACED;
    return allocate(t, &a, n->n_out);
}

bool node_run(wf_tape *t, node *n)
{
    const wf_tensor *few[FEW], **value = few;
    int64_t bytes = n->n_in * (int64_t)sizeof *value;
    uint64_t epoch = t->epoch;
    if (n->n_in > FEW && !(value = tape_borrow(t, n->op->name, bytes))) return false;
    uint32_t wanted = 0;
    for (int i = 0; i < n->n_in; i++) {
        value[i] = n->in[i] ? &n->in[i]->value : NULL;
        if (n->in[i]) wanted |= (n->in[i]->flags & VAR_WANTS_GRAD) << (i & 31);
    }
    application a = { .op = n->op,
                      .n_in = n->n_in,
                      .value = value,
                      .attr = n->attr,
                      .wanted = wanted,
                      .node = n,
                      .out = n->out,
                      .scratch_forward = n->scratch_forward };
    WF_CALLING calling before = call_begin(t);
    bool ok = run(t, &a, n->n_out);
    if (value != few && epoch_good(t, epoch)) pool_give(&t->grads, value, bytes);
    return ok;
}

/* ---- all of it ---- */

/* The body of wf_apply: all but its arrays of inputs is there. */
INLINE bool apply(wf_tape *t, application *a, int n_out, wf_var *const given[])
{
    if (!take(t, a, n_out, t->mode != WF_INFER || t->tracing) || !enter(t, a, given) ||
        !shape(t, a, n_out))
        return false;
    if (t->tracing ? !trace_outputs(t, a->op->name, n_out, a->out)
                   : !(allocate(t, a, n_out) && run(t, a, n_out)))
        return false;
    if (a->node) record(t, a, n_out);
    return true;
}

/* An op of so many inputs has its array from the pool. */
APART wf_var *apply_many(wf_tape *t, const wf_op *op, int n_in, wf_var *const given[],
                         const void *attr)
{
    application a = { .op = op, .n_in = n_in, .attr = attr };
    uint64_t epoch = t->epoch;
    int64_t bytes = n_in * (int64_t)sizeof *a.value;
    if (!(a.value = tape_borrow(t, op->name, bytes))) return NULL;
    bool ok = apply(t, &a, op->outputs + op->hidden, given);
    if (epoch_good(t, epoch)) pool_give(&t->grads, a.value, bytes);
    return ok ? a.out : NULL;
}

INLINE wf_var *apply_few(wf_tape *t, const wf_op *op, int n_in, int n_out, wf_var *const given[],
                         const void *attr)
{
    const wf_tensor *few[FEW];
    application a; /* its parts fill it in: to clear it would be work */
    a.op = op;
    a.n_in = n_in;
    a.value = few;
    a.attr = attr;
    a.out = NULL;
    a.scratch_forward = a.scratch_backward = 0;
    return apply(t, &a, n_out, given) ? a.out : NULL;
}

APART wf_var *apply_outputs(wf_tape *t, const wf_op *op, int n_in, wf_var *const given[],
                            const void *attr)
{
    return apply_few(t, op, n_in, op->outputs + op->hidden, given, attr);
}

/* What is not as it must be before the inputs are looked at. */
static COLD void say_why_not(wf_tape *t, const wf_op *op, int n_in, wf_var *const in[],
                             const void *attr, const void *out)
{
    wf_error error = { { 0 } };
    if (!op)
        wf_fail(t, "apply: the op was never made (NULL)");
    else if (!row_sound(op, &error))
        wf_fail(t, "%s: %s", op->name ? op->name : "apply", error.text);
    else if (!out || (n_in > 0 && !in) || (op->attr_size > 0 && !attr))
        wf_fail(t, "%s: the %s never made (NULL)", op->name,
                !out              ? "list of outputs was"
                : n_in > 0 && !in ? "list of inputs was"
                                  : "attributes were");
    else
        wf_fail(t, "%s: %d inputs given; it takes %d%s", op->name, n_in,
                op->inputs >= 0 ? op->inputs : 1, op->inputs >= 0 ? "" : " or more");
}

/* The outputs, side by side; NULL after any failure. */
INLINE wf_var *apply_any(wf_tape *t, const wf_op *op, int n_in, wf_var *const in[],
                         const void *attr, const void *out)
{
    if (!t || t->failed) return NULL;
    if (!op || !sound(op) || !out || (n_in > 0 && !in) || (op->attr_size > 0 && !attr) ||
        (op->inputs >= 0 ? n_in != op->inputs : n_in < 1)) {
        say_why_not(t, op, n_in, in, attr, out);
        return NULL;
    }
    if (t->replaying) {
        wf_var *made = replay_next(t, op, n_in, in, attr);
        if (made || t->failed) return made;
    }
    WF_CALLING calling before = call_begin(t);
    if (n_in > FEW) return apply_many(t, op, n_in, in, attr);
    /* By far the most ops have one output: their loops over outputs are none. */
    return op->outputs + op->hidden == 1 ? apply_few(t, op, n_in, 1, in, attr)
                                         : apply_outputs(t, op, n_in, in, attr);
}

/* The inputs may lie in the very list that receives the outputs: it is written last. */
bool wf_apply(wf_tape *t, const wf_op *op, int n_in, wf_var *const in[], const void *attr,
              wf_var *out[])
{
    wf_var *made = apply_any(t, op, n_in, in, attr, out);
    for (int i = 0; op && out && op->outputs <= WF_OP_OUTPUTS && i < op->outputs; i++)
        out[i] = made ? &made[i] : NULL;
    return made != NULL;
}

wf_var *wf_apply_one(wf_tape *t, const wf_op *op, int n_in, wf_var *const in[], const void *attr)
{
    if (op && op->outputs != 1 && sound(op))
        return wf_fail(t, "%s: it has %d outputs, not one", op->name, op->outputs);
    return apply_any(t, op, n_in, in, attr, op);
}
