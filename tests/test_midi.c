/* MIDI files: the bytes of small ones, what is written read back, running status and pairing, each
 * bad file one sentence, and thousands of damaged ones that do no harm. */
#include "data/midi.h"
#include "tensor/io.h"
#include "tests/damage.h"

#include <stdlib.h>

const harness_suite suite = { .after = nothing_is_left };

/* ---- files in memory ---- */

static file midi_file(int format, int tracks, int division)
{
    file f = { .n = 0 };
    add_bytes(&f, "MThd\0\0\0\6\0", 9);
    add_bytes(&f, &(unsigned char){ (unsigned char)format }, 1);
    add_bytes(&f, (unsigned char[]){ 0, (unsigned char)tracks }, 2);
    add_bytes(&f, (unsigned char[]){ (unsigned char)(division >> 8), (unsigned char)division }, 2);
    return f;
}

static void add_track(file *f, const char *bytes, size_t n)
{
    add_bytes(f, "MTrk\0\0\0", 7);
    add_bytes(f, &(unsigned char){ (unsigned char)n }, 1);
    add_bytes(f, bytes, n);
}

static file track_of(const char *bytes, size_t n)
{
    file f = midi_file(0, 1, 96);
    add_track(&f, bytes, n);
    return f;
}
#define TRACK(text) track_of(text, sizeof(text) - 1)

static const wf_midi *read_file(const file *f)
{
    wf_error e = { "old" };
    const wf_midi *m = wf_midi_from_memory("x", f->bytes, f->n, &e);
    ck_assert_msg(m && !*e.text, "%s", e.text);
    return m;
}

static void notes_are(const wf_midi *m, int64_t n, const wf_midi_note *want)
{
    ck_assert_int_eq(m->n, n);
    for (int64_t i = 0; i < n; i++) {
        const wf_midi_note *a = &m->notes[i], *b = &want[i];
        ck_assert_msg(a->start == b->start && a->length == b->length && a->pitch == b->pitch &&
                          a->velocity == b->velocity && a->channel == b->channel &&
                          a->programme == b->programme && a->track == b->track,
                      "note %d: %d %d %d %d %d %d %d", (int)i, (int)a->start, (int)a->length,
                      a->pitch, a->velocity, a->channel, a->programme, a->track);
    }
}

/* ---- reading ---- */

TEST(notes_are_read_with_running_status_and_everything_between)
{
    const file f = TRACK("\0\xFF\x03\5Piano"        /* a name */
                         "\0\xFF\x51\3\x07\xA1\x20" /* 500000 */
                         "\0\xC0\x18"               /* a guitar */
                         "\0\x90\x3C\x40"           /* C begins, */
                         "\x60\x3C\0"               /* and ends, by velocity 0 */
                         "\0\x40\x50"               /* E */
                         "\0\xF0\3ab\xF7"           /* of some maker */
                         "\x81\x00\x80\x40\x40"     /* ends after 128 ticks */
                         "\0\xB0\7\x64"             /* the volume */
                         "\0\xE0\0\x40"             /* the wheel */
                         "\0\xD0\1"                 /* pressure */
                         "\0\xFF\x51\3\x0F\x42\x40" /* 1000000 */
                         "\0\x99\x24\x7F"           /* a drum, never ended */
                         "\x10\xFF\x2F\0");
    const wf_midi *m = read_file(&f);
    notes_are(m, 3,
              (wf_midi_note[]){ { 0, 96, 60, 64, 0, 24, 0 },
                                { 96, 128, 64, 80, 0, 24, 0 },
                                { 224, 16, 36, 127, 9, 0, 0 } });
    ck_assert(m->division == 96 && m->format == 0 && m->n_tempos == 2);
    ck_assert(m->tempos[0].at == 0 && m->tempos[0].microseconds == 500000);
    ck_assert(m->tempos[1].at == 224 && m->tempos[1].microseconds == 1000000);
    wf_midi_free(m);
}

TEST(the_first_to_begin_is_the_first_to_end)
{
    const file f = TRACK("\0\x90\x3C\1\1\x3C\2\1\x3D\3\1\x3C\0\1\x3C\0\1\x3C\0\0\xFF\x2F\0");
    const wf_midi *m = read_file(&f);
    notes_are(m, 3,
              (wf_midi_note[]){
                  { 0, 3, 60, 1, 0, 0, 0 }, { 1, 3, 60, 2, 0, 0, 0 }, { 2, 3, 61, 3, 0, 0, 0 } });
    wf_midi_free(m);
}

