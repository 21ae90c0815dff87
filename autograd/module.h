/* The module tree: owns parameters and the layers they belong to; names, initial values, files. */
#ifndef WEFT_AUTOGRAD_MODULE_H
#define WEFT_AUTOGRAD_MODULE_H

#include "autograd/tape.h"
#include "tensor/io.h"

WF_BEGIN

typedef struct wf_module wf_module;

typedef struct wf_module_options {
    uint64_t seed;                                 /* of the initial values */
    wf_dtype dtype;                                /* of the parameters: WF_F32 or WF_F64 */
    const void *reserved[4];
} wf_module_options;

/* The root of a tree: yours to free, which frees everything below it. NULL when there is no
 * memory. Tapes read parameters in place: one on which a parameter of the tree was used may be
 * reset or freed after wf_module_free, and nothing else. */
WF_API wf_module *wf_module_new(const char *name, const wf_module_options *options);
WF_API void wf_module_free(wf_module *root);
/* A child under a name that its siblings do not have (any UTF-8 without '.', spaces and control
 * characters). The parent owns it. NULL, and the root knows the first reason, when the parent is
 * NULL or anything else is wrong. */
WF_API wf_module *wf_module_child(wf_module *parent, const char *name);
/* Zeroed memory that lives as long as the tree, for a layer's own struct. NULL after failing it. */
WF_API void *wf_module_memory(wf_module *module, size_t bytes);
/* Fails the tree with one sentence, kept by the root if it is the first. Returns false. NULL
 * module: nothing. */
WF_API bool wf_module_fail(wf_module *module, const char *format, ...) WF_PRINTF(2, 3);
/* Was everything made? The first reason otherwise. NULL is not ok. */
WF_API bool wf_module_ok(const wf_module *module, wf_error *error);
/* Of NULL: "", "", WF_F32. The path: "encoder.lstm"; "" for the root. */
WF_API const char *wf_module_name(const wf_module *module);
WF_API const char *wf_module_path(const wf_module *module);
WF_API wf_dtype wf_module_dtype(const wf_module *module);

/* Initial values depend on (seed, path) and the shape alone. fan_in is the last size, fan_out the
 * product of the others. */
typedef enum wf_init_kind {
    WF_INIT_ZERO = 0,
    WF_INIT_CONSTANT,                              /* a */
    WF_INIT_UNIFORM,                               /* in [a, b) */
    WF_INIT_NORMAL,                                /* mean a, standard deviation b */
    /* Uniform, +-a / sqrt(fan_in): PyTorch's Linear with a = 1. */
    WF_INIT_FAN_IN,
    /* Uniform, +-a sqrt(6 / (fan_in + fan_out)), Glorot and Bengio 2010. */
    WF_INIT_XAVIER,
    /* Gain a (0: 1) times orthonormal rows, or columns where there are more rows, Saxe et al. 2014;
     * blocks of `rows` rows each on their own. */
    WF_INIT_ORTHOGONAL,
    /* a (0: 1) times the identity, block by block, Le et al. 2015. */
    WF_INIT_IDENTITY
} wf_init_kind;

typedef struct wf_init {
    wf_init_kind kind;
    double a, b;
    int64_t rows;                                  /* of a block; 0: the whole matrix is one */
} wf_init;

/* A parameter: a var that any op takes, on any tape. Named `path.name` in files. Owned by the
 * module. NULL after failing the tree: the name is taken or none, or memory is out. */
WF_API wf_var *wf_param_new(wf_module *module, const char *name, wf_shape shape, wf_init init);
WF_API const char *wf_param_path(const wf_var *param);              /* NULL if it is no parameter */
/* Values to read and write in place; after writing, wf_param_changed says so. */
WF_API const wf_tensor *wf_param_value(const wf_var *param);
WF_API void wf_param_changed(wf_var *param);
/* The gradient, row-major and writable, from its first commit until it is cleared; else NULL. */
WF_API const wf_tensor *wf_param_grad(const wf_var *param);
/* The same, and what of it to visit. Of a table (V, ...) that was only looked up in by ids: the
 * rows along its first axis that were named since it was cleared, whatever they gathered. All
 * others are zero, and only these may be written. Good until the next commit. Who reads such a
 * gradient by wf_param_grad may write anywhere, which costs a pass over the whole to find. */
typedef struct wf_grad_rows {
    const wf_tensor *grad;                         /* NULL: there is none */
    int64_t n;                                     /* rows */
    const int32_t *row;                            /* ascending; NULL: visit all of it */
} wf_grad_rows;
WF_API wf_grad_rows wf_param_grad_rows(const wf_var *param);
WF_API void wf_param_clear_grad(wf_var *param);
/* A number that grows with every gradient that is committed. */
WF_API uint64_t wf_param_grad_version(const wf_var *param);
/* A number that grows with every change: a step, a load, wf_param_changed. */
WF_API uint64_t wf_param_version(const wf_var *param);

/* The key that its initial values were drawn by (tensor/rng.h), made of the tree's seed and its
 * path, for a layer that draws some of them anew; 0 if it is no parameter. */
WF_API uint64_t wf_param_key(const wf_var *param);

/* A frozen parameter enters a tape as a constant: its gradient is not computed, and no optimiser
 * moves it. Freezing clears the gradient it has, and what tapes have not committed yet is
 * dropped. What a parameter is when it first enters a tape it stays there until the reset, except
 * that freezing it before the sweep still spares its gradient. Of a module: all parameters that
 * its subtree has now; those made later begin thawed, as a new head on a frozen body should. */
