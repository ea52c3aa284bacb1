//! `openapi`

use crate::exit::Exit;
use crate::output;

pub fn run() -> anyhow::Result<Exit> {
    output::json(&producer::openapi())?;
    Ok(Exit::Ok)
}
