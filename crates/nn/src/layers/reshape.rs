//! Layers that look at their input in another shape, cut it, frame it or repeat it.

use super::format::{DataFormat, with_data_format};
use super::merge::sample_axis;
use super::settings::{Setting, Size, described, settings};
use super::window::{space, with_channels};
use crate::layer::{Layer, Weights};
use crate::module::batch_of;
use crate::{Error, Pass, Result};
use kiln_autograd::ops::{Resize, ResizeOps, Value, ViewOps};
use kiln_autograd::{Shape, Var};
use serde_json::Value as Json;

settings! {
    /// All dimensions of a sample as one.
    ///
    /// # Shapes
    /// `[batch, a, b, …]` to `[batch, a · b · …]`.
    Flatten {
        /// Where the channels are; wherever that is, they change fastest in what it gives.
        data_format: DataFormat = DataFormat::ChannelsLast;
    }
}

impl Flatten {
    /// The layer.
    pub fn new() -> Flatten {
        Flatten::default()
    }
}

impl Layer for Flatten {
    described!();
    with_data_format!();

    fn output_shape(&self, input: &Shape) -> Result<Shape> {
        Ok(Shape::new(&[input.count()])?)
    }

    fn call(&self, x: &Var, _weights: Weights<'_>, _pass: &mut Pass) -> Result<Var> {
        let sample: usize = Value::shape(x)[1..].iter().product();
        Ok(x.reshape([batch_of(x), sample])?)
    }

    fn keeps_mask(&self) -> bool {
        false
    }
}

settings! {
    /// Each sample in another shape of as many elements.
    ///
    /// # Shapes
    /// `[batch, …]` to `[batch, target…]`.
    Reshape {
        target_shape: Vec<isize> = Vec::new(), new;
    }
}

impl Reshape {
    /// Stands for the one dimension that takes what the others leave: `[Reshape::REST, 2]`.
    pub const REST: usize = usize::MAX;

    /// A layer whose samples have shape `target`.
    pub fn new(target: impl Into<Vec<usize>>) -> Reshape {
        let target = target.into().into_iter().map(|d| if d == Reshape::REST { -1 } else { d as isize });
        Reshape { target_shape: target.collect() }
    }

    /// The shape of samples that come in this one.
    fn target(&self, input: &Shape) -> Result<Shape> {
        let known: Vec<usize> = self.target_shape.iter().filter_map(|d| usize::try_from(*d).ok()).collect();
        let open = self.target_shape.len() - known.len();
        if open > 1 {
            let text = format!("Reshape: {:?} leaves {open} dimensions open", self.target_shape);
            return Err(Error::config(text, "one of them may be Reshape::REST"));
        }
        let count = Shape::new(&known)?.count();
        let rest = if open == 1 { input.count() / count.max(1) } else { 1 };
        let dims = self.target_shape.iter().map(|d| usize::try_from(*d).unwrap_or(rest));
        let target = Shape::new(&dims.collect::<Vec<_>>())?;
        if target.count() != input.count() {
            let text =
                format!("Reshape: {target} has {} elements, the input {input} has {}", target.count(), input.count());
            return Err(Error::config(text, "the two must agree"));
        }
        Ok(target)
    }
}

impl Layer for Reshape {
    described!();

    fn output_shape(&self, input: &Shape) -> Result<Shape> {
        self.target(input)
    }

    fn call(&self, x: &Var, _weights: Weights<'_>, _pass: &mut Pass) -> Result<Var> {
        let target = self.target(&Shape::new(&Value::shape(x)[1..])?)?;
        Ok(x.reshape([&[batch_of(x)], &target[..]].concat())?)
    }

    fn keeps_mask(&self) -> bool {
        false
    }
}

settings! {
    /// The dimensions of each sample in another order.
    ///
    /// # Shapes
    /// With `[2, 1]`, `[batch, a, b]` to `[batch, b, a]`.
    Permute {
        dims: Vec<usize> = Vec::new(), new;
    }
}

