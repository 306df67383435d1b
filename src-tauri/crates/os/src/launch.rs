//! Which environment and which program a child is started with.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

/// Variables that a bundle (AppImage, Flatpak, a Python or GTK wrapper) sets for itself and that break the programs
/// started from within it.
const BUNDLE_VARIABLES: [&str; 16] = [
    "APPDIR",
    "APPIMAGE",
    "ARGV0",
    "GDK_PIXBUF_MODULEDIR",
    "GDK_PIXBUF_MODULE_FILE",
    "GIO_EXTRA_MODULES",
    "GIO_MODULE_DIR",
    "GSETTINGS_SCHEMA_DIR",
    "GTK_DATA_PREFIX",
    "GTK_EXE_PREFIX",
    "GTK_IM_MODULE_FILE",
    "GTK_PATH",
    "LD_LIBRARY_PATH",
    "LD_PRELOAD",
    "PYTHONHOME",
    "PYTHONPATH",
];

/// This process's environment as its children should see it: without a bundle's own variables (when it runs from a
/// bundle) and without the engine's secrets.
#[must_use]
pub fn child_environment() -> Vec<(OsString, OsString)> {
    let bundled = std::env::var_os("APPIMAGE").is_some() || std::env::var_os("APPDIR").is_some();
    std::env::vars_os()
        .filter(|(name, _)| {
            let name = name.to_string_lossy();
            let ours = name.starts_with("FLOTILLA_");
            let of_bundle = bundled && BUNDLE_VARIABLES.contains(&name.as_ref());
            !ours && !of_bundle
        })
        .collect()
}

/// The `PATH` that the operator's login shell has: a program started from a desktop often lacks it, and then `npx`
/// and `uvx` are not found. `None` where it cannot be had within 3 s.
#[must_use]
pub fn login_path() -> Option<OsString> {
    #[cfg(unix)]
    {
        use std::{io::Read, os::unix::ffi::OsStringExt};
        let shell = std::env::var_os("SHELL").filter(|s| !s.is_empty())?;
        // The marker keeps what a profile prints apart from the answer.
        let mut child = Command::new(shell)
            .args(["-l", "-i", "-c", "printf '\\001%s\\001' \"$PATH\""])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .ok()?;
        let deadline = Instant::now() + Duration::from_secs(3);
        while child.try_wait().ok()?.is_none() {
            if Instant::now() > deadline {
                let _ = child.kill();
                let _ = child.wait();
                return None;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        let mut out = Vec::new();
        child
            .stdout
            .take()?
            .take(64 << 10)
            .read_to_end(&mut out)
            .ok()?;
        let mut parts = out.split(|b| *b == 1);
        let _before = parts.next()?;
        let path = parts.next().filter(|p| !p.is_empty())?;
        Some(OsString::from_vec(path.to_vec()))
    }
    #[cfg(not(unix))]
    {
        let _ = (
            Command::new(""),
            Stdio::null(),
            Duration::ZERO,
            Instant::now(),
        );
        None
    }
}

/// Raises this process's limit of open files to what the system allows: a fleet needs several per server. Gives the
/// limit as it was, for [`restore_open_files`] of children.
#[must_use]
pub fn raise_open_files() -> Option<u64> {
    #[cfg(unix)]
    {
        use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
        let was = getrlimit(Resource::Nofile);
        let raised = Rlimit {
            current: was.maximum,
            maximum: was.maximum,
        };
        setrlimit(Resource::Nofile, raised).ok()?;
        was.current
    }
    #[cfg(not(unix))]
    None
}

/// Gives a child the limit of open files that this process had at first: some programs go through every descriptor
/// that they may have.
pub fn restore_open_files(pid: u32, limit: u64) {
    #[cfg(target_os = "linux")]
    {
        use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};
        let maximum = getrlimit(Resource::Nofile).maximum;
        if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
            // A child that has ended already needs no limit.
            let _ = prlimit(
                Some(pid),
                Resource::Nofile,
                Rlimit {
                    current: Some(limit),
                    maximum,
                },
            );
        }
    }
    #[cfg(not(target_os = "linux"))]
    let _ = (pid, limit);
}

/// Why a program cannot be started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NotFound {
    /// No such file in any directory of `PATH`.
    Missing,
    /// A file, but not one that may be run.
    NotExecutable(PathBuf),
}

/// Finds a program as a shell would: a path relative to `cwd`, or a name in `path`.
///
/// # Errors
/// When there is none, or it may not be run.
pub fn find_program(
    command: &str,
    path: &std::ffi::OsStr,
    cwd: Option<&Path>,
) -> Result<PathBuf, NotFound> {
    if command.contains(std::path::is_separator) {
        let full = cwd.unwrap_or(Path::new("")).join(command);
        return if !full.is_file() {
            Err(NotFound::Missing)
        } else if executable(&full) {
            Ok(full)
        } else {
            Err(NotFound::NotExecutable(full))
        };
    }
    let mut refused = None;
    for directory in std::env::split_paths(path) {
        for name in names(command) {
            let full = directory.join(name);
            if full.is_file() {
                if executable(&full) {
                    return Ok(full);
                }
                refused.get_or_insert(full);
            }
        }
    }
    Err(refused.map_or(NotFound::Missing, NotFound::NotExecutable))
}

#[cfg(unix)]
fn executable(path: &Path) -> bool {
    rustix::fs::access(path, rustix::fs::Access::EXEC_OK).is_ok()
}

#[cfg(not(unix))]
fn executable(_path: &Path) -> bool {
    true
}

#[cfg(not(windows))]
fn names(command: &str) -> Vec<String> {
    vec![command.to_owned()]
}

/// Windows: `npx` is `npx.cmd`.
#[cfg(windows)]
fn names(command: &str) -> Vec<String> {
    let mut names: Vec<String> = ["exe", "cmd", "bat", "com"]
        .iter()
        .map(|e| format!("{command}.{e}"))
        .collect();
    names.push(command.to_owned());
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_found_as_a_shell_would() {
        let path = std::env::var_os("PATH").unwrap();
        assert!(find_program("sh", &path, None).unwrap().is_absolute());
        assert_eq!(
            find_program("no-such-program-here", &path, None),
            Err(NotFound::Missing)
        );
        let file =
            std::env::temp_dir().join(format!("flotilla-not-executable-{}", std::process::id()));
        std::fs::write(&file, "x").unwrap();
        assert_eq!(
            find_program(file.to_str().unwrap(), &path, None),
            Err(NotFound::NotExecutable(file.clone()))
        );
        std::fs::remove_file(file).unwrap();
    }
}
