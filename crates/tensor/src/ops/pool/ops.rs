//! The operations: pools of `[N, H, W, C]` and the scatters and gathers that are their gradients.

use super::cpu::{self, Divisor, Pool2d as Sizes};
use super::cuda;
use crate::cpu::single::in_float;
use crate::ops::window::{LARGEST, reach};
use crate::{Arity, CpuCall, CudaCall, DType, Element, Error, Op, Result, Shape, Spec, Specs, with_element};

/// The windows of a pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window2d {
    /// Height and width.
    pub kernel: [usize; 2],
    /// Input positions per output position.
    pub stride: [usize; 2],
    /// Positions before and after the input, vertically and horizontally.
    pub padding: [[usize; 2]; 2],
    /// Input positions per window position.
    pub dilation: [usize; 2],
    /// Whether a last window that reaches past the end counts.
    pub ceil: bool,
}

/// The largest element of each window, and its position `h · W + w` as `i32`: the first of equal ones; NaN wins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MaxPool2d {
    /// The windows.
    pub window: Window2d,
}

/// The gradient of [`MaxPool2d`], from the output's gradient and the positions: each element goes where the largest was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MaxPool2dGrad {
    /// The windows.
    pub window: Window2d,
    /// Height and width of the pool's input.
    pub input: [usize; 2],
}

/// The elements of an image at the positions that a [`MaxPool2d`] found, 0 for none: the reverse of [`MaxPool2dGrad`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MaxPool2dPick {
    /// The windows.
    pub window: Window2d,
}

/// The mean of each window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AveragePool2d {
    /// The windows.
    pub window: Window2d,
    /// What the sum is divided by.
    pub divisor: Divisor,
}

/// The gradient of [`AveragePool2d`]: each position adds the shares of its windows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AveragePool2dGrad {
    /// The pool.
    pub pool: AveragePool2d,
    /// Height and width of its input.
    pub input: [usize; 2],
}

/// How windows walk over the dimensions between batch and channels, whatever their number.
pub(super) struct Walk<const N: usize> {
    pub(super) kernel: [usize; N],
    pub(super) stride: [usize; N],
    pub(super) padding: [[usize; 2]; N],
    pub(super) dilation: [usize; N],
}

impl<const N: usize> Walk<N> {
    /// What is wrong with these windows over `x`, of rank `N + 2`.
    pub(super) fn check(&self, name: &str, x: Shape) -> Result<()> {
        let Walk { kernel, stride, padding, dilation } = *self;
        let sizes = [kernel, stride, dilation];
        let sizes = sizes.as_flattened();
        if let Some(bad) = sizes.iter().chain(padding.as_flattened()).find(|&&n| n > LARGEST) {
            return Err(Error::argument(
                name,
                format!("{bad} is no sensible size, stride, padding or dilation of a window"),
            ));
        }
        if sizes.contains(&0) {
            let text =
                format!("the window's size {kernel:?}, stride {stride:?} and dilation {dilation:?} must be at least 1");
            return Err(Error::argument(name, text));
        }
        let reach = reach(kernel, dilation);
        if (0..N).any(|i| padding[i].iter().any(|&p| p >= reach[i])) {
            let text = format!("padding of {padding:?} leaves windows of {kernel:?} with no input at all");
            return Err(Error::argument(name, text).help("pad by less than the window's size"));
        }
        if (0..N).any(|i| x[i + 1] == 0 || x[i + 1] + padding[i][0] + padding[i][1] < reach[i]) {
            let what = if N == 3 { "volumes" } else { "images" };
            let text = format!(
                "a window of {kernel:?} with dilation {dilation:?} does not fit {what} {x} padded by {padding:?}"
            );
            return Err(Error::shape(name, text).help("use a smaller window or more padding"));
        }
        Ok(())
    }
}

impl Window2d {
    /// The sizes of this pool of `x`, or what is wrong with them.
    fn sizes(&self, name: &str, x: Shape) -> Result<Sizes> {
        let &[batch, height, width, channels] = x.dims() else {
            return Err(Error::shape(name, format!("needs images [N, H, W, C], found {x}")));
        };
        let Window2d { kernel, stride, padding, dilation, ceil } = *self;
        Walk { kernel, stride, padding, dilation }.check(name, x)?;
        if i32::try_from(height.saturating_mul(width)).is_err() {
            return Err(Error::shape(
                name,
                format!("an image of {height} by {width} has more positions than an index counts"),
            ));
        }
        Ok(Sizes { batch, input: [height, width], channels, kernel, stride, padding, dilation, ceil })
    }

