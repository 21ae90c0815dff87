/* Pictures: what is written is read back by an independent reader (Python's zlib alone,
 * tests/read_png.py) as the pixels that it must be, and every refusal. */
#include "data/png.h"
#include "tests/fixture.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const harness_suite suite = { .after = nothing_is_left };

/* Is PNG written here? Skips if not. */
static bool able(void)
{
    if (!wf_png_supported()) harness_skip("this build has no libpng");
    return wf_png_supported();
}

/* The file has these pixels, as "width height channels" and hexadecimal bytes. */
static void shows(const char *want)
{
    char command[1024], got[4096] = "";
    snprintf(command, sizeof command, "python3 '%s/tests/read_png.py' '%s'", WF_SOURCE_DIR,
             path_of("a.png"));
    FILE *f = popen(command, "r");
    ck_assert(f && fgets(got, sizeof got, f));
    ck_assert_int_eq(pclose(f), 0);
    ck_assert_str_eq(got, want);
}

static void save(const wf_tensor *picture, const wf_png_options *o)
{
    wf_error e = { "old" };
    const bool ok = wf_png_save(path_of("a.png"), picture, o, &e);
    ck_assert_msg(ok && !*e.text, "%s", e.text);
}

TEST(a_matrix_is_grey)
{
    if (!able()) return;
    double x[] = { 0, 0.5, 1, -3, 7, (double)NAN };
    const wf_tensor picture = wf_tensor_of(WF_F64, WF_SHAPE(2, 3), x);
    save(&picture, NULL);
    shows("3 2 1 0080ff00ff00\n");
    save(&picture, &(wf_png_options){ .low = -3, .high = 7 });
    shows("3 2 1 4d596600ff00\n");
    save(&picture, &(wf_png_options){ .fit = true });
    shows("3 2 1 4d596600ff00\n");
    int32_t ids[] = { 0, 255, 128, 1 };
    const wf_tensor whole = wf_tensor_of(WF_I32, WF_SHAPE(2, 2), ids);
    save(&whole, &(wf_png_options){ .high = 255 });
    shows("2 2 1 00ff8001\n");
}

TEST(three_planes_are_red_green_and_blue)
{
    if (!able()) return;
    float x[3][2] = { { 0, 1 }, { 0.2f, 0.4f }, { 0.6f, 0.8f } };
    const wf_tensor picture = wf_tensor_of(WF_F32, WF_SHAPE(3, 1, 2), x);
    save(&picture, NULL);
    shows("2 1 3 003399ff66cc\n");
    float last[1][2][3] = { { { 0, 0.2f, 0.6f }, { 1, 0.4f, 0.8f } } }; /* (H, W, 3) as a view */
    const wf_tensor view = { last, WF_F32, 3, { 3, 1, 2 }, { 1, 6, 3 } };
    save(&view, NULL);
    shows("2 1 3 003399ff66cc\n");
    save(&picture, &(wf_png_options){ .scale = 2 });
    shows("4 2 3 003399003399ff66ccff66cc003399003399ff66ccff66cc\n");
}

TEST(a_map_is_the_colours_of_figures)
{
    if (!able()) return;
    double x[] = { 0, 1, (double)NAN };
    const wf_tensor picture = wf_tensor_of(WF_F64, WF_SHAPE(1, 3), x);
    save(&picture, &(wf_png_options){ .map = true });
    shows("3 1 3 f7fbff08306bbbbbbb\n");
    save(&picture, &(wf_png_options){ .map = true, .colours = WF_COLOURS_VIRIDIS });
    shows("3 1 3 440154fde725bbbbbb\n");
}

TEST(a_map_is_laid_over_a_picture)
{
    if (!able()) return;
    double heat[] = { 0, 1 };
    float under[3][2][4] = { { { 0 } } };
    for (int y = 0; y < 2; y++)
        for (int x = 0; x < 4; x++) under[0][y][x] = (float)y, under[2][y][x] = 1;
    const wf_tensor map = wf_tensor_of(WF_F64, WF_SHAPE(1, 2), heat),
                    picture = wf_tensor_of(WF_F32, WF_SHAPE(3, 2, 4), under);
    save(&map, &(wf_png_options){ .colours = WF_COLOURS_GREY, .over = &picture });
    shows("4 2 3 0000800000808080ff8080ff800080800080ff80ffff80ff\n");
    save(&map, &(wf_png_options){ .colours = WF_COLOURS_GREY, .over = &picture, .opacity = 1 });
    shows("4 2 3 000000000000ffffffffffff000000000000ffffffffffff\n");
    float grey[1][2] = { { 0.2f, 0.4f } };
    const wf_tensor plain = wf_tensor_of(WF_F32, WF_SHAPE(1, 2), grey);
    save(&map, &(wf_png_options){ .colours = WF_COLOURS_GREY, .over = &plain, .scale = 2 });
    shows("4 2 3 1a1a1a1a1a1ab3b3b3b3b3b31a1a1a1a1a1ab3b3b3b3b3b3\n");
}

