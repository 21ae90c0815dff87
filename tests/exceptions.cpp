/* A C++ exception out of an op of the user's, caught by the caller: the floating-point state is
 * given back on its way, and after a reset the tape is as new. tests/check_headers compiles it
 * against an install. */
#include <weft.h>

#include <cfenv>
#include <cstdio>
#include <stdexcept>

static int failed;

static void holds(bool what, const char *where, int line)
{
    if (what) return;
    failed++;
    std::printf("line %d does not hold (%s)\n", line, where);
}
#define HOLDS(what, where) holds(what, where, __LINE__)

static const char *thrower = "";

static void here(const char *place)
{
    if (thrower == place) throw std::runtime_error(place);
}

static const char *const places[] = { "shape", "forward", "backward", "gradient", "loop" };

static bool shape(wf_shaping *s)
{
    here(places[0]);
    s->out[0] = *s->in[0];
    return true;
}

static void forward(const wf_call *c)
{
    here(places[1]);
    wf_tensor_copy(c->in[0], c->out[0]);
}

static void backward(const wf_call *c)
{
    here(places[2]);
    if (c->gin[0]) wf_tensor_add(c->gout[0], c->gin[0]);
}

static void gradient(wf_tape *, const wf_gradient *g)
{
    here(places[3]);
    g->gin[0] = g->gout[0];
}

static void part(void *, int64_t, int64_t)
{
    here(places[4]);
}

static double step(wf_tape *t, const wf_op *same)
{
    const double values[3] = { 0.5, -1, 2 };
    wf_shape three = {};
    three.rank = 1;
    three.dim[0] = 3;
    wf_tape_reset(t);
    wf_var *x = wf_leaf(t, WF_F64, three, values), *gradient = nullptr;
    wf_var *y = wf_sum(t, wf_tanh(t, wf_apply_one(t, same, 1, &x, nullptr)), nullptr);
    wf_grad_options graph = {};
    graph.create_graph = true;
    if (!wf_grad(t, 1, &y, nullptr, 1, &x, &gradient, &graph)) return -1;
    wf_keep_grad(t, x);
    y = wf_sum(t, wf_mul(t, gradient, gradient), nullptr);
    if (!wf_backward(t, y)) return -2;
    wf_par_for(1, 10, 1, part, nullptr);
    return wf_item(y);
}

/* Are denormals there, and is it the rounding mode that was set? */
static bool own_state()
{
    volatile double least = 2.2250738585072014e-308, quarter = 0.25;
    return least * quarter > 0 && std::fegetround() == FE_UPWARD;
}

static int messages;

static void count_messages(void *, const char *text)
{
    messages++;
    std::printf("%s\n", text);
}

struct owner {
    wf_tape *t;
    owner() : t(wf_tape_new(nullptr)) {}
    owner(const owner &) = delete;
    owner &operator=(const owner &) = delete;
    ~owner() { wf_tape_free(t); }
};

int main()
{
    wf_runtime runtime = {};
    runtime.log = count_messages;
    HOLDS(wf_runtime_set(&runtime, nullptr), "runtime");
    wf_op same = {};
    same.name = "same";
    same.inputs = same.outputs = 1;
    same.shape = shape;
    same.forward = forward;
    same.backward = backward;
    same.gradient = gradient;
    wf_tape *t = wf_tape_new(nullptr);
    const double want = step(t, &same);
    HOLDS(want > 0, "nowhere");
    std::fesetround(FE_UPWARD);
    for (const char *place : places) {
        bool caught = false;
        thrower = place;
        try {
            step(t, &same);
        } catch (const std::runtime_error &) {
            caught = true;
        }
        HOLDS(caught, place);
        try {
            owner own; /* freed on the exception's way */
            step(own.t, &same);
        } catch (const std::runtime_error &) {
            HOLDS(own_state() && messages == 0, place);
        }
        HOLDS(own_state(), place);
        thrower = "";
        HOLDS(step(t, &same) == want, place);
        HOLDS(own_state(), place);
    }
    wf_tape_free(t);
    return failed != 0;
}
