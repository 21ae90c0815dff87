/* What a row answers where values are special: NaN, infinities, both zeros and ties are planted in
 * its samples and cotangents, and every spelling of its value and derivative must give the same
 * numbers and, where there are none, the same kind. */
#include "autograd/check_row_private.h"
#include "autograd/ops.h"

#include "tensor/rng.h"
#include "tensor/text.h"

#include <math.h>
#include <string.h>

/* How far apart two spellings in double may be, and single precision from double, relative to the
 * largest finite number there is. */
static const double apart = 1e-12, apart_single = 1e-3;

static const struct {
    const char *name;
    double value;
} planted[] = {
    { "nan", (double)NAN },
    { "inf", (double)INFINITY },
    { "-inf", -(double)INFINITY },
    { "0", 0.0 },
    { "-0", -0.0 },
};
enum { VALUES = (int)(sizeof planted / sizeof planted[0]) };
/* More inputs than this, those of a fused op, are planted one by one, in elements and whole. */
enum { FEW = 3 };

/* One spelling's answer: all visible outputs, one after another, and all gradients. */
typedef struct answer {
    const char *name;
    double *y, *g;
} answer;

typedef struct special {
    op_check *k;
    int floats;                /* inputs that are */
    int64_t values;            /* in all visible outputs, ids and masks included */
    double *base[CHECK_VARS];  /* the sample's inputs, rounded to floats */
    double *value[CHECK_VARS]; /* the same with something planted */
    double *cotangent;
    answer want, got; /* the kernels in double, and what is held against them */
    char what[160];   /* is planted, and where */
} special;

/* ---- comparing ---- */

static int kind_of(double x)
{
    return isnan(x) ? 1 : isinf(x) ? (x > 0 ? 2 : 3) : 0;
}

static bool same(op_check *k, const special *s, const char *what, int index, const wf_shape *form,
                 const double *got, const double *want, double relative)
{
    const int64_t n = wf_shape_count(form);
    char text[CHECK_WHERE];
    double largest = 0;
    for (int64_t j = 0; j < n; j++)
        if (isfinite(want[j])) largest = fmax(largest, fabs(want[j]));
    double allowed = relative * (largest + 0.01);
    for (int64_t j = 0; j < n; j++) {
        k->report->checked++;
        if (kind_of(got[j]) == kind_of(want[j]) &&
            (!isfinite(want[j]) || fabs(got[j] - want[j]) <= allowed))
            continue;
        return check_fail(k->report, "%s: %s: %s %d at %s: %s %.9g, %s %.9g", k->c.who, s->what,
                          what, index, check_where(text, form, j), s->got.name, got[j],
                          s->want.name, want[j]);
    }
    return true;
}

/* Is `got` what `want` is? */
static bool same_answer(special *s, double relative)
{
    op_check *k = s->k;
    const check_case *c = &k->c;
    int64_t at = 0;
    for (int o = 0; o < c->visible; o++) {
        if (!same(k, s, "output", o, &c->out.shape[o], s->got.y + at, s->want.y + at, relative))
            return false;
        at += c->out.count[o];
    }
    for (int i = 0; k->sweeps && i < c->n_in; i++)
        if (c->in.floats[i] && !same(k, s, "the gradient of input", i, &c->in.shape[i],
                                     s->got.g + c->in.at[i], s->want.g + c->in.at[i], relative))
            return false;
    return true;
}

/* Two spellings of which the row may say that they differ; then that they do is noted. */
static bool same_spelling(special *s)
{
    op_check *k = s->k;
    if (!k->op->special) return same_answer(s, apart);
    wf_report held = *k->report;
    if (!same_answer(s, apart)) {
        *k->report = held;
        k->differed = true;
    }
    return true;
}

/* ---- the spellings ---- */

/* The kernels in a harness. False when the report failed; *refused: the row takes no such value. */
static bool in_harness(special *s, wf_dtype dtype, check_layout layout, answer *a, bool *refused)
{
    op_check *k = s->k;
    const check_case *c = &k->c;
    struct check_block *until = k->pool.last;
    check_layouts all;
    memset(&all, 0, sizeof all);
    for (int i = 0; i < CHECK_VARS; i++) all.in[i] = all.gin[i] = layout;
    check_harness *d = &k->other;
    wf_error error = { "" };
    bool ok = harness_set(d, c, dtype, &all, s->value);
    *refused = ok && k->op->check && !k->op->check(&d->call, &error);
    if (ok && !*refused) ok = harness_forward(d);
    if (ok && !*refused) {
        double *y = a->y;
        for (int o = 0; o < c->visible; o++)
            for (int64_t j = 0; j < c->out.count[o]; j++) *y++ = place_get(&d->out[o], j);
        if (k->sweeps) ok = harness_sweep(d, s->cotangent, a->g);
    }
    check_let_go(&k->pool, until);
    return ok;
}

