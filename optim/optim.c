/* The optimiser: which parameters it moves, its buffers, and one pass over all of them in fixed
 * blocks, once no gradient is found that would spoil them. */
#include "optim/private.h"
#include "tensor/par.h"
#include "tensor/runtime.h"
#include "tensor/size.h"
#include "tensor/text.h"

#include <math.h>
#include <stdarg.h>
#include <string.h>

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

/* Lays out the slots: parameters, their blocks and, from `at` on, places of buffers (NULL: only
 * counts). False when they are more than can be counted. */
static bool lay_out(wf_optim *o, char *at, int64_t *bytes)
{
    o->blocks = *bytes = 0;
    for (int64_t i = 0; i < o->slots; i++) {
        slot *s = &o->slot[i];
        const wf_tensor *value = wf_param_value(s->param);
        int64_t size;
        s->dtype = value->dtype;
        s->count = wf_tensor_count(value);
        s->width = value->rank > 0 && value->dim[0] > 0 ? s->count / value->dim[0] : s->count;
        o->blocks += (s->count + OPTIM_BLOCK - 1) / OPTIM_BLOCK;
        if (!wf_size_mul(s->count, wf_dtype_size(s->dtype), &size) ||
            !wf_size_align(size, WF_ALIGNMENT, &size)) {
            return false;
        }
        for (int k = 0; k < o->rule.states; k++) {
            if (at) s->state[k] = wf_tensor_of(s->dtype, wf_tensor_shape(value), at + *bytes);
            if (!wf_size_add(*bytes, size, bytes)) return false;
        }
    }
    return true;
}

/* Is the rule one that can be run, and can be told from others in a file? */
static bool rule_fits(wf_module *module, const wf_optim_rule *rule)
{
    if (!rule || !rule->name || !rule->update || rule->states < 0 || rule->states > WF_OPTIM_STATES)
        return wf_module_fail(module, "optim: the rule needs a name, an update and 0 to 4 states");
    if (rule->options_size > WF_ROW_BYTES)
        return wf_module_fail(module, "%s: its options have %zu bytes; 0 to %d can be", rule->name,
                              rule->options_size, WF_ROW_BYTES);
    for (int k = 0; k < rule->states; k++) {
        const char *name = rule->state_names[k];
        if (!name || !*name || strchr(name, '.') || !strcmp(name, "step"))
            return wf_module_fail(module,
                                  "%s: state %d needs a name, without '.', that is not 'step'",
                                  rule->name, k);
        for (int i = 0; i < k; i++)
            if (!strcmp(name, rule->state_names[i]))
                return wf_module_fail(module, "%s: states %d and %d are both named '%s'",
                                      rule->name, i, k, name);
    }
    for (const wf_optim_option *o = rule->options; o && o->name; o++) {
        size_t size = o->flag ? sizeof(bool) : sizeof(double);
        if (rule->options_size < size || o->offset > rule->options_size - size)
            return wf_module_fail(module, "%s: .%s lies outside its options of %zu bytes",
                                  rule->name, o->name, rule->options_size);
    }
    return true;
}

/* An optimiser with its slots and groups, but no buffers yet; NULL when there is no memory. */
static wf_optim *optim_begin(wf_module *module, const wf_optim_rule *rule, int64_t slots, double lr,
                             const void *options)
{
    wf_optim *o = wf_alloc_zero(sizeof *o);
    if (!o) return NULL;
    o->rule = *rule;
    o->module = module;
    o->slots = slots;
    o->slot = wf_alloc_zero((size_t)slots * sizeof *o->slot);
    o->candidate = wf_alloc_zero(rule->options_size);
    if (!o->slot || (rule->options_size > 0 && !o->candidate) ||
        !optim_group_add(o, NULL, lr, options)) {
        wf_optim_free(o);
        return NULL;
    }
    size_t skip = strlen(wf_module_path(module));
    for (int64_t i = 0; i < slots; i++) {
        slot *s = &o->slot[i];
        s->param = wf_module_param_at(module, i);
        s->path = wf_param_path(s->param) + (skip ? skip + 1 : 0);
    }
    return o;
}

