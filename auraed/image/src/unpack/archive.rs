//! Reads the headers of a tar stream: ustar, GNU long names and sparse files, PAX.
//!
//! The tar crate decodes the fields of a header block; the loop around it is here, because the crate's iterator reads
//! an extended header of any length into memory, and splits PAX records where it must not (see `pax`). Where readers
//! differ this one does as Go's archive/tar, which is what wrote nearly every layer: an entry that is no file has no
//! content, whatever size it claims.

use std::io::{self, BufRead, Read};
use std::ops::Range;

use super::error::{ArchiveError, show};
use super::limit;
use super::pax::Extensions;
use super::sparse::{self, Map, Sparse};

const BLOCK: usize = 512;

/// A tar stream. Reading from it gives the content of the entry that [`Archive::next_entry`] gave last.
pub(crate) struct Archive<R> {
    reader: R,
    /// Unread content of the entry, then padding up to the next block.
    content: u64,
    padding: u64,
    entries: u64,
}

/// The header of an entry, complete and within its limits, but not to be trusted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) kind: EntryKind,
    pub(crate) path: Vec<u8>,
    /// The target of a symlink or hard link.
    pub(crate) link: Vec<u8>,
    /// Permission bits with setuid, setgid and sticky.
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// Seconds since the epoch and nanoseconds.
    pub(crate) mtime: (i64, u32),
    /// Bytes of content that follow in the archive.
    pub(crate) size: u64,
    /// Where they belong, if not one after another.
    pub(crate) sparse: Option<Sparse>,
    /// Major and minor number.
    pub(crate) device: (u32, u32),
    pub(crate) xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum EntryKind {
    #[default]
    File,
    Directory,
    Symlink,
    HardLink,
    CharacterDevice,
    BlockDevice,
    Fifo,
}

/// What came before an entry and belongs to it.
#[derive(Default)]
struct Prefix {
    name: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    pax: Extensions,
}

impl<R: Read> Archive<R> {
    pub(crate) fn new(reader: R) -> Archive<R> {
        Archive {
            reader,
            content: 0,
            padding: 0,
            entries: 0,
        }
    }

    /// The next entry, after what is left of the last one's content; `None` at the end mark or the end of the stream.
    pub(crate) fn next_entry(&mut self) -> Result<Option<Entry>, ArchiveError> {
        let mut prefix = Prefix::default();
        loop {
            self.skip()?;
            let mut header = tar::Header::new_old();
            if !self.read_block(header.as_mut_bytes())? {
                return Ok(None);
            }
            self.entries += 1;
            if self.entries > limit::ENTRIES {
                return Err(ArchiveError::TooMany(limit::ENTRIES));
            }
            check_sum(&header)?;
            let size = field(&header, 124..136, header.entry_size())?;
            match header.as_bytes()[156] {
                b'L' => prefix.name = Some(self.long_name(size, "its path")?),
                b'K' => prefix.link = Some(self.long_name(size, "its link")?),
                b'x' => {
                    let data = self.extension(size, limit::PAX_HEADER, "its extended header")?;
                    prefix.pax = Extensions::parse(&data)?;
                }
                // Global headers hold comments; a volume label is a name for the archive.
                b'g' | b'V' => self.expect_content(size),
                type_flag => return self.entry(&header, type_flag, size, prefix).map(Some),
            }
        }
    }

