//! The layers, each in its file. Arguments, defaults and shapes are Keras's; images are `[height, width, channels]`.

mod activation;
mod batch_normalization;
mod conv2d;
mod dense;
mod dropout;
mod embedding;
mod layer_normalization;
mod pooling;
mod reshape;

pub use activation::{Activation, LeakyReLU, ReLU, Softmax};
pub use batch_normalization::BatchNormalization;
pub use conv2d::{Conv2D, Padding};
pub use dense::Dense;
pub use dropout::Dropout;
pub use embedding::Embedding;
pub use layer_normalization::LayerNormalization;
pub use pooling::{AveragePooling2D, GlobalAveragePooling2D, MaxPooling2D};
pub use reshape::{Flatten, Reshape};

use crate::layer::Layer;
use crate::{Error, Result};

/// The 2D max-pooling layer under its short name.
pub type MaxPool2D = MaxPooling2D;

/// The layers that a model file may name.
macro_rules! known_layers {
    ($($layer:ident)*) => {
        const CLASSES: &[&str] = &[$(stringify!($layer)),*];

        /// The layer of this class with these arguments.
        ///
        /// # Errors
        /// A class that is not known, arguments that do not fit it.
        pub fn from_config(class: &str, config: &serde_json::Value) -> Result<Box<dyn Layer>> {
            match class {
                $(stringify!($layer) => read::<$layer>(class, config),)*
                _ => Err(Error::unknown("layer", class, CLASSES)),
            }
        }
    };
}

known_layers! {
    Activation AveragePooling2D BatchNormalization Conv2D Dense Dropout Embedding Flatten GlobalAveragePooling2D
    LayerNormalization LeakyReLU MaxPooling2D ReLU Reshape Softmax
}

fn read<L: Layer + serde::de::DeserializeOwned + 'static>(
    class: &str,
    config: &serde_json::Value,
) -> Result<Box<dyn Layer>> {
    match serde_json::from_value::<L>(config.clone()) {
        Ok(layer) => Ok(Box::new(layer)),
        Err(error) => Err(Error::config(
            format!("the arguments of a {class} layer cannot be read: {error}"),
            "the file is damaged or of a newer version",
        )),
    }
}

/// A layer's arguments as JSON; they are plain data and cannot fail to be written.
pub(crate) fn to_config(layer: &impl serde::Serialize) -> serde_json::Value {
    serde_json::to_value(layer).unwrap_or_default()
}
