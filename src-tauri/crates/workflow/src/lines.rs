//! On which line of a text a finding is.
//!
//! What is checked is the definition, not its text, so a finding names a place (`steps.build.with`). The line of that place is looked for in the
//! text by its keys and ids. That is for people who read: where the text is unusual, it is the line of what is around the place.

use flotilla_contract::workflow::Finding;
use std::ops::Range;

/// Gives each finding without a line the one that its path names.
pub fn locate(text: &str, findings: &mut [Finding]) {
    let lines: Vec<&str> = text.lines().collect();
    for finding in findings
        .iter_mut()
        .filter(|one| one.line.is_none() && !one.path.is_empty())
    {
        finding.line = line(&lines, &finding.path).and_then(|at| u32::try_from(at + 1).ok());
    }
}

/// The line of a path, from 0.
fn line(lines: &[&str], path: &str) -> Option<usize> {
    let parts: Vec<&str> = path
        .split(['.', '[', ']'])
        .filter(|part| !part.is_empty())
        .collect();
    let (root, rest) = parts.split_first()?;
    let mut at =
        (0..lines.len()).find(|at| has_key(lines[*at], root) && indent(lines[*at]) == 0)?;
    let mut within = at..block_end(lines, at);
    let mut rest = rest.iter();
    if matches!(*root, "steps" | "on")
        && let Some(name) = rest.next()
    {
        let items = items(lines, within.clone());
        let item = match name.parse::<usize>() {
            Ok(place) => items.into_iter().nth(place),
            Err(_) => items
                .into_iter()
                .find(|item| item.clone().any(|at| has_id(lines[at], name))),
        };
        // A list in one line has no items of its own.
        let Some(item) = item else {
            return within
                .clone()
                .find(|at| has_id(lines[*at], name))
                .or(Some(at));
        };
        at = item
            .clone()
            .find(|at| has_id(lines[*at], name))
            .unwrap_or(item.start);
        within = item;
    }
    for key in rest {
        match within.clone().find(|at| has_key(lines[*at], key)) {
            Some(found) => {
                at = found;
                within.start = found;
            }
            None => break,
        }
    }
    Some(at)
}

/// The items of a list: from each dash of the outermost to the next.
fn items(lines: &[&str], within: Range<usize>) -> Vec<Range<usize>> {
    let dash = |at: &usize| lines[*at].trim_start().starts_with("- ") || lines[*at].trim() == "-";
    let dashes: Vec<_> = within.clone().skip(1).filter(dash).collect();
    let outermost = dashes
        .iter()
        .map(|at| indent(lines[*at]))
        .min()
        .unwrap_or(0);
    let starts: Vec<_> = dashes
        .into_iter()
        .filter(|at| indent(lines[*at]) == outermost)
        .collect();
    let ends = starts.iter().copied().skip(1).chain([within.end]);
    starts
        .iter()
        .copied()
        .zip(ends)
        .map(|(from, to)| from..to)
        .collect()
}

/// The first line after this one that is no part of it.
fn block_end(lines: &[&str], at: usize) -> usize {
    let outside = |line: &str| {
        let text = line.trim_start();
        indent(line) == 0 && !text.is_empty() && !text.starts_with(['-', '#', ']', '}'])
    };
    (at + 1..lines.len())
        .find(|at| outside(lines[*at]))
        .unwrap_or(lines.len())
}

fn indent(line: &str) -> usize {
    line.len() - line.trim_start().len()
}

/// Whether a key stands in a line, before a colon.
fn has_key(line: &str, key: &str) -> bool {
    line.match_indices(key).any(|(at, _)| {
        let before = line[..at].trim_end_matches(['"', '\'']);
        let after = line[at + key.len()..]
            .trim_start_matches(['"', '\''])
            .trim_start();
        let begins = before.trim().is_empty() || before.ends_with(['{', ',', ' ', '-']);
        begins && after.starts_with(':')
    })
}

/// Whether a line says that this is the id.
fn has_id(line: &str, id: &str) -> bool {
    line.match_indices(id).any(|(at, _)| {
        let before = line[..at].trim_end_matches(['"', '\'']).trim_end();
        let after = line[at + id.len()..].trim_start_matches(['"', '\'']);
        let key = before
            .strip_suffix(':')
            .map(|before| before.trim_end_matches(['"', '\'']));
        let ends = after.is_empty() || after.starts_with([',', ' ', '}', '#']);
        key.is_some_and(|key| key.ends_with("id")) && ends
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_of_a_place() {
        let text = "name: w\nvars:\n  days:\n    type: integer\n    default: x\non:\n  - schedule:\n      cron: '* *'\n  - id: hook\n    webhook: { secret: s }\nsteps:\n  - id: build\n    uses: shell\n    with:\n      run: make\n  - { id: test, uses: nothing, needs: [built] }\n  - uses: data\n    id: last\n    if: vars.x\n";
        let json = "{\"name\": \"w\", \"steps\": [{\"id\": \"a\", \"uses\": \"b\"}]}";
        for (text, path, expected) in [
            (text, "name", Some(1)),
            (text, "vars.days.default", Some(5)),
            (text, "on[0].schedule.cron", Some(8)),
            (text, "on.hook.webhook.secret", Some(10)),
            (text, "steps", Some(11)),
            (text, "steps.build.uses", Some(13)),
            (text, "steps.build.with.run", Some(15)),
            (text, "steps.build.retry", Some(12)),
            (text, "steps.test.needs", Some(16)),
            (text, "steps.last.if", Some(19)),
            (text, "steps[2].id", Some(18)),
            (text, "timeout", None),
            (json, "steps.a.uses", Some(1)),
            ("", "steps.a", None),
        ] {
            let mut findings = [Finding {
                path: path.into(),
                message: String::new(),
                line: None,
            }];
            locate(text, &mut findings);
            assert_eq!(findings[0].line, expected, "{path}");
        }
    }
}