WF_API void wf_param_freeze(wf_var *param, bool frozen);
WF_API bool wf_param_frozen(const wf_var *param);
WF_API void wf_module_freeze(wf_module *module, bool frozen);
/* Those of its subtree alone whose paths, as seen from it, match a pattern (wf_path_matches).
 * Returns how many match; 0 of NULL. */
WF_API int64_t wf_module_freeze_named(wf_module *module, const char *pattern, bool frozen);
/* Does the whole path match? In the pattern `*` stands for any letters, dots too, `?` for one
 * letter. False of NULL. */
WF_API bool wf_path_matches(const char *pattern, const char *path);
/* Clears the gradients of all parameters in the subtree, an optimiser's or not. */
WF_API void wf_module_clear_grads(wf_module *module);

/* A buffer: numbers that a layer keeps and nobody learns, running statistics say. Saved and loaded
 * with the parameters, under its path; a constant on every tape; never among the parameters that
 * optimisers, checkers and wf_module_weights see. Of the module's dtype or WF_I32 (which any whole
 * numbers of a file become, if they fit), all `value` at first. wf_param_value, _changed, _path and
 * _version serve it too, and wf_param_freeze does nothing to it. NULL after failing the tree. */
WF_API wf_var *wf_buffer_new(wf_module *module, const char *name, wf_dtype dtype, wf_shape shape,
                             double value);
WF_API int64_t wf_module_buffer_count(const wf_module *module);
WF_API wf_var *wf_module_buffer_at(const wf_module *module, int64_t index);
WF_API wf_var *wf_module_buffer_find(const wf_module *module, const char *path);

/* The parameters of a subtree, in the order of their making; NULL past the end. find: by path
 * relative to the module; NULL if there is none. */
WF_API int64_t wf_module_param_count(const wf_module *module);
WF_API wf_var *wf_module_param_at(const wf_module *module, int64_t index);
WF_API wf_var *wf_module_param_find(const wf_module *module, const char *path);
WF_API int64_t wf_module_weights(const wf_module *module);          /* numbers in all parameters */
/* Writes to stdout what a module is made of: a line for each parameter with its path in the module,
 * its shape, how many numbers it has and whether it is frozen, the same for each buffer, and last
 * how many parameters there are in all.
 * NULL prints "(no module)". _text writes into text (at most bytes, always terminated) and returns
 * the length that the whole would have, as snprintf does. */
WF_API void wf_module_print(const wf_module *module);
WF_API size_t wf_module_text(const wf_module *module, char *text, size_t bytes);

/* Saves all parameters and buffers under their paths with the given metadata (may be NULL); see
 * wf_safetensors_save. */
WF_API bool wf_module_save(const wf_module *module, const char *path, const wf_meta *meta,
                           int64_t n_meta, wf_error *error);
/* Adds all parameters and buffers to a bundle, under prefix (NULL: none) and path. What goes wrong
 * is the bundle's to say. */
WF_API bool wf_module_to_bundle(const wf_module *module, wf_bundle *bundle, const char *prefix);
/* Loads parameters and buffers by path, all or none: floats of any kind become those of the
 * parameter (see wf_archive_read). Missing or unexpected names, other shapes, and whole numbers but
 * for a buffer of them, are one sentence, and then nothing has changed. Of tied weights
 * a file may hold both names, if they are equal, or one, if its metadata says which
 * ("decoder.weight": "encoder.weight", as safetensors' save_model does). */
WF_API bool wf_module_load(wf_module *module, const char *path, wf_error *error);
WF_API bool wf_module_load_archive(wf_module *module, const char *name, const wf_archive *archive,
                                   wf_error *error);

/* A parameter's path in the module and the name it has in a file. A path that ends in '.' (or "")
 * stands for every path that begins so: { "encoder.", "model.rnn." }. */
typedef struct wf_load_name { const char *path, *name; } wf_load_name;

typedef struct wf_load_options {
    const char *prefix;        /* only names that begin with it count, and paths follow it */
    /* Tried before a parameter's own path; several for tied weights: whichever is there is taken,
     * and two that are there must be equal. */
    const wf_load_name *names;
    int64_t n_names;
    bool allow_missing;        /* parameters that are not in the file stay as they are */
    bool allow_unexpected;     /* tensors that nobody asked for are left over */
    const void *reserved[4];
} wf_load_options;

/* What came of a load, also of one that was refused for it. Names of parameters are paths, the
 * others as the file has them; they live until wf_load_report_free. */
typedef struct wf_load_report {
    int64_t loaded, missing, unexpected;           /* loaded: parameters whose values changed */
    const char *const *missing_names, *const *unexpected_names;
    char text[700];                                /* "missing 1 (w), unexpected 1 (pos)", or "" */
    void *memory;
} wf_load_report;
WF_API void wf_load_report_free(wf_load_report *report);

/* Options may be NULL (strict, no prefix), so may report. */
WF_API bool wf_module_load_with(wf_module *module, const char *path, const wf_load_options *options,
                                wf_load_report *report, wf_error *error);
WF_API bool wf_module_load_archive_with(wf_module *module, const char *name,
                                        const wf_archive *archive, const wf_load_options *options,
                                        wf_load_report *report, wf_error *error);

WF_END

#endif
