/* Items by class: splits in which each is once and each label has its share, confusion matrices and
 * what follows from them, the area under the ROC curve. */
#include "data/confusion.h"
#include "data/folds.h"
#include "data/text_private.h"
#include "data/utf8.h"
#include "tensor/rng.h"
#include "tests/fixture.h"

#include <math.h>
#include <string.h>

/* ---- splits ---- */

enum { N = 997, LABELS = 7, GROUPS = 60 };
static int32_t label[N], group[N], part[N], again[N];

static void draw(void)
{
    for (int i = 0; i < N; i++) {
        /* Labels are far from equally frequent, and their numbers are any. */
        const double u = wf_random_uniform(5, (uint64_t)i);
        label[i] = (int32_t)(u * u * LABELS) * 100 - 300;
        group[i] = (int32_t)wf_random_below(6, (uint64_t)i, GROUPS) - 5;
    }
}

static int64_t items_in(int32_t p, const int32_t *of, int32_t is)
{
    int64_t n = 0;
    for (int i = 0; i < N; i++) n += part[i] == p && (!of || of[i] == is);
    return n;
}

static int64_t items_of(const int32_t *of, int32_t is)
{
    int64_t n = 0;
    for (int i = 0; i < N; i++) n += of[i] == is;
    return n;
}

TEST(each_item_is_in_one_fold_and_folds_are_alike)
{
    static const int64_t ks[] = { 1, 2, 5, 10, N };
    draw();
    for (int c = 0; c < 10; c++) {
        const int64_t k = ks[c / 2];
        const wf_partition_options o = { .seed = 3, .labels = c % 2 ? label : NULL };
        memset(part, -1, sizeof part);
        ck_assert(wf_kfold(N, k, &o, part, NULL));
        for (int i = 0; i < N; i++) ck_assert(part[i] >= 0 && part[i] < k);
        for (int32_t p = 0; p < k; p++) {
            const int64_t n = items_in(p, NULL, 0);
            ck_assert(n == N / k || n == N / k + 1);
        }
        for (int l = 0; l < LABELS && c % 2 && k < N; l++)
            for (int32_t p = 0; p < k; p++) {
                const int64_t n = items_in(p, label, l * 100 - 300);
                const int64_t all = items_of(label, l * 100 - 300);
                ck_assert(n == all / k || n == all / k + 1);
            }
    }
}

TEST(a_split_is_a_function_of_its_seed)
{
    const double fractions[3] = { 0.8, 0.1, 0.1 };
    draw();
    for (int c = 0; c < 4; c++) {
        wf_partition_options o = { .seed = 1,
                                   .labels = c & 1 ? label : NULL,
                                   .groups = c & 2 ? group : NULL };
        ck_assert(wf_partition(N, fractions, 3, &o, part, NULL));
        ck_assert(wf_partition(N, fractions, 3, &o, again, NULL));
        ck_assert(!memcmp(part, again, sizeof part));
        o.seed = 2;
        ck_assert(wf_partition(N, fractions, 3, &o, again, NULL));
        ck_assert(memcmp(part, again, sizeof part));
    }
    ck_assert(wf_kfold(N, 5, NULL, part, NULL));
    ck_assert(wf_kfold(N, 5, &(wf_partition_options){ .seed = 0 }, again, NULL));
    ck_assert(!memcmp(part, again, sizeof part));
}

