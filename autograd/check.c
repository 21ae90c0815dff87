/* wf_op_check: draws the inputs of each of a row's samples and hands them to the parts of the
 * check. */
#include "autograd/check_row_private.h"
#include "autograd/private.h"
#include "tensor/par.h"
#include "tensor/rng.h"
#include "tensor/runtime.h"
#include "tensor/size.h"
#include "tensor/text.h"

#include <float.h>
#include <math.h>
#include <string.h>

enum { SAMPLES = 256 };

bool check_no_memory(op_check *k)
{
    return check_fail(k->report, "%s: no memory for the check", k->c.who);
}

double check_noise(const op_check *k, double largest_y)
{
    return 64 * DBL_EPSILON * largest_y / k->step;
}

double *check_rounded(op_check *k, int i)
{
    const check_case *c = &k->c;
    double *x = check_doubles(&k->pool, c->in.count[i]);
    for (int64_t j = 0; x && j < c->in.count[i]; j++)
        x[j] = c->in.floats[i] ? (double)(float)c->value[i][j] : c->value[i][j];
    return x;
}

/* ---- the case: a sample with its inputs drawn ---- */

/* Draws an input's values: apart from each other (so that max has one answer) as far as there is
 * room. */
static void draw(op_check *k, int input, int64_t total)
{
    check_case *c = &k->c;
    double low = k->c.sample->in[input].low, high = k->c.sample->in[input].high;
    double gap = k->c.sample->in[input].gap;
    uint64_t key = wf_key_with(k->key, (uint64_t)input), counter = 0;
    double apart = (high - low) / (double)(8 * (total + 1));
    for (int64_t j = 0; j < c->in.count[input]; j++) {
        double x = low;
        if (!c->in.floats[input]) {
            x = low + (double)wf_random_below(key, counter++, (int64_t)(high - low) + 1);
        } else {
            double distance = apart;
            for (int tries = 0; tries < 256; tries++) {
                x = low + (high - low) * wf_random_uniform(key, counter++);
                bool fine = fabs(x) >= gap;
                for (int i = 0; fine && i <= input; i++)
                    for (int64_t e = 0;
                         c->in.floats[i] && fine && e < (i < input ? c->in.count[i] : j); e++)
                        fine = fabs(x - c->value[i][e]) >= distance;
                if (fine) break;
                if (tries % 64 == 63) distance /= 4;
            }
        }
        c->value[input][j] = x;
    }
}

/* Can this input of a sample be made and drawn? */
static bool input_sound(op_check *k, int i)
{
    const char *who = k->c.who;
    const wf_sample *s = k->c.sample;
    const wf_shape *shape = &s->in[i].shape;
    double low = s->in[i].low, high = s->in[i].high, gap = s->in[i].gap;
    wf_error error = { "" };
    if (shape->rank == -1)
        return k->op->optional >> i & 1 ||
               check_fail(k->report, "%s: input %d is left out but not optional", who, i);
    if (wf_shape_check(shape, s->in[i].dtype, &error) < 0)
        return check_fail(k->report, "%s: input %d has no shape that can be: %s", who, i,
                          error.text);
    if (!(low <= high) || !isfinite(high - low))
        return check_fail(k->report,
                          "%s: input %d is drawn from [%g, %g]; low must not be above "
                          "high",
                          who, i, low, high);
    if (s->in[i].dtype == WF_I32)
        return (low >= INT32_MIN && high <= INT32_MAX) ||
               check_fail(k->report,
                          "%s: input %d is drawn from [%g, %g], which an i32 cannot hold", who, i,
                          low, high);
    return (gap >= 0 && gap <= fmax(fabs(low), fabs(high))) ||
           check_fail(k->report, "%s: input %d keeps %g away from 0 in [%g, %g]", who, i, gap, low,
                      high);
}

