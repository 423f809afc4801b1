//! Header blocks: names and values, compressed over the whole life of a connection (SPDY/3, section 2.6.10).

use std::sync::LazyLock;

use flate2::{Decompress, FlushDecompress, Status};

use super::frame::Violation;

/// The most that a header block may hold, in bytes. Those of remote commands hold a few dozen.
const MAX_BLOCK_BYTES: usize = 16 * 1024;

/// What both sides begin to compress with: these words, each after its length, and then [`TAIL`].
const WORDS: [&str; 65] = [
    "options",
    "head",
    "post",
    "put",
    "delete",
    "trace",
    "accept",
    "accept-charset",
    "accept-encoding",
    "accept-language",
    "accept-ranges",
    "age",
    "allow",
    "authorization",
    "cache-control",
    "connection",
    "content-base",
    "content-encoding",
    "content-language",
    "content-length",
    "content-location",
    "content-md5",
    "content-range",
    "content-type",
    "date",
    "etag",
    "expect",
    "expires",
    "from",
    "host",
    "if-match",
    "if-modified-since",
    "if-none-match",
    "if-range",
    "if-unmodified-since",
    "last-modified",
    "location",
    "max-forwards",
    "pragma",
    "proxy-authenticate",
    "proxy-authorization",
    "range",
    "referer",
    "retry-after",
    "server",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "user-agent",
    "vary",
    "via",
    "warning",
    "www-authenticate",
    "method",
    "get",
    "status",
    "200 OK",
    "version",
    "HTTP/1.1",
    "url",
    "public",
    "set-cookie",
    "keep-alive",
    "origin",
];

/// The dictionary's second half.
const TAIL: &str = "100101201202205206300302303304305306307402405406407408409410411412413414415416417502504505\
203 Non-Authoritative Information204 No Content301 Moved Permanently400 Bad Request401 Unauthorized403 Forbidden\
404 Not Found500 Internal Server Error501 Not Implemented503 Service UnavailableJan Feb Mar Apr May Jun Jul Aug Sept \
Oct Nov Dec 00:00:00 Mon, Tue, Wed, Thu, Fri, Sat, Sun, GMTchunked,text/html,image/png,image/jpg,image/gif,\
application/xml,application/xhtml+xml,text/plain,text/javascript,publicprivatemax-age=gzip,deflate,sdch\
charset=utf-8charset=iso-8859-1,utf-,*,enq=0.";

/// Its Adler-32.
const DICTIONARY_CHECKSUM: u32 = 0xe3c6_a7c2;

static DICTIONARY: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let mut dictionary = Vec::new();
    for word in WORDS {
        push_text(&mut dictionary, word.as_bytes());
    }
    dictionary.extend(TAIL.as_bytes());
    dictionary
});

/// The names, in lower case, and values of a block.
pub(crate) type Headers = Vec<(String, String)>;

/// Reads the header blocks of one direction of a connection, all of them and in order.
#[derive(Debug)]
pub(super) struct Reader {
    inflate: Decompress,
}

impl Reader {
    pub(super) fn new() -> Self {
        Self {
            inflate: Decompress::new(true),
        }
    }

    /// Reads a block.
    pub(super) fn read(&mut self, block: &[u8]) -> Result<Headers, Violation> {
        parse(&self.inflate(block)?).ok_or(Violation("header block"))
    }

    fn inflate(&mut self, mut block: &[u8]) -> Result<Vec<u8>, Violation> {
        let mut plain = Vec::with_capacity(MAX_BLOCK_BYTES);
        loop {
            let (read, written) = (self.inflate.total_in(), plain.len());
            let result = self
                .inflate
                .decompress_vec(block, &mut plain, FlushDecompress::Sync);
            let read = usize::try_from(self.inflate.total_in() - read).unwrap_or(usize::MAX);
            block = block.get(read..).unwrap_or_default();
            match result {
                Ok(Status::StreamEnd) => return Err(Violation("end of compression")),
                Ok(_) => {}
                Err(error) if error.needs_dictionary().is_some() => {
                    let set = self.inflate.set_dictionary(&DICTIONARY);
                    set.map_err(|_| Violation("compression dictionary"))?;
                    continue;
                }
                Err(_) => return Err(Violation("compression")),
            }
            if plain.len() == plain.capacity() {
                return Err(Violation("size of a header block"));
            }
            if block.is_empty() || (read == 0 && plain.len() == written) {
                return Ok(plain);
            }
        }
    }
}

/// Writes the header blocks of the other direction. They are short and few, and so are not compressed, which would take a
/// quarter of a megabyte for each connection: deflate's stored blocks carry them as they are.
#[derive(Debug)]
pub(super) struct Writer {
    has_begun: bool,
}

impl Writer {
    pub(super) fn new() -> Self {
        Self { has_begun: false }
    }

