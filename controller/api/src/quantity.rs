//! Kubernetes quantities, exactly: `500m`, `2Gi`, `1e3`. The text stays the truth (`k8s_openapi` keeps it as it is);
//! this module checks it, compares it and adds it up. No floating point number is involved.
//!
//! The rules are those of `k8s.io/apimachinery/pkg/api/resource`: three families of suffixes, nothing finer than a
//! nano (rounded away from zero), nothing of more than 2^63-1 in magnitude. Kubernetes caps the latter silently; here
//! it is an error, for nobody means it.

use k8s_openapi::apimachinery::pkg::api::resource::Quantity as QuantityText;
use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

/// Billionths in one: the finest step there is.
const NANOS: i128 = 1_000_000_000;
/// The largest magnitude, in billionths.
const MAX: i128 = i64::MAX as i128 * NANOS;

/// A number with the family of suffixes it is written in. Equal and ordered by the number alone: `1Ki` is `1024`.
#[derive(Clone, Copy, Debug)]
pub struct Quantity {
    nanos: i128,
    family: Family,
}

/// How a quantity is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Family {
    /// Ki, Mi, …
    Binary,
    /// n, u, m, nothing, k, M, …
    Decimal,
    /// e3, E6, …
    Exponent,
}

/// Why a text is not a quantity.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseQuantityError {
    /// Nothing was given.
    #[error("a quantity is a number with an optional suffix, such as 500m or 2Gi, and not empty")]
    Empty,
    /// It does not begin with a number.
    #[error("\"{0}\" is not a quantity: it has to begin with a number, such as 500m or 2Gi")]
    NoNumber(String),
    /// What follows the number is not a suffix.
    #[error(
        "\"{text}\" is not a quantity: the suffix \"{suffix}\" is not one of n, u, m, k, M, G, T, P, E, Ki, Mi, Gi, Ti, Pi, Ei"
    )]
    UnknownSuffix {
        /// The whole text.
        text: String,
        /// What follows the number.
        suffix: String,
    },
    /// More than 2^63-1.
    #[error("\"{0}\" is too large for a quantity")]
    TooLarge(String),
}

impl Quantity {
    /// `value` units, without a suffix.
    pub fn from_integer(value: i64) -> Self {
        Self { nanos: i128::from(value) * NANOS, family: Family::Decimal }
    }

    /// Whether it is less than zero.
    pub fn is_negative(self) -> bool {
        self.nanos < 0
    }

    /// Whether it is zero.
    pub fn is_zero(self) -> bool {
        self.nanos == 0
    }

    /// Whole units, rounded away from zero as Kubernetes does.
    pub fn to_integer(self) -> i64 {
        clamp(divide_away(self.nanos, NANOS))
    }

    /// Thousandths, rounded away from zero; at most 2^63-1.
    pub fn to_millis(self) -> i64 {
        clamp(divide_away(self.nanos, NANOS / 1000))
    }

    /// Billionths, exactly.
    pub fn to_nanos(self) -> i128 {
        self.nanos
    }

    /// The sum in the family of `self`, or none if it is too large.
    pub fn checked_add(self, other: Self) -> Option<Self> {
        self.with(self.nanos + other.nanos)
    }

    /// The difference in the family of `self`, or none if it is too large.
    pub fn checked_sub(self, other: Self) -> Option<Self> {
        self.with(self.nanos - other.nanos)
    }

    fn with(self, nanos: i128) -> Option<Self> {
        (nanos.abs() <= MAX).then_some(Self { nanos, family: self.family })
    }
}

/// Only a sum of thousandths can be out of range, and then it is far beyond anything measured.
fn clamp(value: i128) -> i64 {
    i64::try_from(value).unwrap_or(if value < 0 { i64::MIN } else { i64::MAX })
}

fn divide_away(value: i128, by: i128) -> i128 {
    value / by + if value % by == 0 { 0 } else { value.signum() }
}