static bool case_inputs(op_check *k, wf_tensor in[], const wf_tensor *in_at[])
{
    check_case *c = &k->c;
    const wf_sample *sample = c->sample;
    if (c->n_in < 1 || c->n_in > CHECK_VARS || (k->op->inputs >= 0 && c->n_in != k->op->inputs))
        return check_fail(k->report, "%s: it has %d inputs, the row %d", c->who, c->n_in,
                          k->op->inputs);
    for (int i = 0; i < c->n_in; i++) {
        if (!input_sound(k, i)) return false;
        c->given[i] = sample->in[i].shape.rank >= 0;
        if (!c->given[i]) continue;
        c->in.floats[i] = sample->in[i].dtype != WF_I32;
        wf_dtype dtype = c->in.floats[i] ? WF_F64 : WF_I32;
        c->in.shape[i] = sample->in[i].shape;
        c->in.count[i] = wf_shape_count(&c->in.shape[i]);
        c->value[i] = check_doubles(&k->pool, c->in.count[i]);
        if (!c->value[i]) return check_no_memory(k);
        in[i] = wf_tensor_of(dtype, c->in.shape[i], NULL);
        in_at[i] = &in[i];
        if (!c->in.floats[i]) continue;
        c->in.at[i] = c->in.all;
        c->in.all += c->in.count[i];
    }
    return true;
}

/* The outputs as the row's shape gave them. */
static bool case_outputs(op_check *k, const wf_tensor out[])
{
    check_case *c = &k->c;
    for (int o = 0; o < c->n_out; o++) {
        wf_shape shape = { .rank = out[o].rank };
        for (int a = 0; a < WF_RANK; a++) shape.dim[a] = out[o].dim[a];
        wf_error error = { "" };
        c->out_dtype[o] = out[o].dtype;
        c->out.shape[o] = shape;
        c->out.count[o] = wf_shape_check(&shape, out[o].dtype, &error);
        if (c->out.count[o] < 0)
            return check_fail(k->report, "%s: output %d has no shape that can be: %s", c->who, o,
                              error.text);
        c->out.floats[o] = o < c->visible && out[o].dtype != WF_I32;
        if (!c->out.floats[o]) continue;
        c->out.at[o] = c->out.all;
        c->out.all += c->out.count[o];
    }
    return (c->scratch[0] >= 0 && c->scratch[1] >= 0) ||
           check_fail(k->report, "%s: its shape asked for %lld bytes of scratch", c->who,
                      (long long)(c->scratch[0] < 0 ? c->scratch[0] : c->scratch[1]));
}

/* Reads the sample into the case; false with k->report->ok still true: a guess was refused. */
static bool case_make(op_check *k, const wf_sample *sample)
{
    const wf_op *op = k->op;
    check_case *c = &k->c;
    memset(c, 0, sizeof *c);
    c->op = op;
    c->sample = sample;
    c->n_in = sample->n_in;
    c->n_out = op->outputs + op->hidden;
    c->visible = op->outputs;
    c->threads = 1;
    c->wanted = UINT32_MAX;
    c->report = c->in.report = c->out.report = k->report;
    c->pool = &k->pool;
    c->in.who = c->out.who = c->who;
    c->in.role = "input";
    c->out.role = "output";
    c->in.n = c->n_in;
    c->out.n = c->n_out;
    wf_format(c->who, sizeof c->who, "%s, sample '%s'%s", op->name,
              sample->label ? sample->label : "", k->guess ? " with sizes put to 0" : "");
    wf_tensor *in = k->form[0], *out = k->form[1];
    memset(k->form, 0, sizeof k->form);
    const wf_tensor *in_at[CHECK_VARS] = { 0 };
    if (!case_inputs(k, in, in_at)) return false;
    wf_error error = { "" };
    if (!check_shape(c, in_at, out, &error, 1, c->scratch)) {
        if (!error.text[0]) return check_fail(k->report, "%s: refused without a sentence", c->who);
        return k->guess ? false : check_fail(k->report, "%s: refused: %s", c->who, error.text);
    }
    if (!case_outputs(k, out)) return false;
    for (int i = 0; i < c->n_in; i++)
        if (c->given[i] && !sample->large) draw(k, i, c->in.all);
    return true;
}

