/* wf_gradcheck: any function of vars, and the parameters of a module, against central
 * differences in double. */
#include "autograd/check_private.h"

#include "tensor/par.h"
#include "tensor/runtime.h"
#include "tensor/text.h"

#include <float.h>
#include <math.h>
#include <string.h>

enum { ALL = 0xff };
_Static_assert((int)WF_CHECK_OUTPUTS <= (int)CHECK_VARS, "outputs are in a list");

/* A value that is moved: an input of floats, or a parameter. */
typedef struct moved {
    wf_var *param; /* NULL: an input */
    int index;     /* of the input, or of the parameter in its module */
    wf_shape shape;
    int64_t count;
    double *value; /* in those of all */
} moved;

typedef struct grad_check {
    wf_check_fn *fn;
    void *context;
    int n_in;
    const wf_tensor *in;
    wf_report *report;
    wf_tape *t;
    check_pool pool;
    double tolerance, step;
    uint64_t key;
    int64_t n_moved, columns;
    moved *moved;
    check_floats y;                           /* the outputs; none before the first run */
    wf_var **in_var;                          /* n_in of them, as fn gets them */
    wf_var **leaf, **grad, **toward, **twice; /* n_moved of them */
    wf_var *out[WF_CHECK_OUTPUTS];
    double *cotangent;                                        /* rows */
    double *value, *first, *second, *direction, *want, *work; /* columns */
    double *along[4];                                         /* rows */
    char kink[160];                                           /* where the first one was */
} grad_check;

static bool failed(grad_check *g, const char *what)
{
    const char *why = wf_tape_error(g->t);
    return check_fail(g->report, "gradcheck: %s: %s", what,
                      *why ? why : "it failed without a sentence");
}

static bool no_memory(grad_check *g)
{
    return check_fail(g->report, "gradcheck: no memory for the check");
}

/* Runs fn at the present values, its random numbers those of every other run. */
static bool run(grad_check *g)
{
    wf_tape_reset(g->t);
    wf_tape_set_step(g->t, 1);
    int64_t m = 0;
    for (int i = 0; i < g->n_in; i++) {
        bool floats = g->in[i].dtype != WF_I32;
        if (floats) {
            g->leaf[m] = wf_leaf(g->t, WF_F64, g->moved[m].shape, g->moved[m].value);
            g->in_var[i] = g->leaf[m++];
        } else {
            g->in_var[i] = wf_constant_tensor(g->t, &g->in[i]);
        }
    }
    for (; m < g->n_moved; m++) {
        g->leaf[m] = wf_leaf(g->t, WF_F64, g->moved[m].shape, g->moved[m].value);
        if (!wf_tape_bind(g->t, g->moved[m].param, g->leaf[m]))
            return failed(g, "binding a parameter to a double var");
    }
    int n = 0;
    for (int o = 0; o < WF_CHECK_OUTPUTS; o++) g->out[o] = NULL;
    if (!g->fn(g->t, g->context, g->in_var, g->out, &n) || !wf_tape_ok(g->t))
        return failed(g, "the function");
    if (n < 1 || n > WF_CHECK_OUTPUTS)
        return check_fail(g->report, "gradcheck: the function gave %d outputs; 1 to %d can be", n,
                          WF_CHECK_OUTPUTS);
    check_floats first = { .report = g->report, .who = "gradcheck", .role = "output", .n = n };
    for (int o = 0; o < n; o++) {
        wf_shape shape = wf_shape_of(g->out[o]);
        if (!g->out[o])
            return check_fail(g->report, "gradcheck: output %d was never made (NULL)", o);
        if (g->y.n && (n != g->y.n || !wf_shape_equal(&shape, &g->y.shape[o])))
            return check_fail(g->report,
                              "gradcheck: the function is not deterministic: output %d "
                              "had another shape before",
                              o);
        if (wf_dtype_of(g->out[o]) == WF_F32)
            return check_fail(g->report,
                              "gradcheck: output %d is f32; the function must compute in "
                              "the dtype of its inputs",
                              o);
        if (g->y.n) continue;
        first.shape[o] = shape;
        first.floats[o] = wf_dtype_of(g->out[o]) == WF_F64;
        first.count[o] = wf_count(g->out[o]);
        first.at[o] = first.all;
        first.all += first.floats[o] ? first.count[o] : 0;
    }
    if (!g->y.n) g->y = first;
    return true;
}