    /// The sizes of the pool of images of `input` height and width whose output is `y`.
    fn sizes_behind(&self, name: &str, input: [usize; 2], y: Shape) -> Result<Sizes> {
        let &[batch, height, width, channels] = y.dims() else {
            return Err(Error::shape(name, format!("needs a gradient [N, H, W, C], found {y}")));
        };
        let sizes = self.sizes(name, Shape::new(&[batch, input[0], input[1], channels])?)?;
        if sizes.output() != [height, width] {
            let text = format!("the gradient has shape {y}, the pool's output is {:?} high and wide", sizes.output());
            return Err(Error::shape(name, text));
        }
        Ok(sizes)
    }
}

fn output(sizes: &Sizes) -> Result<Shape> {
    let [height, width] = sizes.output();
    Shape::new(&[sizes.batch, height, width, sizes.channels])
}

fn input(sizes: &Sizes) -> Result<Shape> {
    Shape::new(&[sizes.batch, sizes.input[0], sizes.input[1], sizes.channels])
}

fn check_float(name: &str, x: Spec) -> Result<()> {
    match x.dtype.is_float() {
        true => Ok(()),
        false => Err(Error::dtype(name, format!("needs floating-point numbers, found {}", x.dtype))),
    }
}

fn check_positions(name: &str, positions: Spec, like: Shape) -> Result<()> {
    match positions == Spec::new(like, DType::I32) {
        true => Ok(()),
        false => {
            let text = format!(
                "positions of shape {} ({}) do not belong to an output of shape {like}",
                positions.shape, positions.dtype
            );
            Err(Error::shape(name, text))
        }
    }
}

impl Op for MaxPool2d {
    fn name(&self) -> &str {
        "max_pool2d"
    }

    fn infer(&self, x: &[Spec]) -> Result<Specs> {
        check_float("max_pool2d", x[0])?;
        let shape = output(&self.window.sizes("max_pool2d", x[0].shape)?)?;
        Ok([Spec::new(shape, x[0].dtype), Spec::new(shape, DType::I32)].into())
    }

    fn cpu(&self, call: CpuCall<'_, Self>) -> Result<()> {
        let (x, y) = call.parts();
        if x[0].shape().count() == 0 {
            return Ok(());
        }
        let sizes = self.window.sizes("max_pool2d", *x[0].shape())?;
        let [values, positions] = y else { unreachable!("a maximum pool has two outputs") };
        let positions = positions.slice::<i32>()?;
        in_float!([x = &x[0]], values = values, cpu::max_forward(&sizes, x, values, positions, true))
    }

    fn cuda(&self, call: &mut CudaCall<'_>) -> Result<()> {
        if call.inputs()[0].shape().count() == 0 {
            return Ok(());
        }
        let sizes = self.window.sizes("max_pool2d", *call.inputs()[0].shape())?;
        cuda::pool(call, "largest", &sizes, None);
        Ok(())
    }
}

impl Op for MaxPool2dGrad {
    fn name(&self) -> &str {
        "max_pool2d_grad"
    }

    fn arity(&self) -> Arity {
        Arity::Exactly(2)
    }

    fn infer(&self, x: &[Spec]) -> Result<Specs> {
        check_float("max_pool2d_grad", x[0])?;
        let sizes = self.window.sizes_behind("max_pool2d_grad", self.input, x[0].shape)?;
        check_positions("max_pool2d_grad", x[1], x[0].shape)?;
        Ok(Spec::new(input(&sizes)?, x[0].dtype).into())
    }

    fn cpu(&self, call: CpuCall<'_, Self>) -> Result<()> {
        let (x, y) = call.parts();
        if x[0].shape().count() == 0 {
            return Ok(());
        }
        let sizes = self.window.sizes_behind("max_pool2d_grad", self.input, *x[0].shape())?;
        let positions = x[1].contiguous::<i32>()?;
        in_float!([x = &x[0]], y = &mut y[0], cpu::max_backward(&sizes, x, &positions, y, true))
    }

    fn cuda(&self, call: &mut CudaCall<'_>) -> Result<()> {
        if call.inputs()[0].shape().count() == 0 {
            return Ok(());
        }
        let sizes = self.window.sizes_behind("max_pool2d_grad", self.input, *call.inputs()[0].shape())?;
        cuda::pool(call, "largest_grad", &sizes, None);
        Ok(())
    }
}

impl Op for MaxPool2dPick {
    fn name(&self) -> &str {
        "max_pool2d_pick"
    }

    fn arity(&self) -> Arity {
        Arity::Exactly(2)
    }

