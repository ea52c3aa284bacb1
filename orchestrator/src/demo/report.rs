//! The table at the end.

use super::findings::{Findings, JobFinding, TenantFinding};
use crate::output;

/// More names than this are counted.
const FILES_NAMED: usize = 2;

pub fn print(findings: &Findings) -> anyhow::Result<()> {
    output::line("")?;
    let mut table = output::table(&[
        "tenant",
        "title",
        "waited",
        "ran",
        "attempts",
        "outcome",
        "expected",
        "files changed",
    ]);
    for tenant in &findings.tenants {
        for job in &tenant.jobs {
            table.add_row([
                tenant.slug.to_owned(),
                job.title.clone(),
                output::or_nothing(job.waited.map(output::duration)),
                output::duration(job.ran),
                job.attempts.to_string(),
                job.outcome.to_string(),
                if job.wrong.is_empty() {
                    "yes".to_owned()
                } else {
                    format!("NO, {}", job.expected)
                },
                files(job),
            ]);
        }
    }
    output::print(table)?;
    output::line("")?;
    for tenant in &findings.tenants {
        output::line(quota(tenant))?;
    }
    for job in findings.tenants.iter().flat_map(|tenant| &tenant.jobs) {
        if let (Some((first, last)), Some(model)) = (job.losses, &job.model) {
            output::line(format_args!(
                "training of {model}: loss {first:.3} at first, {last:.3} at last"
            ))?;
        }
    }
    verdict(findings)
}

fn files(job: &JobFinding) -> String {
    match job.files.len() {
        0 => output::NOTHING.to_owned(),
        count if count <= FILES_NAMED => job.files.join(", "),
        count => format!("{}, and {} more", job.files[0], count - 1),
    }
}

fn quota(tenant: &TenantFinding) -> String {
    let TenantFinding {
        slug,
        quota,
        most_at_once,
        ..
    } = tenant;
    let verdict = if tenant.keeps_its_quota() {
        "kept"
    } else {
        "BROKEN"
    };
    format!("{slug:>7}: at most {most_at_once} sessions at once, quota {quota}: {verdict}")
}

fn verdict(findings: &Findings) -> anyhow::Result<()> {
    output::line("")?;
    if findings.are_as_expected() {
        let jobs: usize = findings
            .tenants
            .iter()
            .map(|tenant| tenant.jobs.len())
            .sum();
        return output::line(format_args!("All {jobs} jobs ended as expected."));
    }
    output::line("Not everything is as expected:")?;
    for tenant in &findings.tenants {
        if !tenant.keeps_its_quota() {
            output::line(format_args!(
                "  {}: more sessions at once than its quota",
                tenant.slug
            ))?;
        }
        for job in &tenant.jobs {
            for wrong in &job.wrong {
                output::line(format_args!("  {}, `{}`: {wrong}", tenant.slug, job.title))?;
            }
        }
    }
    Ok(())
}
