//! `key create`

use application::ports::Ports;
use application::use_cases::{NewKey, create_key, create_tenant};
use domain::Tenant;
use serde_json::json;

use super::connect;
use crate::cli::{KeyCommand, KeyCreateArgs};
use crate::client::types::CreatedKey;
use crate::compose::{DEFAULT_TENANT, direct, embedded};
use crate::config::{Config, Flags, Loader};
use crate::exit::{Exit, NotFound};
use crate::output;

pub async fn run(command: KeyCommand, loader: &Loader) -> anyhow::Result<Exit> {
    let KeyCommand::Create(args) = command;
    let mut config = loader.load(Flags::default().with(&args.target)?)?;
    if config.source("url").starts_with("--") {
        return through_the_api(&args, &mut config).await;
    }
    match direct::open(&config).await? {
        Some(ports) => in_the_store(&args, &ports).await,
        None => through_the_api(&args, &mut config).await,
    }
}

async fn in_the_store(args: &KeyCreateArgs, ports: &Ports) -> anyhow::Result<Exit> {
    let tenant = find(ports, args.tenant.as_deref().unwrap_or(DEFAULT_TENANT)).await?;
    let new = NewKey {
        tenant: tenant.id,
        role: args.role,
        name: args.name.clone(),
        expires_at: None,
    };
    let (_, text) = create_key(ports, new).await?;
    announce(&tenant.slug, args);
    output::line(text)?;
    Ok(Exit::Ok)
}

/// By slug or id. The tenant that every installation begins with is made when it is not there yet.
async fn find(ports: &Ports, named: &str) -> anyhow::Result<Tenant> {
    let found = match named.parse() {
        Ok(id) => ports.tenants.tenant(id).await?,
        Err(_) => ports.tenants.tenant_by_slug(named).await?,
    };
    if let Some(tenant) = found {
        return Ok(tenant);
    }
    if named != DEFAULT_TENANT {
        let why = format!(
            "there is no tenant `{named}`; make it with `orchestrator tenant create {named}`"
        );
        return Err(NotFound(why).into());
    }
    let tenant = create_tenant(ports, embedded::default_tenant()).await?;
    output::say(format_args!("made the tenant `{DEFAULT_TENANT}`"));
    Ok(tenant)
}

async fn through_the_api(args: &KeyCreateArgs, config: &mut Config) -> anyhow::Result<Exit> {
    if args.tenant.is_some() {
        config.settings.tenant.clone_from(&args.tenant);
    }
    let client = connect::from_config(config)?;
    let body = json!({"name": args.name, "role": args.role});
    let created: CreatedKey = client.post("keys", &body).await?;
    announce(
        args.tenant.as_deref().unwrap_or("the caller's tenant"),
        args,
    );
    output::line(created.key)?;
    Ok(Exit::Ok)
}

fn announce(tenant: &str, args: &KeyCreateArgs) {
    output::say(format_args!(
        "a key of role {} for {tenant}; it is shown this once:",
        args.role
    ));
}
