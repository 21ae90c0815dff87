/* Optimisers in files: buffers and counts as tensors under the parameters' paths, rule, rates and
 * options as metadata; loaded all or none. */
#include "optim/private.h"
#include "tensor/runtime.h"
#include "tensor/text.h"
#include "tensor/par.h"

#include <math.h>
#include <stdarg.h>
#include <string.h>

/* ---- saving ---- */

/* A count as two i32, the lower half first: the bytes of an int64. */
static void count_give(int64_t count, int32_t half[2])
{
    uint32_t low = (uint32_t)count, high = (uint32_t)((uint64_t)count >> 32);
    memcpy(&half[0], &low, sizeof low);
    memcpy(&half[1], &high, sizeof high);
}

static void group_to_bundle(const wf_optim *o, int number, wf_bundle *bundle, char *key,
                            size_t bytes, const char *prefix)
{
    const group *g = &o->group[number];
    if (g->pattern) {
        wf_format(key, bytes, "%sgroup%d.pattern", prefix, number);
        wf_bundle_meta(bundle, key, "%s", g->pattern);
    }
    wf_format(key, bytes, "%sgroup%d.lr", prefix, number);
    wf_bundle_meta(bundle, key, "%.17g", g->lr);
    for (const wf_optim_option *p = o->rule.options; p && p->name; p++) {
        wf_format(key, bytes, "%sgroup%d.%s", prefix, number, p->name);
        wf_bundle_meta(bundle, key, "%.17g", optim_option_get(p, g->options));
    }
}

/* Room for the longest key under a prefix; NULL when there is no memory. */
static char *key_new(const wf_optim *o, const char *prefix, size_t *bytes)
{
    size_t longest = 0;
    for (const wf_optim_option *p = o->rule.options; p && p->name; p++)
        if (strlen(p->name) > longest) longest = strlen(p->name);
    *bytes = strlen(prefix) + longest + 64;
    return wf_alloc(*bytes);
}

static int count_options(const wf_optim_rule *rule)
{
    int n = 0;
    while (rule->options && rule->options[n].name) n++;
    return n;
}

bool wf_optim_to_bundle(const wf_optim *o, wf_bundle *bundle, const char *prefix)
{
    wf_error why = { "" };
    if (!o) return wf_bundle_fail(bundle, "optim: it was never made (NULL)");
    if (!wf_module_ok(o->module, &why)) return wf_bundle_fail(bundle, "%s", why.text);
    if (o->rule.options_size > 0 && !o->rule.options)
        return wf_bundle_fail(
            bundle, "%s: its rule does not name its options, so that they cannot be saved",
            o->rule.name);
    if (!prefix) prefix = "";
    size_t bytes;
    char *key = key_new(o, prefix, &bytes);
    if (!key) return wf_bundle_fail(bundle, "%s: out of memory to be saved", o->rule.name);
    wf_format(key, bytes, "%srule", prefix);
    wf_bundle_meta(bundle, key, "%s", o->rule.name);
    wf_format(key, bytes, "%ssteps", prefix);
    wf_bundle_meta(bundle, key, "%lld", (long long)o->steps);
    wf_format(key, bytes, "%sgroups", prefix);
    wf_bundle_meta(bundle, key, "%d", o->groups);
    wf_format(key, bytes, "%soptions", prefix); /* of each group: whether one was lost is seen */
    wf_bundle_meta(bundle, key, "%d", count_options(&o->rule));
    for (int i = 0; i < o->groups; i++) group_to_bundle(o, i, bundle, key, bytes, prefix);
    wf_release(key);
    for (int64_t i = 0; i < o->slots; i++) {
        const slot *s = &o->slot[i];
        int32_t half[2];
        count_give(s->steps, half);
        wf_tensor steps = wf_tensor_of(WF_I32, WF_SHAPE(2), half);
        if (!wf_bundle_copyf(bundle, &steps, "%s%s.step", prefix, s->path)) return false;
        for (int k = 0; k < o->rule.states; k++)
            if (!wf_bundle_addf(bundle, &s->state[k], "%s%s.%s", prefix, s->path,
                                o->rule.state_names[k]))
                return false;
    }
    return wf_bundle_ok(bundle, NULL);
}

