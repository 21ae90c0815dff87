/* The tape's life: making, resetting, failing, values that enter, parameters on it. */
#include "autograd/memory_private.h"
#include "autograd/ops_private.h"
#include "autograd/param_grad_private.h"
#include "autograd/state_private.h"
#include "autograd/trace_private.h"
#include "autograd/var_private.h"
#include "tensor/rng.h"
#include "tensor/runtime.h"
#include "tensor/size.h"
#include "tensor/text.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <string.h>

enum { SCOPES_SHOWN = 32 };

void epoch_begin(wf_tape *t)
{
    static _Atomic uint64_t counter = 1;
    t->epoch = atomic_fetch_add_explicit(&counter, 1, memory_order_relaxed);
}

/* Everything of before is stale from here on. */
static void generation_begin(wf_tape *t)
{
    epoch_begin(t);
    t->generation = t->fresh = t->epoch;
    t->gone.n = 0;
}

wf_tape *wf_tape_new(const wf_tape_options *options)
{
    wf_tape *t = wf_alloc_zero(sizeof *t);
    if (!t) {
        wf_error e = { { 0 } };
        wf_error_set(&e, "tape: out of memory for %zu bytes", sizeof *t);
        wf_log_line("%s", e.text);
        return NULL;
    }
    static const wf_tape_options none = { .mode = WF_TRAIN };
    if (!options) options = &none;
    t->mode = options->mode;
    int most = wf_threads();
    t->threads = options->threads < 1 || options->threads > most ? most : options->threads;
    t->seed = options->seed;
    t->defer_commit = options->defer_commit;
    t->rehearsal = options->rehearsal;
    generation_begin(t);
    return t;
}

/* Is this a call that a callback of the tape's makes? Its frame lies deeper. After a longjmp out of
 * a callback it mostly does not, and a reset clears what was left. */
static bool called_back(const wf_tape *t)
{
    return (uintptr_t)__builtin_frame_address(0) < t->frame;
}

void wf_tape_free(wf_tape *t)
{
    if (!t) return;
    if (called_back(t)) {
        wf_log_line("tape: freed from within a function that it calls; it was left as it is");
        return;
    }
    tape_give_back(t);
    imports_cut(t, 0);
    arena_free(&t->values);
    arena_free(&t->grads.arena);
    wf_release(t->imports.at);
    wf_release(t->slots.at);
    wf_release(t->kept.at);
    wf_release(t->hooks.at);
    wf_release(t->marks.at);
    wf_release(t->gone.at);
    wf_release(t);
}

void wf_tape_reset(wf_tape *t)
{
    if (!t) return;
    tape_give_back(t);
    imports_cut(t, 0);
    arena_reset(&t->values);
    pool_reset(&t->grads);
    t->kept.n = t->hooks.n = t->marks.n = 0;
    t->first = t->last = NULL;
    t->nodes = t->hooked = 0;
    t->where = NULL;
    t->failed = false;
    t->error.text[0] = '\0';
    t->random_ops = 0;
    t->sweeping = NULL;
    t->tracing = NULL;
    t->replaying = NULL;
    t->looping = 0;
    t->explaining = NULL;
    t->sweeps = 0;
    t->frame = 0;
    t->step++;
    generation_begin(t);
}

wf_mode wf_tape_mode(const wf_tape *t)
{
    return t ? t->mode : WF_INFER;
}

void wf_tape_set_mode(wf_tape *t, wf_mode mode)
{
    if (t) t->mode = mode;
}

int wf_tape_threads(const wf_tape *t)
{
    return t ? t->threads : 1;
}
uint64_t wf_tape_step(const wf_tape *t)
{
    return t ? t->step : 0;
}

void wf_tape_set_step(wf_tape *t, uint64_t step)
{
    if (t) t->step = step;
}

uint64_t wf_tape_key(wf_tape *t)
{
    if (!wf_tape_ok(t)) return 0;
    if (t->tracing) {
        wf_fail(t, "key: a step is being recorded, which draws when it runs");
        return 0;
    }
    /* No op has this key: theirs is the inner one, with another counter each. */
    return wf_key_with(wf_key_with(t->seed, t->step), t->random_ops++);
}

