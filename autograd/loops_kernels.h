/* The loops behind the kernels of one dtype: included by op_kernels.c once with T float and once
 * with T double. Rows with a stride of 1 have a form of their own, which vectorises. */

#define ROW static inline __attribute__((always_inline))

static void NAME(add)(int64_t n, void *to_, int64_t ts, const void *from_, int64_t fs, double scale)
{
    T *to = to_;
    const T *from = from_, by = (T)scale;
    if (ts == 0) {
        double sum = 0;
        if (fs == 1) {
#pragma omp simd reduction(+ : sum)
            for (int64_t i = 0; i < n; i++) sum += (double)from[i];
        } else {
            for (int64_t i = 0; i < n; i++) sum += (double)from[i * fs];
        }
        *to += (T)(scale * sum);
    } else if (ts == 1 && fs == 1) {
#pragma omp simd
        for (int64_t i = 0; i < n; i++) to[i] += by * from[i];
    } else if (ts == 1 && fs == 0) {
        const T all = by * *from;
#pragma omp simd
        for (int64_t i = 0; i < n; i++) to[i] += all;
    } else {
        for (int64_t i = 0; i < n; i++) to[i * ts] += by * from[i * fs];
    }
}

static void NAME(sum)(int64_t n, double *to, int64_t ts, const void *from_, int64_t fs)
{
    const T *from = from_;
    if (ts == 0) {
        double sum = 0;
        if (fs == 1) {
#pragma omp simd reduction(+ : sum)
            for (int64_t i = 0; i < n; i++) sum += (double)from[i];
        } else {
            for (int64_t i = 0; i < n; i++) sum += (double)from[i * fs];
        }
        *to += sum;
    } else if (ts == 1 && fs == 1) {
#pragma omp simd
        for (int64_t i = 0; i < n; i++) to[i] += (double)from[i];
    } else {
        for (int64_t i = 0; i < n; i++) to[i * ts] += (double)from[i * fs];
    }
}

/* The largest of a row; NaN is passed over. */
ROW T NAME(row_max)(int64_t n, const T *x, int64_t xs)
{
    T m = -(T)INFINITY;
#pragma omp simd reduction(max : m)
    for (int64_t i = 0; i < n; i++) m = x[i * xs] > m ? x[i * xs] : m;
    return m;
}

ROW bool NAME(row_has_nan)(int64_t n, const T *x, int64_t xs)
{
    T found = 0;
    for (int64_t i = 0; i < n; i++) found = x[i * xs] != x[i * xs] ? (T)1 : found;
    return found > 0;
}

static void NAME(max)(int64_t n, void *to_, int64_t ts, const void *from_, int64_t fs)
{
    T *to = to_;
    const T *from = from_;
    if (ts == 0) {
        T m = fs == 1 ? NAME(row_max)(n, from, 1) : NAME(row_max)(n, from, fs);
        if (fs == 1 ? NAME(row_has_nan)(n, from, 1) : NAME(row_has_nan)(n, from, fs))
            *to = (T)NAN;
        else if (m > *to)
            *to = m;
        return;
    }
    for (int64_t i = 0; i < n; i++) {
        const T v = from[i * fs], m = to[i * ts];
        to[i * ts] = ((v > m) | (v != v)) ? v : m;
    }
}

