/* Misuse of what lies below the tape, beyond NULL (test_misuse.c): errors, memory, tensors and
 * views, loops and threads, products, and random numbers. (Every shape, slice and window that can
 * be and cannot: test_tensor.c; a runtime that cannot be: test_runtime.c.) */
#include "tests/misuse.h"

#include <limits.h>
#include <math.h>

/* ---- errors, memory ---- */

TEST(an_error_keeps_its_first_sentence)
{
    wf_error e = { "" };
    const char *none = NULL;
    char longest[3000];
    QUIET(!wf_error_set(&e, "test: %d", 1) && !wf_error_set(&e, "test: %d", 2));
    QUIET(!strcmp(e.text, "test: 1"));
    wf_error_clear(&e);
    QUIET(!e.text[0] && !wf_error_set(&e, none, 0) && e.text[0]);
    memset(&e, 0, sizeof e);
    memset(longest, 'x', sizeof longest);
    longest[sizeof longest - 1] = '\0';
    QUIET(!wf_error_set(&e, "%s", longest) && strlen(e.text) == sizeof e.text - 1);
    wf_on_error("test: nothing happens");
    QUIET(true);
    wf_log_line(none, 0);
    ck_assert_int_eq(log_kept.times, now.messages + 1);
    wf_log_line("%s", longest);
    ck_assert_uint_ge(strlen(log_kept.text), 1000);
}

static size_t by_list(char *text, size_t bytes, const char *format, ...) WF_PRINTF(3, 4);
static size_t by_list(char *text, size_t bytes, const char *format, ...)
{
    va_list list;
    va_start(list, format);
    size_t length = wf_vformat(text, bytes, format, list);
    va_end(list);
    return length;
}

TEST(texts_and_numbers_that_are_none_change_nothing)
{
    const char *none = NULL;
    char text[8] = "warp";
    double x = 7;
    int64_t n = 7;
    QUIET(wf_format(NULL, 8, "%d", 12) == 2);
    QUIET(wf_format(text, 0, "%d", 12) == 2 && !strcmp(text, "warp"));
    QUIET(by_list(NULL, 8, "%d", 12) == 2 && by_list(NULL, 0, none, 0) == 0);
    QUIET(wf_append(text, sizeof text, none, 0) == 4 && wf_append(NULL, 8, "%d", 12) == 2);
    QUIET(wf_append(text, 3, "%d", 12) == 5 && !strcmp(text, "warp")); /* already beyond 3 */
    QUIET(wf_format(text, sizeof text, none, 0) == 0 && !*text);
    QUIET(!wf_parse_number("1", NULL) && !wf_parse_number("x", &x));
    QUIET(!wf_parse_integer("1", NULL) && !wf_parse_integer("", &n));
    QUIET(x == 7 && n == 7);
}

TEST(memory_of_no_size_or_of_too_much_is_none)
{
    QUIET(!wf_alloc(0) && !wf_alloc(SIZE_MAX) && !wf_alloc(SIZE_MAX - 62));
    QUIET(!wf_alloc((size_t)PTRDIFF_MAX + 1));
    QUIET(!wf_alloc_zero(0) && !wf_alloc_zero(SIZE_MAX) && !wf_alloc_zero((size_t)1 << 40));
    char *copy = wf_strdup("");
    QUIET(copy && !*copy);
    wf_release(copy);
}

TEST(the_processor_has_a_name)
{
    QUIET(wf_isa_level() >= WF_ISA_C && wf_isa_level() <= WF_ISA_AVX512);
    QUIET(*wf_isa_name((wf_isa)-1) && *wf_isa_name((wf_isa)3) && *wf_isa_name((wf_isa)INT_MAX));
    QUIET(!strcmp(wf_isa_name((wf_isa)3), "unknown") && *wf_processor());
}

/* ---- tensors ---- */

