//! Layers that bring raw numbers and images into the form that a model learns from.

use super::format::{DataFormat, with_data_format};
use super::merge::sample_axis;
use super::settings::{described, settings, words};
use super::window::space;
use crate::layer::{Layer, Weights};
use crate::{Error, Numbers, Pass, Result};
use kiln_autograd::ops::{
    ArithmeticOps, CastOps, ComparisonOps, GatherOps, ReduceOps, Resize, ResizeOps, SelectOps, StatisticsOps, Value,
    ViewOps,
};
use kiln_autograd::{DType, Shape, Tensor, Var};

/// Numbers that may be integers, such as the bytes of an image, as those that weights are made of.
pub(super) fn floats(x: &Var) -> Result<Var> {
    Ok(if Value::dtype(x).is_float() { x.clone() } else { x.cast(DType::F32)? })
}

/// Checks that there is a number for each element along the last axis, or one for all.
fn check_numbers(setting: &str, numbers: &Numbers, input: &Shape) -> Result<()> {
    for value in numbers.iter() {
        super::require(value.is_finite(), "Rescaling", setting, *value, "finite numbers")?;
    }
    if numbers.len() == 1 || Some(numbers.len()) == input.last().copied() {
        return Ok(());
    }
    let text = format!("Rescaling: {setting} has {} numbers for samples of {input}", numbers.len());
    Err(Error::config(text, "give one number, or one for each element along the last axis"))
}

/// What a value is multiplied by, or what is added to it.
fn operand(numbers: &Numbers, x: &Var, dtype: DType) -> Result<Var> {
    Ok(match numbers[..] {
        [number] => Var::new(Tensor::number(number)),
        _ => x.beside(Tensor::from_slice(numbers, [numbers.len()])?.cast(dtype)?)?,
    })
}

settings! {
    /// `x · scale + offset`: `Rescaling::new(1.0 / 255.0)` for bytes, `Rescaling::new([1.0, 0.5, 0.5])` with a number for each channel.
    ///
    /// # Shapes
    /// `[batch, …, n]` to the same; `scale` and `offset` are one number or `n`.
    Rescaling {
        scale: Numbers = Numbers::from(1.0), new;
        /// What is added.
        offset: Numbers = Numbers::from(0.0), into;
    }
}

impl Rescaling {
    /// Multiplies by this.
    pub fn new(scale: impl Into<Numbers>) -> Rescaling {
        Rescaling { scale: scale.into(), ..Rescaling::default() }
    }
}

impl Layer for Rescaling {
    described!();

    fn output_shape(&self, input: &Shape) -> Result<Shape> {
        check_numbers("scale", &self.scale, input)?;
        check_numbers("offset", &self.offset, input)?;
        Ok(*input)
    }

    fn call(&self, x: &Var, _weights: Weights<'_>, _pass: &mut Pass) -> Result<Var> {
        let x = floats(x)?;
        let dtype = Value::dtype(&x);
        let y = x.mul(&operand(&self.scale, &x, dtype)?)?;
        Ok(if self.offset[..] == [0.0] { y } else { y.add(&operand(&self.offset, &x, dtype)?)? })
    }
}

settings! {
    /// `(x - mean) / √variance`, with a mean and a variance for each element along an axis, which are known or have been measured.
    ///
    /// ```
    /// use kiln_nn::{Tensor, layers::Normalization};
    /// let layer = Normalization::new().adapt(&Tensor::new([[1.0, 10.0], [3.0, 30.0]]))?;
    /// # let _ = layer;
    /// # Ok::<(), kiln_nn::Error>(())
    /// ```
    ///
    /// # Shapes
    /// `[batch, …]` to the same.
    Normalization {
        /// The axis, counted with the batch, along which each element has a mean; without one there is one mean for all.
        axis: Option<isize> = Some(-1);
        /// The means: one, or one for each element along the axis.
        mean: Vec<f64> = Vec::new(), into;
        /// The variances, as many as means.
        variance: Vec<f64> = Vec::new(), into;
        /// Whether it does the opposite: `x · √variance + mean`.
        invert: bool = false;
    }
}