/* ---- one sample ---- */

static bool workspace(op_check *k)
{
    const check_case *c = &k->c;
    int64_t cells;
    /* What is counted by rows or by columns alone lies in memory already. */
    if (!wf_size_mul(c->out.all, c->in.all, &cells)) return check_no_memory(k);
    k->jacobian = check_doubles(&k->pool, cells);
    k->cotangent = check_doubles(&k->pool, c->out.all);
    k->gradient = check_doubles(&k->pool, c->in.all);
    for (int w = 0; w < (int)(sizeof k->work / sizeof k->work[0]); w++)
        k->work[w] = check_doubles(&k->pool, c->out.all + c->in.all);
    if (k->pool.failed) return check_no_memory(k);
    check_draw(k->key, "cotangent", c->out.all, k->cotangent);
    return true;
}

/* Is there anything to differentiate? Without it, backward may be missing. */
static bool differentiable(const check_case *c)
{
    return floats_mask(&c->in) && floats_mask(&c->out);
}

static bool outputs_finite(op_check *k)
{
    harness_outputs(&k->harness, k->work[0]);
    for (int64_t r = 0; r < k->c.out.all; r++)
        if (!isfinite(k->work[0][r])) return false;
    return true;
}

/* The row's check may refuse a guess: ids into an empty table. */
static bool values_refused(op_check *k)
{
    wf_error error = { "" };
    return k->guess && k->op->check && !k->op->check(&k->harness.call, &error);
}

static bool check_sample(op_check *k, const wf_sample *sample)
{
    k->pool.failed = false;
    if (!case_make(k, sample)) return k->report->ok;
    k->sweeps = differentiable(&k->c) && k->op->backward;
    if (sample->large) return check_large(k, sample);
    if (!workspace(k) || !harness_set(&k->harness, &k->c, WF_F64, NULL, NULL)) return false;
    if (values_refused(k)) return true;
    /* On the harness first: there, writing too far is caught before it does harm. Then with the
     * tape's key. */
    if (!harness_forward(&k->harness) || !check_tape_first(k) || !harness_forward(&k->harness))
        return false;
    k->sweeps = differentiable(&k->c);
    if (k->sweeps && !k->op->backward)
        return check_fail(k->report, "%s: it has inputs and outputs of floats, but no backward",
                          k->c.who);
    if (k->sweeps && !outputs_finite(k)) /* the mean of nothing is NaN */
        return k->guess ? check_special(k, true)
                        : check_fail(k->report, "%s: an output is not finite", k->c.who);
    return (!k->sweeps || check_jacobian(k)) && check_handed_over(k) && check_tape(k) &&
           check_orders(k) && check_laws(k) &&
           (k->guess || (check_facts(k) && check_special(k, false) &&
                         (k->own_large || check_large(k, sample))));
}

/* The same sample with each of its sizes in turn put to 0, as far as the row's shape takes that. */
static bool check_empty(op_check *k, const wf_sample *sample)
{
    int64_t seen[CHECK_VARS * WF_RANK];
    int n = 0;
    for (int i = 0; i < sample->n_in; i++)
        for (int a = 0; a < sample->in[i].shape.rank; a++) {
            int64_t size = sample->in[i].shape.dim[a];
            bool new = size > 0;
            for (int s = 0; s < n; s++) new = new &&seen[s] != size;
            if (!new) continue;
            seen[n++] = size;
            k->empty = *sample;
            for (int j = 0; j < sample->n_in; j++)
                for (int b = 0; b < sample->in[j].shape.rank; b++)
                    if (sample->in[j].shape.dim[b] == size) k->empty.in[j].shape.dim[b] = 0;
            k->guess = true;
            bool ok = check_sample(k, &k->empty);
            k->guess = false;
            check_let_go(&k->pool, NULL);
            if (!ok) return false;
        }
    return true;
}

