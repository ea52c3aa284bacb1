//! What happens when the broker loses queues or connections.

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use adapter_rabbitmq::{RabbitConfig, RabbitQueue};
use application::ports::{JobQueue, Wakeups};
use application::testing::Proxy;
use domain::{JobKind, QueueKey, TenantId};
use futures::future::join_all;
use lapin::options::{
    BasicGetOptions, BasicPublishOptions, ConfirmSelectOptions, QueueDeclareOptions,
    QueueDeleteOptions,
};
use lapin::types::FieldTable;
use lapin::{BasicProperties, Channel, Connection, ConnectionProperties};
use support::fresh_config;
use tokio::time::{Instant, sleep};
use uuid::Uuid;

const HAPPENS_WITHIN: Duration = Duration::from_secs(20);
const POLL_EVERY: Duration = Duration::from_millis(10);

fn key(tenant: u128) -> QueueKey {
    QueueKey {
        tenant: TenantId::from_uuid(Uuid::from_u128(tenant)),
        kind: JobKind::Session,
    }
}

fn wakeups(queue: QueueKey, n: u32) -> Vec<Wakeups> {
    vec![Wakeups { queue, n }]
}

/// A hand of one's own in the broker.
async fn own_channel(config: &RabbitConfig) -> (Connection, Channel) {
    let connection = Connection::connect(&config.url, ConnectionProperties::default())
        .await
        .expect("a connection");
    let channel = connection.create_channel().await.expect("a channel");
    (connection, channel)
}

fn name(config: &RabbitConfig, queue: QueueKey) -> String {
    format!("{}.{}.{}", config.prefix, queue.kind, queue.tenant)
}

async fn delete(config: &RabbitConfig, queue: &str) {
    let (_connection, channel) = own_channel(config).await;
    let options = QueueDeleteOptions::default();
    let deleting = channel.queue_delete(queue.into(), options);
    deleting.await.expect("a queue to delete");
}

/// A queue behind a network that can be broken.
async fn behind_proxy() -> Option<(Arc<RabbitQueue>, Proxy)> {
    let mut config = fresh_config()?;
    let proxy = Proxy::before(&config.url).await;
    config.url = proxy.url(&config.url);
    let queue = RabbitQueue::open(&config).expect("a usable URL");
    queue.check().await.expect("a healthy broker");
    Some((Arc::new(queue), proxy))
}

/// Visits and acks until so many wake-ups have come, errors aside. Returns how many came: a lost ack brings some twice.
async fn until_came(port: &RabbitQueue, queue: QueueKey, expected: u32) -> u32 {
    let deadline = Instant::now() + HAPPENS_WITHIN;
    let mut came = 0;
    while came < expected {
        assert!(Instant::now() < deadline, "{came} of {expected}");
        match port.visit(queue, 64).await {
            Ok(visit) if visit.taken > 0 => {
                came += visit.taken;
                let _ = port.ack(visit.receipt).await;
            }
            _ => sleep(POLL_EVERY).await,
        }
    }
    came
}

/// Takes a message out of the queue and says how it was sent.
async fn delivery_mode(channel: &Channel, queue: &str) -> Option<u8> {
    let getting = channel.basic_get(queue.into(), BasicGetOptions::default());
    let got = getting.await.expect("an answer").expect("a message");
    *got.properties.delivery_mode()
}

async fn until_healthy(port: &RabbitQueue) {
    let deadline = Instant::now() + HAPPENS_WITHIN;
    while let Err(error) = port.check().await {
        assert!(Instant::now() < deadline, "{error}");
        sleep(POLL_EVERY).await;
    }
}

#[tokio::test]
async fn a_queue_deleted_behind_our_back_is_made_again() {
    let Some(config) = fresh_config() else { return };
    let port = RabbitQueue::open(&config).unwrap();
    assert_eq!(port.publish(wakeups(key(1), 1)).await.unwrap(), []);
    assert_eq!(port.publish(wakeups(key(2), 1)).await.unwrap(), []);
    delete(&config, &name(&config, key(1))).await;

    // In one batch with a queue that is there: only what was returned is sent again.
    let mut batch = wakeups(key(1), 50);
    batch.extend(wakeups(key(2), 50));
    assert_eq!(port.publish(batch).await.unwrap(), []);
    assert_eq!(until_came(&port, key(1), 50).await, 50);
    assert_eq!(until_came(&port, key(2), 51).await, 51);
    for queue in [key(1), key(2)] {
        assert_eq!(port.visit(queue, 1).await.unwrap().taken, 0);
    }
}