TEST(tracks_sound_together_and_other_chunks_are_passed_over)
{
    file f = midi_file(1, 2, 480);
    add_track(&f, "\0\xC0\5\0\x90\x3C\x40\x0A\x3C\0", 10); /* without an end: it is at its end */
    add_bytes(&f, "XFIH\0\0\0\2ab", 10);
    add_track(&f, "\0\x90\x30\x40\x0A\x30\0\0\xFF\x2F\0zzz", 14);
    add_bytes(&f, "behind", 6);
    const wf_midi *m = read_file(&f);
    notes_are(m, 2, (wf_midi_note[]){ { 0, 10, 60, 64, 0, 5, 0 }, { 0, 10, 48, 64, 0, 0, 1 } });
    ck_assert(m->format == 1 && m->division == 480 && m->n_tempos == 0);
    wf_midi_free(m);
}

/* ---- what is bad ---- */

TEST(each_bad_file_is_one_sentence)
{
    const file good = TRACK("\0\x90\x3C\x40\x60\x3C\0\0\xFF\x2F\0");
    const struct {
        file f;
        const char *says;
    } bad[] = {
        { first(good, 0), "it is empty" },
        { first(good, 3), "it is cut: 3 bytes are less than its header" },
        { first(good, 13), "it is cut: 13 bytes are less than its header" },
        { with(good, 0, "R", 1), "this is not a MIDI file: it does not begin with 'MThd'" },
        { with(good, 4, "\xFF", 1), "it is cut: 33 bytes are less than its header" },
        { with(good, 7, "\5", 1), "its header has 5 bytes; it takes 6" },
        { with(good, 9, "\2", 1), "format 2 is not read; 0 and 1 are" },
        { with(good, 12, "\xE7\x28", 2), "its times are frames of a film (SMPTE), not beats" },
        { with(good, 12, "\0\0", 2), "a beat has 0 ticks" },
        { with(good, 11, "\2", 1), "it is cut: 1 of its 2 tracks are there" },
        { first(good, 16), "it is cut: 0 of its 1 tracks are there" },
        { first(good, 30), "it is cut: track 0 says that it has 11 bytes, and 8 are there" },
        { with(good, 18, "\x7F", 1),
          "it is cut: track 0 says that it has 2130706443 bytes, and 11 are there" },
        { TRACK("\0\x90\x3C"), "track 0 is cut: it ends within an event" },
        { TRACK("\x81"), "track 0 is cut: it ends within an event" },
        { TRACK("\0"), "track 0 is cut: it ends within an event" },
        { TRACK("\0\xFF"), "track 0 is cut: it ends within an event" },
        { TRACK("\0\xFF\1\5ab"), "track 0 is cut: it ends within an event" },
        { TRACK("\0\x3C\x40"), "byte 23: 0x3C begins no event" },
        { TRACK("\0\xF4\x40"), "byte 23: 0xF4 begins no event" },
        { TRACK("\0\x90\x3C\x40\0\xF0\0\0\x3C\x40"), "byte 30: 0x3C begins no event" },
        { TRACK("\0\x90\x3C\x90"), "byte 25 is 0x90, within a message of a channel" },
        { TRACK("\xFF\xFF\xFF\xFF\x7F"), "byte 26: a length has more than 4 bytes" },
        { TRACK("\0\xFF\x51\2ab"), "byte 26: a tempo is 3 bytes, and more than 0" },
        { TRACK("\0\xFF\x51\3\0\0\0"), "byte 26: a tempo is 3 bytes, and more than 0" },
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        wf_error e = { "old" };
        ck_assert_ptr_null(wf_midi_from_memory("x", bad[i].f.bytes, bad[i].f.n, &e));
        ck_assert_str_eq(e.text, worded("midi 'x': %s", bad[i].says));
        ck_assert(well_said(e.text));
    }
}

TEST(files_that_are_none_are_one_sentence)
{
    wf_error e;
    ck_assert_ptr_null(wf_midi_load(NULL, &e));
    ck_assert_str_eq(e.text, "midi '(no path)': no path was given");
    const char *path = path_of("노래.mid");
    ck_assert_ptr_null(wf_midi_load(path, &e));
    ck_assert_str_eq(e.text, worded("midi '%s': no such file or folder", path));
    ck_assert_ptr_null(wf_midi_from_memory(NULL, NULL, 4, &e));
    ck_assert_str_eq(e.text, "midi '(memory)': no bytes were given");
    ck_assert_ptr_null(wf_midi_from_memory(NULL, NULL, 0, &e));
    ck_assert_str_eq(e.text, "midi '(memory)': it is empty");
}

