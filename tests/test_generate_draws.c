/* Generation: draws against their distribution, what is forbidden, every way to end, and every
 * mistake. */
#include "tests/generate.h"

const harness_suite suite = { .threads = 2 };

/* ---- draws ---- */

/* How often each class comes in `draws` draws of one token. */
static void draw_counts(wf_tape *t, const double logits[FLAT], wf_dtype dtype,
                        wf_generate_options o, int64_t draws, int64_t count[FLAT])
{
    wf_generated g = { 0 };
    wf_tape_reset(t);
    table m = { .logits = wf_cast(t, wf_constant(t, WF_F64, WF_SHAPE(1, FLAT), logits), dtype) };
    o.first = wf_zeros(t, WF_I32, WF_SHAPE(draws));
    o.max_length = 1;
    o.end = -1;
    ck_assert_msg(wf_generate(t, &(wf_decoder){ .step = flat_step, .self = &m }, &o, &g), "%s",
                  wf_tape_error(t));
    memset(count, 0, FLAT * sizeof *count);
    for (int64_t i = 0; i < draws; i++) count[g.at[i].ids[0]]++;
    wf_generated_free(&g);
}

/* The probabilities of what is drawn from: brute force. */
static void filtered(const double logits[FLAT], const wf_generate_options *o, double p[FLAT])
{
    bool kept[FLAT] = { false };
    double all = 0, sum = 0, mass = 0;
    int order[FLAT], n = 0;
    for (int i = 0; i < FLAT; i++) {
        p[i] = exp((logits[i] - 2) / o->temperature); /* 2: the largest */
        for (n = i; n > 0 && p[order[n - 1]] < p[i]; n--) order[n] = order[n - 1];
        order[n] = i;
    }
    n = o->top_k > 0 && o->top_k < FLAT ? (int)o->top_k : FLAT;
    for (int i = 0; i < n; i++) all += p[order[i]];
    for (int i = 0; i < n && (o->top_p == 0 || sum < o->top_p * all); i++) {
        kept[order[i]] = true;
        sum += p[order[i]];
    }
    for (int i = 0; i < FLAT; i++) mass += kept[i] ? p[i] : 0;
    for (int i = 0; i < FLAT; i++) p[i] = kept[i] ? p[i] / mass : 0;
}

TEST_EACH(draws_come_as_often_as_they_should, 2)
{
    enum { DRAWS = 20000 };
    static const double critical[FLAT] = { 0, 12.1, 15.2, 17.8, 20.2, 22.4, 24.6 }; /* p = 5e-4 */
    static const wf_generate_options tried[] = {
        { .temperature = 1 },
        { .temperature = 0.5 },
        { .temperature = 3 },
        { .temperature = 1, .top_k = 3 },
        { .temperature = 1, .top_k = 1 },
        { .temperature = 1, .top_k = 100 },
        { .temperature = 1, .top_p = 0.6 },
        { .temperature = 1, .top_p = 0.95 },
        { .temperature = 2, .top_p = 0.9, .top_k = 5 },
        { .temperature = 1, .top_p = 1e-9 },
        { .temperature = 1, .top_p = 1 },
        { .temperature = 1e-6 },
    };
    wf_tape *t = wf_tape_new(&(wf_tape_options){ .mode = WF_INFER });
    for (size_t i = 0; i < sizeof tried / sizeof *tried; i++) {
        wf_generate_options o = tried[i];
        int64_t count[FLAT];
        double p[FLAT], chi = 0;
        int classes = 0;
        o.seed = 17 + i;
        draw_counts(t, flat_logits, (wf_dtype)_i, o, DRAWS, count);
        filtered(flat_logits, &o, p);
        for (int v = 0; v < FLAT; v++) {
            const double expected = DRAWS * p[v];
            ck_assert_msg((p[v] > 1e-6) == (count[v] > 0), "%zu: class %d: %lld times", i, v,
                          (long long)count[v]);
            if (!(p[v] > 1e-6)) continue;
            classes++;
            chi += ((double)count[v] - expected) * ((double)count[v] - expected) / expected;
        }
        ck_assert_msg(chi <= critical[classes - 1] + 1e-9, "%zu: chi-square %g", i, chi);
    }
    wf_tape_free(t);
}

