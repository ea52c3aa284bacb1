//! A bounded number of channels, each used by one at a time.
//!
//! Exclusive use is what makes a multiple ack mean "this visit", and a returned message "of this publish".

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use application::ports::QueueError;
use lapin::Channel;
use lapin::options::ConfirmSelectOptions;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use crate::error::{ANSWER_WITHIN, answered, no_answer};
use crate::link::{Link, Opened};

/// A channel is closed after so many uses: the library remembers every queue that was declared on one.
const USES_MAX: u32 = 1_000;

pub(crate) struct Lanes {
    link: Arc<Link>,
    /// Whether publishes are confirmed.
    confirms: bool,
    permits: Arc<Semaphore>,
    idle: Mutex<Vec<Idle>>,
}

struct Idle {
    opened: Opened,
    uses: u32,
}

/// A channel of one's own. Dropped, it is closed, and what was taken from queues on it goes back to them; put back, it
/// serves the next.
pub(crate) struct Lane {
    opened: Opened,
    uses: u32,
    _permit: OwnedSemaphorePermit,
}

impl Lane {
    pub(crate) fn channel(&self) -> &Channel {
        &self.opened.channel
    }

    /// The number of the connection that the channel lives on.
    pub(crate) fn generation(&self) -> u64 {
        self.opened.generation
    }
}

impl Lanes {
    pub(crate) fn new(link: Arc<Link>, confirms: bool, most: usize) -> Self {
        Self {
            link,
            confirms,
            permits: Arc::new(Semaphore::new(most)),
            idle: Mutex::default(),
        }
    }

    pub(crate) fn link(&self) -> &Link {
        &self.link
    }

    /// Waits while all are in use.
    pub(crate) async fn take(&self) -> Result<Lane, QueueError> {
        let permit = match timeout(ANSWER_WITHIN, Arc::clone(&self.permits).acquire_owned()).await {
            Ok(Ok(permit)) => permit,
            Ok(Err(closed)) => return Err(QueueError(closed.to_string())),
            Err(_) => return Err(no_answer("any of those that use all its channels")),
        };
        let Idle { opened, uses } = match self.take_idle() {
            Some(idle) => idle,
            None => Idle {
                opened: self.open().await?,
                uses: 0,
            },
        };
        Ok(Lane {
            opened,
            uses: uses + 1,
            _permit: permit,
        })
    }

    pub(crate) fn put_back(&self, lane: Lane) {
        if lane.uses < USES_MAX && lane.channel().status().connected() {
            self.idle().push(Idle {
                opened: lane.opened,
                uses: lane.uses,
            });
        }
    }

    fn take_idle(&self) -> Option<Idle> {
        let mut all = self.idle();
        while let Some(idle) = all.pop() {
            if idle.opened.channel.status().connected() {
                return Some(idle);
            }
        }
        None
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Idle>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn open(&self) -> Result<Opened, QueueError> {
        let opened = self.link.channel().await?;
        if self.confirms {
            let options = ConfirmSelectOptions::default();
            answered("confirm publishes", opened.channel.confirm_select(options)).await?;
        }
        Ok(opened)
    }
}
