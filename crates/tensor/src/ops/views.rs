//! Other looks at the same elements: reshape, permute, expand, slice, flip; and padding, the reverse of slicing.

use super::{Apply, Value};
use crate::cpu::dense;
use crate::layout::for_each_row;
use crate::{
    CpuCall, CudaCall, Element, Error, IntoAxes, IntoShape, Launch, Layout, MAX_RANK, Op, Result, Shape, Spec, Specs,
    View, ViewMut, with_element,
};
use std::fmt;
use std::ops::{Bound, RangeBounds};
use std::panic::Location;

/// The same elements in row-major order under another shape.
#[derive(Debug, Clone, PartialEq)]
pub struct Reshape {
    /// The new shape, of as many elements.
    pub shape: Shape,
}

impl Op for Reshape {
    fn name(&self) -> &str {
        "reshape"
    }

    fn infer(&self, x: &[Spec]) -> Result<Specs> {
        let (from, to) = (x[0].shape, self.shape);
        if from.count() != to.count() {
            let text = format!("{from} has {} elements, {to} has {}", from.count(), to.count());
            return Err(Error::shape("reshape", text));
        }
        Ok(Spec::new(to, x[0].dtype).into())
    }

    fn cpu(&self, call: CpuCall<'_, Self>) -> Result<()> {
        let (x, y) = call.parts();
        copy(&x[0], &mut y[0])
    }

    fn cuda(&self, call: &mut CudaCall<'_>) -> Result<()> {
        call.copy();
        Ok(())
    }

    fn view(&self, x: &Layout) -> Option<Layout> {
        x.reshape(self.shape)
    }
}

/// Writes the elements of a strided view densely.
pub(crate) fn copy(x: &View<'_>, y: &mut ViewMut<'_>) -> Result<()> {
    let to = with_element!(x.dtype(), T => y.slice::<T>()?.as_mut_ptr().cast());
    // SAFETY: the elements of the view, and a result of the same type, dense and as large, that is borrowed here.
    unsafe { dense::gather(x.dtype().size(), &x.layout(), x.as_ptr(), to) };
    Ok(())
}

/// The dimensions in another order: dimension `i` of the result is dimension `axes[i]` of the operand.
#[derive(Debug, Clone, PartialEq)]
pub struct Permute {
    /// Each axis once.
    pub axes: Vec<usize>,
}

impl Op for Permute {
    fn name(&self) -> &str {
        "permute"
    }

    fn infer(&self, x: &[Spec]) -> Result<Specs> {
        let rank = x[0].shape.rank();
        let mut seen = [false; MAX_RANK];
        let fits =
            self.axes.len() == rank && self.axes.iter().all(|&a| a < rank && !std::mem::replace(&mut seen[a], true));
        if !fits {
            let text = format!("{:?} does not name each axis of {} once", self.axes, x[0].shape);
            return Err(Error::shape("permute", text));
        }
        let dims: Vec<usize> = self.axes.iter().map(|&a| x[0].shape[a]).collect();
        Ok(Spec::new(Shape::from_slice(&dims), x[0].dtype).into())
    }

    fn cpu(&self, call: CpuCall<'_, Self>) -> Result<()> {
        let (x, y) = call.parts();
        copy(&x[0], &mut y[0])
    }

    fn view(&self, x: &Layout) -> Option<Layout> {
        let dims: Vec<usize> = self.axes.iter().map(|&a| x.shape[a]).collect();
        let strides: Vec<isize> = self.axes.iter().map(|&a| x.strides()[a]).collect();
        Some(Layout::new(Shape::from_slice(&dims), &strides, x.offset))
    }
}

/// The operand repeated along dimensions of length 1 and new leading ones, without a copy.
#[derive(Debug, Clone, PartialEq)]
pub struct Expand {
    /// The shape to broadcast to.
    pub shape: Shape,
}

impl Op for Expand {
    fn name(&self) -> &str {
        "expand"
    }

