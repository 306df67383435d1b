//! A static site: pages from texts, images, and the list of pages.

use super::{
    WorkError,
    data::escaped,
    image, tree,
    workspace::{Entry, Workspace},
};
use pulldown_cmark::{Event, HeadingLevel, Options, Parser, Tag, TagEnd, html};
use reqwest::Url;
use serde_json::{Value, json};
use std::{
    io::{self, Read as _, Write as _},
    time::SystemTime,
};

/// Bytes of a text or an image that is worked on at most; larger ones are copied as they are.
const WORKED_ON: u64 = 32 << 20;
/// Addresses in one sitemap, as <https://www.sitemaps.org/protocol.html> says.
const ADDRESSES: usize = 50_000;

/// Makes a folder of pages anew from folders of texts: Markdown becomes HTML, everything else is copied. Gives `pages`, their paths, and
/// `copied`. Where two folders have the same file, the later wins.
pub(super) fn render(
    workspace: &Workspace,
    paths: &[String],
    to: &str,
) -> Result<Value, WorkError> {
    for path in paths {
        tree::apart(path, to)?;
    }
    let (pages, rendered, copied) = tree::made_anew(workspace, to, |new| {
        let (mut pages, mut rendered, mut copied) = (std::collections::BTreeSet::new(), 0, 0);
        for path in paths {
            tree::each_file(workspace, "with.paths", path, |entry| {
                let page = entry.path.strip_suffix(".md");
                let page = page.map(|stem| format!("{stem}.html"));
                let text = match &page {
                    Some(_) => text(entry)?,
                    None => None,
                };
                match (page, text) {
                    (Some(page), Some(text)) => {
                        let written = of_markdown(&text, &page);
                        workspace
                            .create(&format!("{new}/{page}"))?
                            .write_all(written.as_bytes())?;
                        rendered += 1;
                        pages.insert(page);
                    }
                    _ => {
                        tree::copy(workspace, entry, &format!("{new}/{}", entry.path))?;
                        copied += 1;
                        if tree::ending(&entry.path) == "html" {
                            pages.insert(entry.path.clone());
                        }
                    }
                }
                Ok(())
            })?;
        }
        Ok((pages, rendered, copied))
    })?;
    Ok(
        json!({ "success": true, "path": to, "pages": pages, "rendered": rendered, "copied": copied }),
    )
}

/// The text of a file; `None` when it is too large, or no text.
fn text(entry: &Entry) -> io::Result<Option<String>> {
    Ok(bytes(entry)?.and_then(|bytes| String::from_utf8(bytes).ok()))
}

fn bytes(entry: &Entry) -> io::Result<Option<Vec<u8>>> {
    if entry.bytes.is_none_or(|bytes| bytes > WORKED_ON) {
        return Ok(None);
    }
    let mut bytes = Vec::new();
    let file = entry.open().ok_or(io::ErrorKind::NotFound)?;
    file.take(WORKED_ON + 1).read_to_end(&mut bytes)?;
    Ok((bytes.len() as u64 <= WORKED_ON).then_some(bytes))
}

/// A page of a text: its title is the first heading of the first level, or the page's own name.
fn of_markdown(text: &str, page: &str) -> String {
    let options =
        Options::ENABLE_TABLES | Options::ENABLE_FOOTNOTES | Options::ENABLE_STRIKETHROUGH;
    let mut title = String::new();
    let (mut inside, mut known) = (false, false);
    for event in Parser::new_ext(text, options) {
        match event {
            Event::Start(Tag::Heading {
                level: HeadingLevel::H1,
                ..
            }) if !known => inside = true,
            Event::End(TagEnd::Heading(_)) if inside => (inside, known) = (false, true),
            Event::Text(part) | Event::Code(part) if inside => title.push_str(&part),
            _ => {}
        }
    }
    if !known {
        let name = page.rsplit('/').next().unwrap_or(page);
        title = name.trim_end_matches(".html").to_owned();
    }
    let mut body = String::new();
    html::push_html(&mut body, Parser::new_ext(text, options));
    format!(
        "<!doctype html>\n<html>\n<head>\n<meta charset=\"utf-8\">\n<meta name=\"viewport\" content=\"width=device-width\">\n<title>{}</title>\n</head>\n<body>\n{body}</body>\n</html>\n",
        escaped(&title)
    )
}

