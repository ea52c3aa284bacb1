//! One job, as its owner follows it.

use std::time::Duration;

use reqwest::{Method, Response};
use serde_json::Value;

use super::sse::{Event, EventStream};
use super::{Answer, Api, PATIENCE, eventually};

const FINISHED: [&str; 6] = [
    "completed",
    "partially_completed",
    "failed",
    "timeout",
    "stopped",
    "cancelled",
];

#[derive(Clone)]
pub struct Job {
    pub id: String,
    api: Api,
    path: String,
}

impl Job {
    pub fn new(api: &Api, list: &str, id: &str) -> Self {
        Self {
            id: id.to_owned(),
            api: api.clone(),
            path: format!("{list}/{id}"),
        }
    }

    pub async fn get(&self) -> Value {
        self.api.get(&self.path).await.expect(200).json()
    }

    /// `/logs`, `/diff`, ...
    pub async fn part(&self, name: &str) -> Answer {
        self.api.get(&format!("{}/{name}", self.path)).await
    }

    /// `stop`, `cancel`, ...
    pub async fn act(&self, action: &str) -> Answer {
        self.api
            .post_empty(&format!("{}/{action}", self.path))
            .await
    }

    /// Waits for a status; any other end of the job is a failure at once.
    pub async fn reaches(&self, status: &str) -> Value {
        self.reaches_within(status, PATIENCE).await
    }

    /// The same for a job that was over and goes on.
    pub async fn reaches_again(&self, status: &str) -> Value {
        let what = format!("job {} is {status} again", self.id);
        eventually(&what, PATIENCE, async || {
            let job = self.get().await;
            (job["status"] == status).then_some(job)
        })
        .await
    }

    /// The same, within `limit`.
    pub async fn reaches_within(&self, status: &str, limit: Duration) -> Value {
        let began = tokio::time::Instant::now();
        loop {
            let job = self.get().await;
            let now = job["status"].as_str().unwrap_or_default();
            if now == status {
                return job;
            }
            if FINISHED.contains(&now) || began.elapsed() > limit {
                let log = self.part("logs").await.text();
                panic!(
                    "the job is {now} and not {status} after {:?}: {job:#}\n{log}",
                    began.elapsed()
                );
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Waits for the end, whatever it is.
    pub async fn finished(&self) -> Value {
        let what = format!("the end of job {}", self.id);
        eventually(&what, PATIENCE, async || {
            let job = self.get().await;
            let status = job["status"].as_str().unwrap_or_default();
            FINISHED.contains(&status).then_some(job)
        })
        .await
    }

    /// The codes of what keeps it from running, the decisive first.
    pub async fn why(&self) -> Vec<String> {
        let why = self.part("why").await.expect(200).json();
        let reasons = why["reasons"].as_array().expect("a list");
        let code = |reason: &Value| reason["code"].as_str().unwrap_or_default().to_owned();
        reasons.iter().map(code).collect()
    }

    /// Until it says that it waits because no agent would do, and that none is registered.
    pub async fn waits_for_an_agent(&self) {
        eventually("it waits for an agent", PATIENCE, async || {
            let why = self.part("why").await.expect(200).json();
            let reasons = why["reasons"].as_array().expect("a list").clone();
            let reason = reasons.into_iter().find(|it| it["code"] == "NO_AGENT")?;
            let words = reason["message"].as_str().expect("words");
            assert!(words.contains("no agent is registered"), "{words}");
            Some(())
        })
        .await;
    }

    pub async fn log(&self) -> String {
        self.part("logs").await.expect(200).text()
    }

    /// The log as it is written.
    pub async fn follow_log(&self) -> LogStream {
        let request = self
            .api
            .request(Method::GET, &format!("{}/logs?follow=true", self.path));
        let response = request.send().await.expect("the log opens");
        assert_eq!(response.status(), 200);
        LogStream {
            response,
            read: String::new(),
        }
    }

    pub async fn diff(&self) -> String {
        self.part("diff").await.expect(200).text()
    }

    pub async fn attempts(&self) -> Vec<Value> {
        items(&self.part("attempts").await)
    }

    /// How each run ended, in order.
    pub async fn outcomes(&self) -> Vec<String> {
        let attempts = self.attempts().await;
        let outcome = |attempt: &Value| attempt["outcome"].as_str().unwrap_or("-").to_owned();
        attempts.iter().map(outcome).collect()
    }

    pub async fn artifacts(&self) -> Vec<Value> {
        items(&self.part("artifacts").await)
    }

    pub async fn artifact(&self, id: &str) -> Answer {
        self.part(&format!("artifacts/{id}")).await.expect(200)
    }

    /// The stream of events, behind `last_seen` where that is given.
    pub async fn stream(&self, last_seen: Option<i64>) -> EventStream {
        let mut request = self
            .api
            .request(Method::GET, &format!("{}/events", self.path));
        if let Some(id) = last_seen {
            request = request.header("last-event-id", id.to_string());
        }
        EventStream::new(request.send().await.expect("the stream opens"))
    }

    /// All events of a finished job.
    pub async fn events(&self) -> Vec<Event> {
        self.stream(None).await.rest(PATIENCE).await
    }

    pub async fn event_kinds(&self) -> Vec<String> {
        let events = self.events().await;
        events.into_iter().map(|event| event.kind).collect()
    }
}

/// A log that goes on.
pub struct LogStream {
    response: Response,
    read: String,
}

impl LogStream {
    /// Reads until the text so far ends with `end`.
    pub async fn until(&mut self, end: &str) {
        while !self.read.ends_with(end) {
            assert!(
                self.more().await,
                "the log ended before `{end}`: {}",
                self.read
            );
        }
    }

    /// All of it, when the server has ended it.
    pub async fn rest(mut self) -> String {
        while self.more().await {}
        self.read
    }

    async fn more(&mut self) -> bool {
        let chunk = tokio::time::timeout(PATIENCE, self.response.chunk()).await;
        let chunk =
            chunk.unwrap_or_else(|_| panic!("the log neither goes on nor ends: {}", self.read));
        let Some(chunk) = chunk.expect("the log goes on") else {
            return false;
        };
        self.read
            .push_str(std::str::from_utf8(&chunk).expect("the log is UTF-8"));
        true
    }
}

fn items(answer: &Answer) -> Vec<Value> {
    assert_eq!(answer.status, 200, "{}", answer.text());
    let list = answer.json();
    list["items"].as_array().expect("a list").clone()
}
