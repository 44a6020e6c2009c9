//! Whether the glass is broken now. Pure.

use jiff::{SignedDuration, Timestamp};
use k3k_api::break_glass::BreakGlass;
use std::time::Duration;

/// How far the clock of who breaks the glass may be ahead of ours.
const SKEW: SignedDuration = SignedDuration::from_mins(5);
/// How long until the clock is looked at again while the glass is broken: clocks are set, and machines sleep.
const TICK: Duration = Duration::from_secs(30);

/// The state of the glass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Glass {
    /// Nobody has broken it.
    Whole,
    /// It is broken.
    Broken(BreakGlass),
    /// It was broken, and the time is up.
    Over(BreakGlass),
    /// What was asked for is not done, and why.
    Refused(String),
}

impl Glass {
    /// The state by the annotation of the registration, at this moment.
    pub fn at(annotation: Option<&str>, now: Timestamp) -> Self {
        let Some(annotation) = annotation else { return Self::Whole };
        match BreakGlass::read(annotation) {
            Err(refusal) => Self::Refused(refusal.to_string()),
            // Else who writes a later beginning would also have a later end.
            Ok(glass) if glass.since.0.duration_since(now) > SKEW => Self::Refused(format!(
                "it would begin at {}, and it is {now}: is a clock wrong?",
                glass.since.0
            )),
            Ok(glass) if glass.until.0 <= now => Self::Over(glass),
            Ok(glass) => Self::Broken(glass),
        }
    }

    /// What is open, if the glass is broken.
    pub fn open(&self) -> Option<&BreakGlass> {
        match self {
            Self::Broken(glass) => Some(glass),
            Self::Whole | Self::Over(_) | Self::Refused(_) => None,
        }
    }

    /// How long until it is to be looked at again, if nothing happens; nothing if only an event changes it.
    pub fn look_again_in(&self, now: Timestamp) -> Option<Duration> {
        let left = self.open()?.until.0.duration_since(now);
        Some(Duration::try_from(left).unwrap_or_default().min(TICK))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;
    use serde_json::json;

    fn annotation(since: &str, until: &str) -> String {
        json!({"since": since, "until": until, "by": "ann", "reason": "outage"}).to_string()
    }

    fn at(time: &str) -> Timestamp {
        time.parse().unwrap()
    }

    #[rstest]
    #[case("2026-01-01T00:00:00Z", "broken", Some(30))]
    #[case("2026-01-01T00:29:50Z", "broken", Some(10))]
    #[case("2026-01-01T00:29:59.999Z", "broken", Some(0))]
    #[case("2026-01-01T00:30:00Z", "over", None)]
    #[case("2027-01-01T00:00:00Z", "over", None)]
    // A clock that is a little behind is no reason to refuse, one that is far behind is.
    #[case("2025-12-31T23:56:00Z", "broken", Some(30))]
    #[case("2025-12-31T23:54:00Z", "refused", None)]
    fn time_alone_ends_it(#[case] now: &str, #[case] want: &str, #[case] again: Option<u64>) {
        let said = annotation("2026-01-01T00:00:00Z", "2026-01-01T00:30:00Z");
        let glass = Glass::at(Some(&said), at(now));
        let got = match &glass {
            Glass::Whole => "whole",
            Glass::Broken(_) => "broken",
            Glass::Over(_) => "over",
            Glass::Refused(_) => "refused",
        };
        assert_eq!(got, want);
        assert_eq!(glass.open().is_some(), want == "broken");
        assert_eq!(glass.look_again_in(at(now)).map(|left| left.as_secs()), again);
    }

    #[rstest]
    #[case("true")]
    #[case(&annotation("2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z"))]
    fn what_is_out_of_bounds_opens_nothing(#[case] said: &str) {
        assert!(matches!(Glass::at(Some(said), at("2026-01-01T00:00:00Z")), Glass::Refused(_)));
    }

    #[test]
    fn without_an_annotation_it_is_whole() {
        assert_eq!(Glass::at(None, Timestamp::UNIX_EPOCH), Glass::Whole);
    }
}