impl FromStr for Quantity {
    type Err = ParseQuantityError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.is_empty() {
            return Err(ParseQuantityError::Empty);
        }
        let (negative, rest) = match text.as_bytes()[0] {
            b'-' => (true, &text[1..]),
            b'+' => (false, &text[1..]),
            _ => (false, text),
        };
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let (number, suffix) = rest.split_at(end);
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') {
            return Err(ParseQuantityError::NoNumber(text.into()));
        }
        let (family, scale) = scale(suffix)
            .ok_or_else(|| ParseQuantityError::UnknownSuffix { text: text.into(), suffix: suffix.into() })?;
        let too_large = || ParseQuantityError::TooLarge(text.into());
        let magnitude = nanos(whole, fraction, scale).filter(|nanos| *nanos <= MAX).ok_or_else(too_large)?;
        Ok(Self { nanos: if negative { -magnitude } else { magnitude }, family })
    }
}

/// What a suffix multiplies with.
#[derive(Clone, Copy)]
enum Scale {
    /// 2^n.
    Two(u32),
    /// 10^n.
    Ten(i32),
}

fn scale(suffix: &str) -> Option<(Family, Scale)> {
    let exponent = |text: &str| match text.as_bytes() {
        [b'+' | b'-', digits @ ..] | digits
            if !digits.is_empty() && digits.iter().all(u8::is_ascii_digit) =>
        {
            // An exponent beyond all numbers is as good as any other such.
            Some(text.parse().unwrap_or(if text.starts_with('-') { -1000 } else { 1000 }))
        }
        _ => None,
    };
    Some(match suffix {
        "" => (Family::Decimal, Scale::Ten(0)),
        "n" => (Family::Decimal, Scale::Ten(-9)),
        "u" => (Family::Decimal, Scale::Ten(-6)),
        "m" => (Family::Decimal, Scale::Ten(-3)),
        "k" => (Family::Decimal, Scale::Ten(3)),
        "M" => (Family::Decimal, Scale::Ten(6)),
        "G" => (Family::Decimal, Scale::Ten(9)),
        "T" => (Family::Decimal, Scale::Ten(12)),
        "P" => (Family::Decimal, Scale::Ten(15)),
        "E" => (Family::Decimal, Scale::Ten(18)),
        "Ki" => (Family::Binary, Scale::Two(10)),
        "Mi" => (Family::Binary, Scale::Two(20)),
        "Gi" => (Family::Binary, Scale::Two(30)),
        "Ti" => (Family::Binary, Scale::Two(40)),
        "Pi" => (Family::Binary, Scale::Two(50)),
        "Ei" => (Family::Binary, Scale::Two(60)),
        _ => (Family::Exponent, Scale::Ten(exponent(suffix.strip_prefix(['e', 'E'])?)?)),
    })
}

/// `whole.fraction × scale` in billionths, rounded up; none if it is beyond [`i128`].
fn nanos(whole: &str, fraction: &str, scale: Scale) -> Option<i128> {
    let fraction = fraction.trim_end_matches('0');
    // What nearly all are: a few digits, and no smaller step than the finest.
    if fraction.is_empty()
        && whole.len() <= 18
        && let Ok(number) = whole.parse::<i128>()
    {
        match scale {
            Scale::Two(power) => return number.checked_mul(NANOS << power),
            Scale::Ten(power @ -9..=18) => {
                return number.checked_mul(10_i128.pow(9_u32.checked_add_signed(power)?));
            }
            Scale::Ten(_) => {}
        }
    }
    let digits = format!("{whole}{fraction}");
    let digits = digits.trim_start_matches('0');
    if digits.is_empty() {
        return Some(0);
    }
    let places = i32::try_from(fraction.len()).ok()?;
    let (factor, ten) = match scale {
        Scale::Two(power) => (1_i128 << power, 0),
        Scale::Ten(power) => (1, power),
    };
    // The value is `digits × factor × 10^shift` billionths.
    let shift = 9_i32.checked_add(ten)?.checked_sub(places)?;
    if shift >= 0 {
        let power = 10_i128.checked_pow(shift.unsigned_abs())?;
        return digits.parse::<i128>().ok()?.checked_mul(factor)?.checked_mul(power);
    }
    // Digits that are far behind the last step only matter in that there are some: keep what an i128 can hold.
    let (digits, cut) = digits.split_at(digits.len().min(19));
    let rounded = cut.bytes().any(|digit| digit != b'0');
    let shift = shift.checked_add(i32::try_from(cut.len()).ok()?)?;
    let value = digits.parse::<i128>().ok()?.checked_mul(factor)?;
    if shift >= 0 {
        return value
            .checked_mul(10_i128.checked_pow(shift.unsigned_abs())?)?
            .checked_add(i128::from(rounded));
    }
    let Some(power) = 10_i128.checked_pow(shift.unsigned_abs()) else { return Some(1) };
    Some(value / power + i128::from(rounded || value % power != 0))
}

