/* Running an op: inputs enter the tape, shapes are inferred, values computed, and the node
 * recorded. */
#include "autograd/private.h"
#include "autograd/state_private.h"
#include "tensor/par.h"
#include "tensor/rng.h"
#include "tensor/text.h"

#include <stdarg.h>
#include <string.h>

enum { FEW = 16 };

/* The parts of an application are one function: a tiny op is as quick as its calls are few. */
#define INLINE static inline __attribute__((always_inline))

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

node *node_record(wf_tape *t, const wf_op *op, int n_in, wf_var *const in[], wf_var *out, int n_out,
                  const void *attr)
{
    int64_t list_bytes = n_in * (int64_t)sizeof *in;
    node *n = arena_take(&t->values, (int64_t)sizeof *n + list_bytes + op->attr_size, 16);
    if (!n) {
        tape_fail_oom(t, op->name, (int64_t)sizeof *n);
        return NULL;
    }
    n->op = op;
    n->prev = t->last;
    n->next = NULL;
    n->n_in = n_in;
    n->n_out = n_out;
    n->in = (wf_var **)(n + 1);
    for (int i = 0; i < n_in; i++) n->in[i] = in[i];
    n->out = out;
    n->attr = (char *)(n + 1) + list_bytes;
    if (op->attr_size) memcpy((char *)(n + 1) + list_bytes, attr, (size_t)op->attr_size);
    n->scratch_backward = 0;
    n->key = n->counter = 0;
    n->where = t->where;
    n->needed = false;
    if (t->last)
        t->last->next = n;
    else
        t->first = n;
    t->last = n;
    t->nodes++;
    for (int i = 0; i < n_out; i++) {
        out[i].producer = n;
        if (out[i].value.dtype != WF_I32) out[i].flags |= VAR_WANTS_GRAD;
    }
    return n;
}

/* The outputs as vars side by side, with memory, in the forms that shape gave. */
INLINE wf_var *outputs_new(wf_tape *t, const wf_op *op, int n_out, const wf_tensor form[])
{
    wf_var *out = arena_take(&t->values, n_out * (int64_t)sizeof *out, 16);
    if (!out) {
        tape_fail_oom(t, op->name, n_out * (int64_t)sizeof *out);
        return NULL;
    }
    for (int i = 0; i < n_out; i++) {
        wf_var *v = &out[i];
        if (form[i].rank < 0 || form[i].rank > WF_RANK || (unsigned)form[i].dtype > WF_I32) {
            wf_fail(t, "%s: its row gave output %d rank %d and dtype %s", op->name, i,
                    (int)form[i].rank, wf_dtype_name(form[i].dtype));
            return NULL;
        }
        v->value.dtype = form[i].dtype;
        v->value.rank = form[i].rank;
        for (int d = 0; d < form[i].rank; d++) v->value.dim[d] = form[i].dim[d];
        v->value.data = NULL;
        if (!var_begin(t, v, op->name)) return NULL;
    }
    return out;
}

/* What one application holds while the row's functions run. */
typedef struct application {
    const wf_op *op;
    int n_in;
    wf_var **in; /* as they are on this tape */
    const wf_tensor **value;
    const void *attr;
    wf_var *out;
    int64_t scratch_backward;
} application;

/* The inputs enter the tape; *wants: one of them leads to a gradient. */
INLINE bool enter_all(wf_tape *t, const application *a, wf_var *const given[], bool *wants)
{
    *wants = false;
    for (int i = 0; i < a->n_in; i++) {
        wf_var *v = given[i];
        if (v && v->tape == t && v->epoch >= t->fresh) {
            a->in[i] = v;
        } else if (!v && i < 32 && a->op->optional >> i & 1) {
            a->in[i] = NULL;
            a->value[i] = NULL;
            continue;
        } else if (!(a->in[i] = var_enter(t, v, a->op->name, i))) {
            return false;
        }
        a->value[i] = &a->in[i]->value;
        *wants |= (a->in[i]->flags & VAR_WANTS_GRAD) != 0;
    }
    return true;
}

/* Asks the row for the forms of the outputs, and makes them. */
INLINE bool shape_outputs(wf_tape *t, application *a, int64_t *scratch)
{
    const wf_op *op = a->op;
    int n_out = op->outputs + op->hidden;
    wf_tensor form[WF_OP_OUTPUTS];
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
                     .error = &error };
    uint64_t epoch = t->epoch;
    bool fits = op->shape(&s);
    if (t->epoch != epoch && !call_survived(t, epoch, op->name)) return false;
    if (!fits) {
        wf_fail(t, "%s: %s", op->name,
                error.text[0] ? error.text : "these shapes do not go together");
        return false;
    }
    if (s.scratch_forward < 0 || s.scratch_backward < 0) {
        wf_fail(t, "%s: its row asked for %lld bytes of scratch", op->name,
                (long long)(s.scratch_forward < 0 ? s.scratch_forward : s.scratch_backward));
        return false;
    }
    *scratch = s.scratch_forward;
    a->scratch_backward = s.scratch_backward;
    return (a->out = outputs_new(t, op, n_out, form)) != NULL;
}

/* The floating-point state is set as late as can be: a register just written is slow to read. The
 * row's shape may run in the caller's, it sees no values. */
INLINE void run_forward(wf_tape *t, const wf_call *c)
{
    WF_TAPE_SCOPE tape_scope inside = tape_enter(t);
    c->op->forward(c);
}

static bool run_check(wf_tape *t, const wf_call *c, wf_error *error)
{
    WF_TAPE_SCOPE tape_scope inside = tape_enter(t);
    return c->op->check(c, error);
}

