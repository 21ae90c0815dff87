/* The module tree: names, memory and errors of layers, and the parameters that they own. */
#include "autograd/module_private.h"
#include "autograd/param_grad_private.h"
#include "tensor/io_private.h"
#include "tensor/rng.h"
#include "tensor/runtime.h"
#include "tensor/size.h"
#include "tensor/text.h"

#include <stdarg.h>
#include <string.h>

typedef struct block block;

struct wf_module {
    wf_module *root, *parent;
    wf_module *child, *last, *sibling; /* first and last child, next sibling */
    list params, buffers;              /* of param *: all of its subtree, in the order of making */
    block *memory;              /* of wf_module_memory, newest first */
    char *name, *path;
    /* The root's alone: */
    uint64_t seed;
    wf_dtype dtype;
    paths params_named, modules_named; /* by whole path */
    bool failed;
    wf_error error;
    _Atomic(const wf_tape *) committing;
};

struct block {
    block *next;
    double align[6];
};

wf_module *module_root(const wf_module *module)
{
    return module->root;
}

bool module_try_lock(wf_module *root, const wf_tape *t)
{
    const wf_tape *nobody = NULL;
    return atomic_compare_exchange_strong(&root->committing, &nobody, t) || nobody == t;
}

void module_unlock(wf_module *root, const wf_tape *t)
{
    const wf_tape *us = t;
    atomic_compare_exchange_strong(&root->committing, &us, NULL);
}

bool wf_module_fail(wf_module *module, const char *format, ...)
{
    if (!module) return false;
    wf_module *root = module->root;
    if (root->failed) return false;
    if (!format) format = "module: failed without a sentence";
    char text[sizeof root->error.text];
    va_list values;
    va_start(values, format);
    wf_vformat(text, sizeof text, format, values);
    va_end(values);
    root->failed = true;
    return wf_error_set(&root->error, "%s", text);
}

bool wf_module_ok(const wf_module *module, wf_error *error)
{
    wf_error_clear(error);
    if (!module) return wf_error_set(error, "module: it was never made (NULL)");
    if (!module->root->failed) return true;
    return wf_error_set(error, "%s", module->root->error.text);
}

static bool good_name(const char *name)
{
    if (!name || !*name) return false;
    for (const char *c = name; *c; c++) {
        unsigned char u = (unsigned char)*c;
        if (u <= ' ' || u == '.' || u == 0x7F) return false;
    }
    return true;
}

/* A name as a message may hold it. */
static const char *shown(const char *name, char text[WF_SHOWN])
{
    return name ? wf_shown(text, WF_SHOWN, name, (int64_t)strlen(name)) : "";
}

static char *joined(const char *path, const char *name)
{
    size_t a = strlen(path), b = strlen(name);
    char *text = wf_alloc(a + b + 2);
    if (text) wf_format(text, a + b + 2, "%s%s%s", path, a ? "." : "", name);
    return text;
}

static void module_free(wf_module *m)
{
    while (m->child) {
        wf_module *c = m->child;
        m->child = c->sibling;
        module_free(c);
    }
    while (m->memory) {
        block *b = m->memory;
        m->memory = b->next;
        wf_release(b);
    }
    wf_release(m->name);
    wf_release(m->path);
    wf_release(m->params.at);
    wf_release(m->buffers.at);
    wf_release(m);
}

static void param_free(param *p)
{
    if (!p) return;
    wf_release(p->var.value.data);
    param_grads_free(p);
    wf_release(p->path);
    wf_release(p);
}

void wf_module_free(wf_module *root)
{
    if (!root || root->root != root) return;
    param **params = root->params.at, **buffers = root->buffers.at;
    for (int64_t i = 0; i < root->params.n; i++) param_free(params[i]);
    for (int64_t i = 0; i < root->buffers.n; i++) param_free(buffers[i]);
    paths_free(&root->params_named);
    paths_free(&root->modules_named);
    module_free(root);
}

