//! Event streams and followed logs: nothing lost, nothing twice, and an end.

use std::time::Duration;

use application::ports::Signal;
use axum::http::StatusCode;
use domain::{Ending, JobError, LogChunk, LogCursor, LogStream, Progress};
use producer::ProducerConfig;

use crate::answer::events_in;
use crate::site::{Site, completed, empty_report};

fn names(events: &[(i64, String)]) -> Vec<&str> {
    events.iter().map(|(_, name)| name.as_str()).collect()
}

#[tokio::test]
async fn a_finished_job_is_told_from_the_first_event_to_the_last() {
    let site = Site::start().await;
    let id = site.session("short").await;
    site.run(&id).await;
    let answer = site
        .get(&format!("/api/v1/sessions/{id}/events"))
        .send()
        .await;
    assert_eq!(answer.header("content-type"), "text/event-stream");
    let text = answer.text();
    let events = events_in(&text);
    assert_eq!(
        names(&events),
        ["created", "queued", "started", "completed"]
    );
    let seqs: Vec<i64> = events.iter().map(|(seq, _)| *seq).collect();
    assert_eq!(seqs, [1, 2, 3, 4]);
    let data = text
        .lines()
        .find_map(|line| line.strip_prefix("data:"))
        .unwrap();
    let first: serde_json::Value = serde_json::from_str(data.trim()).unwrap();
    assert_eq!((&first["job_id"], &first["seq"]), (&id.into(), &1.into()));
}

#[tokio::test]
async fn a_reader_that_drops_comes_back_and_misses_nothing() {
    let site = Site::start().await;
    let id = site.session("watched").await;
    let address = format!("/api/v1/sessions/{id}/events");
    let mut first = site.get(&address).stream().await;
    let before = events_in(first.until("event: queued").await);
    drop(first);
    let worker = site.worker().await;
    let job = site.claim(worker, &id).await;
    let mut report = empty_report(&job);
    report.progress = Some(Progress {
        fraction: Some(0.5),
        ..Progress::default()
    });
    site.report(worker, report).await;
    let last = before.last().unwrap().0.to_string();
    let mut second = site
        .get(&address)
        .header("last-event-id", &last)
        .stream()
        .await;
    second.until("event: progress").await;
    site.finish(worker, &job, completed()).await;
    let after = events_in(&second.rest().await);
    let all: Vec<(i64, String)> = before.into_iter().chain(after).collect();
    assert_eq!(
        names(&all),
        ["created", "queued", "started", "progress", "completed"]
    );
    assert!(all.iter().map(|(seq, _)| *seq).eq(1..=5));
}

#[tokio::test]
async fn a_browser_that_saw_the_end_is_told_not_to_come_back() {
    let site = Site::start().await;
    let id = site.session("short").await;
    site.run(&id).await;
    let address = format!("/api/v1/sessions/{id}/events");
    let answer = site.get(&address).header("last-event-id", "4").send().await;
    assert_eq!(answer.status, StatusCode::NO_CONTENT);
    let answer = site.get(&format!("{address}?after=3")).send().await;
    assert_eq!(names(&events_in(&answer.text())), ["completed"]);
    let answer = site.get(&address).header("last-event-id", "x").send().await;
    answer.invalid_at("/Last-Event-ID");
}

#[tokio::test]
async fn a_signal_wakes_a_stream_long_before_its_poll() {
    let site = Site::with(ProducerConfig {
        stream_poll: Duration::from_hours(1),
        ..ProducerConfig::default()
    })
    .await;
    let id = site.session("signalled").await;
    let mut stream = site
        .get(&format!("/api/v1/sessions/{id}/events"))
        .stream()
        .await;
    stream.until("event: queued").await;
    site.post(&format!("/api/v1/sessions/{id}/cancel"))
        .send()
        .await;
    let events = events_in(&stream.rest().await);
    assert_eq!(names(&events), ["created", "queued", "cancelled"]);
}

#[tokio::test]
async fn a_retried_job_goes_on_where_its_events_ended() {
    let site = Site::start().await;
    let id = site.session("again").await;
    let worker = site.worker().await;
    let job = site.claim(worker, &id).await;
    let error = JobError::new("COMMAND_FAILED", "it ended with 1");
    site.finish(worker, &job, Ending::Failed(error)).await;
    let address = format!("/api/v1/sessions/{id}");
    let ended = site.get(&format!("{address}/events")).send().await;
    let events = events_in(&ended.text());
    assert_eq!(names(&events), ["created", "queued", "started", "failed"]);
    site.post(&format!("{address}/retry")).send().await;
    let mut again = site
        .get(&format!("{address}/events?after=4"))
        .stream()
        .await;
    again.until("event: queued").await;
    site.post(&format!("{address}/cancel")).send().await;
    let events = events_in(&again.rest().await);
    assert_eq!(
        events,
        [(5, "queued".to_owned()), (6, "cancelled".to_owned())]
    );
}