TEST(shapes_and_dtypes_that_can_be_none_are_refused)
{
    wf_error *e = &now.error;
    const wf_shape deep = shape_of_rank(9), under = shape_of_rank(-1), scalar = WF_SCALAR;
    wf_shape out = WF_SHAPE(7);
    char text[64] = "untouched";
    QUIET(wf_dtype_size((wf_dtype)-1) == 0 && !strcmp(wf_dtype_name((wf_dtype)99), "unknown"));
    QUIET(!wf_dtype_describe((wf_dtype)WF_DTYPES) && !wf_dtype_describe((wf_dtype)-1));
    QUIET(!wf_dtype_is_float((wf_dtype)99) && !wf_dtype_is_float(WF_I32));
    QUIET(wf_dtype_is_float(WF_F32) && wf_dtype_is_float(WF_F64));
    QUIET(isnan(wf_dtype_round((wf_dtype)99, 1)) && wf_dtype_round(WF_I32, 1e300) == INT32_MAX);
    QUIET(!wf_element(WF_F64, NULL, 7) && wf_element((wf_dtype)99, text, 7) == text);
    QUIET(wf_element(WF_F64, text, 2) == text + 16 && wf_element(WF_I32, text, 3) == text + 12);
    QUIET(!wf_shape_equal(&deep, &scalar));
    ERROR_CLEARED(wf_shape_check(&scalar, WF_F32, e) == 1);
    ERROR_SAYS(wf_shape_check(&deep, WF_F32, e) + 1, "shape: rank is 9; expected 0 to 8");
    QUIET(!wf_shape_broadcast(&scalar, &scalar, NULL));
    QUIET(!wf_shape_broadcast(&deep, &scalar, &out) && !wf_shape_broadcast(&scalar, &under, &out));
    QUIET(out.rank == 1 && out.dim[0] == 7);
    QUIET(wf_axis(8, INT_MIN) == -1 && wf_axis(8, INT_MAX) == -1 && wf_axis(-1, -1) == -1);
    QUIET(!strcmp(wf_index_text(text, 0, 1, out.dim, 1), "untouched") &&
          strlen(wf_index_text((char[40]){ 0 }, 40, 2, NULL, 1)) < 40 &&
          strlen(wf_index_text((char[40]){ 0 }, 40, 1 << 20, out.dim, 1)) < 40);
    QUIET(!strcmp(wf_shape_text(text, sizeof text, -3, NULL), "()"));
    QUIET(strlen(wf_shape_text(text, sizeof text, 1 << 20, out.dim)) < sizeof text);
    QUIET(strlen(wf_shape_text(text, sizeof text, 2, NULL)) < sizeof text);
}

TEST(tensors_that_do_not_fit_are_left_as_they_are)
{
    double x[6] = { 1, 2, 3, 4, 5, 6 }, y[6] = { 0 };
    const wf_tensor a = wf_tensor_of(WF_F64, WF_SHAPE(2, 3), x),
                    b = wf_tensor_of(WF_F64, WF_SHAPE(2, 3), y);
    const wf_tensor nowhere = wf_tensor_of(WF_F64, WF_SHAPE(2, 3), NULL);
    const wf_tensor other = wf_tensor_of(WF_F64, WF_SHAPE(3, 2), y),
                    odd = wf_tensor_of((wf_dtype)7, WF_SHAPE(6), y);
    const wf_tensor single = wf_tensor_of(WF_F32, WF_SHAPE(6), y),
                    whole = wf_tensor_of(WF_I32, WF_SHAPE(6), y);
    /* A form that can be none has no elements and no memory. */
    QUIET(!wf_tensor_of(WF_F64, shape_of_rank(9), x).data &&
          !wf_tensor_of(WF_F64, shape_of_rank(-1), x).data);
    QUIET(!wf_tensor_over(WF_F64, shape_of_rank(9), x).data &&
          !wf_tensor_over(WF_F64, WF_SHAPE(2), NULL).data);
    wf_tensor_copy(&nowhere, &b);
    wf_tensor_copy(&a, &nowhere);
    wf_tensor_copy(&a, &other);
    wf_tensor_copy(&a, &odd);
    wf_tensor_copy(&odd, &a);
    wf_tensor_add(&nowhere, &b);
    wf_tensor_add(&a, &nowhere);
    wf_tensor_add(&a, &other);
    wf_tensor_add(&a, &single);
    wf_tensor_add(&whole, &whole);
    wf_tensor_assign(&a, &other, -1);
    wf_tensor_accumulate(&a, NULL, 1, 1);
    wf_tensor_accumulate(&nowhere, &b, 1, 1);
    wf_tensor_accumulate(&a, &other, 1, 1);
    wf_tensor_accumulate(&whole, &whole, 1, 1);
    wf_tensor_accumulate(&b, &whole, 1, 1);
    wf_tensor_fill(&nowhere, 1);
    wf_tensor_fill(&odd, 1);
    for (int i = 0; i < 6; i++) QUIET(y[i] == 0 && x[i] == i + 1);
    QUIET(isnan(wf_tensor_at(&nowhere, 0)) && isnan(wf_tensor_at(&odd, 0)));
    QUIET(isnan(wf_tensor_at(&a, -1)) && isnan(wf_tensor_at(&a, 6)) && wf_tensor_at(&a, 5) == 6);
    QUIET(isnan(wf_tensor_at(&a, INT64_MIN)) && isnan(wf_tensor_at(&a, INT64_MAX)));
}

