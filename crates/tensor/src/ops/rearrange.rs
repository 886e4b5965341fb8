//! Elements in other places: axes moved, quarter turns, repetitions, rolls, windows, pieces, shuffled channels; and the
//! differences of neighbours. All of it is put together from views, which copy nothing, and from joining and reading.

use super::{Apply, ArithmeticOps, CastOps, ComparisonOps, Concat, GatherOps, Stride, Value, concat};
use crate::error::here;
use crate::tensor::room;
use crate::{DType, Error, IntoAxes, Result, Shape, Tensor};
use std::panic::Location;

/// Rearranging.
pub trait RearrangeOps: Value + GatherOps + CastOps + Apply<Concat> {
    /// The axes `source` at the places `destination`; the others keep their order.
    ///
    /// # Shapes
    /// `[2, 3, 4]` with axis 0 moved to -1 gives `[3, 4, 2]`.
    ///
    /// # Errors
    /// Axes that do not exist or are named twice; lists of different lengths.
    #[track_caller]
    fn movedim(&self, source: &[isize], destination: &[isize]) -> Result<Self> {
        let shape = *Value::shape(self);
        source.into_axes().flags("movedim", &shape)?;
        destination.into_axes().flags("movedim", &shape)?;
        if source.len() != destination.len() {
            let text = format!("{source:?} and {destination:?} are not as many axes");
            return Err(Error::argument("movedim", text).at(Location::caller()));
        }
        let mut order = vec![None; shape.rank()];
        let mut rest: Vec<usize> = (0..shape.rank()).collect();
        for (&from, &to) in source.iter().zip(destination) {
            let (from, to) = (shape.axis("movedim", from)?, shape.axis("movedim", to)?);
            rest.retain(|&axis| axis != from);
            order.iter_mut().skip(to).take(1).for_each(|place| *place = Some(from));
        }
        let mut rest = rest.into_iter();
        let order: Vec<isize> =
            order.into_iter().map(|from| from.or_else(|| rest.next()).unwrap_or(0) as isize).collect();
        self.permute(&order)
    }

    /// Turned by `k` quarters in the plane of two axes, from the first towards the second.
    ///
    /// ```
    /// use kiln_tensor::{Tensor, ops::*};
    /// let y = Tensor::new([[1, 2], [3, 4]]).rot90(1, [0, 1])?;
    /// assert_eq!(y.to_vec::<i32>()?, [2, 4, 1, 3]);
    /// # Ok::<(), kiln_tensor::Error>(())
    /// ```
    ///
    /// # Errors
    /// Axes that do not exist, or are one.
    #[track_caller]
    fn rot90(&self, k: isize, axes: [isize; 2]) -> Result<Self> {
        axes.into_axes().flags("rot90", Value::shape(self))?;
        match k.rem_euclid(4) {
            0 => Ok(self.clone()),
            1 => self.transpose(axes[0], axes[1])?.flip(axes[0]),
            2 => self.flip(axes),
            _ => self.transpose(axes[0], axes[1])?.flip(axes[1]),
        }
    }

    /// `length` indices of an axis from `start` on, which may count from the end.
    ///
    /// # Errors
    /// They reach outside, or the axis does not exist.
    #[track_caller]
    fn narrow(&self, axis: isize, start: isize, length: usize) -> Result<Self> {
        let shape = *Value::shape(self);
        let at = shape.axis("narrow", axis)?;
        let n = shape.get(at).copied().unwrap_or(0) as isize;
        let first = if start < 0 { start + n } else { start };
        if first < 0 || first > n || length > (n - first) as usize || shape.rank() == 0 {
            let text = format!("{length} from {start} on reach outside of axis {axis} of {shape}");
            return Err(Error::index("narrow", text).at(Location::caller()));
        }
        self.stride(axis, Stride { start: first as usize, length, step: 1 })
    }

