//! Convolutions as methods.

use super::{
    Conv1dOptions, Conv2d, Conv2dInputGrad, Conv2dOptions, Conv3dOptions, ConvOptions, Padding, Walk, order, volumes,
};
use crate::ops::window::reach;
use crate::ops::{Apply, ArithmeticOps, CastOps, Concat, PaddingOps, Value, ViewOps};
use crate::{Error, Result, Shape};
use std::panic::Location;

/// Convolutions. The weights can come with a bias for each channel of the output, which is added: `x.conv2d((&w, &b), …)`.
/// An input without the first dimension is a batch of one, and its result has none either.
pub trait ConvOps:
    Value + ViewOps + CastOps + PaddingOps + Apply<Concat> + Apply<Conv2d> + Apply<Conv2dInputGrad>
{
    /// Each window of the images times the weights: the cross-correlation that deep learning calls convolution.
    ///
    /// # Shapes
    /// Images `[N, H, W, C]` and weights `[KH, KW, C / groups, O]` give `[N, OH, OW, O]`; with
    /// [`channels_first`](super::ConvOptions::channels_first), `[N, C, H, W]` and `[O, C / groups, KH, KW]` give
    /// `[N, O, OH, OW]`. `OH = ⌊(H + padding − dilation · (KH − 1) − 1) / stride⌋ + 1`, and `⌈H / stride⌉` with
    /// [`Padding::Same`](super::Padding::Same).
    ///
    /// ```
    /// use kiln_tensor::{Tensor, ops::*};
    /// let image = Tensor::new([1.0, 2.0, 3.0, 4.0]).reshape([1, 2, 2, 1])?;
    /// let sum = Tensor::new([1.0; 4]).reshape([2, 2, 1, 1])?;
    /// let y = image.conv2d(&sum, &Conv2dOptions::new().padding(Padding::Same))?;
    /// assert_eq!(y.to_vec::<f64>()?, [10.0, 6.0, 7.0, 4.0]);
    /// # Ok::<(), kiln_tensor::Error>(())
    /// ```
    ///
    /// # Errors
    /// Shapes that do not fit each other, a kernel that does not fit the image, a stride, dilation or number of groups
    /// of 0.
    #[track_caller]
    fn conv2d(&self, weight: impl Filters<Self>, options: &Conv2dOptions) -> Result<Self> {
        let at = Location::caller();
        biased(self, weight, options, |x, w| conv2d(x, w, options)).map_err(|e| e.within("conv2d", at))
    }

    /// The transposed convolution: the gradient of [`ConvOps::conv2d`] with respect to its input, as an operation of its
    /// own. It enlarges where the convolution with the same options shrinks (Dumoulin and Visin 2016, "A guide to
    /// convolution arithmetic for deep learning").
    ///
    /// # Shapes
    /// Images `[N, H, W, O]` and weights `[KH, KW, C / groups, O]` (those of the convolution from `C` to `O` channels)
    /// give `[N, YH, YW, C]` with `YH = (H − 1) · stride + dilation · (KH − 1) + 1 − padding + output_padding`, and
    /// `H · stride` with [`Padding::Same`](super::Padding::Same). With channels first, `[N, O, H, W]` and
    /// `[O, C / groups, KH, KW]` give `[N, C, YH, YW]`.
    ///
    /// # Errors
    /// As [`ConvOps::conv2d`]; an output padding that is not smaller than stride or dilation; an output of no pixels.
    #[track_caller]
    fn conv2d_transpose(
        &self,
        weight: impl Filters<Self>,
        options: &Conv2dOptions,
        output_padding: [usize; 2],
    ) -> Result<Self> {
        let at = Location::caller();
        biased(self, weight, options, |x, w| conv2d_transpose(x, w, options, output_padding))
            .map_err(|e| e.within("conv2d_transpose", at))
    }

    /// [`ConvOps::conv2d`] along one dimension.
    ///
    /// # Shapes
    /// Sequences `[N, L, C]` and weights `[K, C / groups, O]` give `[N, OL, O]`; with channels first, `[N, C, L]` and
    /// `[O, C / groups, K]` give `[N, O, OL]`.
    ///
    /// # Errors
    /// As [`ConvOps::conv2d`].
    #[track_caller]
    fn conv1d(&self, weight: impl Filters<Self>, options: &Conv1dOptions) -> Result<Self> {
        let at = Location::caller();
        biased(self, weight, options, |x, w| conv1d(x, w, options)).map_err(|e| e.within("conv1d", at))
    }

    /// [`ConvOps::conv2d_transpose`] along one dimension.
    ///
    /// # Errors
    /// As there.
    #[track_caller]
    fn conv1d_transpose(
        &self,
        weight: impl Filters<Self>,
        options: &Conv1dOptions,
        output_padding: usize,
    ) -> Result<Self> {
        let at = Location::caller();
        biased(self, weight, options, |x, w| conv1d_transpose(x, w, options, output_padding))
            .map_err(|e| e.within("conv1d_transpose", at))
    }
    /// [`ConvOps::conv2d`] of volumes: each window over depth, height and width times the weights.
    ///
    /// The slices that a kernel sees at its depths become channels of one image, so one convolution of images does the work;
    /// that copies the input once for each depth of the kernel.
    ///
    /// # Shapes
    /// Volumes `[N, D, H, W, C]` and weights `[KD, KH, KW, C / groups, O]` give `[N, OD, OH, OW, O]`; with channels first,
    /// `[N, C, D, H, W]` and `[O, C / groups, KD, KH, KW]` give `[N, O, OD, OH, OW]`.
    ///
    /// ```
    /// use kiln_tensor::{Tensor, ops::*};
    /// let volume = Tensor::new([1.0, 2.0, 3.0, 4.0]).reshape([1, 4, 1, 1, 1])?;
    /// let sum = Tensor::new([1.0, 10.0]).reshape([2, 1, 1, 1, 1])?;
    /// let y = volume.conv3d(&sum, &Conv3dOptions::new())?;
    /// assert_eq!(y.to_vec::<f64>()?, [21.0, 32.0, 43.0]);
    /// # Ok::<(), kiln_tensor::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`ConvOps::conv2d`].
    #[track_caller]
    fn conv3d(&self, weight: impl Filters<Self>, options: &Conv3dOptions) -> Result<Self> {
        let at = Location::caller();
        biased(self, weight, options, |x, w| conv3d(x, w, options)).map_err(|e| e.within("conv3d", at))
    }

    /// [`ConvOps::conv2d_transpose`] of volumes: the gradient of [`ConvOps::conv3d`] with respect to its input.
    ///
    /// # Shapes
    /// Volumes `[N, D, H, W, O]` and weights `[KD, KH, KW, C / groups, O]` give `[N, YD, YH, YW, C]`, of the lengths of
    /// [`ConvOps::conv2d_transpose`]; with channels first, `[N, O, D, H, W]` and `[O, C / groups, KD, KH, KW]` give
    /// `[N, C, YD, YH, YW]`.
    ///
    /// ```
    /// use kiln_tensor::{Tensor, ops::*};
    /// let volume = Tensor::new([1.0, 2.0]).reshape([1, 2, 1, 1, 1])?;
    /// let copies = Tensor::new([1.0, 10.0]).reshape([2, 1, 1, 1, 1])?;
    /// let y = volume.conv3d_transpose(&copies, &Conv3dOptions::new().stride([2, 1, 1]), [1, 0, 0])?;
    /// assert_eq!(y.to_vec::<f64>()?, [1.0, 10.0, 2.0, 20.0, 0.0]);
    /// # Ok::<(), kiln_tensor::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`ConvOps::conv2d_transpose`].
    #[track_caller]
    fn conv3d_transpose(
        &self,
        weight: impl Filters<Self>,
        options: &Conv3dOptions,
        output_padding: [usize; 3],
    ) -> Result<Self> {
        let at = Location::caller();
        biased(self, weight, options, |x, w| conv3d_transpose(x, w, options, output_padding))
            .map_err(|e| e.within("conv3d_transpose", at))
    }
}
impl<V> ConvOps for V where
    V: Value + ViewOps + CastOps + PaddingOps + Apply<Concat> + Apply<Conv2d> + Apply<Conv2dInputGrad>
{
}

