//! Running folds on a GPU.

use crate::{BLOCK, CudaCall, DType, Launch};

const SOURCE: &str = include_str!("scan.cu");

/// Elements of a row before several blocks share it, and of one of its parts at least: to find what each part begins with costs
/// two launches, and a second look at the elements.
const LONG: usize = 1 << 14;
const PART: usize = 1 << 11;

/// Blocks that keep the largest device busy.
const BUSY: usize = 1024;

/// Bytes of the largest state of a part.
const STATE: usize = 24;

/// A running fold along an axis, computed in `compute`, with the macros that say which.
pub(super) fn scan(call: &mut CudaCall<'_>, axis: usize, compute: DType, macros: &[(&'static str, bool)]) {
    let (x, y) = (call.inputs()[0], call.outputs()[0]);
    let shape = *x.shape();
    if shape.count() == 0 {
        return;
    }
    let length = shape.get(axis).copied().unwrap_or(1);
    let inner: usize = shape.iter().skip(axis + 1).product();
    let count = shape.count() / length;
    let rows = [count, length, inner];
    let kernel = |name| {
        let launch = Launch::new(SOURCE, name).define_type("T", x.dtype()).define_type("U", y.dtype);
        let launch = launch.define_type("C", compute);
        macros.iter().filter(|(_, on)| *on).fold(launch, |launch, (name, _)| launch.define(name, "1"))
    };
    // A recurrence has its terms last; others have one operand.
    let first = call.dense(0);
    let (x, factors) = if call.inputs().len() > 1 { (call.dense(1), first) } else { (first, first) };
    let y = call.output(0);
    // A block for a row takes short ones no faster than a thread, and keeps many waiting.
    if length <= 64 || count >= 1 << 14 {
        call.launch(kernel("serial").over(count).arg(rows).arg(x).arg(factors).arg(y));
        return;
    }
    // Few rows, or their parts are too few to be worth it.
    let parts = if length >= LONG && count <= BUSY / 4 { (BUSY / count).min(length / PART) } else { 1 };
    let size = length.div_ceil(parts).next_multiple_of(BLOCK as usize);
    let parts = length.div_ceil(size);
    let launch = kernel("shared").blocks(count * parts).arg(rows).arg(parts).arg(size);
    if parts == 1 {
        // There are no sums.
        call.launch(launch.arg(0u64).arg(x).arg(factors).arg(y));
        return;
    }
    let sums = call.room(count * parts * STATE);
    let totals = kernel("totals").blocks(count * parts).arg(rows).arg(parts).arg(size);
    call.launch(totals.arg(x).arg(factors).arg(sums));
    call.launch(kernel("along_parts").blocks(count).arg(count).arg(parts).arg(sums));
    call.launch(launch.arg(sums).arg(x).arg(factors).arg(y));
}