    fn entry(
        &mut self,
        header: &tar::Header,
        type_flag: u8,
        size: u64,
        prefix: Prefix,
    ) -> Result<Entry, ArchiveError> {
        let Prefix { name, link, mut pax } = prefix;
        let path = pax
            .sparse
            .name()
            .or(pax.path)
            .or(name)
            .unwrap_or_else(|| header.path_bytes().into_owned());
        let link = pax
            .link
            .or(link)
            .or_else(|| header.link_name_bytes().map(|link| link.into_owned()));
        let link = link.unwrap_or_default();
        for (what, bytes) in [("its path", &path), ("its link", &link)] {
            if bytes.len() > limit::PATH {
                return Err(ArchiveError::TooLong {
                    entry: show(&path),
                    what,
                    limit: limit::PATH as u64,
                });
            }
        }
        let kind = kind(type_flag, &path)?;
        // A directory that is called a file has the content of one.
        let size = if kind == EntryKind::File || matches!(type_flag, b'0' | b'7') {
            pax.size.unwrap_or(size)
        } else {
            0
        };
        let sparse = match pax.sparse.into_map()? {
            _ if kind != EntryKind::File => {
                self.expect_content(size);
                None
            }
            Map::None if type_flag == b'S' => {
                let map = self.map_after_header(header)?;
                self.expect_content(size);
                Some(map.check(size)?)
            }
            Map::None => {
                self.expect_content(size);
                None
            }
            Map::Known(map) => {
                self.expect_content(size);
                Some(map.check(size)?)
            }
            Map::BeforeContent(whole) => {
                self.expect_content(size);
                let map = self.map_before_content(whole)?;
                Some(map.check(self.content)?)
            }
        };
        Ok(Entry {
            kind,
            link,
            mode: field(header, 100..108, header.mode())? & 0o7777,
            uid: owner(pax.uid, field(header, 108..116, header.uid()), &path)?,
            gid: owner(pax.gid, field(header, 116..124, header.gid()), &path)?,
            mtime: match pax.mtime {
                Some(time) => time,
                None => (
                    i64::try_from(field(header, 136..148, header.mtime())?).unwrap_or(0),
                    0,
                ),
            },
            size: self.content,
            sparse,
            device: device(header, kind)?,
            xattrs: pax.xattrs,
            path,
        })
    }

    fn map_after_header(&mut self, header: &tar::Header) -> Result<Sparse, ArchiveError> {
        let (mut map, mut more) = Sparse::from_header(header)?;
        let mut block = [0; BLOCK];
        while more {
            if !self.read_block(&mut block)? {
                return Err(ArchiveError::Truncated("a header"));
            }
            more = map.take_block(&block)?;
        }
        Ok(map)
    }

    /// Takes up whole blocks of the content.
    fn map_before_content(&mut self, whole: u64) -> Result<Sparse, ArchiveError> {
        let mut block = [0; BLOCK];
        let mut next = BLOCK;
        Sparse::from_lines(whole, || {
            let mut digits = Vec::new();
            loop {
                if next == BLOCK {
                    self.read_exact(&mut block).map_err(read_error)?;
                    next = 0;
                }
                next += 1;
                match block[next - 1] {
                    b'\n' => return sparse::number(&digits),
                    // More than a number can have is not read.
                    byte if digits.len() < 20 => digits.push(byte),
                    _ => return Err(ArchiveError::Malformed("the map of a sparse file")),
                }
            }
        })
    }

    /// The name before an entry, in GNU's way: ended by a NUL.
    fn long_name(&mut self, size: u64, what: &'static str) -> Result<Vec<u8>, ArchiveError> {
        let mut name = self.extension(size, limit::PATH as u64 + 1, what)?;
        if let Some(end) = name.iter().position(|byte| *byte == 0) {
            name.truncate(end);
        }
        Ok(name)
    }

    fn extension(&mut self, size: u64, limit: u64, what: &'static str) -> Result<Vec<u8>, ArchiveError> {
        if size > limit {
            return Err(ArchiveError::TooLong {
                entry: String::new(),
                what,
                limit,
            });
        }
        self.expect_content(size);
        let mut data = Vec::new();
        self.read_to_end(&mut data).map_err(read_error)?;
        Ok(data)
    }

    fn expect_content(&mut self, size: u64) {
        self.content = size;
        self.padding = (BLOCK as u64 - size % BLOCK as u64) % BLOCK as u64;
    }

    fn skip(&mut self) -> Result<(), ArchiveError> {
        io::copy(self, &mut io::sink()).map_err(read_error)?;
        let padding = std::mem::take(&mut self.padding);
        let skipped = io::copy(&mut (&mut self.reader).take(padding), &mut io::sink()).map_err(read_error)?;
        if skipped < padding {
            return Err(ArchiveError::Truncated("an entry"));
        }
        Ok(())
    }

    /// Fills a block; false at the end mark, a block of zeros, and at the end of the stream.
    fn read_block(&mut self, block: &mut [u8; BLOCK]) -> Result<bool, ArchiveError> {
        let mut filled = 0;
        while filled < BLOCK {
            match self.reader.read(&mut block[filled..]) {
                Ok(0) if filled == 0 => return Ok(false),
                Ok(0) => return Err(ArchiveError::Truncated("a header")),
                Ok(read) => filled += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(read_error(error)),
            }
        }
        Ok(block.iter().any(|byte| *byte != 0))
    }
}

