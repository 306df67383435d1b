//! Browsers that open a page, and are gone with the measurement.

use anyhow::{Context as _, Result, bail};
use flotilla_tests::load::free_ports;
use serde_json::{Value, json};
use std::{
    io::{BufRead as _, BufReader},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};
use tempfile::TempDir;

const WIDTH: u32 = 1440;
const HEIGHT: u32 = 900;
/// How long a driver may take to be there.
const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) struct Browser {
    /// Ended in this order.
    programs: Vec<Child>,
    /// The driver's address of the window, where there is one.
    session: Option<String>,
    /// A profile that nobody had before.
    _profile: Option<TempDir>,
}

impl Browser {
    /// WebKitGTK as the desktop's window has it, in the small browser that its driver brings, on a display of its own.
    pub(crate) async fn webkit(address: &str) -> Result<Self> {
        let mut display = Command::new("Xvfb")
            .args([
                "-displayfd",
                "1",
                "-nolisten",
                "tcp",
                "-noreset",
                "-screen",
                "0",
            ])
            .arg(format!("{WIDTH}x{HEIGHT}x24"))
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .context("failed to start Xvfb")?;
        let mut number = String::new();
        let said = display.stdout.take().context("Xvfb has no output")?;
        BufReader::new(said).read_line(&mut number)?;
        let mut browser = Self {
            programs: vec![display],
            session: None,
            _profile: None,
        };
        let port = free_ports(1)?;
        let driver = Command::new("WebKitWebDriver")
            .arg(format!("--port={port}"))
            .env("DISPLAY", format!(":{}", number.trim()))
            .env_remove("WAYLAND_DISPLAY")
            // Without a language the page's numbers have none either, and fail.
            .env("LC_ALL", "en_US.UTF-8")
            .env("GTK_A11Y", "none")
            .env("NO_AT_BRIDGE", "1")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("failed to start WebKitWebDriver")?;
        browser.programs.insert(0, driver);
        let opened = browser
            .open(&format!("http://127.0.0.1:{port}"), address)
            .await;
        if opened.is_err() {
            browser.end().await;
            opened?;
            bail!("no window was opened");
        }
        Ok(browser)
    }

    async fn open(&mut self, driver: &str, address: &str) -> Result<()> {
        let started = Instant::now();
        while reqwest::get(format!("{driver}/status")).await.is_err() {
            if started.elapsed() > PATIENCE {
                bail!("WebKitWebDriver does not answer");
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let made = tell(&format!("{driver}/session"), json!({ "capabilities": {} })).await?;
        let id = made["value"]["sessionId"]
            .as_str()
            .with_context(|| format!("WebKitWebDriver opened no window: {made}"))?;
        let session = format!("{driver}/session/{id}");
        self.session = Some(session.clone());
        let size = json!({ "x": 0, "y": 0, "width": WIDTH, "height": HEIGHT });
        tell(&format!("{session}/window/rect"), size).await?;
        tell(&format!("{session}/url"), json!({ "url": address })).await?;
        Ok(())
    }

    /// Chromium without a window.
    pub(crate) fn chromium(address: &str) -> Result<Self> {
        let profile = tempfile::tempdir().context("failed to make a folder")?;
        let program = std::env::var_os("FLOTILLA_CHROMIUM").unwrap_or_else(|| "chromium".into());
        let child = Command::new(program)
            .args(
                "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking \
                 --disable-component-update --disable-sync"
                    .split_whitespace(),
            )
            .arg(format!("--window-size={WIDTH},{HEIGHT}"))
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .arg(address)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("failed to start Chromium")?;
        Ok(Self {
            programs: vec![child],
            session: None,
            _profile: Some(profile),
        })
    }

    /// Closes the window, and ends what was started for it.
    pub(crate) async fn end(mut self) {
        if let Some(session) = self.session.take() {
            // What cannot be closed goes with its display.
            let _ = reqwest::Client::new().delete(session).send().await;
        }
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        for program in &mut self.programs {
            let _ = program.kill();
            let _ = program.wait();
        }
    }
}

/// Says something to the driver; its answer.
async fn tell(address: &str, what: Value) -> Result<Value> {
    let answer = reqwest::Client::new()
        .post(address)
        .json(&what)
        .send()
        .await?;
    let status = answer.status();
    let said: Value = answer.json().await?;
    if !status.is_success() {
        bail!("WebKitWebDriver refused {address}: {said}");
    }
    Ok(said)
}
