/* Plants faults in every derivative there is and counts how many the checkers catch: for each
 * row and each input with a derivative, in `.backward` and in `.gradient`: sign, x(1 + 1e-5),
 * assignment for addition (backward), zero, one of the largest elements x(1 + 1e-5), NaN as 0, and
 * infinity as a number, where there is one. Prints
 * caught/planted and returns 0 only if they are equal. `mutate NAME` takes the rows whose name
 * contains it. */
#define _GNU_SOURCE
#include "autograd/check.h"
#include "autograd/ops.h"
#include "layers/private.h"
#include "tensor/runtime.h"

#include <math.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { ROWS = 512, INPUTS = WF_SAMPLE_INPUTS, WORKERS = 2, TEXT = 2048 };
enum fault { SIGN, SCALED, ZERO, ONE_ELEMENT, ASSIGNED, NAN_AS_ZERO, INF_AS_NUMBER, FAULTS };
static const char *const fault_name[FAULTS] = {
    "sign",     "x(1 + 1e-5)",       "zero", "one element x(1 + 1e-5)", "assignment for addition",
    "nan as 0", "infinity as 1e+30",
};
static const double off = 1 + 1e-5;

/* What is planted at present: in one input's derivative, or nowhere (FAULTS), and then it is
 * noted which inputs have one. */
static const wf_op *real;
static enum fault planted = FAULTS;
static int at_input = -1;
static bool in_gradient, has_derivative[INPUTS], has_infinity[INPUTS];

/* ---- in .backward ---- */

static int64_t place(const wf_tensor *x, int64_t index)
{
    int64_t offset = 0;
    for (int a = x->rank - 1; a >= 0; a--) {
        offset += index % x->dim[a] * x->stride[a];
        index /= x->dim[a];
    }
    return offset;
}

static void add_to(const wf_tensor *x, int64_t index, double more, bool assign)
{
    int64_t at = place(x, index);
    if (x->dtype == WF_F64) {
        double *e = (double *)x->data + at;
        *e = assign ? more : *e + more;
    } else {
        float *e = (float *)x->data + at;
        *e = assign ? (float)more : *e + (float)more;
    }
}

/* The real kernel fills a zeroed gradient of its own; the fault is in how that is handed on. */
static void faulty_backward(const wf_call *c)
{
    wf_call call = *c;
    const wf_tensor *gin[INPUTS], *into;
    wf_tensor own;
    call.op = real;
    call.gin = gin;
    for (int i = 0; i < c->n_in; i++) gin[i] = c->gin[i];
    int first = planted == FAULTS ? 0 : at_input, last = planted == FAULTS ? c->n_in - 1 : at_input;
    if (in_gradient || first >= c->n_in) {
        real->backward(&call);
        return;
    }
    void *memory[INPUTS] = { NULL };
    wf_tensor kept[INPUTS];
    for (int i = first; i <= last; i++) {
        if (!c->gin[i]) continue;
        wf_shape shape = wf_tensor_shape(c->gin[i]);
        int64_t n = wf_shape_count(&shape);
        memory[i] = calloc((size_t)n + 1, sizeof(double));
        if (!memory[i]) abort();
        kept[i] = wf_tensor_of(c->gin[i]->dtype, shape, memory[i]);
        gin[i] = &kept[i];
        call.fresh &= ~(UINT32_C(1) << i);
    }
    real->backward(&call);
    for (int i = first; i <= last; i++) {
        if (!(into = c->gin[i])) continue;
        if (c->fresh >> i & 1)
            memset(into->data, 0, (size_t)(wf_tensor_count(into) * wf_dtype_size(into->dtype)));
        own = kept[i];
        int64_t n = wf_tensor_count(&own), largest = 0;
        for (int64_t j = 0; j < n; j++) {
            double g = wf_tensor_at(&own, j);
            if (g != 0) has_derivative[i] = true;
            if (isinf(g)) has_infinity[i] = true;
            if (fabs(g) > fabs(wf_tensor_at(&own, largest))) largest = j;
        }
        for (int64_t j = 0; j < n; j++) {
            double g = wf_tensor_at(&own, j);
            if (planted == SIGN) g = -g;
            if (planted == ZERO) g = 0;
            if (planted == NAN_AS_ZERO && isnan(g)) g = 0;
            if (planted == INF_AS_NUMBER && isinf(g)) g = g > 0 ? 1e30 : -1e30;
            if (planted == SCALED || (planted == ONE_ELEMENT && j == largest)) g *= off;
            add_to(into, j, g, planted == ASSIGNED);
        }
        free(memory[i]);
    }
}

