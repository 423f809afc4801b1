//! Values of flags, in the forms that kubelet takes.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use k8s_openapi::api::core::v1::Taint;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

/// A duration as Go writes it: `10s`, `1m30s`, `500ms`.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let form = || format!("`{text}` is no duration: write it as 10s, 1m30s or 500ms");
    let mut total = Duration::ZERO;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(form)?;
        let count: u64 = rest[..digits].parse().map_err(|_| form())?;
        let unit = &rest[digits..];
        let end = unit.find(|c: char| c.is_ascii_digit()).unwrap_or(unit.len());
        let milliseconds = match &unit[..end] {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            _ => return Err(form()),
        };
        total += Duration::from_millis(count.checked_mul(milliseconds).ok_or_else(form)?);
        rest = &unit[end..];
    }
    if total.is_zero() { Err(form()) } else { Ok(total) }
}

/// A DNS subdomain (RFC 1123), in lower case.
pub(super) fn node_name(name: &str) -> Result<String, String> {
    let name = name.trim().to_lowercase();
    let label = |label: &str| {
        !label.is_empty()
            && label
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    if name.len() <= 253 && name.split('.').all(label) {
        Ok(name)
    } else {
        Err(format!(
            "`{name}` cannot be a node's name: letters, digits, `-` and `.` alone, at most 253"
        ))
    }
}

/// One address, or two of both families, that others can reach.
pub(super) fn addresses(addresses: Vec<IpAddr>) -> Result<Vec<IpAddr>, String> {
    for address in &addresses {
        if address.is_unspecified() || address.is_multicast() {
            return Err(format!(
                "{address} is no address of a node: give one of an interface of this machine"
            ));
        }
    }
    match addresses.as_slice() {
        [] | [_] => Ok(addresses),
        [first, second] if first.is_ipv4() != second.is_ipv4() => Ok(addresses),
        _ => Err("give one address, or one of each family".to_owned()),
    }
}

/// `key=value` pairs.
pub(super) fn labels(pairs: &[String]) -> Result<BTreeMap<String, String>, String> {
    pairs
        .iter()
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let (key, value) = pair
                .split_once('=')
                .ok_or_else(|| format!("`{pair}` is no label: write it as key=value"))?;
            Ok((key.trim().to_owned(), value.trim().to_owned()))
        })
        .collect()
}

/// `key[=value]:Effect` entries.
pub(super) fn taints(entries: &[String]) -> Result<Vec<Taint>, String> {
    entries
        .iter()
        .filter(|entry| !entry.is_empty())
        .map(|entry| {
            let (pair, effect) = entry
                .rsplit_once(':')
                .ok_or_else(|| format!("`{entry}` is no taint: write it as key=value:NoSchedule"))?;
            if !matches!(effect, "NoSchedule" | "PreferNoSchedule" | "NoExecute") {
                return Err(format!(
                    "`{effect}` is no effect: NoSchedule, PreferNoSchedule or NoExecute"
                ));
            }
            let (key, value) = pair
                .split_once('=')
                .map_or((pair, None), |(key, value)| (key, Some(value)));
            Ok(Taint {
                key: key.to_owned(),
                value: value.filter(|value| !value.is_empty()).map(str::to_owned),
                effect: effect.to_owned(),
                time_added: None,
            })
        })
        .collect()
}

/// `resource=quantity` pairs.
pub(super) fn resources(pairs: &[String]) -> Result<BTreeMap<String, Quantity>, String> {
    let resources = labels(pairs).map_err(|_| "write it as cpu=200m,memory=150Mi".to_owned())?;
    resources
        .into_iter()
        .map(|(name, quantity)| {
            milli(&quantity)
                .ok_or_else(|| format!("`{quantity}` of {name} is no quantity: as 200m or 150Mi"))?;
            Ok((name, Quantity(quantity)))
        })
        .collect()
}

/// Adds two quantities; the sum keeps the form of the first where it is exact.
pub(super) fn sum(one: &Quantity, other: &Quantity) -> Result<Quantity, String> {
    let parse =
        |quantity: &Quantity| milli(&quantity.0).ok_or_else(|| format!("`{}` is no quantity", quantity.0));
    let total = parse(one)? + parse(other)?;
    Ok(Quantity(if total % 1000 == 0 {
        (total / 1000).to_string()
    } else {
        format!("{total}m")
    }))
}

/// A quantity in thousandths; none for what does not read.
fn milli(quantity: &str) -> Option<u128> {
    let digits = quantity
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(quantity.len());
    let number: u128 = quantity[..digits].parse().ok()?;
    let factor: u128 = match &quantity[digits..] {
        "m" => 1,
        "" => 1000,
        "k" => 1000 * 1000,
        "M" => 1000 * 1000_u128.pow(2),
        "G" => 1000 * 1000_u128.pow(3),
        "T" => 1000 * 1000_u128.pow(4),
        "Ki" => 1000 * 1024,
        "Mi" => 1000 * 1024_u128.pow(2),
        "Gi" => 1000 * 1024_u128.pow(3),
        "Ti" => 1000 * 1024_u128.pow(4),
        _ => return None,
    };
    number.checked_mul(factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        assert_eq!(duration("1h2m3s4ms"), Ok(Duration::from_millis(3_723_004)));
        for wrong in ["", "10", "s", "10x", "0s", "1.5s"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn taints_with_and_without_value() {
        let taints = taints(&["a=b:NoSchedule".into(), "c:NoExecute".into()]).expect("taints");
        assert_eq!(
            (taints[0].key.as_str(), taints[0].value.as_deref()),
            ("a", Some("b"))
        );
        assert_eq!((taints[1].key.as_str(), taints[1].value.as_deref()), ("c", None));
        assert!(super::taints(&["a=b:Never".into()]).is_err());
    }

    #[test]
    fn two_addresses_are_of_two_families() {
        let parse = |text: &str| text.parse::<IpAddr>().expect("an address");
        assert!(addresses(vec![parse("10.0.0.1"), parse("fd00::1")]).is_ok());
        assert!(addresses(vec![parse("10.0.0.1"), parse("10.0.0.2")]).is_err());
        assert!(addresses(vec![parse("0.0.0.0")]).is_err());
    }

    #[test]
    fn quantities_add() {
        assert_eq!(
            sum(&Quantity("200m".into()), &Quantity("1".into())),
            Ok(Quantity("1200m".into()))
        );
        assert_eq!(
            sum(&Quantity("1Ki".into()), &Quantity("1Ki".into())),
            Ok(Quantity("2048".into()))
        );
        assert!(resources(&["cpu=lots".into()]).is_err());
    }
}