#[tokio::test]
async fn an_idle_queue_expires_and_is_made_again() {
    let Some(config) = fresh_config() else { return };
    let config = RabbitConfig {
        idle_queue_expires: Duration::from_millis(200),
        ..config
    };
    let port = RabbitQueue::open(&config).unwrap();
    assert_eq!(port.publish(wakeups(key(1), 1)).await.unwrap(), []);
    let (connection, _) = own_channel(&config).await;
    let deadline = Instant::now() + HAPPENS_WITHIN;
    loop {
        // To look is to use, so not too often.
        sleep(config.idle_queue_expires * 3).await;
        let channel = connection.create_channel().await.unwrap();
        let options = QueueDeclareOptions {
            passive: true,
            ..QueueDeclareOptions::default()
        };
        let name = name(&config, key(1));
        let looking = channel.queue_declare(name.into(), options, FieldTable::default());
        if looking.await.is_err() {
            break;
        }
        assert!(Instant::now() < deadline, "it never expires");
    }
    assert_eq!(port.visit(key(1), 1).await.unwrap().taken, 0);
    assert_eq!(port.publish(wakeups(key(1), 1)).await.unwrap(), []);
}

#[tokio::test]
async fn a_queue_deleted_between_visits_is_empty() {
    let Some(config) = fresh_config() else { return };
    let port = RabbitQueue::open(&config).unwrap();
    assert_eq!(port.publish(wakeups(key(1), 5)).await.unwrap(), []);
    let visit = port.visit(key(1), 2).await.unwrap();
    assert_eq!(visit.taken, 2);
    delete(&config, &name(&config, key(1))).await;
    assert_eq!(port.visit(key(1), 2).await.unwrap().taken, 0);
    assert_eq!(port.depth(key(1)).await.unwrap(), 0);
    // The messages are gone with their queue, and the ack means nothing.
    port.ack(visit.receipt).await.unwrap();
    assert_eq!(port.publish(wakeups(key(1), 1)).await.unwrap(), []);
    assert_eq!(until_came(&port, key(1), 1).await, 1);
}

#[tokio::test]
async fn a_queue_that_cannot_take_messages_leaves_them_unsent() {
    let Some(config) = fresh_config() else { return };
    let (_connection, channel) = own_channel(&config).await;
    let mut arguments = FieldTable::default();
    arguments.insert("x-max-length".into(), 3.into());
    arguments.insert(
        "x-overflow".into(),
        lapin::types::AMQPValue::LongString("reject-publish".into()),
    );
    let full = name(&config, key(1));
    channel
        .queue_declare(full.into(), QueueDeclareOptions::durable(), arguments)
        .await
        .unwrap();

    // Made with other properties than ours: it is used as it is.
    let port = RabbitQueue::open(&config).unwrap();
    let mut batch = wakeups(key(2), 10);
    batch.extend(wakeups(key(1), 10));
    let unsent = port.publish(batch).await.unwrap();
    let [refused] = unsent.as_slice() else {
        panic!("{unsent:?}");
    };
    assert_eq!(refused.queue, key(1));
    assert!((5..10).contains(&refused.n), "{refused:?}");
    assert_eq!(port.depth(key(1)).await.unwrap(), 10 - refused.n);
    assert_eq!(until_came(&port, key(2), 10).await, 10);
}

#[tokio::test]
async fn messages_are_persistent_and_queues_durable() {
    let Some(config) = fresh_config() else { return };
    let port = RabbitQueue::open(&config).unwrap();
    assert_eq!(port.publish(wakeups(key(1), 1)).await.unwrap(), []);

    let (_connection, channel) = own_channel(&config).await;
    let name = name(&config, key(1));
    assert_eq!(delivery_mode(&channel, &name).await, Some(2));
    // Declaring it as one that does not survive a restart is refused: it is durable.
    let transient = QueueDeclareOptions::default();
    let refused = channel
        .queue_declare(name.into(), transient, FieldTable::default())
        .await;
    assert!(refused.unwrap_err().to_string().contains("durable"));
}

#[tokio::test]
async fn where_wakeups_are_lost_with_the_broker_so_is_the_marker() {
    let Some(config) = fresh_config() else { return };
    for (persistent, expected) in [(true, 2), (false, 1)] {
        let config = RabbitConfig {
            persistent,
            prefix: format!("{}-{persistent}", config.prefix),
            ..config.clone()
        };
        let port = RabbitQueue::open(&config).unwrap();
        assert_eq!(port.publish(wakeups(key(1), 1)).await.unwrap(), []);
        port.set_marker().await.unwrap();

        let marker = format!("{}.marker", config.prefix);
        let (connection, channel) = own_channel(&config).await;
        let wakeup = delivery_mode(&channel, &name(&config, key(1))).await;
        let mark = delivery_mode(&channel, &marker).await;
        assert_eq!((wakeup, mark), (Some(expected), Some(expected)));
        // Taken out of its queue, as a restart would: the marker is gone, though its queue is not.
        assert!(!port.has_marker().await.unwrap());
        drop((channel, connection));
        delete(&config, &marker).await;
    }
}