impl Normalization {
    /// Along the last axis, for [`Normalization::adapt`].
    pub fn new() -> Normalization {
        Normalization::default()
    }

    /// Measures mean and variance of data.
    ///
    /// # Errors
    /// An axis that the data do not have.
    pub fn adapt(mut self, data: &Tensor) -> Result<Normalization> {
        let rank = data.rank();
        let kept = match self.axis {
            Some(axis) => Some(sample_axis("Normalization", axis, rank.saturating_sub(1))? + 1),
            None => None,
        };
        let axes: Vec<isize> = (0..rank).filter(|axis| Some(*axis) != kept).map(|axis| axis as isize).collect();
        let data = data.cast(DType::F64)?;
        self.mean = data.mean(&axes)?.to_vec_as();
        self.variance = data.var(&axes, 0.0)?.to_vec_as();
        Ok(self)
    }

    /// A number for each element along the axis, in the shape that broadcasts along it.
    fn along(&self, values: &[f64], x: &Var) -> Result<Var> {
        let rank = Value::shape(x).rank();
        let mut dims = vec![1; rank];
        if let (Some(axis), true) = (self.axis, values.len() > 1) {
            dims[sample_axis("Normalization", axis, rank - 1)? + 1] = values.len();
        }
        let values = Tensor::from_slice(values, dims)?;
        Ok(x.beside(values.cast(Value::dtype(x))?)?)
    }
}

impl Layer for Normalization {
    described!();

    fn output_shape(&self, input: &Shape) -> Result<Shape> {
        if self.mean.is_empty() || self.mean.len() != self.variance.len() {
            let text = format!("Normalization: {} means and {} variances", self.mean.len(), self.variance.len());
            return Err(Error::config(text, "measure them, .adapt(&data)?, or give as many of both"));
        }
        for (mean, variance) in self.mean.iter().zip(&self.variance) {
            super::require(mean.is_finite(), "Normalization", "a mean", *mean, "finite means")?;
            let holds = variance.is_finite() && *variance >= 0.0;
            super::require(holds, "Normalization", "a variance", *variance, "finite variances from 0")?;
        }
        let (elements, place) = match self.axis {
            Some(axis) => {
                (input[sample_axis("Normalization", axis, input.rank())?], format!("elements along axis {axis}"))
            }
            None => (1, "whole".to_owned()),
        };
        if self.mean.len() != 1 && self.mean.len() != elements {
            let text = format!("Normalization: {} means for {elements} {place}", self.mean.len());
            return Err(Error::config(
                text,
                "adapt it to data of this shape, or name the axis that the means are along",
            ));
        }
        Ok(*input)
    }

    fn call(&self, x: &Var, _weights: Weights<'_>, _pass: &mut Pass) -> Result<Var> {
        let x = floats(x)?;
        let deviations: Vec<f64> = self.variance.iter().map(|v| v.sqrt().max(1e-7)).collect();
        let (mean, deviation) = (self.along(&self.mean, &x)?, self.along(&deviations, &x)?);
        Ok(match self.invert {
            true => x.mul(&deviation)?.add(&mean)?,
            false => x.sub(&mean)?.div(&deviation)?,
        })
    }
}

/// The form in which [`CategoryEncoding`] and [`Discretization`] give categories.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OutputMode {
    /// The number.
    Int,
    /// A vector with a 1 in the place of the category.
    OneHot,
    /// A vector for each sample with 1 in the place of each category it has.
    #[default]
    MultiHot,
    /// A vector for each sample with how often it has each category.
    Count,
}

words!("output mode" OutputMode {
    "int" => OutputMode::Int, "one_hot" => OutputMode::OneHot, "multi_hot" => OutputMode::MultiHot,
    "count" => OutputMode::Count,
});