/* Bytes in memory of their own, not one of which may be read too many. */
static bool reads(const file *f)
{
    wf_error e = { "old" };
    unsigned char *own = malloc(f->n ? (size_t)f->n : 1);
    memcpy(own, f->bytes, (size_t)f->n);
    const wf_midi *m = wf_midi_from_memory("x", own, f->n, &e);
    ck_assert((m != NULL) == !*e.text);
    ck_assert_msg(m || well_said(e.text), "%s", e.text);
    for (int64_t i = 0; m && i < m->n; i++)
        ck_assert(m->notes[i].length >= 0 && m->notes[i].start >= 0);
    free(own);
    const bool read = m;
    wf_midi_free(m);
    return read;
}

TEST(damaged_files_do_no_harm)
{
    file good = midi_file(1, 2, 96);
    add_track(&good,
              "\0\xFF\x51\3\7\xA1\x20\0\xC0\x18\0\x90\x3C\x40\x60\x3C\0\0\x40\x50\x10\xFF\x2F\0",
              24);
    add_track(&good, "\0\xF0\3ab\xF7\0\x91\x30\x40\x81\0\x81\x30\x40\0\xFF\x2F\0", 19);
    ck_assert(reads(&good));
    for (int64_t n = 0; n < good.n; n++) {
        const file part = first(good, n);
        ck_assert(!reads(&part));
    }
    int read = 0;
    uint64_t draw = 0;
    for (int k = 0; k < 30000; k++) {
        const file f = damaged(good, 17, &draw);
        read += reads(&f);
    }
    ck_assert(read > 300 && read < 29700);
}

/* ---- writing ---- */

TEST(what_is_written_has_these_bytes)
{
    wf_error e = { "old" };
    const wf_midi_note notes[] = { { 480, 240, 62, 90, 0, 0, 0 }, { 0, 480, 60, 100, 0, 5, 0 } };
    const wf_midi_tempo tempo = { 0, 600000 };
    const wf_midi m = { .notes = notes, .n = 2, .tempos = &tempo, .n_tempos = 1 };
    ck_assert(wf_midi_save(path_of("a.mid"), &m, &e) && !*e.text);
    int64_t n;
    char *bytes = wf_file_read(path_of("a.mid"), 0, &n, &e);
    const char want[] = "MThd\0\0\0\6\0\0\0\1\1\xE0MTrk\0\0\0\x23"
                        "\0\xFF\x51\3\x09\x27\xC0"
                        "\0\xC0\5\0\x90\x3C\x64"
                        "\x83\x60\x80\x3C\x40"
                        "\0\xC0\0\0\x90\x3E\x5A"
                        "\x81\x70\x80\x3E\x40"
                        "\0\xFF\x2F";
    ck_assert_int_eq(n, (int64_t)sizeof want);
    ck_assert_mem_eq(bytes, want, sizeof want);
    wf_release(bytes);
}

TEST(what_is_saved_is_loaded)
{
    enum { N = 300 };
    wf_error e;
    wf_midi_note notes[N];
    const wf_midi_tempo tempos[] = {
        { 0, 500000 }, { 0, 400000 }, { 5000, 1 }, { 5000, 0xFFFFFF }
    };
    for (int i = 0; i < N; i++) { /* of one pitch, one after another */
        const int32_t draw = (int32_t)wf_random_below(3, (uint64_t)i, 1000);
        notes[i] = (wf_midi_note){ 100 * (i / 3),  draw % 101, 40 + 7 * (i % 3),
                                   1 + draw % 127, i % 3 * 5,  draw % 128,
                                   i % 2 };
    }
    for (int format = 0; format < 2; format++) {
        const wf_midi m = { notes, N, tempos, 4, 960, format };
        const char *path = path_of("노래.mid");
        ck_assert_msg(wf_midi_save(path, &m, &e), "%s", e.text);
        const wf_midi *got = wf_midi_load(path, &e);
        ck_assert_msg(got, "%s", e.text);
        ck_assert(got->n == N && got->division == 960 && got->format == format);
        ck_assert(got->n_tempos == 4 && !memcmp(got->tempos, tempos, sizeof tempos));
        for (int i = 0; i < N; i++) {
            const wf_midi_note *a = &got->notes[i];
            int same = 0;
            for (int k = 0; k < N; k++) {
                wf_midi_note b = notes[k];
                b.track = format ? b.track : 0;
                same += a->start == b.start && a->length == b.length && a->pitch == b.pitch &&
                        a->velocity == b.velocity && a->channel == b.channel &&
                        a->programme == b.programme && a->track == b.track;
            }
            ck_assert_int_eq(same, 1);
            ck_assert(!i || got->notes[i - 1].start <= a->start);
        }
        ck_assert(wf_midi_save(path_of("again.mid"), got, &e));
        const wf_midi *again = wf_midi_load(path_of("again.mid"), &e);
        notes_are(again, N, got->notes);
        wf_midi_free(got);
        wf_midi_free(again);
    }
}