/* Checks the values and computes; c is complete but for scratch and random numbers. */
INLINE bool compute(wf_tape *t, wf_call *c, int64_t scratch)
{
    const wf_op *op = c->op;
    uint64_t epoch = t->epoch;
    if (op->check) {
        wf_error error;
        error.text[0] = '\0';
        bool good = run_check(t, c, &error);
        if (t->epoch != epoch && !call_survived(t, epoch, op->name)) return false;
        if (!good) {
            wf_fail(t, "%s: %s", op->name, error.text[0] ? error.text : "a value is out of range");
            return false;
        }
    }
    if (scratch > 0 && !(c->scratch = pool_take(&t->grads, scratch))) {
        tape_fail_oom(t, op->name, scratch);
        return false;
    }
    if (op->flags & WF_OP_RANDOM) {
        c->key = wf_key_with(t->seed, t->step);
        c->counter = t->random_ops++ << 32;
    }
    run_forward(t, c);
    if (t->epoch != epoch && !call_survived(t, epoch, op->name)) return false;
    if (c->scratch) pool_give(&t->grads, c->scratch, scratch);
    return !t->failed;
}

/* The body of wf_apply: all but its arrays of inputs is there. */
INLINE bool apply(wf_tape *t, application *a, wf_var *const given[], wf_var *result[])
{
    const wf_op *op = a->op;
    int64_t scratch;
    bool wants;
    if (!enter_all(t, a, given, &wants) || !shape_outputs(t, a, &scratch)) return false;
    int n_out = op->outputs + op->hidden;
    const wf_tensor *made[WF_OP_OUTPUTS];
    for (int i = 0; i < n_out; i++) made[i] = &a->out[i].value;
    wf_call c = { .op = op,
                  .n_in = a->n_in,
                  .n_out = n_out,
                  .in = a->value,
                  .out = made,
                  .attr = a->attr,
                  .threads = t->threads };
    if (!compute(t, &c, scratch)) return false;
    if (wants && t->mode != WF_INFER) {
        node *n = node_record(t, op, a->n_in, a->in, a->out, n_out, a->attr);
        if (!n) return false;
        n->scratch_backward = a->scratch_backward;
        n->key = c.key;
        n->counter = c.counter;
    }
    for (int i = 0; i < op->outputs; i++) result[i] = &a->out[i];
    return true;
}

/* An op of so many inputs has its arrays from the pool. */
static bool apply_many(wf_tape *t, application *a, wf_var *const given[], wf_var *result[])
{
    uint64_t epoch = t->epoch;
    int64_t bytes = a->n_in * (int64_t)(sizeof(wf_var *) + sizeof(wf_tensor *));
    if (!(a->in = pool_take(&t->grads, bytes))) {
        tape_fail_oom(t, a->op->name, bytes);
        return false;
    }
    a->value = (const wf_tensor **)(a->in + a->n_in);
    bool ok = apply(t, a, given, result);
    if (epoch_good(t, epoch)) pool_give(&t->grads, a->in, bytes);
    return ok;
}

/* Everything that can be said before the inputs are looked at. */
static bool may_apply(wf_tape *t, const wf_op *op, int n_in, wf_var *const in[], const void *attr,
                      wf_var *const out[])
{
    if (!op) {
        wf_fail(t, "apply: the op was never made (NULL)");
        return false;
    }
    if (!sound(op)) {
        wf_error error = { { 0 } };
        row_sound(op, &error);
        wf_fail(t, "%s: %s", op->name ? op->name : "apply", error.text);
        return false;
    }
    if (!out || (n_in > 0 && !in) || (op->attr_size > 0 && !attr)) {
        wf_fail(t, "%s: the %s never made (NULL)", op->name,
                !out              ? "list of outputs was"
                : n_in > 0 && !in ? "list of inputs was"
                                  : "attributes were");
        return false;
    }
    if (op->inputs >= 0 ? n_in != op->inputs : n_in < 1) {
        wf_fail(t, "%s: %d inputs given; it takes %d%s", op->name, n_in,
                op->inputs >= 0 ? op->inputs : 1, op->inputs >= 0 ? "" : " or more");
        return false;
    }
    return true;
}

/* The inputs may lie in the very list that receives the outputs: it is written last. */
static bool apply_any(wf_tape *t, const wf_op *op, int n_in, wf_var *const in[], const void *attr,
                      wf_var *out[])
{
    if (!t || t->failed || !may_apply(t, op, n_in, in, attr, out)) return false;
    wf_var *few[FEW];
    const wf_tensor *few_values[FEW];
    application a = { .op = op, .n_in = n_in, .in = few, .value = few_values, .attr = attr };
    WF_CALLING calling before = call_begin(t);
    return n_in <= FEW ? apply(t, &a, in, out) : apply_many(t, &a, in, out);
}

bool wf_apply(wf_tape *t, const wf_op *op, int n_in, wf_var *const in[], const void *attr,
              wf_var *out[])
{
    if (apply_any(t, op, n_in, in, attr, out)) return true;
    for (int i = 0; op && out && op->outputs <= WF_OP_OUTPUTS && i < op->outputs; i++)
        out[i] = NULL;
    return false;
}

wf_var *wf_apply_one(wf_tape *t, const wf_op *op, int n_in, wf_var *const in[], const void *attr)
{
    wf_var *out[WF_OP_OUTPUTS];
    if (op && op->outputs != 1 && sound(op))
        return wf_fail(t, "%s: it has %d outputs, not one", op->name, op->outputs);
    return apply_any(t, op, n_in, in, attr, out) ? out[0] : NULL;
}
