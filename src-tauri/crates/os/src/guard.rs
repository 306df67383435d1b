//! The guard: what ends a fleet whose engine was killed.
//!
//! A process of its own, in its own group, holding the reading end of a pipe. The engine holds the writing end and
//! nobody else does, so the pipe closes when the engine ends, however it ends. The guard then kills everything of
//! that boot: by mark, by group, by descent, and looks again until nothing is left. After a proper shutdown there is
//! nothing to find and it just ends.
//!
//! Over the pipe the engine names each process it starts (`+PID`) and each that it has seen end (`-PID`): so a child
//! that wiped its environment is still found through its group. The pipe is non-blocking: a full one costs the
//! engine nothing, and the mark finds most.

use crate::Mark;
use std::{
    collections::BTreeSet,
    ffi::OsString,
    io::{self, BufRead, BufReader, Write},
    process::{Child, Command, Stdio},
    sync::Mutex,
    time::Duration,
};

/// First argument that makes a host binary run [`main`] instead of itself.
pub const ARGUMENT: &str = "__guard";

/// The engine's end of the guard.
#[derive(Debug)]
pub struct Guard {
    command: Vec<OsString>,
    mark: Mark,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    child: Child,
    known: BTreeSet<u32>,
}

impl Guard {
    /// Starts a guard for everything that carries `boot`. `command` is the program and its arguments before the mark.
    ///
    /// # Errors
    /// When the program cannot be started.
    pub fn start(command: Vec<OsString>, boot: Mark) -> io::Result<Self> {
        let child = spawn(&command, &boot)?;
        Ok(Self {
            command,
            mark: boot,
            state: Mutex::new(State {
                child,
                known: BTreeSet::new(),
            }),
        })
    }

    /// Names a process that was started.
    pub fn started(&self, pid: u32) {
        let mut state = self.lock();
        state.known.insert(pid);
        tell(&mut state.child, '+', pid);
    }

    /// Names a process that has ended with all its tree.
    pub fn ended(&self, pid: u32) {
        let mut state = self.lock();
        state.known.remove(&pid);
        tell(&mut state.child, '-', pid);
    }

    /// Starts it again if it has been killed. True if it had been.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn revive(&self) -> io::Result<bool> {
        let mut state = self.lock();
        if state.child.try_wait()?.is_none() {
            return Ok(false);
        }
        state.child = spawn(&self.command, &self.mark)?;
        for pid in state.known.clone() {
            tell(&mut state.child, '+', pid);
        }
        Ok(true)
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.lock().child.id()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        let mut state = self.lock();
        // Closing the pipe ends it; reaping keeps the table clean while the engine's process lives on.
        drop(state.child.stdin.take());
        let _ = state.child.wait();
    }
}

fn tell(child: &mut Child, what: char, pid: u32) {
    if let Some(pipe) = &mut child.stdin {
        let _ = pipe.write_all(format!("{what}{pid}\n").as_bytes());
    }
}

fn spawn(command: &[OsString], mark: &Mark) -> io::Result<Child> {
    let (program, args) = command.split_first().ok_or_else(|| {
        io::Error::new(io::ErrorKind::InvalidInput, "the guard's command is empty")
    })?;
    let mut command = Command::new(program);
    command
        .args(args)
        .arg(mark.as_str())
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    #[cfg(unix)]
    {
        use std::os::unix::process::CommandExt;
        // Its own group: what a terminal sends to the engine's group must not reach it.
        command.process_group(0);
    }
    let child = command.spawn()?;
    #[cfg(unix)]
    if let Some(pipe) = &child.stdin {
        let flags = rustix::fs::fcntl_getfl(pipe)?;
        rustix::fs::fcntl_setfl(pipe, flags | rustix::fs::OFlags::NONBLOCK)?;
    }
    Ok(child)
}

/// The guard's own program: waits for the pipe to close, then kills what is left. `mark` is the boot's.
pub fn main(mark: &str) {
    if mark.is_empty() {
        return;
    }
    let mut known: BTreeSet<u32> = BTreeSet::new();
    for line in BufReader::new(io::stdin().lock()).split(b'\n') {
        let Ok(line) = line else { break };
        let text = String::from_utf8_lossy(&line);
        if let Some(pid) = text.strip_prefix('+').and_then(|p| p.parse().ok()) {
            known.insert(pid);
        } else if let Some(pid) = text.strip_prefix('-').and_then(|p| p.parse::<u32>().ok()) {
            known.remove(&pid);
        }
    }
    for pid in &known {
        crate::signal_group(*pid, crate::Ending::Kill);
    }
    let mark = Mark::from_text(mark);
    let roots: Vec<u32> = known.into_iter().collect();
    // Twice clean in a row: a process that was just being born at the first look is seen at the second.
    let mut clean = 0;
    while clean < 2 {
        clean = if crate::kill_family(&mark, &roots, 200) == 0 {
            clean + 1
        } else {
            0
        };
        std::thread::sleep(Duration::from_millis(20));
    }
}
