//! Convolutions of sequences, images and volumes, and their transposes.

use super::format::{DataFormat, with_data_format};
use super::settings::{Size, biased_settings, weighted, weighted_settings};
use super::window::{Padding, fit, reach, space, with_channels};
use crate::layer::{Layer, Weight, Weights};
use crate::{Error, Pass, Result};
use kiln_autograd::ops::{ArithmeticOps, ConvOps, ConvOptions, Value, ViewOps};
use kiln_autograd::{Shape, Var};

/// Adds the bias, where there is one.
fn biased(y: Var, weights: Weights<'_>, pass: &mut Pass) -> Result<Var> {
    match weights.find("bias") {
        Some(bias) => Ok(y.add(&pass.parameter(bias))?),
        None => Ok(y),
    }
}

fn divided(class: &str, groups: usize, channels: usize, filters: usize) -> Result<()> {
    let divides = |n: usize| groups > 0 && n.is_multiple_of(groups);
    if filters > 0 && divides(channels) && divides(filters) {
        return Ok(());
    }
    let text = format!("{class}: {groups} groups do not divide {channels} channels and {filters} filters");
    Err(Error::config(text, "both numbers must be positive multiples of the number of groups"))
}

/// The window of a convolution.
#[derive(Clone, Copy)]
struct Geometry<const N: usize> {
    kernel: [usize; N],
    strides: Size<N>,
    dilation: [usize; N],
    padding: Padding,
}

impl<const N: usize> Geometry<N> {
    fn output(&self, class: &str, input: &Shape) -> Result<[usize; N]> {
        if self.dilation.contains(&0) {
            return Err(Error::config(format!("{class}: a dilation rate of 0 has no meaning"), "1 is no dilation"));
        }
        if self.padding == Padding::Causal && N != 1 {
            let text = format!("{class}: causal padding is for sequences");
            return Err(Error::config(text, "use Padding::Valid or Padding::Same"));
        }
        fit(class, input, self.padding, reach(self.kernel, self.dilation), self.strides)
    }

    fn options(&self) -> ConvOptions<N> {
        ConvOptions::new().stride(self.strides.0).padding(self.padding.op()).dilation(self.dilation)
    }

    /// The input with what causal padding puts before it.
    fn padded(&self, x: &Var) -> Result<Var> {
        if self.padding != Padding::Causal {
            return Ok(x.clone());
        }
        let before = reach(self.kernel, self.dilation)[0] as isize - 1;
        Ok(x.pad(&[(0, 0), (before, 0), (0, 0)], 0.0)?)
    }
}

/// Convolutions by the number of dimensions.
trait Convolve<const N: usize> {
    fn convolve(&self, kernel: &Var, options: &ConvOptions<N>) -> Result<Var>;
    fn convolve_back(&self, kernel: &Var, options: &ConvOptions<N>) -> Result<Var>;
}

impl Convolve<1> for Var {
    fn convolve(&self, kernel: &Var, options: &ConvOptions<1>) -> Result<Var> {
        Ok(self.conv1d(kernel, options)?)
    }
    fn convolve_back(&self, kernel: &Var, options: &ConvOptions<1>) -> Result<Var> {
        Ok(self.conv1d_transpose(kernel, options, 0)?)
    }
}

impl Convolve<2> for Var {
    fn convolve(&self, kernel: &Var, options: &ConvOptions<2>) -> Result<Var> {
        Ok(self.conv2d(kernel, options)?)
    }
    fn convolve_back(&self, kernel: &Var, options: &ConvOptions<2>) -> Result<Var> {
        Ok(self.conv2d_transpose(kernel, options, [0; 2])?)
    }
}

impl Convolve<3> for Var {
    fn convolve(&self, kernel: &Var, options: &ConvOptions<3>) -> Result<Var> {
        Ok(self.conv3d(kernel, options)?)
    }
    fn convolve_back(&self, kernel: &Var, options: &ConvOptions<3>) -> Result<Var> {
        Ok(self.conv3d_transpose(kernel, options, [0; 3])?)
    }
}

