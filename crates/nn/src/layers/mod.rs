//! The layers, by families. Arguments, defaults, names of weights and numbers are Keras's; images are
//! `[height, width, channels]`, unless a layer is told that the channels come first.

mod activation;
mod attention;
mod augmentation;
mod conv;
mod dense;
mod embedding;
mod format;
mod merge;
mod noise;
mod normalization;
mod pooling;
mod preprocessing;
mod recompute;
mod recurrent;
mod reshape;
pub(crate) mod settings;
mod transformer;
mod window;

pub use activation::{Activation, ELU, LeakyReLU, PReLU, ReLU, Softmax};
pub use attention::{AdditiveAttention, Attention, GroupQueryAttention, Lengths, MultiHeadAttention, ScoreMode};
pub use augmentation::{
    Factor, FillMode, RandomBrightness, RandomContrast, RandomCrop, RandomFlip, RandomRotation, RandomTranslation,
    RandomZoom,
};
pub use conv::{
    Conv1D, Conv1DTranspose, Conv2D, Conv2DTranspose, Conv3D, Conv3DTranspose, DepthwiseConv1D, DepthwiseConv2D,
    SeparableConv1D, SeparableConv2D,
};
pub use dense::{Dense, EinsumDense};
pub use embedding::Embedding;
pub use format::DataFormat;
pub use merge::{Add, Average, Concatenate, Dot, Maximum, Minimum, Multiply, Subtract};
pub use noise::{
    ActivityRegularization, AlphaDropout, Dropout, GaussianDropout, GaussianNoise, SpatialDropout1D, SpatialDropout2D,
    SpatialDropout3D,
};
pub use normalization::{
    BatchNormalization, GroupNormalization, LayerNormalization, RMSNormalization, RenormClipping,
    SpectralNormalization, UnitNormalization,
};
pub use pooling::{
    AveragePooling1D, AveragePooling2D, AveragePooling3D, GlobalAveragePooling1D, GlobalAveragePooling2D,
    GlobalAveragePooling3D, GlobalMaxPooling1D, GlobalMaxPooling2D, GlobalMaxPooling3D, MaxPooling1D, MaxPooling2D,
    MaxPooling3D,
};
pub use preprocessing::{CategoryEncoding, CenterCrop, Discretization, Normalization, OutputMode, Rescaling, Resizing};
pub use recompute::Recompute;
pub use recurrent::{
    Bidirectional, Cell, ConvLSTM1D, ConvLSTM1DCell, ConvLSTM2D, ConvLSTM2DCell, ConvLSTM3D, ConvLSTM3DCell, Course,
    Drawn, GRU, GRUCell, LSTM, LSTMCell, Masking, MergeMode, RNN, Recurrent, SimpleRNN, SimpleRNNCell, StackedRNNCells,
    TimeDistributed, register_cell,
};
pub use reshape::{
    Cropping1D, Cropping2D, Cropping3D, Flatten, Identity, Margins, Permute, RepeatVector, Reshape, UpSampling1D,
    UpSampling2D, UpSampling3D, ZeroPadding1D, ZeroPadding2D, ZeroPadding3D,
};
pub use settings::Size;
pub use transformer::{
    PositionEmbedding, RotaryEmbedding, SinePositionEncoding, TransformerDecoder, TransformerEncoder,
};
pub use window::Padding;

use crate::layer::AnyLayer;
use crate::{Error, Functional, Result};
use serde_json::Value as Json;
use settings::Settings;
use std::collections::BTreeMap;
use std::sync::{PoisonError, RwLock};

/// The 2D max-pooling layer under its short name.
pub type MaxPool2D = MaxPooling2D;

/// Makes a layer of what a file says of it.
type Read = fn(&Json) -> Result<Box<dyn AnyLayer>>;

/// The layers that a model file may name.
macro_rules! known_layers {
    ($($layer:ident)*) => {
        const KNOWN: &[(&str, Read)] = &[
            $((stringify!($layer), read::<$layer>),)*
            ("Functional", nested),
            ("Sequential", nested),
        ];
    };
}

