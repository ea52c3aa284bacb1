//! A diff as lines with what each of them is.

use futures::StreamExt as _;

use application::ports::Blobs;
use domain::{Artifact, TenantId};

use crate::problem::Problem;

/// More of a diff than this is downloaded, not shown.
const SHOWN_BYTES: usize = 256 * 1024;

pub(super) struct DiffView {
    pub lines: Vec<DiffLine>,
    /// True when the diff goes on beyond what is shown.
    pub cut: bool,
}

pub(super) struct DiffLine {
    /// A class of the style sheet.
    pub kind: &'static str,
    pub text: String,
}

impl DiffView {
    pub async fn read(
        blobs: &dyn Blobs,
        tenant: TenantId,
        artifact: &Artifact,
    ) -> Result<Option<Self>, Problem> {
        let Some(mut parts) = blobs.get(tenant, artifact.id).await? else {
            return Ok(None);
        };
        let mut bytes = Vec::new();
        while bytes.len() <= SHOWN_BYTES {
            let Some(part) = parts.next().await else {
                break;
            };
            bytes.extend(part?);
        }
        let cut = bytes.len() > SHOWN_BYTES;
        bytes.truncate(SHOWN_BYTES);
        Ok(Some(Self {
            lines: lines(&String::from_utf8_lossy(&bytes)),
            cut,
        }))
    }
}

fn lines(text: &str) -> Vec<DiffLine> {
    text.lines()
        .map(|line| DiffLine {
            kind: kind(line),
            text: line.to_owned(),
        })
        .collect()
}

fn kind(line: &str) -> &'static str {
    let heads = [
        "diff ",
        "index ",
        "+++ ",
        "--- ",
        "new file",
        "deleted file",
        "rename ",
        "similarity ",
    ];
    if heads.iter().any(|head| line.starts_with(head)) {
        "head"
    } else if line.starts_with("@@") {
        "hunk"
    } else if line.starts_with('+') {
        "add"
    } else if line.starts_with('-') {
        "del"
    } else {
        "same"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_line_is_known_for_what_it_is() {
        let text = "diff --git a/x b/x\n--- a/x\n+++ b/x\n@@ -1 +1 @@\n-old\n+new\n same";
        let kinds: Vec<&str> = lines(text).iter().map(|line| line.kind).collect();
        assert_eq!(
            kinds,
            ["head", "head", "head", "hunk", "del", "add", "same"]
        );
    }
}
