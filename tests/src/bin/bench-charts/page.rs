//! The page that measures, on the loopback, and what it sends when it has.

use anyhow::{Context as _, Result, bail};
use axum::{
    Json, Router,
    extract::State,
    http::{StatusCode, Uri, header},
    response::{IntoResponse, Response},
    routing::post,
};
use serde::Deserialize;
use std::{
    net::{Ipv4Addr, SocketAddr},
    path::{Component, Path, PathBuf},
    sync::Arc,
};
use tokio::{net::TcpListener, sync::mpsc};

/// What was measured; times are in milliseconds.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Found {
    pub(crate) browser: String,
    pub(crate) inner_width: f64,
    pub(crate) inner_height: f64,
    pub(crate) device_pixel_ratio: f64,
    pub(crate) ways: Vec<Redraws>,
    pub(crate) spells: Vec<Spell>,
}

/// One way to draw: of each redraw the time until its calls had returned, and until its pixels were there.
#[derive(Deserialize)]
pub(crate) struct Redraws {
    pub(crate) name: String,
    pub(crate) script: Vec<f64>,
    pub(crate) drawn: Vec<f64>,
}

/// A while of ticks: times between beats of a timer, and the time of each tick's calls.
#[derive(Deserialize)]
pub(crate) struct Spell {
    pub(crate) name: String,
    pub(crate) beats: Vec<f64>,
    pub(crate) script: Vec<f64>,
    pub(crate) lasted: f64,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Sent {
    Failed { failed: String },
    Found(Found),
}

pub(crate) struct Page {
    address: SocketAddr,
    sent: mpsc::Receiver<Sent>,
}

struct Shared {
    folder: PathBuf,
    sender: mpsc::Sender<Sent>,
}

impl Page {
    pub(crate) async fn serve(folder: PathBuf) -> Result<Self> {
        let start = folder.join("charts.html");
        if !start.is_file() {
            bail!(
                "{} is missing: `cargo xtask bench charts` builds it",
                start.display()
            );
        }
        let (sender, sent) = mpsc::channel(1);
        let router = Router::new()
            .route("/done", post(done))
            .fallback(file)
            .with_state(Arc::new(Shared { folder, sender }));
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .await
            .context("failed to listen on the loopback")?;
        let address = listener.local_addr()?;
        tokio::spawn(async move { axum::serve(listener, router).await });
        Ok(Self { address, sent })
    }

    pub(crate) fn address(&self, rounds: u32, seconds: u64) -> String {
        format!(
            "http://{}/charts.html?rounds={rounds}&seconds={seconds}",
            self.address
        )
    }

    pub(crate) async fn found(&mut self) -> Result<Found> {
        match self
            .sent
            .recv()
            .await
            .context("the page is served no more")?
        {
            Sent::Found(found) => Ok(found),
            Sent::Failed { failed } => bail!("the page failed to measure: {failed}"),
        }
    }
}

async fn done(State(shared): State<Arc<Shared>>, Json(sent): Json<Sent>) -> StatusCode {
    match shared.sender.try_send(sent) {
        Ok(()) => StatusCode::NO_CONTENT,
        Err(_) => StatusCode::CONFLICT,
    }
}

/// A file of the page. Browsers give such a page, that shares nothing with others, clocks of microseconds; else WebKit's go by
/// milliseconds.
async fn file(State(shared): State<Arc<Shared>>, uri: Uri) -> Response {
    let asked = Path::new(uri.path().trim_start_matches('/'));
    let inside = asked
        .components()
        .all(|part| matches!(part, Component::Normal(_)));
    let Some(bytes) = inside
        .then(|| std::fs::read(shared.folder.join(asked)).ok())
        .flatten()
    else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let kind = match asked.extension().and_then(|ending| ending.to_str()) {
        Some("html") => "text/html",
        Some("js") => "text/javascript",
        Some("css") => "text/css",
        _ => "application/octet-stream",
    };
    let headers = [
        (header::CONTENT_TYPE.as_str(), kind),
        ("cross-origin-opener-policy", "same-origin"),
        ("cross-origin-embedder-policy", "require-corp"),
    ];
    (headers, bytes).into_response()
}
