/* State that outlives a step. What a call leaves is at first the tape's: later calls on it see
 * it at once, and only when the tape commits is it copied into the carry's own memory, so that a
 * failed step or a rehearsal leaves no trace. */
#include "layers/private.h"
#include "tensor/runtime.h"
#include "tensor/size.h"

#include <string.h>

/* What one call left on a tape; lives in the tape's memory. */
typedef struct pending {
    wf_carry *carry;
    uint64_t generation, epoch;                    /* of the tape; of the carry */
    wf_var *state[];                               /* layers * states */
} pending;

struct wf_carry {
    const wf_rnn *rnn;                             /* compared, never followed */
    rnn_form form;
    int64_t batch;
    wf_dtype dtype;
    uint64_t epoch;  /* grows with every reset, which cancels what is pending */
    pending *latest; /* good while its tape is in the generation below */
    uint64_t generation;
    wf_tensor *state;                              /* layers * states, (B, width) */
};

static int64_t states_of(const wf_carry *carry)
{
    return carry->form.layers * carry->form.states;
}

wf_carry *wf_carry_new(const wf_rnn *rnn, int64_t batch)
{
    if (!rnn) return NULL;                                     /* the tree knows why */
    wf_module *module = wf_rnn_module(rnn);
    rnn_form form = rnn_form_of(rnn);
    if (batch < 1) {
        wf_module_fail(module, "carry: its batch is %lld; it must be 1 or more", (long long)batch);
        return NULL;
    }
    if (form.directions != 1) {
        wf_module_fail(
            module, "carry: a bidirectional rnn cannot be carried: its reverse direction begins at "
                    "the end of what is still to come");
        return NULL;
    }
    /* One block: the carry, its tensors, their numbers. */
    wf_dtype dtype = wf_module_dtype(module);
    int64_t width = 0, numbers, bytes, head;
    for (int k = 0; k < form.states; k++) width += form.width[k];
    bool fits = wf_size_mul(form.layers, width, &numbers) &&
                wf_size_mul(numbers, batch, &numbers) &&
                wf_size_mul(numbers, wf_dtype_size(dtype), &bytes) &&
                wf_size_align((int64_t)sizeof(wf_carry) +
                                  form.layers * form.states * (int64_t)sizeof(wf_tensor),
                              64, &head) &&
                wf_size_add(bytes, head, &bytes);
    char *memory = fits ? wf_alloc_zero((size_t)bytes) : NULL;
    if (!memory) {
        wf_module_fail(module, "carry: out of memory for %lld sequences", (long long)batch);
        return NULL;
    }
    wf_carry *carry = (wf_carry *)memory;
    carry->rnn = rnn;
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
    if (carry) return true;
    return wf_error_set(error, "carry: it was never made; wf_module_ok says why");
}

void wf_carry_reset(wf_carry *carry)
{
    if (!carry) return;
    for (int64_t i = 0; i < states_of(carry); i++) wf_tensor_fill(&carry->state[i], 0);
    carry->epoch++;
    carry->latest = NULL;
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
    wf_var *state = wf_zeros(t, dtype, wf_tensor_shape(&carry->state[i]));     /* (B, width) */
    if (state) wf_tensor_copy(&carry->state[i], wf_value(state));
    return state;
}

/* The tape's results are permanent from now on. */
static void make_permanent(void *context)
{
    pending *p = context;
    wf_carry *carry = p->carry;
    if (p->epoch != carry->epoch) return;
    for (int64_t i = 0; i < states_of(carry); i++)
        wf_tensor_copy(wf_value(p->state[i]), &carry->state[i]);
    /* What the memory holds is as good, and survives a rewind of the tape. */
    if (carry->latest == p) carry->latest = NULL;
}

bool carry_write(wf_tape *t, wf_carry *carry, wf_var *const state[])
{
    size_t bytes = (size_t)states_of(carry) * sizeof state[0];
    pending *p = tape_memory(t, sizeof *p + bytes);
    if (!p) return false;
    p->carry = carry;
    p->generation = wf_tape_generation(t);
    p->epoch = carry->epoch;
    memcpy(p->state, state, bytes);
    carry->latest = p;
    carry->generation = p->generation;
    return wf_tape_on_commit(t, make_permanent, p);
}
