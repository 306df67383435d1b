//! Sessions that call an echo tool without a pause, all on one thread, for a fixed time.

use super::{Endpoint, INITIALIZE, INITIALIZED, head, reply::Reply};
use anyhow::{Context as _, Result, bail, ensure};
use std::time::{Duration, Instant};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    task::JoinSet,
};

/// What may be added to the time of a load before it counts as hanging; also, how long opening a session may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// Ids of requests, and the numbers that make texts differ, have so many digits: a request is written once, then only
/// these change.
const ID_DIGITS: usize = 10;
const SERIAL_DIGITS: usize = 16;
/// Texts in a session that differ.
const SERIALS: u64 = 10_u64.pow(10);

/// A load on one server.
#[derive(Clone, Debug)]
pub struct Load {
    /// The server.
    pub endpoint: Endpoint,
    /// Its tool that gives back the argument `text`.
    pub tool: String,
    /// Sessions at once, each on a connection of its own, each with one call under way.
    pub sessions: usize,
    /// Length of the text, in bytes, from 16.
    pub payload: usize,
    /// Whether each call sends the same text; otherwise no two do.
    pub same: bool,
    /// How long calls are made before they count.
    pub warm_up: Duration,
    /// How long they count.
    pub span: Duration,
}

/// What came out of a load.
#[derive(Debug)]
pub struct Outcome {
    /// Calls in all, those of the warm-up included.
    pub calls: u64,
    /// From the end of the warm-up to the last answer.
    pub span: Duration,
    /// How long each call took that counts, in nanoseconds, in order.
    times: Vec<u32>,
}

impl Outcome {
    /// Calls per second.
    #[must_use]
    pub fn rate(&self) -> f64 {
        self.times.len() as f64 / self.span.as_secs_f64()
    }

    /// A quantile of how long calls took, in microseconds.
    #[must_use]
    pub fn quantile(&self, q: f64) -> f64 {
        let at = (self.times.len().saturating_sub(1) as f64 * q).round() as usize;
        self.times
            .get(at)
            .map_or(f64::NAN, |time| f64::from(*time) / 1_000.0)
    }
}

impl Load {
    /// One call in a session of its own.
    ///
    /// # Errors
    /// When it does not come back as it should.
    pub async fn probe(&self) -> Result<()> {
        let call = async {
            let mut caller = Caller::open(self, 0).await?;
            caller.call().await?;
            caller.close().await
        };
        tokio::time::timeout(PATIENCE, call)
            .await
            .context("no answer")?
    }

    /// Opens all sessions, calls for as long as is wanted, and closes them.
    ///
    /// # Errors
    /// When any call does not come back as it should.
    pub async fn run(&self) -> Result<Outcome> {
        let mut callers = Vec::new();
        for index in 0..self.sessions {
            let opening = tokio::time::timeout(PATIENCE, Caller::open(self, index as u64));
            callers.push(opening.await.context("a session does not open")??);
        }
        let counts = Instant::now() + self.warm_up;
        let end = counts + self.span;
        let mut running = JoinSet::new();
        for mut caller in callers {
            running.spawn(async move {
                let times = caller.until(counts, end).await?;
                anyhow::Ok((caller, times))
            });
        }
        let limit = self.warm_up + self.span + PATIENCE;
        let ended = async {
            let mut ended = Vec::new();
            while let Some(one) = running.join_next().await {
                ended.push(one??);
            }
            anyhow::Ok(ended)
        };
        let ended = tokio::time::timeout(limit, ended)
            .await
            .context("a call hangs")??;
        let span = counts.elapsed();
        let (mut calls, mut times) = (0, Vec::new());
        for (caller, own) in ended {
            calls += caller.calls;
            times.extend(own);
            tokio::time::timeout(PATIENCE, caller.close())
                .await
                .context("a session does not close")??;
        }
        times.sort_unstable();
        Ok(Outcome { calls, span, times })
    }
}

/// One session.
struct Caller {
    stream: TcpStream,
    endpoint: Endpoint,
    id: Option<String>,
    reply: Reply,
    /// A call, head and all; where its id and its text stand in it.
    request: Vec<u8>,
    id_at: usize,
    text: std::ops::Range<usize>,
    same: bool,
    index: u64,
    calls: u64,
}

