//! Frames with file descriptors on a Unix stream socket.
//!
//! A frame is eight bytes of header (length and number of descriptors, little-endian `u32`s), then the JSON text. The
//! descriptors travel with the header's first byte, so they are there when the frame is. Both ends use [`Receiver`]
//! and [`Sender`] on a non-blocking socket; an error of either means the connection is of no more use.

use std::collections::VecDeque;
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Longer frames are refused: no pod's description comes near it.
pub const MAX_FRAME_BYTES: usize = 16 << 20;
/// More descriptors in one frame are refused.
pub const MAX_DESCRIPTORS: usize = 250;

const HEADER_BYTES: usize = 8;
const READ_BYTES: usize = 16 << 10;

/// One received message.
#[derive(Debug)]
pub struct Frame {
    text: Vec<u8>,
    /// What came with it.
    pub descriptors: Vec<OwnedFd>,
    /// More came with it than this process may have open, so that it has none of it.
    pub truncated: bool,
}

impl Frame {
    /// The message.
    pub fn parse<T: DeserializeOwned>(&self) -> io::Result<T> {
        serde_json::from_slice(&self.text).map_err(io::Error::from)
    }
}

/// Collects what arrives until frames are whole.
#[derive(Debug, Default)]
pub struct Receiver {
    bytes: Vec<u8>,
    /// Of each frame that has some, in order; absent if there was no room for them.
    descriptors: VecDeque<Option<Vec<OwnedFd>>>,
}

impl Receiver {
    /// Reads once. `false` at the end of the stream; `WouldBlock` when nothing is there.
    pub fn receive(&mut self, socket: impl AsFd) -> io::Result<bool> {
        let start = self.bytes.len();
        self.bytes.resize(start + READ_BYTES, 0);
        let result = self.receive_at(socket.as_fd(), start);
        self.bytes.truncate(start + *result.as_ref().unwrap_or(&0));
        Ok(result? > 0)
    }

    fn receive_at(&mut self, socket: BorrowedFd<'_>, start: usize) -> io::Result<usize> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_DESCRIPTORS))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let mut slices = [IoSliceMut::new(&mut self.bytes[start..])];
        let received = rustix::io::retry_on_intr(|| {
            recvmsg(
                socket,
                &mut slices,
                &mut ancillary,
                RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT,
            )
        })?;
        // The kernel gives those of one message at a time, with its first byte, which is a frame's.
        let mut batch = Vec::new();
        for message in ancillary.drain() {
            if let RecvAncillaryMessage::ScmRights(descriptors) = message {
                batch.extend(descriptors);
            }
        }
        if received.flags.contains(ReturnFlags::CTRUNC) {
            self.descriptors.push_back(None);
        } else if !batch.is_empty() {
            self.descriptors.push_back(Some(batch));
        }
        Ok(received.bytes)
    }

    /// The next whole frame, if there is one.
    pub fn frame(&mut self) -> io::Result<Option<Frame>> {
        let Some((length, count)) = self.header()? else {
            return Ok(None);
        };
        if self.bytes.len() < HEADER_BYTES + length {
            return Ok(None);
        }
        let batch = if count > 0 {
            self.descriptors.pop_front()
        } else {
            None
        };
        let descriptors = match batch {
            Some(Some(batch)) if batch.len() != count => return Err(invalid("a descriptor is missing")),
            None if count > 0 => return Err(invalid("the descriptors are missing")),
            Some(batch) => batch,
            None => Some(Vec::new()),
        };
        let rest = self.bytes.split_off(HEADER_BYTES + length);
        let mut text = std::mem::replace(&mut self.bytes, rest);
        text.drain(..HEADER_BYTES);
        Ok(Some(Frame {
            text,
            truncated: descriptors.is_none(),
            descriptors: descriptors.unwrap_or_default(),
        }))
    }

    fn header(&self) -> io::Result<Option<(usize, usize)>> {
        let Some(([a, b, c, d, e, f, g, h], _)) = self.bytes.split_first_chunk::<HEADER_BYTES>() else {
            return Ok(None);
        };
        let length = u32::from_le_bytes([*a, *b, *c, *d]) as usize;
        let count = u32::from_le_bytes([*e, *f, *g, *h]) as usize;
        if length > MAX_FRAME_BYTES || count > MAX_DESCRIPTORS {
            return Err(invalid("the frame is too long"));
        }
        Ok(Some((length, count)))
    }
}

/// Holds what is to be sent until the socket takes it.
#[derive(Debug, Default)]
pub struct Sender {
    queue: VecDeque<Outgoing>,
    queued: usize,
}

#[derive(Debug)]
struct Outgoing {
    bytes: Vec<u8>,
    sent: usize,
    descriptors: Vec<OwnedFd>,
}

