//! domain <- application <- adapters <- {producer, workers} <- orchestrator, and each client library behind its adapter.

use std::collections::{BTreeMap, BTreeSet};

use cargo_metadata::{DependencyKind, Metadata, Package, PackageId};

use crate::files::metadata;

/// Which of our crates a crate's own code may know. Adapters are told by their names.
fn may_know(package: &str, other: &str) -> bool {
    let is_adapter = |name: &str| name.starts_with("adapter-");
    match package {
        "domain" | "telemetry" => false,
        "application" => other == "domain",
        "producer" | "workers" => ["domain", "application", "telemetry"].contains(&other),
        "orchestrator" => other != "stories" && other != "simulation",
        // The engine in a world of its own: it picks adapters as the binary does.
        "simulation" => true,
        // It runs jobs' programs the same way.
        "adapter-training" if other == "adapter-agents" => true,
        adapter if is_adapter(adapter) => ["domain", "application", "telemetry"].contains(&other),
        _ => false,
    }
}

/// Who may use a client library. The stories do it to make room for themselves, in tests only; the benchmark looks at
/// the stores from outside and measures the servers by themselves.
const CLIENTS: &[(&str, &[&str])] = &[
    ("tokio-postgres", &["adapter-postgres", "bench"]),
    ("deadpool-postgres", &["adapter-postgres"]),
    (
        "sqlx",
        &["adapter-postgres", "adapter-sqlite", "bench", "simulation"],
    ),
    ("lapin", &["adapter-rabbitmq", "bench"]),
    ("redis", &["adapter-redis", "bench"]),
    ("object_store", &["adapter-artifacts"]),
    ("axum", &["producer"]),
    ("utoipa", &["producer"]),
    ("clap", &["orchestrator", "bench"]),
    ("figment", &["orchestrator"]),
];

/// What the pure crate may be built of, directly.
const DOMAIN_MAY_USE: &[&str] = &["chrono", "serde", "serde_json", "thiserror", "uuid"];
/// What must not be in it by any way.
const NEVER_IN_DOMAIN: &[&str] = &["tokio", "futures", "async-trait", "mio", "hyper"];

fn members(metadata: &Metadata) -> Vec<&Package> {
    metadata.workspace_packages()
}

/// Dependencies of a package's own code, not of its tests.
fn own_dependencies(package: &Package) -> BTreeSet<&str> {
    let dependencies = package.dependencies.iter();
    dependencies
        .filter(|dependency| dependency.kind != DependencyKind::Development)
        .map(|dependency| dependency.name.as_str())
        .collect()
}

#[test]
fn crates_know_each_other_in_one_direction() {
    let metadata = metadata();
    let ours: BTreeSet<&str> = members(&metadata)
        .iter()
        .map(|it| it.name.as_str())
        .collect();
    assert!(
        ours.contains("domain") && ours.contains("orchestrator"),
        "{ours:?}"
    );
    let wrong: Vec<String> = members(&metadata)
        .iter()
        .flat_map(|package| {
            let name = package.name.as_str();
            own_dependencies(package)
                .into_iter()
                .filter(|other| ours.contains(other) && !may_know(name, other))
                .map(move |other| format!("{name} -> {other}"))
        })
        .collect();
    assert!(
        wrong.is_empty(),
        "these go against the direction: {wrong:?}"
    );
}

#[test]
fn each_client_library_stays_behind_its_adapter() {
    let metadata = metadata();
    let mut wrong = Vec::new();
    for package in members(&metadata) {
        for (library, adapters) in CLIENTS {
            let uses = own_dependencies(package).contains(library);
            if uses && !adapters.contains(&package.name.as_str()) {
                wrong.push(format!(
                    "{} uses {library}, which is for {adapters:?}",
                    package.name
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:?}");
    for (library, adapters) in CLIENTS {
        for adapter in *adapters {
            let package = members(&metadata)
                .into_iter()
                .find(|it| it.name.as_str() == *adapter);
            let package = package.unwrap_or_else(|| panic!("there is no crate {adapter} any more"));
            let uses = own_dependencies(package).contains(library);
            assert!(
                uses,
                "{adapter} does not use {library} any more; mend the table"
            );
        }
    }
}

#[test]
fn the_domain_is_pure() {
    let metadata = metadata();
    let domain = members(&metadata)
        .into_iter()
        .find(|it| it.name.as_str() == "domain")
        .unwrap();
    let foreign: Vec<&str> = own_dependencies(domain)
        .into_iter()
        .filter(|name| !DOMAIN_MAY_USE.contains(name))
        .collect();
    assert!(foreign.is_empty(), "domain has no use for {foreign:?}");
    let reached = reached_from(&metadata, &domain.id);
    let wrong: Vec<_> = NEVER_IN_DOMAIN
        .iter()
        .filter(|name| reached.contains(**name))
        .collect();
    assert!(wrong.is_empty(), "domain is built of {wrong:?}");
    assert!(
        reached.contains("serde"),
        "the search finds nothing: {reached:?}"
    );
}

/// The names of all packages that a package's own code is built of.
fn reached_from<'a>(metadata: &'a Metadata, from: &PackageId) -> BTreeSet<&'a str> {
    let resolve = metadata.resolve.as_ref().unwrap();
    let nodes: BTreeMap<_, _> = resolve.nodes.iter().map(|node| (&node.id, node)).collect();
    let mut open = vec![from];
    let mut seen = BTreeSet::new();
    while let Some(id) = open.pop() {
        for dependency in &nodes[id].deps {
            let kinds = &dependency.dep_kinds;
            let used = kinds.iter().any(|kind| kind.kind == DependencyKind::Normal);
            if used && seen.insert(&dependency.pkg) {
                open.push(&dependency.pkg);
            }
        }
    }
    seen.into_iter()
        .map(|id| metadata[id].name.as_str())
        .collect()
}
