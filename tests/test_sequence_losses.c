/* Losses of sequences: every reduction against the losses of single tokens added up by hand, values
 * and derivatives; padding that is no number; batches with nothing in them. */
#include "autograd/ops.h"
#include "autograd/views.h"
#include "tests/tape.h"

#include <math.h>
#include <string.h>

enum { TIME = 5, BATCH = 4, CLASSES = 6, WIDTH = 3 };

typedef enum spelling { OF_LOGITS, OF_FEATURES, OF_NUMBERS, SPELLINGS } spelling;

static wf_linear *linear;

/* A batch, what of it counts, and what lies where nothing does. */
typedef struct problem {
    spelling how;
    wf_var *x, *targets, *lengths, *mask;
    bool there[TIME][BATCH];
    double tokens[BATCH];
} problem;

static const int32_t length[BATCH] = { 3, 0, 5, 2 };

static bool counts(int kind, int64_t i, int64_t b)
{
    const bool within = !(kind & 1) || i < length[b];
    return within && (!(kind & 2) || (i + b) % 3 > 0);
}

/* kind: with lengths (1), with a mask (2). Where nothing counts lies `rest`, and ids that are
 * none. */
static problem made(spelling how, int kind, wf_dtype dtype, double rest)
{
    const int64_t width = how == OF_LOGITS ? CLASSES : WIDTH;
    int32_t ids[TIME * BATCH], shown[TIME * BATCH];
    problem p = { .how = how };
    p.x = drawn(t, dtype, WF_SHAPE(TIME, BATCH, width), 3, -2, 2);
    p.targets = drawn(t, dtype, WF_SHAPE(TIME, BATCH, width), 4, -2, 2);
    for (int i = 0; i < TIME * BATCH; i++) {
        const int step = i / BATCH, b = i % BATCH;
        p.there[step][b] = counts(kind, step, b);
        p.tokens[b] += p.there[step][b];
        ids[i] = p.there[step][b] ? i % CLASSES : 99 - i;
        shown[i] = (step + b) % 3; /* not 0, whatever it is */
        for (int64_t k = 0; !p.there[step][b] && k < width; k++) {
            put(wf_value(p.x), i * width + k, rest);
            put(wf_value(p.targets), i * width + k, rest);
        }
    }
    if (how != OF_NUMBERS) p.targets = wf_constant(t, WF_I32, WF_SHAPE(TIME, BATCH), ids);
    if (kind & 1) p.lengths = wf_constant(t, WF_I32, WF_SHAPE(BATCH), length);
    if (kind & 2) p.mask = wf_constant(t, WF_I32, WF_SHAPE(TIME, BATCH), shown);
    return p;
}

static wf_var *loss_of(const problem *p, const wf_sequence_loss_options *o)
{
    wf_var *y = p->how == OF_LOGITS
                    ? wf_sequence_cross_entropy(t, p->x, p->targets, p->lengths, p->mask, o)
                : p->how == OF_FEATURES
                    ? wf_linear_sequence_cross_entropy(t, linear, p->x, p->targets, p->lengths,
                                                       p->mask, o)
                    : wf_sequence_mse(t, p->x, p->targets, p->lengths, p->mask, o);
    ck_assert_msg(y && wf_tape_ok(t), "%s", wf_tape_error(t));
    return y;
}

/* What each token counts in a reduction, (T, B): for each sequence apart, in the sum of the losses
 * times 1, 2, .. */
static wf_var *shares(const problem *p, wf_sequence_reduction how, wf_dtype dtype)
{
    double all = 0, sequences = 0;
    for (int b = 0; b < BATCH; b++) {
        all += p->tokens[b];
        sequences += p->tokens[b] > 0;
    }
    wf_tensor to;
    wf_var *share = wf_constant_fill(t, dtype, WF_SHAPE(TIME, BATCH), &to);
    for (int i = 0; i < TIME * BATCH; i++) {
        const int b = i % BATCH;
        const double one = how == WF_PER_TOKEN      ? 1 / all
                           : how == WF_PER_SEQUENCE ? 1 / (sequences * p->tokens[b])
                           : how == WF_TOTAL        ? 1
                                                    : b + 1;
        put(&to, i, p->there[i / BATCH][b] ? one : 0);
    }
    return share;
}