/// Convolutions of `N` dimensions.
macro_rules! convolution {
    ($($(#[$doc:meta])* $name:ident $n:literal;)*) => {$(
        weighted_settings! {
            $(#[$doc])*
            $name {
                filters: usize = 0, new;
                kernel_size: Size<$n> = Size::default(), new;
                /// From a window to the next.
                strides: Size<$n> = Size::default(), into;
                /// What happens at the edges.
                padding: Padding = Padding::Valid;
                /// Where the channels are.
                data_format: DataFormat = DataFormat::ChannelsLast;
                /// Positions from one element of a window to the next.
                dilation_rate: Size<$n> = Size::default(), into;
                /// Parts that channels and filters fall into; each part of the filters sees its part of the channels.
                groups: usize = 1;
            }
        }

        impl $name {
            /// A layer of `filters` outputs that see windows of this size: stride 1, no padding, linear, with a bias.
            pub fn new(filters: usize, kernel_size: impl Into<Size<$n>>) -> $name {
                $name { filters, kernel_size: kernel_size.into(), ..$name::default() }
            }

            /// The size of the window along each dimension.
            #[must_use]
            pub fn kernel_size(mut self, kernel_size: impl Into<Size<$n>>) -> $name {
                self.kernel_size = kernel_size.into();
                self
            }

            fn geometry(&self) -> Geometry<$n> {
                let (kernel, dilation) = (self.kernel_size.0, self.dilation_rate.0);
                Geometry { kernel, strides: self.strides, dilation, padding: self.padding }
            }
        }

        impl Layer for $name {
            weighted!();
            with_data_format!();

            fn output_shape(&self, input: &Shape) -> Result<Shape> {
                let (_, channels) = space::<$n>(stringify!($name), input)?;
                divided(stringify!($name), self.groups, channels, self.filters)?;
                with_channels(self.geometry().output(stringify!($name), input)?, self.filters)
            }

            fn weights(&self, input: &Shape) -> Vec<Weight> {
                let channels = input.last().copied().unwrap_or(1) / self.groups.max(1);
                let kernel = [&self.kernel_size.0[..], &[channels, self.filters]].concat();
                self.kernel_and_bias(&kernel, &[self.filters])
            }

            fn call(&self, x: &Var, weights: Weights<'_>, pass: &mut Pass) -> Result<Var> {
                let geometry = self.geometry();
                let kernel = pass.parameter(weights.get("kernel")?);
                let y = geometry.padded(x)?.convolve(&kernel, &geometry.options().groups(self.groups))?;
                biased(y, weights, pass)
            }

            fn keeps_mask(&self) -> bool {
                false
            }
        }
    )*};
}

convolution! {
    /// `activation(x ⋆ kernel + bias)` over time: each of `filters` outputs sees some steps, all channels of them, with the same
    /// weights everywhere.
    ///
    /// # Shapes
    /// `[batch, steps, channels]` to `[batch, new_steps, filters]`; `kernel` is `[kernel_size, channels / groups, filters]`,
    /// `bias` `[filters]`.
    Conv1D 1;
    /// `activation(x ⋆ kernel + bias)`: each of `filters` outputs sees a window of the image, all channels of it, with the
    /// same weights everywhere.
    ///
    /// # Shapes
    /// `[batch, height, width, channels]` to `[batch, new_height, new_width, filters]`; `kernel` is
    /// `[kernel_height, kernel_width, channels / groups, filters]`, `bias` `[filters]`.
    Conv2D 2;
    /// `activation(x ⋆ kernel + bias)` over volumes: each of `filters` outputs sees a window of the volume, all channels of it, with
    /// the same weights everywhere.
    ///
    /// # Shapes
    /// `[batch, depth, height, width, channels]` to `[batch, new_depth, new_height, new_width, filters]`; `kernel` is
    /// `[kernel_depth, kernel_height, kernel_width, channels / groups, filters]`, `bias` `[filters]`.
    Conv3D 3;
}

/// Transposed convolutions of `N` dimensions.
macro_rules! transposed {
    ($($(#[$doc:meta])* $name:ident $n:literal;)*) => {$(
        weighted_settings! {
            $(#[$doc])*
            $name {
                filters: usize = 0, new;
                kernel_size: Size<$n> = Size::default(), new;
                /// By how much the output is larger.
                strides: Size<$n> = Size::default(), into;
                /// What happens at the edges: `Same` gives `input · stride`.
                padding: Padding = Padding::Valid;
                /// Where the channels are.
                data_format: DataFormat = DataFormat::ChannelsLast;
                /// Positions from one element of a window to the next.
                dilation_rate: Size<$n> = Size::default(), into;
                /// Elements that are added at the end of the output; less than the stride.
                output_padding: Option<Size<$n>> = None, some Size<$n>;
            }
        }

        impl $name {
            /// A layer of `filters` outputs with windows of this size: stride 1, no padding, linear, with a bias.
            pub fn new(filters: usize, kernel_size: impl Into<Size<$n>>) -> $name {
                $name { filters, kernel_size: kernel_size.into(), ..$name::default() }
            }

            /// The length of the output along a dimension, and of the part of the whole that is cut off before it.
            fn output(&self, class: &str, i: usize, input: usize) -> Result<(usize, usize)> {
                let (stride, size, rate) = (self.strides.0[i], self.kernel_size.0[i], self.dilation_rate.0[i]);
                if stride == 0 || size == 0 || rate == 0 {
                    let text = format!("{class}: a window of {size} with stride {stride} and dilation {rate} has no meaning");
                    return Err(Error::config(text, "all start at 1"));
                }
                if stride > 1 && rate > 1 {
                    let text = format!("{class}: a stride of {stride} and a dilation of {rate} do not go together");
                    return Err(Error::config(text, "one of the two must be 1, as in Keras"));
                }
                let [window] = reach([size], [rate]);
                let same = match self.padding {
                    Padding::Same => true,
                    Padding::Valid => false,
                    Padding::Causal => {
                        let text = format!("{class}: a transposed convolution has no causal padding");
                        return Err(Error::config(text, "use Padding::Valid or Padding::Same"));
                    }
                };
                let whole = input.saturating_sub(1).saturating_mul(stride).saturating_add(window);
                let output = match (self.output_padding, same) {
                    (None, true) => input.saturating_mul(stride),
                    (None, false) => input.saturating_mul(stride).saturating_add(window.saturating_sub(stride)),
                    (Some(Size(extra)), _) if extra[i] >= stride => {
                        let text = format!("{class}: an output padding of {} with a stride of {stride}", extra[i]);
                        return Err(Error::config(text, "it must be smaller than the stride"));
                    }
                    (Some(Size(extra)), true) => whole.saturating_add(extra[i]).saturating_sub(2 * (window / 2)),
                    (Some(Size(extra)), false) => whole.saturating_add(extra[i]),
                };
                if output == 0 {
                    return Err(Error::config(format!("{class}: the output has no element"), "use a larger window"));
                }
                Ok((output, if same { whole.saturating_sub(output) / 2 } else { 0 }))
            }
        }

        impl Layer for $name {
            weighted!();
            with_data_format!();

            fn output_shape(&self, input: &Shape) -> Result<Shape> {
                let (lengths, channels) = space::<$n>(stringify!($name), input)?;
                divided(stringify!($name), 1, channels, self.filters)?;
                let mut output = [0; $n];
                for i in 0..$n {
                    (output[i], _) = self.output(stringify!($name), i, lengths[i])?;
                }
                with_channels(output, self.filters)
            }

            fn weights(&self, input: &Shape) -> Vec<Weight> {
                let kernel = [&self.kernel_size.0[..], &[self.filters, input.last().copied().unwrap_or(1)]].concat();
                self.kernel_and_bias(&kernel, &[self.filters])
            }

            fn call(&self, x: &Var, weights: Weights<'_>, pass: &mut Pass) -> Result<Var> {
                let options = ConvOptions::new().stride(self.strides.0).dilation(self.dilation_rate.0);
                let mut y = x.convolve_back(&pass.parameter(weights.get("kernel")?), &options)?;
                for i in 0..$n {
                    let axis = i + 1;
                    let (output, before) = self.output(stringify!($name), i, Value::shape(x)[axis])?;
                    y = cut_or_filled(&y, axis, before, output)?;
                }
                biased(y, weights, pass)
            }

            fn keeps_mask(&self) -> bool {
                false
            }
        }
    )*};
}

/// `length` elements from `start` on along an axis, zeros where there are none.
fn cut_or_filled(y: &Var, axis: usize, start: usize, length: usize) -> Result<Var> {
    let have = Value::shape(y)[axis];
    if start == 0 && have == length {
        return Ok(y.clone());
    }
    let start = start.min(have);
    let end = start.saturating_add(length).min(have);
    let y = y.slice(axis as isize, start as isize..end as isize)?;
    let mut padding = vec![(0, 0); Value::shape(&y).rank()];
    padding[axis].1 = (length - (end - start)) as isize;
    Ok(if padding[axis].1 == 0 { y } else { y.pad(&padding, 0.0)? })
}

transposed! {
    /// The transposed convolution over time: it lengthens where [`Conv1D`] with the same arguments shortens.
    ///
    /// # Shapes
    /// `[batch, steps, channels]` to `[batch, new_steps, filters]`; `kernel` is `[kernel_size, filters, channels]`, `bias`
    /// `[filters]`.
    Conv1DTranspose 1;
    /// The transposed convolution: it enlarges where [`Conv2D`] with the same arguments shrinks.
    ///
    /// # Shapes
    /// `[batch, height, width, channels]` to `[batch, new_height, new_width, filters]`; `kernel` is
    /// `[kernel_height, kernel_width, filters, channels]`, `bias` `[filters]`.
    Conv2DTranspose 2;
    /// The transposed convolution over volumes: it enlarges where [`Conv3D`] with the same arguments shrinks.
    ///
    /// # Shapes
    /// `[batch, depth, height, width, channels]` to `[batch, new_depth, new_height, new_width, filters]`; `kernel` is
    /// `[kernel_depth, kernel_height, kernel_width, filters, channels]`, `bias` `[filters]`.
    Conv3DTranspose 3;
}

/// Depthwise and separable convolutions of `N` dimensions.
macro_rules! depthwise {
    ($($(#[$doc:meta])* $depthwise:ident $(#[$separable_doc:meta])* $separable:ident $n:literal;)*) => {$(
        biased_settings! {
            $(#[$doc])*
            $depthwise {
                kernel_size: Size<$n> = Size::default(), new;
                /// From a window to the next.
                strides: Size<$n> = Size::default(), into;
                /// What happens at the edges.
                padding: Padding = Padding::Valid;
                /// Where the channels are.
                data_format: DataFormat = DataFormat::ChannelsLast;
                /// Outputs for each channel.
                depth_multiplier: usize = 1;
                /// Positions from one element of a window to the next.
                dilation_rate: Size<$n> = Size::default(), into;
                /// What the kernel starts from.
                depthwise_initializer: crate::Initializer = crate::Initializer::GlorotUniform;
                /// What the kernel adds to the loss.
                depthwise_regularizer: Option<crate::Regularizer> = None, some crate::Regularizer;
                /// What holds for the kernel after each update.
                depthwise_constraint: Option<crate::Constraint> = None, some crate::Constraint;
            }
        }

        impl $depthwise {
            /// Windows of this size: stride 1, no padding, one output for each channel, linear, with a bias.
            pub fn new(kernel_size: impl Into<Size<$n>>) -> $depthwise {
                $depthwise { kernel_size: kernel_size.into(), ..$depthwise::default() }
            }

            fn geometry(&self) -> Geometry<$n> {
                let (kernel, dilation) = (self.kernel_size.0, self.dilation_rate.0);
                Geometry { kernel, strides: self.strides, dilation, padding: self.padding }
            }
        }

        impl Layer for $depthwise {
            weighted!();
            with_data_format!();

            fn output_shape(&self, input: &Shape) -> Result<Shape> {
                let (_, channels) = space::<$n>(stringify!($depthwise), input)?;
                multiplied(stringify!($depthwise), self.depth_multiplier)?;
                let output = self.geometry().output(stringify!($depthwise), input)?;
                with_channels(output, channels.saturating_mul(self.depth_multiplier))
            }

            fn weights(&self, input: &Shape) -> Vec<Weight> {
                let channels = input.last().copied().unwrap_or(1);
                let shape = [&self.kernel_size.0[..], &[channels, self.depth_multiplier]].concat();
                let kernel = Weight::new("kernel", shape, self.depthwise_initializer)
                    .regularizer(self.depthwise_regularizer)
                    .constraint(self.depthwise_constraint);
                let bias = self.bias(&[channels.saturating_mul(self.depth_multiplier)]);
                [kernel].into_iter().chain(bias).collect()
            }

            fn call(&self, x: &Var, weights: Weights<'_>, pass: &mut Pass) -> Result<Var> {
                let kernel = pass.parameter(weights.get("kernel")?);
                biased(by_channel(x, &kernel, self.geometry())?, weights, pass)
            }

            fn keeps_mask(&self) -> bool {
                false
            }
        }

        biased_settings! {
            $(#[$separable_doc])*
            $separable {
                filters: usize = 0, new;
                kernel_size: Size<$n> = Size::default(), new;
                /// From a window to the next.
                strides: Size<$n> = Size::default(), into;
                /// What happens at the edges.
                padding: Padding = Padding::Valid;
                /// Where the channels are.
                data_format: DataFormat = DataFormat::ChannelsLast;
                /// Positions from one element of a window to the next.
                dilation_rate: Size<$n> = Size::default(), into;
                /// Outputs of the first convolution for each channel.
                depth_multiplier: usize = 1;
                /// What the first kernel starts from.
                depthwise_initializer: crate::Initializer = crate::Initializer::GlorotUniform;
                /// What the second kernel starts from.
                pointwise_initializer: crate::Initializer = crate::Initializer::GlorotUniform;
                /// What the first kernel adds to the loss.
                depthwise_regularizer: Option<crate::Regularizer> = None, some crate::Regularizer;
                /// What the second kernel adds to the loss.
                pointwise_regularizer: Option<crate::Regularizer> = None, some crate::Regularizer;
                /// What holds for the first kernel after each update.
                depthwise_constraint: Option<crate::Constraint> = None, some crate::Constraint;
                /// What holds for the second kernel after each update.
                pointwise_constraint: Option<crate::Constraint> = None, some crate::Constraint;
            }
        }

        impl $separable {
            /// A layer of `filters` outputs that see windows of this size: stride 1, no padding, linear, with a bias.
            pub fn new(filters: usize, kernel_size: impl Into<Size<$n>>) -> $separable {
                $separable { filters, kernel_size: kernel_size.into(), ..$separable::default() }
            }

            fn geometry(&self) -> Geometry<$n> {
                let (kernel, dilation) = (self.kernel_size.0, self.dilation_rate.0);
                Geometry { kernel, strides: self.strides, dilation, padding: self.padding }
            }
        }

        impl Layer for $separable {
            weighted!();
            with_data_format!();

            fn output_shape(&self, input: &Shape) -> Result<Shape> {
                let (_, channels) = space::<$n>(stringify!($separable), input)?;
                divided(stringify!($separable), 1, channels, self.filters)?;
                multiplied(stringify!($separable), self.depth_multiplier)?;
                with_channels(self.geometry().output(stringify!($separable), input)?, self.filters)
            }

            fn weights(&self, input: &Shape) -> Vec<Weight> {
                let channels = input.last().copied().unwrap_or(1);
                let between = channels.saturating_mul(self.depth_multiplier);
                let shape = [&self.kernel_size.0[..], &[channels, self.depth_multiplier]].concat();
                let first = Weight::new("depthwise_kernel", shape, self.depthwise_initializer)
                    .regularizer(self.depthwise_regularizer)
                    .constraint(self.depthwise_constraint);
                let shape = [&[1; $n][..], &[between, self.filters]].concat();
                let second = Weight::new("pointwise_kernel", shape, self.pointwise_initializer)
                    .regularizer(self.pointwise_regularizer)
                    .constraint(self.pointwise_constraint);
                [first, second].into_iter().chain(self.bias(&[self.filters])).collect()
            }

            fn call(&self, x: &Var, weights: Weights<'_>, pass: &mut Pass) -> Result<Var> {
                let first = pass.parameter(weights.get("depthwise_kernel")?);
                let second = pass.parameter(weights.get("pointwise_kernel")?);
                let y = by_channel(x, &first, self.geometry())?;
                biased(y.convolve(&second, &ConvOptions::<$n>::new())?, weights, pass)
            }

            fn keeps_mask(&self) -> bool {
                false
            }
        }
    )*};
}

fn multiplied(class: &str, multiplier: usize) -> Result<()> {
    if multiplier > 0 {
        return Ok(());
    }
    Err(Error::config(format!("{class}: a depth multiplier of 0 gives no output"), "give at least 1"))
}

/// Convolves each channel by itself: a convolution of as many groups.
fn by_channel<const N: usize>(x: &Var, kernel: &Var, geometry: Geometry<N>) -> Result<Var>
where
    Var: Convolve<N>,
{
    let shape = Value::shape(kernel);
    let (channels, multiplier) = (shape[N], shape[N + 1]);
    let kernel = kernel.reshape([&shape[..N], &[1, channels * multiplier]].concat())?;
    geometry.padded(x)?.convolve(&kernel, &geometry.options().groups(channels))
}

depthwise! {
    /// A convolution over time of each channel by itself.
    ///
    /// # Shapes
    /// `[batch, steps, channels]` to `[batch, new_steps, channels · depth_multiplier]`; `kernel` is
    /// `[kernel_size, channels, depth_multiplier]`.
    DepthwiseConv1D
    /// A convolution over time of each channel by itself, and one of all channels of each step.
    ///
    /// # Shapes
    /// `[batch, steps, channels]` to `[batch, new_steps, filters]`.
    SeparableConv1D 1;
    /// A convolution of each channel by itself.
    ///
    /// # Shapes
    /// `[batch, height, width, channels]` to `[batch, new_height, new_width, channels · depth_multiplier]`; `kernel` is
    /// `[kernel_height, kernel_width, channels, depth_multiplier]`.
    DepthwiseConv2D
    /// A convolution of each channel by itself, and one of all channels of each pixel (Chollet 2017).
    ///
    /// # Shapes
    /// `[batch, height, width, channels]` to `[batch, new_height, new_width, filters]`.
    SeparableConv2D 2;
}