/* Where all of x is -inf there is nothing to share out: zeros. */
ROW void NAME(softmax_row)(int64_t n, const T *x, int64_t xs, T *y, int64_t ys, bool logarithm)
{
    const T m = NAME(row_max)(n, x, xs);
    if (m == -(T)INFINITY) {
        const T all = NAME(row_has_nan)(n, x, xs) ? (T)NAN : logarithm ? -(T)INFINITY : 0;
        for (int64_t i = 0; i < n; i++) y[i * ys] = all;
        return;
    }
    double sum = 0;
    if (logarithm) {
#pragma omp simd reduction(+ : sum)
        for (int64_t i = 0; i < n; i++) sum += (double)EXP(x[i * xs] - m);
        const T log_sum = (T)wf_log_inline(sum);
#pragma omp simd
        for (int64_t i = 0; i < n; i++) y[i * ys] = (x[i * xs] - m) - log_sum;
        return;
    }
#pragma omp simd reduction(+ : sum)
    for (int64_t i = 0; i < n; i++) {
        const T e = EXP(x[i * xs] - m);
        y[i * ys] = e;
        sum += (double)e;
    }
    const T all = (T)sum;
#pragma omp simd
    for (int64_t i = 0; i < n; i++) y[i * ys] /= all;
}

static void NAME(softmax)(int64_t n, const void *x, int64_t xs, void *y, int64_t ys, bool logarithm)
{
    if (xs == 1 && ys == 1)
        NAME(softmax_row)(n, x, 1, y, 1, logarithm);
    else
        NAME(softmax_row)(n, x, xs, y, ys, logarithm);
}

ROW void NAME(softmax_row_back)(int64_t n, const T *y, int64_t ys, const T *g, int64_t gs, T *gx,
                                int64_t gxs, bool logarithm)
{
    double sum = 0;
    if (logarithm) {
#pragma omp simd reduction(+ : sum)
        for (int64_t i = 0; i < n; i++) sum += (double)g[i * gs];
        const T all = (T)sum;
#pragma omp simd
        for (int64_t i = 0; i < n; i++) gx[i * gxs] += g[i * gs] - EXP(y[i * ys]) * all;
        return;
    }
#pragma omp simd reduction(+ : sum)
    for (int64_t i = 0; i < n; i++) sum += (double)(y[i * ys] * g[i * gs]);
    const T all = (T)sum;
#pragma omp simd
    for (int64_t i = 0; i < n; i++) gx[i * gxs] += y[i * ys] * (g[i * gs] - all);
}

static void NAME(softmax_back)(int64_t n, const void *y, int64_t ys, const void *g, int64_t gs,
                               void *gx, int64_t gxs, bool logarithm)
{
    if (ys == 1 && gs == 1 && gxs == 1)
        NAME(softmax_row_back)(n, y, 1, g, 1, gx, 1, logarithm);
    else
        NAME(softmax_row_back)(n, y, ys, g, gs, gx, gxs, logarithm);
}

ROW double NAME(entropy_row)(int64_t n, const T *z, int64_t zs, int64_t id, double smoothing,
                             T *normal)
{
    const T m = NAME(row_max)(n, z, zs);
    normal[0] = m;
    normal[1] = 0;
    if (m == -(T)INFINITY) return NAME(row_has_nan)(n, z, zs) ? (double)NAN : (double)INFINITY;
    double sum = 0, distance = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t i = 0; i < n; i++) sum += (double)EXP(z[i * zs] - m);
    const double log_sum = wf_log_inline(sum), top = (double)m;
    normal[1] = (T)log_sum;
    const double loss = log_sum - ((double)z[id * zs] - top);
    if (!(smoothing > 0)) return loss;
#pragma omp simd reduction(+ : distance)
    for (int64_t i = 0; i < n; i++) distance += top - (double)z[i * zs];
    return (1 - smoothing) * loss + smoothing * (log_sum + distance / (double)n);
}

static double NAME(entropy)(int64_t n, const void *z, int64_t zs, int64_t id, double smoothing,
                            void *normal)
{
    return zs == 1 ? NAME(entropy_row)(n, z, 1, id, smoothing, normal)
                   : NAME(entropy_row)(n, z, zs, id, smoothing, normal);
}

ROW void NAME(entropy_row_back)(int64_t n, const T *z, int64_t zs, int64_t id, double smoothing,
                                const T *normal, double scale, T *gz, int64_t gs)
{
    const T m = normal[0], log_sum = normal[1], by = (T)scale,
            share = (T)(scale * smoothing / (double)n);
    if (m == -(T)INFINITY) return;
#pragma omp simd
    for (int64_t i = 0; i < n; i++) gz[i * gs] += by * EXP((z[i * zs] - m) - log_sum) - share;
    gz[id * gs] -= (T)(scale * (1 - smoothing));
}