wf_module *wf_module_new(const char *name, const wf_module_options *options)
{
    wf_module *m = wf_alloc_zero(sizeof *m);
    if (!m) return NULL;
    m->root = m;
    m->name = wf_strdup(name ? name : "model");
    m->path = wf_strdup("");
    if (!m->name || !m->path) {
        module_free(m);
        return NULL;
    }
    if (options) {
        m->seed = options->seed;
        m->dtype = options->dtype;
    }
    if (!wf_dtype_is_float(m->dtype))
        wf_module_fail(m, "module '%s': .dtype is %s; parameters are f32 or f64", m->name,
                       wf_dtype_name(m->dtype));
    return m;
}

wf_module *wf_module_child(wf_module *parent, const char *name)
{
    if (!parent) return NULL;
    wf_module *root = parent->root;
    if (!good_name(name)) {
        char text[WF_SHOWN];
        wf_module_fail(parent,
                       "module '%s': a name without '.', spaces or control characters is needed",
                       shown(name, text));
        return NULL;
    }
    if (paths_find(&root->modules_named, parent->path, name)) {
        wf_module_fail(parent, "module '%s': there is one of this name in '%s' already", name,
                       *parent->path ? parent->path : root->name);
        return NULL;
    }
    wf_module *m = wf_alloc_zero(sizeof *m);
    if (m) {
        m->root = root;
        m->parent = parent;
        m->name = wf_strdup(name);
        m->path = joined(parent->path, name);
    }
    if (!m || !m->name || !m->path || !paths_add(&root->modules_named, m->path, m)) {
        if (m) module_free(m);
        wf_module_fail(parent, "module '%s': out of memory", name);
        return NULL;
    }
    if (parent->last)
        parent->last->sibling = m;
    else
        parent->child = m;
    parent->last = m;
    return root->failed ? NULL : m;
}

void *wf_module_memory(wf_module *module, size_t bytes)
{
    if (!module) return NULL;
    block *b = bytes < SIZE_MAX / 2 ? wf_alloc_zero(WF_ALIGNMENT + bytes) : NULL;
    if (!b) {
        wf_module_fail(module, "module '%s': out of memory for %zu bytes", module->name, bytes);
        return NULL;
    }
    b->next = module->memory;
    module->memory = b;
    return (char *)b + WF_ALIGNMENT;
}

const char *wf_module_name(const wf_module *m)
{
    return m ? m->name : "";
}
const char *wf_module_path(const wf_module *m)
{
    return m ? m->path : "";
}
wf_dtype wf_module_dtype(const wf_module *m)
{
    return m ? m->root->dtype : WF_F32;
}

/* ---- parameters ---- */

/* A parameter or buffer with its memory and initial values that no module knows of yet; NULL after
 * failing the tree. */
static param *param_make(wf_module *module, const char *kind, const char *name, wf_dtype dtype,
                         wf_shape shape, int64_t n, wf_init init)
{
    wf_module *root = module->root;
    param *p = wf_alloc_zero(sizeof *p);
    size_t bytes = (size_t)(n > 0 ? n : 1) * (size_t)wf_dtype_size(dtype);
    if (p) {
        p->module = module;
        p->path = joined(module->path, name);
        p->var.value = wf_tensor_of(dtype, shape, wf_alloc(bytes));
    }
    if (!p || !p->path || !p->var.value.data)
        wf_module_fail(module, "%s '%s': out of memory for %zu bytes", kind, name, bytes);
    else if (!param_fill(&p->var.value, init, wf_key_named(root->seed, p->path)))
        wf_module_fail(module, "%s '%s': out of memory for its initial values", kind, p->path);
    if (root->failed) {
        param_free(p);
        return NULL;
    }
    p->var.root = &p->var;
    p->version = 1;
    return p;
}

static list *list_of(wf_module *m, const param *p)
{
    return p->buffer ? &m->buffers : &m->params;
}

