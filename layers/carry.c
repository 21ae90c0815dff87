/* State that outlives a step. What a call leaves is at first the tape's: later calls on it see
 * it at once, and only when the tape commits is it copied into the carry's own memory, so that a
 * failed step or a rehearsal leaves no trace. A truncated carry keeps the states that its next
 * windows begin with, and for each sequence how many windows of its text they know. */
#include "autograd/ops.h"
#include "layers/private.h"
#include "tensor/par.h"
#include "tensor/runtime.h"
#include "tensor/size.h"
#include "tensor/text.h"

#include <string.h>

/* What one call left on a tape; lives in the tape's memory. */
typedef struct pending {
    wf_carry *carry;
    struct pending *before; /* what the call before left on this tape, and waits, too; or NULL */
    uint64_t generation, epoch; /* of the tape; of the carry */
    /* How many sequences had a value that was not finite, and the first: which layer, state and
     * sequence, and the value. */
    int64_t spoilt, layer, sequence;
    int k;
    double value;
    int32_t *age;    /* of each sequence, after the call */
    wf_var *state[]; /* layers * states */
} pending;

struct wf_carry {
    const wf_rnn *rnn; /* compared; followed only while a tape that used it commits */
    const wf_cell *cell;
    rnn_form form;
    int64_t batch;
    wf_dtype dtype;
    int64_t update, backward; /* k1 and k2; 0: windows of any length, which is both */
    int64_t kept;             /* how many states: k2 / k1, or 1 */
    uint64_t epoch;           /* grows with every reset, which cancels what is pending */
    uint64_t *reset;          /* (B) the epoch that began with each sequence's last reset */
    int32_t *age;             /* (B) windows of each sequence's text so far, at most `kept`; or: */
    pending *latest;          /* good while its tape is in the generation below */
    uint64_t generation;
    bool said;         /* that values were not finite; once until they are */
    wf_tensor *state;  /* layers * states, (kept, B, width), the oldest first; one: (B, width) */
    wf_tensor *newest; /* the last of each, (B, width) */
};
enum { ENDED = -1 };

static int64_t states_of(const wf_carry *carry)
{
    return carry->form.layers * carry->form.states;
}

/* Are steps read again? */
static bool rereads(const wf_carry *carry)
{
    return carry->backward > carry->update;
}

/* One of the kept states, (B, width), 0 the oldest. */
static wf_tensor kept_at(const wf_carry *carry, int64_t i, int64_t which)
{
    wf_tensor x = carry->newest[i];
    int64_t back = (carry->kept - 1 - which) * carry->batch * x.dim[1];
    x.data = (char *)x.data - back * wf_dtype_size(carry->dtype);
    return x;
}

/* The bytes of a carry, one block: itself, its tensors and what it knows of each sequence, which
 * are the head, and the numbers. False where there cannot be so many. */
static bool carry_size(const wf_carry *carry, int64_t *head, int64_t *bytes)
{
    int64_t width = 0, numbers, tensors, each = sizeof(uint64_t) + sizeof(int32_t);
    bool fits = true;
    for (int k = 0; k < carry->form.states; k++)
        fits = fits && wf_size_add(width, carry->form.width[k], &width);
    fits = fits && wf_size_mul(carry->form.layers, width, &numbers) &&
           wf_size_mul(numbers, carry->batch, &numbers) &&
           wf_size_mul(numbers, carry->kept, &numbers) &&
           wf_size_mul(numbers, wf_dtype_size(carry->dtype), &numbers);
    return fits &&
           wf_size_mul(carry->form.layers, 2 * carry->form.states * (int64_t)sizeof(wf_tensor),
                       &tensors) &&
           wf_size_mul(carry->batch, each, head) && wf_size_add(*head, tensors, head) &&
           wf_size_add(*head, (int64_t)sizeof(wf_carry), head) &&
           wf_size_align(*head, WF_ALIGNMENT, head) && wf_size_add(numbers, *head, bytes);
}