    fn infer(&self, x: &[Spec]) -> Result<Specs> {
        check_float("max_pool2d_pick", x[0])?;
        let shape = output(&self.window.sizes("max_pool2d_pick", x[0].shape)?)?;
        check_positions("max_pool2d_pick", x[1], shape)?;
        Ok(Spec::new(shape, x[0].dtype).into())
    }

    fn cpu(&self, call: CpuCall<'_, Self>) -> Result<()> {
        let (x, y) = call.parts();
        if x[0].shape().count() == 0 {
            return Ok(());
        }
        let sizes = self.window.sizes("max_pool2d_pick", *x[0].shape())?;
        let ([height, width], channels) = (sizes.output(), sizes.channels);
        let (plane, image) = (sizes.input[0] * sizes.input[1], height * width * channels);
        let positions = x[1].contiguous::<i32>()?;
        with_element!(x[0].dtype(), T => {
            let from = x[0].contiguous::<T>()?;
            for (i, (y, &position)) in y[0].slice::<T>()?.iter_mut().zip(positions.iter()).enumerate() {
                // Images without elements have no positions, so nothing here divides by zero.
                let start = i / image * plane;
                *y = match usize::try_from(position) {
                    Ok(position) if position < plane => from[(start + position) * channels + i % channels],
                    _ => <T as Element>::from_f64(0.0),
                };
            }
        });
        Ok(())
    }

    fn cuda(&self, call: &mut CudaCall<'_>) -> Result<()> {
        if call.inputs()[0].shape().count() == 0 {
            return Ok(());
        }
        let sizes = self.window.sizes("max_pool2d_pick", *call.inputs()[0].shape())?;
        cuda::pool(call, "pick", &sizes, None);
        Ok(())
    }
}

impl AveragePool2d {
    fn check(&self, name: &str, x: Spec) -> Result<()> {
        check_float(name, x)?;
        if self.divisor == Divisor::Fixed(0) {
            return Err(Error::argument(name, "the divisor is 0"));
        }
        if self.window.dilation != [1, 1] {
            return Err(Error::argument(
                name,
                format!("a dilation of {:?} is for maximum pools", self.window.dilation),
            ));
        }
        Ok(())
    }
}

impl Op for AveragePool2d {
    fn name(&self) -> &str {
        "average_pool2d"
    }

    fn infer(&self, x: &[Spec]) -> Result<Specs> {
        self.check("average_pool2d", x[0])?;
        Ok(Spec::new(output(&self.window.sizes("average_pool2d", x[0].shape)?)?, x[0].dtype).into())
    }

    fn cpu(&self, call: CpuCall<'_, Self>) -> Result<()> {
        let (x, y) = call.parts();
        if x[0].shape().count() == 0 {
            return Ok(());
        }
        let sizes = self.window.sizes("average_pool2d", *x[0].shape())?;
        in_float!([x = &x[0]], y = &mut y[0], cpu::average_forward(&sizes, self.divisor, x, y, true))
    }

    fn cuda(&self, call: &mut CudaCall<'_>) -> Result<()> {
        if call.inputs()[0].shape().count() == 0 {
            return Ok(());
        }
        let sizes = self.window.sizes("average_pool2d", *call.inputs()[0].shape())?;
        cuda::pool(call, "average", &sizes, Some(self.divisor));
        Ok(())
    }
}

impl Op for AveragePool2dGrad {
    fn name(&self) -> &str {
        "average_pool2d_grad"
    }

    fn infer(&self, x: &[Spec]) -> Result<Specs> {
        self.pool.check("average_pool2d_grad", x[0])?;
        let sizes = self.pool.window.sizes_behind("average_pool2d_grad", self.input, x[0].shape)?;
        Ok(Spec::new(input(&sizes)?, x[0].dtype).into())
    }

    fn cpu(&self, call: CpuCall<'_, Self>) -> Result<()> {
        let (x, y) = call.parts();
        if x[0].shape().count() == 0 {
            return Ok(());
        }
        let sizes = self.pool.window.sizes_behind("average_pool2d_grad", self.input, *x[0].shape())?;
        let divisor = self.pool.divisor;
        in_float!([x = &x[0]], y = &mut y[0], cpu::average_backward(&sizes, divisor, x, y, true))
    }

    fn cuda(&self, call: &mut CudaCall<'_>) -> Result<()> {
        if call.inputs()[0].shape().count() == 0 {
            return Ok(());
        }
        let sizes = self.pool.window.sizes_behind("average_pool2d_grad", self.input, *call.inputs()[0].shape())?;
        cuda::pool(call, "average_grad", &sizes, Some(self.pool.divisor));
        Ok(())
    }
}
