//! The arguments of layers: structs of them, and their form in model files, which is Keras's.

use super::from_config;
use crate::layer::AnyLayer;
use crate::penalty::by_name;
use crate::{Activation, AxisList, Constraint, Error, Initializer, Numbers, Regularizer, Result};
use serde_json::{Map, Value as Json, json};
use std::sync::Arc;

/// A value that a layer is told, as JSON.
pub(crate) trait Setting {
    /// One to be read into.
    fn blank() -> Self
    where
        Self: Sized;
    /// What a file says of it.
    fn write(&self) -> Json;
    /// Takes what a file says.
    ///
    /// # Errors
    /// What it wants instead.
    fn read(&mut self, json: &Json) -> Result<()>;
}

/// The arguments of a layer by name.
pub(crate) trait Settings: Default {
    /// The class.
    const CLASS: &'static str;
    /// Each argument.
    fn settings(&self) -> Vec<(&'static str, &dyn Setting)>;
    /// Each argument, to be set.
    fn settings_mut(&mut self) -> Vec<(&'static str, &mut dyn Setting)>;
}

/// The arguments as a file has them.
pub(crate) fn write(settings: &[(&'static str, &dyn Setting)]) -> Json {
    let fields: Map<String, Json> = settings.iter().map(|(name, value)| ((*name).to_owned(), value.write())).collect();
    Json::Object(fields)
}

/// Sets arguments to what a file has; those that it does not name stay.
///
/// # Errors
/// A name that is none, a value of another kind.
pub(crate) fn read(class: &str, mut settings: Vec<(&'static str, &mut dyn Setting)>, config: &Json) -> Result<()> {
    let help = "the file is damaged or of a newer version";
    let Some(fields) = config.as_object() else {
        return match config.is_null() {
            true => Ok(()),
            false => Err(Error::config(
                format!("the arguments of a {class} layer are {config}, not arguments by name"),
                help,
            )),
        };
    };
    for (name, value) in fields {
        let Some((_, setting)) = settings.iter_mut().find(|(known, _)| known == name) else {
            let known: Vec<&str> = settings.iter().map(|(known, _)| *known).collect();
            return Err(Error::config(
                format!("a {class} layer has no argument `{name}`"),
                crate::names::did_you_mean(name, &known),
            ));
        };
        setting.read(value).map_err(|e| match e {
            // A part of the layer that is not known.
            unknown @ Error::Unknown { .. } => unknown,
            e => Error::config(format!("the argument `{name}` of a {class} layer is {value}: {e}"), help),
        })?;
    }
    Ok(())
}

fn wanted(what: &str) -> Error {
    Error::config(format!("it is {what}"), "")
}

impl Setting for usize {
    fn blank() -> Self {
        0
    }
    fn write(&self) -> Json {
        json!(self)
    }
    fn read(&mut self, json: &Json) -> Result<()> {
        let number = json.as_u64().and_then(|n| usize::try_from(n).ok());
        *self = number.ok_or_else(|| wanted("a whole number from 0"))?;
        Ok(())
    }
}

impl Setting for isize {
    fn blank() -> Self {
        0
    }
    fn write(&self) -> Json {
        json!(self)
    }
    fn read(&mut self, json: &Json) -> Result<()> {
        let number = json.as_i64().and_then(|n| isize::try_from(n).ok());
        *self = number.ok_or_else(|| wanted("a whole number"))?;
        Ok(())
    }
}

/// What JSON has no number for is a word.
impl Setting for f64 {
    fn blank() -> Self {
        0.0
    }
    fn write(&self) -> Json {
        if self.is_finite() { json!(self) } else { json!(self.to_string()) }
    }
    fn read(&mut self, json: &Json) -> Result<()> {
        let number = json.as_f64().or_else(|| json.as_str().and_then(|text| text.parse().ok()));
        *self = number.ok_or_else(|| wanted("a number"))?;
        Ok(())
    }
}

impl Setting for bool {
    fn blank() -> Self {
        false
    }
    fn write(&self) -> Json {
        json!(self)
    }
    fn read(&mut self, json: &Json) -> Result<()> {
        *self = json.as_bool().ok_or_else(|| wanted("true or false"))?;
        Ok(())
    }
}

impl Setting for String {
    fn blank() -> Self {
        String::new()
    }
    fn write(&self) -> Json {
        json!(self)
    }
    fn read(&mut self, json: &Json) -> Result<()> {
        *self = json.as_str().ok_or_else(|| wanted("a text"))?.to_owned();
        Ok(())
    }
}

impl<T: Setting> Setting for Option<T> {
    fn blank() -> Self {
        None
    }
    fn write(&self) -> Json {
        self.as_ref().map_or(Json::Null, Setting::write)
    }
    fn read(&mut self, json: &Json) -> Result<()> {
        *self = None;
        if !json.is_null() {
            self.insert(T::blank()).read(json)?;
        }
        Ok(())
    }
}

/// One value stands for a list of it.
impl<T: Setting> Setting for Vec<T> {
    fn blank() -> Self {
        Vec::new()
    }
    fn write(&self) -> Json {
        self.iter().map(Setting::write).collect()
    }
    fn read(&mut self, json: &Json) -> Result<()> {
        let items = json.as_array().map_or(std::slice::from_ref(json), Vec::as_slice);
        self.clear();
        for item in items {
            let mut value = T::blank();
            value.read(item)?;
            self.push(value);
        }
        Ok(())
    }
}

/// One value stands for `N` of it.
impl<T: Setting, const N: usize> Setting for [T; N] {
    fn blank() -> Self {
        std::array::from_fn(|_| T::blank())
    }
    fn write(&self) -> Json {
        self.iter().map(Setting::write).collect()
    }
    fn read(&mut self, json: &Json) -> Result<()> {
        let items = json.as_array().filter(|items| items.len() == N);
        if json.is_array() && items.is_none() {
            return Err(wanted(&format!("a list of {N}")));
        }
        for (i, value) in self.iter_mut().enumerate() {
            value.read(items.map_or(json, |items| &items[i]))?;
        }
        Ok(())
    }
}

/// A number is written as one.
impl Setting for Numbers {
    fn blank() -> Self {
        Numbers::from(Vec::new())
    }
    fn write(&self) -> Json {
        match self[..] {
            [number] => number.write(),
            _ => self.to_vec().write(),
        }
    }
    fn read(&mut self, json: &Json) -> Result<()> {
        let mut numbers = Vec::new();
        numbers.read(json)?;
        *self = Numbers::from(numbers);
        Ok(())
    }
}

impl Setting for AxisList {
    fn blank() -> Self {
        AxisList::default()
    }
    fn write(&self) -> Json {
        self.to_vec().write()
    }
    fn read(&mut self, json: &Json) -> Result<()> {
        let mut axes = Vec::new();
        axes.read(json)?;
        *self = AxisList::from(axes);
        Ok(())
    }
}

impl Setting for Activation {
    fn blank() -> Self {
        Activation::Linear
    }
    fn write(&self) -> Json {
        json!(self.to_string())
    }
    fn read(&mut self, json: &Json) -> Result<()> {
        *self = match json {
            Json::Null => Activation::Linear,
            json => serde::Deserialize::deserialize(json).map_err(|_| wanted("the name of an activation"))?,
        };
        Ok(())
    }
}

impl Setting for Initializer {
    fn blank() -> Self {
        Initializer::Zeros
    }
    fn write(&self) -> Json {
        json!(self)
    }
    fn read(&mut self, json: &Json) -> Result<()> {
        *self = by_name(json, Initializer::from_name)?;
        Ok(())
    }
}

impl Setting for Regularizer {
    fn blank() -> Self {
        Regularizer::L2 { l2: 0.01 }
    }
    fn write(&self) -> Json {
        json!(self)
    }
    fn read(&mut self, json: &Json) -> Result<()> {
        *self = by_name(json, Regularizer::from_name)?;
        Ok(())
    }
}

impl Setting for Constraint {
    fn blank() -> Self {
        Constraint::NonNeg
    }
    fn write(&self) -> Json {
        json!(self)
    }
    fn read(&mut self, json: &Json) -> Result<()> {
        *self = by_name(json, Constraint::from_name)?;
        Ok(())
    }
}

/// Makes an enum a setting that files write as a word, the first of which is the default; `null` stands for nothing said.
macro_rules! words {
    ($what:literal $type:ty { $($word:literal => $value:expr),* $(, null => $null:expr)? $(,)? }) => {
        impl $crate::layers::settings::Setting for $type {
            fn blank() -> Self {
                [$($value),*][0]
            }
            fn write(&self) -> serde_json::Value {
                let words = [$(($word, $value)),*];
                words.iter().find(|(_, value)| value == self).map_or(serde_json::Value::Null, |(word, _)| (*word).into())
            }
            fn read(&mut self, json: &serde_json::Value) -> $crate::Result<()> {
                $(if json.is_null() {
                    *self = $null;
                    return Ok(());
                })?
                let words = [$(($word, $value)),*];
                let given = json.as_str().unwrap_or_default().to_lowercase();
                let unknown = || $crate::Error::unknown($what, &given, &words.map(|(word, _)| word));
                *self = words.iter().find(|(word, _)| *word == given).ok_or_else(unknown)?.1;
                Ok(())
            }
        }
    };
}
pub(crate) use words;

/// A layer inside a layer.
impl Setting for Arc<dyn AnyLayer> {
    fn blank() -> Self {
        Arc::new(super::Dense::new(0))
    }
    fn write(&self) -> Json {
        json!({ "class": self.class_name(), "config": self.to_config() })
    }
    fn read(&mut self, json: &Json) -> Result<()> {
        let class = json["class"].as_str().ok_or_else(|| wanted("a layer: {\"class\": …, \"config\": {…}}"))?;
        *self = from_config(class, &json["config"])?.into();
        Ok(())
    }
}

/// Sizes along the dimensions of a window: one number for all, or one for each.
///
/// ```
/// use kiln_nn::layers::{MaxPooling2D, Size};
/// assert_eq!(Size::<2>::from(3), Size::from([3, 3]));
/// let pool = MaxPooling2D::new(3).strides([2, 1]);
/// # let _ = pool;
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size<const N: usize>(pub(crate) [usize; N]);

impl<const N: usize> From<usize> for Size<N> {
    fn from(size: usize) -> Size<N> {
        Size([size; N])
    }
}

impl<const N: usize> From<[usize; N]> for Size<N> {
    fn from(sizes: [usize; N]) -> Size<N> {
        Size(sizes)
    }
}

impl From<(usize, usize)> for Size<2> {
    fn from((height, width): (usize, usize)) -> Size<2> {
        Size([height, width])
    }
}

impl From<(usize, usize, usize)> for Size<3> {
    fn from((depth, height, width): (usize, usize, usize)) -> Size<3> {
        Size([depth, height, width])
    }
}

impl<const N: usize> Default for Size<N> {
    fn default() -> Size<N> {
        Size([1; N])
    }
}

impl<const N: usize> Setting for Size<N> {
    fn blank() -> Self {
        Size::default()
    }
    fn write(&self) -> Json {
        self.0.write()
    }
    fn read(&mut self, json: &Json) -> Result<()> {
        self.0.read(json)
    }
}

/// Defines the struct of a layer's arguments: fields with defaults, and a setter for each. After a default, `into` makes
/// the setter take what becomes the type, `some T` makes it take what becomes a `T` and store `Some` of it, `just T` the same of a `T` itself, and `new` leaves the setter away:
/// such a field is set where the layer is made.
macro_rules! settings {
    ($(#[$doc:meta])* $name:ident {
        $($(#[$field_doc:meta])* $field:ident: $type:ty = $default:expr $(, $how:ident $($of:ty)?)?;)*
    }) => {
        $(#[$doc])*
        #[derive(Debug, Clone)]
        pub struct $name {
            $($field: $type,)*
        }

        impl Default for $name {
            fn default() -> $name {
                $name { $($field: $default,)* }
            }
        }

        impl PartialEq for $name {
            fn eq(&self, other: &$name) -> bool {
                use $crate::layers::settings::{Settings, write};
                write(&self.settings()) == write(&other.settings())
            }
        }

        impl $crate::layers::settings::Settings for $name {
            const CLASS: &'static str = stringify!($name);
            fn settings(&self) -> Vec<(&'static str, &dyn $crate::layers::settings::Setting)> {
                vec![$((stringify!($field), &self.$field)),*]
            }
            fn settings_mut(&mut self) -> Vec<(&'static str, &mut dyn $crate::layers::settings::Setting)> {
                vec![$((stringify!($field), &mut self.$field)),*]
            }
        }

        impl $name {
            $($crate::layers::settings::setter!($(#[$field_doc])* $field: $type $(, $how $($of)?)?);)*
        }
    };
}
pub(crate) use settings;

macro_rules! setter {
    ($(#[$doc:meta])* $field:ident: $type:ty) => {
        $(#[$doc])*
        #[must_use]
        pub fn $field(mut self, $field: $type) -> Self {
            self.$field = $field;
            self
        }
    };
    ($(#[$doc:meta])* $field:ident: $type:ty, into) => {
        $(#[$doc])*
        #[must_use]
        pub fn $field(mut self, $field: impl Into<$type>) -> Self {
            self.$field = $field.into();
            self
        }
    };
    ($(#[$doc:meta])* $field:ident: $type:ty, some $of:ty) => {
        $(#[$doc])*
        #[must_use]
        pub fn $field(mut self, $field: impl Into<$of>) -> Self {
            self.$field = Some($field.into());
            self
        }
    };
    ($(#[$doc:meta])* $field:ident: $type:ty, just $of:ty) => {
        $(#[$doc])*
        #[must_use]
        pub fn $field(mut self, $field: $of) -> Self {
            self.$field = Some($field);
            self
        }
    };
    ($(#[$doc:meta])* $field:ident: $type:ty, new) => {};
}
pub(crate) use setter;

/// The class and the arguments of a [`Layer`](crate::Layer) whose struct [`settings!`] has made; with `any` of an
/// [`AnyLayer`](crate::AnyLayer).
macro_rules! described {
    () => {
        fn class(&self) -> &'static str {
            <Self as $crate::layers::settings::Settings>::CLASS
        }
        fn config(&self) -> serde_json::Value {
            $crate::layers::settings::write(&$crate::layers::settings::Settings::settings(self))
        }
    };
    (any) => {
        fn class_name(&self) -> &str {
            <Self as $crate::layers::settings::Settings>::CLASS
        }
        fn to_config(&self) -> serde_json::Value {
            $crate::layers::settings::write(&$crate::layers::settings::Settings::settings(self))
        }
    };
}
pub(crate) use described;

/// [`settings!`] for a layer with a bias and an activation: after its own arguments come Keras's for these.
macro_rules! biased_settings {
    ($(#[$doc:meta])* $name:ident { $($own:tt)* }) => {
        $crate::layers::settings::settings! {
            $(#[$doc])*
            $name {
                $($own)*
                /// What is applied to the output: a name such as `"relu"`, or an [`Activation`](crate::Activation).
                activation: $crate::Activation = $crate::Activation::Linear, into;
                /// Whether a bias is added.
                use_bias: bool = true;
                /// What the bias starts from.
                bias_initializer: $crate::Initializer = $crate::Initializer::Zeros;
                /// What the bias adds to the loss.
                bias_regularizer: Option<$crate::Regularizer> = None, some $crate::Regularizer;
                /// What the output adds to the loss.
                activity_regularizer: Option<$crate::Regularizer> = None, some $crate::Regularizer;
                /// What holds for the bias after each update.
                bias_constraint: Option<$crate::Constraint> = None, some $crate::Constraint;
            }
        }

        impl $name {
            fn bias(&self, shape: &[usize]) -> Option<$crate::Weight> {
                self.use_bias.then(|| {
                    $crate::Weight::new("bias", shape, self.bias_initializer)
                        .regularizer(self.bias_regularizer)
                        .constraint(self.bias_constraint)
                })
            }
        }
    };
}
pub(crate) use biased_settings;

/// [`biased_settings!`] for a layer with one kernel too.
macro_rules! weighted_settings {
    ($(#[$doc:meta])* $name:ident { $($own:tt)* }) => {
        $crate::layers::settings::biased_settings! {
            $(#[$doc])*
            $name {
                $($own)*
                /// What the kernel starts from.
                kernel_initializer: $crate::Initializer = $crate::Initializer::GlorotUniform;
                /// What the kernel adds to the loss.
                kernel_regularizer: Option<$crate::Regularizer> = None, some $crate::Regularizer;
                /// What holds for the kernel after each update.
                kernel_constraint: Option<$crate::Constraint> = None, some $crate::Constraint;
            }
        }

        impl $name {
            /// The kernel, and the bias where there is one.
            fn kernel_and_bias(&self, kernel: &[usize], bias: &[usize]) -> Vec<$crate::Weight> {
                let kernel = $crate::Weight::new("kernel", kernel, self.kernel_initializer)
                    .regularizer(self.kernel_regularizer)
                    .constraint(self.kernel_constraint);
                [kernel].into_iter().chain(self.bias(bias)).collect()
            }
        }
    };
}
pub(crate) use weighted_settings;

/// The parts of [`Layer`](crate::Layer) that follow from [`biased_settings!`].
macro_rules! weighted {
    () => {
        $crate::layers::settings::described!();
        fn activation(&self) -> $crate::Activation {
            self.activation.clone()
        }
        fn activity_regularizer(&self) -> Option<$crate::Regularizer> {
            self.activity_regularizer
        }
    };
}
pub(crate) use weighted;
