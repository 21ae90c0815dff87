/* Modules in files: every parameter under its path, loaded all or none. */
#include "autograd/private.h"
#include "tensor/io_private.h"
#include "tensor/runtime.h"
#include "tensor/text.h"

#include <string.h>

bool wf_module_to_bundle(const wf_module *module, wf_bundle *bundle, const char *prefix)
{
    wf_error why = { "" };
    if (!wf_module_ok(module, &why)) return wf_bundle_fail(bundle, "%s", why.text);
    for (int64_t i = 0, n = wf_module_param_count(module); i < n; i++) {
        const wf_var *v = wf_module_param_at(module, i);
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
    int64_t n = wf_module_param_count(module);
    wf_named *all = wf_alloc((size_t)(n > 0 ? n : 1) * sizeof *all);
    if (!all) return wf_error_set(error, "save %s: out of memory", path ? path : "(no path)");
    for (int64_t i = 0; i < n; i++) {
        const wf_var *v = wf_module_param_at(module, i);
        all[i] = (wf_named){ module_param_name(module, v), *wf_param_value(v) };
    }
    bool ok = wf_safetensors_save(path, all, n, meta, n_meta, error);
    wf_release(all);
    return ok;
}

/* Counts names and lists the first few: "missing 2 (head.weight, head.bias)". */
typedef struct names {
    int64_t n;
    char text[300];
} names;

static void add_name(names *all, const char *name)
{
    size_t room = sizeof all->text - strlen(all->text);
    if (all->n++ == 0)
        wf_format(all->text, sizeof all->text, "%.100s", name);
    else if (room > strlen(name) + 8 && all->n <= 8)
        wf_append(all->text, sizeof all->text, ", %s", name);
    else if (room > 6 && !strstr(all->text, ", ..."))
        wf_append(all->text, sizeof all->text, ", ...");
}

bool wf_module_load_archive(wf_module *module, const char *name, const wf_archive *archive,
                            wf_error *error)
{
    if (!wf_module_ok(module, error)) return false;
    if (!name) name = "(archive)";
    if (!archive) return wf_error_set(error, "load %s: there is no archive (NULL)", name);
    names missing = { 0 }, unexpected = { 0 };
    int64_t n = wf_module_param_count(module);
    for (int64_t i = 0; i < n; i++) {
        const char *path = module_param_name(module, wf_module_param_at(module, i));
        if (!wf_archive_find(archive, path)) add_name(&missing, path);
    }
    for (int64_t i = 0; i < wf_archive_count(archive); i++) {
        const char *path = wf_archive_at(archive, i)->name;
        char shown[300]; /* a file's words are not for a terminal as they are */
        if (!wf_module_param_find(module, path))
            add_name(&unexpected, wf_shown(shown, sizeof shown, path, (int64_t)strlen(path)));
    }
    if (missing.n || unexpected.n) {
        char text[700] = "";
        if (missing.n)
            wf_format(text, sizeof text, "missing %lld (%s)%s", (long long)missing.n, missing.text,
                      unexpected.n ? ", " : "");
        if (unexpected.n)
            wf_append(text, sizeof text, "unexpected %lld (%s)", (long long)unexpected.n,
                      unexpected.text);
        return wf_error_set(error, "load %s: %s", name, text);
    }
    for (int64_t i = 0; i < n; i++) {
        const wf_var *v = wf_module_param_at(module, i);
        const char *path = module_param_name(module, v);
        const wf_tensor *from = wf_archive_find(archive, path);
        wf_shape a = wf_tensor_shape(&v->value), b = wf_tensor_shape(from);
        char ta[128], tb[128];
        if (!wf_shape_equal(&a, &b))
            return wf_error_set(error, "load %s: '%s' is %s in the file and %s in the model", name,
                                path, wf_shape_text(tb, sizeof tb, b.rank, b.dim),
                                wf_shape_text(ta, sizeof ta, a.rank, a.dim));
        if (from->dtype == WF_I32)
            return wf_error_set(
                error, "load %s: '%s' is i32 in the file; a parameter is f32 or f64", name, path);
    }
    for (int64_t i = 0; i < n; i++) {
        wf_var *v = wf_module_param_at(module, i);
        wf_tensor_copy(wf_archive_find(archive, module_param_name(module, v)), &v->value);
        wf_param_changed(v);
    }
    return true;
}

bool wf_module_load(wf_module *module, const char *path, wf_error *error)
{
    if (!wf_module_ok(module, error)) return false;
    wf_archive *archive = wf_safetensors_load(path, error);
    if (!archive) return false;
    const char *slash = strrchr(path, '/');
    bool ok = wf_module_load_archive(module, slash ? slash + 1 : path, archive, error);
    wf_archive_free(archive);
    return ok;
}
