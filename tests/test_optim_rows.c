/* Gradients that are known by rows: which rows, and that clipping and every optimiser give the
 * bits that they give of the same gradient as a whole, or, where they are lazy, leave alone what
 * was not looked up. */
#include "tests/rules.h"

enum { ROWS = 300, IDS = 20 };

static const int64_t widths[] = { 16, 3, 40, 5000 };
enum { WIDTHS = sizeof widths / sizeof widths[0] };

typedef struct net {
    wf_module *module;
    wf_var *table, *bias;
} net;

static void free_net(net *n)
{
    wf_module_free(n->module);
}

static net net_of(wf_dtype dtype, int64_t width)
{
    net n = { .module = module_of(dtype) };
    n.table = wf_param_new(n.module, "table", WF_SHAPE(ROWS, width),
                           (wf_init){ .kind = WF_INIT_UNIFORM, .a = -1, .b = 1 });
    n.bias = param_of(n.module, "bias", 77);
    ck_assert(n.table != NULL);
    return n;
}

static int32_t id_at(uint64_t key, int i)
{
    return (int32_t)(wf_random_uniform(key, (uint64_t)i / 2) * ROWS); /* each twice */
}

/* Adds a gradient by looking up; `whole` adds zeros to all of the table's, too. */
static void look_up(wf_tape *t, net n, uint64_t key, bool whole)
{
    int32_t id[IDS];
    wf_tape_reset(t);
    for (int i = 0; i < IDS; i++) id[i] = id_at(key, i);
    wf_dtype dtype = wf_dtype_of(n.table);
    wf_var *y = wf_gather_rows(t, n.table, wf_constant(t, WF_I32, WF_SHAPE(IDS / 2, 2), id));
    wf_var *out[3] = { y, n.bias, n.table },
           *with[3] = { drawn(t, dtype, wf_shape_of(y), key, -0.5, 0.5),
                        drawn(t, dtype, wf_shape_of(n.bias), key + 1, -0.5, 0.5),
                        wf_zeros(t, dtype, wf_shape_of(n.table)) };
    ck_assert_msg(wf_backward_from(t, whole ? 3 : 2, out, with), "%s", wf_tape_error(t));
}

static bool is_named(wf_grad_rows rows, int64_t row)
{
    for (int64_t i = 0; i < rows.n; i++)
        if (rows.row[i] == row) return true;
    return false;
}

/* The rows in the list are `want`, in order, and all others zero. */
static void rows_are(const wf_var *table, const bool want[ROWS])
{
    wf_grad_rows rows = wf_param_grad_rows(table);
    ck_assert(rows.grad && rows.row);
    int64_t wanted = 0, width = rows.grad->dim[1];
    for (int64_t r = 0; r < ROWS; r++) {
        wanted += want[r];
        ck_assert_msg(is_named(rows, r) == want[r], "row %d", (int)r);
        for (int64_t k = 0; k < width && !want[r]; k++)
            ck_assert(wf_tensor_at(rows.grad, r * width + k) == 0);
    }
    ck_assert_int_eq(rows.n, wanted);
    for (int64_t i = 1; i < rows.n; i++) ck_assert_int_lt(rows.row[i - 1], rows.row[i]);
}

static void name_rows(bool want[ROWS], uint64_t key)
{
    for (int i = 0; i < IDS; i++) want[id_at(key, i)] = true;
}

TEST(rows_are_those_looked_up_since_the_gradient_was_cleared)
{
    OWN(net) n = net_of(WF_F32, 5);
    OWN(wf_tape) *t = wf_tape_new(NULL);
    for (int step = 0; step < 4; step++) {
        bool want[ROWS] = { false };
        for (uint64_t pass = 0; pass <= (uint64_t)step; pass++) {
            look_up(t, n, 10 * (uint64_t)step + pass, false);
            name_rows(want, 10 * (uint64_t)step + pass);
            rows_are(n.table, want);
        }
        ck_assert_ptr_null(wf_param_grad_rows(n.bias).row);
        ck_assert_ptr_nonnull(wf_param_grad_rows(n.bias).grad);
        wf_module_clear_grads(n.module);
        ck_assert_ptr_null(wf_param_grad_rows(n.table).grad);
    }
}