bool wf_optim_save(const wf_optim *o, const char *path, wf_error *error)
{
    wf_bundle *bundle = wf_bundle_new();
    wf_optim_to_bundle(o, bundle, NULL);
    bool ok = wf_bundle_save(bundle, path, error); /* says what went wrong before, too */
    wf_bundle_free(bundle);
    return ok;
}

/* ---- loading ---- */

typedef struct loading {
    wf_optim *o;
    const wf_archive *archive;
    const char *name, *prefix;
    wf_error *error;
    char *key; /* of key_bytes */
    size_t key_bytes;
    double *lr;              /* one per group */
    char *options;           /* of each group, side by side */
    const wf_tensor **found; /* of each parameter: its buffers, then its count */
    int64_t steps, options_saved; /* of each group; -1: the file is older than their count */
} loading;

/* Fails with one sentence. A file's words are not for a terminal as they are. */
static bool say(const loading *l, const char *format, ...) WF_PRINTF(2, 3);
static bool say(const loading *l, const char *format, ...)
{
    char text[900];
    va_list values;
    va_start(values, format);
    wf_vformat(text, sizeof text, format, values);
    va_end(values);
    for (char *c = text; *c; c++)
        if ((unsigned char)*c < ' ' || *c == 0x7F) *c = '?';
    return wf_error_set(l->error, "load %s: %s", l->name, text);
}

static const char *meta(const loading *l, const char *key)
{
    wf_format(l->key, l->key_bytes, "%s%s", l->prefix, key);
    return wf_archive_meta(l->archive, l->key);
}

/* Is it an optimiser of the same rule, with the same groups? */
static bool same_kind(loading *l)
{
    const wf_optim *o = l->o;
    int64_t groups;
    const char *rule = meta(l, "rule");
    if (!rule) return say(l, "it holds no optimiser%s%s", *l->prefix ? " under " : "", l->prefix);
    if (strcmp(rule, o->rule.name) != 0)
        return say(l, "the optimiser is '%s' in the file and '%s' here", rule, o->rule.name);
    meta(l, "steps");
    if (!wf_archive_meta_integer(l->archive, l->key, &l->steps) || l->steps < 0)
        return say(l, "'%s' is no count in the file", l->key);
    meta(l, "groups");
    if (!wf_archive_meta_integer(l->archive, l->key, &groups) || groups < 1)
        return say(l, "'%s' is no count in the file", l->key);
    if (groups != o->groups)
        return say(l, "the optimiser has %lld groups in the file and %d here", (long long)groups,
                   o->groups);
    l->options_saved = -1;
    if (meta(l, "options") &&
        (!wf_archive_meta_integer(l->archive, l->key, &l->options_saved) || l->options_saved < 0))
        return say(l, "'%s' is no count in the file", l->key);
    for (int i = 1; i < o->groups; i++) {
        wf_format(l->key, l->key_bytes, "%sgroup%d.pattern", l->prefix, i);
        const char *pattern = wf_archive_meta(l->archive, l->key);
        if (!pattern || strcmp(pattern, o->group[i].pattern) != 0)
            return say(l, "group %d is '%s' in the file and '%s' here", i, pattern ? pattern : "",
                       o->group[i].pattern);
    }
    return true;
}

/* The entry of an option in the file; NULL: there is none. Leaves its key. */
static const char *option_meta(const loading *l, int number, const wf_optim_option *option)
{
    wf_format(l->key, l->key_bytes, "%sgroup%d.%s", l->prefix, number, option->name);
    return wf_archive_meta(l->archive, l->key);
}

/* Has the file all options of a group that it was saved with? A flag that it never had is one that
 * the rule did not have yet, and off. */
static bool options_are_whole(const loading *l, int number)
{
    const wf_optim_option *lost = NULL;
    int64_t found = 0;
    for (const wf_optim_option *p = l->o->rule.options; p && p->name; p++)
        if (option_meta(l, number, p)) found++;
        else if (!lost || !p->flag) lost = p;
    if (!lost || (lost->flag && found >= l->options_saved)) return true;
    option_meta(l, number, lost);
    return say(l, "'%s' is missing in the file", l->key);
}

