//! LSTMs whose products are convolutions.

use super::{Cell, Drawn, recurrent_settings};
use crate::layer::{Weight, Weights};
use crate::layers::format::DataFormat;
use crate::layers::noise::silence;
use crate::layers::settings::{Settings, Size, write};
use crate::layers::window::{Padding, fit, reach, space, with_channels};
use crate::{Activation, Constraint, Error, Initializer, Pass, Regularizer, Result};
use kiln_autograd::ops::{ArithmeticOps, ConvOps, ConvOptions, Padding as OpPadding, Value, ViewOps};
use kiln_autograd::{Shape, Var};
use serde_json::Value as Json;

/// ConvLSTMs in `N` dimensions.
macro_rules! conv_lstm {
    ($($n:literal $method:ident $(#[$cell_doc:meta])* $cell:ident, $(#[$doc:meta])* $layer:ident;)*) => {$(
        recurrent_settings! {
            $(#[$cell_doc])* $cell, $(#[$doc])* $layer {
                filters: usize = 0, new;
                kernel_size: Size<$n> = Size::default(), new;
                /// From a window of the input to the next.
                strides: Size<$n> = Size::default(), into;
                /// What happens at the edges of the input.
                padding: Padding = Padding::Valid;
                /// Where the channels are.
                data_format: DataFormat = DataFormat::ChannelsLast;
                /// Positions from one element of a window of the input to the next.
                dilation_rate: Size<$n> = Size::default(), into;
                /// What is applied to the new state.
                activation: Activation = Activation::Tanh, into;
                /// What is applied to the gates.
                recurrent_activation: Activation = Activation::Sigmoid, into;
                /// Whether a bias is added.
                use_bias: bool = true;
                /// What the kernel starts from.
                kernel_initializer: Initializer = Initializer::GlorotUniform;
                /// What the recurrent kernel starts from.
                recurrent_initializer: Initializer = Initializer::Orthogonal { gain: 1.0 };
                /// What the bias starts from.
                bias_initializer: Initializer = Initializer::Zeros;
                /// Whether the bias of the gate that forgets starts from 1.
                unit_forget_bias: bool = true;
                /// What the kernel adds to the loss.
                kernel_regularizer: Option<Regularizer> = None, some Regularizer;
                /// What the recurrent kernel adds to the loss.
                recurrent_regularizer: Option<Regularizer> = None, some Regularizer;
                /// What the bias adds to the loss.
                bias_regularizer: Option<Regularizer> = None, some Regularizer;
                /// What holds for the kernel after each update.
                kernel_constraint: Option<Constraint> = None, some Constraint;
                /// What holds for the recurrent kernel after each update.
                recurrent_constraint: Option<Constraint> = None, some Constraint;
                /// What holds for the bias after each update.
                bias_constraint: Option<Constraint> = None, some Constraint;
                /// The part of the input that training leaves out, the same at all steps.
                dropout: f64 = 0.0;
                /// The part of the state that training leaves out, the same at all steps.
                recurrent_dropout: f64 = 0.0;
            }
        }

        impl $layer {
            /// A layer of so many filters that see windows of this size, with Keras's defaults.
            pub fn new(filters: usize, kernel_size: impl Into<Size<$n>>) -> $layer {
                $layer { filters, kernel_size: kernel_size.into(), ..$layer::default() }
            }
        }

        impl $cell {
            /// A cell of so many filters that see windows of this size, with Keras's defaults.
            pub fn new(filters: usize, kernel_size: impl Into<Size<$n>>) -> $cell {
                $cell { filters, kernel_size: kernel_size.into(), ..$cell::default() }
            }
        }

        impl Cell for $cell {
            fn class(&self) -> &str {
                stringify!($cell)
            }

            fn data_format(&self) -> DataFormat {
                self.data_format
            }

            fn state_shapes(&self, input: &Shape) -> Result<Vec<Shape>> {
                let class = stringify!($layer);
                space::<$n>(class, input)?;
                self.activation.checked_within(class)?;
                self.recurrent_activation.checked_within(class)?;
                if self.filters == 0 || self.dilation_rate.0.contains(&0) || self.padding == Padding::Causal {
                    let text = format!(
                        "{class}: {} filters, dilation {:?} and padding {:?}",
                        self.filters, self.dilation_rate.0, self.padding
                    );
                    return Err(Error::config(text, "filters and dilation start at 1, and padding is Valid or Same"));
                }
                for (name, rate) in [("dropout", self.dropout), ("recurrent_dropout", self.recurrent_dropout)] {
                    let holds = (0.0..1.0).contains(&rate);
                    crate::layers::require(holds, class, name, rate, "a number from 0 to below 1")?;
                }
                let window = reach(self.kernel_size.0, self.dilation_rate.0);
                let state = with_channels(fit(class, input, self.padding, window, self.strides)?, self.filters)?;
                Ok(vec![state; 2])
            }

            fn weights(&self, input: &Shape) -> Result<Vec<Weight>> {
                let channels = input.last().copied().unwrap_or(1);
                let width = self.filters.saturating_mul(4);
                let shape = |from: usize| [&self.kernel_size.0[..], &[from, width]].concat();
                let kernel = Weight::new("kernel", shape(channels), self.kernel_initializer)
                    .regularizer(self.kernel_regularizer)
                    .constraint(self.kernel_constraint);
                let recurrent = Weight::new("recurrent_kernel", shape(self.filters), self.recurrent_initializer)
                    .regularizer(self.recurrent_regularizer)
                    .constraint(self.recurrent_constraint);
                let mut weights = vec![kernel, recurrent];
                if self.use_bias {
                    let mut bias = Weight::new("bias", [width], self.bias_initializer)
                        .regularizer(self.bias_regularizer)
                        .constraint(self.bias_constraint);
                    if self.unit_forget_bias && self.bias_initializer == Initializer::Zeros {
                        bias = bias.starting_from(super::cells::forget_first(self.filters)?);
                    }
                    weights.push(bias);
                }
                Ok(weights)
            }

            fn draw(&self, x: &Var, pass: &mut Pass) -> Result<Drawn> {
                let shape = Value::shape(x);
                let state = self.state_shapes(&Shape::new(&shape[2..])?)?[0];
                let mut draw = |rate: f64, dims: Vec<usize>| -> Result<Option<Var>> {
                    let drops = pass.is_training() && rate > 0.0;
                    drops.then(|| silence(&dims, x, rate, pass)).transpose()
                };
                let input = draw(self.dropout, [&[shape[0], 1], &shape[2..]].concat())?;
                let state = draw(self.recurrent_dropout, [&shape[..1], &state[..]].concat())?;
                Ok(Drawn { own: vec![input, state], parts: Vec::new() })
            }

            fn project(&self, x: &Var, weights: Weights<'_>, drawn: &Drawn, pass: &mut Pass) -> Result<Var> {
                let x = match &drawn.own[0] {
                    Some(left) => x.mul(left)?,
                    None => x.clone(),
                };
                let shape = *Value::shape(&x);
                // All steps are convolved at once.
                let flat = x.reshape([&[shape[0] * shape[1]], &shape[2..]].concat())?;
                let options = ConvOptions::new()
                    .stride(self.strides.0)
                    .padding(self.padding.op())
                    .dilation(self.dilation_rate.0);
                let mut z = flat.$method(&pass.parameter(weights.get("kernel")?), &options)?;
                if let Some(bias) = weights.find("bias") {
                    z = z.add(&pass.parameter(bias))?;
                }
                let apart = [&shape[..2], &Value::shape(&z)[1..]].concat();
                Ok(z.reshape(apart)?)
            }

            fn step(
                &self,
                x: &Var,
                states: &[Var],
                weights: Weights<'_>,
                drawn: &Drawn,
                pass: &mut Pass,
            ) -> Result<(Var, Vec<Var>)> {
                let h = match &drawn.own[1] {
                    Some(left) => states[0].mul(left)?,
                    None => states[0].clone(),
                };
                let options = ConvOptions::new().padding(OpPadding::Same);
                let inner = h.$method(&pass.parameter(weights.get("recurrent_kernel")?), &options)?;
                let z = x.add(&inner)?;
                let gate = |i: usize| z.slice(-1, (i * self.filters) as isize..((i + 1) * self.filters) as isize);
                let opened = |i: usize| self.recurrent_activation.apply(&gate(i)?);
                let new = self.activation.apply(&gate(2)?)?;
                let c = opened(1)?.mul(&states[1])?.add(&opened(0)?.mul(&new)?)?;
                let h = opened(3)?.mul(&self.activation.apply(&c)?)?;
                Ok((h.clone(), vec![h, c]))
            }

            fn config(&self) -> Json {
                write(&self.settings())
            }
        }
    )*};
}

conv_lstm! {
    1 conv1d
    /// A step of [`ConvLSTM1D`].
    ConvLSTM1DCell,
    /// An [`LSTM`](super::LSTM) over sequences of sequences, `[time, steps, channels]`, whose products are convolutions (Shi et al. 2015).
    ConvLSTM1D;
    2 conv2d
    /// A step of [`ConvLSTM2D`].
    ConvLSTM2DCell,
    /// An [`LSTM`](super::LSTM) over sequences of images, `[time, height, width, channels]`, whose products are convolutions
    /// (Shi et al. 2015).
    ConvLSTM2D;
    3 conv3d
    /// A step of [`ConvLSTM3D`].
    ConvLSTM3DCell,
    /// An [`LSTM`](super::LSTM) over sequences of volumes, `[time, depth, height, width, channels]`, whose products are convolutions
    /// (Shi et al. 2015).
    ConvLSTM3D;
}
