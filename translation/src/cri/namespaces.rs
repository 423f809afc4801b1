//! Which namespaces are shared with whom, both ways.

use auraed_api::runtime::v0 as aurae;
use cri_api::v1 as cri;
use cri_api::v1::NamespaceMode as Mode;

use super::Refused;

/// A mode that is one of `allowed`.
pub(super) fn mode(value: i32, allowed: &[Mode], field: String, refused: &mut Refused) -> i32 {
    let mode = Mode::try_from(value).ok().filter(|mode| allowed.contains(mode));
    let Some(mode) = mode else {
        let named = Mode::try_from(value).map_or("this", |mode| mode.as_str_name());
        refused.add(field, format!("{named} is not possible here"));
        return 0;
    };
    let mode = match mode {
        Mode::Pod => aurae::NamespaceMode::Unspecified,
        Mode::Container => aurae::NamespaceMode::Container,
        Mode::Node => aurae::NamespaceMode::Node,
        Mode::Target => aurae::NamespaceMode::Target,
    };
    mode as i32
}

/// The other way; what is unknown is the sandbox's own.
fn shown(mode: aurae::NamespaceMode) -> i32 {
    let mode = match mode {
        aurae::NamespaceMode::Unspecified => Mode::Pod,
        aurae::NamespaceMode::Container => Mode::Container,
        aurae::NamespaceMode::Node => Mode::Node,
        aurae::NamespaceMode::Target => Mode::Target,
    };
    mode as i32
}

/// The user namespace that is asked for, if one is: none at all means the node's, as it did before there were any.
pub(super) fn user(
    options: Option<&cri::UserNamespace>,
    field: &str,
    refused: &mut Refused,
) -> Option<aurae::UserNamespace> {
    let options = options?;
    match Mode::try_from(options.mode) {
        Ok(Mode::Node) => None,
        Ok(Mode::Pod) => mapping(&options.uids, &options.gids),
        _ => {
            refused.add(format!("{field}.mode"), "only POD and NODE are possible");
            None
        }
    }
}

/// Ids shown for ids; none where there is nothing to map.
pub(super) fn mapping(uids: &[cri::IdMapping], gids: &[cri::IdMapping]) -> Option<aurae::UserNamespace> {
    if uids.is_empty() && gids.is_empty() {
        return None;
    }
    let translate = |ids: &[cri::IdMapping]| {
        ids.iter()
            .map(|id| aurae::IdMapping {
                host_id: id.host_id,
                container_id: id.container_id,
                length: id.length,
            })
            .collect()
    };
    Some(aurae::UserNamespace {
        uids: translate(uids),
        gids: translate(gids),
    })
}

/// Mappings as the CRI has them.
pub(super) fn mapping_shown(ids: &[aurae::IdMapping]) -> Vec<cri::IdMapping> {
    ids.iter()
        .map(|id| cri::IdMapping {
            host_id: id.host_id,
            container_id: id.container_id,
            length: id.length,
        })
        .collect()
}

/// What a sandbox was given.
pub(super) fn options_shown(spec: &aurae::SandboxSpec) -> cri::NamespaceOption {
    let userns = match &spec.user_namespace {
        Some(user) => cri::UserNamespace {
            mode: Mode::Pod as i32,
            uids: mapping_shown(&user.uids),
            gids: mapping_shown(&user.gids),
        },
        None => cri::UserNamespace {
            mode: Mode::Node as i32,
            ..Default::default()
        },
    };
    cri::NamespaceOption {
        network: shown(spec.network()),
        pid: shown(spec.pid()),
        ipc: shown(spec.ipc()),
        target_id: String::new(),
        userns_options: Some(userns),
    }
}
