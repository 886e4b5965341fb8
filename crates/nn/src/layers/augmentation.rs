//! Random changes of images, against overfitting: each image of a batch is changed by itself, in training only. The numbers
//! are drawn with the pass's keys, so a run can be repeated.

use super::format::{DataFormat, with_data_format};
use super::preprocessing::{CenterCrop, floats};
use super::settings::{Setting, described, settings, words};
use super::window::space;
use crate::layer::{Layer, Weights};
use crate::{Error, Pass, Result};
use kiln_autograd::ops::{
    ArithmeticOps, CastOps, ComparisonOps, GatherOps, MathOps, SelectOps, StatisticsOps, Value, ViewOps,
};
use kiln_autograd::{DType, Shape, Tensor, Var};
use serde_json::Value as Json;

/// What stands outside of an image that is moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum FillMode {
    /// The image in a mirror: `d c b a | a b c d | d c b a`.
    #[default]
    Reflect,
    /// The image again.
    Wrap,
    /// Its last pixels.
    Nearest,
    /// One value.
    Constant,
}

words!("fill mode" FillMode {
    "reflect" => FillMode::Reflect, "wrap" => FillMode::Wrap, "nearest" => FillMode::Nearest,
    "constant" => FillMode::Constant,
});

/// Where the pixels of new images lie in the old ones, and what stands around those.
struct Places {
    /// `[batch, rows, columns]`.
    rows: Tensor,
    columns: Tensor,
    mode: FillMode,
    value: f64,
}

impl Places {
    /// Those that `y' = a·y + b·x + c`, `x' = d·y + e·x + f` give, with a number of each for each image: `[batch, 1, 1]`.
    fn affine(
        size: [usize; 2],
        [a, b, c]: [&Tensor; 3],
        [d, e, f]: [&Tensor; 3],
        fill: (FillMode, f64),
    ) -> Result<Places> {
        let y = c.beside(Tensor::arange(0, size[0] as i64, 1)?.cast(DType::F32)?.reshape([1, size[0], 1])?)?;
        let x = c.beside(Tensor::arange(0, size[1] as i64, 1)?.cast(DType::F32)?.reshape([1, 1, size[1]])?)?;
        let rows = a.mul(&y)?.add(&b.mul(&x)?)?.add(c)?;
        let columns = d.mul(&y)?.add(&e.mul(&x)?)?.add(f)?;
        Ok(Places { rows, columns, mode: fill.0, value: fill.1 })
    }

    /// The images, by the four pixels around each place.
    fn pick(&self, x: &Var) -> Result<Var> {
        let dtype = Value::dtype(x);
        let (top, left) = (self.rows.floor()?, self.columns.floor()?);
        let (down, right) = (self.rows.sub(&top)?, self.columns.sub(&left)?);
        let mut sum: Option<Var> = None;
        for (dy, dx) in [(0.0, 0.0), (0.0, 1.0), (1.0, 0.0), (1.0, 1.0)] {
            let part =
                |share: &Tensor, far: f64| if far == 1.0 { Ok(share.clone()) } else { share.mul(-1.0)?.add(1.0) };
            let weight = part(&down, dy)?.mul(&part(&right, dx)?)?.unsqueeze(-1)?.cast(dtype)?;
            let term = self.pixels(x, &top.add(dy)?, &left.add(dx)?)?.mul(&Var::new(weight))?;
            sum = Some(match sum {
                Some(sum) => sum.add(&term)?,
                None => term,
            });
        }
        sum.ok_or_else(|| Error::config("no pixel", ""))
    }

    /// The pixels at whole places.
    fn pixels(&self, x: &Var, rows: &Tensor, columns: &Tensor) -> Result<Var> {
        let shape = *Value::shape(x);
        let [batch, height, width, channels] = [0, 1, 2, 3].map(|i| shape[i]);
        let (row, inside_rows) = self.folded(rows, height)?;
        let (column, inside_columns) = self.folded(columns, width)?;
        let spread =
            Shape::new(&[batch, rows.shape()[1].max(columns.shape()[1]), columns.shape()[2].max(rows.shape()[2])])?;
        let at = row.mul(width as f64)?.add(&column)?.cast(DType::I64)?.expand(spread)?;
        let count = spread[1] * spread[2];
        let at = at.reshape([batch, count, 1])?.expand([batch, count, channels])?;
        let flat = x.reshape([batch, height * width, channels])?;
        let y = flat.gather(1, &Var::new(at))?.reshape([batch, spread[1], spread[2], channels])?;
        if self.mode != FillMode::Constant {
            return Ok(y);
        }
        let inside = inside_rows.expand(spread)?.logical_and(&inside_columns.expand(spread)?)?.unsqueeze(-1)?;
        let inside = inside.expand(*Value::shape(&y))?;
        Ok(Var::new(inside).select(&y, &Var::new(Tensor::scalar(self.value, Value::dtype(&y))))?)
    }