/* On a tape: the row or its reference, differentiated as a graph or by a sweep. */
static bool on_tape(special *s, bool reference, bool graph, answer *a)
{
    op_check *k = s->k;
    const check_case *c = &k->c;
    check_taped r;
    wf_var *grad[CHECK_VARS];
    double *y = a->y;
    if (!check_tape_apply(k, reference, s->value, UINT32_MAX, &r))
        return check_tape_failed(k, s->what);
    for (int o = 0; o < c->visible; o++)
        for (int64_t j = 0; j < c->out.count[o]; j++) *y++ = wf_at(r.out[o], j);
    if (!k->sweeps) return true;
    check_tape_sources(k, &r, UINT32_MAX, s->cotangent, false);
    return check_tape_grad(k, s->what, UINT32_MAX, graph, &r, grad, a->g);
}

/* FNV-1a over what kinds the kernels' answer holds: the same at every dispatch level. */
static void note_kinds(special *s, const answer *a)
{
    op_check *k = s->k;
    for (int64_t j = 0; j < s->values + (k->sweeps ? k->c.in.all : 0); j++) {
        double x = j < s->values ? a->y[j] : a->g[j - s->values];
        k->kinds = (k->kinds ^ (uint64_t)kind_of(x)) * UINT64_C(0x100000001b3);
    }
}

/* All spellings on what is planted now, with the cotangents as they are now. */
static bool all_spellings(special *s)
{
    static const struct {
        const char *name;
        wf_dtype dtype;
        check_layout layout;
    } harness[] = { { "stepped", WF_F64, LAYOUT_STEPPED },
                    { "f32", WF_F32, LAYOUT_PLAIN },
                    { "f32, transposed", WF_F32, LAYOUT_TRANSPOSED } };
    op_check *k = s->k;
    bool refused;
    s->want.name = k->sweeps ? "backward" : "forward";
    if (!in_harness(s, WF_F64, LAYOUT_PLAIN, &s->want, &refused)) return false;
    if (refused) return true;
    note_kinds(s, &s->want);
    s->got.name = k->op->gradient ? "gradient" : "reference";
    if (!on_tape(s, false, true, &s->got) || !same_spelling(s)) return false;
    if (k->op->reference) {
        s->got.name = "reference";
        if (!on_tape(s, true, false, &s->got) || !same_spelling(s)) return false;
    }
    for (int i = 0; i < (int)(sizeof harness / sizeof harness[0]); i++) {
        s->got.name = harness[i].name;
        if (!in_harness(s, harness[i].dtype, harness[i].layout, &s->got, &refused)) return false;
        if (refused) continue;
        if (!same_answer(s, harness[i].dtype == WF_F32 ? apart_single : apart)) return false;
        if (harness[i].dtype == WF_F32) note_kinds(s, &s->got);
    }
    return true;
}

/* ---- what is planted ---- */

static void every_cotangent(special *s, bool half)
{
    for (int64_t r = 0; r < s->k->c.out.all; r++)
        s->cotangent[r] = half && r % 2 == 0 ? 0 : (double)(float)s->k->cotangent[r];
}

/* With random cotangents, and with half of them zero: a place that the loss does not see. */
static bool planted_inputs(special *s)
{
    for (int half = 0; half <= (int)s->k->sweeps; half++) {
        every_cotangent(s, half);
        if (!all_spellings(s)) return false;
    }
    return true;
}

static void unplant(special *s, int input)
{
    size_t bytes = (size_t)s->k->c.in.count[input] * sizeof(double);
    if (bytes) memcpy(s->value[input], s->base[input], bytes);
}

/* Puts x at an element, along a line through it (axis 0 and up), or everywhere (axis -2). */
enum { ELEMENT = -1, EVERYWHERE = -2 };
static void plant(const special *s, int input, int axis, int64_t element, double x)
{
    const check_case *c = &s->k->c;
    wf_tensor form = wf_tensor_of(WF_F64, c->in.shape[input], NULL);
    if (axis == ELEMENT) s->value[input][element] = x;
    if (axis == EVERYWHERE)
        for (int64_t j = 0; j < c->in.count[input]; j++) s->value[input][j] = x;
    if (axis < 0) return;
    int64_t step = form.stride[axis], n = form.dim[axis], first = element / step % n;
    for (int64_t j = 0; j < n; j++) s->value[input][element + (j - first) * step] = x;
}

static void name_place(special *s, const char *what, int input, int axis, int64_t element)
{
    char text[CHECK_WHERE];
    check_where(text, &s->k->c.in.shape[input], element);
    if (axis == EVERYWHERE)
        wf_format(s->what, sizeof s->what, "%s in all of input %d", what, input);
    else if (axis == ELEMENT)
        wf_format(s->what, sizeof s->what, "%s in input %d at %s", what, input, text);
    else
        wf_format(s->what, sizeof s->what, "%s in input %d along axis %d through %s", what, input,
                  axis, text);
}

