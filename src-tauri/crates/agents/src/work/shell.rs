//! A command on this machine.

use super::{
    Lookup, Place, WorkError, read, said::Said, said::Stream, secrets::Secrets, text,
    workspace::Workspace,
};
use flotilla_contract::workflow::StepLog;
use flotilla_os::{Ending, MARK_VARIABLE, Mark, confined, kill_family, landlock, signal_group};
use serde::Deserialize;
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    path::PathBuf,
    process::{ExitStatus, Stdio},
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _},
    process::{Child, Command},
    time::timeout,
};
use tokio_util::sync::CancellationToken;

/// From SIGTERM to SIGKILL.
const POLITE: Duration = Duration::from_secs(2);
/// Looks for what is left of a tree.
const SWEEPS: u32 = 40;
/// What is still in the pipes when the command has ended may take this long.
const DRAIN: Duration = Duration::from_secs(1);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Input {
    run: Option<String>,
    command: Option<Vec<Value>>,
    #[serde(default)]
    env: BTreeMap<String, Value>,
    cwd: Option<String>,
    #[serde(default)]
    exit_codes: Vec<i32>,
    #[serde(default)]
    json: bool,
}

/// Runs a command in the workspace, in a process group of its own: `run` by the shell, or `command` as program and arguments. Takes besides
/// `env`, `cwd` (inside the workspace), `exit_codes` that are a success besides 0, and `json`, to read standard output as JSON. Gives
/// `{success, exit_code, stdout, stderr, truncated, confined, duration_ms}`, and `json`; what it writes is in `place.said` at once. Where the kernel has Landlock (`confined`) the command
/// writes only in the workspace, in folders for temporary files, and where the place says.
///
/// When it ends, by itself or because `stop` is cancelled, nothing of the tree is left, also of what left its group or its parent. When the
/// future is dropped the rest of the tree is ended a moment later, by a thread.
///
/// # Errors
/// `refused` for an input that means nothing or a program that is not there, `failed` for another exit code.
pub async fn shell(
    input: &Value,
    place: &Place,
    lookup: Lookup<'_>,
    stop: &CancellationToken,
) -> Result<Value, WorkError> {
    let input: Input = read(input)?;
    let mut secrets = Secrets::default();
    let mut command = command(&input, place, lookup, &mut secrets)?;
    let began = Instant::now();
    let runtime = tokio::runtime::Handle::current();
    let spawn = move || {
        let _inside = runtime.enter();
        command.spawn()
    };
    let child = confined(&writable(place), spawn).and_then(|spawned| spawned);
    let mut child =
        child.map_err(|error| WorkError::refused(format!("start the command: {error}")))?;
    let group = Group(child.id(), place.mark.clone());
    let (out, err) = (child.stdout.take(), child.stderr.take());
    let said = &place.said;
    said.begin(secrets);
    let reading = async {
        tokio::join!(
            gather(said, Stream::Out, out),
            gather(said, Stream::Err, err)
        );
    };
    tokio::pin!(reading);
    let mut read = false;
    let status = tokio::select! {
        status = wait(&mut child, reading.as_mut(), &mut read) => status,
        () = stop.cancelled() => {
            group.ask(&mut child).await;
            group.end().await;
            return Err(WorkError::failed("it was told to end"));
        }
    };
    let status =
        status.map_err(|error| WorkError::failed(format!("wait for the command: {error}")))?;
    // What it left behind must not hold its pipes, nor go on.
    group.end().await;
    if !read {
        // What something else still holds open is not waited for.
        let _ = timeout(DRAIN, reading).await;
    }
    result(&input, status, said.end(), began.elapsed())
}

/// Where a command of this place may write.
fn writable(place: &Place) -> Vec<PathBuf> {
    let temporary = [
        std::env::temp_dir(),
        "/tmp".into(),
        "/var/tmp".into(),
        "/dev/shm".into(),
    ];
    let granted = place.writable.iter().cloned();
    [place.root.clone()]
        .into_iter()
        .chain(temporary)
        .chain(granted)
        .collect()
}

/// Waits for the command while its pipes are emptied.
async fn wait(
    child: &mut Child,
    mut reading: std::pin::Pin<&mut impl Future<Output = ()>>,
    read: &mut bool,
) -> std::io::Result<ExitStatus> {
    loop {
        tokio::select! {
            status = child.wait() => return status,
            () = reading.as_mut(), if !*read => *read = true,
        }
    }
}

