//! What a user says about a pool.

use crate::ops::Padding;

/// Options of a pool over `N` dimensions. The default moves by the window's size, without padding or dilation, drops
/// what no whole window covers, and has channels in the last dimension.
///
/// ```
/// use kiln_tensor::ops::{Padding, Pool2dOptions};
/// let options = Pool2dOptions::new([3, 3]).stride([2, 2]).padding(Padding::Same);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PoolOptions<const N: usize> {
    pub(crate) kernel: [usize; N],
    pub(crate) stride: [usize; N],
    pub(crate) padding: Padding<N>,
    pub(crate) dilation: [usize; N],
    pub(crate) ceil_mode: bool,
    pub(crate) count_include_pad: bool,
    pub(crate) divisor: Option<usize>,
    pub(crate) channels_first: bool,
}

/// Options of a pool over sequences.
pub type Pool1dOptions = PoolOptions<1>;
/// Options of a pool over images.
pub type Pool2dOptions = PoolOptions<2>;
/// Options of a pool over volumes.
pub type Pool3dOptions = PoolOptions<3>;

impl<const N: usize> PoolOptions<N> {
    /// Windows of this size, side by side.
    pub fn new(kernel: [usize; N]) -> Self {
        Self {
            kernel,
            stride: kernel,
            padding: Padding::Valid,
            dilation: [1; N],
            ceil_mode: false,
            count_include_pad: false,
            divisor: None,
            channels_first: false,
        }
    }

    /// Input positions from one window to the next.
    #[must_use]
    pub fn stride(self, stride: [usize; N]) -> Self {
        Self { stride, ..self }
    }

    /// How far windows may reach outside. What lies there is never the largest, and adds 0 to a mean.
    #[must_use]
    pub fn padding(self, padding: Padding<N>) -> Self {
        Self { padding, ..self }
    }

    /// Input positions from one position of a window to the next (maximum only).
    #[must_use]
    pub fn dilation(self, dilation: [usize; N]) -> Self {
        Self { dilation, ..self }
    }

    /// Whether a last window that reaches past the end counts too, as long as it begins inside.
    #[must_use]
    pub fn ceil_mode(self, ceil_mode: bool) -> Self {
        Self { ceil_mode, ..self }
    }

    /// Whether a mean counts the padding (PyTorch's default) or only what lies inside (Keras, and the default here).
    #[must_use]
    pub fn count_include_pad(self, count_include_pad: bool) -> Self {
        Self { count_include_pad, ..self }
    }

    /// Divides the sum of each window by this number instead of its count.
    #[must_use]
    pub fn divisor(self, divisor: usize) -> Self {
        Self { divisor: Some(divisor), ..self }
    }

    /// Channels before the spatial dimensions: PyTorch's order. The operation works on views in its own order; each
    /// change of order costs a copy.
    #[must_use]
    pub fn channels_first(self) -> Self {
        Self { channels_first: true, ..self }
    }
}

impl PoolOptions<1> {
    /// The same over images of height 1.
    pub(crate) fn flat(self) -> PoolOptions<2> {
        PoolOptions {
            kernel: [1, self.kernel[0]],
            stride: [1, self.stride[0]],
            padding: match self.padding {
                Padding::Valid => Padding::Valid,
                Padding::Same => Padding::Same,
                Padding::Explicit([padding]) => Padding::Explicit([[0; 2], padding]),
            },
            dilation: [1, self.dilation[0]],
            ceil_mode: self.ceil_mode,
            count_include_pad: self.count_include_pad,
            divisor: self.divisor,
            channels_first: self.channels_first,
        }
    }
}

impl PoolOptions<3> {
    /// The same over the depths alone and over the images alone, both with channels last.
    pub(crate) fn parted(self, [deep, down, across]: [[usize; 2]; 3]) -> (PoolOptions<1>, PoolOptions<2>) {
        let PoolOptions { kernel: [k, l, m], stride: [s, t, u], dilation: [d, e, f], .. } = self;
        let PoolOptions { ceil_mode, count_include_pad, divisor, .. } = self;
        let depths = PoolOptions {
            kernel: [k],
            stride: [s],
            padding: Padding::Explicit([deep]),
            dilation: [d],
            ceil_mode,
            count_include_pad,
            divisor,
            channels_first: false,
        };
        let images = PoolOptions {
            kernel: [l, m],
            stride: [t, u],
            padding: Padding::Explicit([down, across]),
            dilation: [e, f],
            ceil_mode,
            count_include_pad,
            // What the sum over the depths is divided by, the sums over images are not.
            divisor: divisor.map(|_| 1),
            channels_first: false,
        };
        (depths, images)
    }
}