/* The losses of tokens, each by itself, of a problem without anything that is no number. */
static wf_var *tokens_of(const problem *p, double smoothing)
{
    if (p->how == OF_NUMBERS)
        return wf_mean(t, wf_square(t, wf_sub(t, p->x, p->targets)), WF_AXES(-1));
    wf_tensor ids = *wf_value(p->targets);
    for (int64_t i = 0; i < TIME * BATCH; i++)
        if (!p->there[i / BATCH][i % BATCH]) put(&ids, i, 0);
    wf_var *z = p->how == OF_FEATURES ? wf_linear_forward(t, linear, p->x) : p->x;
    return wf_cross_entropy_with(
        t, z, p->targets,
        &(wf_cross_entropy_options){ .label_smoothing = smoothing, .reduction = WF_REDUCE_NONE });
}

/* A loss as one number, with its derivatives to x, to what is learned, and to targets that are
 * numbers. */
enum { BY = 3 };
static double derived(const problem *p, wf_var *loss, wf_var *grad[BY])
{
    wf_var *by[BY] = { p->x };
    int n = 1;
    if (p->how == OF_NUMBERS) by[n++] = p->targets;
    if (p->how == OF_FEATURES) {
        by[n++] = wf_enter(t, linear->weight, "test");
        by[n++] = wf_enter(t, linear->bias, "test");
    }
    memset(grad, 0, BY * sizeof *grad);
    ck_assert_msg(wf_grad(t, 1, &loss, NULL, n, by, grad, NULL), "%s", wf_tape_error(t));
    return wf_item(loss);
}

/* Each sequence's loss counts its number, from 1. */
static wf_var *as_one(wf_var *loss)
{
    if (wf_rank(loss) == 0) return loss;
    ck_assert(wf_rank(loss) == 1);
    return wf_sum(t, wf_mul(t, loss, wf_arange(t, wf_dtype_of(loss), 1, BATCH + 1, 1)), NULL);
}

static void assert_near(const char *what, const wf_var *a, const wf_var *b, double tolerance)
{
    ck_assert(wf_count(a) == wf_count(b));
    for (int64_t i = 0; i < wf_count(a); i++)
        ck_assert_msg(fabs(wf_at(a, i) - wf_at(b, i)) <= tolerance, "%s: %lld: %.17g, not %.17g",
                      what, (long long)i, wf_at(a, i), wf_at(b, i));
}

static void assert_nothing_where_nothing_counts(const problem *p, const wf_var *grad)
{
    const int64_t width = wf_dim(grad, 2);
    for (int64_t i = 0; i < wf_count(grad); i++)
        ck_assert(p->there[i / width / BATCH][i / width % BATCH] || wf_at(grad, i) == 0);
}

static void set_up_linear(wf_dtype dtype)
{
    set_up();
    wf_module_free(net);
    net = wf_module_new("net", &(wf_module_options){ .dtype = dtype, .seed = 2 });
    linear = wf_linear_new(net, "out", &(wf_linear_options){ .input = WIDTH, .output = CLASSES });
    ck_assert_ptr_nonnull(linear);
}

/* ---- what they are ---- */

