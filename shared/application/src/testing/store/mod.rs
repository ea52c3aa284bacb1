//! The contract of the store ports, one function a promise. Every store runs all of them by [`store_contract!`].
//!
//! A contract gets a store that is empty and its own: engine methods cross tenants, so nobody else may use it
//! meanwhile. Time is passed in; nothing here sleeps or asks a real clock.
//!
//! [`store_contract!`]: crate::store_contract

pub mod submit;
mod world;

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use crate::ports::{EngineStore, JobStore, KeyStore, TenantStore};

pub use world::World;

/// A migrated, empty store, and what must live as long as it does (a temporary folder, say).
#[derive(Clone)]
pub struct StoreUnderTest {
    pub jobs: Arc<dyn JobStore>,
    pub engine: Arc<dyn EngineStore>,
    pub tenants: Arc<dyn TenantStore>,
    pub keys: Arc<dyn KeyStore>,
    guard: Option<Arc<dyn Any + Send + Sync>>,
}

impl StoreUnderTest {
    pub fn new<S>(store: Arc<S>) -> Self
    where
        S: JobStore + EngineStore + TenantStore + KeyStore + 'static,
    {
        Self {
            jobs: store.clone(),
            engine: store.clone(),
            tenants: store.clone(),
            keys: store,
            guard: None,
        }
    }

    /// Keeps `guard` until the last clone of this is dropped.
    #[must_use]
    pub fn keeping(mut self, guard: impl Any + Send + Sync) -> Self {
        self.guard = Some(Arc::new(guard));
        self
    }
}

impl fmt::Debug for StoreUnderTest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoreUnderTest")
            .field("guarded", &self.guard.is_some())
            .finish_non_exhaustive()
    }
}

/// One `#[tokio::test]` a contract. `$make` is an async function without arguments that gives a fresh
/// [`StoreUnderTest`], or an `Option` of one where `None` means that this kind of store is not tested here.
#[macro_export]
macro_rules! store_contract {
    ($make:path) => {
        $crate::store_contract! { @each $make;
            submit: a_job_reads_back_as_it_was_submitted;
        }
    };
    (@each $make:path; $($theme:ident: $($contract:ident),+;)+) => {
        $($(
            #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
            async fn $contract() {
                let store: Option<$crate::testing::StoreUnderTest> = $make().await.into();
                if let Some(store) = store {
                    $crate::testing::store::$theme::$contract(store).await;
                }
            }
        )+)+
    };
}
