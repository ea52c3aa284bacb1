//! Takes messages out of queues and keeps them on their channel until they are acked or given back.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use application::ports::{QueueError, Receipt, Visit, Wakeups};
use domain::QueueKey;
use futures::future::try_join_all;
use lapin::Channel;
use lapin::message::BasicGetMessage;
use lapin::options::{BasicAckOptions, BasicGetOptions, BasicNackOptions};
use lapin::types::ShortString;
use tokio::task::AbortHandle;
use tokio::time::{Instant, interval, timeout};

use crate::error::{ANSWER_WITHIN, answered, in_words, is_not_found, no_answer};
use crate::lanes::{Lane, Lanes};
use crate::message;
use crate::names::Names;

/// Visits that are open at once; more wait. A channel is some 40 KB in the broker.
pub(crate) const VISIT_LANES: usize = 64;

/// By how much each round of a visit may be larger than those before it together.
const GROWTH: u32 = 8;

/// The receipt of a visit that found nothing, which nobody has to keep anything for.
const NOTHING_TAKEN: u64 = 0;

pub(crate) struct Visits {
    shared: Arc<Shared>,
    names: Names,
    sweeper: AbortHandle,
}

struct Shared {
    lanes: Lanes,
    open: Mutex<Open>,
}

#[derive(Default)]
struct Open {
    receipts: u64,
    by_receipt: HashMap<u64, OpenVisit>,
}

pub(crate) struct OpenVisit {
    lane: Lane,
    last_tag: u64,
    since: Instant,
    /// Wake-ups that the taken messages stand for beyond what was asked for.
    pub surplus: Wakeups,
}

/// Messages taken from a queue.
#[derive(Default)]
struct Taken {
    last_tag: Option<u64>,
    messages: u32,
    wakeups: u32,
}

impl Taken {
    fn add(&mut self, message: &BasicGetMessage) {
        self.last_tag = Some(message.delivery_tag);
        self.messages += 1;
        self.wakeups += message::count(&message.data);
    }
}

impl Visits {
    /// A visit that is neither acked nor given back within `held_max` was lost by its caller: its channel is closed,
    /// so its messages go back.
    pub(crate) fn new(lanes: Lanes, names: Names, held_max: Duration) -> Self {
        let shared = Arc::new(Shared {
            lanes,
            open: Mutex::default(),
        });
        let sweeper = tokio::spawn(sweep(Arc::clone(&shared), held_max)).abort_handle();
        Self {
            shared,
            names,
            sweeper,
        }
    }

    pub(crate) fn lanes(&self) -> &Lanes {
        &self.shared.lanes
    }

    pub(crate) async fn visit(&self, queue: QueueKey, n: u32) -> Result<Visit, QueueError> {
        let nothing = || Visit {
            taken: 0,
            beyond: false,
            receipt: Receipt(NOTHING_TAKEN),
        };
        if n == 0 {
            return Ok(nothing());
        }
        let lane = self.lanes().take().await?;
        let name: ShortString = self.names.queue(queue).into();
        let taken = match timeout(ANSWER_WITHIN, get(lane.channel(), &name, n)).await {
            Ok(Ok(taken)) => taken,
            // Never published to, or expired. The error has closed the channel.
            Ok(Err(error)) if is_not_found(&error) => return Ok(nothing()),
            Ok(Err(error)) => return Err(in_words(&error)),
            Err(_) => return Err(no_answer("get messages")),
        };
        let Some(last_tag) = taken.last_tag else {
            self.lanes().put_back(lane);
            return Ok(nothing());
        };
        let surplus = taken.wakeups.saturating_sub(n);
        let receipt = self.shared.open().add(OpenVisit {
            lane,
            last_tag,
            since: Instant::now(),
            surplus: Wakeups { queue, n: surplus },
        });
        Ok(Visit {
            taken: taken.wakeups.min(n),
            beyond: surplus > 0,
            receipt,
        })
    }

    pub(crate) async fn ack(&self, visit: OpenVisit) -> Result<(), QueueError> {
        let options = BasicAckOptions { multiple: true };
        let acking = visit.lane.channel().basic_ack(visit.last_tag, options);
        answered("ack", acking).await?;
        self.lanes().put_back(visit.lane);
        Ok(())
    }

    pub(crate) async fn give_back(&self, visit: OpenVisit) -> Result<(), QueueError> {
        let options = BasicNackOptions {
            multiple: true,
            requeue: true,
        };
        let nacking = visit.lane.channel().basic_nack(visit.last_tag, options);
        answered("give back", nacking).await?;
        self.lanes().put_back(visit.lane);
        Ok(())
    }

    /// The visit is its caller's alone from now on; dropped, its messages go back. `None`: it found nothing.
    pub(crate) fn close(&self, receipt: &Receipt) -> Result<Option<OpenVisit>, QueueError> {
        if receipt.0 == NOTHING_TAKEN {
            return Ok(None);
        }
        match self.shared.open().by_receipt.remove(&receipt.0) {
            Some(visit) => Ok(Some(visit)),
            None => Err(QueueError(
                "the visit took too long, its messages went back to their queue".to_owned(),
            )),
        }
    }
}

impl Drop for Visits {
    fn drop(&mut self) {
        self.sweeper.abort();
    }
}

impl Shared {
    fn open(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Open {
    fn add(&mut self, visit: OpenVisit) -> Receipt {
        self.receipts += 1;
        self.by_receipt.insert(self.receipts, visit);
        Receipt(self.receipts)
    }
}

/// Each message says how many more there are, so that nothing is asked of an empty queue. As many as seem to be needed,
/// by what those before stood for, are asked for all at once; never many more than before, since the next may stand for
/// more.
async fn get(channel: &Channel, name: &ShortString, n: u32) -> lapin::Result<Taken> {
    let one = || channel.basic_get(name.clone(), BasicGetOptions { no_ack: false });
    let mut taken = Taken::default();
    let mut more = 1;
    while more > 0 && taken.wakeups < n {
        let each = taken.wakeups.checked_div(taken.messages).unwrap_or(n);
        let needed = (n - taken.wakeups).div_ceil(each);
        let bold = (taken.messages * GROWTH).max(1);
        let asked = needed.min(bold).min(more);
        let got = try_join_all((0..asked).map(|_| one())).await?;
        more = 0;
        for message in got.into_iter().flatten() {
            more = message.message_count;
            taken.add(&message);
        }
    }
    Ok(taken)
}

async fn sweep(shared: Arc<Shared>, held_max: Duration) {
    let mut rounds = interval(held_max / 4);
    loop {
        rounds.tick().await;
        let mut lost = 0;
        shared.open().by_receipt.retain(|_, visit| {
            let keep = visit.since.elapsed() < held_max;
            lost += u32::from(!keep);
            keep
        });
        if lost > 0 {
            tracing::warn!(lost, "visits were neither acked nor given back");
        }
    }
}