    fn infer(&self, x: &[Spec]) -> Result<Specs> {
        match x[0].shape.broadcast(&self.shape) {
            Ok(shape) if shape == self.shape => Ok(Spec::new(shape, x[0].dtype).into()),
            _ => Err(Error::shape("expand", format!("{} does not broadcast to {}", x[0].shape, self.shape))
                .help("only dimensions of length 1 can be repeated; new ones are added at the left")),
        }
    }

    fn cpu(&self, call: CpuCall<'_, Self>) -> Result<()> {
        let (x, y) = call.parts();
        copy(&x[0], &mut y[0])
    }

    fn view(&self, x: &Layout) -> Option<Layout> {
        Some(x.broadcast_to(self.shape))
    }
}

/// Which indices of one dimension: `start`, `start + step`, …, `length` of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stride {
    /// The first index.
    pub start: usize,
    /// How many.
    pub length: usize,
    /// From one to the next; may be negative.
    pub step: isize,
}

impl fmt::Display for Stride {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} from {} in steps of {}", self.length, self.start, self.step)
    }
}

impl Stride {
    /// All of a dimension.
    pub fn full(length: usize) -> Stride {
        Stride { start: 0, length, step: 1 }
    }

    fn fits(self, dimension: usize) -> bool {
        // Of 128 bits, in which neither the product nor the sum wraps.
        let last = self.start as i128 + self.step as i128 * (self.length as i128 - 1);
        self.length == 0 || (self.start < dimension && (0..dimension as i128).contains(&last))
    }
}

/// The layout of the chosen indices, or `None` where some lie outside.
fn strided(x: &Layout, ranges: &[Stride]) -> Option<Layout> {
    let fits = ranges.len() == x.shape.rank() && ranges.iter().zip(x.shape.iter()).all(|(r, &d)| r.fits(d));
    if !fits {
        return None;
    }
    let (mut dims, mut strides, mut offset) = ([0; MAX_RANK], [0; MAX_RANK], x.offset as isize);
    let empty = ranges.iter().any(|r| r.length == 0);
    for (axis, range) in ranges.iter().enumerate() {
        dims[axis] = range.length;
        // A single element takes no step, which may be of any size.
        strides[axis] = if range.length > 1 { x.strides()[axis] * range.step } else { 0 };
        // With nothing to address, an offset could only lead outside.
        offset += if empty { 0 } else { range.start as isize * x.strides()[axis] };
    }
    Some(Layout::new(Shape::from_slice(&dims[..ranges.len()]), &strides[..ranges.len()], offset as usize))
}

/// Evenly spaced indices of each dimension; backwards with a negative step.
#[derive(Debug, Clone, PartialEq)]
pub struct Slice {
    /// One for each dimension.
    pub ranges: Vec<Stride>,
}

impl Op for Slice {
    fn name(&self) -> &str {
        "slice"
    }

    fn infer(&self, x: &[Spec]) -> Result<Specs> {
        match strided(&Layout::contiguous(x[0].shape), &self.ranges) {
            Some(layout) => Ok(Spec::new(layout.shape, x[0].dtype).into()),
            None => {
                let ranges: Vec<String> = self.ranges.iter().map(Stride::to_string).collect();
                let text = format!("{} reaches outside of {}", ranges.join(", "), x[0].shape);
                Err(Error::index("slice", text))
            }
        }
    }

    fn cpu(&self, call: CpuCall<'_, Self>) -> Result<()> {
        let (x, y) = call.parts();
        copy(&x[0], &mut y[0])
    }

    fn view(&self, x: &Layout) -> Option<Layout> {
        strided(x, &self.ranges)
    }
}

/// The reverse of [`Slice`]: a tensor of `shape` filled with `fill`, except at the chosen indices, where the operand stands.
#[derive(Debug, Clone, PartialEq)]
pub struct Embed {
    /// The shape of the result.
    pub shape: Shape,
    /// Where the operand goes, one for each dimension.
    pub ranges: Vec<Stride>,
    /// What stands elsewhere.
    pub fill: f64,
}

impl Op for Embed {
    fn name(&self) -> &str {
        "embed"
    }

