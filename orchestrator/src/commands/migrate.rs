//! `migrate`

use crate::cli::MigrateArgs;
use crate::compose::data_dir::DataDir;
use crate::compose::{embedded, services};
use crate::config::{Flags, Loader};
use crate::exit::{Exit, UsageError};
use crate::output;

pub async fn run(args: MigrateArgs, loader: &Loader) -> anyhow::Result<Exit> {
    let config = loader.load(Flags::default().with(&args.data)?)?;
    let mut done = false;
    let folder_was_said = config.source("data_dir").starts_with("--");
    if let Some(url) = config
        .settings
        .database_url
        .as_ref()
        .filter(|_| !folder_was_said)
    {
        services::migrate(url).await?;
        output::say(format_args!("PostgreSQL at {} is up to date", url.shown()));
        done = true;
    }
    if config.is_set("data_dir") {
        let dir = DataDir::open(&config.settings.data_dir)?;
        embedded::open_store(&dir).await?.close().await;
        output::say(format_args!(
            "SQLite at {} is up to date",
            dir.database().display()
        ));
        done = true;
    }
    if done {
        return Ok(Exit::Ok);
    }
    let why = "which store? Set DATABASE_URL for PostgreSQL (scripts/services and docker-compose.yml give one), or name the folder of an embedded one with --data-dir";
    Err(UsageError(why.to_owned()).into())
}