/// Weights, alone or with a bias for each of the output's channels: `&w`, `(&w, &b)`, `(&w, Some(&b))`.
pub trait Filters<V> {
    /// The weights, and the bias `[O]`.
    fn filters(self) -> (V, Option<V>);
}

impl<V: Value> Filters<V> for &V {
    fn filters(self) -> (V, Option<V>) {
        (self.clone(), None)
    }
}

impl<V: Value> Filters<V> for (&V, &V) {
    fn filters(self) -> (V, Option<V>) {
        (self.0.clone(), Some(self.1.clone()))
    }
}

impl<V: Value> Filters<V> for (&V, Option<&V>) {
    fn filters(self) -> (V, Option<V>) {
        (self.0.clone(), self.1.cloned())
    }
}

/// A convolution of a batch, or of a lone input, which is a batch of one; with the bias added.
fn biased<V: ConvOps, const N: usize>(
    x: &V,
    weight: impl Filters<V>,
    options: &ConvOptions<N>,
    convolve: impl FnOnce(&V, &V) -> Result<V>,
) -> Result<V> {
    let (weight, bias) = weight.filters();
    let is_alone = Value::shape(x).rank() == N + 1;
    let mut y = convolve(&if is_alone { x.unsqueeze(0)? } else { x.clone() }, &weight)?;
    if let Some(bias) = bias {
        let mut dims = vec![1; N + 2];
        let axis = if options.channels_first { 1 } else { N + 1 };
        dims[axis] = Value::shape(&y)[axis];
        y = y.add(&bias.reshape(dims)?)?;
    }
    if is_alone { y.squeeze(0) } else { Ok(y) }
}