uint64_t wf_tape_generation(const wf_tape *t)
{
    return t ? t->generation : 0;
}
int64_t wf_tape_bytes(const wf_tape *t)
{
    return t ? arena_used(&t->values) : 0;
}
int64_t wf_tape_grad_bytes(const wf_tape *t)
{
    return t ? arena_used(&t->grads.arena) : 0;
}
int64_t wf_tape_nodes(const wf_tape *t)
{
    return t ? t->nodes : 0;
}

void *list_add(list *l, size_t item)
{
    if (l->n == l->room) {
        int64_t room = l->room ? 2 * l->room : 64;
        char *more = wf_alloc((size_t)room * item);
        if (!more) return NULL;
        if (l->n) memcpy(more, l->at, (size_t)l->n * item);
        wf_release(l->at);
        l->at = more;
        l->room = room;
    }
    return (char *)l->at + (size_t)l->n++ * item;
}

/* ---- errors ---- */

bool wf_tape_ok(const wf_tape *t)
{
    return t && !t->failed;
}
const char *wf_tape_error(const wf_tape *t)
{
    return t ? t->error.text : "no tape";
}

bool call_survived(wf_tape *t, uint64_t epoch, const char *what)
{
    if (epoch_good(t, epoch)) return true;
    wf_fail(t, "%s: the tape was reset or rewound while it ran", what);
    return false;
}

/* "  in translate > decoder": outermost first, of at most `most` scopes. */
static void write_scopes(const scope *s, int most, char *text, size_t bytes)
{
    bool outer = s->outer && most > 1; /* pushes without pops must not exhaust the stack */
    if (outer) write_scopes(s->outer, most - 1, text, bytes);
    wf_append(text, bytes, "%s%s", outer ? " > " : "\n  in ", s->name);
}

wf_var *wf_fail(wf_tape *t, const char *format, ...)
{
    if (!t || t->failed) return NULL;
    if (t->tracing && t->tracing->quiet) {
        t->failed = true;
        return NULL;
    }
    if (!format) format = "tape: failed without a sentence";
    char text[sizeof t->error.text];
    va_list values;
    va_start(values, format);
    wf_vformat(text, sizeof text, format, values);
    va_end(values);
    if (t->where) {
        /* The place goes before a hint, which is the message's last line. */
        char hint[512] = "";
        char *at = strstr(text, "\n  hint:");
        if (at) {
            wf_format(hint, sizeof hint, "%s", at);
            *at = '\0';
        }
        write_scopes(t->where, SCOPES_SHOWN, text, sizeof text);
        wf_append(text, sizeof text, "%s", hint);
    }
    t->failed = true;
    wf_error_set(&t->error, "%s", text);
    WF_CALLING calling before = call_begin(t);
    wf_log_line("%s", text);
    return NULL;
}

void tape_fail_oom(wf_tape *t, const char *who, int64_t bytes)
{
    char hint[160] = "";
    int64_t held = arena_used(&t->values);
    for (trace *r = t->tracing; r; r = r->outer) r->quiet = false; /* of this all is said */
    /* What a forgotten reset looks like: nothing else makes a tape grow from step to step. */
    if (t->sweeps > 1)
        wf_format(hint, sizeof hint,
                  "\n  hint: since the last wf_tape_reset there were %lld backward passes",
                  (long long)t->sweeps);
    else if (t->mode == WF_INFER && held >= 1 << 20)
        wf_format(hint, sizeof hint, "\n  hint: %lld bytes are held until the next wf_tape_reset",
                  (long long)held);
    wf_fail(t, "%s: out of memory for %lld bytes%s", who, (long long)bytes, hint);
}

void wf_scope_push(wf_tape *t, const char *name)
{
    if (!t || t->failed) return;
    if (!name) name = "(unnamed)";
    size_t bytes = strlen(name) + 1;
    scope *s = tape_take(t, name, (int64_t)(sizeof *s + bytes));
    if (!s) return;
    char *copy = (char *)(s + 1);
    memcpy(copy, name, bytes);
    *s = (scope){ .outer = t->where, .name = copy };
    t->where = s;
}

void wf_scope_pop(wf_tape *t)
{
    if (t && !t->failed && t->where) t->where = t->where->outer;
}

/* ---- vars ---- */

bool tensor_settle(wf_tensor *x, int64_t *bytes)
{
    return (unsigned)x->dtype < WF_DTYPES && x->rank >= 0 && x->rank <= WF_RANK &&
           form_settle(x, bytes);
}

