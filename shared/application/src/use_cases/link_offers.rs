//! Jobs that are handed in together may wait for each other by name: names become ids, and rounds are refused before
//! anything is stored.

use std::collections::{BTreeMap, HashMap};

use domain::{JobId, NewJob, Violations, find_cycle};

/// A name in one submission is a word, not a text.
const NAME_MAX: usize = 64;

/// A job as a client hands it in.
#[derive(Debug, Clone, PartialEq)]
pub struct Offer {
    pub job: NewJob,
    /// What others of the same submission call it.
    pub name: Option<String>,
    /// Others of the same submission that must end well first; those that are stored already stand in the job.
    pub after: Vec<String>,
}

impl From<NewJob> for Offer {
    fn from(job: NewJob) -> Self {
        Self {
            job,
            name: None,
            after: Vec::new(),
        }
    }
}

/// Gives each offer, whose job will have the id at the same index, its prerequisites. Returns what is wrong by index.
pub(super) fn link(
    offers: Vec<Offer>,
    ids: &[JobId],
) -> Result<Vec<NewJob>, Vec<(usize, Violations)>> {
    let mut invalid: BTreeMap<usize, Violations> = BTreeMap::new();
    let named = names(&offers, ids, &mut invalid);
    let words: HashMap<JobId, String> =
        named.iter().map(|(name, id)| (*id, name.clone())).collect();
    let mut edges: BTreeMap<JobId, Vec<JobId>> = BTreeMap::new();
    let mut jobs = Vec::with_capacity(offers.len());
    for (index, offer) in offers.into_iter().enumerate() {
        let mut job = offer.job;
        for name in &offer.after {
            match named.get(name) {
                Some(id) => job.depends_on.push(*id),
                None => invalid.entry(index).or_default().add(
                    "/depends_on",
                    format!("`{name}` is neither the id of a job nor a name in this request"),
                ),
            }
        }
        job.depends_on.sort_unstable();
        job.depends_on.dedup();
        if !offer.after.is_empty() {
            edges.insert(ids[index], job.depends_on.clone());
        }
        jobs.push(job);
    }
    if let Some(cycle) = find_cycle(&edges) {
        let index = ids.iter().position(|id| Some(id) == cycle.first());
        let path: Vec<&str> = cycle
            .iter()
            .map(|id| words.get(id).map_or("", String::as_str))
            .collect();
        invalid.entry(index.unwrap_or(0)).or_default().add(
            "/depends_on",
            format!("these jobs wait for each other: {}", path.join(" -> ")),
        );
    }
    if invalid.is_empty() {
        Ok(jobs)
    } else {
        Err(invalid.into_iter().collect())
    }
}

fn names(
    offers: &[Offer],
    ids: &[JobId],
    invalid: &mut BTreeMap<usize, Violations>,
) -> BTreeMap<String, JobId> {
    let mut named = BTreeMap::new();
    for (index, (offer, id)) in offers.iter().zip(ids).enumerate() {
        let Some(name) = &offer.name else { continue };
        let wrong = if name.is_empty() || name.chars().count() > NAME_MAX {
            Some(format!("must have 1 to {NAME_MAX} characters"))
        } else if named.contains_key(name) {
            Some(format!(
                "`{name}` is another job's name in this request already"
            ))
        } else {
            None
        };
        match wrong {
            Some(detail) => invalid.entry(index).or_default().add("/name", detail),
            None => {
                named.insert(name.clone(), *id);
            }
        }
    }
    named
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::testing::make;

    fn ids(count: u128) -> Vec<JobId> {
        (1..=count)
            .map(|n| JobId::from_uuid(Uuid::from_u128(n)))
            .collect()
    }

    fn offer(name: &str, after: &[&str]) -> Offer {
        Offer {
            name: Some(name.to_owned()),
            after: after.iter().map(|&name| name.to_owned()).collect(),
            ..make::new_session(name).into()
        }
    }

    #[test]
    fn names_become_ids() {
        let ids = ids(3);
        let offers = vec![
            offer("test", &["build", "build"]),
            offer("build", &[]),
            offer("ship", &["test", "build"]),
        ];
        let jobs = link(offers, &ids).unwrap();
        assert_eq!(jobs[0].depends_on, [ids[1]]);
        assert_eq!(jobs[2].depends_on, [ids[0], ids[1]]);
    }

    #[test]
    fn a_round_is_refused_with_its_names() {
        let offers = vec![offer("a", &["c"]), offer("b", &["a"]), offer("c", &["b"])];
        let wrong = link(offers, &ids(3)).unwrap_err();
        assert_eq!(wrong[0].0, 0);
        assert_eq!(
            wrong[0].1.0[0].detail,
            "these jobs wait for each other: a -> c -> b -> a"
        );
        let own = link(vec![offer("a", &["a"])], &ids(1)).unwrap_err();
        assert!(own[0].1.0[0].detail.ends_with("a -> a"), "{own:?}");
    }

    #[test]
    fn unknown_and_doubled_names_are_refused_where_they_stand() {
        let offers = vec![offer("a", &["nobody"]), offer("a", &[])];
        let wrong = link(offers, &ids(2)).unwrap_err();
        let places: Vec<_> = wrong
            .iter()
            .map(|(index, it)| (*index, it.0[0].pointer.as_str()))
            .collect();
        assert_eq!(places, [(0, "/depends_on"), (1, "/name")]);
    }
}
