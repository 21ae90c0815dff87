/* A corpus: text decoded once into ids, what is learned from first and what is held out behind it.
 * Batches are strided views of those ids; nothing is copied or computed per step. */
#include "data/corpus.h"

#include "data/text_private.h"
#include "data/utf8.h"
#include "tensor/par.h"
#include "tensor/size.h"
#include "tensor/text.h"

#include <string.h>

enum { LETTERS = 0x110000, WORDS = LETTERS / 64 };

/* Which letters there are. A letter's rank, its place among those by code point, is a count of
 * bits. */
typedef struct letter_set {
    uint64_t bits[WORDS];
    int32_t before[WORDS]; /* letters in all words before this one */
} letter_set;

struct wf_corpus {
    letter_set *set;
    int32_t *letters, *ids; /* by id; ids by rank */
    char *alphabet_text;
    int64_t alphabet;
    int32_t *text; /* train ids, then held-out ids */
    int64_t train, held, lane, time, at;
    wf_tensor input, target, again, valid;
};

/* ---- letters ---- */

static bool has(const letter_set *set, int32_t letter)
{
    return letter >= 0 && letter < LETTERS && (set->bits[letter >> 6] >> (letter & 63) & 1);
}

static void add(letter_set *set, int32_t letter)
{
    set->bits[letter >> 6] |= (uint64_t)1 << (letter & 63);
}

static int32_t rank_of(const letter_set *set, int32_t letter)
{
    uint64_t below = set->bits[letter >> 6] & (((uint64_t)1 << (letter & 63)) - 1);
    return set->before[letter >> 6] + __builtin_popcountll(below);
}

/* Counts the set; ranks are right from here on. */
static int64_t count(letter_set *set)
{
    int32_t n = 0;
    for (int i = 0; i < WORDS; i++) {
        set->before[i] = n;
        n += __builtin_popcountll(set->bits[i]);
    }
    return n;
}

/* Letter and code point for a message: "'x' (U+0078)"; only the code point where it is not
 * shown. */
static const char *named(int32_t letter, char text[32])
{
    char utf8[5];
    wf_utf8_encode(letter, utf8);
    if (letter <= 0x20 || (letter >= 0x7F && letter < 0xA0))
        wf_format(text, 32, "U+%04X", (unsigned)letter);
    else
        wf_format(text, 32, "'%s' (U+%04X)", utf8, (unsigned)letter);
    return text;
}

static void *take(int64_t n, int64_t size, const char *what, wf_error *error)
{
    int64_t bytes = INT64_MAX;
    const bool fits = wf_size_mul(n, size, &bytes);
    return text_memory(fits ? wf_alloc((size_t)bytes) : NULL, bytes, what, error);
}

/* Letters in the order of their ids, from a counted set: those of `given` as they are there, then
 * the others by code point. */
static void order_alphabet(wf_corpus *c, const char *given)
{
    int32_t n = 0, letter = 0;
    const int64_t bytes = given ? (int64_t)strlen(given) : 0;
    for (int64_t i = 0; i < c->alphabet; i++) c->ids[i] = -1;
    for (int64_t at = 0; at < bytes;) {
        at += wf_utf8_decode(given + at, bytes - at, &letter);
        c->letters[n] = letter;
        c->ids[rank_of(c->set, letter)] = n++;
    }
    int32_t *id = c->ids;
    for (int i = 0; i < WORDS; i++)
        for (uint64_t bits = c->set->bits[i]; bits; bits &= bits - 1, id++) {
            if (*id >= 0) continue;
            c->letters[n] = (int32_t)(i * 64 + __builtin_ctzll(bits));
            *id = n++;
        }
}

/* Puts the letters of a given alphabet into the empty set. */
static bool gather_alphabet(letter_set *set, const char *text, const char *what, wf_error *error)
{
    int64_t n = (int64_t)strlen(text), place = 0;
    int32_t letter = 0;
    char name[32];
    if (n == 0) return wf_error_set(error, "%s: the alphabet is empty", what);
    for (int64_t at = 0; at < n; place++) {
        int bytes = wf_utf8_decode(text + at, n - at, &letter);
        if (!bytes)
            return wf_error_set(error, "%s: the alphabet is not UTF-8 at its byte %lld", what,
                                (long long)at);
        if (has(set, letter))
            return wf_error_set(error, "%s: the alphabet has %s twice", what, named(letter, name));
        add(set, letter);
        at += bytes;
    }
    return true;
}