TEST(texts_are_cut_where_the_room_ends)
{
    char text[16] = "untouched";
    const wf_tensor nowhere = wf_tensor_of(WF_F64, WF_SHAPE(2, 3), NULL);
    QUIET(wf_tensor_text(NULL, NULL, 0) == strlen("(no tensor)"));
    QUIET(wf_tensor_text(NULL, NULL, 16) == strlen("(no tensor)"));
    QUIET(wf_tensor_text(&nowhere, text, 0) > 0 && !strcmp(text, "untouched"));
    QUIET(wf_tensor_text(wf_value(now.deep), text, 4) > 4 && strlen(text) == 3);
    QUIET(wf_tensor_text(wf_value(now.empty), text, sizeof text) > 0 && text[0] == '[');
    int was = misuse_hush();
    wf_tensor_print(&nowhere);
    wf_tensor_print(wf_value(now.empty));
    wf_tensor_print(wf_value(now.window));
    wf_tensor_print_as("", &nowhere);
    misuse_speak(was);
    QUIET(true);
}

TEST(views_out_of_range_are_none_and_write_nothing)
{
    double x[6] = { 1, 2, 3, 4, 5, 6 };
    const wf_tensor a = wf_tensor_of(WF_F64, WF_SHAPE(2, 3), x);
    const wf_tensor deep = wf_tensor_of(WF_F64, (wf_shape){ 8, { 1, 1, 1, 1, 1, 1, 2, 3 } }, x);
    wf_tensor out, turned;
    memset(&out, 0x5A, sizeof out);
    const wf_tensor was = out;
    QUIET(wf_view_transpose(&a, 0, 1, &turned));
    QUIET(!wf_view_slice(&a, 0, INT64_MIN, INT64_MAX, INT64_MIN, &out));
    QUIET(!wf_view_select(&a, -3, 0, &out) && !wf_view_select(&a, 0, INT64_MIN, &out));
    QUIET(!wf_view_transpose(&a, INT_MIN, INT_MAX, &out));
    QUIET(!wf_view_window(&deep, 0, 1, 1, &out) && !wf_view_window(&a, 0, INT64_MAX, 1, &out));
    QUIET(!wf_view_reshape(&a, WF_SHAPE(7), &out) && !wf_view_reshape(&turned, WF_SHAPE(6), &out));
    QUIET(!wf_view_reshape(&a, shape_of_rank(9), &out) &&
          !wf_view_reshape(&a, shape_of_rank(-1), &out));
    QUIET(!wf_view_reshape(&a, WF_SHAPE(INT64_MAX, INT64_MAX), &out));
    QUIET(!wf_view_expand(&a, WF_SHAPE(3, 3), &out) &&
          !wf_view_expand(&a, WF_SHAPE(-1, 2, 3), &out));
    QUIET(!wf_view_expand(&a, shape_of_rank(9), &out) &&
          !wf_view_expand(&a, shape_of_rank(-9), &out));
    QUIET(!memcmp(&out, &was, sizeof out));
    QUIET(!wf_view_slice(&a, 0, 0, 1, 1, NULL) && !wf_view_select(&a, 0, 0, NULL));
    QUIET(!wf_view_transpose(&a, 0, 1, NULL) && !wf_view_window(&a, 0, 1, 1, NULL));
    QUIET(!wf_view_reshape(&a, WF_SHAPE(6), NULL) && !wf_view_expand(&a, WF_SHAPE(2, 3), NULL));
    /* The result may lie in the place of what is looked at. */
    QUIET(wf_view_select(&turned, 0, 2, &turned) && turned.rank == 1 &&
          wf_tensor_at(&turned, 1) == 6);
}

