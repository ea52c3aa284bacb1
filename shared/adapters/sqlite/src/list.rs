//! Lists of jobs by filter, newest first.

use std::collections::BTreeSet;

use application::ports::{JobFilter, StoreError};
use domain::{Job, JobKind, JobState, TenantId};
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
    let mut query = if filter.states.is_empty() {
        let mut query = QueryBuilder::new("SELECT * FROM jobs AS j WHERE j.tenant_id = ");
        query.push_bind(tenant.as_uuid());
        if let Some(kind) = filter.kind {
            query.push(" AND j.kind = ").push_bind(kind.as_str());
        }
        conditions(&mut query, &filter);
        query
    } else {
        in_states(tenant, &filter)?
    };
    query
        .push(" ORDER BY j.id DESC LIMIT ")
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

/// The newest of each state and kind, each found by one walk of an index: a few running jobs are not looked for among
/// a million finished ones.
fn in_states(tenant: TenantId, filter: &JobFilter) -> Result<QueryBuilder<Sqlite>, StoreError> {
    let kinds = filter.kind.map_or(JobKind::ALL.to_vec(), |kind| vec![kind]);
    let pairs: BTreeSet<(JobState, JobKind)> = filter
        .states
        .iter()
        .flat_map(|state| kinds.iter().map(|kind| (*state, *kind)))
        .collect();
    let mut query = QueryBuilder::new("SELECT j.* FROM json_each(");
    query
        .push_bind(json(&pairs)?)
        .push(") AS p CROSS JOIN jobs AS j WHERE j.id IN (SELECT j.id FROM jobs AS j WHERE j.tenant_id = ")
        .push_bind(tenant.as_uuid())
        .push(" AND j.state = p.value ->> 0 AND j.kind = p.value ->> 1");
    conditions(&mut query, filter);
    query
        .push(" ORDER BY j.id DESC LIMIT ")
        .push_bind(filter.limit)
        .push(")");
    Ok(query)
}

/// All of the filter but states and kind.
fn conditions(query: &mut QueryBuilder<Sqlite>, filter: &JobFilter) {
    if let Some(before) = filter.before {
        query.push(" AND j.id < ").push_bind(before.as_uuid());
    }
    if let Some(priority) = filter.priority {
        query.push(" AND j.priority = ").push_bind(priority.rank());
    }
    if let Some(tag) = &filter.tag {
        query
            .push(" AND EXISTS (SELECT 1 FROM json_each(j.tags) WHERE value = ")
            .push_bind(tag.clone())
            .push(")");
    }
    if let Some(title) = &filter.title {
        query.push(" AND j.title GLOB ").push_bind(contains(title));
    }
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
