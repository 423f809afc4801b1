//! `aurae pull`: with a bar a layer where somebody looks.

use super::IMAGE;
use crate::arguments::PullOptions;
use crate::failure::Failure;
use crate::message;
use crate::printer;
use crate::session::Session;
use auraed_api::runtime::v0::pull_image_response::Event;
use auraed_api::runtime::v0::{LayerProgress, LayerState, PullImageRequest, RegistryCredentials};
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use rustix::termios::{LocalModes, OptionalActions, Termios, isatty, tcgetattr, tcsetattr};
use std::collections::HashMap;
use std::io::{self, BufRead as _, Read as _};

/// More than this is no password.
const MAX_PASSWORD: u64 = 64 * 1024;

/// Pulls the image and prints its name.
pub(crate) async fn pull(session: &Session, options: PullOptions) -> Result<(), Failure> {
    let credentials = options.username.map(credentials).transpose()?;
    let request = PullImageRequest {
        reference: options.reference,
        credentials: credentials.into_iter().collect(),
    };
    let mut stream = session
        .connect()
        .await?
        .images()
        .pull_image(request)
        .await?
        .into_inner();
    let mut bars = Bars::new();
    while let Some(response) = stream.message().await? {
        match response.event {
            Some(Event::Layer(progress)) => {
                if session.json() {
                    printer::json_line(&message::to_json("aurae.runtime.v0.LayerProgress", &progress)?)?;
                } else {
                    bars.show(&progress);
                }
            }
            Some(Event::Image(image)) if session.json() => {
                printer::json_line(&message::to_json(IMAGE, &image)?)?
            }
            Some(Event::Image(image)) => printer::line(super::display_name(&image))?,
            None => {}
        }
    }
    Ok(())
}

/// The password never stands on a command line, where every process sees it.
fn credentials(username: String) -> Result<RegistryCredentials, Failure> {
    let mut password = String::new();
    if isatty(io::stdin()) {
        printer::note(&format!("password of {username}:"));
        let _silent = SilentTerminal::enter()?;
        io::stdin().lock().take(MAX_PASSWORD).read_line(&mut password)?;
    } else {
        io::stdin()
            .lock()
            .take(MAX_PASSWORD)
            .read_to_string(&mut password)?;
    }
    let password = password.trim_end_matches(['\r', '\n']).to_owned();
    Ok(RegistryCredentials {
        username,
        password,
        ..RegistryCredentials::default()
    })
}

/// The terminal without an echo, and back as it was at the end.
struct SilentTerminal {
    before: Termios,
}

impl SilentTerminal {
    fn enter() -> io::Result<Self> {
        let before = tcgetattr(io::stdin())?;
        let mut silent = before.clone();
        silent.local_modes.remove(LocalModes::ECHO);
        tcsetattr(io::stdin(), OptionalActions::Flush, &silent)?;
        Ok(Self { before })
    }
}

impl Drop for SilentTerminal {
    fn drop(&mut self) {
        // A terminal that went away needs no restoring.
        let _ = tcsetattr(io::stdin(), OptionalActions::Flush, &self.before);
    }
}

/// A bar a layer on standard error; nothing where that is no terminal.
struct Bars {
    all: MultiProgress,
    layers: HashMap<String, ProgressBar>,
}

impl Bars {
    fn new() -> Self {
        Self {
            all: MultiProgress::new(),
            layers: HashMap::new(),
        }
    }

    fn show(&mut self, progress: &LayerProgress) {
        let bar = self.layers.entry(progress.digest.clone()).or_insert_with(|| {
            let bar = self
                .all
                .add(ProgressBar::new(progress.total_bytes).with_style(style()));
            bar.set_prefix(
                progress
                    .digest
                    .trim_start_matches("sha256:")
                    .chars()
                    .take(12)
                    .collect::<String>(),
            );
            bar
        });
        bar.set_length(progress.total_bytes);
        bar.set_position(progress.done_bytes);
        match progress.state() {
            LayerState::Unspecified | LayerState::Waiting => bar.set_message("waiting"),
            LayerState::Fetching => bar.set_message("fetching"),
            LayerState::Done => bar.finish_with_message("done"),
            LayerState::Present => bar.finish_with_message("present"),
        }
    }
}

fn style() -> ProgressStyle {
    ProgressStyle::with_template(
        "{prefix} {bar:30} {bytes:>10}/{total_bytes:10} {binary_bytes_per_sec:>12} {msg}",
    )
    .unwrap_or_else(|_| ProgressStyle::default_bar())
}
