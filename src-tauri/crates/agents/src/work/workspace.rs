//! The folder that a run works in, from which no path leads out.

use super::{Place, WorkError};
use cap_std::{
    ambient_authority,
    fs::{Dir, DirEntry, File, OpenOptions},
};
use std::{
    io,
    path::{Path, PathBuf},
    time::SystemTime,
};

/// Folders below each other at most.
const DEPTH: usize = 64;

/// A workspace that is open. Every path is looked up below it by the system itself, so that a link swapped in meanwhile leads nowhere.
pub(super) struct Workspace {
    root: PathBuf,
    folder: Dir,
}

/// What a path names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    File,
    Folder,
    /// A link, a pipe, a device.
    Other,
}

impl Kind {
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::Folder => "folder",
            Self::Other => "other",
        }
    }
}

/// What a folder holds.
pub(super) struct Entry {
    /// Below the folder that was asked for, with `/` between.
    pub(super) path: String,
    pub(super) kind: Kind,
    /// Of a file.
    pub(super) bytes: Option<u64>,
    found: DirEntry,
}

impl Entry {
    /// Opens it to read it, when it is a file.
    pub(super) fn open(&self) -> Option<File> {
        (self.kind == Kind::File).then(|| self.found.open().ok())?
    }

    /// When it was written to last.
    pub(super) fn written(&self) -> io::Result<SystemTime> {
        Ok(self.found.metadata()?.modified()?.into_std())
    }
}

impl Workspace {
    pub(super) fn open(place: &Place) -> Result<Self, WorkError> {
        let failed = |error| WorkError::failed(format!("open the workspace: {error}"));
        let root = place.root.canonicalize().map_err(failed)?;
        let folder = Dir::open_ambient_dir(&root, ambient_authority()).map_err(failed)?;
        Ok(Self { root, folder })
    }

