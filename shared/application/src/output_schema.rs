//! JSON schemas that the output of sessions must fit.
//!
//! Schemas are tenants' and stand here, beside timetables, since the domain is built of no libraries. Nothing is ever
//! fetched for one: a schema that refers outside of itself is refused. Patterns are matched in linear time.

use domain::Violations;
use jsonschema::error::ValidationErrorKind;
use jsonschema::{PatternOptions, ReferencingError, ValidationError, Validator};
use serde_json::Value;

/// Of what does not fit, so much is named.
const PROBLEMS_MAX: usize = 10;
const DETAIL_CHARS: usize = 300;

/// A schema that can be used.
#[derive(Debug, Clone)]
pub struct OutputSchema(Validator);

/// What does not fit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Misfit {
    /// JSON pointer into the output; empty for all of it.
    pub pointer: String,
    pub detail: String,
}

impl OutputSchema {
    /// `Err`: what is wrong with the schema, in words.
    pub fn new(schema: &Value) -> Result<Self, String> {
        jsonschema::options()
            .with_pattern_options(PatternOptions::regex())
            .build(schema)
            .map(Self)
            .map_err(|error| wrong(&error))
    }

    /// The first things that do not fit; none when all does.
    pub fn misfits(&self, output: &Value) -> Vec<Misfit> {
        let misfit = |error: ValidationError<'_>| Misfit {
            pointer: error.instance_path().as_str().to_owned(),
            detail: cut(&error.to_string()),
        };
        self.0
            .iter_errors(output)
            .take(PROBLEMS_MAX)
            .map(misfit)
            .collect()
    }
}

/// At submission.
pub(crate) fn check(schema: &Value, violations: &mut Violations) {
    if let Err(why) = OutputSchema::new(schema) {
        let detail = format!("is no JSON schema that can be used: {why}");
        violations.add("/output_schema", detail);
    }
}

fn wrong(error: &ValidationError<'_>) -> String {
    if let ValidationErrorKind::Referencing(ReferencingError::Unretrievable { uri, .. }) =
        error.kind()
    {
        return cut(&format!(
            "it refers to `{uri}`, which lies outside of it, and nothing is ever fetched; put what is meant below `$defs` \
             and refer to it as `#/$defs/NAME`"
        ));
    }
    cut(&format!("{}: {error}", at(error.instance_path().as_str())))
}

fn at(pointer: &str) -> String {
    if pointer.is_empty() {
        "the schema".to_owned()
    } else {
        format!("at {pointer}")
    }
}

fn cut(text: &str) -> String {
    text.chars().take(DETAIL_CHARS).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_does_not_fit_is_named_by_its_place() {
        let schema = json!({
            "type": "object",
            "required": ["files"],
            "properties": {"files": {"type": "array", "items": {"type": "string"}}},
        });
        let schema = OutputSchema::new(&schema).unwrap();
        assert!(schema.misfits(&json!({"files": ["a"]})).is_empty());
        let misfits = schema.misfits(&json!({"files": ["a", 2]}));
        assert_eq!(misfits[0].pointer, "/files/1");
        assert_eq!(schema.misfits(&json!({}))[0].pointer, "");
        assert_eq!(
            schema.misfits(&json!({"files": vec![json!(1); 50]})).len(),
            PROBLEMS_MAX
        );
    }

    #[test]
    fn a_schema_that_is_none_or_refers_outside_is_refused() {
        for schema in [
            json!({"type": "text"}),
            json!({"$ref": "http://127.0.0.1:9/schema.json"}),
            json!({"$ref": "file:///etc/passwd"}),
            json!({"properties": {"a": {"$ref": "https://example.org/other"}}}),
            // Looking back takes more than linear time.
            json!({"pattern": "(a)\\1"}),
        ] {
            assert!(OutputSchema::new(&schema).is_err(), "{schema}");
        }
        let remote = json!({"$ref": "http://127.0.0.1:9/schema.json"});
        let why = OutputSchema::new(&remote).unwrap_err();
        assert!(
            why.starts_with("it refers to `http://127.0.0.1:9/schema.json`"),
            "{why}"
        );
        assert!(why.contains("#/$defs/NAME"), "{why}");
        let own = json!({"$defs": {"n": {"type": "number"}}, "$ref": "#/$defs/n"});
        assert_eq!(
            OutputSchema::new(&own).unwrap().misfits(&json!("x")).len(),
            1
        );
    }
}
