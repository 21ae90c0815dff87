/* Plans a walk over several strided operands at once and runs it: axes merged and ordered, long
 * walks shared among threads. */
#include "tensor/walk.h"

#include "tensor/par.h"
#include "tensor/private.h"

/* Below WHOLE elements a walk is not worth sharing; above it, parts are of about PART elements.
 * Fixed numbers: where a walk is cut must not depend on how many threads there are. */
enum { WHOLE = 32768, PART = 16384, SHORTEST_RUN = 64, PLENTY = 8 };

/* A kept axis while planning: its size and each operand's stride in bytes. */
typedef struct axis {
    int64_t dim;
    int64_t stride[WF_WALK_OPERANDS];
} axis;

static void plan_line(wf_walk *walk, int operands, const wf_tensor *const operand[], int64_t count)
{
    walk->operands = operands;
    walk->rank = 1;
    walk->dim[0] = walk->count = count;
    for (int i = 0; i < operands; i++) {
        walk->base[i] = operand[i]->data;
        walk->stride[i][0] = wf_dtype_size(operand[i]->dtype);
    }
}

/* The common case, worth its own path: every operand row-major and of exactly this shape. */
static bool plan_contiguous(wf_walk *walk, const wf_shape *shape, int operands,
                            const wf_tensor *const operand[])
{
    for (int i = 0; i < operands; i++)
        if (operand[i]->rank != shape->rank) return false;
    int64_t count = 1;
    for (int k = shape->rank - 1; k >= 0; k--) {
        int64_t n = shape->dim[k];
        for (int i = 0; i < operands; i++)
            if (operand[i]->dim[k] != n || (operand[i]->stride[k] != count && n != 1)) return false;
        count *= n;
    }
    plan_line(walk, operands, operand, count);
    return true;
}

/* Lists the axes whose size is not 1; how many, or -1 when an operand does not broadcast to the
 * shape. */
static int gather(axis list[], const wf_shape *shape, int operands,
                  const wf_tensor *const operand[])
{
    int kept = 0;
    for (int i = 0; i < operands; i++)
        if (operand[i]->rank > shape->rank) return -1;
    for (int k = 0; k < shape->rank; k++) {
        axis *a = &list[kept];
        a->dim = shape->dim[k];
        for (int i = 0; i < operands; i++) {
            const wf_tensor *x = operand[i];
            int own = k - (shape->rank - x->rank);
            bool present = own >= 0 && x->dim[own] == a->dim;
            if (own >= 0 && !present && x->dim[own] != 1) return -1;
            a->stride[i] = present ? x->stride[own] * wf_dtype_size(x->dtype) : 0;
        }
        kept += a->dim != 1;
    }
    return kept;
}

static uint64_t movement(const axis *a, int operands)
{
    uint64_t sum = 0;
    for (int i = 0; i < operands; i++) sum += (uint64_t)a->stride[i];
    return sum;
}

/* Sorts axes so that the last moves memory least. */
static void arrange(axis list[], int kept, int operands)
{
    for (int i = 1; i < kept; i++) {
        const axis a = list[i];
        const uint64_t moves = movement(&a, operands);
        int at = i;
        for (; at > 0 && moves > movement(&list[at - 1], operands); at--) list[at] = list[at - 1];
        list[at] = a;
    }
}

static bool merges(const axis *outer, const axis *inner, int operands)
{
    for (int i = 0; i < operands; i++)
        if (outer->stride[i] != inner->stride[i] * inner->dim) return false;
    return true;
}

static bool plan(wf_walk *walk, const wf_shape *shape, int operands,
                 const wf_tensor *const operand[], bool free)
{
    axis list[WF_RANK + 1];
    int kept = gather(list, shape, operands, operand);
    if (kept < 0) return false;
    int64_t count = wf_shape_count(shape);
    if (kept == 0 || count == 0) {
        plan_line(walk, operands, operand, count);
        return true;
    }
    if (free && kept > 1) arrange(list, kept, operands);
    int rank = 0;
    for (int k = 1; k < kept; k++) {
        if (merges(&list[rank], &list[k], operands)) {
            list[k].dim *= list[rank].dim;
            list[rank] = list[k];
        } else {
            list[++rank] = list[k];
        }
    }
    walk->operands = operands;
    walk->rank = rank + 1;
    walk->count = count;
    for (int i = 0; i < operands; i++) walk->base[i] = operand[i]->data;
    for (int k = 0; k <= rank; k++) {
        walk->dim[k] = list[k].dim;
        for (int i = 0; i < operands; i++) walk->stride[i][k] = list[k].stride[i];
    }
    return true;
}