TEST(bytes_are_the_pixels)
{
    if (!able()) return;
    wf_error e = { "old" };
    const uint8_t bytes[] = { 1, 2, 3, 4, 5, 6 };
    ck_assert(wf_png_save_bytes(path_of("a.png"), bytes, 2, 1, 3, &e) && !*e.text);
    shows("1 2 3 010203040506\n");
    ck_assert(wf_png_save_bytes(path_of("a.png"), bytes, 2, 3, 1, &e));
    shows("3 2 1 010203040506\n");
}

TEST(a_build_without_libpng_says_so)
{
    wf_error e;
    if (wf_png_supported()) {
        harness_skip("this build has libpng");
        return;
    }
    ck_assert(!wf_png_save_bytes("a.png", (const uint8_t *)"a", 1, 1, 1, &e));
    ck_assert_str_eq(e.text, "png 'a.png': this build of Weft writes no PNG: it was made without "
                             "libpng");
}

TEST(what_cannot_be_written_leaves_the_old_file)
{
    wf_error e;
    float x[12] = { 0 };
    const char *path = path_of("그림.png");
    ck_assert(wf_file_write(path, "old", 3, &e));
    const wf_tensor four = wf_tensor_of(WF_F32, WF_SHAPE(2, 2), x),
                    colours = wf_tensor_of(WF_F32, WF_SHAPE(3, 2, 2), x),
                    row = wf_tensor_of(WF_F32, WF_SHAPE(4), x),
                    none = wf_tensor_of(WF_F32, WF_SHAPE(0, 2), x),
                    two = wf_tensor_of(WF_F32, WF_SHAPE(2, 2, 2), x),
                    wide = wf_tensor_of(WF_F32, WF_SHAPE(2, 3), x);
    const struct {
        const wf_tensor *x;
        wf_png_options o;
        const char *says;
    } bad[] = {
        { &row,
          { .low = 0 },
          "the picture has shape (4); it must be (height, width) or (3, height, width)" },
        { &two,
          { .low = 0 },
          "the picture has shape (2, 2, 2); it must be (height, width) or (3, height, width)" },
        { NULL,
          { .low = 0 },
          "the picture has shape (unknown); it must be (height, width) or (3, height, width)" },
        { &none, { .low = 0 }, "0 x 2 pixels cannot be written; 1 to 100000 a side can" },
        { &four, { .scale = -1 }, ".scale is -1; it must be 1 to 1024" },
        { &four, { .low = 2, .high = 1 }, "values from .low 2 to .high 1; it must be upwards" },
        { &four, { .opacity = 1.5 }, ".opacity is 1.5; it must be 0 to 1" },
        { &four, { .colours = (wf_colours)7 }, "there is no .colours 7" },
        { &colours, { .map = true }, "a map of colours takes (height, width)" },
        { &colours, { .over = &colours }, "a map of colours takes (height, width)" },
        { &four,
          { .over = &row },
          ".over has shape (4); it must be (height, width) or (3, height, width)" },
        { &four,
          { .over = &wide },
          "2 x 2 numbers cannot be laid over 2 x 3 pixels; these must be multiples" },
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        ck_assert(!wf_png_save(path, bad[i].x, &bad[i].o, &e));
        ck_assert_str_eq(e.text, worded("png '%s': %s", path, bad[i].says));
    }
    const uint8_t bytes[4] = { 0 };
    ck_assert(!wf_png_save_bytes(path, NULL, 2, 2, 1, &e));
    ck_assert_str_eq(e.text, worded("png '%s': no pixels were given (NULL)", path));
    ck_assert(!wf_png_save_bytes(path, bytes, 2, 2, 4, &e));
    ck_assert_str_eq(
        e.text, worded("png '%s': pixels of 4 channels cannot be written; of 1 and 3 can", path));
    ck_assert(!wf_png_save_bytes(path, bytes, -2, 2, 1, &e));
    heap.fail_at = heap.asked + 1;
    ck_assert(!wf_png_save(path, &four, NULL, &e));
    ck_assert_str_eq(e.text, worded("png '%s': not enough memory for 4 bytes", path));
    heap.fail_at = 0;
    int64_t n;
    char *there = wf_file_read(path, 0, &n, &e);
    ck_assert_str_eq(there, "old");
    wf_release(there);
}