    /// One after the other `times[i]` times along dimension `i`; further numbers at the left add dimensions, and missing
    /// ones there are 1. (NumPy's `tile`, PyTorch's `repeat` and `tile`.)
    ///
    /// ```
    /// use kiln_tensor::{Tensor, ops::*};
    /// let y = Tensor::new([1, 2]).tile(&[2, 2])?;
    /// assert_eq!((y.shape().dims(), y.to_vec::<i32>()?), (&[2, 4][..], vec![1, 2, 1, 2, 1, 2, 1, 2]));
    /// # Ok::<(), kiln_tensor::Error>(())
    /// ```
    ///
    /// # Errors
    /// A result beyond memory, or of too many dimensions.
    #[track_caller]
    fn tile(&self, times: &[usize]) -> Result<Self> {
        let rank = Value::shape(self).rank().max(times.len());
        let mut x = self.reshape([&vec![1; rank - Value::shape(self).rank()][..], Value::shape(self)].concat())?;
        for (axis, &times) in (rank - times.len()..).zip(times) {
            let shape = *Value::shape(&x);
            if times == 1 {
                continue;
            }
            // The dimensions before and behind are two, so that there is one to spare.
            let outer: usize = shape[..axis].iter().product();
            let row: usize = shape[axis..].iter().product();
            let long = shape.with(axis, shape[axis].saturating_mul(times));
            here(long.check("tile"))?;
            let repeated = x.reshape([outer, 1, row])?.expand([outer, times, row])?;
            x = here(repeated.reshape(long).map_err(|e| e.renamed("reshape", "tile")))?;
        }
        Ok(x)
    }

    /// Each index of an axis several times in a row: `repeats` is one number for all, or one for each; with `..` of all
    /// elements in a row. (NumPy's `repeat`.)
    ///
    /// ```
    /// use kiln_tensor::{Tensor, ops::*};
    /// let x = Tensor::new([5, 6]);
    /// assert_eq!(x.repeat_interleave(&[2], 0)?.to_vec::<i32>()?, [5, 5, 6, 6]);
    /// assert_eq!(x.repeat_interleave(&[1, 2], 0)?.to_vec::<i32>()?, [5, 6, 6]);
    /// # Ok::<(), kiln_tensor::Error>(())
    /// ```
    ///
    /// # Errors
    /// An axis that does not exist; another number of repeats.
    #[track_caller]
    fn repeat_interleave(&self, repeats: &[usize], axis: impl IntoAxes) -> Result<Self> {
        let Some(axis) = axis.into_axes().single("repeat_interleave", Value::shape(self))? else {
            return self.flatten(0, -1)?.repeat_interleave(repeats, 0);
        };
        let length = Value::shape(self).get(axis).copied().unwrap_or(1);
        if repeats.len() != 1 && repeats.len() != length {
            let text = format!("{} repeats for axis {axis} of {}", repeats.len(), Value::shape(self));
            return Err(Error::argument("repeat_interleave", text).at(Location::caller()));
        }
        let times = |i: usize| repeats[if repeats.len() == 1 { 0 } else { i }];
        let count = (0..length).fold(0usize, |count, i| count.saturating_add(times(i)));
        let mut at = here(room("repeat_interleave", count, self.tensor().spec()))?;
        (0..length).for_each(|i| at.extend(std::iter::repeat_n(i as i64, times(i))));
        let at = self.beside(Tensor::from_vec(at, [count])?)?;
        let x = if Value::shape(self).rank() == 0 { self.reshape([1])? } else { self.clone() };
        x.index_select(axis as isize, &at)
    }

    /// The elements moved by `shifts[i]` along `axes[i]`; what leaves at one end comes in at the other. Without axes all
    /// elements are moved in a row.
    ///
    /// # Errors
    /// Axes that do not exist; not as many shifts as axes.
    #[track_caller]
    fn roll(&self, shifts: &[isize], axes: &[isize]) -> Result<Self> {
        let shape = *Value::shape(self);
        if axes.is_empty() && shifts.len() == 1 {
            return self.flatten(0, -1)?.roll(shifts, &[0])?.reshape(shape);
        }
        if shifts.len() != axes.len() {
            let text = format!("{} shifts along {} axes", shifts.len(), axes.len());
            return Err(Error::argument("roll", text).at(Location::caller()));
        }
        let mut x = self.clone();
        for (&shift, &axis) in shifts.iter().zip(axes) {
            let length = shape.get(shape.axis("roll", axis)?).copied().unwrap_or(0);
            if length > 0 {
                let cut = length - shift.rem_euclid(length as isize) as usize;
                let parts = x.split(&[cut, length - cut], axis)?;
                x = concat(&[&parts[1], &parts[0]], axis)?;
            }
        }
        Ok(x)
    }

    /// All slices of an axis, which disappears.
    ///
    /// # Errors
    /// An axis that does not exist.
    #[track_caller]
    fn unbind(&self, axis: isize) -> Result<Vec<Self>> {
        let shape = *Value::shape(self);
        let at = shape.axis("unbind", axis)?;
        let Some(&length) = shape.get(at) else {
            return Err(Error::shape("unbind", "a scalar has no slices").at(Location::caller()));
        };
        let mut all = here(room("unbind", length, self.tensor().spec()))?;
        for i in 0..length as isize {
            all.push(self.index(axis, i)?);
        }
        Ok(all)
    }

