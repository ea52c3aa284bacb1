//! The Redis adapter keeps the contracts of its ports.

mod support;

use std::sync::Arc;

use adapter_redis::Redis;
use support::fresh_config;

fn open() -> Option<Arc<Redis>> {
    let config = fresh_config()?;
    Some(Arc::new(Redis::open(&config).expect("a usable URL")))
}

mod ready {
    application::ready_contract!(super::open());
}

mod locks {
    application::locks_contract!(super::open());
}

mod bus {
    application::bus_contract!(super::open());
}