TEST(what_cannot_be_written_leaves_the_old_file)
{
    wf_error e;
    const char *path = path_of("a.mid");
    ck_assert(wf_file_write(path, "old", 3, &e));
    const wf_midi_note good = { 0, 1, 60, 64, 0, 0, 0 };
    const struct {
        wf_midi_note note;
        wf_midi_tempo tempo;
        wf_midi m;
        const char *says;
    } bad[] = {
        { { -1, 1, 60, 64, 0, 0, 0 },
          { 0, 1 },
          { 0 },
          "note 0 begins at -1 and lasts 1 ticks; both are 0 or more" },
        { { 0, 1, 128, 64, 0, 0, 0 },
          { 0, 1 },
          { 0 },
          "note 0 has pitch 128, velocity 64, channel 0, programme 0; they are 0 to 127, 1 to 127, "
          "0 to 15, 0 to 127" },
        { { 0, 1, 60, 0, 16, -1, 0 },
          { 0, 1 },
          { 0 },
          "note 0 has pitch 60, velocity 0, channel 16, programme -1; they are 0 to 127, 1 to 127, "
          "0 to 15, 0 to 127" },
        { { 0, 1, 60, 64, 0, 0, 65535 },
          { 0, 1 },
          { .format = 1 },
          "note 0 is in track 65535; it is 0 to 65534" },
        { { 1 << 28, 1, 60, 64, 0, 0, 0 },
          { 0, 1 },
          { 0 },
          "from tick 0 to 268435456 in track 0 nothing happens; it may be 268435455 ticks" },
        { good,
          { 0, 0 },
          { 0 },
          "tempo 0 is of 0 microseconds a beat at tick 0; it is 1 to 16777215, at 0 or more" },
        { good, { 0, 1 }, { .format = 2 }, "format 2 is not written; 0 and 1 are" },
        { good, { 0, 1 }, { .division = 40000 }, ".division is 40000; it must be 1 to 32767" },
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        wf_midi m = bad[i].m;
        m.notes = &bad[i].note, m.n = 1, m.tempos = &bad[i].tempo, m.n_tempos = 1;
        ck_assert(!wf_midi_save(path, &m, &e));
        ck_assert_str_eq(e.text, worded("midi '%s': %s", path, bad[i].says));
    }
    ck_assert(!wf_midi_save(path, NULL, &e));
    ck_assert_str_eq(e.text, worded("midi '%s': no notes were given (NULL)", path));
    ck_assert(!wf_midi_save(path, &(wf_midi){ .n = 2 }, &e));
    ck_assert_str_eq(e.text,
                     worded("midi '%s': 2 notes and 0 tempos were promised and not given", path));
    int64_t n;
    char *there = wf_file_read(path, 0, &n, &e);
    ck_assert_str_eq(there, "old");
    wf_release(there);
}

TEST(memory_may_run_out_anywhere)
{
    wf_error e;
    const wf_midi_note note = { 0, 1, 60, 64, 0, 0, 0 };
    const wf_midi m = { .notes = &note, .n = 1 };
    bool ok = false;
    for (int at = 1; !ok; at++) {
        ck_assert_int_lt(at, 20);
        heap.fail_at = heap.asked + at;
        ok = wf_midi_save(path_of("a.mid"), &m, &e);
        const wf_midi *got = ok ? wf_midi_load(path_of("a.mid"), &e) : NULL;
        ok = got;
        heap.fail_at = 0;
        ck_assert(ok || strstr(e.text, "not enough memory"));
        wf_midi_free(got);
        ck_assert_int_eq(heap.live, 0);
    }
}
