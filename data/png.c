/* Pictures as PNG: numbers become pixels here, and libpng makes a file of them. */
#include "data/png.h"

#include "data/text_private.h"
#include "tensor/par.h"
#include "tensor/private.h"
#include "tensor/size.h"

#include <math.h>
#include <string.h>

enum { SIDE = 100000 }; /* pixels at most; libpng's own bound is ten times that */

bool wf_png_supported(void)
{
#ifdef WF_PNG
    return true;
#else
    return false;
#endif
}

/* ---- bytes to a file ---- */

#ifdef WF_PNG
#include <png.h>

/* The whole file in memory, of which libpng knows how large it can be; its own working memory, some
 * 300 KB, it takes and gives back itself. */
static bool write_png(const char *what, const char *path, const uint8_t *bytes, int64_t height,
                      int64_t width, int channels, wf_error *error)
{
    png_image image = { .version = PNG_IMAGE_VERSION,
                        .width = (png_uint_32)width,
                        .height = (png_uint_32)height,
                        .format = channels == 1 ? PNG_FORMAT_GRAY : PNG_FORMAT_RGB };
    png_alloc_size_t n = PNG_IMAGE_PNG_SIZE_MAX(image);
    char *file = text_memory(wf_alloc(n), (int64_t)n, what, error);
    if (!file) return false;
    wf_writer w;
    const bool made = png_image_write_to_memory(&image, file, &n, 0, bytes, 0, NULL);
    if (!made) wf_error_set(error, "%s: libpng says: %s", what, image.message);
    const bool ok = made && wf_writer_begin(&w, what, path, error) &&
                    wf_writer_put(&w, file, (int64_t)n) && wf_writer_end(&w);
    wf_release(file);
    return ok;
}
#else
static bool write_png(const char *what, const char *path, const uint8_t *bytes, int64_t height,
                      int64_t width, int channels, wf_error *error)
{
    (void)path, (void)bytes, (void)height, (void)width, (void)channels;
    return wf_error_set(error, "%s: this build of Weft writes no PNG: it was made without libpng",
                        what);
}
#endif

static bool sides_fit(const char *what, int64_t height, int64_t width, wf_error *error)
{
    if (height > 0 && width > 0 && height <= SIDE && width <= SIDE) return true;
    return wf_error_set(error, "%s: %lld x %lld pixels cannot be written; 1 to %d a side can", what,
                        (long long)height, (long long)width, SIDE);
}

bool wf_png_save_bytes(const char *path, const uint8_t *bytes, int64_t height, int64_t width,
                       int channels, wf_error *error)
{
    wf_error_clear(error);
    char what[WF_WHAT];
    text_what(what, "png", path);
    if (!bytes) return wf_error_set(error, "%s: no pixels were given (NULL)", what);
    if (channels != 1 && channels != 3)
        return wf_error_set(error, "%s: pixels of %d channels cannot be written; of 1 and 3 can",
                            what, channels);
    return sides_fit(what, height, width, error) &&
           write_png(what, path, bytes, height, width, channels, error);
}

/* ---- numbers to bytes ---- */

/* A picture of (channels, height, width); one of two axes has one channel. */
typedef struct canvas {
    const wf_tensor *x;
    int64_t channels, height, width;
} canvas;

static bool canvas_of(canvas *c, const wf_tensor *x, const char *what, const char *which,
                      wf_error *error)
{
    char text[64];
    const bool known = x && wf_dtype_size(x->dtype) > 0 && x->rank >= 0 && x->rank <= WF_RANK;
    if (known && x->data && (x->rank == 2 || (x->rank == 3 && x->dim[0] == 3))) {
        *c = (canvas){ x, x->rank == 3 ? 3 : 1, x->dim[x->rank - 2], x->dim[x->rank - 1] };
        return true;
    }
    return wf_error_set(
        error, "%s: %s has shape %s; it must be (height, width) or (3, height, width)", what, which,
        known ? wf_shape_text(text, sizeof text, x->rank, x->dim) : "(unknown)");
}

static double at(const canvas *c, int64_t channel, int64_t y, int64_t x)
{
    return wf_tensor_at(c->x, (channel * c->height + y) * c->width + x);
}

static void find_range(const canvas *c, double range[2])
{
    range[0] = INFINITY, range[1] = -INFINITY;
    for (int64_t i = 0; i < wf_tensor_count(c->x); i++) {
        const double value = wf_tensor_at(c->x, i);
        if (!isfinite(value)) continue;
        range[0] = fmin(range[0], value), range[1] = fmax(range[1], value);
    }
    if (range[0] > range[1]) range[0] = 0, range[1] = 1;
    if (range[0] == range[1]) range[1] = range[0] + 1;
}

static uint8_t byte_of(double part)
{
    return part > 0 ? (uint8_t)(fmin(part, 1) * 255 + 0.5) : 0; /* NaN is not above 0 */
}

