//! The checker's own calls: unlike a worker's they may be wrong on purpose, and whatever comes back is only looked at.

use std::time::Duration;

use adapter_agents::eap::{ANSWER_BYTES, Endpoint, TaskResult, result, running};
use adapter_embedded::{SystemClock, SystemIds};
use anyhow::Context as _;
use application::ports::{Clock as _, Ids as _};
use reqwest::{Method, StatusCode, redirect};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

/// As long as a worker waits.
const ANSWER_LIMIT: Duration = Duration::from_mins(1);
const LOOK_EVERY: Duration = Duration::from_millis(200);
const SAID_CHARS: usize = 200;
const TIMEOUT_SECONDS: u64 = 600;

/// What the tasks of a check are like.
pub struct Asked {
    pub task_type: String,
    pub prompt: String,
    pub patience: Duration,
}

pub struct Caller {
    http: reqwest::Client,
    endpoint: Endpoint,
    asked: Asked,
    clock: SystemClock,
    ids: SystemIds,
}

/// Which token a call carries.
#[derive(Clone, Copy)]
pub enum Token {
    Right,
    Wrong,
    Missing,
}

pub struct Answer {
    pub status: StatusCode,
    pub body: Vec<u8>,
}

/// How a task was answered.
pub enum Told {
    Ended(Box<TaskResult>),
    Running,
}

impl Caller {
    pub fn new(endpoint: Endpoint, asked: Asked) -> anyhow::Result<Self> {
        let http = reqwest::Client::builder()
            .no_proxy()
            .redirect(redirect::Policy::none())
            .build()
            .context("calls cannot be made")?;
        Ok(Self {
            http,
            endpoint,
            asked,
            clock: SystemClock::default(),
            ids: SystemIds::default(),
        })
    }

    /// A task that the agent has never seen.
    pub fn task(&self) -> Value {
        let id = self.ids.next(self.clock.now()).to_string();
        json!({
            "task_id": id,
            "session_id": id,
            "task_type": self.asked.task_type,
            "context": {
                "title": "conformance check",
                "prompt": self.asked.prompt,
                "attempt": 1,
                "repository": false,
                "files": [],
            },
            "input_data": {},
            "requirements": {},
            "timeout_seconds": TIMEOUT_SECONDS,
        })
    }

    pub async fn call(
        &self,
        method: Method,
        parts: &[&str],
        token: Token,
        body: Option<Vec<u8>>,
    ) -> Result<Answer, String> {
        let mut call = self.http.request(method, self.endpoint.at(parts));
        match token {
            Token::Right => call = call.header("x-agent-token", self.endpoint.token()),
            Token::Wrong => {
                let wrong = format!("{}x", self.endpoint.token());
                call = call.header("x-agent-token", wrong);
            }
            Token::Missing => {}
        }
        if let Some(body) = body {
            call = call.header("content-type", "application/json").body(body);
        }
        let response = call.timeout(ANSWER_LIMIT).send().await;
        let mut response = response.map_err(|error| unanswered(&error))?;
        let status = response.status();
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| unanswered(&error))? {
            body.extend_from_slice(&chunk);
            if body.len() > ANSWER_BYTES {
                return Err(format!("the answer has more than {ANSWER_BYTES} bytes"));
            }
        }
        Ok(Answer { status, body })
    }

    pub async fn post(&self, token: Token, body: Vec<u8>) -> Result<Answer, String> {
        self.call(Method::POST, &["task"], token, Some(body)).await
    }

    /// Gives a task, and takes whatever the protocol allows for an answer.
    pub async fn give(&self, task: &Value) -> Result<Told, String> {
        let answer = self
            .post(Token::Right, task.to_string().into_bytes())
            .await?;
        told(&answer, id_of(task))
    }

    pub async fn look(&self, task: &Value) -> Result<Answer, String> {
        let parts = ["task", id_of(task)];
        self.call(Method::GET, &parts, Token::Right, None).await
    }

    pub async fn cancel(&self, task: &Value) -> Result<Answer, String> {
        let parts = ["task", id_of(task)];
        self.call(Method::DELETE, &parts, Token::Right, None).await
    }

    /// Waits for the end of a task that was given.
    pub async fn wait(&self, task: &Value, told: Told) -> Result<TaskResult, String> {
        let began = Instant::now();
        let mut told = told;
        loop {
            if let Told::Ended(result) = told {
                return Ok(*result);
            }
            let patience = self.asked.patience;
            if began.elapsed() > patience {
                return Err(format!(
                    "the task has not ended after {} s; give it more with --patience",
                    patience.as_secs()
                ));
            }
            sleep(LOOK_EVERY).await;
            told = told_of_look(&self.look(task).await?, id_of(task))?;
        }
    }

    /// Gives a task and waits for its end.
    pub async fn finish(&self, task: &Value) -> Result<TaskResult, String> {
        let told = self.give(task).await?;
        self.wait(task, told).await
    }
}

fn told_of_look(answer: &Answer, id: &str) -> Result<Told, String> {
    told(answer, id).map_err(|why| format!("GET /task/{{id}}: {why}"))
}

fn told(answer: &Answer, id: &str) -> Result<Told, String> {
    let about = |why: String| format!("the answer {why}");
    match answer.status {
        StatusCode::OK => {
            let result = result(&answer.body, id).map_err(about)?;
            Ok(Told::Ended(Box::new(result)))
        }
        StatusCode::ACCEPTED => {
            running(&answer.body, id).map_err(about)?;
            Ok(Told::Running)
        }
        _ => Err(format!("{}; 200 or 202 was due", answer.shown())),
    }
}

pub fn id_of(task: &Value) -> &str {
    task["task_id"].as_str().unwrap_or_default()
}

impl Answer {
    /// The status and the beginning of what was said, on one line.
    pub fn shown(&self) -> String {
        let text = String::from_utf8_lossy(&self.body);
        let text: String = text
            .chars()
            .map(|c| if c.is_control() { ' ' } else { c })
            .take(SAID_CHARS)
            .collect();
        format!("it answered {} {}", self.status, text.trim())
            .trim_end()
            .to_owned()
    }
}

fn unanswered(error: &reqwest::Error) -> String {
    use std::error::Error as _;
    if error.is_timeout() {
        return format!("no answer within {} s", ANSWER_LIMIT.as_secs());
    }
    let mut source = error.source();
    let mut last = None;
    while let Some(error) = source {
        last = Some(error);
        source = error.source();
    }
    let cause = last.map_or_else(|| "the call failed".to_owned(), ToString::to_string);
    format!("no answer: {cause}")
}
