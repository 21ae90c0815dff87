/* Modules in files: every parameter and buffer under its path, loaded all or none. */
#include "autograd/module_private.h"
#include "tensor/runtime.h"
#include "tensor/safetensors_private.h"
#include "tensor/text.h"

#include <string.h>

bool wf_module_to_bundle(const wf_module *module, wf_bundle *bundle, const char *prefix)
{
    wf_error why = { "" };
    if (!wf_module_ok(module, &why)) return wf_bundle_fail(bundle, "%s", why.text);
    for (int64_t i = 0, n = module_saved_count(module); i < n; i++) {
        const wf_var *v = module_saved_at(module, i);
        if (!wf_bundle_addf(bundle, wf_param_value(v), "%s%s", prefix ? prefix : "",
                            module_param_name(module, v)))
            return false;
    }
    return wf_bundle_ok(bundle, NULL);
}

bool wf_module_save(const wf_module *module, const char *path, const wf_meta *meta, int64_t n_meta,
                    wf_error *error)
{
    if (!wf_module_ok(module, error)) return false;
    int64_t n = module_saved_count(module);
    wf_named *all = wf_alloc((size_t)(n > 0 ? n : 1) * sizeof *all);
    if (!all) return wf_error_set(error, "save %s: out of memory", path ? path : "(no path)");
    for (int64_t i = 0; i < n; i++) {
        const wf_var *v = module_saved_at(module, i);
        all[i] = (wf_named){ module_param_name(module, v), *wf_param_value(v) };
    }
    bool ok = wf_safetensors_save(path, all, n, meta, n_meta, error);
    wf_release(all);
    return ok;
}

/* ---- loading: which of the file's tensors is which parameter ---- */

typedef struct loading {
    const wf_module *module;
    const char *name; /* of the file, for sentences */
    const wf_archive *archive;
    const wf_load_options *options;
    wf_error *error;
    int64_t n, n_items;
    wf_var **params;
    const wf_record **from; /* what each is read from, or NULL */
    bool *taken;            /* which items are a parameter's */
    int64_t *by_path;       /* the order of options->names: first those of beginnings */
    int64_t beginnings;
    char *full; /* room for any name of the file that may be asked for */
    size_t room;
} loading;

static const char *path_of(const loading *l, int64_t i)
{
    return module_param_name(l->module, l->params[i]);
}

/* Does this entry rename the beginning of paths ("encoder.", or "" for all)? */
static bool renames_beginning(const wf_load_name *x)
{
    size_t n = strlen(x->path);
    return n == 0 || x->path[n - 1] == '.';
}

static bool less_by_path(const void *context, int64_t a, int64_t b)
{
    const wf_load_name *x = context;
    bool p = renames_beginning(&x[a]), q = renames_beginning(&x[b]);
    int order = p == q ? strcmp(x[a].path, x[b].path) : p ? -1 : 1;
    return order ? order < 0 : a < b;
}

/* The prefix, then `name`, then `rest`, as the file may have it. */
static const wf_record *item_at(const loading *l, const char *name, const char *rest)
{
    wf_format(l->full, l->room, "%s%s%s", l->options->prefix, name, rest);
    return wf_record_find(l->archive, l->full);
}

