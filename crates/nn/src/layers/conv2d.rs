//! Convolution of images.

use super::to_config;
use crate::layer::{Layer, Weight};
use crate::{Activation, Error, Initializer, Parameter, Pass, Result};
use kiln_autograd::ops::{ArithmeticOps, Conv2dOptions, ConvOps, Padding as OpPadding};
use kiln_autograd::{Shape, Var};
use serde::{Deserialize, Serialize};

/// How a window moves over the edges of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Padding {
    /// It stays inside: the output is smaller.
    #[default]
    Valid,
    /// The image is framed with zeros, so that with stride 1 the output has its size.
    Same,
}

impl Padding {
    pub(crate) fn op(self) -> OpPadding<2> {
        match self {
            Padding::Valid => OpPadding::Valid,
            Padding::Same => OpPadding::Same,
        }
    }

    /// Output positions along one dimension.
    pub(crate) fn output(self, input: usize, window: usize, stride: usize) -> Option<usize> {
        match self {
            Padding::Same => Some(input.div_ceil(stride)),
            Padding::Valid => input.checked_sub(window).map(|rest| rest / stride + 1),
        }
    }
}

/// `activation(x ⋆ kernel + bias)`: each of `filters` outputs sees a window of the image, all channels of it, with the
/// same weights everywhere.
///
/// # Shapes
/// `[batch, height, width, channels]` to `[batch, new_height, new_width, filters]`; `kernel` is
/// `[kernel_height, kernel_width, channels / groups, filters]`, `bias` `[filters]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Conv2D {
    filters: usize,
    kernel_size: [usize; 2],
    strides: [usize; 2],
    padding: Padding,
    dilation_rate: [usize; 2],
    groups: usize,
    activation: Activation,
    use_bias: bool,
    kernel_initializer: Initializer,
    bias_initializer: Initializer,
}

impl Conv2D {
    /// A layer of `filters` outputs that see windows of `kernel_size` by `kernel_size` pixels: stride 1, no padding,
    /// linear, with a bias.
    pub fn new(filters: usize, kernel_size: usize) -> Conv2D {
        Conv2D {
            filters,
            kernel_size: [kernel_size; 2],
            strides: [1; 2],
            padding: Padding::Valid,
            dilation_rate: [1; 2],
            groups: 1,
            activation: Activation::Linear,
            use_bias: true,
            kernel_initializer: Initializer::GlorotUniform,
            bias_initializer: Initializer::Zeros,
        }
    }

    /// Height and width of the window.
    #[must_use]
    pub fn kernel_size(mut self, size: [usize; 2]) -> Conv2D {
        self.kernel_size = size;
        self
    }

    /// Input positions per output position, vertically and horizontally.
    #[must_use]
    pub fn strides(mut self, strides: [usize; 2]) -> Conv2D {
        self.strides = strides;
        self
    }

    /// What happens at the edges.
    #[must_use]
    pub fn padding(mut self, padding: Padding) -> Conv2D {
        self.padding = padding;
        self
    }

    /// Input positions per kernel element, vertically and horizontally.
    #[must_use]
    pub fn dilation_rate(mut self, rate: [usize; 2]) -> Conv2D {
        self.dilation_rate = rate;
        self
    }

    /// Groups of channels that do not see each other.
    #[must_use]
    pub fn groups(mut self, groups: usize) -> Conv2D {
        self.groups = groups;
        self
    }

    /// What is applied to the output: a name such as `"relu"`, or an [`Activation`].
    #[must_use]
    pub fn activation(mut self, activation: impl Into<Activation>) -> Conv2D {
        self.activation = activation.into();
        self
    }

    /// Whether a bias is added.
    #[must_use]
    pub fn use_bias(mut self, use_bias: bool) -> Conv2D {
        self.use_bias = use_bias;
        self
    }

    /// What the kernel starts from.
    #[must_use]
    pub fn kernel_initializer(mut self, initializer: Initializer) -> Conv2D {
        self.kernel_initializer = initializer;
        self
    }

