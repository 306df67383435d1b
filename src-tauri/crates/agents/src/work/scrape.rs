//! Pages of the web, fetched and read.

use super::{
    Place, WorkError,
    data::csv,
    http::{self, write},
    read,
    web::Web,
};
use scraper::{Html, Selector};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use tokio_util::sync::CancellationToken;

/// Pages at most.
const PAGES: usize = 1_000;
/// Bytes of a page.
const PAGE: usize = 16 << 20;
/// Characters of a part that are kept.
const PART: usize = 10_000;
/// Parts that one selector finds, at most.
const PARTS: usize = 1_000;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Input {
    urls: Vec<String>,
    #[serde(default)]
    selectors: BTreeMap<String, String>,
    to: Option<String>,
    output_file: Option<String>,
    #[serde(default)]
    format: Format,
    #[serde(default)]
    hosts: Vec<String>,
}

#[derive(Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Format {
    #[default]
    Json,
    Csv,
}

/// Fetches pages, one after another: `urls`, within `hosts` as an [`http`](super::http()) step. `selectors` are CSS selectors by a name (default
/// `title` and `text`: the title, and the text of the body): what each finds is a text, or a list of them. `to` is a folder that gets the pages as
/// `0.html` and so on; `output_file` gets what was found, as `format` says: `json` or `csv`. Gives `{success, pages}`: `url`, `status`, and
/// `data`, or `error`.
///
/// # Errors
/// `refused` for an input that means nothing; the failure of the page when there is only one, `failed` when none of several was got.
pub async fn scrape(
    input: &Value,
    place: &Place,
    web: &Web,
    stop: &CancellationToken,
) -> Result<Value, WorkError> {
    let input: Input = read(input)?;
    if input.urls.is_empty() || input.urls.len() > PAGES {
        return Err(WorkError::refused(format!(
            "with.urls has {} addresses; accepted are 1 to {PAGES}",
            input.urls.len()
        )));
    }
    selectors(&input.selectors)?;
    let (mut pages, mut got, mut failure) = (Vec::new(), 0, None);
    for (at, url) in input.urls.iter().enumerate() {
        let fetched = http::page(url, &input.hosts, PAGE, web);
        let fetched = tokio::select! {
            fetched = fetched => fetched,
            () = stop.cancelled() => return Err(WorkError::failed("it was told to end")),
        };
        let (status, bytes) = match fetched {
            Ok(fetched) => fetched,
            Err(error) => {
                pages.push(json!({ "url": url, "error": error.error }));
                failure = Some(error);
                continue;
            }
        };
        got += 1;
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let wanted = input.selectors.clone();
        let found = tokio::task::spawn_blocking(move || found(&text, &wanted)).await;
        let found = found.map_err(|error| WorkError::failed(error.to_string()))??;
        let mut page = json!({ "url": url, "status": status, "data": found });
        if let Some(folder) = &input.to {
            let path = format!("{folder}/{at}.html");
            write(place, "with.to", &path, bytes).await?;
            page["path"] = path.into();
        }
        pages.push(page);
    }
    if let (0, Some(failure)) = (got, failure) {
        return Err(failure);
    }
    let mut output = json!({ "success": true, "fetched": got });
    if let Some(path) = input.output_file {
        let text = match input.format {
            Format::Json => format!("{:#}\n", Value::Array(pages.clone())),
            Format::Csv => csv(&pages.iter().map(flat).collect::<Vec<_>>()),
        };
        write(place, "with.output_file", &path, text.into_bytes()).await?;
        output["path"] = path.into();
    }
    output["pages"] = pages.into();
    Ok(output)
}

/// A page as a line of a table.
fn flat(page: &Value) -> Value {
    let mut line = page.as_object().cloned().unwrap_or_default();
    if let Some(Value::Object(data)) = line.shift_remove("data") {
        line.extend(data);
    }
    Value::Object(line)
}

fn selectors(given: &BTreeMap<String, String>) -> Result<Vec<(String, Selector)>, WorkError> {
    let default = BTreeMap::from([
        ("title".to_owned(), "title".to_owned()),
        ("text".to_owned(), "body".to_owned()),
    ]);
    let given = if given.is_empty() { &default } else { given };
    let one = |(name, text): (&String, &String)| match Selector::parse(text) {
        Ok(selector) => Ok((name.clone(), selector)),
        Err(error) => Err(WorkError::refused(format!(
            "with.selectors.{name} is {text:?}: {error}; accepted is a CSS selector"
        ))),
    };
    given.iter().map(one).collect()
}

fn found(page: &str, wanted: &BTreeMap<String, String>) -> Result<Map<String, Value>, WorkError> {
    let page = Html::parse_document(page);
    let mut found = Map::new();
    for (name, selector) in selectors(wanted)? {
        let mut texts: Vec<Value> = page
            .select(&selector)
            .take(PARTS)
            .map(|part| {
                let words: Vec<_> = part.text().flat_map(str::split_whitespace).collect();
                words
                    .join(" ")
                    .chars()
                    .take(PART)
                    .collect::<String>()
                    .into()
            })
            .collect();
        let value = match texts.len() {
            0 => Value::Null,
            1 => texts.swap_remove(0),
            _ => Value::Array(texts),
        };
        found.insert(name, value);
    }
    Ok(found)
}