/* Makes ids, letters and the alphabet's text from the finished set. */
static bool build_alphabet(wf_corpus *c, const char *given, const char *what, wf_error *error)
{
    c->alphabet = count(c->set);
    c->letters = take(c->alphabet, (int64_t)sizeof *c->letters, what, error);
    c->ids = c->letters ? take(c->alphabet, (int64_t)sizeof *c->ids, what, error) : NULL;
    c->alphabet_text = c->ids ? take(c->alphabet * 4 + 1, 1, what, error) : NULL;
    if (!c->alphabet_text) return false;
    order_alphabet(c, given);
    char *end = c->alphabet_text, utf8[5];
    *end = 0;
    for (int64_t i = 0; i < c->alphabet; i++) {
        int bytes = wf_utf8_encode(c->letters[i], utf8);
        memcpy(end, utf8, (size_t)bytes + 1);
        end += bytes;
    }
    return true;
}

/* ---- text ---- */

/* Walks over a text's letters; false and the reason where it is not one. `found` are the letters
 * that it has, added to (an alphabet is being gathered) or compared with (one was given). */
static bool scan(const char *bytes, int64_t n, letter_set *found, bool given, int64_t *letters,
                 const char *what, wf_error *error)
{
    char name[32], line[TEXT_PLACE];
    *letters = 0;
    for (int64_t at = 0; at < n; ++*letters) {
        const int64_t from = at;
        int32_t letter = 0;
        if (!text_letter(bytes, n, &at, &letter, what, error)) return false;
        if (!given)
            add(found, letter);
        else if (!has(found, letter))
            return wf_error_set(error, "%s: letter %lld%s, %s, is not in the alphabet", what,
                                (long long)*letters, text_place(bytes, n, from, line),
                                named(letter, name));
    }
    return true;
}

/* How many of a text's letters are learned from. */
static int64_t cut(int64_t letters, double valid)
{
    return (int64_t)((double)letters * (1.0 - valid));
}

static void put_ids(const wf_corpus *c, const char *bytes, int64_t n, int64_t train, int32_t *first,
                    int32_t *second)
{
    int64_t letters = 0;
    for (int64_t at = 0; at < n; letters++) {
        int32_t letter = 0;
        at += wf_utf8_decode(bytes + at, n - at, &letter);
        int32_t id = c->ids[rank_of(c->set, letter)];
        if (letters < train)
            first[letters] = id;
        else
            second[letters - train] = id;
    }
}

static const char *what_part(char *what, const wf_text *part)
{
    return text_what(what, "corpus", text_name(part));
}

/* Reads all parts twice: for their letters and counts, then for their ids. */
static bool read_parts(wf_corpus *c, const wf_text *parts, int n, const wf_corpus_options *o,
                       wf_error *error)
{
    char what[WF_WHAT];
    int64_t letters = 0, total = 0, train = 0;
    for (int i = 0; i < n; i++) {
        wf_text text = text_body(&parts[i]);
        if (!scan(text.bytes, text.n, c->set, o->alphabet && !o->extend, &letters,
                  what_part(what, &parts[i]), error))
            return false;
        total += letters;
        train += cut(letters, o->valid);
    }
    what_part(what, &parts[0]);
    if (n > 1) wf_append(what, sizeof what, " and %d more", n - 1);
    if (total == 0) return wf_error_set(error, "%s: it is empty", what);
    int64_t need;
    if (!wf_size_add(o->time, 1, &need) || !wf_size_mul(need, o->batch, &need)) need = INT64_MAX;
    char learned[48] = "";
    if (train < total)
        wf_format(learned, sizeof learned, ", %lld of them to learn from", (long long)train);
    if (train < need)
        return wf_error_set(error, "%s: %lld letters%s; %lld lanes of %lld + 1 letters need %lld",
                            what, (long long)total, learned, (long long)o->batch,
                            (long long)o->time, (long long)need);
    if (o->valid > 0 && total - train < 2)
        return wf_error_set(error,
                            "%s: of %lld letters, %g held out are %lld; at least 2 are needed",
                            what, (long long)total, o->valid, (long long)(total - train));
    if (!build_alphabet(c, o->alphabet, what, error)) return false;
    c->text = take(total, (int64_t)sizeof *c->text, what, error);
    if (!c->text) return false;
    int32_t *first = c->text, *second = c->text + train;
    for (int i = 0; i < n; i++) {
        wf_text text = text_body(&parts[i]);
        letters = wf_utf8_count(text.bytes, text.n, NULL);
        int64_t mine = cut(letters, o->valid);
        put_ids(c, text.bytes, text.n, mine, first, second);
        first += mine;
        second += letters - mine;
    }
    c->train = train;
    c->held = total - train;
    return true;
}

