/* Novelty: scores against the formula by hand, odd errors above the threshold, any strides. */
#include "data/novelty.h"
#include "tests/fixture.h"

#include <math.h>

enum { N = 200, W = 10, C = 2 };

/* Correlated normal errors, e = (z, z + w / 2) of independent z and w. */
static wf_tensor usual(double *e)
{
    for (uint64_t i = 0; i < N * W; i++) {
        e[2 * i] = 3 + wf_random_normal(5, 2 * i);
        e[2 * i + 1] = e[2 * i] + wf_random_normal(5, 2 * i + 1) / 2;
    }
    return wf_tensor_of(WF_F64, WF_SHAPE(N, W, C), e);
}

static double largest(const double *x, int n)
{
    double most = x[0];
    for (int i = 1; i < n; i++) most = fmax(most, x[i]);
    return most;
}

TEST(a_score_is_the_distance_that_the_formula_has)
{
    /* Of (0, 0), (2, 0), (0, 4), (2, 4): mean (1, 2), variances 1 and 4, no covariance; each is at
     * a squared distance of 2, so that nothing varies but by 1e-9. Two more make it vary. */
    double e[12] = { 0, 0, 2, 0, 0, 4, 2, 4, 1, 2, 1, 2 };
    const wf_tensor x = wf_tensor_of(WF_F64, WF_SHAPE(3, 2, 2), e);
    OWN(wf_novelty) *v = wf_novelty_new(&x, NULL, NULL);
    /* Variances are now 4 / 6 and 16 / 6: squared distances 1.5 + 1.5, four times, and 0, 0. */
    const double root = cbrt(3), mean = 4 * root / 6,
                 spread = sqrt((4 * pow(root - mean, 2) + 2 * mean * mean) / 6);
    double s[6], one[2] = { 1 + 1, 2 - 2 }, t;
    const wf_tensor scores = wf_tensor_of(WF_F64, WF_SHAPE(3, 2), s);
    ck_assert(wf_novelty_score(v, &x, &scores, NULL));
    for (int i = 0; i < 6; i++)
        ck_assert(fabs(s[i] - fabs((i < 4 ? root : 0) - mean) / spread) < 1e-12);
    const wf_tensor odd = wf_tensor_of(WF_F64, WF_SHAPE(1, 1, 2), one),
                    score = wf_tensor_of(WF_F64, WF_SHAPE(1, 1), &t);
    one[0] = 1, one[1] = 2 + 4 * sqrt(16 / 6.);
    ck_assert(wf_novelty_score(v, &odd, &score, NULL));
    ck_assert(fabs(t - (cbrt(16) - mean) / spread) < 1e-12);
    one[1] = (double)NAN;
    ck_assert(wf_novelty_score(v, &odd, &score, NULL) && isinf(t));
}

TEST(steps_around_are_judged_together_within_their_window)
{
    double e[6] = { 0, 3, 0, 0, 0, 0 }, s[6], alone[6];
    const wf_tensor x = wf_tensor_of(WF_F64, WF_SHAPE(2, 3, 1), e),
                    scores = wf_tensor_of(WF_F64, WF_SHAPE(2, 3), s),
                    each = wf_tensor_of(WF_F64, WF_SHAPE(2, 3), alone);
    OWN(wf_novelty) *one = wf_novelty_new(&x, NULL, NULL);
    OWN(wf_novelty) *three = wf_novelty_new(&x, &(wf_novelty_options){ .around = 3 }, NULL);
    ck_assert(wf_novelty_score(one, &x, &each, NULL) && wf_novelty_score(three, &x, &scores, NULL));
    ck_assert(alone[0] == alone[2] && alone[0] == alone[5] && alone[1] > alone[0]);
    ck_assert(s[0] == s[2] && s[0] > s[1] && s[3] == s[5] && s[4] == s[3]);
}

TEST(the_threshold_lets_as_many_alarms_pass_as_were_asked_for)
{
    static double e[N * W * C], s[N * W];
    const wf_tensor x = usual(e), scores = wf_tensor_of(WF_F64, WF_SHAPE(N, W), s);
    for (int k = 1; k <= 20; k++) {
        OWN(wf_novelty) *v = wf_novelty_new(
            &x, &(wf_novelty_options){ .alarms = k / (double)N, .around = 3 }, NULL);
        ck_assert(wf_novelty_score(v, &x, &scores, NULL));
        int alarms = 0;
        for (int i = 0; i < N; i++) alarms += largest(s + i * W, W) > wf_novelty_threshold(v);
        ck_assert_int_eq(alarms, k);
    }
}

TEST(what_does_not_fit_together_is_odd_and_so_is_what_stands_still)
{
    static double e[N * W * C], s[N * W];
    const wf_tensor x = usual(e), scores = wf_tensor_of(WF_F64, WF_SHAPE(N, W), s);
    OWN(wf_novelty) *v = wf_novelty_new(&x, &(wf_novelty_options){ .around = 9 }, NULL);
    for (int i = 0; i < W * C; i++) e[i] = 3; /* window 0: no error beside the usual mean */
    e[(W + 4) * C] = 3 + 2.5, e[(W + 4) * C + 1] = 3 - 2.5; /* 1: either alone were usual */
    ck_assert(wf_novelty_score(v, &x, &scores, NULL));
    ck_assert(largest(s, W) > wf_novelty_threshold(v));
    ck_assert(largest(s + W, W) > wf_novelty_threshold(v));
    double most[N];
    const wf_tensor each = wf_tensor_of(WF_F64, WF_SHAPE(N), most);
    ck_assert(wf_novelty_score(v, &x, &each, NULL));
    for (int i = 0; i < N; i++) ck_assert(most[i] == largest(s + i * W, W));
}

