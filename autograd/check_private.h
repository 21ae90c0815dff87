/* What the checkers share: memory that is let go as a whole, lists of numbers and comparisons that
 * say what differs, and a harness on which a kernel is called outside any tape, with guards around
 * all that it is handed. */
#ifndef WEFT_AUTOGRAD_CHECK_PRIVATE_H
#define WEFT_AUTOGRAD_CHECK_PRIVATE_H

#include "autograd/check.h"

enum { CHECK_VARS = WF_SAMPLE_INPUTS > WF_OP_OUTPUTS ? WF_SAMPLE_INPUTS : WF_OP_OUTPUTS };
#define CHECK_TOLERANCE 1e-6
#define CHECK_STEP 1e-4

/* Zeroed memory, let go together. After a failure everything taken is NULL. */
typedef struct check_pool {
    struct check_block *last;
    bool failed;
} check_pool;

void *check_take(check_pool *pool, int64_t bytes);
double *check_doubles(check_pool *pool, int64_t n);
/* Lets go of all that was taken after `until` (a former value of last; NULL: everything). */
void check_let_go(check_pool *pool, struct check_block *until);

/* Central differences with five points: f at the four places around x, `step` apart, that
 * check_point gives for p = 0 .. 3. */
double check_point(double x, double step, int p);
double check_difference(const double f[4], double step);
/* From the same and f at x, the derivatives from the left and the right (three points each). */
void check_sides(const double f[4], double f0, double step, double side[2]);
/* How far apart, relative to the largest derivative, they are where there is a kink: a smooth
 * function's differ by the cube of the step, and by what cancels inside it. */
double check_kink(double step);
/* The step for a value. */
double check_step(double step, double x);

/* What is being compared, for the sentence of a failure. */
typedef struct check_comparison {
    const char *who;   /* "matmul, sample 'batched'" */
    const char *check; /* "backward against differences" */
    const char *role;  /* "input", "parameter", "output" */
    const char *name;  /* of the parameter, or NULL */
    int index;
    const char *got, *want; /* what the two figures are */
    int64_t width;          /* of a Jacobian's rows; 0: this is none */
    const wf_shape *form;   /* of what is compared; NULL: one axis */
    const wf_shape *of;     /* of a Jacobian's output */
    int64_t first;          /* where in that form the numbers begin */
} check_comparison;

/* Where an element is, for a sentence: "(2, 0)". Returns text. */
enum { CHECK_WHERE = 192 };
const char *check_where(char text[CHECK_WHERE], const wf_shape *form, int64_t at);

/* Are got and want equal to `relative` times the largest of want, plus floor? Adds to the
 * report's counts; the first failure is described in the report. */
bool check_near(wf_report *report, const check_comparison *comparison, int64_t n, const double *got,
                const double *want, double relative, double floor);
/* Fails the report with a sentence, if it has not failed before. Returns false. */
bool check_fail(wf_report *report, const char *format, ...) WF_PRINTF(2, 3);

double check_largest(int64_t n, const double *x);
/* The gradient of a var that was kept, as row-major doubles; zeros where none arrived. */
void check_gradient(const wf_var *x, int64_t n, double *g);
/* Fills x with normal numbers that (key, name) names. */
void check_draw(uint64_t key, const char *name, int64_t n, double *x);

/* ---- floats among inputs or outputs ---- */

/* Of n inputs or outputs those that are floats, whose numbers lie in one array of doubles: `all` of
 * them, those of i from at[i] on. */
typedef struct check_floats {
    wf_report *report;
    const char *who, *role; /* for sentences */
    int n;
    bool floats[CHECK_VARS]; /* inputs: and given; outputs: and visible */
    wf_shape shape[CHECK_VARS];
    int64_t count[CHECK_VARS], at[CHECK_VARS], all;
} check_floats;

/* Is got want, one var after another, by check_near; and to rounding? */
bool floats_near(const check_floats *f, const char *check, const double *got, const char *got_name,
                 const double *want, const char *want_name, double relative, double floor);
bool floats_equal(const check_floats *f, const char *check, const double *got, const char *got_name,
                  const double *want, const char *want_name);
/* A bit for each of the floats. */
uint32_t floats_mask(const check_floats *f);
/* Is `some` a subset of `of` that is tried: any of few, else each alone and each missing? */
bool check_subset(uint32_t some, uint32_t of, int few);

/* The numbers of those in `which`, 0 for the others. */
void floats_only(const check_floats *f, uint32_t which, const double *x, double *to);
/* Those in `which` side by side in a list, and how many: of the vars x[i], and made of the numbers
 * x, as leaves or constants. And from such a list to numbers: 0 for the others. */
int floats_list(const check_floats *f, uint32_t which, wf_var *const x[], wf_var *list[]);
int floats_enter(const check_floats *f, uint32_t which, wf_tape *t, const double *x, bool leaves,
                 wf_var *list[]);
