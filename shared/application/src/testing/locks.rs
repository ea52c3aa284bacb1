//! What every [`Locks`] must do.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::ports::{LockState, Locks};

/// Longer than any test takes.
const LONG: Duration = Duration::from_mins(1);
/// Over soon.
const SHORT: Duration = Duration::from_millis(200);
const HAPPENS_WITHIN: Duration = Duration::from_secs(10);
const POLL_EVERY: Duration = Duration::from_millis(5);

#[macro_export]
macro_rules! locks_contract {
    ($open:expr) => {
        $crate::port_contract!(
            locks,
            $open,
            [
                a_free_lock_is_held_at_once,
                resources_do_not_mix,
                first_come_first_served,
                asking_again_keeps_the_place,
                only_the_owner_releases,
                only_the_holder_renews,
                a_waiter_may_leave_the_line,
                a_holder_that_went_silent_loses_the_lock,
                a_waiter_that_went_silent_loses_its_place,
                a_renewed_lock_is_kept,
                one_owner_at_a_time,
            ]
        );
    };
}

type Port = Arc<dyn Locks>;

async fn acquire(port: &Port, resource: &str, owner: &str, ttl: Duration) -> LockState {
    port.acquire(resource, owner, ttl).await.expect("acquire")
}

async fn release(port: &Port, resource: &str, owner: &str) -> bool {
    port.release(resource, owner).await.expect("release")
}

async fn renew(port: &Port, resource: &str, owner: &str, ttl: Duration) -> bool {
    port.renew(resource, owner, ttl).await.expect("renew")
}

/// How many are ahead of a waiter, and who holds the lock.
fn waiting(ahead: u32, holder: &str) -> LockState {
    LockState::Waiting {
        ahead,
        holder: holder.to_owned(),
    }
}

/// Asks until the lock is held.
async fn acquire_at_last(port: &Port, resource: &str, owner: &str) {
    let deadline = Instant::now() + HAPPENS_WITHIN;
    while acquire(port, resource, owner, LONG).await != LockState::Held {
        assert!(Instant::now() < deadline, "{owner} never got {resource}");
        sleep(POLL_EVERY).await;
    }
}

pub async fn a_free_lock_is_held_at_once(port: Port) {
    assert_eq!(acquire(&port, "gpu", "a", LONG).await, LockState::Held);
    assert!(release(&port, "gpu", "a").await);
    assert_eq!(acquire(&port, "gpu", "b", LONG).await, LockState::Held);
}

pub async fn resources_do_not_mix(port: Port) {
    assert_eq!(acquire(&port, "one", "a", LONG).await, LockState::Held);
    assert_eq!(acquire(&port, "two", "b", LONG).await, LockState::Held);
    assert!(!release(&port, "two", "a").await);
    // Names may be anything.
    let odd = "a repository:{with} braces\n";
    assert_eq!(acquire(&port, odd, "ä b", LONG).await, LockState::Held);
    assert_eq!(acquire(&port, odd, "c", LONG).await, waiting(1, "ä b"));
}

pub async fn first_come_first_served(port: Port) {
    assert_eq!(acquire(&port, "gpu", "a", LONG).await, LockState::Held);
    assert_eq!(acquire(&port, "gpu", "z", LONG).await, waiting(1, "a"));
    assert_eq!(acquire(&port, "gpu", "b", LONG).await, waiting(2, "a"));
    assert!(release(&port, "gpu", "a").await);
    assert_eq!(acquire(&port, "gpu", "b", LONG).await, waiting(1, "z"));
    assert_eq!(acquire(&port, "gpu", "z", LONG).await, LockState::Held);
    assert!(release(&port, "gpu", "z").await);
    // Who left comes back to the end of the line.
    assert_eq!(acquire(&port, "gpu", "a", LONG).await, waiting(1, "b"));
    assert_eq!(acquire(&port, "gpu", "b", LONG).await, LockState::Held);
}

pub async fn asking_again_keeps_the_place(port: Port) {
    for _ in 0..3 {
        assert_eq!(acquire(&port, "gpu", "a", LONG).await, LockState::Held);
        assert_eq!(acquire(&port, "gpu", "b", LONG).await, waiting(1, "a"));
        assert_eq!(acquire(&port, "gpu", "c", LONG).await, waiting(2, "a"));
    }
}

pub async fn only_the_owner_releases(port: Port) {
    assert!(!release(&port, "gpu", "a").await);
    assert_eq!(acquire(&port, "gpu", "a", LONG).await, LockState::Held);
    assert!(!release(&port, "gpu", "b").await);
    assert_eq!(acquire(&port, "gpu", "c", LONG).await, waiting(1, "a"));
    assert!(release(&port, "gpu", "a").await);
    assert!(!release(&port, "gpu", "a").await);
}

