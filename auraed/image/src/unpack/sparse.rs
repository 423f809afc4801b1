//! Files with holes, in the forms that GNU tar has written them: its old one with a map in the header and blocks after
//! it, and the three of PAX, 0.0 and 0.1 with the map in the extended header, 1.0 with the map before the content
//! (GNU tar manual, "Storing Sparse Files" and "PAX Formats").
//!
//! In all of them the content is the parts of the file that hold data, one after another.

use super::error::ArchiveError;
use super::limit;

/// What a file with holes is made of.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Sparse {
    /// Offset and length of each part with data, in order, without overlaps.
    pub(crate) parts: Vec<(u64, u64)>,
    /// The length of the whole file.
    pub(crate) size: u64,
}

/// What the extended header says of it.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Keys {
    version: (Option<u64>, Option<u64>),
    name: Option<Vec<u8>>,
    /// `GNU.sparse.size` or, since 1.0, `GNU.sparse.realsize`.
    size: Option<u64>,
    parts: Vec<(u64, u64)>,
    /// The offset whose length has not come yet.
    offset: Option<u64>,
    any: bool,
}

const MALFORMED: ArchiveError = ArchiveError::Malformed("the map of a sparse file");

impl Sparse {
    /// Checks that the parts are in order and within the file, and that the content is theirs.
    pub(super) fn check(self, content: u64) -> Result<Sparse, ArchiveError> {
        let (mut end, mut sum) = (0, 0_u64);
        for (offset, length) in &self.parts {
            let next = offset.checked_add(*length);
            match next {
                Some(next) if *offset >= end && next <= self.size => end = next,
                _ => return Err(MALFORMED),
            }
            sum = sum.saturating_add(*length);
        }
        if sum == content { Ok(self) } else { Err(MALFORMED) }
    }

    fn push(&mut self, part: (u64, u64)) -> Result<(), ArchiveError> {
        if self.parts.len() == limit::SPARSE_PARTS {
            return Err(ArchiveError::Malformed("a sparse file of too many parts"));
        }
        self.parts.push(part);
        Ok(())
    }

    /// The four parts of an old header; says whether blocks with more follow it.
    pub(super) fn from_header(header: &tar::Header) -> Result<(Sparse, bool), ArchiveError> {
        let header = header.as_gnu().ok_or(MALFORMED)?;
        let mut sparse = Sparse {
            parts: Vec::new(),
            size: header.real_size().map_err(|_| MALFORMED)?,
        };
        sparse.take(&header.sparse)?;
        Ok((sparse, header.is_extended()))
    }

    /// The parts of one block that follows an old header; says whether another one comes.
    pub(super) fn take_block(&mut self, block: &[u8; 512]) -> Result<bool, ArchiveError> {
        let mut extended = tar::GnuExtSparseHeader::new();
        extended.as_mut_bytes().copy_from_slice(block);
        self.take(extended.sparse())?;
        Ok(extended.is_extended())
    }

    fn take(&mut self, fields: &[tar::GnuSparseHeader]) -> Result<(), ArchiveError> {
        for field in fields.iter().take_while(|field| !field.is_empty()) {
            let part = (field.offset(), field.length());
            let (Ok(offset), Ok(length)) = part else {
                return Err(MALFORMED);
            };
            self.push((offset, length))?;
        }
        Ok(())
    }

    /// The map of form 1.0: a count, then an offset and a length for each part, each ended by a newline. `line` gives
    /// one after another.
    pub(super) fn from_lines(
        size: u64,
        mut line: impl FnMut() -> Result<u64, ArchiveError>,
    ) -> Result<Sparse, ArchiveError> {
        let mut sparse = Sparse {
            parts: Vec::new(),
            size,
        };
        for _ in 0..line()? {
            let part = (line()?, line()?);
            sparse.push(part)?;
        }
        Ok(sparse)
    }
}

/// Where the map of a file is.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Map {
    /// It is no sparse file.
    None,
    Known(Sparse),
    /// Before the content, for a file of this size.
    BeforeContent(u64),
}

impl Keys {
    /// A record whose key begins with `GNU.sparse.`, without that.
    pub(super) fn take(&mut self, key: &[u8], value: &[u8]) -> Result<(), ArchiveError> {
        self.any = true;
        match key {
            b"major" => self.version.0 = Some(number(value)?),
            b"minor" => self.version.1 = Some(number(value)?),
            b"name" => self.name = Some(value.to_vec()),
            b"size" | b"realsize" => self.size = Some(number(value)?),
            b"offset" => self.offset = Some(number(value)?),
            b"numbytes" => {
                let offset = self.offset.take().ok_or(MALFORMED)?;
                self.parts.push((offset, number(value)?));
            }
            b"map" => {
                let numbers = value.split(|byte| *byte == b',').filter(|text| !text.is_empty());
                let numbers = numbers.map(number).collect::<Result<Vec<_>, _>>()?;
                if numbers.len() % 2 != 0 {
                    return Err(MALFORMED);
                }
                self.parts = numbers.chunks_exact(2).map(|pair| (pair[0], pair[1])).collect();
            }
            // The count of parts, which their records tell.
            b"numblocks" => {}
            _ => return Err(MALFORMED),
        }
        Ok(())
    }

    /// The file's own name, where its entry has a made-up one.
    pub(super) fn name(&mut self) -> Option<Vec<u8>> {
        self.name.take()
    }

    pub(super) fn into_map(self) -> Result<Map, ArchiveError> {
        if !self.any {
            return Ok(Map::None);
        }
        let size = self.size.ok_or(MALFORMED)?;
        match self.version {
            (Some(1), Some(0)) => Ok(Map::BeforeContent(size)),
            (None, None) | (Some(0), Some(0 | 1)) if self.offset.is_none() => Ok(Map::Known(Sparse {
                parts: self.parts,
                size,
            })),
            _ => Err(MALFORMED),
        }
    }
}

pub(super) fn number(text: &[u8]) -> Result<u64, ArchiveError> {
    let digits = !text.is_empty() && text.iter().all(u8::is_ascii_digit);
    let text = std::str::from_utf8(text).ok().filter(|_| digits);
    text.and_then(|text| text.parse().ok()).ok_or(MALFORMED)
}