/* Of classes that are equally likely the lowest ids are kept, and exactly as many as asked for. */
TEST(ties_are_cut_by_id)
{
    static const double ties[FLAT] = { 1, 2, 2, 1, 2, 1, 1 };
    wf_tape *t = wf_tape_new(NULL);
    int64_t count[FLAT];
    draw_counts(t, ties, WF_F32, (wf_generate_options){ .temperature = 1, .top_k = 2, .seed = 1 },
                500, count);
    ck_assert(count[1] > 0 && count[2] > 0 && count[1] + count[2] == 500);
    draw_counts(t, ties, WF_F64, (wf_generate_options){ .temperature = 1, .top_k = 4, .seed = 1 },
                500, count);
    ck_assert(count[0] > 0 && count[3] + count[5] + count[6] == 0);
    wf_tape_free(t);
}

/* A long row: the nucleus grows beyond what is first looked at. */
TEST(a_nucleus_of_many_classes_is_exact)
{
    enum { CLASSES = 3000, DRAWS = 5000 };
    wf_tape *t = wf_tape_new(&(wf_tape_options){ .mode = WF_INFER });
    wf_tensor to;
    table m = { .logits = wf_constant_fill(t, WF_F64, WF_SHAPE(1, CLASSES), &to) };
    /* Class i is the (7 i mod CLASSES)-th likeliest, in steps that sum up by hand. */
    double all = 0, sum = 0;
    for (int i = 0; i < CLASSES; i++) {
        ((double *)to.data)[i] = -0.005 * (double)(7 * i % CLASSES);
        all += exp(-0.005 * i);
    }
    int kept = 0;
    while (sum < 0.8 * all) sum += exp(-0.005 * kept++);
    ck_assert_int_gt(kept, 256);
    wf_generate_options o = { .end = -1,
                              .max_length = 1,
                              .temperature = 1,
                              .top_p = 0.8,
                              .seed = 3,
                              .first = wf_zeros(t, WF_I32, WF_SHAPE(DRAWS)) };
    wf_generated g = { 0 };
    ck_assert(wf_generate(t, &(wf_decoder){ .step = flat_step, .self = &m }, &o, &g));
    int most = 0;
    for (int i = 0; i < DRAWS; i++) {
        const int rank = 7 * g.at[i].ids[0] % CLASSES;
        most = rank > most ? rank : most;
    }
    ck_assert_int_eq(most, kept - 1);
    wf_generated_free(&g);
    wf_tape_free(t);
}

TEST(draws_repeat_by_seed_and_do_not_by_the_tapes_own)
{
    wf_tape *t = wf_tape_new(&(wf_tape_options){ .mode = WF_INFER, .seed = 4 });
    wf_generated g[5] = { { 0 } };
    table m = { .logits = NULL };
    wf_generate_options o = { .end = -1, .max_length = 40, .temperature = 1, .best = 2, .seed = 9 };
    for (int i = 0; i < 5; i++) {
        if (i == 2) o.seed = 0;
        if (i == 4) wf_tape_reset(t), wf_tape_set_step(t, 0); /* draws what it drew in the first */
        m.logits = wf_constant(t, WF_F64, WF_SHAPE(1, FLAT), flat_logits);
        ck_assert(wf_generate(t, &(wf_decoder){ .step = flat_step, .self = &m }, &o, &g[i]));
    }
    assert_same(&g[0].at[0], &g[1].at[0], 0);
    assert_same(&g[2].at[1], &g[4].at[1], 0);
    ck_assert(memcmp(g[0].at[0].ids, g[0].at[1].ids, 40 * sizeof(int32_t)) != 0);
    ck_assert(memcmp(g[2].at[0].ids, g[3].at[0].ids, 40 * sizeof(int32_t)) != 0);
    for (int i = 0; i < 5; i++) wf_generated_free(&g[i]);
    wf_tape_free(t);
}