static void outputs(const grad_check *g, double *y)
{
    floats_values(&g->y, g->out, y);
}

/* The float outputs and their cotangents, as constants or as leaves. */
static int active_outputs(grad_check *g, bool leaves, wf_var *from[], wf_var *with[])
{
    floats_enter(&g->y, ALL, g->t, g->cotangent, leaves, with);
    return floats_list(&g->y, ALL, g->out, from);
}

/* The gradient of <cotangent, outputs> by one sweep. Runs fn. */
static bool gradient(grad_check *g, double *out)
{
    wf_var *from[WF_CHECK_OUTPUTS], *with[WF_CHECK_OUTPUTS];
    if (!run(g)) return false;
    for (int64_t m = 0; m < g->n_moved; m++) wf_keep_grad(g->t, g->leaf[m]);
    int n = active_outputs(g, false, from, with);
    if (!wf_backward_from(g->t, n, from, with)) return failed(g, "the sweep");
    for (int64_t m = 0; m < g->n_moved; out += g->moved[m++].count)
        check_gradient(g->leaf[m], g->moved[m].count, out);
    return true;
}

/* <cotangent, outputs>, or <direction, its gradient>; *weight is what rounding in it is relative
 * to. */
static bool measure(grad_check *g, bool of_gradient, double *sum, double *weight)
{
    const double *by = of_gradient ? g->direction : g->cotangent;
    double *x = of_gradient ? g->work : g->along[0];
    if (of_gradient) {
        if (!gradient(g, x)) return false;
    } else {
        if (!run(g)) return false;
        outputs(g, x);
    }
    *sum = *weight = 0;
    for (int64_t j = 0; j < (of_gradient ? g->columns : g->y.all); j++) {
        *sum += by[j] * x[j];
        *weight += fabs(by[j] * x[j]);
    }
    return true;
}

/* Which one, for a sentence: "input 0 at (3)". */
static const char *name_of(const moved *v, int64_t e, char text[160])
{
    char place[CHECK_WHERE];
    wf_format(text, 160, "%s %d%s%s at %s", v->param ? "parameter" : "input", v->index,
              v->param ? " " : "", v->param ? wf_param_path(v->param) : "",
              check_where(place, &v->shape, e));
    return text;
}

/* What a value is held against: the measure where nothing is moved, what rounding in it is relative
 * to, and the largest derivative by the values of its var. */
typedef struct standard {
    bool of_gradient;
    double f0, weight, largest;
} standard;

/* What differences say of one value, in *want, and how far rounding alone may take them. Steps that
 * meet a kink (relu at 0) or that do not agree with `have` are tried shorter; a kink at the value
 * itself fails: there is no derivative. */
static bool difference(grad_check *g, const standard *s, moved *v, int64_t e, double have,
                       double *want, double *rounding)
{
    double at = v->value[e], step = g->step, side[2];
    bool kink = false, met = false;
    for (int tries = 0; tries < 3; tries++, step /= 16) {
        double f[4], h = check_step(step, at), unused;
        for (int p = 0; p < 4; p++) {
            v->value[e] = check_point(at, h, p);
            bool ok = measure(g, s->of_gradient, &f[p], &unused);
            v->value[e] = at;
            if (!ok) return false;
        }
        *want = check_difference(f, h);
        *rounding = 64 * DBL_EPSILON * s->weight / step + 8 * DBL_EPSILON;
        check_sides(f, s->f0, h, side);
        kink = fabs(side[0] - side[1]) > check_kink(step) * s->largest + *rounding;
        met |= kink;
        if (!kink && fabs(have - *want) <= g->tolerance * s->largest + *rounding) break;
    }
    if (met && !kink && g->report->kinks++ == 0) name_of(v, e, g->kink);
    char name[160];
    return !kink ||
           check_fail(g->report,
                      "gradcheck: %s: %s = %.9g is at a kink: from the left %.6g, from the right "
                      "%.6g, the tape says %.6g\n  hint: there is no derivative to compare with; "
                      "move the value",
                      s->of_gradient ? "second derivative" : "gradient", name_of(v, e, name), at,
                      side[0], side[1], have);
}