bool wf_walk_plan(wf_walk *walk, wf_shape shape, int operands, const wf_tensor *const operand[])
{
    if (!walk || !operand || operands < 1 || operands > WF_WALK_OPERANDS) return false;
    for (int i = 0; i < operands; i++)
        if (!operand[i]) return false;
    if (shape.rank < 0 || shape.rank > WF_RANK) return false;
    return plan_contiguous(walk, &shape, operands, operand) ||
           plan(walk, &shape, operands, operand, true);
}

bool wf_walk_plan_in_order(wf_walk *walk, wf_shape shape, int operands,
                           const wf_tensor *const operand[])
{
    return plan(walk, &shape, operands, operand, false);
}

/* Walks the part begin <= i < end of one axis, and all of the others, in row-major order. */
static void walk_part(const wf_walk *walk, int cut, int64_t begin, int64_t end, wf_walk_fn *fn,
                      void *context)
{
    const int operands = walk->operands, last = walk->rank - 1;
    int64_t dim[WF_RANK], index[WF_RANK] = { 0 }, inner[WF_WALK_OPERANDS];
    char *pointer[WF_WALK_OPERANDS];
    for (int k = 0; k <= last; k++) dim[k] = walk->dim[k];
    dim[cut] = end - begin;
    for (int i = 0; i < operands; i++) {
        pointer[i] = walk->base[i] + begin * walk->stride[i][cut];
        inner[i] = walk->stride[i][last];
    }
    for (;;) {
        fn(context, pointer, inner, dim[last]);
        int k = last - 1;
        for (; k >= 0 && index[k] == dim[k] - 1; k--) {
            for (int i = 0; i < operands; i++) pointer[i] -= index[k] * walk->stride[i][k];
            index[k] = 0;
        }
        if (k < 0) return;
        index[k]++;
        for (int i = 0; i < operands; i++) pointer[i] += walk->stride[i][k];
    }
}

/* A walk that is cut along one axis. */
typedef struct cut_walk {
    const wf_walk *walk;
    int cut;
    int64_t grain;
    wf_walk_fn *fn;
    void *context;
} cut_walk;

static void run_part(void *context, int64_t begin, int64_t end)
{
    const cut_walk *j = context;
    if (j->cut < j->walk->rank - 1) {
        walk_part(j->walk, j->cut, begin, end, j->fn, j->context);
        return;
    }
    /* Cut inside the runs: one call per grain, so that runs begin and end at the same places for
     * any number of threads. */
    for (; begin < end; begin += j->grain) {
        int64_t stop = end - begin > j->grain ? begin + j->grain : end;
        walk_part(j->walk, j->cut, begin, stop, j->fn, j->context);
    }
}

static int64_t grain_of(const wf_walk *walk, int cut)
{
    int64_t rest = walk->count / walk->dim[cut];
    int64_t grain = (PART + rest - 1) / rest;
    return cut == walk->rank - 1 && grain < SHORTEST_RUN ? SHORTEST_RUN : grain;
}

/* The outermost axis that gives plenty of parts, else the one that gives most; -1 if none may be
 * cut. */
static int choose_cut(const wf_walk *walk, uint32_t written)
{
    int best = -1;
    int64_t most = 0;
    for (int k = 0; k < walk->rank && most < PLENTY; k++) {
        bool may = true;
        for (int i = 0; i < walk->operands; i++)
            if (written >> i & 1 && walk->stride[i][k] == 0) may = false;
        int64_t parts = (walk->dim[k] - 1) / grain_of(walk, k) + 1;
        if (!may || parts <= most) continue;
        best = k;
        most = parts;
    }
    return best;
}

void wf_walk_run_in_order(const wf_walk *walk, wf_walk_fn *fn, void *context)
{
    if (walk->count == 0) return;
    WF_FP_SCOPE uint32_t state = wf_fp_enter();
    if (walk->rank == 1) {
        int64_t stride[WF_WALK_OPERANDS];
        for (int i = 0; i < walk->operands; i++) stride[i] = walk->stride[i][0];
        fn(context, walk->base, stride, walk->count);
    } else {
        walk_part(walk, 0, 0, walk->dim[0], fn, context);
    }
}

void wf_walk_run(const wf_walk *walk, int threads, uint32_t written, wf_walk_fn *fn, void *context)
{
    if (!walk || !fn) return;
    int cut = walk->count < WHOLE ? -1 : choose_cut(walk, written);
    if (cut < 0) {
        wf_walk_run_in_order(walk, fn, context);
        return;
    }
    cut_walk j = { walk, cut, grain_of(walk, cut), fn, context };
    wf_par_for(threads, walk->dim[cut], j.grain, run_part, &j);
}