/* The views that every batch moves along the lanes. */
static void set_views(wf_corpus *c, const wf_corpus_options *o)
{
    c->time = o->time;
    c->lane = c->train / o->batch;
    c->input = wf_tensor_of(WF_I32, WF_SHAPE(o->time, o->batch), c->text);
    c->input.stride[0] = 1;
    c->input.stride[1] = c->lane;
    c->target = c->input;
    c->valid = wf_tensor_of(WF_I32, WF_SHAPE(c->held, 1), c->text + c->train);
}

/* ---- making ---- */

static bool check_options(const wf_corpus_options *o, const char *what, wf_error *error)
{
    if (o->time < 1)
        return wf_error_set(error, "%s: .time is %lld; it must be 1 or more", what,
                            (long long)o->time);
    if (o->batch < 1)
        return wf_error_set(error, "%s: .batch is %lld; it must be 1 or more", what,
                            (long long)o->batch);
    if (!(o->valid >= 0 && o->valid < 1))
        return wf_error_set(error, "%s: .valid is %g; it must be at least 0 and below 1", what,
                            o->valid);
    return true;
}

static wf_corpus *blank(const char *alphabet, const char *what, wf_error *error)
{
    wf_corpus *c = wf_alloc_zero(sizeof *c);
    if (c) c->set = wf_alloc_zero(sizeof *c->set);
    if (text_memory(c ? c->set : NULL, sizeof *c + sizeof *c->set, what, error) &&
        (!alphabet || gather_alphabet(c->set, alphabet, what, error)))
        return c;
    wf_corpus_free(c);
    return NULL;
}

wf_corpus *wf_corpus_from_parts(const wf_text *parts, int n, const wf_corpus_options *options,
                                wf_error *error)
{
    WF_FP_SCOPE uint32_t fp = wf_fp_enter_exact();
    wf_error_clear(error);
    static const wf_corpus_options none;
    char what[WF_WHAT];
    if (!options) options = &none;
    if (!text_given(parts, n, "corpus", error)) return NULL;
    what_part(what, &parts[0]);
    if (!check_options(options, what, error)) return NULL;
    wf_corpus *c = blank(options->alphabet, what, error);
    if (!c) return NULL;
    if (!read_parts(c, parts, n, options, error)) {
        wf_corpus_free(c);
        return NULL;
    }
    set_views(c, options);
    return c;
}

wf_corpus *wf_corpus_from_memory(const char *name, const char *bytes, int64_t n,
                                 const wf_corpus_options *options, wf_error *error)
{
    return wf_corpus_from_parts(&(wf_text){ name, bytes, n }, 1, options, error);
}

wf_corpus *wf_corpus_from_files(const char *const *paths, int n, const wf_corpus_options *options,
                                wf_error *error)
{
    wf_error_clear(error);
    wf_text *parts = text_take_all("corpus", paths, n, error);
    wf_corpus *c = parts ? wf_corpus_from_parts(parts, n, options, error) : NULL;
    text_release_all(parts, n);
    return c;
}

