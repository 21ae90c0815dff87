/* Generation: search against trying everything, batches against each alone, and that rows which are
 * done cost nothing. */
#include "tests/generate.h"

enum { MOST = 4, PATHS = 1024 }; /* classes and tokens of the tiny models */

const harness_suite suite = { .threads = 2 };

/* ---- trying everything ---- */

typedef struct path {
    int32_t ids[MOST];
    int64_t n;
    bool ended;
    double log_prob, score, attended[SOURCE];
} path;

typedef struct search {
    wf_tape *t;
    const wf_decoder *d;
    const wf_generate_options *o;
    int64_t limit, n;
    path *all; /* PATHS */
} search;

static double penalised(const search *s, const path *p)
{
    const wf_generate_options *o = s->o;
    const double base = o->length_penalty == WF_LENGTH_GNMT ? (5 + (double)p->n) / 6 : (double)p->n;
    double score = p->log_prob / pow(base, o->length_alpha);
    for (int i = 0; i < SOURCE && o->coverage_beta > 0; i++)
        score += o->coverage_beta * log(fmin(p->attended[i], 1));
    return score;
}

static void keep(search *s, path p, bool ended)
{
    p.ended = ended;
    p.score = penalised(s, &p);
    ck_assert_int_lt(s->n, PATHS);
    s->all[s->n++] = p;
}

/* All that may follow p of one sequence (its memory and state of one row), one row at a time. */
static void follow(search *s, wf_var *const memory[], wf_var *state, int32_t word, path p)
{
    wf_decoder_rows rows = { .memory = memory, .state = &state };
    rows.word = wf_constant(s->t, WF_I32, WF_SHAPE(1), &word);
    s->d->step(s->t, s->d->self, &rows);
    wf_var *logits = s->d->output ? s->d->output(s->t, s->d->self, rows.features) : rows.features;
    const int64_t classes = wf_dim(logits, 1);
    double sum = 0;
    for (int64_t v = 0; v < classes; v++) sum += exp(wf_at(logits, v));
    for (int i = 0; rows.weights && i < SOURCE; i++) p.attended[i] += wf_at(rows.weights, i);
    for (int32_t v = 0; v < classes; v++) {
        if (v == s->o->end && p.n < s->o->min_length) continue;
        path next = p;
        next.ids[next.n++] = v;
        next.log_prob += wf_at(logits, v) - log(sum);
        if (v == s->o->end)
            keep(s, next, true);
        else if (next.n == s->limit)
            keep(s, next, false);
        else
            follow(s, memory, state, v, next);
    }
}

static int better_first(const void *a, const void *b)
{
    const path *x = a, *y = b;
    if (x->ended != y->ended) return x->ended ? -1 : 1;
    return (x->score < y->score) - (x->score > y->score);
}

static void try_all(search *s, int64_t b)
{
    wf_var *state = wf_slice(s->t, s->d->initial.at[0], 0, b, b + 1, 1);
    wf_var *memory = wf_slice(s->t, s->d->memory.at[0], 0, b, b + 1, 1);
    s->n = 0;
    follow(s, &memory, state, s->o->begin, (path){ .n = 0 });
    qsort(s->all, (size_t)s->n, sizeof *s->all, better_first);
}

static void assert_path(const wf_hypothesis *h, const path *p)
{
    ck_assert_int_eq(h->n, p->n);
    ck_assert_int_eq(h->ended, p->ended);
    ck_assert(!memcmp(h->ids, p->ids, (size_t)p->n * sizeof *p->ids));
    ck_assert_double_le(fabs(h->log_prob - p->log_prob), 1e-12 * (1 + fabs(p->log_prob)));
    ck_assert_double_le(fabs(h->score - p->score), 1e-12 * (1 + fabs(p->score)));
    double sum = 0;
    for (int64_t i = 0; i < h->n; i++) sum += h->log_probs[i];
    ck_assert_double_eq(sum, h->log_prob);
}

