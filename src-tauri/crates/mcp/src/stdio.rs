//! The pipes of a child: one task reads, one writes.

use crate::{
    Closed, Error,
    asked::Question,
    framing::{Line, LineDecoder},
    session::{Answer, Shared},
    wire::{self, Incoming},
};
use std::{sync::Arc, time::Duration};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    sync::{OwnedSemaphorePermit, Semaphore, mpsc},
};
use tokio_util::sync::CancellationToken;

/// Messages that may wait for the writer.
const QUEUE: usize = 32;
/// How long the server's output is still drained after we closed its input.
const DRAIN: Duration = Duration::from_secs(10);
/// How long the reader may still deliver what the server said before writing to it failed.
const LAST_WORDS: Duration = Duration::from_secs(1);
/// The read buffer at rest, and while much comes in.
const READ_IDLE: usize = 1024;
const READ_BUSY: usize = 16 * 1024;
/// How much of a garbage line is kept.
const GARBAGE_LINE: usize = 16 * 1024;

/// Something on the server's output that is no message: shown to the operator as a log line.
#[derive(Clone, Debug)]
pub struct Garbage {
    /// What is wrong with it.
    pub kind: GarbageKind,
    /// The line, at most 16 KiB of it (256 bytes of a line that was too long).
    pub text: String,
    /// How long the line was, in bytes.
    pub bytes: u64,
    /// Lines dropped just before this one, because nobody read fast enough.
    pub lost: u64,
}

/// What is wrong with a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GarbageKind {
    /// It is no JSON-RPC message.
    NotRpc,
    /// It is longer than [`Options::max_message`](crate::Options::max_message).
    TooLong,
    /// It is an answer to nothing that we asked, as servers give to what they could not parse.
    Unasked,
}

/// The sending side of a pipe.
pub(crate) struct Pipe {
    /// Boxed: the queue holds room for 32 at rest, and most sessions rest most of the time.
    queue: mpsc::Sender<Box<Outgoing>>,
    /// Bytes that may wait for the writer.
    room: Arc<Semaphore>,
    room_bytes: u32,
    /// Unbounded in type only: each entry is a request that was written and has no answer.
    cancels: mpsc::UnboundedSender<u64>,
    pub(crate) stop: CancellationToken,
}

struct Outgoing {
    /// Given up before its turn, it is not written.
    request: Option<u64>,
    line: Vec<u8>,
    _room: Option<OwnedSemaphorePermit>,
}

impl Pipe {
    pub(crate) fn open(
        reader: impl AsyncRead + Send + Unpin + 'static,
        writer: impl AsyncWrite + Send + Unpin + 'static,
        shared: &Arc<Shared>,
        max_message: usize,
        garbage: Option<mpsc::Sender<Garbage>>,
    ) -> Self {
        let (queue, queued) = mpsc::channel(QUEUE);
        let (cancels, cancelled) = mpsc::unbounded_channel();
        let stop = CancellationToken::new();
        let room_bytes = u32::try_from(max_message)
            .unwrap_or(u32::MAX)
            .min(Semaphore::MAX_PERMITS as u32);
        let replies = queue.downgrade();
        tokio::spawn(write_loop(
            writer,
            queued,
            cancelled,
            Arc::clone(shared),
            stop.clone(),
        ));
        let sink = GarbageSink {
            to: garbage,
            lost: 0,
        };
        tokio::spawn(read_loop(
            reader,
            Arc::clone(shared),
            replies,
            sink,
            max_message,
            stop.clone(),
        ));
        Self {
            queue,
            room: Arc::new(Semaphore::new(room_bytes as usize)),
            room_bytes,
            cancels,
            stop,
        }
    }

    /// Queues a request and waits for its answer. Dropping it gives the request up, and tells the server if `tell`.
    pub(crate) async fn request(
        &self,
        shared: &Shared,
        id: u64,
        line: Vec<u8>,
        answer: Answer<'_>,
        tell: bool,
    ) -> wire::Outcome {
        let mut asked = Asked {
            answer,
            cancels: tell.then_some(&self.cancels),
        };
        self.send(shared, Some(id), line).await?;
        asked.answer.outcome().await
    }

