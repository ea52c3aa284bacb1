//! Lists in settings: a TOML array, or one text with its items separated, as the environment has them.

use std::fmt::Display;
use std::path::PathBuf;
use std::str::FromStr;

use domain::Labels;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

impl OneOrMany {
    fn items(self, separators: &[char]) -> Vec<String> {
        match self {
            Self::Many(items) => items,
            Self::One(text) => text
                .split(separators)
                .map(str::trim)
                .filter(|item| !item.is_empty())
                .map(str::to_owned)
                .collect(),
        }
    }
}

fn parse<T, E>(list: OneOrMany) -> Result<Vec<T>, E>
where
    T: FromStr<Err: Display>,
    E: serde::de::Error,
{
    list.items(&[','])
        .iter()
        .map(|item| item.parse().map_err(E::custom))
        .collect()
}

/// `session,training` or `["session", "training"]`; not empty.
pub fn parsed<'de, D, T>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    T: FromStr<Err: Display>,
{
    let items: Vec<T> = parse(OneOrMany::deserialize(deserializer)?)?;
    if items.is_empty() {
        return Err(D::Error::custom("the list is empty; name at least one"));
    }
    Ok(items)
}

pub fn parsed_if_set<'de, D, T>(deserializer: D) -> Result<Option<Vec<T>>, D::Error>
where
    D: Deserializer<'de>,
    T: FromStr<Err: Display>,
{
    Option::<OneOrMany>::deserialize(deserializer)?
        .map(parse)
        .transpose()
}

/// `/srv/repos:/data`, `/srv/repos,/data` or an array. Paths with a colon or a comma need the array.
pub fn paths_if_set<'de, D>(deserializer: D) -> Result<Option<Vec<PathBuf>>, D::Error>
where
    D: Deserializer<'de>,
{
    let list = Option::<OneOrMany>::deserialize(deserializer)?;
    Ok(list.map(|list| {
        list.items(&[',', ':'])
            .into_iter()
            .map(PathBuf::from)
            .collect()
    }))
}

#[derive(Deserialize)]
#[serde(untagged)]
enum LabelsAs {
    Table(Labels),
    List(OneOrMany),
}

/// `gpu=h100,region=eu`, an array of such, or a table `{ gpu = "h100" }`.
pub fn labels<'de, D>(deserializer: D) -> Result<Labels, D::Error>
where
    D: Deserializer<'de>,
{
    let text = match LabelsAs::deserialize(deserializer)? {
        LabelsAs::Table(labels) => labels.to_string(),
        LabelsAs::List(list) => list.items(&[',']).join(","),
    };
    text.parse().map_err(D::Error::custom)
}
