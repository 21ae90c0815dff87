/* A loop over time: what it is given is judged, and what its steps leave. */
#include "autograd/scan_private.h"

#include "autograd/ops_private.h"

#include "autograd/trace_private.h"
#include "autograd/views.h"
#include "tensor/text.h"

#include <stdarg.h>
#include <string.h>

/* ---- what a call is given ---- */

static bool counts_are_sound(wf_tape *t, const wf_scan_call *c, const char *who)
{
    const struct {
        const char *what;
        int n;
        bool made;
    } given[] = {
        { "sequences", c->sequences.n, c->sequences.at != NULL },
        { "states", c->initial.n, c->initial.at != NULL },
        { "outputs", c->outputs, true },
    };
    for (int i = 0; i < 3; i++) {
        if (given[i].n < 0 || given[i].n > WF_SCAN_VARS)
            wf_fail(t, "%s: %d %s; there can be 0 to %d", who, given[i].n, given[i].what,
                    WF_SCAN_VARS);
        else if (given[i].n > 0 && !given[i].made)
            wf_fail(t, "%s: the list of %s was never made (NULL)", who, given[i].what);
    }
    if (c->sequences.n == 0 && c->initial.n == 0)
        wf_fail(t, "%s: there is no sequence and no state; one must say how many rows a step has",
                who);
    else if (c->time < 0 || (c->time == 0 && c->sequences.n == 0))
        wf_fail(t, "%s: .time is %lld; it must be 1 or more, or 0 with sequences", who,
                (long long)c->time);
    return wf_tape_ok(t);
}

/* Does x begin with n axes of these sizes? */
static bool begins_with(wf_tape *t, const char *who, const char *what, int i, const wf_var *x,
                        int n, int64_t time, int64_t batch)
{
    const wf_tensor *v = &x->value;
    if (v->rank >= n && (n == 1 || v->dim[0] == time) && v->dim[n - 1] == batch) return true;
    char text[WF_SHAPE_TEXT], want[WF_SHAPE_TEXT];
    if (v->rank < n)
        wf_format(want, sizeof want, n == 1 ? "(batch, ...)" : "(time, batch, ...)");
    else if (n == 1)
        wf_format(want, sizeof want, "(%lld, ...)", (long long)batch);
    else
        wf_format(want, sizeof want, "(%lld, %lld, ...)", (long long)time, (long long)batch);
    wf_fail(t, "%s: %s %d is %s; expected %s", who, what, i,
            wf_shape_text(text, sizeof text, v->rank, v->dim), want);
    return false;
}

static bool vars_are_sound(wf_tape *t, scan *s, const wf_scan_call *c)
{
    const char *who = s->name;
    for (int i = 0; i < s->sequences; i++)
        if (!(s->x[i] = wf_enter(t, c->sequences.at[i], "%s: sequence %d", who, i))) return false;
    for (int k = 0; k < s->states; k++) {
        s->state[k] = s->state_names ? wf_enter(t, c->initial.at[k], "%s: the initial %s", who,
                                                s->state_names[k])
                                     : wf_enter(t, c->initial.at[k], "%s: state %d", who, k);
        if (!s->state[k]) return false;
    }
    const wf_tensor *x = s->sequences > 0 ? &s->x[0]->value : NULL;
    s->time = c->time > 0 || !x || x->rank < 1 ? c->time : x->dim[0];
    s->batch = x ? (x->rank > 1 ? x->dim[1] : 0)
                 : (s->state[0]->value.rank > 0 ? s->state[0]->value.dim[0] : 0);
    for (int i = 0; i < s->sequences; i++)
        if (!begins_with(t, who, "sequence", i, s->x[i], 2, s->time, s->batch)) return false;
    for (int k = 0; k < s->states; k++)
        if (!begins_with(t, who, "state", k, s->state[k], 1, 0, s->batch)) return false;
    if (s->time <= INT32_MAX && s->batch <= INT32_MAX && s->time * s->batch < INT32_MAX)
        return true;
    wf_fail(t, "%s: %lld steps of %lld rows; there can be %d in all", who, (long long)s->time,
            (long long)s->batch, INT32_MAX - 1);
    return false;
}

