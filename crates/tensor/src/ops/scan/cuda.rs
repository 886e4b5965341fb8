//! Running folds on a GPU.

use crate::{CudaCall, DType, Launch};

const SOURCE: &str = include_str!("scan.cu");

/// A running fold along an axis, computed in `compute`, with the macros that say which.
pub(super) fn scan(call: &mut CudaCall<'_>, axis: usize, compute: DType, macros: &[(&'static str, bool)]) {
    let (x, y) = (call.inputs()[0], call.outputs()[0]);
    let shape = *x.shape();
    if shape.count() == 0 {
        return;
    }
    let length = shape.get(axis).copied().unwrap_or(1);
    let inner: usize = shape.iter().skip(axis + 1).product();
    let rows = shape.count() / length;
    // A block for a row takes short ones no faster than a thread, and keeps many waiting.
    let launch = match length <= 64 || rows >= 1 << 14 {
        true => Launch::new(SOURCE, "serial").over(rows),
        false => Launch::new(SOURCE, "shared").blocks(rows),
    };
    let launch = launch.define_type("T", x.dtype()).define_type("U", y.dtype).define_type("C", compute);
    let launch = macros.iter().filter(|(_, on)| *on).fold(launch, |launch, (name, _)| launch.define(name, "1"));
    // A recurrence has its terms last; others have one operand.
    let first = call.dense(0);
    let (x, factors) = if call.inputs().len() > 1 { (call.dense(1), first) } else { (first, first) };
    let y = call.output(0);
    call.launch(launch.arg([rows, length, inner]).arg(x).arg(factors).arg(y));
}
