//! Properties: operations on tensors of random shapes, layouts and types, against naive loops over doubles. The cases are the
//! same in each run; `KILN_CASES=1000` goes on in their sequence, and a case that fails is made as small as can be (proptest).

mod arrays;
mod elementwise;
mod folds;
mod windows;

use crate::cases::{Array, compare, precision};
use kiln_autograd::ops::*;
use kiln_autograd::{DType, Tensor};
use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::{Config, RngAlgorithm, TestError, TestRng, TestRunner};
use std::fmt::Debug;
use std::ops::RangeInclusive;

/// Cases of each property, where nothing else is asked for.
const CASES: u32 = 2000;

pub const FLOATS: &[DType] = &[DType::F32, DType::F64, DType::F16, DType::BF16];
pub const NUMBERS: &[DType] =
    &[DType::F32, DType::F64, DType::F16, DType::BF16, DType::I64, DType::I32, DType::U8, DType::Bool];

/// Runs a property for each case of a strategy; the smallest that fails is the failure.
#[track_caller]
pub fn check<S: Strategy>(strategy: S, property: impl Fn(S::Value) -> Result<(), String>)
where
    S::Value: Debug,
{
    let asked = std::env::var("KILN_CASES").ok().map(|n| n.parse().expect("KILN_CASES is a number"));
    let config = Config { cases: asked.unwrap_or(CASES), failure_persistence: None, ..Config::default() };
    let mut runner = TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha));
    match runner.run(&strategy, |case| property(case).map_err(TestCaseError::fail)) {
        Ok(()) => {}
        Err(TestError::Fail(why, case)) => panic!("{why}\nof {case:#?}"),
        Err(TestError::Abort(why)) => panic!("{why}"),
    }
}

/// How a tensor lies in memory, axis by axis: `order` is the axes' order there, and `steps` is how far apart neighbours are, 0
/// for an axis that is broadcast, below 0 for one that is walked backwards.
#[derive(Clone, Debug)]
pub struct Laid {
    pub dims: Vec<usize>,
    pub order: Vec<usize>,
    pub steps: Vec<isize>,
    pub dtype: DType,
    /// The elements in memory, repeated as often as needed.
    pub values: Vec<f64>,
}

impl Laid {
    /// The same layout of other dimensions: those beyond its own lie densely.
    pub fn with_dims(&self, dims: &[usize]) -> Laid {
        let rank = dims.len();
        let mut order: Vec<usize> = self.order.iter().copied().filter(|&axis| axis < rank).collect();
        order.extend(self.order.len()..rank);
        let mut steps = self.steps.clone();
        steps.resize(rank, 1);
        Laid { dims: dims.to_vec(), order, steps, ..self.clone() }
    }

    pub fn with_dtype(&self, dtype: DType) -> Laid {
        Laid { dtype, ..self.clone() }
    }

    /// The tensor.
    pub fn build(&self) -> Tensor {
        let step = |axis: usize| self.steps[axis];
        let stored = |axis: usize| match step(axis) {
            0 => self.dims[axis].min(1),
            step => self.dims[axis] * step.unsigned_abs(),
        };
        let base: Vec<usize> = self.order.iter().map(|&axis| stored(axis)).collect();
        let count: usize = base.iter().product();
        let values: Vec<f64> = self.values.iter().copied().cycle().take(count).collect();
        let mut x = Tensor::from_vec(values, base).unwrap().cast(self.dtype).unwrap();
        for (place, &axis) in self.order.iter().enumerate() {
            x = match step(axis) {
                0 => {
                    let mut dims = x.shape().to_vec();
                    dims[place] = self.dims[axis];
                    x.expand(dims).unwrap()
                }
                1 => x,
                step => x.slice_by(place as isize, .., step).unwrap(),
            };
        }
        let mut back = vec![0; self.order.len()];
        self.order.iter().enumerate().for_each(|(place, &axis)| back[axis] = place as isize);
        x.permute(&back).unwrap()
    }
}

/// Sixteenths between -4 and 4: exact in every floating-point type, and few are equal.
fn number() -> impl Strategy<Value = f64> {
    (-64i32..=64).prop_map(|n| f64::from(n) / 16.0)
}

/// Elements of a tensor before the gaps between them, at most.
const MOST: usize = 1200;

/// Some dimensions: mostly small, sometimes none, one, or more than a register holds.
pub fn dims(ranks: RangeInclusive<usize>) -> impl Strategy<Value = Vec<usize>> {
    let length = prop_oneof![12 => 1usize..=5, 1 => Just(0), 2 => Just(1), 1 => Just(17), 1 => Just(33)];
    prop::collection::vec(length, ranks).prop_map(|dims| {
        let kept = |count: &mut usize, d: usize| {
            let d = if *count * d > MOST { 1 } else { d };
            *count *= d.max(1);
            Some(d)
        };
        dims.into_iter().scan(1, kept).collect()
    })
}

/// A tensor of these ranks and types in any layout.
pub fn laid(ranks: RangeInclusive<usize>, types: &'static [DType]) -> impl Strategy<Value = Laid> {
    dims(ranks).prop_flat_map(move |dims| {
        let rank = dims.len();
        let order = Just((0..rank).collect::<Vec<_>>()).prop_shuffle();
        let steps = prop::collection::vec(select(&[1isize, 1, 2, -1, -2, 3, 0][..]), rank);
        let values = prop::collection::vec(number(), 1..97);
        (order, steps, select(types), values).prop_map(move |(order, steps, dtype, values)| Laid {
            dims: dims.clone(),
            order,
            steps,
            dtype,
            values,
        })
    })
}

/// A tensor against the reference: of its type, and as close as so many units of that type's precision; integers and truths
/// exactly.
pub fn agrees(what: &str, got: &Tensor, dtype: DType, want: &Array, units: f64) -> Result<(), String> {
    if got.dtype() != dtype {
        return Err(format!("{what}: the type is {}, expected {dtype}", got.dtype()));
    }
    compare(what, got, want, units * precision(dtype))
}

/// The place of an axis for loops, whatever the rank: `None` of a scalar.
pub fn axis_of(rank: usize, choice: usize) -> Option<usize> {
    (rank > 0).then(|| choice % rank.max(1))
}
