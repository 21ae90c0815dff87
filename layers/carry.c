/* State that outlives a step. What a call leaves is at first the tape's: later calls on it see
 * it at once, and only when the tape commits is it copied into the carry's own memory, so that a
 * failed step or a rehearsal leaves no trace. */
#include "layers/private.h"
#include "tensor/par.h"
#include "tensor/runtime.h"
#include "tensor/size.h"
#include "tensor/text.h"

#include <string.h>

/* What one call left on a tape; lives in the tape's memory. */
typedef struct pending {
    wf_carry *carry;
    uint64_t generation, epoch; /* of the tape; of the carry */
    /* How many sequences had a value that was not finite, and the first: which layer, state and
     * sequence, and the value. */
    int64_t spoilt, layer, sequence;
    int k;
    double value;
    wf_var *state[]; /* layers * states */
} pending;

struct wf_carry {
    const wf_rnn *rnn; /* compared; followed only while a tape that used it commits */
    const wf_cell *cell;
    rnn_form form;
    int64_t batch;
    wf_dtype dtype;
    uint64_t epoch;  /* grows with every reset, which cancels what is pending */
    pending *latest; /* good while its tape is in the generation below */
    uint64_t generation;
    bool said;        /* that values were not finite; once until they are */
    wf_tensor *state; /* layers * states, (B, width) */
};

static int64_t states_of(const wf_carry *carry)
{
    return carry->form.layers * carry->form.states;
}

wf_carry *wf_carry_new(const wf_rnn *rnn, int64_t batch)
{
    if (!rnn) return NULL; /* the tree knows why */
    wf_module *module = wf_rnn_module(rnn);
    rnn_form form = rnn_form_of(rnn);
    if (batch < 1) {
        wf_module_fail(module, "carry: its batch is %lld; it must be 1 or more", (long long)batch);
        return NULL;
    }
    if (form.directions != 1 || form.reverse) {
        wf_module_fail(module,
                       "carry: a %s rnn cannot be carried: %s begins at the end of what is still "
                       "to come",
                       form.reverse ? "reverse" : "bidirectional",
                       form.reverse ? "it" : "its reverse direction");
        return NULL;
    }
    /* One block: the carry, its tensors, their numbers. */
    wf_dtype dtype = wf_module_dtype(module);
    int64_t width = 0, numbers, bytes, head;
    bool fits = true;
    for (int k = 0; k < form.states; k++) fits = fits && wf_size_add(width, form.width[k], &width);
    fits = fits && wf_size_mul(form.layers, width, &numbers) &&
           wf_size_mul(numbers, batch, &numbers) &&
           wf_size_mul(numbers, wf_dtype_size(dtype), &bytes) &&
           wf_size_mul(form.layers, form.states * (int64_t)sizeof(wf_tensor), &head) &&
           wf_size_add(head, (int64_t)sizeof(wf_carry), &head) &&
           wf_size_align(head, WF_ALIGNMENT, &head) && wf_size_add(bytes, head, &bytes);
    char *memory = fits ? wf_alloc_zero((size_t)bytes) : NULL;
    if (!memory) {
        wf_module_fail(module, "carry: out of memory for %lld sequences", (long long)batch);
        return NULL;
    }
    wf_carry *carry = (wf_carry *)memory;
    carry->rnn = rnn;
    carry->cell = wf_rnn_row(rnn);
    carry->form = form;
    carry->batch = batch;
    carry->dtype = dtype;
    carry->state = (wf_tensor *)(memory + sizeof *carry);
    char *at = memory + head;
    for (int64_t i = 0; i < states_of(carry); i++) {
        int64_t w = form.width[i % form.states];
        carry->state[i] = wf_tensor_of(dtype, WF_SHAPE(batch, w), at);
        at += batch * w * wf_dtype_size(dtype);
    }
    return carry;
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
    carry->latest = NULL;
    carry->said = false;
}

const wf_tensor *wf_carry_state(const wf_carry *carry, int64_t layer, int direction, int k)
{
    if (!carry || direction != 0 || layer < 0 || layer >= carry->form.layers || k < 0 ||
        k >= carry->form.states)
        return NULL;
    return &carry->state[layer * carry->form.states + k];
}