fn command(
    input: &Input,
    place: &Place,
    lookup: Lookup<'_>,
    secrets: &mut Secrets,
) -> Result<Command, WorkError> {
    let mut command = match (&input.run, &input.command) {
        (Some(run), None) if !run.trim().is_empty() => by_shell(run),
        (None, Some(words)) if !words.is_empty() => {
            let mut words = words.iter().map(|word| text("with.command", word));
            let mut command = Command::new(words.next().transpose()?.unwrap_or_default());
            command.args(words.collect::<Result<Vec<_>, _>>()?);
            command
        }
        _ => {
            return Err(WorkError::refused(
                "with: accepted is either run, a text for the shell, or command, a list of program and arguments",
            ));
        }
    };
    let cwd = match &input.cwd {
        Some(cwd) => Workspace::open(place)?
            .folder(cwd)
            .map_err(Workspace::failed("with.cwd", cwd))?,
        None => place.root.clone(),
    };
    command
        .env_clear()
        .envs(place.environment.iter().map(|(name, value)| (name, value)))
        .env(MARK_VARIABLE, place.mark.as_str())
        .current_dir(cwd)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    for (name, value) in &input.env {
        let value = text(&format!("with.env.{name}"), value)?;
        command.env(name, secrets.fill(&value, lookup)?);
    }
    #[cfg(unix)]
    command.process_group(0);
    Ok(command)
}

#[cfg(unix)]
fn by_shell(run: &str) -> Command {
    let mut command = Command::new("/bin/sh");
    command.args(["-c", run]);
    command
}

#[cfg(not(unix))]
fn by_shell(run: &str) -> Command {
    let mut command = Command::new("cmd");
    command.args(["/C", run]);
    command
}

/// The processes of a command. Dropped, it ends those that are left.
struct Group(Option<u32>, Mark);

impl Group {
    /// Asks all of them to end, and waits a little for the first.
    async fn ask(&self, child: &mut Child) {
        if let Some(group) = self.0 {
            signal_group(group, Ending::Polite);
            // Ended or not, the rest is ended next.
            let _ = timeout(POLITE, child.wait()).await;
        }
    }

    /// Ends all of them by force.
    async fn end(mut self) {
        if let Some(sweep) = self.sweep() {
            // It is best effort: the guard does it again for the whole boot.
            let _ = tokio::task::spawn_blocking(sweep).await;
        }
    }

    /// Ends the group, and gives what ends those that left it: that reads the whole process table, so it is not for an async thread.
    fn sweep(&mut self) -> Option<impl FnOnce() + Send + 'static> {
        let group = self.0.take()?;
        signal_group(group, Ending::Kill);
        let mark = self.1.clone();
        Some(move || {
            kill_family(&mark, &[group], SWEEPS);
        })
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(sweep) = self.sweep() {
            // Without a thread the guard does it when the engine ends.
            let _ = std::thread::Builder::new()
                .name("sweep".into())
                .spawn(sweep);
        }
    }
}

async fn gather(said: &Said, stream: Stream, from: Option<impl AsyncRead + Unpin>) {
    let Some(mut from) = from else {
        return;
    };
    let mut buffer = vec![0; 16 << 10];
    while let Ok(count @ 1..) = from.read(&mut buffer).await {
        said.write(stream, &buffer[..count]);
    }
}

fn result(
    input: &Input,
    status: ExitStatus,
    wrote: StepLog,
    took: Duration,
) -> Result<Value, WorkError> {
    let StepLog {
        stdout,
        stderr,
        cut,
    } = wrote;
    if !status
        .code()
        .is_some_and(|code| code == 0 || input.exit_codes.contains(&code))
    {
        let words = stdout
            .lines()
            .chain(stderr.lines())
            .rev()
            .find(|line| !line.trim().is_empty());
        let words = words.map_or(String::new(), |line| {
            format!(": {}", line.trim().chars().take(300).collect::<String>())
        });
        let end = status
            .code()
            .map_or_else(|| status.to_string(), |code| format!("exit code {code}"));
        return Err(WorkError::failed(format!("{end}{words}")));
    }
    let mut output = json!({
        "success": true,
        "exit_code": status.code(),
        "stdout": stdout,
        "stderr": stderr,
        "truncated": cut,
        "confined": landlock().is_some(),
        "duration_ms": u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
    });
    if input.json {
        let text = output["stdout"].as_str().unwrap_or_default();
        let value: Value = serde_json::from_str(text)
            .map_err(|error| WorkError::failed(format!("read its output as JSON: {error}")))?;
        output["json"] = value;
    }
    Ok(output)
}
