/* What a training step costs of a large table that few ids look up: lookup, backward pass, clipping
 * and update of (200000, 256) with 512 ids, beside a table that has no other rows.
 * usage: rows */
#include "bench/timing.h"

#include <math.h>
#include <string.h>

enum { IDS = 512, WIDTH = 256, STEPS = 31 };

/* The median of a step's seconds, after three in which memory is asked for; NaN after a failure. */
static double step_time(int64_t rows, const char *rule, bool lazy)
{
    double seconds[STEPS];
    wf_module *net = wf_module_new("net", NULL);
    wf_var *table = wf_param_new(net, "table", WF_SHAPE(rows, WIDTH),
                                 (wf_init){ .kind = WF_INIT_UNIFORM, .a = -1, .b = 1 });
    wf_optim *optim = !strcmp(rule, "sgd") ? wf_sgd_new(net, NULL) : wf_adam_new(net, NULL);
    wf_tape *t = wf_tape_new(NULL);
    bool ok = wf_module_ok(net, NULL) && (!lazy || wf_optim_set(optim, 0, "lazy", 1));
    for (int i = -3; ok && i < STEPS; i++) {
        int32_t id[IDS];
        for (int k = 0; k < IDS; k++)
            id[k] = (int32_t)((k + wf_random_uniform((uint64_t)(i + 3), (uint64_t)k)) *
                              (double)rows / IDS); /* no two the same */
        double begun = now();
        wf_tape_reset(t);
        wf_var *y = wf_gather_rows(t, table, wf_constant(t, WF_I32, WF_SHAPE(IDS), id));
        ok = wf_backward(t, wf_mean(t, wf_square(t, y), NULL));
        wf_optim_clip_norm(optim, 1);
        ok = wf_optim_step(optim) && ok;
        if (i >= 0) seconds[i] = now() - begun;
    }
    wf_tape_free(t);
    wf_optim_free(optim);
    wf_module_free(net);
    return ok ? median(seconds, STEPS) : (double)NAN;
}

int main(void)
{
    static const struct {
        const char *rule;
        bool lazy;
    } tried[] = { { "sgd", false }, { "adam", true }, { "adam", false } };
    printf("a step with %d ids, %d columns, %d threads, %s\n", IDS, WIDTH, wf_threads(),
           wf_isa_name(wf_isa_level()));
    for (int k = 0; k < 3; k++) {
        double small = step_time(IDS, tried[k].rule, tried[k].lazy);
        double large = step_time(200000, tried[k].rule, tried[k].lazy);
        printf("%s%s: %.3f ms in a table of 512 rows, %.3f ms in one of 200000: %.1f times that\n",
               tried[k].rule, tried[k].lazy ? ", lazy" : "", 1e3 * small, 1e3 * large,
               large / small);
    }
    return 0;
}
