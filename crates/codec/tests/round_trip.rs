//! What is encoded is decoded again, by this crate and by another implementation
//! of protobuf, both ways.

#[path = "support/convert.rs"]
mod convert;
#[path = "support/proto.rs"]
mod proto;
#[path = "support/strategy.rs"]
mod strategy;

use onsale_codec::{decode, encode};
use onsale_core::Event;
use proptest::prelude::*;
use prost::Message;

fn bytes_of(event: &Event) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode(event, &mut bytes);
    bytes
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn an_event_comes_back(event in strategy::event()) {
        prop_assert_eq!(decode(&bytes_of(&event)), Ok(event));
    }

    #[test]
    fn prost_reads_what_we_write(event in strategy::event()) {
        let read = proto::Record::decode(bytes_of(&event).as_slice());
        prop_assert_eq!(read, Ok(convert::record(&event)));
    }

    /// Fields in the order of their numbers, zeros left out: the same bytes.
    #[test]
    fn we_write_what_prost_writes(event in strategy::event()) {
        let written = convert::record(&event).encode_to_vec();
        prop_assert_eq!(&written, &bytes_of(&event));
        prop_assert_eq!(decode(&written), Ok(event));
    }

    #[test]
    fn encoding_appends(event in strategy::event(), before in proptest::collection::vec(any::<u8>(), 0..300)) {
        let mut bytes = before.clone();
        encode(&event, &mut bytes);
        prop_assert_eq!(&bytes[..before.len()], &before);
        prop_assert_eq!(&bytes[before.len()..], &bytes_of(&event));
    }
}

#[test]
fn made_at_is_not_kept() {
    let stamp = onsale_core::CommandStamp {
        id: 1,
        body: 2,
        chosen: true,
        made_at: Some(onsale_core::Time(5)),
    };
    let fact = onsale_core::Fact::GenerationStarted { generation: 1 };
    let event = Event { at: onsale_core::Time(9), stamp: Some(stamp), subject: None, fact };
    let read = decode(&bytes_of(&event)).unwrap();
    assert_eq!(read.stamp, Some(onsale_core::CommandStamp { made_at: None, ..stamp }));
}
