//! What keeps a job, put in words: what it is, and what to do about it. Nothing is promised that another reason may break.

use application::use_cases::{Reason, Why};
use chrono::{DateTime, SecondsFormat, Utc};
use domain::{AwaitedLock, BUDGET_EXCEEDED, JobId, JobKind, JobState, Labels};
use serde_json::{Value, json};

use super::ReasonBody;

/// What a program reads beside the words.
type Said = (&'static str, String, Value);

impl ReasonBody {
    pub(super) fn of(why: &Why) -> Vec<Self> {
        let kind = why.job.kind();
        // Only of what alone keeps it can be said that it begins when that is over.
        let alone = why.reasons.len() == 1;
        let body = |reason| {
            let (code, message, data) = words(reason, kind, alone);
            Self {
                code,
                message,
                data,
            }
        };
        why.reasons.iter().map(body).collect()
    }
}

fn words(reason: &Reason, kind: JobKind, alone: bool) -> Said {
    let plain = |code, message: &str| (code, message.to_owned(), json!({}));
    match reason {
        Reason::NotStarted => plain(
            "NOT_STARTED",
            "It was created with `start: false`; start it.",
        ),
        Reason::NoAgent(why) => (
            "NO_AGENT",
            format!("It waits for an agent: {why}. It begins when one can take it."),
            json!({"reason": why}),
        ),
        Reason::Paused => plain("PAUSED", "It was paused; resume it."),
        Reason::OverBudget(why) => over_budget(why),
        Reason::Prerequisites(open) => prerequisites(open),
        Reason::NotBefore(at) => {
            let message = format!("It is not to run before {}.", instant(*at));
            ("NOT_BEFORE", message, json!({"run_after": at}))
        }
        Reason::Backoff {
            until,
            retry,
            retries,
            code,
        } => {
            let message = format!(
                "Its latest run failed with {code}; it waits until {} before retry {retry} of {retries}.",
                instant(*until)
            );
            let data =
                json!({"run_after": until, "retry": retry, "retries": retries, "error": code});
            ("BACKOFF", message, data)
        }
        Reason::TenantInactive => plain(
            "TENANT_INACTIVE",
            "Its tenant is switched off; an admin can set `active` to true.",
        ),
        Reason::TenantPaused => plain(
            "TENANT_PAUSED",
            "Its tenant is paused: all of its queues are; an admin can resume the tenant.",
        ),
        Reason::QueuePaused(kind) => {
            let message =
                format!("The queue of {kind} jobs is paused; a lead of the tenant can resume it.");
            ("QUEUE_PAUSED", message, json!({"queue": kind}))
        }
        Reason::TenantBudget(until) => {
            let message = format!(
                "Its tenant has used up what its sessions may use in this month; it goes on when the next one begins, at {}, \
                 or when an admin raises `monthly_tokens` or `monthly_cost_usd`.",
                instant(*until)
            );
            ("TENANT_BUDGET", message, json!({"until": until}))
        }
        Reason::NoWorker { kind, requires } => no_worker(*kind, requires),
        Reason::BrokerAway => plain(
            "BROKER_AWAY",
            "The broker (RabbitMQ) does not answer: new runs begin when it does again; those that run go on.",
        ),
        Reason::QuotaFull { running, quota } => quota_full(kind, *running, *quota, alone),
        Reason::WorkersBusy { workers } => workers_busy(*workers, alone),
        Reason::Turn { ahead } => turn(*ahead),
        Reason::Lock(lock) => locked(lock),
        Reason::AboutToBegin => plain(
            "ABOUT_TO_BEGIN",
            "Nothing keeps it that is known: it is about to begin.",
        ),
    }
}

fn instant(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::AutoSi, true)
}

fn over_budget(why: &str) -> Said {
    let message = format!("It was paused: {why}.");
    (BUDGET_EXCEEDED, message, json!({"reason": why}))
}

fn prerequisites(open: &[(JobId, JobState)]) -> Said {
    let listed: Vec<Value> = open
        .iter()
        .map(|(job, state)| json!({"id": job, "status": state}))
        .collect();
    let message = match open.len() {
        1 => "It waits until one other job has ended well.".to_owned(),
        count => format!("It waits until {count} other jobs have ended well."),
    };
    ("PREREQUISITES", message, json!({"jobs": listed}))
}

fn no_worker(kind: JobKind, requires: &Labels) -> Said {
    if requires.is_empty() {
        let message = format!("No live worker takes {kind} jobs; start one.");
        return ("NO_WORKER", message, json!({"kind": kind}));
    }
    let message = format!(
        "No live worker takes {kind} jobs and has the labels {requires}; start one with `--label {requires}`."
    );
    let data = json!({"kind": kind, "requires": requires});
    ("NO_WORKER", message, data)
}

fn quota_full(kind: JobKind, running: u32, quota: u32, alone: bool) -> Said {
    let to_end = running.saturating_sub(quota) + 1;
    let then = match (to_end, alone) {
        (1, true) => "it begins when one ends".to_owned(),
        (_, true) => format!("it begins when {to_end} of them have ended"),
        (1, false) => "one has to end before another begins".to_owned(),
        (_, false) => format!("{to_end} of them have to end before another begins"),
    };
    let are = if running == 1 { "runs" } else { "run" };
    let message = format!(
        "Its tenant's quota of {kind} jobs is full: {running} {are} and {quota} may; {then}."
    );
    let data = json!({"running": running, "quota": quota, "to_end": to_end});
    ("QUOTA_FULL", message, data)
}

fn workers_busy(workers: u32, alone: bool) -> Said {
    let then = if alone {
        "it begins when a run ends"
    } else {
        "a run has to end before another begins"
    };
    let message = format!(
        "Every worker that could run it ({workers}) is full; {then}, or start more workers."
    );
    ("WORKERS_BUSY", message, json!({"workers": workers}))
}

fn turn(ahead: u32) -> Said {
    let message = match ahead {
        1 => "One job of its queue comes first".to_owned(),
        ahead => format!("{ahead} jobs of its queue come first"),
    } + ", by priority and by waiting time.";
    ("TURN", message, json!({"ahead": ahead}))
}

fn locked(lock: &AwaitedLock) -> Said {
    let (resource, ahead) = (&lock.resource, lock.ahead);
    let come = match ahead {
        1 => "one other job comes".to_owned(),
        _ => format!("{ahead} other jobs come"),
    };
    let holds = match lock.holder {
        Some(holder) => format!(", and {holder} works on it now"),
        None => String::new(),
    };
    let message = format!(
        "It has its slot and waits for {resource}, which one job at a time works on; {come} first{holds}."
    );
    (
        "LOCK",
        message,
        json!({"resource": resource, "ahead": ahead, "holder": lock.holder}),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(reason: &Reason, alone: bool) -> String {
        words(reason, JobKind::Session, alone).1
    }

    #[test]
    fn what_has_to_end_is_counted_and_nothing_is_promised_to_those_behind() {
        let full = |running, quota| Reason::QuotaFull { running, quota };
        for (running, quota, alone, expected) in [
            (2, 2, true, "it begins when one ends."),
            (2, 1, true, "it begins when 2 of them have ended."),
            (2, 2, false, "one has to end before another begins."),
            (5, 1, false, "5 of them have to end before another begins."),
        ] {
            let message = message(&full(running, quota), alone);
            assert!(message.ends_with(expected), "{message}");
        }
        let busy = Reason::WorkersBusy { workers: 1 };
        assert!(message(&busy, true).contains("it begins"));
        assert!(!message(&busy, false).contains("it begins"));
    }
}