TEST_EACH(threads_and_batches_leave_the_bits, 3)
{
    enum { N = 48, CLASSES = 3000 };
    wf_generated g[2] = { { 0 } };
    const wf_generate_options o = { .end = 5,
                                    .max_length = 6,
                                    .beams = _i == 1 ? 4 : 0,
                                    .best = _i == 1 ? 4 : 1,
                                    .temperature = _i == 2 ? 0.7 : 0,
                                    .top_p = _i == 2 ? 0.95 : 0,
                                    .seed = 2,
                                    .no_repeat = 1 };
    for (int threads = 1; threads <= 2; threads++) {
        wf_tape *t = wf_tape_new(&(wf_tape_options){ .mode = WF_INFER, .threads = threads });
        const small s = small_new(CLASSES, 3);
        wf_var *held[2];
        const wf_decoder d = small_decoder(t, &s, 0, N, held);
        ck_assert(wf_generate(t, &d, &o, &g[threads - 1]));
        small_free(t, &s);
        wf_tape_free(t);
    }
    for (int64_t i = 0; i < N * o.best; i++) assert_same(&g[0].at[i], &g[1].at[i], 0);
    wf_generated_free(&g[0]), wf_generated_free(&g[1]);
}

/* ---- what is forbidden ---- */

TEST(what_is_banned_or_would_repeat_does_not_come)
{
    wf_tape *t = wf_tape_new(&(wf_tape_options){ .mode = WF_INFER });
    for (int n = 1; n <= 3; n++) {
        for (int beams = 1; beams <= 3; beams++) {
            static const int32_t banned[] = { 2, 4 };
            wf_generated g = { 0 };
            wf_tape_reset(t);
            table m = { .logits = wf_constant(t, WF_F64, WF_SHAPE(1, FLAT), flat_logits) };
            wf_generate_options o = { .end = 1,
                                      .max_length = 30,
                                      .min_length = 3,
                                      .beams = beams,
                                      .best = beams,
                                      .no_repeat = n,
                                      .banned = banned,
                                      .n_banned = 2 };
            ck_assert(wf_generate(t, &(wf_decoder){ .step = flat_step, .self = &m }, &o, &g));
            for (int64_t k = 0; k < g.best; k++) {
                const wf_hypothesis *h = &g.at[k];
                ck_assert_int_ge(h->n, 4);
                for (int64_t i = 0; i < h->n; i++) {
                    ck_assert(h->ids[i] != 2 && h->ids[i] != 4);
                    ck_assert(h->ids[i] != 1 || (i >= 3 && h->ended && i == h->n - 1));
                    for (int64_t j = 0; j < i && i + n <= h->n; j++)
                        ck_assert(memcmp(h->ids + i, h->ids + j, (size_t)n * sizeof(int32_t)));
                }
            }
            wf_generated_free(&g);
        }
    }
    wf_tape_free(t);
}

static bool tell_three(void *context, int64_t sequence, int32_t id, double log_prob)
{
    double *sum = context;
    ck_assert(sequence == 0 && id == 2 && log_prob < 0);
    sum[0] += log_prob;
    return ++sum[1] < 3;
}

TEST(what_is_told_may_stop_it)
{
    double told[2] = { 0, 0 };
    wf_tape *t = wf_tape_new(NULL);
    table m = { .logits = wf_constant(t, WF_F64, WF_SHAPE(1, FLAT), flat_logits) };
    wf_generated g = { 0 };
    const wf_generate_options o = {
        .end = -1, .max_length = 10, .told = tell_three, .context = told
    };
    ck_assert(wf_generate(t, &(wf_decoder){ .step = flat_step, .self = &m }, &o, &g));
    ck_assert(g.at->n == 3 && !g.at->ended && g.at->log_prob == told[0]);
    ck_assert_int_eq(m.steps, 3);
    wf_generated_free(&g);
    wf_tape_free(t);
}

/* ---- ends, of which there are many ---- */

