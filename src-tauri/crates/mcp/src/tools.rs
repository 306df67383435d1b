//! The whole list of a server's tools, page by page.

use crate::{Error, RequestOptions, Session, wire};
use serde::Deserialize;
use serde_json::value::RawValue;
use std::{collections::HashSet, time::Duration};
use tokio::time::Instant;

/// No server is meant to have more; a list that does not end must.
const MOST_PAGES: usize = 200;
const MOST_TOOLS: usize = 10_000;
const MOST_BYTES: usize = 32 * 1024 * 1024;

/// All tools of a server.
#[derive(Clone, Debug, Default)]
pub struct ToolsPage {
    /// As the server gave them, in its order.
    pub tools: Vec<Box<RawValue>>,
}

impl Session {
    /// Lists the tools, following the server's pages, within `timeout` in all.
    ///
    /// # Errors
    /// [`Error::Protocol`] when pages go in circles or the list is longer than 200 pages, 10,000 tools or 32 MiB;
    /// otherwise as [`request`](Self::request).
    pub async fn list_tools(&self, timeout: Duration) -> Result<ToolsPage, Error> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Page {
            tools: Vec<Box<RawValue>>,
            #[serde(default)]
            next_cursor: Option<String>,
        }
        let deadline = Instant::now() + timeout;
        let mut all = ToolsPage::default();
        let mut seen = HashSet::new();
        let mut cursor: Option<String> = None;
        let mut bytes = 0;
        for _ in 0..MOST_PAGES {
            let params = cursor.as_deref().map(cursor_params).transpose()?;
            let left = deadline.saturating_duration_since(Instant::now());
            let result = match self
                .request("tools/list", params, RequestOptions::within(left))
                .await
            {
                Err(Error::Timeout(_)) => return Err(Error::Timeout(timeout)),
                outcome => outcome?,
            };
            bytes += result.get().len();
            let page: Page = serde_json::from_str(result.get()).map_err(|error| {
                Error::Protocol(format!(
                    "the server's list of tools is malformed ({error}): {}",
                    wire::excerpt(result.get(), 200)
                ))
            })?;
            all.tools.extend(page.tools);
            if bytes > MOST_BYTES || all.tools.len() > MOST_TOOLS {
                break;
            }
            // Some servers end with an empty cursor rather than none.
            let Some(next) = page.next_cursor.filter(|next| !next.is_empty()) else {
                return Ok(all);
            };
            if !seen.insert(next.clone()) {
                return Err(Error::Protocol(format!(
                    "the server's list of tools goes in circles: cursor {next:?} came twice"
                )));
            }
            cursor = Some(next);
        }
        Err(Error::Protocol(format!(
            "the server's list of tools does not end ({} tools so far)",
            all.tools.len()
        )))
    }
}

fn cursor_params(cursor: &str) -> Result<Box<RawValue>, Error> {
    let mut params = String::from(r#"{"cursor":"#);
    wire::push_string(&mut params, cursor);
    params.push('}');
    RawValue::from_string(params).map_err(|error| Error::Protocol(error.to_string()))
}