known_layers! {
    Activation ActivityRegularization Add AdditiveAttention AlphaDropout Attention Average AveragePooling1D
    AveragePooling2D AveragePooling3D BatchNormalization Bidirectional CategoryEncoding CenterCrop Concatenate
    Conv1D Conv1DTranspose Conv2D Conv2DTranspose Conv3D Conv3DTranspose ConvLSTM1D ConvLSTM2D ConvLSTM3D Cropping1D
    Cropping2D Cropping3D Dense DepthwiseConv1D DepthwiseConv2D Discretization Dot Dropout ELU EinsumDense Embedding
    Flatten GRU GaussianDropout GaussianNoise GlobalAveragePooling1D GlobalAveragePooling2D GlobalAveragePooling3D
    GlobalMaxPooling1D GlobalMaxPooling2D GlobalMaxPooling3D GroupNormalization GroupQueryAttention Identity LSTM
    LayerNormalization LeakyReLU Masking MaxPooling1D MaxPooling2D MaxPooling3D Maximum Minimum MultiHeadAttention
    Multiply Normalization PReLU Permute PositionEmbedding RMSNormalization RNN RandomBrightness RandomContrast
    RandomCrop RandomFlip RandomRotation RandomTranslation RandomZoom ReLU Recompute RepeatVector Rescaling Reshape Resizing
    RotaryEmbedding SeparableConv1D SeparableConv2D SimpleRNN SinePositionEncoding Softmax SpatialDropout1D
    SpatialDropout2D SpatialDropout3D SpectralNormalization Subtract TimeDistributed TransformerDecoder
    TransformerEncoder UnitNormalization UpSampling1D UpSampling2D UpSampling3D ZeroPadding1D ZeroPadding2D
    ZeroPadding3D
}

/// Layers of others by class.
static OWN: RwLock<BTreeMap<String, Read>> = RwLock::new(BTreeMap::new());

/// Lets model files name a layer of your own: `read` makes it of what its [`Layer::config`](crate::Layer::config) wrote. Of two
/// for one class, the later counts.
///
/// ```
/// use kiln_nn::{AnyLayer, Layer, Pass, Result, Shape, Var, Weights, layers, ops::*};
///
/// #[derive(Debug)]
/// struct Shift(f64);
///
/// impl Layer for Shift {
///     fn class(&self) -> &'static str { "Shift" }
///     fn output_shape(&self, input: &Shape) -> Result<Shape> { Ok(*input) }
///     fn call(&self, x: &Var, _: Weights<'_>, _: &mut Pass) -> Result<Var> { Ok(x.add(self.0)?) }
///     fn config(&self) -> serde_json::Value { self.0.into() }
/// }
///
/// layers::register("Shift", |config| Ok(Box::new(Shift(config.as_f64().unwrap_or(0.0)))))?;
/// let again = layers::from_config("Shift", &Shift(2.0).config())?;
/// assert_eq!(again.to_config(), 2.0);
/// # Ok::<(), kiln_nn::Error>(())
/// ```
///
/// # Errors
/// The class is one of Kiln's.
pub fn register(class: &str, read: Read) -> Result<()> {
    if is_known(class) {
        return Err(Error::config(
            format!("register: `{class}` is a layer of Kiln's"),
            "give your layer another class",
        ));
    }
    OWN.write().unwrap_or_else(PoisonError::into_inner).insert(class.to_owned(), read);
    Ok(())
}

/// Whether the class is that of a layer of Kiln's.
pub(crate) fn is_known(class: &str) -> bool {
    KNOWN.iter().any(|(known, _)| *known == class)
}

/// The layer of this class with these arguments, by name and as in Keras; those that are not given have their defaults.
///
/// # Errors
/// A class that is not known, arguments that do not fit it.
pub fn from_config(class: &str, config: &Json) -> Result<Box<dyn AnyLayer>> {
    if let Some((_, read)) = KNOWN.iter().find(|(known, _)| *known == class) {
        return read(config);
    }
    // Not while others wait: what reads it may register or read layers itself.
    let own = OWN.read().unwrap_or_else(PoisonError::into_inner).clone();
    match own.get(class) {
        Some(read) => read(config),
        None => {
            let known: Vec<&str> =
                KNOWN.iter().map(|(known, _)| *known).chain(own.keys().map(String::as_str)).collect();
            Err(Error::unknown("layer", class, &known))
        }
    }
}

fn read<L: AnyLayer + Settings + 'static>(config: &Json) -> Result<Box<dyn AnyLayer>> {
    let mut layer = L::default();
    settings::read(L::CLASS, layer.settings_mut(), config)?;
    Ok(Box::new(layer))
}

fn nested(config: &Json) -> Result<Box<dyn AnyLayer>> {
    Ok(Box::new(Functional::from_config(config)?))
}

/// The error of a setting outside its range, NaN included, unless `holds`.
pub(crate) fn require(holds: bool, class: &str, setting: &str, value: f64, range: &str) -> Result<()> {
    if holds { Ok(()) } else { Err(Error::config(format!("{class}: {setting} is {value}"), format!("give {range}"))) }
}

/// Checks what stands outside of an image.
pub(crate) fn require_fill(class: &str, value: f64) -> Result<()> {
    require(value.is_finite(), class, "fill_value", value, "a finite number, such as 0")
}

/// Checks what a normalization adds to a variance.
pub(crate) fn require_epsilon(class: &str, epsilon: f64) -> Result<()> {
    let holds = epsilon.is_finite() && epsilon >= 0.0;
    require(holds, class, "epsilon", epsilon, "a finite number from 0, such as 0.001")
}

#[cfg(test)]
mod tests;
