/* Splits: items in an order drawn by the seed, label by label, dealt to the parts. */
#include "data/folds.h"

#include "data/batch.h"
#include "data/text_private.h"
#include "tensor/par.h"
#include "tensor/rng.h"
#include "tensor/size.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { PARTS = 1024 }; /* that have fractions: so that what rounding loses stays far below 1 */

/* One item, or (of groups) one item of a group. */
typedef struct card {
    int64_t item, drawn;  /* its place in the order that was drawn */
    int64_t size, first;  /* of its group: how many items, and which place the first was drawn at */
    int32_t label, group; /* labels are numbered here from 0, in their order */
} card;

/* What is dealt, and to whom. */
typedef struct deal {
    const char *what;
    int64_t n, parts, labels;
    const double *fractions; /* NULL: each part is to have the same */
    double sum;
    card *cards;
    int64_t *count; /* (parts, labels) that were dealt */
    int64_t *total; /* (labels) */
    int32_t *part;  /* the result, of each item */
} deal;

/* ---- in order ---- */

static int compare(int64_t a, int64_t b)
{
    return (a > b) - (a < b);
}

static int by_group(const void *one, const void *other)
{
    const card *a = one, *b = other;
    const int order = compare(a->group, b->group);
    return order ? order : compare(a->drawn, b->drawn);
}

/* By label, as they were drawn. */
static int by_label(const void *one, const void *other)
{
    const card *a = one, *b = other;
    const int order = compare(a->label, b->label);
    return order ? order : compare(a->drawn, b->drawn);
}

/* The largest group first, equal ones as they were drawn. */
static int by_size(const void *one, const void *other)
{
    const card *a = one, *b = other;
    if (a->size != b->size) return compare(b->size, a->size);
    const int order = compare(a->first, b->first);
    return order ? order : compare(a->drawn, b->drawn);
}

static void sort(deal *d, int (*by)(const void *, const void *))
{
    if (d->n > 1) qsort(d->cards, (size_t)d->n, sizeof *d->cards, by);
}

/* Numbers the labels from 0, and leaves the cards label by label. */
static void number_labels(deal *d)
{
    int32_t was = 0;
    sort(d, by_label);
    d->labels = 0;
    for (int64_t i = 0; i < d->n; i++) {
        const int32_t label = d->cards[i].label;
        d->labels += i == 0 || label != was;
        was = label;
        d->cards[i].label = (int32_t)(d->labels - 1);
    }
}

/* Writes into each card how large its group is, and puts the large ones first. Returns how many
 * groups there are. */
static int64_t find_groups(deal *d)
{
    int64_t groups = 0;
    sort(d, by_group);
    for (int64_t i = 0, end; i < d->n; i = end, groups++) {
        for (end = i + 1; end < d->n && d->cards[end].group == d->cards[i].group;) end++;
        for (int64_t j = i; j < end; j++) {
            d->cards[j].size = end - i;
            d->cards[j].first = d->cards[i].drawn;
        }
    }
    sort(d, by_size);
    return groups;
}

/* ---- dealing ---- */

static double share(const deal *d, int64_t p)
{
    return d->fractions ? d->fractions[p] / d->sum : 1 / (double)d->parts;
}

/* Items one by one, so that after each of them no part is a whole item away from its share: of
 * those that are below it, the one that would be above it soonest. */
static void deal_items(deal *d)
{
    static const double rounding = 1e-9;
    for (int64_t i = 0; i < d->n; i++) {
        int64_t best = d->fractions ? -1 : i % d->parts;
        double soonest = (double)INFINITY;
        for (int64_t p = 0; p < d->parts && d->fractions; p++) {
            const double has = (double)d->count[p], of = share(d, p);
            if (!(has < of * (double)(i + 1) - rounding) || !((has + 1) / of < soonest)) continue;
            best = p;
            soonest = (has + 1) / of;
        }
        d->part[d->cards[i].item] = (int32_t)best;
        d->count[best]++;
    }
}

/* By how much chi-square grows when n cards come to part p, which they do. */
static double take(deal *d, int64_t p, const card *cards, int64_t n)
{
    double grows = 0;
    for (int64_t i = 0; i < n; i++) {
        int64_t *has = &d->count[p * d->labels + cards[i].label];
        grows += (double)(2 * *has + 1) / (share(d, p) * (double)d->total[cards[i].label]);
        ++*has;
    }
    return grows;
}

static void give_back(deal *d, int64_t p, const card *cards, int64_t n)
{
    for (int64_t i = 0; i < n; i++) d->count[p * d->labels + cards[i].label]--;
}

static void deal_groups(deal *d)
{
    for (int64_t i = 0; i < d->n; i += d->cards[i].size) {
        const card *group = d->cards + i;
        int64_t best = -1;
        double least = (double)INFINITY;
        for (int64_t p = 0; p < d->parts; p++) {
            if (!(share(d, p) > 0)) continue;
            const double grows = take(d, p, group, group->size);
            give_back(d, p, group, group->size);
            /* Of what is equal but for rounding, the first. */
            if (best >= 0 && !(grows < least * (1 - 1e-12))) continue;
            best = p;
            least = grows;
        }
        take(d, best, group, group->size);
        for (int64_t j = 0; j < group->size; j++) d->part[group[j].item] = (int32_t)best;
    }
}

