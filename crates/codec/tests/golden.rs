//! Bytes that were written once are read for ever, and are written the same.
//! `ONSALE_GOLDEN=write` makes the file anew; for a version that was released,
//! that is never right.

#[path = "support/samples.rs"]
mod samples;

use std::fmt::Write;

use onsale_codec::{VERSION, decode, encode};

const PATH: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/v1.hex");

fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut hex, byte| {
        write!(hex, "{byte:02x}").expect("a string takes all");
        hex
    })
}

fn from_hex(hex: &str) -> Vec<u8> {
    let digits: Vec<u8> =
        hex.chars().map(|digit| digit.to_digit(16).expect("a hex digit") as u8).collect();
    digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

#[test]
fn golden_records_are_read_and_written_the_same() {
    assert_eq!(VERSION, 1, "a new version needs a golden file of its own beside the old ones");
    let samples = samples::samples();
    if std::env::var("ONSALE_GOLDEN").is_ok_and(|value| value == "write") {
        let mut text = String::from("# One record of each fact: its name, then its bytes.\n");
        for (name, event) in &samples {
            let mut bytes = Vec::new();
            encode(event, &mut bytes);
            writeln!(text, "{name} {}", to_hex(&bytes)).unwrap();
        }
        std::fs::write(PATH, text).unwrap();
    }
    let text = std::fs::read_to_string(PATH).unwrap();
    let lines: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
    assert_eq!(lines.len(), samples.len());
    for (line, (name, event)) in lines.iter().zip(&samples) {
        let (golden_name, hex) = line.split_once(' ').unwrap();
        assert_eq!(golden_name, *name);
        let golden = from_hex(hex);
        assert_eq!(decode(&golden).as_ref(), Ok(event), "{name}");
        let mut bytes = Vec::new();
        encode(event, &mut bytes);
        assert_eq!(to_hex(&bytes), hex, "{name}");
    }
}
