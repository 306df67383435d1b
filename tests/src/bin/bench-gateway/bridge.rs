//! The thinnest bridge from HTTP to one server on standard streams: lines in, lines out, told apart by ids that are replaced
//! on the way in and put back on the way out. The bound for a gateway in front of such a server.

use crate::{
    message,
    plain::{self, Answer},
};
use anyhow::{Context as _, Result};
use std::{
    collections::HashMap,
    path::Path,
    process::Stdio,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader},
    net::TcpListener,
    process::{ChildStdin, ChildStdout, Command},
    sync::{Notify, oneshot},
};

/// Under the first of our ids.
const INITIALIZE: &[u8] = br#"{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2025-06-18","capabilities":{},"clientInfo":{"name":"bridge","version":"1"}}}"#;
const INITIALIZED: &[u8] = br#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#;

/// Serves `program stdio`.
pub(crate) async fn serve(socket: TcpListener, program: &Path) -> Result<()> {
    let mut child = Command::new(program)
        .arg("stdio")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    let stdin = child.stdin.take().context("no standard input")?;
    let stdout = child.stdout.take().context("no standard output")?;
    let lines = Arc::new(Lines::default());
    tokio::spawn(write(Arc::clone(&lines), stdin));
    tokio::spawn(read(Arc::clone(&lines), stdout));
    let greeting = lines.ask(INITIALIZE, 0..0).await?;
    lines.say(INITIALIZED);
    let bridge = Bridge {
        lines,
        greeting: greeting.into(),
    };
    plain::serve(socket, bridge).await
}

#[derive(Clone)]
struct Bridge {
    lines: Arc<Lines>,
    /// What the server answered to its one handshake; each client gets the same.
    greeting: Arc<[u8]>,
}

impl Answer for Bridge {
    async fn answer(&self, message: &[u8], out: &mut Vec<u8>) -> Result<()> {
        // A client's notifications concern its own handshake.
        let Some(id) = message::id(message) else {
            return Ok(());
        };
        let asked;
        let reply: &[u8] = if message::is(message, "initialize") {
            &self.greeting
        } else {
            asked = self.lines.ask(message, id.clone()).await?;
            &asked
        };
        let theirs = message::id(reply).context("a reply without an id")?;
        out.extend(&reply[..theirs.start]);
        out.extend(&message[id]);
        out.extend(&reply[theirs.end..]);
        Ok(())
    }
}

/// The server's two pipes.
#[derive(Default)]
struct Lines {
    state: Mutex<State>,
    written: Notify,
}

#[derive(Default)]
struct State {
    /// What is to be written.
    out: Vec<u8>,
    /// Requests so far.
    asked: u64,
    /// Who waits for which id.
    waiting: HashMap<u64, oneshot::Sender<Vec<u8>>>,
}

impl Lines {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn say(&self, message: &[u8]) {
        let mut state = self.state();
        state.out.extend(message);
        state.out.push(b'\n');
        drop(state);
        self.written.notify_one();
    }

    /// Sends a request, whose id stands there, under an id of ours; the line that answers it.
    async fn ask(&self, message: &[u8], id: std::ops::Range<usize>) -> Result<Vec<u8>> {
        let (sender, answer) = oneshot::channel();
        {
            let mut state = self.state();
            let own = state.asked;
            state.asked += 1;
            state.waiting.insert(own, sender);
            if id.is_empty() {
                state.out.extend(message);
            } else {
                state.out.extend(&message[..id.start]);
                state.out.extend(own.to_string().bytes());
                state.out.extend(&message[id.end..]);
            }
            state.out.push(b'\n');
        }
        self.written.notify_one();
        answer.await.context("the server has ended")
    }
}

/// Whatever has come together goes out in one piece.
async fn write(lines: Arc<Lines>, mut stdin: ChildStdin) -> Result<()> {
    let mut out = Vec::new();
    loop {
        lines.written.notified().await;
        out.clear();
        std::mem::swap(&mut out, &mut lines.state().out);
        stdin.write_all(&out).await?;
    }
}

async fn read(lines: Arc<Lines>, stdout: ChildStdout) -> Result<()> {
    let mut stdout = BufReader::with_capacity(64 << 10, stdout);
    loop {
        let mut line = Vec::new();
        if stdout.read_until(b'\n', &mut line).await? == 0 {
            // Nobody waits for ever.
            lines.state().waiting.clear();
            return Ok(());
        }
        line.pop();
        let id = message::id(&line).and_then(|at| str::from_utf8(&line[at]).ok()?.parse().ok());
        let waiting = id.and_then(|id: u64| lines.state().waiting.remove(&id));
        if let Some(waiting) = waiting {
            let _ = waiting.send(line);
        }
    }
}
