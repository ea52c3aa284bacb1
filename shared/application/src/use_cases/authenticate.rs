//! Who is calling: from the text of a key to its tenant and role.
//!
//! Keys are remembered for a few seconds, so that a busy client does not cost a query a request; a revoked key
//! therefore works for at most [`REMEMBERED`] longer.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use domain::{ApiKey, ApiKeyId, Timestamp};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;
use uuid::Uuid;

use crate::ports::{KeyHash, Ports, StoreError};

pub(super) const KEY_PREFIX: &str = "orc_";
pub(super) const SECRET_BYTES: usize = 32;
/// How long a key is believed without asking the store.
const REMEMBERED: Duration = Duration::from_secs(5);
/// Keys remembered at once; when full, all are forgotten.
const REMEMBERED_KEYS: usize = 10_000;

#[derive(Debug, thiserror::Error)]
pub enum AuthError {
    /// Not a key, unknown, revoked, expired or with a wrong secret: which of these is not told.
    #[error("the API key is not valid")]
    Rejected,
    #[error(transparent)]
    Store(#[from] StoreError),
}

#[derive(Clone)]
pub struct Authenticator {
    ports: Ports,
    remembered: Arc<Mutex<HashMap<ApiKeyId, Remembered>>>,
}

struct Remembered {
    key: ApiKey,
    hash: KeyHash,
    until: Timestamp,
}

impl Authenticator {
    pub fn new(ports: Ports) -> Self {
        Self {
            ports,
            remembered: Arc::default(),
        }
    }

    /// The key that `presented` is the text of, if it is valid now.
    pub async fn authenticate(&self, presented: &str) -> Result<ApiKey, AuthError> {
        let (id, secret) = parse(presented).ok_or(AuthError::Rejected)?;
        let now = self.ports.clock.now();
        let (key, expected) = match self.recall(id, now) {
            Some(found) => found,
            None => self.look_up(id, now).await?.ok_or(AuthError::Rejected)?,
        };
        let same = hash(secret).0.ct_eq(&expected.0);
        if bool::from(same) && key.is_valid(now) {
            Ok(key)
        } else {
            Err(AuthError::Rejected)
        }
    }

    fn recall(&self, id: ApiKeyId, now: Timestamp) -> Option<(ApiKey, KeyHash)> {
        let remembered = self
            .remembered
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        remembered
            .get(&id)
            .filter(|found| now < found.until)
            .map(|found| (found.key.clone(), found.hash))
    }

    async fn look_up(
        &self,
        id: ApiKeyId,
        now: Timestamp,
    ) -> Result<Option<(ApiKey, KeyHash)>, StoreError> {
        let Some((key, hash)) = self.ports.keys.key(id).await? else {
            return Ok(None);
        };
        let mut remembered = self
            .remembered
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if remembered.len() >= REMEMBERED_KEYS {
            remembered.clear();
        }
        let entry = Remembered {
            key: key.clone(),
            hash,
            until: now + REMEMBERED,
        };
        remembered.insert(id, entry);
        Ok(Some((key, hash)))
    }
}

/// The id and the secret of `orc_<id>_<secret>`.
fn parse(presented: &str) -> Option<(ApiKeyId, &str)> {
    let (id, secret) = presented.strip_prefix(KEY_PREFIX)?.split_once('_')?;
    let id = Uuid::try_parse(id).ok()?;
    (secret.len() == SECRET_BYTES * 2).then_some((ApiKeyId::from_uuid(id), secret))
}

pub(crate) fn hash(secret: &str) -> KeyHash {
    KeyHash(Sha256::digest(secret.as_bytes()).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_exact_form_is_a_key() {
        let secret = "ab".repeat(SECRET_BYTES);
        let id = "0198c5a27e1b7cc080000123456789ab";
        assert!(parse(&format!("orc_{id}_{secret}")).is_some());
        for wrong in [
            String::new(),
            "orc_".to_owned(),
            format!("orc_{id}"),
            format!("orc_{id}_{}", &secret[1..]),
            format!("key_{id}_{secret}"),
            format!("orc_xyz_{secret}"),
        ] {
            assert!(parse(&wrong).is_none(), "{wrong}");
        }
    }
}