/* ---- on a tape ---- */

bool carry_fits(wf_tape *t, const wf_carry *carry, const wf_rnn *rnn, const wf_var *x)
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
    return true;
}

wf_var *carry_read(wf_tape *t, const wf_carry *carry, int64_t layer, int k, wf_dtype dtype)
{
    int64_t i = layer * carry->form.states + k;
    if (carry->latest && carry->generation == wf_tape_generation(t))
        return wf_detach(t, carry->latest->state[i]);
    /* A checker works in double on what the program trains in float. */
    wf_tensor to; /* (B, width) */
    wf_var *state = wf_constant_fill(t, dtype, wf_tensor_shape(&carry->state[i]), &to);
    wf_tensor_copy(&carry->state[i], &to);
    return state;
}

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
static bool keep_finite(wf_tape *t, pending *p)
{
    wf_carry *carry = p->carry;
    int64_t n = states_of(carry);
    wf_var **clean = NULL, **old = NULL;
    wf_tensor *to = NULL, from, row; /* to: what clean holds */
    for (int64_t b = 0; b < carry->batch; b++) {
        if (sequence_is_finite(p, b)) continue;
        p->spoilt++;
        if (!clean && (!(clean = wf_tape_memory(t, 2 * (size_t)n * sizeof *clean)) ||
                       !(to = wf_tape_memory(t, (size_t)n * sizeof *to))))
            return false;
        old = clean + n;
        for (int64_t i = 0; i < n; i++) {
            const wf_tensor *made = wf_value(p->state[i]);
            if (!clean[i]) {
                old[i] = carry_read(t, carry, i / carry->form.states, (int)(i % carry->form.states),
                                    made->dtype);
                clean[i] = wf_constant_fill(t, made->dtype, wf_tensor_shape(made), &to[i]);
                if (!old[i] || !clean[i]) return false;
                wf_tensor_copy(made, &to[i]); /* (B, width) */
            }
            if (wf_view_select(wf_value(old[i]), 0, b, &from) && wf_view_select(&to[i], 0, b, &row))
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

/* The tape's results are permanent from now on. */
static void make_permanent(void *context)
{
    pending *p = context;
    wf_carry *carry = p->carry;
    if (p->epoch != carry->epoch) return;
    for (int64_t i = 0; i < states_of(carry); i++)
        wf_tensor_copy(wf_value(p->state[i]), &carry->state[i]);
    if (p->spoilt && !carry->said) say_spoilt(p);
    carry->said = p->spoilt > 0;
    /* What the memory holds is as good, and survives a rewind of the tape. */
    if (carry->latest == p) carry->latest = NULL;
}

bool carry_write(wf_tape *t, wf_carry *carry, wf_var *const state[])
{
    size_t bytes = (size_t)states_of(carry) * sizeof state[0];
    for (int64_t i = 0; i < states_of(carry); i++)
        if (!wf_value(state[i])) return false; /* of a step that is only recorded: said by it */
    pending *p = wf_tape_memory(t, sizeof *p + bytes);
    if (!p) return false;
    p->carry = carry;
    p->generation = wf_tape_generation(t);
    p->epoch = carry->epoch;
    memcpy(p->state, state, bytes);
    if (!keep_finite(t, p)) return false;
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

bool wf_carry_to_bundle(const wf_carry *carry, wf_bundle *bundle, const char *prefix)
{
    if (!carry) return wf_bundle_fail(bundle, "carry: it was never made; wf_module_ok says why");
    char name[300];
    for (int64_t i = 0; i < states_of(carry); i++)
        if (!wf_bundle_add(bundle, state_name(carry, i, prefix, name), &carry->state[i]))
            return false;
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
        return wf_error_set(
            error, "load %s: '%s' is %s in sequence %lld; a carry holds finite states", file, name,
            __builtin_isnan(value) ? "nan" : "infinite", (long long)(k / want.dim[1]));
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
    wf_carry_reset(carry); /* what a tape would still commit is forgotten */
    for (int64_t i = 0; i < states_of(carry); i++) {
        wf_tensor_copy(wf_archive_find(archive, state_name(carry, i, prefix, text)),
                       &carry->state[i]);
    }
    return true;
}
