/* Prints the dispatch levels that this processor has, lowest first: scripts/test runs every suite
 * at each of them. */
#include "tensor/isa.h"

#include <stdio.h>

int main(void)
{
    for (wf_isa level = WF_ISA_C; level <= wf_isa_level(); level++) puts(wf_isa_name(level));
    return 0;
}
