//! `tenant create|list|set-quota|pause|resume|drain`

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
    });
    let created: Value = client.post("tenants", &body).await?;
    show(vec![created], args.output, false)
}

async fn list(listing: Listing, loader: &Loader) -> anyhow::Result<()> {
    let client = connect::client(&listing.connection, loader)?;
    let tenants = client.list("tenants", &[], TENANTS).await?;
    show(tenants, listing.output, true)
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
    let path = format!("tenants/{}", args.tenant);
    let changed: Value = client.patch(&path, &body.into()).await?;
    show(vec![changed], args.output, false)
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
        "id",
        "",
    ];
    let mut table = output::table(&columns);
    for document in documents {
        let tenant: Tenant = serde_json::from_value(document)?;
        table.add_row([
            tenant.slug,
            tenant.name,
            tenant.quotas.session.to_string(),
            tenant.quotas.training.to_string(),
            tenant.max_queued.to_string(),
            tenant.weight.to_string(),
            tenant.id,
            if tenant.active { "" } else { "inactive" }.to_owned(),
        ]);
    }
    output::print(table)
}
