//! Running programs one after another, all of them, and telling at the end what came of each.

use crate::shell;
use anyhow::{Context as _, Result, bail};
use std::{
    fs::{self, File},
    io::{BufRead as _, BufReader, IsTerminal as _, Write as _},
    path::{Path, PathBuf},
    process::{Child, Command, ExitCode, ExitStatus},
    sync::mpsc,
    time::{Duration, Instant},
};

/// How the number of tests stands in an output.
#[derive(Clone, Copy)]
pub(crate) enum Tests {
    /// `test result: ok. 3 passed; 0 failed; 1 ignored; …`, once per test program.
    Cargo,
    /// `Tests  1 failed | 51 passed (52)`.
    Vitest,
    /// `12 passed (5.3s)` and `1 failed`, each on its line.
    Playwright,
    /// It has none: the exit code says it all.
    None,
}

/// Tests that ran, and those that were left out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Count {
    pub(crate) ran: u32,
    pub(crate) left_out: u32,
}

/// One line of the closing summary.
pub(crate) struct Row {
    name: String,
    result: Outcome,
    count: Option<Count>,
    took: Duration,
}

pub(crate) enum Outcome {
    Passed,
    Failed(String),
    Skipped(String),
}

/// Runs a program with its output on the terminal and in a log.
///
/// Without a terminal (in CI) it has a time limit, and everything it started is ended when that is over.
pub(crate) fn run(name: &str, mut command: Command, tests: Tests, limit: Duration) -> Row {
    println!("\n==> {name}: {}", shell::line(&command));
    let start = Instant::now();
    let ended = logged(&log_path(name), &mut command, limit);
    let text = fs::read_to_string(log_path(name)).unwrap_or_default();
    let count = tests.count(&text);
    let result = match ended {
        Err(error) => Outcome::Failed(format!("{error:#}")),
        Ok(status) if !status.success() => Outcome::Failed(status.to_string()),
        Ok(_) if count.is_some_and(|count| count.ran == 0) => {
            Outcome::Failed("no test ran".to_owned())
        }
        Ok(_) => Outcome::Passed,
    };
    Row {
        name: name.to_owned(),
        result,
        count,
        took: start.elapsed(),
    }
}

/// A row for something that is not a program.
pub(crate) fn row(name: &str, work: impl FnOnce() -> Result<()>) -> Row {
    let start = Instant::now();
    let result = match work() {
        Ok(()) => Outcome::Passed,
        Err(error) => {
            println!("{error:#}");
            Outcome::Failed(format!("{error:#}"))
        }
    };
    Row {
        name: name.to_owned(),
        result,
        count: None,
        took: start.elapsed(),
    }
}

/// A row for something that was not done, and why.
pub(crate) fn skipped(name: &str, why: &str) -> Row {
    println!("\n==> {name}: SKIPPED, {why}");
    Row {
        name: name.to_owned(),
        result: Outcome::Skipped(why.to_owned()),
        count: None,
        took: Duration::ZERO,
    }
}

