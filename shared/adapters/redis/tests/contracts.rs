//! The Redis adapter keeps the contracts of its ports.

mod support;

use std::sync::Arc;

use adapter_redis::Redis;
use support::fresh_config;

fn open_redis() -> Option<Arc<Redis>> {
    let config = fresh_config()?;
    Some(Arc::new(Redis::open(&config).expect("the URL is usable")))
}

mod ready {
    use std::sync::Arc;

    use application::ports::ReadySet;

    async fn open() -> Option<Arc<dyn ReadySet>> {
        Some(super::open_redis()?)
    }

    application::ready_contract!(open);
}

mod locks {
    use std::sync::Arc;

    use application::ports::Locks;

    async fn open() -> Option<Arc<dyn Locks>> {
        Some(super::open_redis()?)
    }

    application::locks_contract!(open);
}

mod bus {
    use std::sync::Arc;

    use application::ports::EventBus;

    async fn open() -> Option<Arc<dyn EventBus>> {
        Some(super::open_redis()?)
    }

    application::bus_contract!(open);
}
