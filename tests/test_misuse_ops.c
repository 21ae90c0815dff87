/* Misuse of every row of ops, hidden ones too, through wf_apply: the row's own samples, spoilt in
 * every way that their shapes, dtypes and numbers can be. A new row is spoilt as it is. (The ops'
 * own functions, and what each says word for word: test_misuse.c.) */
#include "tests/misuse.h"

#include <math.h>
#include <stdarg.h>

enum { FREE_OF_ROOM = 4096 };

static const wf_op *op;
static wf_sample sample;
static wf_var *in[WF_SAMPLE_INPUTS], *out[16];

/* An input of the sample's dtype and numbers, of any shape, on any tape. */
static wf_var *input_like(wf_tape *t, int i, wf_dtype dtype, wf_shape shape)
{
    static union {
        float f[FREE_OF_ROOM];
        double d[FREE_OF_ROOM];
        int32_t i[FREE_OF_ROOM];
    } x;
    double low = sample.in[i].low, high = sample.in[i].high, gap = sample.in[i].gap;
    int64_t n = wf_shape_count(&shape);
    if (low < gap) low = high < gap ? low : gap;
    for (int64_t k = 0; k < n && k < FREE_OF_ROOM; k++) {
        double value = low + (high - low) * (double)(k % 7) / 7;
        if (dtype == WF_F32) x.f[k] = (float)value;
        if (dtype == WF_F64) x.d[k] = value;
        if (dtype == WF_I32) x.i[k] = (int32_t)value;
    }
    if (n > FREE_OF_ROOM) return wf_zeros(t, dtype, shape);
    return dtype == WF_I32 ? wf_constant(t, dtype, shape, &x) : wf_leaf(t, dtype, shape, &x);
}

/* A new step, with the inputs as the sample has them. */
static void inputs_as_sampled(void)
{
    misuse_renew();
    for (int i = 0; i < sample.n_in; i++) {
        wf_shape shape = sample.in[i].shape;
        in[i] = shape.rank < 0 ? NULL : input_like(now.t, i, sample.in[i].dtype, shape);
    }
    for (int i = 0; i < 16; i++) out[i] = now.matrix;
}

static bool applied(int n, wf_var *const given[], const void *attr, wf_var *result[])
{
    return wf_apply(now.t, op, n, given, attr, result);
}

/* The application was refused: with one sentence of the op's, with nothing recorded, and with NULL
 * for each output. */
static void refused(int line, bool gave, const char *format, ...) WF_PRINTF(3, 4);
static void refused(int line, bool gave, const char *format, ...)
{
    char says[256], what[256];
    va_list values;
    va_start(values, format);
    int n = snprintf(says, sizeof says, "%s: ", op->name);
    vsnprintf(says + n, sizeof says - (size_t)n, format, values);
    va_end(values);
    snprintf(what, sizeof what, "sample %s of %s", sample.label, op->name);
    for (int i = 0; i < op->outputs; i++) HOLDS(!out[i], "%s leaves output %d", what, i);
    misuse_refused(line, what, gave, says[n] ? says : NULL);
}

/* The op gave outputs that can be swept from, or refused in one sentence that names it. */
static void taken_or_refused(const char *how, int i)
{
    int64_t nodes = wf_tape_nodes(now.t);
    bool ok = applied(sample.n_in, in, &sample.attr, out);
    const char *text = wf_tape_error(now.t);
    HOLDS(ok == wf_tape_ok(now.t), "%s, input %d %s: %s", op->name, i, how, text);
    if (!ok) {
        HOLDS(!strncmp(text, op->name, strlen(op->name)) && wf_tape_nodes(now.t) == nodes,
              "%s, input %d %s: %s", op->name, i, how, text);
        refused(__LINE__, ok, "%s", "");
        return;
    }
    wf_var *wrt[WF_SAMPLE_INPUTS], *grad[WF_SAMPLE_INPUTS], *loss = NULL;
    int n = 0;
    for (int k = 0; k < sample.n_in; k++)
        if (in[k]) wrt[n++] = in[k];
    for (int k = 0; k < op->outputs; k++)
        if (wf_dtype_of(out[k]) != WF_I32) loss = wf_sum(now.t, out[k], NULL);
    bool swept = !loss || wf_grad(now.t, 1, &loss, NULL, n, wrt, grad, NULL);
    HOLDS(swept == wf_tape_ok(now.t) && misuse_hash() == now.hash, "%s, input %d %s: %s", op->name,
          i, how, wf_tape_error(now.t));
    if (!swept) misuse_refused(__LINE__, op->name, swept, NULL);
}

/* One input in another form or dtype than the sample's. */
static void spoil_form(int i)
{
    const wf_shape shape = sample.in[i].shape;
    for (int dtype = WF_F32; dtype <= WF_I32; dtype++) {
        inputs_as_sampled();
        in[i] = input_like(now.t, i, (wf_dtype)dtype, shape);
        taken_or_refused("of another dtype", i);
    }
    for (int axis = 0; axis <= shape.rank; axis++)
        for (int way = 0; way < 5; way++) {
            wf_shape s = shape;
            if (way < 3) { /* off by one, or nothing there */
                if (axis == shape.rank) continue;
                s.dim[axis] = way == 2 ? 0 : s.dim[axis] + (way ? 1 : -1);
            } else if (way == 3) { /* an axis more */
                if (shape.rank == WF_RANK) continue;
                for (int k = s.rank++; k > axis; k--) s.dim[k] = s.dim[k - 1];
                s.dim[axis] = 2;
            } else { /* and less */
                if (axis == shape.rank) continue;
                for (int k = axis; k < s.rank - 1; k++) s.dim[k] = s.dim[k + 1];
                s.rank--;
            }
            if (way == 0 && s.dim[axis] < 0) continue;
            inputs_as_sampled();
            in[i] = input_like(now.t, i, sample.in[i].dtype, s);
            taken_or_refused("of another form", i);
        }
}

