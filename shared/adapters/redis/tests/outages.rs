//! What happens when Redis loses its data or its connections.

mod support;

use std::time::Duration;

use adapter_redis::{Redis, RedisConfig};
use application::ports::{
    EventBus, Found, Interest, LockState, Locks, Pick, ReadySet, Signal, Visited,
};
use application::testing::Proxy;
use domain::{JobId, JobKind, QueueKey, SlotSnapshot, TenantId};
use futures::StreamExt;
use support::fresh_config;
use tokio::time::{Instant, sleep, timeout};
use uuid::Uuid;

const HAPPENS_WITHIN: Duration = Duration::from_secs(20);
const POLL_EVERY: Duration = Duration::from_millis(10);
const TTL: Duration = Duration::from_mins(1);

fn queue(number: u128) -> QueueKey {
    QueueKey {
        tenant: TenantId::from_uuid(Uuid::from_u128(number)),
        kind: JobKind::Session,
    }
}

fn snapshot(tenant: u128, version: i64) -> SlotSnapshot {
    SlotSnapshot {
        queue: queue(tenant),
        version,
        weight: 1,
        quota: 10,
        running: 0,
        queued: 5,
        due: 5,
        published: 5,
        paused: false,
        service_seconds: 1.0,
    }
}

fn changed(job: u128) -> Signal {
    Signal::JobChanged {
        tenant: queue(1).tenant,
        job: JobId::from_uuid(Uuid::from_u128(job)),
    }
}

async fn pick(redis: &Redis) -> Pick {
    redis.pick(&JobKind::ALL, 1).await.expect("pick")
}

/// Removes all that this test wrote, as a `FLUSHALL` would.
async fn wipe(config: &RedisConfig) {
    let client = redis::Client::open(config.url.as_str()).expect("a usable URL");
    let mut connection = client
        .get_multiplexed_async_connection()
        .await
        .expect("a connection");
    let keys: Vec<String> = redis::cmd("KEYS")
        .arg(format!("*{}*", config.prefix))
        .query_async(&mut connection)
        .await
        .expect("KEYS");
    assert!(!keys.is_empty());
    let () = redis::cmd("DEL")
        .arg(keys)
        .query_async(&mut connection)
        .await
        .expect("DEL");
}

/// A Redis behind a network that can be broken.
async fn behind_proxy() -> Option<(Redis, Proxy)> {
    let mut config = fresh_config()?;
    let proxy = Proxy::before(&config.url).await;
    config.url = proxy.url(&config.url);
    let redis = Redis::open(&config).expect("a usable URL");
    redis.check().await.expect("a healthy Redis");
    Some((redis, proxy))
}

async fn until_healthy(redis: &Redis) {
    let deadline = Instant::now() + HAPPENS_WITHIN;
    while let Err(error) = redis.check().await {
        assert!(Instant::now() < deadline, "{error}");
        sleep(POLL_EVERY).await;
    }
}

#[tokio::test]
async fn an_emptied_redis_is_blank_until_it_is_rebuilt() {
    let Some(config) = fresh_config() else { return };
    let redis = Redis::open(&config).unwrap();
    redis.rebuild(&[snapshot(1, 1)]).await.unwrap();
    assert!(matches!(pick(&redis).await, Pick::Queue { .. }));

    wipe(&config).await;
    assert_eq!(pick(&redis).await, Pick::Blank);
    redis.note(&[snapshot(2, 1)]).await.unwrap();
    assert_eq!(pick(&redis).await, Pick::Blank);

    redis
        .rebuild(&[snapshot(1, 1), snapshot(2, 1)])
        .await
        .unwrap();
    let (one, two) = (pick(&redis).await, pick(&redis).await);
    let picked = |tenant| Pick::Queue {
        queue: queue(tenant),
        n: 1,
        estimate: 1.0,
    };
    assert_eq!([one, two], [picked(1), picked(2)]);
}

#[tokio::test]
async fn an_emptied_redis_gives_locks_anew() {
    let Some(config) = fresh_config() else { return };
    let redis = Redis::open(&config).unwrap();
    let held = redis.acquire("gpu", "a", TTL).await.unwrap();
    assert_eq!(held, LockState::Held);
    wipe(&config).await;
    assert!(!redis.renew("gpu", "a", TTL).await.unwrap());
    let held = redis.acquire("gpu", "b", TTL).await.unwrap();
    assert_eq!(held, LockState::Held);
}

#[tokio::test]
async fn what_one_process_notes_wakes_another() {
    let Some(config) = fresh_config() else { return };
    let here = Redis::open(&config).unwrap();
    let there = Redis::open(&config).unwrap();
    here.check().await.unwrap();
    there.rebuild(&[]).await.unwrap();
    there.check().await.unwrap();

    let mut wakeups = there.wakeups();
    wakeups.mark_unchanged();
    assert_eq!(pick(&there).await, Pick::Nothing);
    here.note(&[snapshot(1, 1)]).await.unwrap();
    timeout(HAPPENS_WITHIN, async {
        while pick(&there).await == Pick::Nothing {
            wakeups.changed().await.unwrap();
        }
    })
    .await
    .expect("the wake-up came");
}

