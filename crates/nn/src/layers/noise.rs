//! Random noise and silence, against overfitting; and penalties for activity.

use super::format::{DataFormat, with_data_format};
use super::require;
use super::settings::{described, settings};
use crate::layer::{Layer, Weights};
use crate::{Error, Pass, Regularizer, Result};
use kiln_autograd::ops::{ArithmeticOps, CastOps, ComparisonOps, DropoutOps, SelectOps, Value, ViewOps};
use kiln_autograd::{Shape, Var};

/// An error unless the rate is a fraction.
fn check_rate(class: &str, rate: f64, below_one: bool) -> Result<()> {
    if (0.0..=1.0).contains(&rate) && !(below_one && rate == 1.0) {
        return Ok(());
    }
    let range = if below_one { "below 1" } else { "to 1" };
    let help = format!("give a number from 0 {range}, such as 0.5");
    Err(Error::config(format!("{class}: the rate {rate} is no fraction"), help))
}

/// An error unless noise of this shape broadcasts to samples of the input's.
fn check_noise(class: &str, noise: Option<&[Option<usize>]>, input: &Shape) -> Result<()> {
    let Some(noise) = noise else { return Ok(()) };
    let fits = |(noise, length): (&Option<usize>, &usize)| noise.is_none_or(|noise| noise == 1 || noise == *length);
    if noise.len() == input.rank() + 1 && noise[0] != Some(0) && noise[1..].iter().zip(&input[..]).all(fits) {
        return Ok(());
    }
    let text = format!("{class}: a noise_shape of {noise:?} does not fit samples of {input}");
    let help = format!("give {} lengths, the batch's first: each None, 1 or that of the sample", input.rank() + 1);
    Err(Error::config(text, help))
}

/// The shape of noise for a batch.
fn noise_dims(noise: &[Option<usize>], x: &Var) -> Vec<usize> {
    noise.iter().zip(&Value::shape(x)[..]).map(|(noise, length)| noise.unwrap_or(*length)).collect()
}

settings! {
    /// While training, sets each element to 0 with probability `rate` and multiplies the others by `1 / (1 - rate)`, which
    /// keeps the mean (Srivastava et al. 2014). Otherwise passes its input on.
    Dropout {
        rate: f64 = 0.5, new;
        /// The shape of what is drawn, with the batch: where it is 1, elements are dropped together, where it is `None`, it is
        /// that of the input. `[None, Some(1), None]` drops the same features at all steps. Each element by itself unless set.
        noise_shape: Option<Vec<Option<usize>>> = None, some Vec<Option<usize>>;
    }
}

impl Dropout {
    /// A layer that drops this fraction.
    pub fn new(rate: f64) -> Dropout {
        Dropout { rate, ..Dropout::default() }
    }
}

impl Layer for Dropout {
    described!();

    fn output_shape(&self, input: &Shape) -> Result<Shape> {
        check_noise("Dropout", self.noise_shape.as_deref(), input)?;
        check_rate("Dropout", self.rate, false).map(|()| *input)
    }

    fn call(&self, x: &Var, _weights: Weights<'_>, pass: &mut Pass) -> Result<Var> {
        let Some(shape) = &self.noise_shape else { return dropped(x, self.rate, pass) };
        if !pass.is_training() || self.rate == 0.0 {
            return Ok(x.clone());
        }
        Ok(x.mul(&silence(&noise_dims(shape, x), x, self.rate, pass)?)?)
    }
}

/// `x` with elements dropped, in training.
pub(super) fn dropped(x: &Var, rate: f64, pass: &mut Pass) -> Result<Var> {
    if !pass.is_training() || rate == 0.0 {
        return Ok(x.clone());
    }
    Ok(x.dropout(pass.key(), rate)?)
}

/// A factor of 0 or `1 / (1 - rate)` for each element of a shape, to be broadcast.
pub(super) fn silence(shape: &[usize], like: &Var, rate: f64, pass: &mut Pass) -> Result<Var> {
    let ones = like.beside(kiln_autograd::Tensor::ones(shape)?.cast(Value::dtype(like))?)?;
    Ok(Var::new(ones.tensor().dropout(pass.key(), rate)?))
}

