/* Every macro of the public headers, used from C++17: compiled without a warning, run with the
 * numbers that C gives. tests/check_headers compiles it against an install, and holds that no macro
 * is missing. */
#include <weft.h>

#include <autograd/pointwise.h>

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
    c.params = WF_PARAMS(
        WF_PARAM_INIT(plain, w_x, WF_INIT(WF_INIT_CONSTANT, 0.25, 0), WF_HIDDEN, WF_INPUT),
        WF_PARAM(plain, w_h, WF_HIDDEN, WF_OUTPUT), WF_BIAS(plain, b, WF_HIDDEN),
        WF_PROJECTION(plain, p, WF_OUTPUT, WF_HIDDEN));
    return c;
}

static const wf_cell_state *const outside_of_functions = WF_STATES(WF_STATE("h", WF_HIDDEN),
                                                                   WF_STATE("c", 1));
static const wf_cell_gate *const gates = WF_GATES(WF_GATE("b", WF_GATE_FORGET, 0, WF_HIDDEN));

static void cells()
{
    static const wf_cell cell = plain_cell();
    HOLDS(!std::strcmp(outside_of_functions[1].name, "c") && !outside_of_functions[2].name);
    HOLDS(gates[0].gate == WF_GATE_FORGET && gates[0].rows == WF_HIDDEN && !gates[1].name);
    HOLDS(cell.params[1].offset == WF_VAR_OFFSET(plain, w_h) &&
          cell.params[1].size[1] == WF_OUTPUT);
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

/* ---- pointwise ops: of one input, with a number, of two and of three ---- */

WF_POINTWISE_1(swish, "a sigmoid(a)", a * SIGMOID(a),
               g * SIGMOID(a) * (R(1) + a * SIGMOID(-a)),
               wf_mul(t, G, wf_mul(t, wf_sigmoid(t, A),
                                   wf_add_scalar(t, wf_mul(t, A, wf_sigmoid(t, wf_neg(t, A))), 1))),
               READS_A, -2, 2, 0)
WF_POINTWISE_S(leaky, "a, below 0 a s", a < 0 ? a * s : a, a < 0 ? g * s : g,
               wf_where(t, wf_less(t, A, ZERO), wf_mul_scalar(t, G, s), G), READS_A, -2, 2, 0.1,
               0.2)
WF_POINTWISE_2(difference, "|a - b|", ABS(a - b), a < b ? -g : g, a < b ? g : -g,
               wf_where(t, wf_less(t, A, B), wf_neg(t, G), G),
               wf_where(t, wf_less(t, A, B), G, wf_neg(t, G)), READS_A | READS_B, -2, 2, 0)
WF_POINTWISE_3(muladd, "a b + c", a * b + c, g * b, g * a, g, wf_mul(t, G, B), wf_mul(t, G, A), G,
               READS_A | READS_B, -2, 2, 0)

enum { WF_ISA_EACH(level), level_end };
#define COUNT_LEVEL(level, attributes, fused, what) +what
static const int levels = WF_ISA_LEVELS(COUNT_LEVEL, 1);
#define SIZE(dtype, suffix, type, ...) +sizeof(type)
static const size_t floats = WF_FLOATS(SIZE, 1);
#define RULE(name) wf_##name##_defaults().rule,
static const char *const rules[] = { WF_OPTIM_RULES(RULE) };
WF_INLINE float wf_twicef_with(bool fused, float x) { return WF_FMAF(x, 2.0f, 0.0f); }
WF_INLINE double wf_twice_with(bool fused, double x) { return WF_FMA(x, 2.0, 0.0); }
WF_VMATH(twice)

static void pointwise()
{
    const wf_op *const row[] = { &swish_row, &leaky_row, &muladd_row };
    for (const wf_op *op : row) {
        const wf_report r = wf_op_check(op, nullptr);
        if (!r.ok) std::printf("%s\n", r.text);
        HOLDS(r.ok && r.checked > 0);
    }
    HOLDS(levels == level_end - level_c && wf_twicef_inline(2) == 4 &&
          wf_twice_inline(2) == 4);
#ifdef WF_ISA_AVX512_IS
    HOLDS(std::strstr(WF_ISA_AVX512_IS, "avx512f"));
#endif
    wf_tape *t = wf_tape_new(nullptr);
    HOLDS(wf_item(difference(t, wf_full(t, WF_F32, WF_SCALAR, 1),
                             wf_full(t, WF_F32, WF_SCALAR, 3))) == 2);
    wf_tape_free(t);
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

/* ---- dispatch levels: what a kernel's file, compiled for one of them, and who picks among them
 * say ---- */

#define WF_ISA_SUFFIX c
static int WF_ISA_EACH(compiled);

static void dispatch()
{
    HOLDS(floats == sizeof(float) + sizeof(double) && !std::strcmp(rules[0], "sgd"));
    WF_ISA_OWN(compiled) = 1;
    const int *const each[] = { WF_ISA_EACH(&compiled) };
    HOLDS(*each[WF_ISA_C] == 1 && sizeof each / sizeof *each > static_cast<size_t>(wf_isa_level()));
    HOLDS(&WF_ISA_JOIN(compiled, c) == each[WF_ISA_C] &&
          &WF_ISA_PASTE(compiled, c) == each[WF_ISA_C]);
}

/* ---- options ---- */

struct numbers {
    double rate;
    int64_t units;
    const char *name;
    wf_option_list texts;
    bool flag;
};

static void options()
{
    numbers v = { 0, 0, nullptr, {}, false };
    const wf_option rows[] = {
        { WF_OPTION(numbers, rate), "X", "", WF_OPTION_KEPT, 0, 1, false, nullptr, {} },
        { WF_OPTION(numbers, units), "N", "", WF_OPTION_KEPT, 0, 9, false, nullptr, {} },
        { WF_OPTION(numbers, name), "X", "", WF_OPTION_KEPT, 0, 0, false, nullptr, {} },
        { WF_OPTION(numbers, texts), "X", "", WF_OPTION_KEPT, 0, 0, false, nullptr, {} },
        { WF_OPTION(numbers, flag), nullptr, "", WF_OPTION_KEPT, 0, 0, false, nullptr, {} },
    };
    wf_options table = WF_OPTIONS(rows, &v);
    const char *const words[] = { "p", "--rate=0.5", "--units=7", "--name=x", "--texts=y",
                                  "--flag" };
    HOLDS(wf_options_read(&table, 1, 6, const_cast<char *const *>(words), nullptr, nullptr));
    HOLDS(v.rate == 0.5 && v.units == 7 && v.name && v.texts.n == 1 && v.flag);
    HOLDS(WF_OPTION_KIND_OF(numbers, flag) == WF_OPTION_FLAG);
}

int main()
{
    options();
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
    dispatch();
    pointwise();
    std::printf("%d lines of C++ do not hold\n", failed);
    return failed != 0;
}
