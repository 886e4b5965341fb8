//! Windows of images as rows of a matrix, and back: what a convolution is a matrix product of. (Those here read their
//! windows where they lie.)

use super::window::{LARGEST, reach};
use super::{Embed, Ops, PoolOptions, Stride, stack};
use crate::{Error, Result, Shape};
use std::panic::Location;

/// Windows as rows, and back.
pub trait ColumnOps: Ops {
    /// The windows of images, which the options of a pool describe: each a row of its elements. An input without the first
    /// dimension is a batch of one.
    ///
    /// # Shapes
    /// Images `[N, H, W, C]` give `[N, OH · OW, KH · KW · C]`, and likewise sequences and volumes. With channels first,
    /// `[N, C, H, W]` give `[N, C · KH · KW, OH · OW]`: PyTorch's `unfold`.
    ///
    /// ```
    /// use kiln_tensor::{Tensor, ops::*};
    /// let x = Tensor::new([1.0, 2.0, 3.0]).reshape([1, 3, 1])?;
    /// let windows = Pool1dOptions::new([2]).stride([1]);
    /// assert_eq!(x.im2col(&windows)?.to_vec::<f64>()?, [1.0, 2.0, 2.0, 3.0]);
    /// # Ok::<(), kiln_tensor::Error>(())
    /// ```
    ///
    /// # Errors
    /// Another rank; a window that does not fit; a stride or dilation of 0.
    #[track_caller]
    fn im2col<const N: usize>(&self, options: &PoolOptions<N>) -> Result<Self> {
        let at = Location::caller();
        columns(self, options).map_err(|e| e.within("im2col", at))
    }

    /// The sum of windows, each at its place in images of `size`: the reverse of [`ColumnOps::im2col`], in which elements
    /// that several windows have add up.
    ///
    /// # Shapes
    /// Those of [`ColumnOps::im2col`], reversed.
    ///
    /// ```
    /// use kiln_tensor::{Tensor, ops::*};
    /// let rows = Tensor::new([[1.0, 2.0], [2.0, 3.0]]).unsqueeze(0)?;
    /// let windows = Pool1dOptions::new([2]).stride([1]);
    /// assert_eq!(rows.col2im([3], &windows)?.to_vec::<f64>()?, [1.0, 4.0, 3.0]);
    /// # Ok::<(), kiln_tensor::Error>(())
    /// ```
    ///
    /// # Errors
    /// Another number of windows or of elements than images of this size have; what [`ColumnOps::im2col`] finds wrong.
    #[track_caller]
    fn col2im<const N: usize>(&self, size: [usize; N], options: &PoolOptions<N>) -> Result<Self> {
        let at = Location::caller();
        images(self, size, options).map_err(|e| e.within("col2im", at))
    }
}
impl<V: Ops> ColumnOps for V {}

/// How windows lie in images.
struct Windows<const N: usize> {
    options: PoolOptions<N>,
    padding: [[usize; 2]; N],
    /// How many there are in each dimension.
    counts: [usize; N],
}

impl<const N: usize> Windows<N> {
    fn new(options: &PoolOptions<N>, size: [usize; N]) -> Result<Windows<N>> {
        let PoolOptions { kernel, stride, dilation, .. } = *options;
        let small = |all: [usize; N]| all.iter().all(|&n| n > 0 && n <= LARGEST);
        let reach = reach(kernel, dilation);
        let padding = options.padding.resolve(size, reach, stride);
        let whole: [usize; N] =
            std::array::from_fn(|i| size[i].saturating_add(padding[i][0]).saturating_add(padding[i][1]));
        let count = |all: [usize; N]| all.iter().try_fold(1usize, |count, &n| count.checked_mul(n));
        let fits = small(kernel) && count(kernel).is_some() && count(whole).is_some();
        let fits = fits && small(stride) && small(dilation) && (0..N).all(|i| reach[i] <= whole[i]);
        if !fits || whole.iter().any(|&n| n > LARGEST) {
            let text =
                format!("windows {kernel:?} with stride {stride:?} and dilation {dilation:?} do not fit {size:?}");
            return Err(Error::argument("im2col", text));
        }
        let counts = std::array::from_fn(|i| (whole[i] - reach[i]) / stride[i] + 1);
        Ok(Windows { options: *options, padding, counts })
    }

