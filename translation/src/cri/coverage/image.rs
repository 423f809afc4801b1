//! What PullImage is given.

use super::{Message, ignored, mapped, noted};

/// The image that is pulled. The sandbox's configuration that comes with it is not read: an image is the node's.
pub static PULLED_IMAGE: Message = Message {
    name: "ImageSpec",
    place: "of a pull",
    fields: &[
        mapped("image"),
        ignored(
            "annotations",
            "of an image for several machines, this machine's is taken",
        ),
        ignored("user_specified_image", "it is for containers, which show it"),
        ignored("runtime_handler", "images are the same for every handler"),
        ignored("image_ref", "it is for statuses, which say it"),
    ],
};

/// Who to be at the registry.
pub static AUTH_CONFIG: Message = Message {
    name: "AuthConfig",
    place: "",
    fields: &[
        mapped("username"),
        mapped("password"),
        noted("auth", "base64 of name and password, where no name is given"),
        noted("server_address", "empty fits every registry"),
        mapped("identity_token"),
        mapped("registry_token"),
    ],
};
