//! A client for measurements: one connection, one legacy MCP session over streamable HTTP, one request at a time, on a plain
//! socket. Whatever it costs, it costs the same against each server.

use anyhow::{Context as _, Result, bail, ensure};
use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

/// A session.
pub struct Session {
    stream: TcpStream,
    address: SocketAddr,
    /// Header line with the session's id, once there is one.
    session: String,
    answer: Vec<u8>,
}

impl Session {
    /// Connects and initialises.
    ///
    /// # Errors
    /// When the server does not answer as an MCP server.
    pub fn open(address: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        let mut session = Self {
            stream,
            address,
            session: String::new(),
            answer: Vec::with_capacity(16 << 10),
        };
        let head = session.post(r#"{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2025-06-18","capabilities":{},"clientInfo":{"name":"load","version":"1"}}}"#)?;
        let id = head
            .lines()
            .filter_map(|line| line.split_once(':'))
            .find(|(name, _)| name.eq_ignore_ascii_case("mcp-session-id"))
            .map(|(_, id)| id.trim().to_owned())
            .context("the server names no session")?;
        session.session = format!("mcp-session-id: {id}\r\n");
        session.post(r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#)?;
        Ok(session)
    }

    /// Sends a request that [`request`] made, and checks that the answer holds `expected`.
    ///
    /// # Errors
    /// When it does not.
    pub fn call(&mut self, body: &str, expected: &str) -> Result<()> {
        self.post(body)?;
        let answer = String::from_utf8_lossy(&self.answer);
        ensure!(answer.contains(expected), "{expected:?} is not in {answer}");
        Ok(())
    }

    /// Gives the head of the answer; its body is in `answer`.
    fn post(&mut self, body: &str) -> Result<String> {
        let request = format!(
            "POST /mcp HTTP/1.1\r\nhost: {}\r\ncontent-type: application/json\r\naccept: application/json, text/event-stream\r\nmcp-protocol-version: 2025-06-18\r\n{}content-length: {}\r\n\r\n{body}",
            self.address,
            self.session,
            body.len(),
        );
        self.stream.write_all(request.as_bytes())?;
        self.answer.clear();
        let head_end = loop {
            if let Some(at) = find(&self.answer, b"\r\n\r\n") {
                break at + 4;
            }
            self.more()?;
        };
        let head = String::from_utf8_lossy(self.answer.get(..head_end).unwrap_or_default())
            .to_ascii_lowercase();
        ensure!(head.starts_with("http/1.1 2"), "the server answered {head}");
        let length = head
            .lines()
            .find_map(|line| line.strip_prefix("content-length:"))
            .map(|length| length.trim().parse::<usize>())
            .transpose()?;
        match length {
            Some(length) => {
                while self.answer.len() < head_end + length {
                    self.more()?;
                }
            }
            None if head.contains("transfer-encoding: chunked") => {
                while !self.answer.ends_with(b"\r\n0\r\n\r\n") {
                    self.more()?;
                }
            }
            None => {}
        }
        // Only the head in lower case: a session's id has cases.
        Ok(String::from_utf8_lossy(self.answer.get(..head_end).unwrap_or_default()).into_owned())
    }

    fn more(&mut self) -> Result<()> {
        let mut buffer = [0; 16 << 10];
        let read = self.stream.read(&mut buffer)?;
        if read == 0 {
            bail!("the server closed the connection");
        }
        self.answer.extend(buffer.iter().take(read));
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

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack
        .windows(needle.len())
        .position(|window| window == needle)
}
