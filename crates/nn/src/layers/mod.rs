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
    match crate::config::from_fields::<L>(config) {
        Ok(layer) => Ok(Box::new(layer)),
        Err(error) => Err(Error::config(
            format!("the arguments of a {class} layer cannot be read: {error}"),
            "the file is damaged or of a newer version",
        )),
    }
}

/// The error of a setting outside its range, NaN included, unless `holds`.
pub(crate) fn require(holds: bool, class: &str, setting: &str, value: f64, range: &str) -> Result<()> {
    if holds { Ok(()) } else { Err(Error::config(format!("{class}: {setting} is {value}"), format!("give {range}"))) }
}

/// Checks what a normalization adds to a variance.
pub(crate) fn require_epsilon(class: &str, epsilon: f64) -> Result<()> {
    let holds = epsilon.is_finite() && epsilon >= 0.0;
    require(holds, class, "epsilon", epsilon, "a finite number from 0, such as 0.001")
}

/// A layer's arguments as JSON; they are plain data and cannot fail to be written.
pub(crate) fn to_config(layer: &impl serde::Serialize) -> serde_json::Value {
    serde_json::to_value(layer).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Sequential;

    #[test]
    fn settings_out_of_range_are_refused_where_a_model_is_built() {
        let refused = |layer: Box<dyn Layer>, setting: &str| {
            let text = format!("{layer:?}");
            // Read back from a file, it is refused too.
            let again = from_config(layer.class(), &layer.config()).unwrap_or_else(|_| Box::new(Dense::new(0)));
            for layer in [layer, again] {
                let error = Sequential::new([4]).add_boxed(layer).build().expect_err(&text).to_string();
                assert!(error.contains("help: "), "{error}");
                assert!(error.contains(setting) || error.contains("Dense"), "{text}: {error}");
            }
        };
        for epsilon in [-1.0, -1e-9, f64::NAN, f64::INFINITY] {
            refused(Box::new(BatchNormalization::new().epsilon(epsilon)), "epsilon is");
            refused(Box::new(LayerNormalization::new().epsilon(epsilon)), "epsilon is");
        }
        for momentum in [-0.1, 1.1, f64::NAN, f64::INFINITY] {
            refused(Box::new(BatchNormalization::new().momentum(momentum)), "momentum is");
        }
        for rate in [-0.1, 1.1, f64::NAN] {
            refused(Box::new(Dropout::new(rate)), "rate");
        }
        refused(Box::new(Activation::new(crate::Activation::LeakyRelu(f64::NAN))), "slope");
        for momentum in [0.0, 1.0] {
            let layer = BatchNormalization::new().momentum(momentum).epsilon(0.0);
            assert!(Sequential::new([4]).add(layer).build().is_ok());
        }
    }
}