    fn infer(&self, x: &[Spec]) -> Result<Specs> {
        self.shape.check("embed")?;
        if let Some(range) = self.ranges.iter().find(|range| range.step == 0 && range.length > 1) {
            return Err(Error::argument("embed", format!("{range:?} puts {} elements in one place", range.length)));
        }
        match strided(&Layout::contiguous(self.shape), &self.ranges) {
            Some(layout) if layout.shape == x[0].shape => Ok(Spec::new(self.shape, x[0].dtype).into()),
            _ => {
                Err(Error::shape("embed", format!("{} does not fill {:?} of {}", x[0].shape, self.ranges, self.shape)))
            }
        }
    }

    fn cpu(&self, call: CpuCall<'_, Self>) -> Result<()> {
        let (x, y) = call.parts();
        let Some(target) = strided(&Layout::contiguous(self.shape), &self.ranges) else {
            return Err(Error::index("embed", "the indices reach outside"));
        };
        with_element!(x[0].dtype(), T => {
            let y = y[0].slice::<T>()?;
            y.fill(<T as Element>::from_f64(self.fill));
            let x = x[0].contiguous::<T>()?;
            let mut rest = &x[..];
            for_each_row(&target, |offset, length, stride| {
                let first = target.offset as isize + offset;
                let (row, tail) = rest.split_at(length);
                rest = tail;
                row.iter().enumerate().for_each(|(i, &v)| y[(first + i as isize * stride) as usize] = v);
            });
        });
        Ok(())
    }

    fn cuda(&self, call: &mut CudaCall<'_>) -> Result<()> {
        let count = self.shape.count();
        if count == 0 {
            return Ok(());
        }
        let (x, layout) = call.placed(0);
        let mut ranges = [const { Vec::new() }; 5];
        for (axis, range) in self.ranges.iter().enumerate() {
            // A single element takes no step, which may be of any size.
            let step = if range.length > 1 { range.step } else { 1 };
            let numbers =
                [self.shape[axis] as isize, range.start as isize, step, range.length as isize, layout.strides()[axis]];
            ranges.iter_mut().zip(numbers).for_each(|(all, number)| all.push(number as i64));
        }
        if self.ranges.is_empty() {
            ranges = [1, 0, 1, 1, 0].map(|number| vec![number]);
        }
        let launch = Launch::new(include_str!("views/embed.cu"), "embed")
            .define_type("T", call.inputs()[0].dtype())
            .define("RANK", ranges[0].len().to_string())
            .over(count)
            .arg(count)
            .arg(&ranges.concat()[..])
            .arg(self.fill);
        let y = call.output(0);
        call.launch(launch.arg(x).arg(y));
        Ok(())
    }
}

/// Views, and padding.
pub trait ViewOps: Value + Apply<Reshape> + Apply<Permute> + Apply<Expand> + Apply<Slice> + Apply<Embed> {
    /// The same elements in row-major order under another shape.
    ///
    /// # Errors
    /// The number of elements differs.
    #[track_caller]
    fn reshape(&self, shape: impl IntoShape) -> Result<Self> {
        let shape = shape.into_shape()?;
        if shape == *Value::shape(self) {
            return Ok(self.clone());
        }
        Self::apply_one(Reshape { shape }, &[self])
    }

    /// The dimensions from `start` to `end`, both included, as one.
    ///
    /// # Errors
    /// An axis that does not exist.
    #[track_caller]
    fn flatten(&self, start: isize, end: isize) -> Result<Self> {
        let shape = Value::shape(self);
        let (start, end) = (shape.axis("flatten", start)?, shape.axis("flatten", end)?);
        if start > end {
            let text = format!("the first axis, {start}, comes after the last, {end}");
            return Err(Error::argument("flatten", text).at(Location::caller()));
        }
        let dims = shape.dims();
        let last = (end + 1).min(dims.len());
        let joined =
            [&dims[..start.min(dims.len())], &[dims[start.min(dims.len())..last].iter().product()], &dims[last..]]
                .concat();
        self.reshape(joined)
    }