    /// Pieces of `size` indices of an axis; the last may be shorter.
    ///
    /// # Errors
    /// A size of 0; an axis that does not exist.
    #[track_caller]
    fn split_every(&self, size: usize, axis: isize) -> Result<Vec<Self>> {
        let shape = *Value::shape(self);
        let length = shape.get(shape.axis("split_every", axis)?).copied().unwrap_or(0);
        if size == 0 && length > 0 {
            return Err(Error::argument("split_every", "pieces of size 0 are none").at(Location::caller()));
        }
        let count = length.div_ceil(size.max(1)).max(1);
        let mut sizes = here(room("split_every", count, self.tensor().spec()))?;
        sizes.extend((0..count).map(|i| size.min(length - i * size)));
        self.split(&sizes, axis)
    }

    /// `sections` pieces of an axis, of which the first are longer by one where it cannot be divided.
    ///
    /// # Errors
    /// No section; an axis that does not exist.
    #[track_caller]
    fn tensor_split(&self, sections: usize, axis: isize) -> Result<Vec<Self>> {
        let shape = *Value::shape(self);
        let length = shape.get(shape.axis("tensor_split", axis)?).copied().unwrap_or(0);
        if sections == 0 {
            return Err(Error::argument("tensor_split", "no section was asked for").at(Location::caller()));
        }
        let mut sizes = here(room("tensor_split", sections, self.tensor().spec()))?;
        sizes.extend((0..sections).map(|i| length / sections + usize::from(i < length % sections)));
        self.split(&sizes, axis)
    }

    /// The pieces of an axis between these indices, by Python's rules for slices.
    ///
    /// # Errors
    /// An axis that does not exist.
    #[track_caller]
    fn tensor_split_at(&self, cuts: &[isize], axis: isize) -> Result<Vec<Self>> {
        let shape = *Value::shape(self);
        let length = shape.get(shape.axis("tensor_split_at", axis)?).copied().unwrap_or(0);
        let n = length as isize;
        let bound = |&i: &isize| (if i < 0 { i.saturating_add(n) } else { i }).clamp(0, n) as usize;
        let (mut start, mut pieces) = (0, Vec::new());
        for end in cuts.iter().map(bound).chain([length]) {
            // Cuts that go back leave nothing between them.
            pieces.push(self.stride(axis, Stride { start, length: end.saturating_sub(start), step: 1 })?);
            start = end;
        }
        Ok(pieces)
    }

    /// Windows of `size` neighbours of an axis, every `step`; their elements are the last dimension.
    ///
    /// # Shapes
    /// `[10, 3]` along axis 0 with size 4 and step 2 gives `[4, 3, 4]`; a scalar `[1]`.
    ///
    /// # Errors
    /// An axis that does not exist or is shorter than a window; a step of 0.
    #[track_caller]
    fn unfold(&self, axis: isize, size: usize, step: usize) -> Result<Self> {
        let at = Value::shape(self).axis("unfold", axis)?;
        let x = if Value::shape(self).rank() == 0 { self.reshape([1])? } else { self.clone() };
        let length = Value::shape(&x)[at];
        if step == 0 || size > length {
            let text = format!("no windows of {size}, every {step}, fit axis {axis} of {}", Value::shape(self));
            return Err(Error::argument("unfold", text).at(Location::caller()));
        }
        let starts = (0..=length - size).step_by(step);
        let count = (length - size) / step + 1;
        let whole = count.saturating_mul(size);
        let mut places = here(room("unfold", whole, self.tensor().spec()))?;
        starts.for_each(|start| places.extend((start..start + size).map(|i| i as i64)));
        let places = x.beside(Tensor::from_vec(places, [whole])?)?;
        let y = x.index_select(at as isize, &places)?;
        if Value::shape(self).rank() == 0 {
            return Ok(y);
        }
        y.unflatten(at as isize, &[count, size])?.movedim(&[at as isize + 1], &[-1])
    }

    /// Channels moved into the image: `r²` channels become one of `r` times the rows and columns (Shi et al. 2016).
    ///
    /// # Shapes
    /// `[…, C · r², H, W]` gives `[…, C, H · r, W · r]`.
    ///
    /// # Errors
    /// Fewer than three dimensions; channels that cannot be divided; a factor of 0.
    #[track_caller]
    fn pixel_shuffle(&self, r: usize) -> Result<Self> {
        let (lead, [c, h, w]) = image("pixel_shuffle", Value::shape(self))?;
        let square = r.checked_mul(r).filter(|&square| square > 0 && c.is_multiple_of(square));
        let Some(square) = square else {
            let text = format!("{c} channels of {} are no multiple of {r} · {r}", Value::shape(self));
            return Err(Error::shape("pixel_shuffle", text).at(Location::caller()));
        };
        let (n, out) = (lead.iter().product::<usize>(), c / square);
        let y = self.reshape([n, out, r, r, h, w])?.permute(&[0, 1, 4, 2, 5, 3])?;
        y.reshape([&lead[..], &[out, h.saturating_mul(r), w.saturating_mul(r)]].concat())
    }

