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

// ---- How operands come to the warps of a block: packs of eight elements that lie dense, kept in shared memory.

struct __align__(16) Eight {
    u32 words[4];
};

template <class T> INLINE Eight eight(const T* x, bool is_there) {
    Eight none = {{0, 0, 0, 0}};
    return is_there ? *reinterpret_cast<const Eight*>(x) : none;
}

// Two terms of eight rows, as words that have both terms of a row.
INLINE void put_pair(u32* to, Eight first, Eight second) {
    Eight words[2];
#pragma unroll
    for (int i = 0; i < 4; i++) {
        words[i / 2].words[i % 2 * 2] = (first.words[i] & 0xffffu) | second.words[i] << 16;
        words[i / 2].words[i % 2 * 2 + 1] = first.words[i] >> 16 | (second.words[i] & 0xffff0000u);
    }
    reinterpret_cast<Eight*>(to)[0] = words[0];
    reinterpret_cast<Eight*>(to)[1] = words[1];
}

// Words between rows of so many terms that are kept one after the other, and between pairs of terms of so many rows: what is left
// free puts what a warp reads at a time into different banks.
INLINE constexpr int by_row(int terms) { return terms / 2 + 4; }
INLINE constexpr int by_pair(int rows) { return rows + 8; }

}  // namespace kiln
