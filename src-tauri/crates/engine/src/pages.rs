//! Prometheus pages of the fleet's servers: where they are, and how they are got.

use crate::core::Core;
use flotilla_config::resolve;
use flotilla_contract::{ServerSpec, spec::Transport, state::ProcessState};
use flotilla_metrics::{
    exposition::Format,
    scrape::{Fetch, Fetching, Page, ScrapeError, Target},
};
use reqwest::{
    StatusCode,
    header::{ACCEPT, CONTENT_TYPE},
};
use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

/// Whether a server says where its page is, and has an address of its own.
pub(crate) fn has_page(spec: &ServerSpec) -> bool {
    let addressed = matches!(
        spec.transport,
        Transport::Http { .. } | Transport::Url { .. }
    );
    addressed && spec.metrics_path.is_some()
}

/// Addresses of the pages of a server: of each of its instances that run.
pub(crate) fn addresses(core: &Core, spec: &ServerSpec) -> Vec<String> {
    let Some(path) = spec.metrics_path.as_deref() else {
        return Vec::new();
    };
    let seen = core.supervisor.observe(&spec.id);
    let instances = seen.into_iter().flat_map(|seen| seen.instances);
    let mut running = instances.filter(|i| i.process.state == ProcessState::Running);
    match &spec.transport {
        Transport::Http { .. } => running
            .filter_map(|i| Some(format!("http://127.0.0.1:{}{path}", i.port?)))
            .collect(),
        Transport::Url { url, .. } => {
            let page = running.next().and_then(|_| {
                let lookup = |name: &str| std::env::var(name).ok();
                // A secret may ask its user, which is too much for a chart.
                let url = resolve::text(url, None, lookup, |_| Ok(None)).ok()?;
                let mut url = reqwest::Url::parse(&url).ok()?;
                let (path, query) = path.split_once('?').unwrap_or((path, ""));
                url.set_path(path);
                url.set_query(Some(query).filter(|query| !query.is_empty()));
                Some(url.into())
            });
            page.into_iter().collect()
        }
        Transport::Stdio { .. } | Transport::Sse { .. } => Vec::new(),
    }
}

pub(crate) fn target(spec: &ServerSpec, page: &str) -> Option<Target> {
    let url = reqwest::Url::parse(page).ok()?;
    let (host, port) = (url.host_str()?, url.port_or_known_default()?);
    Some(Target::new(
        spec.id.as_str(),
        &format!("{host}:{port}"),
        page,
    ))
}

/// An address without the login that it may hold.
pub(crate) fn shown(url: &str) -> String {
    let Ok(mut url) = reqwest::Url::parse(url) else {
        return String::new();
    };
    // Refused only where there can be no login.
    let _ = url.set_username("");
    let _ = url.set_password(None);
    url.into()
}

/// Gets pages over HTTP: one client for all of them, made at the first use. Cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct Pages(Arc<OnceLock<Result<reqwest::Client, String>>>);

impl Pages {
    /// Where there can be no client (a machine without a single certificate), every page says so.
    fn client(&self) -> Result<&reqwest::Client, ScrapeError> {
        let client = self.0.get_or_init(|| {
            let client = reqwest::Client::builder()
                .no_proxy()
                // Node and uvicorn drop an idle connection after 5 s; one that they are just dropping must not be used.
                .pool_idle_timeout(Duration::from_secs(4))
                // A page that has moved to another host is another page.
                .redirect(reqwest::redirect::Policy::none());
            client.build().map_err(|error| innermost(&error))
        });
        let none = |why: &String| ScrapeError::Fetch(format!("no HTTP client can be made: {why}"));
        client.as_ref().map_err(none)
    }

    /// A page of so many bytes at most. The caller sets a time limit and drops this when it is over.
    ///
    /// # Errors
    /// Why there is none.
    pub(crate) async fn get(&self, url: &str, most: usize) -> Result<Page, ScrapeError> {
        let failed = |error: reqwest::Error| ScrapeError::Fetch(innermost(&error.without_url()));
        let request = self.client()?.get(url).header(ACCEPT, Format::ACCEPT);
        let mut answer = request.send().await.map_err(failed)?;
        if answer.status() != StatusCode::OK {
            return Err(ScrapeError::Status(answer.status().as_u16()));
        }
        let kind = answer.headers().get(CONTENT_TYPE);
        let format = Format::of(kind.and_then(|kind| kind.to_str().ok()).unwrap_or(""));
        let mut bytes = Vec::new();
        while let Some(part) = answer.chunk().await.map_err(failed)? {
            if bytes.len() + part.len() > most {
                return Err(ScrapeError::Limit {
                    what: "bytes",
                    most,
                });
            }
            bytes.extend_from_slice(&part);
        }
        Ok(Page { bytes, format })
    }
}

impl Fetch for Pages {
    fn fetch<'a>(&'a self, target: &'a Target) -> Fetching<'a> {
        Box::pin(self.get(&target.url, target.limits.bytes))
    }
}

/// The cause that says most: "connection refused" rather than "error sending request".
fn innermost(error: &dyn std::error::Error) -> String {
    let mut error = error;
    while let Some(cause) = error.source() {
        error = cause;
    }
    error.to_string()
}
