/* Standard MIDI Files, read: every byte distrusted. */
#include "data/midi.h"

#include "data/midi_private.h"
#include "data/text_private.h"

#include <stdlib.h>
#include <string.h>

/* What is being read; at the first nonsense `error` says so. */
typedef struct parser {
    const unsigned char *bytes;
    int64_t n, at; /* up to the end of the track; */
    const char *what;
    wf_error *error;
    wf_midi_note *notes;
    int64_t *next; /* a note of the same channel and pitch that began later and sounds; -1: none */
    wf_midi_tempo *tempos;
    wf_midi midi;
    struct sounding {
        int64_t first, last;
    } * sounding; /* by channel and pitch */
    int32_t programme[MIDI_CHANNELS];
    int32_t track;
    int64_t time;
} parser;

static uint32_t big(const unsigned char *p, int bytes)
{
    uint32_t number = 0;
    for (int i = 0; i < bytes; i++) number = number << 8 | p[i];
    return number;
}

static bool cut(parser *p)
{
    return wf_error_set(p->error, "%s: track %d is cut: it ends within an event", p->what,
                        (int)p->track);
}

/* A number in bytes of 7 bits, at most four; all but the last one have their highest bit set. */
static bool take_length(parser *p, int64_t *number)
{
    *number = 0;
    for (int i = 0; i < 4; i++) {
        if (p->at >= p->n) return cut(p);
        const unsigned char byte = p->bytes[p->at++];
        *number = *number << 7 | (byte & 0x7F);
        if (byte < 0x80) return true;
    }
    return wf_error_set(p->error, "%s: byte %lld: a length has more than 4 bytes", p->what,
                        (long long)p->at);
}

/* ---- notes ---- */

static void begin_note(parser *p, int32_t channel, int32_t pitch, int32_t velocity)
{
    struct sounding *s = &p->sounding[channel * MIDI_PITCHES + pitch];
    const int64_t note = p->midi.n++;
    p->notes[note] = (wf_midi_note){ p->time, -1, pitch, velocity, channel, p->programme[channel],
                                     p->track };
    p->next[note] = -1;
    if (s->first < 0)
        s->first = note;
    else
        p->next[s->last] = note;
    s->last = note;
}

static void end_note(parser *p, int32_t channel, int32_t pitch)
{
    struct sounding *s = &p->sounding[channel * MIDI_PITCHES + pitch];
    if (s->first < 0) return; /* it ends what never began: nothing */
    wf_midi_note *note = &p->notes[s->first];
    note->length = p->time - note->start;
    s->first = p->next[s->first];
}

/* ---- events ---- */

static bool take_message(parser *p, unsigned char status)
{
    unsigned char data[2] = { 0 };
    const int n = status >> 4 == 0xC || status >> 4 == 0xD ? 1 : 2;
    const int32_t channel = status & 15;
    for (int i = 0; i < n; i++) {
        if (p->at >= p->n) return cut(p);
        data[i] = p->bytes[p->at++];
        if (data[i] > 0x7F)
            return wf_error_set(p->error, "%s: byte %lld is 0x%02X, within a message of a channel",
                                p->what, (long long)p->at - 1, data[i]);
    }
    if (status >> 4 == 0x9 && data[1])
        begin_note(p, channel, data[0], data[1]);
    else if (status >> 4 == 0x8 || status >> 4 == 0x9)
        end_note(p, channel, data[0]);
    else if (status >> 4 == 0xC)
        p->programme[channel] = data[0];
    return true;
}

/* What is not of a channel, with its own length: text, tempo, exclusive messages of makers. */
static bool take_other(parser *p, unsigned char status, bool *ended)
{
    int64_t n;
    int type = -1;
    if (status == 0xFF && p->at >= p->n) return cut(p);
    if (status == 0xFF) type = p->bytes[p->at++];
    if (!take_length(p, &n)) return false;
    if (n > p->n - p->at) return cut(p);
    if (type == 0x51) {
        const uint32_t tempo = n == 3 ? big(p->bytes + p->at, 3) : 0;
        if (!tempo)
            return wf_error_set(p->error, "%s: byte %lld: a tempo is 3 bytes, and more than 0",
                                p->what, (long long)p->at);
        p->tempos[p->midi.n_tempos++] = (wf_midi_tempo){ p->time, tempo };
    }
    p->at += n;
    *ended = type == 0x2F;
    return true;
}

