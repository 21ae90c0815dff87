/* Melodies, one to many: an LSTM that is told a style (a learned vector) goes on from nothing or
 * from a first bar. Expected: of 200 melodies written after 3,000 steps on those made up here (a
 * motif, the same a step up or down, another in its rhythm, a cadence) 95 % of the bars obey the
 * rules. Run with --help for the options. */
#include <weft.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BAR = 16, BARS = 4, EVENTS = BAR * BARS + 1, STYLES = 12 }; /* a step is a sixteenth */
enum { LENGTHS = 8, LOWEST = 36, PITCHES = 61, IDS = 1 + (PITCHES + 1) * LENGTHS };
static const int64_t length_of[LENGTHS] = { 1, 2, 3, 4, 6, 8, 12, 16 };

typedef struct options {
    wf_run_options run;
    wf_option_list data;
    const char *first, *out;
    int64_t latent, embedding, hidden, batch, top_k;
    double temperature, unknown;
} options;

static const wf_option rows[] = {
    { WF_OPTION(options, data), "FILE",
      "a melody to learn, .mid; a style each (melodies made up)" },
    { WF_OPTION(options, embedding), "N", "of an event, a style", WF_OPTION_FIXED, 1, 4096 },
    { WF_OPTION(options, hidden), "N", "units of the LSTM", WF_OPTION_FIXED, 1, 4096 },
    { WF_OPTION(options, batch), "N", "melodies of a step", WF_OPTION_KEPT, 1, 4096 },
    { WF_OPTION(options, unknown), "P", "how often a style is not told", WF_OPTION_KEPT, 0, 1 },
    { WF_OPTION(options, latent), "N", "the style to write in; 0: none", .high = 1e6 },
    { WF_OPTION(options, first), "FILE", "begins with the first bar of a .mid file" },
    { WF_OPTION(options, out), "FILE", "writes a melody, .mid" },
    { WF_OPTION(options, temperature), "X", "of drawing; 0: the likeliest", .high = 100 },
    { WF_OPTION(options, top_k), "N", "draws from the N likeliest; 0: from all", .high = IDS },
};

/* Events, and 0 at the end; the style from 1. */
typedef struct melody {
    int32_t id[EVENTS + 1], n, style;
} melody;

typedef struct composer {
    options o;
    wf_run *run;
    melody *read; /* of --data, in four bars each */
    int64_t n, styles;
    wf_module *net;
    wf_embedding *event, *style;
    wf_rnn *rnn;
    wf_linear *out;
} composer;

/* ---- events ---- */

/* pitch -1: a rest */
static int32_t id_of(int pitch, int length)
{
    int32_t k = 0;
    while (k + 1 < LENGTHS && length_of[k + 1] <= length) k++;
    return 1 + (pitch < 0 ? 0 : pitch - LOWEST + 1) * LENGTHS + k;
}

static int pitch_of(int32_t id)
{
    return id > LENGTHS ? (id - 1) / LENGTHS - 1 + LOWEST : -1;
}

static int steps_of(int32_t id)
{
    return (int)length_of[(id - 1) % LENGTHS];
}

/* ---- melodies made up, and their rules ---- */

static const int major[7] = { 0, 2, 4, 5, 7, 9, 11 }, minor[7] = { 0, 2, 3, 5, 7, 8, 10 };
static const int key_of[STYLES / 2] = { 0, 2, 4, 5, 7, 9 };

/* Step `degree` of a style's scale, above middle C. */
static int pitch_at(int style, int degree)
{
    const int *scale = style % 2 ? major : minor;
    const int octave = (degree + 70) / 7 - 10;
    return 60 + key_of[(style - 1) / 2] + 12 * octave + scale[(degree + 70) % 7];
}

/* And back; -1000: not of the scale. */
static int degree_of(int style, int pitch)
{
    for (int degree = -21; degree < 28; degree++)
        if (pitch_at(style, degree) == pitch) return degree;
    return -1000;
}

/* Four bars: a motif; the same one step of the scale up or down; another one in its rhythm; and
 * three notes, of which the last and long one is the tonic. */
