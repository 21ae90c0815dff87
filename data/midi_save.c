/* Standard MIDI Files, written. */
#include "data/midi.h"

#include "data/midi_private.h"
#include "data/text_private.h"

#include <stdlib.h>
#include <string.h>

/* What happens at a time; in this order where the time is the same: a note ends before the next of
 * its pitch begins, and one without length after it began. */
typedef enum event_kind { TEMPO, END, BEGIN, END_AT_ONCE } event_kind;

typedef struct event {
    int64_t at, of; /* of: the note or tempo */
    int32_t track, kind;
} event;

typedef struct writing {
    const wf_midi *midi;
    event *events;
    int64_t n, at; /* events; the next one */
    unsigned char *file;
    int64_t bytes;
} writing;

enum { FARTHEST = 0x0FFFFFFF, TRACKS = 0xFFFF };
enum { OF_EVENT = 4 + 6 + 2, OF_TRACK = 8 + 4, OF_HEADER = 14 }; /* bytes at most */

/* ---- what is given ---- */

static bool in_range(int64_t number, int64_t low, int64_t high)
{
    return number >= low && number <= high;
}

static bool notes_fit(const wf_midi *m, const char *what, wf_error *error)
{
    for (int64_t i = 0; i < m->n; i++) {
        const wf_midi_note *note = &m->notes[i];
        if (!in_range(note->start, 0, INT64_MAX / 4) || !in_range(note->length, 0, INT64_MAX / 4))
            return wf_error_set(error,
                                "%s: note %lld begins at %lld and lasts %lld ticks; both are 0 "
                                "or more",
                                what, (long long)i, (long long)note->start,
                                (long long)note->length);
        if (!in_range(note->pitch, 0, 127) || !in_range(note->velocity, 1, 127) ||
            !in_range(note->channel, 0, 15) || !in_range(note->programme, 0, 127))
            return wf_error_set(
                error,
                "%s: note %lld has pitch %d, velocity %d, channel %d, programme %d; "
                "they are 0 to 127, 1 to 127, 0 to 15, 0 to 127",
                what, (long long)i, (int)note->pitch, (int)note->velocity, (int)note->channel,
                (int)note->programme);
        if (!in_range(note->track, 0, m->format ? TRACKS - 1 : INT32_MAX))
            return wf_error_set(error, "%s: note %lld is in track %d; it is 0 to %d", what,
                                (long long)i, (int)note->track, TRACKS - 1);
    }
    return true;
}

static bool midi_fits(const wf_midi *m, const char *what, wf_error *error)
{
    if (!m) return wf_error_set(error, "%s: no notes were given (NULL)", what);
    if (m->n < 0 || m->n_tempos < 0 || (m->n && !m->notes) || (m->n_tempos && !m->tempos))
        return wf_error_set(error, "%s: %lld notes and %lld tempos were promised and not given",
                            what, (long long)m->n, (long long)m->n_tempos);
    if (m->format != 0 && m->format != 1)
        return wf_error_set(error, "%s: format %d is not written; 0 and 1 are", what,
                            (int)m->format);
    if (!in_range(m->division, 0, 0x7FFF))
        return wf_error_set(error, "%s: .division is %lld; it must be 1 to 32767", what,
                            (long long)m->division);
    for (int64_t i = 0; i < m->n_tempos; i++)
        if (!in_range(m->tempos[i].at, 0, INT64_MAX / 4) ||
            !in_range(m->tempos[i].microseconds, 1, 0xFFFFFF))
            return wf_error_set(
                error,
                "%s: tempo %lld is of %lld microseconds a beat at tick %lld; it is 1 "
                "to 16777215, at 0 or more",
                what, (long long)i, (long long)m->tempos[i].microseconds,
                (long long)m->tempos[i].at);
    return notes_fit(m, what, error);
}

/* ---- events ---- */

static int by_order(const void *one, const void *two)
{
    const event *a = one, *b = two;
    if (a->track != b->track) return a->track < b->track ? -1 : 1;
    if (a->at != b->at) return a->at < b->at ? -1 : 1;
    if (a->kind != b->kind) return a->kind < b->kind ? -1 : 1;
    return a->of < b->of ? -1 : a->of > b->of;
}

static void list_events(writing *w)
{
    const wf_midi *m = w->midi;
    for (int64_t i = 0; i < m->n_tempos; i++)
        w->events[w->n++] = (event){ m->tempos[i].at, i, 0, TEMPO };
    for (int64_t i = 0; i < m->n; i++) {
        const wf_midi_note *note = &m->notes[i];
        const int32_t track = m->format ? note->track : 0;
        w->events[w->n++] = (event){ note->start, i, track, BEGIN };
        w->events[w->n++] = (event){ note->start + note->length, i, track,
                                     note->length ? END : END_AT_ONCE };
    }
    qsort(w->events, (size_t)w->n, sizeof *w->events, by_order);
}

