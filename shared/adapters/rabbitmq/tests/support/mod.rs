//! What these tests share.

use adapter_rabbitmq::RabbitConfig;
use application::testing::service_url;

/// Queues of nobody else; `None` when services are not wanted.
pub fn fresh_config() -> Option<RabbitConfig> {
    Some(RabbitConfig {
        url: service_url("AMQP_URL")?,
        prefix: format!("test-{:016x}", fastrand::u64(..)),
        quorum: false,
        visit_held_max: RabbitConfig::VISIT_HELD_MAX,
    })
}
