//! Names of devices and of their kinds.

/// `vendor.com/class=name`, in its parts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Name<'a> {
    /// `vendor.com/class`.
    pub(super) kind: &'a str,
    pub(super) device: &'a str,
}

/// Longer ones are nobody's.
const MAX_BYTES: usize = 512;

impl<'a> Name<'a> {
    pub(super) fn parse(text: &'a str) -> Option<Self> {
        let (kind, device) = text.split_once('=')?;
        let fits = text.len() <= MAX_BYTES && is_kind(kind) && is_device(device);
        fits.then_some(Self { kind, device })
    }
}

/// Vendor and class: each begins with a letter and ends with a letter or digit.
pub(super) fn is_kind(text: &str) -> bool {
    let part = |part: &str| {
        part.starts_with(|char: char| char.is_ascii_alphabetic()) && is_plain(part, &['_', '-', '.'])
    };
    text.split_once('/')
        .is_some_and(|(vendor, class)| part(vendor) && part(class))
}

pub(super) fn is_device(text: &str) -> bool {
    text.starts_with(|char: char| char.is_ascii_alphanumeric()) && is_plain(text, &['_', '-', '.', ':'])
}

fn is_plain(text: &str, more: &[char]) -> bool {
    text.ends_with(|char: char| char.is_ascii_alphanumeric())
        && text
            .chars()
            .all(|char| char.is_ascii_alphanumeric() || more.contains(&char))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_vendor_class_and_device() {
        let name = Name::parse("vendor.com/gpu=all").unwrap();
        assert_eq!((name.kind, name.device), ("vendor.com/gpu", "all"));
        for good in ["a/b=0", "nvidia.com/gpu=GPU-1:2", "v.x/net.hw_1=a.b"] {
            assert!(Name::parse(good).is_some(), "{good}");
        }
        for bad in [
            "",
            "gpu=0",
            "vendor.com/gpu",
            "vendor.com/gpu=",
            "1vendor.com/gpu=0",
            "vendor.com/gpu=0-",
            "vendor.com/gpu=a b",
            "vendor.com/../gpu=0",
            "vendor.com/a/b=0",
            "vendor.com/gpu=a=b",
            "vendor-/gpu=0",
        ] {
            assert_eq!(Name::parse(bad), None, "{bad}");
        }
    }
}
