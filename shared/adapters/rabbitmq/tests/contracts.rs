//! The RabbitMQ adapter keeps the contract of its port, with either type of queue.

mod support;

use std::sync::Arc;

use adapter_rabbitmq::{RabbitConfig, RabbitQueue};
use support::fresh_config;

fn open(quorum: bool) -> Option<Arc<RabbitQueue>> {
    let config = RabbitConfig {
        quorum,
        ..fresh_config()?
    };
    Some(Arc::new(RabbitQueue::open(&config).expect("a usable URL")))
}

mod classic {
    application::queue_contract!(super::open(false));
}

mod quorum {
    application::queue_contract!(super::open(true));
}