    /// Writes a block of less than 64 KiB.
    pub(super) fn write(&mut self, headers: &[(&str, &str)]) -> Vec<u8> {
        let mut plain = Vec::new();
        push_length(&mut plain, headers.len());
        for (name, value) in headers {
            push_text(&mut plain, name.as_bytes());
            push_text(&mut plain, value.as_bytes());
        }
        let mut block = Vec::with_capacity(plain.len() + 16);
        if !self.has_begun {
            self.has_begun = true;
            // The beginning of a zlib stream that has a dictionary (RFC 1950, section 2.2), and the dictionary's checksum.
            block.extend([0x78, 0xbb]);
            block.extend(DICTIONARY_CHECKSUM.to_be_bytes());
        }
        // Each block as RFC 1951, section 3.2.4 has it; the empty one lets the reader know that it has everything.
        for stored in [plain.as_slice(), &[]] {
            let length = u16::try_from(stored.len()).unwrap_or(u16::MAX);
            block.push(0);
            block.extend(length.to_le_bytes());
            block.extend((!length).to_le_bytes());
            block.extend(stored);
        }
        block
    }
}

fn push_length(bytes: &mut Vec<u8>, length: usize) {
    bytes.extend(u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes());
}

fn push_text(bytes: &mut Vec<u8>, text: &[u8]) {
    push_length(bytes, text.len());
    bytes.extend(text);
}

// A number of pairs, then each one's name and value after their lengths.
fn parse(block: &[u8]) -> Option<Headers> {
    let mut rest = block;
    let count = take_length(&mut rest)?;
    let mut headers = Vec::new();
    for _ in 0..count {
        let name = take_text(&mut rest)?.to_ascii_lowercase();
        headers.push((name, take_text(&mut rest)?));
    }
    Some(headers)
}

fn take_length(rest: &mut &[u8]) -> Option<usize> {
    let (length, tail) = rest.split_first_chunk()?;
    *rest = tail;
    usize::try_from(u32::from_be_bytes(*length)).ok()
}

fn take_text(rest: &mut &[u8]) -> Option<String> {
    let length = take_length(rest)?;
    let (text, tail) = rest.split_at_checked(length)?;
    *rest = tail;
    String::from_utf8(text.to_vec()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_dictionary_is_spdys() {
        let (mut a, mut b) = (1_u32, 0_u32);
        for byte in DICTIONARY.iter() {
            a = (a + u32::from(*byte)) % 65521;
            b = (b + a) % 65521;
        }
        // Its Adler-32 stands at the beginning of every compressed SPDY/3 connection.
        assert_eq!((DICTIONARY.len(), b << 16 | a), (1423, DICTIONARY_CHECKSUM));
    }

    #[test]
    fn what_another_implementation_wrote_is_read() {
        // By zlib's own compressor, with a synchronizing flush after each block.
        let first = [
            0x78, 0xbb, 0xe3, 0xc6, 0xa7, 0xc2, 0x02, 0xa6, 0x23, 0x46, 0x70, 0x3a, 0x2b, 0x29, 0x4a, 0x4d,
            0xcc, 0x85, 0x16, 0x25, 0xac, 0xa9, 0xa0, 0x80, 0x06, 0x00, 0x00, 0x00, 0xff, 0xff,
        ];
        let second = [
            0xc2, 0x2e, 0x55, 0x5c, 0x02, 0xcc, 0x2e, 0x00, 0x00, 0x00, 0x00, 0xff, 0xff,
        ];
        let mut reader = Reader::new();
        assert_eq!(
            reader.read(&first).unwrap(),
            [("streamtype".to_owned(), "error".to_owned())]
        );
        assert_eq!(
            reader.read(&second).unwrap(),
            [("streamtype".to_owned(), "stdin".to_owned())]
        );
    }

    #[test]
    fn a_bomb_is_refused() {
        let mut plain = Vec::new();
        push_length(&mut plain, 1);
        push_text(&mut plain, b"name");
        push_text(&mut plain, &b"x".repeat(10 * MAX_BLOCK_BYTES));
        let mut deflate = flate2::Compress::new(flate2::Compression::fast(), true);
        deflate.set_dictionary(&DICTIONARY).unwrap();
        let mut block = Vec::with_capacity(4096);
        deflate
            .compress_vec(&plain, &mut block, flate2::FlushCompress::Sync)
            .unwrap();
        assert!(block.len() < 2000);
        assert_eq!(
            Reader::new().read(&block),
            Err(Violation("size of a header block"))
        );
    }

    proptest! {
        #[test]
        fn blocks_are_read_as_they_were_written(blocks in proptest::collection::vec(
            proptest::collection::vec(("[a-z]{1,20}", "[ -~]{0,200}"), 0..5), 1..6)) {
            let (mut writer, mut reader) = (Writer::new(), Reader::new());
            for headers in blocks {
                let borrowed: Vec<_> = headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
                prop_assert_eq!(reader.read(&writer.write(&borrowed)).unwrap(), headers);
            }
        }

        #[test]
        fn no_block_is_a_panic(block: Vec<u8>, plain: Vec<u8>) {
            let _ = Reader::new().read(&block);
            let _ = parse(&plain);
        }
    }
}