impl TryFrom<&QuantityText> for Quantity {
    type Error = ParseQuantityError;

    fn try_from(text: &QuantityText) -> Result<Self, Self::Error> {
        text.0.parse()
    }
}

impl From<Quantity> for QuantityText {
    fn from(quantity: Quantity) -> Self {
        Self(quantity.to_string())
    }
}

impl fmt::Display for Quantity {
    /// In canonical form: without a fraction, with the largest suffix of its family.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const BINARY: [&str; 7] = ["", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"];
        const DECIMAL: [&str; 10] = ["n", "u", "m", "", "k", "M", "G", "T", "P", "E"];
        // As Kubernetes does, small numbers are written in thousandths, not in fractions of Ki.
        if self.family == Family::Binary && self.nanos.abs() >= 1024 * NANOS {
            let (value, index) = largest(divide_away(self.nanos, NANOS), 1024, BINARY.len());
            return write!(f, "{value}{}", BINARY[index]);
        }
        let (value, index) = if self.nanos == 0 { (0, 3) } else { largest(self.nanos, 1000, DECIMAL.len()) };
        if self.family == Family::Exponent {
            return match (i64::try_from(index).unwrap_or_default() - 3) * 3 {
                0 => write!(f, "{value}"),
                power => write!(f, "{value}e{power}"),
            };
        }
        write!(f, "{value}{}", DECIMAL[index])
    }
}

/// `value` divided by `base` as often as it leaves no remainder, less than `limit` times, and how often that was.
fn largest(mut value: i128, base: i128, limit: usize) -> (i128, usize) {
    let mut times = 0;
    while times + 1 < limit && value != 0 && value % base == 0 {
        value /= base;
        times += 1;
    }
    (value, times)
}

impl PartialEq for Quantity {
    fn eq(&self, other: &Self) -> bool {
        self.nanos == other.nanos
    }
}

impl Eq for Quantity {}

impl Ord for Quantity {
    fn cmp(&self, other: &Self) -> Ordering {
        self.nanos.cmp(&other.nanos)
    }
}

impl PartialOrd for Quantity {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rstest::rstest;

    fn parse(text: &str) -> Quantity {
        text.parse().unwrap()
    }

    #[rstest]
    #[case("0", "0")]
    #[case("-0", "0")]
    #[case("1500m", "1500m")]
    #[case("1.5", "1500m")]
    #[case("2000m", "2")]
    #[case("1.5Gi", "1536Mi")]
    #[case("0.5Ki", "512")]
    #[case("0.5", "500m")]
    #[case(".5", "500m")]
    #[case("5.", "5")]
    #[case("+5", "5")]
    #[case("-5Mi", "-5Mi")]
    #[case("1000", "1k")]
    #[case("1000Ki", "1000Ki")]
    #[case("1024Ki", "1Mi")]
    #[case("1e3", "1e3")]
    #[case("1E3", "1e3")]
    #[case("12e2", "1200")]
    #[case("1E", "1E")]
    #[case("1e-3", "1e-3")]
    #[case("0.1n", "1n")]
    #[case("-0.1n", "-1n")]
    #[case("1.0000000001", "1000000001n")]
    #[case("1.3Ki", "1332")]
    #[case("00012", "12")]
    #[case("2G", "2G")]
    #[case("9223372036854775807", "9223372036854775807")]
    #[case("0.00000000000000000000000000000000000000000000000001", "1n")]
    #[case("1e-999999999999", "1e-9")]
    #[case("0e999999999999", "0")]
    fn quantities_are_written_in_canonical_form(#[case] text: &str, #[case] canonical: &str) {
        assert_eq!(parse(text).to_string(), canonical);
    }

    #[rstest]
    #[case("1Ki", "1024")]
    #[case("1M", "1000k")]
    #[case("1e6", "1M")]
    #[case("1000m", "1")]
    fn equal_is_what_means_the_same(#[case] one: &str, #[case] other: &str) {
        assert_eq!(parse(one), parse(other));
    }

