//! Tokens of external agents that are given their tasks. Workers have to send such a token, and the store is to have no
//! token in it: so each is made anew of a secret that only servers have, the agent's id and how often it has registered.
//!
//! Nothing here is kept or shown. Who has the secret can act for every such agent.

use std::fmt;
use std::sync::Arc;

use domain::AgentId;
use hmac::{Hmac, Mac as _};
use sha2::Sha256;

use crate::ports::KeyHash;
use crate::use_cases::hash;

/// What a token begins with, so that one that leaks is known for what it is.
pub const TOKEN_PREFIX: &str = "ora_";
/// As much as a random token has, in hexadecimal digits.
pub const SECRET_CHARS_MIN: usize = 32;
/// Keeps these tokens apart from whatever else is ever made of the secret.
const PURPOSE: &[u8] = b"token of an external agent, 1";

/// Makes tokens. Cheap to clone; shows nothing of its secret.
#[derive(Clone)]
pub struct AgentTokens(Arc<Hmac<Sha256>>);

/// The secret could be guessed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "it has {0} characters and needs {SECRET_CHARS_MIN} at least; `openssl rand -hex 32` makes a good one"
)]
pub struct WeakSecret(pub usize);

/// The system has no random numbers to give; the text says why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the system has no random numbers to give: {0}")]
pub struct NoRandomness(pub String);

/// A secret that nobody has had before, for [`AgentTokens::new`].
pub fn new_secret() -> Result<String, NoRandomness> {
    let mut secret = [0_u8; 32];
    getrandom::fill(&mut secret).map_err(|error| NoRandomness(error.to_string()))?;
    Ok(hex::encode(secret))
}

impl AgentTokens {
    /// `secret` is the same on all servers of an installation. Another one makes all tokens of before worthless.
    pub fn new(secret: &str) -> Result<Self, WeakSecret> {
        let chars = secret.chars().count();
        let weak = || WeakSecret(chars);
        if chars < SECRET_CHARS_MIN {
            return Err(weak());
        }
        // A key of any length will do, so this never fails.
        let mac = Hmac::new_from_slice(secret.as_bytes()).map_err(|_| weak())?;
        Ok(Self(Arc::new(mac)))
    }

    /// The token of the agent since its registration number `generation`.
    pub fn token(&self, agent: AgentId, generation: u32) -> String {
        let mut mac = Hmac::clone(&self.0);
        mac.update(PURPOSE);
        mac.update(agent.as_uuid().as_bytes());
        mac.update(&generation.to_be_bytes());
        format!("{TOKEN_PREFIX}{}", hex::encode(mac.finalize().into_bytes()))
    }

    /// What the store has of it.
    pub fn hash(&self, agent: AgentId, generation: u32) -> KeyHash {
        hash(&self.token(agent, generation))
    }
}

impl fmt::Debug for AgentTokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AgentTokens(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    const SECRET: &str = "0123456789abcdef0123456789abcdef";

    fn agent(n: u128) -> AgentId {
        AgentId::from_uuid(Uuid::from_u128(n))
    }

    #[test]
    fn a_token_is_of_the_secret_the_agent_and_the_registration() {
        let tokens = AgentTokens::new(SECRET).unwrap();
        let token = tokens.token(agent(1), 1);
        assert_eq!(token, AgentTokens::new(SECRET).unwrap().token(agent(1), 1));
        assert_eq!(token.len(), TOKEN_PREFIX.len() + 64);
        let other = AgentTokens::new(&SECRET.replace('0', "1")).unwrap();
        for different in [
            tokens.token(agent(2), 1),
            tokens.token(agent(1), 2),
            other.token(agent(1), 1),
        ] {
            assert_ne!(token, different);
        }
    }

    #[test]
    fn a_token_stays_the_same_in_later_versions() {
        // Agents that run keep theirs while servers are replaced. Checked against another implementation of HMAC.
        let token = AgentTokens::new(SECRET).unwrap().token(agent(1), 1);
        assert_eq!(
            token,
            "ora_d1d2d751ec796c5ba97ecd37573d692351ca2f6d916c6b40d17428f9da3820d8"
        );
    }

    #[test]
    fn a_secret_is_long_and_not_shown() {
        assert_eq!(AgentTokens::new("short").unwrap_err(), WeakSecret(5));
        let shown = format!("{:?}", AgentTokens::new(SECRET).unwrap());
        assert!(!shown.contains("0123"), "{shown}");
    }
}