/* A number drawn for model i. */
static int64_t any(int i, uint64_t what, int64_t n)
{
    return wf_random_below((uint64_t)i, what, n);
}

static wf_generate_options any_options(int i, int64_t classes, int64_t limit)
{
    static const double alphas[] = { 0, 0, 0.6, 1, 2 }, betas[] = { 0, 0.3, 1 };
    return (wf_generate_options){ .begin = (int32_t)any(i, 1, classes),
                                  .end = (int32_t)any(i, 2, classes),
                                  .max_length = limit,
                                  .min_length = any(i, 3, 3) ? 0 : any(i, 4, limit + 1),
                                  .length_penalty = (wf_length_penalty)any(i, 5, 2),
                                  .length_alpha = alphas[any(i, 6, 5)],
                                  .coverage_beta = betas[any(i, 7, 3)],
                                  .refill = any(i, 8, 2) };
}

static void assert_all_found(wf_tape *t, const wf_decoder *d, wf_generate_options o,
                             int64_t sequences)
{
    static path all[PATHS];
    wf_generated g = { 0 };
    search s = { .t = t, .d = d, .o = &o, .limit = o.max_length, .all = all };
    ck_assert(wf_generate(t, d, &o, &g));
    ck_assert_int_eq(g.sequences, sequences);
    for (int64_t b = 0; b < sequences; b++) {
        try_all(&s, b);
        for (int64_t k = 0; k < g.best && k < s.n; k++) assert_path(&g.at[b * g.best + k], &all[k]);
        for (int64_t k = s.n; k < g.best; k++) {
            ck_assert_int_eq(g.at[b * g.best + k].n, 0);
            ck_assert_double_eq(g.at[b * g.best + k].score, -(double)INFINITY);
        }
    }
    wf_generated_free(&g);
}

TEST_EACH(beams_that_hold_everything_find_what_trying_everything_finds, 4)
{
    wf_tape *t = wf_tape_new(&(wf_tape_options){ .mode = WF_INFER });
    for (int i = 50 * _i; i < 50 * (_i + 1); i++) {
        const int64_t classes = 2 + any(i, 20, MOST - 1), limit = 1 + any(i, 21, MOST);
        const int64_t sequences = 1 + any(i, 22, 3);
        wf_generate_options o = any_options(i, classes, limit);
        wf_var *held[2];
        wf_tape_reset(t);
        o.beams = (int64_t)pow((double)classes, (double)limit);
        o.best = 1 + any(i, 9, o.beams < 6 ? o.beams : 6);
        table m = table_new(t, sequences, classes, limit, SOURCE, (uint64_t)i, WF_F64);
        wf_decoder d = table_decoder(t, &m, sequences, held);
        assert_all_found(t, &d, o, sequences);
        small s = small_new(classes, (uint64_t)i);
        d = small_decoder(t, &s, 0, sequences, held);
        assert_all_found(t, &d, o, sequences);
        small_free(t, &s);
    }
    wf_tape_free(t);
}

/* ---- searches against each other ---- */

/* The likeliest token, one after another. */
static path by_hand(wf_tape *t, const wf_decoder *d, int64_t b, int32_t word, int32_t end,
                    int64_t limit)
{
    path p = { .n = 0 };
    wf_var *state = wf_slice(t, d->initial.at[0], 0, b, b + 1, 1);
    wf_var *memory = wf_slice(t, d->memory.at[0], 0, b, b + 1, 1);
    while (p.n < limit && !p.ended) {
        wf_decoder_rows rows = { .memory = &memory, .state = &state };
        rows.word = wf_constant(t, WF_I32, WF_SHAPE(1), &word);
        d->step(t, d->self, &rows);
        wf_var *logits = d->output ? d->output(t, d->self, rows.features) : rows.features;
        wf_var *log_prob = wf_log_softmax(t, logits, -1);
        word = (int32_t)wf_item(wf_argmax(t, logits, -1));
        p.log_prob += wf_at(log_prob, word);
        p.ids[p.n++] = word;
        p.ended = word == end;
    }
    p.score = p.log_prob;
    return p;
}

