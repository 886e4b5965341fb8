//! Layers that summarize windows of a sequence, an image or a volume, or all of it, channel by channel.

use super::format::{DataFormat, with_data_format};
use super::settings::{Size, described, settings};
use super::window::{Padding, fit, space, with_channels};
use crate::layer::{AnyLayer, Layer, Weights, arity};
use crate::{Error, Pass, Result, Signal};
use kiln_autograd::ops::{
    ArithmeticOps, Axes, CastOps, IntoAxes, PoolOps, PoolOptions, ReduceOps, StatisticsOps, Value, ViewOps, keep,
};
use kiln_autograd::{Shape, Var};

/// Pools by windows of `N` dimensions.
macro_rules! pooling {
    ($($(#[$doc:meta])* $name:ident $n:literal $method:ident;)*) => {$(
        settings! {
            $(#[$doc])*
            $name {
                pool_size: Size<$n> = Size::from(2), new;
                /// From a window to the next; the size of the window unless set.
                strides: Option<Size<$n>> = None, some Size<$n>;
                /// What happens at the edges.
                padding: Padding = Padding::Valid;
                /// Where the channels are.
                data_format: DataFormat = DataFormat::ChannelsLast;
            }
        }

        impl $name {
            /// Windows of this size, side by side, inside the input.
            pub fn new(pool_size: impl Into<Size<$n>>) -> $name {
                $name { pool_size: pool_size.into(), ..$name::default() }
            }

            /// The size of the window along each dimension; without strides of its own they become the same.
            #[must_use]
            pub fn pool_size(mut self, size: impl Into<Size<$n>>) -> $name {
                self.pool_size = size.into();
                self
            }
        }

        impl Layer for $name {
            described!();
            with_data_format!();

            fn output_shape(&self, input: &Shape) -> Result<Shape> {
                let (_, channels) = space::<$n>(stringify!($name), input)?;
                if self.padding == Padding::Causal {
                    let text = concat!(stringify!($name), ": a pool has no causal padding");
                    return Err(Error::config(text, "use Padding::Valid or Padding::Same"));
                }
                let strides = self.strides.unwrap_or(self.pool_size);
                let output = fit(stringify!($name), input, self.padding, self.pool_size.0, strides)?;
                with_channels(output, channels)
            }

            fn call(&self, x: &Var, _weights: Weights<'_>, _pass: &mut Pass) -> Result<Var> {
                let strides = self.strides.unwrap_or(self.pool_size).0;
                Ok(x.$method(&PoolOptions::new(self.pool_size.0).stride(strides).padding(self.padding.op()))?)
            }

            fn keeps_mask(&self) -> bool {
                false
            }
        }
    )*};
}

pooling! {
    /// The largest value of each window of steps.
    ///
    /// # Shapes
    /// `[batch, steps, channels]` to `[batch, new_steps, channels]`.
    MaxPooling1D 1 max_pool1d;
    /// The largest value of each window.
    ///
    /// # Shapes
    /// `[batch, height, width, channels]` to `[batch, new_height, new_width, channels]`.
    MaxPooling2D 2 max_pool2d;
    /// The largest value of each window of a volume.
    ///
    /// # Shapes
    /// `[batch, depth, height, width, channels]` to `[batch, new_depth, new_height, new_width, channels]`.
    MaxPooling3D 3 max_pool3d;
    /// The mean of each window of steps; where it reaches over the edge, of the part inside.
    ///
    /// # Shapes
    /// `[batch, steps, channels]` to `[batch, new_steps, channels]`.
    AveragePooling1D 1 average_pool1d;
    /// The mean of each window; where it reaches over the edge, of the part inside.
    ///
    /// # Shapes
    /// `[batch, height, width, channels]` to `[batch, new_height, new_width, channels]`.
    AveragePooling2D 2 average_pool2d;
    /// The mean of each window of a volume; where it reaches over the edge, of the part inside.
    ///
    /// # Shapes
    /// `[batch, depth, height, width, channels]` to `[batch, new_depth, new_height, new_width, channels]`.
    AveragePooling3D 3 average_pool3d;
}

/// All axes but the batch and the channels.
fn inner<const N: usize>(keepdims: bool) -> Axes {
    let axes: [isize; N] = std::array::from_fn(|i| i as isize + 1);
    if keepdims { keep(axes) } else { axes.into_axes() }
}

/// Pools over the whole of `N` dimensions.
macro_rules! global {
    ($($(#[$doc:meta])* $name:ident $n:literal |$x:ident, $axes:ident| $fold:expr;)*) => {$(
        settings! {
            $(#[$doc])*
            $name {
                /// Whether the dimensions stay, with length 1.
                keepdims: bool = false;
                /// Where the channels are.
                data_format: DataFormat = DataFormat::ChannelsLast;
            }
        }

        impl $name {
            /// The layer.
            pub fn new() -> $name {
                $name::default()
            }
        }

        impl AnyLayer for $name {
            described!(any);

            fn infer(&self, inputs: &[Shape]) -> Result<Vec<Shape>> {
                let [input] = arity(stringify!($name), inputs)?;
                let (_, channels) = space::<$n>(stringify!($name), &self.data_format.computed(input, 0)?)?;
                Ok(vec![match self.keepdims {
                    true => self.data_format.given(&with_channels([1; $n], channels)?, 0)?,
                    false => Shape::new(&[channels])?,
                }])
            }

            fn run(&self, x: &[Signal], _weights: Weights<'_>, _pass: &mut Pass) -> Result<Vec<Signal>> {
                let [x] = arity(stringify!($name), x)?;
                let $x = &Signal::new(self.data_format.computed_batch(&x.value, 0)?).masked(x.mask.clone());
                let $axes = inner::<$n>(self.keepdims);
                Ok(vec![Signal::new(self.data_format.given_batch(&$fold?, 0)?)])
            }
        }
    )*};
}

/// The mean over the steps that count.
fn mean_of_steps(x: &Signal, axes: Axes) -> Result<Var> {
    let Some(mask) = x.mask_for(x.shape()).filter(|mask| Value::shape(mask).rank() == 2) else {
        return Ok(x.value.mean(axes)?);
    };
    let counts = mask.cast(Value::dtype(&x.value))?.unsqueeze(-1)?;
    // The mean of no step is 0.
    Ok(x.value.mul(&counts)?.sum(axes.clone())?.div(&counts.sum(axes)?.maximum(1.0)?)?)
}

global! {
    /// The largest value of each channel over all steps.
    ///
    /// # Shapes
    /// `[batch, steps, channels]` to `[batch, channels]`.
    GlobalMaxPooling1D 1 |x, axes| x.value.amax(axes);
    /// The largest value of each channel over the whole image.
    ///
    /// # Shapes
    /// `[batch, height, width, channels]` to `[batch, channels]`.
    GlobalMaxPooling2D 2 |x, axes| x.value.amax(axes);
    /// The largest value of each channel over the whole volume.
    ///
    /// # Shapes
    /// `[batch, depth, height, width, channels]` to `[batch, channels]`.
    GlobalMaxPooling3D 3 |x, axes| x.value.amax(axes);
    /// The mean of each channel over all steps, or over those that its mask counts.
    ///
    /// # Shapes
    /// `[batch, steps, channels]` to `[batch, channels]`.
    GlobalAveragePooling1D 1 |x, axes| mean_of_steps(x, axes);
    /// The mean of each channel over the whole image.
    ///
    /// # Shapes
    /// `[batch, height, width, channels]` to `[batch, channels]`.
    GlobalAveragePooling2D 2 |x, axes| x.value.mean(axes);
    /// The mean of each channel over the whole volume.
    ///
    /// # Shapes
    /// `[batch, depth, height, width, channels]` to `[batch, channels]`.
    GlobalAveragePooling3D 3 |x, axes| x.value.mean(axes);
}
