/* The loops of the update rules and of clipping for one precision: included once per precision
 * by rules_kernels.c, which defines REAL and NAME. Formulas and their order of operations are
 * PyTorch's. */

/* a + w (b - a), counted from whichever end is nearer: stay a + go b + step (b - a). */
typedef struct NAME(lerp_rule) {
    REAL stay, go, step;
} NAME(lerp_rule);

static inline NAME(lerp_rule) NAME(lerp_by)(REAL w)
{
    return w < (REAL)0.5 ? (NAME(lerp_rule)){ 1, 0, w } : (NAME(lerp_rule)){ 0, 1, w - 1 };
}

static inline REAL NAME(lerp)(REAL a, REAL b, NAME(lerp_rule) r)
{
    return (r.stay * a + r.go * b) + r.step * (b - a);
}

static inline REAL NAME(root)(REAL x)
{
    return sizeof(REAL) == sizeof(float) ? (REAL)__builtin_sqrtf((float)x)
                                         : (REAL)__builtin_sqrt((double)x);
}

/* Options that are off multiply by 0 or 1, exactly, so that one loop vectorises for them all. */
static inline __attribute__((always_inline)) void NAME(sgd_loop)(const wf_optim_call *c,
                                                                 bool decays, bool moves)
{
    const wf_sgd_options *o = c->options;
    REAL *restrict p = c->value;
    const REAL *restrict grad = c->grad;
    REAL *restrict buf = c->state[0];
    bool first = c->step == 1; /* the first gradient enters undamped */
    REAL sign = o->maximize ? -1 : 1, decay = (REAL)o->weight_decay, down = (REAL)-c->lr;
    REAL old = (REAL)(first ? 0 : o->momentum), fresh = (REAL)(first ? 1 : 1 - o->dampening);
    REAL ahead = (REAL)(o->nesterov ? 1 : 0), along = (REAL)(o->nesterov ? o->momentum : 1);
    for (int64_t i = 0; i < c->n; i++) {
        REAL g = sign * grad[i];
        if (decays) g = g + decay * p[i];
        if (moves) {
            REAL b = buf[i] * old + fresh * g;
            buf[i] = b;
            g = ahead * g + along * b;
        }
        p[i] = p[i] + down * g;
    }
}

static void NAME(sgd)(const wf_optim_call *c)
{
    const wf_sgd_options *o = c->options;
    bool decays = o->weight_decay > 0;
    if (o->momentum > 0) {
        if (decays) NAME(sgd_loop)(c, true, true);
        if (!decays) NAME(sgd_loop)(c, false, true);
    } else {
        if (decays) NAME(sgd_loop)(c, true, false);
        if (!decays) NAME(sgd_loop)(c, false, false);
    }
}

static inline __attribute__((always_inline)) void NAME(rmsprop_loop)(const wf_optim_call *c,
                                                                     bool decays, bool moves,
                                                                     bool centers)
{
    const wf_rmsprop_options *o = c->options;
    REAL *restrict p = c->value;
    const REAL *restrict grad = c->grad;
    REAL *restrict square = c->state[0];
    REAL *restrict buf = c->state[1];
    REAL *restrict mean = c->state[moves ? 2 : 1];
    REAL decay = (REAL)o->weight_decay, momentum = (REAL)o->momentum, eps = (REAL)o->eps;
    REAL alpha = (REAL)o->alpha, rest = (REAL)(1 - o->alpha), down = (REAL)-c->lr;
    NAME(lerp_rule) toward = NAME(lerp_by)(rest);
    for (int64_t i = 0; i < c->n; i++) {
        REAL g = grad[i];
        if (decays) g = g + decay * p[i];
        REAL s = square[i] * alpha + rest * g * g;
        square[i] = s;
        if (centers) {
            REAL m = NAME(lerp)(mean[i], g, toward);
            mean[i] = m;
            s = s - m * m;
        }
        REAL size = NAME(root)(s) + eps;
        if (moves) {
            REAL b = buf[i] * momentum + g / size;
            buf[i] = b;
            p[i] = p[i] + down * b;
        } else {
            p[i] = p[i] + down * g / size;
        }
    }
}

