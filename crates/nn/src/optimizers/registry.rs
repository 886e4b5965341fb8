//! Optimizers by name, and from what [`Optimizer::to_config`] wrote.

use super::*;
use crate::names;

/// What `compile` takes for an optimizer: a name, or one with its settings.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no optimizer",
    note = "give a name such as \"adam\" or an optimizer such as `optimizers::Adam::new(1e-3)`; one of your own implements `UpdateRule`"
)]
pub trait IntoOptimizer {
    /// Converts.
    ///
    /// # Errors
    /// A name that is none; settings that cannot work.
    fn into_optimizer(self) -> Result<Optimizer>;
}

impl IntoOptimizer for &str {
    fn into_optimizer(self) -> Result<Optimizer> {
        from_name(self)
    }
}

impl IntoOptimizer for String {
    fn into_optimizer(self) -> Result<Optimizer> {
        from_name(&self)
    }
}

impl<R: UpdateRule + 'static> IntoOptimizer for R {
    fn into_optimizer(self) -> Result<Optimizer> {
        Optimizer::new(self)
    }
}

impl IntoOptimizer for Optimizer {
    fn into_optimizer(self) -> Result<Optimizer> {
        Ok(self)
    }
}

type Build = fn(Value) -> Result<Optimizer>;

macro_rules! table {
    ($($($name:literal)+ => $optimizer:ident;)*) => {
        /// Every spelling of every optimizer.
        const TABLE: &[(&[&str], Build)] = &[$((&[$($name),+], |arguments| {
            let name = stringify!($optimizer);
            let (common, own) = split(arguments);
            let mut optimizer: $optimizer = config::read(name, own)?;
            let mut settings = serde_json::to_value(&optimizer.settings).unwrap_or_default();
            if let (Value::Object(settings), Value::Object(common)) = (&mut settings, common) {
                settings.extend(common);
            }
            optimizer.settings = config::read(name, settings)?;
            Optimizer::new(optimizer)
        })),*];

        /// Every optimizer by a name.
        #[cfg(test)]
        pub(super) const NAMES: &[&str] = &[$([$($name),+][0]),*];
    };
}

table! {
    "sgd" => SGD;
    "rmsprop" => RMSprop;
    "adam" => Adam;
    "adamw" => AdamW;
    "nadam" => Nadam;
    "adamax" => Adamax;
    "radam" => RAdam;
    "adagrad" => Adagrad;
    "adadelta" => Adadelta;
    "lion" => Lion;
    "lamb" => Lamb;
    "adafactor" => Adafactor;
    "ftrl" => Ftrl;
    "muon" => Muon;
    "rprop" => Rprop;
    "asgd" => ASGD;
}

/// Arguments as those common to all optimizers and the optimizer's own.
fn split(arguments: Value) -> (Value, Value) {
    let Value::Object(arguments) = arguments else { return (Value::Null, arguments) };
    let names = Settings::names();
    let (common, own): (Map<_, _>, Map<_, _>) = arguments.into_iter().partition(|(name, _)| names.contains(name));
    (Value::Object(common), Value::Object(own))
}

/// The optimizer of a name with its default settings: `"adam"`, `"Adam"`.
///
/// # Errors
/// The name is none; the error has the nearest.
pub fn from_name(name: &str) -> Result<Optimizer> {
    names::find("optimizer", name, TABLE)?(Value::Null)
}

/// The optimizer that [`Optimizer::to_config`] wrote.
///
/// # Errors
/// A config of another form, an unknown name or setting.
pub fn from_config(config: &Value) -> Result<Optimizer> {
    let (name, mut arguments) = config::parts("optimizer", config)?;
    let parts = arguments.as_object_mut().and_then(|arguments| arguments.remove(PARTS)).unwrap_or(Value::Null);
    let mut optimizer = names::find("optimizer", name, TABLE)?(arguments)?;
    for part in parts.as_array().into_iter().flatten() {
        let Some(pattern) = part[0].as_str() else {
            let text = format!("{name}: the optimizer of a part has no pattern: {part}");
            return Err(Error::config(text, "write a list of a pattern and an optimizer"));
        };
        optimizer = optimizer.part(pattern, from_config(&part[1])?)?;
    }
    Ok(optimizer)
}
