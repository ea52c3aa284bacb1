//! Calls to addresses that others chose. A name is looked up by us, and a connection is made to an address that was
//! checked then: where a name led when it was registered says nothing about where it leads now.
//!
//! A host that is an address itself is never looked up; whoever makes a call checks it first
//! ([`OutboundPolicy::check_form`]).

use std::sync::Arc;

use application::outbound::OutboundPolicy;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};

use super::client;

struct Guarded(OutboundPolicy);

impl Resolve for Guarded {
    fn resolve(&self, name: Name) -> Resolving {
        let policy = self.0.clone();
        Box::pin(async move {
            // The port of the address is put in its place.
            let found = policy.look_up(name.as_str(), 0).await?;
            Ok(Box::new(found.into_iter()) as Addrs)
        })
    }
}

/// What agents that chose their address themselves are called by. The text says why there is none.
pub(crate) fn http(policy: &OutboundPolicy) -> Result<reqwest::Client, String> {
    let resolver = Guarded(policy.clone());
    client::built(client::builder().dns_resolver(Arc::new(resolver)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::eap::client::last_cause;

    #[tokio::test]
    async fn a_name_that_leads_inside_is_not_connected_to() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let http = http(&OutboundPolicy::default()).unwrap();
        let refused = http.get(format!("http://localhost:{port}/")).send().await;
        let why = last_cause(&refused.unwrap_err());
        assert!(why.contains("ORCHESTRATOR_AGENT_NETWORKS"), "{why}");
        let came = tokio::time::timeout(std::time::Duration::ZERO, listener.accept());
        assert!(came.await.is_err(), "somebody connected");
    }
}