    /// One dimension as several, whose product is its length.
    ///
    /// # Errors
    /// The product differs, or the axis does not exist.
    #[track_caller]
    fn unflatten(&self, axis: isize, sizes: &[usize]) -> Result<Self> {
        let shape = Value::shape(self);
        let axis = shape.axis("unflatten", axis)?;
        let product = sizes.iter().try_fold(1usize, |product, &size| product.checked_mul(size));
        if shape.rank() == 0 || product != Some(shape[axis]) {
            let text = format!("axis {axis} of {shape} cannot become {sizes:?}");
            return Err(Error::shape("unflatten", text).at(Location::caller()));
        }
        self.reshape([&shape[..axis], sizes, &shape[axis + 1..]].concat())
    }

    /// The dimensions in another order: dimension `i` of the result is dimension `axes[i]`.
    ///
    /// # Errors
    /// `axes` does not name each axis once.
    #[track_caller]
    fn permute(&self, axes: &[isize]) -> Result<Self> {
        let shape = Value::shape(self);
        let mut order = Vec::with_capacity(axes.len());
        // A loop, not a closure: an error tells the caller's line.
        for &axis in axes {
            order.push(shape.axis("permute", axis)?);
        }
        Self::apply_one(Permute { axes: order }, &[self])
    }

    /// Two dimensions exchanged.
    ///
    /// # Errors
    /// An axis that does not exist.
    #[track_caller]
    fn transpose(&self, a: isize, b: isize) -> Result<Self> {
        let shape = Value::shape(self);
        let mut axes: Vec<usize> = (0..shape.rank()).collect();
        let (a, b) = (shape.axis("transpose", a)?, shape.axis("transpose", b)?);
        if shape.rank() > 0 {
            axes.swap(a, b);
        }
        Self::apply_one(Permute { axes }, &[self])
    }

    /// A matrix transposed; vectors and scalars stay.
    ///
    /// # Errors
    /// More than two dimensions.
    #[track_caller]
    fn t(&self) -> Result<Self> {
        match Value::shape(self).rank() {
            0 | 1 => Ok(self.clone()),
            2 => self.transpose(0, 1),
            _ => Err(Error::shape("t", format!("{} is no matrix", Value::shape(self)))
                .help("name the two axes: .transpose(-1, -2)")
                .at(Location::caller())),
        }
    }

    /// Repeated along dimensions of length 1 to `shape`, without a copy.
    ///
    /// # Errors
    /// The shape does not broadcast to `shape`.
    #[track_caller]
    fn expand(&self, shape: impl IntoShape) -> Result<Self> {
        let shape = shape.into_shape()?;
        if shape == *Value::shape(self) {
            return Ok(self.clone());
        }
        Self::apply_one(Expand { shape }, &[self])
    }

    /// Without the named dimensions, each of length 1; `..` means all such.
    ///
    /// # Errors
    /// A named dimension has another length.
    #[track_caller]
    fn squeeze(&self, axes: impl IntoAxes) -> Result<Self> {
        let (shape, axes) = (Value::shape(self), axes.into_axes());
        let drop = axes.flags("squeeze", shape)?;
        if let Some(axis) = (0..shape.rank()).find(|&a| !axes.is_all() && drop[a] && shape[a] != 1) {
            let text = format!("axis {axis} of {shape} has length {}, not 1", shape[axis]);
            return Err(Error::shape("squeeze", text).at(Location::caller()));
        }
        let kept: Vec<usize> = (0..shape.rank()).filter(|&a| !(drop[a] && shape[a] == 1)).map(|a| shape[a]).collect();
        self.reshape(kept)
    }

    /// With a new dimension of length 1 before `axis` (`-1`: at the end).
    ///
    /// # Errors
    /// The axis is out of range.
    #[track_caller]
    fn unsqueeze(&self, axis: isize) -> Result<Self> {
        let shape = Value::shape(self);
        let rank = shape.rank() as isize;
        if axis < -rank - 1 || axis > rank {
            let text = format!("axis {axis} is out of range for {shape}: the new axis goes to {} to {rank}", -rank - 1);
            return Err(Error::shape("unsqueeze", text).at(Location::caller()));
        }
        let at = if axis < 0 { axis + rank + 1 } else { axis } as usize;
        self.reshape([&shape[..at], &[1], &shape[at..]].concat())
    }

