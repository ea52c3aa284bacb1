//! The RabbitMQ adapter keeps the contract of its port, with either type of queue.

mod support;

use std::sync::Arc;

use adapter_rabbitmq::{RabbitConfig, RabbitQueue};
use application::ports::JobQueue;
use support::fresh_config;

mod classic {
    use super::{Arc, JobQueue, RabbitQueue, fresh_config};

    async fn open() -> Option<Arc<dyn JobQueue>> {
        Some(Arc::new(RabbitQueue::open(&fresh_config()?).unwrap()))
    }

    application::queue_contract!(open);
}

mod quorum {
    use super::{Arc, JobQueue, RabbitConfig, RabbitQueue, fresh_config};

    async fn open() -> Option<Arc<dyn JobQueue>> {
        let config = RabbitConfig {
            quorum: true,
            ..fresh_config()?
        };
        Some(Arc::new(RabbitQueue::open(&config).unwrap()))
    }

    application::queue_contract!(open);
}