/// The closing summary; the exit code is that of the worst row.
pub(crate) fn summary(what: &str, rows: &[Row]) -> ExitCode {
    let width = rows
        .iter()
        .map(|row| row.name.len())
        .max()
        .unwrap_or(0)
        .max(5);
    println!("\n{what:<width$}  result   tests  seconds");
    for row in rows {
        let (word, why) = match &row.result {
            Outcome::Passed => ("passed", ""),
            Outcome::Failed(why) => ("FAILED", why.lines().next().unwrap_or_default()),
            Outcome::Skipped(why) => ("SKIPPED", why.as_str()),
        };
        let tests = row
            .count
            .map(|count| count.ran.to_string())
            .unwrap_or_default();
        let left_out = row
            .count
            .filter(|count| count.left_out > 0)
            .map(|count| format!("{} left out", count.left_out));
        let notes = [why.to_owned(), left_out.unwrap_or_default()]
            .into_iter()
            .filter(|note| !note.is_empty());
        let line = format!(
            "{:<width$}  {word:<7} {tests:>6} {:>8.1}  {}",
            row.name,
            row.took.as_secs_f64(),
            notes.collect::<Vec<_>>().join("; ")
        );
        println!("{}", line.trim_end());
    }
    let total: u32 = rows
        .iter()
        .filter_map(|row| row.count)
        .map(|count| count.ran)
        .sum();
    let took: f64 = rows.iter().map(|row| row.took.as_secs_f64()).sum();
    let failed = rows
        .iter()
        .filter(|row| matches!(row.result, Outcome::Failed(_)))
        .count();
    let verdict = if failed == 0 {
        "all passed".to_owned()
    } else {
        format!("{failed} FAILED; logs in {}", logs().display())
    };
    println!("{verdict}; {total} tests, {took:.0} s");
    if failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// Picks what was named from a table, everything when nothing was.
pub(crate) fn pick<'a, T>(
    table: &'a [T],
    name: impl Fn(&T) -> &str,
    names: &[&str],
) -> Result<Vec<&'a T>> {
    if let Some(unknown) = names
        .iter()
        .find(|wanted| !table.iter().any(|item| name(item) == **wanted))
    {
        bail!(
            "nothing is named {unknown:?}; there are {}",
            table.iter().map(&name).collect::<Vec<_>>().join(", ")
        );
    }
    Ok(table
        .iter()
        .filter(|item| names.is_empty() || names.contains(&name(item)))
        .collect())
}

fn logs() -> PathBuf {
    shell::target().join("test-logs")
}

fn log_path(name: &str) -> PathBuf {
    logs().join(format!("{}.log", name.replace([' ', ':', '/'], "-")))
}

/// Runs the command to its end, or to the limit.
fn logged(path: &Path, command: &mut Command, limit: Duration) -> Result<ExitStatus> {
    fs::create_dir_all(logs()).with_context(|| format!("failed to make {}", logs().display()))?;
    let log = File::create(path).with_context(|| format!("failed to write {}", path.display()))?;
    let (reader, writer) = std::io::pipe().context("failed to make a pipe")?;
    let attended = std::io::stdin().is_terminal();
    if !attended {
        own_group(command);
        command.stdin(std::process::Stdio::null());
    }
    command
        .stdout(writer.try_clone().context("failed to make a pipe")?)
        .stderr(writer);
    let mut child = command
        .spawn()
        .with_context(|| format!("failed to run `{}`", shell::line(command)))?;
    // The writing ends that the command still holds would keep the pipe open.
    command
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null());
    let (closed, output_closed) = mpsc::channel();
    std::thread::spawn(move || {
        copy(reader, log);
        let _ = closed.send(());
    });
    if !attended && output_closed.recv_timeout(limit) == Err(mpsc::RecvTimeoutError::Timeout) {
        end(&mut child);
        bail!("it took longer than {} s and was ended", limit.as_secs());
    }
    let status = child.wait().context("failed to wait for it")?;
    // Something it left behind may hold its output open; that is not waited for.
    let _ = output_closed.recv_timeout(Duration::from_secs(5));
    Ok(status)
}

fn copy(reader: impl std::io::Read, mut log: File) {
    let mut reader = BufReader::new(reader);
    let mut line = Vec::new();
    while reader
        .read_until(b'\n', &mut line)
        .is_ok_and(|read| read > 0)
    {
        let _ = std::io::stdout().write_all(&line);
        let _ = log.write_all(&line);
        line.clear();
    }
}

#[cfg(unix)]
fn own_group(command: &mut Command) {
    std::os::unix::process::CommandExt::process_group(command, 0);
}

#[cfg(not(unix))]
fn own_group(_command: &mut Command) {}

/// Ends the program and, where there are process groups, all that it started in its own.
fn end(child: &mut Child) {
    if cfg!(unix) {
        let _ = Command::new("kill")
            .args(["-KILL", "--", &format!("-{}", child.id())])
            .status();
    }
    let _ = child.kill();
    let _ = child.wait();
}

