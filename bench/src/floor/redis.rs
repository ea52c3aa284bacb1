//! Redis: scripts like those that keep the turns, many at once on one connection.

use std::time::Instant;

use redis::Script;
use redis::aio::MultiplexedConnection;

use super::{TIME, rate};
use crate::outcome::Outcome;
use crate::progress::Progress;

const AT_ONCE: usize = 64;
/// Takes the lowest of a sorted set and puts it back further behind.
const SCRIPT: &str = "\
local lowest = redis.call('ZPOPMIN', KEYS[1])
redis.call('ZADD', KEYS[1], lowest[2] + 1, lowest[1])
return lowest[1]";
const MEMBERS: u32 = 100;

pub async fn measure(url: &str, outcome: &mut Outcome, progress: &Progress) -> anyhow::Result<()> {
    let client = redis::Client::open(url)?;
    let mut connection = client.get_multiplexed_async_connection().await?;
    let key = format!("bench-floor-{:012x}", fastrand::u64(..) >> 16);
    for member in 0..MEMBERS {
        let mut add = redis::cmd("ZADD");
        add.arg(&key)
            .arg(member)
            .arg(member)
            .exec_async(&mut connection)
            .await?;
    }
    let measured = calls(&connection, &key).await;
    redis::cmd("DEL")
        .arg(&key)
        .exec_async(&mut connection)
        .await?;
    outcome.figure("redis_script_calls_s", measured?);
    progress.add(1);
    Ok(())
}

async fn calls(connection: &MultiplexedConnection, key: &str) -> anyhow::Result<f64> {
    let script = Script::new(SCRIPT);
    let began = Instant::now();
    let loops = (0..AT_ONCE).map(async |_| {
        let (mut connection, mut count) = (connection.clone(), 0);
        while began.elapsed() < TIME {
            let _: String = script.key(key).invoke_async(&mut connection).await?;
            count += 1;
        }
        Ok::<u64, redis::RedisError>(count)
    });
    let counts = futures::future::try_join_all(loops).await?;
    Ok(rate(counts.iter().sum(), began))
}
