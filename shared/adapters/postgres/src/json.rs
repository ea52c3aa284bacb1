//! JSON as `jsonb` takes it. The server refuses NUL in any text, inside JSON too, so it is replaced here: one odd
//! string must not make a whole batch fail.

use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};
use serde_json::{Map, Value};
use tokio_postgres::types::Json;

use crate::error::Failure;

const REPLACEMENT: &str = "\u{fffd}";

/// A value for a `jsonb` column, written out.
pub(crate) type Jsonb = Json<Box<RawValue>>;

/// Text without NUL.
pub(crate) fn text(text: &str) -> String {
    text.replace('\0', REPLACEMENT)
}

pub(crate) fn jsonb(value: &impl Serialize) -> Result<Jsonb, Failure> {
    let written = to_raw_value(value).map_err(Failure::unexpected)?;
    if !written.get().contains("\\u0000") {
        return Ok(Json(written));
    }
    let parsed = serde_json::from_str(written.get()).map_err(Failure::unexpected)?;
    to_raw_value(&without_nul(parsed))
        .map(Json)
        .map_err(Failure::unexpected)
}

pub(crate) fn jsonb_or_null(value: Option<&impl Serialize>) -> Result<Option<Jsonb>, Failure> {
    value.map(jsonb).transpose()
}

/// An event's data; most have none.
pub(crate) fn jsonb_of(data: &Map<String, Value>) -> Result<Option<Jsonb>, Failure> {
    jsonb_or_null((!data.is_empty()).then_some(data))
}

fn without_nul(value: Value) -> Value {
    match value {
        Value::String(string) => Value::String(text(&string)),
        Value::Array(items) => items.into_iter().map(without_nul).collect(),
        Value::Object(entries) => entries
            .into_iter()
            .map(|(key, value)| (text(&key), without_nul(value)))
            .collect(),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written_and_read(value: &Value) -> Value {
        serde_json::from_str(jsonb(value).unwrap().0.get()).unwrap()
    }

    #[test]
    fn nul_is_replaced_in_keys_and_values_at_any_depth() {
        let value = serde_json::json!({"a\0": ["x\0y", {"b": "\0"}], "n": 1.5});
        let clean = serde_json::json!({"a\u{fffd}": ["x\u{fffd}y", {"b": "\u{fffd}"}], "n": 1.5});
        assert_eq!(written_and_read(&value), clean);
    }

    #[test]
    fn a_backslash_before_u0000_is_left_alone() {
        let value = Value::String("\\u0000".to_owned());
        assert_eq!(written_and_read(&value), value);
    }
}