TEST(one_beam_is_greedy_whatever_is_counted_off)
{
    wf_tape *t = wf_tape_new(&(wf_tape_options){ .mode = WF_INFER });
    for (int i = 0; i < 60; i++) {
        const int64_t classes = 2 + any(i, 20, MOST - 1), sequences = 1 + any(i, 22, 4);
        wf_var *held[2];
        wf_generated g = { 0 }, one = { 0 };
        wf_tape_reset(t);
        wf_generate_options o = any_options(i, classes, MOST), plain = o;
        o.min_length = plain.min_length = 0;
        o.refill = false;
        o.beams = 1;
        plain.length_alpha = plain.coverage_beta = 0;
        table m = table_new(t, sequences, classes, MOST, SOURCE, (uint64_t)i, WF_F64);
        small s = small_new(classes, (uint64_t)i);
        const wf_decoder d = i % 2 ? table_decoder(t, &m, sequences, held)
                                   : small_decoder(t, &s, 0, sequences, held);
        ck_assert(wf_generate(t, &d, &plain, &g) && wf_generate(t, &d, &o, &one));
        for (int64_t b = 0; b < sequences; b++) {
            const path p = by_hand(t, &d, b, o.begin, o.end, MOST);
            assert_path(&g.at[b], &p);
            ck_assert_int_eq(one.at[b].n, p.n);
            ck_assert(!memcmp(one.at[b].ids, p.ids, (size_t)p.n * sizeof *p.ids));
        }
        wf_generated_free(&g), wf_generated_free(&one);
        small_free(t, &s);
    }
    wf_tape_free(t);
}

TEST_EACH(a_batch_gives_what_each_sequence_gives_alone, 4)
{
    enum { N = 7, TIME = 12, CLASSES = 9 };
    wf_tape *t = wf_tape_new(&(wf_tape_options){ .mode = WF_INFER });
    const small s = small_new(CLASSES, 3);
    wf_generate_options o = { .begin = 1,
                              .end = 2,
                              .max_length = TIME,
                              .beams = _i < 3 ? 1 + 2 * _i : 0,
                              .best = _i < 3 ? 1 + _i : 2,
                              .length_alpha = 0.8,
                              .coverage_beta = _i == 1 ? 0.5 : 0,
                              .refill = _i == 2,
                              .temperature = _i == 3 ? 0.9 : 0,
                              .top_p = _i == 3 ? 0.9 : 0,
                              .seed = 5,
                              .weights = true };
    wf_generated whole = { 0 }, one = { 0 };
    wf_var *held[2];
    wf_decoder d = small_decoder(t, &s, 0, N, held);
    ck_assert(wf_generate(t, &d, &o, &whole));
    int64_t most = 0, rows = 0;
    for (int64_t b = 0; b < N; b++) {
        d = small_decoder(t, &s, b, 1, held);
        o.numbered = b;
        ck_assert(wf_generate(t, &d, &o, &one));
        most = one.steps > most ? one.steps : most;
        rows += one.rows;
        for (int64_t k = 0; k < o.best; k++)
            assert_same(&whole.at[b * o.best + k], &one.at[k], 1e-12);
    }
    ck_assert_int_eq(whole.steps, most);
    ck_assert_int_eq(whole.rows, rows); /* none for rows that are done */
    wf_generated_free(&whole), wf_generated_free(&one);
    small_free(t, &s);
    wf_tape_free(t);
}

/* ---- what runs ---- */

