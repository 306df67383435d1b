//! The least that answers HTTP/1.1 as an MCP endpoint: written by hand, for callers of the measurement only.

use anyhow::{Context as _, Result};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

/// What answers to messages.
pub(crate) trait Answer: Clone + Send + Sync + 'static {
    /// Writes the reply to a message behind what is in `out`; nothing for a message without one.
    fn answer(&self, message: &[u8], out: &mut Vec<u8>) -> impl Future<Output = Result<()>> + Send;
}

const HEAD: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nmcp-session-id: bare\r\ncontent-length:         \r\n\r\n";
/// Where the length stands in it: at the end, before two line ends.
const LENGTH: std::ops::Range<usize> = HEAD.len() - 12..HEAD.len() - 4;

/// Answers on every connection.
pub(crate) async fn serve(socket: TcpListener, answer: impl Answer) -> Result<()> {
    loop {
        let (stream, _) = socket.accept().await?;
        stream.set_nodelay(true)?;
        tokio::spawn(connection(stream, answer.clone()));
    }
}

async fn connection(mut stream: TcpStream, answer: impl Answer) -> Result<()> {
    let mut input = Vec::with_capacity(128 << 10);
    let mut output = Vec::with_capacity(128 << 10);
    loop {
        let head = loop {
            match input.windows(4).position(|window| window == b"\r\n\r\n") {
                Some(at) => break at + 4,
                None if more(&mut stream, &mut input).await? => {}
                None => return Ok(()),
            }
        };
        let end = head + content_length(&input[..head])?;
        while input.len() < end {
            if !more(&mut stream, &mut input).await? {
                return Ok(());
            }
        }
        output.clear();
        if input.starts_with(b"POST ") {
            output.extend(HEAD);
            answer.answer(&input[head..end], &mut output).await?;
            let length = output.len() - HEAD.len();
            if length == 0 {
                output.clear();
                output.extend(b"HTTP/1.1 202 Accepted\r\ncontent-length: 0\r\n\r\n");
            } else {
                // Spaces before a value mean nothing.
                output[LENGTH].copy_from_slice(format!("{length:8}").as_bytes());
            }
        } else if input.starts_with(b"DELETE ") {
            output.extend(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
        } else {
            output.extend(b"HTTP/1.1 405 Method Not Allowed\r\ncontent-length: 0\r\n\r\n");
        }
        stream.write_all(&output).await?;
        input.drain(..end);
    }
}

async fn more(stream: &mut TcpStream, input: &mut Vec<u8>) -> Result<bool> {
    input.reserve(32 << 10);
    Ok(stream.read_buf(input).await? > 0)
}

fn content_length(head: &[u8]) -> Result<usize> {
    let mut fields = str::from_utf8(head)?
        .lines()
        .filter_map(|line| line.split_once(':'));
    let length = fields.find(|(name, _)| name.eq_ignore_ascii_case("content-length"));
    length.map_or(Ok(0), |(_, value)| {
        value.trim().parse().context("no content length")
    })
}