TEST(parts_have_their_fraction_of_all_and_of_each_label)
{
    static const double fractions[][4] = {
        { 0.8, 0.1, 0.1, 0 }, { 8, 1, 1, 0 }, { 0.7, 0, 0.15, 0.15 },
        { 1, 2, 3, 4 },       { 0, 0, 0, 1 },
    };
    draw();
    for (int c = 0; c < 10; c++) {
        const double *f = fractions[c / 2];
        const double sum = f[0] + f[1] + f[2] + f[3];
        const wf_partition_options o = { .seed = 9, .labels = c % 2 ? label : NULL };
        ck_assert(wf_partition(N, f, 4, &o, part, NULL));
        for (int32_t p = 0; p < 4; p++) {
            const double all = (double)items_in(p, NULL, 0);
            ck_assert(fabs(all - f[p] / sum * N) < 1);
            for (int l = 0; l < LABELS && c % 2; l++) {
                const double n = (double)items_in(p, label, l * 100 - 300);
                ck_assert(fabs(n - f[p] / sum * (double)items_of(label, l * 100 - 300)) < 2);
            }
        }
    }
    /* What comes out even is even. */
    ck_assert(wf_partition(100, fractions[0], 4, NULL, part, NULL));
    int64_t n[4] = { 0 };
    for (int i = 0; i < 100; i++) n[part[i]]++;
    ck_assert(n[0] == 80 && n[1] == 10 && n[2] == 10 && n[3] == 0);
}

TEST(a_group_comes_into_one_part)
{
    static const double fractions[3] = { 0.6, 0.2, 0.2 };
    draw();
    for (int c = 0; c < 4; c++) {
        const wf_partition_options o = { .groups = group, .labels = c & 1 ? label : NULL };
        const int32_t parts = c & 2 ? 3 : 5;
        ck_assert(c & 2 ? wf_partition(N, fractions, 3, &o, part, NULL)
                        : wf_kfold(N, 5, &o, part, NULL));
        for (int g = -5; g < GROUPS - 5; g++) {
            int64_t in = 0;
            for (int32_t p = 0; p < parts; p++) in += items_in(p, group, g) > 0;
            ck_assert_int_eq(in, items_of(group, g) > 0);
        }
        /* Groups are of about 17: no part is farther from its share than one of them. */
        for (int32_t p = 0; p < parts; p++) {
            const double f = c & 2 ? fractions[p] : 0.2;
            ck_assert(fabs((double)items_in(p, NULL, 0) - f * N) < 17);
            for (int l = 0; l < LABELS && c & 1; l++) {
                const double n = (double)items_in(p, label, l * 100 - 300);
                ck_assert(fabs(n - f * (double)items_of(label, l * 100 - 300)) < 17);
            }
        }
    }
    ck_assert(!wf_kfold(N, GROUPS + 1, &(wf_partition_options){ .groups = group }, part, NULL));
}

TEST(the_items_of_a_part_and_all_others_are_listed)
{
    const int32_t fold[6] = { 0, 2, 1, 2, 0, 2 };
    int64_t at[6] = { -1, -1, -1, -1, -1, -1 };
    ck_assert(wf_partition_items(fold, 6, 2, false, at, 6) == 3 && at[0] == 1 && at[2] == 5);
    ck_assert(wf_partition_items(fold, 6, 2, true, at, 2) == 3 && at[0] == 0 && at[1] == 2);
    ck_assert(at[2] == 5 && wf_partition_items(fold, 6, 7, false, NULL, 0) == 0);
}

/* ---- the confusion matrix ---- */

static const char *const animals[3] = { "고양이", "dog", "naïve bird" };

static wf_confusion *of_animals(const int64_t count[9])
{
    wf_confusion *c = wf_confusion_new(3, animals, NULL);
    for (int i = 0; i < 9; i++)
        for (int64_t k = 0; k < count[i]; k++) {
            int32_t target = i / 3, predicted = i % 3;
            const wf_tensor t = wf_tensor_of(WF_I32, WF_SHAPE(1), &target);
            const wf_tensor p = wf_tensor_of(WF_I32, WF_SHAPE(1), &predicted);
            ck_assert(wf_confusion_add(c, &p, &t, NULL, NULL));
        }
    return c;
}

static void near(double got, double want)
{
    ck_assert_msg(fabs(got - want) < 1e-15, "%.17g, not %.17g", got, want);
}