/* ---- making ---- */

static int64_t *numbers(const deal *d, int64_t n, int64_t more, wf_error *error)
{
    int64_t bytes = INT64_MAX;
    if (!wf_size_mul(n, more, &bytes) || !wf_size_mul(bytes, (int64_t)sizeof(int64_t), &bytes))
        bytes = INT64_MAX;
    return text_memory(wf_alloc_zero((size_t)bytes), bytes, d->what, error);
}

static bool make_cards(deal *d, const wf_partition_options *o, wf_error *error)
{
    int64_t bytes = INT64_MAX;
    if (!wf_size_mul(d->n, (int64_t)sizeof *d->cards, &bytes)) bytes = INT64_MAX;
    d->cards = text_memory(wf_alloc_zero((size_t)bytes), bytes, d->what, error);
    int64_t *order = d->cards ? numbers(d, d->n, 1, error) : NULL;
    if (!order) return false;
    wf_permutation(d->n, wf_key_named(o->seed, "partition"), order);
    for (int64_t i = 0; i < d->n; i++)
        d->cards[i] = (card){ .item = order[i],
                              .drawn = i,
                              .label = o->labels ? o->labels[order[i]] : 0,
                              .group = o->groups ? o->groups[order[i]] : 0 };
    wf_release(order);
    number_labels(d);
    return true;
}

static bool enough(const deal *d, int64_t have, const char *of, wf_error *error)
{
    return d->fractions || d->parts <= have ||
           wf_error_set(error, "%s: %lld folds of %lld %s: one would be empty", d->what,
                        (long long)d->parts, (long long)have, of);
}

static bool deal_all(deal *d, const wf_partition_options *o, wf_error *error)
{
    if (!make_cards(d, o, error)) return false;
    d->count = numbers(d, d->parts, o->groups ? d->labels : 1, error);
    d->total = d->count ? numbers(d, d->labels, 1, error) : NULL;
    if (!d->total) return false;
    for (int64_t i = 0; i < d->n; i++) d->total[d->cards[i].label]++;
    if (!o->groups) {
        deal_items(d);
    } else {
        if (!enough(d, find_groups(d), "groups", error)) return false;
        deal_groups(d);
    }
    return true;
}

static bool run(deal *d, const wf_partition_options *options, wf_error *error)
{
    const wf_partition_options none = { 0 };
    if (d->n < 0 || (d->n > 0 && !d->part))
        return wf_error_set(error, "%s: there is no room for the parts of %lld items", d->what,
                            (long long)d->n);
    if (!enough(d, d->n, "items", error)) return false;
    const bool ok = d->n == 0 || deal_all(d, options ? options : &none, error);
    wf_release(d->cards);
    wf_release(d->count);
    wf_release(d->total);
    return ok;
}

bool wf_kfold(int64_t n, int64_t k, const wf_partition_options *options, int32_t *fold,
              wf_error *error)
{
    WF_FP_SCOPE uint32_t fp = wf_fp_enter_exact();
    wf_error_clear(error);
    if (k < 1 || k > INT32_MAX)
        return wf_error_set(error, "kfold: k is %lld; it must be 1 or more%s", (long long)k,
                            k < 1 ? "" : ", and fit into i32");
    return run(&(deal){ .what = "kfold", .n = n, .parts = k, .part = fold }, options, error);
}

bool wf_partition(int64_t n, const double *fractions, int64_t parts,
                  const wf_partition_options *options, int32_t *part, wf_error *error)
{
    WF_FP_SCOPE uint32_t fp = wf_fp_enter_exact();
    deal d = { .what = "partition", .n = n, .parts = parts, .fractions = fractions, .part = part };
    wf_error_clear(error);
    if (!fractions || parts < 1 || parts > PARTS)
        return wf_error_set(error, "partition: %lld fractions were given; it takes 1 to %d",
                            fractions ? (long long)parts : 0, PARTS);
    for (int64_t p = 0; p < parts; p++) {
        if (!isfinite(fractions[p]) || fractions[p] < 0)
            return wf_error_set(error,
                                "partition: fraction %lld is %g; it must be a number of 0 or more",
                                (long long)p, fractions[p]);
        d.sum += fractions[p];
    }
    if (!isfinite(d.sum) || !(d.sum > 0))
        return wf_error_set(error, "partition: the sum of the fractions is %g", d.sum);
    return run(&d, options, error);
}

int64_t wf_partition_items(const int32_t *part, int64_t n, int32_t which, bool others,
                           int64_t *items, int64_t room)
{
    int64_t found = 0;
    for (int64_t i = 0; i < n && part; i++) {
        if ((part[i] == which) == others) continue;
        if (items && found < room) items[found] = i;
        found++;
    }
    return found;
}
