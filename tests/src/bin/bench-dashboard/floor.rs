//! The floor: one thread, one encoded frame, one write a client, no queue, nobody read. Whoever cannot take a frame whole is dropped.

use std::{
    cell::RefCell,
    rc::Rc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use tokio::net::{TcpListener, TcpStream};

/// Milliseconds since the epoch.
fn now() -> u128 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.unwrap_or_default().as_millis()
}

pub(crate) fn serve(port: u16, every: u64, bytes: usize) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    tokio::task::LocalSet::new().block_on(&runtime, async move {
        let listener = TcpListener::bind(("127.0.0.1", port)).await?;
        let clients: Rc<RefCell<Vec<TcpStream>>> = Rc::default();
        let come = Rc::clone(&clients);
        tokio::task::spawn_local(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let _ = stream.set_nodelay(true);
                let come = Rc::clone(&come);
                tokio::task::spawn_local(async move {
                    if let Ok(socket) = tokio_tungstenite::accept_async(stream).await {
                        come.borrow_mut().push(socket.into_inner());
                    }
                });
            }
        });
        let pad = "x".repeat(bytes.saturating_sub(60));
        let mut ticks = tokio::time::interval(Duration::from_millis(every));
        loop {
            ticks.tick().await;
            let text = format!(
                r#"{{"type":"metrics:update","timestamp":{},"pad":"{pad}"}}"#,
                now()
            );
            let frame = encoded(&text);
            clients.borrow_mut().retain(
                |client| matches!(client.try_write(&frame), Ok(sent) if sent == frame.len()),
            );
        }
    })
}

/// An unmasked text frame, RFC 6455 section 5.2; up to 64 KiB.
fn encoded(text: &str) -> Vec<u8> {
    let mut frame = vec![0x81];
    match u16::try_from(text.len()).unwrap_or(u16::MAX) {
        short @ 0..126 => frame.push(short.to_le_bytes()[0]),
        long => {
            frame.push(126);
            frame.extend(long.to_be_bytes());
        }
    }
    frame.extend(text.as_bytes());
    frame
}
