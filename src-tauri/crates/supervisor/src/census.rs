//! One reading of the process table for everybody who needs one.
//!
//! Looking for the strays of one instance means reading every process of the machine. Two hundred instances that stop
//! together must not do that two hundred times: questions that arrive while a reading is under way wait, and are all
//! answered by the next one. A question is only ever answered by a reading that began after it was asked.

use flotilla_os::{Mark, Process, ProcessTable, family};
use tokio::sync::{mpsc, oneshot};

/// Questions that may wait; beyond, the asker waits.
const QUEUE: usize = 256;

struct Question {
    mark: Mark,
    roots: Vec<u32>,
    answer: oneshot::Sender<Vec<Process>>,
}

#[derive(Clone, Debug)]
pub(crate) struct Census {
    ask: mpsc::Sender<Question>,
}

impl Census {
    pub(crate) fn start() -> Self {
        let (ask, mut questions) = mpsc::channel::<Question>(QUEUE);
        tokio::spawn(async move {
            let mut batch = Vec::new();
            while questions.recv_many(&mut batch, QUEUE).await > 0 {
                let (wanted, answers): (Vec<_>, Vec<_>) = batch
                    .drain(..)
                    .map(|q| ((q.mark, q.roots), q.answer))
                    .unzip();
                let rows =
                    tokio::task::spawn_blocking(move || family(&ProcessTable::read(), &wanted))
                        .await
                        .unwrap_or_default();
                for (row, answer) in rows.into_iter().zip(answers) {
                    // The asker may have gone.
                    let _ = answer.send(row);
                }
            }
        });
        Self { ask }
    }

    /// Everything alive that carries the mark or belongs to the tree of `root`.
    pub(crate) async fn family(&self, mark: Mark, root: Option<u32>) -> Vec<Process> {
        let (answer, answered) = oneshot::channel();
        if self
            .ask
            .send(Question {
                mark,
                roots: root.into_iter().collect(),
                answer,
            })
            .await
            .is_err()
        {
            return Vec::new();
        }
        answered.await.unwrap_or_default()
    }
}
