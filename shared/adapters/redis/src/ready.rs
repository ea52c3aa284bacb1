use application::ports::{
    CoordinationError, Found, PICK_MAX, Pick, ReadySet, Served, Visited, charge_seconds,
};
use async_trait::async_trait;
use domain::{JobKind, QueueKey, SlotSnapshot, TenantId};
use redis::Script;
use tokio::sync::watch;
use uuid::Uuid;

use crate::Redis;
use crate::link::{Call, OnBreak};

/// Queues told to one script call. A script keeps everybody else waiting: some milliseconds for this many.
const QUEUES_PER_CALL: usize = 500;

pub(crate) struct ReadyScripts {
    note: Script,
    arrived: Script,
    visited: Script,
    served: Script,
    pick: Script,
    clear: Script,
    complete: Script,
}

impl Default for ReadyScripts {
    fn default() -> Self {
        macro_rules! with_queues {
            ($file:literal) => {
                Script::new(concat!(include_str!("lua/queue.lua"), include_str!($file)))
            };
        }
        Self {
            note: with_queues!("lua/note.lua"),
            arrived: with_queues!("lua/arrived.lua"),
            visited: with_queues!("lua/visited.lua"),
            served: with_queues!("lua/served.lua"),
            pick: with_queues!("lua/pick.lua"),
            clear: Script::new(include_str!("lua/clear.lua")),
            complete: Script::new(include_str!("lua/complete.lua")),
        }
    }
}

#[async_trait]
impl ReadySet for Redis {
    async fn note(&self, slots: &[SlotSnapshot]) -> Result<(), CoordinationError> {
        self.take_in(slots, false).await
    }

    async fn refresh(&self, slots: &[SlotSnapshot]) -> Result<(), CoordinationError> {
        self.take_in(slots, true).await
    }

    async fn arrived(&self, queues: &[QueueKey]) -> Result<(), CoordinationError> {
        for kind in JobKind::ALL {
            let tenants: Vec<TenantId> = queues
                .iter()
                .filter(|queue| queue.kind == kind)
                .map(|queue| queue.tenant)
                .collect();
            for chunk in tenants.chunks(QUEUES_PER_CALL) {
                let mut call = self.ready_scripts.arrived.prepare_invoke();
                for key in self.keys.of_kind(kind) {
                    call.key(key);
                }
                call.arg(self.keys.wake_channel());
                for tenant in chunk {
                    call.arg(tenant.to_string());
                }
                let () = self.link.call(Call::Script(&call), OnBreak::Repeat).await?;
            }
        }
        Ok(())
    }

    async fn pick(&self, kinds: &[JobKind], want: u32) -> Result<Pick, CoordinationError> {
        let mut call = self.ready_scripts.pick.prepare_invoke();
        call.key(self.keys.marker()).key(self.keys.latest());
        call.arg(want.min(PICK_MAX));
        for kind in kinds {
            for key in self.keys.of_kind(*kind) {
                call.key(key);
            }
            call.arg(kind.as_str());
        }
        // Not repeated: what was picked twice is out of sight until the next refresh.
        let answer: Vec<String> = self.link.call(Call::Script(&call), OnBreak::GiveUp).await?;
        parse_pick(&answer)
            .ok_or_else(|| CoordinationError(format!("Redis: not an answer to a pick: {answer:?}")))
    }

    async fn visited(&self, visited: Visited) -> Result<(), CoordinationError> {
        let unclaimed = f64::from(visited.n.saturating_sub(visited.claimed)) * visited.estimate;
        let mut call = self.ready_scripts.visited.prepare_invoke();
        for key in self.keys.of_kind(visited.queue.kind) {
            call.key(key);
        }
        call.arg(self.keys.wake_channel())
            .arg(visited.queue.tenant.to_string())
            .arg(visited.n)
            .arg(u8::from(visited.found == Found::Nothing))
            .arg(exact(unclaimed));
        // Not repeated: said twice, it would take another picker's jobs out of its hands.
        self.link.call(Call::Script(&call), OnBreak::GiveUp).await
    }

