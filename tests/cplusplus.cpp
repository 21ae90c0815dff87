/* Every macro of the public headers, used from C++17: compiled without a warning, run with the numbers
 * that C gives. tests/check_headers compiles it against an install, and holds that no macro is missing. */
#include <weft.h>

#include <cstdarg>
#include <cstdio>
#include <cstring>

static int failed;

static void holds(bool what, int line)
{
    if (what) return;
    failed++;
    std::printf("line %d does not hold\n", line);
}
#define HOLDS(what) holds(what, __LINE__)

/* ---- a cell: h' = tanh(x W^T + h V^T + b), projected ---- */

struct plain {
    wf_var *w_x, *w_h, *b, *p;
};

static void plain_step(wf_tape *t, const void *self, wf_var *x, wf_var *state[])
{
    const plain *m = static_cast<const plain *>(self);
    wf_var *sum = wf_add(t, wf_affine(t, x, m->w_x, m->b), wf_affine(t, state[0], m->w_h, nullptr));
    wf_var *h = wf_tanh(t, sum);
    state[0] = m->p ? wf_affine(t, h, m->p, nullptr) : h;
}

static wf_cell plain_cell()
{
    wf_cell c = {};
    c.name = "plain";
    c.size = sizeof(plain);
    c.step = plain_step;
    c.states = WF_STATES(WF_STATE("h", WF_OUTPUT));
    c.params = WF_PARAMS(WF_PARAM_INIT(plain, w_x, WF_INIT(WF_INIT_CONSTANT, 0.25, 0), WF_HIDDEN, WF_INPUT),
                         WF_PARAM(plain, w_h, WF_HIDDEN, WF_OUTPUT), WF_BIAS(plain, b, WF_HIDDEN),
                         WF_PROJECTION(plain, p, WF_OUTPUT, WF_HIDDEN));
    return c;
}

static const wf_cell_state *const outside_of_functions = WF_STATES(WF_STATE("h", WF_HIDDEN), WF_STATE("c", 1));

static void cells()
{
    static const wf_cell cell = plain_cell();
    HOLDS(!std::strcmp(outside_of_functions[1].name, "c") && !outside_of_functions[2].name);
    HOLDS(cell.params[1].offset == WF_VAR_OFFSET(plain, w_h) && cell.params[1].size[1] == WF_OUTPUT);
    wf_report r = wf_cell_check(&cell, nullptr);
    if (!r.ok) std::printf("%s\n", r.text);
    HOLDS(r.ok && r.checked > 0);
    wf_module *net = wf_module_new("net", nullptr);
    wf_rnn_options options = {};
    options.input = 2;
    options.hidden = 3;
    HOLDS(wf_rnn_new(net, "rnn", &cell, &options) != nullptr);
    const wf_var *w = wf_module_param_find(net, "rnn.w_x_l0");
    HOLDS(wf_at(w, 5) == 0.25 && wf_count(w) == 6);
    wf_module_free(net);
}

/* ---- lists and shapes ---- */

static WF_MUST_USE bool ops(wf_tape *t)
{
    const double numbers[] = { 1, 2, 3, 4, 5, 6 };
    int rows = 2;
    wf_var *x = wf_leaf(t, WF_F64, WF_SHAPE(rows, 3), numbers);
    wf_var *joined = wf_concat(t, 0, WF_VARS(x, x, x));
    auto kept = WF_VARS(x, joined);
    HOLDS(wf_dim(wf_concat(t, 0, kept), 0) == 8);
    HOLDS(wf_item(wf_sum(t, joined, WF_AXES(0, 1))) == 63);
    auto last = WF_AXES(-1);
    HOLDS(wf_at(wf_sum(t, x, last), 1) == 15);
    HOLDS(wf_rank(wf_full(t, WF_F32, WF_SCALAR, 2)) == 0);
    HOLDS(wf_dim(wf_slice(t, x, 1, 1, WF_LAST, 1), 1) == 2);
    HOLDS(WF_COUNT(int, 7, 8, 9) == 3);
    HOLDS(WF_FMA(2.0, 3.0, 1.0) == 7 && WF_FMAF(2.0f, 3.0f, 1.0f) == 7);
    return wf_tape_ok(t);
}

/* ---- declaring what C may call ---- */

WF_BEGIN
WF_API const char *formatted(char *text, size_t bytes, const char *format, ...) WF_PRINTF(3, 4);
WF_END

const char *formatted(char *text, size_t bytes, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    std::vsnprintf(text, bytes, format, arguments);
    va_end(arguments);
    return text;
}

static double with_denormals_flushed()
{
    volatile double least = 2.2250738585072014e-308, quarter = 0.25;
    WF_FP_SCOPE uint32_t fp = wf_fp_enter();
    return least * quarter;
}

int main()
{
    char text[64];
    formatted(text, sizeof text, "%d.%d.%d", WF_VERSION_MAJOR, WF_VERSION_MINOR, WF_VERSION_PATCH);
    HOLDS(!std::strcmp(text, WF_VERSION) && !std::strcmp(text, wf_version()));
#ifdef __x86_64__
    HOLDS(with_denormals_flushed() == 0);
#else
    HOLDS(with_denormals_flushed() < 1e-300);
#endif
    volatile double least = 2.2250738585072014e-308;
    HOLDS(least / 4 > 0);
    wf_tape *t = wf_tape_new(nullptr);
    HOLDS(ops(t));
    wf_tape_free(t);
    cells();
    std::printf("%d lines of C++ do not hold\n", failed);
    return failed != 0;
}
