//! What these tests share.

use adapter_redis::RedisConfig;
use application::testing::service_url;

/// Keys of nobody else; `None` when services are not wanted. What a test leaves behind is small, and gone with the
/// private server.
pub fn fresh_config() -> Option<RedisConfig> {
    Some(RedisConfig {
        url: service_url("REDIS_URL")?,
        prefix: format!("test-{:016x}", fastrand::u64(..)),
    })
}