wf_optim *wf_optim_new(wf_module *module, const wf_optim_rule *rule, double lr, const void *options)
{
    WF_FP_SCOPE uint32_t fp = wf_fp_enter();
    if (!wf_module_ok(module, NULL) || !rule_fits(module, rule)) return NULL;
    const char *name = rule->name;
    wf_error e = { "" };
    if (!optim_is_rate(lr)) {
        wf_module_fail(module, "%s: .lr is %g; it must be in [0, inf)", name, lr);
        return NULL;
    }
    if (rule->options_size > 0 && !options) {
        wf_module_fail(module, "%s: it has options and none were given", name);
        return NULL;
    }
    if (!optim_options_check(rule, options, &e)) {
        wf_module_fail(module, "%s", e.text);
        return NULL;
    }
    int64_t slots = wf_module_param_count(module), bytes = 0;
    if (slots == 0) {
        wf_module_fail(module, "%s: the module has no parameters", name);
        return NULL;
    }
    wf_optim *o = optim_begin(module, rule, slots, lr, options);
    if (o && !lay_out(o, NULL, &bytes)) {
        wf_optim_free(o);
        wf_module_fail(module, "%s: its buffers would take more bytes than can be counted", name);
        return NULL;
    }
    if (o) {
        o->block = wf_alloc_zero((size_t)o->blocks * sizeof *o->block);
        o->memory = wf_alloc_zero((size_t)bytes);
    }
    if (!o || (o->blocks > 0 && !o->block) || (bytes > 0 && !o->memory)) {
        wf_optim_free(o);
        wf_module_fail(module, "%s: out of memory for its buffers of %lld bytes", name,
                       (long long)bytes);
        return NULL;
    }
    lay_out(o, o->memory, &bytes);
    return o;
}

void wf_optim_free(wf_optim *o)
{
    if (!o) return;
    while (o->groups > 0) optim_group_drop(o);
    wf_release(o->group);
    wf_release(o->candidate);
    wf_release(o->memory);
    wf_release(o->block);
    wf_release(o->slot);
    wf_release(o);
}

/* ---- passes ---- */

/* The blocks of a parameter that the rows in its list reach into. */
static void add_blocks_of_rows(wf_optim *o, slot *s)
{
    int64_t end = 0; /* of the blocks so far */
    for (int64_t i = 0; i < s->rows.n; i++) {
        int64_t from = s->rows.row[i] * s->width, to = from + s->width;
        for (int64_t at = from < end ? end : from / OPTIM_BLOCK * OPTIM_BLOCK; at < to; at = end) {
            end = at + OPTIM_BLOCK;
            o->block[o->blocks++] = (block){ .slot = s, .start = at, .row = i };
        }
    }
}

static bool leaves_others(const wf_optim *o, const slot *s)
{
    const void *options = o->group[s->group].options;
    return o->rule.rows_only && o->rule.rows_only(&o->rule, options);
}

/* The blocks that a pass visits: one that looks at gradients, or one that moves what the rule
 * does not leave alone. Where all is visited they are the same. */
static void add_blocks(wf_optim *o, bool moves)
{
    if (moves && o->whole) return;
    o->blocks = o->numbers = 0;
    o->whole = true;
    o->grain = moves ? 1 : OPTIM_LANES;
    for (int64_t i = 0; i < o->slots; i++) {
        slot *s = &o->slot[i];
        if (!s->grad) continue;
        if (s->rows.row && (!moves || leaves_others(o, s))) {
            add_blocks_of_rows(o, s);
            o->numbers += s->rows.n * s->width;
            o->whole = false;
            continue;
        }
        o->numbers += s->count;
        for (int64_t at = 0; at < s->count; at += OPTIM_BLOCK)
            o->block[o->blocks++] = (block){ .slot = s, .start = at, .row = -1 };
    }
}

