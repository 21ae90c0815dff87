/* Optimisers: update rules as rows over a module's parameters, and clipping. */
#ifndef WEFT_OPTIM_OPTIM_H
#define WEFT_OPTIM_OPTIM_H

#include "autograd/module.h"

WF_BEGIN

typedef struct wf_optim wf_optim;

/* An update rule: `states` buffers shaped like each parameter, starting at zero. Built-in and
 * own rules are the same struct. */
typedef struct wf_optim_call {
    wf_dtype dtype;
    int64_t n;                                     /* numbers in this stretch of a parameter */
    void *value;
    const void *grad;
    void *state[4];                                /* the same stretch of each buffer, or NULL */
    int64_t step;                                  /* this parameter's updates: 1 at its first */
    double lr;
    const void *options;                           /* options_size bytes, as given */
} wf_optim_call;

typedef struct wf_optim_rule {
    const char *name;
    int states;                                    /* 0 to 4 */
    const char *state_names[4];
    size_t options_size;
    /* Element-wise: any stretch may be done on its own, by any thread. */
    void (*update)(const wf_optim_call *c);
    const void *reserved[4];
} wf_optim_rule;

/* An optimiser of the parameters that the module has now, with its buffers; options are copied,
 * the rule's strings are not. Yours to free, before the model. NULL when something is wrong or
 * there is no memory; the module's root knows why (wf_module_ok). Never steps over a failure: a
 * module that has failed already gets no optimiser. */
WF_API wf_optim *wf_optim_new(wf_module *module, const wf_optim_rule *rule, double lr,
                              const void *options);
WF_API void wf_optim_free(wf_optim *optim);

/* PyTorch's options: the same names, meanings and defaults (in brackets). Zero takes the
 * default; where PyTorch's own zero means something else than its default, -1 says zero. NULL
 * options are all zero. */
typedef struct wf_sgd_options {
    double lr /* 1e-3 */, momentum, dampening, weight_decay;
    bool nesterov, maximize;                       /* Nesterov wants momentum and no dampening */
    const void *reserved[4];
} wf_sgd_options;
typedef struct wf_rmsprop_options {
    double lr /* 1e-2 */, alpha /* 0.99; -1: 0 */, eps /* 1e-8; -1: 0 */, momentum, weight_decay;
    bool centered;
    const void *reserved[4];
} wf_rmsprop_options;
typedef struct wf_adam_options {
    double lr /* 1e-3 */, beta1 /* 0.9; -1: 0 */, beta2 /* 0.999; -1: 0 */;
    double eps /* 1e-8; -1: 0 */, weight_decay;
    bool amsgrad;
    const void *reserved[4];
} wf_adam_options;
typedef struct wf_adamw_options {
    double lr /* 1e-3 */, beta1, beta2, eps /* as Adam's */, weight_decay /* 1e-2; -1: 0 */;
    bool amsgrad;
    const void *reserved[4];
} wf_adamw_options;
/* Stochastic gradient descent, Sutskever et al. 2013; RMSProp, Tieleman and Hinton 2012
 * (centered: Graves 2013); Adam, Kingma and Ba 2015 (amsgrad: Reddi et al. 2018); AdamW,
 * Loshchilov and Hutter 2019: in PyTorch's formulas. */
WF_API wf_optim *wf_sgd_new(wf_module *module, const wf_sgd_options *options);
WF_API wf_optim *wf_rmsprop_new(wf_module *module, const wf_rmsprop_options *options);
WF_API wf_optim *wf_adam_new(wf_module *module, const wf_adam_options *options);
WF_API wf_optim *wf_adamw_new(wf_module *module, const wf_adamw_options *options);

/* Applies the committed gradients and clears them; never allocates. A parameter without a
 * gradient is left alone, and its own count of updates stands still. False when optim is NULL. */
WF_API bool wf_optim_step(wf_optim *optim);

/* Scales all gradients by most / (norm + 1e-6) if that is below 1, norm being their joint
 * Euclidean norm; returns the norm found (`most` INFINITY only measures). A norm that is not
 * finite is returned as it is, logged (once until a finite one comes), and the gradients are
 * cleared, so that the next step changes nothing. NaN of NULL. */
WF_API double wf_optim_clip_norm(wf_optim *optim, double most);
/* Limits each gradient to [-most, most]; NaN stays. */
WF_API void wf_optim_clip_value(wf_optim *optim, double most);

/* The learning rate, 0 or more; one that is not is logged and not taken. NaN of NULL. */
WF_API double wf_optim_lr(const wf_optim *optim);
WF_API void wf_optim_set_lr(wf_optim *optim, double lr);
/* Steps that found a gradient; -1 of NULL. Setting them (a checkpoint) sets every parameter's
 * count of updates. */
WF_API int64_t wf_optim_steps(const wf_optim *optim);
WF_API void wf_optim_set_steps(wf_optim *optim, int64_t steps);
/* State buffer k of the module's i-th parameter, to read (hashes, checkpoints) or write; NULL
 * out of range. */
WF_API const wf_tensor *wf_optim_state(const wf_optim *optim, int64_t i, int k);
/* What it runs by: name, states and their names. NULL of NULL. */
WF_API const wf_optim_rule *wf_optim_rule_of(const wf_optim *optim);

WF_END

#endif
