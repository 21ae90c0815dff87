/* Convolutions and pooling against PyTorch (tests/fixtures/make_conv.py), through the layers where
 * there are layers, and what their parameters begin with. Derivatives, layouts, NaN and the same
 * bits for any number of threads are proved in test_check.c. */
#include "layers/conv.h"
#include "tests/parity.h"

static wf_archive *fixture;

static void open_all(void)
{
    fixture = open_fixture("conv");
}

static void close_all(void)
{
    wf_archive_free(fixture);
}

const harness_suite suite = { .before = open_all, .after = close_all };

/* y, and with the cotangent's gradient those of x and of the module's parameters. */
static void expect_all(const char *name, wf_tape *t, wf_var *x, wf_var *y, wf_module *net)
{
    char cotangent[64];
    snprintf(cotangent, sizeof cotangent, "%s.g", name);
    ck_assert_msg(y != NULL, "%s: %s", name, wf_tape_error(t));
    reader r = reader_of(name, stored(fixture, name), 1e-13);
    expect(&r, "y", wf_tensor_count(wf_value(y)), wf_value(y));
    wf_keep_grad(t, x);
    wf_var *g = leaf(t, WF_F64, wf_shape_of(y), cotangent);
    ck_assert_msg(wf_backward(t, wf_sum(t, wf_mul(t, y, g), NULL)), "%s", wf_tape_error(t));
    expect(&r, "the gradient of x", wf_tensor_count(wf_value(x)), wf_grad_of(x));
    for (int64_t i = 0; i < wf_module_param_count(net); i++) {
        const wf_var *p = wf_module_param_at(net, i);
        expect(&r, wf_param_path(p), wf_tensor_count(wf_param_value(p)), wf_param_grad(p));
    }
    expect_end(&r);
}

TEST(conv2d_layers_are_those_of_pytorch)
{
    static const struct {
        const char *name;
        wf_shape x;
        wf_conv2d_layer_options o;
    } tried[] = {
        { "plain", { 4, { 2, 3, 6, 5 } }, { .input = 3, .output = 4, .kernel = { 3, 2 } } },
        { "strided",
          { 4, { 2, 4, 9, 8 } },
          { .input = 4,
            .output = 6,
            .kernel = { 3, 2 },
            .stride = { 2, 3 },
            .padding = { 1, 2 },
            .dilation = { 2, 1 },
            .groups = 2 } },
        { "same",
          { 4, { 1, 2, 5, 6 } },
          { .input = 2, .output = 3, .kernel = { 4, 3 }, .dilation = { 1, 2 }, .same = true } },
        { "depthwise",
          { 4, { 2, 3, 6, 6 } },
          { .input = 3, .output = 3, .kernel = { 3, 3 }, .padding = { 1, 1 }, .groups = 3 } },
    };
    for (int i = 0; i < (int)(sizeof tried / sizeof tried[0]); i++) {
        OWN(wf_module) *net = wf_module_new("net", &(wf_module_options){ .dtype = WF_F64 });
        OWN(wf_tape) *t = wf_tape_new(NULL);
        wf_conv2d_layer *layer = wf_conv2d_new(net, tried[i].name, &tried[i].o);
        char name[64];
        fill_params(net);
        snprintf(name, sizeof name, "%s.x", tried[i].name);
        wf_var *x = leaf(t, WF_F64, tried[i].x, name);
        expect_all(tried[i].name, t, x, wf_conv2d_forward(t, layer, x), net);
    }
}

TEST(conv1d_layers_are_those_of_pytorch)
{
    static const struct {
        const char *name;
        wf_shape x;
        wf_conv1d_layer_options o;
    } tried[] = {
        { "line",
          { 3, { 3, 4, 11 } },
          { .input = 4, .output = 5, .kernel = 3, .stride = 2, .padding = 2, .dilation = 2 } },
        { "line_same", { 3, { 2, 2, 7 } }, { .input = 2, .output = 3, .kernel = 4, .same = true } },
    };
    for (int i = 0; i < (int)(sizeof tried / sizeof tried[0]); i++) {
        OWN(wf_module) *net = wf_module_new("net", &(wf_module_options){ .dtype = WF_F64 });
        OWN(wf_tape) *t = wf_tape_new(NULL);
        wf_conv1d_layer *layer = wf_conv1d_new(net, tried[i].name, &tried[i].o);
        char name[64];
        fill_params(net);
        snprintf(name, sizeof name, "%s.x", tried[i].name);
        wf_var *x = leaf(t, WF_F64, tried[i].x, name);
        expect_all(tried[i].name, t, x, wf_conv1d_forward(t, layer, x), net);
    }
}