static melody make_melody(uint64_t key)
{
    static const int rhythm[6][6] = { { 4, 4, 4, 4 }, { 8, 4, 4 },       { 4, 4, 8 },
                                      { 6, 2, 4, 4 }, { 2, 2, 4, 4, 4 }, { 4, 2, 2, 8 } };
    static const int move[4] = { -2, -1, 1, 2 };
    melody m = { .style = 1 + (int32_t)wf_random_below(key, 0, STYLES) };
    const int *beats = rhythm[wf_random_below(key, 1, 6)];
    const int up = wf_random_below(key, 2, 2) ? 1 : -1;
    int motif[6], degree = 0;
    for (int bar = 0; bar < BARS; bar++) {
        if (bar == 3) beats = rhythm[2];
        for (int i = 0; beats[i] && i < 6; i++) {
            const uint64_t at = (uint64_t)(10 + 8 * bar + i);
            if (bar == 1)
                degree = motif[i] + up;
            else if (bar == 3 && i == 2)
                degree = 0;
            else
                degree = i == 0 ? 2 * (int)wf_random_below(key, at, 3)
                                : degree + move[wf_random_below(key, at, 4)];
            if (bar == 0) motif[i] = degree;
            const bool rest = bar == 2 && i > 0 && !beats[i + 1] && wf_random_below(key, 3, 4) == 0;
            m.id[m.n++] = id_of(rest ? -1 : pitch_at(m.style, degree), beats[i]);
        }
    }
    return m;
}

/* Which bars obey the rules. */
static int bars_right(const melody *m)
{
    int begin[BARS + 1] = { 0 }, bar = 0, at = 0, right = 0;
    for (int i = 0; i < m->n && bar < BARS; i++) {
        at += steps_of(m->id[i]);
        if (at >= BAR) begin[++bar] = i + 1, at = at == BAR ? 0 : 1000;
    }
    for (int b = 0; b < bar; b++) {
        int sum = 0, shift = -1000;
        bool ok = true;
        const int n = begin[b + 1] - begin[b];
        for (int i = begin[b]; i < begin[b + 1]; i++) {
            const int pitch = pitch_of(m->id[i]), degree = degree_of(m->style, pitch);
            const int32_t before = m->id[i - begin[b]];
            sum += steps_of(m->id[i]);
            ok = ok && (pitch < 0 ? b == 2 && i == begin[b + 1] - 1 : degree > -1000);
            if (b == 1 || b == 2)
                ok = ok && n == begin[1] && steps_of(before) == steps_of(m->id[i]);
            if (b != 1) continue;
            if (i == begin[1]) shift = degree - degree_of(m->style, pitch_of(before));
            ok = ok && (shift == 1 || shift == -1) &&
                 degree == degree_of(m->style, pitch_of(before)) + shift;
        }
        if (b == 3)
            ok = ok && begin[4] == m->n && steps_of(m->id[m->n - 1]) == 8 &&
                 degree_of(m->style, pitch_of(m->id[m->n - 1])) == 0;
        right += ok && sum == BAR;
    }
    return right;
}

/* ---- MIDI ---- */

/* The highest notes of a file, without drums, by the sixteenth, from step `from` on: at most
 * `steps` of them. False at the end. */
