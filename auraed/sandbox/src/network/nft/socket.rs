//! The netlink socket to nf_tables: sends a batch and reads the verdict, or lists.

use std::io;
use std::os::fd::OwnedFd;

use rustix::io::Errno;
use rustix::net::netlink::{self, SocketAddrNetlink};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};

use super::Refused;
use super::message::{Batch, Received, messages};

const ERROR: u16 = 2; // NLMSG_ERROR
const DONE: u16 = 3; // NLMSG_DONE
/// The kernel's dumps come in pieces of at most this size.
const DATAGRAM: usize = 64 * 1024;

/// A socket in the network namespace that it was opened in.
#[derive(Debug)]
pub(super) struct Socket {
    socket: OwnedFd,
}

impl Socket {
    pub(super) fn open() -> io::Result<Socket> {
        let protocol = Some(netlink::NETFILTER);
        let flags = SocketFlags::CLOEXEC;
        let socket = rustix::net::socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, protocol)?;
        rustix::net::bind(&socket, &SocketAddrNetlink::new(0, 0))?;
        Ok(Socket { socket })
    }

    /// Has the kernel do all of the batch, or nothing.
    pub(super) fn commit(&self, batch: Batch) -> Result<(), Refused> {
        let (bytes, steps) = batch.finish();
        let at = |step| {
            move |error: Errno| Refused {
                step,
                source: error.into(),
            }
        };
        self.send(&bytes).map_err(at("send a transaction"))?;
        // The kernel works inside of the send, so that all answers are there now.
        let mut refused = None;
        let mut lost = false;
        let mut buffer = vec![0; DATAGRAM];
        loop {
            let length = match rustix::net::recv(&self.socket, &mut buffer[..], RecvFlags::DONTWAIT) {
                Ok((length, _)) => length,
                Err(Errno::AGAIN) => break,
                Err(Errno::INTR) => continue,
                // Each step that is refused has an answer of its own, and not all had room. Those that had must be taken, or
                // the next transaction would take them for its own.
                Err(Errno::NOBUFS) => {
                    lost = true;
                    continue;
                }
                Err(error) => return Err(at("read the answer")(error)),
            };
            for message in messages(&buffer[..length]) {
                if let Some(error) = error(&message) {
                    let step = usize::try_from(message.sequence)
                        .ok()
                        .and_then(|sequence| steps.get(sequence));
                    refused.get_or_insert(Refused {
                        step: step.copied().unwrap_or("do a step"),
                        source: error,
                    });
                }
            }
        }
        match refused {
            Some(refused) => Err(refused),
            None if lost => Err(at("read the answer")(Errno::NOBUFS)),
            None => Ok(()),
        }
    }

    /// Sends a dump request and hands over each message of the answer.
    pub(super) fn list(&self, request: &[u8], mut each: impl FnMut(&Received<'_>)) -> io::Result<()> {
        self.send(request)?;
        let mut buffer = vec![0; DATAGRAM];
        loop {
            let length = match rustix::net::recv(&self.socket, &mut buffer[..], RecvFlags::empty()) {
                Ok((length, _)) => length,
                Err(Errno::INTR) => continue,
                Err(error) => return Err(error.into()),
            };
            for message in messages(&buffer[..length]) {
                match message.kind {
                    DONE => return Ok(()),
                    ERROR => return error(&message).map_or(Ok(()), Err),
                    _ => each(&message),
                }
            }
        }
    }

    fn send(&self, bytes: &[u8]) -> Result<(), Errno> {
        let kernel = SocketAddrNetlink::new(0, 0);
        rustix::io::retry_on_intr(|| rustix::net::sendto(&self.socket, bytes, SendFlags::empty(), &kernel))
            .map(drop)
    }
}

// struct nlmsgerr begins with the negative error number; 0 is an acknowledgement.
fn error(message: &Received<'_>) -> Option<io::Error> {
    let code = i32::from_ne_bytes(*message.body.first_chunk()?);
    (message.kind == ERROR && code != 0).then(|| io::Error::from_raw_os_error(-code))
}
