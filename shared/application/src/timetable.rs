//! When a schedule ticks: cron's notation, told in a time zone.
//!
//! It stands here and not in the domain because calendars and time zones are libraries', and the domain is built of
//! none. It is a value like those there: no clock, no I/O. The zones' rules are compiled in, so every process of one
//! version agrees on them, whatever its machine knows.
//!
//! When clocks change:
//! - A fixed time of day (`30 2 * * *`) ticks once every day: where clocks jump over it, at the end of the gap; where it
//!   comes twice, the first time.
//! - Anything that names several hours or minutes (`*/30 * * * *`, `0,30 2 * * *`) follows the clock on the wall: what
//!   clocks jump over is left out, and what comes twice ticks twice.

use chrono_tz::Tz;
use croner::Cron;
use croner::errors::CronError;
use croner::parser::{CronParser, Seconds, Year};
use domain::{Timestamp, Violations};

/// Longer than any timetable that a person understands; the domain refuses longer ones too.
const TEXT_MAX: usize = 200;

#[derive(Debug, Clone)]
pub struct Timetable {
    cron: Cron,
    zone: Tz,
}

/// What is wrong with a timetable, in words for who wrote it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotATimetable {
    #[error(
        "`{text}` is not a timetable: {why}. It has five fields (minute, hour, day of month, month, day of week), such as \
         `30 3 * * 1-5`, or is @hourly, @daily, @weekly, @monthly or @yearly"
    )]
    Cron { text: String, why: String },
    #[error("`{0}` never comes: no such day exists. Check the day of the month against the month")]
    Never(String),
    #[error(
        "`{0}` is not a time zone; use a name of the IANA database, such as UTC or Europe/Berlin"
    )]
    Zone(String),
}

impl NotATimetable {
    /// Where in a schedule the wrong text stands.
    pub fn violations(&self) -> Violations {
        let pointer = match self {
            Self::Cron { .. } | Self::Never(_) => "/cron",
            Self::Zone(_) => "/timezone",
        };
        let mut violations = Violations::default();
        violations.add(pointer, self.to_string());
        violations
    }
}

impl Timetable {
    pub fn parse(cron: &str, timezone: &str) -> Result<Self, NotATimetable> {
        let zone = timezone
            .parse()
            .map_err(|_| NotATimetable::Zone(start(timezone)))?;
        let not = |why: String| NotATimetable::Cron {
            text: start(cron),
            why,
        };
        if cron.len() > TEXT_MAX {
            return Err(not(format!("it has more than {TEXT_MAX} characters")));
        }
        let parser = CronParser::builder()
            .seconds(Seconds::Disallowed)
            .year(Year::Disallowed)
            .build();
        let parsed = parser.parse(cron).map_err(|error| not(why(&error)))?;
        Ok(Self { cron: parsed, zone })
    }

    /// The first tick after `instant`. [`NotATimetable::Never`] for what has none, as the 30th of February.
    pub fn after(&self, instant: Timestamp) -> Result<Timestamp, NotATimetable> {
        self.cron
            .find_next_occurrence(&instant.with_timezone(&self.zone), false)
            .map(|tick| tick.to_utc())
            .map_err(|_| NotATimetable::Never(self.cron.pattern.to_string()))
    }

    /// The first `count` ticks after `instant`.
    pub fn next(&self, instant: Timestamp, count: usize) -> Vec<Timestamp> {
        let first = self.after(instant).ok();
        std::iter::successors(first, |tick| self.after(*tick).ok())
            .take(count)
            .collect()
    }

    /// The latest `most` ticks from `from` to `until`, both included, rising.
    pub fn latest(&self, from: Timestamp, until: Timestamp, most: usize) -> Vec<Timestamp> {
        let before = |instant: Timestamp, inclusive| {
            self.cron
                .find_previous_occurrence(&instant.with_timezone(&self.zone), inclusive)
                .map(|tick| tick.to_utc())
                .ok()
                .filter(|tick| *tick >= from)
        };
        let last = before(until, true);
        let mut ticks: Vec<Timestamp> = std::iter::successors(last, |tick| before(*tick, false))
            .take(most)
            .collect();
        ticks.reverse();
        ticks
    }
}

fn start(text: &str) -> String {
    text.chars().take(64).collect()
}