#[tokio::test]
async fn the_later_of_two_rebuilds_at_once_completes() {
    let Some(config) = fresh_config() else { return };
    let redis = Redis::open(&config).unwrap();
    let slots: Vec<SlotSnapshot> = (0..2_000).map(|tenant| snapshot(tenant, 1)).collect();
    for outcome in futures::future::join_all((0..4).map(|_| redis.rebuild(&slots))).await {
        outcome.unwrap();
    }
    let mut queues = std::collections::HashSet::new();
    for _ in 0..2_000 {
        match pick(&redis).await {
            Pick::Queue { queue, .. } => assert!(queues.insert(queue)),
            other => panic!("{other:?} after {} picks", queues.len()),
        }
    }
}

#[tokio::test]
async fn commands_go_on_after_the_connection_was_cut() {
    let Some((redis, proxy)) = behind_proxy().await else {
        return;
    };
    redis.rebuild(&[snapshot(1, 1)]).await.unwrap();
    for version in 2..8 {
        proxy.cut();
        // Repeated once by itself, so nobody notices.
        redis.note(&[snapshot(1, version)]).await.unwrap();
        let Pick::Queue { queue, n, estimate } = pick(&redis).await else {
            panic!("version {version} was not noted");
        };
        let visited = Visited {
            queue,
            n,
            claimed: n,
            estimate,
            found: Found::Something,
        };
        redis.visited(visited).await.unwrap();
    }
}

#[tokio::test]
async fn an_outage_is_an_error_in_words_and_then_over() {
    let Some((redis, proxy)) = behind_proxy().await else {
        return;
    };
    redis.rebuild(&[snapshot(1, 1)]).await.unwrap();
    proxy.take_down();
    for _ in 0..3 {
        let began = Instant::now();
        assert!(redis.pick(&JobKind::ALL, 1).await.is_err());
        assert!(began.elapsed() < Duration::from_secs(5));
    }
    let error = redis.note(&[snapshot(1, 2)]).await.unwrap_err();
    let error = error.to_string();
    assert!(
        error.starts_with("coordination is not available: Redis"),
        "{error}"
    );
    assert!(redis.publish(vec![changed(1)]).await.is_err());
    assert!(redis.check().await.is_err());

    proxy.bring_up();
    until_healthy(&redis).await;
    assert!(matches!(pick(&redis).await, Pick::Queue { .. }));
}

#[tokio::test]
async fn subscribers_are_told_of_an_outage_and_hear_again() {
    let Some((redis, proxy)) = behind_proxy().await else {
        return;
    };
    let interest = Interest::Tenant(queue(1).tenant);
    let mut before = redis.subscribe(interest).await.unwrap();
    let mut wakeups = redis.wakeups();
    wakeups.mark_unchanged();

    proxy.take_down();
    // Most likely nobody has noticed the outage yet, and in either case it must end well.
    let during = timeout(HAPPENS_WITHIN, redis.subscribe(interest));
    let mut during = during.await.expect("no wait for the outage's end").unwrap();
    proxy.bring_up();

    for stream in [&mut before, &mut during] {
        let missed = timeout(HAPPENS_WITHIN, stream.next()).await.unwrap();
        assert_eq!(missed, Some(Signal::Missed));
    }
    timeout(HAPPENS_WITHIN, wakeups.changed())
        .await
        .expect("pickers look for what they missed")
        .unwrap();
    redis.publish(vec![changed(7)]).await.unwrap();
    for stream in [&mut before, &mut during] {
        let signal = timeout(HAPPENS_WITHIN, stream.next()).await.unwrap();
        assert_eq!(signal, Some(changed(7)));
    }
}

#[tokio::test]
async fn what_was_noted_during_an_outage_of_the_listener_is_found() {
    let Some((redis, proxy)) = behind_proxy().await else {
        return;
    };
    redis.rebuild(&[]).await.unwrap();
    let mut wakeups = redis.wakeups();
    for version in 1..10 {
        wakeups.mark_unchanged();
        assert_eq!(pick(&redis).await, Pick::Nothing);
        proxy.cut();
        redis.note(&[snapshot(1, version)]).await.unwrap();
        timeout(HAPPENS_WITHIN, wakeups.changed())
            .await
            .expect("a wake-up was lost")
            .unwrap();
        while pick(&redis).await != Pick::Nothing {}
    }
}

#[tokio::test]
async fn a_redis_that_is_not_there_does_not_stop_a_start() {
    if fresh_config().is_none() {
        return;
    }
    let config = RedisConfig {
        url: "redis://127.0.0.1:1".to_owned(),
        prefix: "test".to_owned(),
    };
    let redis = Redis::open(&config).unwrap();
    let error = redis.check().await.unwrap_err().to_string();
    assert!(error.contains("Redis"), "{error}");
}

#[tokio::test]
async fn what_cannot_be_used_is_refused_in_words() {
    let config = |url: &str, prefix: &str| RedisConfig {
        url: url.to_owned(),
        prefix: prefix.to_owned(),
    };
    let error = |config| Redis::open(&config).err().unwrap().to_string();
    assert!(error(config("http://secret@host", "a")).contains("redis://"));
    assert!(!error(config("http://secret@host", "a")).contains("secret"));
    assert!(error(config("redis://host", "a{b}")).contains("braces"));
    assert!(error(config("redis://host", "")).contains("empty"));
}