impl OutputMode {
    fn output_shape(self, class: &str, input: &Shape, tokens: usize) -> Result<Shape> {
        let text = |help: &str| Error::config(format!("{class}: samples of shape {input} in this mode"), help);
        match (self, &input[..]) {
            (OutputMode::Int, _) => Ok(*input),
            // The last dimension, of one category, becomes the vector.
            (OutputMode::OneHot, [rest @ .., 1]) => Ok(Shape::new(&[rest, &[tokens]].concat())?),
            (OutputMode::OneHot, all) => Ok(Shape::new(&[all, &[tokens]].concat())?),
            (_, [rest @ .., _]) => Ok(Shape::new(&[rest, &[tokens]].concat())?),
            (_, []) => Err(text("give samples of at least one dimension: the categories of each")),
        }
    }

    /// Categories, of which there are `tokens`, in this form.
    fn encode(self, class: &str, x: &Var, tokens: usize, dtype: DType) -> Result<Var> {
        if self == OutputMode::Int {
            return Ok(x.clone());
        }
        let sample = Shape::new(&Value::shape(x)[1..])?;
        let out = self.output_shape(class, &sample, tokens)?;
        let vectors = x.unsqueeze(-1)?.eq(&x.beside(Tensor::arange(0, tokens as i64, 1)?)?)?.cast(dtype)?;
        let y = match self {
            OutputMode::Int | OutputMode::OneHot => vectors,
            OutputMode::MultiHot => vectors.amax(-2)?,
            OutputMode::Count => vectors.sum(-2)?,
        };
        Ok(y.reshape([&Value::shape(x)[..1], &out[..]].concat())?)
    }
}

settings! {
    /// Categories as vectors. A number that is none of them is an error, as Keras's documentation has it.
    ///
    /// # Shapes
    /// Integers `[batch, n]` to `[batch, num_tokens]`; in the mode `OneHot` each by itself, `[batch, …, 1]` or `[batch, …]` to
    /// `[batch, …, num_tokens]`.
    CategoryEncoding {
        num_tokens: usize = 0, new;
        /// The form of the vectors.
        output_mode: OutputMode = OutputMode::MultiHot;
    }
}

impl CategoryEncoding {
    /// Of the categories from 0 to below this number.
    pub fn new(num_tokens: usize) -> CategoryEncoding {
        CategoryEncoding { num_tokens, ..CategoryEncoding::default() }
    }
}

impl Layer for CategoryEncoding {
    described!();

    fn output_shape(&self, input: &Shape) -> Result<Shape> {
        if self.num_tokens == 0 || self.output_mode == OutputMode::Int {
            let text = format!("CategoryEncoding: {} tokens as {:?}", self.num_tokens, self.output_mode);
            return Err(Error::config(text, "give the number of categories, and a mode of vectors"));
        }
        self.output_mode.output_shape("CategoryEncoding", input, self.num_tokens)
    }

    fn call(&self, x: &Var, _weights: Weights<'_>, _pass: &mut Pass) -> Result<Var> {
        let x = match Value::dtype(x).is_float() {
            // NaN is no category either, and would become 0.
            true => x.eq(x)?.select(x, -1.0)?.cast(DType::I64)?,
            false => x.clone(),
        };
        // One that is no category is an error, and not nothing.
        let categories = x.beside(Tensor::arange(0, self.num_tokens as i64, 1)?)?;
        let known = categories.index_select(0, &x.flatten(0, -1)?).map_err(|error| {
            Error::from(error).note(format_args!("CategoryEncoding has num_tokens {}: 0 to below it", self.num_tokens))
        })?;
        let known = known.reshape(*Value::shape(&x))?;
        self.output_mode.encode("CategoryEncoding", &known, self.num_tokens, DType::F32)
    }

    fn keeps_mask(&self) -> bool {
        false
    }
}

