//! A client of SPDY/3.1 for tests, written with the same codec.

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

pub(crate) use super::frame::Frame;
use super::frame::{Decoder, Encoder, Reason};

pub(crate) struct Client<S> {
    pub(crate) connection: S,
    encoder: Encoder,
    decoder: Decoder,
    received: BytesMut,
    next: u32,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Client<S> {
    pub(crate) fn new(connection: S) -> Self {
        Self {
            connection,
            encoder: Encoder::new(),
            decoder: Decoder::new(),
            received: BytesMut::new(),
            next: 1,
        }
    }

    /// Opens a stream, numbered 1, 3 and so on.
    pub(crate) async fn open(&mut self, headers: &[(&str, &str)]) -> u32 {
        let stream = self.next;
        self.next += 2;
        let frame = self.encoder.open(stream, headers, false);
        self.write(&frame).await;
        stream
    }

    async fn write(&mut self, frame: &[u8]) {
        self.connection.write_all(frame).await.unwrap();
        self.connection.flush().await.unwrap();
    }

    pub(crate) async fn send(&mut self, stream: u32, data: &[u8], ends: bool) {
        let frame = [&Encoder::data_head(stream, data.len(), ends), data].concat();
        self.write(&frame).await;
    }

    pub(crate) async fn reset(&mut self, stream: u32) {
        let frame = Encoder::reset(stream, Reason::Cancelled);
        self.write(&frame).await;
    }

    /// The next frame; none at the connection's end.
    pub(crate) async fn receive(&mut self) -> Option<Frame> {
        loop {
            if let Some(frame) = self.decoder.decode(&mut self.received).unwrap() {
                return Some(frame);
            }
            // A frame that was written at once is read at once.
            self.received.reserve(64 * 1024);
            if self.connection.read_buf(&mut self.received).await.unwrap_or(0) == 0 {
                return None;
            }
        }
    }

    /// The next frame of a stream; what is not of it is passed over.
    pub(crate) async fn receive_of(&mut self, wanted: u32) -> Option<Frame> {
        loop {
            match self.receive().await? {
                frame @ (Frame::Data { stream, .. } | Frame::Reset { stream }) if stream == wanted => {
                    return Some(frame);
                }
                _ => {}
            }
        }
    }

    /// All data of a stream up to its end.
    pub(crate) async fn read_to_end(&mut self, wanted: u32) -> Vec<u8> {
        let mut all = Vec::new();
        while let Some(Frame::Data { data, ends, .. }) = self.receive_of(wanted).await {
            all.extend(data);
            if ends {
                break;
            }
        }
        all
    }
}

pub(crate) fn data(stream: u32, data: &'static [u8], ends: bool) -> Option<Frame> {
    Some(Frame::Data {
        stream,
        data: Bytes::from_static(data),
        ends,
    })
}

pub(crate) fn reset(stream: u32) -> Frame {
    Frame::Reset { stream }
}