bool var_too_large(wf_tape *t, const wf_var *v, const char *who)
{
    char text[256];
    wf_fail(t, "%s: the result %s is more than memory can hold", who,
            wf_shape_text(text, sizeof text, v->value.rank, v->value.dim));
    return false;
}

/* Makes *v, whose form is set, a root on the tape, and gives it memory unless it has some. */
static bool var_begin(wf_tape *t, wf_var *v, const char *who)
{
    var_root(t, v);
    if (v->value.data) {
        v->bytes = wf_tensor_count(&v->value) * wf_dtype_size(v->value.dtype);
        return true;
    }
    return tensor_settle(&v->value, &v->bytes) ? var_memory(t, v, who) : var_too_large(t, v, who);
}

wf_var *var_new(wf_tape *t, const char *who, const wf_tensor *value)
{
    wf_var *v = tape_take(t, who, sizeof *v);
    if (!v) return NULL;
    v->value = *value;
    return var_begin(t, v, who) ? v : NULL;
}

wf_var *view_new(wf_tape *t, wf_var *x, const wf_tensor *as)
{
    wf_var *v = var_new(t, "view", as);
    if (!v) return NULL;
    v->root = x->root;
    v->producer = x->producer;
    v->flags = x->flags & VAR_WANTS_GRAD;
    return !t->tracing || trace_view(t, v) ? v : NULL;
}

wf_var *enter_values(wf_tape *t, const char *who, wf_dtype dtype, wf_shape shape,
                     const wf_tensor *from, const void *data, bool differentiable)
{
    if (!t || t->failed) return NULL;
    wf_error e = { { 0 } };
    if (!wf_dtype_size(dtype)) return wf_fail(t, "%s: there is no dtype %d", who, (int)dtype);
    if (wf_shape_check(&shape, dtype, &e) < 0) return wf_fail(t, "%s: %s", who, e.text);
    wf_tensor form = { .dtype = dtype, .rank = shape.rank };
    memcpy(form.dim, shape.dim, sizeof form.dim);
    wf_var *v = var_new(t, who, &form);
    if (!v) return NULL;
    size_t bytes = (size_t)(wf_tensor_count(&v->value) * wf_dtype_size(dtype));
    if (from)
        wf_tensor_copy(from, &v->value);
    else if (data)
        memcpy(v->value.data, data, bytes);
    else
        memset(v->value.data, 0, bytes);
    if (differentiable && dtype != WF_I32 && t->mode != WF_INFER) v->flags |= VAR_WANTS_GRAD;
    return v;
}

wf_var *wf_leaf(wf_tape *t, wf_dtype dtype, wf_shape shape, const void *data)
{
    return enter_values(t, "leaf", dtype, shape, NULL, data, true);
}

wf_var *wf_constant(wf_tape *t, wf_dtype dtype, wf_shape shape, const void *data)
{
    return enter_values(t, "constant", dtype, shape, NULL, data, false);
}

static wf_var *enter_tensor(wf_tape *t, const char *who, const wf_tensor *x, bool differentiable)
{
    if (!t || t->failed) return NULL;
    if (!x || !x->data) return wf_fail(t, "%s: the tensor was never made (NULL)", who);
    if (x->rank < 0 || x->rank > WF_RANK)
        return wf_fail(t, "%s: shape: rank is %d; expected 0 to %d", who, (int)x->rank, WF_RANK);
    return enter_values(t, who, x->dtype, wf_tensor_shape(x), x, NULL, differentiable);
}

wf_var *wf_leaf_tensor(wf_tape *t, const wf_tensor *x)
{
    return enter_tensor(t, "leaf", x, true);
}

wf_var *wf_constant_tensor(wf_tape *t, const wf_tensor *x)
{
    return enter_tensor(t, "constant", x, false);
}

wf_var *wf_zeros(wf_tape *t, wf_dtype dtype, wf_shape shape)
{
    return enter_values(t, "zeros", dtype, shape, NULL, NULL, false);
}

wf_var *wf_full(wf_tape *t, wf_dtype dtype, wf_shape shape, double value)
{
    wf_var *v = enter_values(t, "full", dtype, shape, NULL, NULL, false);
    if (v && value != 0.0) wf_tensor_fill(&v->value, value);
    return v;
}

void *wf_tape_memory(wf_tape *t, size_t bytes)
{
    if (!t || t->failed) return NULL;
    void *memory = bytes < INT64_MAX / 2
                       ? arena_take(&t->values, (int64_t)bytes + (bytes == 0), WF_ALIGNMENT)
                       : NULL;
    if (!memory) return wf_fail(t, "tape_memory: out of memory for %zu bytes", bytes);
    return memset(memory, 0, bytes);
}

