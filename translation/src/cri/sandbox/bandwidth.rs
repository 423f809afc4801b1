//! A pod's share of the wire, which Kubernetes knows by two annotations.

use std::collections::HashMap;

use super::super::Refused;
use crate::quantity::Amount;

/// Bits per second that Kubernetes allows: 1k to 1P.
const ALLOWED: std::ops::RangeInclusive<i64> = 1_000..=1_000_000_000_000_000;

/// Bits per second in and out; 0 where nothing is said.
pub(super) fn of(annotations: &HashMap<String, String>, refused: &mut Refused) -> (u64, u64) {
    let mut read = |direction: &str| {
        let name = format!("kubernetes.io/{direction}-bandwidth");
        let Some(text) = annotations.get(&name) else {
            return 0;
        };
        let field = format!("config.annotations[{name}]");
        match Amount::parse(text).map(Amount::to_whole) {
            Ok(bits) if ALLOWED.contains(&bits) => bits.unsigned_abs(),
            Ok(_) => {
                refused.add(field, format!("{text:?} is not between 1k and 1P"));
                0
            }
            Err(error) => {
                refused.add(field, error.to_string());
                0
            }
        }
    };
    (read("ingress"), read("egress"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_are_bits_per_second() {
        let annotations = [
            ("kubernetes.io/ingress-bandwidth".to_owned(), "10M".to_owned()),
            ("kubernetes.io/egress-bandwidth".to_owned(), "1Ki".to_owned()),
        ];
        let mut refused = Refused::default();
        assert_eq!(of(&annotations.into(), &mut refused), (10_000_000, 1024));
        assert_eq!(refused, Refused::default());
    }

    #[test]
    fn what_kubernetes_refuses_is_refused() {
        for text in ["999", "2P", "-1M", "fast"] {
            let annotations = [("kubernetes.io/egress-bandwidth".to_owned(), text.to_owned())];
            let mut refused = Refused::default();
            of(&annotations.into(), &mut refused);
            assert_eq!(
                refused.fields[0].field,
                "config.annotations[kubernetes.io/egress-bandwidth]"
            );
        }
    }
}
