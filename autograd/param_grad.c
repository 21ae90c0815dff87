/* Where parameters' gradients lie. A parameter has no memory for one until a sweep first needs it;
 * what was committed is cleared into the parameter's spare ones, where the next sweep finds it, so
 * that a steady loop asks the heap for nothing. */
#include "autograd/param_grad_private.h"
#include "autograd/sweep_private.h"
#include "tensor/par.h"
#include "tensor/runtime.h"

#include <string.h>

enum { HEADER = (sizeof(param_grad) + 63) / 64 * 64, GRAIN = 1 << 14 };

static int64_t grad_bytes(const param_grad *g)
{
    return wf_tensor_count(&g->whole) * wf_dtype_size(g->whole.dtype);
}

/* ---- rows ---- */

/* Numbers in a row, which is all that one number of the first axis stands for. */
static int64_t width(const param_grad *g)
{
    return g->whole.rank > 0 && g->whole.dim[0] > 0 ? wf_tensor_count(&g->whole) / g->whole.dim[0]
                                                    : 0;
}

static wf_tensor row_at(const param_grad *g, int64_t row)
{
    int64_t n = width(g), skip = row * n * wf_dtype_size(g->whole.dtype);
    return wf_tensor_of(g->whole.dtype, WF_SHAPE(n), (char *)g->whole.data + skip);
}

static int64_t words(const param_grad *g)
{
    return (g->whole.dim[0] + 63) / 64;
}

static void name(param_grad *g, int64_t row)
{
    uint64_t *word = &g->named[row >> 6], bit = UINT64_C(1) << (row & 63);
    g->rows += !(*word & bit);
    *word |= bit;
}

/* The rows in the list, from their bits. */
static void list_rows(param_grad *g)
{
    if (g->rows == g->listed || g->rows == EVERY_ROW) return;
    g->listed = 0;
    for (int64_t w = 0; w < words(g); w++)
        for (uint64_t left = g->named[w]; left; left &= left - 1)
            g->row[g->listed++] = (int32_t)(w * 64 + __builtin_ctzll(left));
}

static bool rows_begin(wf_tape *t, param_grad *g)
{
    size_t bytes = (size_t)words(g) * sizeof *g->named;
    size_t all = bytes + (size_t)g->whole.dim[0] * sizeof *g->row;
    if (!(g->named = wf_alloc(all))) {
        tape_fail_oom(t, "backward", (int64_t)all);
        return false;
    }
    memset(g->named, 0, bytes);
    g->row = (int32_t *)((char *)g->named + bytes);
    return true;
}

bool param_grad_name(wf_tape *t, param_grad *g, const wf_tensor *ids)
{
    if (g->rows == EVERY_ROW) return true;
    const int64_t n = ids ? wf_tensor_count(ids) : 0, rows = g->whole.rank ? g->whole.dim[0] : 0;
    if (!ids || ids->dtype != WF_I32 || rows == 0 || rows > INT32_MAX) {
        g->rows = EVERY_ROW;
        return true;
    }
    if (!g->named && !rows_begin(t, g)) return false;
    const bool side_by_side = wf_tensor_is_contiguous(ids);
    for (int64_t i = 0; i < n; i++) {
        int64_t id = side_by_side ? ((const int32_t *)ids->data)[i] : (int64_t)wf_tensor_at(ids, i);
        if (id < 0 || id >= rows) { /* a row of the user's own that has no check */
            g->rows = EVERY_ROW;
            return true;
        }
        name(g, id);
    }
    return true;
}

/* Part of a loop over rows, begin .. end - 1 of the list. */
typedef struct row_loop {
    param_grad *to;
    const param_grad *from;
    _Atomic(bool) bad;
} row_loop;

static void for_rows(row_loop *l, const param_grad *of, int threads, wf_par_fn *fn)
{
    wf_par_for(threads, of->rows, GRAIN / (width(of) + 1) + 1, fn, l);
}

static void clear_rows(void *context, int64_t begin, int64_t end)
{
    const param_grad *g = ((row_loop *)context)->to;
    size_t bytes = (size_t)(width(g) * wf_dtype_size(g->whole.dtype));
    for (int64_t i = begin; i < end; i++) memset(row_at(g, g->row[i]).data, 0, bytes);
}

static void add_rows(void *context, int64_t begin, int64_t end)
{
    const row_loop *l = context;
    for (int64_t i = begin; i < end; i++) {
        wf_tensor from = row_at(l->from, l->from->row[i]), to = row_at(l->to, l->from->row[i]);
        wf_tensor_accumulate(&from, &to, 1, 1);
    }
}

static void look_at_rows(void *context, int64_t begin, int64_t end)
{
    row_loop *l = context;
    for (int64_t i = begin; i < end; i++)
        if (!numbers_finite(l->to->whole.dtype, width(l->to), row_at(l->to, l->to->row[i]).data))
            l->bad = true;
}