impl<R: BufRead> Archive<R> {
    /// Content that is at hand, at most so much of it; empty at the end of the content. What is used of it is to be
    /// told by [`Archive::consume`].
    pub(crate) fn content(&mut self, most: u64) -> Result<&[u8], ArchiveError> {
        let most = usize::try_from(self.content.min(most)).unwrap_or(usize::MAX);
        if most == 0 {
            return Ok(&[]);
        }
        let available = self.reader.fill_buf().map_err(read_error)?;
        if available.is_empty() {
            return Err(ArchiveError::Truncated("an entry"));
        }
        Ok(&available[..available.len().min(most)])
    }

    /// Takes up content that was at hand.
    pub(crate) fn consume(&mut self, amount: usize) {
        self.content = self.content.saturating_sub(amount as u64);
        self.reader.consume(amount);
    }
}

impl<R: Read> Read for Archive<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let wanted = usize::try_from(self.content)
            .unwrap_or(usize::MAX)
            .min(buffer.len());
        if wanted == 0 {
            return Ok(0);
        }
        let read = self.reader.read(&mut buffer[..wanted])?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.content -= read as u64;
        Ok(read)
    }
}

pub(super) fn read_error(error: io::Error) -> ArchiveError {
    if error.kind() == io::ErrorKind::UnexpectedEof && error.get_ref().is_none() {
        return ArchiveError::Truncated("an entry");
    }
    ArchiveError::Read(error)
}

/// The sum of the block's bytes with the sum itself as spaces; some old writers added them as signed.
fn check_sum(header: &tar::Header) -> Result<(), ArchiveError> {
    let block = header.as_bytes();
    let rest = || block[..148].iter().chain(&block[156..]);
    let unsigned: i64 = rest().map(|byte| i64::from(*byte)).sum::<i64>() + 8 * 32;
    let signed: i64 = rest().map(|byte| i64::from(byte.cast_signed())).sum::<i64>() + 8 * 32;
    match header.cksum() {
        Ok(sum) if i64::from(sum) == unsigned || i64::from(sum) == signed => Ok(()),
        _ => Err(ArchiveError::Malformed("a header's checksum")),
    }
}

fn kind(type_flag: u8, path: &[u8]) -> Result<EntryKind, ArchiveError> {
    match type_flag {
        // Before ustar a directory was a file whose name ends with a slash.
        b'0' | 0 | b'7' if path.ends_with(b"/") => Ok(EntryKind::Directory),
        b'0' | 0 | b'7' | b'S' => Ok(EntryKind::File),
        b'1' => Ok(EntryKind::HardLink),
        b'2' => Ok(EntryKind::Symlink),
        b'3' => Ok(EntryKind::CharacterDevice),
        b'4' => Ok(EntryKind::BlockDevice),
        b'5' => Ok(EntryKind::Directory),
        b'6' => Ok(EntryKind::Fifo),
        _ => Err(ArchiveError::Unsupported {
            entry: show(path),
            what: "its type",
        }),
    }
}

/// A number of a header. One that is left blank is 0, as for Go.
fn field<N: Default>(
    header: &tar::Header,
    bytes: Range<usize>,
    decoded: io::Result<N>,
) -> Result<N, ArchiveError> {
    let blank = || {
        header.as_bytes()[bytes]
            .iter()
            .all(|byte| matches!(byte, 0 | b' '))
    };
    match decoded {
        Ok(number) => Ok(number),
        Err(_) if blank() => Ok(N::default()),
        Err(_) => Err(ArchiveError::Malformed("a number of a header")),
    }
}

/// An owner fits 32 bits and is not the number that means "unchanged".
fn owner(pax: Option<u64>, header: Result<u64, ArchiveError>, path: &[u8]) -> Result<u32, ArchiveError> {
    let id = match pax {
        Some(id) => id,
        None => header?,
    };
    match u32::try_from(id) {
        Ok(id) if id != u32::MAX => Ok(id),
        _ => Err(ArchiveError::Unsupported {
            entry: show(path),
            what: "an owner of more than 32 bits",
        }),
    }
}

fn device(header: &tar::Header, kind: EntryKind) -> Result<(u32, u32), ArchiveError> {
    if !matches!(kind, EntryKind::CharacterDevice | EntryKind::BlockDevice) {
        return Ok((0, 0));
    }
    let major = field(header, 329..337, header.device_major())?.unwrap_or(0);
    let minor = field(header, 337..345, header.device_minor())?.unwrap_or(0);
    Ok((major, minor))
}
