//! Matrix products: of matrices, vectors, and batches of matrices that broadcast.

use super::{Apply, Cast, CastOps, Value, ViewOps};
use crate::cpu::gemm::{Strided, gemm};
#[cfg(target_arch = "x86_64")]
use crate::cpu::pairs;
use crate::cpu::parallel;
use crate::cpu::scratch::Scratch;
use crate::cpu::single::{as_single, in_single};
use crate::layout::for_each_row;
use crate::{
    Arity, CpuCall, CudaCall, DType, Element, Error, Launch, Layout, MAX_RANK, Op, Result, Shape, Spec, Specs, View,
    ViewMut,
};
use std::panic::Location;

/// `a · b` for `a` of shape `[…, m, k]` and `b` of `[…, k, n]`; the leading dimensions broadcast.
#[derive(Debug, Clone, PartialEq)]
pub struct MatMul;

impl Op for MatMul {
    fn name(&self) -> &str {
        "matmul"
    }

    fn arity(&self) -> Arity {
        Arity::Exactly(2)
    }

    fn infer(&self, x: &[Spec]) -> Result<Specs> {
        let (a, b) = (x[0].shape, x[1].shape);
        if a.rank() < 2 || b.rank() < 2 {
            return Err(Error::shape("matmul", format!("{a} and {b} are not both matrices")));
        }
        let ([m, k], [k2, n]) = (last_two(&a), last_two(&b));
        if k != k2 {
            let error = mismatch(&a, &b, k, k2);
            return Err(if k == n { error.help("did you mean a.matmul(&b.transpose(-1, -2)?)?") } else { error });
        }
        if x[0].dtype != x[1].dtype {
            return Err(Error::dtype("matmul", format!("the operands are {} and {}", x[0].dtype, x[1].dtype)));
        }
        let batch = |s: &Shape| Shape::from_slice(&s[..s.rank() - 2]);
        let lead = batch(&a).broadcast(&batch(&b)).map_err(|_| {
            Error::shape("matmul", format!("cannot multiply {a} by {b}: the leading dimensions do not broadcast"))
        })?;
        Ok(Spec::new(Shape::new(&[lead.dims(), &[m, n]].concat())?, x[0].dtype).into())
    }

    fn cpu(&self, call: CpuCall<'_, Self>) -> Result<()> {
        let (x, y) = call.parts();
        if y[0].shape().count() == 0 {
            return Ok(());
        }
        match x[0].dtype() {
            DType::F32 => multiply(&x[0], &x[1], *y[0].shape(), y[0].slice::<f32>()?),
            DType::F64 => multiply(&x[0], &x[1], *y[0].shape(), y[0].slice::<f64>()?),
            #[cfg(target_arch = "x86_64")]
            DType::BF16 if pairs::are_there() => multiply_pairs(&x[0], &x[1], *y[0].shape(), y[0].slice()?),
            DType::F16 | DType::BF16 => through_single(x, &mut y[0])?,
            _ => through_integers(x, &mut y[0])?,
        }
        Ok(())
    }

    fn cuda(&self, call: &mut CudaCall<'_>) -> Result<()> {
        let (shape, dtype) = (call.outputs()[0].shape, call.outputs()[0].dtype);
        if shape.count() == 0 {
            return Ok(());
        }
        let lead = Shape::from_slice(&shape[..shape.rank() - 2]);
        let [m, n] = last_two(&shape);
        let k = call.inputs()[0].shape()[call.inputs()[0].shape().rank() - 1];
        let is_float = dtype.is_float() && k > 0 && i32::try_from(lead.count()).is_ok();
        let [(a_matrix, a_start, a), (b_matrix, b_start, b)] = [0, 1].map(|i| match is_float {
            true => call.matrices(i, lead),
            false => {
                let (start, layout) = call.placed(i);
                (None, start, layout)
            }
        });
        let [(a_batch, a), (b_batch, b)] = [split(&a, lead), split(&b, lead)];
        let blocks = |length: usize, most: usize| length.div_ceil(64).min(most) as u32;
        let (compute, plus) = match dtype {
            DType::F32 | DType::F16 | DType::BF16 => ("f32", "fmaf(a, b, c)"),
            DType::F64 => ("f64", "fma(a, b, c)"),
            _ => ("i64", "kiln::add(c, kiln::mul(a, b))"),
        };
        let launch = Launch::new(include_str!("matmul.cu"), "matmul")
            .define_type("T", dtype)
            .define("C", compute)
            .define("PLUS(a, b, c)", plus)
            .grid(blocks(n, 1 << 20), blocks(m, 1 << 15), lead.count().min(1 << 15) as u32)
            .arg(lead.count())
            .arg(m)
            .arg(n)
            .arg(k)
            .walk(lead, &[a_batch, b_batch])
            .arg(&a.map(|step| step as i64)[..])
            .arg(&b.map(|step| step as i64)[..])
            .arg(a_start)
            .arg(b_start)
            .arg(call.output(0));
        match a_matrix.zip(b_matrix) {
            Some((a, b)) => call.product(dtype, lead.count(), [m, n, k], [a, b], launch),
            None => call.launch(launch),
        }
        Ok(())
    }
}