    /// What the bias starts from.
    #[must_use]
    pub fn bias_initializer(mut self, initializer: Initializer) -> Conv2D {
        self.bias_initializer = initializer;
        self
    }
}

/// Height, width and channels of an image, or an error that says what images look like.
pub(crate) fn image(class: &str, input: &Shape) -> Result<[usize; 3]> {
    match input[..] {
        [height, width, channels] => Ok([height, width, channels]),
        _ => {
            let text = format!("{class}: the input {input} is no image: it needs height, width and channels");
            let help = match input[..] {
                [height, width] => {
                    format!("a grey image has one channel: Reshape::new([{height}, {width}, 1]) before this layer")
                }
                _ => "bring it into that shape: Reshape::new([height, width, channels]) before this layer".to_owned(),
            };
            Err(Error::config(text, help))
        }
    }
}

/// The output of a window, or an error that says that it does not fit.
pub(crate) fn fit(
    class: &str,
    input: &Shape,
    padding: Padding,
    window: [usize; 2],
    stride: [usize; 2],
) -> Result<[usize; 2]> {
    if window.contains(&0) || stride.contains(&0) {
        let text = format!("{class}: windows of {window:?} with strides {stride:?} have no meaning");
        return Err(Error::config(text, "sizes and strides start at 1"));
    }
    match (padding.output(input[0], window[0], stride[0]), padding.output(input[1], window[1], stride[1])) {
        (Some(height), Some(width)) => Ok([height, width]),
        _ => {
            let text =
                format!("{class}: a window of {} x {} does not fit into the input {input}", window[0], window[1]);
            Err(Error::config(text, "use Padding::Same, a smaller window, or fewer pooling layers before it"))
        }
    }
}

impl Layer for Conv2D {
    fn class(&self) -> &'static str {
        "Conv2D"
    }

    fn output_shape(&self, input: &Shape) -> Result<Shape> {
        let [_, _, channels] = image("Conv2D", input)?;
        let divides = |n: usize| self.groups > 0 && n.is_multiple_of(self.groups);
        if self.filters == 0 || !divides(channels) || !divides(self.filters) {
            let text = format!(
                "Conv2D: {} groups do not divide {channels} channels and {} filters",
                self.groups, self.filters
            );
            return Err(Error::config(text, "both numbers must be positive multiples of the number of groups"));
        }
        if self.dilation_rate.contains(&0) {
            return Err(Error::config("Conv2D: a dilation rate of 0 has no meaning", "1 is no dilation"));
        }
        let reach = std::array::from_fn(|i| {
            self.dilation_rate[i]
                .saturating_mul(self.kernel_size[i].saturating_sub(1))
                .saturating_add(self.kernel_size[i].min(1))
        });
        let [height, width] = fit("Conv2D", input, self.padding, reach, self.strides)?;
        Ok(Shape::new(&[height, width, self.filters])?)
    }

    fn weights(&self, input: &Shape) -> Vec<Weight> {
        let channels = input.last().copied().unwrap_or(1) / self.groups.max(1);
        let kernel = [self.kernel_size[0], self.kernel_size[1], channels, self.filters];
        let mut weights = vec![Weight::new("kernel", kernel, self.kernel_initializer)];
        if self.use_bias {
            weights.push(Weight::new("bias", [self.filters], self.bias_initializer));
        }
        weights
    }

    fn call(&self, x: &Var, weights: &[Parameter], pass: &mut Pass) -> Result<Var> {
        let options = Conv2dOptions::new()
            .stride(self.strides)
            .padding(self.padding.op())
            .dilation(self.dilation_rate)
            .groups(self.groups);
        let y = x.conv2d(&pass.parameter(&weights[0]), &options)?;
        match weights.get(1) {
            Some(bias) => Ok(y.add(&pass.parameter(bias))?),
            None => Ok(y),
        }
    }

    fn activation(&self) -> Activation {
        self.activation.clone()
    }

    fn config(&self) -> serde_json::Value {
        to_config(self)
    }
}
