//! What the operations are tested with: a file for each room of the tensor crate's `ops`, each with a table of cases.

pub mod attention;
pub mod cast;
pub mod columns;
pub mod concat;
pub mod conv;
pub mod cross_entropy;
pub mod diagonal;
pub mod einsum;
pub mod elementwise;
pub mod embedding;
pub mod gather;
pub mod index;
pub mod linalg;
pub mod losses;
pub mod matmul;
pub mod normalization;
pub mod order;
pub mod padding;
pub mod pool;
pub mod products;
pub mod random;
pub mod rearrange;
pub mod recurrent;
pub mod reduce;
pub mod resize;
pub mod sampling;
pub mod scan;
pub mod search;
pub mod softmax;
pub mod sort;
pub mod views;

use kiln_autograd::ops::CastOps;
use kiln_autograd::{DType, Result, Tensor, Var};

/// A function of tensors, as users call it.
type Function = dyn Fn(&[Var]) -> Result<Vec<Var>> + Send + Sync;
/// The same, written naively over doubles.
type Reference = dyn Fn(&[Array]) -> Vec<Array> + Send + Sync;

/// One call of one operation.
pub struct Case {
    pub name: String,
    pub f: Box<Function>,
    /// Floating-point inputs are `f64` here, and converted to the type under test.
    pub inputs: Vec<Tensor>,
    pub reference: Option<Box<Reference>>,
    /// Inputs large enough that threads share the work.
    pub large: Option<Vec<Tensor>>,
    /// Whether derivatives of first and second order are compared with differences.
    pub gradients: bool,
    /// Allowed error in units of the type's precision.
    pub slack: f64,
    /// Whether single and half precision mean the same: not so for functions that jump between close inputs.
    pub narrow: bool,
    /// Whether products are added to sums in one rounding where the instruction set can: matrix products and what is made of
    /// them.
    pub fused: bool,
}

impl Case {
    pub fn new(
        name: impl Into<String>,
        inputs: Vec<Tensor>,
        f: impl Fn(&[Var]) -> Result<Var> + Send + Sync + 'static,
    ) -> Case {
        Case::many(name, inputs, move |x| f(x).map(|y| vec![y]))
    }

    pub fn many(
        name: impl Into<String>,
        inputs: Vec<Tensor>,
        f: impl Fn(&[Var]) -> Result<Vec<Var>> + Send + Sync + 'static,
    ) -> Case {
        Case {
            name: name.into(),
            f: Box::new(f),
            inputs,
            reference: None,
            large: None,
            gradients: true,
            slack: 16.0,
            narrow: true,
            fused: false,
        }
    }

    pub fn reference(mut self, reference: impl Fn(&[Array]) -> Array + Send + Sync + 'static) -> Case {
        self.reference = Some(Box::new(move |x| vec![reference(x)]));
        self
    }

    pub fn references(mut self, reference: impl Fn(&[Array]) -> Vec<Array> + Send + Sync + 'static) -> Case {
        self.reference = Some(Box::new(reference));
        self
    }

    pub fn large(mut self, inputs: Vec<Tensor>) -> Case {
        self.large = Some(inputs);
        self
    }

    pub fn no_gradient(mut self) -> Case {
        self.gradients = false;
        self
    }

    pub fn slack(mut self, slack: f64) -> Case {
        self.slack = slack;
        self
    }

    pub fn fused(mut self) -> Case {
        self.fused = true;
        self
    }

    pub fn wide_only(mut self) -> Case {
        self.narrow = false;
        self
    }
}

/// Doubles and their shape: what references are written with.
#[derive(Clone, Debug, PartialEq)]
pub struct Array {
    pub dims: Vec<usize>,
    pub values: Vec<f64>,
}

impl Array {
    pub fn of(x: &Tensor) -> Array {
        Array { dims: x.shape().to_vec(), values: x.to_vec_as() }
    }

    /// An array of `dims` from a function of the index.
    pub fn build(dims: &[usize], f: impl Fn(&[usize]) -> f64) -> Array {
        let count: usize = dims.iter().product();
        let values = (0..count).map(|flat| f(&unravel(flat, dims))).collect();
        Array { dims: dims.to_vec(), values }
    }

    pub fn at(&self, index: &[usize]) -> f64 {
        assert_eq!(index.len(), self.dims.len());
        self.values[index.iter().zip(&self.dims).fold(0, |flat, (&i, &d)| flat * d + i)]
    }

