//! Lists come a page at a time: which page a request asks for, and how an answer names the next one.

use axum::http::header::LINK;
use axum::http::{HeaderName, Uri};

use crate::cursor::CursorError;
use crate::query::Query;

/// Items of a page where the request does not say.
const DEFAULT_LIMIT: u32 = 50;
const LIMIT_MAX: u32 = 200;

/// Which page of a list is asked for: so many items behind a position.
pub(crate) struct Page<P> {
    /// Where the page before ended; `None` for the first one.
    pub after: Option<P>,
    pub limit: u32,
}

impl<P> Page<P> {
    /// Takes `limit` and `cursor` out of `query`; what is wrong with them is kept there.
    pub fn read(query: &mut Query, decode: impl FnOnce(&str) -> Result<P, CursorError>) -> Self {
        let limit = query.number("limit", 1, LIMIT_MAX.into());
        let mut after = None;
        if let Some(cursor) = query.text("cursor") {
            match decode(&cursor) {
                Ok(position) => after = Some(position),
                Err(error) => query.wrong("cursor", error.detail().to_owned()),
            }
        }
        Self {
            after,
            limit: limit
                .and_then(|limit| limit.try_into().ok())
                .unwrap_or(DEFAULT_LIMIT),
        }
    }

    /// How many to ask the store for: one more than are shown tells whether there is another page.
    pub const fn to_find(&self) -> u32 {
        self.limit + 1
    }

    /// Leaves of `found` what is on the page. The cursor of the next one, if there is one, is made of its last item.
    pub fn cut<T>(&self, found: &mut Vec<T>, cursor: impl FnOnce(&T) -> String) -> Option<String> {
        let shown = usize::try_from(self.limit).unwrap_or(usize::MAX);
        let more = found.len() > shown;
        found.truncate(shown);
        found.last().filter(|_| more).map(cursor)
    }
}

/// The header with the address of the next page: this list's, with another cursor.
pub(crate) fn link(uri: &Uri, next_cursor: Option<&str>) -> Option<[(HeaderName, String); 1]> {
    let cursor = next_cursor?;
    let kept = uri
        .query()
        .unwrap_or("")
        .split('&')
        .filter(|pair| !pair.is_empty() && !pair.starts_with("cursor="));
    let mut address = format!("<{}?", uri.path());
    for pair in kept {
        address.push_str(pair);
        address.push('&');
    }
    address.push_str("cursor=");
    address.push_str(cursor);
    address.push_str(">; rel=\"next\"");
    Some([(LINK, address)])
}