    /// The reverse of [`RearrangeOps::pixel_shuffle`].
    ///
    /// # Shapes
    /// `[…, C, H · r, W · r]` gives `[…, C · r², H, W]`.
    ///
    /// # Errors
    /// Fewer than three dimensions; rows or columns that cannot be divided; a factor of 0.
    #[track_caller]
    fn pixel_unshuffle(&self, r: usize) -> Result<Self> {
        let (lead, [c, h, w]) = image("pixel_unshuffle", Value::shape(self))?;
        if r == 0 || !h.is_multiple_of(r) || !w.is_multiple_of(r) {
            let text = format!("rows and columns of {} are no multiples of {r}", Value::shape(self));
            return Err(Error::shape("pixel_unshuffle", text).at(Location::caller()));
        }
        let n = lead.iter().product::<usize>();
        let y = self.reshape([n, c, h / r, r, w / r, r])?.permute(&[0, 1, 3, 5, 2, 4])?;
        y.reshape([&lead[..], &[c.saturating_mul(r).saturating_mul(r), h / r, w / r]].concat())
    }

    /// The channels of `groups` groups dealt out in turn (Zhang et al. 2018).
    ///
    /// # Shapes
    /// `[N, C, …]`, the same.
    ///
    /// # Errors
    /// Fewer than two dimensions; channels that cannot be divided.
    #[track_caller]
    fn channel_shuffle(&self, groups: usize) -> Result<Self> {
        let shape = *Value::shape(self);
        match shape.get(1) {
            Some(&channels) if groups > 0 && channels.is_multiple_of(groups) => {
                self.unflatten(1, &[groups, channels / groups])?.transpose(1, 2)?.reshape(shape)
            }
            _ => {
                let text = format!("the channels of {shape} are no {groups} groups");
                Err(Error::shape("channel_shuffle", text).at(Location::caller()))
            }
        }
    }

    /// Each element less the one before it along an axis, `n` times; first with what is to stand before and behind. Of
    /// booleans, whether they differ.
    ///
    /// ```
    /// use kiln_tensor::{Tensor, ops::*};
    /// assert_eq!(Tensor::new([1, 4, 9]).diff(1, 0, None, None)?.to_vec::<i32>()?, [3, 5]);
    /// # Ok::<(), kiln_tensor::Error>(())
    /// ```
    ///
    /// # Errors
    /// A scalar; an axis that does not exist; shapes that do not fit.
    #[track_caller]
    fn diff(&self, n: usize, axis: isize, before: Option<&Self>, behind: Option<&Self>) -> Result<Self> {
        let at = Value::shape(self).axis("diff", axis)?;
        if Value::shape(self).rank() == 0 {
            return Err(Error::shape("diff", "a scalar has no neighbours").at(Location::caller()));
        }
        if n == 0 {
            return Ok(self.clone());
        }
        let ends: Vec<&Self> = [before, Some(self), behind].into_iter().flatten().collect();
        let mut x = if ends.len() == 1 {
            self.clone()
        } else {
            here(concat(&ends, axis).map_err(|e| e.renamed("concat", "diff")))?
        };
        // Of nothing there are no differences either, however often.
        for _ in 0..n.min(Value::shape(&x)[at].max(1)) {
            let length = Value::shape(&x)[at];
            let left = length.saturating_sub(1);
            let [low, high] = [0, length.min(1)].map(|start| Stride { start, length: left, step: 1 });
            let [low, high] = [x.stride(axis, low)?, x.stride(axis, high)?];
            x = if Value::dtype(&x) == DType::Bool { high.ne(&low)? } else { high.sub(&low)? };
        }
        Ok(x)
    }
}
impl<V: Value + GatherOps + CastOps + Apply<Concat>> RearrangeOps for V {}

/// What comes before the channels, rows and columns, and these.
#[track_caller]
fn image(op: &str, shape: &Shape) -> Result<(Vec<usize>, [usize; 3])> {
    match shape.dims() {
        [lead @ .., c, h, w] => Ok((lead.to_vec(), [*c, *h, *w])),
        _ => Err(Error::shape(op, format!("needs […, C, H, W], found {shape}")).at(Location::caller())),
    }
}
