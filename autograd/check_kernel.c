/* A row's kernels, called directly: against differences, and against themselves when handed over
 * otherwise. */
#include "autograd/check_row_private.h"

#include <float.h>
#include <math.h>
#include <string.h>

#include "tensor/text.h"

enum { FEW = 6 };
static const char *const by_differences = "differences", *const by_backward = "backward";

/* ---- kernels against differences ---- */

static bool same_bits(op_check *k, const char *check, const check_harness *a,
                      const check_harness *b)
{
    for (int o = 0; o < k->c.n_out; o++)
        if (memcmp(a->out[o].memory, b->out[o].memory, (size_t)a->out[o].bytes))
            return check_fail(k->report, "%s: %s: output %d has other bits", k->c.who, check, o);
    return true;
}

/* Where the derivatives from the left and from the right are the furthest apart. */
typedef struct kink {
    int input;
    int64_t index, row;
    double left, right, apart;
} kink;

/* One column of the Jacobian, with a given step; y0 is the value there. */
static void difference_column(op_check *k, int input, int64_t index, double h, const double *y0,
                              double *column, kink *worst)
{
    const check_case *c = &k->c;
    double *x = harness_element(&k->harness, input, index), at = *x;
    double *y[4] = { k->work[1], k->work[2], k->work[3], k->work[4] };
    for (int p = 0; p < 4; p++) {
        *x = check_point(at, h, p);
        harness_forward_fast(&k->harness);
        harness_outputs(&k->harness, y[p]);
    }
    *x = at;
    for (int64_t r = 0; r < c->out.all; r++) {
        double f[4] = { y[0][r], y[1][r], y[2][r], y[3][r] }, side[2];
        column[r] = check_difference(f, h);
        check_sides(f, y0[r], h, side);
        if (fabs(side[0] - side[1]) > worst->apart)
            *worst = (kink){ input, index, r, side[0], side[1], fabs(side[0] - side[1]) };
    }
}

/* All of it, unless a difference met a kink: there is no derivative to compare with. */
static bool difference_all(op_check *k)
{
    const check_case *c = &k->c;
    double *y0 = k->work[5];
    kink worst = { 0 };
    harness_outputs(&k->harness, y0);
    for (int i = 0; i < c->n_in; i++)
        for (int64_t j = 0; c->in.floats[i] && j < c->in.count[i]; j++) {
            difference_column(k, i, j, check_step(k->step, c->value[i][j]), y0, k->work[0], &worst);
            for (int64_t r = 0; r < c->out.all; r++)
                k->jacobian[r * c->in.all + c->in.at[i] + j] = k->work[0][r];
        }
    double largest = check_largest(c->out.all * c->in.all, k->jacobian);
    double noise = check_noise(k, check_largest(c->out.all, y0));
    if (worst.apart > check_kink(k->step) * largest + noise) {
        char place[CHECK_WHERE], row[CHECK_WHERE];
        int o = c->n_out - 1;
        while (o > 0 && c->out.at[o] > worst.row) o--;
        return check_fail(
            k->report,
            "%s: input %d at %s = %.9g lies within two steps of a kink of output %d "
            "at %s: its derivative is %.6g from the left, %.6g from the right\n"
            "  hint: give the sample a gap, or other limits",
            c->who, worst.input, check_where(place, &c->in.shape[worst.input], worst.index),
            c->value[worst.input][worst.index], o,
            check_where(row, &c->out.shape[o], worst.row - c->out.at[o]), worst.left, worst.right);
    }
    return harness_forward(&k->harness);
}