/// The input in its padding, where that is not zeros, and the options that are left.
fn padded<V: ConvOps, const N: usize>(x: &V, w: &V, options: &ConvOptions<N>) -> Result<(V, ConvOptions<N>)> {
    let (from, kernel) = (Value::shape(x), Value::shape(w));
    let (Some(mode), true) = (options.padding_mode, from.rank() == N + 2 && kernel.rank() == N + 2) else {
        return Ok((x.clone(), *options));
    };
    let [image, window] = if options.channels_first { [2, 2] } else { [1, 0] };
    let input = std::array::from_fn(|i| from[image + i]);
    let reach = reach(std::array::from_fn(|i| kernel[window + i]), options.dilation);
    let around = options.padding.resolve(input, reach, options.stride);
    let mut pairs = vec![(0, 0); N + 2];
    for (pair, around) in pairs[image..].iter_mut().zip(around) {
        // Numbers beyond an index are no sensible padding, which the operation says.
        *pair = around.map(|n| isize::try_from(n).unwrap_or(isize::MAX)).into();
    }
    Ok((x.pad_with(&pairs, mode)?, ConvOptions { padding: Padding::Valid, padding_mode: None, ..*options }))
}

fn conv2d<V: ConvOps>(x: &V, weight: &V, options: &Conv2dOptions) -> Result<V> {
    let (x, options) = &padded(x, weight, options)?;
    let (x, w) = operands("conv2d", x, weight, options)?;
    let (from, kernel) = (*Value::shape(&x), *Value::shape(&w));
    let reach = reach([kernel[0], kernel[1]], options.dilation);
    let conv = resolved(options, options.padding.resolve([from[1], from[2]], reach, options.stride));
    channels_back(V::apply_one(conv, &[&x, &w])?, options)
}