TEST(two_lookups_on_one_tape_unite_and_no_ids_name_no_row)
{
    OWN(net) n = net_of(WF_F64, 2);
    OWN(wf_tape) *t = wf_tape_new(NULL);
    wf_var *a = wf_constant(t, WF_I32, WF_SHAPE(2), (int32_t[]){ 250, 3 });
    wf_var *b = wf_constant(t, WF_I32, WF_SHAPE(2), (int32_t[]){ 64, 3 });
    wf_var *none = wf_constant(t, WF_I32, WF_SHAPE(0), NULL);
    wf_var *y = wf_add(t, wf_gather_rows(t, n.table, a), wf_gather_rows(t, n.table, b));
    ck_assert(wf_backward(t, wf_sum(t, y, NULL)));
    rows_are(n.table, (bool[ROWS]){ [3] = true, [64] = true, [250] = true });
    ck_assert_double_eq(wf_tensor_at(wf_param_grad(n.table), 2 * 3 + 1), 2);
    wf_module_clear_grads(n.module);
    ck_assert(wf_backward(t, wf_sum(t, wf_gather_rows(t, n.table, none), NULL)));
    rows_are(n.table, (bool[ROWS]){ false });
}

TEST(a_table_that_is_used_as_a_whole_too_has_no_rows_until_it_is_not)
{
    OWN(net) n = net_of(WF_F32, 4);
    OWN(wf_tape) *t = wf_tape_new(NULL);
    for (int how = 0; how < 4; how++) {
        wf_tape_reset(t);
        wf_var *ids = wf_constant(t, WF_I32, WF_SHAPE(3), (int32_t[]){ 7, 8, 7 });
        wf_var *h = wf_gather_rows(t, n.table, ids);
        wf_var *y = how == 0   ? wf_matmul(t, h, wf_transpose(t, n.table, 0, 1)) /* tied */
                    : how == 1 ? wf_add(t, wf_sum(t, h, NULL), wf_sum(t, n.table, NULL))
                    : how == 2 ? wf_gather_rows(t, wf_slice(t, n.table, 0, 0, 9, 1), ids)
                               : wf_gather_rows(t, wf_mul_scalar(t, n.table, 2), ids);
        ck_assert_msg(wf_backward(t, wf_sum(t, y, NULL)), "%s", wf_tape_error(t));
        ck_assert_ptr_null(wf_param_grad_rows(n.table).row);
        wf_module_clear_grads(n.module);
        look_up(t, n, 5, false);
        bool want[ROWS] = { false };
        name_rows(want, 5);
        rows_are(n.table, want);
        wf_module_clear_grads(n.module);
    }
}

TEST(what_is_written_elsewhere_counts_and_is_cleared)
{
    OWN(net) n = net_of(WF_F32, 4);
    OWN(wf_tape) *t = wf_tape_new(NULL);
    bool want[ROWS] = { [299] = true };
    look_up(t, n, 5, false);
    name_rows(want, 5);
    float *grad = wf_param_grad(n.table)->data;
    grad[299 * 4 + 2] = 0.5f;
    rows_are(n.table, want);
    OWN(wf_optim) *sgd = wf_sgd_new(n.module, NULL);
    double before = wf_at(n.table, 299 * 4 + 2);
    ck_assert(wf_optim_step(sgd));
    ck_assert(wf_at(n.table, 299 * 4 + 2) < before);
    grad[8] = 1; /* still in hand, though the gradient is gone */
    look_up(t, n, 5, false);
    want[299] = is_named(wf_param_grad_rows(n.table), 299);
    rows_are(n.table, want);
}

/* ---- optimisers ---- */

/* Six clipped steps, some of two passes; after each, all that moved is the same. `lazy`: of the
 * gradient as a whole every row moves, and what was not looked up is put back. */
static void compare(const struct kind *kind, wf_dtype dtype, int64_t width, bool lazy)
{
    OWN(net) by_rows = net_of(dtype, width);
    OWN(net) whole = net_of(dtype, width);
    OWN(wf_optim) *a = optimiser_with(by_rows.module, kind->rule, kind->options);
    OWN(wf_optim) *b = optimiser_with(whole.module, kind->rule, kind->options);
    ck_assert(a && b);
    OWN(wf_tape) *t = wf_tape_new(NULL);
    size_t bytes = (size_t)(width * wf_dtype_size(dtype));
    char *kept = malloc(5 * ROWS * bytes);
    for (uint64_t step = 0; step < 6; step++) {
        bool used[ROWS] = { false };
        for (uint64_t pass = 0; pass <= step % 2; pass++) {
            look_up(t, by_rows, 10 * step + pass, false);
            look_up(t, whole, 10 * step + pass, true);
            name_rows(used, 10 * step + pass);
        }
        ck_assert(wf_param_grad_rows(by_rows.table).row && !wf_param_grad_rows(whole.table).row);
        double most = step < 3 ? 0.1 : 1e9;
        ck_assert(wf_optim_clip_norm(a, most) == wf_optim_clip_norm(b, most));
        if (step == 4) wf_optim_clip_value(a, 0.25), wf_optim_clip_value(b, 0.25);
        for (int k = -1; k < wf_optim_rule_of(b)->states; k++) {
            const wf_tensor *x = k < 0 ? wf_param_value(whole.table) : wf_optim_state(b, 0, k);
            memcpy(kept + (size_t)(k + 1) * ROWS * bytes, x->data, ROWS * bytes);
        }
        ck_assert(wf_optim_step(a) && wf_optim_step(b));
        for (int k = -1; k < wf_optim_rule_of(b)->states && lazy; k++) {
            const wf_tensor *x = k < 0 ? wf_param_value(whole.table) : wf_optim_state(b, 0, k);
            for (size_t r = 0; r < ROWS; r++)
                if (!used[r])
                    memcpy((char *)x->data + r * bytes, kept + ((size_t)(k + 1) * ROWS + r) * bytes,
                           bytes);
        }
        wf_param_changed(whole.table);
        ck_assert_msg(hash_all(by_rows.module, a) == hash_all(whole.module, b),
                      "%s, width %d, step %d", kind->rule, (int)width, (int)step);
    }
    free(kept);
}

