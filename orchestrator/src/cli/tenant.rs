//! Tenants and keys: what an installation's operator does.

use std::path::PathBuf;
use std::str::FromStr;

use clap::{Args, Subcommand, value_parser};
use domain::{LimitChange, NewTenant, Quotas, Role};
use serde::Serialize;

use super::{Connection, Listing};
use crate::output::Format;

#[derive(Debug, Subcommand)]
pub enum TenantCommand {
    /// Create a tenant
    #[command(after_help = "\
Example:
  orchestrator tenant create acme --name 'Acme Ltd' --sessions 4 --training 1")]
    Create(TenantCreateArgs),
    /// List all tenants
    #[command(after_help = "Example:\n  orchestrator tenant list")]
    List(Listing),
    /// Show a tenant, its limits and what its sessions have used in this month
    #[command(after_help = "Example:\n  orchestrator tenant get acme")]
    Get(OneTenant),
    /// Change a tenant's quotas, weight, backlog limit or monthly budget; raised ones take effect at once
    #[command(after_help = "\
Examples:
  orchestrator tenant set-quota acme --sessions 8
  orchestrator tenant set-quota acme --monthly-tokens 50000000 --monthly-cost-usd none
  orchestrator tenant set-quota acme --weight 3 --max-queued 50000")]
    SetQuota(TenantQuotaArgs),
    /// Start no more jobs of any of its queues until it is resumed; running ones go on (needs a lead's key)
    #[command(after_help = "Example:\n  orchestrator tenant pause acme")]
    Pause(OneTenant),
    /// End pauses and drains of all its queues
    #[command(after_help = "Example:\n  orchestrator tenant resume acme")]
    Resume(OneTenant),
    /// Take no new jobs, and work off those that wait, until it is resumed
    #[command(after_help = "Example:\n  orchestrator tenant drain acme")]
    Drain(OneTenant),
}

#[derive(Debug, Args)]
pub struct OneTenant {
    /// Slug or id
    #[arg(id = "named", value_name = "TENANT")]
    pub tenant: String,
    #[command(flatten)]
    pub listing: Listing,
}

#[derive(Debug, Args)]
pub struct TenantCreateArgs {
    /// Short name of a-z, 0-9 and -
    pub slug: String,
    /// Name for people [default: the slug]
    #[arg(long)]
    pub name: Option<String>,
    /// Sessions it may run at once
    #[arg(long, value_name = "N", default_value_t = Quotas::default().session, allow_negative_numbers = true, value_parser = quota)]
    pub sessions: u32,
    /// Training jobs it may run at once
    #[arg(long, value_name = "N", default_value_t = Quotas::default().training, allow_negative_numbers = true, value_parser = quota)]
    pub training: u32,
    /// Jobs that may wait at once, all kinds together
    #[arg(long, value_name = "N", default_value_t = NewTenant::DEFAULT_MAX_QUEUED, allow_negative_numbers = true, value_parser = value_parser!(u32).range(1..))]
    pub max_queued: u32,
    /// Its share of the workers relative to others
    #[arg(long, value_name = "N", default_value_t = NewTenant::DEFAULT_WEIGHT, allow_negative_numbers = true, value_parser = value_parser!(u32).range(1..))]
    pub weight: u32,
    /// Tokens that its sessions may use in a calendar month, by UTC [default: no limit]
    #[arg(long, value_name = "N", value_parser = value_parser!(u64).range(1..))]
    pub monthly_tokens: Option<u64>,
    /// What they may cost in a calendar month, as their agents report it [default: no limit]
    #[arg(long, value_name = "COST")]
    pub monthly_cost_usd: Option<f64>,
    #[command(flatten)]
    pub connection: Connection,
    /// How to write the answer
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Format,
}