TEST(every_end_is_defined)
{
    static const int32_t all[FLAT] = { 0, 1, 2, 3, 4, 5, 6 };
    static const double none[3] = { -INFINITY, -INFINITY, -INFINITY };
    static const double one[3] = { -INFINITY, 2, -INFINITY };
    wf_tape *t = wf_tape_new(&(wf_tape_options){ .mode = WF_INFER });
    wf_generated g = { 0 };
    for (int beams = 1; beams <= 3; beams++) {
        wf_generate_options o = { .end = 2, .max_length = 5, .beams = beams, .best = beams };
        /* the likeliest is the end */
        ck_assert(flat(t, NULL, FLAT, o, &g));
        ck_assert(g.at->n == 1 && g.at->ended && g.at->ids[0] == 2);
        /* it never ends */
        o.end = -1;
        ck_assert(flat(t, NULL, FLAT, o, &g));
        ck_assert(g.at->n == 5 && !g.at->ended && g.steps == 5);
        /* fewer classes than beams */
        ck_assert(flat(t, (double[]){ 1 }, 1, o, &g));
        ck_assert(g.at->n == 5 && g.at->log_prob == 0 && g.at->ids[4] == 0);
        ck_assert(beams == 1 || (g.at[1].n == 0 && g.at[1].score == -(double)INFINITY));
        /* nothing is allowed, or there is nothing that could be */
        o.banned = all, o.n_banned = FLAT;
        ck_assert(flat(t, NULL, FLAT, o, &g));
        ck_assert(g.at->n == 0 && !g.at->ended && g.at->score == 0 && g.steps == 1);
        o.n_banned = 0;
        ck_assert(flat(t, none, 3, o, &g));
        ck_assert(g.at->n == 0 && !g.at->ended && g.at->log_prob == 0);
        ck_assert(flat(t, one, 3, o, &g));
        ck_assert(g.at->n == 5 && g.at->ids[3] == 1 && g.at->log_prob == 0);
        /* an n-gram that is all there is */
        o.no_repeat = 2;
        ck_assert(flat(t, one, 3, o, &g));
        ck_assert(g.at->n == 2 && !g.at->ended);
        o.no_repeat = 0;
        /* no sequences; no room, by a source of length 0 */
        o.first = wf_zeros(t, WF_I32, WF_SHAPE(0));
        ck_assert(flat(t, NULL, FLAT, o, &g) && g.sequences == 0 && g.steps == 0);
        o.first = wf_zeros(t, WF_I32, WF_SHAPE(3));
        o.lengths = wf_constant(t, WF_I32, WF_SHAPE(3), (int32_t[]){ 2, 0, 3 });
        o.max_length = 0, o.max_ratio = 1.5;
        ck_assert(flat(t, NULL, FLAT, o, &g));
        ck_assert(g.at[0].n == 3 && g.at[beams].n == 0 && g.at[2 * beams].n == 4);
    }
    ck_assert(flat(
        t, none, 3,
        (wf_generate_options){ .max_length = 3, .temperature = 1, .best = 2, .top_p = 0.5 }, &g));
    ck_assert(g.at[0].n == 0 && g.at[1].n == 0 && g.at[1].score == 0);
    wf_generated_free(&g);
    wf_generated_free(NULL);
    ck_assert(g.at == NULL);
    wf_tape_free(t);
}

/* ---- misuse ---- */

/* Of decoders that are not what they should be. */
static void no_features(wf_tape *t, const void *self, wf_decoder_rows *rows)
{
    (void)t, (void)self, (void)rows;
}

static void ids_as_features(wf_tape *t, const void *self, wf_decoder_rows *rows)
{
    (void)t, (void)self;
    rows->features = rows->word;
}

static void a_row_too_many(wf_tape *t, const void *self, wf_decoder_rows *rows)
{
    flat_step(t, self, rows);
    rows->features = wf_zeros(t, WF_F64, WF_SHAPE(wf_dim(rows->word, 0) + 1, FLAT));
}

static void grows_classes(wf_tape *t, const void *self, wf_decoder_rows *rows)
{
    flat_step(t, self, rows);
    rows->features = wf_zeros(t, WF_F64, WF_SHAPE(1, 3 + ((const table *)self)->steps));
}