/* 1, 3 or 5. */
static void with_threads(int which)
{
    ck_assert(wf_runtime_set(&(wf_runtime){ .threads = which == 0 ? 1 : 2 * which + 1 }, NULL));
}

static void compare_all(const struct kind *kind, bool lazy)
{
    for (int w = 0; w < WIDTHS; w++)
        for (int wide = 0; wide < 2 && widths[w] < 5000 + wide; wide++)
            compare(kind, wide ? WF_F64 : WF_F32, widths[w], lazy);
}

TEST_EACH(every_optimiser_moves_what_it_moves_of_the_whole_gradient, 3 * KINDS)
{
    with_threads(_i % 3);
    const struct kind k = kind_at(_i / 3);
    compare_all(&k, false);
}

TEST_EACH(a_lazy_optimiser_moves_only_rows_that_were_looked_up, 3 * KINDS)
{
    with_threads(_i % 3);
    struct kind k = kind_at(_i / 3);
    size_t n = strlen(k.options);
    snprintf(k.options + n, sizeof k.options - n, "%slazy 1, weight_decay 0", n ? ", " : "");
    compare_all(&k, true);
}

TEST(lazy_and_weight_decay_exclude_each_other)
{
    wf_error e = { "" };
    OWN(net) n = net_of(WF_F32, 3);
    ck_assert_ptr_null(optimiser_with(n.module, "adamw", "weight_decay 0.5, lazy 1"));
    ck_assert(!wf_module_ok(n.module, &e));
    ck_assert_str_eq(e.text, "adamw: .lazy moves only rows that were looked up, and .weight_decay "
                             "of 0.5 would move all");
    for (int k = 0; k < KINDS; k += 2) {
        const struct kind plain = kind_at(k);
        OWN(net) m = net_of(WF_F32, 3);
        OWN(wf_optim) *o = optimiser_with(m.module, plain.rule, "weight_decay 0");
        int g = wf_optim_group(o, "table");
        ck_assert(wf_optim_set(o, g, "lazy", 1) && wf_optim_get(o, g, "lazy") == 1);
        ck_assert(wf_optim_get(o, 0, "lazy") == 0);
        ck_assert(!wf_optim_set(o, g, "weight_decay", 0.25));
        ck_assert_str_eq(log_kept.text,
                         worded("%s: .lazy moves only rows that were looked up, and .weight_decay "
                                "of 0.25 would move all, and nothing was changed",
                                plain.rule));
        ck_assert(wf_optim_set(o, 0, "weight_decay", 0.25));
    }
}

TEST(a_checkpoint_keeps_who_is_lazy)
{
    OWN(net) n = net_of(WF_F32, 3);
    OWN(wf_tape) *t = wf_tape_new(NULL);
    OWN(wf_optim) *saved = wf_adam_new(n.module, NULL), *loaded = wf_adam_new(n.module, NULL);
    const char *path = path_of("lazy");
    wf_error e = { "" };
    ck_assert(wf_optim_group(saved, "table") == 1 && wf_optim_group(loaded, "table") == 1);
    ck_assert(wf_optim_set(saved, 1, "lazy", 1));
    look_up(t, n, 3, false);
    ck_assert(wf_optim_step(saved));
    ck_assert(wf_optim_save(saved, path, &e) && wf_optim_load(loaded, path, &e));
    ck_assert(wf_optim_get(loaded, 1, "lazy") == 1 && wf_optim_get(loaded, 0, "lazy") == 0);
    ck_assert_uint_eq(hash_all(n.module, saved), hash_all(n.module, loaded));
}
