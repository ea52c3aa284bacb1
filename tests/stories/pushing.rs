//! What a session made comes back as a branch of the repository, and nobody else's branch is touched.

use serde_json::{Value, json};

use crate::harness::{Mode, Repo, Stand};

fn asks(repo: &Repo, push: &Value) -> Value {
    json!({"title": "Write a note", "repository": {"path": repo.path()}, "push": push})
}

pub async fn a_session_comes_back_as_a_branch(mode: Mode) {
    let stand = Stand::shared(mode).await;
    let tenant = stand.tenant().await;
    let repo = stand.repo();
    let main = repo.git(&["rev-parse", "main"]);
    // A hook that runs would tell.
    let hook = repo.path().join(".git/hooks/update");
    std::fs::create_dir_all(hook.parent().unwrap()).unwrap();
    std::fs::write(&hook, "#!/bin/sh\ntouch hook-ran\nexit 1\n").unwrap();
    let mut executable = std::fs::metadata(&hook).unwrap().permissions();
    std::os::unix::fs::PermissionsExt::set_mode(&mut executable, 0o755);
    std::fs::set_permissions(&hook, executable).unwrap();

    let line = "echo note > NOTE; rm old.txt; printf 'a\\000b' > blob.bin";
    let job = tenant.command_with(line, asks(&repo, &json!(true))).await;
    let done = job.reaches("completed").await;
    let branch = format!("orchestrator/{}", job.id);
    let pushed = &done["result"]["push"];
    assert_eq!(pushed["branch"], branch, "{done:#}");
    assert_eq!(repo.git(&["rev-parse", &branch]).trim(), pushed["commit"]);
    assert_eq!(repo.git(&["rev-parse", &format!("{branch}^")]), main);
    let said = repo.git(&["log", "-1", "--format=%an <%ae>|%s|%(trailers:key=Orchestrator-Session,valueonly)", &branch]);
    let expected = format!("Orchestrator <orchestrator@localhost>|Write a note|{}", job.id);
    assert_eq!(said.trim(), expected);
    let changed = repo.git(&["diff", "--name-status", "main", &branch]);
    assert_eq!(changed, "A\tNOTE\nM\tblob.bin\nD\told.txt\n");
    // The user's own branch and files are as they were.
    assert_eq!(repo.git(&["rev-parse", "main"]), main);
    assert_eq!(repo.git(&["status", "--porcelain"]), "");
    assert!(!repo.path().join("hook-ran").exists() && !repo.path().join(".git/hook-ran").exists());

    let nothing = tenant.command_with("true", asks(&repo, &json!(true))).await;
    let done = nothing.reaches("completed").await;
    assert!(done["result"]["push"].is_null(), "{done:#}");
    assert_eq!(repo.git(&["branch", "--list", &format!("orchestrator/{}", nothing.id)]), "");
}

pub async fn a_branch_of_others_is_left_alone_and_its_own_is_renewed(mode: Mode) {
    let stand = Stand::shared(mode).await;
    let tenant = stand.tenant().await;
    let repo = stand.repo();
    repo.git(&["branch", "taken"]);
    let before = repo.git(&["rev-parse", "taken"]);
    let job = tenant.command_with("echo x > X", asks(&repo, &json!({"branch": "taken"}))).await;
    let failed = job.reaches("failed").await;
    assert_eq!(failed["error"]["code"], "PUSH_BRANCH_TAKEN", "{failed:#}");
    assert!(job.diff().await.contains("+x"), "what it made is kept");
    assert_eq!(repo.git(&["rev-parse", "taken"]), before);

    // A later run of the same session replaces what its earlier one pushed.
    let count = stand.scratch().join("runs");
    let line = format!(
        "echo run >> {count}; wc -l < {count} > RUNS; [ $(wc -l < {count}) -ge 2 ]",
        count = count.display()
    );
    let mut body = asks(&repo, &json!({"branch": "mine"}));
    body["max_attempts"] = json!(1);
    let job = tenant.command_with(&line, body).await;
    job.reaches("failed").await;
    assert_eq!(repo.git(&["branch", "--list", "mine"]), "", "a failed session pushes nothing");
    job.act("retry").await.expect(200);
    let done = job.reaches_again("completed").await;
    let first = done["result"]["push"]["commit"].as_str().unwrap().to_owned();
    assert_eq!(repo.git(&["show", "mine:RUNS"]).trim(), "2");

    // A person went on with it: theirs now.
    repo.git(&["checkout", "--quiet", "mine"]);
    repo.write("PERSON", b"mine\n");
    repo.commit("by hand");
    let person = repo.git(&["rev-parse", "mine"]);
    assert_eq!(repo.git(&["rev-parse", "mine^"]).trim(), first);
    let other = tenant.command_with("echo y > Y", asks(&repo, &json!({"branch": "mine"}))).await;
    let failed = other.reaches("failed").await;
    assert_eq!(failed["error"]["code"], "PUSH_BRANCH_TAKEN");
    assert_eq!(repo.git(&["rev-parse", "mine"]), person);
}

pub async fn a_push_that_cannot_be_is_refused_at_once(mode: Mode) {
    let stand = Stand::shared(mode).await;
    let tenant = stand.tenant().await;
    let echo = json!({"kind": "echo"});
    let body = |more: Value| {
        let mut body = json!({"title": "t", "agent": echo});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        body
    };
    let problem = tenant.api.post("/api/v1/sessions", &body(json!({"push": true}))).await;
    let problem = problem.expect_problem(422, "VALIDATION_ERROR");
    assert_eq!(problem["errors"][0]["pointer"], "/push", "{problem:#}");
    let bad = json!({"push": {"branch": "a..b"}, "repository": {"path": "/x"}});
    let problem = tenant.api.post("/api/v1/sessions", &body(bad)).await;
    let problem = problem.expect_problem(422, "VALIDATION_ERROR");
    assert_eq!(problem["errors"][0]["pointer"], "/push/branch", "{problem:#}");
}
