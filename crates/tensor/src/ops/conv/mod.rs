//! Convolutions of images, sequences and volumes, and the two operations that are their gradients: the three are linear in
//! each operand and each other's transposes, so derivatives of any order stay among them.

mod correlation;
pub(crate) mod cpu;
mod cuda;
mod depthwise;
mod options;
mod surface;
mod volumes;
mod windows;

pub use options::{Conv1dOptions, Conv2dOptions, Conv3dOptions, ConvOptions, Padding};
pub use surface::{ConvOps, Filters};

use crate::cpu::single::in_float;
use crate::cuda::ConvolutionPass;
use crate::ops::window::{LARGEST, reach};
use crate::{Arity, CpuCall, CudaCall, Error, Op, Result, Shape, Spec, Specs, View, ViewMut, with_element};
use cpu::Conv2d as Sizes;

/// `y[n, i, j, o] = Σ x[n, i·s + k·d − p, j·s + l·d − p, c] · w[k, l, c, o]`: the cross-correlation that deep learning
/// calls convolution.
///
/// # Shapes
/// An input `[N, H, W, C]` and weights `[KH, KW, C / groups, O]` give `[N, OH, OW, O]` with
/// `OH = ⌊(H + padding − dilation · (KH − 1) − 1) / stride⌋ + 1`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Conv2d {
    /// Input positions per output position.
    pub stride: [usize; 2],
    /// Zeros before and after the input, vertically and horizontally.
    pub padding: [[usize; 2]; 2],
    /// Input positions per kernel element.
    pub dilation: [usize; 2],
    /// Groups of channels that do not see each other.
    pub groups: usize,
}

/// The gradient of [`Conv2d`] with respect to its input, from the output's gradient and the weights. Also the
/// transposed convolution of decoders and generators.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Conv2dInputGrad {
    /// The convolution.
    pub conv: Conv2d,
    /// Height and width of its input.
    pub input: [usize; 2],
}

/// The gradient of [`Conv2d`] with respect to its weights, from its input and the output's gradient.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Conv2dWeightGrad {
    /// The convolution.
    pub conv: Conv2d,
    /// Height and width of its kernel.
    pub kernel: [usize; 2],
}

/// How a kernel walks over the dimensions between batch and channels, whatever their number.
struct Walk<const N: usize> {
    stride: [usize; N],
    padding: [[usize; 2]; N],
    dilation: [usize; N],
    groups: usize,
}

impl<const N: usize> Walk<N> {
    /// What is wrong with its numbers, and with the size of a kernel.
    fn check_numbers(&self, name: &str, kernel: [usize; N]) -> Result<()> {
        let Walk { stride, padding, dilation, groups } = *self;
        let numbers = stride.iter().chain(&dilation).chain(&kernel).chain(std::slice::from_ref(&groups));
        if let Some(bad) = numbers.chain(padding.as_flattened()).find(|&&n| n > LARGEST) {
            return Err(Error::argument(
                name,
                format!("{bad} is no sensible stride, padding, dilation or kernel size"),
            ));
        }
        if stride.contains(&0) || dilation.contains(&0) || groups == 0 || kernel.contains(&0) {
            let text = format!(
                "stride {stride:?}, dilation {dilation:?}, groups {groups} and the kernel's size {kernel:?} must be at least 1"
            );
            return Err(Error::argument(name, text));
        }
        Ok(())
    }

    /// What is wrong with a convolution of `x` with `w`, both of rank `N + 2`.
    fn check(&self, name: &str, x: Shape, w: Shape) -> Result<()> {
        let Walk { padding, dilation, groups, .. } = *self;
        let kernel: [usize; N] = std::array::from_fn(|i| w[i]);
        let (channels, inner, filters) = (x[N + 1], w[N], w[N + 1]);
        self.check_numbers(name, kernel)?;
        if inner.checked_mul(groups) != Some(channels) {
            let text = format!(
                "an input {x} of {channels} channels in {groups} groups does not fit weights {w} for {inner} channels a group"
            );
            let (images, weights) = order(N, false);
            let help = format!("an input is {images}, weights are {weights}; or set channels_first()");
            return Err(Error::shape(name, text).help(help));
        }
        if !filters.is_multiple_of(groups) {
            return Err(Error::shape(name, format!("{filters} filters cannot be divided into {groups} groups")));
        }
        let reach = reach(kernel, dilation);
        if (0..N).any(|i| x[i + 1] == 0 || x[i + 1] + padding[i][0] + padding[i][1] < reach[i]) {
            let text = format!(
                "a kernel of {kernel:?} with dilation {dilation:?} does not fit an input {x} padded by {padding:?}"
            );
            return Err(Error::shape(name, text).help("use a smaller kernel or more padding"));
        }
        Ok(())
    }
}

