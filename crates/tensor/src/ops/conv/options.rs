//! How a convolution or a pool walks over its input, as a user says it.

use crate::ops::PadMode;

/// What stands around the input.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Padding<const N: usize> {
    /// Nothing: windows stay inside.
    #[default]
    Valid,
    /// As many zeros as make the output `⌈input / stride⌉` long; the odd one goes to the end, as in TensorFlow.
    Same,
    /// So many before and after each dimension.
    Explicit([[usize; 2]; N]),
}

impl<const N: usize> Padding<N> {
    /// The same number before and after, one for each dimension: PyTorch's `padding`.
    pub fn symmetric(padding: [usize; N]) -> Padding<N> {
        Padding::Explicit(padding.map(|p| [p, p]))
    }

    /// The numbers before and after, for an input of length `input` and a window that reaches over `reach` positions.
    pub(crate) fn resolve(&self, input: [usize; N], reach: [usize; N], stride: [usize; N]) -> [[usize; 2]; N] {
        match *self {
            Padding::Valid => [[0; 2]; N],
            Padding::Explicit(padding) => padding,
            Padding::Same => std::array::from_fn(|i| {
                let stride = stride[i].max(1);
                let last = input[i].div_ceil(stride).saturating_sub(1).saturating_mul(stride);
                let total = last.saturating_add(reach[i]).saturating_sub(input[i]);
                [total / 2, total - total / 2]
            }),
        }
    }
}

/// Options of a convolution over `N` dimensions. The default has stride 1, no padding, no dilation and one group, and
/// channels in the last dimension.
///
/// ```
/// use kiln_tensor::ops::{Conv2dOptions, Padding};
/// let options = Conv2dOptions::new().stride([2, 2]).padding(Padding::Same);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConvOptions<const N: usize> {
    pub(crate) stride: [usize; N],
    pub(crate) padding: Padding<N>,
    pub(crate) padding_mode: Option<PadMode>,
    pub(crate) dilation: [usize; N],
    pub(crate) groups: usize,
    pub(crate) channels_first: bool,
}

/// Options of a convolution over sequences.
pub type Conv1dOptions = ConvOptions<1>;
/// Options of a convolution over images.
pub type Conv2dOptions = ConvOptions<2>;
/// Options of a convolution over volumes.
pub type Conv3dOptions = ConvOptions<3>;

impl<const N: usize> Default for ConvOptions<N> {
    fn default() -> Self {
        Self {
            stride: [1; N],
            padding: Padding::Valid,
            padding_mode: None,
            dilation: [1; N],
            groups: 1,
            channels_first: false,
        }
    }
}

impl<const N: usize> ConvOptions<N> {
    /// The defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// Input positions from one output position to the next.
    #[must_use]
    pub fn stride(self, stride: [usize; N]) -> Self {
        Self { stride, ..self }
    }

    /// What stands around the input.
    #[must_use]
    pub fn padding(self, padding: Padding<N>) -> Self {
        Self { padding, ..self }
    }

    /// Around the input not zeros but more of itself, for which it is copied. A transposed convolution has zeros only.
    #[must_use]
    pub fn padding_mode(self, mode: PadMode) -> Self {
        Self { padding_mode: Some(mode), ..self }
    }

    /// Input positions from one kernel element to the next.
    #[must_use]
    pub fn dilation(self, dilation: [usize; N]) -> Self {
        Self { dilation, ..self }
    }

    /// Groups of channels that do not see each other; as many as there are channels makes it depthwise.
    #[must_use]
    pub fn groups(self, groups: usize) -> Self {
        Self { groups, ..self }
    }

    /// Channels before the spatial dimensions, and weights `[O, C / groups, K…]`: PyTorch's order. The operation works
    /// on views in its own order; each change of order costs a copy.
    #[must_use]
    pub fn channels_first(self) -> Self {
        Self { channels_first: true, ..self }
    }
}

impl ConvOptions<1> {
    /// The same over images of height 1.
    pub(crate) fn flat(self) -> ConvOptions<2> {
        ConvOptions {
            stride: [1, self.stride[0]],
            padding: match self.padding {
                Padding::Valid => Padding::Valid,
                Padding::Same => Padding::Same,
                Padding::Explicit([padding]) => Padding::Explicit([[0; 2], padding]),
            },
            padding_mode: self.padding_mode,
            dilation: [1, self.dilation[0]],
            groups: self.groups,
            channels_first: self.channels_first,
        }
    }
}
