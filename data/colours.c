/* Colour maps: a few points of each, and lines between them. */
#include "data/colours.h"

#include "tensor/par.h"

#include <math.h>

enum { POINTS = 11 };

static const struct {
    int n;
    uint32_t at[POINTS];
} maps[] = {
    [WF_COLOURS_BLUES] = { 9,
                           { 0xF7FBFF, 0xDEEBF7, 0xC6DBEF, 0x9ECAE1, 0x6BAED6, 0x4292C6, 0x2171B5,
                             0x08519C, 0x08306B } },
    [WF_COLOURS_VIRIDIS] = { 9,
                             { 0x440154, 0x472D7B, 0x3B528B, 0x2C728E, 0x21918C, 0x28AE80, 0x5EC962,
                               0xADDC30, 0xFDE725 } },
    [WF_COLOURS_DIVERGING] = { 11,
                               { 0x053061, 0x2166AC, 0x4393C3, 0x92C5DE, 0xD1E5F0, 0xF7F7F7,
                                 0xFDDBC7, 0xF4A582, 0xD6604D, 0xB2182B, 0x67001F } },
    [WF_COLOURS_GREY] = { 2, { 0x000000, 0xFFFFFF } },
};

uint32_t wf_colour(wf_colours map, double at)
{
    WF_FP_SCOPE uint32_t fp = wf_fp_enter_exact();
    if (isnan(at)) return 0xBBBBBB;
    if ((unsigned)map > WF_COLOURS_GREY) map = WF_COLOURS_BLUES;
    const int last = maps[map].n - 1;
    const double place = fmin(fmax(at, 0), 1) * last;
    const int from = place < last ? (int)place : last - 1;
    uint32_t colour = 0;
    for (int shift = 16; shift >= 0; shift -= 8) {
        const double a = maps[map].at[from] >> shift & 0xFF;
        const double b = maps[map].at[from + 1] >> shift & 0xFF;
        colour = colour << 8 | (uint32_t)(a + (b - a) * (place - from) + 0.5);
    }
    return colour;
}