    pub(crate) async fn send(
        &self,
        shared: &Shared,
        request: Option<u64>,
        line: Vec<u8>,
    ) -> Result<(), Error> {
        let bytes = u32::try_from(line.len()).unwrap_or(u32::MAX);
        if bytes > self.room_bytes {
            return Err(Error::Protocol(format!(
                "the message is {bytes} bytes long, more than the {} allowed",
                self.room_bytes
            )));
        }
        let over = || Error::Closed(shared.closed_reason().unwrap_or(Closed::Ours));
        let room = Arc::clone(&self.room)
            .acquire_many_owned(bytes)
            .await
            .map_err(|_| over())?;
        self.queue
            .send(Box::new(Outgoing {
                request,
                line,
                _room: Some(room),
            }))
            .await
            .map_err(|_| over())
    }
}

/// A request under way. Dropped without an answer, the server is told, if it knows of the request at all.
struct Asked<'a> {
    answer: Answer<'a>,
    cancels: Option<&'a mpsc::UnboundedSender<u64>>,
}

impl Drop for Asked<'_> {
    fn drop(&mut self) {
        if self.answer.leave()
            && let Some(cancels) = self.cancels
        {
            // Fails only when the writer is gone, and then there is nobody to tell.
            let _ = cancels.send(self.answer.id);
        }
    }
}

async fn write_loop(
    mut writer: impl AsyncWrite + Send + Unpin,
    mut queue: mpsc::Receiver<Box<Outgoing>>,
    mut cancels: mpsc::UnboundedReceiver<u64>,
    shared: Arc<Shared>,
    stop: CancellationToken,
) {
    let failure = loop {
        let mut message = tokio::select! {
            biased;
            () = stop.cancelled() => return,
            Some(id) = cancels.recv() => Box::new(Outgoing { request: None, line: wire::cancelled(id), _room: None }),
            message = queue.recv() => match message {
                Some(message) => message,
                None => return,
            },
        };
        if message.request.is_some_and(|id| !shared.mark_sent(id)) {
            continue;
        }
        message.line.push(b'\n');
        let written = async {
            writer.write_all(&message.line).await?;
            writer.flush().await
        };
        tokio::select! {
            written = written => if let Err(error) = written { break error },
            () = stop.cancelled() => return,
        }
    };
    // The server most often just exited; then its end of the story is on the other pipe.
    tokio::select! {
        _ = shared.closed() => {}
        () = tokio::time::sleep(LAST_WORDS) => shared.close(Closed::Write(failure.to_string())),
    }
}

async fn read_loop(
    mut reader: impl AsyncRead + Send + Unpin,
    shared: Arc<Shared>,
    replies: mpsc::WeakSender<Box<Outgoing>>,
    mut garbage: GarbageSink,
    max_message: usize,
    stop: CancellationToken,
) {
    let mut decoder = LineDecoder::new(max_message);
    let mut buffer = vec![0; READ_IDLE];
    let drained = async {
        stop.cancelled().await;
        tokio::time::sleep(DRAIN).await;
    };
    tokio::pin!(drained);
    let reason = loop {
        let read = tokio::select! {
            read = reader.read(&mut buffer) => read,
            () = &mut drained => break Closed::Ours,
        };
        match read {
            Ok(0) => break Closed::Eof,
            Ok(count) => {
                decoder.push(&buffer[..count], |line| {
                    on_line(line, &shared, &replies, &mut garbage)
                });
                let full = count == buffer.len();
                resize(&mut buffer, if full { READ_BUSY } else { READ_IDLE });
            }
            Err(error) => break Closed::Read(error.to_string()),
        }
    };
    decoder.end(|line| on_line(line, &shared, &replies, &mut garbage));
    shared.close(reason);
}

fn resize(buffer: &mut Vec<u8>, wanted: usize) {
    if buffer.len() != wanted {
        *buffer = vec![0; wanted];
    }
}

