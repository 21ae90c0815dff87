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
    const void *grad;                              /* finite */
    void *state[WF_OPTIM_STATES];                  /* the same stretch of each buffer, or NULL */
    int64_t step;                                  /* this parameter's updates, from 1 */
    double lr;                                     /* the group's, as are the options */
    const void *options;                           /* options_size bytes, as given or set since */
} wf_optim_call;

/* What wf_optim_set and files call an option: a double, or a bool (`flag`), at `offset` of the
 * options. A double must be in [least, below), or finite if both are 0. */
typedef struct wf_optim_option {
    const char *name;
    size_t offset;
    bool flag;
    double least, below;
    const char *state;                             /* the buffer that it works in unless it is 0 */
} wf_optim_option;

typedef struct wf_optim_rule wf_optim_rule;
struct wf_optim_rule {
    const char *name;
    int states;                                    /* 0 to WF_OPTIM_STATES */
    const char *state_names[WF_OPTIM_STATES];      /* any that files may hold, but "step" */
    size_t options_size;
    /* Its options, up to one without a name. NULL: they can be neither set nor saved. */
    const wf_optim_option *options;
    bool squares;                                  /* keeps gradients' squares: none may overflow */
    /* Do the options fit each other and the states? Says so in one sentence otherwise. Or NULL. */
    bool (*check)(const wf_optim_rule *rule, const void *options, wf_error *error);
    /* Element-wise: any stretch may be done on its own, by any thread. */
    void (*update)(const wf_optim_call *c);
    /* With these options, are numbers whose gradient is 0 left as they are, buffers too? Then of a
     * gradient that is known by rows (wf_param_grad_rows) only these are updated. NULL: no. */
    bool (*rows_only)(const wf_optim_rule *rule, const void *options);
    const void *reserved[3];
};

/* An optimiser of the parameters that the module has now, with its buffers; options are copied,
 * the rule's strings are not. Yours to free, before the model. NULL when something is wrong or
 * there is no memory; the module's root knows why (wf_module_ok). Never steps over a failure: a
 * module that has failed already gets no optimiser. */
WF_API wf_optim *wf_optim_new(wf_module *module, const wf_optim_rule *rule, double lr,
                              const void *options);
WF_API void wf_optim_free(wf_optim *optim);

/* ---- built-in rules ----
 * In PyTorch's formulas, but that a root is never taken of less than the smallest normal number, so
 * that an eps of 0 divides by no zero. Options have PyTorch's names, meanings and defaults (given
 * beside them; otherwise 0). They begin as what
 * wf_..._defaults() returns, and what is written into them is what happens, zeros included:
 *     wf_adamw_options o = wf_adamw_defaults();
 *     o.weight_decay = 0;
 *     wf_optim *adamw = wf_adamw_new(net, &o);
 * Options that began elsewhere are refused; NULL is the defaults. */
/* Stochastic gradient descent with momentum, Sutskever et al. 2013. */
typedef struct wf_sgd_options {
    double lr /* 1e-3 */, momentum, dampening, weight_decay;
    bool nesterov, maximize;                       /* Nesterov wants momentum and no dampening */
    bool lazy;                                     /* see below, as of the others */
    const char *rule;                              /* whose defaults they began as */
    const void *reserved[4];
} wf_sgd_options;
WF_API wf_sgd_options wf_sgd_defaults(void);
WF_API wf_optim *wf_sgd_new(wf_module *module, const wf_sgd_options *options);
/* RMSProp, Tieleman and Hinton 2012 (centered: Graves 2013, its variance never below zero). */
typedef struct wf_rmsprop_options {
    double lr /* 1e-2 */, alpha /* 0.99 */, eps /* 1e-8 */, momentum, weight_decay;
    bool centered, lazy;
    const char *rule;
    const void *reserved[4];
} wf_rmsprop_options;
WF_API wf_rmsprop_options wf_rmsprop_defaults(void);
WF_API wf_optim *wf_rmsprop_new(wf_module *module, const wf_rmsprop_options *options);
/* Adam, Kingma and Ba 2015 (amsgrad: Reddi et al. 2018); AdamW, Loshchilov and Hutter 2019. */
typedef struct wf_adam_options {
    double lr /* 1e-3 */, beta1 /* 0.9 */, beta2 /* 0.999 */, eps /* 1e-8 */;
    double weight_decay /* 0; of AdamW 1e-2 */;
    bool amsgrad, lazy;
    const char *rule;
    const void *reserved[4];
} wf_adam_options;
typedef wf_adam_options wf_adamw_options;
WF_API wf_adam_options wf_adam_defaults(void);
WF_API wf_optim *wf_adam_new(wf_module *module, const wf_adam_options *options);
WF_API wf_adamw_options wf_adamw_defaults(void);
WF_API wf_optim *wf_adamw_new(wf_module *module, const wf_adamw_options *options);
/* Those above, by name: what is done for each is written once, RULE(sgd) RULE(rmsprop) ... */
#define WF_OPTIM_RULES(RULE) RULE(sgd) RULE(rmsprop) RULE(adam) RULE(adamw)

/* `lazy`: in a table that was only looked up in by ids (see wf_param_grad_rows) a step moves the
 * rows that were named, with their buffers, and no others, at the price of these rows alone. What
 * momentum or Adam's averages would have done to the others in the meantime is left out, and not
 * made up for: the update is another one, that of PyTorch's SparseAdam and TensorFlow's LazyAdam
 * (steps are counted per parameter, as there; eps stands where it does in Adam). It excludes
 * weight_decay, as there, which would move every row. Where the gradient is not known by rows
 * nothing is different, and SGD without momentum and weight_decay is lazy by nature. */