pub async fn only_the_holder_renews(port: Port) {
    assert!(!renew(&port, "gpu", "a", LONG).await);
    assert_eq!(acquire(&port, "gpu", "a", LONG).await, LockState::Held);
    assert_eq!(acquire(&port, "gpu", "b", LONG).await, waiting(1, "a"));
    assert!(renew(&port, "gpu", "a", LONG).await);
    assert!(!renew(&port, "gpu", "b", LONG).await);
    assert!(!renew(&port, "gpu", "nobody", LONG).await);
    assert_eq!(acquire(&port, "gpu", "b", LONG).await, waiting(1, "a"));
}

pub async fn a_waiter_may_leave_the_line(port: Port) {
    assert_eq!(acquire(&port, "gpu", "a", LONG).await, LockState::Held);
    assert_eq!(acquire(&port, "gpu", "b", LONG).await, waiting(1, "a"));
    assert_eq!(acquire(&port, "gpu", "c", LONG).await, waiting(2, "a"));
    assert!(release(&port, "gpu", "b").await);
    assert_eq!(acquire(&port, "gpu", "c", LONG).await, waiting(1, "a"));
}

pub async fn a_holder_that_went_silent_loses_the_lock(port: Port) {
    let began = Instant::now();
    assert_eq!(acquire(&port, "gpu", "a", SHORT).await, LockState::Held);
    acquire_at_last(&port, "gpu", "b").await;
    // Redis counts whole milliseconds, so a lock may end within the last of them.
    assert!(began.elapsed() + Duration::from_millis(2) >= SHORT);
    assert!(!renew(&port, "gpu", "a", LONG).await);
    assert!(!release(&port, "gpu", "a").await);
    assert_eq!(acquire(&port, "gpu", "a", LONG).await, waiting(1, "b"));
}

pub async fn a_waiter_that_went_silent_loses_its_place(port: Port) {
    assert_eq!(acquire(&port, "gpu", "a", LONG).await, LockState::Held);
    assert_eq!(acquire(&port, "gpu", "b", SHORT).await, waiting(1, "a"));
    assert_eq!(acquire(&port, "gpu", "c", LONG).await, waiting(2, "a"));
    let deadline = Instant::now() + HAPPENS_WITHIN;
    while acquire(&port, "gpu", "c", LONG).await != waiting(1, "a") {
        assert!(Instant::now() < deadline, "b is still in the line");
        sleep(POLL_EVERY).await;
    }
    assert!(release(&port, "gpu", "a").await);
    assert_eq!(acquire(&port, "gpu", "c", LONG).await, LockState::Held);
}

pub async fn a_renewed_lock_is_kept(port: Port) {
    assert_eq!(acquire(&port, "gpu", "a", SHORT).await, LockState::Held);
    assert!(renew(&port, "gpu", "a", LONG).await);
    assert_eq!(acquire(&port, "gpu", "b", LONG).await, waiting(1, "a"));
    sleep(SHORT * 2).await;
    assert_eq!(acquire(&port, "gpu", "b", LONG).await, waiting(1, "a"));
    // Asking again renews as well, in either direction.
    assert_eq!(acquire(&port, "gpu", "a", SHORT).await, LockState::Held);
    acquire_at_last(&port, "gpu", "b").await;
}

pub async fn one_owner_at_a_time(port: Port) {
    const OWNERS: u32 = 6;
    const ROUNDS: u32 = 5;
    let held = Arc::new(AtomicBool::new(false));
    let entered = Arc::new(AtomicU32::new(0));
    let owners: Vec<_> = (0..OWNERS)
        .map(|owner| {
            let (port, held, entered) =
                (Arc::clone(&port), Arc::clone(&held), Arc::clone(&entered));
            let owner = format!("owner-{owner}");
            tokio::spawn(async move {
                for _ in 0..ROUNDS {
                    acquire_at_last(&port, "repository", &owner).await;
                    assert!(!held.swap(true, Ordering::SeqCst), "two hold it at once");
                    tokio::task::yield_now().await;
                    entered.fetch_add(1, Ordering::SeqCst);
                    held.store(false, Ordering::SeqCst);
                    assert!(release(&port, "repository", &owner).await);
                }
            })
        })
        .collect();
    for owner in owners {
        owner.await.expect("an owner");
    }
    assert_eq!(entered.load(Ordering::SeqCst), OWNERS * ROUNDS);
}