    #[rstest]
    #[case("1G", "1Gi")]
    #[case("-1", "1m")]
    #[case("999m", "1")]
    #[case("1n", "1u")]
    #[case("8E", "7Ei")]
    fn less_is_what_means_less(#[case] less: &str, #[case] more: &str) {
        assert!(parse(less) < parse(more));
    }

    #[rstest]
    #[case("", "not empty")]
    #[case("Gi", "begin with a number")]
    #[case("-", "begin with a number")]
    #[case(".", "begin with a number")]
    #[case("1.2.3", "begin with a number")]
    #[case("--1", "begin with a number")]
    #[case(" 1", "begin with a number")]
    #[case("1 ", "suffix \" \"")]
    #[case("1gi", "suffix \"gi\"")]
    #[case("1KB", "suffix \"KB\"")]
    #[case("1e", "suffix \"e\"")]
    #[case("1e1.5", "suffix \"e1.5\"")]
    #[case("1ee", "suffix \"ee\"")]
    #[case("2 Gi", "suffix \" Gi\"")]
    #[case("9223372036854775808", "too large")]
    #[case("8Ei", "too large")]
    #[case("1e999999999999", "too large")]
    #[case("99999999999999999999999999999999999999999999", "too large")]
    fn what_is_wrong_is_said(#[case] text: &str, #[case] why: &str) {
        let error = text.parse::<Quantity>().unwrap_err().to_string();
        assert!(error.contains(why), "{error}");
    }

    #[test]
    fn sums_keep_the_family_of_the_first() {
        assert_eq!(parse("1Gi").checked_add(parse("1024Mi")).unwrap().to_string(), "2Gi");
        assert_eq!(parse("1").checked_sub(parse("1500m")).unwrap().to_string(), "-500m");
        assert_eq!(parse("9223372036854775807").checked_add(parse("1n")), None);
        assert!(parse("1").checked_sub(parse("2")).unwrap().is_negative());
        assert!(parse("1").checked_sub(parse("1")).unwrap().is_zero());
    }

    #[test]
    fn parts_are_rounded_away_from_zero() {
        assert_eq!((parse("1100m").to_integer(), parse("-1100m").to_integer()), (2, -2));
        assert_eq!((parse("1u").to_millis(), parse("2").to_millis()), (1, 2000));
        assert_eq!(Quantity::from_integer(i64::MIN + 1).to_integer(), i64::MIN + 1);
        assert_eq!(parse("9E").to_millis(), i64::MAX);
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "\\PC{0,40}") {
            let _ = text.parse::<Quantity>();
        }

        #[test]
        fn what_the_schema_accepts_is_a_quantity_or_too_large(
            text in "[+-]?([0-9]{1,12}(\\.[0-9]{0,12})?|\\.[0-9]{1,12})([KMGTPE]i|[numkMGTPE]|[eE][+-]?[0-9]{1,3})?"
        ) {
            match text.parse::<Quantity>() {
                Ok(_) | Err(ParseQuantityError::TooLarge(_)) => {}
                Err(error) => prop_assert!(false, "{}", error),
            }
        }

        #[test]
        fn the_canonical_form_means_the_same(
            text in "-?[0-9]{1,9}(\\.[0-9]{1,9})?(Ki|Mi|n|u|m|k|M|G|e[0-9]|e-[0-9])?"
        ) {
            let quantity = parse(&text);
            let again = parse(&quantity.to_string());
            // A fraction of Ki is rounded to whole units, and those without a suffix read as decimal ones.
            if quantity.family == Family::Binary && quantity.to_integer().abs() >= 1024 {
                prop_assert_eq!(again.to_integer(), quantity.to_integer());
            } else {
                prop_assert_eq!(again, quantity);
                prop_assert_eq!(again.to_string(), quantity.to_string());
            }
        }

        #[test]
        fn adding_and_subtracting_are_inverse(a in -1_000_000_i64..1_000_000, b in -1_000_000_i64..1_000_000) {
            let (a, b) = (parse(&format!("{a}m")), parse(&format!("{b}u")));
            prop_assert_eq!(a.checked_add(b).and_then(|sum| sum.checked_sub(b)), Some(a));
        }
    }
}
