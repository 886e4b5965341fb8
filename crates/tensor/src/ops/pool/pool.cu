// Pools of images [N, H, W, C], and their gradients: a thread for each element of the result, so that no two add to one.

struct Pool {
    i64 batch, channels;
    i64 input[2], output[2], kernel[2], stride[2], dilation[2], before[2], after[2];
    // By what a sum is divided: 0 by what the input has of a window, -1 by what the padded input has, or this number.
    i64 divisor;
};

// The image, the place in it and the channel of an element.
struct Place {
    i64 image, at[2], channel;
};
INLINE Place place_of(i64 i, i64 height, i64 width, i64 channels) {
    Place place;
    i64 rest = kiln::divide(i, channels, &place.channel);
    rest = kiln::divide(rest, width, &place.at[1]);
    place.image = kiln::divide(rest, height, &place.at[0]);
    return place;
}

// What a window covers along an axis: the first of its positions that the input has, how many it has, and how many the padded
// input has.
struct Span {
    i64 first, valid, padded;
};
INLINE i64 taps_before(const Pool& p, int axis, i64 start, i64 end) {
    if (end <= start) return 0;
    i64 taps = (end - start + p.dilation[axis] - 1) / p.dilation[axis];
    return taps < p.kernel[axis] ? taps : p.kernel[axis];
}
INLINE Span span_of(const Pool& p, int axis, i64 output) {
    i64 start = output * p.stride[axis], end = p.before[axis] + p.input[axis];
    i64 low = taps_before(p, axis, start, p.before[axis]);
    Span span;
    span.first = start + low * p.dilation[axis] - p.before[axis];
    span.valid = taps_before(p, axis, start, end) - low;
    span.padded = taps_before(p, axis, start, end + p.after[axis]);
    return span;
}
INLINE C divisor_of(const Pool& p, Span down, Span across) {
    i64 count = p.divisor > 0 ? p.divisor : p.divisor == 0 ? down.valid * across.valid : down.padded * across.padded;
    return (C)count;
}

// The outputs whose windows may hold a position: from the first to before the end.
struct Range {
    i64 first, end;
};
INLINE Range outputs_of(const Pool& p, int axis, i64 at) {
    i64 padded = at + p.before[axis], reach = p.dilation[axis] * (p.kernel[axis] - 1);
    Range range;
    range.first = padded <= reach ? 0 : (padded - reach + p.stride[axis] - 1) / p.stride[axis];
    range.end = padded / p.stride[axis] + 1;
    if (range.end > p.output[axis]) range.end = p.output[axis];
    return range;
}
// Whether the window of an output has a tap at a position of its range.
INLINE bool has_tap(const Pool& p, int axis, i64 output, i64 at) {
    return p.dilation[axis] == 1 || (at + p.before[axis] - output * p.stride[axis]) % p.dilation[axis] == 0;
}

INLINE i64 element(const Pool& p, i64 image, i64 row, i64 column, i64 channel) {
    return ((image * p.input[0] + row) * p.input[1] + column) * p.channels + channel;
}
INLINE i64 output_element(const Pool& p, i64 image, i64 row, i64 column, i64 channel) {
    return ((image * p.output[0] + row) * p.output[1] + column) * p.channels + channel;
}

// The first of equal elements; NaN is larger than any number.
KERNEL __launch_bounds__(256) largest(i64 count, Pool p, const T* x, T* y, i32* positions) {
    for (i64 i = THREAD; i < count; i += THREADS) {
        Place place = place_of(i, p.output[0], p.output[1], p.channels);
        Span down = span_of(p, 0, place.at[0]), across = span_of(p, 1, place.at[1]);
        C best = (C)kiln::float_of(0xff800000u);
        i64 position = -1;
        for (i64 a = 0; a < down.valid; a++) {
            for (i64 b = 0; b < across.valid; b++) {
                i64 row = down.first + a * p.dilation[0], column = across.first + b * p.dilation[1];
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

KERNEL __launch_bounds__(256) largest_grad(i64 count, Pool p, const T* dy, const i32* positions, T* dx) {
    for (i64 i = THREAD; i < count; i += THREADS) {
        Place place = place_of(i, p.input[0], p.input[1], p.channels);
        Range rows = outputs_of(p, 0, place.at[0]), columns = outputs_of(p, 1, place.at[1]);
        i64 position = place.at[0] * p.input[1] + place.at[1];
        C sum = (C)0;
        for (i64 row = rows.first; row < rows.end; row++) {
            for (i64 column = columns.first; column < columns.end; column++) {
                i64 output = output_element(p, place.image, row, column, place.channel);
                if (positions[output] == position && has_tap(p, 0, row, place.at[0]) && has_tap(p, 1, column, place.at[1]))
                    sum += kiln::load<C>(dy[output]);
            }
        }
        dx[i] = kiln::store<T>(sum);
    }
}

KERNEL __launch_bounds__(256) pick(i64 count, Pool p, const T* x, const i32* positions, T* y) {
    for (i64 i = THREAD; i < count; i += THREADS) {
        Place place = place_of(i, p.output[0], p.output[1], p.channels);
        i64 plane = p.input[0] * p.input[1], position = positions[i];
        bool is_inside = position >= 0 && position < plane;
        y[i] = is_inside ? x[(place.image * plane + position) * p.channels + place.channel] : kiln::store<T>((C)0);
    }
}

KERNEL __launch_bounds__(256) average(i64 count, Pool p, const T* x, T* y) {
    for (i64 i = THREAD; i < count; i += THREADS) {
        Place place = place_of(i, p.output[0], p.output[1], p.channels);
        Span down = span_of(p, 0, place.at[0]), across = span_of(p, 1, place.at[1]);
        C sum = (C)0;
        for (i64 a = 0; a < down.valid; a++)
            for (i64 b = 0; b < across.valid; b++)
                sum += kiln::load<C>(x[element(p, place.image, down.first + a, across.first + b, place.channel)]);
        y[i] = kiln::store<T>(sum / divisor_of(p, down, across));
    }
}

KERNEL __launch_bounds__(256) average_grad(i64 count, Pool p, const T* dy, T* dx) {
    for (i64 i = THREAD; i < count; i += THREADS) {
        Place place = place_of(i, p.input[0], p.input[1], p.channels);
        Range rows = outputs_of(p, 0, place.at[0]), columns = outputs_of(p, 1, place.at[1]);
        C sum = (C)0;
        for (i64 row = rows.first; row < rows.end; row++) {
            Span down = span_of(p, 0, row);
            for (i64 column = columns.first; column < columns.end; column++) {
                C share = kiln::load<C>(dy[output_element(p, place.image, row, column, place.channel)]);
                sum += share / divisor_of(p, down, span_of(p, 1, column));
            }
        }
        dx[i] = kiln::store<T>(sum);
    }
}
