//! Reading and writing at a place of a file, without a position that readers would have to share.

use std::{fs::File, io};

/// Fills `buffer` from `at` on.
///
/// # Errors
/// When the file cannot be read, or ends before.
pub fn read_at(file: &File, buffer: &mut [u8], at: u64) -> io::Result<()> {
    #[cfg(unix)]
    return std::os::unix::fs::FileExt::read_exact_at(file, buffer, at);
    #[cfg(windows)]
    return whole(buffer.len(), |done| {
        std::os::windows::fs::FileExt::seek_read(file, &mut buffer[done..], at + done as u64)
    });
}

/// Writes all of `bytes` from `at` on.
///
/// # Errors
/// When the file cannot be written, for instance because the disk is full; a part may have been.
pub fn write_at(file: &File, bytes: &[u8], at: u64) -> io::Result<()> {
    #[cfg(unix)]
    return std::os::unix::fs::FileExt::write_all_at(file, bytes, at);
    #[cfg(windows)]
    return whole(bytes.len(), |done| {
        std::os::windows::fs::FileExt::seek_write(file, &bytes[done..], at + done as u64)
    });
}

#[cfg(windows)]
fn whole(length: usize, mut part: impl FnMut(usize) -> io::Result<usize>) -> io::Result<()> {
    let mut done = 0;
    while done < length {
        match part(done)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            more => done += more,
        }
    }
    Ok(())
}
