/* A module as a person wants to read it: its parameters and buffers in columns, and how many there
 * are. */
#include "autograd/module_private.h"
#include "tensor/print_private.h"
#include "tensor/text.h"

#include <stdio.h>

static const char *shape_of(const wf_var *p, char text[256])
{
    const wf_tensor *x = wf_param_value(p);
    return wf_shape_text(text, 256, x->rank, x->dim);
}

static const char *count_text(int64_t n, char text[32])
{
    wf_format(text, 32, "%lld", (long long)n);
    return text;
}

static int widest(int a, const char *text)
{
    const int b = wf_columns(text);
    return a > b ? a : b;
}

/* Text, and spaces up to a column. */
static void put_column(wf_sink *s, const char *text, int upto)
{
    wf_put(s, text);
    wf_put_spaces(s, upto - s->column);
}

static void write_module(const wf_module *m, wf_sink *s)
{
    if (!m) {
        wf_put(s, "(no module)");
        return;
    }
    char text[256], number[32], sum[48];
    const int64_t n = wf_module_param_count(m), all = module_saved_count(m),
                  weights = wf_module_weights(m);
    wf_format(sum, sizeof sum, "%lld parameter%s", (long long)n, n == 1 ? "" : "s");
    int name = wf_columns(sum), shape = 0, count = wf_columns(count_text(weights, number));
    for (int64_t i = 0; i < all; i++) {
        const wf_var *p = module_saved_at(m, i);
        name = widest(name, module_param_name(m, p));
        shape = widest(shape, shape_of(p, text));
    }
    wf_put(s, *wf_module_path(m) ? wf_module_path(m) : wf_module_name(m));
    wf_put(s, ", ");
    wf_put(s, wf_dtype_name(wf_module_dtype(m)));
    wf_put(s, "\n");
    for (int64_t i = 0; i < all; i++) {
        const wf_var *p = module_saved_at(m, i);
        count_text(wf_tensor_count(wf_param_value(p)), number);
        wf_put(s, "  ");
        put_column(s, module_param_name(m, p), 2 + name + 2);
        put_column(s, shape_of(p, text), 2 + name + 2 + shape + 2 + count - wf_columns(number));
        wf_put(s, number);
        wf_put(s, i >= n ? "  buffer\n" : wf_param_frozen(p) ? "  frozen\n" : "\n");
    }
    wf_put(s, "  ");
    put_column(s, sum, 2 + name + 2 + shape + 2);
    wf_put(s, count_text(weights, number));
}

void wf_module_print(const wf_module *m)
{
    wf_sink s = { .file = stdout };
    write_module(m, &s);
    wf_put(&s, "\n");
}

size_t wf_module_text(const wf_module *m, char *text, size_t bytes)
{
    wf_sink s = { .text = text, .bytes = text ? bytes : 0 };
    if (s.bytes > 0) text[0] = 0;
    write_module(m, &s);
    return s.length;
}
