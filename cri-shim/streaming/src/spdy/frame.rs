//! Frames from and to bytes, without I/O (SPDY/3.1, section 2.2).
//!
//! Control frames are read whole and are short. Data comes as it arrives, so that a frame of any length needs no memory of
//! its own.

use bytes::{Buf as _, Bytes, BytesMut};

use super::header::{Headers, Reader, Writer};

/// Bytes before each frame's own.
const HEAD: usize = 8;
/// The longest control frame that is read, in bytes. Those of remote commands are some dozen long.
const MAX_CONTROL_BYTES: usize = 16 * 1024;
/// The first half of a control frame's head: the control bit and the version.
const CONTROL: u16 = 0x8003;
const FLAG_FIN: u8 = 1;
/// The bits of a stream's number, and of a window's change.
const NUMBER: u32 = 0x7fff_ffff;

const SYN_STREAM: u16 = 1;
const SYN_REPLY: u16 = 2;
const RST_STREAM: u16 = 3;
const SETTINGS: u16 = 4;
const PING: u16 = 6;
const GOAWAY: u16 = 7;
const HEADERS: u16 = 8;
const WINDOW_UPDATE: u16 = 9;
/// The setting that says how large the windows of new streams are.
const INITIAL_WINDOW_SIZE: u32 = 7;

/// What the peer says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Frame {
    /// A new stream; `ends`: the peer sends nothing on it.
    Open {
        stream: u32,
        headers: Headers,
        ends: bool,
    },
    /// Bytes of a stream, maybe a part of what came in one frame; `ends`: the last ones.
    Data { stream: u32, data: Bytes, ends: bool },
    /// The stream is over, both ways.
    Reset { stream: u32 },
    /// To be sent back, if it is not the answer to one of ours.
    Ping { id: u32 },
    /// The peer opens no further streams.
    GoAway,
    /// So many more bytes of a stream are welcome; stream 0 is the whole connection.
    WindowUpdate { stream: u32, more: u32 },
    /// The peer keeps account of windows, and those of its streams begin with so many bytes, if it says so.
    Settings { window: Option<u32> },
    /// Nothing that matters here: answers, further headers, what later versions may bring.
    Other,
}

/// Why a stream is over before its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(super) enum Reason {
    /// It is not wanted, and nothing of it was looked at.
    Refused = 3,
    /// It is not needed any more, or went wrong.
    Cancelled = 5,
}

