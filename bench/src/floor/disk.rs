//! How often the disk makes an append durable. The file grows each time, which costs its size too; databases that write
//! over space they have already, as write-ahead logs do after a while, can be faster than this.

use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::time::Instant;

use super::{TIME, rate};
use crate::outcome::Outcome;
use crate::progress::Progress;

const BLOCK: [u8; 4096] = [7; 4096];

pub fn measure(folder: &Path, outcome: &mut Outcome, progress: &Progress) -> anyhow::Result<()> {
    let mut file = File::create(folder.join("appended"))?;
    let (began, mut count) = (Instant::now(), 0);
    while began.elapsed() < TIME {
        file.write_all(&BLOCK)?;
        file.sync_data()?;
        count += 1;
    }
    outcome.figure("disk_fdatasyncs_s", rate(count, began));
    progress.add(1);
    Ok(())
}
