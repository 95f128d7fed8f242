//! Bytes that are not what this version wrote: what is skipped, what is refused,
//! by which words; and that nothing panics.

#[path = "support/samples.rs"]
mod samples;

use onsale_codec::{Error, Problem, decode, encode};
use onsale_core::{Event, InvalidText};
use proptest::prelude::*;

fn sample(name: &str) -> Event {
    samples::samples().into_iter().find(|(found, _)| *found == name).expect("a sample").1
}

fn bytes_of(event: &Event) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode(event, &mut bytes);
    bytes
}

/// A field of wire type 2. Lengths and numbers must be small.
fn field(number: u32, body: &[u8]) -> Vec<u8> {
    let mut bytes = tag(number, 2);
    assert!(body.len() < 128);
    bytes.push(body.len() as u8);
    bytes.extend_from_slice(body);
    bytes
}

fn tag(number: u32, wire_type: u32) -> Vec<u8> {
    let tag = number << 3 | wire_type;
    match tag < 128 {
        true => vec![tag as u8],
        false => vec![tag as u8 | 0x80, (tag >> 7) as u8],
    }
}

fn number(field: u32, value: u8) -> Vec<u8> {
    [tag(field, 0), vec![value]].concat()
}

fn problem(path: &str, problem: Problem) -> Result<Event, Error> {
    Err(Error::Field { field: path.into(), problem })
}

/// A record that holds only this fact.
fn fact(fact_number: u32, parts: &[Vec<u8>]) -> Vec<u8> {
    field(fact_number, &parts.concat())
}

#[test]
fn every_prefix_is_an_error_or_another_event_but_never_the_same() {
    for (name, event) in samples::samples() {
        let bytes = bytes_of(&event);
        for end in 0..bytes.len() {
            assert_ne!(decode(&bytes[..end]), Ok(event.clone()), "{name} cut at {end}");
        }
    }
}

#[test]
fn a_flipped_bit_never_panics_and_is_never_the_same_event() {
    for (name, event) in samples::samples() {
        let bytes = bytes_of(&event);
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_ne!(decode(&flipped), Ok(event.clone()), "{name} with bit {bit} flipped");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20_000))]

    #[test]
    fn noise_never_panics(noise in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = decode(&noise);
    }

    #[test]
    fn noise_inside_a_fact_never_panics(
        fact in prop::sample::select(vec![16, 17, 18, 24, 25, 32, 33, 34, 35, 40, 41, 48, 49]),
        noise in proptest::collection::vec(any::<u8>(), 0..127),
    ) {
        let _ = decode(&field(fact, &noise));
    }
}

#[test]
fn unknown_fields_are_skipped_everywhere() {
    let unknown = [
        number(15, 7),
        field(9, b"later"),
        [tag(600, 1), vec![0; 8]].concat(),
        [tag(601, 5), vec![0; 4]].concat(),
    ]
    .concat();
    for (name, event) in samples::samples() {
        let bytes = bytes_of(&event);
        let longer = [unknown.clone(), bytes.clone(), unknown.clone()].concat();
        assert_eq!(decode(&longer).as_ref(), Ok(&event), "{name}");
    }
    let line = field(4, &[field(2, b"vip"), number(3, 2), unknown.clone()].concat());
    let known = [field(1, &[7; 16]), field(2, b"c1"), field(6, b"EUR"), line].concat();
    let hold = field(32, &[known, unknown].concat());
    assert!(decode(&hold).is_ok(), "{:?}", decode(&hold));
}

#[test]
fn an_unknown_fact_is_an_error_of_its_own() {
    for unknown in [19, 64, 511] {
        assert_eq!(decode(&field(unknown, b"")), Err(Error::UnknownFact { number: unknown }));
    }
    let after_a_known_one = [bytes_of(&sample("hold_placed")), field(64, b"")].concat();
    assert_eq!(decode(&after_a_known_one), Err(Error::UnknownFact { number: 64 }));
    assert_eq!(decode(&field(512, b"")), problem("record.fact", Problem::Missing));
}

