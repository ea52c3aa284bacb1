//! Query parameters, strictly: unknown ones and repeated ones are refused, so that a mistyped filter never widens a list
//! in silence.

use std::fmt::Display;
use std::str::FromStr;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use domain::Violations;

use crate::problem::Problem;

/// What a query may hold in all; far above what any address here takes.
const PAIRS_MAX: usize = 100;
const TEXT_MAX: usize = 200;

pub(crate) struct Query {
    pairs: Vec<(String, String)>,
    violations: Violations,
}

impl<S: Send + Sync> FromRequestParts<S> for Query {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let query = axum::extract::Query::<Vec<(String, String)>>::try_from_uri(&parts.uri);
        let pairs = query.map_or_else(|_| Vec::new(), |query| query.0);
        if pairs.len() > PAIRS_MAX {
            let detail = format!(
                "has {} parameters; at most {PAIRS_MAX} are read",
                pairs.len()
            );
            return Err(Problem::invalid_at("", detail));
        }
        Ok(Self {
            pairs,
            violations: Violations::default(),
        })
    }
}

impl Query {
    /// All values of `name`, separate or joined by commas.
    pub fn many<T>(&mut self, name: &str) -> Vec<T>
    where
        T: FromStr,
        T::Err: Display,
    {
        let mut values = Vec::new();
        for text in self.take(name) {
            for part in text.split(',').filter(|part| !part.is_empty()) {
                match part.parse::<T>() {
                    Ok(value) => values.push(value),
                    Err(error) => self.wrong(name, error.to_string()),
                }
            }
        }
        values
    }

    /// The one value of `name`.
    pub fn one<T>(&mut self, name: &str) -> Option<T>
    where
        T: FromStr,
        T::Err: Display,
    {
        let text = self.single(name)?;
        match text.parse() {
            Ok(value) => Some(value),
            Err(error) => {
                self.wrong(name, error.to_string());
                None
            }
        }
    }

    /// A text to look for: short, and nothing in it that a store could not hold.
    pub fn text(&mut self, name: &str) -> Option<String> {
        let text = self.single(name).filter(|text| !text.is_empty())?;
        if text.chars().count() > TEXT_MAX {
            self.wrong(name, format!("has more than {TEXT_MAX} characters"));
        }
        if text.chars().any(char::is_control) {
            self.wrong(name, "contains control characters".to_owned());
        }
        Some(text)
    }

    /// A whole number from `min` to `max`.
    pub fn number(&mut self, name: &str, min: i64, max: i64) -> Option<i64> {
        let text = self.single(name)?;
        match text.parse() {
            Ok(number) if (min..=max).contains(&number) => Some(number),
            _ => {
                let got: String = text.chars().take(32).collect();
                self.wrong(
                    name,
                    format!("is `{got}`; must be a whole number from {min} to {max}"),
                );
                None
            }
        }
    }

    pub fn flag(&mut self, name: &str) -> bool {
        match self.single(name).as_deref() {
            None | Some("false") => false,
            Some("true") => true,
            Some(_) => {
                self.wrong(name, "must be true or false".to_owned());
                false
            }
        }
    }

    pub fn wrong(&mut self, name: &str, detail: String) {
        self.violations.add(format!("/{name}"), detail);
    }

    /// Everything that was wrong, parameters that nobody asked for included.
    pub fn finish(mut self) -> Result<(), Problem> {
        for (name, _) in std::mem::take(&mut self.pairs) {
            let name: String = name.chars().take(64).collect();
            self.wrong(
                &crate::body::escape(&name),
                "is not a parameter of this address".to_owned(),
            );
        }
        self.violations.or(()).map_err(Problem::invalid)
    }

    fn single(&mut self, name: &str) -> Option<String> {
        let mut values = self.take(name);
        if values.len() > 1 {
            self.wrong(name, "is given more than once".to_owned());
        }
        values.pop()
    }

    fn take(&mut self, name: &str) -> Vec<String> {
        let (taken, rest) = std::mem::take(&mut self.pairs)
            .into_iter()
            .partition(|(key, _)| key == name);
        self.pairs = rest;
        let taken: Vec<(String, String)> = taken;
        taken.into_iter().map(|(_, value)| value).collect()
    }
}
