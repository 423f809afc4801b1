//! The spec files of a node.

use std::io::{self, Read};
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, Mode, OFlags, fstat};

use super::format::{Device, Document};
use super::name::{Name, is_device, is_kind};

/// A longer file is not read.
const MAX_BYTES: u64 = 1 << 20;
/// More files of one directory are not looked at.
const MAX_FILES: usize = 256;
/// The versions whose files are understood.
const VERSIONS: [&str; 11] = [
    "0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "0.5.0", "0.6.0", "0.7.0", "0.8.0", "1.0.0", "1.1.0",
];

/// All files that could be read, those that go before others first.
#[derive(Debug, Default)]
pub(super) struct Specs {
    specs: Vec<Spec>,
    /// What is wrong with files, for people.
    problems: Vec<String>,
}

#[derive(Debug)]
pub(super) struct Spec {
    pub(super) number: usize,
    pub(super) document: Document,
    path: PathBuf,
    /// Of its directory: the higher goes before.
    priority: usize,
}

impl Specs {
    /// Reads what is there. A file that is broken tells nothing; a directory that is missing is empty.
    pub(super) fn read(directories: &[PathBuf]) -> Self {
        let mut specs = Self::default();
        for (priority, directory) in directories.iter().enumerate() {
            for path in files(directory, &mut specs.problems) {
                match read(&path) {
                    Ok(document) => specs.specs.push(Spec {
                        number: specs.specs.len(),
                        document,
                        path,
                        priority,
                    }),
                    Err(error) => specs.problems.push(format!("{}: {error}", path.display())),
                }
            }
        }
        specs
    }

    /// The device, unless nobody or two of the same directory know it.
    pub(super) fn find(&self, name: &Name<'_>) -> Option<(&Spec, &Device)> {
        let all = self.all(name);
        let highest = all.iter().map(|(spec, _)| spec.priority).max()?;
        let mut best = all.into_iter().filter(|(spec, _)| spec.priority == highest);
        match (best.next(), best.next()) {
            (Some(device), None) => Some(device),
            _ => None,
        }
    }

    fn all(&self, name: &Name<'_>) -> Vec<(&Spec, &Device)> {
        let of_kind = self.specs.iter().filter(|spec| spec.document.kind == name.kind);
        let named = of_kind.flat_map(|spec| {
            let devices = spec.document.devices.iter();
            devices
                .filter(|device| device.name == name.device)
                .map(move |device| (spec, device))
        });
        named.collect()
    }

    /// Why something may be missing.
    pub(super) fn reasons(&self) -> Vec<String> {
        let mut reasons = self.problems.clone();
        for spec in &self.specs {
            for device in &spec.document.devices {
                let name = Name {
                    kind: &spec.document.kind,
                    device: &device.name,
                };
                let others = self.all(&name);
                let other = others
                    .iter()
                    .find(|(other, _)| other.priority == spec.priority && other.number > spec.number);
                if let Some((other, _)) = other {
                    reasons.push(format!(
                        "conflicting device {}={} of {} and {}",
                        name.kind,
                        name.device,
                        spec.path.display(),
                        other.path.display()
                    ));
                }
            }
        }
        reasons
    }
}

/// In the order of their names.
fn files(directory: &Path, problems: &mut Vec<String>) -> Vec<PathBuf> {
    let entries = match fs_err::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Vec::new(),
        Err(error) => {
            problems.push(error.to_string());
            return Vec::new();
        }
    };
    let is_spec = |path: &PathBuf| {
        path.extension()
            .is_some_and(|extension| extension == "json" || extension == "yaml")
    };
    let paths = entries
        .filter_map(Result::ok)
        .map(|entry| entry.path())
        .filter(is_spec);
    let mut paths: Vec<PathBuf> = paths.take(MAX_FILES + 1).collect();
    if paths.len() > MAX_FILES {
        problems.push(format!(
            "{} holds more than {MAX_FILES} specs",
            directory.display()
        ));
        paths.pop();
    }
    paths.sort();
    paths
}

fn read(path: &Path) -> Result<Document, String> {
    let text = text(path).map_err(|error| error.to_string())?;
    let document: Document = if path.extension().is_some_and(|extension| extension == "json") {
        serde_json::from_str(&text).map_err(|error| error.to_string())?
    } else {
        // As Go's reader has it: 0666 is octal.
        let options = serde_saphyr::options! { legacy_octal_numbers: true };
        serde_saphyr::from_str_with_options(&text, options).map_err(|error| error.to_string())?
    };
    check(&document)?;
    Ok(document)
}

/// Only a regular file: anything else may never end, or do something.
fn text(path: &Path) -> io::Result<String> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = rustix::fs::open(path, flags, Mode::empty())?;
    if FileType::from_raw_mode(fstat(&file)?.st_mode) != FileType::RegularFile {
        return Err(io::Error::other("not a regular file"));
    }
    let mut text = String::new();
    std::fs::File::from(file)
        .take(MAX_BYTES + 1)
        .read_to_string(&mut text)?;
    if text.len() as u64 > MAX_BYTES {
        return Err(io::Error::other("longer than 1 MiB"));
    }
    Ok(text)
}

fn check(document: &Document) -> Result<(), String> {
    if !VERSIONS.contains(&document.cdi_version.as_str()) {
        return Err(format!("CDI version {:?} is not known", document.cdi_version));
    }
    if !is_kind(&document.kind) {
        return Err(format!("{:?} is not a kind of devices", document.kind));
    }
    if document.devices.is_empty() {
        return Err("it has no devices".to_owned());
    }
    let mut names: Vec<&str> = document
        .devices
        .iter()
        .map(|device| device.name.as_str())
        .collect();
    if let Some(name) = names.iter().find(|name| !is_device(name)) {
        return Err(format!("{name:?} is not the name of a device"));
    }
    names.sort_unstable();
    match names.windows(2).find(|pair| pair[0] == pair[1]) {
        Some(pair) => Err(format!("it names the device {:?} twice", pair[0])),
        None => Ok(()),
    }
}
