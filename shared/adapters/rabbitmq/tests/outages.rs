//! What happens when the broker loses queues or connections.

mod support;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use adapter_rabbitmq::{RabbitConfig, RabbitQueue};
use application::ports::{JobQueue, Message};
use application::testing::Proxy;
use domain::{JobId, JobKind, Priority, QueueKey, TenantId};
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

fn job(number: u128) -> JobId {
    JobId::from_uuid(Uuid::from_u128(number))
}

fn messages(queue: QueueKey, numbers: impl IntoIterator<Item = u128>) -> Vec<Message> {
    numbers
        .into_iter()
        .map(|number| Message {
            queue,
            job: job(number),
            priority: Priority::Medium,
        })
        .collect()
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

/// Visits and acks until these jobs have come, errors and duplicates aside.
async fn until_all_came(port: &RabbitQueue, queue: QueueKey, expected: HashSet<JobId>) {
    let deadline = Instant::now() + HAPPENS_WITHIN;
    let mut came = HashSet::new();
    while came != expected {
        assert!(
            Instant::now() < deadline,
            "{} of {}",
            came.len(),
            expected.len()
        );
        match port.visit(queue, 64).await {
            Ok(visit) => {
                if visit.jobs.is_empty() {
                    sleep(POLL_EVERY).await;
                }
                came.extend(visit.jobs);
                // A lost ack brings the messages once more.
                let _ = port.ack(visit.receipt).await;
            }
            Err(_) => sleep(POLL_EVERY).await,
        }
    }
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
    assert_eq!(port.publish(messages(key(1), [1])).await.unwrap(), []);
    assert_eq!(port.publish(messages(key(2), [2])).await.unwrap(), []);
    delete(&config, &name(&config, key(1))).await;

    // In one batch with a queue that is there: only what was returned is sent again.
    let mut batch = messages(key(1), 10..60);
    batch.extend(messages(key(2), 60..110));
    assert_eq!(port.publish(batch).await.unwrap(), []);
    until_all_came(&port, key(1), (10..60).map(job).collect()).await;
    let second = port.visit(key(2), 64).await.unwrap();
    let expected: Vec<JobId> = [2].into_iter().chain(60..110).map(job).collect();
    assert_eq!(second.jobs, expected);
}

#[tokio::test]
async fn an_idle_queue_expires_and_is_made_again() {
    let Some(config) = fresh_config() else { return };
    let config = RabbitConfig {
        idle_queue_expires: Duration::from_millis(200),
        ..config
    };
    let port = RabbitQueue::open(&config).unwrap();
    assert_eq!(port.publish(messages(key(1), [1])).await.unwrap(), []);
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
    assert!(port.visit(key(1), 1).await.unwrap().jobs.is_empty());
    assert_eq!(port.publish(messages(key(1), [2])).await.unwrap(), []);
}

#[tokio::test]
async fn a_queue_deleted_between_visits_is_empty() {
    let Some(config) = fresh_config() else { return };
    let port = RabbitQueue::open(&config).unwrap();
    assert_eq!(port.publish(messages(key(1), 0..5)).await.unwrap(), []);
    let visit = port.visit(key(1), 2).await.unwrap();
    assert_eq!(visit.jobs.len(), 2);
    delete(&config, &name(&config, key(1))).await;
    assert!(port.visit(key(1), 2).await.unwrap().jobs.is_empty());
    // The messages are gone with their queue, and the ack means nothing.
    port.ack(visit.receipt).await.unwrap();
    assert_eq!(port.publish(messages(key(1), [9])).await.unwrap(), []);
    until_all_came(&port, key(1), HashSet::from([job(9)])).await;
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
    let mut batch = messages(key(2), 100..110);
    batch.extend(messages(key(1), 0..10));
    let unsent = port.publish(batch).await.unwrap();
    assert!(
        unsent.iter().all(|message| message.queue == key(1)),
        "{unsent:?}"
    );
    let sent = 10 - unsent.len();
    let visit = port.visit(key(1), 64).await.unwrap();
    assert_eq!(visit.jobs.len(), sent);
    assert!(unsent.len() >= 5, "{unsent:?}");
    assert!(
        unsent
            .iter()
            .all(|message| !visit.jobs.contains(&message.job))
    );
    until_all_came(&port, key(2), (100..110).map(job).collect()).await;
}

#[tokio::test]
async fn messages_are_persistent_and_queues_durable() {
    let Some(config) = fresh_config() else { return };
    let port = RabbitQueue::open(&config).unwrap();
    assert_eq!(port.publish(messages(key(1), [1])).await.unwrap(), []);

    let (_connection, channel) = own_channel(&config).await;
    let name = name(&config, key(1));
    let got = channel
        .basic_get(name.as_str().into(), BasicGetOptions::default())
        .await
        .unwrap()
        .unwrap();
    assert_eq!(*got.properties.delivery_mode(), Some(2));
    assert_eq!(got.data, job(1).as_uuid().as_bytes());
    // Declaring it as one that does not survive a restart is refused: it is durable.
    let transient = QueueDeclareOptions::default();
    let refused = channel
        .queue_declare(name.into(), transient, FieldTable::default())
        .await;
    assert!(refused.unwrap_err().to_string().contains("durable"));
}

#[tokio::test]
async fn another_process_sees_messages_and_marker() {
    let Some(config) = fresh_config() else { return };
    let one = RabbitQueue::open(&config).unwrap();
    assert!(!one.has_marker().await.unwrap());
    one.set_marker().await.unwrap();
    assert_eq!(one.publish(messages(key(1), 0..3)).await.unwrap(), []);
    let held = one.visit(key(1), 1).await.unwrap();
    assert_eq!(held.jobs, [job(0)]);

    let other = RabbitQueue::open(&config).unwrap();
    assert!(other.has_marker().await.unwrap());
    let visit = other.visit(key(1), 10).await.unwrap();
    assert_eq!(visit.jobs, [job(1), job(2)]);
    other.ack(visit.receipt).await.unwrap();
    // What a process held that is gone comes to the others.
    drop(one);
    until_all_came(&other, key(1), HashSet::from([job(0)])).await;

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
    assert_eq!(port.publish(messages(key(1), 0..3)).await.unwrap(), []);
    let lost = port.visit(key(1), 3).await.unwrap();
    assert_eq!(lost.jobs.len(), 3);
    until_all_came(&port, key(1), (0..3).map(job).collect()).await;
    let error = port.ack(lost.receipt).await.unwrap_err().to_string();
    assert!(error.contains("too long"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_visits_than_channels_wait_for_each_other() {
    let Some(config) = fresh_config() else { return };
    let port = Arc::new(RabbitQueue::open(&config).unwrap());
    assert_eq!(port.publish(messages(key(1), 0..200)).await.unwrap(), []);
    let visits = (0..200).map(|_| {
        let port = Arc::clone(&port);
        tokio::spawn(async move {
            let visit = port.visit(key(1), 1).await.unwrap();
            tokio::task::yield_now().await;
            port.ack(visit.receipt).await.unwrap();
            visit.jobs
        })
    });
    let came: HashSet<JobId> = join_all(visits)
        .await
        .into_iter()
        .flat_map(Result::unwrap)
        .collect();
    assert_eq!(came.len(), 200);
}

#[tokio::test]
async fn a_message_that_names_no_job_is_thrown_away() {
    let Some(config) = fresh_config() else { return };
    let port = RabbitQueue::open(&config).unwrap();
    assert_eq!(port.publish(messages(key(1), [1])).await.unwrap(), []);
    let (_connection, channel) = own_channel(&config).await;
    let options = ConfirmSelectOptions::default();
    channel.confirm_select(options).await.unwrap();
    for _ in 0..2 {
        let confirm = channel
            .basic_publish(
                "".into(),
                name(&config, key(1)).into(),
                BasicPublishOptions::default(),
                b"what is this",
                BasicProperties::default(),
            )
            .await
            .unwrap();
        assert!(confirm.await.unwrap().is_ack());
    }
    let visit = port.visit(key(1), 2).await.unwrap();
    assert_eq!(visit.jobs, [job(1)]);
    port.ack(visit.receipt).await.unwrap();
    // The other one is all there is.
    assert!(port.visit(key(1), 5).await.unwrap().jobs.is_empty());
}

#[tokio::test]
async fn everything_works_again_after_the_connections_were_cut() {
    let Some((port, proxy)) = behind_proxy().await else {
        return;
    };
    for round in 0..4 {
        let numbers = round * 10..round * 10 + 10;
        let mut to_send = messages(key(1), numbers.clone());
        let deadline = Instant::now() + HAPPENS_WITHIN;
        while !to_send.is_empty() {
            assert!(Instant::now() < deadline);
            to_send = port.publish(to_send.clone()).await.unwrap_or(to_send);
        }
        let held = port.visit(key(1), 5).await;
        proxy.cut();
        if let Ok(held) = held {
            // Its channel is gone, and its messages are back.
            let _ = port.ack(held.receipt).await;
        }
        until_all_came(&port, key(1), numbers.map(job).collect()).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_that_was_reported_sent_is_lost_when_connections_break() {
    let Some((port, proxy)) = behind_proxy().await else {
        return;
    };
    let publisher = {
        let port = Arc::clone(&port);
        tokio::spawn(async move {
            let mut sent = HashSet::new();
            for batch in 0..40 {
                let batch = messages(key(1), batch * 100..batch * 100 + 100);
                let all: HashSet<JobId> = batch.iter().map(|message| message.job).collect();
                if let Ok(unsent) = port.publish(batch).await {
                    let unsent = unsent.iter().map(|message| message.job).collect();
                    sent.extend(all.difference(&unsent).copied());
                }
            }
            sent
        })
    };
    while !publisher.is_finished() {
        sleep(Duration::from_millis(50)).await;
        proxy.cut();
    }
    let sent = publisher.await.unwrap();
    assert!(!sent.is_empty());
    let deadline = Instant::now() + HAPPENS_WITHIN;
    let mut came = HashSet::new();
    while !came.is_superset(&sent) {
        assert!(Instant::now() < deadline, "of {} sent", sent.len());
        if let Ok(visit) = port.visit(key(1), 64).await {
            came.extend(visit.jobs);
            let _ = port.ack(visit.receipt).await;
        }
    }
}

#[tokio::test]
async fn an_outage_is_an_error_in_words_and_then_over() {
    let Some((port, proxy)) = behind_proxy().await else {
        return;
    };
    assert_eq!(port.publish(messages(key(1), [1])).await.unwrap(), []);
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
    match port.publish(messages(key(1), [2])).await {
        Ok(unsent) => assert_eq!(unsent, messages(key(1), [2])),
        Err(error) => assert!(error.to_string().contains("RabbitMQ")),
    }
    assert!(port.has_marker().await.is_err());
    assert!(port.set_marker().await.is_err());
    assert!(port.check().await.is_err());

    proxy.bring_up();
    until_healthy(&port).await;
    assert_eq!(port.publish(messages(key(1), [3])).await.unwrap(), []);
    until_all_came(&port, key(1), HashSet::from([job(1), job(3)])).await;
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