    /// Places brought into an image of this length, and whether they lie in it.
    fn folded(&self, at: &Tensor, length: usize) -> Result<(Tensor, Tensor)> {
        let n = length as f64;
        let inside = at.ge(0.0)?.logical_and(&at.le(n - 1.0)?)?;
        let remainder = |x: &Tensor, n: f64| -> Result<Tensor> { Ok(x.sub(&x.div(n)?.floor()?.mul(n)?)?) };
        let folded = match self.mode {
            FillMode::Wrap => remainder(at, n)?,
            FillMode::Reflect => {
                // Of two lengths, the second is the first backwards.
                let twice = remainder(at, 2.0 * n)?;
                twice.minimum(&twice.mul(-1.0)?.add(2.0 * n - 1.0)?)?
            }
            FillMode::Nearest | FillMode::Constant => at.clone(),
        };
        Ok((folded.maximum(0.0)?.minimum(n - 1.0)?, inside))
    }
}

/// A number for each image between two bounds.
fn each(x: &Var, bounds: [f64; 2], pass: &mut Pass) -> Result<Tensor> {
    let batch = Value::shape(x)[0];
    Ok(pass.key().on(x.tensor().device()).uniform_as(
        [batch, 1, 1],
        bounds[0],
        bounds[1].max(bounds[0] + 1e-12),
        DType::F32,
    )?)
}

fn numbers(value: f64) -> Tensor {
    Tensor::number(value)
}

/// A factor, as one number for both directions or as two bounds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Factor([f64; 2]);

impl From<f64> for Factor {
    fn from(factor: f64) -> Factor {
        Factor([-factor, factor])
    }
}

impl From<[f64; 2]> for Factor {
    fn from(bounds: [f64; 2]) -> Factor {
        Factor(bounds)
    }
}

impl Setting for Factor {
    fn blank() -> Self {
        Factor([0.0; 2])
    }
    fn write(&self) -> Json {
        self.0.write()
    }
    fn read(&mut self, json: &Json) -> Result<()> {
        match json.as_f64() {
            Some(both) => *self = both.into(),
            None => self.0.read(json)?,
        }
        Ok(())
    }
}

fn check(class: &str, input: &Shape, Factor(bounds): Factor) -> Result<()> {
    space::<2>(class, input)?;
    if bounds.iter().all(|bound| (-1.0..=1.0).contains(bound)) && bounds[0] <= bounds[1] {
        return Ok(());
    }
    Err(Error::config(
        format!("{class}: a factor from {} to {}", bounds[0], bounds[1]),
        "give two bounds from -1 to 1, the lower first",
    ))
}

/// The smallest and the largest value of an image.
fn check_range(class: &str, [low, high]: [f64; 2]) -> Result<()> {
    match low.is_finite() && high.is_finite() && low < high {
        true => Ok(()),
        false => Err(Error::config(
            format!("{class}: value_range is [{low}, {high}]"),
            "give two finite numbers, the lower first, such as [0.0, 255.0]",
        )),
    }
}

settings! {
    /// Turns half of the images over.
    ///
    /// # Shapes
    /// `[batch, height, width, channels]` to the same.
    RandomFlip {
        /// Whether left and right are exchanged.
        horizontal: bool = true;
        /// Whether top and bottom are exchanged.
        vertical: bool = true;
        /// Where the channels are.
        data_format: DataFormat = DataFormat::ChannelsLast;
    }
}

impl RandomFlip {
    /// In both directions, each by itself.
    pub fn new() -> RandomFlip {
        RandomFlip::default()
    }
}

impl Layer for RandomFlip {
    described!();
    with_data_format!();

    fn output_shape(&self, input: &Shape) -> Result<Shape> {
        check("RandomFlip", input, Factor([0.0; 2])).map(|()| *input)
    }

    fn call(&self, x: &Var, _weights: Weights<'_>, pass: &mut Pass) -> Result<Var> {
        let mut y = x.clone();
        if !pass.is_training() {
            return Ok(y);
        }
        for (axis, _) in [(2, self.horizontal), (1, self.vertical)].into_iter().filter(|(_, flips)| *flips) {
            let turned = each(x, [0.0, 1.0], pass)?.lt(0.5)?.unsqueeze(-1)?.expand(*Value::shape(x))?;
            y = Var::new(turned).select(&y.flip(axis)?, &y)?;
        }
        Ok(y)
    }
}