int64_t optim_gather(wf_optim *o)
{
    int64_t found = 0;
    for (int64_t i = 0; i < o->slots; i++) {
        slot *s = &o->slot[i];
        s->rows = wf_param_grad_rows(s->param);
        s->grad = s->rows.grad ? s->rows.grad->data : NULL;
        s->value = wf_param_value(s->param)->data;
        found += s->grad != NULL;
    }
    add_blocks(o, false);
    return found;
}

/* Numbers start .. end - 1 of a block, and the row in the list that comes next. */
typedef struct stretch {
    int64_t start, end, row;
} stretch;

static int64_t numbers_in(const block *b)
{
    const int64_t left = b->slot->count - b->start;
    return left < OPTIM_BLOCK ? left : OPTIM_BLOCK;
}

/* The next stretch of rows in a block. Rows that meet are one; where numbers are summed it takes
 * whole groups of lanes, and so reads some zeros. */
static bool next_stretch(const block *b, int64_t grain, stretch *at)
{
    const slot *s = b->slot;
    const int64_t n = numbers_in(b);
    bool found = false;
    for (; at->row < s->rows.n; at->row++) {
        int64_t from = s->rows.row[at->row] * s->width - b->start;
        int64_t to = (from + s->width + grain - 1) / grain * grain;
        from = from < 0 ? 0 : from / grain * grain;
        if (from >= n || (found && from > at->end)) break;
        if (!found) at->start = from;
        at->end = to < n ? to : n;
        found = true;
    }
    return found;
}

static void update(wf_optim *o, slot *s, int64_t start, int64_t n)
{
    wf_optim_call call = {
        .dtype = s->dtype,
        .n = n,
        .value = wf_element(s->dtype, s->value, start),
        .grad = wf_element(s->dtype, s->grad, start),
        .step = s->steps,
        .lr = o->group[s->group].lr,
        .options = o->group[s->group].options,
    };
    for (int k = 0; k < o->rule.states; k++)
        call.state[k] = wf_element(s->dtype, s->state[k].data, start);
    o->rule.update(&call);
}

typedef struct pass {
    wf_optim *optim;
    int loop;
    double by;
} pass;

static void visit(const pass *p, const block *b, int64_t start, int64_t n, double *lanes)
{
    static const optim_loops *const each[] = { WF_ISA_EACH(&optim_kernels) };
    slot *s = b->slot;
    void *grad = wf_element(s->dtype, s->grad, b->start + start);
    if (p->loop == OPTIM_UPDATE)
        update(p->optim, s, b->start + start, n);
    else
        (*each[wf_isa_level()])[s->dtype][p->loop](n, grad, p->by, lanes);
}

static void run_blocks(void *context, int64_t begin, int64_t end)
{
    const pass *p = context;
    wf_optim *o = p->optim;
    for (block *b = o->block + begin; b < o->block + end; b++) {
        double lanes[OPTIM_LANES] = { 0 };
        if (b->row < 0)
            visit(p, b, 0, numbers_in(b), lanes);
        else
            for (stretch at = { .row = b->row }; next_stretch(b, o->grain, &at);)
                visit(p, b, at.start, at.end - at.start, lanes);
        for (int half = p->loop == OPTIM_SQUARES ? OPTIM_LANES / 2 : 0; half > 0; half /= 2)
            for (int k = 0; k < half; k++) lanes[k] += lanes[k + half];
        b->sum = lanes[0];
    }
}

void optim_for_blocks(wf_optim *o, int loop, double by)
{
    const int64_t grain = o->blocks * OPTIM_GRAIN / (o->numbers + 1) + 1; /* of full ones, 4 */
    wf_par_for(wf_threads(), o->blocks, grain, run_blocks, &(pass){ o, loop, by });
}