/* Each block of the Jacobian, one output element at a time, from backward called directly. */
static bool jacobian_near(op_check *k)
{
    const check_case *c = &k->c;
    double *one = k->work[0], *got = k->work[1], *y = k->work[2];
    double *swept = check_doubles(&k->pool, c->out.all * c->in.all);
    double *block = check_doubles(&k->pool, 2 * c->out.all * c->in.all);
    if (!swept || !block) return check_no_memory(k);
    memset(one, 0, (size_t)c->out.all * sizeof *one);
    for (int o = 0; o < c->visible; o++)
        for (int64_t r = 0; c->out.floats[o] && r < c->out.count[o]; r++) {
            one[c->out.at[o] + r] = 1;
            if (!harness_backward(&k->harness, one, UINT32_C(1) << o, UINT32_MAX, got))
                return false;
            one[c->out.at[o] + r] = 0;
            memcpy(swept + (c->out.at[o] + r) * c->in.all, got, (size_t)c->in.all * sizeof *got);
        }
    harness_outputs(&k->harness, y);
    for (int o = 0; o < c->visible; o++)
        for (int i = 0; c->out.floats[o] && i < c->n_in; i++) {
            if (!c->in.floats[i]) continue;
            int64_t n = c->out.count[o] * c->in.count[i];
            double *want = block, *have = block + n;
            for (int64_t e = 0; e < n; e++) {
                int64_t at = (c->out.at[o] + e / c->in.count[i]) * c->in.all + c->in.at[i] +
                             e % c->in.count[i];
                want[e] = k->jacobian[at];
                have[e] = swept[at];
            }
            char check[64];
            wf_format(check, sizeof check, "Jacobian of output %d", o);
            check_comparison s = { .who = c->who,
                                   .check = check,
                                   .role = "input",
                                   .index = i,
                                   .got = by_backward,
                                   .want = by_differences,
                                   .width = c->in.count[i],
                                   .form = &c->in.shape[i],
                                   .of = &c->out.shape[o] };
            double floor = check_noise(k, check_largest(c->out.count[o], y + c->out.at[o])) +
                           8 * DBL_EPSILON;
            if (!check_near(k->report, &s, n, have, want, k->tolerance, floor)) return false;
        }
    return true;
}

/* A random cotangent into all outputs at once: linear in backward, and against differences. */
static bool check_random_cotangent(op_check *k)
{
    const check_case *c = &k->c;
    double *want = k->work[0], *y = k->work[1], weight = 0;
    if (!harness_sweep(&k->harness, k->cotangent, k->gradient)) return false;
    for (int64_t j = 0; j < c->in.all; j++) {
        want[j] = 0;
        for (int64_t r = 0; r < c->out.all; r++)
            want[j] += k->cotangent[r] * k->jacobian[r * c->in.all + j];
    }
    harness_outputs(&k->harness, y);
    for (int64_t r = 0; r < c->out.all; r++) weight += fabs(k->cotangent[r]) * fabs(y[r]);
    return floats_near(&c->in, "backward of random cotangents", k->gradient, by_backward, want,
                       by_differences, k->tolerance, check_noise(k, weight) + 8 * DBL_EPSILON);
}

bool check_jacobian(op_check *k)
{
    check_harness *again = harness_new(&k->c, WF_F64, NULL, NULL);
    return again && harness_forward(again) &&
           same_bits(k, "forward once more", again, &k->harness) && difference_all(k) &&
           jacobian_near(k) && check_random_cotangent(k);
}

/* ---- the same kernels otherwise handed over ---- */

/* What a subset of gradients wanted, or of cotangents present, must leave of the whole. */
static bool check_handed(op_check *k, uint32_t present, uint32_t wanted)
{
    const check_case *c = &k->c;
    double *zeroed = k->work[0], *want = k->work[1], *got = k->work[2];
    floats_only(&c->out, present, k->cotangent, zeroed);
    if (!harness_sweep(&k->harness, zeroed, want) ||
        !harness_backward(&k->harness, k->cotangent, present, wanted, got))
        return false;
    floats_only(&c->in, wanted, want, want);
    char check[128];
    wf_format(check, sizeof check, "gradients wanted 0x%x, cotangents present 0x%x",
              (unsigned)wanted, (unsigned)present);
    return floats_equal(&c->in, check, got, "subset", want, "whole");
}

