// Normalization over some axes, and its gradient.
//
// Elements lie as [outer, far, inner, near]; a group of those that are normalized together lies along far and near. C is
// the type that is computed in. WEIGHTS says what a weight belongs to: a GROUP, a PLACE in a row, or nothing.

#define GROUPS 1
#define PLACES 2

struct Form {
    i64 outer, far, inner, near;
    __device__ __forceinline__ i64 count() const { return far * near; }
    __device__ __forceinline__ i64 groups() const { return outer * inner; }
    __device__ __forceinline__ i64 size() const { return groups() * count(); }
    __device__ __forceinline__ i64 group(i64 element) const { return element / (far * inner * near) * inner + element / near % inner; }
};

// Where the mean of numbers of which this is one is sought from: what rounding takes from a sum of distances is as small as they
// are. A constant has no distances, and so it is its own mean.
INLINE C near_to(C x) { return kiln::is_finite(x) ? x : (C)0; }

INLINE C factor_of(C variance, C eps) { return (C)1 / kiln::sqrt(variance + eps); }

// What becomes of the sums of dy and of dy · z, z being the normalized x: dx = (dy - plain - (x - mean) · along) · factor.
struct Slopes {
    C plain, along;
    __device__ __forceinline__ Slopes(C plain, C along, C factor, i64 count)
        : plain(CENTERED ? plain / (C)count : (C)0), along(along / (C)count * factor) {}
};

#ifdef LANES
// ---- Each group in a row of its own (`total.cuh`).

#ifdef FORWARD
KERNEL __launch_bounds__(256)
    rows(Rows rows, C eps, const T* x, const T* weight, const T* bias, T* y, C* means, C* variances) {
    const int lane = threadIdx.x % LANES;
    for (i64 block = blockIdx.x; block * ROWS_OF_BLOCK < rows.count; block += gridDim.x) {
        i64 row = block * ROWS_OF_BLOCK + threadIdx.x / LANES;
        bool is_row = row < rows.count;
        i64 n = rows.length, length = is_row ? n : 0, first = is_row ? row * n : 0;
        C mean = (C)0, squares = (C)0;
#if CENTERED
        C from = length > 0 ? near_to(kiln::load<C>(x[first])) : (C)0;
        for (i64 i = lane; i < length; i += LANES) mean += kiln::load<C>(x[first + i]) - from;
        mean = from + total(mean, lane) / (C)n;
#endif
        for (i64 i = lane; i < length; i += LANES) {
            C apart = kiln::load<C>(x[first + i]) - mean;
            squares += apart * apart;
        }
        C variance = total(squares, lane) / (C)n;
        if (is_row && lane == 0) {
            means[row] = mean;
            variances[row] = variance;
        }
        C factor = factor_of(variance, eps), shift = (C)0;
#if WEIGHTS == GROUPS
        if (is_row) {
            factor *= kiln::load<C>(weight[row]);
            if (bias) shift = kiln::load<C>(bias[row]);
        }
#endif
        for (i64 i = lane; i < length; i += LANES) {
            C z = (kiln::load<C>(x[first + i]) - mean) * factor;
#if WEIGHTS == PLACES
            z = z * kiln::load<C>(weight[i]) + (bias ? kiln::load<C>(bias[i]) : (C)0);
#else
            z += shift;
#endif
            y[first + i] = kiln::store<T>(z);
        }
    }
}
#else
KERNEL __launch_bounds__(256)
    rows_back(Rows rows, C eps, const T* x, const C* means, const C* variances, const T* dy, const T* weight, T* dx,
              T* d_weight, T* d_bias) {
    const int lane = threadIdx.x % LANES;
    for (i64 block = blockIdx.x; block * ROWS_OF_BLOCK < rows.count; block += gridDim.x) {
        i64 row = block * ROWS_OF_BLOCK + threadIdx.x / LANES;
        bool is_row = row < rows.count;
        i64 n = rows.length, length = is_row ? n : 0, first = is_row ? row * n : 0;
        C mean = is_row ? means[row] : (C)0, factor = is_row ? factor_of(variances[row], eps) : (C)0;
        C plain = (C)0, along = (C)0;
        for (i64 i = lane; i < length; i += LANES) {
            C slope = kiln::load<C>(dy[first + i]);
#if WEIGHTS == PLACES
            slope *= kiln::load<C>(weight[i]);
#endif
            plain += slope;
            along += slope * (kiln::load<C>(x[first + i]) - mean);
        }
        plain = total(plain, lane);
        along = total(along, lane) * factor;
        C scale = factor;
#if WEIGHTS == GROUPS
        if (is_row) scale *= kiln::load<C>(weight[row]);
        if (is_row && lane == 0) {
            d_weight[row] = kiln::store<T>(along);
            if (d_bias) d_bias[row] = kiln::store<T>(plain);
        }
#endif
        Slopes s(plain, along, factor, n);
        for (i64 i = lane; i < length; i += LANES) {
            C slope = kiln::load<C>(dy[first + i]);
#if WEIGHTS == PLACES
            slope *= kiln::load<C>(weight[i]);
#endif
            dx[first + i] =
                kiln::store<T>((slope - s.plain - (kiln::load<C>(x[first + i]) - mean) * s.along) * scale);
        }
    }
}
#endif
#else
// ---- Groups side by side: COLUMNS neighbouring threads of a block have a group each, and those in the same column share
// a part of it. What the parts give is joined in order.