/* Does the row bring samples that are large? What it chose is held in its place: sizes that grow
 * with all others, those of a kernel, say, make work that no program has. */
static bool brings_large(const wf_op *op)
{
    wf_sample s;
    for (int i = 0; i < SAMPLES; i++) {
        memset(&s, 0, sizeof s);
        if (!op->sample(i, &s)) return false;
        if (s.large) return true;
    }
    return false;
}

static bool check_row(op_check *k)
{
    const wf_op *op = k->op;
    const char *name = op->name ? op->name : "a row without a name";
    wf_error error = { "" };
    if (!row_sound(op, &error)) return check_fail(k->report, "%s: %s", name, error.text);
    if (!op->doc || !op->sample)
        return check_fail(k->report, "%s: its row has no %s", name, op->doc ? "sample" : "doc");
    if (op->attr_size > WF_SAMPLE_ATTR)
        return check_fail(k->report, "%s: its attr of %d bytes does not fit into a sample", name,
                          op->attr_size);
    if (op->backward && !op->gradient && !op->reference)
        return check_fail(k->report, "%s: it has a backward, but neither gradient nor reference",
                          name);
    int samples = 0;
    k->own_large = brings_large(op);
    for (;; samples++) {
        memset(&k->sample, 0, sizeof k->sample);
        if (!op->sample(samples, &k->sample)) break;
        if (samples == SAMPLES)
            return check_fail(k->report, "%s: its samples do not end: there are more than %d", name,
                              SAMPLES);
        k->key = wf_key_with(wf_key_named(k->key, name), (uint64_t)samples);
        bool ok = check_sample(k, &k->sample);
        check_let_go(&k->pool, NULL);
        if (!ok || (!k->sample.large && !check_empty(k, &k->sample))) return false;
    }
    if (!samples) return check_fail(k->report, "%s: it has no samples", name);
    if (!check_facts_shown(k, name)) return false;
    return !op->special || k->differed || k->skip & LAW_SPECIAL ||
           check_fail(k->report,
                      "%s: its row says why special values may differ ('%s'), but they do not",
                      name, op->special);
}

/* What was found, where all is well. */
static void tell(const op_check *k)
{
    wf_report *r = k->report;
    const char *special = k->op->special;
    wf_format(r->text, sizeof r->text, "%s: %lld derivatives agree, the worst to %.2g%s%s%s",
              k->op->name, (long long)r->checked, r->worst,
              k->large ? "" : "; no sample could be made large",
              special ? "; special values may differ: " : "", special ? special : "");
}

wf_report op_check_without(uint32_t skip, const wf_op *op, const wf_check_options *options,
                           uint64_t *kinds)
{
    wf_report report = { .ok = true };
    static const wf_check_options none;
    if (!options) options = &none;
    op_check *k = op ? wf_alloc_zero(sizeof *k) : NULL;
    if (!k) {
        check_fail(&report, op ? "no memory for the check" : "op check: no op was given (NULL)");
        return report;
    }
    k->op = op;
    k->skip = skip;
    k->report = &report;
    k->tolerance = options->tolerance > 0 ? options->tolerance : CHECK_TOLERANCE;
    k->step = options->step > 0 ? options->step : CHECK_STEP;
    k->key = options->seed;
    k->t = wf_tape_new(&(wf_tape_options){ .rehearsal = true, .seed = options->seed });
    if (!k->t)
        check_fail(&report, "no memory for the check");
    else if (check_row(k))
        tell(k);
    if (kinds) *kinds = k->kinds;
    check_let_go(&k->pool, NULL);
    wf_tape_free(k->t);
    wf_release(k);
    return report;
}

wf_report wf_op_check(const wf_op *op, const wf_check_options *options)
{
    WF_FP_SCOPE uint32_t fp = wf_fp_enter_exact();
    return op_check_without(0, op, options, NULL);
}