TEST(precision_recall_and_f1_are_scikit_learns)
{
    OWN(wf_confusion) *c = of_animals((int64_t[]){ 5, 2, 0, 1, 7, 2, 0, 0, 3 });
    const wf_class_scores cat = wf_confusion_class(c, 0), bird = wf_confusion_class(c, 2);
    ck_assert(cat.right == 5 && cat.target == 7 && cat.predicted == 6);
    near(cat.precision, 5.0 / 6), near(cat.recall, 5.0 / 7), near(cat.f1, 10.0 / 13);
    near(bird.precision, 0.6), near(bird.recall, 1), near(bird.f1, 0.75);
    near(wf_confusion_accuracy(c), 0.75);
    const wf_class_scores macro = wf_confusion_average(c, WF_MACRO);
    const wf_class_scores weighted = wf_confusion_average(c, WF_WEIGHTED);
    const wf_class_scores micro = wf_confusion_average(c, WF_MICRO);
    near(macro.precision, (5.0 / 6 + 7.0 / 9 + 0.6) / 3);
    near(macro.recall, (5.0 / 7 + 0.7 + 1) / 3);
    near(macro.f1, (10.0 / 13 + 14.0 / 19 + 0.75) / 3);
    near(weighted.f1, (7 * 10.0 / 13 + 10 * 14.0 / 19 + 3 * 0.75) / 20);
    near(weighted.recall, 0.75);
    near(micro.precision, 0.75), near(micro.recall, 0.75), near(micro.f1, 0.75);
    ck_assert(micro.right == 15 && micro.target == 20 && wf_confusion_total(c) == 20);
    wf_confusion_clear(c);
    ck_assert(wf_confusion_total(c) == 0 && isnan(wf_confusion_accuracy(c)));
    ck_assert(wf_confusion_average(c, WF_MACRO).f1 == 0);
}

TEST(a_class_that_never_occurs_counts_for_nothing)
{
    OWN(wf_confusion) *c = of_animals((int64_t[]){ 2, 2, 0, 0, 0, 0, 0, 0, 0 });
    /* The second was said, and never true: it counts, with zeros. The third does not. */
    near(wf_confusion_average(c, WF_MACRO).precision, 0.5);
    near(wf_confusion_average(c, WF_MACRO).recall, 0.25);
    near(wf_confusion_average(c, WF_WEIGHTED).recall, 0.5);
    ck_assert(wf_confusion_class(c, 2).f1 == 0 && wf_confusion_class(c, 1).recall == 0);
}

TEST(what_lies_behind_the_lengths_is_not_looked_at)
{
    int32_t target[6] = { 0, 1, 2, 99, 1, -7 }, said[6] = { 0, 1, 1, -1, 1, 1 }, n[2] = { 3, 1 };
    const wf_tensor t = wf_tensor_of(WF_I32, WF_SHAPE(3, 2), target);
    const wf_tensor p = wf_tensor_of(WF_I32, WF_SHAPE(3, 2), said);
    const wf_tensor l = wf_tensor_of(WF_I32, WF_SHAPE(2), n);
    OWN(wf_confusion) *c = wf_confusion_new(3, NULL, NULL);
    wf_error e;
    ck_assert(!wf_confusion_add(c, &p, &t, NULL, &e) && wf_confusion_total(c) == 0);
    ck_assert_str_eq(e.text, "confusion: a target is 99; there are classes 0 to 2");
    ck_assert(wf_confusion_add(c, &p, &t, &l, NULL));
    ck_assert(wf_confusion_total(c) == 4 && wf_confusion_at(c, 2, 1) == 1);
    /* The same, turned: strides are any. */
    wf_tensor turned_t, turned_p;
    n[0] = n[1] = 1;
    ck_assert(wf_view_transpose(&t, 0, 1, &turned_t) && wf_view_transpose(&p, 0, 1, &turned_p));
    const wf_tensor three = wf_tensor_of(WF_I32, WF_SHAPE(3), (int32_t[]){ 1, 1, 1 });
    ck_assert(wf_confusion_add(c, &turned_p, &turned_t, &three, NULL));
    ck_assert(wf_confusion_total(c) == 7 && wf_confusion_at(c, 2, 1) == 2);
}

