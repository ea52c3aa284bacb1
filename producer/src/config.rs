//! The limits and switches of the HTTP side, with defaults that suit a single machine.

use std::time::Duration;

use application::agent_tokens::AgentTokens;
use application::outbound::OutboundPolicy;

#[derive(Debug, Clone)]
pub struct ProducerConfig {
    /// Largest request body; more is answered 413.
    pub body_limit_bytes: usize,
    /// Largest body of a bulk creation.
    pub bulk_body_limit_bytes: usize,
    /// Longest time until the head of an answer; streams may go on after it.
    pub request_timeout: Duration,
    /// Event and log streams open at once; more are answered 503.
    pub max_streams: usize,
    /// How often a stream looks into the store when no signal wakes it.
    pub stream_poll: Duration,
    /// Believe `X-Forwarded-Proto`: only behind a proxy that sets it itself.
    pub trust_forwarded_proto: bool,
    /// Where external agents may say that they take tasks.
    pub outbound: OutboundPolicy,
    /// Tokens of agents that are given their tasks; without, none that has an address can be registered.
    pub agent_tokens: Option<AgentTokens>,
}

impl Default for ProducerConfig {
    fn default() -> Self {
        Self {
            body_limit_bytes: 1024 * 1024,
            bulk_body_limit_bytes: 16 * 1024 * 1024,
            request_timeout: Duration::from_secs(30),
            max_streams: 10_000,
            stream_poll: Duration::from_secs(2),
            trust_forwarded_proto: false,
            outbound: OutboundPolicy::default(),
            agent_tokens: None,
        }
    }
}
