//! Where a task would go if it were routed now. Takes nothing: by the time that a task is claimed it may be otherwise.

use domain::{RouteContext, RouteRequest, Routing, TenantId, route};

use crate::ports::{AGENTS_MAX, Ports, StoreError};

pub async fn route_task(
    ports: &Ports,
    tenant: TenantId,
    request: &RouteRequest,
) -> Result<Routing, StoreError> {
    // The tenant's own and the shared ones.
    let candidates = ports.agents.agents(tenant, None, AGENTS_MAX * 2).await?;
    let context = RouteContext {
        kinds: None,
        failed: &[],
        now: ports.clock.now(),
    };
    Ok(route(request, &candidates, context))
}