/* ---- loops, threads, products ---- */

static void count_elements(void *context, char *const pointer[], const int64_t stride[], int64_t n)
{
    (void)pointer, (void)stride;
    *(int64_t *)context += n;
}

TEST(a_loop_by_no_threads_and_of_any_work_runs)
{
    double x[6] = { 0 };
    const wf_tensor a = wf_tensor_of(WF_F64, WF_SHAPE(2, 3), x);
    const wf_tensor *one[1] = { &a }, *none[2] = { &a, NULL };
    wf_walk loop;
    int64_t seen = 0;
    QUIET(!wf_walk_plan(&loop, WF_SHAPE(2, 3), 2, none));
    QUIET(!wf_walk_plan(&loop, WF_SHAPE(2, 3), -1, one));
    QUIET(!wf_walk_plan(&loop, shape_of_rank(9), 1, one) &&
          !wf_walk_plan(&loop, shape_of_rank(-1), 1, one));
    QUIET(wf_walk_plan(&loop, WF_SHAPE(2, 3), 1, one));
    wf_walk_run(&loop, -7, UINT32_MAX, count_elements, &seen);
    QUIET(seen == 6);
}

static void add_up(void *context, int64_t begin, int64_t end)
{
    __atomic_add_fetch((int64_t *)context, end - begin, __ATOMIC_RELAXED);
}

static void join(void *context, wf_team *team, int id, int size)
{
    (void)id;
    wf_team_barrier(team);
    __atomic_store_n((int *)context, size, __ATOMIC_RELAXED);
}

TEST(any_number_of_threads_is_taken)
{
    int64_t seen = 0;
    int size = 0;
    wf_par_for(4, 0, 1, add_up, &seen);
    wf_par_for(4, -5, 1, add_up, &seen);
    QUIET(seen == 0);
    wf_par_for(-4, 10, -3, add_up, &seen);
    wf_par_for(INT_MAX, 10, INT64_MAX, add_up, &seen);
    wf_par_for(INT_MAX, 10, 0, add_up, &seen);
    QUIET(seen == 30);
    wf_par_team(0, join, &size);
    QUIET(size == 1);
    wf_par_team(INT_MIN, join, &size);
    QUIET(size == 1);
    wf_par_team(INT_MAX, join, &size);
    QUIET(size >= 1 && size <= wf_threads());
    QUIET(wf_par_width() >= 1);
    uint32_t outer = wf_fp_enter(), exact = wf_fp_enter_exact(), inner = wf_fp_enter();
    wf_fp_leave(inner);
    wf_fp_leave(exact);
    wf_fp_leave(outer);
    QUIET(true);
}

/* (2, k) times (k, 2) into (2, 2), as it should be or spoilt in one of these ways. */
enum { NO_FLOATS, NEGATIVE_ROWS, NO_COLUMNS, NO_A, NO_B, NO_C, SPOILT, GOOD };
static double a6[6] = { 1, 2, 3, 4, 5, 6 };

typedef struct operands {
    wf_matrix a, b, c;
} operands;

static operands operands_of(int way, int64_t k, double c4[4])
{
    const wf_dtype dtype = way == NO_FLOATS ? WF_I32 : WF_F64;
    const int64_t rows = way == NEGATIVE_ROWS ? -2 : 2, columns = way == NO_COLUMNS ? 0 : 2;
    return (operands){ wf_matrix_strided(dtype, way == NO_A ? NULL : a6, rows, k, 3, 1),
                       wf_matrix_strided(dtype, way == NO_B ? NULL : a6, k, columns, 2, 1),
                       wf_matrix_strided(dtype, way == NO_C ? NULL : c4, rows, columns, 2, 1) };
}

static void is_the_product(const double c[4])
{
    QUIET(c[0] == 22 && c[1] == 28 && c[2] == 49 && c[3] == 64);
}

