//! Frames from and to bytes, without I/O (SPDY/3, section 2.2).

use bytes::{Buf as _, Bytes, BytesMut};

use super::header::{Headers, Reader, Writer};

/// Bytes before each frame's own.
const HEAD: usize = 8;
/// The longest control frame that is read, in bytes. Those of remote commands are some dozen long.
const MAX_CONTROL_BYTES: usize = 16 * 1024;
/// The longest data frame that is read, in bytes; clients send 32 KiB at most.
const MAX_DATA_BYTES: usize = 1024 * 1024;
/// The first half of a control frame's head: the control bit and the version.
const CONTROL: u16 = 0x8003;
const FLAG_FIN: u8 = 1;

const SYN_STREAM: u16 = 1;
const SYN_REPLY: u16 = 2;
const RST_STREAM: u16 = 3;
const PING: u16 = 6;
const GOAWAY: u16 = 7;
const HEADERS: u16 = 8;

/// What the peer says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Frame {
    /// A new stream; `ends`: the peer sends nothing on it.
    Open {
        stream: u32,
        headers: Headers,
        ends: bool,
    },
    /// Bytes of a stream; `ends`: the last ones.
    Data { stream: u32, data: Bytes, ends: bool },
    /// The stream is over, both ways.
    Reset { stream: u32 },
    /// To be sent back.
    Ping { id: u32 },
    /// The peer opens no further streams.
    GoAway,
    /// Nothing that matters here: settings, window updates, further headers, what later versions may bring.
    Other,
}

