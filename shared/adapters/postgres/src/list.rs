//! A tenant's jobs, newest first, by what a client filters for.

use application::ports::JobFilter;
use domain::{Job, JobId, JobKind, JobState, TenantId};
use tokio_postgres::types::ToSql;

use crate::PostgresStore;
use crate::error::Failure;
use crate::json::text;
use crate::rows::{self, JOB};

/// Tenants differ by millions of jobs, and so does what is the best way to their newest.
const PLAN_EACH: &str = "SET LOCAL plan_cache_mode = force_custom_plan";

/// The names themselves, because an index of some states is used only where the statement says that it asks for those.
fn in_states(states: &[JobState]) -> String {
    if states.is_empty() {
        return String::new();
    }
    let names: Vec<String> = states
        .iter()
        .map(|state| format!("'{}'", state.as_str()))
        .collect();
    let condition = format!(" AND j.state IN ({})", names.join(", "));
    match states {
        // True of all of them; the index of what waits says it.
        [JobState::Queued] => condition + " AND j.queued_at IS NOT NULL",
        _ => condition,
    }
}

/// Only the conditions that are asked for stand in the statement, so that each combination gets a plan of its own.
pub(crate) async fn list(
    store: &PostgresStore,
    tenant: TenantId,
    filter: JobFilter,
) -> Result<Vec<Job>, Failure> {
    let tenant = tenant.as_uuid();
    let limit = i64::from(filter.limit);
    let kind = filter.kind.map(JobKind::as_str);
    let priority = filter.priority.map(|priority| i16::from(priority.rank()));
    let tags: Option<Vec<String>> = filter.tag.map(|tag| vec![text(&tag)]);
    let title = filter.title.as_deref().map(contains);
    let before = filter.before.map(JobId::as_uuid);

    let mut sql = format!("SELECT {JOB} FROM jobs j WHERE j.tenant_id = $1");
    let mut params: Vec<&(dyn ToSql + Sync)> = vec![&tenant, &limit];
    let mut add = |condition: &str, value| {
        params.push(value);
        sql.push_str(&format!(" AND {condition} ").replace('?', &format!("${}", params.len())));
    };
    if let Some(kind) = &kind {
        add("j.kind = ?", kind);
    }
    if let Some(priority) = &priority {
        add("j.priority = ?", priority);
    }
    if let Some(tags) = &tags {
        // The second half is what the index says of its rows.
        add("j.tags @> ?::text[] AND j.tags <> '{}'", tags);
    }
    if let Some(title) = &title {
        add("j.title ~ ?", title);
    }
    if let Some(before) = &before {
        add("j.id < ?", before);
    }
    sql.push_str(&in_states(&filter.states));
    sql.push_str(" ORDER BY j.id DESC LIMIT $2");

    let mut client = store.client().await?;
    let tx = client.transaction().await?;
    tx.batch_execute(PLAN_EACH).await?;
    let list = tx.prepare_cached(&sql).await?;
    let rows = tx.query(&list, &params).await?;
    tx.commit().await?;
    rows.iter()
        .map(|row| rows::job(row).map(|stored| stored.job))
        .collect()
}

/// A regular expression in which each letter stands for both its cases and everything else for itself. The server's
/// own idea of case depends on how its database was made, and may end at ASCII.
fn contains(title: &str) -> String {
    let mut pattern = String::with_capacity(title.len() * 4);
    for letter in text(title).chars() {
        let cases: Vec<char> = letter.to_lowercase().chain(letter.to_uppercase()).collect();
        if let ([lower, upper], true) = (cases.as_slice(), letter.is_alphabetic()) {
            pattern.extend(['[', letter, *lower, *upper, ']']);
        } else if letter.is_alphanumeric() {
            pattern.push(letter);
        } else {
            pattern.extend(['\\', letter]);
        }
    }
    pattern
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_names_both_cases_and_escapes_the_rest() {
        assert_eq!(contains("aÄ1"), "[aaA][ÄäÄ]1");
        assert_eq!(contains("ß.*\\ \0"), "ß\\.\\*\\\\\\ \\\u{fffd}");
    }
}
