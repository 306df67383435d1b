//! The panel's files.

use axum::{
    body::Body,
    http::{HeaderMap, HeaderValue, Response, StatusCode, header},
};
use std::{
    borrow::Cow,
    path::{Component, Path, PathBuf},
};

/// Where the panel's files come from.
#[derive(Clone, Debug, Default)]
pub enum UiSource {
    /// Compiled in (a debug build reads `ui/dist` of the checkout it was built from).
    #[default]
    Embedded,
    /// A folder, read at each request.
    Dir(PathBuf),
}

#[derive(rust_embed::RustEmbed)]
#[folder = "$CARGO_MANIFEST_DIR/../../../ui/dist"]
struct Embedded;

impl UiSource {
    async fn file(&self, path: &str) -> Option<Cow<'static, [u8]>> {
        let relative = Path::new(path);
        if !relative
            .components()
            .all(|part| matches!(part, Component::Normal(_)))
        {
            return None;
        }
        match self {
            Self::Embedded => Embedded::get(path).map(|file| file.data),
            Self::Dir(root) => tokio::fs::read(root.join(relative))
                .await
                .ok()
                .map(Cow::Owned),
        }
    }

    /// The file at `path`; a path that names no file is a place within the panel, which is one page.
    pub(crate) async fn answer(&self, path: &str, host: &str) -> Response<Body> {
        let path = path.trim_start_matches('/');
        if !path.is_empty()
            && let Some(bytes) = self.file(path).await
        {
            return found(path, bytes, host);
        }
        if path
            .rsplit('/')
            .next()
            .is_some_and(|last| last.contains('.'))
        {
            return page(
                StatusCode::NOT_FOUND,
                "Not found",
                "<p>The panel has no such file.</p>",
            );
        }
        match self.file("index.html").await {
            // An empty page stands for one that was never built.
            Some(bytes) if !bytes.is_empty() => found("index.html", bytes, host),
            _ => page(
                StatusCode::SERVICE_UNAVAILABLE,
                "The panel is not built",
                "<p>This build of Flotilla has no panel inside. In a checkout, <code>cargo xtask run</code> builds it and opens it. \
                 The API and the commands of <code>flotilla</code> work without it.</p>",
            ),
        }
    }
}

fn found(path: &str, bytes: Cow<'static, [u8]>, host: &str) -> Response<Body> {
    let body = match bytes {
        Cow::Borrowed(bytes) => Body::from(bytes),
        Cow::Owned(bytes) => Body::from(bytes),
    };
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static(media_type(path)),
    );
    // The bundler puts a hash into the names below assets/.
    let cache = if path.starts_with("assets/") {
        "public, max-age=31536000, immutable"
    } else {
        "no-cache"
    };
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(cache));
    protect(headers, &policy(host));
    response
}

/// `style-src-attr`: components set widths and positions through style attributes; style *sheets* come from files only.
/// `ws://HOST` is named because not every engine counts WebSockets as 'self'.
fn policy(host: &str) -> String {
    format!(
        "default-src 'none'; script-src 'self'; style-src 'self'; style-src-attr 'unsafe-inline'; img-src 'self' data:; \
         media-src data:; font-src 'self'; connect-src 'self' ws://{host}; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
}

fn protect(headers: &mut HeaderMap, policy: &str) {
    if let Ok(policy) = HeaderValue::from_str(policy) {
        headers.insert(header::CONTENT_SECURITY_POLICY, policy);
    }
    headers.insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    headers.insert(header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
    headers.insert(
        header::REFERRER_POLICY,
        HeaderValue::from_static("no-referrer"),
    );
    headers.insert(
        "cross-origin-opener-policy",
        HeaderValue::from_static("same-origin"),
    );
    headers.insert(
        "cross-origin-resource-policy",
        HeaderValue::from_static("same-origin"),
    );
}

fn media_type(path: &str) -> &'static str {
    match Path::new(path)
        .extension()
        .and_then(|e| e.to_str())
        .unwrap_or_default()
    {
        "html" => "text/html; charset=utf-8",
        "js" | "mjs" => "text/javascript; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "json" | "map" => "application/json",
        "webmanifest" => "application/manifest+json",
        "svg" => "image/svg+xml",
        "png" => "image/png",
        "ico" => "image/x-icon",
        "woff2" => "font/woff2",
        "wasm" => "application/wasm",
        "txt" => "text/plain; charset=utf-8",
        _ => "application/octet-stream",
    }
}

/// A page of our own that needs no file.
pub(crate) fn page(status: StatusCode, title: &str, text: &str) -> Response<Body> {
    let html = format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">\
         <meta name=\"color-scheme\" content=\"light dark\"><title>{title} · Flotilla</title>\
         <style>body{{font:16px/1.5 system-ui,sans-serif;max-width:36rem;margin:15vh auto;padding:0 1.5rem}}\
         code{{font:0.95em ui-monospace,monospace}}</style><h1>{title}</h1>{text}</html>"
    );
    let mut response = Response::new(Body::from(html));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("text/html; charset=utf-8"),
    );
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    protect(
        headers,
        "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; frame-ancestors 'none'",
    );
    response
}