static bool options_fit(const canvas *c, const wf_png_options *o, const canvas *over,
                        const char *what, wf_error *error)
{
    if (o->scale < 0 || o->scale > 1024)
        return wf_error_set(error, "%s: .scale is %lld; it must be 1 to 1024", what,
                            (long long)o->scale);
    if (!o->fit && (o->low != 0 || o->high != 0) &&
        (!(o->low < o->high) || !isfinite(o->low) || !isfinite(o->high)))
        return wf_error_set(error, "%s: values from .low %g to .high %g; it must be upwards", what,
                            o->low, o->high);
    if (!(o->opacity >= 0 && o->opacity <= 1))
        return wf_error_set(error, "%s: .opacity is %g; it must be 0 to 1", what, o->opacity);
    if ((unsigned)o->colours > WF_COLOURS_GREY)
        return wf_error_set(error, "%s: there is no .colours %d", what, (int)o->colours);
    if ((o->map || over) && c->channels != 1)
        return wf_error_set(error, "%s: a map of colours takes (height, width)", what);
    if (over && (over->height % c->height || over->width % c->width))
        return wf_error_set(error,
                            "%s: %lld x %lld numbers cannot be laid over %lld x %lld pixels; these "
                            "must be multiples",
                            what, (long long)c->height, (long long)c->width,
                            (long long)over->height, (long long)over->width);
    return true;
}

/* Pixel (y, x) of numbers before scaling. */
static void pixel(const canvas *c, const canvas *over, const wf_png_options *o,
                  const double range[2], int64_t y, int64_t x, uint8_t *to)
{
    const int64_t down = over ? over->height / c->height : 1,
                  across = over ? over->width / c->width : 1;
    double part[3] = { 0 };
    for (int64_t k = 0; k < c->channels; k++)
        part[k] = (at(c, k, y / down, x / across) / 2 - range[0] / 2) /
                  (range[1] / 2 - range[0] / 2);
    const uint32_t colour = wf_colour(o->colours, part[0]);
    const double opacity = !over ? 1 : o->opacity > 0 ? o->opacity : 0.5;
    for (int k = 0; k < 3; k++) {
        const double of_map = (double)(colour >> (16 - 8 * k) & 0xFF) / 255;
        if (over) {
            const double under = fmin(fmax(at(over, over->channels == 3 ? k : 0, y, x), 0), 1);
            to[k] = byte_of(opacity * of_map + (1 - opacity) * under);
        } else if (o->map) {
            to[k] = byte_of(of_map);
        } else if (k < c->channels) {
            to[k] = byte_of(part[k]);
        }
    }
}

/* Every pixel, as scale x scale of them. */
static void draw(const canvas *c, const canvas *over, const wf_png_options *o, int64_t scale,
                 int channels, uint8_t *bytes)
{
    const canvas *sides = over ? over : c;
    const int64_t line = sides->width * scale * channels;
    double range[2] = { o->low, o->low == 0 && o->high == 0 ? 1 : o->high };
    if (o->fit) find_range(c, range);
    for (int64_t y = 0; y < sides->height; y++) {
        uint8_t *row = bytes + y * scale * line;
        for (int64_t x = 0; x < sides->width; x++) {
            uint8_t one[3];
            pixel(c, over, o, range, y, x, one);
            for (int64_t k = 0; k < scale; k++)
                memcpy(row + (x * scale + k) * channels, one, (size_t)channels);
        }
        for (int64_t k = 1; k < scale; k++) memcpy(row + k * line, row, (size_t)line);
    }
}

bool wf_png_save(const char *path, const wf_tensor *picture, const wf_png_options *options,
                 wf_error *error)
{
    wf_error_clear(error);
    WF_FP_SCOPE uint32_t fp = wf_fp_enter_exact();
    const wf_png_options o = options ? *options : (wf_png_options){ 0 };
    char what[WF_WHAT];
    canvas c, over;
    text_what(what, "png", path);
    if (!canvas_of(&c, picture, what, "the picture", error) ||
        (o.over && !canvas_of(&over, o.over, what, ".over", error)) ||
        !sides_fit(what, c.height, c.width, error) ||
        !options_fit(&c, &o, o.over ? &over : NULL, what, error))
        return false;
    const canvas *sides = o.over ? &over : &c;
    const int64_t scale = o.scale ? o.scale : 1;
    const int channels = o.map || o.over ? 3 : (int)c.channels;
    if (!sides_fit(what, sides->height * scale, sides->width * scale, error)) return false;
    const int64_t bytes = sides->height * sides->width * scale * scale * channels;
    uint8_t *pixels = text_memory(wf_alloc((size_t)bytes), bytes, what, error);
    if (!pixels) return false;
    draw(&c, o.over ? &over : NULL, &o, scale, channels, pixels);
    const bool ok = write_png(what, path, pixels, sides->height * scale, sides->width * scale,
                              channels, error);
    wf_release(pixels);
    return ok;
}