/* The same numbers row-major under a root of their own, sharing memory where they are row-major
 * already. */
static wf_var *rooted(wf_tape *t, const char *who, const wf_var *x)
{
    if (x->flags & VAR_TRACED)
        return wf_fail(t, "%s: the value is not there: a step is being recorded", who);
    wf_tensor form = x->value;
    bool share = wf_tensor_is_contiguous(&form);
    int64_t bytes;
    if (!share)
        form.data = NULL;
    else
        tensor_settle(&form, &bytes); /* strides of sizes 1 and 0 may be anything */
    wf_var *v = var_new(t, who, &form);
    if (v && !share) wf_tensor_copy(&x->value, &v->value);
    return v;
}

wf_var *wf_detach(wf_tape *t, wf_var *x)
{
    if (!t || t->failed) return NULL;
    x = var_enter(t, x, "detach", 0);
    if (!x) return NULL;
    /* A step that is recorded and the same one that then runs are made of the same ops. */
    return t->tracing || t->replaying ? detach_applied(t, x) : rooted(t, "detach", x);
}

wf_var *alias_new(wf_tape *t, wf_var *x)
{
    wf_var *v = rooted(t, "alias", x);
    if (!v) return NULL;
    if (!(x->flags & VAR_WANTS_GRAD)) return v;
    return node_record(t, &op_alias, 1, &x, v, NULL) ? v : NULL;
}

/* ---- parameters on a tape ---- */

static uint64_t param_hash(const param *p)
{
    return ((uint64_t)(uintptr_t)p >> 6) * UINT64_C(0x9E3779B97F4A7C15) >> 20;
}

/* The place of a parameter in the hash, or the free one where it would be. */
static int32_t *slot_of(const wf_tape *t, const param *p)
{
    int32_t *slot = t->slots.at;
    const import *all = t->imports.at;
    uint64_t mask = (uint64_t)t->slots.n - 1, at = param_hash(p) & mask;
    while (slot[at] && all[slot[at] - 1].param != p) at = (at + 1) & mask;
    return &slot[at];
}

static import *import_find(wf_tape *t, const param *p)
{
    const int32_t at = t->slots.n ? *slot_of(t, p) : 0;
    return at ? (import *)t->imports.at + at - 1 : NULL;
}

/* Builds the hash anew over the imports there are, with room for `room` slots at least. */
static bool imports_rehash(wf_tape *t, int64_t room)
{
    if (room > t->slots.room) {
        int32_t *more = wf_alloc((size_t)room * sizeof *more);
        if (!more) return false;
        wf_release(t->slots.at);
        t->slots.at = more;
        t->slots.n = t->slots.room = room;
    }
    memset(t->slots.at, 0, (size_t)t->slots.n * sizeof(int32_t));
    const import *all = t->imports.at;
    for (int64_t i = 0; i < t->imports.n; i++) *slot_of(t, all[i].param) = (int32_t)i + 1;
    return true;
}

void imports_cut(wf_tape *t, int64_t n)
{
    if (t->imports.n == n) return;
    /* What is not committed may be a model's that is gone: it is freed, not given back. */
    import *all = t->imports.at;
    for (int64_t i = n; i < t->imports.n; i++) {
        param_grad_free(all[i].pending);
        if (!all[i].bound) param_grad_free(((imported *)all[i].var)->swept);
    }
    t->imports.n = n;
    imports_rehash(t, t->slots.n);
}

static import *import_add(wf_tape *t, param *p, wf_var *var, bool bound)
{
    if (2 * (t->imports.n + 1) > t->slots.n &&
        !imports_rehash(t, t->slots.n ? 2 * t->slots.n : 64)) {
        tape_fail_oom(t, "import", 2 * t->slots.n * (int64_t)sizeof(int32_t));
        return NULL;
    }
    import *i = tape_list_add(t, "import", &t->imports, sizeof *i);
    if (!i) return NULL;
    *i = (import){
        .param = p, .var = var, .bound = bound, .frozen = p->frozen, .version = p->version
    };
    *slot_of(t, p) = (int32_t)t->imports.n;
    return i;
}

