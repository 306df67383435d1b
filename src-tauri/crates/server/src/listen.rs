//! Opening and closing the listener.

use crate::{
    DASHBOARD_PORT, Fleet, STREAM_PORT, UiSource, api, dashboard::Hub, door::Door, gateway,
    socket::Tally, sockets, stream::Streams,
};
use flotilla_contract::frame::Listener;
use std::{
    future::IntoFuture,
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};
use tokio::{net::TcpListener, task::JoinHandle};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

/// The port of the panel unless another one is set, or remembered.
pub const DEFAULT_PORT: u16 = 3000;

/// What the listeners are called in [`Listener::serves`].
const PANEL: &str = "panel";
pub(crate) const GATEWAY: &str = "gateway";
const DASHBOARD: &str = "dashboard";
const STREAM: &str = "stream";

/// How long requests under way may take to end after a shutdown was asked for.
const DRAIN: Duration = Duration::from_secs(3);

/// How the panel is served.
#[derive(Clone, Debug)]
pub struct ServeOptions {
    /// Port that the operator set: taken means an error, 0 means any free one. `None`: the port remembered from an
    /// earlier start, then [`DEFAULT_PORT`], then a free one, which is remembered.
    pub port: Option<u16>,
    /// Port of the gateway, in the same way; its default is [`GATEWAY_PORT`](crate::GATEWAY_PORT).
    pub gateway_port: Option<u16>,
    /// Port of the dashboard WebSocket, in the same way; its default is [`DASHBOARD_PORT`].
    pub dashboard_port: Option<u16>,
    /// Port of the agent stream, in the same way; its default is [`STREAM_PORT`].
    pub stream_port: Option<u16>,
    /// Address to listen on (default 127.0.0.1). Elsewhere than on loopback the token crosses the network as it is.
    pub host: IpAddr,
    /// Where the panel's files come from (default: compiled in).
    pub ui: UiSource,
}

impl Default for ServeOptions {
    fn default() -> Self {
        Self {
            port: None,
            gateway_port: None,
            dashboard_port: None,
            stream_port: None,
            host: Ipv4Addr::LOCALHOST.into(),
            ui: UiSource::Embedded,
        }
    }
}

/// Why the panel is not served.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The port that the operator set is held by somebody else.
    #[error(
        "failed to listen on {address}: the port is taken; choose another one, or end the program that holds it"
    )]
    PortTaken {
        /// The address asked for.
        address: SocketAddr,
    },
    /// The address cannot be listened on.
    #[error("failed to listen on {address}: {error}")]
    Bind {
        /// The address asked for.
        address: SocketAddr,
        /// Why.
        error: io::Error,
    },
    /// The engine could not write down where it is reached.
    #[error("failed to announce the panel's address: {0}")]
    Announce(io::Error),
    /// The system gives no random numbers.
    #[error("failed to draw a random key: {0}")]
    Entropy(#[from] getrandom::Error),
}

/// A listener that is open.
pub struct Serving {
    addr: SocketAddr,
    door: Door,
    task: JoinHandle<()>,
    gateway: Option<(SocketAddr, JoinHandle<()>)>,
    others: Vec<JoinHandle<()>>,
}

impl Serving {
    /// Where AI clients reach the fleet, if the gateway is served: `http://HOST:PORT/mcp`.
    #[must_use]
    pub fn gateway(&self) -> Option<String> {
        self.gateway
            .as_ref()
            .map(|(addr, _)| format!("http://{}/mcp", reachable(*addr)))
    }

    /// The address it listens on.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Base address for a browser on this machine, without a final slash.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", reachable(self.addr))
    }

    /// An address that lets one browser in, once, within five minutes.
    ///
    /// # Errors
    /// When the system gives no random numbers.
    pub fn one_time_url(&self) -> Result<String, Error> {
        Ok(format!("{}/?t={}", self.url(), self.door.new_key()?))
    }

    /// Waits until it is closed: after the shutdown token, at most three seconds for requests under way.
    pub async fn closed(self) {
        if let Err(error) = self.task.await {
            warn!(%error, "the panel's listener ended badly");
        }
        if let Some((_, task)) = self.gateway
            && let Err(error) = task.await
        {
            warn!(%error, "the gateway's listener ended badly");
        }
        for task in self.others {
            if let Err(error) = task.await {
                warn!(%error, "a listener ended badly");
            }
        }
    }
}