#[tokio::test]
async fn another_process_sees_messages_and_marker() {
    let Some(config) = fresh_config() else { return };
    let one = RabbitQueue::open(&config).unwrap();
    assert!(!one.has_marker().await.unwrap());
    one.set_marker().await.unwrap();
    assert_eq!(one.publish(wakeups(key(1), 3)).await.unwrap(), []);
    let held = one.visit(key(1), 1).await.unwrap();
    assert_eq!(held.taken, 1);

    let other = RabbitQueue::open(&config).unwrap();
    assert!(other.has_marker().await.unwrap());
    assert_eq!(other.depth(key(1)).await.unwrap(), 2);
    let visit = other.visit(key(1), 10).await.unwrap();
    assert_eq!(visit.taken, 2);
    other.ack(visit.receipt).await.unwrap();
    // What a process held that is gone comes to the others.
    drop(one);
    assert_eq!(until_came(&other, key(1), 1).await, 1);

    delete(&config, &format!("{}.marker", config.prefix)).await;
    assert!(!other.has_marker().await.unwrap());
}

#[tokio::test]
async fn a_visit_that_its_caller_lost_gives_its_messages_back() {
    let Some(config) = fresh_config() else { return };
    let config = RabbitConfig {
        visit_held_max: Duration::from_millis(200),
        ..config
    };
    let port = RabbitQueue::open(&config).unwrap();
    assert_eq!(port.publish(wakeups(key(1), 3)).await.unwrap(), []);
    let lost = port.visit(key(1), 3).await.unwrap();
    assert_eq!(lost.taken, 3);
    assert_eq!(until_came(&port, key(1), 3).await, 3);
    let error = port.ack(lost.receipt).await.unwrap_err().to_string();
    assert!(error.contains("too long"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_visits_than_channels_wait_for_each_other() {
    let Some(config) = fresh_config() else { return };
    let port = Arc::new(RabbitQueue::open(&config).unwrap());
    // Few at once: they come in messages of their own.
    for _ in 0..40 {
        assert_eq!(port.publish(wakeups(key(1), 5)).await.unwrap(), []);
    }
    let visits = (0..200).map(|_| {
        let port = Arc::clone(&port);
        tokio::spawn(async move {
            let visit = port.visit(key(1), 1).await.unwrap();
            tokio::task::yield_now().await;
            port.ack(visit.receipt).await.unwrap();
            visit.taken
        })
    });
    let came = join_all(visits).await.into_iter().map(Result::unwrap);
    assert_eq!(came.sum::<u32>(), 200);
}

#[tokio::test]
async fn what_a_message_stands_for_beyond_a_visit_goes_back() {
    let Some(config) = fresh_config() else { return };
    let port = RabbitQueue::open(&config).unwrap();
    assert_eq!(port.publish(wakeups(key(1), 1_000)).await.unwrap(), []);
    let depth = port.depth(key(1)).await.unwrap();
    assert!(
        (1..100).contains(&depth),
        "1,000 wake-ups in {depth} messages"
    );
    let visit = port.visit(key(1), 10).await.unwrap();
    assert_eq!((visit.taken, visit.beyond), (10, true));
    port.ack(visit.receipt).await.unwrap();
    let visit = port.visit(key(1), 100).await.unwrap();
    assert_eq!(visit.taken, 100);
    port.give_back(visit.receipt).await.unwrap();
    assert_eq!(until_came(&port, key(1), 990).await, 990);
}

#[tokio::test]
async fn messages_of_an_older_version_are_wakeups() {
    let Some(config) = fresh_config() else { return };
    let port = RabbitQueue::open(&config).unwrap();
    assert_eq!(port.publish(wakeups(key(1), 1)).await.unwrap(), []);
    let (_connection, channel) = own_channel(&config).await;
    let options = ConfirmSelectOptions::default();
    channel.confirm_select(options).await.unwrap();
    // Those named a job in their body; one that names nothing counts as well.
    let job = Uuid::from_u128(7);
    for body in [job.as_bytes().as_slice(), b"what is this", b""] {
        let confirm = channel
            .basic_publish(
                "".into(),
                name(&config, key(1)).into(),
                BasicPublishOptions::default(),
                body,
                BasicProperties::default().with_delivery_mode(2),
            )
            .await
            .unwrap();
        assert!(confirm.await.unwrap().is_ack());
    }
    assert_eq!(port.depth(key(1)).await.unwrap(), 4);
    let visit = port.visit(key(1), 10).await.unwrap();
    assert_eq!(visit.taken, 4);
    port.ack(visit.receipt).await.unwrap();
    assert_eq!(port.visit(key(1), 5).await.unwrap().taken, 0);
}

#[tokio::test]
async fn everything_works_again_after_the_connections_were_cut() {
    let Some((port, proxy)) = behind_proxy().await else {
        return;
    };
    for round in 0..4 {
        let mut to_send = wakeups(key(round), 10);
        let deadline = Instant::now() + HAPPENS_WITHIN;
        while !to_send.is_empty() {
            assert!(Instant::now() < deadline);
            to_send = port.publish(to_send.clone()).await.unwrap_or(to_send);
        }
        let held = port.visit(key(round), 5).await;
        proxy.cut();
        if let Ok(held) = held {
            // Its channel is gone, and its messages are back.
            let _ = port.ack(held.receipt).await;
        }
        until_came(&port, key(round), 10).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_that_was_reported_sent_is_lost_when_connections_break() {
    let Some((port, proxy)) = behind_proxy().await else {
        return;
    };
    let accepted = Arc::new(AtomicU32::new(0));
    let publisher = {
        let (port, accepted) = (Arc::clone(&port), Arc::clone(&accepted));
        tokio::spawn(async move {
            // A queue a batch: what one lost is not made up for by what another sent twice.
            let mut sent = Vec::new();
            for batch in 0..40 {
                if let Ok(unsent) = port.publish(wakeups(key(batch), 100)).await {
                    let unsent: u32 = unsent.iter().map(|wakeups| wakeups.n).sum();
                    sent.push((key(batch), 100 - unsent));
                    accepted.fetch_add(100 - unsent, Ordering::Relaxed);
                }
            }
            sent
        })
    };
    // A machine that connects slower than it is cut off would never send anything: each cut waits for what came through.
    let mut cuts = 0;
    while !publisher.is_finished() {
        sleep(Duration::from_millis(20)).await;
        if accepted.swap(0, Ordering::Relaxed) > 0 {
            proxy.cut();
            cuts += 1;
        }
    }
    let sent = publisher.await.unwrap();
    assert!(
        cuts > 0 && sent.iter().any(|(_, n)| *n > 0),
        "{cuts} cuts, {sent:?}"
    );
    for (queue, n) in sent {
        until_came(&port, queue, n).await;
    }
}

#[tokio::test]
async fn an_outage_is_an_error_in_words_and_then_over() {
    let Some((port, proxy)) = behind_proxy().await else {
        return;
    };
    assert_eq!(port.publish(wakeups(key(1), 1)).await.unwrap(), []);
    proxy.take_down();
    let began = Instant::now();
    let error = loop {
        assert!(began.elapsed() < HAPPENS_WITHIN);
        if let Err(error) = port.visit(key(1), 1).await {
            break error.to_string();
        }
    };
    assert!(
        error.starts_with("the queue is not available: RabbitMQ"),
        "{error}"
    );
    // None were sent, whether the connection was still thought to be there or not.
    match port.publish(wakeups(key(1), 1)).await {
        Ok(unsent) => assert_eq!(unsent, wakeups(key(1), 1)),
        Err(error) => assert!(error.to_string().contains("RabbitMQ")),
    }
    assert!(port.has_marker().await.is_err());
    assert!(port.set_marker().await.is_err());
    assert!(port.check().await.is_err());

    proxy.bring_up();
    until_healthy(&port).await;
    assert_eq!(port.publish(wakeups(key(1), 1)).await.unwrap(), []);
    until_came(&port, key(1), 2).await;
}

#[tokio::test]
async fn a_broker_that_is_not_there_does_not_stop_a_start() {
    let Some(config) = fresh_config() else { return };
    let config = RabbitConfig {
        url: "amqp://127.0.0.1:1/%2f".to_owned(),
        ..config
    };
    let port = RabbitQueue::open(&config).unwrap();
    for _ in 0..3 {
        let error = port.check().await.unwrap_err().to_string();
        assert!(error.contains("RabbitMQ"), "{error}");
    }
    let unusable = RabbitConfig {
        url: "http://secret@host".to_owned(),
        ..config
    };
    let error = RabbitQueue::open(&unusable).err().unwrap().to_string();
    assert!(
        error.contains("amqp") && !error.contains("secret"),
        "{error}"
    );
}