    /// The indices in `range` of one dimension; a negative bound counts from the end. (Clippy takes the literal `1..-1`
    /// for an empty range: `#[allow(clippy::reversed_empty_ranges)]`.)
    ///
    /// ```
    /// use kiln_tensor::{Tensor, ops::*};
    /// let x = Tensor::new([1, 2, 3, 4]);
    /// assert_eq!(x.slice(0, -3..)?.to_vec::<i32>()?, [2, 3, 4]);
    /// # Ok::<(), kiln_tensor::Error>(())
    /// ```
    ///
    /// # Errors
    /// The axis does not exist, or the bounds lie outside or cross.
    #[track_caller]
    fn slice(&self, axis: isize, range: impl RangeBounds<isize>) -> Result<Self> {
        let shape = *Value::shape(self);
        let index = shape.axis("slice", axis)?;
        let length = shape.get(index).copied().unwrap_or(0) as isize;
        // Bounds near the limits of their type are out of range, not an overflow.
        let wrap = |i: isize| if i < 0 { i + length } else { i };
        let start = match range.start_bound() {
            Bound::Included(&i) => wrap(i),
            Bound::Excluded(&i) => wrap(i).saturating_add(1),
            Bound::Unbounded => 0,
        };
        let end = match range.end_bound() {
            Bound::Included(&i) => wrap(i).saturating_add(1),
            Bound::Excluded(&i) => wrap(i),
            Bound::Unbounded => length,
        };
        if start < 0 || end > length || start > end || shape.rank() == 0 {
            let text = format!("{start}..{end} is no range of axis {axis} of {shape}");
            let help = format!("that axis has {length} indices, and a negative bound counts from its end");
            return Err(Error::index("slice", text).help(help).at(Location::caller()));
        }
        self.stride(axis, Stride { start: start as usize, length: (end - start) as usize, step: 1 })
    }

    /// Evenly spaced indices of one dimension.
    ///
    /// # Errors
    /// They reach outside, or the axis does not exist.
    #[track_caller]
    fn stride(&self, axis: isize, stride: Stride) -> Result<Self> {
        let shape = *Value::shape(self);
        let axis = shape.axis("stride", axis)?;
        let mut ranges: Vec<Stride> = shape.iter().map(|&d| Stride::full(d)).collect();
        match ranges.get_mut(axis) {
            Some(range) if *range == stride => Ok(self.clone()),
            Some(range) => {
                *range = stride;
                Self::apply_one(Slice { ranges }, &[self])
            }
            None => Err(Error::shape("slice", "a scalar has no axis to slice").at(Location::caller())),
        }
    }

    /// One index of a dimension, which disappears; a negative index counts from the end.
    ///
    /// # Errors
    /// The index is out of range, or the axis does not exist.
    #[track_caller]
    fn index(&self, axis: isize, i: isize) -> Result<Self> {
        let shape = *Value::shape(self);
        let axis_index = shape.axis("index", axis)?;
        let length = shape.get(axis_index).copied().unwrap_or(0) as isize;
        if i < -length || i >= length {
            let text = format!("index {i} is out of range for axis {axis} of {shape}");
            return Err(Error::index("index", text).at(Location::caller()));
        }
        let start = if i < 0 { i + length } else { i } as usize;
        self.stride(axis, Stride { start, length: 1, step: 1 })?.squeeze(axis_index as isize)
    }

    /// The named dimensions backwards.
    ///
    /// # Errors
    /// An axis that does not exist.
    #[track_caller]
    fn flip(&self, axes: impl IntoAxes) -> Result<Self> {
        let shape = *Value::shape(self);
        let flags = axes.into_axes().flags("flip", &shape)?;
        let range = |(axis, &d): (usize, &usize)| match flags[axis] && d > 0 {
            true => Stride { start: d - 1, length: d, step: -1 },
            false => Stride::full(d),
        };
        Self::apply_one(Slice { ranges: shape.iter().enumerate().map(range).collect() }, &[self])
    }

