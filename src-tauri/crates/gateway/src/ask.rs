//! A server's own questions (sampling, elicitation, roots), put to the client whose connection they came on.

use crate::clients::Session;
use flotilla_mcp::Asked;
use std::sync::Arc;
use tokio::sync::mpsc;

/// JSON-RPC: the other side did not do it.
const NOT_ANSWERED: i64 = -32_603;

/// Puts a question to the client, in the stream of the request that it belongs to if that is known, and gives the server the
/// answer. A client that went away, or says nothing for five minutes, is answered for.
pub(crate) async fn put(
    session: Arc<Session>,
    through: Option<mpsc::Sender<Vec<u8>>>,
    mut question: Asked,
) {
    let asking = session.ask(
        &question.method,
        question.params.as_deref(),
        through.as_ref(),
    );
    let answer = tokio::select! {
        answer = asking => answer,
        // The server withdraws its question, or is gone.
        () = question.reply.closed() => return,
    };
    match answer {
        // Fails when nobody wants to know any more.
        Some(reply) => drop(question.reply.send(reply)),
        None => question.refuse(NOT_ANSWERED, "the client gave no answer"),
    }
}
