//! Layers that summarize windows of an image, channel by channel.

use super::conv2d::{Padding, fit, image};
use super::to_config;
use crate::layer::Layer;
use crate::{Parameter, Pass, Result};
use kiln_autograd::ops::{Pool2dOptions, PoolOps, StatisticsOps};
use kiln_autograd::{Shape, Var};
use serde::{Deserialize, Serialize};

macro_rules! pooling {
    ($($(#[$doc:meta])* $name:ident $method:ident;)*) => {$(
        $(#[$doc])*
        ///
        /// # Shapes
        /// `[batch, height, width, channels]` to `[batch, new_height, new_width, channels]`.
        #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
        pub struct $name {
            pool_size: [usize; 2],
            strides: [usize; 2],
            padding: Padding,
        }

        impl $name {
            /// Windows of `pool_size` by `pool_size` pixels, side by side, inside the image.
            pub fn new(pool_size: usize) -> $name {
                $name { pool_size: [pool_size; 2], strides: [pool_size; 2], padding: Padding::Valid }
            }

            /// Height and width of the window; the strides become the same.
            #[must_use]
            pub fn pool_size(mut self, size: [usize; 2]) -> $name {
                (self.pool_size, self.strides) = (size, size);
                self
            }

            /// From a window to the next, vertically and horizontally.
            #[must_use]
            pub fn strides(mut self, strides: [usize; 2]) -> $name {
                self.strides = strides;
                self
            }

            /// What happens at the edges.
            #[must_use]
            pub fn padding(mut self, padding: Padding) -> $name {
                self.padding = padding;
                self
            }
        }

        impl Layer for $name {
            fn class(&self) -> &'static str {
                stringify!($name)
            }

            fn output_shape(&self, input: &Shape) -> Result<Shape> {
                let [_, _, channels] = image(stringify!($name), input)?;
                let [height, width] = fit(stringify!($name), input, self.padding, self.pool_size, self.strides)?;
                Ok(Shape::new(&[height, width, channels])?)
            }

            fn call(&self, x: &Var, _weights: &[Parameter], _pass: &mut Pass) -> Result<Var> {
                let options = Pool2dOptions::new(self.pool_size).stride(self.strides).padding(self.padding.op());
                Ok(x.$method(&options)?)
            }

            fn config(&self) -> serde_json::Value {
                to_config(self)
            }
        }
    )*};
}

pooling! {
    /// The largest value of each window.
    MaxPooling2D max_pool2d;
    /// The mean of each window; where it reaches over the edge, of the part inside.
    AveragePooling2D average_pool2d;
}

/// The mean of each channel over the whole image.
///
/// # Shapes
/// `[batch, height, width, channels]` to `[batch, channels]`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct GlobalAveragePooling2D {}

impl GlobalAveragePooling2D {
    /// The layer.
    pub fn new() -> GlobalAveragePooling2D {
        GlobalAveragePooling2D {}
    }
}

impl Layer for GlobalAveragePooling2D {
    fn class(&self) -> &'static str {
        "GlobalAveragePooling2D"
    }

    fn output_shape(&self, input: &Shape) -> Result<Shape> {
        let [_, _, channels] = image("GlobalAveragePooling2D", input)?;
        Ok(Shape::new(&[channels])?)
    }

    fn call(&self, x: &Var, _weights: &[Parameter], _pass: &mut Pass) -> Result<Var> {
        Ok(x.mean([1, 2])?)
    }

    fn config(&self) -> serde_json::Value {
        to_config(self)
    }
}
