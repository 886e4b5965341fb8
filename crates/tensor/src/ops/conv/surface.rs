//! Convolutions as methods.

use super::{Conv1dOptions, Conv2d, Conv2dInputGrad, Conv2dOptions};
use crate::ops::window::reach;
use crate::ops::{Apply, CastOps, Value, ViewOps};
use crate::{Error, Result, Shape};

/// Convolutions.
pub trait ConvOps: Value + ViewOps + CastOps + Apply<Conv2d> + Apply<Conv2dInputGrad> {
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
    fn conv2d(&self, weight: &Self, options: &Conv2dOptions) -> Result<Self> {
        let (x, w) = operands("conv2d", self, weight, options)?;
        let (from, kernel) = (*Value::shape(&x), *Value::shape(&w));
        let reach = reach([kernel[0], kernel[1]], options.dilation);
        let conv = resolved(options, options.padding.resolve([from[1], from[2]], reach, options.stride));
        channels_back(Self::apply_one(conv, &[&x, &w])?, options)
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
    fn conv2d_transpose(&self, weight: &Self, options: &Conv2dOptions, output_padding: [usize; 2]) -> Result<Self> {
        let (x, w) = operands("conv2d_transpose", self, weight, options)?;
        let (from, kernel) = (*Value::shape(&x), *Value::shape(&w));
        let reach = reach([kernel[0], kernel[1]], options.dilation);
        let same = options.padding == super::Padding::Same;
        let wide: [usize; 2] = std::array::from_fn(|i| from[i + 1].saturating_mul(options.stride[i]));
        let mut padding = options.padding.resolve(wide, reach, options.stride);
        let (mut input, mut beyond) = ([0; 2], [0; 2]);
        for i in 0..2 {
            // Output padding keeps what padding would cut off; where nothing is left to keep, it is zeros.
            let kept = output_padding[i].min(padding[i][1]);
            padding[i][1] -= kept;
            beyond[i] = (output_padding[i] - kept) as isize;
            let around = padding[i][0].saturating_add(padding[i][1]);
            let whole = wide[i].saturating_sub(options.stride[i]).saturating_add(reach[i]);
            input[i] = if same { wide[i] } else { whole.saturating_sub(around) };
            if output_padding[i] > 0 && (same || output_padding[i] >= options.stride[i].max(options.dilation[i])) {
                let text = format!(
                    "output padding {output_padding:?} must be smaller than stride {:?} or dilation {:?}",
                    options.stride, options.dilation
                );
                return Err(Error::argument("conv2d_transpose", text).help("with Padding::Same it must be 0"));
            }
        }
        let op = Conv2dInputGrad { conv: resolved(options, padding), input };
        let y = Self::apply_one(op, &[&x, &w]).map_err(|e| e.renamed("conv2d_input_grad", "conv2d_transpose"))?;
        let y = if beyond == [0, 0] { y } else { y.pad(&[(0, 0), (0, beyond[0]), (0, beyond[1]), (0, 0)], 0.0)? };
        channels_back(y, options)
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
    fn conv1d(&self, weight: &Self, options: &Conv1dOptions) -> Result<Self> {
        let (x, w) = (*Value::shape(self), *Value::shape(weight));
        if x.rank() != 3 || w.rank() != 3 {
            return Err(wrong_rank("conv1d", x, w, options.channels_first, ["L", "K"]));
        }
        let (image, kernel) = if options.channels_first { (2, 2) } else { (1, 0) };
        let y = self.unsqueeze(image)?.conv2d(&weight.unsqueeze(kernel)?, &options.flat());
        y.map_err(|e| e.renamed("conv2d", "conv1d"))?.squeeze(image)
    }

    /// [`ConvOps::conv2d_transpose`] along one dimension.
    ///
    /// # Errors
    /// As there.
    #[track_caller]
    fn conv1d_transpose(&self, weight: &Self, options: &Conv1dOptions, output_padding: usize) -> Result<Self> {
        let (x, w) = (*Value::shape(self), *Value::shape(weight));
        if x.rank() != 3 || w.rank() != 3 {
            return Err(wrong_rank("conv1d_transpose", x, w, options.channels_first, ["L", "K"]));
        }
        let (image, kernel) = if options.channels_first { (2, 2) } else { (1, 0) };
        let images = self.unsqueeze(image)?;
        let y = images.conv2d_transpose(&weight.unsqueeze(kernel)?, &options.flat(), [0, output_padding]);
        y.map_err(|e| e.renamed("conv2d_transpose", "conv1d_transpose"))?.squeeze(image)
    }
}
impl<V: Value + ViewOps + CastOps + Apply<Conv2d> + Apply<Conv2dInputGrad>> ConvOps for V {}

fn resolved(options: &Conv2dOptions, padding: [[usize; 2]; 2]) -> Conv2d {
    Conv2d { stride: options.stride, padding, dilation: options.dilation, groups: options.groups }
}

/// Image and weights of one floating-point type, channels last.
#[track_caller]
fn operands<V: ViewOps + CastOps>(name: &str, x: &V, w: &V, options: &Conv2dOptions) -> Result<(V, V)> {
    let (x_shape, w_shape) = (*Value::shape(x), *Value::shape(w));
    if x_shape.rank() != 4 || w_shape.rank() != 4 {
        return Err(wrong_rank(name, x_shape, w_shape, options.channels_first, ["H, W", "KH, KW"]));
    }
    let dtype = Value::dtype(x).promote(Value::dtype(w)).to_float();
    let (x, w) = (x.cast(dtype)?, w.cast(dtype)?);
    match options.channels_first {
        true => Ok((x.permute(&[0, 2, 3, 1])?, w.permute(&[2, 3, 1, 0])?)),
        false => Ok((x, w)),
    }
}

#[track_caller]
fn channels_back<V: ViewOps>(y: V, options: &Conv2dOptions) -> Result<V> {
    if options.channels_first { y.permute(&[0, 3, 1, 2]) } else { Ok(y) }
}

#[track_caller]
fn wrong_rank(name: &str, x: Shape, w: Shape, channels_first: bool, [space, kernel]: [&str; 2]) -> Error {
    let (images, weights) = match channels_first {
        true => (format!("[N, C, {space}]"), format!("[O, C / groups, {kernel}]")),
        false => (format!("[N, {space}, C]"), format!("[{kernel}, C / groups, O]")),
    };
    let text = format!("needs an input {images} and weights {weights}, found {x} and {w}");
    Error::shape(name, text)
        .help("a single image needs a leading dimension: .unsqueeze(0)")
        .at(std::panic::Location::caller())
}
