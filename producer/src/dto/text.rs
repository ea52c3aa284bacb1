//! Checks of free JSON that a client hands in and we only keep.

use domain::Violations;
use serde_json::{Map, Value};

use crate::body::escape;

/// PostgreSQL cannot hold NUL in text or JSON, so no store is given any.
pub(crate) fn check_object(
    pointer: &str,
    object: &Map<String, Value>,
    violations: &mut Violations,
) {
    for (key, value) in object {
        let place = format!("{pointer}/{}", escape(key));
        if key.contains('\0') {
            violations.add(pointer, "has a key with a NUL character");
        }
        check_value(&place, value, violations);
    }
}

// The parser bounds the depth.
fn check_value(pointer: &str, value: &Value, violations: &mut Violations) {
    match value {
        Value::String(text) if text.contains('\0') => {
            violations.add(pointer, "contains a NUL character");
        }
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                check_value(&format!("{pointer}/{index}"), item, violations);
            }
        }
        Value::Object(object) => check_object(pointer, object, violations),
        _ => {}
    }
}

/// A name for people: 1 to `max` characters on one line.
pub(crate) fn check_name(pointer: &str, name: &str, max: usize, violations: &mut Violations) {
    let length = name.chars().count();
    if name.trim().is_empty() {
        violations.add(pointer, "must not be empty");
    } else if length > max {
        violations.add(
            pointer,
            format!("has {length} characters; at most {max} are allowed"),
        );
    }
    if name.chars().any(char::is_control) {
        violations.add(pointer, "contains control characters");
    }
}
