mod common;
use adapter_agents::workspace::*; use application::ports::*; use common::*; use domain::*;
use std::path::Path;
#[tokio::test]
async fn small() {
    let ws = GitWorkspaces::new(Path::new("/tmp/small/base"), Roots::new(vec!["/work".into()]), &environment(&[],&[],&[]));
    let r = ws.open(new_job(),1,Some(&Repository{path:"/work/main".into(), reference:"HEAD".into()})).await;
    println!("{:?}", r.map(|w| w.directory().to_owned()).unwrap_err().to_string());
    println!("swept {:?}", ws.sweep().await);
    println!("{:?}", std::fs::read_dir("/tmp/small/base/runs").map(|d| d.count()));
    let _ = std::fs::write("/tmp/small/fill", vec![1u8; 3_000_000]);
    let r = ws.open(new_job(),1,None).await;
    println!("{:?}", r.map(|w| w.directory().to_owned()).map_err(|e| e.to_string()));
    let mut run = Run::shell("echo hi");
    run.task.directory = "/tmp/small/x/tree".into();
    let _ = std::fs::create_dir_all("/tmp/small/x/tree");
    run.task.prompt = "p".repeat(100_000);
    println!("{:?}", run.run().await.map_err(|e| e.to_string()));
    let b = Run::shell("dd if=/dev/zero of=big bs=1M count=5 2>&1 >&2");
    let mut b = b; b.task.directory = "/tmp/small/x/tree".into(); b.task.prompt = String::new();
    println!("{:?}", b.run().await.map_err(|e| e.to_string()));
}
