//! One more process of an instance, for one client alone.
//!
//! A server over its standard streams has one pair of them for each process. A client that is to have it to itself gets a
//! process of its own: started as the instance's is, in its log, under a narrower mark of its, so that whatever ends the
//! instance (stop, crash, restart, the guard) ends its guests too. It is not restarted, not probed and not counted: its client
//! asks for another one.
//!
//! The guest's standard input is its lease. Once that is dropped, or its instance no longer runs, the guest is ended as the
//! instance would be: SIGTERM to the tree after a second, SIGKILL at `stop_timeout`.

use crate::{
    capture::{Capture, at, maybe},
    ports::{Endpoint, Place},
    probe::port_of,
    runner::now,
    shared::{InstanceCell, Seen, Shared},
    spawn,
    unit::{EOF_GRACE, span},
};
use flotilla_contract::{InstanceId, log::Stream, spec::Transport, state::ProcessState};
use flotilla_os::{Ending, Mark, signal_group, signal_process};
use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, Instant},
};
use tokio::{
    io::AsyncWrite,
    process::{Child, ChildStdin, ChildStdout},
    sync::oneshot,
};

/// Looks for what a guest left behind, and the pause between two.
const SWEEPS: u32 = 100;
const SWEEP_PAUSE: Duration = Duration::from_millis(20);

/// A process of an instance that one client has to itself.
#[derive(Debug)]
pub struct Guest {
    /// Its standard input. The process is ended when this is dropped.
    pub input: GuestInput,
    /// Its standard output.
    pub output: ChildStdout,
    /// Its process id.
    pub pid: u32,
}

/// The standard input of a [`Guest`].
#[derive(Debug)]
pub struct GuestInput {
    pipe: ChildStdin,
    /// Nothing is ever sent.
    _lease: oneshot::Sender<()>,
}

impl AsyncWrite for GuestInput {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.pipe).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.pipe).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.pipe).poll_shutdown(cx)
    }
}

/// Starts a guest of a running instance. The error is a sentence without a final period.
pub(crate) async fn invite(
    shared: Arc<Shared>,
    id: &InstanceId,
    whose: &str,
) -> Result<Guest, String> {
    let gone = || format!("{id} does not run");
    let cell = shared.cell(id).ok_or_else(gone)?;
    let spec = shared.spec(&id.server).ok_or_else(gone)?;
    if !matches!(spec.transport, Transport::Stdio { .. }) {
        return Err(format!(
            "{} does not speak over its standard streams",
            id.server
        ));
    }
    let host = Place {
        id: id.clone(),
        spawn: cell.seen.borrow().spawn,
    };
    let resolved = shared
        .ports
        .resolve
        .resolve(Arc::clone(&spec), port_of(&spec, id.index))
        .await
        .map_err(|error| error.sentence)?;
    if !stays(&cell.seen.borrow(), &host) {
        return Err(gone());
    }
    let mark = shared.mark_of(&host).narrow(shared.next_spawn());
    let spawned =
        spawn::spawn(&spec, id.index, &resolved, &mark).map_err(|error| error.sentence)?;
    let pid = spawned.pid;
    shared.guard_started(pid);
    let Endpoint::Stdio { input, output } = spawned.endpoint else {
        return Err(gone());
    };
    let (lease, over) = oneshot::channel();
    let guest = Guest {
        input: GuestInput {
            pipe: input,
            _lease: lease,
        },
        output,
        pid,
    };
    shared.log(
        &cell,
        Stream::Supervisor,
        &format!("process {pid} started for {whose} alone"),
    );
    let stay = Stay {
        output: Capture::new(spawned.stderr, None).labelled(format!("[{pid}] ")),
        stop_timeout: Duration::from_millis(spec.stop_timeout_ms),
        child: spawned.child,
        shared,
        cell,
        host,
        mark,
        pid,
    };
    // A stop that came in between found nothing to end: the task sees it at its first look.
    tokio::spawn(stay.until(over));
    Ok(guest)
}

/// Whether the process is still there whose guest it is.
fn stays(seen: &Seen, host: &Place) -> bool {
    seen.spawn == host.spawn && seen.view.process.state == ProcessState::Running
}

/// A guest from its start to its end.
struct Stay {
    shared: Arc<Shared>,
    cell: Arc<InstanceCell>,
    host: Place,
    mark: Mark,
    pid: u32,
    child: Child,
    output: Capture,
    stop_timeout: Duration,
}

impl Stay {
    async fn until(mut self, mut over: oneshot::Receiver<()>) {
        let (begun, pid) = (now().mono, self.pid);
        let mut seen = self.cell.seen.subscribe();
        // When it is to go, and what comes next.
        let mut ending: Option<Instant> = None;
        let mut next: Option<(Instant, Ending)> = None;
        let status = loop {
            let host = &self.host;
            tokio::select! {
                biased;
                status = self.child.wait() => break status,
                _ = &mut over, if ending.is_none() => {
                    ending = Some(now().mono);
                    next = Some((now().mono + EOF_GRACE, Ending::Polite));
                }
                () = async { drop(seen.wait_for(|seen| !stays(seen, host)).await) }, if ending.is_none() => {
                    // Its input is with its client, who may hold it as long as it likes.
                    ending = Some(now().mono);
                    next = Some((now().mono, Ending::Polite));
                }
                () = at(next.map(|(when, _)| when)) => {
                    next = match next {
                        Some((_, Ending::Polite)) => {
                            self.signal(Ending::Polite).await;
                            let since = ending.unwrap_or(begun);
                            Some((since + self.stop_timeout, Ending::Kill))
                        }
                        _ => {
                            self.signal(Ending::Kill).await;
                            None
                        }
                    };
                }
                () = maybe(Some(self.output.ready())) => self.output.read(&self.shared, &self.cell, false),
            }
        };
        self.output.read(&self.shared, &self.cell, true);
        let how = status.map_or_else(|error| error.to_string(), |status| status.to_string());
        let note = format!(
            "process {pid} ended after {}: {how}",
            span(now().mono - begun)
        );
        self.shared.log(&self.cell, Stream::Supervisor, &note);
        signal_group(pid, Ending::Kill);
        for _ in 0..SWEEPS {
            let left = self.family().await;
            if left.is_empty() {
                break;
            }
            for stray in left {
                signal_process(stray.pid, stray.start_time, Ending::Kill);
            }
            tokio::time::sleep(SWEEP_PAUSE).await;
        }
        self.shared.guard_ended(pid);
    }

    async fn family(&self) -> Vec<flotilla_os::Process> {
        let census = &self.shared.census;
        census.family(self.mark.clone(), Some(self.pid)).await
    }

    async fn signal(&self, ending: Ending) {
        signal_group(self.pid, ending);
        for stray in self.family().await.iter().filter(|p| p.pgrp != self.pid) {
            signal_process(stray.pid, stray.start_time, ending);
        }
    }
}

impl Drop for Stay {
    /// The engine is going down in a hurry: nobody is left behind.
    fn drop(&mut self) {
        if self.child.id().is_some() {
            signal_group(self.pid, Ending::Kill);
        }
    }
}
