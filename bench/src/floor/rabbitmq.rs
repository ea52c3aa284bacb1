//! RabbitMQ: persistent messages to a durable queue, confirmed, in a sliding window; and taking them back.

use std::collections::VecDeque;
use std::time::Instant;

use futures::{StreamExt as _, stream};
use lapin::options::{
    BasicAckOptions, BasicConsumeOptions, BasicPublishOptions, BasicQosOptions,
    ConfirmSelectOptions, QueueDeclareOptions, QueueDeleteOptions,
};
use lapin::types::FieldTable;
use lapin::{BasicProperties, Channel, Connection, ConnectionProperties};

use super::{TIME, rate};
use crate::outcome::Outcome;
use crate::progress::Progress;

/// Confirms awaited at once.
const WINDOW: usize = 1_000;
const PREFETCH: u16 = 1_000;
/// Messages acked together.
const ACK_EVERY: u64 = 500;
const PERSISTENT: u8 = 2;
const QUEUES: u64 = 500;
const DECLARES_AT_ONCE: usize = 64;
const DURABLE: QueueDeclareOptions = QueueDeclareOptions {
    passive: false,
    durable: true,
    exclusive: false,
    auto_delete: false,
    nowait: false,
};
/// A message of the product carries an id.
const MESSAGE: [u8; 16] = [7; 16];

pub async fn measure(url: &str, outcome: &mut Outcome, progress: &Progress) -> anyhow::Result<()> {
    let connection = Connection::connect(url, ConnectionProperties::default()).await?;
    let channel = connection.create_channel().await?;
    let queue = format!("bench-floor-{:012x}", fastrand::u64(..) >> 16);
    channel
        .queue_declare(queue.as_str().into(), DURABLE, FieldTable::default())
        .await?;
    let measured = both(&channel, &queue, outcome, progress).await;
    let delete = QueueDeleteOptions::default();
    channel.queue_delete(queue.as_str().into(), delete).await?;
    connection.close(200, "done".into()).await?;
    measured
}

async fn both(
    channel: &Channel,
    queue: &str,
    outcome: &mut Outcome,
    progress: &Progress,
) -> anyhow::Result<()> {
    channel
        .confirm_select(ConfirmSelectOptions::default())
        .await?;
    outcome.figure(
        "rabbitmq_settings",
        "durable queue, persistent messages, each confirmed",
    );
    let (published, publishing) = publish(channel, queue).await?;
    outcome.figure("rabbitmq_confirmed_publishes_s", publishing);
    progress.add(1);
    outcome.figure(
        "rabbitmq_consumed_and_acked_s",
        consume(channel, queue, published).await?,
    );
    progress.add(1);
    Ok(())
}

/// Durable queues made a second, as each tenant's first job needs one.
pub async fn declares(url: &str, outcome: &mut Outcome, progress: &Progress) -> anyhow::Result<()> {
    let connection = Connection::connect(url, ConnectionProperties::default()).await?;
    let channel = connection.create_channel().await?;
    let prefix = format!("bench-floor-{:012x}", fastrand::u64(..) >> 16);
    let names: Vec<String> = (0..QUEUES).map(|n| format!("{prefix}-{n}")).collect();
    let began = Instant::now();
    let declared: Vec<Result<_, lapin::Error>> = stream::iter(&names)
        .map(|name| channel.queue_declare(name.as_str().into(), DURABLE, FieldTable::default()))
        .buffer_unordered(DECLARES_AT_ONCE)
        .collect()
        .await;
    outcome.figure("rabbitmq_queue_declares_s", rate(QUEUES, began));
    let deleted: Vec<Result<_, lapin::Error>> = stream::iter(&names)
        .map(|name| channel.queue_delete(name.as_str().into(), QueueDeleteOptions::default()))
        .buffer_unordered(DECLARES_AT_ONCE)
        .collect()
        .await;
    for result in declared {
        result?;
    }
    for result in deleted {
        result?;
    }
    connection.close(200, "done".into()).await?;
    progress.add(1);
    Ok(())
}

async fn publish(channel: &Channel, queue: &str) -> anyhow::Result<(u64, f64)> {
    let mut confirms = VecDeque::with_capacity(WINDOW);
    let (began, mut count) = (Instant::now(), 0);
    while began.elapsed() < TIME {
        if confirms.len() == WINDOW
            && let Some(confirm) = confirms.pop_front()
        {
            confirmed(confirm).await?;
        }
        let properties = BasicProperties::default().with_delivery_mode(PERSISTENT);
        let options = BasicPublishOptions::default();
        let confirm = channel.basic_publish("".into(), queue.into(), options, &MESSAGE, properties);
        confirms.push_back(confirm.await?);
        count += 1;
    }
    for confirm in confirms {
        confirmed(confirm).await?;
    }
    Ok((count, rate(count, began)))
}

async fn confirmed(confirm: lapin::PublisherConfirm) -> anyhow::Result<()> {
    anyhow::ensure!(confirm.await?.is_ack(), "RabbitMQ did not take a message");
    Ok(())
}

async fn consume(channel: &Channel, queue: &str, count: u64) -> anyhow::Result<f64> {
    channel
        .basic_qos(PREFETCH, BasicQosOptions::default())
        .await?;
    let began = Instant::now();
    let options = BasicConsumeOptions::default();
    let tag = "bench-floor";
    let mut consumer = channel
        .basic_consume(queue.into(), tag.into(), options, FieldTable::default())
        .await?;
    let mut seen = 0;
    while seen < count {
        let Some(delivery) = consumer.next().await else {
            anyhow::bail!("RabbitMQ ended the deliveries");
        };
        let delivery = delivery?;
        seen += 1;
        if seen % ACK_EVERY == 0 || seen == count {
            delivery.ack(BasicAckOptions { multiple: true }).await?;
        }
    }
    Ok(rate(count, began))
}
