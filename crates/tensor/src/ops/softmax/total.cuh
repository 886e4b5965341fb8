// Sums along rows, by LANES threads for each row: 1, a part of a warp, a warp, or a block of several.

#define ROWS_OF_BLOCK (LANES > 32 ? 1 : 256 / LANES)

using kiln::Rows;

// The sum over the threads of a row, in each of them. All threads of the block come here.
INLINE C total(C x, int lane) {
#pragma unroll
    for (int lanes = (LANES < 32 ? LANES : 32) / 2; lanes > 0; lanes /= 2) x += __shfl_xor_sync(0xffffffffu, x, lanes);
#if LANES > 32
    __shared__ C warps[LANES / 32];
    if (lane % 32 == 0) warps[lane / 32] = x;
    __syncthreads();
    x = warps[0];
    for (int warp = 1; warp < LANES / 32; warp++) x += warps[warp];
    __syncthreads();
#endif
    return x;
}