    /// An error about a path, as the failure of a step.
    pub(super) fn failed<'p>(
        field: &'p str,
        path: &'p str,
    ) -> impl Fn(io::Error) -> WorkError + 'p {
        move |error| {
            // The library's own refusal of a path that leads out has no number of the system's.
            if error.kind() == io::ErrorKind::PermissionDenied && error.raw_os_error().is_none() {
                WorkError::refused(format!(
                    "{field} is {path:?}, which is outside of the workspace of the run"
                ))
            } else {
                WorkError::failed(format!("{path}: {error}"))
            }
        }
    }

    /// The path below the workspace, also of one that was given in full.
    fn below<'p>(&self, path: &'p str) -> &'p Path {
        let given = Path::new(path);
        match given.strip_prefix(&self.root) {
            Ok(inner) if inner.as_os_str().is_empty() => Path::new("."),
            Ok(inner) => inner,
            Err(_) => given,
        }
    }

    fn file(&self, path: &str, options: &mut OpenOptions) -> io::Result<File> {
        // A pipe that nobody else has open is not waited for.
        #[cfg(unix)]
        {
            use cap_std::fs::OpenOptionsExt as _;
            options.custom_flags(rustix::fs::OFlags::NONBLOCK.bits().cast_signed());
        }
        let file = self.folder.open_with(self.below(path), options)?;
        if file.metadata()?.is_file() {
            Ok(file)
        } else {
            Err(io::Error::other("it is no file"))
        }
    }

    /// Opens a file to read it.
    pub(super) fn read(&self, path: &str) -> io::Result<File> {
        self.file(path, OpenOptions::new().read(true))
    }

    /// Opens a file to write it anew, with the folders above it.
    pub(super) fn create(&self, path: &str) -> io::Result<File> {
        self.parent(path)?;
        let file = self.file(path, OpenOptions::new().write(true).create(true))?;
        // Not before it is known to be a file.
        file.set_len(0)?;
        Ok(file)
    }

    /// Makes a file that was not there, with the folders above it.
    pub(super) fn create_new(&self, path: &str) -> io::Result<File> {
        self.parent(path)?;
        self.file(path, OpenOptions::new().write(true).create_new(true))
    }

    /// Opens a file to write at its end, with the folders above it.
    pub(super) fn append(&self, path: &str) -> io::Result<File> {
        self.parent(path)?;
        self.file(path, OpenOptions::new().append(true).create(true))
    }

    fn parent(&self, path: &str) -> io::Result<()> {
        match self.below(path).parent() {
            Some(parent) if !parent.as_os_str().is_empty() => self.folder.create_dir_all(parent),
            _ => Ok(()),
        }
    }

    /// Removes a file.
    pub(super) fn remove(&self, path: &str) -> io::Result<()> {
        self.folder.remove_file(self.below(path))
    }

    /// Makes a folder, with those above it, unless it is there.
    pub(super) fn make(&self, path: &str) -> io::Result<()> {
        self.folder.create_dir_all(self.below(path))
    }

    /// Whether something is at a path; a link is not followed.
    pub(super) fn exists(&self, path: &str) -> io::Result<bool> {
        match self.folder.symlink_metadata(self.below(path)) {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Removes a folder and all that it holds.
    pub(super) fn remove_all(&self, path: &str) -> io::Result<()> {
        self.folder.remove_dir_all(self.below(path))
    }

    /// Gives a file or folder another path.
    pub(super) fn rename(&self, path: &str, to: &str) -> io::Result<()> {
        self.folder
            .rename(self.below(path), &self.folder, self.below(to))
    }

    /// A path in full, for what opens it by name. Whether it is inside is for another call.
    pub(super) fn full(&self, path: &str) -> PathBuf {
        self.root.join(self.below(path))
    }

    /// A folder to work in, in full.
    pub(super) fn folder(&self, path: &str) -> io::Result<PathBuf> {
        let below = self.below(path);
        self.folder.open_dir(below)?;
        Ok(self.full(path))
    }

    /// Goes through a folder in the order of names; links are named and not followed. `each` says whether a folder is gone into.
    /// What others remove on the way is passed over. True when there was more than `most`.
    pub(super) fn walk(
        &self,
        path: &str,
        most: usize,
        mut each: impl FnMut(&Entry) -> io::Result<bool>,
    ) -> io::Result<bool> {
        let folder = self.folder.open_dir(self.below(path))?;
        let mut left = most;
        walk(&folder, "", DEPTH, &mut left, &mut each)
    }
}

fn walk(
    folder: &Dir,
    above: &str,
    depth: usize,
    left: &mut usize,
    each: &mut impl FnMut(&Entry) -> io::Result<bool>,
) -> io::Result<bool> {
    let mut found = folder.entries()?.collect::<io::Result<Vec<_>>>()?;
    found.sort_by_key(DirEntry::file_name);
    for entry in found {
        if *left == 0 {
            return Ok(true);
        }
        *left -= 1;
        match visit(entry, above, depth, left, each) {
            Ok(false) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            more => return more,
        }
    }
    Ok(false)
}

fn visit(
    found: DirEntry,
    above: &str,
    depth: usize,
    left: &mut usize,
    each: &mut impl FnMut(&Entry) -> io::Result<bool>,
) -> io::Result<bool> {
    let path = format!("{above}{}", found.file_name().to_string_lossy());
    let (kind, bytes) = match found.file_type()? {
        kind if kind.is_dir() => (Kind::Folder, None),
        kind if kind.is_file() => (Kind::File, Some(found.metadata()?.len())),
        _ => (Kind::Other, None),
    };
    let entry = Entry {
        path,
        kind,
        bytes,
        found,
    };
    if !each(&entry)? {
        return Ok(false);
    }
    if depth == 0 {
        return Ok(true);
    }
    let folder = entry.found.open_dir()?;
    walk(&folder, &format!("{}/", entry.path), depth - 1, left, each)
}