    async fn served(&self, served: &[Served]) -> Result<(), CoordinationError> {
        for kind in JobKind::ALL {
            let of_kind: Vec<&Served> = served
                .iter()
                .filter(|served| served.queue.kind == kind)
                .collect();
            for chunk in of_kind.chunks(QUEUES_PER_CALL) {
                let mut call = self.ready_scripts.served.prepare_invoke();
                for key in self.keys.of_kind(kind) {
                    call.key(key);
                }
                for served in chunk {
                    call.arg(served.queue.tenant.to_string())
                        .arg(exact(served.beyond));
                }
                // Not repeated: said twice, it would be charged twice.
                let () = self.link.call(Call::Script(&call), OnBreak::GiveUp).await?;
            }
        }
        Ok(())
    }

    async fn rebuild(&self, slots: &[SlotSnapshot]) -> Result<(), CoordinationError> {
        let who = format!("{:032x}", fastrand::u128(..));
        let mut clear = self.ready_scripts.clear.prepare_invoke();
        clear
            .key(self.keys.marker())
            .key(self.keys.rebuild())
            .key(self.keys.latest());
        for key in JobKind::ALL
            .into_iter()
            .flat_map(|kind| self.keys.of_kind(kind))
        {
            clear.key(key);
        }
        clear.arg(&who);
        let () = self
            .link
            .call(Call::Script(&clear), OnBreak::Repeat)
            .await?;

        self.note(slots).await?;

        let mut complete = self.ready_scripts.complete.prepare_invoke();
        complete
            .key(self.keys.marker())
            .key(self.keys.rebuild())
            .arg(&who)
            .arg(self.keys.wake_channel());
        self.link
            .call(Call::Script(&complete), OnBreak::Repeat)
            .await
    }

    fn wakeups(&self) -> watch::Receiver<u64> {
        self.subscriber.wakeups()
    }

    async fn check(&self) -> Result<(), CoordinationError> {
        let ping = redis::pipe().cmd("PING").ignore().to_owned();
        let () = self
            .link
            .call(Call::Pipeline(&ping), OnBreak::Repeat)
            .await?;
        if self.subscriber.is_connected_soon().await {
            Ok(())
        } else {
            Err(CoordinationError(
                "Redis answers commands, but cannot be listened to".to_owned(),
            ))
        }
    }
}

impl Redis {
    async fn take_in(&self, slots: &[SlotSnapshot], forget: bool) -> Result<(), CoordinationError> {
        for kind in JobKind::ALL {
            let of_kind: Vec<&SlotSnapshot> = slots
                .iter()
                .filter(|slots| slots.queue.kind == kind)
                .collect();
            for chunk in of_kind.chunks(QUEUES_PER_CALL) {
                self.take_in_chunk(kind, chunk, forget).await?;
            }
        }
        Ok(())
    }

    async fn take_in_chunk(
        &self,
        kind: JobKind,
        slots: &[&SlotSnapshot],
        forget: bool,
    ) -> Result<(), CoordinationError> {
        let mut call = self.ready_scripts.note.prepare_invoke();
        for key in self.keys.of_kind(kind) {
            call.key(key);
        }
        call.arg(self.keys.wake_channel()).arg(u8::from(forget));
        for slots in slots {
            call.arg(slots.queue.tenant.to_string())
                .arg(slots.version)
                .arg(slots.claimable())
                .arg(slots.weight.max(1))
                .arg(u8::from(slots.queued == 0 && slots.running == 0))
                .arg(exact(charge_seconds(slots)));
        }
        self.link.call(Call::Script(&call), OnBreak::Repeat).await
    }
}

/// As a script takes it: the shortest text that is this very number. What is no number charges nothing.
fn exact(seconds: f64) -> String {
    if seconds.is_finite() {
        seconds.to_string()
    } else {
        "0".to_owned()
    }
}

fn parse_pick(answer: &[String]) -> Option<Pick> {
    match answer {
        [only] if only == "blank" => Some(Pick::Blank),
        [only] if only == "nothing" => Some(Pick::Nothing),
        [kind, tenant, n, estimate] => {
            let queue = QueueKey {
                tenant: TenantId::from_uuid(Uuid::parse_str(tenant).ok()?),
                kind: kind.parse().ok()?,
            };
            Some(Pick::Queue {
                queue,
                n: n.parse().ok()?,
                estimate: estimate.parse().ok()?,
            })
        }
        _ => None,
    }
}
