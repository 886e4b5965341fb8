//! Things that a manifest writes as calls: `Conv2D(6, 3, padding=same, relu)` becomes a name, values by position and
//! values by name.

use crate::Stop;
use serde_json::{Map, Value, json};

/// A name with arguments. A bare name is a call without any.
#[derive(Debug, PartialEq)]
pub(super) struct Call {
    pub(super) name: String,
    pub(super) positional: Vec<Value>,
    pub(super) named: Map<String, Value>,
}

impl Call {
    /// Reads `name(a, b, key=c)`; anything else is not understood.
    pub(super) fn read(text: &str) -> Result<Call, Stop> {
        let text = text.trim();
        let (name, inside) = match text.split_once('(') {
            None => (text, ""),
            Some((name, rest)) => match rest.strip_suffix(')') {
                Some(inside) => (name, inside),
                None => return Stop::unsupported(format!("`{text}`")),
            },
        };
        if name.is_empty() || !name.chars().all(|c| c.is_alphanumeric() || c == '_' || c == '.') {
            return Stop::unsupported(format!("`{text}`"));
        }
        let mut call = Call { name: name.to_owned(), positional: Vec::new(), named: Map::new() };
        for argument in arguments(inside) {
            match argument.split_once('=').filter(|(key, _)| !key.contains('(')) {
                Some((key, given)) => {
                    call.named.insert(key.trim().to_owned(), value(given));
                }
                None => call.positional.push(value(argument)),
            }
        }
        Ok(call)
    }

    /// The arguments by name, where every one has a name.
    pub(super) fn settings(self) -> Result<Value, Stop> {
        match self.positional.is_empty() {
            true => Ok(json!({ "name": self.name, "config": self.named })),
            false => Stop::unsupported(format!("{}: arguments by position {:?}", self.name, self.positional)),
        }
    }
}

/// The arguments between commas; commas inside brackets separate none.
fn arguments(inside: &str) -> Vec<&str> {
    let (mut depth, mut start, mut all) = (0, 0, Vec::new());
    for (at, c) in inside.char_indices() {
        match c {
            '(' | '[' => depth += 1,
            ')' | ']' => depth -= 1,
            ',' if depth == 0 => {
                all.push(&inside[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    all.push(&inside[start..]);
    all.into_iter().map(str::trim).filter(|argument| !argument.is_empty()).collect()
}

fn value(text: &str) -> Value {
    let text = text.trim();
    match text {
        "True" => return json!(true),
        "False" => return json!(false),
        "None" => return Value::Null,
        _ => {}
    }
    let list = text.strip_prefix('(').and_then(|t| t.strip_suffix(')'));
    if let Some(inside) = list.or(text.strip_prefix('[').and_then(|t| t.strip_suffix(']'))) {
        return arguments(inside).into_iter().map(value).collect();
    }
    if let Ok(integer) = text.parse::<i64>() {
        return json!(integer);
    }
    match text.parse::<f64>() {
        Ok(float) => json!(float),
        Err(_) => json!(text.trim_matches(['\'', '"'])),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_read() {
        let call = Call::read("Conv2D(6, (3, 2), padding=same, relu, use_bias=False)").unwrap();
        assert_eq!(call.name, "Conv2D");
        assert_eq!(call.positional, [json!(6), json!([3, 2]), json!("relu")]);
        assert_eq!(Value::Object(call.named), json!({ "padding": "same", "use_bias": false }));
        assert!(Call::read("relu").unwrap().positional.is_empty());
        let call = Call::read("Bidirectional(LSTM(5, return_sequences=True), merge_mode=sum)").unwrap();
        assert_eq!(call.positional, [json!("LSTM(5, return_sequences=True)")]);
        assert_eq!(Value::Object(call.named), json!({ "merge_mode": "sum" }));
        assert!(Call::read("Dense(1) twice").is_err());
    }
}