/* Subsets of the inputs, and one in two of them; all subsets of the outputs. */
static bool check_subsets(op_check *k)
{
    const uint32_t inputs = floats_mask(&k->c.in), outputs = floats_mask(&k->c.out);
    for (uint32_t wanted = 1; wanted <= inputs; wanted++)
        if ((check_subset(wanted, inputs, FEW) || wanted == (inputs & 0x5555)) &&
            !check_handed(k, outputs, wanted))
            return false;
    for (uint32_t present = 1; present < outputs; present++)
        if ((present & outputs) == present &&
            (!check_handed(k, present, inputs) || !check_handed(k, present, inputs & 0x5555)))
            return false;
    return true;
}

/* A backward that begins gradients writes all of them, and no less where it begins some. */
static bool check_begun(op_check *k)
{
    const check_case *c = &k->c;
    const uint32_t inputs = floats_mask(&c->in);
    double *got = k->work[0];
    if (!(c->op->flags & WF_OP_BEGINS)) return true;
    if (!harness_sweep(&k->harness, k->cotangent, k->gradient)) return false;
    for (uint32_t fresh = 1; fresh <= inputs; fresh++) {
        if (!check_subset(fresh, inputs, FEW)) continue;
        char check[64];
        wf_format(check, sizeof check, "backward that begins gradients 0x%x", (unsigned)fresh);
        harness_backward_begun(&k->harness, fresh, got);
        if (!floats_equal(&c->in, check, got, "begun", k->gradient, "added to")) return false;
    }
    return true;
}

/* Forward told that only these gradients may be asked for: it leaves the same values, and backward
 * these same gradients. */
static bool check_told(op_check *k, uint32_t wanted)
{
    const check_case *c = &k->c;
    double *want = k->work[0], *got = k->work[1];
    struct check_block *until = k->pool.last;
    char check[64];
    wf_format(check, sizeof check, "forward told that gradients 0x%x are wanted", (unsigned)wanted);
    k->c.wanted = wanted;
    check_harness *told = harness_new(c, WF_F64, NULL, NULL);
    k->c.wanted = UINT32_MAX;
    bool ok = told && harness_forward(told);
    for (int o = 0; ok && o < c->visible; o++)
        if (memcmp(told->out[o].memory, k->harness.out[o].memory, (size_t)told->out[o].bytes))
            ok = check_fail(k->report, "%s: %s: output %d has other bits", c->who, check, o);
    floats_only(&c->in, wanted, k->gradient, want);
    if (ok && wanted)
        ok = harness_backward(told, k->cotangent, UINT32_MAX, wanted, got) &&
             floats_equal(&c->in, check, got, "told", want, "of all");
    check_let_go(&k->pool, until);
    return ok;
}

static bool check_all_told(op_check *k)
{
    const uint32_t inputs = floats_mask(&k->c.in);
    if (k->skip & LAW_WANTED) return true;
    for (uint32_t wanted = 0; wanted < inputs; wanted++)
        if ((!wanted || check_subset(wanted, inputs, FEW)) && !check_told(k, wanted)) return false;
    return true;
}

static bool check_threads(op_check *k)
{
    const check_case *c = &k->c;
    double *one = k->work[0], *three = k->work[1];
    k->c.threads = 3;
    check_harness *many = harness_new(c, WF_F64, NULL, NULL);
    k->c.threads = 1;
    if (!many || !harness_forward(many) ||
        !same_bits(k, "forward with three threads", many, &k->harness))
        return false;
    if (!k->sweeps) return true;
    if (!harness_sweep(&k->harness, k->cotangent, one) || !harness_sweep(many, k->cotangent, three))
        return false;
    return !memcmp(one, three, (size_t)c->in.all * sizeof *one) ||
           check_fail(k->report, "%s: backward with three threads gives other bits", c->who);
}

static bool check_declared_reads(op_check *k)
{
    const check_case *c = &k->c;
    check_harness *blind = harness_new(c, WF_F64, NULL, NULL);
    double *got = k->work[0];
    if (!blind || !harness_forward(blind)) return false;
    harness_hide_undeclared(blind);
    return harness_sweep(blind, k->cotangent, got) &&
           floats_near(&c->in, "backward while all that is not in reads_in and reads_out is NaN",
                       got, "blind", k->gradient, by_backward, 1e-15, 0);
}

