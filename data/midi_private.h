/* What the reader and the writer of MIDI files share. Not installed. */
#ifndef WEFT_DATA_MIDI_PRIVATE_H
#define WEFT_DATA_MIDI_PRIVATE_H

#include "tensor/runtime.h"
#include "tensor/size.h"

enum { MIDI_CHANNELS = 16, MIDI_PITCHES = 128, MIDI_DIVISION = 480 };

#endif
