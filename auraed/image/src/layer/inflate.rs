//! Plain, gzip or zstd, told apart by the first bytes: what a manifest calls a layer is not always what it is.

use std::io::{self, BufReader, Cursor, Read};

use flate2::bufread::MultiGzDecoder;

const GZIP: &[u8] = &[0x1f, 0x8b];
const ZSTD: &[u8] = &[0x28, 0xb5, 0x2f, 0xfd];
/// A skippable frame, 0x184D2A50 to 0x184D2A5F in little endian, which zstd:chunked and others may begin with.
const ZSTD_SKIPPABLE: &[u8] = &[0x2a, 0x4d, 0x18];

const BUFFER: usize = 64 * 1024;

/// Inflates a stream, whatever it is packed with. Windows of zstd above 128 MiB are an error.
pub(crate) fn inflate<'a>(mut reader: impl Read + 'a) -> io::Result<Box<dyn Read + 'a>> {
    let mut start = Vec::with_capacity(ZSTD.len());
    reader.by_ref().take(ZSTD.len() as u64).read_to_end(&mut start)?;
    let gzip = start.starts_with(GZIP);
    let zstd = start.starts_with(ZSTD) || start.get(1..) == Some(ZSTD_SKIPPABLE) && start[0] & 0xf0 == 0x50;
    let whole = BufReader::with_capacity(BUFFER, Cursor::new(start).chain(reader));
    Ok(if gzip {
        Box::new(MultiGzDecoder::new(whole))
    } else if zstd {
        Box::new(zstd::stream::read::Decoder::with_buffer(whole)?)
    } else {
        Box::new(whole)
    })
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn round(packed: &[u8]) -> io::Result<String> {
        io::read_to_string(inflate(packed)?)
    }

    #[test]
    fn each_packing_is_recognized() {
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(b"hello").unwrap();
        let gzip = gzip.finish().unwrap();
        let zstd = zstd::encode_all(&b"hello"[..], 0).unwrap();
        let skippable = [&[0x52, 0x2a, 0x4d, 0x18, 2, 0, 0, 0, 9, 9][..], &zstd].concat();
        for packed in [
            b"hello".to_vec(),
            gzip.clone(),
            [gzip.clone(), gzip].concat(),
            zstd,
            skippable,
        ] {
            assert!(round(&packed).unwrap().starts_with("hello"), "{packed:?}");
        }
        assert_eq!(round(b"").unwrap(), "");
        assert_eq!(round(b"ab").unwrap(), "ab");
    }

    #[test]
    fn a_cut_stream_is_an_error() {
        let zstd = zstd::encode_all(&b"hello"[..], 0).unwrap();
        assert!(round(&zstd[..zstd.len() - 1]).is_err());
    }
}
