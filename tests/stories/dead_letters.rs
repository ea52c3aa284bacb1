//! What failed for good is looked at together, and queued again together.

use serde_json::{Value, json};

use crate::harness::{Cli, Mode, Stand, Tenant};

const FAILED: usize = 5;

pub async fn dead_letters_are_queued_again_from_the_command_line(mode: Mode) {
    let stand = Stand::shared(mode).await;
    let tenant = stand.tenant().await;
    let admin = &stand.admin_key();
    let run = async |words: &[&str]| {
        let words = [&["dead-letter"], words, &["--as-tenant", tenant.slug.as_str()]].concat();
        Cli::run(&stand, admin, &words).await
    };
    // They fail until somebody has repaired what they need.
    let repaired = stand.scratch().join("repaired");
    let line = Tenant::line(&format!("[ -e {} ] || exit 3", repaired.display()), json!({}));
    let jobs = tenant.bulk(&vec![line; FAILED]).await;
    for job in &jobs {
        job.reaches("failed").await;
    }
    let list = run(&["list", "-o", "json"]).await.expect(0);
    let list: Value = serde_json::from_str(&list.stdout).unwrap();
    let groups = list["items"].as_array().unwrap();
    assert_eq!(groups.len(), 1, "one cause, one group: {list:#}");
    assert_eq!(groups[0]["count"], FAILED);
    let fingerprint = groups[0]["fingerprint"].as_str().unwrap();
    assert!(fingerprint.starts_with("COMMAND_FAILED"), "{fingerprint}");
    let table = run(&["list"]).await.expect(0);
    assert!(table.stdout.contains(fingerprint), "{}", table.stdout);

    let dry = run(&["replay", "--all", "--dry-run"]).await.expect(0);
    assert!(dry.stdout.starts_with(&FAILED.to_string()), "{}", dry.stdout);
    assert_eq!(tenant.sessions("&state=failed").await.len(), FAILED, "and nothing was done");
    run(&["replay"]).await.expect(2);

    std::fs::write(&repaired, "").unwrap();
    let replayed = run(&["replay", "--all", "-o", "json"]).await.expect(0);
    let replayed: Value = serde_json::from_str(&replayed.stdout).unwrap();
    let counts = ["matched", "replayed", "skipped"].map(|name| replayed[name].clone());
    assert_eq!(counts, [json!(FAILED), json!(FAILED), json!(0)], "{replayed:#}");
    assert_eq!(replayed["status"], "completed");
    for job in &jobs {
        job.reaches_again("completed").await;
        assert_eq!(job.outcomes().await, ["failed", "completed"]);
    }
    let shown = run(&["show", replayed["id"].as_str().unwrap()]).await.expect(0);
    assert!(shown.stdout.contains("completed"), "{}", shown.stdout);
    let none = run(&["replay", "--fingerprint", fingerprint, "--dry-run"]).await.expect(0);
    assert!(none.stdout.starts_with('0'), "{}", none.stdout);
    let other = stand.tenant().await;
    let id = replayed["id"].as_str().unwrap();
    let theirs = ["dead-letter", "abort", id, "--as-tenant", other.slug.as_str()];
    Cli::run(&stand, admin, &theirs).await.expect(4);
}