/* Compares what the tape found with differences, one moved value after another. */
static bool near_differences(grad_check *g, bool of_gradient, const double *got)
{
    standard s = { .of_gradient = of_gradient };
    if (!measure(g, of_gradient, &s.f0, &s.weight)) return false;
    for (int64_t m = 0; m < g->n_moved; m++) {
        moved *v = &g->moved[m];
        s.largest = check_largest(v->count, got);
        for (int64_t e = 0; e < v->count; e++, got++) {
            double want, rounding, apart;
            char name[160];
            if (!difference(g, &s, v, e, *got, &want, &rounding)) return false;
            apart = fabs(*got - want);
            g->report->checked++;
            if (!(apart <= g->tolerance * s.largest + rounding))
                return check_fail(g->report,
                                  "gradcheck: %s: %s: tape %.17g, differences %.17g; apart by "
                                  "%.3g, allowed are %.3g (the largest is %.3g)",
                                  of_gradient ? "second derivative" : "gradient",
                                  name_of(v, e, name), *got, want, apart,
                                  g->tolerance * s.largest + rounding, s.largest);
            /* Where rounding rules, an error relative to what is there would tell only of that. */
            if (rounding < g->tolerance * s.largest && apart / s.largest > g->report->worst)
                g->report->worst = apart / s.largest;
        }
    }
    return true;
}

/* The outputs at four places along the direction, h apart, into `along`. */
static bool run_along(grad_check *g, double h)
{
    size_t bytes = (size_t)g->columns * sizeof *g->value;
    memcpy(g->work, g->value, bytes);
    for (int p = 0; p < 4; p++) {
        for (int64_t j = 0; j < g->columns; j++)
            g->value[j] = check_point(g->work[j], h * g->direction[j], p);
        if (!run(g)) return false;
        outputs(g, g->along[p]);
    }
    memcpy(g->value, g->work, bytes);
    return true;
}

/* The derivative of <direction, gradient> by a cotangent is the outputs' derivative along the
 * direction. */
static bool cotangents_near(grad_check *g, wf_var *const by_cotangent[])
{
    double largest = check_largest(g->columns, g->value), h = g->step;
    double *mixed = check_doubles(&g->pool, 2 * g->y.all);
    if (!mixed) return no_memory(g);
    double *want = mixed + g->y.all;
    floats_read(&g->y, ALL, by_cotangent, mixed);
    for (int tries = 0; tries < 3; tries++, h /= 16) {
        if (!run_along(g, h)) return false;
        bool near = true;
        for (int64_t r = 0; r < g->y.all; r++) {
            double f[4] = { g->along[0][r], g->along[1][r], g->along[2][r], g->along[3][r] };
            want[r] = check_difference(f, h);
            near = near &&
                   fabs(want[r] - mixed[r]) <= 0.1 * g->tolerance * check_largest(g->y.all, mixed);
        }
        if (near) break;
    }
    double size = fmax(largest, check_largest(g->y.all, g->along[0]));
    return floats_near(&g->y, "derivative of the gradient by the cotangents", mixed, "tape", want,
                       "differences", g->tolerance, 256 * 64 * DBL_EPSILON * size / g->step);
}

