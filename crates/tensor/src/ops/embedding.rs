//! Lookups of vectors in tables, and their sums over bags of indices, put together from reading, scatters and searches.

use super::{ArithmeticOps, ComparisonOps, IndexOps, ScatterReduce, SearchOps, SelectOps, StatisticsOps, Value};
use crate::{DType, Error, Result, Shape, Spec, Tensor, keep};
use std::panic::Location;

/// What becomes of the vectors of a bag.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bag {
    /// Their sum.
    Sum,
    /// Their mean.
    Mean,
    /// The largest of each of their elements; equal ones share the gradient.
    Max,
}

/// Lookups in a table `[N, D]`.
pub trait EmbeddingOps: Value + IndexOps + SearchOps {
    /// The rows at indices of any shape, as [`rows`](crate::ops::GatherOps::rows); the row `padding`, which may count from the end, gets no
    /// gradient.
    ///
    /// # Shapes
    /// A table `[N, D]` and indices `[B, T]` give `[B, T, D]`.
    ///
    /// # Errors
    /// Indices that are no integers or out of range; a padding that is no row.
    #[track_caller]
    fn embedding(&self, index: &Self, padding: impl Into<Option<isize>>) -> Result<Self> {
        let found = self.rows(index).map_err(|e| e.renamed("rows", "embedding"))?;
        match padding.into() {
            None => Ok(found),
            Some(padding) => {
                let row = row_number(self, "embedding", padding)?;
                index.detach().eq(row)?.unsqueeze(-1)?.select(&found.detach(), &found)
            }
        }
    }

    /// The table in which rows that `index` names are shortened to `max_norm` where their `p`-norm is larger. A gradient
    /// goes to the table as if nothing had been shortened, as in PyTorch, which does this to the table before it looks up.
    ///
    /// # Errors
    /// As [`EmbeddingOps::embedding`]; no matrix.
    #[track_caller]
    fn renorm_rows(&self, index: &Self, max_norm: f64, p: f64) -> Result<Self> {
        if Value::shape(self).rank() != 2 {
            let text = format!("needs a table [N, D], found {}", Value::shape(self));
            return Err(Error::shape("renorm_rows", text).at(Location::caller()));
        }
        let table = self.detach();
        let norms = table.norm(p, keep(-1))?;
        // PyTorch's distance from a division by 0.
        let short = table.mul(max_norm)?.div(&norms.add(1e-7)?)?;
        let flat = index.detach().flatten(0, -1)?;
        let none = Self::constant(Tensor::filled(Spec::new(Shape::new(&[Value::shape(self)[0]])?, DType::Bool), 0.0));
        let named = none.index_fill(0, &flat, 1)?.unsqueeze(-1)?;
        let change = named.logical_and(&norms.gt(max_norm)?)?.select(&short.sub(&table)?, 0.0)?;
        self.add(&change)
    }

    /// The rows at `index`, each times its weight, joined over bags. Bags are the rows of a matrix of indices, or pieces of a
    /// vector that begin where `offsets` say. The row `padding` takes no part, and a bag of nothing gives 0.
    ///
    /// # Shapes
    /// A table `[N, D]` with indices and weights `[B, T]`, or `[T]` with offsets `[B]`, gives `[B, D]`.
    ///
    /// # Errors
    /// No table; indices that are no integers or out of range; neither a matrix nor a vector with offsets; offsets of which the first is
    /// not 0; weights of another shape; a padding that is no row.
    #[track_caller]
    fn embedding_bag(
        &self,
        index: &Self,
        offsets: Option<&Self>,
        bag: Bag,
        weights: Option<&Self>,
        padding: Option<isize>,
    ) -> Result<Self> {
        if Value::shape(self).rank() != 2 {
            let text = format!("needs a table [N, D], found {}", Value::shape(self));
            return Err(Error::shape("embedding_bag", text).at(Location::caller()));
        }
        let flat = index.detach().flatten(0, -1)?.cast(DType::I64)?;
        let count = Value::shape(&flat).count();
        let numbers = |n: usize| self.beside(Tensor::arange(0i64, n as i64, 1)?);
        let (bags, owner) = match (offsets, Value::shape(index).dims()) {
            (None, &[bags, each]) => (bags, numbers(bags)?.unsqueeze(-1)?.expand([bags, each])?.reshape([count])?),
            (Some(offsets), [_]) => {
                let owner = offsets.searchsorted(&numbers(count)?, true)?.sub(1)?;
                (Value::shape(offsets).count(), owner)
            }
            (_, shape) => {
                let text = format!("needs a matrix of indices, or a vector and offsets, found {shape:?}");
                return Err(Error::shape("embedding_bag", text).at(Location::caller()));
            }
        };
        let mut rows = self.embedding(&flat, None).map_err(|e| e.renamed("embedding", "embedding_bag"))?;
        if let Some(weights) = weights {
            rows = rows.mul(&weights.reshape([count, 1])?)?;
        }
        let taken = match padding {
            Some(padding) => Some(flat.ne(row_number(self, "embedding_bag", padding)?)?),
            None => None,
        };
        let or = |rows: &Self, other: f64| match &taken {
            Some(taken) => taken.unsqueeze(-1)?.select(rows, other),
            None => Ok(rows.clone()),
        };
        let ones = match &taken {
            Some(taken) => taken.cast(DType::I64)?,
            None => Self::constant(Tensor::filled(flat.tensor().spec(), 1.0)),
        };
        let zeros = |shape: &[usize], dtype: DType| -> Result<Self> {
            Ok(Self::constant(Tensor::filled(Spec::new(Shape::new(shape)?, dtype), 0.0)))
        };
        // Which does not count from the end: what stands before the first bag is in none.
        let counts = zeros(&[bags], DType::I64)?.scatter_add(0, &owner, &ones);
        let counts = counts.map_err(|e| e.renamed("scatter_add", "embedding_bag"))?;
        let result = zeros(&[bags, Value::shape(&rows)[1]], Value::dtype(&rows))?;
        if bag == Bag::Max {
            let owners = owner.unsqueeze(-1)?.expand(*Value::shape(&rows))?;
            let rows = or(&rows, f64::NEG_INFINITY)?;
            let largest = result.scatter_reduce(0, &owners, &rows, ScatterReduce::Amax, false)?;
            return counts.gt(0)?.unsqueeze(-1)?.select(&largest, 0.0);
        }
        let sums = result.index_add(0, &owner, &or(&rows, 0.0)?)?;
        if bag == Bag::Sum {
            return Ok(sums);
        }
        sums.div(&counts.maximum(1)?.cast(Value::dtype(&sums))?.unsqueeze(-1)?)
    }
}
impl<V: Value + IndexOps + SearchOps> EmbeddingOps for V {}

/// A row of a table, which may count from the end.
#[track_caller]
fn row_number<V: Value>(table: &V, op: &str, row: isize) -> Result<i64> {
    let rows = table.shape().first().copied().unwrap_or(0) as isize;
    if row < -rows || row >= rows {
        let text = format!("the padding {row} is no row of {}", table.shape());
        return Err(Error::index(op, text).at(Location::caller()));
    }
    Ok(row.rem_euclid(rows.max(1)) as i64)
}