/* Each value, and a tie, in one element of an input, along each of its axes, and in all of it. */
static bool one_input(special *s, int input)
{
    const check_case *c = &s->k->c;
    int64_t n = c->in.count[input];
    uint64_t key = wf_key_with(wf_key_named(s->k->key, "special"), (uint64_t)input), draws = 0;
    for (int axis = n > 1 ? EVERYWHERE : ELEMENT; axis < c->in.shape[input].rank; axis++) {
        if (axis >= 0 && (c->in.shape[input].dim[axis] < 2 || s->floats > FEW)) continue;
        for (int v = 0; v <= VALUES; v++) {
            int64_t element = wf_random_below(key, draws++, n);
            bool tie = v == VALUES;
            if (tie && n < 2) continue;
            name_place(s, tie ? "a tie" : planted[v].name, input, axis, element);
            plant(s, input, axis, element,
                  tie ? s->base[input][(element + 1) % n] : planted[v].value);
            bool ok = planted_inputs(s);
            unplant(s, input);
            if (!ok) return false;
        }
    }
    return true;
}

/* Each pair of values in the first elements of two inputs, which meet where they broadcast; and
 * the very same numbers in both. */
static bool two_inputs(special *s, int a, int b)
{
    const check_case *c = &s->k->c;
    bool ok = true;
    for (int v = 0; ok && v < VALUES * VALUES; v++) {
        wf_format(s->what, sizeof s->what, "%s and %s in the first elements of inputs %d and %d",
                  planted[v / VALUES].name, planted[v % VALUES].name, a, b);
        plant(s, a, ELEMENT, 0, planted[v / VALUES].value);
        plant(s, b, ELEMENT, 0, planted[v % VALUES].value);
        ok = planted_inputs(s);
        unplant(s, a);
        unplant(s, b);
    }
    if (!ok || !wf_shape_equal(&c->in.shape[a], &c->in.shape[b])) return ok;
    wf_format(s->what, sizeof s->what, "ties between inputs %d and %d", a, b);
    memcpy(s->value[b], s->base[a], (size_t)c->in.count[a] * sizeof(double));
    ok = planted_inputs(s);
    unplant(s, b);
    return ok;
}

static bool cotangents(special *s)
{
    const check_case *c = &s->k->c;
    uint64_t key = wf_key_named(s->k->key, "special cotangents");
    for (int all = 0; all < 2; all++)
        for (int v = 0; v < VALUES; v++) {
            int64_t at = wf_random_below(key, (uint64_t)v, c->out.all);
            every_cotangent(s, false);
            for (int64_t r = 0; r < c->out.all; r++)
                if (all || r == at) s->cotangent[r] = planted[v].value;
            wf_format(s->what, sizeof s->what, "%s in %s", planted[v].name,
                      all ? "all cotangents" : "one cotangent");
            if (!all_spellings(s)) return false;
        }
    return true;
}

static bool plant_all(special *s)
{
    const check_case *c = &s->k->c;
    for (int i = 0; i < c->n_in; i++) s->floats += c->in.floats[i];
    for (int i = 0; i < c->n_in; i++)
        if (c->in.floats[i] && c->in.count[i] > 0 && !one_input(s, i)) return false;
    if (s->k->sweeps && c->out.all > 0 && !cotangents(s)) return false;
    for (int a = 0; s->floats <= FEW && a < c->n_in; a++)
        for (int b = a + 1; b < c->n_in; b++)
            if (c->in.floats[a] && c->in.floats[b] && c->in.count[a] && c->in.count[b] &&
                !two_inputs(s, a, b))
                return false;
    return true;
}

bool check_special(op_check *k, bool as_it_is)
{
    if (k->skip & LAW_SPECIAL) return true;
    const check_case *c = &k->c;
    special s = { .k = k };
    for (int o = 0; o < c->visible; o++) s.values += c->out.count[o];
    for (int i = 0; i < c->n_in; i++) {
        if (!c->given[i]) continue;
        s.base[i] = check_rounded(k, i);
        s.value[i] = check_rounded(k, i);
    }
    answer *both[2] = { &s.want, &s.got };
    for (int a = 0; a < 2; a++) {
        both[a]->y = check_doubles(&k->pool, s.values);
        both[a]->g = check_doubles(&k->pool, c->in.all);
    }
    s.cotangent = check_doubles(&k->pool, c->out.all);
    if (k->pool.failed) return check_no_memory(k);
    double worst = k->report->worst;
    wf_format(s.what, sizeof s.what, "nothing planted");
    bool ok = planted_inputs(&s) && (as_it_is || plant_all(&s));
    k->report->worst = worst;
    return ok;
}
