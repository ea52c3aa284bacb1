//! Everybody has more to do than fits, all runs are equally long and nothing goes wrong: each tenant's share of what is
//! served follows its weight.

use std::sync::Arc;
use std::time::Duration;

use domain::{JobKind, JobState, Labels, Quotas};
use fastrand::Rng;

use crate::acts;
use crate::model::{Broken, Model};
use crate::plan::{Faults, Plan};
use crate::stage::Stage;

const LOOK_EVERY: Duration = Duration::from_millis(50);
const LENGTH: Duration = Duration::from_millis(400);
/// No quota stands in the way.
const QUOTA: u32 = 100;
const JOBS: usize = 40;
const CONCURRENCY_MAX: u32 = 4;
/// Jobs that a tenant may be ahead beyond what the workers hold at once.
const SPARE: f64 = 1.0;

pub fn plan(rng: &mut Rng) -> Plan {
    Plan {
        tenants: rng.usize(2..=4),
        workers: rng.usize(1..=3),
        jobs: JOBS,
        load: Duration::ZERO,
        relay_every: Duration::from_millis(500),
        faults: Faults::default(),
        kills: 0,
        freezes: 0,
        ambushes: 0,
        drains: 0,
        producer_kills: 0,
        broker_wipes: 0,
        ready_wipes: 0,
        steers: 0,
        tenant_changes: 0,
        queue_steers: 0,
        labelled: 0.0,
        dependent: 0.0,
        deadlines: 0.0,
        delayed: 0.0,
        stubborn: 0.0,
        hanging: 0.0,
        failing: 0.0,
        transient: 0.0,
        length: Some(LENGTH),
    }
}

pub async fn tell(stage: Arc<Stage>) -> Result<(), Broken> {
    let world = &stage.world;
    let mut weights = Vec::new();
    for number in 0..world.plan.tenants {
        let quotas = Quotas {
            session: QUOTA,
            training: QUOTA,
        };
        let weight = world.dice(|dice| dice.u32(1..=4));
        weights.push(weight);
        stage.found(number, quotas, weight).await?;
    }
    let tenants = stage.tenants();
    for (tenant, weight) in tenants.iter().zip(&weights) {
        let count = JOBS / 2 * usize::try_from(*weight).unwrap_or(1);
        let jobs = vec![acts::new_job(JobKind::Session).into(); count];
        acts::submit_all(&stage, *tenant, jobs).await;
    }
    let mut slots = 0;
    for _ in 0..world.plan.workers {
        let concurrency = world.dice(|dice| dice.u32(1..=CONCURRENCY_MAX));
        slots += concurrency;
        stage.start_worker_of(vec![JobKind::Session], concurrency, Labels::default());
    }
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        let shares = world.model(|model| shares(model, &tenants, &weights));
        let Some(shares) = shares else { return Ok(()) };
        compare(&shares, f64::from(slots))?;
    }
}

/// Started jobs over weight, and the weight. `None`: somebody has nothing left that waits.
fn shares(model: &Model, tenants: &[domain::TenantId], weights: &[u32]) -> Option<Vec<(f64, f64)>> {
    let of = |tenant: domain::TenantId, weight: u32| {
        let ours = model
            .jobs
            .values()
            .filter(|job| job.tenant == tenant.as_uuid());
        let (waiting, begun): (Vec<_>, Vec<_>) =
            ours.partition(|job| job.state == JobState::Queued);
        let begun = u32::try_from(begun.len()).unwrap_or(u32::MAX);
        let weight = f64::from(weight);
        (!waiting.is_empty()).then(|| (f64::from(begun) / weight, weight))
    };
    tenants
        .iter()
        .zip(weights)
        .map(|(tenant, weight)| of(*tenant, *weight))
        .collect()
}

fn compare(shares: &[(f64, f64)], slots: f64) -> Result<(), Broken> {
    for (mine, weight) in shares {
        for (other, others) in shares {
            // One pick takes at most what all workers hold.
            let bound = (slots + SPARE) * (1.0 / weight + 1.0 / others);
            if mine - other > bound {
                let how = format!(
                    "{mine:.2} against {other:.2}, weights {weight} and {others}, bound {bound:.2}"
                );
                return Err(Broken::new("shares follow weights", how));
            }
        }
    }
    Ok(())
}