TEST_EACH(every_reduction_is_its_tokens_losses_added_up, SPELLINGS * 4 * 4 * 2)
{
    const spelling how = (spelling)(_i % SPELLINGS);
    const int kind = _i / SPELLINGS % 4;
    const wf_dtype dtype = _i / (SPELLINGS * 16) ? WF_F32 : WF_F64;
    const double tolerance = dtype == WF_F64 ? 1e-14 : 4e-6;
    const wf_sequence_loss_options o = {
        .reduction = (wf_sequence_reduction)(_i / (SPELLINGS * 4) % 4),
        .label_smoothing = how != OF_NUMBERS && kind != 1 ? 0.1 : 0
    };
    set_up_linear(dtype);
    wf_var *grad[BY], *want[BY];
    problem p = made(how, kind, dtype, 0), poisoned = made(how, kind, dtype, (double)NAN);
    wf_var *plain = tokens_of(&p, o.label_smoothing);
    plain = wf_sum(t, wf_mul(t, plain, shares(&p, o.reduction, dtype)), NULL);
    const double right = derived(&p, plain, want);
    const double loss = derived(&poisoned, as_one(loss_of(&poisoned, &o)), grad);
    ck_assert_msg(fabs(loss - right) <= tolerance * fmax(1, fabs(right)), "%.17g, not %.17g", loss,
                  right);
    for (int k = 0; k < BY && grad[k]; k++) assert_near("derivative", grad[k], want[k], tolerance);
    assert_nothing_where_nothing_counts(&p, grad[0]);
    if (how == OF_NUMBERS) assert_nothing_where_nothing_counts(&p, grad[1]);
}

TEST_EACH(what_lies_where_nothing_counts_changes_no_bit, SPELLINGS * 4)
{
    static const double rests[] = { 1, NAN, INFINITY, -INFINITY, 1e300 };
    const spelling how = (spelling)(_i % SPELLINGS);
    const wf_sequence_loss_options o = { .reduction = (wf_sequence_reduction)(_i / SPELLINGS) };
    set_up_linear(WF_F64);
    wf_var *first[BY], *grad[BY];
    problem p = made(how, 3, WF_F64, 0);
    const double loss = derived(&p, as_one(loss_of(&p, &o)), first);
    for (int r = 0; r < (int)(sizeof rests / sizeof rests[0]); r++) {
        p = made(how, 3, WF_F64, rests[r]);
        ck_assert(derived(&p, as_one(loss_of(&p, &o)), grad) == loss);
        for (int k = 0; k < BY && grad[k]; k++)
            for (int64_t i = 0; i < wf_count(grad[k]); i++)
                ck_assert(wf_at(grad[k], i) == wf_at(first[k], i));
    }
}

TEST(second_derivatives_are_those_of_the_tokens_losses)
{
    set_up_linear(WF_F64);
    for (int how = 0; how < SPELLINGS; how++) {
        wf_var *y[2], *grad, *twice[2];
        problem p = made((spelling)how, 3, WF_F64, 0);
        y[0] = loss_of(&p, NULL);
        y[1] = wf_sum(t, wf_mul(t, tokens_of(&p, 0), shares(&p, WF_PER_TOKEN, WF_F64)), NULL);
        for (int k = 0; k < 2; k++) {
            ck_assert(wf_grad(t, 1, &y[k], NULL, 1, &p.x, &grad, &with_graph));
            wf_var *norm = wf_sum(t, wf_square(t, grad), NULL);
            ck_assert(wf_grad(t, 1, &norm, NULL, 1, &p.x, &twice[k], NULL));
        }
        assert_near("second derivative", twice[0], twice[1], 1e-14);
    }
}

TEST(a_batch_is_its_sequences_alone)
{
    set_up_linear(WF_F64);
    for (int how = 0; how < SPELLINGS; how++) {
        problem p = made((spelling)how, 1, WF_F64, (double)NAN);
        wf_var *each = loss_of(&p, &(wf_sequence_loss_options){ .reduction = WF_EACH_SEQUENCE });
        ck_assert(wf_rank(each) == 1 && wf_dim(each, 0) == BATCH);
        for (int64_t b = 0; b < BATCH; b++) {
            problem one = { .how = (spelling)how };
            one.x = wf_slice(t, wf_slice(t, p.x, 0, 0, length[b], 1), 1, b, b + 1, 1);
            one.targets = wf_slice(t, wf_slice(t, p.targets, 0, 0, length[b], 1), 1, b, b + 1, 1);
            const wf_sequence_loss_options o = { .reduction = WF_TOTAL };
            ck_assert(fabs(wf_item(loss_of(&one, &o)) - wf_at(each, b)) <= 1e-14 * wf_at(each, b));
        }
    }
}

