//! Softmax on a GPU, and how rows are shared out among threads, for other operations too.

use super::Softmax;
use crate::{BLOCK, CudaCall, DType, Launch};

const SOURCE: &str = concat!(include_str!("rows.cuh"), include_str!("softmax.cu"));
const GRADIENT: &str = concat!(include_str!("total.cuh"), include_str!("gradient.cu"));

/// The launch of a kernel that follows `rows.cuh`, over `rows` rows of `length` elements that lie `inner` apart; its first
/// argument is set.
pub(crate) fn over_rows(
    source: &'static str,
    entry: &'static str,
    dtype: DType,
    [rows, length, inner]: [usize; 3],
) -> Launch {
    let lanes = match length {
        // Neighbouring threads read neighbouring elements, if each has its own row.
        _ if inner >= 32 && rows >= 4096 => 1,
        0..=1024 => length.next_power_of_two().clamp(1, 32),
        _ => BLOCK as usize,
    };
    let compute = if dtype == DType::F64 { DType::F64 } else { DType::F32 };
    Launch::new(source, entry)
        .define_type("T", dtype)
        .define_type("C", compute)
        .define("LANES", lanes.to_string())
        .blocks(rows.saturating_mul(lanes).div_ceil(BLOCK as usize))
        .arg([rows, length, inner])
}

pub(super) fn softmax(op: &Softmax, call: &mut CudaCall<'_>) {
    let (shape, dtype) = (*call.inputs()[0].shape(), call.inputs()[0].dtype());
    if shape.count() == 0 {
        return;
    }
    let length = shape.get(op.axis).copied().unwrap_or(1);
    let inner = shape.iter().skip(op.axis + 1).product();
    let launch = over_rows(SOURCE, "softmax", dtype, [shape.count() / length, length, inner]);
    let (x, y) = (call.dense(0), call.output(0));
    call.launch(launch.define("LOG", if op.log { "1" } else { "0" }).arg(x).arg(y));
}

pub(super) fn gradient(op: &Softmax, call: &mut CudaCall<'_>) {
    let (shape, dtype) = (*call.inputs()[0].shape(), call.inputs()[0].dtype());
    if shape.count() == 0 {
        return;
    }
    let length = shape.get(op.axis).copied().unwrap_or(1);
    let inner = shape.iter().skip(op.axis + 1).product();
    let launch = over_rows(GRADIENT, "gradient", dtype, [shape.count() / length, length, inner]);
    let (y, dy, dx) = (call.dense(0), call.dense(1), call.output(0));
    call.launch(launch.define("LOG", if op.log { "1" } else { "0" }).arg(y).arg(dy).arg(dx));
}
