//! Asks an agent how it is: `GET {endpoint}/health`, without a token, since everybody may ask that.

use std::time::Duration;

use application::outbound::OutboundPolicy;
use application::ports::{AgentProbe, Health};
use async_trait::async_trait;
use domain::AgentStatus;
use reqwest::StatusCode;
use serde::Deserialize;

use super::client::{bounded, last_cause};
use super::endpoint::Endpoint;
use super::guarded;

/// As the protocol has it, also for an agent that works.
const LIMIT: Duration = Duration::from_secs(5);
const ANSWER_BYTES: usize = 16 * 1024;

/// Asks agents at addresses that they chose, as far as the operator's policy allows these.
pub struct HealthProbe {
    policy: OutboundPolicy,
    http: Result<reqwest::Client, String>,
}

/// Whatever else an agent says is its own business.
#[derive(Deserialize)]
struct Answer {
    status: String,
    current_load: Option<f64>,
    tasks_in_progress: Option<u32>,
}

impl HealthProbe {
    pub fn new(policy: OutboundPolicy) -> Self {
        let http = guarded::http(&policy);
        Self { policy, http }
    }

    async fn ask(&self, endpoint_url: &str) -> Result<Health, String> {
        self.policy
            .check_form(endpoint_url)
            .map_err(|error| format!("its address {error}"))?;
        let http = self.http.clone()?;
        let url = Endpoint::parse_url(endpoint_url).map_err(|error| error.to_string())?;
        let url = Endpoint::new("", url, String::new()).at(&["health"]);
        let answer = http.get(url).send().await.map_err(|it| last_cause(&it))?;
        let status = answer.status();
        if status != StatusCode::OK {
            return Err(format!("it answered {status}"));
        }
        let body = bounded(answer, ANSWER_BYTES);
        let body = body.await.map_err(|it| last_cause(&it))?;
        if body.is_cut {
            return Err(format!("its answer has more than {ANSWER_BYTES} bytes"));
        }
        understood(&body.bytes)
    }
}

#[async_trait]
impl AgentProbe for HealthProbe {
    async fn health(&self, endpoint_url: &str) -> Result<Health, String> {
        let asked = tokio::time::timeout(LIMIT, self.ask(endpoint_url)).await;
        asked.unwrap_or_else(|_| Err(format!("no answer within {} s", LIMIT.as_secs())))
    }
}

fn understood(bytes: &[u8]) -> Result<Health, String> {
    let answer: Answer = serde_json::from_slice(bytes)
        .map_err(|error| format!("its answer is not understood: {error}"))?;
    let status: AgentStatus = answer
        .status
        .parse()
        .map_err(|error: domain::UnknownStatus| error.to_string())?;
    Ok(Health {
        status,
        load: answer.current_load.unwrap_or_default().clamp(0.0, 1.0),
        tasks_in_progress: answer.tasks_in_progress.unwrap_or_default(),
    })
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    fn here() -> HealthProbe {
        HealthProbe::new(OutboundPolicy {
            allowed: vec!["127.0.0.1".parse().unwrap()],
        })
    }

    /// Answers one request with this, and returns what was asked.
    async fn asked(probe: &HealthProbe, answer: &str) -> (Result<Health, String>, String) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/base", listener.local_addr().unwrap());
        let play = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = vec![0; 4096];
            let read = stream.read(&mut request).await.unwrap();
            stream.write_all(answer.as_bytes()).await.unwrap();
            String::from_utf8_lossy(&request[..read]).into_owned()
        };
        tokio::join!(probe.health(&url), play)
    }

    fn ok(body: &str) -> String {
        let length = body.len();
        format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}")
    }

    #[tokio::test]
    async fn an_agent_says_how_it_is() {
        let said =
            r#"{"status": "degraded", "current_load": 7, "tasks_in_progress": 2, "mood": "good"}"#;
        let (health, request) = asked(&here(), &ok(said)).await;
        let expected = Health {
            status: AgentStatus::Degraded,
            load: 1.0,
            tasks_in_progress: 2,
        };
        assert_eq!(health, Ok(expected));
        assert!(
            request.starts_with("GET /base/health HTTP/1.1"),
            "{request}"
        );
        assert!(
            !request.to_lowercase().contains("x-agent-token"),
            "{request}"
        );
        let (health, _) = asked(&here(), &ok(r#"{"status": "healthy"}"#)).await;
        let idle = Health {
            status: AgentStatus::Healthy,
            load: 0.0,
            tasks_in_progress: 0,
        };
        assert_eq!(health, Ok(idle), "it says nothing of its load");
    }

    #[tokio::test]
    async fn what_is_no_answer_says_why() {
        let redirect =
            "HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n";
        for (answer, words) in [
            (ok(r#"{"status": "fine"}"#), "`fine` is not a status"),
            (ok("<html>"), "not understood"),
            (ok(&" ".repeat(ANSWER_BYTES + 1)), "more than"),
            (redirect.to_owned(), "it answered 302"),
        ] {
            let why = asked(&here(), &answer).await.0.unwrap_err();
            assert!(why.contains(words), "{why}");
        }
        let why = here().health("http://127.0.0.1:1/").await.unwrap_err();
        assert!(why.contains("refused"), "{why}");
    }

    #[tokio::test]
    async fn an_address_of_ones_own_network_is_not_asked() {
        for url in [
            "http://127.0.0.1:1/",
            "http://localhost:1/",
            "http://[::1]:1/",
        ] {
            let probe = HealthProbe::new(OutboundPolicy::default());
            let why = probe.health(url).await.unwrap_err();
            assert!(why.contains("not a public address"), "{url}: {why}");
        }
    }
}