/// The peer does not speak SPDY/3.1, or sends more than anyone needs. What is named is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the client's {0} is not what SPDY/3.1 allows")]
pub(super) struct Violation(pub(super) &'static str);

/// Reads one side of a connection.
#[derive(Debug)]
pub(super) struct Decoder {
    headers: Reader,
}

impl Decoder {
    pub(super) fn new() -> Self {
        Self {
            headers: Reader::new(),
        }
    }

    /// Takes a frame off the front of what was received. None: it is not whole yet.
    pub(super) fn decode(&mut self, received: &mut BytesMut) -> Result<Option<Frame>, Violation> {
        let Some(&[a, b, c, d, flags, l0, l1, l2]) = received.first_chunk::<HEAD>() else {
            return Ok(None);
        };
        let length = u32::from_be_bytes([0, l0, l1, l2]) as usize;
        let is_control = a & 0x80 != 0;
        if is_control && u16::from_be_bytes([a, b]) != CONTROL {
            return Err(Violation("version"));
        }
        if length
            > if is_control {
                MAX_CONTROL_BYTES
            } else {
                MAX_DATA_BYTES
            }
        {
            return Err(Violation("frame size"));
        }
        if received.len() < HEAD + length {
            return Ok(None);
        }
        received.advance(HEAD);
        let body = received.split_to(length).freeze();
        let ends = flags & FLAG_FIN != 0;
        if is_control {
            return self.control(u16::from_be_bytes([c, d]), body, ends).map(Some);
        }
        let stream = u32::from_be_bytes([a, b, c, d]);
        Ok(Some(Frame::Data {
            stream,
            data: body,
            ends,
        }))
    }

    fn control(&mut self, kind: u16, body: Bytes, ends: bool) -> Result<Frame, Violation> {
        let word = |index: usize| {
            let bytes = body.get(index * 4..)?.first_chunk()?;
            Some(u32::from_be_bytes(*bytes))
        };
        let first = word(0).ok_or(Violation("frame size"))?;
        Ok(match kind {
            // Behind the stream: the one that it belongs to, priority, credentials.
            SYN_STREAM => {
                let block = body.get(10..).ok_or(Violation("frame size"))?;
                let headers = self.headers.read(block)?;
                Frame::Open {
                    stream: first & 0x7fff_ffff,
                    headers,
                    ends,
                }
            }
            // Read for the sake of the compression, whose state every block changes.
            SYN_REPLY | HEADERS => {
                self.headers.read(body.get(4..).ok_or(Violation("frame size"))?)?;
                Frame::Other
            }
            RST_STREAM => Frame::Reset {
                stream: first & 0x7fff_ffff,
            },
            PING => Frame::Ping { id: first },
            GOAWAY => Frame::GoAway,
            _ => Frame::Other,
        })
    }
}

/// Writes the other side.
#[derive(Debug)]
pub(super) struct Encoder {
    headers: Writer,
}

impl Encoder {
    pub(super) fn new() -> Self {
        Self {
            headers: Writer::new(),
        }
    }

    /// Says that a stream is accepted.
    pub(super) fn reply(&mut self, stream: u32) -> Vec<u8> {
        let block = self.headers.write(&[]);
        control(SYN_REPLY, 0, &[&stream.to_be_bytes(), &block])
    }

    /// The head of a data frame, for less than 16 MiB that follow.
    pub(super) fn data_head(stream: u32, length: usize, ends: bool) -> [u8; HEAD] {
        let [a, b, c, d] = stream.to_be_bytes();
        let [_, l0, l1, l2] = u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes();
        [a, b, c, d, if ends { FLAG_FIN } else { 0 }, l0, l1, l2]
    }

    /// Says that a stream is not accepted.
    pub(super) fn refuse(stream: u32) -> Vec<u8> {
        const REFUSED_STREAM: u32 = 3;
        control(
            RST_STREAM,
            0,
            &[&stream.to_be_bytes(), &REFUSED_STREAM.to_be_bytes()],
        )
    }

    /// Answers a ping.
    pub(super) fn ping(id: u32) -> Vec<u8> {
        control(PING, 0, &[&id.to_be_bytes()])
    }

    /// Says that this side is done with the connection, in good order.
    pub(super) fn go_away(last_stream: u32) -> Vec<u8> {
        control(GOAWAY, 0, &[&last_stream.to_be_bytes(), &[0; 4]])
    }

    #[cfg(test)]
    pub(super) fn open(&mut self, stream: u32, headers: &[(&str, &str)], ends: bool) -> Vec<u8> {
        let block = self.headers.write(headers);
        let flags = if ends { FLAG_FIN } else { 0 };
        control(SYN_STREAM, flags, &[&stream.to_be_bytes(), &[0; 6], &block])
    }
}

fn control(kind: u16, flags: u8, parts: &[&[u8]]) -> Vec<u8> {
    let body = parts.concat();
    let mut frame = Vec::with_capacity(HEAD + body.len());
    frame.extend(CONTROL.to_be_bytes());
    frame.extend(kind.to_be_bytes());
    let length = u32::try_from(body.len()).unwrap_or(u32::MAX) & 0x00ff_ffff;
    frame.extend((u32::from(flags) << 24 | length).to_be_bytes());
    frame.extend(body);
    frame
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn all(bytes: &[u8], step: usize) -> Result<Vec<Frame>, Violation> {
        let (mut decoder, mut received, mut frames) = (Decoder::new(), BytesMut::new(), Vec::new());
        for part in bytes.chunks(step.max(1)) {
            received.extend_from_slice(part);
            while let Some(frame) = decoder.decode(&mut received)? {
                frames.push(frame);
            }
        }
        Ok(frames)
    }

    #[test]
    fn what_is_too_long_or_no_spdy_is_refused_before_it_is_whole() {
        let length = |first: u8| [first, 3, 0, 1, 0, 0xff, 0xff, 0xff];
        assert_eq!(all(&length(0x80), 8), Err(Violation("frame size")));
        assert_eq!(all(&length(0), 8), Err(Violation("frame size")));
        assert_eq!(all(&[0x80, 2, 0, 1, 0, 0, 0, 0], 8), Err(Violation("version")));
    }

    #[test]
    fn unknown_frames_are_passed_over() {
        let frames = [
            control(4, 0, &[&[0; 4]]),
            control(9, 0, &[&[0; 8]]),
            Encoder::ping(7),
        ]
        .concat();
        assert_eq!(
            all(&frames, 99).unwrap(),
            [Frame::Other, Frame::Other, Frame::Ping { id: 7 }]
        );
    }

    proptest! {
        #[test]
        fn frames_arrive_in_whatever_pieces(step in 1_usize..60, data in proptest::collection::vec(any::<u8>(), 0..300)) {
            let mut encoder = Encoder::new();
            let mut bytes = encoder.open(1, &[("streamtype", "error")], true);
            bytes.extend(encoder.open(3, &[("streamtype", "stdin")], false));
            bytes.extend(encoder.reply(9));
            bytes.extend(Encoder::data_head(3, data.len(), false));
            bytes.extend(&data);
            bytes.extend(Encoder::data_head(3, 0, true));
            bytes.extend(Encoder::refuse(3));
            bytes.extend(Encoder::go_away(3));
            let headers = |kind: &str| vec![("streamtype".to_owned(), kind.to_owned())];
            let expected = vec![
                Frame::Open { stream: 1, headers: headers("error"), ends: true },
                Frame::Open { stream: 3, headers: headers("stdin"), ends: false },
                Frame::Other,
                Frame::Data { stream: 3, data: data.into(), ends: false },
                Frame::Data { stream: 3, data: Bytes::new(), ends: true },
                Frame::Reset { stream: 3 },
                Frame::GoAway,
            ];
            prop_assert_eq!(all(&bytes, step).unwrap(), expected);
        }

        #[test]
        fn no_bytes_are_a_panic(mut bytes: Vec<u8>, kind in 0_u16..12, control: bool) {
            if control {
                let body = bytes.clone();
                bytes = super::control(kind, 0, &[&body]);
            }
            let _ = all(&bytes, 7);
        }
    }
}