TEST(strides_and_dtypes_make_no_difference)
{
    static double e[N * W * C], s[N * W], turned[N * W];
    static float f[C * W * N];
    const wf_tensor x = usual(e), scores = wf_tensor_of(WF_F64, WF_SHAPE(N, W), s);
    wf_tensor y = wf_tensor_of(WF_F32, WF_SHAPE(C, W, N), f);
    wf_tensor out = wf_tensor_of(WF_F64, WF_SHAPE(W, N), turned);
    ck_assert(wf_view_transpose(&y, 0, 2, &y) && wf_view_transpose(&out, 0, 1, &out));
    wf_tensor_copy(&x, &y), wf_tensor_copy(&y, &x);
    OWN(wf_novelty) *v = wf_novelty_new(&x, NULL, NULL);
    OWN(wf_novelty) *w = wf_novelty_new(&y, NULL, NULL);
    ck_assert(wf_novelty_score(v, &x, &scores, NULL) && wf_novelty_score(w, &y, &out, NULL));
    ck_assert(wf_novelty_threshold(v) == wf_novelty_threshold(w));
    for (int i = 0; i < N * W; i++) ck_assert(s[i] == wf_tensor_at(&out, i));
}

TEST(columns_that_say_the_same_can_be_judged)
{
    double e[8] = { 1, 1, -1, -1, 2, 2, 0, 0 }, s[4];
    const wf_tensor x = wf_tensor_of(WF_F64, WF_SHAPE(2, 2, 2), e),
                    scores = wf_tensor_of(WF_F64, WF_SHAPE(2, 2), s);
    OWN(wf_novelty) *v = wf_novelty_new(&x, NULL, NULL);
    ck_assert(v && wf_novelty_score(v, &x, &scores, NULL));
    for (int i = 0; i < 4; i++) ck_assert(isfinite(s[i]));
}

/* ---- oddities ---- */

TEST(an_oddity_is_what_it_says_in_one_column)
{
    enum { ROWS = 16, PERIOD = 8 };
    int where[WF_ODDITIES][ROWS] = { { 0 } };
    for (uint64_t key = 0; key < 400; key++)
        for (int kind = 0; kind < WF_ODDITIES; kind++) {
            float x[3][ROWS]; /* its transpose is the window */
            for (int i = 0; i < 3 * ROWS; i++) x[i / ROWS][i % ROWS] = (float)(1 + i);
            wf_tensor w = wf_tensor_of(WF_F32, WF_SHAPE(3, ROWS), x);
            ck_assert(wf_view_transpose(&w, 0, 1, &w));
            ck_assert(wf_make_odd(&w, (wf_oddity)kind, PERIOD, key, NULL));
            int column = -1, first = -1, last = -1, n = 0;
            for (int i = 0; i < 3 * ROWS; i++)
                if (x[i / ROWS][i % ROWS] != (float)(1 + i)) {
                    ck_assert(column < 0 || column == i / ROWS);
                    column = i / ROWS, last = i % ROWS, first = n++ ? first : last;
                }
            ck_assert(n > 0 && last - first == n - 1);
            where[kind][first]++, where[kind][last]++;
            const float *y = x[column], usual = (float)(1 + column * ROWS);
            for (int i = first; i <= last; i++) {
                const float off = y[i] - (usual + (float)i), much = fabsf(off);
                if (kind == WF_ODD_SPIKE)
                    ck_assert(n <= 3 && much >= 3 && much < 6.001F &&
                              fabsf(off - (y[first] - (usual + (float)first))) < 1e-4F);
                else if (kind == WF_ODD_FLAT) /* its first step is as it was */
                    ck_assert(n + 1 >= PERIOD / 2 && n < PERIOD && y[i] == y[first - 1]);
                else if (kind == WF_ODD_SHIFT)
                    ck_assert(last == ROWS - 1 && n >= PERIOD / 4 && much >= PERIOD / 4 &&
                              much <= 3 * PERIOD / 4 && off == y[last] - (usual + ROWS - 1));
                else
                    ck_assert(n == PERIOD && y[i] == 0);
            }
        }
    /* It comes as early and as late as it can. */
    ck_assert(where[WF_ODD_SPIKE][0] && where[WF_ODD_SPIKE][ROWS - 1]);
    ck_assert(where[WF_ODD_FLAT][1] && where[WF_ODD_FLAT][ROWS - 1]);
    ck_assert(where[WF_ODD_SHIFT][PERIOD / 4] && where[WF_ODD_SHIFT][ROWS - PERIOD / 4]);
    ck_assert(where[WF_ODD_MISSING][0] && where[WF_ODD_MISSING][ROWS - 1]);
}