/* ---- bytes ---- */

static void put(writing *w, uint32_t number, int bytes)
{
    while (bytes-- > 0) w->file[w->bytes++] = (unsigned char)(number >> 8 * bytes);
}

static void put_length(writing *w, int64_t number)
{
    for (int shift = 21; shift >= 0; shift -= 7)
        if (shift == 0 || number >> shift)
            put(w, (uint32_t)((number >> shift & 0x7F) | (shift ? 0x80 : 0)), 1);
}

static void put_event(writing *w, const event *e, int32_t programme[MIDI_CHANNELS])
{
    if (e->kind == TEMPO) {
        put(w, 0xFF5103, 3);
        put(w, (uint32_t)w->midi->tempos[e->of].microseconds, 3);
        return;
    }
    const wf_midi_note *note = &w->midi->notes[e->of];
    const uint32_t channel = (uint32_t)note->channel;
    if (e->kind == BEGIN && programme[channel] != note->programme) {
        programme[channel] = note->programme;
        put(w, (0xC0 | channel) << 8 | (uint32_t)note->programme, 2);
        put(w, 0, 1); /* and at once: */
    }
    put(w, (e->kind == BEGIN ? 0x90U : 0x80U) | channel, 1);
    put(w, (uint32_t)note->pitch, 1);
    put(w, e->kind == BEGIN ? (uint32_t)note->velocity : 64, 1);
}

static bool put_track(writing *w, int32_t track, const char *what, wf_error *error)
{
    int32_t programme[MIDI_CHANNELS] = { 0 };
    int64_t time = 0;
    put(w, 0x4D54726B, 4); /* MTrk */
    const int64_t size_at = w->bytes;
    put(w, 0, 4);
    for (; w->at < w->n && w->events[w->at].track == track; w->at++) {
        const event *e = &w->events[w->at];
        if (e->at - time > FARTHEST)
            return wf_error_set(error,
                                "%s: from tick %lld to %lld in track %d nothing happens; it "
                                "may be %d ticks",
                                what, (long long)time, (long long)e->at, (int)track, FARTHEST);
        put_length(w, e->at - time);
        put_event(w, e, programme);
        time = e->at;
    }
    put(w, 0x00FF2F00, 4); /* the end */
    const int64_t end = w->bytes;
    w->bytes = size_at;
    put(w, (uint32_t)(end - size_at - 4), 4);
    w->bytes = end;
    return true;
}

static bool put_file(writing *w, int32_t tracks, const char *what, wf_error *error)
{
    const int64_t division = w->midi->division ? w->midi->division : MIDI_DIVISION;
    put(w, 0x4D546864, 4); /* MThd */
    put(w, 6, 4);
    put(w, (uint32_t)w->midi->format, 2);
    put(w, (uint32_t)tracks, 2);
    put(w, (uint32_t)division, 2);
    for (int32_t track = 0; track < tracks; track++)
        if (!put_track(w, track, what, error)) return false;
    return true;
}

bool wf_midi_save(const char *path, const wf_midi *midi, wf_error *error)
{
    wf_error_clear(error);
    char what[WF_WHAT];
    text_what(what, "midi", path);
    if (!midi_fits(midi, what, error)) return false;
    int32_t tracks = 1;
    for (int64_t i = 0; i < midi->n && midi->format; i++)
        if (midi->notes[i].track >= tracks) tracks = midi->notes[i].track + 1;
    wf_parts p = { 0 };
    writing w = { .midi = midi };
    const int64_t most = midi->n <= INT32_MAX / 2 && midi->n_tempos <= INT32_MAX / 2
                             ? 2 * midi->n + midi->n_tempos
                             : -1;
    const int64_t room = OF_HEADER + tracks * OF_TRACK + most * OF_EVENT;
    if (most < 0 || room > UINT32_MAX)
        return wf_error_set(error, "%s: %lld notes and %lld tempos are too many", what,
                            (long long)midi->n, (long long)midi->n_tempos);
    for (int pass = 0; pass < 2; pass++) { /* counts, then hands out */
        p.used = 0;
        w.events = wf_part(&p, most, 1, (int64_t)sizeof *w.events);
        w.file = wf_part(&p, room, 1, 1);
        if (!pass) p.memory = text_memory(wf_alloc((size_t)p.used), p.used, what, error);
        if (!p.memory) return false;
    }
    list_events(&w);
    wf_writer writer;
    const bool ok = put_file(&w, tracks, what, error) &&
                    wf_writer_begin(&writer, what, path, error) &&
                    wf_writer_put(&writer, w.file, w.bytes) && wf_writer_end(&writer);
    wf_release(p.memory);
    return ok;
}
