// Products of matrices that lie anywhere: one result by one thread for each of a tile, a tile of each operand at a time in
// shared memory. T is the elements' type, C the one that is added in.

// Rows and columns of a block's tile, and how much of the operands it holds.
#define TILE 64
#define DEPTH 16
// Rows and columns of a thread.
#define EACH 4

struct Matrix {
    i64 row, column;
};

KERNEL __launch_bounds__(256) matmul(i64 batches, i64 m, i64 n, i64 k, kiln::Walk<RANK, 2> batch, Matrix a_steps,
                                     Matrix b_steps, const T* a, const T* b, T* y) {
    __shared__ C as[DEPTH][TILE + 1];
    __shared__ C bs[DEPTH][TILE + 1];
    const int thread = threadIdx.x, row = thread / (TILE / EACH) * EACH, column = thread % (TILE / EACH) * EACH;
    for (i64 number = blockIdx.z; number < batches; number += gridDim.z) {
        i64 at[2];
        batch.at(number, at);
        const T* from_a = a + at[0];
        const T* from_b = b + at[1];
        for (i64 top = (i64)blockIdx.y * TILE; top < m; top += (i64)gridDim.y * TILE)
            for (i64 left = (i64)blockIdx.x * TILE; left < n; left += (i64)gridDim.x * TILE) {
                C sums[EACH][EACH];
#pragma unroll
                for (int i = 0; i < EACH; i++)
#pragma unroll
                    for (int j = 0; j < EACH; j++) sums[i][j] = (C)0;
                for (i64 first = 0; first < k; first += DEPTH) {
                    // Neighbouring threads read along the dimension that lies dense.
                    for (int i = thread; i < TILE * DEPTH; i += 256) {
                        int r = a_steps.column == 1 ? i / DEPTH : i % TILE, d = a_steps.column == 1 ? i % DEPTH : i / TILE;
                        bool inside = top + r < m && first + d < k;
                        as[d][r] = inside ? kiln::load<C>(from_a[(top + r) * a_steps.row + (first + d) * a_steps.column])
                                          : (C)0;
                    }
                    for (int i = thread; i < TILE * DEPTH; i += 256) {
                        int c = b_steps.row == 1 ? i / DEPTH : i % TILE, d = b_steps.row == 1 ? i % DEPTH : i / TILE;
                        bool inside = left + c < n && first + d < k;
                        bs[d][c] = inside ? kiln::load<C>(from_b[(first + d) * b_steps.row + (left + c) * b_steps.column])
                                          : (C)0;
                    }
                    __syncthreads();
#pragma unroll
                    for (int d = 0; d < DEPTH; d++) {
                        C of_a[EACH], of_b[EACH];
#pragma unroll
                        for (int i = 0; i < EACH; i++) {
                            of_a[i] = as[d][row + i];
                            of_b[i] = bs[d][column + i];
                        }
#pragma unroll
                        for (int i = 0; i < EACH; i++)
#pragma unroll
                            for (int j = 0; j < EACH; j++) sums[i][j] = PLUS(of_a[i], of_b[j], sums[i][j]);
                    }
                    __syncthreads();
                }
#pragma unroll
                for (int i = 0; i < EACH; i++)
#pragma unroll
                    for (int j = 0; j < EACH; j++)
                        if (top + row + i < m && left + column + j < n)
                            y[(number * m + top + row + i) * n + left + column + j] = kiln::store<T>(sums[i][j]);
            }
    }
}
