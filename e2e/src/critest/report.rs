//! What critest found, from the JSON report that ginkgo writes.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use anyhow::Context;
use serde::Deserialize;

/// The outcome of a run, by specification.
#[derive(Debug, Default)]
pub struct Report {
    /// Those that passed, with the time each took in seconds.
    pub passed: BTreeMap<String, f64>,
    /// Those that failed in whatever way, with what they said and where.
    pub failed: BTreeMap<String, String>,
    /// Those that ran and found that they do not apply, with their reason.
    pub skipped: BTreeMap<String, String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Suite {
    spec_reports: Option<Vec<Spec>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Spec {
    #[serde(default)]
    container_hierarchy_texts: Option<Vec<String>>,
    leaf_node_text: String,
    leaf_node_type: String,
    state: String,
    /// In nanoseconds.
    #[serde(default)]
    run_time: u64,
    #[serde(default)]
    failure: Failure,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Failure {
    message: String,
    forwarded_panic: String,
    location: Location,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Location {
    file_name: String,
    line_number: u64,
}

impl Report {
    /// Reads the file that critest wrote.
    ///
    /// # Errors
    /// There is none, because critest ended before it, or it is not in ginkgo's form.
    pub fn read(file: &Path) -> anyhow::Result<Self> {
        let text = fs_err::read_to_string(file)?;
        let suites: Vec<Suite> = serde_json::from_str(&text).context("critest's report")?;
        let mut report = Self::default();
        for spec in suites
            .into_iter()
            .filter_map(|suite| suite.spec_reports)
            .flatten()
        {
            report.add(spec);
        }
        Ok(report)
    }

    fn add(&mut self, spec: Spec) {
        let mut words = spec.container_hierarchy_texts.unwrap_or_default();
        if spec.leaf_node_type != "It" {
            // What runs before and after all specifications has no name, and counts when it fails alone.
            if spec.state == "passed" {
                return;
            }
            words.push(spec.leaf_node_type);
        }
        words.push(spec.leaf_node_text);
        let name = words.join(" ").trim().to_owned();
        let Failure {
            message,
            forwarded_panic,
            location,
        } = spec.failure;
        match spec.state.as_str() {
            "passed" => {
                // Nanoseconds of a run are far below what a double tells apart.
                #[expect(clippy::cast_precision_loss, reason = "shown to a tenth of a second")]
                self.passed.insert(name, spec.run_time as f64 / 1e9);
            }
            // Without a reason it was not selected.
            "skipped" | "pending" => {
                if !message.is_empty() {
                    self.skipped.insert(name, message);
                }
            }
            state => {
                let place = format!("{}:{}", location.file_name, location.line_number);
                let text = format!("{state} at {place}\n{message}\n{forwarded_panic}");
                self.failed.insert(name, text.trim().to_owned());
            }
        }
    }

    /// The failures, in words.
    pub fn failures(&self) -> String {
        self.failed
            .iter()
            .fold(String::new(), |mut text, (name, failure)| {
                // A string takes everything.
                let _ = writeln!(text, "* {name}\n{failure}\n");
                text
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_tells_what_was_left_out_from_what_does_not_apply() -> anyhow::Result<()> {
        let directory = tempfile::tempdir()?;
        let file = directory.path().join("report.json");
        fs_err::write(
            &file,
            r#"[{"SpecReports": [
  {"ContainerHierarchyTexts": null, "LeafNodeText": "", "LeafNodeType": "BeforeSuite", "State": "passed", "RunTime": 5, "Failure": {}},
  {"ContainerHierarchyTexts": ["[k8s.io] Image"], "LeafNodeText": "one", "LeafNodeType": "It", "State": "passed", "RunTime": 1500000000, "Failure": {}},
  {"ContainerHierarchyTexts": ["[k8s.io] Image"], "LeafNodeText": "two", "LeafNodeType": "It", "State": "skipped", "RunTime": 0, "Failure": {"Message": "no"}},
  {"ContainerHierarchyTexts": ["[k8s.io] Image"], "LeafNodeText": "three", "LeafNodeType": "It", "State": "skipped", "RunTime": 0, "Failure": {}},
  {"ContainerHierarchyTexts": ["[k8s.io] Image"], "LeafNodeText": "four", "LeafNodeType": "It", "State": "panicked", "RunTime": 0, "Failure": {"Message": "m", "Location": {"FileName": "f.go", "LineNumber": 3}}}
]}]"#,
        )?;
        let report = Report::read(&file)?;
        assert_eq!(
            report.passed.iter().collect::<Vec<_>>(),
            [(&"[k8s.io] Image one".to_owned(), &1.5)]
        );
        assert_eq!(
            report.skipped.iter().collect::<Vec<_>>(),
            [(&"[k8s.io] Image two".to_owned(), &"no".to_owned())]
        );
        assert_eq!(
            report.failures(),
            "* [k8s.io] Image four\npanicked at f.go:3\nm\n\n"
        );
        Ok(())
    }
}