static bool take_track(parser *p)
{
    unsigned char running = 0;
    bool ended = false;
    const int64_t first = p->midi.n;
    p->time = 0;
    memset(p->programme, 0, sizeof p->programme);
    for (int i = 0; i < MIDI_CHANNELS * MIDI_PITCHES; i++) p->sounding[i].first = -1;
    while (!ended && p->at < p->n) {
        int64_t delta;
        if (!take_length(p, &delta)) return false;
        if (p->at >= p->n) return cut(p);
        p->time += delta;
        const unsigned char status = p->bytes[p->at] >= 0x80 ? p->bytes[p->at++] : running;
        running = status < 0xF0 ? status : 0;
        if (status >= 0x80 && status < 0xF0) {
            if (!take_message(p, status)) return false;
        } else if (status == 0xFF || status == 0xF0 || status == 0xF7) {
            if (!take_other(p, status, &ended)) return false;
        } else {
            return wf_error_set(p->error, "%s: byte %lld: 0x%02X begins no event", p->what,
                                (long long)(status ? p->at - 1 : p->at),
                                status ? status : p->bytes[p->at]);
        }
    }
    for (int64_t i = first; i < p->midi.n; i++)
        if (p->notes[i].length < 0) p->notes[i].length = p->time - p->notes[i].start;
    return true;
}

/* ---- the file ---- */

enum { HEAD = 8, HEADER = 6 };

static bool take_header(parser *p, int64_t n, int64_t *tracks)
{
    const unsigned char *b = p->bytes;
    if (n == 0) return wf_error_set(p->error, "%s: it is empty", p->what);
    if (memcmp(b, "MThd", (size_t)(n < 4 ? n : 4)) != 0)
        return wf_error_set(p->error, "%s: this is not a MIDI file: it does not begin with 'MThd'",
                            p->what);
    if (n < HEAD + HEADER || big(b + 4, 4) > n - HEAD)
        return wf_error_set(p->error, "%s: it is cut: %lld bytes are less than its header", p->what,
                            (long long)n);
    if (big(b + 4, 4) < HEADER)
        return wf_error_set(p->error, "%s: its header has %lld bytes; it takes %d", p->what,
                            (long long)big(b + 4, 4), HEADER);
    p->midi.format = (int32_t)big(b + 8, 2);
    *tracks = big(b + 10, 2);
    p->midi.division = big(b + 12, 2);
    if (p->midi.format > 1)
        return wf_error_set(p->error, "%s: format %d is not read; 0 and 1 are", p->what,
                            (int)p->midi.format);
    if (p->midi.division > 0x7FFF)
        return wf_error_set(p->error, "%s: its times are frames of a film (SMPTE), not beats",
                            p->what);
    if (!p->midi.division) return wf_error_set(p->error, "%s: a beat has 0 ticks", p->what);
    p->at = HEAD + (int64_t)big(b + 4, 4);
    return true;
}

static bool take_file(parser *p, int64_t n)
{
    int64_t tracks = 0;
    if (!take_header(p, n, &tracks)) return false;
    while (p->track < tracks) {
        if (n - p->at < HEAD)
            return wf_error_set(p->error, "%s: it is cut: %d of its %lld tracks are there", p->what,
                                (int)p->track, (long long)tracks);
        const bool is_track = !memcmp(p->bytes + p->at, "MTrk", 4);
        const int64_t size = big(p->bytes + p->at + 4, 4);
        p->at += HEAD;
        if (size > n - p->at)
            return wf_error_set(p->error,
                                "%s: it is cut: track %d says that it has %lld bytes, and %lld are "
                                "there",
                                p->what, (int)p->track, (long long)size, (long long)(n - p->at));
        p->n = p->at + size;
        if (is_track && !take_track(p)) return false;
        p->track += is_track;
        p->at = p->n;
    }
    return true;
}

