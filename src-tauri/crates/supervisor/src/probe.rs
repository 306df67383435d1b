//! The probes that need no protocol: `http`, `tcp`, `exec`. The `mcp` probe comes through [`crate::Prober`].

use crate::{Place, health::Found, spawn};
use flotilla_contract::{
    ServerSpec,
    spec::{Check, Transport},
    state::HealthCode,
};
use reqwest::Url;
use std::{path::Path, process::Stdio, time::Duration};
use tokio::{net::TcpStream, time::timeout};

fn bad(sentence: String) -> Found {
    Found::Bad {
        code: HealthCode::CheckFailed,
        sentence,
    }
}

fn good(proof: String) -> Found {
    Found::Good {
        findings: Vec::new(),
        proof,
    }
}

/// The port of an instance, if it has one of its own.
pub(crate) fn port_of(spec: &ServerSpec, index: u32) -> Option<u16> {
    match &spec.transport {
        Transport::Http { port, .. } => {
            u16::try_from(u32::from(*port) + 100 * index.saturating_sub(1)).ok()
        }
        Transport::Stdio { .. } | Transport::Url { .. } | Transport::Sse { .. } => None,
    }
}

/// Replaces `{port}`.
pub(crate) fn with_port(text: &str, port: Option<u16>) -> String {
    port.map_or_else(
        || text.to_owned(),
        |port| text.replace("{port}", &port.to_string()),
    )
}

/// Where an `http` check goes. A path belongs to the instance's own port, or to the URL of a server that somebody else
/// started (`base`).
fn target(declared: &str, port: Option<u16>, base: Option<&str>) -> Result<Url, String> {
    let text = with_port(declared, port);
    let origin = match (port, base) {
        _ if !text.starts_with('/') => &text,
        (Some(port), _) => &format!("http://127.0.0.1:{port}"),
        (None, Some(base)) => base,
        (None, None) => &text,
    };
    let mut url = Url::parse(origin).map_err(|error| format!("GET {text}: {error}"))?;
    if text.starts_with('/') {
        let (path, query) = text
            .split_once('?')
            .map_or((text.as_str(), None), |(path, query)| (path, Some(query)));
        url.set_path(path);
        url.set_query(query);
        url.set_fragment(None);
    }
    Ok(url)
}

/// A URL for a sentence: without the login that it may hold.
fn shown(url: &Url) -> String {
    let mut url = url.clone();
    // Refused only where there can be no login.
    let _ = url.set_username("");
    let _ = url.set_password(None);
    url.into()
}

/// One check of the kinds `http`, `tcp`, `exec`. Never longer than `limit`. `base` is the URL of a server that somebody
/// else started.
pub(crate) async fn check(
    client: &reqwest::Client,
    spec: &ServerSpec,
    place: &Place,
    base: Option<&str>,
    mark: &flotilla_os::Mark,
    limit: Duration,
) -> Found {
    let port = port_of(spec, place.id.index);
    let late = || bad(format!("no answer within {}", crate::unit::span(limit)));
    match &spec.health.check {
        Check::Http { url } => {
            let url = match target(url, port, base) {
                Ok(url) => url,
                Err(sentence) => return bad(sentence),
            };
            let asked = client.get(url.clone()).send();
            let url = shown(&url);
            match timeout(limit, asked).await {
                Err(_) => late(),
                Ok(Err(error)) => bad(format!("GET {url}: {}", root(&error))),
                Ok(Ok(answer)) if answer.status().as_u16() < 400 => {
                    good(format!("GET {url} gave {}", answer.status().as_u16()))
                }
                Ok(Ok(answer)) => bad(format!("GET {url} gave {}", answer.status().as_u16())),
            }
        }
        Check::Tcp { address } => {
            let address = with_port(address, port);
            match timeout(limit, TcpStream::connect(&address)).await {
                Err(_) => late(),
                Ok(Err(error)) => bad(format!("connect to {address}: {error}")),
                Ok(Ok(_)) => good(format!("{address} accepts connections")),
            }
        }
        Check::Exec { command } => exec(command, port, mark, limit).await,
        Check::Mcp | Check::None => Found::NotYet,
    }
}

async fn exec(
    command: &[String],
    port: Option<u16>,
    mark: &flotilla_os::Mark,
    limit: Duration,
) -> Found {
    let Some((program, args)) = command.split_first() else {
        return bad("its exec check names no program".into());
    };
    let path = spawn::search_path();
    let program = match flotilla_os::launch::find_program(program, &path, None) {
        Ok(program) => program,
        Err(_) => return bad(format!("find the program {program} of its exec check")),
    };
    let mut command = spawn::command(&program, mark, Path::new("/"));
    command
        .args(args.iter().map(|a| with_port(a, port)))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let mut child = match command.spawn() {
        Ok(child) => child,
        Err(error) => return bad(format!("run its exec check: {error}")),
    };
    let group = child.id();
    let status = timeout(limit, child.wait()).await;
    // The check's own children end with it, in time or not.
    if let Some(group) = group {
        flotilla_os::signal_group(group, flotilla_os::Ending::Kill);
    }
    match status {
        Err(_) => {
            let _ = child.wait().await;
            bad(format!(
                "its exec check did not end within {}",
                crate::unit::span(limit)
            ))
        }
        Ok(Err(error)) => bad(format!("wait for its exec check: {error}")),
        Ok(Ok(status)) if status.success() => good("its exec check ended with code 0".into()),
        Ok(Ok(status)) => bad(format!("its exec check ended with {status}")),
    }
}

/// The innermost cause: reqwest's own words only repeat the URL.
fn root(error: &(dyn std::error::Error + 'static)) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}
