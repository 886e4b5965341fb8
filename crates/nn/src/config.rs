//! Settings as JSON: `{"name": "Adam", "config": {"beta_1": 0.9, …}}`, the one form in which losses, metrics and
//! optimizers are saved.

use crate::{Error, Result};
use serde::de::value::MapDeserializer;
use serde::de::{DeserializeOwned, Error as _};
use serde_json::{Map, Value, json};

/// A thing as its name and settings.
pub(crate) fn write(name: &str, arguments: Value) -> Value {
    json!({ "name": name, "config": arguments })
}

/// The name and the settings; a bare string is a name with default settings.
pub(crate) fn parts<'a>(what: &str, config: &'a Value) -> Result<(&'a str, Value)> {
    if let Some(name) = config.as_str() {
        return Ok((name, Value::Null));
    }
    let Some(name) = config.get("name").and_then(Value::as_str) else {
        let text = format!("the config of the {what} has no name: {config}");
        return Err(Error::config(
            text,
            format!("write {{\"name\": \"…\", \"config\": {{…}}}} with the name of the {what}"),
        ));
    };
    Ok((name, config.get("config").cloned().unwrap_or(Value::Null)))
}

/// Settings as their struct; null stands for the defaults.
pub(crate) fn read<T: DeserializeOwned + Default>(name: &str, arguments: Value) -> Result<T> {
    if arguments.is_null() {
        return Ok(T::default());
    }
    from_fields(&arguments)
        .map_err(|e| Error::config(format!("{name}: {e}"), "check the names and types of its settings"))
}

/// A struct from its fields by name. `serde_json::from_value` also reads lists and more, code for which is compiled
/// for each struct.
pub(crate) fn from_fields<T: DeserializeOwned>(value: &Value) -> serde_json::Result<T> {
    T::deserialize(fields(value.as_object().ok_or_else(|| no_fields(value))?))
}

// Not generic, as they would be compiled for each struct.
fn fields(map: &Map<String, Value>) -> MapDeserializer<'_, impl Iterator<Item = (&str, &Value)>, serde_json::Error> {
    MapDeserializer::new(map.iter().map(|(name, value)| (name.as_str(), value)))
}

fn no_fields(value: &Value) -> serde_json::Error {
    serde_json::Error::custom(format!("expected settings by name, found {value}"))
}

#[cfg(test)]
mod tests {
    use crate::losses::Huber;

    #[test]
    fn settings_have_names() {
        let read = |config: serde_json::Value| super::read::<Huber>("Huber", config).map_err(|e| e.to_string());
        assert_eq!(read(serde_json::json!({ "delta": 2.0 })).unwrap(), Huber { delta: 2.0, ..Huber::default() });
        assert_eq!(read(serde_json::Value::Null).unwrap(), Huber::default());
        let error = read(serde_json::json!([2.0])).unwrap_err();
        assert!(error.starts_with("Huber: expected settings by name, found [2.0]"), "{error}");
        let error = read(serde_json::json!({ "Delta": 2.0 })).unwrap_err();
        assert!(error.contains("unknown field `Delta`"), "{error}");
    }
}
