//! PAX extended headers (POSIX.1-2017, pax, "pax Extended Header"): records `length key=value\n`.
//!
//! The length decides where a record ends. Values of extended attributes are binary, and a capability set holds a
//! newline byte as soon as bits 1 and 3 are in it, so splitting at newlines, as the tar crate does, loses them.

use super::error::ArchiveError;
use super::sparse;

const XATTR: &[u8] = b"SCHILY.xattr.";
const SPARSE: &[u8] = b"GNU.sparse.";

/// What the extended headers before an entry change in it. `None` where they say nothing.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Extensions {
    pub(super) path: Option<Vec<u8>>,
    pub(super) link: Option<Vec<u8>>,
    pub(super) size: Option<u64>,
    pub(super) uid: Option<u64>,
    pub(super) gid: Option<u64>,
    /// Seconds since the epoch and nanoseconds.
    pub(super) mtime: Option<(i64, u32)>,
    pub(super) xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    pub(super) sparse: sparse::Keys,
}

impl Extensions {
    pub(super) fn parse(mut data: &[u8]) -> Result<Extensions, ArchiveError> {
        let mut extensions = Extensions::default();
        while !data.is_empty() {
            let (key, value, rest) = record(data).ok_or(ArchiveError::Malformed("a PAX record"))?;
            extensions.take(key, value)?;
            data = rest;
        }
        Ok(extensions)
    }

    /// An empty value takes back what an earlier header said.
    fn take(&mut self, key: &[u8], value: &[u8]) -> Result<(), ArchiveError> {
        let text = (!value.is_empty()).then(|| value.to_vec());
        match key {
            b"path" => self.path = text,
            b"linkpath" => self.link = text,
            b"size" => self.size = number(value)?,
            b"uid" => self.uid = number(value)?,
            b"gid" => self.gid = number(value)?,
            b"mtime" => self.mtime = time(value)?,
            _ => {
                if let Some(name) = key.strip_prefix(XATTR) {
                    self.xattrs.push((name.to_vec(), value.to_vec()));
                } else if let Some(key) = key.strip_prefix(SPARSE) {
                    self.sparse.take(key, value)?;
                }
            }
        }
        Ok(())
    }
}

/// The first record of some data: key, value, and what follows.
fn record(data: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let space = data.iter().take(20).position(|byte| *byte == b' ')?;
    let length: usize = std::str::from_utf8(&data[..space]).ok()?.parse().ok()?;
    if length > data.len() || length <= space + 1 {
        return None;
    }
    let (record, rest) = data.split_at(length);
    let body = record[space + 1..].strip_suffix(b"\n")?;
    let equals = body.iter().position(|byte| *byte == b'=')?;
    let (key, value) = (&body[..equals], &body[equals + 1..]);
    (!key.is_empty() && !key.contains(&0)).then_some((key, value, rest))
}

fn number(value: &[u8]) -> Result<Option<u64>, ArchiveError> {
    if value.is_empty() {
        return Ok(None);
    }
    let text = std::str::from_utf8(value).ok();
    let number = text.and_then(|text| text.parse().ok());
    number
        .map(Some)
        .ok_or(ArchiveError::Malformed("a number of a PAX record"))
}

/// `[-]seconds[.fraction]`, with the nanoseconds counted upwards also before the epoch, as the kernel wants them.
fn time(value: &[u8]) -> Result<Option<(i64, u32)>, ArchiveError> {
    if value.is_empty() {
        return Ok(None);
    }
    const BAD: ArchiveError = ArchiveError::Malformed("a time of a PAX record");
    let text = std::str::from_utf8(value).map_err(|_| BAD)?;
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let seconds: i64 = whole.parse().map_err(|_| BAD)?;
    if !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(BAD);
    }
    let digits: String = fraction.chars().chain("000000000".chars()).take(9).collect();
    let nanoseconds: u32 = digits.parse().map_err(|_| BAD)?;
    if whole.starts_with('-') && nanoseconds > 0 {
        let seconds = seconds.checked_sub(1).ok_or(BAD)?;
        return Ok(Some((seconds, 1_000_000_000 - nanoseconds)));
    }
    Ok(Some((seconds, nanoseconds)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_end_where_their_length_says() {
        let extensions =
            Extensions::parse(b"31 SCHILY.xattr.user.x=a\nb\0c=d\n12 path=a/b\n12 uid=1000\n").unwrap();
        assert_eq!(extensions.xattrs, [(b"user.x".to_vec(), b"a\nb\0c=d".to_vec())]);
        assert_eq!(extensions.path.as_deref(), Some(&b"a/b"[..]));
        assert_eq!(extensions.uid, Some(1000));
    }

    #[test]
    fn an_empty_value_takes_an_earlier_one_back() {
        let extensions = Extensions::parse(b"12 path=a/b\n8 path=\n").unwrap();
        assert_eq!(extensions.path, None);
    }

    #[test]
    fn times_have_fractions_and_may_be_negative() {
        assert_eq!(
            time(b"1350244992.023960108").unwrap(),
            Some((1_350_244_992, 23_960_108))
        );
        assert_eq!(time(b"7.5").unwrap(), Some((7, 500_000_000)));
        assert_eq!(time(b"-1.25").unwrap(), Some((-2, 750_000_000)));
        assert_eq!(time(b"-0.5").unwrap(), Some((-1, 500_000_000)));
        for bad in [
            &b"x"[..],
            b"1.x",
            b"1.-5",
            b"-9223372036854775808.5",
            b"99999999999999999999",
        ] {
            assert!(time(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn malformed_records_are_errors() {
        for bad in [
            &b"x"[..],
            b"5 a=b",
            b"3 =\n",
            b"999 a=b\n",
            b"0 a=b\n",
            b"6 a=bc\n",
            b"5 =b\n",
            b"7 a\0=b\n",
        ] {
            assert!(Extensions::parse(bad).is_err(), "{bad:?}");
        }
        assert!(Extensions::parse(b"11 size=-1\n").is_err());
    }
}
