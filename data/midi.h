/* Melodies in Standard MIDI Files: notes read and written, with tempo and programme. */
#ifndef WEFT_DATA_MIDI_H
#define WEFT_DATA_MIDI_H

#include "tensor/error.h"

WF_BEGIN

/* A note. Times are ticks, of which a beat (a quarter note) has wf_midi.division. */
typedef struct wf_midi_note {
    int64_t start, length;      /* 0 or more */
    int32_t pitch, velocity;    /* 0 .. 127, 60 is middle C; 1 .. 127 */
    int32_t channel, programme; /* 0 .. 15, of which 9 are drums; 0 .. 127, 0 is a grand piano */
    int32_t track;              /* from 0 */
} wf_midi_note;

/* From a tick on, a beat lasts so many microseconds, 1 .. 2^24 - 1: 500000 is 120 a minute, which
 * it is until the first one. */
typedef struct wf_midi_tempo {
    int64_t at;
    int64_t microseconds;
} wf_midi_tempo;

/* What of a file is read, and what is written: begins as { 0 }. Of what is read, the notes are in
 * the order of start, track, channel and pitch, the tempos in that of time, and all lies in memory
 * of the file's. */
typedef struct wf_midi {
    const wf_midi_note *notes;
    int64_t n;
    const wf_midi_tempo *tempos;
    int64_t n_tempos;
    int64_t division; /* ticks of a beat, 1 .. 32767; 0 where it is written: 480 */
    int32_t format;   /* 0: everything in one track; 1: each note in its own, tempos in track 0 */
} wf_midi;

/* A whole file (a pipe will do, and "-" is standard input), or n bytes in memory: formats 0 and 1,
 * running status, and whatever lies between notes, which is passed over. A note that never ends
 * does with its track; of several of one pitch that sound at once in a track and channel the first
 * to begin is the first to end. NULL and the reason for what is missing, a folder or no such file,
 * for what is cut or says nonsense, for format 2, and times in frames of a film (SMPTE). name is
 * for messages. Yours to free. */
WF_API const wf_midi *wf_midi_load(const char *path, wf_error *error);
WF_API const wf_midi *wf_midi_from_memory(const char *name, const void *bytes, int64_t n,
                                          wf_error *error);
/* Only what the two above gave. */
WF_API void wf_midi_free(const wf_midi *midi);

/* Writes notes, in whatever order they are given, and tempos; all or nothing, as wf_file_write.
 * False and the reason for a note or a tempo with a number out of range, and when there is no
 * memory. */
WF_API bool wf_midi_save(const char *path, const wf_midi *midi, wf_error *error);

WF_END

#endif
