// Linear algebra in double precision, a block for each matrix: for batches of small ones. In a large one most of the block
// waits for memory, and the pivots are looked for by one thread.

struct Sizes {
    // Matrices, their rows, and the right sides of each.
    i64 count, rows, width;
};

INLINE void load(i64 count, const T* from, f64* to) {
    for (i64 i = threadIdx.x; i < count; i += blockDim.x) to[i] = kiln::load<f64>(from[i]);
}

INLINE void save(i64 count, const f64* from, T* to) {
    for (i64 i = threadIdx.x; i < count; i += blockDim.x) to[i] = kiln::store<T>(from[i]);
}

// Elimination with exchanges of rows, of a matrix and its right sides. Gives whether the exchanges are odd in number.
__device__ bool eliminate(i64 n, f64* a, i64 width, f64* b) {
    __shared__ i64 chosen;
    bool odd = false;
    for (i64 k = 0; k < n; k++) {
        if (threadIdx.x == 0) {
            i64 best = k;
            for (i64 i = k + 1; i < n; i++)
                if (fabs(a[i * n + k]) > fabs(a[best * n + k])) best = i;
            chosen = best;
        }
        __syncthreads();
        i64 pivot = chosen, right = n - k - 1;
        if (pivot != k) {
            odd = !odd;
            for (i64 j = threadIdx.x; j < n + width; j += blockDim.x) {
                f64 *x = j < n ? a + k * n + j : b + k * width + j - n, *y = j < n ? a + pivot * n + j : b + pivot * width + j - n;
                f64 other = *x;
                *x = *y;
                *y = other;
            }
        }
        __syncthreads();
        f64 diagonal = a[k * n + k];
        if (diagonal != 0.0)
            for (i64 i = k + 1 + threadIdx.x; i < n; i += blockDim.x) a[i * n + k] /= diagonal;
        __syncthreads();
        if (diagonal != 0.0)
            for (i64 at = threadIdx.x; at < right * (right + width); at += blockDim.x) {
                i64 i = k + 1 + at / (right + width), j = at % (right + width);
                f64 factor = a[i * n + k];
                if (j < right)
                    a[i * n + k + 1 + j] -= factor * a[k * n + k + 1 + j];
                else
                    b[i * width + j - right] -= factor * b[k * width + j - right];
            }
        __syncthreads();
    }
    return odd;
}

// Solves a triangular system in place, a right side by a thread.
INLINE void substitute(i64 n, const f64* a, i64 width, f64* y, bool upper, bool unit) {
    for (i64 j = threadIdx.x; j < width; j += blockDim.x)
        for (i64 step = 0; step < n; step++) {
            i64 i = upper ? n - 1 - step : step;
            f64 rest = y[i * width + j];
            for (i64 k = upper ? i + 1 : 0; k < (upper ? n : i); k++) rest -= a[i * n + k] * y[k * width + j];
            y[i * width + j] = unit ? rest : rest / a[i * n + i];
        }
}

INLINE void tell_zeros(i64 n, const f64* a, i64 matrix, kiln::Faults faults) {
    for (i64 i = threadIdx.x; i < n; i += blockDim.x)
        if (a[i * n + i] == 0.0) kiln::fault(faults, matrix, i);
}

#ifdef SOLVE
KERNEL __launch_bounds__(256) solve(Sizes s, const T* a, const T* b, T* y, f64* room, kiln::Faults faults) {
    i64 n = s.rows, square = n * n, sides = n * s.width;
    f64 *left = room + blockIdx.x * (square + sides), *right = left + square;
    for (i64 matrix = blockIdx.x; matrix < s.count; matrix += gridDim.x) {
        load(square, a + matrix * square, left);
        load(sides, b + matrix * sides, right);
        __syncthreads();
#if SOLVE
        eliminate(n, left, s.width, right);
        tell_zeros(n, left, matrix, faults);
        substitute(n, left, s.width, right, true, false);
#else
        if (!UNIT) tell_zeros(n, left, matrix, faults);
        substitute(n, left, s.width, right, UPPER, UNIT);
#endif
        __syncthreads();
        save(sides, right, y + matrix * sides);
        __syncthreads();
    }
}
#endif

#ifdef LOG
// The determinant, or its sign and the logarithm of its size.
KERNEL __launch_bounds__(256) determinant(Sizes s, const T* a, T* y, T* size, f64* room) {
    i64 n = s.rows, square = n * n;
    f64* left = room + blockIdx.x * square;
    for (i64 matrix = blockIdx.x; matrix < s.count; matrix += gridDim.x) {
        load(square, a + matrix * square, left);
        __syncthreads();
        bool odd = eliminate(n, left, 0, left);
        if (threadIdx.x == 0) {
            f64 product = 1.0, sum = 0.0;
            for (i64 i = 0; i <= n; i++) {
                f64 factor = i < n ? left[i * n + i] : odd ? -1.0 : 1.0;
#if LOG
                product = factor == 0.0 ? 0.0 : product * (factor < 0.0 ? -1.0 : factor > 0.0 ? 1.0 : factor);
                sum += log(fabs(factor));
#else
                product *= factor;
#endif
            }
            y[matrix] = kiln::store<T>(product);
            if (LOG) size[matrix] = kiln::store<T>(sum);
        }
        __syncthreads();
    }
}
#endif

#ifdef CHOLESKY
KERNEL __launch_bounds__(256) cholesky(Sizes s, const T* a, T* l, f64* room, kiln::Faults faults) {
    i64 n = s.rows, square = n * n;
    f64* left = room + blockIdx.x * square;
    for (i64 matrix = blockIdx.x; matrix < s.count; matrix += gridDim.x) {
        load(square, a + matrix * square, left);
        __syncthreads();
        for (i64 j = 0; j < n; j++) {
            if (threadIdx.x == 0) {
                f64 rest = left[j * n + j];
                for (i64 k = 0; k < j; k++) rest -= left[j * n + k] * left[j * n + k];
                if (rest <= 0.0) kiln::fault(faults, matrix, j);
                left[j * n + j] = sqrt(rest);
            }
            __syncthreads();
            for (i64 i = j + 1 + threadIdx.x; i < n; i += blockDim.x) {
                f64 rest = left[i * n + j];
                for (i64 k = 0; k < j; k++) rest -= left[i * n + k] * left[j * n + k];
                left[i * n + j] = rest / left[j * n + j];
                left[j * n + i] = 0.0;
            }
            __syncthreads();
        }
        save(square, left, l + matrix * square);
        __syncthreads();
    }
}
#endif
