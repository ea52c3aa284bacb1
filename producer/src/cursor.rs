//! Where a list goes on, as a text that clients hand back and do not read.
//!
//! A cursor is bound to its list, tenant and filters: used anywhere else it is refused instead of silently giving a
//! page of something else. That is a check against mix-ups and not what keeps tenants apart: every query names its
//! tenant anyway.

use domain::TenantId;
use sha2::{Digest as _, Sha256};

/// Raised when the meaning of a cursor changes.
const VERSION: &str = "c1";
const BINDING_BYTES: usize = 8;
const LENGTH_MAX: usize = 512;

/// What a cursor belongs to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scope<'a> {
    pub list: &'a str,
    pub tenant: Option<TenantId>,
    /// The filters in a form that is the same whenever they mean the same.
    pub filters: &'a str,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CursorError {
    Unreadable,
    FromElsewhere,
}

impl CursorError {
    pub const fn detail(self) -> &'static str {
        match self {
            Self::Unreadable => {
                "is not a cursor of this API; hand back `next_cursor` of the previous page as it is"
            }
            Self::FromElsewhere => {
                "belongs to another list, tenant or filter; start again without it and keep the filters while you page"
            }
        }
    }
}

impl Scope<'_> {
    pub fn encode(&self, position: &[u8]) -> String {
        let binding = hex::encode(self.binding(position));
        format!("{VERSION}{binding}{}", hex::encode(position))
    }

    /// The position that the cursor stands for.
    pub fn decode(&self, cursor: &str) -> Result<Vec<u8>, CursorError> {
        let bytes = cursor
            .strip_prefix(VERSION)
            .filter(|_| cursor.len() <= LENGTH_MAX)
            .and_then(|text| hex::decode(text).ok())
            .ok_or(CursorError::Unreadable)?;
        let (binding, position) = bytes
            .split_at_checked(BINDING_BYTES)
            .ok_or(CursorError::Unreadable)?;
        if binding == self.binding(position) {
            Ok(position.to_vec())
        } else {
            Err(CursorError::FromElsewhere)
        }
    }

    /// The same, of a position that is a text.
    pub fn decode_text(&self, cursor: &str) -> Result<String, CursorError> {
        let position = self.decode(cursor)?;
        String::from_utf8(position).map_err(|_| CursorError::Unreadable)
    }

    fn binding(&self, position: &[u8]) -> [u8; BINDING_BYTES] {
        let tenant = self.tenant.map_or_else(String::new, |id| id.to_string());
        let mut hash = Sha256::new();
        for part in [
            self.list.as_bytes(),
            tenant.as_bytes(),
            self.filters.as_bytes(),
            position,
        ] {
            // Lengths keep two different splits of the same bytes apart.
            hash.update(part.len().to_be_bytes());
            hash.update(part);
        }
        let digest: [u8; 32] = hash.finalize().into();
        let mut binding = [0; BINDING_BYTES];
        binding.copy_from_slice(&digest[..BINDING_BYTES]);
        binding
    }
}

#[cfg(test)]
mod tests {
    use domain::TenantId;
    use uuid::Uuid;

    use super::*;

    fn scope(list: &'static str, tenant: u128, filters: &'static str) -> Scope<'static> {
        Scope {
            list,
            tenant: Some(TenantId::from_uuid(Uuid::from_u128(tenant))),
            filters,
        }
    }

    #[test]
    fn a_cursor_works_where_it_was_made_and_nowhere_else() {
        let home = scope("sessions", 1, "state=queued");
        let cursor = home.encode(b"position");
        assert_eq!(home.decode(&cursor).unwrap(), b"position");
        for elsewhere in [
            scope("training", 1, "state=queued"),
            scope("sessions", 2, "state=queued"),
            scope("sessions", 1, ""),
        ] {
            assert_eq!(elsewhere.decode(&cursor), Err(CursorError::FromElsewhere));
        }
    }

    #[test]
    fn what_is_no_cursor_is_told_apart() {
        let home = scope("sessions", 1, "");
        for text in [
            "",
            "c1",
            "c1abc",
            "c9aabbccddeeff0011",
            "hello",
            "c1ü",
            &"c1".repeat(400),
        ] {
            assert_eq!(home.decode(text), Err(CursorError::Unreadable), "{text}");
        }
    }
}
