/* Laws that need no differences: what holds exactly, or to rounding, for every right row. */
#include "autograd/check_row_private.h"
#include "autograd/ops.h"

#include "tensor/rng.h"
#include "tensor/text.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

enum { ALL = 0xffff, FEW = 4 };

/* ---- backward, called directly ---- */

/* Of a u + b v it is a times that of u plus b times that of v; of nothing it is nothing. */
static bool check_linear(op_check *k)
{
    const check_case *c = &k->c;
    const double a = 1.25, b = -0.75;
    double *v = k->work[0], *of_u = k->work[1], *of_v = k->work[2], *want = k->work[3],
           *got = k->work[4];
    for (int64_t r = 0; r < c->rows; r++)
        v[r] = wf_random_normal(wf_key_named(k->key, "linear"), (uint64_t)r);
    if (!harness_backward(&k->harness, k->cotangent, ALL, ALL, of_u, k->report) ||
        !harness_backward(&k->harness, v, ALL, ALL, of_v, k->report))
        return false;
    for (int64_t j = 0; j < c->columns; j++) want[j] = a * of_u[j] + b * of_v[j];
    for (int64_t r = 0; r < c->rows; r++) v[r] = a * k->cotangent[r] + b * v[r];
    if (!harness_backward(&k->harness, v, ALL, ALL, got, k->report)) return false;
    double size = fmax(check_largest(c->columns, of_u), check_largest(c->columns, of_v));
    if (!columns_near(k, "backward is linear in the cotangents", got, "of a u + b v", want,
                      "a of u + b of v", 1e-13, 1e-13 * size + 1e-14))
        return false;
    memset(want, 0, (size_t)c->columns * sizeof *want);
    return harness_backward(&k->harness, k->cotangent, 0, ALL, got, k->report) &&
           columns_near(k, "backward without any cotangent", got, "it", want, "nothing", 0, 0);
}

/* ---- on a tape ---- */

/* Where nothing is recorded, the values are the same to the bit. */
static bool check_infer(op_check *k)
{
    const check_case *c = &k->c;
    wf_var *in[CHECK_VARS], *out[CHECK_VARS];
    int64_t n = 0;
    for (int o = 0; o < c->visible; o++) n += c->out_count[o];
    double *recorded = check_take(&k->pool, n * (int64_t)sizeof *recorded);
    if (!recorded) return check_no_memory(k);
    for (int infer = 0; infer < 2; infer++) {
        double *y = recorded;
        wf_tape_set_mode(k->t, infer ? WF_INFER : WF_TRAIN);
        bool ok = check_tape_apply(k, infer ? 0 : ALL, in, out);
        wf_tape_set_mode(k->t, WF_TRAIN);
        if (!ok) return check_tape_failed(k, infer ? "in infer mode" : "recorded");
        for (int o = 0; o < c->visible; o++)
            for (int64_t j = 0; j < c->out_count[o]; j++, y++) {
                double x = wf_at(out[o], j);
                if (!infer) *y = x;
                k->report->checked += infer;
                if (infer && memcmp(&x, y, sizeof x))
                    return check_fail(k->report,
                                      "%s: output %d at %s: %.17g in infer mode, %.17g while "
                                      "recording",
                                      c->who, o,
                                      check_where((char[CHECK_WHERE]){ 0 }, &c->out_shape[o], j), x,
                                      *y);
            }
    }
    return true;
}

/* The active outputs in `present` and their cotangents: the case's, or zeros for those that are
 * not in `seen`. */
static int sources(op_check *k, uint32_t present, uint32_t seen, wf_var *const out[],
                   wf_var *from[], wf_var *with[])
{
    const check_case *c = &k->c;
    int n = 0;
    for (int o = 0; o < c->visible; o++) {
        if (!c->active[o] || !(present >> o & 1)) continue;
        from[n] = out[o];
        with[n++] = wf_constant(k->t, WF_F64, c->out_shape[o],
                                seen >> o & 1 ? k->cotangent + c->row[o] : NULL);
    }
    return n;
}

/* The graph of the gradient by the inputs in `wanted`, the others being constants, of the outputs
 * in `present`; its values to `got`. */
static bool graph_of(op_check *k, const char *check, uint32_t wanted, uint32_t present,
                     uint32_t seen, double *got)
{
    const check_case *c = &k->c;
    wf_var *in[CHECK_VARS], *out[CHECK_VARS], *from[CHECK_VARS], *with[CHECK_VARS];
    wf_var *by[CHECK_VARS], *grad[CHECK_VARS];
    int ins = 0;
    if (!check_tape_apply(k, wanted, in, out)) return check_tape_failed(k, check);
    int outs = sources(k, present, seen, out, from, with);
    for (int i = 0; i < c->n_in; i++)
        if (c->differs[i] && wanted >> i & 1) by[ins++] = in[i];
    if (!wf_grad(k->t, outs, from, with, ins, by, grad, &(wf_grad_options){ .create_graph = true }))
        return check_tape_failed(k, check);
    for (int i = 0, n = 0; i < c->n_in; i++) {
        if (!c->differs[i]) continue;
        bool here = wanted >> i & 1;
        for (int64_t e = 0; e < c->in_count[i]; e++)
            got[c->column[i] + e] = here ? wf_at(grad[n], e) : 0;
        n += here;
    }
    return true;
}