static void loses_its_state(wf_tape *t, const void *self, wf_decoder_rows *rows)
{
    flat_step(t, self, rows);
    rows->state[0] = NULL;
}

static void changes_its_state(wf_tape *t, const void *self, wf_decoder_rows *rows)
{
    flat_step(t, self, rows);
    rows->state[0] = wf_cast(t, rows->state[0], WF_F32);
}

static void shrinks_its_state(wf_tape *t, const void *self, wf_decoder_rows *rows)
{
    flat_step(t, self, rows);
    rows->state[0] = wf_zeros(t, WF_F64, WF_SHAPE(2, 4));
}

static void resets(wf_tape *t, const void *self, wf_decoder_rows *rows)
{
    (void)self, (void)rows;
    wf_tape_reset(t);
}

static wf_var *halves_rows(wf_tape *t, const void *self, wf_var *features)
{
    (void)self;
    return wf_slice(t, features, 0, 0, 0, 1);
}

static wf_var *no_logits(wf_tape *t, const void *self, wf_var *features)
{
    (void)t, (void)self, (void)features;
    return NULL;
}

/* Features of the word that it was told, of one word in all. */
static void embeds(wf_tape *t, const void *self, wf_decoder_rows *rows)
{
    rows->features = wf_gather_rows(t, ((const table *)self)->logits, rows->word);
}

static bool told_resets(void *context, int64_t sequence, int32_t id, double log_prob)
{
    (void)sequence, (void)id, (void)log_prob;
    wf_tape_reset(context);
    return true;
}

/* What the tape says of a call that fails, of which nothing remains. */
static void assert_says(int line, wf_tape *t, bool gave, const wf_generated *g, const char *says)
{
    ck_assert_msg(!gave && !wf_tape_ok(t), "line %d: it was not refused", line);
    ck_assert_msg(!strcmp(wf_tape_error(t), says), "line %d: says %s", line, wf_tape_error(t));
    ck_assert_msg(!g->at && !g->sequences && !g->best, "line %d: something is left", line);
    wf_tape_reset(t);
}

#define SAYS(options, says)                                                                        \
    assert_says(__LINE__, t, flat(t, NULL, FLAT, (wf_generate_options)options, &g), &g, says)
#define PARTS(...)                                                                                 \
    {                                                                                              \
        __VA_ARGS__                                                                                \
    }

