//! Products of vectors, matrices and their batches, made of matrix products, sums and views: which dimensions meet which.

use super::{Norm, Ops, Reduce, Sub, einsum, keep};
use crate::{DType, Error, Result, Shape, Tensor};
use std::panic::Location;

/// Products beside [`matmul`](super::MatMulOps::matmul), and sums with them.
pub trait ProductOps: Ops {
    /// The products of all pairs of elements of two vectors.
    ///
    /// # Shapes
    /// `[m]` and `[n]` give `[m, n]`.
    ///
    /// ```
    /// use kiln_tensor::{Tensor, ops::*};
    /// let y = Tensor::new([1.0, 2.0]).outer(&Tensor::new([3.0, 4.0, 5.0]))?;
    /// assert_eq!(y.to_vec::<f64>()?, [3.0, 4.0, 5.0, 6.0, 8.0, 10.0]);
    /// # Ok::<(), kiln_tensor::Error>(())
    /// ```
    ///
    /// # Errors
    /// Operands that are no vectors.
    #[track_caller]
    fn outer(&self, other: &Self) -> Result<Self> {
        let at = Location::caller();
        let [a, b] = [self, other].map(|x| *Self::shape(x));
        if a.rank() != 1 || b.rank() != 1 {
            return Err(Error::shape("outer", format!("needs two vectors, found {a} and {b}")).at(at));
        }
        self.unsqueeze(1)?.mul(other).map_err(|e| e.within("outer", at))
    }

    /// The sums of products along the last dimensions of both: of each row of the one with each row of the other.
    ///
    /// # Shapes
    /// `[a…, n]` and `[b…, n]` give `[a…, b…]`. With a number it is a multiplication.
    ///
    /// # Errors
    /// Last dimensions of different lengths.
    #[track_caller]
    fn inner(&self, other: &Self) -> Result<Self> {
        let at = Location::caller();
        match Self::shape(self).rank().min(Self::shape(other).rank()) {
            0 => self.mul(other).map_err(|e| e.within("inner", at)),
            _ => self.tensordot(other, &[-1], &[-1]).map_err(|e| e.renamed("tensordot", "inner").unplaced().at(at)),
        }
    }

    /// The sums of products over some dimensions of both: axis `axes[i]` here along with axis `other_axes[i]` there.
    ///
    /// # Shapes
    /// The other dimensions of these numbers, then those of `other`.
    ///
    /// ```
    /// use kiln_tensor::{Tensor, ops::*};
    /// let (a, b) = (Tensor::new([[[1.0; 4]; 3]; 2]), Tensor::new([[[1.0; 5]; 3]; 4]));
    /// let y = a.tensordot(&b, &[1, 2], &[1, 0])?;
    /// assert_eq!((y.shape().dims(), y.amax(..)?.item()?), (&[2, 5][..], 12.0));
    /// # Ok::<(), kiln_tensor::Error>(())
    /// ```
    ///
    /// # Errors
    /// Not as many axes of the one as of the other; axes that do not exist, are named twice, or differ in length.
    #[track_caller]
    fn tensordot(&self, other: &Self, axes: &[isize], other_axes: &[isize]) -> Result<Self> {
        let at = Location::caller();
        tensordot(self, other, axes, other_axes).map_err(|e| e.within("tensordot", at))
    }

    /// The sums of products along an axis of both, whose other dimensions broadcast.
    ///
    /// ```
    /// use kiln_tensor::{Tensor, ops::*};
    /// let x = Tensor::new([[1.0, 2.0], [3.0, 4.0]]);
    /// assert_eq!(x.vecdot(&Tensor::new([1.0, 10.0]), -1)?.to_vec::<f64>()?, [21.0, 43.0]);
    /// # Ok::<(), kiln_tensor::Error>(())
    /// ```
    ///
    /// # Errors
    /// Shapes that do not broadcast together; an axis that does not exist.
    #[track_caller]
    fn vecdot(&self, other: &Self, axis: isize) -> Result<Self> {
        let at = Location::caller();
        self.mul(other).and_then(|product| product.sum(axis)).map_err(|e| e.within("vecdot", at))
    }

