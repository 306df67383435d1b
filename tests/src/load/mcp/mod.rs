//! Clients for measurements: one connection, one legacy MCP session over streamable HTTP, one request at a time, on a plain
//! socket. Whatever they cost, they cost the same against each server. [`Session`] blocks, for one caller; [`Load`] is many
//! at once.

mod load;
mod reply;

pub use load::{Load, Outcome};

use anyhow::{Context as _, Result, bail, ensure};
use reply::Reply;
use std::{
    fmt,
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    str::FromStr,
    time::Duration,
};

/// The revision that sessions speak: the one that most clients do.
const REVISION: &str = "2025-06-18";
const INITIALIZE: &str = r#"{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2025-06-18","capabilities":{},"clientInfo":{"name":"load","version":"1"}}}"#;
const INITIALIZED: &str = r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#;

/// Where an MCP server answers.
#[derive(Clone, Debug)]
pub struct Endpoint {
    /// Its socket.
    pub address: SocketAddr,
    /// The path on it.
    pub path: String,
}

impl From<SocketAddr> for Endpoint {
    fn from(address: SocketAddr) -> Self {
        Self {
            address,
            path: "/mcp".to_owned(),
        }
    }
}

impl FromStr for Endpoint {
    type Err = anyhow::Error;

    fn from_str(url: &str) -> Result<Self> {
        let rest = url
            .strip_prefix("http://")
            .with_context(|| format!("{url} does not begin with http://"))?;
        let (address, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        Ok(Self {
            address: address
                .parse()
                .with_context(|| format!("{url} does not name an address and a port"))?,
            path: if path.is_empty() { "/" } else { path }.to_owned(),
        })
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http://{}{}", self.address, self.path)
    }
}

/// Head of a request with a body of that length.
fn head(endpoint: &Endpoint, method: &str, session: Option<&str>, length: usize) -> String {
    let session = session.map_or_else(String::new, |id| format!("mcp-session-id: {id}\r\n"));
    let Endpoint { address, path } = endpoint;
    format!(
        "{method} {path} HTTP/1.1\r\nhost: {address}\r\ncontent-type: application/json\r\naccept: application/json, text/event-stream\r\nmcp-protocol-version: {REVISION}\r\n{session}content-length: {length}\r\n\r\n"
    )
}

/// A session whose calls block.
pub struct Session {
    stream: TcpStream,
    endpoint: Endpoint,
    id: Option<String>,
    reply: Reply,
}

impl Session {
    /// Connects and initialises.
    ///
    /// # Errors
    /// When the server does not answer as an MCP server.
    pub fn open(endpoint: impl Into<Endpoint>) -> Result<Self> {
        let endpoint = endpoint.into();
        let stream = TcpStream::connect(endpoint.address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        let mut session = Self {
            stream,
            endpoint,
            id: None,
            reply: Reply::default(),
        };
        session.post(INITIALIZE)?;
        session.id = session.reply.header("mcp-session-id").map(str::to_owned);
        session.post(INITIALIZED)?;
        Ok(session)
    }

    /// Sends a request that [`request`] made, and checks that the answer holds `expected`.
    ///
    /// # Errors
    /// When it does not.
    pub fn call(&mut self, body: &str, expected: &str) -> Result<()> {
        self.post(body)?;
        let answer = String::from_utf8_lossy(self.reply.body());
        ensure!(answer.contains(expected), "{expected:?} is not in {answer}");
        Ok(())
    }

    fn post(&mut self, body: &str) -> Result<()> {
        let mut request = head(&self.endpoint, "POST", self.id.as_deref(), body.len());
        request.push_str(body);
        self.stream.write_all(request.as_bytes())?;
        self.reply.clear();
        while !self.reply.complete()? {
            let mut buffer = [0; 16 << 10];
            let read = self.stream.read(&mut buffer)?;
            if read == 0 {
                bail!("the server closed the connection");
            }
            self.reply.room().extend_from_slice(&buffer[..read]);
        }
        let status = self.reply.status()?;
        ensure!(
            (200..300).contains(&status),
            "the server answered {status}: {}",
            self.reply.excerpt()
        );
        Ok(())
    }
}

/// The text of a call.
pub fn request(id: u32, tool: &str, arguments: &serde_json::Value) -> String {
    serde_json::json!({
        "jsonrpc": "2.0", "id": id, "method": "tools/call",
        "params": {"name": tool, "arguments": arguments},
    })
    .to_string()
}