TEST(products_without_a_size_do_nothing)
{
    double c[4] = { 9, 9, 9, 9 }, work[8] = { 0 };
    QUIET(wf_pack_width(WF_I32) == 0 && wf_pack_width((wf_dtype)9) == 0);
    QUIET(wf_pack_count(WF_I32, 3, 3) == 0 && wf_pack_count(WF_F64, -1, 3) == 0);
    QUIET(wf_pack_count(WF_F64, 3, 0) == 0 && wf_pack_count(WF_F64, INT64_MAX, INT64_MAX) <= 0);
    QUIET(wf_pack_count(WF_F32, 1, INT64_MAX) <= 0);
    QUIET(wf_gemm_scratch(WF_I32, 2, 2, 17000) == 0 && wf_gemm_scratch(WF_F64, -2, 2, 17000) == 0);
    QUIET(wf_gemm_scratch(WF_F64, 2, 0, 17000) == 0 && wf_gemm_scratch(WF_F64, 2, 2, -1) == 0);
    QUIET(wf_gemm_scratch(WF_F32, INT64_MAX, INT64_MAX, 17000) == -1);
    double *packed = wf_alloc_zero((size_t)wf_pack_count(WF_F64, 3, 2) * sizeof *packed);
    const operands good = operands_of(GOOD, 3, c);
    ck_assert_ptr_nonnull(packed);
    wf_pack(1, wf_matrix_of(WF_F64, a6, -3, 2), packed);
    wf_pack(1, good.b, NULL);
    for (int way = 0; way < SPOILT; way++) {
        operands x = operands_of(way, 3, c);
        wf_gemm(1, 1, x.a, x.b, 0, x.c);
        wf_gemm_packed(x.a, way == NO_B ? NULL : packed, 0, 1, false, x.c);
        if (way == NO_FLOATS || way == NO_B) wf_pack(1, x.b, packed);
        if (way != NO_B) wf_gemm_settle(1, way == NO_A ? NULL : a6, x.c);
        if (way != NO_B) wf_gemm_fold(1, way == NO_A ? NULL : a6, work, x.c);
        x = operands_of(way, 17000, c);
        wf_gemm_long(1, 1, x.a, x.b, 0, x.c, work);
    }
    QUIET(packed[0] == 0);
    wf_gemm_fold(1, a6, NULL, good.c);
    wf_pack(-1, good.b, packed);
    wf_gemm_packed(good.a, packed, 1, 2, false, good.c);
    wf_gemm_packed(good.a, packed, -1, 1, false, good.c);
    wf_gemm_packed(good.a, packed, 1, 0, false, good.c);
    for (int i = 0; i < 4; i++) QUIET(c[i] == 9);
    wf_gemm_packed(good.a, packed, 0, 1, false, good.c);
    is_the_product(c);
    /* Without depth nothing is read, and C is scaled. */
    wf_gemm(-3, 1, wf_matrix_strided(WF_F64, NULL, 2, -1, 3, 1), wf_matrix_of(WF_F64, NULL, -1, 2),
            0.5, good.c);
    QUIET(c[0] == 11 && c[3] == 32);
    wf_gemm_long(-1, 1, good.a, good.b, 0, good.c, NULL);
    is_the_product(c);
    wf_gemm_fold(-1, a6, work, good.c);
    wf_gemm_settle(INT_MAX, a6, good.c);
    QUIET(c[0] == 24 && c[1] == 32 && c[2] == 55 && c[3] == 72 && work[0] == 0);
    wf_release(packed);
}

static void no_terms(void *context, const wf_sum_tile *tile)
{
    (void)context;
    tile->high[0] += 1;
}

