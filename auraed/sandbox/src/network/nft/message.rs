//! Netlink messages of nf_tables: an encoder of batches and a reader of attributes.
//!
//! Numbers are from linux/netlink.h, linux/netfilter/nfnetlink.h and linux/netfilter/nf_tables.h; those of attributes
//! stand beside their use. Multi-byte attribute values are big-endian.

const SUBSYSTEM: u16 = 10; // NFNL_SUBSYS_NFTABLES
const BATCH_BEGIN: u16 = 16; // NFNL_MSG_BATCH_BEGIN
const BATCH_END: u16 = 17; // NFNL_MSG_BATCH_END
const FAMILY_IPV4: u8 = 2; // NFPROTO_IPV4
const HEADER: usize = 16 + 4; // struct nlmsghdr and struct nfgenmsg
const NESTED: u16 = 1 << 15; // NLA_F_NESTED
const TYPE_MASK: u16 = 0x3fff; // NLA_TYPE_MASK

const REQUEST: u16 = 1; // NLM_F_REQUEST
const ACKNOWLEDGE: u16 = 4; // NLM_F_ACK
const DUMP: u16 = 0x300; // NLM_F_DUMP

/// Create if absent, else leave as it is.
pub(super) const CREATE: u16 = 0x400; // NLM_F_CREATE
/// Put a rule behind the others.
pub(super) const APPEND: u16 = 0x800; // NLM_F_APPEND

/// Kinds of requests (NFT_MSG_*).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Kind {
    NewTable = 0,
    DeleteTable = 2,
    NewChain = 3,
    NewRule = 6,
    DeleteRule = 8,
    NewSet = 9,
    NewElement = 12,
    GetElement = 13,
    DeleteElement = 14,
}

/// Requests that the kernel does all together or not at all.
#[derive(Debug)]
pub(super) struct Batch {
    bytes: Vec<u8>,
    /// What each message does, by sequence number, for errors.
    steps: Vec<&'static str>,
}

impl Batch {
    pub(super) fn new() -> Batch {
        let mut batch = Batch {
            bytes: Vec::new(),
            steps: Vec::new(),
        };
        batch.begin_message(BATCH_BEGIN, 0, 0, SUBSYSTEM, "begin a transaction");
        batch
    }

    /// Adds a request. `step` says what it does, as a phrase for an error.
    pub(super) fn push(
        &mut self,
        kind: Kind,
        flags: u16,
        step: &'static str,
        body: impl FnOnce(&mut Attributes),
    ) {
        let start = self.begin_message(SUBSYSTEM << 8 | kind as u16, flags, FAMILY_IPV4, 0, step);
        let mut attributes = Attributes(std::mem::take(&mut self.bytes));
        body(&mut attributes);
        self.bytes = attributes.0;
        set_length(&mut self.bytes, start);
    }

    /// The bytes to send, with an acknowledgement asked for, and the steps by sequence number.
    pub(super) fn finish(mut self) -> (Vec<u8>, Vec<&'static str>) {
        self.begin_message(BATCH_END, ACKNOWLEDGE, 0, SUBSYSTEM, "end a transaction");
        (self.bytes, self.steps)
    }

    fn begin_message(
        &mut self,
        kind: u16,
        flags: u16,
        family: u8,
        resource: u16,
        step: &'static str,
    ) -> usize {
        let start = self.bytes.len();
        let sequence = u32::try_from(self.steps.len()).unwrap_or(u32::MAX);
        self.steps.push(step);
        header(&mut self.bytes, kind, REQUEST | flags, sequence, family, resource);
        start
    }
}

/// A request that lists what is there, outside of any batch.
pub(super) fn dump(kind: Kind, body: impl FnOnce(&mut Attributes)) -> Vec<u8> {
    let mut bytes = Vec::new();
    header(
        &mut bytes,
        SUBSYSTEM << 8 | kind as u16,
        REQUEST | DUMP,
        0,
        FAMILY_IPV4,
        0,
    );
    let mut attributes = Attributes(bytes);
    body(&mut attributes);
    set_length(&mut attributes.0, 0);
    attributes.0
}

fn header(bytes: &mut Vec<u8>, kind: u16, flags: u16, sequence: u32, family: u8, resource: u16) {
    bytes.extend(20_u32.to_ne_bytes());
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(flags.to_ne_bytes());
    bytes.extend(sequence.to_ne_bytes());
    bytes.extend([0; 4]);
    bytes.extend([family, 0]);
    bytes.extend(resource.to_be_bytes());
}