/* Reads and checks the options of all groups. */
static bool read_options(loading *l)
{
    const wf_optim *o = l->o;
    size_t size = o->rule.options_size;
    for (int i = 0; i < o->groups; i++) {
        char *options = l->options + (size_t)i * size;
        if (size) memcpy(options, o->group[i].options, size);
        wf_format(l->key, l->key_bytes, "%sgroup%d.lr", l->prefix, i);
        if (!wf_archive_meta_number(l->archive, l->key, &l->lr[i]) || !optim_is_rate(l->lr[i]))
            return say(l, "'%s' is no learning rate in the file", l->key);
        if (!options_are_whole(l, i)) return false;
        for (const wf_optim_option *p = o->rule.options; p && p->name; p++) {
            double value = 0;
            if ((option_meta(l, i, p) && !wf_archive_meta_number(l->archive, l->key, &value)) ||
                (p->flag && value != 0 && value != 1))
                return say(l, "'%s' is no %s in the file", l->key, p->flag ? "flag" : "number");
            optim_option_set(p, options, value);
        }
        wf_error why = { "" };
        if (!optim_options_check(&o->rule, options, &why)) return say(l, "%s", why.text);
    }
    return true;
}

/* Counts names and lists the first few: "missing 2 (p.step, p.exp_avg)". */
enum { LISTED = 8 };
typedef struct names {
    int64_t n;
    char text[320];
} names;

static void add_name(names *all, const char *name)
{
    if (all->n == LISTED) wf_append(all->text, sizeof all->text, ", ...");
    if (all->n++ >= LISTED) return;
    wf_append(all->text, sizeof all->text - 8, "%s%.100s", all->n > 1 ? ", " : "", name);
}

static const char *state_name(const wf_optim *o, int k)
{
    return k < o->rule.states ? o->rule.state_names[k] : "step";
}

/* Is the name one of ours? Files are mostly in the order of the parameters: the search goes on
 * where the last one ended. */
static bool is_ours(const wf_optim *o, const char *name, int64_t *from)
{
    const char *dot = strrchr(name, '.');
    bool known = false;
    for (int k = 0; dot && !known && k <= o->rule.states; k++)
        known = !strcmp(dot + 1, state_name(o, k));
    for (int64_t i = 0; known && i < o->slots; i++) {
        int64_t at = (*from + i) % o->slots;
        const char *path = o->slot[at].path;
        if (strncmp(path, name, (size_t)(dot - name)) || path[dot - name]) continue;
        *from = at;
        return true;
    }
    return false;
}

/* Are all names there that should be, and no others? What is unexpected is counted first and
 * looked for only as long as there is some left to name. */
static bool same_names(const loading *l)
{
    const wf_optim *o = l->o;
    names missing = { 0 }, unexpected = { 0 };
    size_t skip = strlen(l->prefix);
    int64_t here = 0, from = 0;
    for (int64_t i = 0; i < o->slots; i++)
        for (int k = 0; k <= o->rule.states; k++) {
            const wf_tensor **at = &l->found[i * (o->rule.states + 1) + k];
            *at = wf_archive_findf(l->archive, "%s%s.%s", l->prefix, o->slot[i].path,
                                   state_name(o, k));
            here += *at != NULL;
            if (*at) continue;
            char name[128];
            wf_format(name, sizeof name, "%s%s.%s", l->prefix, o->slot[i].path, state_name(o, k));
            add_name(&missing, name);
        }
    int64_t n = wf_archive_count(l->archive), others = -here;
    for (int64_t i = 0; i < n; i++)
        others += !strncmp(wf_archive_at(l->archive, i)->name, l->prefix, skip);
    for (int64_t i = 0; i < n && unexpected.n < others && unexpected.n <= LISTED; i++) {
        const char *name = wf_archive_at(l->archive, i)->name;
        if (!strncmp(name, l->prefix, skip) && !is_ours(o, name + skip, &from))
            add_name(&unexpected, name);
    }
    if (!missing.n && !others) return true;
    char text[800] = "";
    if (missing.n)
        wf_append(text, sizeof text, "missing %lld (%s)%s", (long long)missing.n, missing.text,
                  others ? ", " : "");
    if (others)
        wf_append(text, sizeof text, "unexpected %lld (%s)", (long long)others, unexpected.text);
    return say(l, "%s", text);
}

/* The count in a tensor of a file; -1: it holds none. */
static int64_t count_take(const wf_tensor *x)
{
    if (x->dtype != WF_I32 || x->rank != 1 || x->dim[0] != 2) return -1;
    uint32_t half[2];
    for (int i = 0; i < 2; i++) half[i] = (uint32_t)(int32_t)wf_tensor_at(x, i);
    return half[1] >> 31 ? -1 : (int64_t)((uint64_t)half[1] << 32 | half[0]);
}

