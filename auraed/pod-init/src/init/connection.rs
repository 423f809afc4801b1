//! Connections of daemons: the one that made this pod init, and those that adopt it later.

use std::io;
use std::os::fd::OwnedFd;

use rustix::io::Errno;
use rustix::net::{SocketFlags, accept_with};

use super::{Flow, Init, Requester, Token};
use crate::protocol::{Event, Failure, Message, Pids, Reply, Request};
use crate::wire::{Receiver, Sender};

/// A client that lets more than this pile up is dropped; it can connect again and ask for the status.
const MAX_QUEUED_BYTES: usize = 4 << 20;

pub(super) struct Connection {
    socket: OwnedFd,
    receiver: Receiver,
    sender: Sender,
    wants_write: bool,
    pub(super) subscribed: bool,
}

impl Init {
    pub(super) fn add_connection(&mut self, socket: OwnedFd, subscribed: bool) -> io::Result<()> {
        let serial = self.next_serial();
        self.poll.add(&socket, Token::Connection(serial))?;
        let connection = Connection {
            socket,
            receiver: Receiver::default(),
            sender: Sender::default(),
            wants_write: false,
            subscribed,
        };
        self.connections.insert(serial, connection);
        Ok(())
    }

    /// Begins to take connections: from here on the pod init can be adopted, and its socket tells its process id.
    pub(super) fn listen(&mut self) -> io::Result<()> {
        rustix::net::listen(&self.listener, 16)?;
        self.poll.add(&self.listener, Token::Listener)
    }

    pub(super) fn accept(&mut self) {
        let accept = || accept_with(&self.listener, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK);
        let socket = match accept() {
            Ok(socket) => socket,
            // There are too many. It is taken and closed, or it would be told of for ever.
            Err(Errno::MFILE | Errno::NFILE) => {
                self.spare = None;
                drop(accept());
                self.spare = self.null.try_clone().ok();
                return;
            }
            // The client is gone again.
            Err(_) => return,
        };
        // The directory's and the socket's mode say so already: root, and not of this pod.
        let inside = self.setup.as_ref().is_some_and(|setup| setup.pids != Pids::Host);
        if crate::sys::peer(&socket).is_ok_and(|(pid, uid)| uid == 0 && (pid == 0 || !inside)) {
            // If the kernel has no room for it, the client sees that it is closed.
            let _ = self.add_connection(socket, false);
        }
    }

    /// Reads requests and sends what waits.
    pub(super) fn serve_connection(&mut self, serial: u64) -> io::Result<Flow> {
        let Some(connection) = self.connections.get_mut(&serial) else {
            return Ok(Flow::Continue);
        };
        let mut open = match connection.receiver.receive(&connection.socket) {
            Ok(open) => open,
            Err(error) => error.kind() == io::ErrorKind::WouldBlock,
        };
        while let Some(connection) = self.connections.get_mut(&serial) {
            match connection.receiver.frame() {
                Ok(Some(frame)) => match frame.parse::<Request>() {
                    Ok(request) => {
                        let requester = Requester {
                            connection: serial,
                            request: request.id,
                        };
                        if frame.truncated {
                            let text = "the pod's init has too many open files".to_owned();
                            self.reply(requester, Err(Failure::Failed(text)), Vec::new());
                        } else {
                            self.call(requester, request.call, frame.descriptors);
                        }
                    }
                    Err(_) => open = false,
                },
                Ok(None) => break,
                Err(_) => open = false,
            }
            if !open {
                break;
            }
        }
        if open {
            self.flush(serial)
        } else {
            self.drop_connection(serial)
        }
        let orphaned = self.setup.is_none() && self.connections.is_empty();
        Ok(if orphaned { Flow::End } else { self.flow() })
    }

    fn drop_connection(&mut self, serial: u64) {
        if let Some(connection) = self.connections.remove(&serial) {
            self.poll.remove(&connection.socket);
        }
    }

    fn flush(&mut self, serial: u64) {
        let Some(connection) = self.connections.get_mut(&serial) else {
            return;
        };
        let result = connection.sender.flush(&connection.socket).and_then(|empty| {
            if connection.wants_write == empty {
                connection.wants_write = !empty;
                self.poll
                    .want_write(&connection.socket, Token::Connection(serial), !empty)?;
            }
            Ok(())
        });
        if result.is_err() || connection.sender.queued_bytes() > MAX_QUEUED_BYTES {
            self.drop_connection(serial);
        }
    }

    fn send(&mut self, serial: u64, message: &Message, descriptors: Vec<OwnedFd>) {
        let Some(connection) = self.connections.get_mut(&serial) else {
            return;
        };
        if connection.sender.push(message, descriptors).is_ok() {
            self.flush(serial);
        } else {
            self.drop_connection(serial);
        }
    }

    /// Answers a request, if its client is still there.
    pub(super) fn reply(&mut self, to: Requester, result: Result<Reply, Failure>, descriptors: Vec<OwnedFd>) {
        self.send(
            to.connection,
            &Message::Reply {
                id: to.request,
                result,
            },
            descriptors,
        );
    }

    /// Tells all subscribers.
    pub(super) fn tell(&mut self, event: Event) {
        let subscribers: Vec<u64> = self
            .connections
            .iter()
            .filter(|(_, connection)| connection.subscribed)
            .map(|(serial, _)| *serial)
            .collect();
        let message = Message::Event(event);
        subscribers
            .into_iter()
            .for_each(|serial| self.send(serial, &message, Vec::new()));
    }

    /// Tells one client.
    pub(super) fn tell_one(&mut self, connection: u64, event: Event) {
        self.send(connection, &Message::Event(event), Vec::new());
    }
}
