/* The optimiser: which parameters it moves, its buffers, and one pass over all of them in fixed
 * blocks. */
#include "optim/private.h"
#include "tensor/isa.h"
#include "tensor/par.h"
#include "tensor/runtime.h"
#include "tensor/size.h"
#include "tensor/text.h"

#include <math.h>
#include <stdarg.h>
#include <string.h>

const optim_table *optim_kernels(void)
{
    switch (wf_isa_level()) {
#ifdef __x86_64__
    case WF_ISA_AVX512: return wf_optim_kernels_avx512();
    case WF_ISA_AVX2: return wf_optim_kernels_avx2();
#endif
    default: return wf_optim_kernels_c();
    }
}

void optim_complain(const char *format, ...)
{
    wf_error said = { 0 };
    char text[sizeof said.text];
    va_list list;
    va_start(list, format);
    wf_vformat(text, sizeof text, format, list);
    va_end(list);
    wf_error_set(&said, "%s", text); /* passes wf_on_error */
    wf_log_line("%s", said.text);
}

/* Counts parameters, blocks and bytes of state; false when they do not fit. */
static bool measure(const wf_module *module, int states, int64_t *slots, int64_t *blocks,
                    int64_t *bytes)
{
    *slots = wf_module_param_count(module);
    *blocks = *bytes = 0;
    for (int64_t i = 0; i < *slots; i++) {
        const wf_tensor *value = wf_param_value(wf_module_param_at(module, i));
        int64_t count = wf_tensor_count(value), state;
        *blocks += (count + OPTIM_BLOCK - 1) / OPTIM_BLOCK;
        if (!wf_size_mul(count, wf_dtype_size(value->dtype), &state) ||
            !wf_size_align(state, 64, &state) || !wf_size_mul(state, states, &state) ||
            !wf_size_add(*bytes, state, bytes)) {
            return false;
        }
    }
    return true;
}

static void fill(wf_optim *o, const wf_module *module)
{
    char *at = o->memory;
    int64_t block = 0;
    for (int64_t i = 0; i < o->slots; i++) {
        slot *s = &o->slot[i];
        s->param = wf_module_param_at(module, i);
        const wf_tensor *value = wf_param_value(s->param);
        s->dtype = value->dtype;
        s->count = wf_tensor_count(value);
        s->first = block;
        block += (s->count + OPTIM_BLOCK - 1) / OPTIM_BLOCK;
        for (int k = 0; k < o->rule.states; k++) {
            s->state[k] = wf_tensor_of(s->dtype, wf_tensor_shape(value), at);
            at += (s->count * wf_dtype_size(s->dtype) + 63) & ~INT64_C(63);
        }
    }
}

wf_optim *wf_optim_new(wf_module *module, const wf_optim_rule *rule, double lr, const void *options)
{
    if (!wf_module_ok(module, NULL)) return NULL;
    if (!rule || !rule->name || !rule->update || rule->states < 0 || rule->states > 4) {
        wf_module_fail(module, "optim: the rule needs a name, an update and 0 to 4 states");
        return NULL;
    }
    const char *name = rule->name;
    if (!(lr >= 0) || isinf(lr)) {
        wf_module_fail(module, "%s: .lr is %g; it must be in [0, inf)", name, lr);
        return NULL;
    }
    if (rule->options_size > 0 && !options) {
        wf_module_fail(module, "%s: it has options and none were given", name);
        return NULL;
    }
    int64_t slots, blocks, bytes;
    if (!measure(module, rule->states, &slots, &blocks, &bytes)) {
        wf_module_fail(module, "%s: its buffers would take more bytes than can be counted", name);
        return NULL;
    }
    if (slots == 0) {
        wf_module_fail(module, "%s: the module has no parameters", name);
        return NULL;
    }

    wf_optim *o = wf_alloc_zero(sizeof *o);
    if (o) {
        o->rule = *rule;
        o->lr = lr;
        o->slots = slots;
        o->blocks = blocks;
        o->slot = wf_alloc_zero((size_t)slots * sizeof *o->slot);
        o->sum = wf_alloc_zero((size_t)blocks * sizeof *o->sum);
        o->memory = wf_alloc_zero((size_t)bytes);
        o->options = wf_alloc(rule->options_size);
    }
    if (!o || !o->slot || (blocks > 0 && !o->sum) || (bytes > 0 && !o->memory) ||
        (rule->options_size > 0 && !o->options)) {
        wf_optim_free(o);
        wf_module_fail(module, "%s: out of memory for its buffers of %lld bytes", name,
                       (long long)bytes);
        return NULL;
    }
    if (rule->options_size > 0) memcpy(o->options, options, rule->options_size);
    fill(o, module);
    return o;
}