/* ---- steps ---- */

/* Applies the committed gradients and clears them; never allocates. A parameter without a
 * gradient is left alone, and its own count of updates stands still. A gradient that is not
 * finite (or whose square overflows, where the rule keeps squares) reaches no weight: nothing is
 * changed, all gradients are cleared, one sentence is logged (once until a good step comes) that
 * names the parameter, and the step returns false. So it does when optim is NULL. A value that is
 * infinite (a transition of a CRF that must not be) stays so, decay or not, as no gradient moves
 * it. */
WF_API bool wf_optim_step(wf_optim *optim);
/* Clears the gradients of its parameters, as PyTorch's zero_grad does: for what other losses,
 * meant for another optimiser, left here. A step clears them anyway. */
WF_API void wf_optim_clear(wf_optim *optim);

/* Scales all gradients, of all groups, by most / (norm + 1e-6) if that is below 1 (Pascanu et al.
 * 2013), norm being their joint Euclidean norm, found without overflow or underflow on the way;
 * returns it (`most` INFINITY only measures). A norm that is not finite is returned as it is,
 * logged (once until a finite one comes), and the gradients are cleared, so that the next step
 * changes nothing. NaN of NULL. */
WF_API double wf_optim_clip_norm(wf_optim *optim, double most);
/* Limits each gradient to [-most, most]; NaN stays. */
WF_API void wf_optim_clip_value(wf_optim *optim, double most);

/* ---- options and groups ---- */

/* The parameters whose paths (as seen from the optimiser's module) match the pattern become a group
 * with options of its own, which begin as group 0's and are changed by wf_optim_set; see
 * wf_path_matches. Returns its number, from 1; group 0 is the rest. -1, and the module's root knows
 * why, when no parameter matches, one is in another group already, or there is no memory. */
WF_API int wf_optim_group(wf_optim *optim, const char *pattern);
/* Groups there are, group 0 included; 0 of NULL. The group of the module's i-th parameter; -1
 * out of range. */
WF_API int wf_optim_groups(const wf_optim *optim);
WF_API int wf_optim_group_of(const wf_optim *optim, int64_t i);
/* Sets an option of a group by its name ("lr", "weight_decay", "beta1", ...; a flag is 0 or 1),
 * also between steps. False, logged in one sentence and nothing changed, when there is no such
 * group or option, or the value is out of range or needs a buffer that the optimiser was made
 * without (momentum, amsgrad and centered: make it with them, and set them to 0 where they are
 * not wanted). A group of -1 was said already. */
WF_API bool wf_optim_set(wf_optim *optim, int group, const char *option, double value);
/* NaN when there is no such group or option. */
WF_API double wf_optim_get(const wf_optim *optim, int group, const char *option);
/* The learning rate of group 0, and of all groups at once: 0 or more; one that is not is logged
 * and not taken. NaN of NULL. */
WF_API double wf_optim_lr(const wf_optim *optim);
WF_API void wf_optim_set_lr(wf_optim *optim, double lr);

/* ---- state ---- */

/* Steps that found a gradient; -1 of NULL. */
WF_API int64_t wf_optim_steps(const wf_optim *optim);
/* Updates of the module's i-th parameter, -1 out of range, and setting them (to a foreign
 * checkpoint's), which brings wf_optim_steps up to at least as many: 0 to INT64_MAX, where
 * counting stops; false, logged, otherwise. */
WF_API int64_t wf_optim_steps_of(const wf_optim *optim, int64_t i);
WF_API bool wf_optim_set_steps_of(wf_optim *optim, int64_t i, int64_t steps);
/* All that an optimiser is, into a file and back: each parameter's buffers ("<path>.exp_avg") and
 * count ("<path>.step", two i32, the lower half first), and as metadata its rule, steps, groups
 * and each group's rate and options ("group0.lr"), all under a prefix (NULL: none). Then a run
 * goes on with the same bits. Buffers are read when the bundle is saved: step after that. Loading
 * makes the optimiser what the saved one was, its rates and options included (set others after
 * it); it must be of the same rule, buffers, groups and parameters, f32 and f64 convert, and what
 * does not fit, or was lost since it was saved, is one sentence, and then nothing has changed. A
 * flag that the rule did not have yet when the file was saved is off. `name` stands for the file in
 * the sentence; names of the archive that do not begin with the prefix are somebody else's. */
WF_API bool wf_optim_save(const wf_optim *optim, const char *path, wf_error *error);
WF_API bool wf_optim_load(wf_optim *optim, const char *path, wf_error *error);
WF_API bool wf_optim_to_bundle(const wf_optim *optim, wf_bundle *bundle, const char *prefix);
WF_API bool wf_optim_load_archive(wf_optim *optim, const char *name, const wf_archive *archive,
                                  const char *prefix, wf_error *error);
/* State buffer k of the module's i-th parameter, to read (hashes, checkpoints) or write; NULL
 * out of range. */
WF_API const wf_tensor *wf_optim_state(const wf_optim *optim, int64_t i, int k);
/* What it runs by: name, states and their names. NULL of NULL. */
WF_API const wf_optim_rule *wf_optim_rule_of(const wf_optim *optim);

WF_END

#endif