/// Copies the images of a folder, each in as few bytes as it can be had without a change to what is seen. Gives `images` (those that became
/// smaller: `path`, `before`, `after`), `files` and `saved`. With `optional` a folder that is not there has none.
pub(super) fn images(
    workspace: &Workspace,
    path: &str,
    to: &str,
    optional: bool,
) -> Result<Value, WorkError> {
    tree::apart(path, to)?;
    let there = workspace
        .exists(path)
        .map_err(Workspace::failed("with.path", path))?;
    let (mut files, mut saved, mut smaller) = (0_u64, 0, Vec::new());
    if there || !optional {
        tree::each_file(workspace, "with.path", path, |entry| {
            if !matches!(
                tree::ending(&entry.path).as_str(),
                "png" | "jpg" | "jpeg" | "gif" | "webp" | "avif" | "svg" | "ico"
            ) {
                return Ok(());
            }
            files += 1;
            let target = format!("{to}/{}", entry.path);
            let Some(before) = bytes(entry)? else {
                return tree::copy(workspace, entry, &target).map(drop);
            };
            let after = image::smaller(&before);
            if let Some(after) = &after {
                saved += before.len() - after.len();
                smaller.push(
                    json!({ "path": entry.path, "before": before.len(), "after": after.len() }),
                );
            }
            workspace
                .create(&target)?
                .write_all(after.as_ref().unwrap_or(&before))
        })?;
    }
    Ok(json!({ "success": true, "path": to, "files": files, "images": smaller, "saved": saved }))
}

/// Writes a sitemap of the HTML pages of a folder, as <https://www.sitemaps.org/protocol.html> says: `loc` below `base_url`, and the day on
/// which each was last written. `index.html` stands for its folder. Gives `urls`, their number.
pub(super) fn sitemap(
    workspace: &Workspace,
    path: &str,
    to: &str,
    base_url: &str,
) -> Result<Value, WorkError> {
    let base = Url::parse(&format!("{}/", base_url.trim_end_matches('/')));
    let base = base.ok().filter(|base| !base.cannot_be_a_base());
    let base = base.ok_or_else(|| {
        WorkError::refused(format!(
            "with.base_url is {base_url:?}; accepted is an address, as https://example.com"
        ))
    })?;
    let mut pages = Vec::new();
    tree::each_file(workspace, "with.path", path, |entry| {
        if tree::ending(&entry.path) == "html" {
            let mut url = base.clone();
            let page = match entry.path.strip_suffix("index.html") {
                Some(folder) if folder.is_empty() || folder.ends_with('/') => folder,
                _ => &entry.path,
            };
            if let Ok(mut segments) = url.path_segments_mut() {
                segments.pop_if_empty().extend(page.split('/'));
            }
            pages.push((url.to_string(), day(entry.written()?)));
        }
        Ok(())
    })?;
    if pages.len() > ADDRESSES {
        return Err(WorkError::failed(format!(
            "there are {} pages; a sitemap has {ADDRESSES} at most",
            pages.len()
        )));
    }
    let mut text = String::from(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<urlset xmlns=\"http://www.sitemaps.org/schemas/sitemap/0.9\">\n",
    );
    for (url, day) in &pages {
        text += &format!("  <url><loc>{}</loc>{day}</url>\n", escaped(url));
    }
    text += "</urlset>\n";
    let written = workspace
        .create(to)
        .and_then(|mut file| file.write_all(text.as_bytes()));
    written.map_err(Workspace::failed("with.to", to))?;
    Ok(json!({ "success": true, "path": to, "urls": pages.len(), "bytes": text.len() }))
}

/// The day of a time, in UTC, as an element; nothing before 1970.
fn day(time: SystemTime) -> String {
    let Ok(since) = time.duration_since(SystemTime::UNIX_EPOCH) else {
        return String::new();
    };
    // Days to a date of the Gregorian calendar: Howard Hinnant, "chrono-compatible low-level date algorithms", civil_from_days.
    let days = since.as_secs() / 86_400 + 719_468;
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = year + era * 400 + u64::from(month <= 2);
    format!("<lastmod>{year:04}-{month:02}-{day:02}</lastmod>")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn days_are_those_of_the_calendar() {
        for (seconds, said) in [
            (0, "1970-01-01"),
            (951_782_400, "2000-02-29"),
            (1_709_251_199, "2024-02-29"),
            (1_709_251_200, "2024-03-01"),
            (4_102_444_800, "2100-01-01"),
        ] {
            let time = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
            assert_eq!(day(time), format!("<lastmod>{said}</lastmod>"));
        }
    }
}
