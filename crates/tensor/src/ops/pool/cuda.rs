//! Pools on a GPU.

use super::cpu::{Divisor, Pool2d};
use crate::{CudaCall, DType, Launch};

/// Asks for the kernel `entry` over `count` elements, with the operands and results of the call after the pool's sizes.
pub(super) fn pool(call: &mut CudaCall<'_>, entry: &'static str, sizes: &Pool2d, divisor: Option<Divisor>) {
    let (dtype, count) = (call.inputs()[0].dtype(), call.outputs()[0].shape.count());
    if count == 0 {
        return;
    }
    let Pool2d { batch, input, channels, kernel, stride, padding, dilation, ceil: _ } = *sizes;
    let [before, after] = [0, 1].map(|side| padding.map(|pair| pair[side]));
    let pairs = [input, sizes.output(), kernel, stride, dilation, before, after];
    let mut numbers = vec![batch, channels];
    numbers.extend_from_slice(pairs.as_flattened());
    numbers.extend(match divisor {
        None | Some(Divisor::Valid) => [0, 0],
        Some(Divisor::Padded) => [0, 1],
        Some(Divisor::Fixed(divisor)) => [divisor, 0],
    });
    let [inputs, outputs] = sizes.lens();
    let most = inputs.max(outputs).max(kernel[0].saturating_mul(kernel[1]));
    let compute = if dtype == DType::F64 { DType::F64 } else { DType::F32 };
    let mut launch = Launch::new(include_str!("pool.cu"), entry)
        .define_type("T", dtype)
        .define_type("C", compute)
        .over(count)
        .indices(most, &[&[count], &numbers]);
    for i in 0..call.inputs().len() {
        launch = launch.arg(call.dense(i));
    }
    for i in 0..call.outputs().len() {
        launch = launch.arg(call.output(i));
    }
    call.launch(launch);
}