/* The first of the names that the options list for this very path. */
static int64_t first_listed(const loading *l, const char *path)
{
    int64_t low = l->beginnings, high = l->options->n_names;
    while (low < high) {
        int64_t middle = low + (high - low) / 2;
        if (strcmp(l->options->names[l->by_path[middle]].path, path) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

typedef bool found_fn(loading *l, int64_t which, const wf_record *item);

/* Calls `found` with every tensor that may be this parameter, the likeliest first, until it returns
 * false. */
static bool each_candidate(loading *l, int64_t which, found_fn *found)
{
    const wf_load_options *o = l->options;
    const char *path = path_of(l, which);
    const wf_record *item;
    for (int64_t i = first_listed(l, path); i < o->n_names; i++) {
        const wf_load_name *x = &o->names[l->by_path[i]];
        if (strcmp(x->path, path) != 0) break;
        if ((item = item_at(l, x->name, "")) && !found(l, which, item)) return false;
    }
    for (int64_t i = 0; i < l->beginnings; i++) {
        const wf_load_name *x = &o->names[l->by_path[i]];
        size_t n = strlen(x->path);
        if (strncmp(path, x->path, n) == 0 && (item = item_at(l, x->name, path + n)) &&
            !found(l, which, item))
            return false;
    }
    return !(item = item_at(l, path, "")) || found(l, which, item);
}

static bool take_first(loading *l, int64_t which, const wf_record *item)
{
    l->from[which] = item;
    l->taken[item - l->archive->items] = true;
    return false;
}

/* A second name of the same parameter, unless another one took it: tied weights are often in a file
 * twice. Then they must be equal. */
static bool take_twin(loading *l, int64_t which, const wf_record *item)
{
    const wf_record *first = l->from[which];
    bool *taken = &l->taken[item - l->archive->items];
    if (*taken) return true;
    *taken = true;
    if (first->stored == item->stored && first->entry.n_bytes == item->entry.n_bytes &&
        (item->entry.n_bytes == 0 ||
         memcmp(first->entry.bytes, item->entry.bytes, (size_t)item->entry.n_bytes) == 0))
        return true;
    char a[WF_SHOWN], b[WF_SHOWN];
    return wf_error_set(
        l->error, "load %s: '%s' and '%s' are both '%s' and differ", l->name,
        wf_shown(a, sizeof a, first->entry.name, (int64_t)strlen(first->entry.name)),
        wf_shown(b, sizeof b, item->entry.name, (int64_t)strlen(item->entry.name)),
        path_of(l, which));
}

/* Where a file holds tied weights once, its metadata may say under which name: "removed" : "kept",
 * as safetensors' save_model writes it. */
static void take_tied(loading *l, int64_t which)
{
    wf_format(l->full, l->room, "%s%s", l->options->prefix, path_of(l, which));
    const wf_record *item = wf_record_find(l->archive, wf_archive_meta(l->archive, l->full));
    if (item) take_first(l, which, item);
}

static bool match(loading *l)
{
    for (int64_t i = 0; i < l->n; i++)
        if (each_candidate(l, i, take_first)) take_tied(l, i);
    for (int64_t i = 0; i < l->n; i++)
        if (l->from[i] && !each_candidate(l, i, take_twin)) return false;
    return true;
}

/* ---- what is missing and what is left over ---- */

static bool below_prefix(const loading *l, int64_t item)
{
    const char *prefix = l->options->prefix;
    return strncmp(l->archive->items[item].entry.name, prefix, strlen(prefix)) == 0;
}

/* Counts names and lists the first few: "missing 2 (head.weight, head.bias)". */
typedef struct names {
    int64_t n;
    char text[300];
} names;

static void add_name(names *all, const char *name)
{
    size_t room = sizeof all->text - strlen(all->text);
    char shown[WF_SHOWN]; /* a file's words are not for a terminal as they are */
    wf_shown(shown, sizeof shown, name, (int64_t)strlen(name));
    if (all->n++ == 0)
        wf_format(all->text, sizeof all->text, "%s", shown);
    else if (room > strlen(shown) + 8 && all->n <= 8)
        wf_append(all->text, sizeof all->text, ", %s", shown);
    else if (room > 6 && !strstr(all->text, ", ..."))
        wf_append(all->text, sizeof all->text, ", ...");
}

/* Copies of all the names, one array and its text in one piece of memory. */
static bool list_names(const loading *l, wf_load_report *report)
{
    int64_t n = report->missing + report->unexpected, bytes = n * (int64_t)sizeof(char *);
    if (n == 0) return true;
    for (int pass = 0; pass < 2; pass++) {
        char **at = report->memory, *text = pass ? (char *)(at + n) : NULL;
        int64_t used = 0;
        for (int64_t i = 0; i < l->n + l->n_items; i++) {
            bool is_param = i < l->n;
            if (is_param ? l->from[i] != NULL : l->taken[i - l->n] || !below_prefix(l, i - l->n))
                continue;
            const char *name = is_param ? path_of(l, i) : l->archive->items[i - l->n].entry.name;
            size_t size = strlen(name) + 1;
            if (pass) {
                *at++ = text + used;
                memcpy(text + used, name, size);
            }
            used += (int64_t)size;
        }
        if (pass) break;
        report->memory = wf_alloc((size_t)(bytes + used));
        if (!report->memory)
            return wf_error_set(l->error, "load %s: not enough memory for %lld names", l->name,
                                (long long)n);
    }
    report->missing_names = report->memory;
    report->unexpected_names = report->missing_names + report->missing;
    return true;
}

/* What the names in the file begin with, if the first missing one is there behind something. */
static void hint_prefix(const loading *l, char *text, size_t bytes)
{
    int64_t first = 0;
    while (first < l->n && l->from[first]) first++;
    const char *path = first < l->n ? path_of(l, first) : "";
    size_t n = strlen(path);
    for (int64_t i = 0; n && i < l->n_items; i++) {
        const char *name = l->archive->items[i].entry.name;
        size_t m = strlen(name);
        if (l->taken[i] || m <= n + 1 || strcmp(name + m - n, path) != 0 || name[m - n - 1] != '.')
            continue;
        char shown[WF_SHOWN];
        wf_append(text, bytes,
                  "\n  hint: the file has '%s'; .prefix says what its names begin with",
                  wf_shown(shown, sizeof shown, name, (int64_t)m));
        return;
    }
}

/* Fills the report; refuses what the options do not allow. */
static bool account(const loading *l, wf_load_report *report)
{
    const wf_load_options *o = l->options;
    names missing = { 0 }, unexpected = { 0 };
    for (int64_t i = 0; i < l->n; i++)
        if (!l->from[i]) add_name(&missing, path_of(l, i));
    for (int64_t i = 0; i < l->n_items; i++)
        if (!l->taken[i] && below_prefix(l, i))
            add_name(&unexpected, l->archive->items[i].entry.name);
    report->missing = missing.n;
    report->unexpected = unexpected.n;
    size_t bytes = sizeof report->text;
    if (missing.n)
        wf_format(report->text, bytes, "missing %lld (%s)", (long long)missing.n, missing.text);
    if (unexpected.n)
        wf_append(report->text, bytes, "%sunexpected %lld (%s)", missing.n ? ", " : "",
                  (long long)unexpected.n, unexpected.text);
    if (!list_names(l, report)) return false;
    if ((!missing.n || o->allow_missing) && (!unexpected.n || o->allow_unexpected)) return true;
    char hint[300] = "";
    if (missing.n) hint_prefix(l, hint, sizeof hint);
    return wf_error_set(l->error, "load %s: %s%s", l->name, report->text, hint);
}

/* ---- the numbers ---- */

static bool all_fit(const loading *l)
{
    char why[WF_WHAT], name[WF_SHOWN], dtype[WF_SHOWN];
    for (int64_t i = 0; i < l->n; i++) {
        const wf_record *x = l->from[i];
        if (!x) continue;
        wf_shown(name, sizeof name, x->entry.name, (int64_t)strlen(x->entry.name));
        /* Whole numbers in the place of weights are codes (of quantised ones), not weights. */
        if (wf_stored_is_integer(x->stored) && l->params[i]->value.dtype != WF_I32)
            return wf_error_set(
                l->error, "load %s: '%s' is %s in the file; a parameter is f32 or f64", l->name,
                name,
                wf_shown(dtype, sizeof dtype, x->entry.dtype, (int64_t)strlen(x->entry.dtype)));
        if (!wf_record_fits(x, &l->params[i]->value, "the model", why))
            return wf_error_set(l->error, "load %s: '%s'%s %s", l->name, name,
                                strncmp(why, "element", 7) == 0 ? ":" : "", why);
    }
    return true;
}

static bool check_names(const loading *l)
{
    for (int64_t i = 0; i < l->options->n_names; i++) {
        const wf_load_name *x = &l->options->names[i];
        if (!x->path || !x->name)
            return wf_error_set(l->error, "load %s: %s of names[%lld] is missing (NULL)", l->name,
                                x->path ? "the name" : "the path", (long long)i);
    }
    return true;
}

/* Memory for what is kept about parameters and items, and for the longest name. */
static bool prepare(loading *l)
{
    const wf_load_options *o = l->options;
    size_t longest = 0, path = 0;
    l->n = module_saved_count(l->module);
    l->n_items = l->archive->n_items;
    l->params = wf_alloc((size_t)(l->n + 1) * sizeof *l->params);
    l->from = wf_alloc_zero((size_t)(l->n + 1) * sizeof(const wf_record *));
    l->taken = wf_alloc_zero((size_t)(l->n_items + 1) * sizeof *l->taken);
    if (!l->params || !l->from || !l->taken)
        return wf_error_set(l->error, "load %s: not enough memory for %lld parameters", l->name,
                            (long long)l->n);
    for (int64_t i = 0; i < l->n; i++) {
        l->params[i] = module_saved_at(l->module, i);
        if (strlen(path_of(l, i)) > path) path = strlen(path_of(l, i));
    }
    for (int64_t i = 0; i < o->n_names; i++) {
        if (strlen(o->names[i].name) > longest) longest = strlen(o->names[i].name);
        l->beginnings += renames_beginning(&o->names[i]);
    }
    if (o->n_names > 0 &&
        !(l->by_path = wf_sorted(o->n_names, less_by_path, o->names, "load", l->error)))
        return false;
    l->room = strlen(o->prefix) + longest + path + 1;
    l->full = wf_alloc(l->room);
    return l->full || wf_error_set(l->error, "load %s: not enough memory for a name of %lld bytes",
                                   l->name, (long long)l->room);
}

static bool load(loading *l, wf_load_report *report)
{
    if (!prepare(l) || !match(l) || !account(l, report) || !all_fit(l)) return false;
    for (int64_t i = 0; i < l->n; i++) {
        if (!l->from[i]) continue;
        wf_record_copy(l->from[i], &l->params[i]->value);
        wf_param_changed(l->params[i]);
        report->loaded++;
    }
    return true;
}

bool wf_module_load_archive_with(wf_module *module, const char *name, const wf_archive *archive,
                                 const wf_load_options *options, wf_load_report *report,
                                 wf_error *error)
{
    wf_error_clear(error);
    char shown[WF_WHAT / 2];
    wf_load_options o = options ? *options : (wf_load_options){ 0 };
    wf_load_report mine = { 0 };
    if (!o.prefix) o.prefix = "";
    if (report) *report = mine;
    if (!wf_module_ok(module, error)) return false;
    if (!name) name = "(archive)";
    loading l = { .module = module,
                  .name = wf_shown(shown, sizeof shown, name, (int64_t)strlen(name)),
                  .archive = archive,
                  .options = &o,
                  .error = error };
    if (!archive) return wf_error_set(error, "load %s: there is no archive (NULL)", l.name);
    if (o.n_names < 0 || (o.n_names > 0 && !o.names))
        return wf_error_set(error, "load %s: %lld names were promised and not given", l.name,
                            (long long)o.n_names);
    bool ok = check_names(&l) && load(&l, &mine);
    wf_release(l.full);
    wf_release(l.by_path);
    wf_release(l.taken);
    wf_release(l.from);
    wf_release(l.params);
    if (report)
        *report = mine;
    else
        wf_load_report_free(&mine);
    return ok;
}

void wf_load_report_free(wf_load_report *report)
{
    if (!report) return;
    wf_release(report->memory);
    *report = (wf_load_report){ 0 };
}

bool wf_module_load_archive(wf_module *module, const char *name, const wf_archive *archive,
                            wf_error *error)
{
    return wf_module_load_archive_with(module, name, archive, NULL, NULL, error);
}

bool wf_module_load_with(wf_module *module, const char *path, const wf_load_options *options,
                         wf_load_report *report, wf_error *error)
{
    wf_error_clear(error);
    if (report) *report = (wf_load_report){ 0 };
    if (!wf_module_ok(module, error)) return false;
    wf_archive *archive = wf_safetensors_load(path, error);
    if (!archive) return false;
    const char *slash = strrchr(path, '/');
    bool ok = wf_module_load_archive_with(module, slash ? slash + 1 : path, archive, options,
                                          report, error);
    wf_archive_free(archive);
    return ok;
}

bool wf_module_load(wf_module *module, const char *path, wf_error *error)
{
    return wf_module_load_with(module, path, NULL, NULL, error);
}