/* A graph of some gradients is a part of the graph of all; outputs without a cotangent are as those
 * with zeros. */
static bool check_graph_subsets(op_check *k)
{
    const check_case *c = &k->c;
    double *want = k->work[0], *got = k->work[1];
    uint32_t inputs = 0, outputs = 0;
    for (int i = 0; i < c->n_in; i++) inputs |= (uint32_t)c->differs[i] << i;
    for (int o = 0; o < c->visible; o++) outputs |= (uint32_t)c->active[o] << o;
    int n = __builtin_popcount(inputs);
    char check[96];
    for (uint32_t wanted = 1; wanted < inputs; wanted++) {
        int size = __builtin_popcount(wanted);
        if ((wanted & inputs) != wanted || (n > FEW && size > 1 && size < n - 1)) continue;
        wf_format(check, sizeof check, "gradient of the inputs 0x%x alone", (unsigned)wanted);
        if (!graph_of(k, check, wanted, outputs, outputs, got)) return false;
        for (int i = 0; i < c->n_in; i++)
            for (int64_t e = c->column[i]; c->differs[i] && e < c->column[i] + c->in_count[i]; e++)
                want[e] = wanted >> i & 1 ? k->gradient[e] : 0;
        if (!columns_near(k, check, got, "gradient", want, "backward", 1e-12, 1e-14)) return false;
    }
    for (uint32_t present = 1; present < outputs; present++) {
        if ((present & outputs) != present) continue;
        wf_format(check, sizeof check, "gradient from the outputs 0x%x alone", (unsigned)present);
        if (!graph_of(k, check, inputs, outputs, present, want) ||
            !graph_of(k, check, inputs, present, present, got) ||
            !columns_near(k, check, got, "alone", want, "the others zero", 1e-12, 1e-14))
            return false;
    }
    return true;
}

/* u'Hv = v'Hu for the second derivatives H of <cotangent, outputs>, both from the tape. */
static bool check_symmetric(op_check *k)
{
    const check_case *c = &k->c;
    const char *check = "second derivatives are symmetric";
    wf_var *in[CHECK_VARS], *out[CHECK_VARS], *from[CHECK_VARS], *with[CHECK_VARS];
    wf_var *by[CHECK_VARS], *grad[CHECK_VARS], *toward[CHECK_VARS], *twice[CHECK_VARS];
    double *along[2] = { k->work[0], k->work[1] }, sum[2] = { 0, 0 }, weight = 0;
    int ins = 0;
    if (!check_tape_apply(k, ALL, in, out)) return check_tape_failed(k, check);
    int outs = sources(k, ALL, ALL, out, from, with);
    for (int i = 0; i < c->n_in; i++)
        if (c->differs[i]) by[ins++] = in[i];
    if (!wf_grad(k->t, outs, from, with, ins, by, grad, &(wf_grad_options){ .create_graph = true }))
        return check_tape_failed(k, check);
    for (int64_t j = 0; j < 2 * c->columns; j++)
        along[j % 2][j / 2] = wf_random_normal(wf_key_named(k->key, "symmetric"), (uint64_t)j);
    for (int turn = 0; turn < 2; turn++) {
        const double *v = along[turn], *u = along[1 - turn];
        for (int i = 0, n = 0; i < c->n_in; i++)
            if (c->differs[i])
                toward[n++] = wf_constant(k->t, WF_F64, c->in_shape[i], v + c->column[i]);
        if (!wf_grad(k->t, ins, grad, toward, ins, by, twice, NULL))
            return check_tape_failed(k, check);
        for (int i = 0, n = 0; i < c->n_in; i++) {
            if (!c->differs[i]) continue;
            for (int64_t e = 0; e < c->in_count[i]; e++) {
                double term = u[c->column[i] + e] * wf_at(twice[n], e);
                sum[turn] += term;
                weight += fabs(term);
            }
            n++;
        }
    }
    k->report->checked++;
    return fabs(sum[0] - sum[1]) <= 1e-12 * weight + 1e-14 ||
           check_fail(k->report, "%s: %s: u'Hv is %.17g, v'Hu %.17g", c->who, check, sum[0],
                      sum[1]);
}

bool check_laws(op_check *k)
{
    static const struct {
        uint32_t law;
        bool (*holds)(op_check *k);
    } all[] = { { LAW_INFER, check_infer },
                { LAW_LINEAR, check_linear },
                { LAW_GRAPHS, check_graph_subsets },
                { LAW_SYMMETRIC, check_symmetric } };
    for (int i = 0; i < (k->sweeps ? 4 : 1); i++)
        if (!(k->skip & all[i].law) && !all[i].holds(k)) return false;
    return true;
}
