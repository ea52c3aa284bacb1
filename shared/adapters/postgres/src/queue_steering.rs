//! A tenant's queues paused, resumed and drained by people.

use application::ports::QueueAction;
use domain::{JobKind, QueueKey, SlotSnapshot, TenantId};

use crate::PostgresStore;
use crate::error::Failure;
use crate::pipeline::prepare;
use crate::slots::{self, Keys};

const STEER: &str = "UPDATE tenant_slots SET version = version + 1,
        paused = CASE $3 WHEN 'pause' THEN true WHEN 'resume' THEN false ELSE paused END,
        draining = CASE $3 WHEN 'drain' THEN true WHEN 'resume' THEN false ELSE draining END
    WHERE tenant_id = $1 AND kind = ANY ($2::text[])";

/// `None`: no such tenant.
pub(crate) async fn steer(
    store: &PostgresStore,
    tenant: TenantId,
    kind: Option<JobKind>,
    action: QueueAction,
) -> Result<Option<Vec<SlotSnapshot>>, Failure> {
    let keys = match kind {
        Some(kind) => Keys::of([QueueKey { tenant, kind }]),
        None => Keys::of_tenants([tenant]),
    };
    let action = match action {
        QueueAction::Pause => "pause",
        QueueAction::Resume => "resume",
        QueueAction::Drain => "drain",
    };
    let mut client = store.client().await?;
    let tx = client.transaction().await?;
    prepare(&tx, &[slots::LOCK, STEER, &slots::READ]).await?;
    let steer = tx.prepare_cached(STEER).await?;
    let ((), steered, slots) = futures::try_join!(
        slots::lock(&tx, &keys),
        async {
            let tenant = tenant.as_uuid();
            Ok(tx.execute(&steer, &[&tenant, &keys.kinds, &action]).await?)
        },
        slots::read(&tx, &keys)
    )?;
    tx.commit().await?;
    Ok((steered > 0).then(|| slots.into_values().map(|slot| slot.seen).collect()))
}