/// Layers that move the pixels of images.
macro_rules! moving {
    ($($(#[$doc:meta])* $name:ident { $($own:tt)* } $new:item |$self:ident, $x:ident, $size:ident, $pass:ident| $places:block)*) => {$(
        settings! {
            $(#[$doc])*
            ///
            /// # Shapes
            /// `[batch, height, width, channels]` to the same.
            $name {
                $($own)*
                /// What stands outside of the image.
                fill_mode: FillMode = FillMode::Reflect;
                /// The value for [`FillMode::Constant`].
                fill_value: f64 = 0.0;
                /// Where the channels are.
                data_format: DataFormat = DataFormat::ChannelsLast;
            }
        }

        impl $name {
            $new
        }

        impl Layer for $name {
            described!();
            with_data_format!();

            fn output_shape(&self, input: &Shape) -> Result<Shape> {
                super::require_fill(stringify!($name), self.fill_value)?;
                self.checked(input).map(|()| *input)
            }

            fn call(&$self, x: &Var, _weights: Weights<'_>, $pass: &mut Pass) -> Result<Var> {
                if !$pass.is_training() {
                    return Ok(x.clone());
                }
                let $x = &floats(x)?;
                let $size = [Value::shape($x)[1], Value::shape($x)[2]];
                let places: Places = $places?;
                places.pick($x)
            }
        }
    )*};
}

moving! {
    /// Turns images by up to `factor` of a whole turn, either way.
    RandomRotation {
        factor: Factor = Factor([0.0; 2]), new;
    }
    /// By up to this part of a turn, or between two.
    pub fn new(factor: impl Into<Factor>) -> RandomRotation {
        RandomRotation { factor: factor.into(), ..RandomRotation::default() }
    }
    |self, x, size, pass| {
        let angle = each(x, self.factor.0.map(|part| part * std::f64::consts::TAU), pass)?;
        let (sin, cos) = (angle.sin()?, angle.cos()?);
        let [h, w] = size.map(|n| n as f64 - 1.0);
        // Around the middle.
        let down = sin.mul(-w)?.sub(&cos.mul(h)?)?.add(h)?.mul(0.5)?;
        let right = sin.mul(h)?.sub(&cos.mul(w)?)?.add(w)?.mul(0.5)?;
        let minus = sin.mul(-1.0)?;
        Places::affine(size, [&cos, &sin, &down], [&minus, &cos, &right], (self.fill_mode, self.fill_value))
    }

    /// Enlarges images, by negative factors, or makes them smaller; the same in both directions unless the width has a factor of its own.
    RandomZoom {
        height_factor: Factor = Factor([0.0; 2]), new;
        /// That of the width, where the proportions may change.
        width_factor: Option<Factor> = None, some Factor;
    }
    /// By up to this part, or between two.
    pub fn new(height_factor: impl Into<Factor>) -> RandomZoom {
        RandomZoom { height_factor: height_factor.into(), ..RandomZoom::default() }
    }
    |self, x, size, pass| {
        let high = each(x, self.height_factor.0, pass)?.add(1.0)?;
        let wide = match self.width_factor {
            Some(Factor(bounds)) => each(x, bounds, pass)?.add(1.0)?,
            None => high.clone(),
        };
        let around = |zoom: &Tensor, n: usize| zoom.mul(-1.0)?.add(1.0)?.mul((n as f64 - 1.0) / 2.0);
        let (down, right) = (around(&high, size[0])?, around(&wide, size[1])?);
        let none = numbers(0.0);
        Places::affine(size, [&high, &none, &down], [&none, &wide, &right], (self.fill_mode, self.fill_value))
    }

    /// Moves images by up to these parts of their height and width.
    RandomTranslation {
        height_factor: Factor = Factor([0.0; 2]), new;
        width_factor: Factor = Factor([0.0; 2]), new;
    }
    /// By up to these parts of height and width, or between two.
    pub fn new(height_factor: impl Into<Factor>, width_factor: impl Into<Factor>) -> RandomTranslation {
        let (height_factor, width_factor) = (height_factor.into(), width_factor.into());
        RandomTranslation { height_factor, width_factor, ..RandomTranslation::default() }
    }
    |self, x, size, pass| {
        let down = each(x, self.height_factor.0, pass)?.mul(-(size[0] as f64))?;
        let right = each(x, self.width_factor.0, pass)?.mul(-(size[1] as f64))?;
        let (none, one) = (numbers(0.0), numbers(1.0));
        Places::affine(size, [&one, &none, &down], [&none, &one, &right], (self.fill_mode, self.fill_value))
    }
}

impl RandomRotation {
    fn checked(&self, input: &Shape) -> Result<()> {
        check("RandomRotation", input, self.factor)
    }
}

impl RandomZoom {
    fn checked(&self, input: &Shape) -> Result<()> {
        check("RandomZoom", input, self.height_factor)?;
        check("RandomZoom", input, self.width_factor.unwrap_or(self.height_factor))
    }
}

impl RandomTranslation {
    fn checked(&self, input: &Shape) -> Result<()> {
        check("RandomTranslation", input, self.height_factor)?;
        check("RandomTranslation", input, self.width_factor)
    }
}

settings! {
    /// A part of each image: in training somewhere, otherwise in its middle.
    ///
    /// # Shapes
    /// `[batch, h, w, channels]` to `[batch, height, width, channels]`.
    RandomCrop {
        height: usize = 0, new;
        width: usize = 0, new;
        /// Where the channels are.
        data_format: DataFormat = DataFormat::ChannelsLast;
    }
}

impl RandomCrop {
    /// Of this size.
    pub fn new(height: usize, width: usize) -> RandomCrop {
        RandomCrop { height, width, ..RandomCrop::default() }
    }
}

impl Layer for RandomCrop {
    described!();
    with_data_format!();

    fn output_shape(&self, input: &Shape) -> Result<Shape> {
        CenterCrop::new(self.height, self.width).output_shape(input)
    }

    fn call(&self, x: &Var, weights: Weights<'_>, pass: &mut Pass) -> Result<Var> {
        let shape = *Value::shape(x);
        if !pass.is_training() || shape[1] < self.height || shape[2] < self.width {
            return CenterCrop::new(self.height, self.width).call(x, weights, pass);
        }
        let x = floats(x)?;
        let start = |room: usize, pass: &mut Pass| -> Result<Tensor> {
            Ok(each(&x, [0.0, room as f64 + 1.0], pass)?.floor()?.minimum(room as f64)?)
        };
        let (down, right) = (start(shape[1] - self.height, pass)?, start(shape[2] - self.width, pass)?);
        let row =
            down.beside(Tensor::arange(0, self.height as i64, 1)?.cast(DType::F32)?.reshape([1, self.height, 1])?)?;
        let column =
            down.beside(Tensor::arange(0, self.width as i64, 1)?.cast(DType::F32)?.reshape([1, 1, self.width])?)?;
        let (rows, columns) = (down.add(&row)?, right.add(&column)?);
        Places { rows: rows.clone(), columns: columns.clone(), mode: FillMode::Nearest, value: 0.0 }
            .pixels(&x, &rows, &columns)
    }

    fn keeps_mask(&self) -> bool {
        false
    }
}

settings! {
    /// Stretches the values of images away from or towards the mean of each channel.
    ///
    /// # Shapes
    /// `[batch, height, width, channels]` to the same.
    RandomContrast {
        factor: Factor = Factor([0.0; 2]), new;
        /// The smallest and the largest value of an image.
        value_range: [f64; 2] = [0.0, 255.0];
    }
}

impl RandomContrast {
    /// By up to this part, or between two.
    pub fn new(factor: impl Into<Factor>) -> RandomContrast {
        RandomContrast { factor: factor.into(), ..RandomContrast::default() }
    }
}

impl Layer for RandomContrast {
    described!();

    fn output_shape(&self, input: &Shape) -> Result<Shape> {
        check_range("RandomContrast", self.value_range)?;
        check("RandomContrast", input, self.factor).map(|()| *input)
    }

    fn call(&self, x: &Var, _weights: Weights<'_>, pass: &mut Pass) -> Result<Var> {
        if !pass.is_training() {
            return Ok(x.clone());
        }
        let x = floats(x)?;
        let factor = each(&x, self.factor.0, pass)?.add(1.0)?.unsqueeze(-1)?.cast(Value::dtype(&x))?;
        let mean = x.mean(kiln_autograd::ops::keep([1, 2]))?;
        let y = x.sub(&mean)?.mul(&Var::new(factor))?.add(&mean)?;
        Ok(y.maximum(self.value_range[0])?.minimum(self.value_range[1])?)
    }
}

settings! {
    /// Makes images lighter or darker, by up to `factor` of the range of values.
    ///
    /// # Shapes
    /// `[batch, height, width, channels]` to the same.
    RandomBrightness {
        factor: Factor = Factor([0.0; 2]), new;
        /// The smallest and the largest value of an image.
        value_range: [f64; 2] = [0.0, 255.0];
    }
}

impl RandomBrightness {
    /// By up to this part, or between two.
    pub fn new(factor: impl Into<Factor>) -> RandomBrightness {
        RandomBrightness { factor: factor.into(), ..RandomBrightness::default() }
    }
}

impl Layer for RandomBrightness {
    described!();

    fn output_shape(&self, input: &Shape) -> Result<Shape> {
        check_range("RandomBrightness", self.value_range)?;
        check("RandomBrightness", input, self.factor).map(|()| *input)
    }

    fn call(&self, x: &Var, _weights: Weights<'_>, pass: &mut Pass) -> Result<Var> {
        if !pass.is_training() {
            return Ok(x.clone());
        }
        let x = floats(x)?;
        let range = self.value_range[1] - self.value_range[0];
        let more = each(&x, self.factor.0, pass)?.mul(range)?.unsqueeze(-1)?.cast(Value::dtype(&x))?;
        Ok(x.add(&Var::new(more))?.maximum(self.value_range[0])?.minimum(self.value_range[1])?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kiln_autograd::Key;

    /// The layer in training, on two images of 2 x 3 pixels with the numbers 0 to 11.
    fn changed(layer: &impl Layer) -> Vec<f64> {
        let x = Tensor::arange(0, 12, 1).unwrap().cast(DType::F32).unwrap().reshape([2, 2, 3, 1]).unwrap();
        let mut pass = Pass::training(Key::new(3));
        let y = layer.call(&Var::new(x), Weights::none(), &mut pass).unwrap();
        y.tensor().to_vec_as()
    }

    #[test]
    fn pixels_move_as_told() {
        let moved = |by: [f64; 2], mode| {
            changed(&RandomTranslation::new([0.0, 0.0], by).fill_mode(mode).fill_value(-1.0))[..6].to_vec()
        };
        let third = [1.0 / 3.0, 1.0 / 3.0];
        let near = |got: Vec<f64>, want: [f64; 6]| {
            assert!(got.iter().zip(want).all(|(g, w)| (g - w).abs() < 1e-4), "{got:?} is not {want:?}");
        };
        near(moved(third, FillMode::Constant), [-1.0, 0.0, 1.0, -1.0, 3.0, 4.0]);
        near(moved(third, FillMode::Nearest), [0.0, 0.0, 1.0, 3.0, 3.0, 4.0]);
        near(moved(third, FillMode::Wrap), [2.0, 0.0, 1.0, 5.0, 3.0, 4.0]);
        near(moved([2.0 / 3.0; 2], FillMode::Reflect), [1.0, 0.0, 0.0, 4.0, 3.0, 3.0]);
        // Half a turn.
        near(changed(&RandomRotation::new([0.5, 0.5]))[..6].to_vec(), [5.0, 4.0, 3.0, 2.0, 1.0, 0.0]);
        // To half the size, around the middle: places -1, 1 and 3.
        let zoomed = changed(&RandomZoom::new([1.0, 1.0]).fill_mode(FillMode::Constant))[..6].to_vec();
        near(zoomed, [0.0, 0.5, 0.0, 0.0, 2.0, 0.0]);
    }

    #[test]
    fn each_image_is_changed_by_itself_and_only_in_training() {
        let x = Var::new(Key::new(1).uniform([64, 4, 4, 1], 0.0, 255.0).unwrap());
        for layer in [
            &RandomFlip::new() as &dyn Layer,
            &RandomContrast::new(0.5),
            &RandomBrightness::new(0.5),
            &RandomZoom::new(0.5),
            &RandomCrop::new(4, 4),
        ] {
            let y = layer.call(&x, Weights::none(), &mut Pass::inference()).unwrap();
            assert_eq!(y.tensor().to_vec_as::<f64>(), x.tensor().to_vec_as::<f64>(), "{layer:?}");
        }
        let flipped =
            RandomFlip::new().vertical(false).call(&x, Weights::none(), &mut Pass::training(Key::new(0))).unwrap();
        let (a, b) = (x.tensor().to_vec_as::<f64>(), flipped.tensor().to_vec_as::<f64>());
        let kept = (0..64).filter(|i| a[i * 16] == b[i * 16]).count();
        assert!((16..48).contains(&kept), "{kept} of 64 stay");
        let cut = RandomCrop::new(2, 2).call(&x, Weights::none(), &mut Pass::training(Key::new(0))).unwrap();
        assert_eq!(Value::shape(&cut).dims(), [64, 2, 2, 1]);
    }
}
