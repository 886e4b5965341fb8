//! What layers with windows share: padding, and how many windows fit.

use super::settings::{Size, words};
use crate::{Error, Result};
use kiln_autograd::Shape;
use kiln_autograd::ops::Padding as OpPadding;

/// How a window moves over the edges of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Padding {
    /// It stays inside: the output is smaller.
    #[default]
    Valid,
    /// The image is framed with zeros, so that with stride 1 the output has its size.
    Same,
    /// All of the frame comes before the first step, so that no output sees a later input. For convolutions over time.
    Causal,
}

impl Padding {
    pub(crate) fn op<const N: usize>(self) -> OpPadding<N> {
        match self {
            Padding::Valid | Padding::Causal => OpPadding::Valid,
            Padding::Same => OpPadding::Same,
        }
    }

    /// Output positions along one dimension.
    fn output(self, input: usize, window: usize, stride: usize) -> Option<usize> {
        match self {
            Padding::Same | Padding::Causal => Some(input.div_ceil(stride)),
            Padding::Valid => input.checked_sub(window).map(|rest| rest / stride + 1),
        }
    }
}

words!("padding" Padding { "valid" => Padding::Valid, "same" => Padding::Same, "causal" => Padding::Causal });

/// What the dimensions of samples are called.
const NAMES: [&str; 3] = ["steps", "height and width", "depth, height and width"];

/// The dimensions before the channels, and the channels; or an error that says what samples look like.
pub(super) fn space<const N: usize>(class: &str, input: &Shape) -> Result<([usize; N], usize)> {
    if let Some((&channels, space)) = input.split_last()
        && let Ok(space) = <[usize; N]>::try_from(space)
    {
        return Ok((space, channels));
    }
    let (what, needs) = match N {
        1 => ("sequence", NAMES[0]),
        2 => ("image", "height, width"),
        _ => ("volume", "depth, height, width"),
    };
    let text = format!("{class}: the input {input} is no {what}: it needs {needs} and channels");
    let help = match (N, &input[..]) {
        (2, [height, width]) => {
            format!("a grey image has one channel: Reshape::new([{height}, {width}, 1]) before this layer")
        }
        (1, [steps]) => format!("a series has one channel: Reshape::new([{steps}, 1]) before this layer"),
        (2, _) => "bring it into that shape: Reshape::new([height, width, channels]) before this layer".to_owned(),
        _ => "bring it into that shape with Reshape before this layer".to_owned(),
    };
    Err(Error::config(text, help))
}

/// The output of a window, or an error that says that it does not fit.
pub(super) fn fit<const N: usize>(
    class: &str,
    input: &Shape,
    padding: Padding,
    window: [usize; N],
    Size(stride): Size<N>,
) -> Result<[usize; N]> {
    if window.contains(&0) || stride.contains(&0) {
        let text = format!("{class}: windows of {window:?} with strides {stride:?} have no meaning");
        return Err(Error::config(text, "sizes and strides start at 1"));
    }
    let mut output = [0; N];
    for i in 0..N {
        output[i] = padding.output(input[i], window[i], stride[i]).ok_or_else(|| {
            let window = window.map(|size| size.to_string()).join(" x ");
            let text = format!("{class}: a window of {window} does not fit into the input {input}");
            Error::config(text, "use Padding::Same, a smaller window, or fewer pooling layers before it")
        })?;
    }
    Ok(output)
}

/// Positions that a window spans: `dilation · (size - 1) + 1`.
pub(super) fn reach<const N: usize>(size: [usize; N], dilation: [usize; N]) -> [usize; N] {
    std::array::from_fn(|i| dilation[i].saturating_mul(size[i].saturating_sub(1)).saturating_add(size[i].min(1)))
}

/// A sample of these dimensions and channels.
pub(super) fn with_channels<const N: usize>(space: [usize; N], channels: usize) -> Result<Shape> {
    Ok(Shape::new(&[&space[..], &[channels]].concat())?)
}
