/* Layers without time: linear, embedding, dropout, layer normalisation; and the sentences that all
 * layers share. */
#include "layers/basic.h"

#include "layers/private.h"
#include "tensor/par.h"

#include <math.h>

/* ---- shared sentences ---- */

static const char *shown(const char *name)
{
    return name ? name : "";
}

bool layer_size(wf_module *parent, const char *kind, const char *name, const char *field,
                int64_t size)
{
    if (size >= 1) return true;
    return wf_module_fail(parent, "%s '%s': .%s is %lld; it must be 1 or more", kind, shown(name),
                          field, (long long)size);
}

bool layer_chance(wf_module *parent, const char *kind, const char *name, const char *field,
                  double p)
{
    WF_FP_SCOPE uint32_t fp = wf_fp_enter();
    if (p >= 0 && p < 1) return true; /* false for NaN */
    return wf_module_fail(parent, "%s '%s': .%s is %g; it must be 0 or more and below 1", kind,
                          shown(name), field, p);
}

static bool layer_ready(wf_tape *t, const char *kind, const wf_module *module)
{
    if (!wf_tape_ok(t)) return false;
    if (module) return true;
    wf_fail(t, "%s: the layer was never made; wf_module_ok says why", kind);
    return false;
}

wf_var *layer_enter(wf_tape *t, const char *kind, const wf_module *module, wf_var *x,
                    const char *x_name)
{
    if (!layer_ready(t, kind, module)) return NULL;
    const char *path = wf_module_path(module);
    if (!x) return wf_fail(t, "%s '%s': %s was never made", kind, path, x_name);
    return wf_enter(t, x, "%s '%s': %s", kind, path, x_name);
}

bool layer_dtype(wf_tape *t, const char *kind, const wf_module *module, const wf_var *x,
                 wf_var *weight)
{
    const char *path = wf_module_path(module);
    /* On a checker's tape another var stands for it, in double. */
    weight = wf_enter(t, weight, "%s '%s': a weight", kind, path);
    if (!weight || wf_dtype_of(x) == wf_dtype_of(weight)) return weight != NULL;
    wf_fail(t, "%s '%s': x is %s; the layer's weights are %s", kind, path,
            wf_dtype_name(wf_dtype_of(x)), wf_dtype_name(wf_dtype_of(weight)));
    return false;
}

/* ---- linear ---- */

wf_linear *wf_linear_new(wf_module *parent, const char *name, const wf_linear_options *options)
{
    WF_FP_SCOPE uint32_t fp = wf_fp_enter();
    const wf_linear_options o = options ? *options : (wf_linear_options){ 0 };
    if (!layer_size(parent, "linear", name, "input", o.input)) return NULL;
    if (!layer_size(parent, "linear", name, "output", o.output)) return NULL;
    wf_module *module = wf_module_child(parent, name);
    wf_linear *layer = wf_module_memory(module, sizeof *layer);
    if (!layer) return NULL;
    const wf_init torch = { .kind = WF_INIT_FAN_IN, .a = 1 };
    layer->module = module;
    layer->weight = wf_param_new(module, "weight", WF_SHAPE(o.output, o.input),
                                 layer_init(o.init, torch));
    if (!layer->weight) return NULL;
    if (o.no_bias) return layer;
    double bound = 1 / __builtin_sqrt((double)o.input);
    const wf_init narrow = { .kind = WF_INIT_UNIFORM, .a = -bound, .b = bound };
    layer->bias = wf_param_new(module, "bias", WF_SHAPE(o.output), layer_init(o.init_bias, narrow));
    return layer->bias ? layer : NULL;
}

/* Has x `input` as its last size? Fails the tape otherwise. */
static bool last_size(wf_tape *t, const char *kind, const wf_module *module, const wf_var *x,
                      int64_t input)
{
    if (wf_rank(x) >= 1 && wf_dim(x, -1) == input) return true;
    char text[128];
    wf_shape shape = wf_shape_of(x);
    wf_fail(t, "%s '%s': x is %s; the last size must be %lld", kind, wf_module_path(module),
            wf_shape_text(text, sizeof text, shape.rank, shape.dim), (long long)input);
    return false;
}

/* x on this tape, if it is what the layer takes; NULL after failing the tape. */
static wf_var *linear_enter(wf_tape *t, const wf_linear *layer, wf_var *x)
{
    x = layer_enter(t, "linear", layer ? layer->module : NULL, x, "x");
    if (!x || !last_size(t, "linear", layer->module, x, wf_dim(layer->weight, 1))) return NULL;
    return layer_dtype(t, "linear", layer->module, x, layer->weight) ? x : NULL;
}

wf_var *wf_linear_forward(wf_tape *t, const wf_linear *layer, wf_var *x)
{
    if (!(x = linear_enter(t, layer, x))) return NULL;
    wf_scope_push(t, wf_module_name(layer->module));
    wf_var *y = wf_affine(t, x, layer->weight, layer->bias); /* (..., output) */
    wf_scope_pop(t);
    return y;
}