/* ---- edges ---- */

TEST_EACH(a_batch_of_nothing_is_zero_and_so_are_its_derivatives, SPELLINGS * 4 * 4)
{
    const spelling how = (spelling)(_i % SPELLINGS);
    const int kind = _i / (SPELLINGS * 4);
    const int64_t time = kind == 0 ? 0 : TIME, batch = kind == 1 ? 0 : BATCH;
    const int64_t width = how == OF_LOGITS ? CLASSES : WIDTH;
    const wf_sequence_loss_options o = { .reduction = (wf_sequence_reduction)(_i / SPELLINGS % 4) };
    set_up_linear(WF_F64);
    problem p = { .how = how };
    const wf_shape form = WF_SHAPE(time, batch, width);
    p.x = wf_add_scalar(t, wf_leaf(t, WF_F64, form, NULL), kind < 2 ? 1 : (double)NAN);
    p.targets = how == OF_NUMBERS ? p.x : wf_zeros(t, WF_I32, WF_SHAPE(time, batch));
    if (kind == 2) p.lengths = wf_zeros(t, WF_I32, WF_SHAPE(BATCH));
    if (kind == 3) p.mask = wf_zeros(t, WF_I32, WF_SCALAR);
    wf_var *loss = loss_of(&p, &o), *grad;
    ck_assert(wf_count(loss) == (o.reduction == WF_EACH_SEQUENCE ? batch : 1));
    for (int64_t i = 0; i < wf_count(loss); i++) ck_assert(wf_at(loss, i) == 0);
    loss = wf_sum(t, loss, NULL);
    ck_assert(wf_grad(t, 1, &loss, NULL, 1, &p.x, &grad, NULL));
    for (int64_t i = 0; i < wf_count(grad); i++) ck_assert(wf_at(grad, i) == 0);
}

TEST(a_squared_error_takes_any_number_of_axes_behind_the_batch)
{
    set_up();
    static const wf_shape forms[] = { { 2, { TIME, BATCH } },
                                      { 4, { TIME, BATCH, 2, 3 } },
                                      { 3, { TIME, BATCH, 0 } } };
    wf_var *lengths = wf_constant(t, WF_I32, WF_SHAPE(BATCH), length);
    for (int f = 0; f < 3; f++) {
        wf_var *x = drawn(t, WF_F64, forms[f], 1, -2, 2), *y = drawn(t, WF_F64, forms[f], 2, -2, 2);
        double want = 0;
        const int64_t inner = wf_count(x) / (TIME * BATCH);
        for (int64_t i = 0; i < wf_count(x); i++)
            if (i / inner / BATCH < length[i / inner % BATCH])
                want += (wf_at(x, i) - wf_at(y, i)) * (wf_at(x, i) - wf_at(y, i)) /
                        (10.0 * (double)inner);
        ck_assert(fabs(wf_item(wf_sequence_mse(t, x, y, lengths, NULL, NULL)) - want) <= 1e-14);
    }
}

TEST(a_mask_may_be_for_all_sequences_or_all_steps)
{
    set_up_linear(WF_F64);
    problem p = made(OF_LOGITS, 0, WF_F64, 0);
    const int32_t steps[TIME] = { 1, 0, 1, 1, 0 }, sequences[BATCH] = { 0, 1, 1, 0 };
    double want[2] = { 0, 0 };
    wf_var *tokens = tokens_of(&p, 0), *got[2];
    for (int64_t i = 0; i < TIME * BATCH; i++) {
        want[0] += wf_at(tokens, i) * steps[i / BATCH] / (3 * BATCH);
        want[1] += wf_at(tokens, i) * sequences[i % BATCH] / (2 * TIME);
    }
    p.mask = wf_constant(t, WF_I32, WF_SHAPE(TIME, 1), steps);
    got[0] = loss_of(&p, NULL);
    p.mask = wf_constant(t, WF_I32, WF_SHAPE(BATCH), sequences);
    got[1] = loss_of(&p, NULL);
    for (int k = 0; k < 2; k++) ck_assert(fabs(wf_item(got[k]) - want[k]) <= 1e-14);
}

