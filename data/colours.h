/* Maps from numbers to colours, for figures in SVG and pictures in PNG. */
#ifndef WEFT_DATA_COLOURS_H
#define WEFT_DATA_COLOURS_H

#include "tensor/api.h"

WF_BEGIN

typedef enum wf_colours {
    WF_COLOURS_BLUES = 0, /* white to dark blue (ColorBrewer, Harrower and Brewer 2003) */
    WF_COLOURS_VIRIDIS,   /* dark violet to yellow, as evenly seen (van der Walt and Smith 2015) */
    WF_COLOURS_DIVERGING, /* blue, white in the middle, red: ColorBrewer's RdBu turned round */
    WF_COLOURS_GREY       /* black to white */
} wf_colours;

/* The colour at 0 <= at <= 1 (what is outside is the nearer end's) as 0xRRGGBB, between the points
 * of the map linearly; of NaN 0xBBBBBB. A map that does not exist is WF_COLOURS_BLUES. */
WF_API uint32_t wf_colour(wf_colours map, double at);

WF_END

#endif