#[test]
fn what_is_wrong_is_named_with_its_path() {
    let hold = || field(1, &[7; 16]);
    let released = || fact(34, &[hold()]);
    let lines = |line: Vec<u8>| fact(32, &[field(4, b""), field(4, &line)]);
    let payment = |outcome: u8, reason: Vec<u8>| {
        let parts = [field(1, b"E7QXK2M9PA"), number(2, 1), field(3, b"r"), field(5, b"EUR")];
        fact(48, &[parts.concat(), number(7, outcome), reason])
    };
    let too_long = Problem::Text(InvalidText::TooLong { bytes_max: 64 });
    let rows: Vec<(Vec<u8>, &str, Problem)> = vec![
        (vec![], "record.fact", Problem::Missing),
        (fact(34, &[]), "record.hold_released.hold", Problem::Missing),
        (fact(41, &[field(1, b"E7QXK2M9PA")]), "record.order_cancelled.reason", Problem::Missing),
        (fact(24, &[]), "record.event_defined.definition", Problem::Missing),
        (
            fact(34, &[field(1, &[7; 15])]),
            "record.hold_released.hold",
            Problem::Length { expected: 16, found: 15 },
        ),
        (
            fact(18, &[field(1, b"a b")]),
            "record.group_placed.sale_group",
            InvalidText::NotAnId.into(),
        ),
        (fact(18, &[field(1, &[b'a'; 65])]), "record.group_placed.sale_group", too_long),
        (fact(18, &[field(1, b"")]), "record.group_placed.sale_group", InvalidText::Empty.into()),
        (fact(18, &[field(1, &[0xff])]), "record.group_placed.sale_group", Problem::NotUtf8),
        (fact(41, &[field(1, b"E7QXK2M9P1")]), "record.order_cancelled.order", Problem::OrderCode),
        (
            fact(32, &[field(2, b"a@b")]),
            "record.hold_placed.customer",
            InvalidText::PersonalData.into(),
        ),
        (fact(32, &[field(6, b"eur")]), "record.hold_placed.currency", Problem::Currency),
        (fact(25, &[number(2, 4)]), "record.state_set.state", Problem::Value { value: 4 }),
        (
            fact(16, &[[tag(2, 0), vec![0x80, 0x80, 4]].concat()]),
            "record.shard_started.shard",
            Problem::Value { value: 65_536 },
        ),
        (
            fact(18, &[number(1, 1)]),
            "record.group_placed.sale_group",
            Problem::WireType { found: 0 },
        ),
        (number(34, 1), "record.hold_released", Problem::WireType { found: 0 }),
        ([released(), tag(7, 3)].concat(), "record", Problem::WireType { found: 3 }),
        ([released(), tag(1, 5), vec![0; 4]].concat(), "record.at", Problem::WireType { found: 5 }),
        ([released(), released()].concat(), "record.fact", Problem::Twice),
        (fact(34, &[hold(), hold()]), "record.hold_released.hold", Problem::Twice),
        ([released(), number(4, 1)].concat(), "record.stamp_id", Problem::Missing),
        ([released(), field(2, &[0; 16])].concat(), "record.stamp_body", Problem::Missing),
        ([released(), field(5, b"o")].concat(), "record.event", Problem::Missing),
        ([released(), field(6, b"e")].concat(), "record.organizer", Problem::Missing),
        ([released(), vec![0x0a]].concat(), "record", Problem::Truncated),
        ([released(), vec![0x0a, 5, 1]].concat(), "record", Problem::Truncated),
        ([released(), vec![0]].concat(), "record", Problem::FieldNumber { number: 0 }),
        ([released(), vec![0x80; 10]].concat(), "record", Problem::Varint),
        ([vec![0x08], vec![0xff; 9], vec![2]].concat(), "record", Problem::Varint),
        (fact(34, &[vec![0x0a, 16, 1]]), "record.hold_released", Problem::Truncated),
        (lines(vec![]), "record.hold_placed.lines[0].stock", Problem::Missing),
        (payment(1, number(8, 1)), "record.payment_recorded.refund_reason", Problem::Unexpected),
        (payment(3, vec![]), "record.payment_recorded.refund_reason", Problem::Missing),
        (payment(0, vec![]), "record.payment_recorded.outcome", Problem::Value { value: 0 }),
    ];
    for (bytes, path, expected) in rows {
        assert_eq!(decode(&bytes), problem(path, expected), "{bytes:02x?}");
    }
}

#[test]
fn an_error_reads_well() {
    let line = field(4, &[field(2, b"vip"), number(3, 1), field(4, b"")].concat());
    let error = decode(&field(32, &line)).unwrap_err();
    assert_eq!(error.to_string(), "record.hold_placed.lines[0].stock: is there twice");
    let error = decode(&field(64, b"")).unwrap_err();
    let expected = "fact number 64 is unknown: the record was written by a newer version";
    assert_eq!(error.to_string(), expected);
}

#[test]
fn a_huge_length_allocates_nothing() {
    let huge = [tag(32, 2), vec![0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f]].concat();
    assert_eq!(decode(&huge), problem("record", Problem::Truncated));
}
