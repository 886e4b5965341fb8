//! Sorting on a GPU: rows of keys, each with where it stood.

use super::ArgSort;
use crate::{CudaCall, Launch, Pointer};

/// The C++ struct `Pair`, for kernels that make or read what is sorted.
pub(crate) const PAIRS: &str = include_str!("pairs.cuh");
/// The C++ function `rank`, the order of elements of type `T`, which are floating-point numbers where `FLOAT` says so.
pub(crate) const RANK: &str = include_str!("rank.cuh");
const SOURCE: &str = concat!(include_str!("pairs.cuh"), include_str!("rank.cuh"), include_str!("sort.cu"));
/// Bytes of a pair.
pub(crate) const PAIR: usize = 16;
/// Pairs that a block sorts in shared memory at most.
const MOST: usize = 1024;

/// Sorts the pairs of each row, by keys and then by where they stood; gives the room in which they are then.
pub(crate) fn sort_pairs(call: &mut CudaCall<'_>, rows: usize, length: usize, pairs: Pointer) -> Pointer {
    let tile = length.next_power_of_two().clamp(64, MOST);
    let blocks = rows.saturating_mul(length.div_ceil(tile));
    let launch = Launch::new(SOURCE, "tiles").define("TILE", tile.to_string()).block(tile as u32 / 2, 1, 1);
    call.launch(launch.blocks(blocks).arg(rows).arg(length).arg(pairs));
    let (mut from, mut to) = (pairs, pairs);
    let mut width = tile;
    while width < length {
        if from == to {
            to = call.room(rows * length * PAIR);
        }
        let launch = Launch::new(SOURCE, "merge").over(rows * length);
        call.launch(launch.arg(rows).arg(length).arg(width).arg(from).arg(to));
        (from, to) = (to, from);
        width *= 2;
    }
    from
}

pub(super) fn argsort(op: &ArgSort, call: &mut CudaCall<'_>) {
    let x = call.inputs()[0];
    let (shape, dtype) = (*x.shape(), x.dtype());
    if shape.count() == 0 || op.count == Some(0) {
        return;
    }
    let length = shape.get(op.axis).copied().unwrap_or(1);
    let inner: usize = shape.iter().skip(op.axis + 1).product();
    let rows = shape.count() / length;
    let count = op.count.unwrap_or(length).min(length);
    let pairs = call.room(shape.count() * PAIR);
    let x = call.dense(0);
    let launch = |entry| {
        Launch::new(SOURCE, entry)
            .define_type("T", dtype)
            .define("FLOAT", if dtype.is_float() { "1" } else { "0" })
            .define("DESCENDING", if op.descending { "true" } else { "false" })
            .over(shape.count())
            .arg([rows, length, inner])
    };
    call.launch(launch("ranks").arg(x).arg(pairs));
    let sorted = sort_pairs(call, rows, length, pairs);
    let y = call.output(0);
    call.launch(launch("positions").over(rows * count).arg(count).arg(sorted).arg(y));
}