static wf_carry *carry_make(const wf_carry *plan)
{
    int64_t head, bytes, n = states_of(plan);
    char *memory = carry_size(plan, &head, &bytes) ? wf_alloc_zero((size_t)bytes) : NULL;
    if (!memory) {
        wf_module_fail(wf_rnn_module(plan->rnn), "carry: out of memory for %lld sequences",
                       (long long)plan->batch);
        return NULL;
    }
    wf_carry *carry = (wf_carry *)memory;
    *carry = *plan;
    carry->state = (wf_tensor *)(memory + sizeof *carry);
    carry->newest = carry->state + n;
    carry->reset = (uint64_t *)(carry->newest + n);
    carry->age = (int32_t *)(carry->reset + carry->batch);
    char *at = memory + head;
    for (int64_t i = 0; i < n; i++) {
        int64_t w = plan->form.width[i % plan->form.states];
        int64_t one = plan->batch * w * wf_dtype_size(plan->dtype);
        wf_shape form = WF_SHAPE(plan->batch, w);
        carry->newest[i] = wf_tensor_of(plan->dtype, form, at + (plan->kept - 1) * one);
        if (plan->kept > 1) form = WF_SHAPE(plan->kept, plan->batch, w);
        carry->state[i] = wf_tensor_of(plan->dtype, form, at);
        at += plan->kept * one;
    }
    return carry;
}

/* backward and update may be 0: not truncated within a call. */
static wf_carry *carry_of(const wf_rnn *rnn, int64_t batch, int64_t update, int64_t backward)
{
    wf_module *module = wf_rnn_module(rnn);
    wf_carry plan = { .rnn = rnn,
                      .cell = wf_rnn_row(rnn),
                      .form = rnn_form_of(rnn),
                      .batch = batch,
                      .dtype = wf_module_dtype(module),
                      .update = update,
                      .backward = backward,
                      .kept = 1 };
    if (batch < 1) {
        wf_module_fail(module, "carry: its batch is %lld; it must be 1 or more", (long long)batch);
        return NULL;
    }
    if (plan.form.directions != 1 || plan.form.reverse) {
        bool reverse = plan.form.reverse;
        wf_module_fail(module,
                       "carry: a %s rnn cannot be carried: %s begins at the end of what is still "
                       "to come",
                       reverse ? "reverse" : "bidirectional",
                       reverse ? "it" : "its reverse direction");
        return NULL;
    }
    if (rereads(&plan)) plan.kept = backward / update;
    return carry_make(&plan);
}

wf_carry *wf_carry_new(const wf_rnn *rnn, int64_t batch)
{
    return rnn ? carry_of(rnn, batch, 0, 0) : NULL; /* else the tree knows why */
}

wf_carry *wf_carry_new_truncated(const wf_rnn *rnn, int64_t batch, int64_t update, int64_t backward)
{
    if (!rnn) return NULL;
    const int64_t steps[2] = { update, backward };
    static const char *const what[2] = { "update interval", "backward length" };
    for (int i = 0; i < 2; i++) {
        if (steps[i] >= 1 && steps[i] <= INT32_MAX) continue;
        wf_module_fail(wf_rnn_module(rnn), "carry: its %s is %lld; it must be 1 to %d", what[i],
                       (long long)steps[i], INT32_MAX);
        return NULL;
    }
    return carry_of(rnn, batch, update, backward);
}

void wf_carry_free(wf_carry *carry)
{
    wf_release(carry);
}

bool wf_carry_ok(const wf_carry *carry, wf_error *error)
{
    wf_error_clear(error);
    if (carry) return true;
    return wf_error_set(error, "carry: it was never made; wf_module_ok says why");
}

void wf_carry_reset(wf_carry *carry)
{
    if (!carry) return;
    for (int64_t i = 0; i < states_of(carry); i++) wf_tensor_fill(&carry->state[i], 0);
    carry->epoch++;
    for (int64_t b = 0; b < carry->batch; b++) {
        carry->reset[b] = carry->epoch;
        carry->age[b] = 0;
    }
    carry->latest = NULL;
    carry->said = false;
}

bool wf_carry_reset_sequence(wf_carry *carry, int64_t sequence)
{
    if (!carry || sequence < 0 || sequence >= carry->batch) return false;
    for (int64_t i = 0; i < states_of(carry); i++) {
        for (int64_t which = 0; which < carry->kept; which++) {
            wf_tensor of_all = kept_at(carry, i, which), row;
            if (wf_view_select(&of_all, 0, sequence, &row)) wf_tensor_fill(&row, 0);
        }
    }
    carry->reset[sequence] = ++carry->epoch;
    carry->age[sequence] = 0;
    return true;
}