TEST(options_that_cannot_be_are_refused)
{
    static const int32_t seven[] = { 1, 7 };
    wf_tape *t = wf_tape_new(&(wf_tape_options){ .mode = WF_INFER });
    wf_generated g = { 0 };
    ck_assert(flat(t, NULL, FLAT, (wf_generate_options){ .max_length = 2 }, &g));
    assert_says(__LINE__, t, wf_generate(t, NULL, NULL, &g), &g,
                "generate: the decoder was never made (NULL)");
    assert_says(__LINE__, t, wf_generate(t, &(wf_decoder){ .name = "mine" }, NULL, &g), &g,
                "mine: .step was never made (NULL)");
    ck_assert(!wf_generate(t, &(wf_decoder){ .step = flat_step }, NULL, NULL));
    ck_assert_str_eq(wf_tape_error(t), "decoder: there is nothing to fill (NULL)");
    wf_tape_reset(t);
    SAYS(PARTS(0), "flat: .max_length and .max_ratio are 0: there is room for no token");
    SAYS(PARTS(.max_length = -1), "flat: .max_length is -1; it must be 0 to 2147483647");
    SAYS(PARTS(.min_length = -3), "flat: .min_length is -3; it must be 0 to 2147483647");
    SAYS(PARTS(.no_repeat = -1), "flat: .no_repeat is -1; it must be 0 to 2147483647");
    SAYS(PARTS(.top_k = -1), "flat: .top_k is -1; it must be 0 to 2147483647");
    SAYS(PARTS(.beams = INT64_MAX), "flat: .beams is 9223372036854775807; it must be 0 to "
                                    "2147483647");
    SAYS(PARTS(.n_banned = 2, .max_length = 1), "flat: 2 banned ids were promised and not given");
    SAYS(PARTS(.max_ratio = NAN), "flat: .max_ratio is nan; it must be 0 to 1e+06");
    SAYS(PARTS(.temperature = -1), "flat: .temperature is -1; it must be 0 to 1e+06");
    SAYS(PARTS(.temperature = 1e-9), "flat: .temperature is 1e-09; it must be 0, or 1e-6 to 1e6");
    SAYS(PARTS(.top_p = 1.5), "flat: .top_p is 1.5; it must be 0 to 1");
    SAYS(PARTS(.length_alpha = -1), "flat: .length_alpha is -1; it must be 0 to 100");
    SAYS(PARTS(.coverage_beta = INFINITY), "flat: .coverage_beta is inf; it must be 0 to 1e+06");
    SAYS(PARTS(.begin = -1), "flat: .begin is -1; an id is 0 or more");
    SAYS(PARTS(.end = -2), "flat: .end is -2; it must be an id, or -1: none ends a sequence");
    SAYS(PARTS(.max_ratio = 2), "flat: .max_ratio is 2, of .lengths that were not given");
    SAYS(PARTS(.max_length = 1, .length_penalty = (wf_length_penalty)7),
         "flat: .length_penalty is 7; there is none of that number");
    SAYS(PARTS(.max_length = 1, .beams = 2, .temperature = 0.5),
         "flat: .beams is 2 and .temperature 0.5; either beams are searched or tokens drawn");
    SAYS(PARTS(.max_length = 1, .top_k = 5),
         "flat: .top_k is 5 and .temperature 0; nothing is drawn");
    SAYS(PARTS(.max_length = 1, .top_p = 0.9),
         "flat: .top_p is 0.9 and .temperature 0; nothing is drawn");
    SAYS(PARTS(.max_length = 1, .beams = 2, .best = 3), "flat: .best is 3, of 2 beams");
    SAYS(PARTS(.max_length = 1, .beams = 2, .told = tell_three),
         "flat: .told is of one hypothesis; .beams is 2 and .best 1");
    SAYS(PARTS(.max_length = 1, .end = 7), "flat: .end is 7; there are 7 logits, ids 0 to 6");
    SAYS(PARTS(.max_length = 1, .banned = seven, .n_banned = 2),
         "flat: banned id 1 is 7; there are 7 logits, ids 0 to 6");
    SAYS(PARTS(.max_length = 1, .weights = true),
         "flat: a step left no attention weights, which .weights takes");
    SAYS(PARTS(.max_length = 1, .coverage_beta = 1),
         "flat: a step left no attention weights, which .coverage_beta takes");
    SAYS(PARTS(.max_length = 1, .first = wf_zeros(t, WF_F64, WF_SHAPE(2))),
         "flat: .first must be i32, an id for each sequence");
    SAYS(PARTS(.max_length = 1, .first = wf_zeros(t, WF_I32, WF_SCALAR)),
         "flat: .first is (); it needs a row for each sequence");
    SAYS(PARTS(.max_length = 1, .beams = INT32_MAX, .first = wf_zeros(t, WF_I32, WF_SHAPE(2))),
         "flat: 2 sequences have more hypotheses than i32 can count");
    SAYS(PARTS(.max_length = 1, .lengths = wf_zeros(t, WF_I32, WF_SHAPE(2))),
         "flat: lengths are i32 (2); expected i32 (1)");
    SAYS(PARTS(.max_length = 3, .end = -1, .told = told_resets, .context = t),
         "flat: the tape was reset by .told");
    wf_generated_free(&g);
    wf_tape_free(t);
}

/* Of a decoder with a state (2, 4). */
#define STEP_SAYS(how, after, says)                                                                \
    do {                                                                                           \
        table *m = wf_tape_memory(t, sizeof *m);                                                   \
        m->logits = wf_constant(t, WF_F64, WF_SHAPE(1, FLAT), flat_logits);                        \
        wf_var *state = wf_zeros(t, WF_F64, WF_SHAPE(2, 4));                                       \
        const wf_decoder d = {                                                                     \
            .step = how, .output = after, .self = m, .initial = { 1, &state }                      \
        };                                                                                         \
        const wf_generate_options o = { .end = -1, .max_length = 3 };                              \
        assert_says(__LINE__, t, wf_generate(t, &d, &o, &g), &g, says);                            \
    } while (0)