    /// Adds to the element at an index.
    pub fn add(&mut self, index: &[usize], x: f64) {
        let flat = index.iter().zip(&self.dims).fold(0, |flat, (&i, &d)| flat * d + i);
        self.values[flat] += x;
    }

    /// The element that broadcasting puts at an index of a larger shape.
    pub fn broadcast_at(&self, index: &[usize]) -> f64 {
        let index = &index[index.len() - self.dims.len()..];
        let index: Vec<usize> = index.iter().zip(&self.dims).map(|(&i, &d)| if d == 1 { 0 } else { i }).collect();
        self.at(&index)
    }

    pub fn map(&self, f: impl Fn(f64) -> f64) -> Array {
        Array { dims: self.dims.clone(), values: self.values.iter().map(|&x| f(x)).collect() }
    }
}

/// The coordinates of an element.
pub fn unravel(mut flat: usize, dims: &[usize]) -> Vec<usize> {
    let mut index = vec![0; dims.len()];
    for axis in (0..dims.len()).rev() {
        index[axis] = flat % dims[axis];
        flat /= dims[axis];
    }
    index
}

/// Numbers between about -2 and 2 without a pattern, none near 0 or near another's.
pub fn numbers(dims: &[usize], seed: u64) -> Tensor {
    let count: usize = dims.iter().product();
    let values: Vec<f64> = (0..count as u64)
        .map(|i| {
            let mixed =
                (i + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15).wrapping_add(seed.wrapping_mul(0xD1B5_4A32_D192_ED03));
            let mixed = (mixed ^ (mixed >> 29)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            let unit = ((mixed ^ (mixed >> 32)) >> 11) as f64 / (1u64 << 53) as f64;
            let x = 4.0 * unit - 2.0;
            x + 0.05f64.copysign(x)
        })
        .collect();
    Tensor::from_vec(values, dims).unwrap()
}

/// Small integers with many repetitions, zero among them.
pub fn ties(dims: &[usize]) -> Tensor {
    let count: usize = dims.iter().product();
    Tensor::from_vec((0..count).map(|i| ((i * 7 + i / 5) % 4) as f64 - 1.0).collect(), dims).unwrap()
}

/// Numbers with NaN, infinities and both zeros among them.
pub fn specials(dims: &[usize]) -> Tensor {
    let mut values = numbers(dims, 3).to_vec::<f64>().unwrap();
    let odd = [f64::NAN, f64::INFINITY, 0.0, f64::NEG_INFINITY, -0.0];
    values.iter_mut().enumerate().filter(|(i, _)| i % 3 == 1).for_each(|(i, x)| *x = odd[i / 3 % 5]);
    Tensor::from_vec(values, dims).unwrap()
}

/// Integers below `n`.
pub fn indices(dims: &[usize], n: i64) -> Tensor {
    let count: usize = dims.iter().product();
    Tensor::from_vec((0..count as i64).map(|i| (i * 5 + i / 3) % n).collect(), dims).unwrap()
}

/// Nothing, or what is wrong.
pub type Check = Result<(), String>;

/// The inputs with those that are floating-point numbers in a type.
pub fn with_dtype(inputs: &[Tensor], dtype: DType) -> Vec<Tensor> {
    inputs.iter().map(|x| if x.dtype().is_float() { x.cast(dtype).unwrap() } else { x.clone() }).collect()
}

/// The distance from 1 to the next number of a type.
pub fn precision(dtype: DType) -> f64 {
    match dtype {
        DType::F64 => f64::EPSILON,
        DType::F32 => f64::from(f32::EPSILON),
        DType::F16 => 9.8e-4,
        DType::BF16 => 7.9e-3,
        _ => 0.0,
    }
}

/// Whether two arrays agree: NaN with NaN, infinities with themselves, numbers relative to the largest of them.
pub fn compare(what: &str, got: &Tensor, want: &Array, tolerance: f64) -> Check {
    if got.shape()[..] != want.dims[..] {
        return Err(format!("{what}: the shape is {}, expected {:?}", got.shape(), want.dims));
    }
    let finite = want.values.iter().filter(|x| x.is_finite());
    let scale = finite.fold(0.0f64, |m, x| m.max(x.abs())).clamp(1e-3, 1e6);
    for (i, (got, &want)) in got.to_vec_as::<f64>().into_iter().zip(&want.values).enumerate() {
        let same = got == want || (got.is_nan() && want.is_nan());
        let close = (got - want).abs() <= tolerance * (want.abs() + 0.1 * scale);
        if !same && !close {
            return Err(format!("{what}: element {i} is {got}, expected {want}"));
        }
    }
    Ok(())
}