void floats_read(const check_floats *f, uint32_t which, wf_var *const list[], double *x);
/* The numbers of the vars x[i], and of their gradients (none arrived: 0). */
void floats_values(const check_floats *f, wf_var *const x[], double *y);
void floats_gradients(const check_floats *f, wf_var *const x[], double *g);

/* ---- a kernel's harness ---- */

typedef enum check_layout {
    LAYOUT_PLAIN,
    LAYOUT_TRANSPOSED, /* the first axis moves memory least */
    LAYOUT_STEPPED,    /* gaps along the first and the last axis */
    LAYOUT_EXPANDED    /* one axis repeats a single index */
} check_layout;

/* A tensor with guards around it and in its gaps. */
typedef struct check_place {
    unsigned char *memory;
    int64_t bytes;
    wf_tensor tensor;
    bool given, dense; /* dense: no gaps between its elements, in whatever order they lie */
} check_place;

/* A sample of a row with its inputs drawn, in double. The floats among the inputs are the columns
 * of its Jacobian, those among the outputs its rows. */
typedef struct check_case {
    const wf_op *op;
    const wf_sample *sample;
    wf_report *report;
    check_pool *pool;
    char who[160];
    int n_in, n_out, visible, threads;
    uint32_t wanted;        /* which gradients forward is told may be asked for */
    bool given[CHECK_VARS]; /* an optional input that was left out is not */
    check_floats in, out;
    wf_dtype out_dtype[CHECK_VARS]; /* when the inputs are F64 */
    double *value[CHECK_VARS];      /* of the inputs; whole numbers for ids */
    uint64_t key, counter;
    int64_t scratch[2];
} check_case;

typedef struct check_layouts {
    check_layout in[CHECK_VARS], gin[CHECK_VARS];
    int axis[CHECK_VARS]; /* of expanded inputs */
} check_layouts;

/* All that one wf_call needs. */
typedef struct check_harness {
    const check_case *c;
    check_place in[CHECK_VARS], out[CHECK_VARS], gout[CHECK_VARS], gin[CHECK_VARS], scratch[2];
    const wf_tensor *in_at[CHECK_VARS], *out_at[CHECK_VARS], *gout_at[CHECK_VARS],
        *gin_at[CHECK_VARS];
    wf_call call;
    wf_tensor form[2][CHECK_VARS]; /* what shape sees, and fills */
} check_harness;

/* Asks the row for the forms of its outputs, given those of its inputs, and for its scratch. False
 * when it refuses, with why in *error. */
bool check_shape(const check_case *c, const wf_tensor *const in[], wf_tensor *out, wf_error *error,
                 int threads, int64_t scratch[2]);

/* Lays out places for floats of dtype (layouts NULL: all plain) and puts the inputs in:
 * value[i], or the case's own where value is NULL (NULL, too: none). False when there is no memory
 * or the row refuses; the report says so. */
bool harness_set(check_harness *d, const check_case *c, wf_dtype dtype,
                 const check_layouts *layouts, double *const value[]);
/* The same on a new one, which is large, and a user's stack may be small; NULL for false. */
check_harness *harness_new(const check_case *c, wf_dtype dtype, const check_layouts *layouts,
                           double *const value[]);
/* Calls the row's check and forward. Outputs and scratch hold NaN before; inputs and guards must
 * be as they were. */
bool harness_forward(check_harness *d);
/* Calls backward with the outputs' cotangents (rows doubles; outputs that are not in `present`
 * are absent) for the inputs in `wanted`, into gradients that are not zero; gives what was added
 * (columns doubles, 0 where not wanted). And with all of both. */
bool harness_backward(check_harness *d, const double *cotangent, uint32_t present, uint32_t wanted,
                      double *gradient);
bool harness_sweep(check_harness *d, const double *cotangent, double *gradient);
/* The same without prefilling and guarding: for differences. */
void harness_forward_fast(check_harness *d);
void harness_backward_fast(check_harness *d, double *gradient);
/* The same with gradients in `fresh`, which hold NaN, to be written. */
void harness_backward_begun(check_harness *d, uint32_t fresh, double *gradient);
/* Overwrites with NaN (ids: with their lowest) all that the row does not say it reads in
 * backward. */
void harness_hide_undeclared(check_harness *d);
/* Puts one number everywhere in an input, or its own numbers again; or in an output. */
void harness_plant(check_harness *d, int input, double x);
void harness_unplant(check_harness *d, int input);
void harness_plant_out(check_harness *d, int output, double x);
/* One element of an input, to read and move; the visible float outputs, as rows doubles. */
double *harness_element(check_harness *d, int input, int64_t index);
void harness_outputs(const check_harness *d, double *y);

double place_get(const check_place *p, int64_t index);

#endif
