/* Marks: places on a tape to come back to, and what is stale once the tape has come back. */
#include "autograd/memory_private.h"
#include "autograd/trace_private.h"

bool epoch_good(const wf_tape *t, uint64_t epoch)
{
    if (epoch >= t->fresh) return true;
    if (epoch < t->generation) return false;
    /* The first span that does not end before it. */
    const span *gone = t->gone.at;
    int64_t low = 0, high = t->gone.n;
    while (low < high) {
        int64_t middle = (low + high) / 2;
        if (gone[middle].to < epoch)
            low = middle + 1;
        else
            high = middle;
    }
    return low == t->gone.n || epoch < gone[low].from;
}

wf_mark wf_tape_mark(wf_tape *t)
{
    wf_mark m = { 0 };
    if (!t) return m;
    uint64_t *epoch = tape_list_add(t, "mark", &t->marks, sizeof *epoch);
    if (!epoch) return m;
    epoch_begin(t);
    *epoch = m.epoch = t->epoch;
    m.depth = (uint64_t)t->marks.n;
    m.generation = t->generation;
    arena_place(&t->values, m.place);
    m.place[3] = (uint64_t)(uintptr_t)t->last;
    m.place[4] = (uint64_t)t->imports.n << 32 | (uint64_t)t->kept.n;
    m.place[5] = (uint64_t)t->nodes << 32 | (uint64_t)t->hooked;
    m.place[6] = (uint64_t)(uintptr_t)t->where;
    return m;
}

static int64_t imports_at(const wf_mark *m)
{
    return (int64_t)(m->place[4] >> 32);
}

static int64_t kept_at(const wf_mark *m)
{
    return (int64_t)(m->place[4] & UINT32_MAX);
}

/* May the tape come back to this mark? False after failing it. */
static bool may_rewind(wf_tape *t, const wf_mark *mark, int n, wf_var *const keep[])
{
    if (mark->generation != t->generation) {
        wf_fail(t, "rewind: the mark was set before the tape was reset");
        return false;
    }
    const uint64_t *epochs = t->marks.at;
    if (mark->depth < 1 || mark->depth > (uint64_t)t->marks.n ||
        epochs[mark->depth - 1] != mark->epoch) {
        wf_fail(t, "rewind: the mark was set after one that the tape was rewound to");
        return false;
    }
    if (n < 0 || (n > 0 && !keep)) {
        wf_fail(t, "rewind: %d vars to keep were promised and not given", n);
        return false;
    }
    /* What waits for the commit lies in the memory that would be reused. Of the hooks that wait the
     * last was registered last; of those before it some may have run since. */
    if (t->hooks.n && t->hooked > (int64_t)(mark->place[5] & UINT32_MAX)) {
        wf_fail(t, "rewind: a carried state was written after the mark and waits for wf_backward"
                   "\n  hint: rewind in eval or infer mode, where states are permanent at once");
        return false;
    }
    const import *all = t->imports.at;
    for (int64_t i = imports_at(mark); i < t->imports.n; i++) {
        if (!all[i].pending) continue;
        wf_fail(t,
                "rewind: the gradient of '%s' was made after the mark and waits for wf_tape_commit",
                all[i].param->path);
        return false;
    }
    return true;
}

/* What is of the mark's epoch or a later one is stale; spans within this one are one with it. */
static bool forget_epochs(wf_tape *t, const wf_mark *mark)
{
    const span *gone = t->gone.at;
    while (t->gone.n && gone[t->gone.n - 1].from >= mark->epoch) t->gone.n--;
    span *s = tape_list_add(t, "rewind", &t->gone, sizeof *s);
    if (!s) return false;
    *s = (span){ mark->epoch, t->epoch };
    epoch_begin(t);
    t->fresh = t->epoch;
    return true;
}

static bool go_back(wf_tape *t, const wf_mark *mark)
{
    if (!forget_epochs(t, mark)) return false;
    imports_cut(t, imports_at(mark));
    /* A var from before the mark must not point to a kept gradient's place after it. */
    for (int64_t i = kept_at(mark); i < t->kept.n; i++) ((wf_var **)t->kept.at)[i]->kept = NULL;
    t->kept.n = kept_at(mark);
    t->marks.n = (int64_t)mark->depth;
    arena_return(&t->values, mark->place);
    t->last = (node *)(uintptr_t)mark->place[3];
    if (t->last)
        t->last->next = NULL;
    else
        t->first = NULL;
    t->nodes = (int64_t)(mark->place[5] >> 32);
    t->where = (const scope *)(uintptr_t)mark->place[6];
    return true;
}

/* A row-major copy of x in the gradient pool: its place among the values may lie anywhere. */
static bool put_aside(wf_tape *t, const wf_tensor *x, wf_tensor *copy)
{
    int64_t bytes;
    *copy = *x;
    if (!tensor_settle(copy, &bytes) || !(copy->data = tape_borrow(t, "rewind", bytes)))
        return false;
    wf_tensor_copy(x, copy);
    return true;
}

/* What was put aside is a constant on the tape again, and the copy is given back. */
static wf_var *put_back(wf_tape *t, const wf_tensor *copy)
{
    wf_var *v = enter_values(t, "rewind", copy->dtype, wf_tensor_shape(copy), copy, NULL, false);
    pool_give(&t->grads, copy->data, wf_tensor_count(copy) * wf_dtype_size(copy->dtype));
    return v;
}

bool wf_tape_rewind(wf_tape *t, wf_mark mark, int n, wf_var *keep[])
{
    if (!wf_tape_ok(t) || !may_rewind(t, &mark, n, keep)) return false;
    const int64_t room = n > 0 ? n * (int64_t)sizeof(wf_tensor) : 0;
    wf_tensor *copy = room ? tape_borrow(t, "rewind", room) : NULL;
    if (room && !copy) return false;
    for (int i = 0; i < n; i++) {
        const wf_var *v = wf_enter(t, keep[i], "rewind: keep %d", i);
        if (!v || !var_readable(v) || !put_aside(t, &v->value, &copy[i])) return false;
    }
    if (!go_back(t, &mark)) return false;
    for (int i = 0; i < n; i++) keep[i] = put_back(t, &copy[i]);
    if (room) pool_give(&t->grads, copy, room);
    return wf_tape_ok(t);
}
