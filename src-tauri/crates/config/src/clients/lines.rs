//! Texts line by line: what a screen is shown, and line ends as they were.

use crate::import::detect;
use flotilla_contract::gateway::{DiffLine, DiffSign};
use similar::{ChangeTag, TextDiff};

/// Lines that stay, shown around those that change.
const AROUND: usize = 3;
/// Longer lines are shown in part: some clients write their whole file on one.
const LONGEST: usize = 400;
const MASK: &str = "••••";

/// Lines that change, with those around them.
pub(super) fn diff(before: &str, after: &str) -> Vec<DiffLine> {
    let diff = TextDiff::from_lines(before, after);
    let mut lines = Vec::new();
    let mut shown_to = 0;
    for group in diff.grouped_ops(AROUND) {
        let first = group.first().map_or(0, |op| op.old_range().start);
        if first > shown_to {
            lines.push(gap(first - shown_to));
        }
        shown_to = group.last().map_or(shown_to, |op| op.old_range().end);
        for op in &group {
            for change in diff.iter_changes(op) {
                lines.push(DiffLine {
                    sign: match change.tag() {
                        ChangeTag::Equal => DiffSign::Same,
                        ChangeTag::Insert => DiffSign::Added,
                        ChangeTag::Delete => DiffSign::Removed,
                    },
                    text: masked(change.value().trim_end_matches(['\r', '\n'])),
                });
            }
        }
    }
    let all = before.lines().count();
    if !lines.is_empty() && all > shown_to {
        lines.push(gap(all - shown_to));
    }
    lines
}

fn gap(lines: usize) -> DiffLine {
    let plural = if lines == 1 { "" } else { "s" };
    DiffLine {
        sign: DiffSign::Gap,
        text: format!("{lines} line{plural}"),
    }
}

/// A line with its secrets masked: texts in quotes, by the text or bare key before them.
fn masked(line: &str) -> String {
    let mut out = String::with_capacity(line.len());
    let mut name = String::new();
    let mut rest = line;
    while let Some(open) = rest.find('"') {
        let (before, quoted) = rest.split_at(open);
        if let Some((key, _)) = before.rsplit_once('=') {
            name = key
                .trim()
                .rsplit(['{', ',', ' '])
                .next()
                .unwrap_or_default()
                .to_owned();
        }
        let inner = &quoted[1..];
        let mut escaped = false;
        let close = inner
            .find(|c| {
                let ends = c == '"' && !escaped;
                escaped = c == '\\' && !escaped;
                ends
            })
            .unwrap_or(inner.len());
        let value = &inner[..close];
        out.push_str(before);
        out.push('"');
        out.push_str(if detect::is_secret(&name, value) {
            MASK
        } else {
            value
        });
        rest = &inner[close..];
        if let Some(after) = rest.strip_prefix('"') {
            out.push('"');
            rest = after;
        }
        value.clone_into(&mut name);
    }
    out.push_str(rest);
    shortened(&out)
}

fn shortened(line: &str) -> String {
    if line.chars().count() <= LONGEST {
        return line.to_owned();
    }
    // The part in which ours is found tells the most.
    let from = line.find("\"flotilla\"").unwrap_or(0).saturating_sub(80);
    let from = line.floor_char_boundary(from);
    let part: String = line[from..].chars().take(LONGEST).collect();
    let lead = if from > 0 { "…" } else { "" };
    format!("{lead}{part}…")
}

/// An edited text (lines end with `\n`) with the line ends of the text from which it was made; new lines end as the first one there.
pub(super) fn with_endings_of(original: &str, edited: &str) -> String {
    if !original.contains('\r') {
        return edited.to_owned();
    }
    let newline = match original.find('\n') {
        Some(at) if original[..at].ends_with('\r') => "\r\n",
        _ => "\n",
    };
    let lines: Vec<&str> = original.split_inclusive('\n').collect();
    let plain = original.replace("\r\n", "\n");
    let diff = TextDiff::from_lines(plain.as_str(), edited);
    diff.iter_all_changes()
        .filter_map(|change| match change.tag() {
            ChangeTag::Delete => None,
            ChangeTag::Equal => change
                .old_index()
                .and_then(|index| lines.get(index))
                .map(|line| (*line).to_owned()),
            ChangeTag::Insert => Some(change.value().replace('\n', newline)),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_masked() {
        for (line, shown) in [
            (r#"  "API_KEY": "abc","#, r#"  "API_KEY": "••••","#),
            (r#"API_KEY = "abc" # x"#, r#"API_KEY = "••••" # x"#),
            (
                r#"env = { TOKEN = "t\"x", HOME = "/h" }"#,
                r#"env = { TOKEN = "••••", HOME = "/h" }"#,
            ),
            (
                r#""args": ["--key", "ghp_0123456789abcdefghij"]"#,
                r#""args": ["--key", "••••"]"#,
            ),
            (r#""url": "http://x/mcp""#, r#""url": "http://x/mcp""#),
            ("plain \"open", "plain \"open"),
        ] {
            assert_eq!(masked(line), shown, "{line}");
        }
        assert!(masked(&"x".repeat(1_000)).chars().count() < 450);
    }

    #[test]
    fn what_is_shown_of_a_change() {
        let before: String = (0..20).map(|n| format!("{n}\n")).collect();
        let after = before.replace("10\n", "ten\r\n");
        let shown: Vec<String> = diff(&before, &after)
            .into_iter()
            .map(|line| format!("{:?} {}", line.sign, line.text))
            .collect();
        assert_eq!(shown[0], "Gap 7 lines");
        assert_eq!(
            shown[4..6],
            ["Removed 10".to_owned(), "Added ten".to_owned()]
        );
        assert_eq!(shown.last().map(String::as_str), Some("Gap 6 lines"));
        assert!(diff("a", "a").is_empty());
    }
}