impl Permute {
    /// The dimensions in this order, the first of a sample being 1.
    pub fn new(dims: impl Into<Vec<usize>>) -> Permute {
        Permute { dims: dims.into() }
    }
}

impl Layer for Permute {
    described!();

    fn output_shape(&self, input: &Shape) -> Result<Shape> {
        let mut sorted = self.dims.clone();
        sorted.sort_unstable();
        if !sorted.iter().copied().eq(1..=input.rank()) {
            let text = format!("Permute: {:?} is no order of the dimensions of {input}", self.dims);
            return Err(Error::config(text, format!("name each of 1 to {} once", input.rank())));
        }
        Ok(Shape::new(&self.dims.iter().map(|d| input[d - 1]).collect::<Vec<_>>())?)
    }

    fn call(&self, x: &Var, _weights: Weights<'_>, _pass: &mut Pass) -> Result<Var> {
        let order: Vec<isize> = [0].into_iter().chain(self.dims.iter().map(|d| *d as isize)).collect();
        Ok(x.permute(&order)?)
    }

    fn keeps_mask(&self) -> bool {
        false
    }
}

settings! {
    /// Each sample several times, as steps of a sequence.
    ///
    /// # Shapes
    /// `[batch, features]` to `[batch, n, features]`.
    RepeatVector {
        n: usize = 0, new;
    }
}

impl RepeatVector {
    /// `n` times.
    pub fn new(n: usize) -> RepeatVector {
        RepeatVector { n }
    }
}

impl Layer for RepeatVector {
    described!();

    fn output_shape(&self, input: &Shape) -> Result<Shape> {
        let [features] = input[..] else {
            let text = format!("RepeatVector: the input {input} is no vector");
            return Err(Error::config(text, "flatten it first"));
        };
        if self.n == 0 {
            return Err(Error::config("RepeatVector: 0 times give no output", "give at least 1"));
        }
        Ok(Shape::new(&[self.n, features])?)
    }

    fn call(&self, x: &Var, _weights: Weights<'_>, _pass: &mut Pass) -> Result<Var> {
        let shape = Value::shape(x);
        Ok(x.unsqueeze(1)?.expand([shape[0], self.n, shape[1]])?)
    }

    fn keeps_mask(&self) -> bool {
        false
    }
}

/// How much is added or cut before and after each dimension.
///
/// ```
/// use kiln_nn::layers::Margins;
/// assert_eq!(Margins::<2>::from(1), Margins::from([[1, 1], [1, 1]]));
/// assert_eq!(Margins::<2>::from([1, 2]), Margins::from([[1, 1], [2, 2]]));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Margins<const N: usize>([[usize; 2]; N]);

impl<const N: usize> From<usize> for Margins<N> {
    fn from(both: usize) -> Margins<N> {
        Margins([[both; 2]; N])
    }
}

impl<const N: usize> From<[[usize; 2]; N]> for Margins<N> {
    fn from(margins: [[usize; 2]; N]) -> Margins<N> {
        Margins(margins)
    }
}

/// Before and after the one dimension.
impl From<[usize; 2]> for Margins<1> {
    fn from(margins: [usize; 2]) -> Margins<1> {
        Margins([margins])
    }
}

/// The same before and after, for height and width.
impl From<[usize; 2]> for Margins<2> {
    fn from([height, width]: [usize; 2]) -> Margins<2> {
        Margins([[height; 2], [width; 2]])
    }
}

/// The same before and after, for depth, height and width.
impl From<[usize; 3]> for Margins<3> {
    fn from(margins: [usize; 3]) -> Margins<3> {
        Margins(margins.map(|both| [both; 2]))
    }
}

impl<const N: usize> Default for Margins<N> {
    fn default() -> Margins<N> {
        Margins::from(1)
    }
}

