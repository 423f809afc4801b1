//! Kubernetes quantities (`500m`, `1.5Gi`, `2e3`) as exact numbers.
//!
//! An [`Amount`] counts billionths, the finest step that Kubernetes knows, in an `i128`; nothing is ever a floating point
//! number. Like Kubernetes, finer values round away from zero and larger ones stop at 2^63-1. Used wherever a pod or a
//! node speaks of resources; a bad text is a [`QuantityError`] and nothing else fails.

use std::cmp::Ordering;
use std::fmt;

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

const NANOS: i128 = 1_000_000_000;
const LARGEST: i128 = i64::MAX as i128 * NANOS;
/// Digits that the largest value has when written in billionths.
const LARGEST_DIGITS: i64 = 28;

const BINARY: [&str; 7] = ["", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"];
const DECIMAL: [(&str, i64); 10] = [
    ("n", -9),
    ("u", -6),
    ("m", -3),
    ("", 0),
    ("k", 3),
    ("M", 6),
    ("G", 9),
    ("T", 12),
    ("P", 15),
    ("E", 18),
];

/// How a quantity is written back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// `n`, `u`, `m`, none, `k`, `M`, `G`, `T`, `P`, `E`.
    Decimal,
    /// `Ki`, `Mi`, `Gi`, `Ti`, `Pi`, `Ei`, for whole values of 1024 and more.
    Binary,
    /// `e3`, `e6`, …
    Exponent,
}

/// A quantity's value, and how it was written.
#[derive(Clone, Copy, Debug)]
pub struct Amount {
    nanos: i128,
    format: Format,
}

/// A text that is no quantity.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a quantity such as 500m, 2 or 1.5Gi")]
pub struct QuantityError {
    /// As it was given.
    pub text: String,
}

impl Amount {
    /// Nothing.
    pub const ZERO: Amount = Amount {
        nanos: 0,
        format: Format::Decimal,
    };

    /// Reads a quantity.
    pub fn parse(text: &str) -> Result<Amount, QuantityError> {
        read(text).ok_or_else(|| QuantityError {
            text: text.to_owned(),
        })
    }

    /// Reads a quantity of the API, where an empty one is 0.
    pub fn of(quantity: &Quantity) -> Result<Amount, QuantityError> {
        if quantity.0.is_empty() {
            Ok(Amount::ZERO)
        } else {
            Amount::parse(&quantity.0)
        }
    }

    /// So many whole units.
    pub fn whole(value: i64, format: Format) -> Amount {
        Amount {
            nanos: i128::from(value) * NANOS,
            format,
        }
    }

    /// So many thousandths.
    pub fn milli(value: i64) -> Amount {
        Amount {
            nanos: i128::from(value) * (NANOS / 1000),
            format: Format::Decimal,
        }
    }

    /// Whole units, rounded away from zero.
    pub fn to_whole(self) -> i64 {
        saturate(divide_up(self.nanos, NANOS))
    }

    /// Thousandths, rounded away from zero.
    pub fn to_milli(self) -> i64 {
        saturate(divide_up(self.nanos, NANOS / 1000))
    }

    /// True for a value of 0, however it was written.
    pub fn is_zero(self) -> bool {
        self.nanos == 0
    }

    /// True below 0.
    pub fn is_negative(self) -> bool {
        self.nanos < 0
    }

    /// The sum, within the largest value; written as `self` is, or as `other` where `self` is 0.
    #[must_use]
    pub fn plus(self, other: Amount) -> Amount {
        let format = if self.is_zero() { other.format } else { self.format };
        Amount {
            nanos: (self.nanos + other.nanos).clamp(-LARGEST, LARGEST),
            format,
        }
    }

    /// The difference, but never below 0; written as `self` is.
    #[must_use]
    pub fn minus(self, other: Amount) -> Amount {
        Amount {
            nanos: (self.nanos - other.nanos).clamp(0, LARGEST),
            format: self.format,
        }
    }
}

impl PartialEq for Amount {
    fn eq(&self, other: &Amount) -> bool {
        self.nanos == other.nanos
    }
}

impl Eq for Amount {}

