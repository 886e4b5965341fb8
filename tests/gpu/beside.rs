//! An operation on the device beside the same on the CPU, and numbers for it.

use kiln_tensor::ops::{CastOps, ViewOps, stack};
use kiln_tensor::{DType, Device, Op, Tensor};
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

/// What a kernel finds wrong is told to whoever waits for the device next: a test that expects it is alone there.
static DEVICE: RwLock<()> = RwLock::new(());

/// The device for a test that expects no such thing.
pub fn shared() -> RwLockReadGuard<'static, ()> {
    DEVICE.read().unwrap_or_else(PoisonError::into_inner)
}

/// The device for a test that does.
pub fn alone() -> RwLockWriteGuard<'static, ()> {
    DEVICE.write().unwrap_or_else(PoisonError::into_inner)
}

pub const FLOATS: [DType; 4] = [DType::F32, DType::F16, DType::BF16, DType::F64];
pub const TYPES: [DType; 8] =
    [DType::F32, DType::F16, DType::BF16, DType::F64, DType::I64, DType::I32, DType::U8, DType::Bool];

pub fn device() -> Device {
    Device::cuda(0)
        .unwrap_or_else(|error| panic!("{error}\n  these tests run with a GPU, or by `cargo xtask fake-gpu`"))
}

/// Numbers without a pattern, multiples of an eighth from -4 to 4, of which some are equal.
pub fn numbers(dims: &[usize], dtype: DType, seed: u64) -> Tensor {
    let whole = integers(dims, 64, seed).to_vec_as::<f64>();
    let values: Vec<f64> = whole.iter().map(|x| if dtype.is_float() { x / 8.0 - 4.0 } else { *x }).collect();
    Tensor::from_vec(values, dims).unwrap().cast(dtype).unwrap()
}

/// Numbers without a pattern from 0 to `below`.
pub fn integers(dims: &[usize], below: u64, seed: u64) -> Tensor {
    let count: usize = dims.iter().product();
    let mix = |i: u64| {
        let mixed = (i + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15).wrapping_add(seed.wrapping_mul(0xD1B5_4A32_D192_ED03));
        let mixed = (mixed ^ (mixed >> 29)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        (mixed ^ (mixed >> 32)) % below.max(1)
    };
    Tensor::from_vec((0..count as u64).map(|i| mix(i) as i64).collect(), dims).unwrap()
}

/// The same elements on the device, every second of its memory along the last axis, and the axes the other way round there.
pub fn scattered(x: &Tensor) -> Tensor {
    let rank = x.rank() as isize;
    let reversed: Vec<isize> = (0..rank).rev().collect();
    let twice = stack(&[&x.permute(&reversed).unwrap(), &x.permute(&reversed).unwrap()], rank).unwrap();
    let there = twice.to_device(device()).unwrap();
    there.slice(rank, 1..).unwrap().squeeze(rank).unwrap().permute(&reversed).unwrap()
}

/// Checks an operation on the device, with dense and with strided operands, against the CPU. Floating-point results may
/// differ by `slack` times the precision of their type.
#[track_caller]
pub fn check(op: &impl Op, x: &[&Tensor], slack: f64) {
    let _shared = shared();
    let want = Tensor::apply(op, x).unwrap();
    for strided in [false, true] {
        let there: Vec<Tensor> =
            x.iter().map(|x| if strided { scattered(x) } else { x.to_device(device()).unwrap() }).collect();
        let got = Tensor::apply(op, &there.iter().collect::<Vec<_>>())
            .unwrap_or_else(|error| panic!("{op:?} of {:?}: {error}", specs(x)));
        assert_eq!(got.len(), want.len());
        for (i, (got, want)) in got.iter().zip(want.iter()).enumerate() {
            let got = got.to_device(Device::Cpu).unwrap();
            if let Some(problem) = difference(&got, want, slack) {
                panic!("{op:?} of {:?}{}: result {i}: {problem}", specs(x), if strided { ", strided" } else { "" });
            }
        }
    }
}

fn specs(x: &[&Tensor]) -> Vec<kiln_tensor::Spec> {
    x.iter().map(|x| x.spec()).collect()
}

/// The text of the error that an operation on the device gives when it is waited for, and what the CPU gives.
pub fn errors(op: &impl Op, x: &[&Tensor]) -> [String; 2] {
    let _alone = alone();
    let there: Vec<Tensor> = x.iter().map(|x| x.to_device(device()).unwrap()).collect();
    let got = Tensor::apply(op, &there.iter().collect::<Vec<_>>()).and_then(|_| device().synchronize());
    [got.unwrap_err(), Tensor::apply(op, x).unwrap_err()]
        .map(|error| error.to_string().lines().next().unwrap_or_default().to_owned())
}

/// What is wrong with a result: see [`check`].
pub fn difference(got: &Tensor, want: &Tensor, slack: f64) -> Option<String> {
    if got.spec() != want.spec() {
        return Some(format!("{:?}, expected {:?}", got.spec(), want.spec()));
    }
    let precision = match want.dtype() {
        DType::F64 => f64::EPSILON,
        DType::F32 => f64::from(f32::EPSILON),
        DType::F16 => 9.8e-4,
        DType::BF16 => 7.9e-3,
        _ => 0.0,
    };
    let (got, want) = (got.to_vec_as::<f64>(), want.to_vec_as::<f64>());
    let scale = want.iter().filter(|x| x.is_finite()).fold(0.0f64, |m, x| m.max(x.abs())).max(1e-3);
    got.iter().zip(&want).enumerate().find_map(|(i, (got, want))| {
        let same = got == want || (got.is_nan() && want.is_nan());
        let near = (got - want).abs() <= slack * precision * (want.abs() + 0.1 * scale);
        (!same && !near).then(|| format!("element {i} is {got}, expected {want}"))
    })
}
