// Products of small matrices by a warp, which tensor cores compute.

namespace kiln {

// Adds a · b to d, for a of 16 rows and 16 terms, and b of 16 terms and 8 columns, of the last argument's type, f16 or bf16. A pair
// of terms is a word, the first in its lower half. Thread 4 g + t of the warp holds
//   of a: terms 2 t and 2 t + 1 of row g, of row g + 8, then the terms 8 further on of both rows,
//   of b: terms 2 t and 2 t + 1 of column g, then those 8 further on,
//   of d: columns 2 t and 2 t + 1 of row g, then of row g + 8.
#if !defined(KILN_FAKE) && __CUDA_ARCH__ >= 800
#define KILN_MMA(TYPE)                                                                                             \
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32." TYPE "." TYPE ".f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, " \
                 "{%8, %9}, {%0, %1, %2, %3};"                                                                     \
                 : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])                                                  \
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]))
INLINE void multiply_add(f32 (&d)[4], const u32 (&a)[4], const u32 (&b)[2], f16) { KILN_MMA("f16"); }
INLINE void multiply_add(f32 (&d)[4], const u32 (&a)[4], const u32 (&b)[2], bf16) { KILN_MMA("bf16"); }
#undef KILN_MMA
#else
#ifndef KILN_FAKE
// Devices of 7.5 have it for f16 and half as many terms.
INLINE void multiply_add(f32 (&d)[4], const u32 (&a)[4], const u32 (&b)[2], f16) {
#pragma unroll
    for (int half = 0; half < 2; half++)
        asm volatile("mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5}, {%6}, {%0, %1, %2, %3};"
                     : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
                     : "r"(a[2 * half]), "r"(a[2 * half + 1]), "r"(b[half]));
}
#endif
// The same by arithmetic, for devices that have no such instruction: each thread asks for the rows and columns that it needs.
template <class T> INLINE void multiply_add(f32 (&d)[4], const u32 (&a)[4], const u32 (&b)[2], T) {
    const int lane = threadIdx.x % 32, row = lane / 4, column = lane % 4 * 2;
#pragma unroll
    for (int pair = 0; pair < 8; pair++) {
        const int later = pair / 4, from = pair % 4;
        const u32 rows[2] = {__shfl_sync(0xffffffffu, a[2 * later], row * 4 + from),
                             __shfl_sync(0xffffffffu, a[2 * later + 1], row * 4 + from)};
        const u32 columns[2] = {__shfl_sync(0xffffffffu, b[later], column * 4 + from),
                                __shfl_sync(0xffffffffu, b[later], column * 4 + 4 + from)};
#pragma unroll
        for (int half = 0; half < 32; half += 16)
#pragma unroll
            for (int i = 0; i < 4; i++) {
                const T x = {(u16)(rows[i / 2] >> half)}, y = {(u16)(columns[i % 2] >> half)};
                d[i] = Exact<f32>::fma(widen(x), widen(y), d[i]);
            }
    }
}
#endif

}  // namespace kiln