/* The gradient as a graph: equal by value to the sweep's, and differentiable in turn. */
static bool check_second(grad_check *g)
{
    wf_var *from[WF_CHECK_OUTPUTS], *with[WF_CHECK_OUTPUTS];
    int64_t column = 0;
    if (!run(g)) return false;
    int n = active_outputs(g, true, from, with);
    if (!wf_grad(g->t, n, from, with, (int)g->n_moved, g->leaf, g->grad,
                 &(wf_grad_options){ .create_graph = true }))
        return failed(g, "the graph of the gradient");
    for (int64_t m = 0; m < g->n_moved; m++) {
        moved *v = &g->moved[m];
        for (int64_t e = 0; e < v->count; e++) g->want[e] = wf_at(g->grad[m], e);
        check_comparison s = { .who = "gradcheck",
                               .check = "gradient by value",
                               .role = v->param ? "parameter" : "input",
                               .name = v->param ? wf_param_path(v->param) : NULL,
                               .index = v->index,
                               .got = "create_graph",
                               .want = "swept",
                               .form = &v->shape };
        if (!check_near(g->report, &s, v->count, g->want, g->first + column, 1e-10, 1e-13))
            return false;
        g->toward[m] = wf_constant(g->t, WF_F64, v->shape, g->direction + column);
        column += v->count;
    }
    /* By the leaves and the cotangents at once. */
    for (int o = 0; o < n; o++) g->leaf[g->n_moved + o] = with[o];
    if (!wf_grad(g->t, (int)g->n_moved, g->grad, g->toward, (int)g->n_moved + n, g->leaf, g->twice,
                 NULL))
        return failed(g, "the second derivative");
    column = 0;
    for (int64_t m = 0; m < g->n_moved; m++)
        for (int64_t e = 0; e < g->moved[m].count; e++) g->second[column++] = wf_at(g->twice[m], e);
    return cotangents_near(g, g->twice + g->n_moved) && near_differences(g, true, g->second);
}

/* Lists what is moved and makes room for it. */
static bool prepare(grad_check *g, wf_module *module)
{
    int64_t params = module ? wf_module_param_count(module) : 0;
    g->moved = check_take(&g->pool, (g->n_in + params + 1) * (int64_t)sizeof *g->moved);
    g->in_var = check_take(&g->pool, (g->n_in + 1) * (int64_t)sizeof(wf_var *));
    if (g->pool.failed) return no_memory(g);
    for (int64_t i = 0; i < g->n_in + params; i++) {
        wf_var *param = i < g->n_in ? NULL : wf_module_param_at(module, i - g->n_in);
        const wf_tensor *x = param ? wf_param_value(param) : &g->in[i];
        wf_shape shape = { .rank = x->rank };
        for (int d = 0; d < WF_RANK; d++) shape.dim[d] = x->dim[d];
        if (wf_shape_check(&shape, x->dtype, NULL) < 0)
            return check_fail(g->report, "gradcheck: input %lld has no shape that can be",
                              (long long)i);
        if (!x->data && wf_shape_count(&shape) > 0)
            return check_fail(g->report, "gradcheck: input %lld has no data (NULL)", (long long)i);
        if (x->dtype == WF_I32) continue;
        moved *m = &g->moved[g->n_moved++];
        m->param = param;
        m->index = (int)(param ? i - g->n_in : i);
        m->shape = wf_tensor_shape(x);
        m->count = wf_tensor_count(x);
        g->columns += m->count;
    }
    if (!g->columns)
        return check_fail(g->report, "gradcheck: there is nothing to differentiate by");
    int64_t list = (g->n_moved + WF_CHECK_OUTPUTS) * (int64_t)sizeof(wf_var *);
    wf_var ***lists[] = { &g->leaf, &g->grad, &g->toward, &g->twice };
    for (int i = 0; i < 4; i++) *lists[i] = check_take(&g->pool, list);
    double **columns[] = { &g->value, &g->first, &g->second, &g->direction, &g->want, &g->work };
    for (int i = 0; i < 6; i++) *columns[i] = check_doubles(&g->pool, g->columns);
    if (g->pool.failed) return no_memory(g);
    double *at = g->value;
    for (moved *m = g->moved; m < g->moved + g->n_moved; m++) {
        const wf_tensor *x = m->param ? wf_param_value(m->param) : &g->in[m->index];
        m->value = at;
        for (int64_t e = 0; e < m->count; e++) *at++ = wf_tensor_at(x, e);
    }
    return true;
}