settings! {
    /// The number of the range that each value lies in: 0 below the first boundary, 1 from there on.
    ///
    /// # Shapes
    /// `[batch, …]` to the same, or to that of [`CategoryEncoding`] in the other modes.
    Discretization {
        bin_boundaries: Vec<f64> = Vec::new(), new;
        /// The form of the numbers.
        output_mode: OutputMode = OutputMode::Int;
    }
}

impl Discretization {
    /// Between these boundaries, in ascending order.
    pub fn new(bin_boundaries: impl Into<Vec<f64>>) -> Discretization {
        Discretization { bin_boundaries: bin_boundaries.into(), ..Discretization::default() }
    }

    /// With boundaries that put as many values of the data in each of `bins` ranges, about.
    ///
    /// # Errors
    /// No data, or fewer than two ranges.
    pub fn adapt(mut self, data: &Tensor, bins: usize) -> Result<Discretization> {
        let mut values: Vec<f64> = data.to_vec_as();
        values.retain(|value| !value.is_nan());
        values.sort_by(f64::total_cmp);
        if values.is_empty() || bins < 2 {
            let text = format!("Discretization: {bins} ranges for {} values", values.len());
            return Err(Error::config(text, "give data, and ask for at least two ranges"));
        }
        let quantile = |i: usize| {
            let at = (values.len() - 1) as f64 * i as f64 / bins as f64;
            let (low, part) = (at.floor() as usize, at.fract());
            values[low] + part * (values[(low + 1).min(values.len() - 1)] - values[low])
        };
        self.bin_boundaries = (1..bins).map(quantile).collect();
        Ok(self)
    }
}

impl Layer for Discretization {
    described!();

    fn output_shape(&self, input: &Shape) -> Result<Shape> {
        if self.bin_boundaries.is_empty() || !self.bin_boundaries.is_sorted_by(|a, b| a <= b) {
            let text = format!("Discretization: the boundaries {:?}", self.bin_boundaries);
            return Err(Error::config(text, "give them in ascending order, or measure them: .adapt(&data, bins)?"));
        }
        self.output_mode.output_shape("Discretization", input, self.bin_boundaries.len() + 1)
    }

    fn call(&self, x: &Var, _weights: Weights<'_>, _pass: &mut Pass) -> Result<Var> {
        let boundaries = Tensor::from_slice(&self.bin_boundaries, [self.bin_boundaries.len()])?;
        let reached = x.unsqueeze(-1)?.ge(&x.beside(boundaries.cast(Value::dtype(&floats(x)?))?)?)?;
        let numbers = reached.cast(DType::I64)?.sum(-1)?;
        self.output_mode.encode("Discretization", &numbers, self.bin_boundaries.len() + 1, DType::F32)
    }

    fn keeps_mask(&self) -> bool {
        false
    }
}

words!("interpolation" Resize {
    "bilinear" => Resize::Bilinear, "nearest" => Resize::Nearest, "bicubic" => Resize::Bicubic, "area" => Resize::Area,
    "lanczos3" => Resize::Lanczos3, "lanczos5" => Resize::Lanczos5,
});

settings! {
    /// Images in another size.
    ///
    /// # Shapes
    /// `[batch, h, w, channels]` to `[batch, height, width, channels]`.
    Resizing {
        height: usize = 0, new;
        width: usize = 0, new;
        /// How pixels are made between pixels.
        interpolation: Resize = Resize::Bilinear;
        /// Whether an image of other proportions loses its margins rather than its proportions.
        crop_to_aspect_ratio: bool = false;
        /// Whether an image of other proportions gets margins rather than other proportions.
        pad_to_aspect_ratio: bool = false;
        /// What margins are filled with.
        fill_value: f64 = 0.0;
        /// Where the channels are.
        data_format: DataFormat = DataFormat::ChannelsLast;
    }
}

impl Resizing {
    /// To this size, bilinearly.
    pub fn new(height: usize, width: usize) -> Resizing {
        Resizing { height, width, ..Resizing::default() }
    }
}

