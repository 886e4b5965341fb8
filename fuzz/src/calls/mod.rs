//! A call of any operation: a file for each kind, each a choice among operations and of their arguments.

mod arrays;
mod elementwise;
mod indices;
mod learning;
mod linalg;
mod reduce;
mod windows;

pub use indices::index;

use crate::{Choices, compact, tensor, tensor_with};
use kiln::tensor::ops::*;
use kiln::tensor::{DType, Result, Tensor};

/// How much the layout of the operands may change of the results.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Same {
    /// Nothing: the same bits, whatever those of a NaN.
    Bits,
    /// The last places: sums in another order.
    Sums,
    /// Anything but shapes and types: what is as good as another (eigenvectors), or jumps.
    Specs,
}

/// What an operation gave.
pub struct Called<V> {
    pub name: &'static str,
    pub same: Same,
    pub results: Result<Vec<V>>,
}

/// Where a call takes its arguments and further operands from.
pub struct Call<'a> {
    pub choose: Choices<'a>,
    /// Whether further operands lie densely in memory of their own.
    pub compact: bool,
    /// Whether all further operands were of ordinary size ([`is_ordinary`]).
    pub ordinary: bool,
}

/// Whether the elements are of a size whose sums lose only the last places: finite, and none large.
pub fn is_ordinary(x: &Tensor) -> bool {
    x.to_vec_as::<f64>().into_iter().all(|x| x.abs() < 1e3)
}

impl<'a> Call<'a> {
    pub fn new(choose: &Choices<'a>, compact: bool) -> Call<'a> {
        Call { choose: choose.clone(), compact, ordinary: true }
    }

    /// An operand of these dimensions, sometimes any.
    pub fn operand<V: Value>(&mut self, dims: &[usize], dtype: DType) -> V {
        let x = match self.choose.wild() {
            true => tensor(&mut self.choose),
            false => tensor_with(&mut self.choose, dims, dtype),
        };
        self.ordinary &= is_ordinary(&x);
        V::constant(if self.compact { compact(&x) } else { x })
    }

    /// Integers below `bound`, sometimes from its negative on or beyond.
    pub fn indices<V: Ops>(&mut self, dims: &[usize], bound: usize) -> Result<V> {
        let bound = bound.min(1 << 40) as i64;
        let dtype = self.choose.of(&[DType::I64, DType::I32, DType::I64, DType::U8]);
        let x = self.operand::<V>(dims, dtype);
        match self.choose.below(8) {
            0 => Ok(x),
            1 => x.cast(DType::I64)?.remainder(2 * bound + 1)?.sub(bound),
            _ => x.cast(DType::I64)?.remainder(bound.max(1))?.cast(dtype),
        }
    }

    /// A mask of these dimensions.
    pub fn mask<V: Value>(&mut self, dims: &[usize]) -> V {
        self.operand(dims, DType::Bool)
    }

    /// Which axes, and whether they stay.
    pub fn axes(&mut self, rank: usize) -> Axes {
        let axes = match self.choose.below(4) {
            0 | 1 => Axes::of(self.choose.axis(rank)),
            2 => Axes::of(..),
            _ => Axes::of([self.choose.axis(rank), self.choose.axis(rank)]),
        };
        axes.keep_dims(self.choose.flag())
    }

    /// The next choice among families of operations, on up to three values.
    pub fn run<V: Ops + AttentionOps>(&mut self, x: &[V; 3]) -> Called<V> {
        match self.choose.below(16) {
            0 | 1 => elementwise::run(self, x),
            2 | 3 => reduce::run(self, x),
            4 | 5 => arrays::run(self, x),
            6 | 7 => indices::run(self, x),
            8 | 9 => windows::run(self, x),
            10 => linalg::run(self, x),
            11..=14 => learning::run(self, x),
            _ => arrays::of_several(self, x),
        }
    }
}

/// One result of a fallible call, as a list.
fn one<V>(y: Result<V>) -> Result<Vec<V>> {
    y.map(|y| vec![y])
}

fn two<V>(y: Result<(V, V)>) -> Result<Vec<V>> {
    y.map(|(a, b)| vec![a, b])
}
