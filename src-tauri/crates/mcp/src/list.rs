//! The whole of a list, page by page.

use crate::{Error, RequestOptions, Session, wire};
use serde_json::value::RawValue;
use std::{collections::HashSet, time::Duration};
use tokio::time::Instant;

/// No server is meant to have more; a list that does not end must.
const MOST_PAGES: usize = 200;
const MOST_ITEMS: usize = 10_000;
const MOST_BYTES: usize = 32 * 1024 * 1024;

/// What can be listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum List {
    /// `tools/list`
    Tools,
    /// `prompts/list`
    Prompts,
    /// `resources/list`
    Resources,
    /// `resources/templates/list`
    Templates,
}

impl List {
    /// The method that lists them.
    #[must_use]
    pub fn method(self) -> &'static str {
        match self {
            Self::Tools => "tools/list",
            Self::Prompts => "prompts/list",
            Self::Resources => "resources/list",
            Self::Templates => "resources/templates/list",
        }
    }

    /// The field of the result that holds them.
    #[must_use]
    pub fn field(self) -> &'static str {
        match self {
            Self::Tools => "tools",
            Self::Prompts => "prompts",
            Self::Resources => "resources",
            Self::Templates => "resourceTemplates",
        }
    }
}

/// A whole list.
#[derive(Clone, Debug)]
pub struct Items {
    /// As the server gave them, in its order.
    pub items: Vec<Box<RawValue>>,
    /// How long the list is good, in milliseconds: the least that a page said, 0 when one said nothing.
    pub ttl_ms: u64,
    /// Whether it must not be shown to other clients: false only when every page says `public`.
    pub private: bool,
}

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
    /// As [`list`](Self::list).
    pub async fn list_tools(&self, timeout: Duration) -> Result<ToolsPage, Error> {
        let all = self.list(List::Tools, timeout).await?;
        Ok(ToolsPage { tools: all.items })
    }

    /// Lists what a server offers of one kind, following its pages, within `timeout` in all.
    ///
    /// # Errors
    /// [`Error::Protocol`] when pages go in circles or the list is longer than 200 pages, 10,000 items or 32 MiB;
    /// otherwise as [`request`](Self::request).
    pub async fn list(&self, what: List, timeout: Duration) -> Result<Items, Error> {
        let deadline = Instant::now() + timeout;
        let mut all = Items {
            items: Vec::new(),
            ttl_ms: u64::MAX,
            private: false,
        };
        let mut seen = HashSet::new();
        let mut cursor: Option<String> = None;
        let mut bytes = 0;
        for _ in 0..MOST_PAGES {
            let params = cursor.as_deref().map(cursor_params).transpose()?;
            let left = deadline.saturating_duration_since(Instant::now());
            let result = match self
                .request(what.method(), params, RequestOptions::within(left))
                .await
            {
                Err(Error::Timeout(_)) => return Err(Error::Timeout(timeout)),
                outcome => outcome?,
            };
            bytes += result.get().len();
            let page = Page::read(what, &result)?;
            all.items.extend(page.items);
            all.ttl_ms = all.ttl_ms.min(page.ttl_ms);
            all.private |= page.private;
            if bytes > MOST_BYTES || all.items.len() > MOST_ITEMS {
                break;
            }
            // Some servers end with an empty cursor rather than none.
            let Some(next) = page.next.filter(|next| !next.is_empty()) else {
                if what == List::Tools {
                    self.remember_marks(&all.items);
                }
                return Ok(all);
            };
            if !seen.insert(next.clone()) {
                return Err(Error::Protocol(format!(
                    "the server's list of {} goes in circles: cursor {next:?} came twice",
                    what.field()
                )));
            }
            cursor = Some(next);
        }
        Err(Error::Protocol(format!(
            "the server's list of {0} does not end ({1} {0} so far)",
            what.field(),
            all.items.len()
        )))
    }
}

struct Page {
    items: Vec<Box<RawValue>>,
    next: Option<String>,
    ttl_ms: u64,
    private: bool,
}

impl Page {
    fn read(what: List, result: &RawValue) -> Result<Self, Error> {
        let malformed = |error: &dyn std::fmt::Display| {
            Error::Protocol(format!(
                "the server's list of {} is malformed ({error}): {}",
                what.field(),
                wire::excerpt(result.get(), 200)
            ))
        };
        let mut fields: std::collections::HashMap<String, &RawValue> =
            serde_json::from_str(result.get()).map_err(|error| malformed(&error))?;
        let items = fields
            .remove(what.field())
            .ok_or_else(|| malformed(&format_args!("it has no field {}", what.field())))?;
        let next = fields
            .remove("nextCursor")
            .map(|raw| serde_json::from_str::<Option<String>>(raw.get()))
            .transpose()
            .map_err(|error| malformed(&error))?
            .flatten();
        let read = |name: &str| fields.get(name).map(|raw| raw.get());
        Ok(Self {
            items: serde_json::from_str(items.get()).map_err(|error| malformed(&error))?,
            next,
            ttl_ms: read("ttlMs")
                .and_then(|text| text.parse().ok())
                .unwrap_or_default(),
            private: read("cacheScope") != Some("\"public\""),
        })
    }
}

fn cursor_params(cursor: &str) -> Result<Box<RawValue>, Error> {
    let mut params = String::from(r#"{"cursor":"#);
    crate::json::push_string(&mut params, cursor);
    params.push('}');
    RawValue::from_string(params).map_err(|error| Error::Protocol(error.to_string()))
}