#[tokio::test]
async fn streams_end_when_the_process_drains() {
    let site = Site::start().await;
    let id = site.session("waiting").await;
    let mut events = site
        .get(&format!("/api/v1/sessions/{id}/events"))
        .stream()
        .await;
    let mut hints = site.get("/api/v1/events").stream().await;
    let logs = site
        .get(&format!("/api/v1/sessions/{id}/logs?follow=true"))
        .stream()
        .await;
    events.until("event: queued").await;
    hints.until("event: hello").await;
    site.draining.cancel();
    events.rest().await;
    hints.rest().await;
    assert_eq!(logs.rest().await, "");
}

#[tokio::test]
async fn open_streams_are_counted_and_bounded() {
    let site = Site::with(ProducerConfig {
        max_streams: 1,
        ..ProducerConfig::default()
    })
    .await;
    let open = site.get("/api/v1/events").stream().await;
    assert_eq!(site.metrics.event_stream_clients.get(), 1);
    let refused = site.get("/api/v1/events").send().await;
    refused.problem(503, "TOO_MANY_STREAMS");
    drop(open);
    assert_eq!(site.metrics.event_stream_clients.get(), 0);
    site.get("/api/v1/events").stream().await;
}

#[tokio::test]
async fn a_tenants_watcher_hears_of_its_own_jobs_only() {
    let site = Site::start().await;
    let mut stream = site.get("/api/v1/events").stream().await;
    stream.until("event: hello").await;
    let job = site.session("mine").await;
    let foreign = "0198c5a2-7e1b-7cc0-8000-0123456789ab";
    let signal = Signal::JobChanged {
        tenant: site.globex.id,
        job: foreign.parse().unwrap(),
    };
    site.ports.bus.publish(vec![signal]).await.unwrap();
    let logged = Signal::LogWritten {
        tenant: site.acme.id,
        job: job.parse().unwrap(),
    };
    site.ports.bus.publish(vec![logged]).await.unwrap();
    let heard = stream.until("event: log_written").await;
    assert!(heard.contains(&job) && !heard.contains(foreign), "{heard}");
    let elsewhere = site.get("/api/v1/events?tenant=globex").send().await;
    elsewhere.problem(403, "WRONG_TENANT");
    let admin = site
        .get("/api/v1/events?tenant=globex")
        .key(&site.admin)
        .open()
        .await;
    assert_eq!(admin.status(), StatusCode::OK);
}

fn chunk(attempt: u32, number: u32, text: &str) -> LogChunk {
    LogChunk {
        cursor: LogCursor { attempt, number },
        at: domain::Timestamp::UNIX_EPOCH,
        stream: LogStream::Stdout,
        text: text.to_owned(),
    }
}

#[tokio::test]
async fn a_log_is_read_whole_by_its_end_or_as_it_grows() {
    let site = Site::start().await;
    let id = site.session("talkative").await;
    let worker = site.worker().await;
    let job = site.claim(worker, &id).await;
    let address = format!("/api/v1/sessions/{id}/logs");
    let mut report = empty_report(&job);
    report.logs = vec![chunk(1, 1, "one\ntwo\n"), chunk(1, 2, "three\n")];
    site.report(worker, report).await;
    let whole = site.get(&address).send().await;
    assert_eq!(whole.header("content-type"), "text/plain; charset=utf-8");
    assert_eq!(whole.text(), "one\ntwo\nthree\n");
    let tail = site.get(&format!("{address}?tail=2")).send().await;
    assert_eq!(tail.text(), "two\nthree\n");
    let mut following = site
        .get(&format!("{address}?follow=true&tail=1"))
        .stream()
        .await;
    assert_eq!(following.until("three").await, "three\n");
    let mut report = empty_report(&job);
    report.logs = vec![chunk(1, 3, "four\n")];
    site.report(worker, report).await;
    following.until("four").await;
    site.finish(worker, &job, completed()).await;
    assert_eq!(following.rest().await, "three\nfour\n");
}

#[tokio::test]
async fn a_log_longer_than_a_read_is_whole() {
    let site = Site::start().await;
    let id = site.session("verbose").await;
    let worker = site.worker().await;
    let job = site.claim(worker, &id).await;
    let mut report = empty_report(&job);
    report.logs = (1..=450)
        .map(|number| chunk(1, number, &format!("line {number}\n")))
        .collect();
    site.report(worker, report).await;
    let text = site
        .get(&format!("/api/v1/sessions/{id}/logs"))
        .send()
        .await
        .text();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 450);
    for (line, number) in lines.iter().zip(1..) {
        assert_eq!(*line, format!("line {number}"));
    }
}
