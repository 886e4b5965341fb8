// Pools of images [N, H, W, C], and their gradients: a thread for each element of the result, so that no two add to one.

// What elements are counted with: `i32` where there are not too many, which is several times as fast as `i64`.
typedef INDEX Index;

struct Pool {
    Index batch, channels;
    Index input[2], output[2], kernel[2], stride[2], dilation[2], before[2], after[2];
    // By what a sum is divided: this number, or, if it is 0, by what the input, or the padded input, has of a window.
    Index divisor, is_padded;
};

// The image, the place in it and the channel of an element.
struct Place {
    Index image, at[2], channel;
};
INLINE Place place_of(Index i, Index height, Index width, Index channels) {
    Place place;
    Index rest = kiln::divide(i, channels, &place.channel);
    rest = kiln::divide(rest, width, &place.at[1]);
    place.image = kiln::divide(rest, height, &place.at[0]);
    return place;
}

// What a window covers along an axis: the first of its positions that the input has, how many it has, and how many the padded
// input has.
struct Span {
    Index first, valid, padded;
};
INLINE Index taps_before(const Pool& p, int axis, Index start, Index end) {
    if (end <= start) return 0;
    Index taps = (end - start + p.dilation[axis] - 1) / p.dilation[axis];
    return taps < p.kernel[axis] ? taps : p.kernel[axis];
}
INLINE Span span_of(const Pool& p, int axis, Index output) {
    Index start = output * p.stride[axis], end = p.before[axis] + p.input[axis];
    Index low = taps_before(p, axis, start, p.before[axis]);
    Span span;
    span.first = start + low * p.dilation[axis] - p.before[axis];
    span.valid = taps_before(p, axis, start, end) - low;
    span.padded = taps_before(p, axis, start, end + p.after[axis]);
    return span;
}
INLINE C divisor_of(const Pool& p, Span down, Span across) {
    if (p.divisor > 0) return (C)p.divisor;
    return (C)(p.is_padded ? down.padded * across.padded : down.valid * across.valid);
}

// The outputs whose windows may hold a position: from the first to before the end.
struct Range {
    Index first, end;
};
INLINE Range outputs_of(const Pool& p, int axis, Index at) {
    Index padded = at + p.before[axis], reach = p.dilation[axis] * (p.kernel[axis] - 1);
    Range range;
    range.first = padded <= reach ? 0 : (padded - reach + p.stride[axis] - 1) / p.stride[axis];
    range.end = padded / p.stride[axis] + 1;
    if (range.end > p.output[axis]) range.end = p.output[axis];
    return range;
}
// Whether the window of an output has a tap at a position of its range.
INLINE bool has_tap(const Pool& p, int axis, Index output, Index at) {
    return p.dilation[axis] == 1 || (at + p.before[axis] - output * p.stride[axis]) % p.dilation[axis] == 0;
}

INLINE Index element(const Pool& p, Index image, Index row, Index column, Index channel) {
    return ((image * p.input[0] + row) * p.input[1] + column) * p.channels + channel;
}
INLINE Index output_element(const Pool& p, Index image, Index row, Index column, Index channel) {
    return ((image * p.output[0] + row) * p.output[1] + column) * p.channels + channel;
}

// The first of equal elements; NaN is larger than any number.
KERNEL __launch_bounds__(256) largest(Index count, Pool p, const T* x, T* y, i32* positions) {
    for (Index i = (Index)THREAD; i < count; i += (Index)THREADS) {
        Place place = place_of(i, p.output[0], p.output[1], p.channels);
        Span down = span_of(p, 0, place.at[0]), across = span_of(p, 1, place.at[1]);
        C best = (C)kiln::float_of(0xff800000u);
        Index position = -1;
        for (Index a = 0; a < down.valid; a++) {
            for (Index b = 0; b < across.valid; b++) {
                Index row = down.first + a * p.dilation[0], column = across.first + b * p.dilation[1];
                C next = kiln::load<C>(x[element(p, place.image, row, column, place.channel)]);
                // The first tap is there to be beaten: where all are -∞, it is the answer.
                if (position < 0 || next > best || (next != next && best == best)) {
                    best = next;
                    position = row * p.input[1] + column;
                }
            }
        }
        y[i] = kiln::store<T>(best);
        positions[i] = (i32)position;
    }
}

KERNEL __launch_bounds__(256) largest_grad(Index count, Pool p, const T* dy, const i32* positions, T* dx) {
    for (Index i = (Index)THREAD; i < count; i += (Index)THREADS) {
        Place place = place_of(i, p.input[0], p.input[1], p.channels);
        Range rows = outputs_of(p, 0, place.at[0]), columns = outputs_of(p, 1, place.at[1]);
        Index position = place.at[0] * p.input[1] + place.at[1];
        C sum = (C)0;
        for (Index row = rows.first; row < rows.end; row++) {
            for (Index column = columns.first; column < columns.end; column++) {
                Index output = output_element(p, place.image, row, column, place.channel);
                if (positions[output] == position && has_tap(p, 0, row, place.at[0]) && has_tap(p, 1, column, place.at[1]))
                    sum += kiln::load<C>(dy[output]);
            }
        }
        dx[i] = kiln::store<T>(sum);
    }
}

KERNEL __launch_bounds__(256) pick(Index count, Pool p, const T* x, const i32* positions, T* y) {
    for (Index i = (Index)THREAD; i < count; i += (Index)THREADS) {
        Place place = place_of(i, p.output[0], p.output[1], p.channels);
        Index plane = p.input[0] * p.input[1], position = positions[i];
        bool is_inside = position >= 0 && position < plane;
        y[i] = is_inside ? x[(place.image * plane + position) * p.channels + place.channel] : kiln::store<T>((C)0);
    }
}

KERNEL __launch_bounds__(256) average(Index count, Pool p, const T* x, T* y) {
    for (Index i = (Index)THREAD; i < count; i += (Index)THREADS) {
        Place place = place_of(i, p.output[0], p.output[1], p.channels);
        Span down = span_of(p, 0, place.at[0]), across = span_of(p, 1, place.at[1]);
        C sum = (C)0;
        for (Index a = 0; a < down.valid; a++)
            for (Index b = 0; b < across.valid; b++)
                sum += kiln::load<C>(x[element(p, place.image, down.first + a, across.first + b, place.channel)]);
        y[i] = kiln::store<T>(sum / divisor_of(p, down, across));
    }
}

KERNEL __launch_bounds__(256) average_grad(Index count, Pool p, const T* dy, T* dx) {
    for (Index i = (Index)THREAD; i < count; i += (Index)THREADS) {
        Place place = place_of(i, p.input[0], p.input[1], p.channels);
        Range rows = outputs_of(p, 0, place.at[0]), columns = outputs_of(p, 1, place.at[1]);
        C sum = (C)0;
        for (Index row = rows.first; row < rows.end; row++) {
            Span down = span_of(p, 0, row);
            for (Index column = columns.first; column < columns.end; column++) {
                C share = kiln::load<C>(dy[output_element(p, place.image, row, column, place.channel)]);
                sum += share / divisor_of(p, down, span_of(p, 1, column));
            }
        }
        dx[i] = kiln::store<T>(sum);
    }
}