/* The outputs while recording are those without. A function that differentiates itself cannot run
 * without, and is not asked. */
static bool check_infer(grad_check *g)
{
    wf_mode was = wf_tape_mode(g->t);
    for (int infer = 0; infer < 2; infer++) {
        wf_report held = *g->report;
        wf_tape_set_mode(g->t, infer ? WF_INFER : WF_EVAL);
        bool ok = run(g);
        wf_tape_set_mode(g->t, was);
        if (!ok && wf_tape_ok(g->t)) return false;
        if (!ok) {
            *g->report = held;
            return true;
        }
        outputs(g, g->along[infer]);
    }
    wf_report values = *g->report; /* no derivatives: not counted */
    check_floats y = g->y;
    y.report = &values;
    return floats_equal(&y, "value by mode", g->along[1], "infer", g->along[0], "eval") ||
           check_fail(g->report, "%s", values.text);
}

static bool check_function(grad_check *g, const wf_check_options *options)
{
    if (!prepare(g, options->module) || !run(g)) return false;
    if (!g->y.all)
        return check_fail(g->report, "gradcheck: the function gives no numbers to differentiate");
    g->cotangent = check_doubles(&g->pool, g->y.all);
    for (int p = 0; p < 4; p++) g->along[p] = check_doubles(&g->pool, g->y.all);
    if (g->pool.failed) return no_memory(g);
    check_draw(g->key, "cotangent", g->y.all, g->cotangent);
    check_draw(g->key, "direction", g->columns, g->direction);
    outputs(g, g->along[0]);
    for (int64_t r = 0; r < g->y.all; r++)
        if (!isfinite(g->along[0][r]))
            return check_fail(g->report, "gradcheck: an output is not finite");
    if (!run(g)) return false;
    outputs(g, g->along[1]);
    if (memcmp(g->along[0], g->along[1], (size_t)g->y.all * sizeof(double)))
        return check_fail(g->report,
                          "gradcheck: the function is not deterministic: called twice, it "
                          "gave other values");
    if (!check_infer(g)) return false;
    if (!gradient(g, g->first) || !near_differences(g, false, g->first)) return false;
    return options->first_order_only || check_second(g);
}

static void tell(const grad_check *g)
{
    wf_report *r = g->report;
    wf_format(r->text, sizeof r->text, "gradcheck: %lld derivatives agree, the worst to %.2g",
              (long long)r->checked, r->worst);
    if (!r->kinks) return;
    wf_append(r->text, sizeof r->text, "; %lld within two steps of a kink, the first in %s",
              (long long)r->kinks, g->kink);
}

wf_report wf_gradcheck(wf_check_fn *fn, void *context, int n_in, const wf_tensor in[],
                       const wf_check_options *options)
{
    WF_FP_SCOPE uint32_t fp = wf_fp_enter_exact();
    wf_report report = { .ok = true };
    static const wf_check_options none;
    if (!options) options = &none;
    grad_check *g = wf_alloc_zero(sizeof *g);
    if (!fn || n_in < 0 || (n_in > 0 && !in)) {
        check_fail(&report, "gradcheck: no function or no inputs were given (NULL)");
    } else if (!g || !(g->t = wf_tape_new(
                           &(wf_tape_options){ .rehearsal = true, .seed = options->seed }))) {
        check_fail(&report, "gradcheck: no memory for the check");
    } else {
        g->fn = fn;
        g->context = context;
        g->n_in = n_in;
        g->in = in;
        g->report = &report;
        g->tolerance = options->tolerance > 0 ? options->tolerance : CHECK_TOLERANCE;
        g->step = options->step > 0 ? options->step : CHECK_STEP;
        g->key = options->seed;
        if (check_function(g, options)) tell(g);
    }
    if (g) {
        check_let_go(&g->pool, NULL);
        wf_tape_free(g->t);
    }
    wf_release(g);
    return report;
}