TEST(sums_of_what_does_not_fit_do_nothing)
{
    double x[6] = { 1, 2, 3, 4, 5, 6 }, high[3] = { 0 }, low[3] = { 0 }, to[3] = { 0 };
    float single[6] = { 0 };
    const void *row[2] = { x, x + 3 };
    wf_sum_run(WF_I32, 6, x, 1, high, low);
    wf_sum_run(WF_F64, -6, x, 1, high, low);
    wf_sum_rows(WF_I32, 2, 3, row, 1, high, low);
    wf_sum_rows(WF_F64, -2, 3, row, 1, high, low);
    wf_sum_rows(WF_F64, 2, -3, row, 1, high, low);
    QUIET(high[0] == 0 && low[0] == 0);
    wf_sum_rows(WF_F64, 2, 3, row, 1, high, low);
    wf_sum_into(WF_I32, 3, high, low, to, 1);
    wf_sum_into(WF_F64, -3, high, low, to, 1);
    wf_run_add(WF_I32, 3, 1, x, 1, to, 1);
    wf_run_add(WF_F64, -3, 1, x, 1, to, 1);
    wf_run_add(WF_F64, 3, 1, NULL, 1, to, 1);
    wf_run_add(WF_F64, 3, 1, x, 1, NULL, 1);
    const wf_tensor a = wf_tensor_of(WF_F64, WF_SHAPE(2, 3), x),
                    b = wf_tensor_of(WF_F64, WF_SHAPE(3), to),
                    other = wf_tensor_of(WF_F32, WF_SHAPE(3), single),
                    nowhere = wf_tensor_of(WF_F64, WF_SHAPE(3), NULL),
                    apart = wf_tensor_of(WF_F64, WF_SHAPE(2), to),
                    whole = wf_tensor_of(WF_I32, WF_SHAPE(3), single);
    wf_sum_tensor(&a, &other, 1, 1, 1);
    wf_sum_tensor(&a, &nowhere, 1, 1, 1);
    wf_sum_tensor(&nowhere, &b, 1, 1, 1);
    wf_sum_tensor(&a, &apart, 1, 1, 1);
    wf_sum_tensor(&whole, &whole, 1, 1, 1);
    wf_walk loop;
    ck_assert(wf_walk_plan(&loop, WF_SHAPE(2, 3), 2, (const wf_tensor *[]){ &b, &a }));
    wf_walk_sum(&loop, 2, WF_F64, 1, 1, 1, no_terms, NULL);
    wf_walk_sum(&loop, -1, WF_F64, 1, 1, 1, no_terms, NULL);
    wf_walk_sum(&loop, 0, WF_I32, 1, 1, 1, no_terms, NULL);
    QUIET(to[0] == 0 && to[1] == 0 && to[2] == 0);
    wf_walk_sum(&loop, 0, WF_F64, 1, 1, -3, no_terms, NULL);
    wf_sum_tensor(&a, &b, 1, 1, INT_MIN);
    wf_sum_into(WF_F64, 3, high, low, to, 1);
    QUIET(to[0] == 11 && to[1] == 14 && to[2] == 18);
}

static void no_share(void *context, const wf_seq_share *mine)
{
    *(int64_t *)context += mine->panel_end;
}

TEST(rows_of_a_sequence_that_are_none_are_none)
{
    double to[24] = { 0 };
    int64_t memory[64], ran = 0;
    const int32_t lengths[2] = { -1, INT32_MAX };
    QUIET(wf_seq_plan_bytes(-1, 2) == -1 && wf_seq_plan_bytes(INT64_MAX, 2) == -1);
    QUIET(wf_seq_plan_bytes(2, 2) <= (int64_t)sizeof memory);
    QUIET(wf_seq_plan_make(2, 2, NULL, NULL).rows == 0);
    QUIET(wf_seq_plan_make(-1, 2, NULL, memory).rows == 0);
    const wf_tensor wrong = wf_tensor_over(WF_I32, WF_SHAPE(2), lengths);
    QUIET(wf_seq_plan_make(2, 2, &wrong, memory).rows == 2); /* as 0 and 2 */
    const wf_seq_plan p = wf_seq_plan_make(2, 2, NULL, memory);
    wf_seq_add_groups(-2, 3, to, to), wf_seq_add_groups(2, -3, to, to);
    QUIET(wf_seq_groups(-5) == 1 && wf_seq_group_begin(5, 0) == 0 && wf_seq_group_begin(5, 2) == 5);
    wf_seq_run(&p, 1, 1, 1, NULL, &ran);
    wf_seq_run(&p, -3, 1, 1, no_share, &ran);
    QUIET(ran == 1);
    for (int i = 0; i < 24; i++) ck_assert(to[i] == 0);
}

TEST(random_numbers_of_any_key_are_numbers)
{
    uint32_t out[4];
    wf_philox(UINT64_MAX, UINT64_MAX, UINT64_MAX, out);
    QUIET(wf_random_below(1, 2, 0) == 0 && wf_random_below(1, 2, -5) == 0);
    QUIET(wf_random_below(1, 2, INT64_MIN) == 0 && wf_random_below(1, 2, INT64_MAX) >= 0);
    QUIET(wf_key_named(5, NULL) == wf_key_named(5, "") && wf_key_with(0, UINT64_MAX) != 0);
    QUIET(wf_random_uniform(0, UINT64_MAX) < 1 &&
          isfinite(wf_random_normal(UINT64_MAX, UINT64_MAX)));
}