/* Enters p into the lists of its module and of all above it, and under its path; all or none. */
static bool param_enter(param *p)
{
    wf_module *m = p->module;
    for (; m; m = m->parent) {
        param **slot = list_add(list_of(m, p), sizeof *slot);
        if (!slot) break;
        *slot = p;
    }
    if (!m && paths_add(&p->module->root->params_named, p->path, p)) return true;
    for (wf_module *done = p->module; done != m; done = done->parent) list_of(done, p)->n--;
    return wf_module_fail(p->module, "parameter '%s': out of memory", p->path);
}

/* A parameter or a buffer, as `kind` says, whose name and form are judged first. */
static wf_var *var_add(wf_module *module, const char *kind, const char *name, wf_dtype dtype,
                       wf_shape shape, wf_init init, bool buffer)
{
    wf_module *root = module->root;
    wf_error e = { { 0 } };
    if (!good_name(name)) {
        char text[WF_SHOWN];
        wf_module_fail(module,
                       "%s '%s': a name without '.', spaces or control characters is needed", kind,
                       shown(name, text));
        return NULL;
    }
    if ((int)init.kind < WF_INIT_ZERO || init.kind > WF_INIT_IDENTITY) {
        wf_module_fail(module, "%s '%s': there is no kind %d of initial values", kind, name,
                       (int)init.kind);
        return NULL;
    }
    int64_t n = wf_shape_check(&shape, dtype, &e);
    if (n < 0) {
        wf_module_fail(module, "%s '%s': %s", kind, name, e.text);
        return NULL;
    }
    const param *twin = paths_find(&root->params_named, module->path, name);
    if (twin) {
        wf_module_fail(module, "%s '%s': there is one already", kind, twin->path);
        return NULL;
    }
    param *p = param_make(module, kind, name, dtype, shape, n, init);
    if (p) p->buffer = p->frozen = buffer;
    if (p && param_enter(p)) return &p->var;
    param_free(p);
    return NULL;
}

wf_var *wf_param_new(wf_module *module, const char *name, wf_shape shape, wf_init init)
{
    if (!module || module->root->failed) return NULL;
    return var_add(module, "parameter", name, module->root->dtype, shape, init, false);
}

wf_var *wf_buffer_new(wf_module *module, const char *name, wf_dtype dtype, wf_shape shape,
                      double value)
{
    if (!module || module->root->failed) return NULL;
    if (dtype != WF_I32 && dtype != module->root->dtype) {
        wf_module_fail(module, "buffer '%s': it is %s; expected %s, as parameters are, or i32",
                       name ? name : "", wf_dtype_name(dtype), wf_dtype_name(module->root->dtype));
        return NULL;
    }
    if (dtype == WF_I32 &&
        !(value >= INT32_MIN && value <= INT32_MAX && value == (double)(int32_t)value)) {
        wf_module_fail(module, "buffer '%s': %g is no i32", name ? name : "", value);
        return NULL;
    }
    return var_add(module, "buffer", name, dtype, shape,
                   (wf_init){ .kind = WF_INIT_CONSTANT, .a = value }, true);
}

static param *param_of(const wf_var *v)
{
    return v && !v->tape ? (param *)(uintptr_t)v : NULL;
}

const char *wf_param_path(const wf_var *v)
{
    return param_of(v) ? param_of(v)->path : NULL;
}
const wf_tensor *wf_param_value(const wf_var *v)
{
    return param_of(v) ? &v->value : NULL;
}

uint64_t wf_param_key(const wf_var *v)
{
    const param *p = param_of(v);
    return p ? wf_key_named(p->module->root->seed, p->path) : 0;
}

void wf_param_changed(wf_var *v)
{
    if (param_of(v)) param_of(v)->version++;
}

void wf_param_clear_grad(wf_var *v)
{
    if (param_of(v)) param_grad_clear(param_of(v));
}

uint64_t wf_param_grad_version(const wf_var *v)
{
    return param_of(v) ? param_of(v)->grad_version : 0;
}

void wf_param_freeze(wf_var *v, bool frozen)
{
    param *p = param_of(v);
    if (!p || p->buffer) return;
    p->frozen = frozen;
    if (frozen) param_grad_clear(p);
}