static wf_var *import_param(wf_tape *t, param *p)
{
    import *found = import_find(t, p);
    if (found) {
        /* It may have been imported in infer mode, and the mode set since. */
        if (!found->bound && !found->frozen && t->mode != WF_INFER)
            found->var->flags |= VAR_WANTS_GRAD;
        return found->var;
    }
    imported *of = tape_take(t, "import", sizeof *of);
    if (!of) return NULL;
    *of = (imported){ .var = { .value = p->var.value }, .param = p };
    wf_var *v = &of->var;
    var_begin(t, v, "import");
    v->flags |= VAR_IMPORT;
    if (t->mode != WF_INFER && !p->frozen) v->flags |= VAR_WANTS_GRAD;
    return import_add(t, p, v, false) ? v : NULL;
}

/* Why x may not be used on this tape; NULL if it may. */
static const char *refusal(const wf_tape *t, const wf_var *x)
{
    if (!x) return "was never made (NULL)";
    if (!x->tape) return x->root == x ? NULL : "is no var of this tape";
    if (x->tape != t) return "belongs to another tape";
    if (x->epoch < t->generation) return "was made before the tape was reset";
    return epoch_good(t, x->epoch) ? NULL : "was made after a mark that the tape was rewound to";
}

/* What is used of x on this tape, which refused nothing: what stands for a parameter, and for what
 * a loop's step is closed over while it is recorded on other vars. */
static wf_var *stands_for(wf_tape *t, wf_var *x)
{
    const stand_ins *s = t->stand_ins;
    if (!x->tape) x = import_param(t, (param *)x);
    for (int32_t i = 0; s && x && i < s->n; i++) {
        if (x->root != s->root[i]) continue;
        return x == x->root ? s->var[i] : view_new(t, s->var[i], &x->value);
    }
    return x;
}

wf_var *var_enter(wf_tape *t, wf_var *x, const char *who, int position)
{
    const char *why = refusal(t, x);
    if (why) return wf_fail(t, "%s: input %d %s", who, position, why);
    return stands_for(t, x);
}

wf_var *wf_enter(wf_tape *t, wf_var *x, const char *what, ...)
{
    if (!wf_tape_ok(t)) return NULL;
    const char *why = refusal(t, x);
    if (!why) return stands_for(t, x);
    char text[sizeof t->error.text / 2];
    va_list values;
    va_start(values, what);
    wf_vformat(text, sizeof text, what ? what : "enter: x", values);
    va_end(values);
    return wf_fail(t, "%s %s", text, why);
}

bool wf_tape_bind(wf_tape *t, wf_var *parameter, wf_var *var)
{
    if (!wf_tape_ok(t)) return false;
    if (!parameter || parameter->tape) {
        wf_fail(t, "bind: the first var must be a parameter");
        return false;
    }
    var = wf_enter(t, var, "bind: the second var");
    if (!var) return false;
    param *p = (param *)parameter;
    wf_shape a = wf_tensor_shape(&p->var.value), b = wf_tensor_shape(&var->value);
    if (!wf_shape_equal(&a, &b) || var->value.dtype == WF_I32) {
        char ta[128], tb[128];
        wf_fail(t, "bind: '%s' is %s %s; the var is %s %s", p->path,
                wf_dtype_name(p->var.value.dtype), wf_shape_text(ta, sizeof ta, a.rank, a.dim),
                wf_dtype_name(var->value.dtype), wf_shape_text(tb, sizeof tb, b.rank, b.dim));
        return false;
    }
    if (import_find(t, p)) {
        wf_fail(t, "bind: '%s' was used on this tape already", p->path);
        return false;
    }
    return import_add(t, p, var, true) != NULL;
}

bool wf_tape_on_commit(wf_tape *t, void (*fn)(void *context), void *context)
{
    if (!wf_tape_ok(t)) return false;
    if (!fn) {
        wf_fail(t, "on_commit: there is no function to call (NULL)");
        return false;
    }
    if (t->tracing) {
        wf_fail(t, "on_commit: a step is being recorded, and nothing is computed");
        return false;
    }
    if (t->mode != WF_TRAIN && !t->rehearsal) {
        fn(context);
        return true;
    }
    /* On a rehearsal nothing is committed; that it waits tells wf_tape_rewind what it would
     * undo. */
    hook *h = tape_list_add(t, "on_commit", &t->hooks, sizeof *h);
    if (!h) return false;
    *h = (hook){ fn, context };
    t->hooked++;
    return true;
}
