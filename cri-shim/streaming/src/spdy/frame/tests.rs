//! What is read is what was written, in whatever pieces; nothing is a panic.

use proptest::prelude::*;

use super::*;
use crate::spdy::fuzzing::meaning as all;

#[test]
fn what_is_too_long_or_no_spdy_is_refused_before_it_is_whole() {
    assert_eq!(
        all(&[0x80, 3, 0, 1, 0, 0xff, 0xff, 0xff], 8),
        Err(Violation("frame size"))
    );
    assert_eq!(all(&[0x80, 2, 0, 1, 0, 0, 0, 0], 8), Err(Violation("version")));
}

#[test]
fn a_long_data_frame_comes_as_it_arrives() {
    let mut received = BytesMut::from(
        [Encoder::data_head(3, 0x00ff_ffff, true).as_slice(), b"ab"]
            .concat()
            .as_slice(),
    );
    let mut decoder = Decoder::new();
    let part = |data: &'static [u8]| {
        Some(Frame::Data {
            stream: 3,
            data: Bytes::from_static(data),
            ends: false,
        })
    };
    assert_eq!(decoder.decode(&mut received).unwrap(), part(b"ab"));
    assert_eq!(decoder.decode(&mut received).unwrap(), None);
    received.extend_from_slice(b"c");
    assert_eq!(decoder.decode(&mut received).unwrap(), part(b"c"));
}

#[test]
fn windows_are_read_and_unknown_frames_passed_over() {
    let frames = [
        control(SETTINGS, 0, &[&[0; 4]]),
        Encoder::initial_window(1000),
        Encoder::window_update(5, 64),
        control(10, 0, &[&[0; 8]]),
        Encoder::ping(7),
    ]
    .concat();
    assert_eq!(
        all(&frames, 99).unwrap(),
        [
            Frame::Settings { window: None },
            Frame::Settings { window: Some(1000) },
            Frame::WindowUpdate { stream: 5, more: 64 },
            Frame::Other,
            Frame::Ping { id: 7 }
        ]
    );
}

proptest! {
    #[test]
    fn frames_arrive_in_whatever_pieces(step in 1_usize..60, data in proptest::collection::vec(any::<u8>(), 0..300)) {
        let mut encoder = Encoder::new();
        let mut bytes = encoder.open(1, &[("streamtype", "error")], true);
        bytes.extend(encoder.open(3, &[("streamtype", "stdin")], false));
        bytes.extend(encoder.reply(9));
        bytes.extend(Encoder::data_head(3, data.len(), true));
        bytes.extend(&data);
        bytes.extend(Encoder::data_head(5, 0, true));
        bytes.extend(Encoder::reset(3, Reason::Cancelled));
        bytes.extend(Encoder::go_away(3, true));
        let headers = |kind: &str| vec![("streamtype".to_owned(), kind.to_owned())];
        let expected = vec![
            Frame::Open { stream: 1, headers: headers("error"), ends: true },
            Frame::Open { stream: 3, headers: headers("stdin"), ends: false },
            Frame::Other,
            Frame::Data { stream: 3, data: data.into(), ends: true },
            Frame::Data { stream: 5, data: Bytes::new(), ends: true },
            Frame::Reset { stream: 3 },
            Frame::GoAway,
        ];
        prop_assert_eq!(all(&bytes, step).unwrap(), expected);
    }

    #[test]
    fn whatever_comes_means_the_same_in_all_pieces(
        parts in proptest::collection::vec((0_u16..12, any::<bool>(), proptest::collection::vec(any::<u8>(), 0..40)), 0..8),
        step in 1_usize..60,
    ) {
        let mut bytes = Vec::new();
        for (kind, is_control, body) in &parts {
            if *is_control {
                bytes.extend(control(*kind, 0, &[body]));
            } else {
                bytes.extend(Encoder::data_head(u32::from(*kind), body.len(), *kind % 2 == 0));
                bytes.extend(body);
            }
        }
        prop_assert_eq!(all(&bytes, step), all(&bytes, bytes.len()));
    }

    #[test]
    fn no_bytes_are_a_panic(mut bytes: Vec<u8>, kind in 0_u16..12, is_control: bool) {
        if is_control {
            let body = bytes.clone();
            bytes = control(kind, 0, &[&body]);
        }
        let _ = all(&bytes, 7);
    }
}