impl<const N: usize> Setting for Margins<N> {
    fn blank() -> Self {
        Margins::default()
    }
    fn write(&self) -> Json {
        self.0.write()
    }
    fn read(&mut self, json: &Json) -> Result<()> {
        // A pair for the one dimension there is.
        match json.as_array() {
            Some(items) if N == 1 && items.len() == 2 && items[0].is_number() => self.0[0].read(json),
            _ => self.0.read(json),
        }
    }
}

/// Layers that add or cut margins, in `N` dimensions; how much is cut unless told is Keras's, which differs among them.
macro_rules! margins {
    ($($n:literal $shape:literal $padding:ident $cropping:ident by $cut:literal;)*) => {$(
        settings! {
            /// Zeros around each sample.
            ///
            /// # Shapes
            #[doc = $shape]
            $padding {
                padding: Margins<$n> = Margins::default(), new;
                /// Where the channels are.
                data_format: DataFormat = DataFormat::ChannelsLast;
            }
        }

        impl $padding {
            /// This many before and after each dimension.
            pub fn new(padding: impl Into<Margins<$n>>) -> $padding {
                $padding { padding: padding.into(), ..$padding::default() }
            }
        }

        impl Layer for $padding {
            described!();
            with_data_format!();

            fn output_shape(&self, input: &Shape) -> Result<Shape> {
                let (lengths, channels) = space::<$n>(stringify!($padding), input)?;
                let wide: [usize; $n] = std::array::from_fn(|i| {
                    self.padding.0[i].iter().fold(lengths[i], |length, more| length.saturating_add(*more))
                });
                with_channels(wide, channels)
            }

            fn call(&self, x: &Var, _weights: Weights<'_>, _pass: &mut Pass) -> Result<Var> {
                let inner = self.padding.0.map(|[before, after]| (before as isize, after as isize));
                Ok(x.pad(&[&[(0, 0)], &inner[..], &[(0, 0)]].concat(), 0.0)?)
            }

            fn keeps_mask(&self) -> bool {
                false
            }
        }

        settings! {
            /// Each sample without its margins.
            ///
            /// # Shapes
            #[doc = $shape]
            $cropping {
                cropping: Margins<$n> = Margins::from($cut), new;
                /// Where the channels are.
                data_format: DataFormat = DataFormat::ChannelsLast;
            }
        }

        impl $cropping {
            /// This many less before and after each dimension.
            pub fn new(cropping: impl Into<Margins<$n>>) -> $cropping {
                $cropping { cropping: cropping.into(), ..$cropping::default() }
            }
        }

        impl Layer for $cropping {
            described!();
            with_data_format!();

            fn output_shape(&self, input: &Shape) -> Result<Shape> {
                let (lengths, channels) = space::<$n>(stringify!($cropping), input)?;
                let mut left = [0; $n];
                for i in 0..$n {
                    let [before, after] = self.cropping.0[i];
                    left[i] = lengths[i].saturating_sub(before.saturating_add(after));
                    if left[i] == 0 {
                        let text = format!(
                            "{}: {before} and {after} of {} elements leave none",
                            stringify!($cropping), lengths[i]
                        );
                        return Err(Error::config(text, "crop less"));
                    }
                }
                with_channels(left, channels)
            }

            fn call(&self, x: &Var, _weights: Weights<'_>, _pass: &mut Pass) -> Result<Var> {
                let mut y = x.clone();
                for (i, [before, after]) in self.cropping.0.into_iter().enumerate() {
                    let end = Value::shape(x)[i + 1] - after;
                    y = y.slice(i as isize + 1, before as isize..end as isize)?;
                }
                Ok(y)
            }

            fn keeps_mask(&self) -> bool {
                false
            }
        }
    )*};
}

