//! Where samples have their channels. Layers compute with the channels last; what comes with the channels first is looked at in
//! the other order before them, and so is what they give, in one place for all: where a model calls a layer.

use super::settings::words;
use crate::Result;
use kiln_autograd::ops::{Value, ViewOps};
use kiln_autograd::{Shape, Var};

/// Where samples have their channels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DataFormat {
    /// After the dimensions of space: `[height, width, channels]`.
    #[default]
    ChannelsLast,
    /// Before them: `[channels, height, width]`.
    ChannelsFirst,
}

words!("data format" DataFormat {
    "channels_last" => DataFormat::ChannelsLast, "channels_first" => DataFormat::ChannelsFirst,
    null => DataFormat::ChannelsLast,
});

impl DataFormat {
    /// A sample's shape as layers compute with it. `at` is the dimension of the channels, where they come first.
    pub(crate) fn computed(self, sample: &Shape, at: usize) -> Result<Shape> {
        match self {
            DataFormat::ChannelsFirst if at + 1 < sample.rank() => {
                Ok(Shape::new(&[&sample[..at], &sample[at + 1..], &sample[at..=at]].concat())?)
            }
            _ => Ok(*sample),
        }
    }

    /// A sample's shape as it is given, from that which is computed.
    pub(crate) fn given(self, sample: &Shape, at: usize) -> Result<Shape> {
        match self {
            DataFormat::ChannelsFirst if at + 1 < sample.rank() => {
                let last = sample.rank() - 1;
                Ok(Shape::new(&[&sample[..at], &sample[last..], &sample[at..last]].concat())?)
            }
            _ => Ok(*sample),
        }
    }

    /// A batch as layers compute with it.
    pub(crate) fn computed_batch(self, x: &Var, at: usize) -> Result<Var> {
        self.moved(x, at, |order| order[at + 1..].rotate_left(1))
    }

    /// A batch as it is given, from that which is computed.
    pub(crate) fn given_batch(self, y: &Var, at: usize) -> Result<Var> {
        self.moved(y, at, |order| order[at + 1..].rotate_right(1))
    }

    fn moved(self, x: &Var, at: usize, order: impl Fn(&mut [isize])) -> Result<Var> {
        let rank = Value::shape(x).rank();
        if self == DataFormat::ChannelsLast || at + 2 >= rank {
            return Ok(x.clone());
        }
        let mut axes: Vec<isize> = (0..rank as isize).collect();
        order(&mut axes);
        Ok(x.permute(&axes)?)
    }
}

/// [`Layer::data_format`](crate::Layer::data_format) of a layer with a setting of this name.
macro_rules! with_data_format {
    () => {
        fn data_format(&self) -> $crate::layers::DataFormat {
            self.data_format
        }
    };
}
pub(super) use with_data_format;