#define LINES (256 / COLUMNS)

// A part of `rows` of a block's groups.
struct Part {
    i64 first, count, group, place;
    bool is_group;
    __device__ __forceinline__ Part(Form form, i64 rows, i64 parts, i64 task) {
        i64 tiles = (form.inner + COLUMNS - 1) / COLUMNS;
        i64 outer = task / (tiles * parts), part = task / tiles % parts;
        i64 inner = task % tiles * COLUMNS + threadIdx.x % COLUMNS, row = part * rows;
        is_group = inner < form.inner;
        group = outer * form.inner + inner;
        count = is_group ? (row + rows < form.far ? rows : form.far - row) * form.near : 0;
        first = ((outer * form.far + row) * form.inner + inner) * form.near;
        place = (outer * parts + part) * form.inner + inner;
    }
    __device__ __forceinline__ i64 at(Form form, i64 i) const { return first + i / form.near * form.inner * form.near + i % form.near; }
};

// The sum over the threads of a column, in each of them.
INLINE C total(C x) {
    __shared__ C sums[256];
    sums[threadIdx.x] = x;
    __syncthreads();
    for (int half = 128; half >= COLUMNS; half /= 2) {
        if (threadIdx.x < half) sums[threadIdx.x] += sums[threadIdx.x + half];
        __syncthreads();
    }
    x = sums[threadIdx.x % COLUMNS];
    __syncthreads();
    return x;
}

#ifdef FORWARD
// Of each part of a group its mean and the sum of the squares around it.
KERNEL __launch_bounds__(256) moments(Form form, i64 rows, i64 parts, i64 tasks, const T* x, C* moments) {
    for (i64 task = blockIdx.x; task < tasks; task += gridDim.x) {
        Part part(form, rows, parts, task);
        C mean = (C)0, squares = (C)0;
#if CENTERED
        C from = part.count > 0 ? near_to(kiln::load<C>(x[part.at(form, 0)])) : (C)0;
        for (i64 i = threadIdx.x / COLUMNS; i < part.count; i += LINES) mean += kiln::load<C>(x[part.at(form, i)]) - from;
        mean = total(mean);
        if (part.count > 0) mean = from + mean / (C)part.count;
#endif
        for (i64 i = threadIdx.x / COLUMNS; i < part.count; i += LINES) {
            C apart = kiln::load<C>(x[part.at(form, i)]) - mean;
            squares += apart * apart;
        }
        squares = total(squares);
        if (part.is_group && threadIdx.x < COLUMNS) {
            moments[2 * part.place] = mean;
            moments[2 * part.place + 1] = squares;
        }
    }
}