impl Tests {
    fn count(self, output: &str) -> Option<Count> {
        if matches!(self, Self::None) {
            // Also where it printed nothing at all, as a linter does that has nothing to say.
            return None;
        }
        let mut count = Count::default();
        for line in output.lines().map(plain) {
            let line = line.trim();
            let counted = match self {
                Self::None => return None,
                Self::Cargo => line.strip_prefix("test result: "),
                Self::Vitest => line.strip_prefix("Tests  "),
                Self::Playwright => starts_with_number(line).then_some(line),
            };
            for (number, word) in counted.into_iter().flat_map(numbers) {
                match word {
                    "passed" | "failed" | "flaky" => count.ran += number,
                    "ignored" | "skipped" | "todo" => count.left_out += number,
                    _ => {}
                }
            }
        }
        Some(count)
    }
}

/// Every number with the word behind it.
fn numbers(text: &str) -> impl Iterator<Item = (u32, &str)> {
    let words = || {
        text.split_whitespace()
            .map(|word| word.trim_matches([';', '|', ',', '.']))
    };
    words()
        .zip(words().skip(1))
        .filter_map(|(number, word)| Some((number.parse().ok()?, word)))
}

fn starts_with_number(line: &str) -> bool {
    line.split_once(' ')
        .is_some_and(|(first, _)| first.parse::<u32>().is_ok())
}

/// The line without colours.
fn plain(line: &str) -> String {
    let mut parts = line.split('\u{1b}');
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |text, part| {
        text + part.split_once('m').map_or(part, |(_, rest)| rest)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tests_are_counted_as_each_tool_says_them() {
        let count = |tests: Tests, text| tests.count(text).map(|c| (c.ran, c.left_out));
        let cargo = "test result: ok. 18 passed; 0 failed; 2 ignored; 0 measured; 0 filtered out; finished in 0.40s\n\
                     test result: FAILED. 1 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s";
        assert_eq!(count(Tests::Cargo, cargo), Some((20, 2)));
        assert_eq!(count(Tests::None, ""), None);
        assert_eq!(
            count(Tests::Cargo, "error: could not compile"),
            Some((0, 0))
        );
        let vitest = "\u{1b}[2m Test Files \u{1b}[22m \u{1b}[1m4 passed\u{1b}[22m (4)\n\u{1b}[2m      Tests \u{1b}[22m 1 failed | 51 passed | 2 skipped (54)";
        assert_eq!(count(Tests::Vitest, vitest), Some((52, 2)));
        let playwright = "Running 13 tests using 1 worker\n  ok 1 [chromium] › a.spec.ts:3:1 › 5 passed things (1.2s)\n  1 failed\n    a.spec.ts\n  2 skipped\n  12 passed (5.3s)";
        assert_eq!(count(Tests::Playwright, playwright), Some((13, 2)));
        assert_eq!(count(Tests::None, cargo), None);
    }

    #[test]
    fn a_program_is_seen_logged_and_ended_at_its_limit() {
        let script = |text: &str| {
            let mut command = Command::new("sh");
            command.args(["-c", text]);
            command
        };
        let limit = Duration::from_secs(60);
        let row = run(
            "self: says",
            script("echo out; echo err >&2"),
            Tests::None,
            limit,
        );
        assert!(matches!(row.result, Outcome::Passed));
        assert_eq!(
            fs::read_to_string(log_path("self: says")).unwrap(),
            "out\nerr\n"
        );
        let row = run("self: counts", script("echo nothing"), Tests::Cargo, limit);
        assert!(matches!(row.result, Outcome::Failed(why) if why == "no test ran"));
        let row = run("self: fails", script("exit 3"), Tests::None, limit);
        assert!(matches!(row.result, Outcome::Failed(why) if why.contains('3')));
        if !std::io::stdin().is_terminal() {
            let row = run(
                "self: hangs",
                script("sleep 600 & sleep 600"),
                Tests::None,
                Duration::from_millis(1),
            );
            assert!(matches!(row.result, Outcome::Failed(why) if why.contains("longer")));
        }
    }
}
