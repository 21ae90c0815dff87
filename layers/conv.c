/* Convolution layers: their parameters, and the ops of autograd/ops.h called with them. */
#include "layers/conv.h"

#include "layers/private.h"
#include "tensor/par.h"

/* What both kinds are made of. */
typedef struct made {
    wf_module *module;
    wf_var *weight, *bias;
} made;

/* One of several sizes that may not be below `low`. */
typedef struct asked {
    const char *field;
    int64_t value, low;
} asked;

static bool sizes_sound(wf_module *parent, const char *kind, const char *name, int n,
                        const asked size[])
{
    for (int i = 0; i < n; i++)
        if (size[i].value < size[i].low)
            return wf_module_fail(parent, "%s '%s': .%s is %lld; it must be %lld or more", kind,
                                  name ? name : "", size[i].field, (long long)size[i].value,
                                  (long long)size[i].low);
    return true;
}

/* 0 groups are 1. */
static bool groups_sound(wf_module *parent, const char *kind, const char *name, int64_t input,
                         int64_t output, int64_t *groups)
{
    if (*groups == 0) *groups = 1;
    if (input % *groups == 0 && output % *groups == 0) return true;
    return wf_module_fail(parent,
                          "%s '%s': .groups is %lld, which does not divide .input %lld and .output "
                          "%lld",
                          kind, name ? name : "", (long long)*groups, (long long)input,
                          (long long)output);
}

/* weight (output, input / groups, ...) and the bias, unless there is none. */
static bool parameters(made *m, wf_shape weight, bool no_bias, wf_init init, wf_init init_bias)
{
    double fan_in = 1;
    for (int k = 1; k < weight.rank; k++) fan_in *= (double)weight.dim[k];
    const double bound = 1 / __builtin_sqrt(fan_in);
    const wf_init torch = { .kind = WF_INIT_UNIFORM, .a = -bound, .b = bound };
    m->weight = wf_param_new(m->module, "weight", weight, layer_init(init, torch));
    if (m->weight && !no_bias)
        m->bias = wf_param_new(m->module, "bias", WF_SHAPE(weight.dim[0]),
                               layer_init(init_bias, torch));
    return m->weight && (no_bias || m->bias);
}

wf_conv1d_layer *wf_conv1d_new(wf_module *parent, const char *name,
                               const wf_conv1d_layer_options *options)
{
    WF_FP_SCOPE uint32_t fp = wf_fp_enter();
    wf_conv1d_layer_options o = options ? *options : (wf_conv1d_layer_options){ 0 };
    const asked size[] = { { "input", o.input, 1 },     { "output", o.output, 1 },
                           { "kernel", o.kernel, 1 },   { "stride", o.stride, 0 },
                           { "padding", o.padding, 0 }, { "dilation", o.dilation, 0 },
                           { "groups", o.groups, 0 } };
    if (!sizes_sound(parent, "conv1d", name, 7, size) ||
        !groups_sound(parent, "conv1d", name, o.input, o.output, &o.groups))
        return NULL;
    made m = { wf_module_child(parent, name), NULL, NULL };
    wf_conv1d_layer *layer = wf_module_memory(m.module, sizeof *layer);
    if (!layer || !parameters(&m, WF_SHAPE(o.output, o.input / o.groups, o.kernel), o.no_bias,
                              o.init, o.init_bias))
        return NULL;
    *layer = (wf_conv1d_layer){ m.module,
                                m.weight,
                                m.bias,
                                { .stride = o.stride,
                                  .padding = o.padding,
                                  .dilation = o.dilation,
                                  .groups = o.groups,
                                  .same = o.same } };
    return layer;
}

wf_var *wf_conv1d_forward(wf_tape *t, const wf_conv1d_layer *layer, wf_var *x)
{
    x = layer_enter(t, "conv1d", layer ? layer->module : NULL, x, "x");
    if (!x || !layer_dtype(t, "conv1d", layer->module, x, layer->weight)) return NULL;
    wf_scope_push(t, wf_module_name(layer->module));
    wf_var *y = wf_conv1d(t, x, layer->weight, layer->bias, &layer->how); /* (N, output, P) */
    wf_scope_pop(t);
    return y;
}

wf_conv2d_layer *wf_conv2d_new(wf_module *parent, const char *name,
                               const wf_conv2d_layer_options *options)
{
    WF_FP_SCOPE uint32_t fp = wf_fp_enter();
    wf_conv2d_layer_options o = options ? *options : (wf_conv2d_layer_options){ 0 };
    const asked size[] = {
        { "input", o.input, 1 },
        { "output", o.output, 1 },
        { "kernel[0]", o.kernel[0], 1 },
        { "kernel[1]", o.kernel[1], 1 },
        { "stride[0]", o.stride[0], 0 },
        { "stride[1]", o.stride[1], 0 },
        { "padding[0]", o.padding[0], 0 },
        { "padding[1]", o.padding[1], 0 },
        { "dilation[0]", o.dilation[0], 0 },
        { "dilation[1]", o.dilation[1], 0 },
        { "groups", o.groups, 0 },
    };
    if (!sizes_sound(parent, "conv2d", name, 11, size) ||
        !groups_sound(parent, "conv2d", name, o.input, o.output, &o.groups))
        return NULL;
    made m = { wf_module_child(parent, name), NULL, NULL };
    wf_conv2d_layer *layer = wf_module_memory(m.module, sizeof *layer);
    if (!layer || !parameters(&m, WF_SHAPE(o.output, o.input / o.groups, o.kernel[0], o.kernel[1]),
                              o.no_bias, o.init, o.init_bias))
        return NULL;
    *layer = (wf_conv2d_layer){ m.module,
                                m.weight,
                                m.bias,
                                { .stride = { o.stride[0], o.stride[1] },
                                  .padding = { o.padding[0], o.padding[1] },
                                  .dilation = { o.dilation[0], o.dilation[1] },
                                  .groups = o.groups,
                                  .same = o.same } };
    return layer;
}

wf_var *wf_conv2d_forward(wf_tape *t, const wf_conv2d_layer *layer, wf_var *x)
{
    x = layer_enter(t, "conv2d", layer ? layer->module : NULL, x, "x");
    if (!x || !layer_dtype(t, "conv2d", layer->module, x, layer->weight)) return NULL;
    wf_scope_push(t, wf_module_name(layer->module));
    wf_var *y = wf_conv2d(t, x, layer->weight, layer->bias, &layer->how); /* (N, output, P, Q) */
    wf_scope_pop(t);
    return y;
}
