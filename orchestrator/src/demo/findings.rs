//! What happened, as the API tells it afterwards, held against what was expected.

use chrono::TimeDelta;
use domain::{JobState, Timestamp};

use super::plan::Kind;
use super::tenants::{Submitted, SubmittedJob};
use crate::client::types::{Attempt, Job, Page};
use crate::client::{Client, ClientError};

pub struct Findings {
    pub tenants: Vec<TenantFinding>,
}

pub struct TenantFinding {
    pub slug: &'static str,
    pub quota: u32,
    /// The most sessions that ran at the same time.
    pub most_at_once: usize,
    pub jobs: Vec<JobFinding>,
}

pub struct JobFinding {
    pub title: String,
    pub waited: Option<TimeDelta>,
    pub ran: TimeDelta,
    pub attempts: u32,
    pub outcome: JobState,
    pub expected: JobState,
    /// Those that the diff names.
    pub files: Vec<String>,
    /// First and last loss of a training.
    pub losses: Option<(f64, f64)>,
    pub model: Option<String>,
    /// What is not as expected, in words.
    pub wrong: Vec<String>,
}

impl Findings {
    pub fn are_as_expected(&self) -> bool {
        self.tenants.iter().all(|tenant| {
            tenant.keeps_its_quota() && tenant.jobs.iter().all(|job| job.wrong.is_empty())
        })
    }
}

impl TenantFinding {
    pub fn keeps_its_quota(&self) -> bool {
        self.most_at_once <= usize::try_from(self.quota).unwrap_or(usize::MAX)
    }
}

pub async fn gather(tenants: &[Submitted]) -> anyhow::Result<Findings> {
    let mut findings = Vec::new();
    for tenant in tenants {
        let mut jobs = Vec::new();
        let mut spans = Vec::new();
        for submitted in &tenant.jobs {
            let attempts = attempts(&tenant.client, submitted).await?;
            if submitted.planned.kind == Kind::Session {
                spans.extend(attempts.iter().filter_map(span));
            }
            jobs.push(finding(&tenant.client, submitted, &attempts).await?);
        }
        findings.push(TenantFinding {
            slug: tenant.slug,
            quota: tenant.session_quota,
            most_at_once: most_at_once(&spans),
            jobs,
        });
    }
    Ok(Findings { tenants: findings })
}

async fn attempts(client: &Client, job: &SubmittedJob) -> anyhow::Result<Vec<Attempt>> {
    let page: Page<Attempt> = client.get(&format!("{}/attempts", job.path()), &[]).await?;
    Ok(page.items)
}

async fn finding(
    client: &Client,
    submitted: &SubmittedJob,
    attempts: &[Attempt],
) -> anyhow::Result<JobFinding> {
    let job: Job = client.get(&submitted.path(), &[]).await?;
    let started = attempts.first().map(|attempt| attempt.started_at);
    let ran = attempts.iter().filter_map(span);
    let mut finding = JobFinding {
        title: job.title.clone(),
        waited: started.map(|started| started - job.created_at),
        ran: ran.map(|(from, to)| to - from).sum(),
        attempts: job.attempt,
        outcome: job.status,
        expected: submitted.planned.expected.outcome,
        files: files(client, submitted).await?,
        losses: number(&job, "first_loss").zip(number(&job, "last_loss")),
        model: text(&job, "model_name"),
        wrong: Vec::new(),
    };
    finding.wrong = wrong(submitted, &job, &finding);
    Ok(finding)
}

/// Everything that is not as it was expected to be.
fn wrong(submitted: &SubmittedJob, job: &Job, found: &JobFinding) -> Vec<String> {
    let expected = &submitted.planned.expected;
    let mut wrong = Vec::new();
    if found.outcome != expected.outcome {
        let why = job.error.as_ref().map(|error| error.message.as_str());
        wrong.push(format!(
            "it ended as {}, not {}: {}",
            found.outcome,
            expected.outcome,
            why.unwrap_or("no reason was given")
        ));
    }
    if found.attempts != expected.attempts {
        wrong.push(format!(
            "it took {} attempts, not {}",
            found.attempts, expected.attempts
        ));
    }
    if let Some(file) = &expected.file
        && !found.files.contains(file)
    {
        wrong.push(format!("its diff does not name {file}"));
    }
    if submitted.planned.kind == Kind::Training {
        match found.losses {
            Some((first, last)) if last < first => {}
            losses => wrong.push(format!("its loss did not fall: {losses:?}")),
        }
    }
    wrong
}

/// The files that the diff names.
async fn files(client: &Client, job: &SubmittedJob) -> anyhow::Result<Vec<String>> {
    if job.planned.kind == Kind::Training {
        return Ok(Vec::new());
    }
    let diff = match client.text(&format!("{}/diff", job.path()), &[]).await {
        Ok(answer) => answer.bytes().await?,
        Err(error) if error.code() == Some("DIFF_NOT_FOUND") => return Ok(Vec::new()),
        Err(error) => return Err(ClientError::into(error)),
    };
    Ok(named(&String::from_utf8_lossy(&diff)))
}

/// `diff --git a/x b/x` names x.
fn named(diff: &str) -> Vec<String> {
    diff.lines()
        .filter_map(|line| line.strip_prefix("diff --git a/"))
        .filter_map(|names| names.split_once(" b/"))
        .map(|(_, name)| name.to_owned())
        .collect()
}

fn number(job: &Job, name: &str) -> Option<f64> {
    job.result.as_ref()?.get(name)?.as_f64()
}

fn text(job: &Job, name: &str) -> Option<String> {
    let value = job.result.as_ref()?.get(name)?;
    value.as_str().map(str::to_owned)
}

fn span(attempt: &Attempt) -> Option<(Timestamp, Timestamp)> {
    Some((attempt.started_at, attempt.finished_at?))
}

/// How many of these spans overlap at most. One that ends when another starts does not overlap it.
fn most_at_once(spans: &[(Timestamp, Timestamp)]) -> usize {
    let mut changes: Vec<(Timestamp, i64)> = spans
        .iter()
        .flat_map(|(from, to)| [(*from, 1), (*to, -1)])
        .collect();
    // Ends sort before starts of the same instant.
    changes.sort_unstable();
    let mut now = 0;
    let mut most = 0;
    for (_, change) in changes {
        now += change;
        most = most.max(now);
    }
    usize::try_from(most).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spans(numbers: &[(i64, i64)]) -> Vec<(Timestamp, Timestamp)> {
        let at = |second| Timestamp::from_timestamp(second, 0).unwrap();
        numbers
            .iter()
            .map(|(from, to)| (at(*from), at(*to)))
            .collect()
    }

    #[test]
    fn overlaps_are_counted_and_touching_is_none() {
        assert_eq!(most_at_once(&[]), 0);
        assert_eq!(most_at_once(&spans(&[(1, 2), (2, 3), (3, 9)])), 1);
        assert_eq!(most_at_once(&spans(&[(1, 5), (2, 3), (4, 9), (4, 6)])), 3);
    }

    #[test]
    fn a_diff_names_its_files() {
        let diff = "diff --git a/a b/a\nnew file mode 100644\n--- /dev/null\n+++ b/a\n+diff --git a/x\ndiff --git a/src/b.rs b/src/b.rs\n";
        assert_eq!(named(diff), ["a", "src/b.rs"]);
    }
}
