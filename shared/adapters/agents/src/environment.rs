//! Which of the worker's environment variables a run may see: an allow-list, so that a new secret of the worker is
//! never handed on by default.

use std::ffi::{OsStr, OsString};

use crate::output::Redactor;

/// Handed on to every run. `LC_*` is handed on as well.
const HANDED_ON: [&str; 4] = ["PATH", "LANG", "LANGUAGE", "TZ"];
/// Where programs are looked for when the worker itself has no `PATH`.
const PATH_WITHOUT: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The variables that every run starts from, and the secrets that no log may show.
#[derive(Clone)]
pub struct Environment {
    handed_on: Vec<(OsString, OsString)>,
    redactor: Redactor,
}

impl Environment {
    /// `variables` are the worker's own. Beside the fixed allow-list those named in `allowed` are handed on; the values
    /// of those named in `secrets` are taken out of logs and errors wherever they show up.
    pub fn new(
        variables: impl IntoIterator<Item = (OsString, OsString)>,
        allowed: &[String],
        secrets: &[String],
    ) -> Self {
        let mut handed_on = vec![(OsString::from("TERM"), OsString::from("dumb"))];
        let mut values = Vec::new();
        for (name, value) in variables {
            if secrets.iter().any(|secret| OsStr::new(secret) == name) {
                values.push(value.to_string_lossy().into_owned());
            }
            if is_handed_on(&name) || allowed.iter().any(|other| OsStr::new(other) == name) {
                handed_on.push((name, value));
            }
        }
        if !handed_on.iter().any(|(name, _)| name == "PATH") {
            handed_on.push((OsString::from("PATH"), OsString::from(PATH_WITHOUT)));
        }
        Self {
            handed_on,
            redactor: Redactor::new(values),
        }
    }

    pub fn variables(&self) -> &[(OsString, OsString)] {
        &self.handed_on
    }

    pub fn redactor(&self) -> &Redactor {
        &self.redactor
    }

    /// Where programs are looked for.
    pub fn path(&self) -> &OsStr {
        self.handed_on
            .iter()
            .find(|(name, _)| name == "PATH")
            .map_or(OsStr::new(PATH_WITHOUT), |(_, value)| value)
    }
}

fn is_handed_on(name: &OsStr) -> bool {
    name.to_str()
        .is_some_and(|name| HANDED_ON.contains(&name) || name.starts_with("LC_"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vars(pairs: &[(&str, &str)]) -> Vec<(OsString, OsString)> {
        pairs
            .iter()
            .map(|(name, value)| (OsString::from(name), OsString::from(value)))
            .collect()
    }

    #[test]
    fn only_what_is_allowed_is_handed_on() {
        let environment = Environment::new(
            vars(&[
                ("PATH", "/bin"),
                ("LC_ALL", "C"),
                ("TERM", "xterm"),
                ("AWS_SECRET_ACCESS_KEY", "no"),
                ("MODEL_URL", "http://model"),
            ]),
            &["MODEL_URL".to_owned()],
            &[],
        );
        let mut names: Vec<&str> = environment
            .variables()
            .iter()
            .filter_map(|(name, _)| name.to_str())
            .collect();
        names.sort_unstable();
        assert_eq!(names, ["LC_ALL", "MODEL_URL", "PATH", "TERM"]);
        assert_eq!(environment.path(), "/bin");
        assert!(
            environment
                .variables()
                .contains(&(OsString::from("TERM"), OsString::from("dumb")))
        );
    }

    #[test]
    fn a_worker_without_a_path_still_finds_programs() {
        assert!(
            Environment::new(vec![], &[], &[])
                .path()
                .to_str()
                .is_some_and(|path| path.contains("/usr/bin"))
        );
    }
}