void wf_optim_free(wf_optim *o)
{
    if (!o) return;
    wf_release(o->options);
    wf_release(o->memory);
    wf_release(o->sum);
    wf_release(o->slot);
    wf_release(o);
}

int64_t optim_gather(wf_optim *o)
{
    int64_t found = 0;
    for (int64_t i = 0; i < o->slots; i++) {
        slot *s = &o->slot[i];
        const wf_tensor *grad = wf_param_grad(s->param);
        s->grad = grad ? grad->data : NULL;
        s->value = wf_param_value(s->param)->data;
        found += grad != NULL;
    }
    return found;
}

typedef struct pass {
    wf_optim *optim;
    optim_block_fn *fn;
    void *context;
} pass;

static void run_blocks(void *context, int64_t begin, int64_t end)
{
    const pass *p = context;
    wf_optim *o = p->optim;
    int64_t low = 0, high = o->slots; /* the last parameter that begins at or before `begin` */
    while (high - low > 1) {
        int64_t middle = low + (high - low) / 2;
        if (o->slot[middle].first <= begin) {
            low = middle;
        } else {
            high = middle;
        }
    }
    for (int64_t i = low, block = begin; block < end; i++) {
        slot *s = &o->slot[i];
        for (; block < end; block++) {
            int64_t start = (block - s->first) * OPTIM_BLOCK;
            if (start >= s->count) break;
            int64_t n = s->count - start < OPTIM_BLOCK ? s->count - start : OPTIM_BLOCK;
            if (s->grad) p->fn(o, s, start, n, block, p->context);
        }
    }
}

void optim_for_blocks(wf_optim *o, optim_block_fn *fn, void *context)
{
    wf_par_for(wf_threads(), o->blocks, OPTIM_GRAIN, run_blocks, &(pass){ o, fn, context });
}

static void update_block(wf_optim *o, slot *s, int64_t start, int64_t n, int64_t block,
                         void *context)
{
    (void)block;
    (void)context;
    int64_t skip = start * wf_dtype_size(s->dtype);
    wf_optim_call call = {
        .dtype = s->dtype,
        .n = n,
        .value = s->value + skip,
        .grad = s->grad + skip,
        .step = s->steps,
        .lr = o->lr,
        .options = o->options,
    };
    for (int k = 0; k < o->rule.states; k++) call.state[k] = (char *)s->state[k].data + skip;
    o->rule.update(&call);
}

bool wf_optim_step(wf_optim *o)
{
    if (!o) return false;
    if (optim_gather(o) == 0) return true;
    o->steps++;
    for (int64_t i = 0; i < o->slots; i++) o->slot[i].steps += o->slot[i].grad != NULL;
    optim_for_blocks(o, update_block, NULL);
    for (int64_t i = 0; i < o->slots; i++) {
        if (!o->slot[i].grad) continue;
        wf_param_changed(o->slot[i].param);
        wf_param_clear_grad(o->slot[i].param);
    }
    return true;
}

double wf_optim_lr(const wf_optim *o)
{
    return o ? o->lr : (double)NAN;
}

void wf_optim_set_lr(wf_optim *o, double lr)
{
    if (!o) return;
    if (lr >= 0 && !isinf(lr)) {
        o->lr = lr;
    } else {
        optim_complain("%s: the learning rate was to be %g; it must be in [0, inf), and stays %g",
                       o->rule.name, lr, o->lr);
    }
}

int64_t wf_optim_steps(const wf_optim *o)
{
    return o ? o->steps : -1;
}

void wf_optim_set_steps(wf_optim *o, int64_t steps)
{
    if (!o) return;
    o->steps = steps > 0 ? steps : 0;
    for (int64_t i = 0; i < o->slots; i++) o->slot[i].steps = o->steps;
}

const wf_tensor *wf_optim_state(const wf_optim *o, int64_t i, int k)
{
    return o && i >= 0 && i < o->slots && k >= 0 && k < o->rule.states ? &o->slot[i].state[k]
                                                                       : NULL;
}

const wf_optim_rule *wf_optim_rule_of(const wf_optim *o)
{
    return o ? &o->rule : NULL;
}