TEST(decoders_that_are_not_sound_are_told)
{
    wf_tape *t = wf_tape_new(&(wf_tape_options){ .mode = WF_INFER });
    wf_generated g = { 0 };
    STEP_SAYS(no_features, NULL, "decoder: its step gave no features");
    STEP_SAYS(no_features, halves_rows, "decoder: its step gave no features");
    STEP_SAYS(flat_step, no_logits, "decoder: the var of logits was never made (NULL)");
    STEP_SAYS(ids_as_features, NULL,
              "decoder: the logits of a step are i32; they must be f32 or f64");
    STEP_SAYS(a_row_too_many, NULL, "decoder: the logits of a step are (3, 7); expected (2, ...)");
    STEP_SAYS(a_row_too_many, halves_rows,
              "decoder: the var of features is (3, 7) after a step of 2 rows");
    STEP_SAYS(flat_step, halves_rows,
              "decoder: the logits of a step are (0, 7); expected (2, ...)");
    STEP_SAYS(loses_its_state, NULL, "decoder: state 0 was never made (NULL)");
    STEP_SAYS(changes_its_state, NULL, "decoder: state 0 is f32 after a step; it was f64");
    STEP_SAYS(resets, NULL, "decoder: the tape was reset by a step");
    wf_generated_free(&g);
    wf_tape_free(t);
}

TEST(a_word_to_begin_with_that_there_is_not_is_named)
{
    wf_tape *t = wf_tape_new(&(wf_tape_options){ .mode = WF_INFER });
    wf_generated g = { 0 };
    for (int by_first = 0; by_first < 2; by_first++) {
        const table m = { .logits = wf_constant(t, WF_F64, WF_SHAPE(1, FLAT), flat_logits) };
        const wf_decoder d = { .step = embeds, .self = &m };
        wf_generate_options o = { .end = -1, .begin = 9, .max_length = 3 };
        if (by_first) o.first = wf_full(t, WF_I32, WF_SHAPE(1), 4);
        wf_scope_push(t, "mine");
        assert_says(__LINE__, t, wf_generate(t, &d, &o, &g), &g,
                    by_first ? "gather_rows: id 4 at (0) is out of range: there are 1 rows\n"
                               "  in mine > the first step, told .first"
                             : "gather_rows: id 9 at (0) is out of range: there are 1 rows\n"
                               "  in mine > the first step, told .begin 9");
    }
    wf_generated_free(&g);
    wf_tape_free(t);
}

TEST(what_a_decoder_holds_is_judged)
{
    wf_tape *t = wf_tape_new(&(wf_tape_options){ .mode = WF_INFER });
    wf_generated g = { 0 };
    wf_var *vars[17] = { wf_zeros(t, WF_F64, WF_SHAPE(2, 4)), wf_zeros(t, WF_F64, WF_SHAPE(3)) };
    const wf_generate_options o = { .end = -1, .max_length = 5 };
    table m = { .logits = wf_zeros(t, WF_F64, WF_SHAPE(1, 3)) };
    wf_decoder d = { .step = flat_step, .self = &m, .memory = { 2, vars } };
    assert_says(__LINE__, t, wf_generate(t, &d, &o, &g), &g,
                "decoder: memory 1 is (3); there are 2 sequences");
    d.memory = (wf_vars){ 17, vars };
    assert_says(__LINE__, t, wf_generate(t, &d, &o, &g), &g,
                "decoder: there can be 16 vars of memory; 17 were given");
    d.memory = (wf_vars){ 1, NULL };
    assert_says(__LINE__, t, wf_generate(t, &d, &o, &g), &g,
                "decoder: the list of memory was never made (NULL)");
    d.memory = (wf_vars){ 0, NULL };
    d.initial = (wf_vars){ 1, vars };
#if !HARNESS_ADDRESSES /* which finds it by itself */
    assert_says(__LINE__, t, wf_generate(t, &d, &o, &g), &g,
                "decoder: initial 0 was made before the tape was reset");
#endif
    vars[0] = wf_zeros(t, WF_F64, WF_SHAPE(2, 4));
    d.step = shrinks_its_state;
    m.logits = wf_zeros(t, WF_F64, WF_SHAPE(1, 3));
    const wf_generate_options draws = { .end = -1, .max_length = 5, .beams = 3 };
    assert_says(__LINE__, t, wf_generate(t, &d, &draws, &g), &g,
                "decoder: state 0 is (2, 4) after a step of 6 rows");
    d = (wf_decoder){ .step = grows_classes, .self = &m };
    m = (table){ .logits = wf_zeros(t, WF_F64, WF_SHAPE(1, 3)) };
    assert_says(__LINE__, t, wf_generate(t, &d, &o, &g), &g,
                "decoder: the logits of a step are (1, 5); there were 4 columns before");
    wf_generated_free(&g);
    wf_tape_free(t);
}