/* Outputs that are ids or masks are equal. */
static bool same_whole_numbers(op_check *k, const char *check, const check_harness *a,
                               const check_harness *b)
{
    char text[CHECK_WHERE];
    for (int o = 0; o < k->c.visible; o++)
        for (int64_t j = 0; !k->c.out.floats[o] && j < k->c.out.count[o]; j++, k->report->checked++)
            if (place_get(&a->out[o], j) != place_get(&b->out[o], j))
                return check_fail(k->report, "%s: %s: output %d at %s: this layout %g, plain %g",
                                  k->c.who, check, o, check_where(text, &k->c.out.shape[o], j),
                                  place_get(&a->out[o], j), place_get(&b->out[o], j));
    return true;
}

/* Lays the inputs and their gradients out otherwise; the values stay those of the plain harness
 * `base`. */
static bool check_layout_on(op_check *k, const char *check, const check_layouts *layouts,
                            double *const value[])
{
    const check_case *c = &k->c;
    double *want = k->work[0], *got = k->work[1];
    struct check_block *until = k->pool.last;
    check_harness *plain = harness_new(c, WF_F64, NULL, value);
    check_harness *laid = plain ? harness_new(c, WF_F64, layouts, value) : NULL;
    bool ok = laid && harness_forward(plain) && harness_forward(laid);
    if (ok) {
        harness_outputs(plain, want);
        harness_outputs(laid, got);
        ok = floats_equal(&c->out, check, got, "this layout", want, "plain") &&
             same_whole_numbers(k, check, laid, plain);
    }
    if (ok && k->sweeps)
        ok = harness_sweep(plain, k->cotangent, want) && harness_sweep(laid, k->cotangent, got) &&
             floats_equal(&c->in, check, got, "this layout", want, "plain");
    check_let_go(&k->pool, until);
    return ok;
}

/* The values of an input whose axis repeats its first index. */
static void repeat_axis(const check_case *c, int input, int axis, double *value)
{
    wf_tensor x = wf_tensor_of(WF_F64, c->in.shape[input], NULL);
    x.stride[axis] = 0;
    for (int64_t j = 0; j < c->in.count[input]; j++)
        value[j] = c->value[input][wf_tensor_offset(&x, x.rank, j)];
}

static bool check_layouts_all(op_check *k)
{
    static const char *const name[3] = { "plain", "transposed", "stepped" };
    const check_case *c = &k->c;
    for (int in = 0; in < 3; in++)
        for (int gin = 0; gin < 3; gin++) {
            check_layouts all = { 0 };
            for (int i = 0; i < CHECK_VARS; i++) {
                all.in[i] = (check_layout)in;
                all.gin[i] = (check_layout)gin;
            }
            char check[96];
            wf_format(check, sizeof check, "inputs %s, their gradients %s", name[in], name[gin]);
            if ((in || gin) && !check_layout_on(k, check, &all, NULL)) return false;
        }
    for (int i = 0; i < c->n_in; i++) {
        if (!c->given[i]) continue;
        for (int kind = 1; c->n_in > 1 && kind < 3; kind++) {
            check_layouts one = { 0 };
            one.in[i] = (check_layout)kind;
            one.gin[i] = (check_layout)(3 - kind);
            char check[96];
            wf_format(check, sizeof check, "only input %d %s, its gradient %s", i, name[kind],
                      name[3 - kind]);
            if (!check_layout_on(k, check, &one, NULL)) return false;
        }
        for (int axis = 0; axis < c->in.shape[i].rank; axis++) {
            if (c->in.shape[i].dim[axis] < 2) continue;
            check_layouts repeated = { 0 };
            double *value[CHECK_VARS] = { 0 };
            value[i] = check_doubles(&k->pool, c->in.count[i]);
            if (!value[i]) return check_no_memory(k);
            repeat_axis(c, i, axis, value[i]);
            repeated.in[i] = LAYOUT_EXPANDED;
            repeated.axis[i] = axis;
            char check[96];
            wf_format(check, sizeof check, "input %d repeated along axis %d with a stride of 0", i,
                      axis);
            if (!check_layout_on(k, check, &repeated, value)) return false;
        }
    }
    return true;
}

