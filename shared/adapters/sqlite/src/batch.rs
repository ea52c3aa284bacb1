//! Many rows as one JSON text, which a statement takes apart again: lists of values with `json_each`, lists of rows with
//! `jsonb_each`, which spares SQLite to write each row as a text and to read that again.

use std::fmt;

use application::ports::StoreError;
use serde::{Serialize, Serializer};
use uuid::Uuid;

use crate::error::corrupt;

/// An id in the form that SQL's `unhex` takes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Hex(pub Uuid);

impl Serialize for Hex {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut buffer = Uuid::encode_buffer();
        serializer.serialize_str(self.0.simple().encode_lower(&mut buffer))
    }
}

impl fmt::Debug for Hex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

pub fn json<T: Serialize + ?Sized>(rows: &T) -> Result<String, StoreError> {
    serde_json::to_string(rows).map_err(corrupt)
}

/// `["<hex>", ...]`, for `IN (SELECT unhex(value) FROM json_each(?))`.
pub fn ids(ids: impl IntoIterator<Item = Uuid>) -> Result<String, StoreError> {
    json(&ids.into_iter().map(Hex).collect::<Vec<_>>())
}

/// Text on its way through JSON into a column. SQLite ends a text at a NUL there, so it becomes U+FFFD.
pub fn text(text: &str) -> String {
    text.replace('\0', "\u{FFFD}")
}