/* Fails the tape with the first of `batch` lengths that is none. */
static bool lengths_are_sound(wf_tape *t, const char *who, const wf_var *lengths, int64_t time,
                              int64_t batch)
{
    const wf_tensor *v = &lengths->value;
    if (v->dtype != WF_I32 || v->rank != 1 || v->dim[0] != batch) {
        char text[WF_SHAPE_TEXT];
        wf_fail(t, "%s: lengths are %s %s; expected i32 (%lld)", who, wf_dtype_name(v->dtype),
                wf_shape_text(text, sizeof text, v->rank, v->dim), (long long)batch);
        return false;
    }
    if (!var_readable(lengths)) return false;
    for (int64_t b = 0; b < batch; b++) {
        const int32_t n = ((const int32_t *)v->data)[b * v->stride[0]];
        if (n >= 0 && n <= time) continue;
        wf_fail(t, "%s: lengths[%lld] is %d; it must be from 0 to %lld", who, (long long)b, n,
                (long long)time);
        return false;
    }
    return true;
}

wf_var *wf_enter_lengths(wf_tape *t, wf_var *lengths, int64_t time, int64_t batch, const char *what,
                         ...)
{
    char who[sizeof t->error.text / 2];
    if (!wf_tape_ok(t)) return NULL;
    va_list values;
    va_start(values, what);
    wf_vformat(who, sizeof who, what ? what : "enter_lengths", values);
    va_end(values);
    lengths = wf_enter(t, lengths, "%s: .lengths", who);
    return lengths && lengths_are_sound(t, who, lengths, time, batch) ? lengths : NULL;
}

/* Reads all that the call holds; false after failing the tape. */
static bool given_is_sound(wf_tape *t, scan *s, const wf_scan_call *c)
{
    if (!c->step) {
        wf_fail(t, "%s: .step was never made (NULL)", s->name);
        return false;
    }
    if (!counts_are_sound(t, c, s->name) || !vars_are_sound(t, s, c)) return false;
    wf_var *lengths = NULL;
    if (c->lengths) {
        lengths = wf_enter_lengths(t, c->lengths, s->time, s->batch, "%s", s->name);
        if (!lengths) return false;
    }
    void *memory = wf_tape_memory(t, (size_t)wf_seq_plan_bytes(s->time, s->batch));
    if (!memory) return false;
    s->plan = wf_seq_plan_make(s->time, s->batch, lengths ? &lengths->value : NULL, memory);
    return true;
}

/* ---- what a step leaves ---- */

/* A name for messages: "state 1", or "state c". */
static const char *state_text(const scan *s, int k, char text[static 64])
{
    if (s->state_names)
        wf_format(text, 64, "state %s", s->state_names[k]);
    else
        wf_format(text, 64, "state %d", k);
    return text;
}

/* As it is on the tape, if it has n rows of the form of like (NULL: any); NULL after failing it. */
static wf_var *judged(wf_tape *t, const scan *s, const char *what, wf_var *v, int64_t n,
                      const wf_var *like)
{
    if (!v) return wf_fail(t, "%s: its step left no %s", s->name, what);
    if (!(v = wf_enter(t, v, "%s: the %s that its step left", s->name, what))) return NULL;
    wf_shape got = wf_shape_of(v), want = like ? wf_shape_of(like) : got;
    if (want.rank == 0) want.rank = 1;
    if (want.rank == WF_RANK && !like) want.rank--; /* there is a time axis to come */
    want.dim[0] = n;
    const wf_dtype dtype = wf_dtype_of(like ? like : v);
    if (wf_shape_equal(&got, &want) && wf_dtype_of(v) == dtype) return v;
    char a[WF_SHAPE_TEXT], b[WF_SHAPE_TEXT];
    return wf_fail(t, "%s: its step made %s %s %s; expected %s %s", s->name, what,
                   wf_dtype_name(wf_dtype_of(v)), wf_shape_text(a, sizeof a, got.rank, got.dim),
                   wf_dtype_name(dtype), wf_shape_text(b, sizeof b, want.rank, want.dim));
}

bool scan_step(wf_tape *t, const scan *s, int64_t n, wf_var *const x[], wf_var *next[], wf_var *y[],
               wf_var *const first[])
{
    wf_var *before[WF_SCAN_VARS];
    char text[64];
    if (!wf_tape_ok(t)) return false;
    memcpy(before, next, sizeof before);
    for (int j = 0; j < WF_SCAN_VARS; j++) y[j] = NULL;
    const uint64_t epoch = t->epoch;
    {
        WF_CALLING calling around = call_begin(t);
        s->step(t, s->context, x, next, y);
    }
    if (t->epoch != epoch && !call_survived(t, epoch, s->name)) return false;
    if (!wf_tape_ok(t)) return false;
    for (int k = 0; k < s->states; k++) {
        next[k] = judged(t, s, state_text(s, k, text), next[k], n, before[k]);
        if (!next[k]) return false;
    }
    for (int j = 0; j < s->outputs; j++) {
        wf_format(text, sizeof text, "output %d", j);
        if (!(y[j] = judged(t, s, text, y[j], n, first[j]))) return false;
    }
    return true;
}

