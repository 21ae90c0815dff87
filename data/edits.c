/* Edit distance by dynamic programming (Wagner and Fischer 1974), a row at a time. */
#include "data/edits.h"

#include "data/segments_private.h"
#include "data/text_private.h"
#include "tensor/par.h"
#include "tensor/size.h"
#include "tensor/text.h"

#include <math.h>
#include <string.h>

/* A cell of the table: edits, and of equally many, substitutions. As one number it is compared and
 * added to at once. */
#define EDIT (INT64_C(1) << 31)
enum { SUBSTITUTION = 1 };

struct wf_edits {
    wf_edit_unit unit;
    segments segments;
    growing row;
    wf_edit_counts sum;
};

wf_edits *wf_edits_new(wf_edit_unit unit, wf_error *error)
{
    wf_error_clear(error);
    if (unit < WF_EDIT_WORDS || unit > WF_EDIT_BAG) {
        wf_error_set(error, "edits: there is no unit %d", (int)unit);
        return NULL;
    }
    wf_edits *e = text_memory(wf_alloc_zero(sizeof *e), sizeof *e, "edits", error);
    if (e) e->unit = unit;
    return e;
}

void wf_edits_free(wf_edits *e)
{
    if (!e) return;
    segments_free(&e->segments);
    growing_free(&e->row);
    wf_release(e);
}

void wf_edits_clear(wf_edits *e)
{
    if (e) e->sum = (wf_edit_counts){ 0 };
}

/* Counts what was found: so many edits, so many of them substitutions. */
static void count(wf_edits *e, int64_t hypothesis, int64_t reference, int64_t edits,
                  int64_t substitutions)
{
    /* What is neither right nor substituted is deleted on one side, inserted on the other, and the
     * difference of these two is that of the lengths. */
    const int64_t others = edits - substitutions, more = hypothesis - reference;
    e->sum.substitutions += substitutions;
    e->sum.insertions += (others + more) / 2;
    e->sum.deletions += (others - more) / 2;
    e->sum.right += reference - substitutions - (others - more) / 2;
    e->sum.reference += reference;
    e->sum.hypothesis += hypothesis;
    e->sum.sentences++;
    e->sum.exact += edits == 0;
}

static bool in_order(wf_edits *e, wf_ids h, wf_ids r, wf_error *error)
{
    int64_t bytes = INT64_MAX;
    if (!wf_size_mul(h.n + 1, (int64_t)sizeof(int64_t), &bytes)) bytes = INT64_MAX;
    e->row.bytes = 0;
    int64_t *row = growing_more(&e->row, bytes, "edits", error);
    if (!row) return false;
    /* row[j]: the first i of the reference into the first j of the hypothesis. */
    for (int64_t j = 0; j <= h.n; j++) row[j] = j * EDIT;
    for (int64_t i = 1; i <= r.n; i++) {
        int64_t before = row[0]; /* row[j - 1] of i - 1 */
        row[0] = i * EDIT;
        for (int64_t j = 1; j <= h.n; j++) {
            const bool same = r.at[i - 1] == h.at[j - 1];
            const int64_t both = before + (same ? 0 : EDIT + SUBSTITUTION);
            const int64_t one = (row[j] < row[j - 1] ? row[j] : row[j - 1]) + EDIT;
            before = row[j];
            row[j] = both < one ? both : one;
        }
    }
    count(e, h.n, r.n, row[h.n] / EDIT, row[h.n] % EDIT);
    return true;
}

static bool in_any_order(wf_edits *e, wf_error *error)
{
    segments *s = &e->segments;
    if (!segments_begin(s, "edits", error)) return false;
    segments_next(s);
    const int64_t h = segments_count(s, 0, 0), r = segments_count(s, 1, 1);
    int64_t both = 0;
    for (int64_t g = 0; g < s->grams; g++)
        both += s->count[0][g] < s->count[1][g] ? s->count[0][g] : s->count[1][g];
    count(e, h, r, (h > r ? h : r) - both, (h < r ? h : r) - both);
    return true;
}

static bool compare(wf_edits *e, wf_error *error)
{
    if (e->unit == WF_EDIT_BAG) return in_any_order(e, error);
    return in_order(e, segments_list(&e->segments, 0), segments_list(&e->segments, 1), error);
}

bool wf_edits_add(wf_edits *e, const wf_text *hypothesis, const wf_text *reference, wf_error *error)
{
    wf_error_clear(error);
    if (!e) return wf_error_set(error, "edits: it was never made (NULL)");
    if (!segments_good(hypothesis, "edits: hypothesis", error) ||
        !segments_good(reference, "edits: reference", error))
        return false;
    segments_fn *const add = e->unit == WF_EDIT_LETTERS ? segments_add_all_letters
                                                        : segments_add_words;
    segments_clear(&e->segments);
    return add(&e->segments, hypothesis->bytes, hypothesis->n, "edits", error) &&
           add(&e->segments, reference->bytes, reference->n, "edits", error) && compare(e, error);
}

bool wf_edits_add_ids(wf_edits *e, wf_ids hypothesis, wf_ids reference, wf_error *error)
{
    wf_error_clear(error);
    const wf_ids both[2] = { hypothesis, reference };
    if (!e) return wf_error_set(error, "edits: it was never made (NULL)");
    segments_clear(&e->segments);
    for (int k = 0; k < 2; k++)
        if (both[k].n < 0 || (both[k].n > 0 && !both[k].at))
            return wf_error_set(error, "edits: the %s has %lld ids that were not given",
                                k ? "reference" : "hypothesis", (long long)both[k].n);
    for (int k = 0; k < 2; k++)
        if (!segments_add_ids(&e->segments, both[k], "edits", error)) return false;
    return compare(e, error);
}

wf_edit_counts wf_edits_count(const wf_edits *e)
{
    return e ? e->sum : (wf_edit_counts){ 0 };
}

double wf_edits_rate(const wf_edits *e)
{
    WF_FP_SCOPE uint32_t fp = wf_fp_enter_exact();
    if (!e) return 0;
    const int64_t edits = e->sum.substitutions + e->sum.insertions + e->sum.deletions;
    if (e->sum.reference == 0) return edits ? (double)INFINITY : 0;
    return (double)edits / (double)e->sum.reference;
}
