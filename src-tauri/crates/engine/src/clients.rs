//! The gateway in the files of AI clients: which there are, what one would become, written, undone.
//!
//! What a file becomes is decided in `config::clients`; here stands which files (those of the user who runs the engine, and of a
//! project that the operator names), the gateway's address, and one change at a time. Copies of files and records of changes are
//! in the home, under `clients`, readable by the owner only.

use crate::{clock, core::Core, sessions::lock};
use flotilla_config::{
    clients::{self, Backups, ClientError, Entry, Target},
    import::Paths,
};
use flotilla_contract::{
    ErrorCode, WireError,
    gateway::{
        ClientConnect, ClientPreview, ClientQuery, ClientTarget, ClientUndo, ClientUndone,
        ClientWritten,
    },
};
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

/// Changes that can be undone; older ones are forgotten with their copies.
const MOST_RECORDS: usize = 32;

/// What the engine knows for changing clients' files.
pub(crate) struct Clients {
    folder: PathBuf,
    /// See [`Options::bridge`](crate::Options::bridge).
    bridge: Vec<String>,
    /// One change at a time: what is compared stays so until it is written.
    writing: Arc<Mutex<()>>,
}

impl Clients {
    pub(crate) fn new(home: &Path, bridge: Vec<String>) -> Self {
        Self {
            folder: home.join("clients"),
            bridge,
            writing: Arc::default(),
        }
    }
}

/// Files and what goes into them.
struct Ask {
    paths: Paths,
    entry: Entry,
}

impl Core {
    /// Everything that a change depends on, as it is now.
    fn ask(&self, project: Option<&str>, group: Option<&str>) -> Result<Ask, WireError> {
        let refuse =
            |code, why: String| Err(WireError::new(code, format!("connect a client: {why}")));
        let Some(address) = self.gateway.address() else {
            return refuse(
                ErrorCode::Unsupported,
                "the gateway listens nowhere; gateway.enabled of fleet.toml decides that".into(),
            );
        };
        let fleet = self.fleet();
        let groups = &fleet.gateway.groups;
        if let Some(group) = group.filter(|group| groups.iter().all(|known| known.name != **group))
        {
            return refuse(
                ErrorCode::NotFound,
                format!("the group {group} is not declared"),
            );
        }
        let project = project.map(PathBuf::from);
        if let Some(project) = project.as_ref().filter(|p| !p.is_absolute() || !p.is_dir()) {
            return refuse(
                ErrorCode::BadRequest,
                format!("{} is not the whole path of a folder", project.display()),
            );
        }
        let env: BTreeMap<String, String> = std::env::vars_os()
            .filter_map(|(n, v)| Some((n.into_string().ok()?, v.into_string().ok()?)))
            .collect();
        let Some(paths) = Paths::of(&env, project) else {
            return refuse(
                ErrorCode::NotFound,
                "the environment of the engine names no home directory".into(),
            );
        };
        let url = group.map_or_else(|| address.clone(), |group| format!("{address}/{group}"));
        let mut line = self.clients.bridge.iter().cloned();
        let mut entry = Entry::new(url, line.next().unwrap_or_default());
        if !entry.command.is_empty() {
            entry.args = line.collect();
        }
        if let Some(group) = group {
            entry.args.extend(["--group".into(), group.to_owned()]);
        }
        Ok(Ask { paths, entry })
    }

    /// Runs something on files off the async threads.
    async fn with_files<T: Send + 'static>(
        &self,
        work: impl FnOnce(Backups<'_>) -> Result<T, WireError> + Send + 'static,
    ) -> Result<T, WireError> {
        let folder = self.clients.folder.clone();
        let writing = Arc::clone(&self.clients.writing);
        let done = tokio::task::spawn_blocking(move || {
            let _one = lock(&writing);
            work(Backups::In(&folder))
        });
        done.await
            .map_err(|e| WireError::new(ErrorCode::Internal, format!("connect a client: {e}")))?
    }

    pub(crate) async fn client_targets(
        &self,
        query: &ClientQuery,
    ) -> Result<Vec<ClientTarget>, WireError> {
        let Ask { paths, entry } = self.ask(query.project.as_deref(), query.group.as_deref())?;
        self.with_files(move |backups| {
            let records = backups.records();
            let targets = clients::targets(&paths);
            Ok(targets.iter().map(|t| t.shown(&entry, &records)).collect())
        })
        .await
    }

    pub(crate) async fn client_preview(
        &self,
        params: ClientConnect,
    ) -> Result<ClientPreview, WireError> {
        let ask = self.ask(params.project.as_deref(), params.group.as_deref())?;
        self.with_files(move |_| {
            let target = find(&ask.paths, &params.path)?;
            let preview = target.preview(&ask.entry, params.act).map_err(wire)?;
            Ok(preview.shown(&target))
        })
        .await
    }

    /// Writes what was shown: made anew, it must have the hash of the preview.
    pub(crate) async fn client_write(
        &self,
        params: ClientConnect,
    ) -> Result<ClientWritten, WireError> {
        let ask = self.ask(params.project.as_deref(), params.group.as_deref())?;
        let Some(hash) = params.hash.clone() else {
            return Err(WireError::new(
                ErrorCode::BadRequest,
                "write a client's file: it needs the hash of its preview",
            ));
        };
        self.with_files(move |backups| {
            let target = find(&ask.paths, &params.path)?;
            let preview = target.preview(&ask.entry, params.act).map_err(wire)?;
            let written = if preview.hash() == hash {
                clients::write(&target, &preview, backups, clock::now())
            } else {
                let path = params.path.clone();
                Err(ClientError::Conflict { path })
            };
            backups.keep_latest(MOST_RECORDS);
            written.map_err(|error| match error {
                // The difference is what the file would become now.
                ClientError::Conflict { .. } => {
                    match serde_json::to_value(preview.shown(&target)) {
                        Ok(shown) => wire(error).with_detail(shown),
                        Err(_) => wire(error),
                    }
                }
                other => wire(other),
            })
        })
        .await
    }

    pub(crate) async fn client_undo(&self, params: ClientUndo) -> Result<ClientUndone, WireError> {
        self.with_files(move |backups| {
            let records = backups.records();
            let written = records.iter().find(|record| record.id == params.id);
            let written = written.ok_or_else(|| {
                WireError::new(
                    ErrorCode::NotFound,
                    "undo the change of a client's file: it was undone, or is too long ago",
                )
            })?;
            clients::undo(written, backups).map_err(wire)
        })
        .await
    }
}

/// The file of this path, if it is one of the clients'.
fn find(paths: &Paths, path: &str) -> Result<Target, WireError> {
    let targets = clients::targets(paths);
    let found = targets.into_iter().find(|t| t.path() == Path::new(path));
    found.ok_or_else(|| {
        WireError::new(
            ErrorCode::NotFound,
            format!("find {path} among the files of clients on this machine"),
        )
    })
}

fn wire(error: ClientError) -> WireError {
    let code = match &error {
        ClientError::File { .. } => ErrorCode::Store,
        ClientError::Shape { .. } | ClientError::Refused { .. } => ErrorCode::Unsupported,
        ClientError::Conflict { .. } | ClientError::Changed { .. } => ErrorCode::Conflict,
    };
    WireError::new(code, error.to_string())
}
