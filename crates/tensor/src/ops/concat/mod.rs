//! Several tensors as one.

use super::{Apply, CastOps, Value, ViewOps};
use crate::{Arity, CpuCall, CudaCall, Error, Launch, Layout, Op, Result, Shape, Spec, Specs, with_element};

/// The operands one after the other along an axis.
#[derive(Debug, Clone, PartialEq)]
pub struct Concat {
    /// The axis along which they follow each other.
    pub axis: usize,
}

impl Op for Concat {
    fn name(&self) -> &str {
        "concat"
    }

    fn arity(&self) -> Arity {
        Arity::AtLeast(1)
    }

    fn infer(&self, x: &[Spec]) -> Result<Specs> {
        let first = x[0];
        let mut length = 0;
        for (i, spec) in x.iter().enumerate() {
            let rank = first.shape.rank();
            let fits =
                spec.shape.rank() == rank && (0..rank).all(|a| a == self.axis || spec.shape[a] == first.shape[a]);
            if !fits || self.axis >= rank {
                let text = format!(
                    "operand {i} has shape {}, the first {}: they may differ along axis {} only",
                    spec.shape, first.shape, self.axis
                );
                return Err(Error::shape("concat", text));
            }
            if spec.dtype != first.dtype {
                let text = format!("operand {i} is {}, the first {}", spec.dtype, first.dtype);
                return Err(Error::dtype("concat", text).help("convert them to one type first: .cast(…)"));
            }
            length = spec.shape[self.axis].saturating_add(length);
        }
        Ok(Spec::new(Shape::new(&first.shape.with(self.axis, length))?, first.dtype).into())
    }

    fn cpu(&self, call: CpuCall<'_, Self>) -> Result<()> {
        let (x, y) = call.parts();
        let shape = *y[0].shape();
        let inner: usize = shape.iter().skip(self.axis + 1).product();
        let row = shape[self.axis] * inner;
        let mut offset = 0;
        with_element!(y[0].dtype(), T => {
            let y = y[0].slice::<T>()?;
            for x in x {
                let width = x.shape()[self.axis] * inner;
                let x = x.contiguous::<T>()?;
                if width > 0 {
                    let rows = y.chunks_mut(row).zip(x.chunks(width));
                    rows.for_each(|(y, x)| y[offset..offset + width].copy_from_slice(x));
                }
                offset += width;
            }
        });
        Ok(())
    }

    fn cuda(&self, call: &mut CudaCall<'_>) -> Result<()> {
        let shape = call.outputs()[0].shape;
        let inner: usize = shape.iter().skip(self.axis + 1).product();
        let outer: usize = shape.iter().take(self.axis).product();
        let (row, size) = (shape[self.axis] * inner, call.outputs()[0].dtype.size());
        let mut start = 0;
        for i in 0..call.inputs().len() {
            let x = call.inputs()[i];
            let width = x.shape()[self.axis] * inner;
            if outer * width == 0 {
                continue;
            }
            // Rows of adjacent elements are copied in larger pieces, where they begin at multiples of one.
            let adjacent = x.value().is_some() || x.layout().is_contiguous();
            let fits = |bytes: usize| {
                bytes == size
                    || adjacent
                        && [row, width, start, x.layout().offset].iter().all(|&n| (n * size).is_multiple_of(bytes))
            };
            let pieces = [(16, "Sixteen"), (8, "u64"), (4, "u32"), (2, "u16"), (1, "u8")];
            let (bytes, piece) = pieces.into_iter().find(|&(bytes, _)| fits(bytes)).unwrap_or(pieces[4]);
            let (from, layout) = call.placed(i);
            let operands = if adjacent {
                let rows = Shape::from_slice(&[outer, width * size / bytes]);
                [width, row].map(|step| Layout::new(rows, &[(step * size / bytes) as isize, 1], 0))
            } else {
                [layout, Layout { shape: *x.shape(), ..Layout::contiguous(shape) }]
            };
            let count = operands[0].shape.count();
            let launch = Launch::new(include_str!("concat.cu"), "copy").define("PIECE", piece).over(count);
            let launch = launch.arg(count).arg(start * size / bytes).walk(operands[0].shape, &operands);
            let y = call.output(0);
            call.launch(launch.arg(from).arg(y));
            start += width;
        }
        Ok(())
    }
}

/// The tensors one after the other along `axis`. Element types are promoted.
///
/// ```
/// use kiln_tensor::{Tensor, ops::concat};
/// let y = concat(&[&Tensor::new([[1], [2]]), &Tensor::new([[3], [4]])], 1)?;
/// assert_eq!(y.to_vec::<i32>()?, [1, 3, 2, 4]);
/// # Ok::<(), kiln_tensor::Error>(())
/// ```
///
/// # Errors
/// No tensor at all; shapes that differ in another dimension; an axis that does not exist.
#[track_caller]
pub fn concat<V: Value + Apply<Concat> + CastOps>(x: &[&V], axis: isize) -> Result<V> {
    let Some(first) = x.first() else {
        return Err(Error::argument("concat", "no tensor was given").at(std::panic::Location::caller()));
    };
    let axis = Value::shape(*first).axis("concat", axis)?;
    let dtype = x.iter().map(|x| Value::dtype(*x)).fold(Value::dtype(*first), crate::DType::promote);
    let cast: Result<Vec<V>> = x.iter().map(|x| x.cast(dtype)).collect();
    V::apply_one(Concat { axis }, &cast?.iter().collect::<Vec<_>>())
}

/// The tensors, all of one shape, as slices of a new dimension before `axis`.
///
/// # Errors
/// No tensor at all; shapes that differ; an axis that does not exist.
#[track_caller]
pub fn stack<V: Value + Apply<Concat> + CastOps + ViewOps>(x: &[&V], axis: isize) -> Result<V> {
    let Some(first) = x.first() else {
        return Err(Error::argument("stack", "no tensor was given").at(std::panic::Location::caller()));
    };
    if let Some(other) = x.iter().find(|x| Value::shape(**x) != Value::shape(*first)) {
        let text = format!("the shapes {} and {} differ", Value::shape(*first), Value::shape(*other));
        return Err(Error::shape("stack", text).at(std::panic::Location::caller()));
    }
    let axis = if axis < 0 { axis + Value::shape(*first).rank() as isize + 1 } else { axis };
    let mut raised = Vec::with_capacity(x.len());
    for x in x {
        raised.push(x.unsqueeze(axis).map_err(|e| e.renamed("unsqueeze", "stack"))?);
    }
    concat(&raised.iter().collect::<Vec<_>>(), axis)
}