/// Layers that repeat elements, in `N` dimensions; with a choice of how where there is one.
macro_rules! up_sampling {
    ($($n:literal $shape:literal $up:ident { $($own:tt)* } |$self:ident, $x:ident| $repeat:expr;)*) => {$(
        settings! {
            /// Each element several times.
            ///
            /// # Shapes
            #[doc = $shape]
            $up {
                /// How often along each dimension.
                size: Size<$n> = Size::from(2), into;
                /// Where the channels are.
                data_format: DataFormat = DataFormat::ChannelsLast;
                $($own)*
            }
        }

        impl $up {
            /// So many times along each dimension.
            pub fn new(size: impl Into<Size<$n>>) -> $up {
                $up::default().size(size)
            }
        }

        impl Layer for $up {
            described!();
            with_data_format!();

            fn output_shape(&self, input: &Shape) -> Result<Shape> {
                let (lengths, channels) = space::<$n>(stringify!($up), input)?;
                if self.size.0.contains(&0) {
                    let text = concat!(stringify!($up), ": 0 times give no output");
                    return Err(Error::config(text, "give at least 1"));
                }
                let wide: [usize; $n] = std::array::from_fn(|i| lengths[i].saturating_mul(self.size.0[i]));
                with_channels(wide, channels)
            }

            fn call(&$self, $x: &Var, _weights: Weights<'_>, _pass: &mut Pass) -> Result<Var> {
                $repeat
            }

            fn keeps_mask(&self) -> bool {
                false
            }
        }
    )*};
}

/// Each element as often as its size says, along every axis.
fn all_repeated<const N: usize>(x: &Var, size: Size<N>) -> Result<Var> {
    size.0.into_iter().enumerate().try_fold(x.clone(), |x, (i, times)| repeated(&x, i + 1, times))
}

/// Each element along an axis several times.
fn repeated(x: &Var, axis: usize, times: usize) -> Result<Var> {
    let shape = *Value::shape(x);
    let wide = [&shape[..=axis], &[times], &shape[axis + 1..]].concat();
    Ok(x.unsqueeze(axis as isize + 1)?.expand(wide)?.reshape(shape.with(axis, shape[axis] * times))?)
}

margins! {
    1 "`[batch, steps, channels]` to `[batch, new_steps, channels]`." ZeroPadding1D Cropping1D by 1;
    2 "`[batch, height, width, channels]` to `[batch, new_height, new_width, channels]`." ZeroPadding2D Cropping2D by 0;
    3 "`[batch, depth, height, width, channels]` to `[batch, new_depth, new_height, new_width, channels]`."
        ZeroPadding3D Cropping3D by 1;
}

up_sampling! {
    1 "`[batch, steps, channels]` to `[batch, new_steps, channels]`." UpSampling1D {}
    |self, x| all_repeated(x, self.size);
    2 "`[batch, height, width, channels]` to `[batch, new_height, new_width, channels]`." UpSampling2D {
        /// How pixels are made between pixels; the nearest is repeated unless told otherwise.
        interpolation: Resize = Resize::Nearest;
    }
    |self, x| match self.interpolation {
        Resize::Nearest => all_repeated(x, self.size),
        other => {
            let [height, width] = [1, 2].map(|axis| Value::shape(x)[axis] * self.size.0[axis - 1]);
            Ok(x.resize([height, width], other)?)
        }
    };
    3 "`[batch, depth, height, width, channels]` to `[batch, new_depth, new_height, new_width, channels]`." UpSampling3D {}
    |self, x| all_repeated(x, self.size);
}

settings! {
    /// Passes its input on.
    Identity {}
}

impl Identity {
    /// The layer.
    pub fn new() -> Identity {
        Identity {}
    }
}

impl Layer for Identity {
    described!();

    fn output_shape(&self, input: &Shape) -> Result<Shape> {
        Ok(*input)
    }

    fn call(&self, x: &Var, _weights: Weights<'_>, _pass: &mut Pass) -> Result<Var> {
        Ok(x.clone())
    }
}

/// The axes of a batch, each counted with the batch or from the last, as axes of a sample.
pub(super) fn sample_axes(class: &str, axes: &[isize], rank: usize) -> Result<Vec<usize>> {
    axes.iter().map(|axis| sample_axis(class, *axis, rank)).collect()
}
