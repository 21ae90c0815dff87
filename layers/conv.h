/* Convolution layers for signals (N, C, L) and pictures (N, C, H, W), with PyTorch's parameters. */
#ifndef WEFT_LAYERS_CONV_H
#define WEFT_LAYERS_CONV_H

#include "autograd/module.h"
#include "autograd/ops.h"

WF_BEGIN

/* input and output: channels; both and the kernel are required. The others are those of
 * wf_conv1d_options and wf_conv2d_options, 0 their default. */
typedef struct wf_conv1d_layer_options {
    int64_t input, output, kernel;
    int64_t stride, padding, dilation, groups;
    bool same; /* y as long as x */
    bool no_bias;
    wf_init init, init_bias; /* zero: PyTorch's, uniform +-1 / sqrt(input / groups * kernel) */
    const void *reserved[4];
} wf_conv1d_layer_options;
typedef struct wf_conv1d_layer {
    wf_module *module;
    wf_var *weight, *bias; /* (output, input / groups, kernel), (output) */
    wf_conv1d_options how;
} wf_conv1d_layer;
WF_API wf_conv1d_layer *wf_conv1d_new(wf_module *parent, const char *name,
                                      const wf_conv1d_layer_options *options);
/* (N, input, L) to (N, output, P), as wf_conv1d says */
WF_API wf_var *wf_conv1d_forward(wf_tape *t, const wf_conv1d_layer *layer, wf_var *x);

/* Pairs are those of the height and of the width. */
typedef struct wf_conv2d_layer_options {
    int64_t input, output, kernel[2];
    int64_t stride[2], padding[2], dilation[2], groups;
    bool same; /* y as high and as wide as x */
    bool no_bias;
    wf_init init, init_bias;
    const void *reserved[4];
} wf_conv2d_layer_options;
typedef struct wf_conv2d_layer {
    wf_module *module;
    wf_var *weight, *bias; /* (output, input / groups, kernel[0], kernel[1]), (output) or NULL */
    wf_conv2d_options how;
} wf_conv2d_layer;
WF_API wf_conv2d_layer *wf_conv2d_new(wf_module *parent, const char *name,
                                      const wf_conv2d_layer_options *options);
/* (N, input, H, W) to (N, output, P, Q), as wf_conv2d says */
WF_API wf_var *wf_conv2d_forward(wf_tape *t, const wf_conv2d_layer *layer, wf_var *x);

WF_END

#endif
