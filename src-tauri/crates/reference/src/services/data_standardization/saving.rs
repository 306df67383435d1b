//! Results on disk: one file per workflow, in the folder that the server was given, and nowhere else.

use super::format::iso;
use crate::{service::Host, tool::Refusal};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::{fs, io, io::Write as _, path::Path};
use tempfile::NamedTempFile;

/// Version of the file's layout; that of the original system.
pub(super) const VERSION: &str = "5.0.0";
/// Bytes of one file, at most.
const MOST_BYTES: usize = 16 * 1024 * 1024;
/// Files in the folder, at most: a client that saves in a loop does not fill the disk.
const MOST_FILES: usize = 1000;
const PREFIX: &str = "mcp_enhanced_";

/// What `save_results` takes.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct SaveInput {
    /// Names the file: 1 to 100 letters, digits, hyphens and underscores. Results saved under this name before are replaced.
    workflow_id: WorkflowId,
    /// What to save, any JSON object, up to 16 MiB.
    #[schemars(extend("maxProperties" = 1000))]
    results: Map<String, Value>,
    /// Names of the tools that made it, up to 100; they are noted in the file.
    #[serde(default)]
    #[schemars(length(max = 100), inner(length(max = 200)))]
    tools_used: Vec<String>,
}

/// A name that is safe in a path.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(transparent)]
pub(super) struct WorkflowId(
    #[schemars(length(min = 1, max = 100), regex(pattern = "^[A-Za-z0-9_-]+$"))] String,
);

/// Where results are now.
#[derive(Serialize, JsonSchema)]
pub(super) struct Saved {
    /// The file's full path.
    pub(super) path: String,
    /// Its name in the folder.
    file_name: String,
    /// Its size in bytes.
    bytes: usize,
    /// What the file says about itself.
    metadata: Metadata,
}

/// What a file says about itself.
#[derive(Serialize, JsonSchema)]
pub(super) struct Metadata {
    /// The workflow.
    workflow_id: String,
    /// Names of the tools that made it.
    tools_used: Vec<String>,
    /// Version of the layout.
    version: &'static str,
    /// When it was written, ISO 8601, UTC.
    timestamp: String,
}

#[derive(Serialize)]
struct File<'a, T> {
    metadata: &'a Metadata,
    results: &'a T,
}

impl WorkflowId {
    /// A name made here. What is not allowed in it becomes an underscore.
    pub(super) fn made(name: &str) -> Self {
        let is_allowed = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        Self(
            name.chars()
                .map(|c| if is_allowed(c) { c } else { '_' })
                .collect(),
        )
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

pub(super) fn save_results(host: &Host, input: SaveInput) -> Result<Saved, Refusal> {
    save(host, &input.workflow_id, &input.results, input.tools_used).map_err(Unsaved::into)
}

/// Why nothing was saved.
pub(super) enum Unsaved {
    /// It cannot be, however often it is tried.
    Never(String),
    /// The disk refused.
    Disk(io::Error),
}

impl From<Unsaved> for Refusal {
    fn from(unsaved: Unsaved) -> Self {
        Self::Failed(unsaved.to_string())
    }
}

impl std::fmt::Display for Unsaved {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Never(why) => f.write_str(why),
            Self::Disk(error) => write!(f, "the results could not be written: {error}"),
        }
    }
}

/// Writes results whole or not at all: into a file beside, which then takes the name.
pub(super) fn save(
    host: &Host,
    id: &WorkflowId,
    results: &impl Serialize,
    tools_used: Vec<String>,
) -> Result<Saved, Unsaved> {
    let folder = host.data().ok_or_else(|| {
        Unsaved::Never("the server was started without an output folder (`--data DIR`)".to_owned())
    })?;
    let metadata = Metadata {
        workflow_id: id.as_str().to_owned(),
        tools_used,
        version: VERSION,
        timestamp: iso(host.now_ms()),
    };
    let file = File {
        metadata: &metadata,
        results,
    };
    let text = serde_json::to_vec_pretty(&file)
        .map_err(|error| Unsaved::Never(format!("the results have no JSON: {error}")))?;
    if text.len() > MOST_BYTES {
        return Err(Unsaved::Never(format!(
            "the results are {} bytes, more than the {MOST_BYTES} that one file may have",
            text.len()
        )));
    }
    let file_name = format!("{PREFIX}{}.json", id.as_str());
    let path = folder.join(&file_name);
    fs::create_dir_all(folder).map_err(Unsaved::Disk)?;
    if !path.exists() && files_in(folder).map_err(Unsaved::Disk)? >= MOST_FILES {
        return Err(Unsaved::Never(format!(
            "the output folder holds {MOST_FILES} results already; remove some"
        )));
    }
    write_whole(folder, &path, &text).map_err(Unsaved::Disk)?;
    Ok(Saved {
        path: path.display().to_string(),
        file_name,
        bytes: text.len(),
        metadata,
    })
}

fn write_whole(folder: &Path, path: &Path, text: &[u8]) -> io::Result<()> {
    let mut beside = NamedTempFile::new_in(folder)?;
    beside.write_all(text)?;
    beside.as_file().sync_all()?;
    beside.persist(path)?;
    Ok(())
}

fn files_in(folder: &Path) -> io::Result<usize> {
    let ours = fs::read_dir(folder)?
        .filter_map(Result::ok)
        .filter(|entry| entry.file_name().to_string_lossy().starts_with(PREFIX));
    Ok(ours.count())
}
