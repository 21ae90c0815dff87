/* Vectors of the dispatch level that a kernels' file is compiled for, where the compiler's own do
 * not do: parts of a vector, and words turned. Not installed; for *_kernels.c alone. */
#ifndef WEFT_TENSOR_LANES_PRIVATE_H
#define WEFT_TENSOR_LANES_PRIVATE_H

#include <stdint.h>
#include <string.h>

#ifdef __AVX2__
#include <immintrin.h>
#endif

#define INLINE static inline __attribute__((always_inline))
#ifdef __clang__
#define UNROLL _Pragma("unroll")
#else
#define UNROLL _Pragma("GCC unroll 16")
#endif

/* Bytes that the level's registers hold. */
#ifdef __AVX512F__
enum { BYTES = 64 };
#elif defined __AVX2__
enum { BYTES = 32 };
#else
enum { BYTES = 16 };
#endif

typedef float lanes_f32 __attribute__((vector_size(BYTES)));
typedef double lanes_f64 __attribute__((vector_size(BYTES)));

/* Loads and stores the first n lanes (1 <= n < all) and touches no other memory; lanes not loaded
 * are zero. */
#ifdef __AVX512F__
INLINE lanes_f32 load_part_f32(const float *p, int64_t n)
{
    return (lanes_f32)_mm512_maskz_loadu_ps((__mmask16)((1u << n) - 1), p);
}
INLINE lanes_f64 load_part_f64(const double *p, int64_t n)
{
    return (lanes_f64)_mm512_maskz_loadu_pd((__mmask8)((1u << n) - 1), p);
}
INLINE void store_part_f32(float *p, lanes_f32 x, int64_t n)
{
    _mm512_mask_storeu_ps(p, (__mmask16)((1u << n) - 1), (__m512)x);
}
INLINE void store_part_f64(double *p, lanes_f64 x, int64_t n)
{
    _mm512_mask_storeu_pd(p, (__mmask8)((1u << n) - 1), (__m512d)x);
}
#elif defined __AVX2__
static const int32_t mask_words[16] = { -1, -1, -1, -1, -1, -1, -1, -1 };

INLINE lanes_f32 load_part_f32(const float *p, int64_t n)
{
    return (lanes_f32)_mm256_maskload_ps(p,
                                         _mm256_loadu_si256((const __m256i *)(mask_words + 8 - n)));
}
INLINE lanes_f64 load_part_f64(const double *p, int64_t n)
{
    return (lanes_f64)_mm256_maskload_pd(
        p, _mm256_loadu_si256((const __m256i *)(mask_words + 8 - 2 * n)));
}
INLINE void store_part_f32(float *p, lanes_f32 x, int64_t n)
{
    _mm256_maskstore_ps(p, _mm256_loadu_si256((const __m256i *)(mask_words + 8 - n)), (__m256)x);
}
INLINE void store_part_f64(double *p, lanes_f64 x, int64_t n)
{
    _mm256_maskstore_pd(p, _mm256_loadu_si256((const __m256i *)(mask_words + 8 - 2 * n)),
                        (__m256d)x);
}
#else
INLINE lanes_f32 load_part_f32(const float *p, int64_t n)
{
    lanes_f32 x = { p[0], n > 1 ? p[1] : 0.0f, n > 2 ? p[2] : 0.0f };
    return x;
}
INLINE lanes_f64 load_part_f64(const double *p, int64_t n)
{
    (void)n;
    return (lanes_f64){ p[0] };
}
INLINE void store_part_f32(float *p, lanes_f32 x, int64_t n)
{
    p[0] = x[0];
    if (n > 1) p[1] = x[1];
    if (n > 2) p[2] = x[2];
}
INLINE void store_part_f64(double *p, lanes_f64 x, int64_t n)
{
    (void)n;
    p[0] = x[0];
}
#endif

/* Words of 16 bytes: a vector holds GROUPS of them. gather takes one word from each of GROUPS
 * places; lo and hi interleave the halves of each word of two vectors; fold adds the words of a
 * vector. */
enum { GROUPS = BYTES / 16 };
typedef float word_f32 __attribute__((vector_size(16)));
typedef double word_f64 __attribute__((vector_size(16)));