impl Sender {
    /// Queues a message and its descriptors, which are closed once sent.
    pub fn push<T: Serialize>(&mut self, message: &T, descriptors: Vec<OwnedFd>) -> io::Result<()> {
        let mut bytes = vec![0; HEADER_BYTES];
        serde_json::to_writer(&mut bytes, message)?;
        let length = bytes.len() - HEADER_BYTES;
        if length > MAX_FRAME_BYTES || descriptors.len() > MAX_DESCRIPTORS {
            return Err(invalid("the message is too long"));
        }
        bytes[..4].copy_from_slice(&(length as u32).to_le_bytes());
        bytes[4..HEADER_BYTES].copy_from_slice(&(descriptors.len() as u32).to_le_bytes());
        self.queued += bytes.len();
        self.queue.push_back(Outgoing {
            bytes,
            sent: 0,
            descriptors,
        });
        Ok(())
    }

    /// Sends what the socket takes. `true` when nothing is left.
    pub fn flush(&mut self, socket: impl AsFd) -> io::Result<bool> {
        while let Some(first) = self.queue.front_mut() {
            match first.send(socket.as_fd()) {
                Ok(count) => {
                    first.sent += count;
                    first.descriptors.clear();
                    self.queued -= count;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(error),
            }
            if first.sent == first.bytes.len() {
                self.queue.pop_front();
            }
        }
        self.queue.shrink_to_fit();
        Ok(true)
    }

    /// Bytes that the socket has not taken yet.
    pub fn queued_bytes(&self) -> usize {
        self.queued
    }
}

impl Outgoing {
    fn send(&self, socket: BorrowedFd<'_>) -> io::Result<usize> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_DESCRIPTORS))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        let borrowed: Vec<BorrowedFd<'_>> = self.descriptors.iter().map(AsFd::as_fd).collect();
        if !borrowed.is_empty() && !ancillary.push(SendAncillaryMessage::ScmRights(&borrowed)) {
            return Err(invalid("too many descriptors"));
        }
        let slices = [IoSlice::new(&self.bytes[self.sent..])];
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        let sent = rustix::io::retry_on_intr(|| sendmsg(socket, &slices, &mut ancillary, flags))?;
        Ok(sent)
    }
}

fn invalid(reason: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, reason)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

    use super::*;

    fn pair() -> (OwnedFd, OwnedFd) {
        socketpair(
            AddressFamily::UNIX,
            SocketType::STREAM,
            SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
            None,
        )
        .unwrap()
    }

    fn receive(receiver: &mut Receiver, socket: &OwnedFd) -> Frame {
        loop {
            if let Some(frame) = receiver.frame().unwrap() {
                return frame;
            }
            assert!(receiver.receive(socket).unwrap());
        }
    }

    #[test]
    fn frames_arrive_whole_in_order_and_with_their_descriptors() {
        let (near, far) = pair();
        let mut sender = Sender::default();
        let (read, write) = rustix::pipe::pipe().unwrap();
        sender.push(&"first", vec![write]).unwrap();
        sender.push(&"second", vec![]).unwrap();
        assert!(sender.flush(&near).unwrap());
        let mut receiver = Receiver::default();
        let mut first = receive(&mut receiver, &far);
        assert_eq!(first.parse::<String>().unwrap(), "first");
        std::fs::File::from(first.descriptors.pop().unwrap())
            .write_all(b"x")
            .unwrap();
        let mut byte = [0];
        assert_eq!(rustix::io::read(&read, &mut byte).unwrap(), 1);
        let second = receive(&mut receiver, &far);
        assert_eq!(second.parse::<String>().unwrap(), "second");
        assert!(second.descriptors.is_empty());
    }

    #[test]
    fn a_long_frame_goes_as_the_reader_reads() {
        let (near, far) = pair();
        let mut sender = Sender::default();
        let long = "x".repeat(3 << 20);
        sender.push(&long, vec![]).unwrap();
        let mut receiver = Receiver::default();
        loop {
            let done = sender.flush(&near).unwrap();
            while matches!(receiver.receive(&far), Ok(true)) {}
            if done {
                break;
            }
            assert!(sender.queued_bytes() > 0);
        }
        assert_eq!(receive(&mut receiver, &far).parse::<String>().unwrap(), long);
        assert_eq!(sender.queued_bytes(), 0);
    }

    #[test]
    fn a_frame_that_claims_too_much_is_refused() {
        let (near, far) = pair();
        rustix::io::write(&near, &[0xff; 8]).unwrap();
        let mut receiver = Receiver::default();
        assert!(receiver.receive(&far).unwrap());
        assert!(receiver.frame().is_err());
    }

    #[test]
    fn the_end_is_told_apart_from_nothing_there() {
        let (near, far) = pair();
        let mut receiver = Receiver::default();
        assert_eq!(
            receiver.receive(&far).unwrap_err().kind(),
            io::ErrorKind::WouldBlock
        );
        drop(near);
        assert!(!receiver.receive(&far).unwrap());
    }
}
