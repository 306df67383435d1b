//! What a legacy server asks of its client while it works: sampling, elicitation, roots.

use crate::{
    session::{Shared, Signs, lock},
    wire,
};
use serde_json::value::RawValue;
use std::sync::{Arc, atomic::Ordering};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

/// Questions of one server that may be open at once.
pub(crate) const OPEN: usize = 32;
const INTERNAL_ERROR: i64 = -32603;

/// An answer to a server: a result, or an error object (`code`, `message`, and `data` if there is any).
pub type Reply = Result<Box<RawValue>, Box<RawValue>>;

/// A server's own request.
#[derive(Debug)]
pub struct Asked {
    /// For instance `sampling/createMessage`, `elicitation/create`, `roots/list`.
    pub method: String,
    /// As they came.
    pub params: Option<Box<RawValue>>,
    /// [`RequestOptions::origin`](crate::RequestOptions::origin) of the request that it is about: the one whose response
    /// stream it came in, or, when it came in none (as on pipes), the one request under way. `None` when that is not known.
    pub during: Option<u64>,
    /// Takes the answer. When it is dropped instead, the server gets an error. It is
    /// [closed](oneshot::Sender::closed) when the server withdraws the question or the session is over.
    pub reply: oneshot::Sender<Reply>,
}

impl Asked {
    /// Answers with an error.
    pub fn refuse(self, code: i64, message: &str) {
        if let Ok(error) = RawValue::from_string(wire::error(code, message, None)) {
            // Fails when nobody wants to know any more.
            let _ = self.reply.send(Err(error));
        }
    }
}

/// A question that waits for its answer.
pub(crate) struct Question {
    pub(crate) id: Box<RawValue>,
    pub(crate) shared: Arc<Shared>,
    pub(crate) reply: oneshot::Receiver<Reply>,
    /// The server no longer wants to know.
    pub(crate) withdrawn: CancellationToken,
    pub(crate) _pause: Option<Pause>,
}

impl Question {
    /// The message to send, if there is still somebody to send it to.
    pub(crate) async fn answer(mut self) -> Option<Vec<u8>> {
        let id = self.id.get();
        tokio::select! {
            biased;
            () = self.withdrawn.cancelled() => None,
            _ = self.shared.closed() => None,
            reply = &mut self.reply => Some(match &reply {
                Ok(Ok(result)) => wire::answer(id, Ok(result.get())),
                Ok(Err(error)) => wire::answer(id, Err(error.get())),
                Err(_) => wire::answer(id, Err(&wire::error(INTERNAL_ERROR, "nobody answered", None))),
            }),
        }
    }
}

impl Drop for Question {
    fn drop(&mut self) {
        lock(&self.shared.questions).remove(self.id.get());
    }
}

/// While a question is open, the request that it is about is not silent.
pub(crate) struct Pause(Arc<Signs>);

impl Pause {
    pub(crate) fn of(signs: Arc<Signs>) -> Self {
        signs.questions.fetch_add(1, Ordering::AcqRel);
        Self(signs)
    }
}

impl Drop for Pause {
    fn drop(&mut self) {
        self.0.questions.fetch_sub(1, Ordering::AcqRel);
        self.0.touched.notify_one();
    }
}