/// The library's words without its types'.
fn why(error: &CronError) -> String {
    match error {
        CronError::EmptyPattern => "it is empty".to_owned(),
        CronError::InvalidPattern(_) => "it does not have five fields".to_owned(),
        CronError::IllegalCharacters(text) | CronError::ComponentError(text) => {
            text.trim_end_matches('.').to_lowercase()
        }
        other => other.to_string().trim_end_matches('.').to_lowercase(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn ticks(cron: &str, zone: &str, from: &str, count: usize) -> Vec<String> {
        let timetable = Timetable::parse(cron, zone).unwrap();
        let zone: Tz = zone.parse().unwrap();
        let ticks = timetable.next(at(from), count).into_iter();
        ticks
            .map(|tick| tick.with_timezone(&zone).format("%d %H:%M%:z").to_string())
            .collect()
    }

    fn wrong(cron: &str, zone: &str) -> NotATimetable {
        let made = Timetable::parse(cron, zone);
        made.and_then(|it| it.after(at("2026-01-01T00:00:00Z")))
            .unwrap_err()
    }

    #[test]
    fn what_is_wrong_is_told() {
        for (cron, part) in [
            ("", "it is empty"),
            ("* * *", "five fields"),
            ("* * * * * *", "five fields"),
            ("@reboot", "five fields"),
            ("61 * * * *", "out of bounds"),
            ("0 25 * * *", "out of bounds"),
            ("*/0 * * * *", "step cannot be zero"),
            ("every day", "five fields"),
            ("a b c d e", "illegal character"),
        ] {
            let wrong = wrong(cron, "UTC");
            assert!(matches!(wrong, NotATimetable::Cron { .. }), "{wrong}");
            assert!(wrong.to_string().contains(part), "{wrong}");
            assert_eq!(wrong.violations().0[0].pointer, "/cron");
        }
        assert!(Timetable::parse(&"1,".repeat(200), "UTC").is_err());
        let zone = wrong("@daily", "Berlin");
        assert_eq!(zone.violations().0[0].pointer, "/timezone");
    }

    #[test]
    fn what_never_comes_is_refused() {
        for cron in ["0 0 30 2 *", "0 0 31 4,6,9,11 *"] {
            assert!(
                matches!(wrong(cron, "UTC"), NotATimetable::Never(_)),
                "{cron}"
            );
        }
        let leap = ticks("0 0 29 2 *", "UTC", "2026-01-01T00:00:00Z", 1);
        assert_eq!(leap, ["29 00:00+00:00"]);
    }

    #[test]
    fn a_fixed_time_ticks_once_a_day_also_when_clocks_change() {
        let spring = ticks("30 2 * * *", "Europe/Berlin", "2026-03-27T12:00:00Z", 3);
        assert_eq!(
            spring,
            ["28 02:30+01:00", "29 03:00+02:00", "30 02:30+02:00"]
        );
        let autumn = ticks("30 2 * * *", "Europe/Berlin", "2026-10-23T12:00:00Z", 3);
        assert_eq!(
            autumn,
            ["24 02:30+02:00", "25 02:30+02:00", "26 02:30+01:00"]
        );
        // Where clocks change at midnight, the day still has its tick.
        let midnight = ticks("@daily", "America/Sao_Paulo", "2018-11-03T12:00:00Z", 2);
        assert_eq!(midnight, ["04 01:00-02:00", "05 00:00-02:00"]);
    }

    #[test]
    fn what_names_several_times_follows_the_clock_on_the_wall() {
        let spring = ticks("*/30 * * * *", "Europe/Berlin", "2026-03-29T00:00:00Z", 3);
        assert_eq!(
            spring,
            ["29 01:30+01:00", "29 03:00+02:00", "29 03:30+02:00"]
        );
        let gap = ticks("0,30 2 * * *", "Europe/Berlin", "2026-03-28T12:00:00Z", 2);
        assert_eq!(gap, ["30 02:00+02:00", "30 02:30+02:00"]);
        let autumn = ticks("0,30 2 * * *", "Europe/Berlin", "2026-10-24T12:00:00Z", 4);
        let twice = [
            "25 02:00+02:00",
            "25 02:30+02:00",
            "25 02:00+01:00",
            "25 02:30+01:00",
        ];
        assert_eq!(autumn, twice);
    }

    /// What was missed is found by going back; it must be what going on would have found.
    #[test]
    fn the_ticks_of_a_year_are_the_same_from_both_ends() {
        for cron in [
            "30 2 * * *",
            "0 1-3 * * *",
            "0,30 2 * * *",
            "45 1 * * 0",
            "0 0 L * *",
            "@hourly",
        ] {
            for zone in [
                "Europe/Berlin",
                "America/New_York",
                "Australia/Lord_Howe",
                "UTC",
            ] {
                let timetable = Timetable::parse(cron, zone).unwrap();
                let (from, until) = (at("2026-01-01T00:00:00Z"), at("2027-01-01T00:00:00Z"));
                let mut forth = timetable.next(from - chrono::TimeDelta::seconds(1), 10_000);
                forth.retain(|tick| *tick <= until);
                assert_eq!(
                    timetable.latest(from, until, 10_000),
                    forth,
                    "{cron} {zone}"
                );
                let few = timetable.latest(from, until, 5);
                assert_eq!(few, forth[forth.len() - 5..], "{cron} {zone}");
            }
        }
    }
}
