//! `key create`

use application::ports::Ports;
use application::use_cases::{NewKey, create_key, create_tenant};
use domain::{Role, Tenant};
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
    output::say(announcement(tenant, args.role));
}

/// What the role may do is said before the key is there: nobody reads it later.
fn announcement(tenant: &str, role: Role) -> String {
    let whose = if role == Role::Admin {
        format!(
            "warning: {tenant} only says whose list the key is in; use --role lead for who manages one tenant\n"
        )
    } else {
        String::new()
    };
    format!(
        "a key of role {role} for {tenant}, which {}\n{whose}it is shown this once:",
        role.powers()
    )
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;
    use crate::cli::Cli;

    #[test]
    fn it_is_said_whom_a_key_opens_the_system_to() {
        let admin = announcement("acme", Role::Admin);
        assert!(admin.contains("acts for EVERY tenant"), "{admin}");
        assert!(admin.contains("--role lead"), "{admin}");
        let lead = announcement("acme", Role::Lead);
        assert!(lead.contains("manages the tenant"), "{lead}");
        assert!(!lead.contains("EVERY"), "{lead}");
    }

    #[test]
    fn the_help_says_that_an_admin_is_one_of_the_system() {
        let mut cli = Cli::command();
        let key = cli.find_subcommand_mut("key").unwrap();
        let create = key.find_subcommand_mut("create").unwrap();
        let help = create.render_long_help().to_string();
        let words = help.split_whitespace().collect::<Vec<_>>().join(" ");
        for role in Role::ALL {
            let said = format!("{role}: {}", role.powers());
            assert!(words.contains(&said), "no `{said}` in {help}");
        }
    }
}