const wf_tensor *wf_carry_state(const wf_carry *carry, int64_t layer, int direction, int k)
{
    if (!carry || direction != 0 || layer < 0 || layer >= carry->form.layers || k < 0 ||
        k >= carry->form.states)
        return NULL;
    return &carry->newest[layer * carry->form.states + k];
}

/* ---- on a tape ---- */

/* What the last call on this tape left, unless that is permanent by now; or NULL. */
static const pending *waiting(const wf_tape *t, const wf_carry *carry)
{
    bool here = t && carry->latest && carry->generation == wf_tape_generation(t);
    return here ? carry->latest : NULL;
}

/* How many windows of a sequence's text there were before the next call on this tape. */
static int32_t age_of(const wf_tape *t, const wf_carry *carry, int64_t b)
{
    const pending *p = waiting(t, carry);
    return p && carry->reset[b] <= p->epoch ? p->age[b] : carry->age[b];
}

int64_t wf_carry_overlap(const wf_tape *t, const wf_carry *carry)
{
    if (!carry || !rereads(carry)) return 0;
    int64_t oldest = 0;
    for (int64_t b = 0; b < carry->batch; b++) {
        int64_t age = age_of(t, carry, b);
        if (age > oldest) oldest = age;
    }
    int64_t most = carry->backward - carry->update, known = oldest * carry->update;
    return known < most ? known : most;
}

/* Does a sequence begin with the next call on this tape, as the layer has learned to? */
static bool begins(const wf_tape *t, const wf_carry *carry, int64_t b)
{
    const int32_t age = age_of(t, carry, b);
    return carry->form.learned && age != ENDED && age < carry->kept;
}

int64_t carry_beginners(const wf_tape *t, const wf_carry *carry)
{
    int64_t n = 0;
    for (int64_t b = 0; b < carry->batch; b++) n += begins(t, carry, b);
    return n;
}

/* Has x the steps that a truncated carry takes? */
static bool window_fits(wf_tape *t, const wf_carry *carry, const char *path, carry_window *w)
{
    for (int64_t b = 0; rereads(carry) && b < carry->batch; b++) {
        if (age_of(t, carry, b) != ENDED) continue;
        wf_fail(t,
                "rnn '%s': a window below the update interval of %lld has ended the text; reset "
                "the carry for another",
                path, (long long)carry->update);
        return false;
    }
    int64_t fresh = w->time - w->overlap;
    if (fresh < 1 || fresh > carry->update) {
        char again[64] = "";
        if (w->overlap)
            wf_format(again, sizeof again, "%lld to be read again and ", (long long)w->overlap);
        wf_fail(t, "rnn '%s': x has %lld steps; the carry takes %s1 to %lld new ones", path,
                (long long)w->time, again, (long long)carry->update);
        return false;
    }
    if (carry->backward < carry->update) w->cut = carry->backward;
    if (!rereads(carry)) return true;
    w->ends = fresh < carry->update;
    if (!w->ends) w->keep = w->time - carry->backward % carry->update;
    return true;
}

bool carry_fits(wf_tape *t, const wf_carry *carry, const wf_rnn *rnn, const wf_var *x,
                carry_window *window)
{
    const char *path = wf_module_path(wf_rnn_module(rnn));
    if (carry->rnn != rnn) {
        wf_fail(t, "rnn '%s': the carry was made for another rnn", path);
        return false;
    }
    if (carry->batch != wf_dim(x, 1)) {
        wf_fail(t, "rnn '%s': x has %lld sequences; the carry was made for %lld", path,
                (long long)wf_dim(x, 1), (long long)carry->batch);
        return false;
    }
    int64_t time = wf_dim(x, 0);
    *window = (carry_window){ .time = time, .keep = time, .overlap = wf_carry_overlap(t, carry) };
    return !carry->update || window_fits(t, carry, path, window);
}

