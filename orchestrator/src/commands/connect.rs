//! Which API a client command speaks to, and with which key.

use std::fs;
use std::path::Path;

use anyhow::Context as _;

use crate::cli::Connection;
use crate::client::Client;
use crate::compose::data_dir;
use crate::config::{Config, Flags, Loader, Secret, Settings};
use crate::exit::UsageError;

const DEFAULT_URL: &str = "http://127.0.0.1:8080";

/// A client as the flags and the rest of the configuration say.
pub fn client(connection: &Connection, loader: &Loader) -> anyhow::Result<Client> {
    from_config(&loader.load(Flags::default().with(connection)?)?)
}

pub fn from_config(config: &Config) -> anyhow::Result<Client> {
    let settings = &config.settings;
    // What a `dev` left in its data folder is for its own address only: its key is no other server's business.
    let (base, local) = match &settings.url {
        Some(url) => {
            let own = data_dir::running_url(&settings.data_dir);
            let is_own = own.is_some_and(|own| own == numbered(url.trim_end_matches('/')));
            (url.clone(), is_own)
        }
        None => (local_url(settings), true),
    };
    let key = key(config, local)?;
    Ok(Client::new(&base, key, settings.tenant.as_deref())?)
}

/// The address as a `dev` writes it down: in numbers, also where a person has used this machine's own name.
fn numbered(url: &str) -> String {
    url.replacen("://localhost:", "://127.0.0.1:", 1)
}

/// The API where none was named: the `dev` of the data folder, or the usual address.
pub fn local_url(settings: &Settings) -> String {
    data_dir::running_url(&settings.data_dir).unwrap_or_else(|| DEFAULT_URL.to_owned())
}

fn key(config: &Config, local: bool) -> anyhow::Result<Option<Secret>> {
    let settings = &config.settings;
    let file_was_said = config.source("key_file").starts_with("--");
    if let (Some(key), false) = (&settings.key, file_was_said) {
        return Ok(Some(key.clone()));
    }
    if let Some(path) = &settings.key_file {
        return read(path)
            .with_context(|| format!("the key file {} cannot be read", path.display()))
            .map_err(|error| UsageError(format!("{error:#}")).into())
            .map(Some);
    }
    if !local {
        return Ok(None);
    }
    // No `dev` here, or one of another user: the API will say whether it wants a key.
    Ok(read(&data_dir::admin_key(&settings.data_dir)).ok())
}

fn read(path: &Path) -> anyhow::Result<Secret> {
    let text = fs::read_to_string(path)?;
    let key = text.trim();
    anyhow::ensure!(!key.is_empty(), "it is empty");
    Ok(Secret::new(key))
}