fn conv2d_transpose<V: ConvOps>(x: &V, weight: &V, options: &Conv2dOptions, output_padding: [usize; 2]) -> Result<V> {
    let (x, w) = operands("conv2d_transpose", x, weight, options)?;
    let Enlarged { padding, input, beyond: [down, across] } =
        Enlarged::new("conv2d_transpose", &x, &w, options, output_padding)?;
    let op = Conv2dInputGrad { conv: resolved(options, padding), input };
    let y = V::apply_one(op, &[&x, &w]).map_err(|e| e.renamed("conv2d_input_grad", "conv2d_transpose"))?;
    let y = if [down, across] == [0, 0] { y } else { y.pad(&[(0, 0), (0, down), (0, across), (0, 0)], 0.0)? };
    channels_back(y, options)
}

/// What would be told of an image otherwise.
fn check_sequence<V: Value>(name: &str, x: &V, weight: &V, options: &Conv1dOptions) -> Result<()> {
    let (from, kernel) = (*Value::shape(x), *Value::shape(weight));
    if from.rank() != 3 || kernel.rank() != 3 {
        return Err(wrong_rank(name, from, kernel, options));
    }
    let ConvOptions { stride, dilation, groups, padding, channels_first, .. } = *options;
    let padding = if let Padding::Explicit(padding) = padding { padding } else { [[0; 2]] };
    let length = kernel[if channels_first { 2 } else { 0 }];
    Walk { stride, padding, dilation, groups }.check_numbers(name, [length])
}

fn conv1d<V: ConvOps>(x: &V, weight: &V, options: &Conv1dOptions) -> Result<V> {
    check_sequence("conv1d", x, weight, options)?;
    let (x, options) = &padded(x, weight, options)?;
    let (image, kernel) = if options.channels_first { (2, 2) } else { (1, 0) };
    let y = x.unsqueeze(image)?.conv2d(&weight.unsqueeze(kernel)?, &options.flat());
    y.map_err(|e| e.renamed("conv2d", "conv1d"))?.squeeze(image)
}

fn conv1d_transpose<V: ConvOps>(x: &V, weight: &V, options: &Conv1dOptions, output_padding: usize) -> Result<V> {
    check_sequence("conv1d_transpose", x, weight, options)?;
    let (image, kernel) = if options.channels_first { (2, 2) } else { (1, 0) };
    let images = x.unsqueeze(image)?;
    let y = images.conv2d_transpose(&weight.unsqueeze(kernel)?, &options.flat(), [0, output_padding]);
    y.map_err(|e| e.renamed("conv2d_transpose", "conv1d_transpose"))?.squeeze(image)
}

fn conv3d<V: ConvOps>(x: &V, weight: &V, options: &Conv3dOptions) -> Result<V> {
    let (x, options) = &padded(x, weight, options)?;
    let (x, w) = operands("conv3d", x, weight, options)?;
    let y = volumes::convolve(&x, &w, options).map_err(|e| e.renamed("conv2d", "conv3d"))?;
    channels_back(y, options)
}

fn conv3d_transpose<V: ConvOps>(x: &V, weight: &V, options: &Conv3dOptions, output_padding: [usize; 3]) -> Result<V> {
    let (x, w) = operands("conv3d_transpose", x, weight, options)?;
    let enlarged = Enlarged::new("conv3d_transpose", &x, &w, options, output_padding)?;
    let y = volumes::enlarge(&x, &w, options, enlarged);
    let y = y.map_err(|e| e.renamed("conv2d_input_grad", "conv3d_transpose"))?;
    channels_back(y, options)
}

/// What a transposed convolution makes, in each dimension.
pub(super) struct Enlarged<const N: usize> {
    /// What the convolution whose transpose it is has around its input.
    pub(super) padding: [[usize; 2]; N],
    /// How long that input is.
    pub(super) input: [usize; N],
    /// Zeros after it.
    pub(super) beyond: [isize; N],
}

