//! The one format of all files: a mark, then frames, each with its length and checksum.
//!
//! | bytes | meaning |
//! | --- | --- |
//! | 8 | `FLOTMET` and the version, 1 |
//! | per frame: 1 | what it is: [`SERIES`], [`COLUMNS`], [`ROW`], [`PAGE`] |
//! | 4 | length of what follows the checksum (u32, little-endian, as all that is not LEB128) |
//! | 4 | CRC-32 of it |
//!
//! A frame is written with one call, so a killed process leaves whole frames, or one torn at the end; opening cuts that off.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    path::{Path, PathBuf},
    sync::Arc,
};

/// Series with their numbers, of one source.
pub(crate) const SERIES: u8 = 1;
/// What the columns of a source's rows are from here on (log).
pub(crate) const COLUMNS: u8 = 2;
/// The values of one time (log).
pub(crate) const ROW: u8 = 3;
/// Columns of several times.
pub(crate) const PAGE: u8 = 4;

const MARK: &[u8; 8] = b"FLOTMET1";
/// Bytes before a frame's payload.
pub(crate) const FRAME: usize = 9;
/// A frame that claims to be longer is none.
const LONGEST: usize = 256 << 20;

/// A frame that is being made: put the payload behind what is there.
pub(crate) fn frame(kind: u8) -> Vec<u8> {
    let mut frame = vec![0; FRAME];
    frame[0] = kind;
    frame
}

/// A file that is written at its end.
#[derive(Debug)]
pub(crate) struct Appender {
    pub(crate) file: Arc<File>,
    pub(crate) path: PathBuf,
    /// How long it is.
    pub(crate) length: u64,
}

impl Appender {
    /// A new file; one of that name is replaced.
    pub(crate) fn create(path: &Path) -> io::Result<Self> {
        let mut options = OpenOptions::new();
        let mut file = options
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .open(path)?;
        file.write_all(MARK)?;
        Ok(Self {
            file: Arc::new(file),
            path: path.to_owned(),
            length: MARK.len() as u64,
        })
    }

    /// Goes on with a file of which the first `length` bytes are good.
    pub(crate) fn resume(path: &Path, length: u64) -> io::Result<Self> {
        let file = OpenOptions::new().read(true).write(true).open(path)?;
        file.set_len(length)?;
        Ok(Self {
            file: Arc::new(file),
            path: path.to_owned(),
            length,
        })
    }

    /// Writes a frame made by [`frame`]; gives the place of its payload. After an error the file is as before.
    pub(crate) fn append(&mut self, mut frame: Vec<u8>) -> io::Result<u64> {
        let payload = frame.len() - FRAME;
        let long = || io::Error::new(io::ErrorKind::InvalidInput, "a frame is too long");
        let size = u32::try_from(payload)
            .ok()
            .filter(|_| payload <= LONGEST)
            .ok_or_else(long)?;
        let checksum = crc32fast::hash(&frame[FRAME..]);
        frame[1..5].copy_from_slice(&size.to_le_bytes());
        frame[5..9].copy_from_slice(&checksum.to_le_bytes());
        if let Err(error) = flotilla_os::write_at(&self.file, &frame, self.length) {
            // What is cut off here would be cut off at the next opening.
            let _ = self.file.set_len(self.length);
            return Err(error);
        }
        let place = self.length + FRAME as u64;
        self.length += frame.len() as u64;
        Ok(place)
    }
}

/// A frame of a file.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Frame {
    pub(crate) kind: u8,
    /// Place of the payload.
    pub(crate) at: u64,
    pub(crate) length: usize,
    checksum: u32,
}

impl Frame {
    /// The payload, if its checksum is right.
    pub(crate) fn read(&self, file: &File) -> io::Result<Option<Vec<u8>>> {
        let mut payload = vec![0; self.length];
        flotilla_os::read_at(file, &mut payload, self.at)?;
        Ok((crc32fast::hash(&payload) == self.checksum).then_some(payload))
    }

    /// Place behind it.
    pub(crate) fn end(&self) -> u64 {
        self.at + self.length as u64
    }
}

/// Walks over the frames of a file, up to its end or the first that is not whole.
pub(crate) struct Frames<'a> {
    file: &'a File,
    at: u64,
    end: u64,
}

impl<'a> Frames<'a> {
    /// # Errors
    /// When it cannot be read, or is none of ours.
    pub(crate) fn of(file: &'a File) -> io::Result<Self> {
        let end = file.metadata()?.len();
        let mut mark = [0; MARK.len()];
        if end < mark.len() as u64 {
            return Err(foreign());
        }
        flotilla_os::read_at(file, &mut mark, 0)?;
        if mark != *MARK {
            return Err(foreign());
        }
        Ok(Self {
            file,
            at: mark.len() as u64,
            end,
        })
    }
}

fn foreign() -> io::Error {
    let text = "it does not begin with FLOTMET1: it is not a metrics file of this version";
    io::Error::new(io::ErrorKind::InvalidData, text)
}

impl Iterator for Frames<'_> {
    type Item = Frame;

    fn next(&mut self) -> Option<Frame> {
        let mut head = [0; FRAME];
        let at = self.at + FRAME as u64;
        if at > self.end {
            return None;
        }
        flotilla_os::read_at(self.file, &mut head, self.at).ok()?;
        let [kind, a, b, c, d, e, f, g, h] = head;
        let length = u32::from_le_bytes([a, b, c, d]);
        let frame = Frame {
            kind,
            at,
            length: length as usize,
            checksum: u32::from_le_bytes([e, f, g, h]),
        };
        if !(SERIES..=PAGE).contains(&kind) || frame.length > LONGEST || frame.end() > self.end {
            return None;
        }
        self.at = frame.end();
        Some(frame)
    }
}

/// The numbered files of a folder, `00000012.ENDING`, in order.
pub(crate) fn numbered(folder: &Path, ending: &str) -> io::Result<Vec<(u64, PathBuf)>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let stem = path.file_stem().and_then(|s| s.to_str());
        let number = stem.and_then(|s| s.parse().ok());
        if let (Some(number), true) = (number, path.extension().is_some_and(|e| e == ending)) {
            found.push((number, path));
        }
    }
    found.sort();
    Ok(found)
}

/// Path of a numbered file.
pub(crate) fn path(folder: &Path, number: u64, ending: &str) -> PathBuf {
    folder.join(format!("{number:08}.{ending}"))
}