macro_rules! spatial {
    ($($(#[$doc:meta])* $name:ident $n:literal;)*) => {$(
        settings! {
            $(#[$doc])*
            $name {
                rate: f64 = 0.5, new;
                /// Where the channels are.
                data_format: DataFormat = DataFormat::ChannelsLast;
            }
        }

        impl $name {
            /// A layer that drops this fraction of the channels.
            pub fn new(rate: f64) -> $name {
                $name { rate, ..$name::default() }
            }
        }

        impl Layer for $name {
            described!();
            with_data_format!();

            fn output_shape(&self, input: &Shape) -> Result<Shape> {
                super::window::space::<$n>(stringify!($name), input)?;
                check_rate(stringify!($name), self.rate, false).map(|()| *input)
            }

            fn call(&self, x: &Var, _weights: Weights<'_>, pass: &mut Pass) -> Result<Var> {
                if !pass.is_training() || self.rate == 0.0 {
                    return Ok(x.clone());
                }
                let shape = Value::shape(x);
                let dims = [&[shape[0]], &[1; $n][..], &[shape[$n + 1]]].concat();
                Ok(x.mul(&silence(&dims, x, self.rate, pass)?)?)
            }
        }
    )*};
}

spatial! {
    /// [`Dropout`] of whole channels of a sequence: `[batch, steps, channels]`.
    SpatialDropout1D 1;
    /// [`Dropout`] of whole channels of an image: `[batch, height, width, channels]`.
    SpatialDropout2D 2;
    /// [`Dropout`] of whole channels of a volume: `[batch, depth, height, width, channels]`.
    SpatialDropout3D 3;
}

settings! {
    /// While training, adds normally distributed noise.
    GaussianNoise {
        stddev: f64 = 0.1, new;
    }
}

impl GaussianNoise {
    /// Noise of this deviation.
    pub fn new(stddev: f64) -> GaussianNoise {
        GaussianNoise { stddev }
    }
}

impl Layer for GaussianNoise {
    described!();

    fn output_shape(&self, input: &Shape) -> Result<Shape> {
        let holds = self.stddev.is_finite() && self.stddev >= 0.0;
        require(holds, "GaussianNoise", "stddev", self.stddev, "a finite number from 0, such as 0.1")?;
        Ok(*input)
    }

    fn call(&self, x: &Var, _weights: Weights<'_>, pass: &mut Pass) -> Result<Var> {
        if !pass.is_training() || self.stddev == 0.0 {
            return Ok(x.clone());
        }
        let noise =
            pass.key().on(x.tensor().device()).normal_as(*Value::shape(x), 0.0, self.stddev, Value::dtype(x))?;
        Ok(x.add(&Var::new(noise))?)
    }
}

settings! {
    /// While training, multiplies by normally distributed factors of mean 1 and deviation `√(rate / (1 - rate))`, which is that of
    /// [`Dropout`].
    GaussianDropout {
        rate: f64 = 0.5, new;
    }
}

impl GaussianDropout {
    /// Noise like that of a dropout of this fraction.
    pub fn new(rate: f64) -> GaussianDropout {
        GaussianDropout { rate }
    }
}

impl Layer for GaussianDropout {
    described!();

    fn output_shape(&self, input: &Shape) -> Result<Shape> {
        check_rate("GaussianDropout", self.rate, true).map(|()| *input)
    }

    fn call(&self, x: &Var, _weights: Weights<'_>, pass: &mut Pass) -> Result<Var> {
        if !pass.is_training() || self.rate == 0.0 {
            return Ok(x.clone());
        }
        let deviation = (self.rate / (1.0 - self.rate)).sqrt();
        let factor = pass.key().on(x.tensor().device()).normal_as(*Value::shape(x), 1.0, deviation, Value::dtype(x))?;
        Ok(x.mul(&Var::new(factor))?)
    }
}

settings! {
    /// [`Dropout`] that keeps the mean and the variance of what a [SELU](crate::Activation::Selu) gives: dropped elements get its
    /// negative saturation value (Klambauer et al. 2017).
    AlphaDropout {
        rate: f64 = 0.5, new;
        /// The shape of what is drawn, as that of [`Dropout`].
        noise_shape: Option<Vec<Option<usize>>> = None, some Vec<Option<usize>>;
    }
}

impl AlphaDropout {
    /// A layer that drops this fraction.
    pub fn new(rate: f64) -> AlphaDropout {
        AlphaDropout { rate, ..AlphaDropout::default() }
    }
}

impl Layer for AlphaDropout {
    described!();

    fn output_shape(&self, input: &Shape) -> Result<Shape> {
        check_noise("AlphaDropout", self.noise_shape.as_deref(), input)?;
        check_rate("AlphaDropout", self.rate, true).map(|()| *input)
    }

    fn call(&self, x: &Var, _weights: Weights<'_>, pass: &mut Pass) -> Result<Var> {
        if !pass.is_training() || self.rate == 0.0 {
            return Ok(x.clone());
        }
        // -α · scale of SELU.
        let low = -1.758_099_340_847_376_6;
        let a = ((1.0 - self.rate) * (1.0 + self.rate * low * low)).sqrt().recip();
        let b = -a * low * self.rate;
        let shape = *Value::shape(x);
        let drawn = match &self.noise_shape {
            Some(noise) => Shape::new(&noise_dims(noise, x))?,
            None => shape,
        };
        let keeps = pass.key().on(x.tensor().device()).uniform(drawn, 0.0, 1.0)?.ge(self.rate)?.expand(shape)?;
        let low = Var::new(kiln_autograd::Tensor::scalar(low, Value::dtype(x)));
        Ok(Var::new(keeps).select(x, &low)?.mul(a)?.add(b)?)
    }
}

settings! {
    /// Passes its input on, and adds `l1 · Σ |x| + l2 · Σ x²` to the loss.
    ActivityRegularization {
        /// The factor of the sizes.
        l1: f64 = 0.0;
        /// The factor of the squares.
        l2: f64 = 0.0;
    }
}

impl ActivityRegularization {
    /// With these factors.
    pub fn new(l1: f64, l2: f64) -> ActivityRegularization {
        ActivityRegularization { l1, l2 }
    }
}

impl Layer for ActivityRegularization {
    described!();

    fn output_shape(&self, input: &Shape) -> Result<Shape> {
        for (name, factor) in [("l1", self.l1), ("l2", self.l2)] {
            let holds = factor.is_finite() && factor >= 0.0;
            require(holds, "ActivityRegularization", name, factor, "a finite number from 0, such as 0.01")?;
        }
        Ok(*input)
    }

    fn call(&self, x: &Var, _weights: Weights<'_>, _pass: &mut Pass) -> Result<Var> {
        Ok(x.clone())
    }

    fn activity_regularizer(&self) -> Option<Regularizer> {
        Some(Regularizer::L1L2 { l1: self.l1, l2: self.l2 })
    }
}
