//! File descriptors that the runtime waits for: pipes, terminals, inotify.

use rustix::fd::OwnedFd;
use std::io;
use tokio::io::unix::AsyncFd;

/// A non-blocking stream, registered with the runtime.
#[derive(Debug)]
pub(crate) struct Descriptor {
    inner: AsyncFd<OwnedFd>,
}

impl Descriptor {
    /// Takes a pipe's or terminal's end. Must be called inside the runtime.
    pub(crate) fn new(descriptor: OwnedFd) -> io::Result<Self> {
        rustix::io::ioctl_fionbio(&descriptor, true)?;
        Ok(Self {
            inner: register(descriptor)?,
        })
    }

    /// Reads what is there, waiting for at least one byte; 0 at the end. Cancel-safe.
    pub(crate) async fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let mut ready = self.inner.readable().await?;
            match ready.try_io(|fd| Ok(rustix::io::read(fd.get_ref(), &mut *buffer)?)) {
                // A terminal that nobody has open any more says EIO where a pipe says end.
                Ok(Err(error)) if error.raw_os_error() == Some(EIO) => return Ok(0),
                Ok(result) => return result,
                Err(_would_block) => {}
            }
        }
    }

    /// How many bytes can wait in it to be read, or more.
    pub(crate) fn capacity(&self) -> usize {
        // A terminal's buffer is smaller.
        rustix::pipe::fcntl_getpipe_size(self.inner.get_ref()).unwrap_or(64 * 1024)
    }

    /// Whether a pipe holds at least half of what it can: pages of it may not be filled.
    pub(crate) fn is_half_full(&self) -> bool {
        let size = rustix::pipe::fcntl_getpipe_size(self.inner.get_ref());
        size.is_ok_and(|size| self.waiting() >= size as u64 / 2)
    }

    /// Whether nothing is there to be read.
    pub(crate) fn is_empty(&self) -> bool {
        self.waiting() == 0
    }

    fn waiting(&self) -> u64 {
        rustix::io::ioctl_fionread(self.inner.get_ref()).unwrap_or(0)
    }

    /// Writes everything.
    pub(crate) async fn write_all(&self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let mut ready = self.inner.writable().await?;
            match ready.try_io(|fd| Ok(rustix::io::write(fd.get_ref(), bytes)?)) {
                Ok(written) => bytes = bytes.get(written?..).unwrap_or_default(),
                Err(_would_block) => {}
            }
        }
        Ok(())
    }
}

/// Has the runtime wait for a descriptor. Must be called inside it.
#[expect(
    deprecated,
    reason = "its successor is unsafe, for types whose descriptor may change; an OwnedFd's cannot"
)]
pub(crate) fn register(descriptor: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    AsyncFd::new(descriptor)
}

/// Whether an error only says that this process, or the machine, has no descriptor or memory left: then what it was met
/// with may be as well as ever.
pub(crate) fn is_exhaustion(error: &auraed_sandbox::Error) -> bool {
    use rustix::io::Errno;
    let auraed_sandbox::Error::Step { source, .. } = error else {
        return false;
    };
    matches!(
        Errno::from_io_error(source),
        Some(Errno::MFILE | Errno::NFILE | Errno::NOMEM)
    )
}

const EIO: i32 = rustix::io::Errno::IO.raw_os_error();
