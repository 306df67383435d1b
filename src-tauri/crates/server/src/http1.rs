//! A listener without a router: HTTP/1.1 connections, each request answered by one function.
//!
//! The gateway and the two sockets for clients of other makes stand on it: one path, many connections. Bounded in connections and in
//! the time for a request's head; at a shutdown what is under way has [`DRAIN`] to end.

use flotilla_engine::GatewayBody as Body;
use http::{Request, Response};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::{convert::Infallible, net::SocketAddr, sync::Arc, time::Duration};
use tokio::{net::TcpListener, sync::Semaphore, task::JoinHandle};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// How long a client may take to send a request's head.
const HEAD: Duration = Duration::from_secs(15);
/// How long requests under way may take to end after a shutdown was asked for.
const DRAIN: Duration = Duration::from_secs(3);

/// What one listener bears.
#[derive(Clone, Copy)]
pub(crate) struct Bounds {
    /// Connections at once; one more waits to be accepted.
    pub(crate) connections: usize,
    /// What a connection reads at once, at most (a head must fit, too): an idle one keeps that much.
    pub(crate) buffer: usize,
}

/// Answers requests until `shutdown`; the function is told who asks.
pub(crate) fn run<S, F>(
    listener: TcpListener,
    bounds: Bounds,
    shutdown: CancellationToken,
    answer: S,
) -> JoinHandle<()>
where
    S: Fn(Request<Incoming>, SocketAddr) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Response<Body>> + Send + 'static,
{
    tokio::spawn(async move {
        let places = Arc::new(Semaphore::new(bounds.connections));
        let open = TaskTracker::new();
        loop {
            let Ok(place) = Arc::clone(&places).acquire_owned().await else {
                return;
            };
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = shutdown.cancelled() => break,
            };
            let Ok((stream, peer)) = accepted else {
                // Out of descriptors, most often: give some back first.
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            };
            // Answers are small and waited for.
            let _ = stream.set_nodelay(true);
            let (answer, ending) = (answer.clone(), shutdown.clone());
            open.spawn(async move {
                let _place = place;
                let answer = service_fn(move |request: Request<Incoming>| {
                    let answer = answer(request, peer);
                    async move { Ok::<_, Infallible>(answer.await) }
                });
                let connection = hyper::server::conn::http1::Builder::new()
                    .timer(TokioTimer::new())
                    .header_read_timeout(HEAD)
                    .max_buf_size(bounds.buffer)
                    .serve_connection(TokioIo::new(stream), answer)
                    .with_upgrades();
                tokio::pin!(connection);
                tokio::select! {
                    _ = connection.as_mut() => {}
                    () = ending.cancelled() => {
                        connection.as_mut().graceful_shutdown();
                        let _ = tokio::time::timeout(DRAIN, connection).await;
                    }
                }
            });
        }
        open.close();
        let _ = tokio::time::timeout(DRAIN, open.wait()).await;
    })
}
