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
    check_draw(k->key, "linear", c->out.all, v);
    if (!harness_sweep(&k->harness, k->cotangent, of_u) || !harness_sweep(&k->harness, v, of_v))
        return false;
    for (int64_t j = 0; j < c->in.all; j++) want[j] = a * of_u[j] + b * of_v[j];
    for (int64_t r = 0; r < c->out.all; r++) v[r] = a * k->cotangent[r] + b * v[r];
    if (!harness_sweep(&k->harness, v, got)) return false;
    double size = fmax(check_largest(c->in.all, of_u), check_largest(c->in.all, of_v));
    if (!floats_near(&c->in, "backward is linear in the cotangents", got, "of a u + b v", want,
                     "a of u + b of v", 1e-13, 1e-13 * size + 1e-14))
        return false;
    memset(want, 0, (size_t)c->in.all * sizeof *want);
    return harness_backward(&k->harness, k->cotangent, 0, ALL, got) &&
           floats_near(&c->in, "backward without any cotangent", got, "it", want, "nothing", 0, 0);
}

/* ---- on a tape ---- */

/* Where nothing is recorded, the values are the same to the bit. */
static bool check_infer(op_check *k)
{
    const check_case *c = &k->c;
    check_taped r;
    int64_t n = 0;
    for (int o = 0; o < c->visible; o++) n += c->out.count[o];
    double *recorded = check_take(&k->pool, n * (int64_t)sizeof *recorded);
    if (!recorded) return check_no_memory(k);
    for (int infer = 0; infer < 2; infer++) {
        double *y = recorded;
        wf_tape_set_mode(k->t, infer ? WF_INFER : WF_TRAIN);
        bool ok = check_tape_apply(k, false, NULL, infer ? 0 : ALL, &r);
        wf_tape_set_mode(k->t, WF_TRAIN);
        if (!ok) return check_tape_failed(k, infer ? "in infer mode" : "recorded");
        for (int o = 0; o < c->visible; o++)
            for (int64_t j = 0; j < c->out.count[o]; j++, y++) {
                double x = wf_at(r.out[o], j);
                if (!infer) *y = x;
                k->report->checked += infer;
                if (infer && memcmp(&x, y, sizeof x))
                    return check_fail(k->report,
                                      "%s: output %d at %s: %.17g in infer mode, %.17g while "
                                      "recording",
                                      c->who, o,
                                      check_where((char[CHECK_WHERE]){ 0 }, &c->out.shape[o], j), x,
                                      *y);
            }
    }
    return true;
}

/* The graph of the gradient by the inputs in `wanted`, the others being constants, of the outputs
 * in `present`; its values to `got`. */
static bool graph_of(op_check *k, const char *check, uint32_t wanted, uint32_t present,
                     const double *cotangent, double *got)
{
    check_taped r;
    wf_var *grad[CHECK_VARS];
    if (!check_tape_apply(k, false, NULL, wanted, &r)) return check_tape_failed(k, check);
    check_tape_sources(k, &r, present, cotangent, false);
    return check_tape_grad(k, check, wanted, true, &r, grad, got);
}

/* A graph of some gradients is a part of the graph of all; outputs without a cotangent are as those
 * with zeros. */
static bool check_graph_subsets(op_check *k)
{
    const check_case *c = &k->c;
    double *want = k->work[0], *got = k->work[1], *zeroed = k->work[2];
    const uint32_t inputs = floats_mask(&c->in), outputs = floats_mask(&c->out);
    char check[96];
    for (uint32_t wanted = 1; wanted < inputs; wanted++) {
        if (!check_subset(wanted, inputs, FEW)) continue;
        wf_format(check, sizeof check, "gradient of the inputs 0x%x alone", (unsigned)wanted);
        if (!graph_of(k, check, wanted, outputs, k->cotangent, got)) return false;
        floats_only(&c->in, wanted, k->gradient, want);
        if (!floats_equal(&c->in, check, got, "gradient", want, "backward")) return false;
    }
    for (uint32_t present = 1; present < outputs; present++) {
        if ((present & outputs) != present) continue;
        wf_format(check, sizeof check, "gradient from the outputs 0x%x alone", (unsigned)present);
        floats_only(&c->out, present, k->cotangent, zeroed);
        if (!graph_of(k, check, inputs, outputs, zeroed, want) ||
            !graph_of(k, check, inputs, present, k->cotangent, got) ||
            !floats_equal(&c->in, check, got, "alone", want, "the others zero"))
            return false;
    }
    return true;
}

/* u'Hv = v'Hu for the second derivatives H of <cotangent, outputs>, both from the tape. */
static bool check_symmetric(op_check *k)
{
    const check_case *c = &k->c;
    const char *check = "second derivatives are symmetric";
    check_taped r;
    wf_var *grad[CHECK_VARS], *toward[CHECK_VARS], *twice[CHECK_VARS];
    double *along[2] = { k->work[0], k->work[1] }, *product = k->work[2];
    double sum[2] = { 0, 0 }, weight = 0;
    if (!check_tape_apply(k, false, NULL, ALL, &r)) return check_tape_failed(k, check);
    check_tape_sources(k, &r, ALL, k->cotangent, false);
    if (!check_tape_grad(k, check, ALL, true, &r, grad, product)) return false;
    check_draw(k->key, "symmetric, one", c->in.all, along[0]);
    check_draw(k->key, "symmetric, other", c->in.all, along[1]);
    for (int turn = 0; turn < 2; turn++) {
        floats_enter(&c->in, ALL, k->t, along[turn], false, toward);
        if (!wf_grad(k->t, r.ins, grad, toward, r.ins, r.by, twice, NULL))
            return check_tape_failed(k, check);
        floats_read(&c->in, ALL, twice, product);
        for (int64_t j = 0; j < c->in.all; j++) {
            sum[turn] += along[1 - turn][j] * product[j];
            weight += fabs(along[1 - turn][j] * product[j]);
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
