//! What this program is when it is started as a part of the measurement.

use crate::{bridge, hops, null};
use anyhow::Result;
use clap::Subcommand;
use flotilla_tests::load::echo;
use std::{
    io::{Read as _, Write as _},
    net::{Ipv4Addr, SocketAddr},
};
use tokio::net::TcpListener;

/// A part of the measurement. Those that listen print their port, and end when their standard input does.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum Role {
    /// The server behind everything: an echo on the SDK, streamable HTTP
    Echo {
        /// Port; 0 means any free one
        #[arg(default_value_t = 0)]
        port: u16,
    },
    /// The same server on its standard streams
    Stdio,
    /// Replies written by hand, without any server
    Null,
    /// Bytes copied both ways
    TcpHop {
        /// Where to
        upstream: SocketAddr,
    },
    /// HTTP in, HTTP out
    HyperHop {
        /// Where to
        upstream: SocketAddr,
    },
    /// The thinnest bridge from HTTP to one server on standard streams
    Bridge,
}

/// Plays it until the measurement is over, on as many threads as there are cores.
pub(crate) fn play(role: &Role) -> Result<()> {
    let runtime = tokio::runtime::Runtime::new()?;
    runtime.block_on(async {
        if let Role::Stdio = role {
            return echo::stdio().await;
        }
        let port = if let Role::Echo { port } = role {
            *port
        } else {
            0
        };
        let socket = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?;
        std::thread::spawn(end_with_input);
        let listening = socket.local_addr()?;
        let serving = async {
            match role {
                Role::Echo { .. } => echo::http(socket).await,
                Role::Null => null::serve(socket).await,
                Role::TcpHop { upstream } => hops::tcp(socket, *upstream).await,
                Role::HyperHop { upstream } => hops::hyper(socket, *upstream).await,
                Role::Bridge => bridge::serve(socket, &std::env::current_exe()?).await,
                Role::Stdio => Ok(()),
            }
        };
        println!("{}", listening.port());
        std::io::stdout().flush()?;
        serving.await
    })
}

fn end_with_input() {
    let _ = std::io::stdin().read(&mut [0]);
    std::process::exit(0);
}