    /// For each element of a window where it lies in all of them, along each dimension.
    fn taps(&self) -> impl Iterator<Item = [Stride; N]> + '_ {
        let PoolOptions { kernel, stride, dilation, .. } = self.options;
        (0..kernel.iter().product::<usize>()).map(move |mut flat| {
            let mut at = [0; N];
            for i in (0..N).rev() {
                (at[i], flat) = (flat % kernel[i], flat / kernel[i]);
            }
            let along =
                |i: usize| Stride { start: at[i] * dilation[i], length: self.counts[i], step: stride[i] as isize };
            std::array::from_fn(along)
        })
    }
}

fn columns<V: Ops, const N: usize>(x: &V, options: &PoolOptions<N>) -> Result<V> {
    let shape = *V::shape(x);
    if shape.rank() == N + 1 {
        return columns(&x.unsqueeze(0)?, options)?.squeeze(0);
    }
    if shape.rank() != N + 2 {
        return Err(Error::shape("im2col", format!("needs a batch with {N} dimensions and channels, found {shape}")));
    }
    let first = if options.channels_first { 2 } else { 1 };
    let windows = Windows::new(options, std::array::from_fn(|i| shape[first + i]))?;
    let mut around = vec![(0, 0); N + 2];
    (0..N).for_each(|i| around[first + i] = (windows.padding[i][0] as isize, windows.padding[i][1] as isize));
    let wide = if around.iter().all(|&pair| pair == (0, 0)) { x.clone() } else { x.pad(&around, 0.0)? };
    let mut seen = Vec::new();
    for tap in windows.taps() {
        let mut part = wide.clone();
        for (i, along) in tap.into_iter().enumerate() {
            part = part.stride((first + i) as isize, along)?;
        }
        seen.push(part);
    }
    let all: Vec<&V> = seen.iter().collect();
    let (n, count, taps) = (shape[0], windows.counts.iter().product::<usize>(), all.len());
    match options.channels_first {
        true => stack(&all, 2)?.reshape([n, shape[1] * taps, count]),
        false => stack(&all, -2)?.reshape([n, count, taps * shape[N + 1]]),
    }
}

fn images<V: Ops, const N: usize>(x: &V, size: [usize; N], options: &PoolOptions<N>) -> Result<V> {
    let shape = *V::shape(x);
    if shape.rank() == 2 {
        return images(&x.unsqueeze(0)?, size, options)?.squeeze(0);
    }
    let windows = Windows::new(options, size)?;
    let (count, taps) = (windows.counts.iter().product::<usize>(), options.kernel.iter().product::<usize>());
    let (elements, rows) = if options.channels_first { (1, 2) } else { (2, 1) };
    if shape.rank() != 3 || shape[rows] != count || !shape[elements].is_multiple_of(taps) {
        let text = format!("images {size:?} have {count} windows of a multiple of {taps} elements, found {shape}");
        return Err(Error::shape("col2im", text));
    }
    let (n, channels) = (shape[0], shape[elements] / taps);
    let first = if options.channels_first { 2 } else { 1 };
    let (x, axis) = match options.channels_first {
        true => (x.reshape([&[n, channels, taps][..], &windows.counts].concat())?, 2),
        false => (x.reshape([&[n][..], &windows.counts, &[taps, channels]].concat())?, N as isize + 1),
    };
    let mut whole = [&[n][..], &size, &[channels]].concat();
    if options.channels_first {
        whole[1..].rotate_right(1);
    }
    (0..N).for_each(|i| whole[first + i] += windows.padding[i][0] + windows.padding[i][1]);
    let whole = Shape::new(&whole)?;
    let mut sum: Option<V> = None;
    for (tap, along) in windows.taps().enumerate() {
        let mut ranges: Vec<Stride> = whole.iter().map(|&length| Stride::full(length)).collect();
        ranges[first..first + N].copy_from_slice(&along);
        let part = V::apply_one(Embed { shape: whole, ranges, fill: 0.0 }, &[&x.index(axis, tap as isize)?])?;
        sum = Some(if let Some(sum) = sum { sum.add(&part)? } else { part });
    }
    let Some(mut y) = sum else { unreachable!("a window has an element") };
    for (i, &length) in size.iter().enumerate() {
        let inside = Stride { start: windows.padding[i][0], length, step: 1 };
        y = y.stride((first + i) as isize, inside)?;
    }
    Ok(y)
}