static bool read_bars(const wf_midi *file, int64_t from, int64_t steps, melody *m)
{
    const int64_t step = file->division >= 4 ? file->division / 4 : 1;
    int64_t at = from, end = from + steps;
    m->n = 0;
    for (int64_t i = 0; i <= file->n && at < end; i++) {
        const wf_midi_note *note = i < file->n ? &file->notes[i] : NULL;
        const int64_t start = note ? (note->start + step / 2) / step : at;
        if (note && (note->channel == 9 || start < at)) continue;
        for (int64_t gap = (start < end ? start : end) - at; gap > 0 && m->n < EVENTS;) {
            m->id[m->n] = id_of(-1, (int)(gap < BAR ? gap : BAR));
            at += steps_of(m->id[m->n]), gap -= steps_of(m->id[m->n++]);
        }
        if (!note || start >= end || m->n >= EVENTS) break;
        int pitch = note->pitch;
        int64_t long_ = (note->length + step / 2) / step;
        for (int64_t k = i + 1; k < file->n && (file->notes[k].start + step / 2) / step == start;
             k++)
            if (file->notes[k].channel != 9 && file->notes[k].pitch > pitch)
                pitch = file->notes[k].pitch, long_ = (file->notes[k].length + step / 2) / step;
        while (pitch < LOWEST) pitch += 12;
        while (pitch >= LOWEST + PITCHES) pitch -= 12;
        if (long_ < 1) long_ = 1;
        if (long_ > end - at) long_ = end - at;
        m->id[m->n] = id_of(pitch, (int)long_);
        at += steps_of(m->id[m->n++]);
    }
    m->id[m->n] = 0;
    return m->n > 0;
}

static bool write_melody(const char *path, const melody *m, wf_error *error)
{
    wf_midi_note note[EVENTS];
    wf_midi midi = { .notes = note, .division = 480 };
    int64_t at = 0;
    for (int i = 0; i < m->n; i++) {
        const int64_t length = 120 * steps_of(m->id[i]);
        const int pitch = pitch_of(m->id[i]);
        const wf_midi_note one = { at, length, .pitch = pitch, .velocity = 80 };
        if (pitch >= 0) note[midi.n++] = one;
        at += length;
    }
    return wf_midi_save(path, &midi, error);
}

/* Every four bars of the files; the number of a file is its style. */
static bool read_data(composer *c, wf_error *error)
{
    for (int64_t i = 0; i < c->o.data.n; i++) {
        if (!wf_run_reads(c->run, c->o.data.at[i])) return false;
        const wf_midi *file = wf_midi_load(c->o.data.at[i], error);
        if (!file) return false;
        int64_t last = 0;
        for (int64_t k = 0; k < file->n; k++) last = file->notes[k].start;
        const int64_t step = file->division >= 4 ? file->division / 4 : 1;
        melody m = { .style = (int32_t)i + 1 };
        for (int64_t from = 0; from * step <= last; from += BAR)
            if (read_bars(file, from, BAR * BARS, &m)) {
                melody *more = realloc(c->read, (size_t)(c->n + 1) * sizeof m);
                if (!more) return wf_midi_free(file), wf_error_set(error, "not enough memory");
                c->read = more;
                c->read[c->n++] = m;
            }
        wf_midi_free(file);
    }
    if (c->o.data.n && !c->n) return wf_error_set(error, "--data: there is no note in it");
    return true;
}

/* ---- the net ---- */

static void make_net(composer *c)
{
    const wf_module_options start = { .seed = (uint64_t)c->o.run.seed };
    const int64_t E = c->o.embedding, H = c->o.hidden;
    wf_module *net = c->net = wf_module_new("generate", &start);
    c->event = wf_embedding_new(net, "event", &(wf_embedding_options){ .input = IDS, .output = E });
    c->style = wf_embedding_new(net, "style",
                                &(wf_embedding_options){ .input = c->styles + 1, .output = E });
    c->rnn = wf_lstm_new(net, "rnn", &(wf_rnn_options){ .input = 2 * E, .hidden = H });
    c->out = wf_linear_new(net, "out", &(wf_linear_options){ .input = H, .output = IDS });
}

/* Events before (T, B) and styles (B) to what the next are told by, (T, B, hidden). */
static wf_var *features_of(wf_tape *t, const composer *c, wf_var *before, wf_var *style,
                           wf_var **final)
{
    wf_var *x = wf_embedding_forward(t, c->event, before);
    wf_var *s = wf_expand(t, wf_embedding_forward(t, c->style, style), wf_shape_of(x));
    const wf_rnn_call call = { .final = final };
    return wf_rnn_forward(t, c->rnn, wf_concat(t, -1, WF_VARS(x, s)), &call);
}

