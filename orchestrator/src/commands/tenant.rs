//! `tenant create|list|get|set-quota|pause|resume|drain`

use domain::LimitChange;
use serde_json::{Map, Value, json};

use super::{connect, queue};
use crate::cli::{Listing, OneTenant, TenantCommand, TenantCreateArgs, TenantQuotaArgs};
use crate::client::types::{Page, Tenant};
use crate::config::Loader;
use crate::exit::{Exit, UsageError};
use crate::output::{self, Format};

/// More tenants than anybody reads.
const TENANTS: usize = 1_000_000;

pub async fn run(command: TenantCommand, loader: &Loader) -> anyhow::Result<Exit> {
    match command {
        TenantCommand::Create(args) => create(args, loader).await,
        TenantCommand::List(listing) => list(listing, loader).await,
        TenantCommand::Get(args) => get(args, loader).await,
        TenantCommand::SetQuota(args) => set_quota(args, loader).await,
        TenantCommand::Pause(args) => steer("pause", args, loader).await,
        TenantCommand::Resume(args) => steer("resume", args, loader).await,
        TenantCommand::Drain(args) => steer("drain", args, loader).await,
    }?;
    Ok(Exit::Ok)
}

async fn create(args: TenantCreateArgs, loader: &Loader) -> anyhow::Result<()> {
    let client = connect::client(&args.connection, loader)?;
    let body = json!({
        "name": args.name.as_ref().unwrap_or(&args.slug),
        "slug": args.slug,
        "quotas": {"session": args.sessions, "training": args.training},
        "max_queued": args.max_queued,
        "weight": args.weight,
        "monthly_tokens": args.monthly_tokens,
        "monthly_cost_usd": args.monthly_cost_usd,
    });
    let created: Value = client.post("tenants", &body).await?;
    show(vec![created], args.output, false)
}

async fn list(listing: Listing, loader: &Loader) -> anyhow::Result<()> {
    let client = connect::client(&listing.connection, loader)?;
    let tenants = client.list("tenants", &[], TENANTS).await?;
    show(tenants, listing.output, true)
}

async fn get(args: OneTenant, loader: &Loader) -> anyhow::Result<()> {
    name(&args.tenant)?;
    let client = connect::client(&args.listing.connection, loader)?;
    let tenant: Value = client.get(&format!("tenants/{}", args.tenant), &[]).await?;
    show(vec![tenant], args.listing.output, false)
}

/// It becomes a part of the address, so it must be no more than a name.
fn name(tenant: &str) -> Result<(), UsageError> {
    let is_name = !tenant.is_empty()
        && tenant
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || c == '-');
    if is_name {
        return Ok(());
    }
    Err(UsageError(format!(
        "`{tenant}` is not a tenant's slug or id"
    )))
}

async fn steer(verb: &str, args: OneTenant, loader: &Loader) -> anyhow::Result<()> {
    name(&args.tenant)?;
    let client = connect::client(&args.listing.connection, loader)?;
    let path = format!("tenants/{}/{verb}", args.tenant);
    let page: Page<Value> = client.act(&path).await?;
    queue::show(page.items, args.listing.output)
}

async fn set_quota(args: TenantQuotaArgs, loader: &Loader) -> anyhow::Result<()> {
    name(&args.tenant)?;
    let client = connect::client(&args.connection, loader)?;
    let some = |pairs: [(&str, Option<u32>); 2]| -> Map<String, Value> {
        pairs
            .into_iter()
            .filter_map(|(name, value)| Some((name.to_owned(), value?.into())))
            .collect()
    };
    let mut body = some([("max_queued", args.max_queued), ("weight", args.weight)]);
    let quotas = some([("session", args.sessions), ("training", args.training)]);
    if !quotas.is_empty() {
        body.insert("quotas".to_owned(), quotas.into());
    }
    body.extend(limit("monthly_tokens", args.monthly_tokens));
    body.extend(limit("monthly_cost_usd", args.monthly_cost_usd));
    let path = format!("tenants/{}", args.tenant);
    let changed: Value = client.patch(&path, &body.into()).await?;
    show(vec![changed], args.output, false)
}

/// A limit that is taken away is null.
fn limit<T: Into<Value>>(name: &str, change: Option<LimitChange<T>>) -> Option<(String, Value)> {
    let limit = change?.apply(None).map_or(Value::Null, Into::into);
    Some((name.to_owned(), limit))
}

/// What was used of a month, where that is known, and the limit.
fn month(used: Option<String>, limit: Option<String>) -> String {
    let limit = limit.unwrap_or_else(|| "no limit".to_owned());
    used.map_or_else(|| limit.clone(), |used| format!("{used} of {limit}"))
}

fn show(mut documents: Vec<Value>, format: Format, many: bool) -> anyhow::Result<()> {
    if format == Format::Json {
        return match documents.pop() {
            Some(document) if !many => output::json(&document),
            last => {
                documents.extend(last);
                output::json(&json!({ "items": documents }))
            }
        };
    }
    let columns = [
        "slug",
        "name",
        "sessions",
        "training",
        "max queued",
        "weight",
        "tokens a month",
        "cost a month",
        "id",
        "",
    ];
    let mut table = output::table(&columns);
    for document in documents {
        let tenant: Tenant = serde_json::from_value(document)?;
        let used = tenant.this_month.as_ref();
        let used_up = used.is_some_and(|month| month.used_up);
        table.add_row([
            tenant.slug,
            tenant.name,
            tenant.quotas.session.to_string(),
            tenant.quotas.training.to_string(),
            tenant.max_queued.to_string(),
            tenant.weight.to_string(),
            month(
                used.map(|month| month.tokens.to_string()),
                tenant.monthly_tokens.map(|limit| limit.to_string()),
            ),
            month(
                used.map(|month| month.cost_usd.to_string()),
                tenant.monthly_cost_usd.map(|limit| limit.to_string()),
            ),
            tenant.id,
            match (tenant.active, used_up) {
                (false, _) => "inactive",
                (true, true) => "month used up",
                (true, false) => "",
            }
            .to_owned(),
        ]);
    }
    output::print(table)
}