fn on_line(
    line: Line<'_>,
    shared: &Arc<Shared>,
    replies: &mpsc::WeakSender<Box<Outgoing>>,
    garbage: &mut GarbageSink,
) {
    match line {
        Line::Whole(line) if line.iter().all(u8::is_ascii_whitespace) => {}
        Line::Whole(line) => {
            let mut unasked = false;
            let understood = wire::read(line, |incoming| match incoming {
                Incoming::Answer { id: None, .. } => unasked = true,
                Incoming::Request { id, method, params } => {
                    answer(replies, shared.question(id, method, params, None));
                }
                incoming => shared.dispatch(incoming, None),
            });
            if understood.is_err() {
                garbage.put(GarbageKind::NotRpc, line, line.len() as u64);
            } else if unasked {
                garbage.put(GarbageKind::Unasked, line, line.len() as u64);
            }
        }
        Line::TooLong { head, tail, bytes } => {
            if let Some(id) = answered_id(head, tail) {
                let outcome = Err(Error::Protocol(format!(
                    "the answer is {bytes} bytes long, more than allowed"
                )));
                let answer = Incoming::Answer {
                    id: Some(id),
                    outcome,
                };
                shared.dispatch(answer, None);
            }
            garbage.put(GarbageKind::TooLong, head, bytes);
        }
    }
}

/// Answers a request of the server, now or when the answer is there.
fn answer(replies: &mpsc::WeakSender<Box<Outgoing>>, question: Result<Question, Vec<u8>>) {
    let outgoing = |line| {
        Box::new(Outgoing {
            request: None,
            line,
            _room: None,
        })
    };
    match question {
        Err(line) => {
            // Dropped when the queue is full: a server that asks without reading gets no answer.
            if let Some(queue) = replies.upgrade() {
                let _ = queue.try_send(outgoing(line));
            }
        }
        Ok(question) => {
            let replies = replies.clone();
            tokio::spawn(async move {
                if let Some(line) = question.answer().await
                    && let Some(queue) = replies.upgrade()
                {
                    let _ = queue.send(outgoing(line)).await;
                }
            });
        }
    }
}

/// The id of an answer of which only the ends are known: it stands before the result or after it.
fn answered_id(head: &[u8], tail: &[u8]) -> Option<u64> {
    const KEY: &[u8] = b"\"id\":";
    let id = |bytes: &[u8]| -> Option<u64> {
        let text = std::str::from_utf8(bytes.trim_ascii_start()).ok()?;
        let digits = &text[..text.find(|c: char| !c.is_ascii_digit())?];
        digits.parse().ok()
    };
    let opening = memchr::memmem::find(head, b"\"result\"").map_or(&head[..0], |at| &head[..at]);
    if let Some(at) = memchr::memmem::find(opening, KEY) {
        return id(&opening[at + KEY.len()..]);
    }
    let at = memchr::memmem::rfind(tail, KEY)? + KEY.len();
    let closing = &tail[at..];
    // Nothing may follow but the end of the message itself.
    (closing.iter().filter(|&&byte| byte == b'}').count() == 1).then(|| id(closing))?
}

struct GarbageSink {
    to: Option<mpsc::Sender<Garbage>>,
    lost: u64,
}

impl GarbageSink {
    fn put(&mut self, kind: GarbageKind, line: &[u8], bytes: u64) {
        let Some(to) = &self.to else { return };
        let Ok(slot) = to.try_reserve() else {
            self.lost += 1;
            return;
        };
        let text = String::from_utf8_lossy(&line[..line.len().min(GARBAGE_LINE)]).into_owned();
        slot.send(Garbage {
            kind,
            text,
            bytes,
            lost: std::mem::take(&mut self.lost),
        });
    }
}

#[cfg(test)]
mod tests {
    use super::answered_id;

    #[test]
    fn the_id_of_a_cut_answer_is_found_at_either_end() {
        let check = |head: &str, tail: &str, id| {
            assert_eq!(
                answered_id(head.as_bytes(), tail.as_bytes()),
                id,
                "{head} … {tail}"
            )
        };
        check(
            r#"{"jsonrpc":"2.0","id":12,"result":{"#,
            r#"xx"}}"#,
            Some(12),
        );
        check(
            r#"{"result":{"content":[{"id":5,"#,
            r#"x"}]},"jsonrpc":"2.0","id":12}"#,
            Some(12),
        );
        check(
            r#"{"result":{"content":[{"id":5,"#,
            r#"x","id":9}]}}"#,
            None,
        );
        check(
            r#"{"jsonrpc":"2.0","method":"n","params":{"id":4,"#,
            r#""}}"#,
            None,
        );
    }
}