TEST(the_table_stands_in_columns_whatever_the_script)
{
    OWN(wf_confusion) *c = of_animals((int64_t[]){ 5, 2, 0, 1, 1007, 2, 0, 0, 3 });
    static const char want[] = "true \\ said  고양이   dog  naïve bird  precision  recall      F1\n"
                               "고양이            5     2           0      83.33   71.43   76.92\n"
                               "dog               1  1007           2      99.80   99.70   99.75\n"
                               "naïve bird        0     0           3      60.00  100.00   75.00\n"
                               "macro                                      81.05   90.38   83.89\n"
                               "weighted                                   99.57   99.51   99.52\n"
                               "micro                                      99.51   99.51   99.51\n";
    char text[1024], less[40];
    ck_assert_uint_eq(wf_confusion_text(c, text, sizeof text), sizeof want - 1);
    ck_assert_str_eq(text, want);
    /* Cut after a whole letter; the length is that of all. */
    for (size_t n = 0; n <= sizeof less; n++) {
        memset(less, '#', sizeof less);
        ck_assert_uint_eq(wf_confusion_text(c, n ? less : NULL, n), sizeof want - 1);
        if (n == 0) continue;
        ck_assert(strlen(less) < n && wf_utf8_count(less, (int64_t)strlen(less), NULL) >= 0);
        ck_assert(!strncmp(less, want, strlen(less)));
    }
    ck_assert_int_eq(text_width("e\xCC\x81 한글 日本 ｱ 😀"), 1 + 1 + 4 + 1 + 4 + 1 + 1 + 1 + 2);
}

/* ---- the ROC curve ---- */

static double brute_area(const double *score, const int32_t *is, int n)
{
    double sum = 0, pairs = 0;
    for (int i = 0; i < n; i++)
        for (int j = 0; j < n; j++) {
            if (is[i] != 1 || is[j] != 0) continue;
            pairs++;
            sum += score[i] > score[j] ? 1 : score[i] == score[j] ? 0.5 : 0;
        }
    return sum / pairs;
}

TEST(the_roc_area_is_that_of_all_pairs)
{
    enum { ITEMS = 240 };
    double score[ITEMS], area = -1;
    int32_t is[ITEMS];
    for (int round = 0; round < 8; round++) {
        for (int i = 0; i < ITEMS; i++) {
            const uint64_t at = (uint64_t)(round * ITEMS + i);
            is[i] = wf_random_uniform(1, at) < 0.3;
            score[i] = wf_random_uniform(2, at) + 0.3 * is[i];
            if (round % 2) score[i] = floor(score[i] * 8); /* ties */
        }
        score[0] = (double)INFINITY, score[1] = -(double)INFINITY, score[2] = -0.0, score[3] = 0;
        const wf_tensor s = wf_tensor_of(WF_F64, WF_SHAPE(12, 20), score);
        const wf_tensor l = wf_tensor_of(WF_I32, WF_SHAPE(12, 20), is);
        ck_assert(wf_roc_area(&s, &l, &area, NULL));
        ck_assert_msg(fabs(area - brute_area(score, is, ITEMS)) < 1e-14, "%.17g", area);
    }
    /* scikit-learn's example: roc_auc_score([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8]) is 0.75. */
    const wf_tensor s = wf_tensor_of(WF_F32, WF_SHAPE(4), (float[]){ 0.1f, 0.4f, 0.35f, 0.8f });
    const wf_tensor l = wf_tensor_of(WF_I32, WF_SHAPE(4), (int32_t[]){ 0, 0, 1, 1 });
    ck_assert(wf_roc_area(&s, &l, &area, NULL) && area == 0.75);
}
