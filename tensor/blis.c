/* The one file that knows BLIS: chooses its kernels where it does not know the processor, and
 * calls it on one thread at a time. Threads are ours (tensor/par.h): BLIS's own would not flush
 * denormals, and its barrier spins. */
#include <blis.h>

#include "tensor/kernels.h"
#include "tensor/par.h"
#include "tensor/runtime.h"
#include "tensor/text.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

/* BLIS's id of the kernels to ask for, or -1 to leave the choice to BLIS. An id that the build
 * lacks aborts the process, and versions other than 0.9 number them differently or read names. */
static int choose(void)
{
    wf_isa level = wf_isa_level(), found = wf_isa_found();
    if (strncmp(bli_info_get_version_str(), "0.9.", 4) != 0) return -1;
#ifdef BLIS_CONFIG_GENERIC
    if (level == WF_ISA_C && level < found) return BLIS_ARCH_GENERIC;
#endif
#ifdef BLIS_CONFIG_HASWELL
    if (level == WF_ISA_AVX2 && level < found) return BLIS_ARCH_HASWELL;
#endif
#ifdef BLIS_CONFIG_SKX
    /* BLIS 0.9 knows Intel by brand strings that newer and virtual processors do not carry, and
     * AMD up to Zen 4 (family 0x19, where its zen3 kernels beat skx). */
    wf_cpu cpu = wf_cpu_id();
    if (level >= WF_ISA_AVX512 && (cpu.intel || (cpu.amd && cpu.family >= 0x1a)))
        return BLIS_ARCH_SKX;
#endif
    return -1;
}

/* Rows and columns of the micro-tile, and which way round it wants C, for each dtype. */
static struct {
    int64_t rows, columns;
    bool by_rows;
} tile[2];

static pthread_once_t once = PTHREAD_ONCE_INIT;

/* BLIS has locks of its own, and one that another thread held at a fork would never open in the
 * child: a fork waits until no product runs, and those that come meanwhile wait for the fork. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static int running, forking;

static void product_begins(void)
{
    pthread_mutex_lock(&lock);
    while (forking > 0) pthread_cond_wait(&changed, &lock);
    running++;
    pthread_mutex_unlock(&lock);
}

static void product_ends(void)
{
    pthread_mutex_lock(&lock);
    running--;
    if (forking > 0) pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&lock);
}

static void before_fork(void)
{
    pthread_mutex_lock(&lock);
    forking++;
    while (running > 0) pthread_cond_wait(&changed, &lock);
}

static void after_fork(void)
{
    forking--;
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&lock);
}

/* Whoever waits in the parent is not here. */
static void in_child(void)
{
    forking = 0;
    pthread_cond_init(&changed, NULL);
    pthread_mutex_unlock(&lock);
}

static void multiply(wf_dtype dtype, const wf_gemm_call *g)
{
    rntm_t runtime = BLIS_RNTM_INITIALIZER;
    product_begins();
    bli_rntm_set_num_threads(1, &runtime);
    bli_rntm_disable_l3_sup(
        &runtime); /* reads out of bounds in 0.9, and its sums depend on how a product is cut */
    if (dtype == WF_F64) {
        double alpha = g->alpha, beta = g->beta;
        bli_dgemm_ex(BLIS_NO_TRANSPOSE, BLIS_NO_TRANSPOSE, g->m, g->n, g->k, &alpha, (double *)g->a,
                     g->a_row, g->a_col, (double *)g->b, g->b_row, g->b_col, &beta, g->c, g->c_row,
                     g->c_col, NULL, &runtime);
    } else {
        float alpha = (float)g->alpha, beta = (float)g->beta;
        bli_sgemm_ex(BLIS_NO_TRANSPOSE, BLIS_NO_TRANSPOSE, g->m, g->n, g->k, &alpha, (float *)g->a,
                     g->a_row, g->a_col, (float *)g->b, g->b_row, g->b_col, &beta, g->c, g->c_row,
                     g->c_col, NULL, &runtime);
    }
    product_ends();
}

enum { WARM = 48 };

/* A small product on every thread at once, so that BLIS takes each thread's packing buffers from
 * the system now. */
static void warm(void *context, wf_team *team, int id, int size)
{
    (void)id, (void)size;
    float c[WARM * WARM];
    const wf_gemm_call call = { .m = WARM,
                                .n = WARM,
                                .k = WARM,
                                .a = context,
                                .a_row = WARM,
                                .a_col = 1,
                                .b = context,
                                .b_row = WARM,
                                .b_col = 1,
                                .c = c,
                                .c_row = WARM,
                                .c_col = 1,
                                .alpha = 1 };
    wf_team_barrier(team);
    multiply(WF_F32, &call);
}

static void prepare(void)
{
    int id = getenv("BLIS_ARCH_TYPE") ? -1 : choose();
    if (id >= 0) {
        char text[16];
        wf_format(text, sizeof text, "%d", id);
        setenv("BLIS_ARCH_TYPE", text, 0);
    }
    pthread_atfork(before_fork, after_fork, in_child);
    bli_init();
    if (id >= 0) unsetenv("BLIS_ARCH_TYPE"); /* read once; no business of the processes we start */

    const num_t kinds[2] = { BLIS_FLOAT, BLIS_DOUBLE };
    cntx_t *context = bli_gks_query_cntx();
    for (int i = 0; i < 2; i++) {
        tile[i].rows = bli_cntx_get_blksz_def_dt(kinds[i], BLIS_MR, context);
        tile[i].columns = bli_cntx_get_blksz_def_dt(kinds[i], BLIS_NR, context);
        tile[i].by_rows = bli_cntx_l3_nat_ukr_prefers_rows_dt(kinds[i], BLIS_GEMM_UKR, context);
    }
    static const float zero[WARM * WARM];
    wf_par_team(wf_threads(), warm, (void *)zero);
}

bool wf_blis_takes(wf_dtype dtype)
{
    return dtype == WF_F32 || dtype == WF_F64;
}

void wf_blis_units(wf_dtype dtype, bool c_by_rows, int64_t *m, int64_t *n)
{
    pthread_once(&once, prepare);
    int i = dtype == WF_F64;
    bool turned = c_by_rows != tile[i].by_rows;
    *m = turned ? tile[i].columns : tile[i].rows;
    *n = turned ? tile[i].rows : tile[i].columns;
}

void wf_blis_gemm(wf_dtype dtype, const wf_gemm_call *call)
{
    pthread_once(&once, prepare);
    multiply(dtype, call);
}