    /// Kronecker's product: each element of these numbers times all of `other`, side by side.
    ///
    /// # Shapes
    /// `[m, n]` and `[p, q]` give `[m · p, n · q]`, and likewise in any number of dimensions; missing ones are of length 1.
    ///
    /// ```
    /// use kiln_tensor::{Tensor, ops::*};
    /// let y = Tensor::new([1.0, 10.0]).kron(&Tensor::new([1.0, 2.0]))?;
    /// assert_eq!(y.to_vec::<f64>()?, [1.0, 2.0, 10.0, 20.0]);
    /// # Ok::<(), kiln_tensor::Error>(())
    /// ```
    ///
    /// # Errors
    /// More than half as many dimensions as tensors can have.
    #[track_caller]
    fn kron(&self, other: &Self) -> Result<Self> {
        let at = Location::caller();
        let rank = Self::shape(self).rank().max(Self::shape(other).rank());
        let dims = |x: &Self| [vec![1; rank - Self::shape(x).rank()], Self::shape(x).to_vec()].concat();
        let (p, q) = (dims(self), dims(other));
        let product = || {
            let a = self.reshape(p.iter().flat_map(|&d| [d, 1]).collect::<Vec<_>>())?;
            let b = other.reshape(q.iter().flat_map(|&d| [1, d]).collect::<Vec<_>>())?;
            a.mul(&b)?.reshape(p.iter().zip(&q).map(|(p, q)| p * q).collect::<Vec<_>>())
        };
        product().map_err(|e: Error| e.within("kron", at))
    }

    /// The vectors at right angles to both: the cross product of vectors of three numbers along `axis`.
    ///
    /// ```
    /// use kiln_tensor::{Tensor, ops::*};
    /// let y = Tensor::new([1.0, 0.0, 0.0]).cross(&Tensor::new([0.0, 1.0, 0.0]), -1)?;
    /// assert_eq!(y.to_vec::<f64>()?, [0.0, 0.0, 1.0]);
    /// # Ok::<(), kiln_tensor::Error>(())
    /// ```
    ///
    /// # Errors
    /// An axis that does not exist, or is not of length 3; shapes that do not broadcast together.
    #[track_caller]
    fn cross(&self, other: &Self, axis: isize) -> Result<Self> {
        let at = Location::caller();
        let product = || {
            let shape = Self::shape(self).broadcast(Self::shape(other))?;
            let at = shape.axis("cross", axis)?;
            if shape.get(at) != Some(&3) || [self, other].iter().any(|x| Self::shape(*x).rank() != shape.rank()) {
                let text = format!(
                    "needs vectors of 3 numbers along axis {axis}, found {} and {}",
                    Self::shape(self),
                    Self::shape(other)
                );
                return Err(Error::shape("cross", text));
            }
            let turned = |x: &Self, by: usize| {
                let places = Tensor::from_vec((0..3).map(|i| (i + by) as i64 % 3).collect(), 3)?;
                x.expand(shape)?.index_select(axis, &x.beside(places)?)
            };
            turned(self, 1)?.mul(&turned(other, 2)?)?.sub(&turned(self, 2)?.mul(&turned(other, 1)?)?)
        };
        product().map_err(|e: Error| e.within("cross", at))
    }