wf_corpus *wf_corpus_new(const char *path, const wf_corpus_options *options, wf_error *error)
{
    return wf_corpus_from_files(&path, 1, options, error);
}

wf_corpus *wf_corpus_from_alphabet(const char *alphabet, wf_error *error)
{
    wf_error_clear(error);
    static const char what[] = "corpus";
    wf_corpus *c = blank(alphabet ? alphabet : "", what, error);
    if (c && build_alphabet(c, alphabet, what, error)) {
        c->valid = wf_tensor_of(WF_I32, WF_SHAPE(0, 1), NULL);
        return c;
    }
    wf_corpus_free(c);
    return NULL;
}

void wf_corpus_free(wf_corpus *c)
{
    if (!c) return;
    wf_release(c->text);
    wf_release(c->alphabet_text);
    wf_release(c->ids);
    wf_release(c->letters);
    wf_release(c->set);
    wf_release(c);
}

/* ---- reading along ---- */

wf_batch wf_corpus_next(wf_corpus *c)
{
    if (!c || !c->text) return (wf_batch){ 0 };
    if (c->lane - c->at <= c->time) c->at = 0;
    wf_batch batch = { &c->input, &c->target, c->at == 0 };
    c->input.data = c->text + c->at;
    c->target.data = c->text + c->at + 1;
    c->at += c->time;
    return batch;
}

const wf_tensor *wf_corpus_reread(wf_corpus *c, int64_t steps)
{
    const int64_t begin = c && c->text ? c->at - c->time : -1; /* of the last batch */
    if (begin < 0 || steps < 0 || steps > begin) return NULL;
    c->again = c->input;
    c->again.dim[0] += steps;
    c->again.data = c->text + begin - steps;
    return &c->again;
}

int64_t wf_corpus_position(const wf_corpus *c)
{
    return c ? c->at : 0;
}

bool wf_corpus_seek(wf_corpus *c, int64_t position)
{
    if (!c || position < 0 || position > c->lane) return false;
    c->at = position;
    return true;
}

int64_t wf_corpus_train_count(const wf_corpus *c)
{
    return c ? c->train : 0;
}

int64_t wf_corpus_valid_count(const wf_corpus *c)
{
    return c ? c->held : 0;
}

uint64_t wf_corpus_hash(const wf_corpus *c)
{
    uint64_t hash = 0xcbf29ce484222325;
    for (int64_t i = 0; c && i < c->train + c->held; i++)
        hash = (hash ^ (uint32_t)c->letters[c->text[i]]) * 0x100000001b3;
    return c ? hash ^ (uint64_t)c->train : 0;
}

const wf_tensor *wf_corpus_valid(const wf_corpus *c)
{
    return c ? &c->valid : NULL;
}

/* ---- letters and ids ---- */

int64_t wf_corpus_alphabet(const wf_corpus *c)
{
    return c ? c->alphabet : 0;
}

int32_t wf_corpus_letter(const wf_corpus *c, int64_t id)
{
    return c && id >= 0 && id < c->alphabet ? c->letters[id] : -1;
}

int32_t wf_corpus_id(const wf_corpus *c, int32_t letter)
{
    return c && has(c->set, letter) ? c->ids[rank_of(c->set, letter)] : -1;
}

const char *wf_corpus_alphabet_text(const wf_corpus *c)
{
    return c ? c->alphabet_text : NULL;
}

int64_t wf_corpus_encode(const wf_corpus *c, const char *text, int64_t n, int32_t *ids,
                         int64_t room, wf_error *error)
{
    wf_error_clear(error);
    int64_t letters = 0;
    if (!c || n < 0 || (n > 0 && !text) || (room > 0 && !ids)) {
        wf_error_set(error, "encode: %s", c ? "no text was given" : "the corpus was never made");
        return -1;
    }
    if (!scan(text, n, c->set, true, &letters, "encode", error)) return -1;
    for (int64_t at = 0, i = 0; i < letters && i < room; i++) {
        int32_t letter = 0;
        at += wf_utf8_decode(text + at, n - at, &letter);
        ids[i] = c->ids[rank_of(c->set, letter)];
    }
    return letters;
}