/* Logits of which one, of row 1 (sequence 2), becomes `bad` at step 2; sequence 1 ends at once. */
static void goes_bad(wf_tape *t, const void *self, wf_decoder_rows *rows)
{
    const double *bad = self;
    const int64_t n = wf_dim(rows->word, 0);
    wf_tensor to;
    wf_var *count = rows->state[0] = wf_add_scalar(t, rows->state[0], 1);
    rows->features = wf_constant_fill(t, WF_F64, WF_SHAPE(n, 3), &to);
    for (int64_t i = 0; i < n; i++) {
        double *x = (double *)to.data + 3 * i;
        x[wf_at(rows->memory[0], i) == 1 ? 0 : 1] = 1;
        if (wf_at(rows->memory[0], i) == 2 && wf_at(count, i) == 3) x[2] = *bad;
    }
}

TEST(a_logit_that_is_no_number_is_told_with_its_step_and_row)
{
    wf_tape *t = wf_tape_new(&(wf_tape_options){ .mode = WF_INFER });
    wf_generated g = { 0 };
    for (int i = 0; i < 3; i++) {
        const double bad = i == 0 ? (double)NAN : i == 1 ? (double)INFINITY : -(double)INFINITY;
        wf_var *memory = wf_arange(t, WF_F64, 0, 3, 1), *state = wf_zeros(t, WF_F64, WF_SHAPE(3));
        const wf_decoder d = {
            .step = goes_bad, .self = &bad, .memory = { 1, &memory }, .initial = { 1, &state }
        };
        const bool ok = wf_generate(t, &d, &(wf_generate_options){ .max_length = 4 }, &g);
        if (i == 2) {
            ck_assert(ok && g.at[2].n == 4);
            continue;
        }
        assert_says(__LINE__, t, ok, &g,
                    i ? "decoder: a logit of step 2 is inf, in row 1 "
                        "(sequence 2)"
                      : "decoder: a logit of step 2 is NaN, in row 1 "
                        "(sequence 2)");
    }
    wf_generated_free(&g);
    wf_tape_free(t);
}

TEST(memory_that_runs_out_is_told_and_nothing_is_lost)
{
    for (int64_t fail = 1, more = 1; more; fail++) {
        wf_tape *t = wf_tape_new(&(wf_tape_options){ .mode = WF_INFER });
        const small s = small_new(9, 3);
        wf_var *held[2];
        wf_generated g = { 0 };
        const wf_decoder d = small_decoder(t, &s, 0, 3, held);
        const wf_generate_options o = {
            .end = 2, .max_length = 40, .beams = 4, .best = 2, .weights = true, .coverage_beta = 0.2
        };
        heap.fail_at = atomic_load(&heap.asked) + fail;
        more = !wf_generate(t, &d, &o, &g);
        heap.fail_at = 0;
        ck_assert(more == !wf_tape_ok(t) && more == !g.at);
        ck_assert_int_lt(fail, 200);
        wf_generated_free(&g);
        small_free(t, &s);
        wf_tape_free(t);
    }
    ck_assert_int_eq(atomic_load(&heap.live), 0);
}