#define BY(field)                                                                                  \
    if (a->field != b->field) return a->field < b->field ? -1 : 1

static int by_start(const void *one, const void *two)
{
    const wf_midi_note *a = one, *b = two;
    BY(start);
    BY(track);
    BY(channel);
    BY(pitch);
    BY(length);
    BY(velocity);
    BY(programme);
    return 0;
}

/* Tempos carry their number above the 24 bits that they have: of two at a time the later holds. */
static int by_time(const void *one, const void *two)
{
    const wf_midi_tempo *a = one, *b = two;
    BY(at);
    BY(microseconds);
    return 0;
}

static void sort(wf_midi *midi, wf_midi_note *notes, wf_midi_tempo *tempos)
{
    qsort(notes, (size_t)midi->n, sizeof *notes, by_start);
    for (int64_t i = 0; i < midi->n_tempos; i++) tempos[i].microseconds |= i << 24;
    qsort(tempos, (size_t)midi->n_tempos, sizeof *tempos, by_time);
    for (int64_t i = 0; i < midi->n_tempos; i++) tempos[i].microseconds &= 0xFFFFFF;
    midi->notes = notes, midi->tempos = tempos;
}

/* Where everything lies that n bytes can hold: a note takes three of them at least, a tempo seven.
 * Counts only, where there is no memory yet. */
static wf_midi *lay_out(parser *p, int64_t n, wf_parts *held, wf_parts *work)
{
    held->used = work->used = 0;
    wf_midi *midi = wf_part(held, 1, 1, (int64_t)sizeof *midi);
    p->notes = wf_part(held, n / 3 + 1, 1, (int64_t)sizeof *p->notes);
    p->tempos = wf_part(held, n / 7 + 1, 1, (int64_t)sizeof *p->tempos);
    p->next = wf_part(work, n / 3 + 1, 1, (int64_t)sizeof *p->next);
    p->sounding = wf_part(work, MIDI_CHANNELS, MIDI_PITCHES, (int64_t)sizeof *p->sounding);
    return midi;
}

static const wf_midi *read_midi(const char *what, const void *bytes, int64_t n, wf_error *error)
{
    parser p = { .bytes = bytes, .what = what, .error = error };
    wf_parts held = { 0 }, work = { 0 };
    lay_out(&p, n, &held, &work);
    held.memory = text_memory(wf_alloc((size_t)held.used), held.used, what, error);
    work.memory = held.memory ? text_memory(wf_alloc((size_t)work.used), work.used, what, error)
                              : NULL;
    wf_midi *midi = work.memory ? lay_out(&p, n, &held, &work) : NULL;
    const bool read = midi && take_file(&p, n);
    if (read) {
        *midi = p.midi;
        sort(midi, p.notes, p.tempos);
    } else {
        wf_release(held.memory);
    }
    wf_release(work.memory);
    return read ? midi : NULL;
}

const wf_midi *wf_midi_load(const char *path, wf_error *error)
{
    wf_error_clear(error);
    char what[WF_WHAT];
    int64_t n;
    char *bytes = text_take(text_what(what, "midi", path), path, 0, &n, error);
    const wf_midi *midi = bytes ? read_midi(what, bytes, n, error) : NULL;
    wf_release(bytes);
    return midi;
}

const wf_midi *wf_midi_from_memory(const char *name, const void *bytes, int64_t n, wf_error *error)
{
    wf_error_clear(error);
    char what[WF_WHAT];
    text_what(what, "midi", name ? name : "(memory)");
    if (n >= 0 && (bytes || n == 0)) return read_midi(what, bytes ? bytes : "", n, error);
    wf_error_set(error, "%s: no bytes were given", what);
    return NULL;
}

void wf_midi_free(const wf_midi *midi)
{
    wf_release((void *)(uintptr_t)midi);
}
