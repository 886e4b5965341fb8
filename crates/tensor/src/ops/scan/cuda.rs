//! Running folds on a GPU.

use crate::{CudaCall, DType, Launch};

const SOURCE: &str = include_str!("scan.cu");

/// A running fold along an axis, computed in `compute`, with the macros that say which.
pub(super) fn scan(call: &mut CudaCall<'_>, axis: usize, compute: DType, macros: [(&'static str, bool); 3]) {
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
    let launch = macros.iter().fold(launch, |launch, (name, on)| launch.define(name, if *on { "1" } else { "0" }));
    let (x, y) = (call.dense(0), call.output(0));
    call.launch(launch.arg([rows, length, inner]).arg(x).arg(y));
}
