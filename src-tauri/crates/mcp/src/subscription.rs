//! What a modern server says when it is asked to: `subscriptions/listen`, a request that lasts.

use crate::{
    Error, Notification, Notifications, RequestOptions, Session,
    session::{Hooks, lock},
    wire::Outcome,
};
use flotilla_contract::tool::Era;
use serde_json::value::RawValue;
use std::sync::{Arc, Mutex};
use tokio::sync::{broadcast, oneshot};
use tokio_util::sync::DropGuard;

const LISTEN: &str = "subscriptions/listen";
const ACKNOWLEDGED: &str = "notifications/subscriptions/acknowledged";
const METHOD_NOT_FOUND: i64 = -32601;
/// How many notifications a slow reader may be behind.
const BEHIND: usize = 64;

/// A subscription under way. Dropped, it ends, and the server is told.
pub struct Subscription {
    /// What the server said when it took the subscription: the filter that it honours.
    pub acknowledged: Option<Box<RawValue>>,
    from: Notifications,
    end: oneshot::Receiver<Outcome>,
    _cancel: DropGuard,
}

impl Subscription {
    /// The next notification, or how many were lost because this reader was slow. `None` when the subscription is over.
    pub async fn next(&mut self) -> Option<Result<Arc<Notification>, u64>> {
        self.from.next().await
    }

    /// Waits until the subscription is over: by the server's own wish (its result), or by an error.
    ///
    /// # Errors
    /// As [`Session::request`].
    pub async fn ended(mut self) -> Outcome {
        (&mut self.end).await.unwrap_or(Err(Error::Cancelled))
    }
}

/// Where what belongs to a subscription goes.
pub(crate) struct Tap {
    to: broadcast::Sender<Arc<Notification>>,
    acknowledged: Mutex<Option<oneshot::Sender<Option<Box<RawValue>>>>>,
}

impl Tap {
    /// Takes what came for it; false when it is no news but the acknowledgement. News before that acknowledge too.
    pub(crate) fn take(&self, notification: &Arc<Notification>) -> bool {
        let acknowledgement = notification.method == ACKNOWLEDGED;
        if let Some(first) = lock(&self.acknowledged).take() {
            let params = notification.params.clone().filter(|_| acknowledgement);
            let _ = first.send(params);
        }
        if !acknowledgement {
            // Fails when the subscription was just dropped.
            let _ = self.to.send(Arc::clone(notification));
        }
        !acknowledgement
    }
}

impl Session {
    /// Asks a modern server for notifications (`subscriptions/listen`) and waits until it agrees, for at most
    /// [`RequestOptions::timeout`]; from then on there is no time limit. `params` hold the filter, as they are sent:
    /// `{"notifications":{"toolsListChanged":true}}`. What comes is seen by [`notifications`](Self::notifications) too.
    ///
    /// # Errors
    /// As [`request`](Self::request); a legacy server has no such method.
    pub async fn listen(
        &self,
        params: Option<&RawValue>,
        options: RequestOptions,
    ) -> Result<Subscription, Error> {
        if self.peer().is_some_and(|peer| peer.era == Era::Legacy) {
            return Err(Error::Rpc {
                code: METHOD_NOT_FOUND,
                message: format!("a legacy server has no {LISTEN}"),
                data: None,
                raw: None,
            });
        }
        let (to, from) = broadcast::channel(BEHIND);
        let (first, acknowledged) = oneshot::channel();
        let (over, mut end) = oneshot::channel();
        let hooks = Hooks::tapped(Tap {
            to,
            acknowledged: Mutex::new(Some(first)),
        });
        let limit = options.timeout;
        let cancel = options.cancel.child_token();
        let guard = cancel.clone().drop_guard();
        let session = self.clone();
        let params = params.map(ToOwned::to_owned);
        tokio::spawn(async move {
            let exchange = session.exchange(LISTEN, params.as_deref(), &options, true, &hooks);
            let outcome = tokio::select! {
                outcome = exchange => outcome,
                () = cancel.cancelled() => Err(Error::Cancelled),
            };
            let _ = over.send(outcome);
        });
        match tokio::time::timeout(limit, acknowledged).await {
            Ok(Ok(acknowledged)) => Ok(Subscription {
                acknowledged,
                from: Notifications { from },
                end,
                _cancel: guard,
            }),
            Ok(Err(_)) => match (&mut end).await {
                Ok(Ok(_)) => Err(Error::Protocol(
                    "the server ended the subscription instead of acknowledging it".to_owned(),
                )),
                Ok(Err(error)) => Err(error),
                Err(_) => Err(Error::Cancelled),
            },
            Err(_) => Err(Error::Timeout(limit)),
        }
    }
}
