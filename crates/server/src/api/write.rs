//! JSON written by hand, for the answers that the busiest requests get. What is
//! written is what the shapes say, to the byte.

use onsale_core::event::{HoldPlaced, Line};
use onsale_core::{HoldId, Time};
use uuid::Uuid;

use super::shapes::Receipt;

const DAY_SECONDS: u64 = 86_400;

/// Writes a hold that was placed, as [`super::shapes::Hold::placed`] is.
pub fn hold_placed(out: &mut Vec<u8>, placed: &HoldPlaced, receipt: Receipt) {
    out.extend_from_slice(b"{\"id\":\"");
    hold_id(out, placed.hold);
    out.extend_from_slice(b"\",\"expires_at\":\"");
    time(out, placed.expires_at);
    out.extend_from_slice(b"\",\"items\":[");
    for (i, line) in placed.lines.iter().enumerate() {
        if i > 0 {
            out.push(b',');
        }
        item(out, line);
    }
    out.extend_from_slice(b"],\"total\":{\"amount\":");
    number(out, placed.total);
    out.extend_from_slice(b",\"currency\":\"");
    out.extend_from_slice(placed.currency.as_str().as_bytes());
    out.extend_from_slice(b"\"},\"receipt\":");
    self::receipt(out, receipt);
    out.push(b'}');
}

fn item(out: &mut Vec<u8>, line: &Line) {
    let quantity = line.stock.quantity();
    // An id has no character that JSON would want escaped.
    out.extend_from_slice(b"{\"ticket_type\":\"");
    out.extend_from_slice(line.ticket_type.as_bytes());
    out.extend_from_slice(b"\",\"quantity\":");
    number(out, quantity);
    out.extend_from_slice(b",\"unit_price\":");
    number(out, line.unit_price);
    out.extend_from_slice(b",\"amount\":");
    number(out, line.unit_price * i64::from(quantity));
    out.push(b'}');
}

/// Writes a receipt.
pub fn receipt(out: &mut Vec<u8>, receipt: Receipt) {
    out.extend_from_slice(b"{\"shard\":");
    number(out, receipt.shard);
    out.extend_from_slice(b",\"position\":");
    number(out, receipt.position);
    out.extend_from_slice(b",\"durability\":\"");
    out.extend_from_slice(receipt.durability.as_bytes());
    out.extend_from_slice(b"\"}");
}

/// Writes a whole number.
pub fn number(out: &mut Vec<u8>, number: impl itoa::Integer) {
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

fn hold_id(out: &mut Vec<u8>, hold: HoldId) {
    let mut buffer = Uuid::encode_buffer();
    let text = Uuid::from_u128(hold.0).hyphenated().encode_lower(&mut buffer);
    out.extend_from_slice(text.as_bytes());
}

/// Writes a time as in RFC 3339, in UTC, with as many digits of the second as it has.
pub fn time(out: &mut Vec<u8>, time: Time) {
    let Some(micros) = u64::try_from(time.0).ok().filter(|micros| *micros < MICROS_END) else {
        // Before 1970 or after the year 9999: not worth a way of its own.
        out.extend_from_slice(crate::catalogue::time_to_text(time).as_bytes());
        return;
    };
    let (seconds, fraction) = (micros / 1_000_000, micros % 1_000_000);
    let (year, month, day) = date(seconds / DAY_SECONDS);
    let second = seconds % DAY_SECONDS;
    let mut text = *b"0000-00-00T00:00:00.000000Z";
    digits(&mut text[0..4], year);
    digits(&mut text[5..7], month);
    digits(&mut text[8..10], day);
    digits(&mut text[11..13], second / 3_600);
    digits(&mut text[14..16], second / 60 % 60);
    digits(&mut text[17..19], second % 60);
    digits(&mut text[20..26], fraction);
    if fraction == 0 {
        text[19] = b'Z';
        return out.extend_from_slice(&text[..20]);
    }
    let end = text[..26].iter().rposition(|b| *b != b'0').expect("there is a digit") + 1;
    text[end] = b'Z';
    out.extend_from_slice(&text[..=end]);
}

/// Microseconds of the first moment of the year 10000.
const MICROS_END: u64 = 253_402_300_800 * 1_000_000;

fn digits(text: &mut [u8], mut number: u64) {
    for digit in text.iter_mut().rev() {
        *digit = b'0' + (number % 10) as u8;
        number /= 10;
    }
}

/// Year, month and day of a day counted from 1970-01-01. Years are counted from
/// March, so that the day that not every year has is the last one.
fn date(day: u64) -> (u64, u64, u64) {
    const ERA_DAYS: u64 = 146_097;
    // From 0000-03-01.
    let day = day + 719_468;
    let (era, of_era) = (day / ERA_DAYS, day % ERA_DAYS);
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    (era * 400 + year + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use onsale_core::event::Stock;
    use onsale_core::{Currency, CustomerId, Id};

    use super::*;
    use crate::api::shapes::{Hold, Moment};

    fn written(write: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        write(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn times_are_written_as_the_library_does() {
        let mut rows = vec![0, 1, 999_999, 1_000_000, -1, -62_167_219_200_000_000, (1 << 53) - 1];
        rows.extend([
            100,
            120_000,
            1_709_251_199_000_000,
            951_868_800_000_000,
            4_107_542_400_000_000,
        ]);
        // The last ones that the library knows.
        rows.extend([253_402_207_199_999_999, 253_402_207_199_000_000]);
        // Every day of 500 years, at a time that moves on.
        rows.extend((0..182_625).map(|day| day * 86_400_000_000 + day * 471_111 % 86_400_000_000));
        for micros in rows {
            let expected = serde_json::to_string(&Moment(Time(micros))).unwrap();
            assert_eq!(format!("\"{}\"", written(|out| time(out, Time(micros)))), expected);
        }
    }

    #[test]
    fn holds_are_written_as_their_shape_says() {
        let line = |id: &str, quantity, unit_price| Line {
            event: None,
            ticket_type: Id::new(id).unwrap(),
            stock: Stock::Counted(quantity),
            unit_price,
            version: 3,
            channel: None,
            components: Vec::new(),
        };
        let receipt = Receipt { shard: 7, position: u64::MAX, durability: "synced" };
        for lines in [vec![line("seat", 2, 2_500)], vec![line("a", 1, 0), line("b-.", 1_000, 7)]] {
            let placed = HoldPlaced {
                hold: HoldId(0x0192_f0c1_7c00_7000_8000_0000_0000_00aa),
                customer: CustomerId::new("c").unwrap(),
                expires_at: Time(1_764_000_000_123_400),
                lines: lines.into(),
                total: 5_000,
                currency: Currency::new("EUR").unwrap(),
            };
            let expected = serde_json::to_string(&Hold::placed(&placed, receipt)).unwrap();
            assert_eq!(written(|out| hold_placed(out, &placed, receipt)), expected);
        }
    }
}
