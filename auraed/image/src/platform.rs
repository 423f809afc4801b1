//! Which of an index's manifests this node runs.

use oci_spec::image::{Arch, Descriptor, Os, Platform};

/// The architecture of this program as Go names it.
pub(crate) fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "powerpc64" if cfg!(target_endian = "little") => "ppc64le",
        "loongarch64" => "loong64",
        other => other,
    }
}

/// `linux/amd64`.
pub(crate) fn this_platform() -> String {
    format!("linux/{}", architecture())
}

/// The manifest for this node: the plainest variant first, else the first that fits at all. Without a platform an entry
/// fits only where no other does; builders put signatures and the like under the platform unknown/unknown.
pub(crate) fn select(manifests: &[Descriptor]) -> Option<&Descriptor> {
    let fitting = |variant: &dyn Fn(&Option<String>) -> bool| {
        manifests.iter().find(|descriptor| {
            let platform = descriptor.platform().as_ref();
            platform.is_some_and(|platform| fits(platform) && variant(platform.variant()))
        })
    };
    let plain = |variant: &Option<String>| matches!(variant.as_deref(), None | Some("" | "v1" | "v8"));
    fitting(&plain).or_else(|| fitting(&|_| true)).or_else(|| {
        manifests
            .iter()
            .find(|descriptor| descriptor.platform().is_none())
    })
}

fn fits(platform: &Platform) -> bool {
    *platform.os() == Os::Linux && *platform.architecture() == Arch::from(architecture())
}

/// Whether a configuration made for this platform runs here. Old builders leave both empty.
pub(crate) fn runs_here(os: &str, architecture_of_image: &str) -> bool {
    (os.is_empty() || os == "linux")
        && (architecture_of_image.is_empty() || architecture_of_image == architecture())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn descriptor(size: u64, platform: Option<serde_json::Value>) -> Descriptor {
        let mut json = serde_json::json!({
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "digest": format!("sha256:{}", "1".repeat(64)),
            "size": size,
        });
        if let Some(platform) = platform {
            json["platform"] = platform;
        }
        serde_json::from_value(json).unwrap()
    }

    fn selected(manifests: &[Descriptor]) -> Option<u64> {
        select(manifests).map(Descriptor::size)
    }

    #[test]
    fn this_architecture_is_chosen_plainest_first() {
        let other = serde_json::json!({"architecture": "s390x", "os": "linux"});
        let windows = serde_json::json!({"architecture": architecture(), "os": "windows"});
        let fancy = serde_json::json!({"architecture": architecture(), "os": "linux", "variant": "v9"});
        let plain = serde_json::json!({"architecture": architecture(), "os": "linux"});
        let unknown = serde_json::json!({"architecture": "unknown", "os": "unknown"});
        let all = [
            descriptor(1, Some(other.clone())),
            descriptor(2, Some(windows)),
            descriptor(3, Some(fancy)),
            descriptor(4, Some(plain)),
        ];
        assert_eq!(selected(&all), Some(4));
        assert_eq!(selected(&all[..3]), Some(3));
        assert_eq!(selected(&all[..2]), None);
        assert_eq!(
            selected(&[descriptor(1, Some(other)), descriptor(5, None)]),
            Some(5)
        );
        assert_eq!(selected(&[descriptor(6, Some(unknown))]), None);
    }
}