/* ---- what is wrong ---- */

#define SAYS(call, sentence)                                                                       \
    do {                                                                                           \
        set_up_linear(WF_F64);                                                                     \
        problem p = made(OF_LOGITS, 0, WF_F64, 0);                                                 \
        wf_var *wide = wf_zeros(t, WF_I32, WF_SHAPE(TIME, BATCH + 1));                             \
        (void)p, (void)wide;                                                                       \
        ck_assert_ptr_null(call);                                                                  \
        ck_assert_str_eq(wf_tape_error(t), sentence);                                              \
    } while (0)

TEST(what_does_not_fit_is_said)
{
    SAYS(wf_sequence_cross_entropy(t, wf_zeros(t, WF_F64, WF_SHAPE(5, 4)), p.targets, NULL, NULL,
                                   NULL),
         "sequence_cross_entropy: the logits are (5, 4); expected (time, batch, classes)");
    SAYS(wf_sequence_cross_entropy(t, wide, p.targets, NULL, NULL, NULL),
         "sequence_cross_entropy: the logits are i32; expected f32 or f64");
    SAYS(wf_sequence_cross_entropy(t, p.x, wide, NULL, NULL, NULL),
         "sequence_cross_entropy: the targets are i32 (5, 5); expected i32 (5, 4)");
    SAYS(wf_sequence_cross_entropy(t, p.x, p.targets, NULL, wide, NULL),
         "sequence_cross_entropy: the mask is i32 (5, 5); expected i32 that broadcasts to (5, 4)");
    SAYS(wf_sequence_cross_entropy(t, p.x, p.targets, wide, NULL, NULL),
         "sequence_cross_entropy: lengths are i32 (5, 5); expected i32 (4)");
    SAYS(wf_sequence_cross_entropy(
             t, p.x, p.targets, NULL, NULL,
             &(wf_sequence_loss_options){ .reduction = (wf_sequence_reduction)9 }),
         "sequence_cross_entropy: .reduction is 9; expected per token, per sequence, a total or "
         "each sequence");
    SAYS(wf_linear_sequence_cross_entropy(t, linear, p.targets, p.targets, NULL, NULL, NULL),
         "linear_sequence_cross_entropy: the features are i32; expected f32 or f64");
    SAYS(wf_linear_sequence_cross_entropy(t, linear, p.x, p.targets, NULL, NULL, NULL),
         "linear 'out': x is (5, 4, 6); the last size must be 3");
    SAYS(wf_sequence_mse(t, p.x, wf_zeros(t, WF_F32, WF_SHAPE(5, 4, 6)), NULL, NULL, NULL),
         "sequence_mse: the values are f64 (5, 4, 6) and the targets f32 (5, 4, 6); expected the "
         "same");
    SAYS(wf_sequence_mse(t, p.x, p.x, NULL, NULL,
                         &(wf_sequence_loss_options){ .label_smoothing = 0.1 }),
         "sequence_mse: .label_smoothing is 0.1; only cross entropy has it");
    SAYS(wf_sequence_mse(t, wf_zeros(t, WF_F64, WF_SHAPE(5)), p.x, NULL, NULL, NULL),
         "sequence_mse: the values are (5); expected (time, batch, ..)");
}

/* An id that is wrong where a token counts is told, though others are not looked at. */
TEST(targets_that_count_are_judged)
{
    SAYS((put(wf_value(p.targets), 3, 6),
          wf_sequence_cross_entropy(t, p.x, p.targets, NULL,
                                    wf_full(t, WF_I32, WF_SHAPE(TIME, BATCH), 1), NULL)),
         "cross_entropy: target 6 at (0, 3) is out of range: there are 6 classes");
}

const harness_suite suite = { .after = tear_down };