/* State k of a layer as it is carried. */
static wf_var *carried(wf_tape *t, const wf_carry *carry, int64_t layer, int k, wf_dtype dtype)
{
    /* The oldest of what is kept and, behind it, what waits on this tape. */
    int64_t i = layer * carry->form.states + k, windows = 0;
    const pending *p = waiting(t, carry);
    for (const pending *q = p; q; q = q->before) windows++;
    bool waits = windows >= carry->kept, all = true;
    for (int64_t n = 1; waits && n < carry->kept; n++) p = p->before;
    for (int64_t b = 0; waits && b < carry->batch; b++) all = all && carry->reset[b] <= p->epoch;
    if (waits && all) return wf_detach(t, p->state[i]);
    /* A checker works in double on what the program trains in float. */
    wf_tensor from = waits ? *wf_value(p->state[i]) : kept_at(carry, i, windows);
    wf_tensor to, row; /* (B, width) */
    wf_var *state = wf_constant_fill(t, dtype, wf_tensor_shape(&from), &to);
    wf_tensor_copy(&from, &to);
    for (int64_t b = 0; state && waits && b < carry->batch; b++)
        if (carry->reset[b] > p->epoch && wf_view_select(&to, 0, b, &row)) wf_tensor_fill(&row, 0);
    return state;
}

wf_var *carry_read(wf_tape *t, const wf_carry *carry, int64_t layer, int k, wf_dtype dtype,
                   wf_var *first)
{
    const int64_t n = first ? carry_beginners(t, carry) : 0;
    if (n == carry->batch) return first;
    wf_var *state = carried(t, carry, layer, k, dtype);
    if (!n) return state;
    wf_tensor mask;
    wf_var *new = wf_constant_fill(t, WF_I32, WF_SHAPE(carry->batch, 1), &mask);
    for (int64_t b = 0; new &&b < carry->batch; b++)
        ((int32_t *)mask.data)[b] = begins(t, carry, b);
    return wf_where(t, new, first, state);
}

/* ---- pieces of a window ---- */

/* The step of x with which a sequence's text begins; before x: 0 or less. */
static int64_t beginning(const wf_tape *t, const wf_carry *carry, const carry_window *w, int64_t b)
{
    return w->overlap ? w->overlap - age_of(t, carry, b) * carry->update : 0;
}

int64_t carry_next(const wf_tape *t, const wf_carry *carry, const carry_window *w, int64_t at)
{
    int64_t next = w->time;
    if (w->keep > at && w->keep < next) next = w->keep;
    if (w->cut && w->time > at) next = w->time - (w->time - at - 1) / w->cut * w->cut;
    for (int64_t b = 0; w->overlap && b < carry->batch; b++) {
        int64_t begins = beginning(t, carry, w, b);
        if (begins > at && begins < next) next = begins;
    }
    return next;
}

bool carry_lengths(wf_tape *t, const wf_carry *carry, const carry_window *w, int64_t from,
                   int64_t to, wf_var **lengths)
{
    bool partly = *lengths && to - from < w->time;
    for (int64_t b = 0; b < carry->batch && !partly; b++) partly = beginning(t, carry, w, b) > from;
    if (!partly) return true;
    const wf_tensor *whole = *lengths ? wf_value(*lengths) : NULL;
    if (*lengths && !whole) return false;
    wf_tensor own; /* (B) */
    *lengths = wf_constant_fill(t, WF_I32, WF_SHAPE(carry->batch), &own);
    if (!*lengths) return false;
    int32_t *length = own.data;
    for (int64_t b = 0; b < carry->batch; b++) {
        int64_t end = whole ? (int64_t)wf_tensor_at(whole, b) : to;
        if (end > to) end = to;
        length[b] = end > from && beginning(t, carry, w, b) <= from ? (int32_t)(end - from) : 0;
    }
    return true;
}

/* ---- what a call leaves ---- */

/* Is row b of x (B, width) finite? If not, *value becomes its first number that is not. */
static bool row_is_finite(const wf_tensor *x, int64_t b, double *value)
{
    const wf_dtype_info *dtype = wf_dtype_describe(x->dtype);
    const void *row = wf_element(x->dtype, x->data, b * x->stride[0]);
    if (dtype->finite(x->dim[1], row, x->stride[1])) return true;
    for (int64_t j = 0; j < x->dim[1]; j++) {
        *value = dtype->load(row, j * x->stride[1]);
        if (!__builtin_isfinite(*value)) break;
    }
    return false;
}

