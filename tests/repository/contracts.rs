//! Every adapter of a port that has a contract is held to it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use crate::files;

/// The contract that an implementation of a port must keep. Ports that are not here have no suite: what they do depends
/// on the outside (agents, trainers, worktrees), and their adapters have tests of their own.
const CONTRACTS: &[(&str, &str)] = &[
    ("JobStore", "store_contract"),
    ("EngineStore", "store_contract"),
    ("AgentStore", "store_contract"),
    ("AgentTaskStore", "store_contract"),
    ("TenantStore", "store_contract"),
    ("KeyStore", "store_contract"),
    ("ScheduleStore", "store_contract"),
    ("JobQueue", "queue_contract"),
    ("ReadySet", "ready_contract"),
    ("Locks", "locks_contract"),
    ("EventBus", "bus_contract"),
];
const ADAPTERS: &str = "shared/adapters";
const SUITES: &str = "shared/application/src/testing";

/// The sources of each adapter crate, tests included.
fn adapters() -> BTreeMap<PathBuf, String> {
    let mut adapters: BTreeMap<PathBuf, String> = BTreeMap::new();
    for path in files::with_extension("rs") {
        let Ok(below) = path.strip_prefix(ADAPTERS) else {
            continue;
        };
        let name = below.components().next().unwrap();
        let sources = adapters.entry(PathBuf::from(name.as_os_str())).or_default();
        sources.push_str(&files::text(&path));
    }
    assert!(adapters.len() > 4, "{:?}", adapters.keys());
    adapters
}

#[test]
fn every_adapter_runs_the_contract_of_its_ports() {
    let mut missing = Vec::new();
    let mut implemented = BTreeSet::new();
    for (adapter, sources) in adapters() {
        for (port, contract) in CONTRACTS {
            if !sources.contains(&format!("impl {port} for ")) {
                continue;
            }
            implemented.insert(*port);
            if !sources.contains(&format!("{contract}!(")) {
                missing.push(format!(
                    "{} implements {port} without {contract}!",
                    adapter.display()
                ));
            }
        }
    }
    assert!(missing.is_empty(), "{missing:#?}");
    for (port, _) in CONTRACTS {
        assert!(
            implemented.contains(port),
            "no adapter implements {port}; mend the table"
        );
    }
}

#[test]
fn every_suite_is_asked_for() {
    let mut suites = BTreeSet::new();
    for path in files::with_extension("rs") {
        if !path.starts_with(Path::new(SUITES)) {
            continue;
        }
        let text = files::text(&path);
        let macros = text.split("macro_rules! ").skip(1);
        suites.extend(macros.filter_map(|rest| rest.split_whitespace().next().map(str::to_owned)));
    }
    // What the suites themselves are made with.
    suites.remove("port_contract");
    let known: BTreeSet<String> = CONTRACTS
        .iter()
        .map(|(_, contract)| (*contract).to_owned())
        .collect();
    assert_eq!(
        suites, known,
        "a contract suite and the table of ports do not agree"
    );
}