/* ---- gradients that would spoil the weights ---- */

double optim_largest(const wf_optim *o, wf_dtype dtype)
{
    double largest = wf_dtype_describe(dtype)->largest;
    return o->rule.squares ? sqrt(largest) : largest;
}

static bool found_good(const slot *s)
{
    return s->found_good == wf_param_grad_version(s->param);
}

/* The first parameter with a gradient that the rule cannot take; NULL: there is none. What
 * clipping has read already is not read again. */
static const slot *first_bad(wf_optim *o)
{
    bool all_good = true;
    for (int64_t i = 0; i < o->slots && all_good; i++)
        all_good = !o->slot[i].grad || found_good(&o->slot[i]);
    if (all_good) return NULL;
    optim_for_blocks(o, OPTIM_LARGEST, 0);
    for (const block *b = o->block; b < o->block + o->blocks; b++)
        if (!found_good(b->slot) && !(b->sum <= optim_largest(o, b->slot->dtype))) return b->slot;
    return NULL;
}

static void refuse(wf_optim *o, const slot *s)
{
    double largest = optim_largest(o, s->dtype), bad = 0;
    for (int64_t i = 0; i < s->count; i++) {
        bad = wf_tensor_at(s->rows.grad, i);
        if (!(fabs(bad) <= largest)) break;
    }
    if (!o->complained_grad) {
        char square[64] = "";
        if (isfinite(bad))
            wf_format(square, sizeof square, ", whose square is too large for %s",
                      wf_dtype_name(s->dtype));
        optim_complain("%s: the gradient of '%s' holds %g%s; no parameter was changed, and all "
                       "gradients were cleared",
                       o->rule.name, wf_param_path(s->param), isnan(bad) ? (double)NAN : bad,
                       square);
    }
    o->complained_grad = true;
    wf_optim_clear(o);
}

bool wf_optim_step(wf_optim *o)
{
    WF_FP_SCOPE uint32_t fp = wf_fp_enter();
    if (!o) return false;
    if (optim_gather(o) == 0) return true;
    const slot *bad = first_bad(o);
    if (bad) {
        refuse(o, bad);
        return false;
    }
    o->complained_grad = false;
    if (o->steps < INT64_MAX) o->steps++;
    for (int64_t i = 0; i < o->slots; i++) {
        slot *s = &o->slot[i];
        s->steps += s->grad && s->steps < INT64_MAX;
    }
    add_blocks(o, true);
    optim_for_blocks(o, OPTIM_UPDATE, 0);
    for (int64_t i = 0; i < o->slots; i++) {
        if (!o->slot[i].grad) continue;
        wf_param_changed(o->slot[i].param);
        wf_param_clear_grad(o->slot[i].param);
    }
    return true;
}

void wf_optim_clear(wf_optim *o)
{
    for (int64_t i = 0; o && i < o->slots; i++) wf_param_clear_grad(o->slot[i].param);
}

/* ---- state ---- */

int64_t wf_optim_steps(const wf_optim *o)
{
    return o ? o->steps : -1;
}

int64_t wf_optim_steps_of(const wf_optim *o, int64_t i)
{
    return o && i >= 0 && i < o->slots ? o->slot[i].steps : -1;
}

bool wf_optim_set_steps_of(wf_optim *o, int64_t i, int64_t steps)
{
    if (!o) return false;
    if (i < 0 || i >= o->slots) {
        optim_complain("%s: there is no parameter %lld; there are %lld", o->rule.name, (long long)i,
                       (long long)o->slots);
        return false;
    }
    if (steps < 0) {
        optim_complain("%s: the updates of '%s' were to be %lld; they must be 0 or more, and stay "
                       "%lld",
                       o->rule.name, wf_param_path(o->slot[i].param), (long long)steps,
                       (long long)o->slot[i].steps);
        return false;
    }
    o->slot[i].steps = steps;
    if (o->steps < steps) o->steps = steps;
    return true;
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