/* One step of the same, for wf_generate. */
static void step(wf_tape *t, const void *self, wf_decoder_rows *row)
{
    const composer *c = self;
    wf_var *state[2],
        *x = wf_concat(t, -1,
                       WF_VARS(wf_embedding_forward(t, c->event, row->word), row->memory[0]));
    for (int i = 0; i < 2; i++) state[i] = wf_unsqueeze(t, row->state[i], 0);
    row->features = wf_rnn_step(t, c->rnn, x, state);
    for (int i = 0; i < 2; i++) row->state[i] = wf_select(t, state[i], 0, 0);
}

static wf_var *logits(wf_tape *t, const void *self, wf_var *features)
{
    return wf_linear_forward(t, ((const composer *)self)->out, features);
}

/* One of those read; every tenth is for judging alone, if there are so many. */
static int64_t drawn(const composer *c, uint64_t key, bool judged)
{
    const int64_t held = judged ? c->n / 10 : 0, k = wf_random_below(key, 0, held ? held : c->n);
    return held ? 10 * k + 9 : k % 10 == 9 ? k - 1 : k;
}

/* The mean loss of B melodies, by a key; those judged are told their style, and are other ones. */
static wf_var *loss_of(wf_tape *t, const composer *c, uint64_t key, int64_t B, bool judged)
{
    wf_tensor before, target, styles, lengths;
    wf_var *x = wf_constant_fill(t, WF_I32, WF_SHAPE(EVENTS + 1, B), &before);
    wf_var *y = wf_constant_fill(t, WF_I32, WF_SHAPE(EVENTS + 1, B), &target);
    wf_var *s = wf_constant_fill(t, WF_I32, WF_SHAPE(B), &styles);
    wf_var *n = wf_constant_fill(t, WF_I32, WF_SHAPE(B), &lengths);
    if (!x || !y || !s || !n) return NULL;
    wf_tensor_fill(&before, 0), wf_tensor_fill(&target, 0);
    int64_t longest = 0;
    for (int64_t b = 0; b < B; b++) {
        const uint64_t own = wf_key_with(key, (uint64_t)b);
        const melody m = c->n ? c->read[drawn(c, own, judged)] : make_melody(own);
        for (int i = 0; i < m.n; i++) {
            ((int32_t *)target.data)[i * B + b] = m.id[i];
            ((int32_t *)before.data)[(i + 1) * B + b] = m.id[i];
        }
        const bool known = judged || wf_random_uniform(own, 1000) >= c->o.unknown;
        ((int32_t *)styles.data)[b] = known ? m.style : 0;
        ((int32_t *)lengths.data)[b] = m.n + 1;
        if (m.n + 1 > longest) longest = m.n + 1;
    }
    x = wf_slice(t, x, 0, 0, longest, 1), y = wf_slice(t, y, 0, 0, longest, 1);
    return wf_linear_sequence_cross_entropy(t, c->out, features_of(t, c, x, s, NULL), y, n, NULL,
                                            NULL);
}

/* Goes on from m as it is, in its style; `number` says which of many it is. */
static bool compose(composer *c, melody *m, int64_t number)
{
    wf_tape *t = wf_run_tape(c->run);
    wf_tape_reset(t);
    wf_var *style = wf_constant(t, WF_I32, WF_SHAPE(1), &m->style);
    wf_var *told = wf_embedding_forward(t, c->style, style), *state[2];
    int32_t before[EVENTS + 1] = { 0 };
    for (int i = 0; i < 2; i++) state[i] = wf_zeros(t, WF_F32, WF_SHAPE(1, c->o.hidden));
    if (m->n) {
        memcpy(before + 1, m->id, (size_t)m->n * sizeof *before);
        features_of(t, c, wf_constant(t, WF_I32, WF_SHAPE(m->n, 1), before), style, state);
        for (int i = 0; i < 2; i++) state[i] = wf_select(t, state[i], 0, 0);
    }
    const wf_decoder decoder = { step, logits, c, WF_VARS(told), { 2, state }, "melody", { NULL } };
    const wf_generate_options how = { .begin = before[m->n],
                                      .max_length = EVENTS - m->n,
                                      .temperature = c->o.temperature,
                                      .top_k = c->o.temperature > 0 ? c->o.top_k : 0,
                                      .seed = (uint64_t)c->o.run.seed + 1,
                                      .numbered = number };
    wf_generated out = { 0 };
    const bool ok = wf_generate(t, &decoder, &how, &out);
    for (int64_t i = 0; ok && i < out.at[0].n && out.at[0].ids[i]; i++)
        m->id[m->n++] = out.at[0].ids[i];
    wf_generated_free(&out);
    return ok;
}