/// The order of dimensions of an input and of weights, in words.
fn order(dimensions: usize, channels_first: bool) -> (String, String) {
    let names = ["D", "H", "W"];
    let space = if dimensions == 1 { &["L"] } else { &names[names.len().saturating_sub(dimensions)..] };
    let kernel: Vec<String> =
        space.iter().map(|name| if dimensions == 1 { "K".to_owned() } else { format!("K{name}") }).collect();
    let (space, kernel) = (space.join(", "), kernel.join(", "));
    match channels_first {
        true => (format!("[N, C, {space}]"), format!("[O, C / groups, {kernel}]")),
        false => (format!("[N, {space}, C]"), format!("[{kernel}, C / groups, O]")),
    }
}

impl Conv2d {
    /// The sizes of this convolution of `x` with `w`, or what is wrong with them.
    fn sizes(&self, name: &str, x: Shape, w: Shape) -> Result<Sizes> {
        let (&[batch, height, width, channels], &[rows, columns, _, filters]) = (x.dims(), w.dims()) else {
            let (images, weights) = order(2, false);
            let text = format!("needs an input {images} and weights {weights}, found {x} and {w}");
            return Err(Error::shape(name, text));
        };
        let Conv2d { stride, padding, dilation, groups } = *self;
        Walk { stride, padding, dilation, groups }.check(name, x, w)?;
        let (input, kernel) = ([height, width], [rows, columns]);
        Ok(Sizes { batch, input, channels, filters, kernel, stride, padding, dilation, groups })
    }
}

fn check_floats(name: &str, a: Spec, b: Spec) -> Result<()> {
    match a.dtype == b.dtype && a.dtype.is_float() {
        true => Ok(()),
        false => {
            let text = format!("needs two operands of one floating-point type, found {} and {}", a.dtype, b.dtype);
            Err(Error::dtype(name, text))
        }
    }
}

/// What a gradient must look like to be that of `sizes`.
fn check_gradient(name: &str, sizes: &Sizes, dy: Shape) -> Result<()> {
    let [height, width] = sizes.output();
    match dy.dims() == [sizes.batch, height, width, sizes.filters] {
        true => Ok(()),
        false => {
            let text = format!(
                "the gradient has shape {dy}, the convolution's output is {:?}",
                [sizes.batch, height, width, sizes.filters]
            );
            Err(Error::shape(name, text))
        }
    }
}

impl Conv2dInputGrad {
    fn sizes(&self, dy: Shape, w: Shape) -> Result<Sizes> {
        let channels = w.get(2).copied().unwrap_or(0).saturating_mul(self.conv.groups);
        let x = Shape::new(&[dy.first().copied().unwrap_or(0), self.input[0], self.input[1], channels])?;
        let sizes = self.conv.sizes("conv2d_input_grad", x, w)?;
        check_gradient("conv2d_input_grad", &sizes, dy)?;
        Ok(sizes)
    }
}

impl Conv2dWeightGrad {
    fn sizes(&self, x: Shape, dy: Shape) -> Result<Sizes> {
        let channels = x.get(3).copied().unwrap_or(0) / self.conv.groups.max(1);
        let w = Shape::new(&[self.kernel[0], self.kernel[1], channels, dy.get(3).copied().unwrap_or(0)])?;
        let sizes = self.conv.sizes("conv2d_weight_grad", x, w)?;
        check_gradient("conv2d_weight_grad", &sizes, dy)?;
        Ok(sizes)
    }
}

impl Op for Conv2d {
    fn name(&self) -> &str {
        "conv2d"
    }

    fn arity(&self) -> Arity {
        Arity::Exactly(2)
    }