impl PartialOrd for Amount {
    fn partial_cmp(&self, other: &Amount) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Amount {
    fn cmp(&self, other: &Amount) -> Ordering {
        self.nanos.cmp(&other.nanos)
    }
}

impl From<Amount> for Quantity {
    fn from(amount: Amount) -> Quantity {
        Quantity(amount.to_string())
    }
}

/// The canonical form: no precision lost, no fraction, the largest suffix that allows both.
impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.nanos == 0 {
            return f.write_str("0");
        }
        let binary =
            self.format == Format::Binary && self.nanos.abs() >= 1024 * NANOS && self.nanos % NANOS == 0;
        if binary {
            let (value, steps) = strip(self.nanos / NANOS, 1024, BINARY.len() - 1);
            return write!(f, "{value}{}", BINARY[steps]);
        }
        let (value, steps) = strip(self.nanos, 1000, DECIMAL.len() - 1);
        let (suffix, exponent) = DECIMAL[steps];
        match self.format {
            Format::Exponent if exponent != 0 => write!(f, "{value}e{exponent}"),
            _ => write!(f, "{value}{suffix}"),
        }
    }
}

/// Takes the factor `base` out of `value`, at most `most` times.
fn strip(mut value: i128, base: i128, most: usize) -> (i128, usize) {
    let mut steps = 0;
    while steps < most && value % base == 0 {
        value /= base;
        steps += 1;
    }
    (value, steps)
}

/// Divides and rounds away from zero.
pub(crate) fn divide_up(value: i128, by: i128) -> i128 {
    let (whole, rest) = (value / by, value % by);
    if rest == 0 {
        whole
    } else {
        whole + value.signum() * by.signum()
    }
}

fn saturate(value: i128) -> i64 {
    i64::try_from(value).unwrap_or(if value < 0 { i64::MIN } else { i64::MAX })
}

fn read(text: &str) -> Option<Amount> {
    let (negative, unsigned) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    let number_end = unsigned
        .find(|c: char| c != '.' && !c.is_ascii_digit())
        .unwrap_or(unsigned.len());
    let (number, suffix) = unsigned.split_at(number_end);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if fraction.contains('.') || (whole.is_empty() && fraction.is_empty()) {
        return None;
    }
    let (format, exponent, kibis) = read_suffix(suffix)?;
    let mut digits: Vec<u8> = whole
        .bytes()
        .chain(fraction.bytes())
        .map(|digit| digit - b'0')
        .collect();
    for _ in 0..kibis {
        multiply(&mut digits, 1024);
    }
    let shift = exponent
        .saturating_sub(i64::try_from(fraction.len()).ok()?)
        .saturating_add(9);
    let magnitude = shifted(&digits, shift);
    Some(Amount {
        nanos: if negative { -magnitude } else { magnitude },
        format,
    })
}

/// The suffix's format, power of ten and power of 1024.
fn read_suffix(suffix: &str) -> Option<(Format, i64, usize)> {
    if let Some((_, exponent)) = DECIMAL.iter().find(|(name, _)| *name == suffix) {
        return Some((Format::Decimal, *exponent, 0));
    }
    if let Some(kibis) = BINARY.iter().position(|name| *name == suffix) {
        return Some((Format::Binary, 0, kibis));
    }
    let exponent = suffix.strip_prefix(['e', 'E'])?;
    let digits = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
    if digits.is_empty() || !digits.bytes().all(|c| c.is_ascii_digit()) {
        return None;
    }
    // A number too long for an i64 is beyond every limit in its direction.
    let far = if exponent.starts_with('-') {
        -1_000_000
    } else {
        1_000_000
    };
    Some((Format::Exponent, exponent.parse().unwrap_or(far), 0))
}

/// Multiplies a number of decimal digits, most significant first.
fn multiply(digits: &mut Vec<u8>, by: u32) {
    let mut carry = 0;
    for digit in digits.iter_mut().rev() {
        let product = u32::from(*digit) * by + carry;
        *digit = (product % 10) as u8;
        carry = product / 10;
    }
    while carry > 0 {
        digits.insert(0, (carry % 10) as u8);
        carry /= 10;
    }
}

