// Convolutions of images [N, H, W, C] with weights [KH, KW, C / G, O], and the two gradients, as products of matrices that
// are never built: PRODUCT says which, and how an element of each operand is found.

// What elements are counted with: `i32` where there are not too many, which is several times as fast as `i64`.
typedef INDEX Index;

#define FORWARD 0
#define INPUT_GRAD 1
#define WEIGHT_GRAD 2

struct Conv {
    Index batch, channels, filters, groups;
    Index input[2], output[2], kernel[2], stride[2], dilation[2], before[2];
};

// A place in the planes of images.
struct Pixel {
    Index image, at[2];
};
INLINE Pixel pixel_of(Index i, const Index* plane) {
    Pixel pixel;
    pixel.image = kiln::divide(kiln::divide(i, plane[1], &pixel.at[1]), plane[0], &pixel.at[0]);
    return pixel;
}

// Where an element of the kernel is, and its channel or filter.
struct Tap {
    Index at[2], channel;
};
INLINE Tap tap_of(Index i, const Conv& c, Index channels) {
    Tap tap;
    tap.at[0] = kiln::divide(kiln::divide(i, channels, &tap.channel), c.kernel[1], &tap.at[1]);
    return tap;
}

// The pixel of the input under a tap of the window of an output; -1 outside.
INLINE Index under(const Conv& c, Pixel output, Tap tap) {
    Index row = output.at[0] * c.stride[0] - c.before[0] + tap.at[0] * c.dilation[0];
    Index column = output.at[1] * c.stride[1] - c.before[1] + tap.at[1] * c.dilation[1];
    if (row < 0 || row >= c.input[0] || column < 0 || column >= c.input[1]) return -1;
    return (output.image * c.input[0] + row) * c.input[1] + column;
}

// The output whose window has this tap over a pixel of the input; -1 where there is none.
INLINE Index over(const Conv& c, Pixel input, Tap tap) {
    Index row = input.at[0] + c.before[0] - tap.at[0] * c.dilation[0];
    Index column = input.at[1] + c.before[1] - tap.at[1] * c.dilation[1];
    if (row < 0 || column < 0) return -1;
    Index row_left, column_left;
    row = kiln::divide(row, c.stride[0], &row_left);
    column = kiln::divide(column, c.stride[1], &column_left);
    if ((row_left | column_left) != 0 || row >= c.output[0] || column >= c.output[1]) return -1;
    return (input.image * c.output[0] + row) * c.output[1] + column;
}

// The matrices of a group: rows and columns of the product, and what is summed over.
struct Sizes {
    Index rows, columns, terms, splits, terms_of_split;
};

// What a block computes: a tile of the product of a group, or a part of its sums. Groups and parts are counted with the tiles.
struct Part {
    Index row, column, group, split, first_term, end_term;
};
INLINE Index parts_of(const Conv& c, const Sizes& s, Index rows, Index columns) {
    return (s.rows + rows - 1) / rows * ((s.columns + columns - 1) / columns) * c.groups * s.splits;
}
INLINE Part part_of(Index number, const Conv& c, const Sizes& s, Index rows, Index columns) {
    Part part;
    Index row_tile, column_tile;
    number = kiln::divide(number, (s.rows + rows - 1) / rows, &row_tile);
    number = kiln::divide(number, (s.columns + columns - 1) / columns, &column_tile);
    part.split = kiln::divide(number, c.groups, &part.group);
    part.row = row_tile * rows;
    part.column = column_tile * columns;
    part.first_term = part.split * s.terms_of_split;
    part.end_term = part.first_term + s.terms_of_split < s.terms ? part.first_term + s.terms_of_split : s.terms;
    return part;
}
