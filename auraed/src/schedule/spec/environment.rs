//! Environment variables and what refers to them.

use std::net::IpAddr;

use auraed_types::pod::{Container, EnvironmentSource, PodField};

/// The variables of a pod's container, in order, without the image's.
#[derive(Debug)]
pub(super) struct Environment(Vec<(String, String)>);

impl Environment {
    /// Fills in what was left open: facts of the sandbox, and references to variables that came before.
    pub(super) fn of(container: &Container, addresses: &[IpAddr]) -> Environment {
        let mut defined = Environment(Vec::new());
        for variable in &container.env {
            let value = match &variable.source {
                EnvironmentSource::Value(value) => value.expose().to_owned(),
                EnvironmentSource::Template(template) => defined.expand(template.expose()),
                EnvironmentSource::Field(PodField::Address) => {
                    addresses.first().map(ToString::to_string).unwrap_or_default()
                }
                EnvironmentSource::Field(PodField::Addresses) => addresses
                    .iter()
                    .map(ToString::to_string)
                    .collect::<Vec<_>>()
                    .join(","),
            };
            defined.0.push((variable.name.clone(), value));
        }
        defined
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.0
            .iter()
            .rev()
            .find(|(defined, _)| defined == name)
            .map(|(_, value)| value.as_str())
    }

    /// Replaces `$(NAME)`; `$$` is a dollar; what is not defined stays as it is.
    pub(super) fn expand(&self, text: &str) -> String {
        expand(text, |name| {
            self.get(name)
                .map(str::to_owned)
                .or_else(|| Some(format!("$({name})")))
        })
        .unwrap_or_default()
    }

    /// The same, but a name that is not defined is an error: the name.
    pub(super) fn expand_all(&self, text: &str) -> Result<String, String> {
        let mut missing = None;
        let expanded = expand(text, |name| {
            let value = self.get(name).map(str::to_owned);
            if value.is_none() {
                missing = Some(name.to_owned());
            }
            value
        });
        expanded.ok_or_else(|| missing.unwrap_or_default())
    }

    /// `NAME=value`, the image's first; the pod's win.
    pub(super) fn with_image(&self, image: &[String]) -> Vec<String> {
        let own = self.0.iter().map(|(name, value)| format!("{name}={value}"));
        image.iter().cloned().chain(own).collect()
    }
}

fn expand(text: &str, mut value: impl FnMut(&str) -> Option<String>) -> Option<String> {
    let mut expanded = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(dollar) = rest.find('$') {
        expanded.push_str(&rest[..dollar]);
        rest = &rest[dollar + 1..];
        if let Some(after) = rest.strip_prefix('$') {
            expanded.push('$');
            rest = after;
        } else if let Some((name, after)) = rest
            .strip_prefix('(')
            .and_then(|reference| reference.split_once(')'))
        {
            expanded.push_str(&value(name)?);
            rest = after;
        } else {
            expanded.push('$');
        }
    }
    expanded.push_str(rest);
    Some(expanded)
}