impl Caller {
    async fn open(load: &Load, index: u64) -> Result<Self> {
        let stream = TcpStream::connect(load.endpoint.address).await?;
        stream.set_nodelay(true)?;
        let mut caller = Self {
            stream,
            endpoint: load.endpoint.clone(),
            id: None,
            reply: Reply::default(),
            request: Vec::new(),
            id_at: 0,
            text: 0..0,
            same: load.same,
            index,
            calls: 0,
        };
        caller.post(INITIALIZE).await?;
        caller.id = caller.reply.header("mcp-session-id").map(str::to_owned);
        caller.post(INITIALIZED).await?;
        caller.write_call(load);
        Ok(caller)
    }

    /// Writes the call of which only the numbers change later.
    fn write_call(&mut self, load: &Load) {
        const LETTERS: &[u8] = b"The quick brown fox jumps over the lazy dog, 0123456789. ";
        let mut body = format!(
            r#"{{"jsonrpc":"2.0","id":{:0>ID_DIGITS$},"method":"tools/call","params":{{"name":"{}","arguments":{{"text":""#,
            1, load.tool
        )
        .into_bytes();
        let id = r#"{"jsonrpc":"2.0","id":"#.len();
        let text = body.len();
        body.extend([b'0'; SERIAL_DIGITS]);
        let filler = load.payload.saturating_sub(SERIAL_DIGITS);
        body.extend(LETTERS.iter().cycle().take(filler));
        let text = text..body.len();
        body.extend(br#""}}}"#);
        self.request = head(&self.endpoint, "POST", self.id.as_deref(), body.len()).into_bytes();
        let start = self.request.len();
        self.request.extend(body);
        self.id_at = start + id;
        self.text = start + text.start..start + text.end;
    }

    /// Calls until `end`; how long those took that began at `counts` or later.
    async fn until(&mut self, counts: Instant, end: Instant) -> Result<Vec<u32>> {
        let mut times = Vec::with_capacity(1 << 14);
        let mut began = Instant::now();
        while began < end {
            self.call().await?;
            let answered = Instant::now();
            if began >= counts {
                let took = answered.duration_since(began).as_nanos();
                times.push(u32::try_from(took).unwrap_or(u32::MAX));
            }
            began = answered;
        }
        Ok(times)
    }

    async fn call(&mut self) -> Result<()> {
        self.calls += 1;
        // No leading zero: JSON knows none.
        let id = 10_u64.pow(ID_DIGITS as u32 - 1) + self.calls;
        digits(&mut self.request[self.id_at..][..ID_DIGITS], id);
        if !self.same {
            let serial = self.index * SERIALS + self.calls;
            digits(
                &mut self.request[self.text.start..][..SERIAL_DIGITS],
                serial,
            );
        }
        self.stream.write_all(&self.request).await?;
        self.answer().await?;
        ensure!(
            holds(self.reply.body(), &self.request[self.text.clone()]),
            "the text that was sent is not in the answer: {}",
            self.reply.excerpt()
        );
        Ok(())
    }

    async fn post(&mut self, body: &str) -> Result<()> {
        let mut request = head(&self.endpoint, "POST", self.id.as_deref(), body.len());
        request.push_str(body);
        self.stream.write_all(request.as_bytes()).await?;
        self.answer().await
    }

    async fn answer(&mut self) -> Result<()> {
        self.reply.clear();
        while !self.reply.complete()? {
            if self.stream.read_buf(self.reply.room()).await? == 0 {
                bail!("the server closed the connection");
            }
        }
        let status = self.reply.status()?;
        ensure!(
            (200..300).contains(&status),
            "the server answered {status}: {}",
            self.reply.excerpt()
        );
        Ok(())
    }

    /// Ends the session; a server may refuse to (405).
    async fn close(mut self) -> Result<()> {
        if self.id.is_some() {
            let request = head(&self.endpoint, "DELETE", self.id.as_deref(), 0);
            self.stream.write_all(request.as_bytes()).await?;
            let _ = self.answer().await;
        }
        Ok(())
    }
}

/// Writes a number over these digits.
fn digits(place: &mut [u8], mut number: u64) {
    for digit in place.iter_mut().rev() {
        *digit = b'0' + (number % 10) as u8;
        number /= 10;
    }
}

/// Whether a text stands in an answer. It begins with digits of its own, so the first place where they stand is the one.
fn holds(answer: &[u8], text: &[u8]) -> bool {
    let start = &text[..SERIAL_DIGITS.min(text.len())];
    answer
        .windows(start.len())
        .position(|window| window == start)
        .is_some_and(|at| answer[at..].starts_with(text))
}