#ifdef __AVX512F__
INLINE lanes_f32 gather(const void *p0, const void *p1, const void *p2, const void *p3)
{
    __m512 x = _mm512_castps128_ps512(_mm_loadu_ps(p0));
    x = _mm512_insertf32x4(x, _mm_loadu_ps(p1), 1);
    x = _mm512_insertf32x4(x, _mm_loadu_ps(p2), 2);
    return (lanes_f32)_mm512_insertf32x4(x, _mm_loadu_ps(p3), 3);
}

INLINE lanes_f32 lo_f32(lanes_f32 a, lanes_f32 b)
{
    return (lanes_f32)_mm512_unpacklo_ps((__m512)a, (__m512)b);
}
INLINE lanes_f32 hi_f32(lanes_f32 a, lanes_f32 b)
{
    return (lanes_f32)_mm512_unpackhi_ps((__m512)a, (__m512)b);
}
INLINE lanes_f64 lo_f64(lanes_f64 a, lanes_f64 b)
{
    return (lanes_f64)_mm512_unpacklo_pd((__m512d)a, (__m512d)b);
}
INLINE lanes_f64 hi_f64(lanes_f64 a, lanes_f64 b)
{
    return (lanes_f64)_mm512_unpackhi_pd((__m512d)a, (__m512d)b);
}
#elif defined __AVX2__
INLINE lanes_f32 gather(const void *p0, const void *p1, const void *p2, const void *p3)
{
    (void)p2, (void)p3;
    return (lanes_f32)_mm256_insertf128_ps(_mm256_castps128_ps256(_mm_loadu_ps(p0)),
                                           _mm_loadu_ps(p1), 1);
}

INLINE lanes_f32 lo_f32(lanes_f32 a, lanes_f32 b)
{
    return (lanes_f32)_mm256_unpacklo_ps((__m256)a, (__m256)b);
}
INLINE lanes_f32 hi_f32(lanes_f32 a, lanes_f32 b)
{
    return (lanes_f32)_mm256_unpackhi_ps((__m256)a, (__m256)b);
}
INLINE lanes_f64 lo_f64(lanes_f64 a, lanes_f64 b)
{
    return (lanes_f64)_mm256_unpacklo_pd((__m256d)a, (__m256d)b);
}
INLINE lanes_f64 hi_f64(lanes_f64 a, lanes_f64 b)
{
    return (lanes_f64)_mm256_unpackhi_pd((__m256d)a, (__m256d)b);
}
#else
INLINE lanes_f32 gather(const void *p0, const void *p1, const void *p2, const void *p3)
{
    lanes_f32 x;
    (void)p1, (void)p2, (void)p3;
    memcpy(&x, p0, sizeof x);
    return x;
}

INLINE lanes_f32 lo_f32(lanes_f32 a, lanes_f32 b)
{
    return __builtin_shufflevector(a, b, 0, 4, 1, 5);
}
INLINE lanes_f32 hi_f32(lanes_f32 a, lanes_f32 b)
{
    return __builtin_shufflevector(a, b, 2, 6, 3, 7);
}
INLINE lanes_f64 lo_f64(lanes_f64 a, lanes_f64 b)
{
    return __builtin_shufflevector(a, b, 0, 2);
}
INLINE lanes_f64 hi_f64(lanes_f64 a, lanes_f64 b)
{
    return __builtin_shufflevector(a, b, 1, 3);
}
#endif

/* Transposes the words: x[j] takes element j of each of x[0], x[1], ... in every word. */
INLINE void turn_f32(lanes_f32 x[4])
{
    lanes_f64 a = (lanes_f64)lo_f32(x[0], x[1]), b = (lanes_f64)lo_f32(x[2], x[3]);
    lanes_f64 c = (lanes_f64)hi_f32(x[0], x[1]), d = (lanes_f64)hi_f32(x[2], x[3]);
    x[0] = (lanes_f32)lo_f64(a, b);
    x[1] = (lanes_f32)hi_f64(a, b);
    x[2] = (lanes_f32)lo_f64(c, d);
    x[3] = (lanes_f32)hi_f64(c, d);
}

INLINE void turn_f64(lanes_f64 x[2])
{
    lanes_f64 a = lo_f64(x[0], x[1]), b = hi_f64(x[0], x[1]);
    x[0] = a;
    x[1] = b;
}

#endif
