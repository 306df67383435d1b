//! Prometheus pages, the fleet's servers' own and those that the file names: where they are, and how they are got.

use crate::core::Core;
use flotilla_config::{
    resolve,
    secrets::{Secret, SecretStore},
};
use flotilla_contract::{
    ServerSpec,
    spec::{Transport, Value},
    state::ProcessState,
};
use flotilla_metrics::{
    exposition::Format,
    scrape::{Fetch, Fetching, Page, ScrapeError, Target},
};
use reqwest::{
    StatusCode,
    header::{ACCEPT, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue},
};
use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, OnceLock, PoisonError},
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

/// An address that can be asked: every variable and secret filled in.
#[derive(Clone, Debug)]
pub(crate) struct Address {
    pub(crate) url: reqwest::Url,
    /// Their values are marked as sensitive: `Debug` does not show them.
    pub(crate) headers: HeaderMap,
}

/// Fills in a declared address. Blocks: a keyring may ask its user.
///
/// # Errors
/// What is missing, or does not fit.
pub(crate) fn address(
    url: &str,
    headers: &BTreeMap<String, Value>,
    secrets: &dyn SecretStore,
) -> Result<Address, String> {
    let lookup = |name: &str| std::env::var(name).ok();
    let secret = |name: &str| -> Result<Option<Secret>, String> {
        secrets.get(name).map_err(|e| e.to_string())
    };
    let url = resolve::text(url, None, lookup, secret).map_err(|e| e.to_string())?;
    let url = reqwest::Url::parse(&url).map_err(|e| format!("its url is none: {e}"))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err("its url is not an http:// or https:// one".into());
    }
    let values = resolve::values(headers, None, lookup, secret).map_err(|e| e.to_string())?;
    let mut headers = HeaderMap::new();
    for (name, value) in values {
        let unfit = || format!("its header {name} has a value that cannot be sent");
        let mut value = HeaderValue::try_from(value).map_err(|_| unfit())?;
        value.set_sensitive(true);
        let name = HeaderName::try_from(&name).map_err(|_| unfit())?;
        headers.insert(name, value);
    }
    Ok(Address { url, headers })
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
pub(crate) struct Pages {
    client: Arc<OnceLock<Result<reqwest::Client, String>>>,
    /// What goes along with the targets that the file names, or why they cannot be asked.
    headers: Arc<Mutex<HashMap<String, Result<HeaderMap, String>>>>,
}

impl Pages {
    /// Says what goes along with a scrape, by the names of targets.
    pub(crate) fn send_along(&self, headers: HashMap<String, Result<HeaderMap, String>>) {
        *self.headers.lock().unwrap_or_else(PoisonError::into_inner) = headers;
    }

    /// Where there can be no client (a machine without a single certificate), every page says so.
    fn client(&self) -> Result<&reqwest::Client, ScrapeError> {
        let client = self.client.get_or_init(|| {
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
    pub(crate) async fn get(
        &self,
        url: &str,
        headers: HeaderMap,
        most: usize,
    ) -> Result<Page, ScrapeError> {
        let request = self.client()?.get(url).header(ACCEPT, Format::ACCEPT);
        let answer = request.headers(headers).send().await.map_err(failed)?;
        if answer.status() != StatusCode::OK {
            return Err(ScrapeError::Status(answer.status().as_u16()));
        }
        let kind = answer.headers().get(CONTENT_TYPE);
        let format = Format::of(kind.and_then(|kind| kind.to_str().ok()).unwrap_or(""));
        let bytes = body(answer, most).await?;
        Ok(Page { bytes, format })
    }

    /// The answer to a form, whatever its status. The caller sets a time limit and drops this when it is over.
    ///
    /// # Errors
    /// Why there is none.
    pub(crate) async fn post_form(
        &self,
        url: reqwest::Url,
        headers: HeaderMap,
        form: &[(&str, String)],
        most: usize,
    ) -> Result<(StatusCode, Vec<u8>), ScrapeError> {
        let request = self.client()?.post(url).headers(headers).form(form);
        let answer = request.send().await.map_err(failed)?;
        Ok((answer.status(), body(answer, most).await?))
    }
}

impl Fetch for Pages {
    fn fetch<'a>(&'a self, target: &'a Target) -> Fetching<'a> {
        let all = self.headers.lock().unwrap_or_else(PoisonError::into_inner);
        let headers = all
            .get(&target.name())
            .cloned()
            .unwrap_or_else(|| Ok(HeaderMap::new()));
        drop(all);
        Box::pin(async move {
            let headers = headers.map_err(ScrapeError::Fetch)?;
            self.get(&target.url, headers, target.limits.bytes).await
        })
    }
}

/// What is read of an answer, so many bytes at most.
async fn body(mut answer: reqwest::Response, most: usize) -> Result<Vec<u8>, ScrapeError> {
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
    Ok(bytes)
}

fn failed(error: reqwest::Error) -> ScrapeError {
    ScrapeError::Fetch(innermost(&error.without_url()))
}

/// The cause that says most: "connection refused" rather than "error sending request".
fn innermost(error: &dyn std::error::Error) -> String {
    let mut error = error;
    while let Some(cause) = error.source() {
        error = cause;
    }
    error.to_string()
}