/* ---- in .gradient ---- */

static wf_var *one_element_off(wf_tape *t, wf_var *g)
{
    int64_t n = wf_count(g), largest = 0;
    for (int64_t j = 0; j < n; j++)
        if (fabs(wf_at(g, j)) > fabs(wf_at(g, largest))) largest = j;
    double *factor = malloc((size_t)(n + 1) * sizeof *factor);
    if (!factor) abort();
    for (int64_t j = 0; j < n; j++) factor[j] = j == largest ? off : 1;
    wf_var *by = wf_constant(t, WF_F64, wf_shape_of(g), factor);
    free(factor);
    return wf_mul(t, g, by);
}

/* g where it is what `mask` says, else a number. */
static wf_var *unless(wf_tape *t, wf_var *mask, wf_var *g, double number)
{
    return wf_where(t, mask, g, wf_full(t, wf_dtype_of(g), WF_SCALAR, number));
}

static void faulty_gradient(wf_tape *t, const wf_gradient *g)
{
    wf_gradient call = *g;
    call.op = real;
    real->gradient(t, &call);
    if (!in_gradient || planted == FAULTS || at_input >= g->n_in || !g->gin[at_input]) return;
    wf_var **gin = &g->gin[at_input];
    switch (planted) {
    case SIGN: *gin = wf_neg(t, *gin); break;
    case SCALED: *gin = wf_mul_scalar(t, *gin, off); break;
    case ONE_ELEMENT: *gin = one_element_off(t, *gin); break;
    case NAN_AS_ZERO: *gin = unless(t, wf_equal(t, *gin, *gin), *gin, 0); break;
    case INF_AS_NUMBER:
        *gin = unless(t, wf_not_equal(t, *gin, wf_full(t, WF_F64, WF_SCALAR, (double)INFINITY)),
                      *gin, 1e30);
        break;
    default: *gin = NULL;
    }
}

/* ---- one row ---- */

typedef struct result {
    char name[64];
    int planted, caught;
    bool failed; /* the row itself does not pass */
    double seconds;
    char text[TEXT]; /* what was missed, what has no derivative */
} result;

static void say(result *r, const char *format, ...) WF_PRINTF(2, 3);
static void say(result *r, const char *format, ...)
{
    size_t used = strlen(r->text);
    va_list values;
    va_start(values, format);
    vsnprintf(r->text + used, sizeof r->text - used, format, values);
    va_end(values);
}

static void plant_all(const wf_op *bad, result *r, bool gradient, int inputs)
{
    in_gradient = gradient;
    for (int i = 0; i < inputs; i++) {
        if (!has_derivative[i]) continue;
        for (int f = 0; f < FAULTS; f++) {
            if (gradient && f == ASSIGNED) continue; /* it returns what is then added */
            if (f == INF_AS_NUMBER && !has_infinity[i]) continue; /* it would change nothing */
            planted = (enum fault)f;
            at_input = i;
            wf_report found = wf_op_check(bad, NULL);
            planted = FAULTS;
            r->planted++;
            if (!found.ok)
                r->caught++;
            else
                say(r, "    missed: %s, input %d, %s\n", gradient ? "gradient" : "backward", i,
                    fault_name[f]);
        }
    }
}