// Joined as Chan et al. (1979) do it.
KERNEL join_moments(Form form, i64 rows, i64 parts, const C* moments, C* means, C* variances) {
    for (i64 group = THREAD; group < form.groups(); group += THREADS) {
        C mean = (C)0, squares = (C)0;
        i64 seen = 0, outer = group / form.inner, inner = group % form.inner;
        for (i64 part = 0; part < parts; part++) {
            i64 more = (part * rows + rows < form.far ? rows : form.far - part * rows) * form.near;
            i64 at = 2 * ((outer * parts + part) * form.inner + inner);
            C m = moments[at], apart = m - mean;
            f64 share = (f64)more / (f64)(seen + more);
            if (seen == 0) {
                mean = m;
                squares = moments[at + 1];
            } else {
                // The distance from what is infinite says nothing.
                mean = kiln::is_finite(apart) ? mean + apart * (C)share : mean * (C)(1.0 - share) + m * (C)share;
                squares += moments[at + 1] + apart * apart * (C)(share * (f64)seen);
            }
            seen += more;
        }
        means[group] = mean;
        variances[group] = squares / (C)form.count();
    }
}

KERNEL apply(Form form, C eps, const T* x, const T* weight, const T* bias, T* y, const C* means, const C* variances) {
    for (i64 i = THREAD; i < form.size(); i += THREADS) {
        i64 group = form.group(i);
        C factor = factor_of(variances[group], eps), shift = (C)0;
#if WEIGHTS == GROUPS
        factor *= kiln::load<C>(weight[group]);
        if (bias) shift = kiln::load<C>(bias[group]);
#endif
        y[i] = kiln::store<T>((kiln::load<C>(x[i]) - means[group]) * factor + shift);
    }
}
#else
// Of each part of a group the sums of dy and of dy · z. Where the groups are the places of rows, which do not lie along far
// and near, the means and variances are those of the rows.
KERNEL __launch_bounds__(256) sums(Form form, i64 rows, i64 parts, i64 tasks, C eps, const T* x, const C* means,
                                   const C* variances, const T* dy, C* sums) {
    for (i64 task = blockIdx.x; task < tasks; task += gridDim.x) {
        Part part(form, rows, parts, task);
        C plain = (C)0, along = (C)0;
        for (i64 i = threadIdx.x / COLUMNS; i < part.count; i += LINES) {
            i64 at = part.at(form, i);
#if WEIGHTS == PLACES
            i64 of = at / form.inner;
#else
            i64 of = part.group;
#endif
            C slope = kiln::load<C>(dy[at]);
            plain += slope;
            along += slope * (kiln::load<C>(x[at]) - means[of]) * factor_of(variances[of], eps);
        }
        plain = total(plain);
        along = total(along);
        if (part.is_group && threadIdx.x < COLUMNS) {
            sums[2 * part.place] = plain;
            sums[2 * part.place + 1] = along;
        }
    }
}

KERNEL join_sums(Form form, i64 parts, const C* sums, C* joined, T* d_weight, T* d_bias) {
    for (i64 group = THREAD; group < form.groups(); group += THREADS) {
        C plain = (C)0, along = (C)0;
        i64 outer = group / form.inner, inner = group % form.inner;
        for (i64 part = 0; part < parts; part++) {
            i64 at = 2 * ((outer * parts + part) * form.inner + inner);
            plain += sums[at];
            along += sums[at + 1];
        }
        joined[2 * group] = plain;
        joined[2 * group + 1] = along;
        if (d_weight) d_weight[group] = kiln::store<T>(along);
        if (d_bias) d_bias[group] = kiln::store<T>(plain);
    }
}

KERNEL apply_back(Form form, C eps, const T* x, const C* means, const C* variances, const T* dy, const T* weight,
                  const C* joined, T* dx) {
    for (i64 i = THREAD; i < form.size(); i += THREADS) {
        i64 group = form.group(i);
        C factor = factor_of(variances[group], eps), scale = factor;
#if WEIGHTS == GROUPS
        scale *= kiln::load<C>(weight[group]);
#endif
        Slopes s(joined[2 * group], joined[2 * group + 1], factor, form.count());
        C apart = kiln::load<C>(x[i]) - means[group];
        dx[i] = kiln::store<T>((kiln::load<C>(dy[i]) - s.plain - apart * s.along) * scale);
    }
}
#endif
#endif
