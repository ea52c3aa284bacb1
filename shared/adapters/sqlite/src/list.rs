//! Lists of jobs by filter, newest first.

use application::ports::{JobFilter, StoreError};
use domain::{Job, TenantId};
use sqlx::{QueryBuilder, Sqlite};

use crate::SqliteStore;
use crate::batch::json;
use crate::error::failed;
use crate::rows::job;

pub async fn list(
    store: &SqliteStore,
    tenant: TenantId,
    filter: JobFilter,
) -> Result<Vec<Job>, StoreError> {
    let mut query = QueryBuilder::<Sqlite>::new("SELECT * FROM jobs WHERE tenant_id = ");
    query.push_bind(tenant.as_uuid());
    if let Some(before) = filter.before {
        query.push(" AND id < ").push_bind(before.as_uuid());
    }
    if let Some(kind) = filter.kind {
        query.push(" AND kind = ").push_bind(kind.as_str());
    }
    if !filter.states.is_empty() {
        query
            .push(" AND state IN (SELECT value FROM json_each(")
            .push_bind(json(&filter.states)?)
            .push("))");
    }
    if let Some(priority) = filter.priority {
        query.push(" AND priority = ").push_bind(priority.rank());
    }
    if let Some(tag) = filter.tag {
        query
            .push(" AND EXISTS (SELECT 1 FROM json_each(tags) WHERE value = ")
            .push_bind(tag)
            .push(")");
    }
    if let Some(title) = filter.title {
        query.push(" AND title GLOB ").push_bind(contains(&title));
    }
    query
        .push(" ORDER BY id DESC LIMIT ")
        .push_bind(filter.limit);
    query
        .build()
        .fetch_all(&store.readers)
        .await
        .map_err(failed)?
        .iter()
        .map(job)
        .collect()
}

/// A GLOB pattern for texts that contain `text`, without regard to case. SQLite's own `lower` and `LIKE` know ASCII
/// letters only, so each letter is written as the set of its cases.
fn contains(text: &str) -> String {
    let mut pattern = String::from("*");
    for letter in text.chars() {
        let cases: Vec<char> = single(letter.to_lowercase())
            .into_iter()
            .chain(single(letter.to_uppercase()))
            .filter(|case| *case != letter)
            .collect();
        if cases.is_empty() && !matches!(letter, '*' | '?' | '[') {
            pattern.push(letter);
            continue;
        }
        pattern.push('[');
        pattern.push(letter);
        pattern.extend(cases);
        pattern.push(']');
    }
    pattern.push('*');
    pattern
}

/// The one letter of a case mapping; `None` where the other case has several (`ß`).
fn single(mut cases: impl ExactSizeIterator<Item = char>) -> Option<char> {
    if cases.len() == 1 { cases.next() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_names_both_cases_and_no_wildcards() {
        assert_eq!(contains("aÄ1"), "*[aA][Ää]1*");
        assert_eq!(contains("*?[]^-"), "*[*][?][[]]^-*");
        assert_eq!(contains("ß"), "*ß*");
    }
}