fn last_two(shape: &Shape) -> [usize; 2] {
    [shape[shape.rank() - 2], shape[shape.rank() - 1]]
}

/// All products of a batch, in the floating-point type of the operands.
fn multiply<T: crate::cpu::float::Float>(a: &View<'_>, b: &View<'_>, shape: Shape, y: &mut [T]) {
    let [m, n] = last_two(&shape);
    let (k, batch) = (last_two(a.shape())[1], Batch::new(a, b, &shape));
    let y = parallel::Shared::new(y);
    let one = |i: usize, parallel: bool| {
        let (a, b) = batch.operands(i);
        let c = Strided { pointer: y.get().wrapping_add(i * m * n), row: n as isize, column: 1 };
        // SAFETY: the offsets and strides are those of the operands' layouts; each product writes its own part of `y`.
        unsafe { gemm([m, n, k], T::one(), a, b, T::zero(), c, parallel) }
    };
    match batch.count() {
        1 => one(0, true),
        count => parallel::for_chunks(count, 1, m * n * k / 8, |start, _| one(start, false)),
    }
}

/// [`multiply`] by the instructions for `bf16`.
#[cfg(target_arch = "x86_64")]
fn multiply_pairs(a: &View<'_>, b: &View<'_>, shape: Shape, y: &mut [crate::bf16]) {
    let [m, n] = last_two(&shape);
    let (k, batch) = (last_two(a.shape())[1], Batch::new(a, b, &shape));
    let y = parallel::Shared::new(y);
    parallel::for_chunks(batch.count(), 1, m * n * k / 16, |i, _| {
        let (a, b) = batch.operands(i);
        // SAFETY: as in `multiply`; the caller has asked for the instructions.
        unsafe { pairs::multiply([m, n, k], a, b, y.slice(i * m * n, (i + 1) * m * n)) }
    });
}

/// Where the matrices of two operands lie whose leading dimensions broadcast.
struct Batch<T> {
    start: [Address<T>; 2],
    offsets: [Scratch<isize>; 2],
    steps: [[isize; 2]; 2],
}

impl<T> Batch<T> {
    fn new(a: &View<'_>, b: &View<'_>, shape: &Shape) -> Batch<T> {
        let lead = Shape::from_slice(&shape[..shape.rank() - 2]);
        let [(a_batch, a_steps), (b_batch, b_steps)] = [a, b].map(|x| split(&x.layout(), lead));
        let offsets = |layout: &Layout| {
            let mut all = Scratch::default();
            for_each_row(layout, |offset, length, stride| {
                all.extend((0..length as isize).map(|i| offset + i * stride));
            });
            all
        };
        Batch {
            start: [a, b].map(|x| Address(x.as_ptr().cast())),
            offsets: [offsets(&a_batch), offsets(&b_batch)],
            steps: [a_steps, b_steps],
        }
    }

    fn count(&self) -> usize {
        self.offsets[0].len()
    }

    /// The two matrices of product `i`.
    fn operands(&self, i: usize) -> (Strided<*const T>, Strided<*const T>) {
        let [a, b] = [0, 1].map(|which| {
            let pointer = self.start[which].get().wrapping_offset(self.offsets[which][i]);
            Strided { pointer, row: self.steps[which][0], column: self.steps[which][1] }
        });
        (a, b)
    }
}

/// An operand's address, shared by threads that only read.
struct Address<T>(*const T);
// SAFETY: the operand is only read, and lives as long as the operation.
unsafe impl<T: Sync> Sync for Address<T> {}
impl<T> Address<T> {
    fn get(&self) -> *const T {
        self.0
    }
}

/// The layout of the leading dimensions, broadcast to `lead`, and the strides of rows and columns.
pub(super) fn split(layout: &Layout, lead: Shape) -> (Layout, [isize; 2]) {
    let rank = layout.shape.rank();
    let strides = layout.strides();
    let batch = Layout::new(Shape::from_slice(&layout.shape[..rank - 2]), &strides[..rank - 2], 0);
    (batch.broadcast_to(lead), [strides[rank - 2], strides[rank - 1]])
}

