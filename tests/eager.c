/* Loops share rows and units among threads however little there is to do, where a suite asks for
 * it: it is linked with this file in place of what it calls. Small loops are then shared out as
 * large ones are. */
#include "tests/programs.h"

#include "tensor/sequence.h"

enum { ENOUGH = 1 << 30 };

/* The linker calls the functions that it puts in place of others by these names. */
void __real_wf_seq_run(const wf_seq_plan *p, int threads, int64_t panels, int64_t flops,
                       wf_seq_fn *fn, void *context);
bool __real_wf_seq_shares_units(const wf_seq_plan *p, int threads, int64_t panels, int64_t flops);
void __wrap_wf_seq_run(const wf_seq_plan *p, int threads, int64_t panels, int64_t flops,
                       wf_seq_fn *fn, void *context);
bool __wrap_wf_seq_shares_units(const wf_seq_plan *p, int threads, int64_t panels, int64_t flops);

void __wrap_wf_seq_run(const wf_seq_plan *p, int threads, int64_t panels, int64_t flops,
                       wf_seq_fn *fn, void *context)
{
    __real_wf_seq_run(p, threads, panels, program_eager ? ENOUGH : flops, fn, context);
}

bool __wrap_wf_seq_shares_units(const wf_seq_plan *p, int threads, int64_t panels, int64_t flops)
{
    return __real_wf_seq_shares_units(p, threads, panels, program_eager ? ENOUGH : flops);
}