TEST(rows_that_are_done_leave_the_batch)
{
    /* Sequence b says 1 b times, then ends. */
    enum { N = 5, TIME = 8 };
    wf_tape *t = wf_tape_new(NULL);
    const int64_t prefixes = prefixes_of(2, TIME);
    wf_tensor to;
    table m = { .classes = 2, .prefixes = prefixes };
    m.logits = wf_constant_fill(t, WF_F64, WF_SHAPE(N * prefixes, 2), &to);
    for (int64_t b = 0; b < N; b++) {
        int64_t code = 0;
        for (int64_t i = 0; i <= b; i++) {
            code = 2 * code + (i > 0);
            ((double *)to.data)[2 * (b * prefixes + code) + (i < b)] = 3;
            code++;
        }
    }
    wf_var *held[2];
    const wf_decoder d = table_decoder(t, &m, N, held);
    wf_generated g = { 0 };
    ck_assert(wf_generate(t, &d, &(wf_generate_options){ .max_length = TIME }, &g));
    for (int64_t b = 0; b < N; b++) {
        ck_assert_int_eq(g.at[b].n, b + 1);
        ck_assert(g.at[b].ended && g.at[b].ids[b] == 0);
    }
    ck_assert_int_eq(m.steps, N);
    ck_assert_int_eq(m.rows, 5 + 4 + 3 + 2 + 1);
    ck_assert_int_eq(g.steps, m.steps);
    ck_assert_int_eq(g.rows, m.rows);
    wf_generated_free(&g);
    wf_tape_free(t);
}

/* Words so far, (n, t), as a state that grows; the same numbers as of table_step. */
static void cache_step(wf_tape *t, const void *self, wf_decoder_rows *rows)
{
    const table *m = self;
    wf_var *word = wf_unsqueeze(t, wf_cast(t, rows->word, WF_F64), 1);
    wf_var *cache = rows->state[0] = wf_concat(t, 1, WF_VARS(rows->state[0], word));
    const int64_t time = wf_dim(cache, 1);
    wf_tensor to;
    wf_var *powers = wf_constant_fill(t, WF_F64, WF_SHAPE(time, 1), &to);
    double other = 0;
    for (int64_t i = time - 1, power = 1; i >= 0; i--, power *= m->classes) {
        ((double *)to.data)[i] = (double)power;
        if (i > 0) other += (double)power * (double)m->classes;
    }
    wf_var *code = wf_add_scalar(t, wf_squeeze(t, wf_matmul(t, cache, powers), 1), other);
    rows->features = wf_gather_rows(t, m->logits,
                                    wf_cast(t, wf_add(t, code, rows->memory[0]), WF_I32));
}

TEST(states_may_grow_from_step_to_step)
{
    wf_tape *t = wf_tape_new(&(wf_tape_options){ .mode = WF_INFER });
    for (int beams = 1; beams < 5; beams++) {
        const wf_generate_options o = {
            .begin = 1, .end = 0, .max_length = 4, .beams = beams, .best = beams
        };
        wf_tape_reset(t);
        wf_var *held[2];
        table m = table_new(t, 3, 3, 4, 0, 8, WF_F64);
        wf_generated a = { 0 }, b = { 0 };
        wf_decoder d = table_decoder(t, &m, 3, held);
        ck_assert(wf_generate(t, &d, &o, &a));
        held[1] = wf_zeros(t, WF_F64, WF_SHAPE(3, 0));
        d.step = cache_step;
        ck_assert_msg(wf_generate(t, &d, &o, &b), "%s", wf_tape_error(t));
        for (int64_t i = 0; i < 3 * beams; i++) assert_same(&a.at[i], &b.at[i], 0);
        wf_generated_free(&a), wf_generated_free(&b);
    }
    wf_tape_free(t);
}