/* All numbers become zero, and no row is named. */
static void clear(param_grad *g, int threads)
{
    if (g->rows == EVERY_ROW || g->handed_out) {
        bytes_zero(threads, g->whole.data, grad_bytes(g));
        if (g->named) memset(g->named, 0, (size_t)words(g) * sizeof *g->named);
    } else {
        list_rows(g);
        for_rows(&(row_loop){ .to = g }, g, threads, clear_rows);
        for (int64_t i = 0; i < g->rows; i++) g->named[g->row[i] >> 6] = 0;
    }
    g->rows = g->listed = 0;
    g->handed_out = false;
}

/* Whoever had the whole in hand may have written to rows that nobody named: they count as well,
 * unless they are zero. */
static void name_written(param_grad *g)
{
    size_t bytes = (size_t)(width(g) * wf_dtype_size(g->whole.dtype));
    for (int64_t i = 0; i < g->whole.dim[0] && bytes > 0; i++) {
        const char *row = row_at(g, i).data;
        if (*row || memcmp(row, row + 1, bytes - 1) != 0) name(g, i);
    }
}

/* ---- memory ---- */

param_grad *param_grad_take(wf_tape *t, param *p, bool zeros)
{
    param_grad *g = NULL;
    for (int k = 0; !g && k < SPARE_GRADS; k++) g = atomic_exchange(&p->spare[k], NULL);
    if (!g) {
        int64_t bytes = wf_tensor_count(&p->var.value) * wf_dtype_size(p->var.value.dtype);
        if (!(g = wf_alloc(HEADER + (size_t)bytes))) {
            tape_fail_oom(t, "backward", bytes);
            return NULL;
        }
        *g = (param_grad){ .whole = p->var.value, .rows = EVERY_ROW };
        g->whole.data = (char *)g + HEADER;
    }
    if (zeros) {
        clear(g, t->threads);
    } else {
        g->rows = EVERY_ROW;
        g->handed_out = false;
    }
    return g;
}

void param_grad_free(param_grad *g)
{
    if (g) wf_release(g->named);
    wf_release(g);
}

void param_grad_give(param *p, param_grad *g)
{
    for (int k = 0; g && k < SPARE_GRADS; k++) {
        param_grad *none = NULL;
        if (atomic_compare_exchange_strong(&p->spare[k], &none, g)) g = NULL;
    }
    param_grad_free(g);
}

void param_grads_free(param *p)
{
    param_grad_free(p->grad);
    for (int k = 0; k < SPARE_GRADS; k++) param_grad_free(p->spare[k]);
}

/* ---- gradients ---- */

void param_grad_add(int threads, param_grad *to, param_grad *from)
{
    if (from->rows == EVERY_ROW) {
        wf_tensor_accumulate(&from->whole, &to->whole, 1, threads);
        to->rows = EVERY_ROW;
        return;
    }
    list_rows(from);
    for_rows(&(row_loop){ .to = to, .from = from }, from, threads, add_rows);
    for (int64_t i = 0; i < from->rows && to->rows != EVERY_ROW; i++) name(to, from->row[i]);
}

bool param_grad_finite(param_grad *g, int threads)
{
    if (g->rows == EVERY_ROW) return tensor_finite(&g->whole, threads);
    list_rows(g);
    row_loop l = { .to = g };
    for_rows(&l, g, threads, look_at_rows);
    return !l.bad;
}

void param_grad_commit(wf_tape *t, param *p, param_grad *g)
{
    p->grad_version++;
    if (!p->grad) {
        p->grad = g;
        return;
    }
    param_grad_add(t->threads, p->grad, g);
    param_grad_give(p, g);
}

void param_grad_clear(param *p)
{
    /* Rows are cleared while they are near, what may still be written later. */
    if (p->grad && p->grad->rows != EVERY_ROW && !p->grad->handed_out) clear(p->grad, wf_threads());
    param_grad_give(p, p->grad);
    p->grad = NULL;
}

static param_grad *grad_of(const wf_var *v)
{
    return v && !v->tape ? ((param *)(uintptr_t)v)->grad : NULL;
}

const wf_tensor *wf_param_grad(const wf_var *v)
{
    param_grad *g = grad_of(v);
    if (g) g->handed_out = true;
    return g ? &g->whole : NULL;
}

wf_grad_rows wf_param_grad_rows(const wf_var *v)
{
    param_grad *g = grad_of(v);
    if (!g || g->rows == EVERY_ROW) return (wf_grad_rows){ .grad = g ? &g->whole : NULL };
    if (g->handed_out) name_written(g);
    list_rows(g);
    return (wf_grad_rows){ &g->whole, g->rows, g->row };
}