/// Opens the panel's listener for `fleet`, and the gateway's where there is one, and announces them; they are closed when
/// `shutdown` is cancelled.
///
/// # Errors
/// When the address cannot be listened on or be announced.
pub async fn serve<F: Fleet>(
    fleet: F,
    options: ServeOptions,
    shutdown: CancellationToken,
) -> Result<Serving, Error> {
    let (listener, note) = open(&fleet, options.host, options.port, PANEL, DEFAULT_PORT).await?;
    let addr = address(&listener, options.host)?;
    if !addr.ip().is_loopback() {
        warn!(%addr, "the panel is reachable from other machines, and its token crosses the network unencrypted");
    }
    let door = Door::new(addr, &fleet.token());
    let tally = Arc::new(Tally::default());
    let router = api::router(
        fleet.clone(),
        door.clone(),
        options.ui,
        Arc::clone(&tally),
        shutdown.clone(),
    );
    let announced = Listener {
        serves: PANEL.into(),
        address: reachable(addr).to_string(),
        note,
    };
    let mut all = vec![announced];
    let gateway = match fleet.gateway() {
        None => None,
        Some(gateway) => {
            let (listener, note) =
                gateway::open(&fleet, options.host, options.gateway_port).await?;
            let addr = address(&listener, options.host)?;
            all.push(Listener {
                serves: GATEWAY.into(),
                address: reachable(addr).to_string(),
                note,
            });
            let door = Door::new(addr, &fleet.token());
            let task = gateway::run(listener, addr, gateway, door, shutdown.clone());
            Some((addr, task))
        }
    };
    let mut others = Vec::new();
    let (dashboard, stream) = fleet.sockets();
    if dashboard {
        let wanted = (options.dashboard_port, DASHBOARD, DASHBOARD_PORT);
        let (listener, door) = other(&fleet, options.host, wanted, &mut all).await?;
        let (hub, work) = Hub::start(fleet.clone(), Arc::clone(&tally), shutdown.clone());
        others.push(work);
        others.push(sockets::dashboard(listener, hub, door, shutdown.clone()));
    }
    if stream {
        let wanted = (options.stream_port, STREAM, STREAM_PORT);
        let (listener, door) = other(&fleet, options.host, wanted, &mut all).await?;
        let streams = Streams {
            fleet: fleet.clone(),
            tally,
            shutdown: shutdown.clone(),
        };
        others.push(sockets::stream(listener, streams, door, shutdown.clone()));
    }
    fleet.announce(all).await.map_err(Error::Announce)?;
    info!(%addr, "the panel is served");
    if let Some((addr, _)) = &gateway {
        info!(%addr, "the gateway is served");
    }
    let service = router.into_make_service_with_connect_info::<SocketAddr>();
    let serving =
        axum::serve(listener, service).with_graceful_shutdown(shutdown.clone().cancelled_owned());
    let task = tokio::spawn(async move {
        tokio::select! {
            ended = serving.into_future() => if let Err(error) = ended { warn!(%error, "the panel's listener ended") },
            () = async { shutdown.cancelled().await; tokio::time::sleep(DRAIN).await } => {}
        }
    });
    Ok(Serving {
        addr,
        door,
        task,
        gateway,
        others,
    })
}

/// Opens one more listener: the port asked for, what it is called, and its default.
async fn other<F: Fleet>(
    fleet: &F,
    host: IpAddr,
    (port, serves, default): (Option<u16>, &'static str, u16),
    all: &mut Vec<Listener>,
) -> Result<(TcpListener, Door), Error> {
    let (listener, note) = open(fleet, host, port, serves, default).await?;
    let addr = address(&listener, host)?;
    info!(%addr, serves, "a socket is served");
    all.push(Listener {
        serves: serves.into(),
        address: reachable(addr).to_string(),
        note,
    });
    Ok((listener, Door::new(addr, &fleet.token())))
}

fn address(listener: &TcpListener, host: IpAddr) -> Result<SocketAddr, Error> {
    listener.local_addr().map_err(|error| Error::Bind {
        address: (host, 0).into(),
        error,
    })
}

/// Opens the port that was set; else the one remembered, the default one, or a free one that is remembered from then on.
pub(crate) async fn open<F: Fleet>(
    fleet: &F,
    host: IpAddr,
    port: Option<u16>,
    serves: &str,
    default: u16,
) -> Result<(TcpListener, Option<String>), Error> {
    if let Some(port) = port {
        return Ok((bind((host, port).into()).await?, None));
    }
    if let Some(port) = fleet.remembered_port(serves).await {
        match bind((host, port).into()).await {
            Ok(listener) => {
                let note = format!(
                    "port {default} was taken at an earlier start; port {port} is kept since"
                );
                return Ok((listener, (port != default).then_some(note)));
            }
            Err(Error::PortTaken { .. }) => {}
            Err(other) => return Err(other),
        }
    }
    match bind((host, default).into()).await {
        Err(Error::PortTaken { .. }) => {}
        other => return Ok((other?, None)),
    }
    let listener = bind((host, 0).into()).await?;
    let port = listener.local_addr().map_or(0, |addr| addr.port());
    fleet.remember_port(serves, port).await;
    Ok((
        listener,
        Some(format!(
            "port {default} is taken; port {port} is used and kept from now on"
        )),
    ))
}

async fn bind(address: SocketAddr) -> Result<TcpListener, Error> {
    TcpListener::bind(address)
        .await
        .map_err(|error| match error.kind() {
            io::ErrorKind::AddrInUse => Error::PortTaken { address },
            _ => Error::Bind { address, error },
        })
}

/// An address under which a listener on `addr` is reached from this machine.
fn reachable(addr: SocketAddr) -> SocketAddr {
    match addr.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => (Ipv4Addr::LOCALHOST, addr.port()).into(),
        IpAddr::V6(ip) if ip.is_unspecified() => {
            (std::net::Ipv6Addr::LOCALHOST, addr.port()).into()
        }
        _ => addr,
    }
}