/// The peer does not speak SPDY/3.1, or sends more than anyone needs. What is named is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the client's {0} is not what SPDY/3.1 allows")]
pub(crate) struct Violation(pub(super) &'static str);

/// Reads one side of a connection.
#[derive(Debug)]
pub(super) struct Decoder {
    headers: Reader,
    data: Option<Rest>,
}

/// What has not come yet of a data frame: at least one byte.
#[derive(Debug)]
struct Rest {
    stream: u32,
    length: usize,
    ends: bool,
}

impl Decoder {
    pub(super) fn new() -> Self {
        Self {
            headers: Reader::new(),
            data: None,
        }
    }

    /// Takes a frame, or a part of a data frame, off the front of what was received. None: more is needed.
    pub(super) fn decode(&mut self, received: &mut BytesMut) -> Result<Option<Frame>, Violation> {
        if let Some(rest) = self.data.take() {
            return Ok(self.data(rest, received));
        }
        let Some(&[a, b, c, d, flags, l0, l1, l2]) = received.first_chunk::<HEAD>() else {
            return Ok(None);
        };
        let length = u32::from_be_bytes([0, l0, l1, l2]) as usize;
        let ends = flags & FLAG_FIN != 0;
        if a & 0x80 == 0 {
            received.advance(HEAD);
            let stream = u32::from_be_bytes([a, b, c, d]);
            let rest = Rest { stream, length, ends };
            return Ok(self.data(rest, received));
        }
        if u16::from_be_bytes([a, b]) != CONTROL {
            return Err(Violation("version"));
        }
        if length > MAX_CONTROL_BYTES {
            return Err(Violation("frame size"));
        }
        if received.len() < HEAD + length {
            return Ok(None);
        }
        received.advance(HEAD);
        let body = received.split_to(length);
        self.control(u16::from_be_bytes([c, d]), &body, ends).map(Some)
    }

    fn data(&mut self, mut rest: Rest, received: &mut BytesMut) -> Option<Frame> {
        let data = received.split_to(rest.length.min(received.len())).freeze();
        rest.length -= data.len();
        let (stream, ends) = (rest.stream, rest.ends && rest.length == 0);
        let whole = rest.length == 0;
        if !whole {
            self.data = Some(rest);
        }
        (whole || !data.is_empty()).then_some(Frame::Data { stream, data, ends })
    }

    fn control(&mut self, kind: u16, body: &[u8], ends: bool) -> Result<Frame, Violation> {
        let first = word(body, 0).ok_or(Violation("frame size"))?;
        let stream = first & NUMBER;
        Ok(match kind {
            // Behind the stream: the one that it belongs to, priority, credentials.
            SYN_STREAM => {
                let block = body.get(10..).ok_or(Violation("frame size"))?;
                let headers = self.headers.read(block)?;
                Frame::Open {
                    stream,
                    headers,
                    ends,
                }
            }
            // Read for the sake of the compression, whose state every block changes.
            SYN_REPLY | HEADERS => {
                self.headers.read(body.get(4..).ok_or(Violation("frame size"))?)?;
                Frame::Other
            }
            RST_STREAM => Frame::Reset { stream },
            PING => Frame::Ping { id: first },
            GOAWAY => Frame::GoAway,
            WINDOW_UPDATE => {
                let more = word(body, 1).ok_or(Violation("frame size"))? & NUMBER;
                Frame::WindowUpdate { stream, more }
            }
            // A number of them, then each one's flags and id, and value.
            SETTINGS => {
                let settings = body.get(4..).unwrap_or_default().as_chunks::<8>().0;
                let is_window = |setting: &&[u8; 8]| {
                    word(*setting, 0).is_some_and(|id| id & 0x00ff_ffff == INITIAL_WINDOW_SIZE)
                };
                let window = settings.iter().rev().find(is_window);
                let window = window
                    .and_then(|setting| word(setting, 1))
                    .map(|window| window & NUMBER);
                Frame::Settings { window }
            }
            _ => Frame::Other,
        })
    }
}

/// The number at a place that is counted in words.
fn word(body: &[u8], index: usize) -> Option<u32> {
    let bytes = body.get(index * 4..)?.first_chunk()?;
    Some(u32::from_be_bytes(*bytes))
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

    /// Ends a stream both ways.
    pub(super) fn reset(stream: u32, reason: Reason) -> Vec<u8> {
        control(
            RST_STREAM,
            0,
            &[&stream.to_be_bytes(), &(reason as u32).to_be_bytes()],
        )
    }

    /// A ping, or the answer to one.
    pub(super) fn ping(id: u32) -> Vec<u8> {
        control(PING, 0, &[&id.to_be_bytes()])
    }

    /// So many more bytes of a stream (0: of all together) are welcome.
    pub(super) fn window_update(stream: u32, more: u32) -> Vec<u8> {
        control(WINDOW_UPDATE, 0, &[&stream.to_be_bytes(), &more.to_be_bytes()])
    }

    /// Says that this side is done with the connection; `in_order`: the peer did nothing wrong.
    pub(super) fn go_away(last_stream: u32, in_order: bool) -> Vec<u8> {
        let status = u32::from(!in_order);
        control(GOAWAY, 0, &[&last_stream.to_be_bytes(), &status.to_be_bytes()])
    }

    #[cfg(test)]
    pub(super) fn open(&mut self, stream: u32, headers: &[(&str, &str)], ends: bool) -> Vec<u8> {
        let block = self.headers.write(headers);
        let flags = if ends { FLAG_FIN } else { 0 };
        control(SYN_STREAM, flags, &[&stream.to_be_bytes(), &[0; 6], &block])
    }

    #[cfg(test)]
    pub(super) fn initial_window(size: u32) -> Vec<u8> {
        let id = INITIAL_WINDOW_SIZE.to_be_bytes();
        control(SETTINGS, 0, &[&1_u32.to_be_bytes(), &id, &size.to_be_bytes()])
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
mod tests;