    /// The distances of all pairs of rows, in the `p`-norm of [`norm`](super::StatisticsOps::norm).
    ///
    /// # Shapes
    /// `[…, m, d]` and `[…, n, d]` give `[…, m, n]`; the leading dimensions broadcast.
    ///
    /// ```
    /// use kiln_tensor::{Tensor, ops::*};
    /// let y = Tensor::new([[0.0, 0.0]]).cdist(&Tensor::new([[3.0, 4.0], [0.0, 1.0]]), 2.0)?;
    /// assert_eq!(y.to_vec::<f64>()?, [5.0, 1.0]);
    /// # Ok::<(), kiln_tensor::Error>(())
    /// ```
    ///
    /// # Errors
    /// No matrices; rows of different lengths.
    #[track_caller]
    fn cdist(&self, other: &Self, p: f64) -> Result<Self> {
        let at = Location::caller();
        let [a, b] = [self, other].map(|x| *Self::shape(x));
        if a.rank() < 2 || b.rank() < 2 || a[a.rank() - 1] != b[b.rank() - 1] {
            let text = format!("needs rows [..., m, d] and [..., n, d], found {a} and {b}");
            return Err(Error::shape("cdist", text).at(at));
        }
        let dtype = Self::dtype(self).promote(Self::dtype(other)).to_float();
        let distances = || {
            let (a, b) = (self.unsqueeze(-2)?, other.unsqueeze(-3)?);
            // Doubles near the largest take the norm's own way.
            if p != 2.0 || dtype == DType::F64 {
                return a.sub(&b)?.norm(p, -1);
            }
            let last = Self::shape(&a).rank().max(Self::shape(&b).rank()) - 1;
            let axes = std::array::from_fn(|axis| axis == last);
            Self::fold(Reduce { fold: Norm, front: Sub, axes, keep_dims: false }, [&a.cast(dtype)?, &b.cast(dtype)?])
        };
        distances().map_err(|e: Error| e.within("cdist", at))
    }

    /// The distances of all pairs of different rows, the first with each later one, then the second: the upper triangle of
    /// [`ProductOps::cdist`] with itself.
    ///
    /// # Shapes
    /// `[n, d]` gives `[n · (n - 1) / 2]`.
    ///
    /// # Errors
    /// No matrix.
    #[track_caller]
    fn pdist(&self, p: f64) -> Result<Self> {
        let at = Location::caller();
        let shape = *Self::shape(self);
        if shape.rank() != 2 {
            return Err(Error::shape("pdist", format!("needs rows [n, d], found {shape}")).at(at));
        }
        let distances = || {
            let pairs = (0..shape[0] as i64).flat_map(|i| (i + 1..shape[0] as i64).map(move |j| (i, j)));
            let (first, second): (Vec<i64>, Vec<i64>) = pairs.unzip();
            let count = first.len();
            let rows = |at: Vec<i64>| self.index_select(0, &self.beside(Tensor::from_vec(at, count)?)?);
            rows(first)?.sub(&rows(second)?)?.norm(p, -1)
        };
        distances().map_err(|e: Error| e.within("pdist", at))
    }

    /// How variables vary together: the means of the products of their deviations, with their variances on the diagonal, as NumPy's
    /// and PyTorch's `cov`. Each row is a variable, each column an observation; the sums are divided by `n - correction`, of which 1
    /// is the usual one and 0 that of a whole population.
    ///
    /// # Shapes
    /// `[m, n]` gives `[m, m]`; a single variable `[n]` gives a number. Of a table with a column for each variable, that of
    /// `x.transpose(0, 1)`.
    ///
    /// ```
    /// use kiln_tensor::{Tensor, ops::*};
    /// let x = Tensor::new([[1.0, 2.0, 3.0], [6.0, 4.0, 2.0]]);
    /// assert_eq!(x.cov(1.0)?.to_vec::<f64>()?, [1.0, -2.0, -2.0, 4.0]);
    /// # Ok::<(), kiln_tensor::Error>(())
    /// ```
    ///
    /// # Errors
    /// More than two dimensions; a correction that is not finite.
    #[track_caller]
    fn cov(&self, correction: f64) -> Result<Self> {
        let at = Location::caller();
        covariance(self, "cov", correction).map_err(|e| e.within("cov", at))
    }

