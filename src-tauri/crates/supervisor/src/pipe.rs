//! Reading a child's output without a task and without a buffer per child.

use std::io;

/// At most this much is taken at a time.
const PIECE: usize = 32 << 10;

#[cfg(unix)]
mod imp {
    use super::PIECE;
    use std::{cell::RefCell, io};
    use tokio::net::unix::pipe::Receiver;

    thread_local! {
        // One buffer per worker thread serves every child: a quiet child holds none.
        static BUFFER: RefCell<Box<[u8]>> = RefCell::new(vec![0; PIECE].into_boxed_slice());
    }

    /// The reading end of a child's output.
    #[derive(Debug)]
    pub(crate) struct Pipe(Receiver);

    impl Pipe {
        pub(crate) fn stdout(from: tokio::process::ChildStdout) -> io::Result<Self> {
            Receiver::from_owned_fd(from.into_owned_fd()?).map(Self)
        }

        pub(crate) fn stderr(from: tokio::process::ChildStderr) -> io::Result<Self> {
            Receiver::from_owned_fd(from.into_owned_fd()?).map(Self)
        }

        /// Takes what is there now; `Ok(0)` is the end, `WouldBlock` means nothing is there.
        pub(crate) fn take(&self, take: impl FnOnce(&[u8])) -> io::Result<usize> {
            BUFFER.with_borrow_mut(|buffer| {
                let n = self.0.try_read(buffer)?;
                take(&buffer[..n]);
                Ok(n)
            })
        }

        /// Waits until there is something.
        pub(crate) async fn ready(&self) -> io::Result<()> {
            self.0.readable().await
        }
    }
}

#[cfg(not(unix))]
mod imp {
    //! Not run so far. A reader task per pipe hands pieces over a small channel.

    use super::PIECE;
    use std::{io, sync::Mutex};
    use tokio::{
        io::{AsyncRead, AsyncReadExt},
        sync::{Notify, mpsc},
    };

    #[derive(Debug)]
    pub(crate) struct Pipe {
        pieces: Mutex<mpsc::Receiver<Vec<u8>>>,
        ready: std::sync::Arc<Notify>,
    }

    impl Pipe {
        pub(crate) fn stdout(from: tokio::process::ChildStdout) -> io::Result<Self> {
            Ok(Self::read(from))
        }

        pub(crate) fn stderr(from: tokio::process::ChildStderr) -> io::Result<Self> {
            Ok(Self::read(from))
        }

        fn read(mut from: impl AsyncRead + Unpin + Send + 'static) -> Self {
            let (to, pieces) = mpsc::channel(4);
            let ready = std::sync::Arc::new(Notify::new());
            let wake = ready.clone();
            tokio::spawn(async move {
                let mut buffer = vec![0; PIECE];
                while let Ok(n @ 1..) = from.read(&mut buffer).await {
                    if to.send(buffer[..n].to_vec()).await.is_err() {
                        return;
                    }
                    wake.notify_one();
                }
                drop(to);
                wake.notify_one();
            });
            Self {
                pieces: Mutex::new(pieces),
                ready,
            }
        }

        pub(crate) fn take(&self, take: impl FnOnce(&[u8])) -> io::Result<usize> {
            let mut pieces = self
                .pieces
                .lock()
                .unwrap_or_else(std::sync::PoisonError::into_inner);
            match pieces.try_recv() {
                Ok(piece) => {
                    take(&piece);
                    Ok(piece.len())
                }
                Err(mpsc::error::TryRecvError::Empty) => Err(io::ErrorKind::WouldBlock.into()),
                Err(mpsc::error::TryRecvError::Disconnected) => Ok(0),
            }
        }

        pub(crate) async fn ready(&self) -> io::Result<()> {
            let empty = self
                .pieces
                .lock()
                .unwrap_or_else(std::sync::PoisonError::into_inner)
                .is_empty();
            if empty {
                self.ready.notified().await;
            }
            Ok(())
        }
    }
}

pub(crate) use imp::Pipe;

/// What one look at a pipe gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Look {
    /// So many bytes.
    Bytes(usize),
    /// Nothing now.
    Empty,
    /// Nothing any more.
    End,
}

pub(crate) fn look(result: io::Result<usize>) -> Look {
    match result {
        Ok(0) => Look::End,
        Ok(n) => Look::Bytes(n),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Look::Empty,
        Err(_) => Look::End,
    }
}
