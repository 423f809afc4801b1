//! epoll(7), with what an event is about instead of a number.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};

/// Events taken at once.
const BATCH: usize = 16;

/// What an event is about. Numbers are serials of the pod init, never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Token {
    Listener,
    Signals,
    /// A cgroup has become empty.
    Cgroups,
    Connection(u64),
    /// Of a container or an execution.
    Birth(u64),
    /// Of a container: 0 stdout or terminal, 1 stderr.
    Output(u64, usize),
}

impl Token {
    const fn pack(self) -> u64 {
        let (serial, kind) = match self {
            Self::Listener => (0, 0),
            Self::Signals => (0, 1),
            Self::Cgroups => (0, 6),
            Self::Connection(serial) => (serial, 2),
            Self::Birth(serial) => (serial, 3),
            Self::Output(serial, 0) => (serial, 4),
            Self::Output(serial, _) => (serial, 5),
        };
        serial << 3 | kind
    }

    const fn unpack(packed: u64) -> Self {
        let serial = packed >> 3;
        match packed & 7 {
            0 => Self::Listener,
            1 => Self::Signals,
            2 => Self::Connection(serial),
            3 => Self::Birth(serial),
            4 => Self::Output(serial, 0),
            5 => Self::Output(serial, 1),
            _ => Self::Cgroups,
        }
    }
}

pub(super) struct Poll {
    epoll: OwnedFd,
}

impl Poll {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self {
            epoll: epoll::create(CreateFlags::CLOEXEC)?,
        })
    }

    /// Tells when `source` can be read, or has ended.
    pub(super) fn add(&self, source: impl AsFd, token: Token) -> io::Result<()> {
        epoll::add(
            &self.epoll,
            source,
            EventData::new_u64(token.pack()),
            EventFlags::IN,
        )?;
        Ok(())
    }

    /// Tells when a file of cgroups or of /proc, which can always be read, has changed: from its last reading on. Once for each
    /// change: one whose directory is removed has changed for ever.
    pub(super) fn add_changing(&self, source: impl AsFd, token: Token) -> io::Result<()> {
        epoll::add(
            &self.epoll,
            source,
            EventData::new_u64(token.pack()),
            EventFlags::PRI | EventFlags::ET,
        )?;
        Ok(())
    }

    /// Tells also when `source` can be written.
    pub(super) fn want_write(&self, source: impl AsFd, token: Token, want: bool) -> io::Result<()> {
        let flags = if want {
            EventFlags::IN | EventFlags::OUT
        } else {
            EventFlags::IN
        };
        epoll::modify(&self.epoll, source, EventData::new_u64(token.pack()), flags)?;
        Ok(())
    }

    /// Must come before a descriptor is closed: a process that is just being started still has a copy of it, which would
    /// keep it in the set.
    pub(super) fn remove(&self, source: impl AsFd) {
        // It fails only if it was never added.
        let _ = epoll::delete(&self.epoll, source);
    }

    /// Waits until something happens.
    pub(super) fn wait(&self) -> io::Result<Vec<Token>> {
        let mut events = Vec::with_capacity(BATCH);
        match epoll::wait(&self.epoll, spare_capacity(&mut events), None) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        Ok(events
            .iter()
            .map(|event| Token::unpack(event.data.u64()))
            .collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_removed_is_told_once() {
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
        let unified = mounts.lines().find(|line| line.contains(" - cgroup2 ")).unwrap();
        let root = std::path::Path::new(unified.split(' ').nth(4).unwrap());
        let group = root.join(format!("aurae-poll-{}", std::process::id()));
        std::fs::create_dir(&group).unwrap();
        let events = std::fs::File::open(group.join("cgroup.events")).unwrap();
        let poll = Poll::new().unwrap();
        poll.add_changing(&events, Token::Cgroups).unwrap();
        std::fs::remove_dir(&group).unwrap();
        let (reader, writer) = rustix::pipe::pipe().unwrap();
        poll.add(&reader, Token::Signals).unwrap();
        rustix::io::write(&writer, b"x").unwrap();
        // The first wait takes what the removal has to tell.
        assert!(poll.wait().unwrap().contains(&Token::Signals));
        assert_eq!(poll.wait().unwrap(), [Token::Signals]);
    }

    #[test]
    fn tokens_survive_packing() {
        for token in [
            Token::Listener,
            Token::Signals,
            Token::Cgroups,
            Token::Connection(7),
            Token::Birth(1 << 40),
            Token::Output(3, 0),
            Token::Output(3, 1),
        ] {
            assert_eq!(Token::unpack(token.pack()), token);
        }
    }
}
