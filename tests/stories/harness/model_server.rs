//! A model's provider that speaks `OpenAI`'s protocol, and whose model does what a story says.

use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;
use futures::stream;
use serde_json::{Value, json};
use tokio::task::JoinHandle;

/// What every answer costs.
pub const INPUT_TOKENS: u64 = 100;
pub const OUTPUT_TOKENS: u64 = 10;
/// Between the words of a model that never ends.
const WORD_EVERY: Duration = Duration::from_millis(20);

/// What the model is asked.
#[derive(Debug, Clone)]
pub struct Question {
    pub messages: Vec<Value>,
    /// The key that came with it.
    pub key: String,
}

impl Question {
    /// How many tools have been used in this conversation.
    pub fn results(&self) -> usize {
        self.messages
            .iter()
            .filter(|message| message["role"] == "tool")
            .count()
    }

    /// What the last tool of the conversation answered.
    pub fn last_result(&self) -> String {
        let mut results = self
            .messages
            .iter()
            .filter(|message| message["role"] == "tool");
        results
            .next_back()
            .map(|message| message["content"].to_string())
            .unwrap_or_default()
    }

    /// True when the user said so at some time.
    pub fn user_said(&self, words: &str) -> bool {
        self.messages
            .iter()
            .filter(|message| message["role"] == "user")
            .any(|message| message["content"].to_string().contains(words))
    }
}

/// What the model does.
pub enum Reply {
    /// Says something and uses a tool.
    Tool(&'static str, &'static str, Value),
    /// Says something and is done.
    Say(String),
    /// Talks for as long as it is listened to.
    Forever,
    /// The provider refuses.
    Refuse(u16, String),
}

type Script = dyn Fn(&Question) -> Reply + Send + Sync;

#[derive(Clone)]
struct Shared {
    script: Arc<Script>,
    questions: Arc<Mutex<Vec<Question>>>,
}

pub struct ModelServer {
    pub url: String,
    questions: Arc<Mutex<Vec<Question>>>,
    serving: JoinHandle<()>,
}

impl ModelServer {
    pub async fn start(script: impl Fn(&Question) -> Reply + Send + Sync + 'static) -> Self {
        let questions = Arc::new(Mutex::new(Vec::new()));
        let shared = Shared {
            script: Arc::new(script),
            questions: Arc::clone(&questions),
        };
        let routes = Router::new().route("/v1/chat/completions", post(complete));
        let routes = routes.with_state(shared);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
            .await
            .expect("a free port");
        let address = listener.local_addr().expect("an address");
        let serving = tokio::spawn(async move {
            axum::serve(listener, routes)
                .await
                .expect("the model server serves");
        });
        Self {
            url: format!("http://{address}/v1"),
            questions,
            serving,
        }
    }

    /// All that was asked so far.
    pub fn questions(&self) -> Vec<Question> {
        let questions = self.questions.lock();
        questions.unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for ModelServer {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn complete(State(shared): State<Shared>, headers: HeaderMap, body: Bytes) -> Response {
    let body: Value = serde_json::from_slice(&body).expect("the question is JSON");
    let key = headers
        .get("authorization")
        .and_then(|key| key.to_str().ok());
    let question = Question {
        messages: body["messages"].as_array().expect("messages").clone(),
        key: key.unwrap_or_default().to_owned(),
    };
    let reply = (shared.script)(&question);
    let mut questions = shared
        .questions
        .lock()
        .unwrap_or_else(PoisonError::into_inner);
    questions.push(question);
    drop(questions);
    let chunks = match reply {
        Reply::Refuse(status, words) => {
            let status = StatusCode::from_u16(status).expect("a status");
            return (status, axum::Json(json!({"error": {"message": words}}))).into_response();
        }
        Reply::Forever => return forever(),
        Reply::Say(text) => vec![
            chunk(&json!({"content": text}), None),
            chunk(&json!({}), Some("stop")),
        ],
        Reply::Tool(text, name, arguments) => {
            let call = json!([{"index": 0, "id": format!("call_{}", fastrand::u64(..)), "type": "function",
                "function": {"name": name, "arguments": arguments.to_string()}}]);
            vec![
                chunk(&json!({"role": "assistant", "content": text}), None),
                chunk(&json!({"tool_calls": call}), None),
                chunk(&json!({}), Some("tool_calls")),
            ]
        }
    };
    let end = "data: [DONE]\n\n".to_owned();
    let parts = chunks.into_iter().chain([end]).map(Ok::<_, Infallible>);
    streamed(Body::from_stream(stream::iter(parts)))
}

fn forever() -> Response {
    let words = stream::unfold(0_u64, |number| async move {
        tokio::time::sleep(WORD_EVERY).await;
        let text = format!("word {number}\n");
        let word = chunk(&json!({"content": text}), None);
        Some((Ok::<_, Infallible>(word), number + 1))
    });
    streamed(Body::from_stream(words))
}

fn streamed(body: Body) -> Response {
    ([(CONTENT_TYPE, "text/event-stream")], body).into_response()
}

/// One event of the stream; the last one tells what it cost.
fn chunk(delta: &Value, finish: Option<&str>) -> String {
    let mut chunk = json!({
        "id": "answer", "object": "chat.completion.chunk", "created": 1, "model": "m",
        "choices": [{"index": 0, "delta": delta, "finish_reason": finish}],
    });
    if finish.is_some() {
        chunk["usage"] = json!({
            "prompt_tokens": INPUT_TOKENS, "completion_tokens": OUTPUT_TOKENS,
            "total_tokens": INPUT_TOKENS + OUTPUT_TOKENS,
        });
    }
    format!("data: {chunk}\n\n")
}