static bool sequence_is_finite(pending *p, int64_t b)
{
    const rnn_form *form = &p->carry->form;
    for (int64_t i = 0; i < states_of(p->carry); i++) {
        const wf_tensor *x = wf_value(p->state[i]);
        double value = 0;
        if (row_is_finite(x, b, &value)) continue;
        if (p->spoilt == 0) {
            p->value = value;
            p->layer = i / form->states;
            p->k = (int)(i % form->states);
            p->sequence = b;
        }
        return false;
    }
    return true;
}

/* A sequence that has become NaN or infinite goes on from the state that it had before the call, in
 * all layers: a carry that took what the loss may never see would spoil every step to come. False
 * after failing the tape. */
static bool keep_finite(wf_tape *t, pending *p, wf_var *const begun[])
{
    wf_carry *carry = p->carry;
    int64_t n = states_of(carry);
    wf_var **clean = NULL;
    wf_tensor *to = NULL, from, row; /* to: what clean holds */
    for (int64_t b = 0; b < carry->batch; b++) {
        if (sequence_is_finite(p, b)) continue;
        p->spoilt++;
        if (!clean && (!(clean = wf_tape_memory(t, (size_t)n * sizeof *clean)) ||
                       !(to = wf_tape_memory(t, (size_t)n * sizeof *to))))
            return false;
        for (int64_t i = 0; i < n; i++) {
            const wf_tensor *made = wf_value(p->state[i]);
            if (!clean[i]) {
                clean[i] = wf_constant_fill(t, made->dtype, wf_tensor_shape(made), &to[i]);
                if (!clean[i]) return false;
                wf_tensor_copy(made, &to[i]); /* (B, width) */
            }
            if (wf_view_select(wf_value(begun[i]), 0, b, &from) &&
                wf_view_select(&to[i], 0, b, &row))
                wf_tensor_copy(&from, &row);
        }
    }
    if (clean) memcpy(p->state, clean, (size_t)n * sizeof *clean);
    return true;
}

static void say_spoilt(const pending *p)
{
    const wf_carry *carry = p->carry;
    char others[64] = "";
    if (p->spoilt > 1) {
        wf_format(others, sizeof others, " and %lld other%s", (long long)(p->spoilt - 1),
                  p->spoilt > 2 ? "s" : "");
    }
    wf_log_line(
        "rnn '%s': state %s of layer %lld is %s in sequence %lld%s; the carry keeps what it "
        "held for %s",
        wf_module_path(wf_rnn_module(carry->rnn)), carry->cell->states[p->k].name,
        (long long)p->layer, __builtin_isnan(p->value) ? "nan" : "infinite", (long long)p->sequence,
        others, p->spoilt > 1 ? "them" : "it");
}

/* The tape's results are permanent from now on: the oldest state that was kept is forgotten. Of
 * sequences that were reset since, nothing is known. */
static void make_permanent(void *context)
{
    pending *p = context;
    wf_carry *carry = p->carry;
    /* What the memory holds is as good, and survives a rewind of the tape. */
    if (carry->latest == p) carry->latest = NULL;
    bool any = false;
    for (int64_t b = 0; b < carry->batch; b++) any = any || carry->reset[b] <= p->epoch;
    if (!any) return;
    for (int64_t i = 0; i < states_of(carry); i++) {
        wf_tensor *newest = &carry->newest[i], row;
        size_t one = (size_t)(wf_tensor_count(newest) * wf_dtype_size(carry->dtype));
        char *first = carry->state[i].data;
        memmove(first, first + one, (size_t)(carry->kept - 1) * one);
        wf_tensor_copy(wf_value(p->state[i]), newest);
        for (int64_t b = 0; b < carry->batch; b++)
            if (carry->reset[b] > p->epoch && wf_view_select(newest, 0, b, &row))
                wf_tensor_fill(&row, 0);
    }
    for (int64_t b = 0; b < carry->batch; b++)
        if (carry->reset[b] <= p->epoch) carry->age[b] = p->age[b];
    if (p->spoilt && !carry->said) say_spoilt(p);
    carry->said = p->spoilt > 0;
}

/* Is there a step of sequence b that the call has read? Where windows are read again, each is
 * counted, whatever there is of it. */