/* Ids that there are not; numbers that are none. */
static void spoil_numbers(int i)
{
    static const double odd[] = { -1, INT32_MAX, INT32_MIN, NAN, INFINITY };
    const wf_sample good = sample;
    for (int k = 0; k < 5; k++) {
        if (sample.in[i].dtype == WF_I32 && k > 2) break;
        sample.in[i].low = sample.in[i].high = odd[k], sample.in[i].gap = 0;
        inputs_as_sampled();
        taken_or_refused("of odd numbers", i);
        sample = good;
    }
}

/* A var that may not come in. */
static void spoil_var(int i)
{
    const wf_dtype dtype = sample.in[i].dtype;
    const wf_shape shape = sample.in[i].shape;
    inputs_as_sampled();
    in[i] = NULL;
    if (i < 32 && op->optional >> i & 1)
        taken_or_refused("left out", i);
    else
        refused(__LINE__, applied(sample.n_in, in, &sample.attr, out),
                "input %d was never made (NULL)", i);
    inputs_as_sampled();
    in[i] = input_like(now.other, i, dtype, shape);
    refused(__LINE__, applied(sample.n_in, in, &sample.attr, out),
            "input %d belongs to another tape", i);
    if (HARNESS_ADDRESSES) return;
    inputs_as_sampled(); /* what comes behind them is not handed out again for others */
    for (int k = 0; k < 30; k++) misuse_leaf(now.t, WF_SHAPE(32));
    wf_var *old = input_like(now.t, i, dtype, shape);
    inputs_as_sampled();
    in[i] = old;
    refused(__LINE__, applied(sample.n_in, in, &sample.attr, out),
            "input %d was made before the tape was reset", i);
}

/* Lists and attributes that are not there, and lists of another length. */
static void spoil_lists(void)
{
    const int n = sample.n_in;
    inputs_as_sampled();
    refused(__LINE__, applied(n, NULL, &sample.attr, out),
            "the list of inputs was never made (NULL)");
    inputs_as_sampled();
    if (op->attr_size)
        refused(__LINE__, applied(n, in, NULL, out), "the attributes were never made (NULL)");
    inputs_as_sampled();
    bool gave = applied(n, in, &sample.attr, NULL);
    for (int i = 0; i < op->outputs; i++) out[i] = NULL;
    refused(__LINE__, gave, "the list of outputs was never made (NULL)");
    for (int wrong = -1; wrong <= n + 1; wrong++) {
        if (op->inputs < 0 ? wrong >= 1 : wrong == n) continue;
        inputs_as_sampled();
        refused(__LINE__, applied(wrong, in, &sample.attr, out), "%d inputs given; it takes %d%s",
                wrong, op->inputs < 0 ? 1 : op->inputs, op->inputs < 0 ? " or more" : "");
    }
}

/* On no tape, on one that failed, and where nothing is recorded. */
static void spoil_tape(void)
{
    inputs_as_sampled();
    ck_assert(!wf_apply(NULL, op, sample.n_in, in, &sample.attr, out) && !out[0]);
    ck_assert_int_eq(log_kept.times, now.messages);
    wf_fail(now.t, "test: failed on purpose");
    int64_t bytes = wf_tape_bytes(now.t), nodes = wf_tape_nodes(now.t);
    out[0] = now.matrix;
    ck_assert(!applied(sample.n_in, in, &sample.attr, out) && !out[0]);
    in[0] = NULL;
    ck_assert(!applied(sample.n_in, in, &sample.attr, out));
    ck_assert_str_eq(wf_tape_error(now.t), "test: failed on purpose");
    ck_assert(log_kept.times == now.messages + 1 && wf_tape_bytes(now.t) == bytes &&
              wf_tape_nodes(now.t) == nodes);
    inputs_as_sampled();
    wf_tape_set_mode(now.t, WF_INFER);
    nodes = wf_tape_nodes(now.t);
    ck_assert_msg(applied(sample.n_in, in, &sample.attr, out), "%s", wf_tape_error(now.t));
    ck_assert_int_eq(wf_tape_nodes(now.t), nodes);
    ck_assert(!wf_backward_from(now.t, 1, out, NULL));
    ck_assert_str_eq(wf_tape_error(now.t), "backward: nothing is recorded in infer mode");
}

TEST_EACH(a_sample_that_is_spoilt_is_taken_or_refused_in_one_sentence, op_count())
{
    op = wf_op_at(_i);
    int samples = 0;
    while (memset(&sample, 0, sizeof sample), op->sample(samples, &sample)) {
        samples++;
        inputs_as_sampled();
        ck_assert_msg(applied(sample.n_in, in, &sample.attr, out), "%s", wf_tape_error(now.t));
        spoil_lists();
        spoil_tape();
        for (int i = 0; i < sample.n_in; i++) {
            if (sample.in[i].shape.rank < 0) continue;
            spoil_var(i);
            spoil_form(i);
            spoil_numbers(i);
        }
    }
    ck_assert_int_gt(samples, 0);
}