    /// The correlation of each variable with each other, from -1 to 1 (Pearson's), as NumPy's and PyTorch's `corrcoef`: their
    /// [`cov`](ProductOps::cov) in units of their standard deviations. Of a variable that does not vary it is NaN.
    ///
    /// # Shapes
    /// As there.
    ///
    /// ```
    /// use kiln_tensor::{Tensor, ops::*};
    /// let x = Tensor::new([[1.0, 2.0, 3.0], [6.0, 4.0, 2.0]]);
    /// assert_eq!(x.corrcoef()?.to_vec::<f64>()?, [1.0, -1.0, -1.0, 1.0]);
    /// # Ok::<(), kiln_tensor::Error>(())
    /// ```
    ///
    /// # Errors
    /// As there.
    #[track_caller]
    fn corrcoef(&self) -> Result<Self> {
        let at = Location::caller();
        let correlation = || {
            let together = covariance(self, "corrcoef", 1.0)?;
            if Self::shape(&together).rank() == 0 {
                return together.div(&together);
            }
            let deviation = together.diagonal(0, 0, 1)?.sqrt()?;
            // Rounding leaves no correlation beyond 1.
            together.div(&deviation.unsqueeze(1)?)?.div(&deviation)?.clamp(-1.0, 1.0)
        };
        correlation().map_err(|e: Error| e.within("corrcoef", at))
    }

    /// `beta · self + alpha · a · b` for a matrix product. A `beta` of 0 leaves these numbers out, whatever they are.
    ///
    /// # Errors
    /// Those of the product; a shape that does not broadcast to that of the product.
    #[track_caller]
    fn addmm(&self, a: &Self, b: &Self, beta: f64, alpha: f64) -> Result<Self> {
        let at = Location::caller();
        plus(self, a.matmul(b), beta, alpha).map_err(|e| e.within("addmm", at))
    }

    /// [`ProductOps::addmm`] with a vector `b`.
    ///
    /// # Errors
    /// As there.
    #[track_caller]
    fn addmv(&self, a: &Self, b: &Self, beta: f64, alpha: f64) -> Result<Self> {
        let at = Location::caller();
        plus(self, a.matmul(b), beta, alpha).map_err(|e| e.within("addmv", at))
    }

    /// [`ProductOps::addmm`] for each of a batch of matrices.
    ///
    /// # Errors
    /// As there.
    #[track_caller]
    fn baddbmm(&self, a: &Self, b: &Self, beta: f64, alpha: f64) -> Result<Self> {
        let at = Location::caller();
        plus(self, a.matmul(b), beta, alpha).map_err(|e| e.within("baddbmm", at))
    }

    /// [`ProductOps::addmm`] with the sum of the products of a batch of matrices.
    ///
    /// # Errors
    /// As there; no batches `[N, m, k]` and `[N, k, n]`.
    #[track_caller]
    fn addbmm(&self, a: &Self, b: &Self, beta: f64, alpha: f64) -> Result<Self> {
        let at = Location::caller();
        // One product, with the batch as a part of the inner dimension.
        plus(self, a.tensordot(b, &[0, 2], &[0, 1]), beta, alpha).map_err(|e| e.within("addbmm", at))
    }

    /// `beta · self + alpha · a · bᵀ`: the [outer](ProductOps::outer) product of two vectors added.
    ///
    /// # Errors
    /// As [`ProductOps::addmm`].
    #[track_caller]
    fn addr(&self, a: &Self, b: &Self, beta: f64, alpha: f64) -> Result<Self> {
        let at = Location::caller();
        plus(self, a.outer(b), beta, alpha).map_err(|e| e.within("addr", at))
    }