static bool has_read(const wf_carry *carry, const carry_window *window, const wf_tensor *lengths,
                     int64_t b)
{
    if (rereads(carry)) return true;
    return lengths ? wf_tensor_at(lengths, b) > 0 : window->time > 0;
}

bool carry_write(wf_tape *t, wf_carry *carry, const carry_window *window, const wf_var *lengths,
                 wf_var *const begun[], wf_var *const state[])
{
    size_t bytes = (size_t)states_of(carry) * sizeof state[0];
    for (int64_t i = 0; i < states_of(carry); i++)
        if (!wf_value(state[i])) return false; /* of a step that is only recorded: said by it */
    const wf_tensor *length = lengths ? wf_value(lengths) : NULL;
    pending *p = wf_tape_memory(t, sizeof *p + bytes);
    int32_t *age = wf_tape_memory(t, (size_t)carry->batch * sizeof *age);
    if (!p || !age) return false;
    p->carry = carry;
    p->before = carry->latest && carry->generation == wf_tape_generation(t) ? carry->latest : NULL;
    p->generation = wf_tape_generation(t);
    p->epoch = carry->epoch;
    p->age = age;
    memcpy(p->state, state, bytes);
    for (int64_t b = 0; b < carry->batch; b++) {
        age[b] = age_of(t, carry, b);
        if (age[b] < carry->kept && has_read(carry, window, length, b)) age[b]++;
        if (window->ends) age[b] = ENDED;
    }
    if (!keep_finite(t, p, begun)) return false;
    carry->latest = p;
    carry->generation = p->generation;
    return wf_tape_on_commit(t, make_permanent, p);
}

/* ---- in files ---- */

/* "h_l0": state k of a layer, as parameters are named. */
static const char *state_name(const wf_carry *carry, int64_t i, const char *prefix, char text[300])
{
    wf_format(text, 300, "%s%s_l%lld", prefix ? prefix : "",
              carry->cell->states[i % carry->form.states].name,
              (long long)(i / carry->form.states));
    return text;
}

/* Must a file say how many windows of each sequence's text are known? */
static bool counts_windows(const wf_carry *carry)
{
    return rereads(carry) || carry->form.learned;
}

/* "truncation" and "windows": what there is beside the states. */
static const char *fact_name(const char *fact, const char *prefix, char text[300])
{
    wf_format(text, 300, "%s%s", prefix ? prefix : "", fact);
    return text;
}

bool wf_carry_to_bundle(const wf_carry *carry, wf_bundle *bundle, const char *prefix)
{
    if (!carry) return wf_bundle_fail(bundle, "carry: it was never made; wf_module_ok says why");
    char name[300];
    for (int64_t i = 0; i < states_of(carry); i++)
        if (!wf_bundle_add(bundle, state_name(carry, i, prefix, name), &carry->state[i]))
            return false;
    if (!counts_windows(carry)) return true;
    int32_t of_both[2] = { (int32_t)carry->update, (int32_t)carry->backward };
    wf_tensor truncation = wf_tensor_of(WF_I32, WF_SHAPE(2), of_both),
              windows = wf_tensor_of(WF_I32, WF_SHAPE(carry->batch), carry->age);
    const char *before = prefix ? prefix : "";
    return (!rereads(carry) || wf_bundle_copyf(bundle, &truncation, "%struncation", before)) &&
           wf_bundle_addf(bundle, &windows, "%swindows", before);
}

/* Is x a fact of n whole numbers? */
static bool fact_fits(const wf_tensor *x, int64_t n, const char *file, const char *name,
                      wf_error *error)
{
    if (!x) return wf_error_set(error, "load %s: missing '%s'", file, name);
    wf_shape got = wf_tensor_shape(x);
    if (x->dtype == WF_I32 && got.rank == 1 && got.dim[0] == n) return true;
    char text[128];
    return wf_error_set(error, "load %s: '%s' is %s %s in the file and i32 (%lld) in the carry",
                        file, name, wf_dtype_name(x->dtype),
                        wf_shape_text(text, sizeof text, got.rank, got.dim), (long long)n);
}