/* Can a buffer take what the file has for it? */
static bool state_fits(const loading *l, const slot *s, int k, const wf_tensor *from)
{
    const char *state = l->o->rule.state_names[k];
    const wf_tensor *to = &s->state[k];
    wf_shape a = wf_tensor_shape(from), b = wf_tensor_shape(to);
    char ta[128], tb[128];
    if (!wf_shape_equal(&a, &b))
        return say(l, "'%s%s.%s' is %s in the file and %s here", l->prefix, s->path, state,
                   wf_shape_text(ta, sizeof ta, a.rank, a.dim),
                   wf_shape_text(tb, sizeof tb, b.rank, b.dim));
    if (from->dtype == WF_I32)
        return say(l, "'%s%s.%s' is i32 in the file; a buffer is f32 or f64", l->prefix, s->path,
                   state);
    for (int64_t i = 0; from->dtype != to->dtype && i < s->count; i++) {
        double x = wf_tensor_at(from, i);
        if (isfinite(x) && !isfinite(wf_dtype_round(to->dtype, x)))
            return say(l, "'%s%s.%s' holds %g in the file, more than %s can hold", l->prefix,
                       s->path, state, x, wf_dtype_name(to->dtype));
    }
    return true;
}

static bool all_fit(const loading *l)
{
    const wf_tensor **from = l->found;
    int states = l->o->rule.states;
    for (int64_t i = 0; i < l->o->slots; i++, from += states + 1) {
        const slot *s = &l->o->slot[i];
        if (count_take(from[states]) < 0)
            return say(l, "'%s%s.step' is no count in the file", l->prefix, s->path);
        for (int k = 0; k < states; k++)
            if (!state_fits(l, s, k, from[k])) return false;
    }
    return true;
}

/* From here on nothing fails. */
static void take_all(const loading *l)
{
    wf_optim *o = l->o;
    size_t size = o->rule.options_size;
    o->steps = l->steps;
    for (int i = 0; i < o->groups; i++) {
        o->group[i].lr = l->lr[i];
        if (size) memcpy(o->group[i].options, l->options + (size_t)i * size, size);
    }
    const wf_tensor **from = l->found;
    int states = o->rule.states;
    for (int64_t i = 0; i < o->slots; i++, from += states + 1) {
        slot *s = &o->slot[i];
        s->steps = count_take(from[states]);
        for (int k = 0; k < states; k++) wf_tensor_copy(from[k], &s->state[k]);
    }
}

bool wf_optim_load_archive(wf_optim *o, const char *name, const wf_archive *archive,
                           const char *prefix, wf_error *error)
{
    WF_FP_SCOPE uint32_t fp = wf_fp_enter_exact();
    loading l = { .o = o, .archive = archive, .error = error };
    l.name = name ? name : "(archive)";
    l.prefix = prefix ? prefix : "";
    wf_error_clear(error);
    if (!o) return wf_error_set(error, "optim: it was never made (NULL)");
    if (!wf_module_ok(o->module, error)) return false;
    if (!archive) return say(&l, "there is no archive (NULL)");
    l.key = key_new(o, l.prefix, &l.key_bytes);
    l.lr = wf_alloc((size_t)o->groups * sizeof *l.lr);
    l.options = wf_alloc((size_t)o->groups * o->rule.options_size);
    l.found = wf_alloc((size_t)o->slots * (size_t)(o->rule.states + 1) * sizeof *l.found);
    bool ok = l.key && l.lr && l.found && (l.options || o->rule.options_size == 0);
    if (!ok) say(&l, "out of memory");
    ok = ok && same_kind(&l) && read_options(&l) && same_names(&l) && all_fit(&l);
    if (ok) take_all(&l);
    wf_release(l.key);
    wf_release(l.lr);
    wf_release(l.options);
    wf_release(l.found);
    return ok;
}

bool wf_optim_load(wf_optim *o, const char *path, wf_error *error)
{
    wf_error_clear(error);
    if (!o) return wf_error_set(error, "optim: it was never made (NULL)");
    wf_archive *archive = wf_safetensors_load(path, error);
    if (!archive) return false;
    const char *slash = strrchr(path, '/');
    bool ok = wf_optim_load_archive(o, slash ? slash + 1 : path, archive, NULL, error);
    wf_archive_free(archive);
    return ok;
}
