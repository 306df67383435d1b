//! From a resolved spec to a process.
//!
//! Only what std's `posix_spawn` path can do is asked for (a process group, an absolute program, an environment):
//! a `pre_exec` would force a fork of the whole engine, which costs milliseconds.

use crate::{
    pipe::Pipe,
    ports::{Endpoint, Resolved},
    probe::port_of,
    unit::SpawnError,
};
use flotilla_contract::{ServerSpec, spec::Transport, state::HealthCode};
use flotilla_os::{
    MARK_VARIABLE, Mark,
    launch::{
        NotFound, child_environment, find_program, login_path, raise_open_files, restore_open_files,
    },
};
use std::{
    ffi::OsString,
    io,
    net::{Ipv4Addr, TcpListener},
    path::{Path, PathBuf},
    process::Stdio,
    sync::OnceLock,
};
use tokio::process::{Child, Command};

/// A process that was started.
#[derive(Debug)]
pub(crate) struct Spawned {
    pub(crate) child: Child,
    pub(crate) pid: u32,
    pub(crate) endpoint: Endpoint,
    pub(crate) stderr: Option<Pipe>,
    pub(crate) stdout: Option<Pipe>,
}

/// The `PATH` in which programs are looked for: the engine's own, then the login shell's, then the folder of the program
/// itself, where the servers that ship with it stand. The first call may take seconds, for it may ask that shell.
#[must_use]
pub fn search_path() -> OsString {
    static PATH: OnceLock<OsString> = OnceLock::new();
    PATH.get_or_init(|| {
        let own = std::env::var_os("PATH").unwrap_or_default();
        // Asking a login shell takes a while; only a launch from a desktop lacks what it would add.
        let from_desktop =
            std::env::var_os("TERM").is_none() && std::env::var_os("DISPLAY").is_some();
        let login = from_desktop.then(login_path).flatten();
        let beside = std::env::current_exe()
            .ok()
            .and_then(|program| program.parent().map(PathBuf::from));
        let mut directories: Vec<PathBuf> = std::env::split_paths(&own).collect();
        // An empty text would be read as one empty entry: the working directory.
        for directory in login.iter().flat_map(std::env::split_paths).chain(beside) {
            if !directories.contains(&directory) {
                directories.push(directory);
            }
        }
        std::env::join_paths(directories).unwrap_or(own)
    })
    .clone()
}

fn environment() -> &'static [(OsString, OsString)] {
    static ENVIRONMENT: OnceLock<Vec<(OsString, OsString)>> = OnceLock::new();
    ENVIRONMENT.get_or_init(|| {
        let mut variables = child_environment();
        variables.retain(|(name, _)| name != "PATH");
        variables.push(("PATH".into(), search_path()));
        variables
    })
}

/// Raises this process's limit of open files at the first call, and tells what it was.
pub(crate) fn open_files_at_first() -> Option<u64> {
    static LIMIT: OnceLock<Option<u64>> = OnceLock::new();
    *LIMIT.get_or_init(raise_open_files)
}

/// A command with the environment that every child gets, in a group of its own, with its mark.
pub(crate) fn command(program: &Path, mark: &Mark, cwd: &Path) -> Command {
    let mut command = Command::new(program);
    command
        .env_clear()
        .envs(environment().iter().map(|(n, v)| (n, v)))
        .env(MARK_VARIABLE, mark.as_str())
        .current_dir(cwd);
    #[cfg(unix)]
    command.process_group(0);
    command
}

/// The operator's home directory, where servers run unless told otherwise.
fn home() -> PathBuf {
    std::env::home_dir()
        .filter(|h| h.is_dir())
        .unwrap_or_else(|| PathBuf::from("/"))
}

fn cwd(resolved: &Resolved) -> PathBuf {
    resolved.cwd.as_ref().map_or_else(home, PathBuf::from)
}

/// The program that a start would run. May take seconds, as [`search_path`] may.
///
/// # Errors
/// When there is none, or it may not be run.
pub fn program(resolved: &Resolved) -> Result<PathBuf, NotFound> {
    let path = resolved
        .env
        .get("PATH")
        .map_or_else(search_path, OsString::from);
    find_program(&resolved.command, &path, Some(&cwd(resolved)))
}

fn refused(code: HealthCode, sentence: String) -> SpawnError {
    SpawnError {
        sentence,
        code,
        transient: false,
    }
}

pub(crate) fn spawn(
    spec: &ServerSpec,
    index: u32,
    resolved: &Resolved,
    mark: &Mark,
) -> Result<Spawned, SpawnError> {
    let port = port_of(spec, index);
    let http = matches!(spec.transport, Transport::Http { .. });
    let cwd = cwd(resolved);
    if !cwd.is_dir() {
        return Err(refused(
            HealthCode::CannotStart,
            format!("its working directory {} is not there", cwd.display()),
        ));
    }
    let program = program(resolved).map_err(|error| match error {
        NotFound::Missing => refused(
            HealthCode::CannotStart,
            format!("no program {} in PATH", resolved.command),
        ),
        NotFound::NotExecutable(file) => refused(
            HealthCode::CannotStart,
            format!("{} may not be executed", file.display()),
        ),
    })?;
    if let (true, Some(port)) = (http, port) {
        free_port(port)?;
    }
    let mut command = command(&program, mark, &cwd);
    command.args(&resolved.args);
    command.envs(&resolved.env);
    command
        .stdin(if http { Stdio::null() } else { Stdio::piped() })
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().map_err(|error| {
        // Out of processes, memory or descriptors: that may pass.
        let transient = matches!(
            error.kind(),
            io::ErrorKind::WouldBlock | io::ErrorKind::OutOfMemory
        ) || matches!(error.raw_os_error(), Some(23 | 24));
        SpawnError {
            sentence: format!("run {}: {error}", program.display()),
            code: HealthCode::CannotStart,
            transient,
        }
    })?;
    let pid = child.id().unwrap_or_default();
    if let Some(limit) = open_files_at_first() {
        restore_open_files(pid, limit);
    }
    let output = child.stdout.take();
    let stderr = child.stderr.take().and_then(|pipe| Pipe::stderr(pipe).ok());
    let (endpoint, stdout) = match (&spec.transport, child.stdin.take(), output) {
        (Transport::Stdio { .. }, Some(input), Some(output)) => {
            (Endpoint::Stdio { input, output }, None)
        }
        (Transport::Http { path, .. }, _, output) => {
            let url = format!("http://127.0.0.1:{}{path}", port.unwrap_or_default());
            (
                Endpoint::Http {
                    url,
                    headers: resolved.headers.clone(),
                },
                output.and_then(|pipe| Pipe::stdout(pipe).ok()),
            )
        }
        _ => {
            return Err(refused(
                HealthCode::CannotStart,
                "its standard streams cannot be had".into(),
            ));
        }
    };
    Ok(Spawned {
        child,
        pid,
        endpoint,
        stderr,
        stdout,
    })
}

/// A server whose port is held would only exit again; that the port is held is what the operator must know.
fn free_port(port: u16) -> Result<(), SpawnError> {
    match TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => Err(SpawnError {
            sentence: format!("port {port} is held by another process"),
            code: HealthCode::PortTaken,
            transient: true,
        }),
        _ => Ok(()),
    }
}