TEST(pooling_is_that_of_pytorch)
{
    static const struct {
        const char *name;
        wf_shape x;
        wf_var *(*pool)(wf_tape *t, wf_var *x, const wf_pool2d_options *options);
        wf_pool2d_options o;
    } over[] = {
        { "max2d",
          { 4, { 2, 2, 7, 6 } },
          wf_max_pool2d,
          { .kernel = { 3, 2 }, .stride = { 2, 1 }, .padding = { 1, 1 } } },
        { "max2d_ceil",
          { 4, { 1, 2, 6, 7 } },
          wf_max_pool2d,
          { .kernel = { 3, 2 }, .stride = { 2, 2 }, .ceil_mode = true } },
        { "mean2d",
          { 4, { 2, 2, 7, 6 } },
          wf_mean_pool2d,
          { .kernel = { 3, 2 }, .stride = { 2, 1 }, .padding = { 1, 1 } } },
        { "mean2d_ceil",
          { 4, { 1, 2, 6, 7 } },
          wf_mean_pool2d,
          { .kernel = { 3, 2 },
            .stride = { 2, 2 },
            .padding = { 1, 1 },
            .ceil_mode = true,
            .exclude_padding = true } },
        { "mean2d_beyond",
          { 4, { 1, 2, 6, 7 } },
          wf_mean_pool2d,
          { .kernel = { 3, 3 }, .stride = { 2, 2 }, .padding = { 1, 1 }, .ceil_mode = true } },
    };
    char name[64];
    for (int i = 0; i < (int)(sizeof over / sizeof over[0]); i++) {
        OWN(wf_tape) *t = wf_tape_new(NULL);
        snprintf(name, sizeof name, "%s.x", over[i].name);
        wf_var *x = leaf(t, WF_F64, over[i].x, name);
        expect_all(over[i].name, t, x, over[i].pool(t, x, &over[i].o), NULL);
    }
    OWN(wf_tape) *t = wf_tape_new(NULL);
    wf_var *x = leaf(t, WF_F64, WF_SHAPE(2, 3, 9), "max1d.x");
    expect_all("max1d", t, x,
               wf_max_pool1d(t, x, &(wf_pool1d_options){ .kernel = 3, .stride = 2, .padding = 1 }),
               NULL);
    x = leaf(t, WF_F64, WF_SHAPE(2, 3, 9), "mean1d.x");
    expect_all("mean1d", t, x,
               wf_mean_pool1d(t, x, &(wf_pool1d_options){ .kernel = 4, .ceil_mode = true }), NULL);
}

TEST(a_layer_begins_as_pytorchs_does)
{
    OWN(wf_module) *net = wf_module_new("net", &(wf_module_options){ .seed = 3 });
    wf_conv2d_layer *layer = wf_conv2d_new(
        net, "conv",
        &(wf_conv2d_layer_options){ .input = 8, .output = 64, .kernel = { 3, 3 }, .groups = 2 });
    const double bound = 1 / sqrt(8 / 2 * 9);
    double largest = 0;
    ck_assert_int_eq(wf_dim(layer->weight, 1), 4);
    for (int64_t i = 0; i < 64 * 4 * 9; i++) largest = fmax(largest, fabs(wf_at(layer->weight, i)));
    ck_assert(largest <= bound * (1 + 1e-6) && largest > 0.99 * bound);
    largest = 0;
    for (int64_t i = 0; i < 64; i++) largest = fmax(largest, fabs(wf_at(layer->bias, i)));
    ck_assert(largest <= bound * (1 + 1e-6) && largest > 0.8 * bound);
    layer = wf_conv2d_new(
        net, "bare",
        &(wf_conv2d_layer_options){ .input = 1, .output = 1, .kernel = { 1, 1 }, .no_bias = true });
    ck_assert(layer && !layer->bias);
}