    /// `self · weightᵀ + bias`: a layer of units, each with a row of weights.
    ///
    /// # Shapes
    /// `[…, in]` with weights `[out, in]` and a bias `[out]` gives `[…, out]`; weights `[in]` are those of one unit, without
    /// a dimension of its own.
    ///
    /// # Errors
    /// Shapes that do not fit.
    #[track_caller]
    fn linear(&self, weight: &Self, bias: Option<&Self>) -> Result<Self> {
        let at = Location::caller();
        let units = || {
            let weight = if Self::shape(weight).rank() == 2 { weight.t()? } else { weight.clone() };
            let y = self.matmul(&weight)?;
            if let Some(bias) = bias { y.add(bias) } else { Ok(y) }
        };
        units().map_err(|e: Error| e.within("linear", at))
    }

    /// `y[o] = self · weight[o] · otherᵀ + bias[o]`: sums over all pairs of features.
    ///
    /// # Shapes
    /// `[…, m]` and `[…, n]` with weights `[out, m, n]` and a bias `[out]` give `[…, out]`.
    ///
    /// # Errors
    /// Shapes that do not fit.
    #[track_caller]
    fn bilinear(&self, other: &Self, weight: &Self, bias: Option<&Self>) -> Result<Self> {
        let at = Location::caller();
        let pairs = || {
            let y = einsum("...i,oij,...j->...o", &[self, weight, other])?;
            if let Some(bias) = bias { y.add(bias) } else { Ok(y) }
        };
        pairs().map_err(|e: Error| e.within("bilinear", at))
    }
}
impl<V: Ops> ProductOps for V {}

fn covariance<V: Ops>(x: &V, op: &str, correction: f64) -> Result<V> {
    let shape = *V::shape(x);
    if shape.rank() > 2 {
        return Err(Error::shape(op, format!("needs variables in rows, [m, n], found {shape}")));
    }
    if !correction.is_finite() {
        return Err(Error::argument(op, format!("the correction is {correction}")));
    }
    let dtype = V::dtype(x).to_float();
    let rows = x.cast(dtype)?.reshape(if shape.rank() == 2 { [shape[0], shape[1]] } else { [1, shape.count()] })?;
    let apart = rows.sub(&rows.mean(keep(-1))?)?;
    let freedom = (V::shape(&rows)[1] as f64 - correction).max(0.0);
    let together = apart.matmul(&apart.transpose(0, 1)?)?.div(freedom)?;
    if shape.rank() == 2 { Ok(together) } else { together.reshape([]) }
}

fn tensordot<V: Ops>(a: &V, b: &V, axes: &[isize], other_axes: &[isize]) -> Result<V> {
    if axes.len() != other_axes.len() {
        let text = format!("{} axes of the one, {} of the other", axes.len(), other_axes.len());
        return Err(Error::argument("tensordot", text));
    }
    let (p, q) = (*V::shape(a), *V::shape(b));
    let named = |axes: &[isize], shape: &Shape| -> Result<(Vec<usize>, Vec<usize>)> {
        let met = axes.iter().map(|&axis| shape.axis("tensordot", axis)).collect::<Result<Vec<_>>>()?;
        if (1..met.len()).any(|i| met[..i].contains(&met[i])) || met.iter().any(|&axis| axis >= shape.rank()) {
            return Err(Error::shape("tensordot", format!("{axes:?} does not name different axes of {shape}")));
        }
        Ok(((0..shape.rank()).filter(|axis| !met.contains(axis)).collect(), met))
    };
    let ((left, inner), (right, other_inner)) = (named(axes, &p)?, named(other_axes, &q)?);
    if let Some(i) = (0..inner.len()).find(|&i| p[inner[i]] != q[other_inner[i]]) {
        let text = format!("axis {} of {p} and axis {} of {q} differ in length", axes[i], other_axes[i]);
        return Err(Error::shape("tensordot", text));
    }
    let matrix = |x: &V, shape: &Shape, rows: &[usize], columns: &[usize]| -> Result<V> {
        let order: Vec<isize> = rows.iter().chain(columns).map(|&axis| axis as isize).collect();
        let size = |axes: &[usize]| axes.iter().map(|&axis| shape[axis]).product::<usize>();
        x.permute(&order)?.reshape([size(rows), size(columns)])
    };
    let y = matrix(a, &p, &left, &inner)?.matmul(&matrix(b, &q, &other_inner, &right)?)?;
    y.reshape(left.iter().map(|&axis| p[axis]).chain(right.iter().map(|&axis| q[axis])).collect::<Vec<_>>())
}

