//! Spans of time as kubectl writes them.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use std::time::Duration;

/// A span in at most two units, such as `45s`, `5m30s`, `2d3h`, `40d`: kubectl's rules for the AGE column.
pub(crate) fn short(span: Duration) -> String {
    let seconds = span.as_secs();
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86400);
    let two = |whole: u64, unit: char, rest: u64, small: char| {
        if rest == 0 { format!("{whole}{unit}") } else { format!("{whole}{unit}{rest}{small}") }
    };
    match seconds {
        0..120 => format!("{seconds}s"),
        120..600 => two(minutes, 'm', seconds % 60, 's'),
        600..10_800 => format!("{minutes}m"),
        10_800..28_800 => two(hours, 'h', minutes % 60, 'm'),
        28_800..172_800 => format!("{hours}h"),
        172_800..691_200 => two(days, 'd', hours % 24, 'h'),
        691_200..63_072_000 => format!("{days}d"),
        _ => two(days / 365, 'y', days % 365, 'd'),
    }
}

/// How long ago `time` was; `<unknown>` if there is none.
pub(crate) fn since(time: Option<&Time>, now: jiff::Timestamp) -> String {
    time.map_or_else(
        || "<unknown>".to_owned(),
        |time| short(Duration::try_from(now.duration_since(time.0)).unwrap_or_default()),
    )
}

/// A span with a tenth of a second while it is short, for progress lines.
pub(crate) fn precise(span: Duration) -> String {
    if span < Duration::from_secs(10) { format!("{:.1}s", span.as_secs_f64()) } else { short(span) }
}

/// Reads `90s`, `5m`, `1h30m`, or a bare number of seconds.
pub(crate) fn parse(text: &str) -> Result<Duration, String> {
    let wrong = || format!("\"{text}\" is not a duration (write 90s, 5m or 1h30m)");
    if let Ok(seconds) = text.parse::<u64>() {
        return Ok(Duration::from_secs(seconds));
    }
    let (mut total, mut number, mut units) = (0_u64, String::new(), 0);
    for character in text.chars() {
        if character.is_ascii_digit() {
            number.push(character);
            continue;
        }
        let unit = match character {
            's' => 1,
            'm' => 60,
            'h' => 3600,
            _ => return Err(wrong()),
        };
        let count: u64 = number.parse().map_err(|_| wrong())?;
        total = count.checked_mul(unit).and_then(|more| total.checked_add(more)).ok_or_else(wrong)?;
        number.clear();
        units += 1;
    }
    if units == 0 || !number.is_empty() { Err(wrong()) } else { Ok(Duration::from_secs(total)) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case(0, "0s")]
    #[case(119, "119s")]
    #[case(120, "2m")]
    #[case(330, "5m30s")]
    #[case(3600, "60m")]
    #[case(10_800, "3h")]
    #[case(12_000, "3h20m")]
    #[case(86_400, "24h")]
    #[case(183_600, "2d3h")]
    #[case(3_456_000, "40d")]
    #[case(70_000_000, "2y80d")]
    fn ages_are_kubectls(#[case] seconds: u64, #[case] want: &str) {
        assert_eq!(short(Duration::from_secs(seconds)), want);
    }

    #[rstest]
    #[case("90", Some(90))]
    #[case("90s", Some(90))]
    #[case("5m", Some(300))]
    #[case("1h30m", Some(5400))]
    #[case("", None)]
    #[case("m", None)]
    #[case("5m3", None)]
    #[case("-5m", None)]
    #[case("5 m", None)]
    #[case("99999999999999999999h", None)]
    fn durations_are_read(#[case] text: &str, #[case] want: Option<u64>) {
        assert_eq!(parse(text).ok(), want.map(Duration::from_secs));
    }
}
