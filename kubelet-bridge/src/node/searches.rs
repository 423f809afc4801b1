//! The search domains of the machine's own resolv.conf, which pods with ClusterFirst get after the cluster's.

const FILE: &str = "/etc/resolv.conf";

/// The last `search` line's domains; none where there is no such file.
pub(super) fn own() -> Vec<String> {
    parse(&fs_err::read_to_string(FILE).unwrap_or_default())
}

fn parse(text: &str) -> Vec<String> {
    let mut lines = text.lines().filter_map(|line| line.trim().strip_prefix("search"));
    let last = lines
        .rfind(|rest| rest.starts_with([' ', '\t']))
        .unwrap_or_default();
    // A dot alone is systemd-resolved's word for none.
    last.split_whitespace()
        .filter(|domain| *domain != ".")
        .map(str::to_owned)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn the_last_search_line_counts() {
        let text = "nameserver 10.0.0.1\nsearch old\noptions ndots:1\nsearch a.example b.example\n";
        assert_eq!(parse(text), ["a.example", "b.example"]);
        assert!(parse("search .\nsearchlight x").is_empty());
    }
}