    /// With `value` around it: `padding[i]` elements before and after dimension `i`. Negative padding cuts off.
    ///
    /// ```
    /// use kiln_tensor::{Tensor, ops::*};
    /// let y = Tensor::new([1, 2]).pad(&[(1, 2)], 9.0)?;
    /// assert_eq!(y.to_vec::<i32>()?, [9, 1, 2, 9, 9]);
    /// # Ok::<(), kiln_tensor::Error>(())
    /// ```
    ///
    /// # Errors
    /// Not one pair for each dimension, or more cut off than there is.
    #[track_caller]
    fn pad(&self, padding: &[(isize, isize)], value: f64) -> Result<Self> {
        let shape = *Value::shape(self);
        let whole = |d: usize, (a, b): (isize, isize)| (d as isize).saturating_add(a).saturating_add(b);
        if padding.len() != shape.rank() || shape.iter().zip(padding).any(|(&d, &p)| whole(d, p) < 0) {
            let text = format!(
                "{padding:?} cannot pad {shape}: one pair for each dimension, cutting off no more than there is"
            );
            return Err(Error::shape("pad", text).at(Location::caller()));
        }
        let cut = |(&d, &(a, b)): (&usize, &(isize, isize))| {
            let start = (a.saturating_neg().max(0) as usize).min(d);
            Stride { start, length: (d - start).saturating_sub(b.saturating_neg().max(0) as usize), step: 1 }
        };
        let inner: Vec<Stride> = shape.iter().zip(padding).map(cut).collect();
        let dims: Vec<usize> = shape.iter().zip(padding).map(|(&d, &p)| whole(d, p) as usize).collect();
        let place = |(range, &(a, _)): (&Stride, &(isize, isize))| Stride { start: a.max(0) as usize, ..*range };
        let ranges = inner.iter().zip(padding).map(place).collect();
        let kept = Self::apply_one(Slice { ranges: inner }, &[self])?;
        Self::apply_one(Embed { shape: dims.into_shape()?, ranges, fill: value }, &[&kept])
    }

    /// Pieces of the given lengths along one dimension.
    ///
    /// # Errors
    /// The lengths do not add up to the dimension's.
    #[track_caller]
    fn split(&self, sizes: &[usize], axis: isize) -> Result<Vec<Self>> {
        let shape = *Value::shape(self);
        let index = shape.axis("split", axis)?;
        let length = shape.get(index).copied().unwrap_or(0);
        if sizes.iter().try_fold(0usize, |sum, &size| sum.checked_add(size)) != Some(length) {
            let text = format!("{sizes:?} do not add up to {length}, the length of axis {axis} of {shape}");
            return Err(Error::shape("split", text).at(Location::caller()));
        }
        let starts = sizes.iter().scan(0, |at, &size| {
            *at += size;
            Some(*at - size)
        });
        starts.zip(sizes).map(|(start, &length)| self.stride(axis, Stride { start, length, step: 1 })).collect()
    }

    /// About equal pieces, at most `chunks` of them, along one dimension; the last may be shorter.
    ///
    /// # Errors
    /// No chunk asked for, or an axis that does not exist.
    #[track_caller]
    fn chunk(&self, chunks: usize, axis: isize) -> Result<Vec<Self>> {
        let at = Location::caller();
        let shape = *Value::shape(self);
        let index = shape.axis("chunk", axis)?;
        if chunks == 0 {
            return Err(Error::argument("chunk", "zero chunks were asked for").at(Location::caller()));
        }
        let length = shape.get(index).copied().unwrap_or(0);
        let size = length.div_ceil(chunks).max(1);
        let count = length.div_ceil(size).max(1);
        let mut pieces = crate::tensor::room("chunk", count, self.tensor().spec()).map_err(|e| e.at(at))?;
        for i in 0..count {
            let piece = Stride { start: i * size, length: size.min(length - i * size), step: 1 };
            pieces.push(self.stride(axis, piece)?);
        }
        Ok(pieces)
    }
}
impl<V> ViewOps for V where V: Value + Apply<Reshape> + Apply<Permute> + Apply<Expand> + Apply<Slice> + Apply<Embed> {}