/// The number times ten to the power of `shift`, rounded up, at most [`LARGEST`].
fn shifted(digits: &[u8], shift: i64) -> i128 {
    let first = digits
        .iter()
        .position(|digit| *digit != 0)
        .unwrap_or(digits.len());
    let digits = &digits[first..];
    if digits.is_empty() {
        return 0;
    }
    let length = i64::try_from(digits.len()).unwrap_or(i64::MAX);
    let integer = length.saturating_add(shift);
    if integer > LARGEST_DIGITS {
        return LARGEST;
    }
    if integer < 0 {
        return 1;
    }
    let kept = usize::try_from(integer.min(length)).unwrap_or(0);
    let mut value = digits[..kept]
        .iter()
        .fold(0_i128, |sum, digit| sum * 10 + i128::from(*digit));
    for _ in length..integer {
        value *= 10;
    }
    let rounds = digits[kept..].iter().any(|digit| *digit != 0);
    (value + i128::from(rounds)).min(LARGEST)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn canonical(text: &str) -> String {
        Amount::parse(text).unwrap().to_string()
    }

    #[test]
    fn canonical_forms_are_those_of_kubernetes() {
        for (text, expected) in [
            ("0", "0"),
            ("0Ki", "0"),
            ("1", "1"),
            ("+1", "1"),
            ("-1", "-1"),
            ("1.", "1"),
            (".5", "500m"),
            ("1.5", "1500m"),
            ("100m", "100m"),
            ("1000m", "1"),
            ("0.1m", "100u"),
            ("1e3", "1e3"),
            ("1E3", "1e3"),
            ("1e2", "100"),
            ("1e4", "10e3"),
            ("1e-3", "1e-3"),
            ("1E", "1E"),
            ("1000k", "1M"),
            ("1.5Gi", "1536Mi"),
            ("1024Ki", "1Mi"),
            ("0.5Ki", "512"),
            ("1.1Ki", "1126400m"),
            ("1000Ki", "1000Ki"),
            ("1Ei", "1Ei"),
            ("8Ei", "9223372036854775807"),
            ("100E", "9223372036854775807"),
            ("-100E", "-9223372036854775807"),
            ("1e1000000000000000000000", "9223372036854775807"),
            ("1e-1000000000000000000000", "1e-9"),
            ("0.0000000001", "1n"),
            ("0.00000000000000000001Ei", "11529216n"),
            ("00012", "12"),
        ] {
            assert_eq!(canonical(text), expected, "{text}");
        }
    }

    #[test]
    fn what_is_no_quantity_is_refused() {
        for text in [
            "", ".", "-", "1.2.3", "Ki", "1ki", "1KI", "1K", "1mm", "1e", "1e+", "1e1.5", "1 Gi", "0x1",
            "1Gi ", "一",
        ] {
            assert!(Amount::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn values_round_away_from_zero() {
        assert_eq!(Amount::parse("250m").unwrap().to_whole(), 1);
        assert_eq!(Amount::parse("-250m").unwrap().to_whole(), -1);
        assert_eq!(Amount::parse("100u").unwrap().to_milli(), 1);
        assert_eq!(Amount::parse("2").unwrap().to_milli(), 2000);
        assert_eq!(Amount::parse("9E").unwrap().to_milli(), i64::MAX);
    }

    #[test]
    fn sums_stay_within_bounds() {
        let gibi = Amount::parse("1Gi").unwrap();
        let mebis = Amount::parse("100Mi").unwrap();
        assert_eq!(gibi.minus(mebis).to_string(), "924Mi");
        assert_eq!(mebis.minus(gibi), Amount::ZERO);
        assert_eq!(Amount::ZERO.plus(gibi).to_string(), "1Gi");
        let most = Amount::parse("8E").unwrap();
        assert_eq!(most.plus(most).to_whole(), i64::MAX);
    }

    proptest! {
        #[test]
        fn never_panics(text in "[-+]?[0-9.]{0,40}[a-zA-Z]{0,2}[-+]?[0-9]{0,22}") {
            if let Ok(amount) = Amount::parse(&text) {
                let again = Amount::parse(&amount.to_string()).unwrap();
                prop_assert_eq!(again, amount);
                prop_assert_eq!(again.to_string(), amount.to_string());
            }
        }

        #[test]
        fn whole_numbers_keep_their_value(value in any::<i64>(), binary in any::<bool>()) {
            let value = value.max(-i64::MAX);
            let amount = Amount::whole(value, if binary { Format::Binary } else { Format::Decimal });
            prop_assert_eq!(Amount::parse(&amount.to_string()).unwrap().to_whole(), value);
        }
    }
}
