/* Pictures written as PNG: tensors, or numbers through a map of colours. */
#ifndef WEFT_DATA_PNG_H
#define WEFT_DATA_PNG_H

#include "data/colours.h"
#include "tensor/tensor.h"

WF_BEGIN

/* All zero is fine. */
typedef struct wf_png_options {
    double low, high; /* the values of black and white (of a map, its ends); both 0: 0 and 1 */
    bool fit;         /* instead, from the smallest to the largest finite number that is there */
    bool map;         /* numbers of (height, width) become colours: .colours */
    wf_colours colours;
    int64_t scale; /* every number becomes scale x scale pixels; 0: 1 */
    const wf_tensor
        *over;      /* a picture of (height, width) or (3, height, width), black 0 to white 1,
                            * that the map is laid over; its sides must be multiples of the
                            * numbers', whose cells then cover it */
    double opacity; /* of the map over it; 0: 0.5 */
    const void *reserved[4];
} wf_png_options;

/* Can this library write PNG (was it built with libpng)? */
WF_API bool wf_png_supported(void);

/* Writes a picture of 8 bits: floats or I32 of (height, width) as grey (or in colours, .map), or of
 * (3, height, width) as red, green and blue, of any strides: an (H, W, 3) one is permuted as a
 * view. Numbers between low and high are rounded to the nearest of 0 .. 255, others become the
 * nearer end, NaN black (of a map: grey). All or nothing, as wf_file_write. False and the reason
 * when shapes do not fit, an option makes no sense, there is no memory, or the library was built
 * without libpng. NULL options are all zero. */
WF_API bool wf_png_save(const char *path, const wf_tensor *picture, const wf_png_options *options,
                        wf_error *error);
/* The pixels themselves: height rows of width (grey, channels 1) or 3 width (channels 3) bytes. */
WF_API bool wf_png_save_bytes(const char *path, const uint8_t *bytes, int64_t height, int64_t width,
                              int channels, wf_error *error);

WF_END

#endif