/* ---- a loop of no step ---- */

/* The outputs are zeros of the forms that a step of all rows would give them. */
static bool scan_nothing(wf_tape *t, scan *s)
{
    traced_step step;
    if (!scan_trace(t, s, s->batch, true, &step)) return false;
    for (int j = 0; j < s->outputs; j++) {
        wf_shape form = wf_shape_of(step.y[j]);
        memmove(form.dim + 1, form.dim, sizeof form.dim - sizeof form.dim[0]);
        form.rank++;
        form.dim[0] = s->time;
        if (!(s->y[j] = wf_zeros(t, wf_dtype_of(step.y[j]), form))) return false;
    }
    return true;
}

/* A loop of so few steps is not worth a plan, and none is made within a sweep or another step. */
enum { WORTH = 3, MOST_NODES = 512 };

/* Why no plan is looked for; NULL: one is. */
static const char *why_plain(const wf_tape *t, const scan *s)
{
    return s->plain                                    ? "as .plain asks"
           : s->time < WORTH                           ? "it has fewer than 3 steps"
           : s->plan.rows == 0                         ? "it has no rows"
           : t->tracing || t->replaying || t->sweeping ? "it is within another loop's step"
                                                       : NULL;
}

static bool run(wf_tape *t, scan *s)
{
    traced_step step;
    bool done = false;
    if (!scan_begin(t, s)) return false;
    const char *why = why_plain(t, s);
    if (why) {
        if (!t->tracing && !t->replaying) wf_explain(t, "%s: step by step: %s\n", s->name, why);
        return scan_loop(t, s);
    }
    const bool traced = scan_trace(t, s, s->batch, false, &step);
    if (!traced || step.nodes > MOST_NODES)
        wf_explain(t, "%s: step by step: its step %s\n", s->name,
                   traced ? "has more than 512 ops"
                          : "reads values, or cannot be recorded on shapes alone");
    if (traced && step.nodes <= MOST_NODES) {
        if (!scan_hoist(t, s, &step, false)) return false;
        if (!s->refused && !scan_planned(t, s, &step, &done)) return false;
        if (done) return true;
        if (!s->refused && !scan_hoist(t, s, &step, true)) return false;
        if (s->refused) s->replay = NULL;
    }
    return wf_tape_ok(t) && scan_loop(t, s);
}

bool wf_scan(wf_tape *t, const wf_scan_call *call, wf_var *output[], wf_var *final[])
{
    if (!call || !wf_tape_ok(t)) {
        if (t && !call) wf_fail(t, "scan: the call was never made (NULL)");
        for (int j = 0; call && output && j < call->outputs && j < WF_SCAN_VARS; j++)
            output[j] = NULL;
        for (int k = 0; call && final && k < call->initial.n && k < WF_SCAN_VARS; k++)
            final[k] = NULL;
        return false;
    }
    scan s = { .name = call->name ? call->name : "scan",
               .state_names = call->state_names,
               .step = call->step,
               .context = call->context,
               .sequences = call->sequences.n,
               .states = call->initial.n,
               .outputs = call->outputs,
               .reverse = call->reverse,
               .plain = call->plain };
    bool ok = given_is_sound(t, &s, call);
    if (ok && s.outputs > 0 && !output) {
        wf_fail(t, "%s: the list of outputs was never made (NULL)", s.name);
        ok = false;
    }
    const int outputs = s.outputs < 0 || s.outputs > WF_SCAN_VARS ? 0 : s.outputs;
    const int states = s.states < 0 || s.states > WF_SCAN_VARS ? 0 : s.states;
    for (int j = 0; output && j < outputs; j++) output[j] = NULL;
    for (int k = 0; final && k < states; k++) final[k] = NULL;
    ok = ok && (s.plan.rows > 0 || (s.batch == 0 && s.time > 0) ? run(t, &s) : scan_nothing(t, &s));
    if (!ok) return false;
    for (int j = 0; j < outputs; j++) output[j] = s.y[j];
    for (int k = 0; final && k < states; k++) final[k] = s.state[k];
    return true;
}