TEST(memory_does_not_grow_with_the_steps_and_a_steady_call_asks_for_none)
{
    wf_tape *t = wf_tape_new(&(wf_tape_options){ .mode = WF_INFER });
    const small s = small_new(9, 3);
    wf_generated g = { 0 };
    int64_t peak = 0;
    long long asked = 0;
    for (int i = 0; i < 2 * HARNESS_SETTLED + 2; i++) {
        wf_tape_reset(t);
        wf_var *held[2];
        wf_decoder d = small_decoder(t, &s, 0, 4, held);
        wf_generate_options o = { .begin = 1,
                                  .end = 2,
                                  .max_length = 300,
                                  .beams = 3,
                                  .min_length = 200,
                                  .weights = true,
                                  .coverage_beta = 0.1 };
        const int64_t before = wf_tape_bytes(t);
        asked = atomic_load(&heap.asked);
        ck_assert(wf_generate(t, &d, &o, &g));
        asked = atomic_load(&heap.asked) - asked;
        ck_assert_int_eq(wf_tape_bytes(t), before);
        table m = { .logits = wf_zeros(t, WF_F64, WF_SHAPE(1, 3)) };
        d = (wf_decoder){ .step = flat_step, .self = &m };
        o = (wf_generate_options){ .end = -1, .max_length = i % 2 ? 20 : 2000 };
        ck_assert(wf_generate(t, &d, &o, &g));
        ck_assert_int_eq(g.at->n, o.max_length);
        ck_assert(peak == 0 || peak == m.peak);
        peak = m.peak;
    }
    ck_assert_int_eq(asked, 0);
    wf_generated_free(&g);
    small_free(t, &s);
    wf_tape_free(t);
}

TEST(an_empty_source_is_no_trouble)
{
    wf_tape *t = wf_tape_new(&(wf_tape_options){ .mode = WF_INFER });
    const small s = small_new(5, 1);
    wf_var *memory = wf_zeros(t, WF_F64, WF_SHAPE(2, 0, HIDDEN));
    wf_var *state = wf_zeros(t, WF_F64, WF_SHAPE(2, HIDDEN));
    wf_generated g = { 0 };
    const wf_decoder d = { .step = small_step,
                           .output = small_output,
                           .self = &s,
                           .memory = { 1, &memory },
                           .initial = { 1, &state } };
    const wf_generate_options o = {
        .end = 1, .max_length = 6, .beams = 3, .best = 2, .weights = true, .coverage_beta = 1
    };
    ck_assert_msg(wf_generate(t, &d, &o, &g), "%s", wf_tape_error(t));
    ck_assert(g.at->n > 0 && g.at->weights.dim[0] == g.at->n && g.at->weights.dim[1] == 0);
    assert_same(&g.at[0], &g.at[2], 0);
    wf_generated_free(&g);
    small_free(t, &s);
    wf_tape_free(t);
}

TEST_EACH(any_mode_gives_the_same_and_leaves_nothing, 3)
{
    wf_tape *t = wf_tape_new(NULL), *other = wf_tape_new(&(wf_tape_options){ .mode = WF_INFER });
    const small s = small_new(9, 3);
    wf_generated a = { 0 }, b = { 0 };
    wf_var *held[2];
    const wf_generate_options o = { .end = 2, .max_length = 9, .beams = 4, .best = 4 };
    wf_tape_set_mode(t, (wf_mode)_i);
    wf_decoder d = small_decoder(t, &s, 0, 3, held);
    const int64_t nodes = wf_tape_nodes(t), bytes = wf_tape_bytes(t);
    ck_assert(wf_generate(t, &d, &o, &a));
    ck_assert_int_eq(wf_tape_nodes(t), nodes);
    ck_assert_int_eq(wf_tape_bytes(t), bytes);
    d = small_decoder(other, &s, 0, 3, held);
    ck_assert(wf_generate(other, &d, &o, &b));
    for (int i = 0; i < 12; i++) assert_same(&a.at[i], &b.at[i], 1e-12);
    wf_generated_free(&a), wf_generated_free(&b);
    wf_tape_reset(other);
    small_free(t, &s);
    wf_tape_free(t), wf_tape_free(other);
}