/// Half-precision operands are multiplied in single precision and rounded once.
fn through_single(x: &[View<'_>], y: &mut ViewMut<'_>) -> Result<()> {
    let [a, b] = [&x[0], &x[1]].map(|x| crate::Tensor::from_slice(&as_single(x)?, x.shape()));
    let (a, b, shape) = (a?, b?, *y.shape());
    in_single(y, |y| {
        multiply(&a.view(), &b.view(), shape, y);
        Ok(())
    })
}

/// Integer products, exact up to wrapping: for correctness, not for speed.
fn through_integers(x: &[View<'_>], y: &mut ViewMut<'_>) -> Result<()> {
    let lead = Shape::from_slice(&y.shape()[..y.shape().rank() - 2]);
    let [m, n] = last_two(y.shape());
    let k = x[0].shape()[x[0].shape().rank() - 1];
    let operand = |x: &View<'_>| -> Result<Scratch<i64>> {
        let mut dims = [0; MAX_RANK];
        let rank = lead.rank() + 2;
        dims[..rank - 2].copy_from_slice(&lead);
        dims[rank - 2..rank].copy_from_slice(&last_two(x.shape()));
        let layout = x.layout().broadcast_to(Shape::from_slice(&dims[..rank]));
        // SAFETY: broadcasting a layout repeats indices that it has already.
        let view = unsafe { x.with_layout(&layout) };
        crate::with_element!(x.dtype(), T => Ok(view.contiguous::<T>()?.iter().map(|v| v.to_i64()).collect()))
    };
    let (a, b) = (operand(&x[0])?, operand(&x[1])?);
    let entry = |i: usize| {
        let (batch, row, column) = (i / (m * n), i / n % m, i % n);
        (0..k).fold(0i64, |sum, j| {
            sum.wrapping_add(a[(batch * m + row) * k + j].wrapping_mul(b[(batch * k + j) * n + column]))
        })
    };
    crate::with_element!(y.dtype(), T => y.slice::<T>()?.iter_mut().enumerate().for_each(|(i, y)| *y = T::from_i64(entry(i))));
    Ok(())
}

fn mismatch(a: &Shape, b: &Shape, k: usize, k2: usize) -> Error {
    Error::shape("matmul", format!("cannot multiply {a} by {b}: the inner dimensions differ ({k} and {k2})"))
}

/// Matrix products.
pub trait MatMulOps: Value + ViewOps + CastOps + Apply<MatMul> + Apply<Cast> {
    /// The matrix product.
    ///
    /// # Shapes
    /// `[m, k] · [k, n] → [m, n]`. More dimensions at the left are batches, and broadcast. A vector is a row at the
    /// left and a column at the right, and its dimension disappears from the result: `[k] · [k, n] → [n]`,
    /// `[m, k] · [k] → [m]`, `[k] · [k] → []`.
    ///
    /// ```
    /// use kiln_tensor::{Tensor, ops::*};
    /// let a = Tensor::new([[1.0, 2.0], [3.0, 4.0]]);
    /// assert_eq!(a.matmul(&Tensor::new([10.0, 1.0]))?.to_vec::<f64>()?, [12.0, 34.0]);
    /// # Ok::<(), kiln_tensor::Error>(())
    /// ```
    ///
    /// # Errors
    /// Inner dimensions that differ, batches that do not broadcast, a scalar operand.
    #[track_caller]
    fn matmul(&self, other: &Self) -> Result<Self> {
        let dtype = Value::dtype(self).promote(Value::dtype(other));
        let is_plain = |x: &Self| Value::shape(x).rank() >= 2 && Value::dtype(x) == dtype;
        if is_plain(self) && is_plain(other) {
            return matrices(self, other);
        }
        let (a, b) = (self.cast(dtype)?, other.cast(dtype)?);
        let (row, column) = (Value::shape(&a).rank() == 1, Value::shape(&b).rank() == 1);
        if Value::shape(&a).rank() == 0 || Value::shape(&b).rank() == 0 {
            let text = format!("{} and {} are not both matrices or vectors", Value::shape(self), Value::shape(other));
            return Err(Error::shape("matmul", text).at(Location::caller()).help("multiply by a scalar with mul"));
        }
        // Told here, where a vector is still one.
        let (left, right) = (Value::shape(&a), Value::shape(&b));
        let (inner, rows) = (left[left.rank() - 1], right[right.rank().saturating_sub(2)]);
        if (row || column) && inner != rows {
            return Err(mismatch(left, right, inner, rows).at(Location::caller()));
        }
        let a = if row { a.unsqueeze(0)? } else { a };
        let b = if column { b.unsqueeze(1)? } else { b };
        let y = matrices(&a, &b)?;
        match (row, column) {
            (false, false) => Ok(y),
            (true, false) => y.squeeze(-2),
            (false, true) => y.squeeze(-1),
            (true, true) => y.squeeze([-2, -1]),
        }
    }
}
impl<V: Value + ViewOps + CastOps + Apply<MatMul> + Apply<Cast>> MatMulOps for V {}

/// The product of operands of rank two and up. A batch on the left alone is one tall matrix: one large product instead
/// of many, and the gradient of the right operand needs no sum over the batch.
#[track_caller]
fn matrices<V: MatMulOps>(a: &V, b: &V) -> Result<V> {
    let shape = *Value::shape(a);
    let fits = Value::shape(b).rank() == 2 && shape.rank() > 2 && shape[shape.rank() - 1] == Value::shape(b)[0];
    if !fits {
        return V::apply_one(MatMul, &[a, b]);
    }
    let rows: usize = shape[..shape.rank() - 1].iter().product();
    let y = V::apply_one(MatMul, &[&a.reshape([rows, shape[shape.rank() - 1]])?, b])?;
    y.reshape(shape.with(shape.rank() - 1, Value::shape(b)[1]))
}