static void NAME(entropy_back)(int64_t n, const void *z, int64_t zs, int64_t id, double smoothing,
                               const void *normal, double scale, void *gz, int64_t gs)
{
    if (zs == 1 && gs == 1)
        NAME(entropy_row_back)(n, z, 1, id, smoothing, normal, scale, gz, 1);
    else
        NAME(entropy_row_back)(n, z, zs, id, smoothing, normal, scale, gz, gs);
}

static double NAME(mse)(int64_t n, const void *a_, int64_t as, const void *b_, int64_t bs)
{
    const T *a = a_, *b = b_;
    double sum = 0;
    if (as == 1 && bs == 1) {
#pragma omp simd reduction(+ : sum)
        for (int64_t i = 0; i < n; i++) {
            const double d = (double)(a[i] - b[i]);
            sum += d * d;
        }
        return sum;
    }
    for (int64_t i = 0; i < n; i++) {
        const double d = (double)(a[i * as] - b[i * bs]);
        sum += d * d;
    }
    return sum;
}

static void NAME(mse_back)(int64_t n, const void *a_, int64_t as, const void *b_, int64_t bs,
                           double scale, void *ga_, int64_t gs)
{
    const T *a = a_, *b = b_, by = (T)scale;
    T *ga = ga_;
    if (as == 1 && bs == 1 && gs == 1) {
#pragma omp simd
        for (int64_t i = 0; i < n; i++) ga[i] += by * (a[i] - b[i]);
        return;
    }
    for (int64_t i = 0; i < n; i++) ga[i * gs] += by * (a[i * as] - b[i * bs]);
}

static void NAME(dropout)(int64_t first, int64_t n, const void *x_, void *y_, int32_t *keep,
                          double p, uint64_t key, uint64_t counter)
{
    const T *x = x_, by = (T)(1 / (1 - p));
    T *y = y_;
    const uint32_t below = (uint32_t)(p * 4294967296.0);
    for (int64_t at = 0; at < n; at += DROPOUT_BLOCK) {
        uint32_t word[DROPOUT_BLOCK];
        const int64_t part = n - at < DROPOUT_BLOCK ? n - at : DROPOUT_BLOCK;
        random_block(key, counter + (uint64_t)(first + at) / 4, word);
#pragma omp simd
        for (int64_t i = 0; i < part; i++) keep[at + i] = word[i] >= below;
#pragma omp simd
        for (int64_t i = 0; i < part; i++) y[at + i] = keep[at + i] ? x[at + i] * by : 0;
    }
}

static void NAME(dropout_back)(int64_t n, const int32_t *keep, int64_t ks, const void *g_,
                               int64_t gs, void *gx_, int64_t gxs, double p)
{
    const T *g = g_, by = (T)(1 / (1 - p));
    T *gx = gx_;
    if (ks == 1 && gs == 1 && gxs == 1) {
#pragma omp simd
        for (int64_t i = 0; i < n; i++) gx[i] += keep[i] ? g[i] * by : 0;
        return;
    }
    for (int64_t i = 0; i < n; i++) gx[i * gxs] += keep[i * ks] ? g[i * gs] * by : 0;
}

static const op_kernels NAME(table) = {
    .add = NAME(add),
    .sum = NAME(sum),
    .max = NAME(max),
    .softmax = NAME(softmax),
    .softmax_back = NAME(softmax_back),
    .entropy = NAME(entropy),
    .entropy_back = NAME(entropy_back),
    .mse = NAME(mse),
    .mse_back = NAME(mse_back),
    .dropout = NAME(dropout),
    .dropout_back = NAME(dropout_back),
};

#undef ROW