static bool show(composer *c, wf_error *error)
{
    if (c->o.out) {
        melody m = { .style = (int32_t)c->o.latent };
        const wf_midi *file = c->o.first ? wf_midi_load(c->o.first, error) : NULL;
        if (c->o.first && !file) return false;
        if (file && !read_bars(file, 0, BAR, &m)) wf_error_set(error, "--first: it has no note");
        wf_midi_free(file);
        return wf_run_ok(c->run) && compose(c, &m, 0) && write_melody(c->o.out, &m, error);
    }
    if (c->n) return true;
    int64_t right = 0, whole = 0;
    for (int64_t i = 0; i < 200; i++) {
        melody m = { .style = 1 + (int32_t)(i % STYLES) };
        if (!compose(c, &m, i)) return false;
        right += bars_right(&m), whole += bars_right(&m) == BARS;
    }
    printf("200 melodies: %.1f %% of their bars obey the rules, %.1f %% do in all bars\n",
           (double)right / 200 / BARS * 100, (double)whole / 2);
    return true;
}

static void learn(composer *c)
{
    wf_run *run = c->run;
    const uint64_t key = wf_key_with((uint64_t)c->o.run.seed, 7);
    wf_optim *optim = wf_adam_new(c->net, NULL);
    const wf_run_plan plan = { c->net, optim, 100, .unit = "melodies",
                               .figures = { "nats/event" } };
    wf_run_begin(run, &plan);
    while (wf_run_next(run)) {
        wf_tape *t = wf_run_tape(run);
        const uint64_t own = wf_key_with(key, (uint64_t)wf_run_step(run) + 1);
        wf_run_learn(run, loss_of(t, c, own, c->o.batch, false), c->o.batch);
        if (!wf_run_epoch_ended(run)) continue;
        const double loss = wf_item(loss_of(t, c, wf_key_with(key, 0), 256, true));
        wf_run_judge(run, &loss);
    }
    if (wf_run_finish(run)) show(c, wf_run_error(run));
    wf_optim_free(optim);
}

int main(int argc, char *argv[])
{
    static composer c;
    c.o = (options){ .embedding = 32, .hidden = 256, .batch = 64, .temperature = 0.5 };
    c.o.unknown = 0.2;
    c.o.run = (wf_run_options){ 30, .lr = 6e-3, .clip = 1, .schedule = "cosine", .seed = 1 };
    const wf_run_call call = { "generate", "Writes melodies as MIDI, from a style or a first bar.",
                               WF_OPTIONS(rows, &c.o), .options = &c.o.run };
    wf_run *run = c.run = wf_run_new(&call, argc, argv);
    wf_run_reads(run, c.o.first), wf_run_writes(run, "out", c.o.out);
    if (!c.o.out && (c.o.first || wf_run_given(run, "latent")))
        wf_run_fail(run, "options --first and --latent: they need --out, a file to write to");
    const wf_tensor *styles = wf_archive_find(wf_run_archive(run), "style.weight");
    if (wf_run_ok(run) && read_data(&c, wf_run_error(run))) {
        c.styles = styles ? styles->dim[0] - 1 : c.o.data.n ? c.o.data.n : STYLES;
        if (c.o.latent > c.styles || c.o.data.n > c.styles)
            wf_run_fail(run, "options --latent and --data: there are %d styles", (int)c.styles);
        else
            make_net(&c), learn(&c);
    }
    wf_module_free(c.net), free(c.read);
    return wf_run_free(run);
}