fn plus<V: Ops>(x: &V, product: Result<V>, beta: f64, alpha: f64) -> Result<V> {
    let scaled = |x: &V, factor: f64| if factor == 1.0 { Ok(x.clone()) } else { x.mul(factor) };
    let product = scaled(&product?, alpha)?;
    let shape = *V::shape(&product);
    let fits = V::shape(x).broadcast(&shape).is_ok_and(|both| both == shape);
    if !fits {
        return Err(Error::shape("add", format!("{} does not broadcast to the product's {shape}", V::shape(x))));
    }
    if beta == 0.0 { Ok(product) } else { scaled(x, beta)?.add(&product) }
}

/// The product of several matrices, those first that cost least in all. The first and the last may be vectors.
///
/// ```
/// use kiln_tensor::{Tensor, ops::*};
/// let (row, square) = (Tensor::new([1.0, 2.0]), Tensor::new([[0.0, 1.0], [1.0, 0.0]]));
/// assert_eq!(multi_dot(&[&row, &square, &square, &row])?.item()?, 5.0);
/// # Ok::<(), kiln_tensor::Error>(())
/// ```
///
/// # Errors
/// No operand; operands that are no matrices, or do not fit each other.
#[track_caller]
pub fn multi_dot<V: Ops>(operands: &[&V]) -> Result<V> {
    let at = Location::caller();
    chain(operands).map_err(|e| e.within("multi_dot", at))
}

fn chain<V: Ops>(operands: &[&V]) -> Result<V> {
    let count = operands.len();
    if count == 0 {
        return Err(Error::argument("multi_dot", "there is nothing to multiply"));
    }
    for (i, x) in operands.iter().enumerate() {
        let (rank, is_end) = (V::shape(*x).rank(), i == 0 || i + 1 == count);
        if rank != 2 && !(rank == 1 && is_end) {
            return Err(Error::shape("multi_dot", format!("operand {i} is {}, not a matrix", V::shape(*x))));
        }
    }
    // Of each operand the rows, and of the last the columns too; vectors count as a row or a column.
    let mut lengths: Vec<usize> = operands.iter().map(|x| V::shape(*x)[0]).collect();
    let last = V::shape(operands[count - 1]);
    lengths.push(if last.rank() == 2 { last[1] } else { 1 });
    if V::shape(operands[0]).rank() == 1 {
        lengths[0] = 1;
    }
    // The least cost of each stretch, and where it is parted (Cormen et al., Introduction to Algorithms).
    let mut cost = vec![vec![0.0; count]; count];
    let mut parted = vec![vec![0; count]; count];
    for length in 1..count {
        for first in 0..count - length {
            let last = first + length;
            let with = |at: usize| {
                let ends = lengths[first] as f64 * lengths[at + 1] as f64 * lengths[last + 1] as f64;
                cost[first][at] + cost[at + 1][last] + ends
            };
            let best = (first..last).min_by(|&a, &b| with(a).total_cmp(&with(b))).unwrap_or(first);
            cost[first][last] = with(best);
            parted[first][last] = best;
        }
    }
    product(operands, &parted, 0, count - 1)
}

fn product<V: Ops>(operands: &[&V], parted: &[Vec<usize>], first: usize, last: usize) -> Result<V> {
    if first == last {
        return Ok(operands[first].clone());
    }
    let at = parted[first][last];
    product(operands, parted, first, at)?.matmul(&product(operands, parted, at + 1, last)?)
}
