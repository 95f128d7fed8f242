//! Amounts: minor units inside, decimals for people.

use std::borrow::Borrow;

use iso_currency::Currency;

/// The largest amount, in minor units: it stays exact in JSON numbers.
pub const MINOR_MAX: i64 = 1 << 50;

/// How many decimals a currency has; none: it is not a currency.
pub fn decimals(currency: &str) -> Option<u32> {
    Currency::from_code(currency).map(|currency| currency.exponent().unwrap_or(0).into())
}

/// `2500` in EUR is `25.00`.
pub fn text(minor: i64, currency: &str) -> String {
    let decimals = decimals(currency).unwrap_or(0);
    if decimals == 0 {
        return minor.to_string();
    }
    let unit = 10_i64.pow(decimals);
    let (whole, part) =
        (minor.unsigned_abs() / unit.unsigned_abs(), minor.unsigned_abs() % unit.unsigned_abs());
    let sign = if minor < 0 { "-" } else { "" };
    format!("{sign}{whole}.{part:0width$}", width = decimals as usize)
}

/// With its currency, or that it costs nothing.
pub fn for_people(minor: impl Borrow<i64>, currency: &str) -> String {
    match *minor.borrow() {
        0 => "free".to_owned(),
        minor => format!("{} {currency}", text(minor, currency)),
    }
}

/// Reads `25`, `25.5` or `25,00`; the reason where it is none of these.
pub fn parse(text: &str, currency: &str) -> Result<i64, String> {
    let decimals = decimals(currency).unwrap_or(0) as usize;
    let text = text.trim().replace(',', ".");
    let (sign, digits) = match text.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, text.as_str()),
    };
    let (whole, part) = digits.split_once('.').unwrap_or((digits, ""));
    let is_number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || !is_number(whole) || !is_number(part) {
        return Err("must be an amount, as in 25.00".to_owned());
    }
    if part.len() > decimals {
        return Err(format!("must have at most {decimals} decimals: {currency} has no more"));
    }
    let minor: Option<i64> = format!("{whole}{part:0<decimals$}").parse().ok();
    match minor.filter(|minor| *minor <= MINOR_MAX) {
        Some(minor) if sign * minor < 0 => Err("must not be below zero".to_owned()),
        Some(minor) => Ok(minor),
        None => Err(format!("must be at most {}", self::text(MINOR_MAX, currency))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_come_and_go() {
        for (written, currency, minor) in [
            ("25", "EUR", 2_500),
            ("25.5", "EUR", 2_550),
            ("0,05", "EUR", 5),
            ("7", "JPY", 7),
            ("1.234", "BHD", 1_234),
        ] {
            assert_eq!(parse(written, currency), Ok(minor), "{written}");
            assert_eq!(parse(&text(minor, currency), currency), Ok(minor), "{written}");
        }
        for wrong in ["", "-1", "1.234", "1e3", "ten", ".5", "99999999999999999999"] {
            assert!(parse(wrong, "EUR").is_err(), "{wrong}");
        }
        assert_eq!((decimals("EUR"), decimals("XQX")), (Some(2), None));
        assert_eq!(
            (for_people(0, "EUR"), for_people(5, "EUR")),
            ("free".into(), "0.05 EUR".into())
        );
    }
}
