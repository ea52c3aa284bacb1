//! What these tests share.

use std::time::Duration;

use adapter_rabbitmq::RabbitConfig;
use application::testing::service_url;

/// Longer than any test; the queues that tests leave behind are gone soon after.
const EXPIRES: Duration = Duration::from_mins(2);

/// Queues of nobody else; `None` when services are not wanted.
pub fn fresh_config() -> Option<RabbitConfig> {
    Some(RabbitConfig {
        url: service_url("AMQP_URL")?,
        prefix: format!("test-{:016x}", fastrand::u64(..)),
        quorum: false,
        persistent: RabbitConfig::PERSISTENT,
        idle_queue_expires: EXPIRES,
        visit_held_max: RabbitConfig::VISIT_HELD_MAX,
    })
}
