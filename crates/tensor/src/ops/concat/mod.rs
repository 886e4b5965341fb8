//! Several tensors as one.

use super::{Apply, CastOps, Value, ViewOps};
use crate::cpu::parallel;
use crate::{Arity, CpuCall, CudaCall, Elements, Error, Launch, Layout, Op, Result, Shape, Spec, Specs, with_element};
use smallvec::SmallVec;

/// Elements that a thread copies at a time.
const CHUNK: usize = 1 << 13;

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
            if rank == 0 || spec.shape.rank() != rank {
                let text = format!("operand {i} has shape {}, the first {}", spec.shape, first.shape);
                let help = "all must have the same dimensions, at least one: unsqueeze adds one, and `stack` joins along a new one";
                return Err(Error::shape("concat", text).help(help));
            }
            let fits = (0..rank).all(|a| a == self.axis || spec.shape[a] == first.shape[a]);
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
        with_element!(y[0].dtype(), T => {
            let y = parallel::Shared::new(y[0].slice::<T>()?);
            let mut parts: SmallVec<[(Elements<'_, T>, usize); 2]> = SmallVec::new();
            for x in x {
                parts.push((x.contiguous::<T>()?, x.shape()[self.axis] * inner));
            }
            let rows = shape.count().checked_div(row).unwrap_or(0);
            parallel::for_chunks(rows, (CHUNK / row.max(1)).max(1), row, |start, end| {
                // SAFETY: rows are disjoint parts of the result.
                let mut y = unsafe { y.slice(start * row, end * row) };
                for number in start..end {
                    for (x, width) in &parts {
                        let (part, rest) = y.split_at_mut(*width);
                        part.copy_from_slice(&x[number * width..][..*width]);
                        y = rest;
                    }
                }
            });
        });
        Ok(())
    }

    fn cuda(&self, call: &mut CudaCall<'_>) -> Result<()> {
        let shape = call.outputs()[0].shape;
        let inner: usize = shape.iter().skip(self.axis + 1).product();
        let outer: usize = shape.iter().take(self.axis).product();
        let (row, size) = (shape[self.axis] * inner, call.outputs()[0].dtype.size());
        let (mut start, mut launches) = (0, Vec::new());
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
            let launch = Launch::new(include_str!("concat.cu"), "copy").joinable().define("PIECE", piece).over(count);
            let launch = launch.arg(count).arg(start * size / bytes).walk(operands[0].shape, &operands);
            launches.push(launch.arg(from).arg(call.output(0)));
            start += width;
        }
        call.launch_together(launches);
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

/// The tensors side by side: along the columns, vectors one after the other. Scalars count as vectors of one.
///
/// # Errors
/// As [`concat`](fn@concat).
#[track_caller]
pub fn hstack<V: Value + Apply<Concat> + CastOps + ViewOps>(x: &[&V]) -> Result<V> {
    let all = raised(x, 1)?;
    let axis = isize::from(all.first().is_some_and(|x| Value::shape(x).rank() > 1));
    concat(&all.iter().collect::<Vec<_>>(), axis).map_err(|e| e.renamed("concat", "hstack"))
}

/// The tensors below each other: along the rows. Vectors count as rows.
///
/// ```
/// use kiln_tensor::{Tensor, ops::vstack};
/// let y = vstack(&[&Tensor::new([1, 2]), &Tensor::new([3, 4])])?;
/// assert_eq!(y.shape().dims(), [2, 2]);
/// # Ok::<(), kiln_tensor::Error>(())
/// ```
///
/// # Errors
/// As [`concat`](fn@concat).
#[track_caller]
pub fn vstack<V: Value + Apply<Concat> + CastOps + ViewOps>(x: &[&V]) -> Result<V> {
    concat(&raised(x, 2)?.iter().collect::<Vec<_>>(), 0).map_err(|e| e.renamed("concat", "vstack"))
}

/// The tensors behind each other: along a third dimension, which matrices get, and vectors as rows.
///
/// # Errors
/// As [`concat`](fn@concat).
#[track_caller]
pub fn dstack<V: Value + Apply<Concat> + CastOps + ViewOps>(x: &[&V]) -> Result<V> {
    concat(&raised(x, 3)?.iter().collect::<Vec<_>>(), 2).map_err(|e| e.renamed("concat", "dstack"))
}

/// The tensors with at least so many dimensions, added as NumPy does: a vector becomes a row.
#[track_caller]
fn raised<V: ViewOps>(x: &[&V], rank: usize) -> Result<Vec<V>> {
    let mut all = Vec::with_capacity(x.len());
    for &x in x {
        let mut dims = Value::shape(x).to_vec();
        if dims.len() == 1 && rank > 1 {
            dims.insert(0, 1);
        }
        dims.resize(dims.len().max(rank), 1);
        all.push(x.reshape(dims)?);
    }
    Ok(all)
}

/// Which dimension of a grid the first vector runs along.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Indexing {
    /// The first: rows, as in a matrix.
    Ij,
    /// The second: columns, as the `x` of a picture.
    Xy,
}

/// The coordinates of all points of a grid: a tensor for each vector, with its numbers along its own dimension, without a
/// copy. Scalars count as vectors of one.
///
/// # Shapes
/// `[2]` and `[3]` give two tensors `[2, 3]`, or `[3, 2]` with [`Indexing::Xy`].
///
/// # Errors
/// Tensors of more than one dimension; too many of them.
#[track_caller]
pub fn meshgrid<V: ViewOps>(x: &[&V], indexing: Indexing) -> Result<Vec<V>> {
    let at = std::panic::Location::caller();
    if let Some(odd) = x.iter().find(|x| Value::shape(**x).rank() > 1) {
        let text = format!("the coordinates of a grid are vectors, found {}", Value::shape(*odd));
        return Err(Error::shape("meshgrid", text).at(at));
    }
    let mut dims: Vec<usize> = x.iter().map(|x| Value::shape(*x).count()).collect();
    let swap = indexing == Indexing::Xy && dims.len() > 1;
    if swap {
        dims.swap(0, 1);
    }
    let shape = Shape::new(&dims).map_err(|e| e.renamed("shape", "meshgrid").at(at))?;
    let mut grids = Vec::with_capacity(x.len());
    for (i, x) in x.iter().enumerate() {
        let place = if swap && i < 2 { 1 - i } else { i };
        let mut own = vec![1; dims.len()];
        own[place] = dims[place];
        grids.push(x.reshape(own)?.expand(shape)?);
    }
    Ok(grids)
}