/* Is the file's carry truncated as this one? */
static bool truncation_fits(const wf_carry *carry, const wf_archive *archive, const char *prefix,
                            const char *file, wf_error *error)
{
    char name[300];
    const wf_tensor *x = wf_archive_find(archive, fact_name("truncation", prefix, name));
    if (!fact_fits(x, 2, file, name, error)) return false;
    int64_t k1 = (int64_t)wf_tensor_at(x, 0), k2 = (int64_t)wf_tensor_at(x, 1);
    if (k1 != carry->update || k2 != carry->backward) {
        return wf_error_set(error,
                            "load %s: '%s' is %lld, %lld in the file and %lld, %lld in the carry",
                            file, name, (long long)k1, (long long)k2, (long long)carry->update,
                            (long long)carry->backward);
    }
    return true;
}

/* Is what the file says of each sequence's text possible? */
static bool windows_fit(const wf_carry *carry, const wf_archive *archive, const char *prefix,
                        const char *file, wf_error *error)
{
    char name[300];
    const int least = rereads(carry) ? ENDED : 0;
    const wf_tensor *x = wf_archive_find(archive, fact_name("windows", prefix, name));
    if (!fact_fits(x, carry->batch, file, name, error)) return false;
    for (int64_t b = 0; b < carry->batch; b++) {
        int32_t age = (int32_t)wf_tensor_at(x, b);
        if (age >= least && age <= carry->kept) continue;
        return wf_error_set(error, "load %s: '%s' is %d in sequence %lld; it must be %d to %lld",
                            file, name, age, (long long)b, least, (long long)carry->kept);
    }
    return true;
}

/* Is x what state i may become? */
static bool state_fits(const wf_carry *carry, int64_t i, const wf_tensor *x, const char *file,
                       const char *name, wf_error *error)
{
    if (!x) return wf_error_set(error, "load %s: missing '%s'", file, name);
    wf_shape want = wf_tensor_shape(&carry->state[i]), got = wf_tensor_shape(x);
    char a[128], b[128];
    if (!wf_shape_equal(&want, &got)) {
        return wf_error_set(error, "load %s: '%s' is %s in the file and %s in the carry", file,
                            name, wf_shape_text(a, sizeof a, got.rank, got.dim),
                            wf_shape_text(b, sizeof b, want.rank, want.dim));
    }
    if (x->dtype == WF_I32) {
        return wf_error_set(error, "load %s: '%s' is i32 in the file; a state is f32 or f64", file,
                            name);
    }
    for (int64_t k = 0; k < wf_tensor_count(x); k++) {
        double value = wf_dtype_round(carry->dtype, wf_tensor_at(x, k));
        if (__builtin_isfinite(value)) continue;
        return wf_error_set(error,
                            "load %s: '%s' is %s in sequence %lld; a carry holds finite states",
                            file, name, __builtin_isnan(value) ? "nan" : "infinite",
                            (long long)(k / want.dim[want.rank - 1] % carry->batch));
    }
    return true;
}

bool wf_carry_load_archive(wf_carry *carry, const char *name, const wf_archive *archive,
                           const char *prefix, wf_error *error)
{
    WF_FP_SCOPE uint32_t fp = wf_fp_enter_exact();
    char text[300];
    if (!name) name = "(archive)";
    if (!wf_carry_ok(carry, error)) return false;
    if (!archive) return wf_error_set(error, "load %s: there is no archive (NULL)", name);
    for (int64_t i = 0; i < states_of(carry); i++) {
        const wf_tensor *x = wf_archive_find(archive, state_name(carry, i, prefix, text));
        if (!state_fits(carry, i, x, name, text, error)) return false;
    }
    if (rereads(carry) && !truncation_fits(carry, archive, prefix, name, error)) return false;
    if (counts_windows(carry) && !windows_fit(carry, archive, prefix, name, error)) return false;
    wf_carry_reset(carry); /* what a tape would still commit is forgotten */
    for (int64_t i = 0; i < states_of(carry); i++) {
        wf_tensor_copy(wf_archive_find(archive, state_name(carry, i, prefix, text)),
                       &carry->state[i]);
    }
    for (int64_t b = 0; counts_windows(carry) && b < carry->batch; b++) {
        const wf_tensor *x = wf_archive_find(archive, fact_name("windows", prefix, text));
        carry->age[b] = (int32_t)wf_tensor_at(x, b);
    }
    return true;
}