impl<const N: usize> Enlarged<N> {
    fn new<V: Value>(
        name: &str,
        x: &V,
        w: &V,
        options: &ConvOptions<N>,
        output_padding: [usize; N],
    ) -> Result<Enlarged<N>> {
        if let Some(mode) = options.padding_mode {
            let error = Error::argument(name, format!("padding by {mode:?} has no meaning here"));
            return Err(error.help("what a transposed convolution pads, it cuts off: leave out padding_mode"));
        }
        let (from, ConvOptions { stride, dilation, .. }) = (Value::shape(x), *options);
        let reach = reach(std::array::from_fn(|i| Value::shape(w)[i]), dilation);
        let same = options.padding == Padding::Same;
        let wide: [usize; N] = std::array::from_fn(|i| from[i + 1].saturating_mul(stride[i]));
        let mut padding = options.padding.resolve(wide, reach, stride);
        let (mut input, mut beyond) = ([0; N], [0; N]);
        for i in 0..N {
            // Output padding keeps what padding would cut off; where nothing is left to keep, it is zeros.
            let kept = output_padding[i].min(padding[i][1]);
            padding[i][1] -= kept;
            beyond[i] = (output_padding[i] - kept) as isize;
            let around = padding[i][0].saturating_add(padding[i][1]);
            let whole = wide[i].saturating_sub(stride[i]).saturating_add(reach[i]);
            input[i] = if same { wide[i] } else { whole.saturating_sub(around) };
            if output_padding[i] > 0 && (same || output_padding[i] >= stride[i].max(dilation[i])) {
                let text = format!(
                    "output padding {output_padding:?} must be smaller than stride {stride:?} or dilation {dilation:?}"
                );
                let error = Error::argument(name, text).help("with Padding::Same it must be 0");
                return Err(error);
            }
        }
        Ok(Enlarged { padding, input, beyond })
    }
}

fn resolved(options: &Conv2dOptions, padding: [[usize; 2]; 2]) -> Conv2d {
    Conv2d { stride: options.stride, padding, dilation: options.dilation, groups: options.groups }
}

/// Input and weights of one floating-point type, channels last.
fn operands<V: ViewOps + CastOps, const N: usize>(
    name: &str,
    x: &V,
    w: &V,
    options: &ConvOptions<N>,
) -> Result<(V, V)> {
    let (x_shape, w_shape) = (*Value::shape(x), *Value::shape(w));
    if x_shape.rank() != N + 2 || w_shape.rank() != N + 2 {
        return Err(wrong_rank(name, x_shape, w_shape, options));
    }
    let dtype = Value::dtype(x).promote(Value::dtype(w)).to_float();
    let (x, w) = (x.cast(dtype)?, w.cast(dtype)?);
    if !options.channels_first {
        return Ok((x, w));
    }
    let space = 2..N as isize + 2;
    let last: Vec<isize> = [0].into_iter().chain(space.clone()).chain([1]).collect();
    let weights: Vec<isize> = space.chain([1, 0]).collect();
    Ok((x.permute(&last)?, w.permute(&weights)?))
}

fn channels_back<V: ViewOps, const N: usize>(y: V, options: &ConvOptions<N>) -> Result<V> {
    let space = 1..=N as isize;
    let first: Vec<isize> = [0, N as isize + 1].into_iter().chain(space).collect();
    if options.channels_first { y.permute(&first) } else { Ok(y) }
}

fn wrong_rank<const N: usize>(name: &str, x: Shape, w: Shape, options: &ConvOptions<N>) -> Error {
    let (images, weights) = order(N, options.channels_first);
    let text = format!("needs an input {images} and weights {weights}, found {x} and {w}");
    Error::shape(name, text).help("of a single input the first dimension can be left out")
}