wf_var *wf_linear_cross_entropy(wf_tape *t, const wf_linear *layer, wf_var *x, wf_var *target,
                                const wf_cross_entropy_options *options)
{
    if (!(x = linear_enter(t, layer, x))) return NULL;
    wf_scope_push(t, wf_module_name(layer->module));
    wf_var *loss = wf_affine_cross_entropy(t, x, layer->weight, layer->bias, target, options);
    wf_scope_pop(t);
    return loss;
}

/* ---- embedding ---- */

wf_embedding *wf_embedding_new(wf_module *parent, const char *name,
                               const wf_embedding_options *options)
{
    WF_FP_SCOPE uint32_t fp = wf_fp_enter();
    const wf_embedding_options o = options ? *options : (wf_embedding_options){ 0 };
    if (!layer_size(parent, "embedding", name, "input", o.input)) return NULL;
    if (!layer_size(parent, "embedding", name, "output", o.output)) return NULL;
    wf_module *module = wf_module_child(parent, name);
    wf_embedding *layer = wf_module_memory(module, sizeof *layer);
    if (!layer) return NULL;
    const wf_init torch = { .kind = WF_INIT_NORMAL, .a = 0, .b = 1 };
    layer->module = module;
    layer->weight = wf_param_new(module, "weight", WF_SHAPE(o.input, o.output),
                                 layer_init(o.init, torch));
    return layer->weight ? layer : NULL;
}

wf_var *wf_embedding_forward(wf_tape *t, const wf_embedding *layer, wf_var *ids)
{
    ids = layer_enter(t, "embedding", layer ? layer->module : NULL, ids, "the var of ids");
    if (!ids) return NULL;
    if (wf_dtype_of(ids) != WF_I32) {
        return wf_fail(t, "embedding '%s': ids are %s; they must be i32",
                       wf_module_path(layer->module), wf_dtype_name(wf_dtype_of(ids)));
    }
    wf_scope_push(t, wf_module_name(layer->module));
    wf_var *rows = wf_gather_rows(t, layer->weight, ids); /* (..., output) */
    wf_scope_pop(t);
    return rows;
}

/* ---- dropout ---- */

wf_dropout_layer *wf_dropout_new(wf_module *parent, const char *name,
                                 const wf_dropout_options *options)
{
    const wf_dropout_options o = options ? *options : (wf_dropout_options){ 0 };
    if (!layer_chance(parent, "dropout", name, "p", o.p)) return NULL;
    wf_module *module = wf_module_child(parent, name);
    wf_dropout_layer *layer = wf_module_memory(module, sizeof *layer);
    if (!layer) return NULL;
    layer->module = module;
    layer->p = o.p;
    return layer;
}

wf_var *wf_dropout_forward(wf_tape *t, const wf_dropout_layer *layer, wf_var *x)
{
    x = layer_enter(t, "dropout", layer ? layer->module : NULL, x, "x");
    if (!x) return NULL;
    if (wf_dtype_of(x) == WF_I32) {
        return wf_fail(t, "dropout '%s': x is i32; it must be f32 or f64",
                       wf_module_path(layer->module));
    }
    wf_scope_push(t, wf_module_name(layer->module));
    wf_var *y = wf_dropout(t, x, layer->p); /* as x */
    wf_scope_pop(t);
    return y;
}

/* ---- layer normalisation ---- */

wf_layer_norm_layer *wf_layer_norm_new(wf_module *parent, const char *name,
                                       const wf_layer_norm_options *options)
{
    WF_FP_SCOPE uint32_t fp = wf_fp_enter();
    const wf_layer_norm_options o = options ? *options : (wf_layer_norm_options){ 0 };
    if (!layer_size(parent, "layer_norm", name, "input", o.input)) return NULL;
    if (!(o.eps >= 0 && o.eps < (double)INFINITY)) {
        wf_module_fail(parent, "layer_norm '%s': .eps is %g; it must be 0 or more and finite",
                       shown(name), o.eps);
        return NULL;
    }
    wf_module *module = wf_module_child(parent, name);
    wf_layer_norm_layer *layer = wf_module_memory(module, sizeof *layer);
    if (!layer) return NULL;
    *layer = (wf_layer_norm_layer){ .module = module, .input = o.input, .eps = o.eps };
    if (o.no_weight) return layer;
    layer->weight = wf_param_new(module, "weight", WF_SHAPE(o.input),
                                 (wf_init){ .kind = WF_INIT_CONSTANT, .a = 1 });
    if (!layer->weight || o.no_bias) return layer->weight ? layer : NULL;
    layer->bias = wf_param_new(module, "bias", WF_SHAPE(o.input), (wf_init){ 0 });
    return layer->bias ? layer : NULL;
}

wf_var *wf_layer_norm_forward(wf_tape *t, const wf_layer_norm_layer *layer, wf_var *x)
{
    x = layer_enter(t, "layer_norm", layer ? layer->module : NULL, x, "x");
    if (!x || !last_size(t, "layer_norm", layer->module, x, layer->input)) return NULL;
    if (layer->weight && !layer_dtype(t, "layer_norm", layer->module, x, layer->weight))
        return NULL;
    wf_scope_push(t, wf_module_name(layer->module));
    wf_var *y = wf_layer_norm(t, x, layer->weight, layer->bias, layer->eps); /* (..., input) */
    wf_scope_pop(t);
    return y;
}