static void NAME(rmsprop)(const wf_optim_call *c)
{
    const wf_rmsprop_options *o = c->options;
    bool decays = o->weight_decay > 0;
    if (o->momentum > 0) {
        if (decays && o->centered) NAME(rmsprop_loop)(c, true, true, true);
        if (decays && !o->centered) NAME(rmsprop_loop)(c, true, true, false);
        if (!decays && o->centered) NAME(rmsprop_loop)(c, false, true, true);
        if (!decays && !o->centered) NAME(rmsprop_loop)(c, false, true, false);
    } else {
        if (decays && o->centered) NAME(rmsprop_loop)(c, true, false, true);
        if (decays && !o->centered) NAME(rmsprop_loop)(c, true, false, false);
        if (!decays && o->centered) NAME(rmsprop_loop)(c, false, false, true);
        if (!decays && !o->centered) NAME(rmsprop_loop)(c, false, false, false);
    }
}

/* The value itself is multiplied by `kept` (AdamW's decay; 1: none). */
static inline __attribute__((always_inline)) void NAME(adam_loop)(const wf_optim_call *c,
                                                                  double kept, bool decays,
                                                                  bool remembers)
{
    const wf_adam_options *o = c->options;
    REAL *restrict p = c->value;
    const REAL *restrict grad = c->grad;
    REAL *restrict mean = c->state[0];
    REAL *restrict square = c->state[1];
    REAL *restrict highest = c->state[2];
    double time = (double)c->step;
    REAL size = (REAL)(-c->lr / (1 - pow(o->beta1, time)));
    REAL correction = (REAL)sqrt(1 - pow(o->beta2, time));
    REAL decay = (REAL)o->weight_decay, keep = (REAL)kept, eps = (REAL)o->eps;
    REAL beta2 = (REAL)o->beta2, rest = (REAL)(1 - o->beta2);
    NAME(lerp_rule) toward = NAME(lerp_by)((REAL)(1 - o->beta1));
    for (int64_t i = 0; i < c->n; i++) {
        REAL value = p[i] * keep, g = grad[i];
        if (decays) g = g + decay * value;
        REAL m = NAME(lerp)(mean[i], g, toward);
        REAL v = square[i] * beta2 + rest * g * g;
        mean[i] = m;
        square[i] = v;
        if (remembers) {
            v = v < highest[i] ? highest[i] : v;
            highest[i] = v;
        }
        p[i] = value + size * m / (NAME(root)(v) / correction + eps);
    }
}

static void NAME(adam)(const wf_optim_call *c, double kept, bool decays)
{
    const wf_adam_options *o = c->options;
    if (o->amsgrad) {
        if (decays) NAME(adam_loop)(c, kept, true, true);
        if (!decays) NAME(adam_loop)(c, kept, false, true);
    } else {
        if (decays) NAME(adam_loop)(c, kept, true, false);
        if (!decays) NAME(adam_loop)(c, kept, false, false);
    }
}

static double NAME(squares)(int64_t n, const REAL *x)
{
    double s[16] = { 0 };
    int64_t i = 0;
    for (; i + 16 <= n; i += 16) {
        for (int k = 0; k < 16; k++) s[k] += (double)x[i + k] * (double)x[i + k];
    }
    for (int k = 0; i + k < n; k++) s[k] += (double)x[i + k] * (double)x[i + k];
    for (int half = 8; half > 0; half /= 2) {
        for (int k = 0; k < half; k++) s[k] += s[k + half];
    }
    return s[0];
}

static void NAME(scale)(int64_t n, REAL *x, REAL by)
{
    for (int64_t i = 0; i < n; i++) x[i] *= by;
}

static void NAME(limit)(int64_t n, REAL *x, REAL most)
{
    for (int64_t i = 0; i < n; i++) {
        REAL high = x[i] > most ? most : x[i]; /* so written, NaN passes through */
        x[i] = high < -most ? -most : high;
    }
}