#[derive(Debug, Args)]
#[group(id = "change", required = true, multiple = true, args = ["sessions", "training", "max_queued", "weight", "monthly_tokens", "monthly_cost_usd"])]
pub struct TenantQuotaArgs {
    /// Slug or id
    // Another id than that of --as-tenant.
    #[arg(id = "named", value_name = "TENANT")]
    pub tenant: String,
    /// Sessions it may run at once
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = quota)]
    pub sessions: Option<u32>,
    /// Training jobs it may run at once
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = quota)]
    pub training: Option<u32>,
    /// Jobs that may wait at once, all kinds together
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = value_parser!(u32).range(1..))]
    pub max_queued: Option<u32>,
    /// Its share of the workers relative to others
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = value_parser!(u32).range(1..))]
    pub weight: Option<u32>,
    /// Tokens that its sessions may use in a calendar month, by UTC; `none`: no limit
    #[arg(long, value_name = "N|none", value_parser = limit::<u64>)]
    pub monthly_tokens: Option<LimitChange<u64>>,
    /// What they may cost in a calendar month, as their agents report it; `none`: no limit
    #[arg(long, value_name = "COST|none", value_parser = limit::<f64>)]
    pub monthly_cost_usd: Option<LimitChange<f64>>,
    #[command(flatten)]
    pub connection: Connection,
    /// How to write the answer
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Format,
}

/// A limit, or none.
fn limit<T: FromStr>(text: &str) -> Result<LimitChange<T>, String> {
    if text == "none" {
        return Ok(LimitChange::Lift);
    }
    let limit = text.parse().map(LimitChange::Set);
    limit.map_err(|_| "must be a number, or `none` for no limit".to_owned())
}

/// A quota of none is a pause, which says so wherever its jobs are shown.
fn quota(text: &str) -> Result<u32, String> {
    let number = text.parse().ok().filter(|number| *number > 0);
    number.ok_or_else(|| {
        "must be a whole number of at least 1; to start no more jobs, pause the tenant or its queue instead".to_owned()
    })
}

#[derive(Debug, Subcommand)]
pub enum KeyCommand {
    /// Make an API key and print it, alone, on standard output; it is shown this once
    ///
    /// Works straight on the store where DATABASE_URL is set or --data-dir is given, so that an installation's first
    /// key can be made; the tenant `default` is made with it if it does not exist yet. Else, or with --url, it asks the
    /// API.
    #[command(after_help = "\
Examples:
  orchestrator key create --tenant default --role admin > admin.key
  orchestrator key create --tenant acme --role member --name ci
  orchestrator key create --data-dir .orchestrator --role viewer")]
    Create(KeyCreateArgs),
}

#[derive(Debug, Args)]
pub struct KeyCreateArgs {
    /// Tenant that the key opens, slug or id; one of role admin opens all of them [default: `default`; through the API, the
    /// caller's own]
    #[arg(long)]
    pub tenant: Option<String>,
    /// What it may do: viewer, member, lead, or admin of the WHOLE SYSTEM
    #[arg(long, default_value_t = Role::Member, long_help = roles())]
    pub role: Role,
    /// What it is for, seen in lists
    #[arg(long, default_value = "made on the command line")]
    pub name: String,
    #[command(flatten)]
    pub target: KeyTarget,
}

fn roles() -> String {
    let roles = Role::ALL.map(|role| format!("  {role}: {}", role.powers()));
    format!("What it may do:\n{}", roles.join("\n"))
}

/// Where the key is made.
#[derive(Debug, Args, Serialize)]
pub struct KeyTarget {
    /// The API, instead of the store
    #[arg(long, value_name = "URL")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// File with the API key that may make keys
    #[arg(long, value_name = "FILE", requires = "url")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_file: Option<PathBuf>,
    /// Data folder of the embedded mode: make the key in its store
    #[arg(long, value_name = "DIR", conflicts_with = "url")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data_dir: Option<PathBuf>,
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use crate::cli::Cli;

    #[test]
    fn a_quota_that_is_none_is_told_what_would_be_right() {
        for words in [
            ["--sessions", "-1"],
            ["--sessions", "0"],
            ["--training", "x"],
        ] {
            let start = ["orchestrator", "tenant", "set-quota", "acme"];
            let error = Cli::try_parse_from(start.iter().chain(&words)).unwrap_err();
            let text = error.to_string();
            assert!(text.contains("pause the tenant"), "{text}");
            assert!(!text.contains("-- -1"), "{text}");
        }
    }
}