/* In single precision, from the same rounded inputs: forward within 64 units of rounding of what
 * its outputs and its Jacobian allow, backward within 512 of the largest gradient and of all
 * that was summed. */
static bool check_single(op_check *k)
{
    const check_case *c = &k->c;
    const double unit = (double)FLT_EPSILON;
    double *value[CHECK_VARS] = { 0 }, *want = k->work[0], *got = k->work[1],
           *cotangent = k->work[2];
    for (int i = 0; i < c->n_in; i++) {
        if (!c->in.floats[i]) continue;
        if (!(value[i] = check_rounded(k, i))) return check_no_memory(k);
    }
    check_harness *single = harness_new(c, WF_F32, NULL, value);
    check_harness *twice = single ? harness_new(c, WF_F64, NULL, value) : NULL;
    if (!twice || !harness_forward(single) || !harness_forward(twice)) return false;
    harness_outputs(twice, want);
    harness_outputs(single, got);
    for (int o = 0; o < c->visible; o++)
        for (int64_t r = c->out.at[o]; c->out.floats[o] && r < c->out.at[o] + c->out.count[o];
             r++) {
            double reach = fabs(want[r]);
            for (int i = 0; i < c->n_in; i++)
                for (int64_t j = 0; c->in.floats[i] && j < c->in.count[i]; j++)
                    reach += fabs(k->jacobian[r * c->in.all + c->in.at[i] + j] * value[i][j]);
            check_comparison s = { .who = c->who,
                                   .check = "single precision",
                                   .role = "output",
                                   .index = o,
                                   .got = "f32",
                                   .want = "f64",
                                   .form = &c->out.shape[o],
                                   .first = r - c->out.at[o] };
            if (!check_near(k->report, &s, 1, got + r, want + r, 0, 64 * unit * (reach + 1e-30)))
                return false;
        }
    if (!k->sweeps) return true;
    double sum = 0;
    for (int64_t r = 0; r < c->out.all; r++) {
        cotangent[r] = (double)(float)k->cotangent[r];
        double largest = check_largest(c->in.all, k->jacobian + r * c->in.all);
        sum += fabs(cotangent[r]) * largest;
    }
    return harness_sweep(twice, cotangent, want) && harness_sweep(single, cotangent, got) &&
           floats_near(&c->in, "single precision, backward", got, "f32", want, "f64", 512 * unit,
                       16 * unit * (sum + 2));
}

static bool is_named(const check_case *c, int64_t row)
{
    for (int64_t j = 0; j < c->in.count[1]; j++)
        if ((int64_t)c->value[1][j] == row) return true;
    return false;
}

/* What only rows that ids name add to is looked at nowhere else. */
static bool check_named_rows(op_check *k)
{
    const check_case *c = &k->c;
    if (!(c->op->flags & WF_OP_SPARSE)) return true;
    if (c->n_in < 2 || !c->given[1] || c->in.floats[1] || c->in.shape[0].rank < 1)
        return check_fail(k->report,
                          "%s: WF_OP_SPARSE says that ids, input 1, name rows of input 0", c->who);
    int64_t rows = c->in.shape[0].dim[0];
    for (int64_t i = 0; i < c->in.count[0]; i++) {
        int64_t row = i / (c->in.count[0] / rows);
        if (k->gradient[c->in.at[0] + i] != 0 && !is_named(c, row))
            return check_fail(k->report,
                              "%s: backward adds to row %lld of input 0, which no id of input 1 "
                              "names, against WF_OP_SPARSE",
                              c->who, (long long)row);
    }
    return true;
}

bool check_handed_over(op_check *k)
{
    double worst = k->report->worst;
    if (!check_threads(k) || !check_layouts_all(k) || !check_single(k)) return false;
    k->report->worst = worst; /* single precision is no measure of a derivative */
    return !k->sweeps || (check_subsets(k) && check_begun(k) && check_all_told(k) &&
                          check_declared_reads(k) && check_named_rows(k));
}