    fn infer(&self, x: &[Spec]) -> Result<Specs> {
        check_floats("conv2d", x[0], x[1])?;
        let sizes = self.sizes("conv2d", x[0].shape, x[1].shape)?;
        let [height, width] = sizes.output();
        Ok(Spec::new(Shape::new(&[sizes.batch, height, width, sizes.filters])?, x[0].dtype).into())
    }

    fn cpu(&self, call: CpuCall<'_, Self>) -> Result<()> {
        let (x, y) = call.parts();
        if is_nothing(x, &mut y[0])? {
            return Ok(());
        }
        let sizes = self.sizes("conv2d", *x[0].shape(), *x[1].shape())?;
        in_float!([a = &x[0], b = &x[1]], y = &mut y[0], cpu::forward(&sizes, a, b, y, true))
    }

    fn cuda(&self, call: &mut CudaCall<'_>) -> Result<()> {
        let [a, b] = [0, 1].map(|i| *call.inputs()[i].shape());
        let sizes = self.sizes("conv2d", a, b)?;
        cuda::product(call, &sizes, ConvolutionPass::Forward);
        Ok(())
    }
}

impl Op for Conv2dInputGrad {
    fn name(&self) -> &str {
        "conv2d_input_grad"
    }

    fn arity(&self) -> Arity {
        Arity::Exactly(2)
    }

    fn infer(&self, x: &[Spec]) -> Result<Specs> {
        check_floats("conv2d_input_grad", x[0], x[1])?;
        let sizes = self.sizes(x[0].shape, x[1].shape)?;
        let [height, width] = self.input;
        Ok(Spec::new(Shape::new(&[sizes.batch, height, width, sizes.channels])?, x[0].dtype).into())
    }

    fn cpu(&self, call: CpuCall<'_, Self>) -> Result<()> {
        let (x, y) = call.parts();
        if is_nothing(x, &mut y[0])? {
            return Ok(());
        }
        let sizes = self.sizes(*x[0].shape(), *x[1].shape())?;
        in_float!([a = &x[0], b = &x[1]], y = &mut y[0], cpu::backward_input(&sizes, a, b, y, true))
    }

    fn cuda(&self, call: &mut CudaCall<'_>) -> Result<()> {
        let [a, b] = [0, 1].map(|i| *call.inputs()[i].shape());
        let sizes = self.sizes(a, b)?;
        cuda::product(call, &sizes, ConvolutionPass::InputGrad);
        Ok(())
    }
}

impl Op for Conv2dWeightGrad {
    fn name(&self) -> &str {
        "conv2d_weight_grad"
    }

    fn arity(&self) -> Arity {
        Arity::Exactly(2)
    }

    fn infer(&self, x: &[Spec]) -> Result<Specs> {
        check_floats("conv2d_weight_grad", x[0], x[1])?;
        let sizes = self.sizes(x[0].shape, x[1].shape)?;
        let shape = [self.kernel[0], self.kernel[1], sizes.channels / sizes.groups, sizes.filters];
        Ok(Spec::new(Shape::new(&shape)?, x[0].dtype).into())
    }

    fn cpu(&self, call: CpuCall<'_, Self>) -> Result<()> {
        let (x, y) = call.parts();
        if is_nothing(x, &mut y[0])? {
            return Ok(());
        }
        let sizes = self.sizes(*x[0].shape(), *x[1].shape())?;
        in_float!([a = &x[0], b = &x[1]], y = &mut y[0], cpu::backward_weight(&sizes, a, b, y, true))
    }

    fn cuda(&self, call: &mut CudaCall<'_>) -> Result<()> {
        let [a, b] = [0, 1].map(|i| *call.inputs()[i].shape());
        let sizes = self.sizes(a, b)?;
        cuda::product(call, &sizes, ConvolutionPass::WeightGrad);
        Ok(())
    }
}

/// Whether an operand or the result has no element; what there is of the result are then sums of nothing.
fn is_nothing(x: &[View<'_>], y: &mut ViewMut<'_>) -> Result<bool> {
    let nothing = y.shape().count() == 0 || x.iter().any(|x| x.shape().count() == 0);
    if nothing {
        with_element!(y.dtype(), T => y.slice::<T>()?.fill(T::default()));
    }
    Ok(nothing)
}
