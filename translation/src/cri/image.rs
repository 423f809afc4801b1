//! Images, and what they and containers take on the disk.

use std::collections::HashMap;

use auraed_api::runtime::v0 as aurae;
use cri_api::v1 as cri;
use serde_json::json;

/// One image. Its id is what a pull answers and what containers bear.
#[must_use]
pub fn image(image: &aurae::Image) -> cri::Image {
    let (uid, username) = user(&image.user);
    cri::Image {
        id: image.id.clone(),
        repo_tags: image.tags.clone(),
        repo_digests: image.digests.clone(),
        size: image.size_bytes,
        uid: uid.map(|value| cri::Int64Value { value }),
        username,
        spec: None,
        pinned: image.pinned,
    }
}

/// The number or the name in an image's USER; its group is nothing that the CRI asks for.
fn user(user: &str) -> (Option<i64>, String) {
    let name = user.split(':').next().unwrap_or_default();
    match name.parse() {
        Ok(uid) => (Some(uid), String::new()),
        Err(_) => (None, name.to_owned()),
    }
}

/// What `crictl inspecti` shows beside the image, in the names of the OCI's image configuration.
#[must_use]
pub fn info(image: &aurae::Image) -> HashMap<String, String> {
    let info = json!({
        "imageSpec": {
            "architecture": image.architecture,
            "os": image.operating_system,
            "config": {
                "User": image.user,
                "Env": image.env,
                "Entrypoint": image.entrypoint,
                "Cmd": image.command,
                "WorkingDir": image.working_directory,
                "Labels": image.labels,
                "StopSignal": image.stop_signal,
            },
        },
        "layers": image.layers,
    });
    [("info".to_owned(), info.to_string())].into()
}

/// Both file systems; `now` in nanoseconds since 1970.
#[must_use]
pub fn file_systems(usage: &aurae::GetImageUsageResponse, now: i64) -> cri::ImageFsInfoResponse {
    let translate = |usage: &Option<aurae::FilesystemUsage>| {
        usage
            .iter()
            .map(|usage| file_system(usage, now))
            .collect::<Vec<_>>()
    };
    cri::ImageFsInfoResponse {
        image_filesystems: translate(&usage.images),
        container_filesystems: translate(&usage.containers),
    }
}

pub(super) fn file_system(usage: &aurae::FilesystemUsage, now: i64) -> cri::FilesystemUsage {
    cri::FilesystemUsage {
        timestamp: now,
        fs_id: Some(cri::FilesystemIdentifier {
            mountpoint: usage.mountpoint.clone(),
        }),
        used_bytes: Some(cri::UInt64Value {
            value: usage.used_bytes,
        }),
        inodes_used: Some(cri::UInt64Value {
            value: usage.inodes_used,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_numbers_or_names() {
        for (text, uid, name) in [
            ("", None, ""),
            ("1002", Some(1002), ""),
            ("1003:www", Some(1003), ""),
            ("www-data:1000", None, "www-data"),
        ] {
            assert_eq!(user(text), (uid, name.to_owned()), "{text}");
        }
    }
}
