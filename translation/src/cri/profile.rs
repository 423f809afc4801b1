//! Seccomp and AppArmor profiles, in the form of today and in the older one of a text.

use auraed_api::runtime::v0 as aurae;
use cri_api::v1 as cri;
use cri_api::v1::security_profile::ProfileType;

use super::Refused;

/// A profile and the text that older clients give in its place; the profile wins.
pub(super) struct Given<'a> {
    pub(super) profile: Option<&'a cri::SecurityProfile>,
    pub(super) text: &'a str,
    /// Paths of both.
    pub(super) field: String,
    pub(super) text_field: String,
    /// What neither of both means.
    pub(super) unset: aurae::SecurityProfileKind,
}

impl Given<'_> {
    pub(super) fn translate(&self, refused: &mut Refused) -> aurae::SecurityProfile {
        let (kind, localhost, field) = match self.profile {
            Some(profile) => (self.kind(profile), profile.localhost_ref.as_str(), &self.field),
            None => {
                let (kind, localhost) = self.of_text();
                (kind, localhost, &self.text_field)
            }
        };
        let Some(kind) = kind else {
            refused.add(field, "unknown profile");
            return aurae::SecurityProfile::default();
        };
        let localhost = localhost.strip_prefix("localhost/").unwrap_or(localhost);
        let named = kind == aurae::SecurityProfileKind::Localhost;
        if named && localhost.is_empty() {
            refused.add(field, "a profile of the node needs its name");
        }
        aurae::SecurityProfile {
            kind: kind as i32,
            localhost: if named {
                localhost.to_owned()
            } else {
                String::new()
            },
        }
    }

    fn kind(&self, profile: &cri::SecurityProfile) -> Option<aurae::SecurityProfileKind> {
        Some(match ProfileType::try_from(profile.profile_type).ok()? {
            ProfileType::RuntimeDefault => aurae::SecurityProfileKind::Unspecified,
            ProfileType::Unconfined => aurae::SecurityProfileKind::Unconfined,
            ProfileType::Localhost => aurae::SecurityProfileKind::Localhost,
        })
    }

    fn of_text(&self) -> (Option<aurae::SecurityProfileKind>, &str) {
        let kind = match self.text {
            "" => self.unset,
            "runtime/default" | "docker/default" => aurae::SecurityProfileKind::Unspecified,
            "unconfined" => aurae::SecurityProfileKind::Unconfined,
            text if text.starts_with("localhost/") => aurae::SecurityProfileKind::Localhost,
            _ => return (None, ""),
        };
        (Some(kind), self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(profile: Option<cri::SecurityProfile>, text: &str) -> Result<aurae::SecurityProfile, Refused> {
        let given = Given {
            profile: profile.as_ref(),
            text,
            field: "seccomp".into(),
            text_field: "seccomp_profile_path".into(),
            unset: aurae::SecurityProfileKind::Unconfined,
        };
        let mut refused = Refused::default();
        let profile = given.translate(&mut refused);
        refused.unless(profile)
    }

    fn kind(kind: aurae::SecurityProfileKind, localhost: &str) -> aurae::SecurityProfile {
        aurae::SecurityProfile {
            kind: kind as i32,
            localhost: localhost.into(),
        }
    }

    #[test]
    fn the_profile_wins_over_the_text() {
        let profile = cri::SecurityProfile {
            profile_type: ProfileType::RuntimeDefault as i32,
            localhost_ref: "ignored".into(),
        };
        let default = kind(aurae::SecurityProfileKind::Unspecified, "");
        assert_eq!(of(Some(profile), "unconfined"), Ok(default));
    }

    #[test]
    fn older_texts_are_read() {
        use aurae::SecurityProfileKind as K;
        assert_eq!(of(None, ""), Ok(kind(K::Unconfined, "")));
        assert_eq!(of(None, "docker/default"), Ok(kind(K::Unspecified, "")));
        assert_eq!(of(None, "localhost//p.json"), Ok(kind(K::Localhost, "/p.json")));
        assert_eq!(
            of(None, "what").unwrap_err().fields[0].field,
            "seccomp_profile_path"
        );
        assert!(of(None, "localhost/").is_err());
    }
}