static void mutate_row(const wf_op *op, result *r)
{
    struct timespec from, to;
    clock_gettime(CLOCK_MONOTONIC, &from);
    snprintf(r->name, sizeof r->name, "%s", op->name);
    wf_op bad = *op;
    real = op;
    planted = FAULTS;
    in_gradient = false;
    memset(has_derivative, 0, sizeof has_derivative);
    memset(has_infinity, 0, sizeof has_infinity);
    if (op->backward) bad.backward = faulty_backward;
    if (op->gradient) bad.gradient = faulty_gradient;
    wf_report found = wf_op_check(&bad, NULL);
    if (!found.ok) {
        r->failed = true;
        say(r, "    fails with nothing planted: %s\n", found.text);
    }
    int inputs = 0;
    bool floats[INPUTS] = { false };
    for (int k = 0;; k++) {
        wf_sample s = { 0 };
        if (!op->sample(k, &s)) break;
        if (s.n_in > inputs) inputs = s.n_in;
        for (int i = 0; i < s.n_in; i++)
            floats[i] |= s.in[i].shape.rank >= 0 && s.in[i].dtype != WF_I32;
    }
    int differentiable = 0;
    for (int i = 0; i < inputs; i++) differentiable += has_derivative[i];
    for (int i = 0; differentiable && i < inputs; i++)
        if (floats[i] && !has_derivative[i])
            say(r, "    input %d: its derivative is 0 everywhere\n", i);
    if (!r->failed && op->backward) plant_all(&bad, r, false, inputs);
    if (!r->failed && op->gradient) plant_all(&bad, r, true, inputs);
    clock_gettime(CLOCK_MONOTONIC, &to);
    r->seconds = (double)(to.tv_sec - from.tv_sec) + 1e-9 * (double)(to.tv_nsec - from.tv_nsec);
}

/* ---- all rows, by as many processes as there are workers ---- */

typedef struct board {
    atomic_int next;
    result row[ROWS];
} board;

static int list_rows(const wf_op *row[], const char *only)
{
    int n = 0;
    const wf_op *op;
    for (int i = 0; (op = wf_op_at(i)) && n < ROWS; i++)
        if (strstr(op->name, only)) row[n++] = op;
    return n;
}

static void work(board *b, const wf_op *const row[], int n)
{
    for (int i; (i = atomic_fetch_add(&b->next, 1)) < n;) mutate_row(row[i], &b->row[i]);
}

static void no_log(void *user, const char *text)
{
    (void)user;
    (void)text;
}

int main(int argc, char **argv)
{
    const wf_op *row[ROWS];
    int n = list_rows(row, argc > 1 ? argv[1] : ""), total = 0, caught = 0, status = 0;
    board *b = mmap(NULL, sizeof *b, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (b == MAP_FAILED || !wf_runtime_set(&(wf_runtime){ .log = no_log, .threads = 3 }, NULL)) {
        fprintf(stderr, "mutate: no memory\n");
        return 2;
    }
    for (int w = 0; w < WORKERS; w++) {
        pid_t child = fork();
        if (child < 0) {
            perror("mutate");
            return 2;
        }
        if (child == 0) {
            work(b, row, n);
            _exit(0);
        }
    }
    for (int w = 0, ended; w < WORKERS; w++)
        if (wait(&ended) < 0 || !WIFEXITED(ended) || WEXITSTATUS(ended) != 0) status = 1;
    if (status) printf("a process died before its rows were done\n");
    for (int i = 0; i < n; i++) {
        result *r = &b->row[i];
        printf("%-24s %3d/%d  (%.1f s)%s\n%s", r->name[0] ? r->name : row[i]->name, r->caught,
               r->planted, r->seconds, r->planted || r->failed ? "" : "  no derivative", r->text);
        total += r->planted;
        caught += r->caught;
        if (r->failed || !r->name[0]) status = 1;
    }
    printf("caught/planted: %d/%d\n", caught, total);
    return status || caught != total || total == 0;
}
