//! Known codes, and proofs that none comes twice.

use super::*;

const KEY: CodeKey = CodeKey([
    0x00, 0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x07, 0x08, 0x09, 0x0A, 0x0B, 0x0C, 0x0D, 0x0E, 0x0F,
]);

fn ticket(shard: u16, generation: u32, sequence: u64, ordinal: u16, issue: u8) -> TicketParts {
    TicketParts { shard, generation, sequence, ordinal, issue }
}

/// Codes that were given out stay what they are: these may never change. They were
/// made by a second implementation, written from the description in this file.
#[test]
fn known_codes() {
    let orders = [
        ((0, 0, 0), "E6LRM4RDJM"),
        ((0, 1, 1), "ENA8Y894SF"),
        ((0, 1, 2), "E37427WVX6"),
        ((3, 1, 1), "EWC668D5GK"),
        ((63, 127, u64::from(u32::MAX)), "EJB3HK4436"),
    ];
    for ((shard, generation, sequence), wanted) in orders {
        assert_eq!(KEY.order_code(shard, generation, sequence).as_str(), wanted);
    }
    let tickets = [
        (ticket(0, 0, 0, 0, 0), "Y9RSWBJJ7K6NSRUB"),
        (ticket(0, 1, 1, 0, 0), "TZ8C6XMB68V3NFKK"),
        (ticket(0, 1, 1, 1, 0), "JS2SYVM4KFMH8BR5"),
        (ticket(63, 127, u64::from(u32::MAX), u16::MAX, 63), "4Z2HHUER5BRYBP6E"),
    ];
    for (parts, wanted) in tickets {
        assert_eq!(KEY.ticket_code(parts).as_str(), wanted);
        assert_eq!(KEY.open_ticket(TicketCode::parse(wanted).unwrap()), Some(parts));
    }
}

/// Each code leads back to its number, which alone proves that no two are the same;
/// sorting them shows it once more, bluntly.
fn check_distinct(sequences: std::ops::Range<u64>) {
    let mut numbers: Vec<u64> = Vec::with_capacity((sequences.end - sequences.start) as usize);
    for sequence in sequences {
        let code = KEY.order_code(5, 2, sequence);
        assert_eq!(KEY.open_order(code), Some((5, 2, sequence)));
        numbers.push(read_symbols(&code.0[1..]).unwrap() as u64);
    }
    numbers.sort_unstable();
    assert!(numbers.windows(2).all(|pair| pair[0] < pair[1]));
    assert!(*numbers.last().unwrap() < 1 << ORDER_BITS);
}

// Ten million in two tests, so that they run side by side.

#[test]
fn no_code_comes_twice_in_the_first_five_million() {
    check_distinct(1..5_000_001);
}

#[test]
fn no_code_comes_twice_in_the_next_five_million() {
    check_distinct(5_000_001..10_000_001);
}

/// The same for the tickets of orders with four each.
fn check_distinct_tickets(sequences: std::ops::Range<u64>) {
    let mut numbers: Vec<u128> = Vec::new();
    for sequence in sequences {
        for ordinal in 0..4 {
            let parts = ticket(5, 2, sequence, ordinal, 0);
            let code = KEY.ticket_code(parts);
            assert_eq!(KEY.open_ticket(code), Some(parts));
            numbers.push(read_symbols(&code.0).unwrap());
        }
    }
    numbers.sort_unstable();
    assert!(numbers.windows(2).all(|pair| pair[0] < pair[1]));
}

#[test]
fn no_ticket_code_comes_twice_in_the_first_five_million() {
    check_distinct_tickets(1..1_250_001);
}

#[test]
fn no_ticket_code_comes_twice_in_the_next_five_million() {
    check_distinct_tickets(1_250_001..2_500_001);
}

/// On few bits the permutation can be tried out in full.
#[test]
fn the_network_is_a_permutation_for_odd_and_even_widths() {
    for bits in [8, 11, 16, 17] {
        let mut seen = vec![false; 1 << bits];
        for number in 0..1 << bits {
            let permuted = KEY.permute(b'O', bits, number);
            assert!(!std::mem::replace(&mut seen[permuted as usize], true), "{bits} {number}");
            assert_eq!(KEY.permute_back(b'O', bits, permuted), number);
        }
    }
}

/// Neighbours share no more symbols than chance gives: a guess is a guess.
#[test]
fn neighbours_look_unrelated() {
    let (mut same, orders) = (0, 20_000);
    for sequence in 1..=orders {
        let (a, b) = (KEY.order_code(0, 1, sequence), KEY.order_code(0, 1, sequence + 1));
        same += a.0[1..].iter().zip(&b.0[1..]).filter(|(a, b)| a == b).count();
    }
    let expected = orders as usize * 9 / 32;
    assert!(same.abs_diff(expected) < expected / 10, "{same} of {expected}");
}

#[test]
fn codes_of_other_keys_shards_and_generations_differ() {
    let other = CodeKey([9; 16]);
    let codes = [
        KEY.order_code(0, 1, 1),
        other.order_code(0, 1, 1),
        KEY.order_code(1, 1, 1),
        KEY.order_code(0, 2, 1),
    ];
    let distinct: std::collections::BTreeSet<_> = codes.iter().collect();
    assert_eq!(distinct.len(), codes.len());
}

/// Thirteen bits that must come back as zero: of made-up tickets one in 8,192 passes.
#[test]
fn made_up_tickets_are_found_out() {
    let mut passed = 0;
    for n in 0..100_000u128 {
        let mut symbols = [0; 16];
        write_symbols(n * 0x1234_5678_9ABC_DEF1 + n, &mut symbols);
        passed += usize::from(KEY.open_ticket(TicketCode(symbols)).is_some());
    }
    assert!(passed < 40, "{passed} passed");
}

#[test]
fn what_is_no_code_is_refused() {
    let code = KEY.order_code(0, 1, 1);
    let other_lane = OrderCode(*b"LAAAAAAAAA");
    assert_eq!(KEY.open_order(other_lane), None);
    assert_eq!(KEY.open_order(OrderCode(*b"E01IOaz~ \0")), None);
    assert_eq!(KEY.open_ticket(TicketCode([0xFF; 16])), None);
    for text in ["", "E", "EAAAAAAAA1", "EAAAAAAAAI", "eaaaaaaaaa", "EAAAAAAAAAA", "EÄAAAAAAA"] {
        assert_eq!(OrderCode::parse(text), None, "{text}");
    }
    assert_eq!(OrderCode::parse(code.as_str()), Some(code));
}