bool wf_param_frozen(const wf_var *v)
{
    return param_of(v) && param_of(v)->frozen;
}

uint64_t wf_param_version(const wf_var *v)
{
    return param_of(v) ? param_of(v)->version : 0;
}

void wf_module_freeze(wf_module *m, bool frozen)
{
    param *const *all = m ? m->params.at : NULL;
    for (int64_t i = 0; m && i < m->params.n; i++) wf_param_freeze(&all[i]->var, frozen);
}

/* The byte after the letter that begins at text, which has one. */
static const char *after_letter(const char *text)
{
    do text++;
    while (((unsigned char)*text & 0xC0) == 0x80);
    return text;
}

/* Does the whole text match? On a mismatch only the last star is tried with one letter more: an
 * earlier one has taken as little as it can, and more would help nothing. */
bool wf_path_matches(const char *pattern, const char *text)
{
    if (!pattern || !text) return false;
    const char *star = NULL, *from = NULL;
    while (*text) {
        if (*pattern == '*') {
            star = ++pattern;
            from = text;
        } else if (*pattern == '?') {
            pattern++;
            text = after_letter(text);
        } else if (*pattern == *text) {
            pattern++;
            text++;
        } else if (star) {
            pattern = star;
            text = from = after_letter(from);
        } else {
            return false;
        }
    }
    while (*pattern == '*') pattern++;
    return !*pattern;
}

int64_t wf_module_freeze_named(wf_module *m, const char *pattern, bool frozen)
{
    param *const *all = m ? m->params.at : NULL;
    int64_t found = 0;
    for (int64_t i = 0; m && i < m->params.n; i++) {
        if (!wf_path_matches(pattern, module_param_name(m, &all[i]->var))) continue;
        wf_param_freeze(&all[i]->var, frozen);
        found++;
    }
    return found;
}

void wf_module_clear_grads(wf_module *m)
{
    param *const *all = m ? m->params.at : NULL;
    for (int64_t i = 0; m && i < m->params.n; i++) param_grad_clear(all[i]);
}

int64_t wf_module_param_count(const wf_module *m)
{
    return m ? m->params.n : 0;
}

wf_var *wf_module_param_at(const wf_module *m, int64_t index)
{
    if (!m || index < 0 || index >= m->params.n) return NULL;
    return &((param **)m->params.at)[index]->var;
}

const char *module_param_name(const wf_module *m, const wf_var *v)
{
    const char *path = wf_param_path(v);
    size_t skip = strlen(m->path);
    return path + (skip ? skip + 1 : 0);
}

wf_var *wf_module_param_find(const wf_module *m, const char *path)
{
    param *p = m && path ? paths_find(&m->root->params_named, m->path, path) : NULL;
    return p && !p->buffer ? &p->var : NULL;
}

int64_t wf_module_buffer_count(const wf_module *m)
{
    return m ? m->buffers.n : 0;
}

wf_var *wf_module_buffer_at(const wf_module *m, int64_t index)
{
    if (!m || index < 0 || index >= m->buffers.n) return NULL;
    return &((param **)m->buffers.at)[index]->var;
}

wf_var *wf_module_buffer_find(const wf_module *m, const char *path)
{
    param *p = m && path ? paths_find(&m->root->params_named, m->path, path) : NULL;
    return p && p->buffer ? &p->var : NULL;
}

int64_t module_saved_count(const wf_module *m)
{
    return m->params.n + m->buffers.n;
}

wf_var *module_saved_at(const wf_module *m, int64_t index)
{
    return index < m->params.n ? wf_module_param_at(m, index)
                               : wf_module_buffer_at(m, index - m->params.n);
}

int64_t wf_module_weights(const wf_module *m)
{
    int64_t n = 0;
    for (int64_t i = 0; i < wf_module_param_count(m); i++)
        n += wf_tensor_count(wf_param_value(wf_module_param_at(m, i)));
    return n;
}