/// The part of `[h, w]` in its middle that has the proportions of `[height, width]`.
fn inner_part([h, w]: [usize; 2], [height, width]: [usize; 2]) -> [usize; 2] {
    let rows = ((w * height) as f64 / width as f64) as usize;
    let columns = ((h * width) as f64 / height as f64) as usize;
    // An image without pixels has no part either.
    [rows.clamp(h.min(1), h), columns.clamp(w.min(1), w)]
}

/// The middle of an image.
fn middle(x: &Var, [height, width]: [usize; 2]) -> Result<Var> {
    let shape = Value::shape(x);
    let (top, left) = ((shape[1] - height) / 2, (shape[2] - width) / 2);
    let rows = x.slice(1, top as isize..(top + height) as isize)?;
    Ok(rows.slice(2, left as isize..(left + width) as isize)?)
}

fn image_size(class: &str, input: &Shape, height: usize, width: usize) -> Result<Shape> {
    let (_, channels) = space::<2>(class, input)?;
    if height == 0 || width == 0 {
        let text = format!("{class}: images of {height} x {width}");
        return Err(Error::config(text, "both start at 1"));
    }
    Ok(Shape::new(&[height, width, channels])?)
}

impl Layer for Resizing {
    described!();
    with_data_format!();

    fn output_shape(&self, input: &Shape) -> Result<Shape> {
        if self.crop_to_aspect_ratio && self.pad_to_aspect_ratio {
            let text = "Resizing: an image is cropped or padded to its proportions, not both";
            return Err(Error::config(text, "set one of the two"));
        }
        super::require_fill("Resizing", self.fill_value)?;
        image_size("Resizing", input, self.height, self.width)
    }

    fn call(&self, x: &Var, _weights: Weights<'_>, _pass: &mut Pass) -> Result<Var> {
        let mut x = floats(x)?;
        let (size, wanted) = ([Value::shape(&x)[1], Value::shape(&x)[2]], [self.height, self.width]);
        if self.crop_to_aspect_ratio {
            x = middle(&x, inner_part(size, wanted))?;
        }
        if self.pad_to_aspect_ratio {
            let [h, w] = size;
            let rows = ((w * self.height) as f64 / self.width as f64) as usize;
            let columns = ((h * self.width) as f64 / self.height as f64) as usize;
            // As much on both sides, as in Keras: of an odd number of pixels one is left out.
            let around = |have: usize, want: usize| {
                let half = ((want.max(have) - have) / 2) as isize;
                (half, half)
            };
            x = x.pad(&[(0, 0), around(h, rows), around(w, columns), (0, 0)], self.fill_value)?;
        }
        Ok(x.resize(wanted, self.interpolation)?)
    }

    fn keeps_mask(&self) -> bool {
        false
    }
}

settings! {
    /// The middle of images; images that are smaller are enlarged as far as they must be.
    ///
    /// # Shapes
    /// `[batch, h, w, channels]` to `[batch, height, width, channels]`.
    CenterCrop {
        height: usize = 0, new;
        width: usize = 0, new;
        /// Where the channels are.
        data_format: DataFormat = DataFormat::ChannelsLast;
    }
}

impl CenterCrop {
    /// This much of the middle.
    pub fn new(height: usize, width: usize) -> CenterCrop {
        CenterCrop { height, width, ..CenterCrop::default() }
    }
}

impl Layer for CenterCrop {
    described!();
    with_data_format!();

    fn output_shape(&self, input: &Shape) -> Result<Shape> {
        image_size("CenterCrop", input, self.height, self.width)
    }

    fn call(&self, x: &Var, weights: Weights<'_>, pass: &mut Pass) -> Result<Var> {
        let x = floats(x)?;
        let shape = Value::shape(&x);
        if shape[1] >= self.height && shape[2] >= self.width {
            return middle(&x, [self.height, self.width]);
        }
        Resizing::new(self.height, self.width).crop_to_aspect_ratio(true).call(&x, weights, pass)
    }

    fn keeps_mask(&self) -> bool {
        false
    }
}