fn set_length(bytes: &mut [u8], start: usize) {
    let length = u32::try_from(bytes.len() - start).unwrap_or(u32::MAX);
    bytes[start..start + 4].copy_from_slice(&length.to_ne_bytes());
}

/// The attributes of a message that is being written.
pub(super) struct Attributes(Vec<u8>);

impl Attributes {
    /// A value as it is; shorter than 64 KiB.
    pub(super) fn bytes(&mut self, kind: u16, value: &[u8]) {
        let length = u16::try_from(value.len() + 4).unwrap_or(u16::MAX);
        self.0.extend(length.to_ne_bytes());
        self.0.extend(kind.to_ne_bytes());
        self.0.extend(value);
        self.0.resize(self.0.len().next_multiple_of(4), 0);
    }

    /// A number.
    pub(super) fn number(&mut self, kind: u16, value: u32) {
        self.bytes(kind, &value.to_be_bytes());
    }

    /// A text, with the NUL that the kernel wants.
    pub(super) fn text(&mut self, kind: u16, value: &str) {
        let mut bytes = value.as_bytes().to_vec();
        bytes.push(0);
        self.bytes(kind, &bytes);
    }

    /// Attributes inside of an attribute.
    pub(super) fn nest(&mut self, kind: u16, body: impl FnOnce(&mut Attributes)) {
        let start = self.0.len();
        self.0.extend([0; 2]);
        self.0.extend((kind | NESTED).to_ne_bytes());
        body(self);
        let length = u16::try_from(self.0.len() - start).unwrap_or(u16::MAX);
        self.0[start..start + 2].copy_from_slice(&length.to_ne_bytes());
    }
}

/// The netlink messages of a datagram.
pub(super) fn messages(datagram: &[u8]) -> impl Iterator<Item = Received<'_>> {
    let mut rest = datagram;
    std::iter::from_fn(move || {
        let length = usize::try_from(u32::from_ne_bytes(*rest.first_chunk()?)).ok()?;
        let message = rest.get(..length).filter(|message| message.len() >= 16)?;
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        let half = |at: usize| u16::from_ne_bytes([message[at], message[at + 1]]);
        let sequence = u32::from_ne_bytes([message[8], message[9], message[10], message[11]]);
        Some(Received {
            kind: half(4),
            sequence,
            body: &message[16..],
        })
    })
}

/// One message from the kernel.
#[derive(Debug)]
pub(super) struct Received<'a> {
    pub(super) kind: u16,
    pub(super) sequence: u32,
    pub(super) body: &'a [u8],
}

impl<'a> Received<'a> {
    /// The attributes behind the nfnetlink header.
    pub(super) fn attributes(&self) -> impl Iterator<Item = (u16, &'a [u8])> {
        attributes(self.body.get(HEADER - 16..).unwrap_or_default())
    }
}

/// The kinds and values of a row of attributes; ends at the first that is cut off.
pub(super) fn attributes(bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        let &[l0, l1, k0, k1] = rest.first_chunk()?;
        let length = usize::from(u16::from_ne_bytes([l0, l1]));
        let value = rest.get(4..length)?;
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((u16::from_ne_bytes([k0, k1]) & TYPE_MASK, value))
    })
}

/// The value of the first attribute of a kind.
pub(super) fn attribute(bytes: &[u8], kind: u16) -> Option<&[u8]> {
    attributes(bytes).find_map(|(other, value)| (other == kind).then_some(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let mut batch = Batch::new();
        batch.push(Kind::NewTable, CREATE, "make a table", |table| {
            table.text(1, "aurae");
            table.nest(2, |inner| inner.number(3, 7));
        });
        let (bytes, steps) = batch.finish();
        let messages: Vec<_> = messages(&bytes).collect();
        assert_eq!(
            messages.iter().map(|message| message.kind).collect::<Vec<_>>(),
            [16, 10 << 8, 17]
        );
        assert_eq!(steps[messages[1].sequence as usize], "make a table");
        let attributes: Vec<_> = messages[1].attributes().collect();
        assert_eq!(attributes[0], (1, b"aurae\0".as_slice()));
        assert_eq!(attribute(attributes[1].1, 3), Some([0, 0, 0, 7].as_slice()));
    }

    #[test]
    fn cut_off_input_ends_early() {
        let (bytes, _) = Batch::new().finish();
        for length in 0..bytes.len() {
            messages(&bytes[..length]).for_each(|message| message.attributes().for_each(drop));
            attributes(&bytes[..length]).for_each(drop);
        }
        assert_eq!(attributes(&[3, 0, 1, 0, 9]).count(), 0);
    }
}
