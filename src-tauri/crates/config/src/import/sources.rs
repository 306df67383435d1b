//! Which files of which clients, and where they stand.

use super::{ImportError, shape};
use flotilla_contract::command::ImportSource;
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

/// Larger files are no configuration.
const LARGEST: u64 = 32 << 20;

/// Folders in which clients keep their files.
#[derive(Clone, Debug)]
pub struct Paths {
    /// The user's home.
    pub home: PathBuf,
    /// Where programs keep their settings on this platform.
    pub config: PathBuf,
    /// A project to look into as well.
    pub project: Option<PathBuf>,
}

impl Paths {
    /// The files in which clients keep their servers, whether they are there or not, with the client and whether it is a project's.
    pub(crate) fn files(&self) -> impl Iterator<Item = (&'static str, bool, PathBuf)> + '_ {
        KNOWN.iter().filter_map(|(client, base, file)| {
            let folder = match base {
                Base::Home => &self.home,
                Base::Config => &self.config,
                Base::Project => self.project.as_ref()?,
            };
            Some((*client, *base == Base::Project, folder.join(file)))
        })
    }

    /// The folders of the user with this environment; `None` when it names no home.
    #[must_use]
    pub fn of(env: &BTreeMap<String, String>, project: Option<PathBuf>) -> Option<Self> {
        let dir = |name: &str| {
            env.get(name)
                .filter(|value| !value.is_empty())
                .map(PathBuf::from)
        };
        let home = dir(if cfg!(windows) { "USERPROFILE" } else { "HOME" })?;
        let config = if cfg!(windows) {
            dir("APPDATA").unwrap_or_else(|| home.join("AppData/Roaming"))
        } else if cfg!(target_os = "macos") {
            home.join("Library/Application Support")
        } else {
            dir("XDG_CONFIG_HOME").unwrap_or_else(|| home.join(".config"))
        };
        Some(Self {
            home,
            config,
            project,
        })
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Base {
    Home,
    Config,
    Project,
}

/// Clients, and the files in which they keep their servers.
const KNOWN: &[(&str, Base, &str)] = &[
    (
        "Claude Desktop",
        Base::Config,
        "Claude/claude_desktop_config.json",
    ),
    ("Claude Code", Base::Home, ".claude.json"),
    ("Claude Code", Base::Project, ".mcp.json"),
    ("Cursor", Base::Home, ".cursor/mcp.json"),
    ("Cursor", Base::Project, ".cursor/mcp.json"),
    ("VS Code", Base::Config, "Code/User/mcp.json"),
    ("VS Code", Base::Config, "Code/User/settings.json"),
    (
        "VS Code Insiders",
        Base::Config,
        "Code - Insiders/User/mcp.json",
    ),
    ("VS Code", Base::Home, ".vscode-server/data/User/mcp.json"),
    ("VS Code", Base::Project, ".vscode/mcp.json"),
    ("Windsurf", Base::Home, ".codeium/windsurf/mcp_config.json"),
    ("Windsurf", Base::Home, ".codeium/mcp_config.json"),
    ("Gemini CLI", Base::Home, ".gemini/settings.json"),
    ("Gemini CLI", Base::Project, ".gemini/settings.json"),
    (
        "Antigravity",
        Base::Home,
        ".gemini/antigravity/mcp_config.json",
    ),
    ("Codex", Base::Home, ".codex/config.toml"),
    ("Codex", Base::Project, ".codex/config.toml"),
    (
        "Cline",
        Base::Config,
        "Code/User/globalStorage/saoudrizwan.claude-dev/settings/cline_mcp_settings.json",
    ),
    ("Zed", Base::Config, "zed/settings.json"),
    ("Zed", Base::Home, ".config/zed/settings.json"),
    ("Copilot", Base::Home, ".copilot/mcp-config.json"),
    ("LM Studio", Base::Home, ".lmstudio/mcp.json"),
    ("Kiro", Base::Home, ".kiro/settings/mcp.json"),
    ("Factory", Base::Home, ".factory/mcp.json"),
    ("OpenCode", Base::Home, ".config/opencode/opencode.json"),
    ("Amp", Base::Home, ".config/amp/settings.json"),
    ("MCP Inspector", Base::Home, ".mcp-inspector/mcp.json"),
];

/// Where a text comes from.
pub(super) struct Source {
    pub(super) client: &'static str,
    /// Whether the path says TOML.
    pub(super) toml: bool,
    /// The project whose file it is, for `${workspaceFolder}`.
    pub(super) project: Option<PathBuf>,
}

/// The client of a file, by its path.
pub(super) fn identify(path: Option<&Path>) -> Source {
    let Some(path) = path else {
        return Source {
            client: "Pasted text",
            toml: false,
            project: None,
        };
    };
    let toml = path
        .extension()
        .is_some_and(|extension| extension == "toml");
    let fitting = KNOWN.iter().filter(|(_, _, file)| path.ends_with(file));
    // A file that both a user and a project may have: as a project's, since that one knows its folder.
    let best = fitting.max_by_key(|(_, base, file)| (file.len(), *base == Base::Project));
    let project = best
        .filter(|(_, base, _)| *base == Base::Project)
        .and_then(|(_, _, file)| {
            let depth = Path::new(file).components().count();
            path.ancestors()
                .nth(depth)
                .filter(|folder| !folder.as_os_str().is_empty())
                .map(Path::to_owned)
        });
    Source {
        client: best.map_or("another program", |(client, _, _)| client),
        toml,
        project,
    }
}

/// The files of AI clients on this machine that hold servers or cannot be read, each once.
#[must_use]
pub fn scan(paths: &Paths) -> Vec<ImportSource> {
    let mut seen = BTreeSet::new();
    paths
        .files()
        .filter_map(|(client, _, path)| {
            if !path.is_file() || !seen.insert(path.clone()) {
                return None;
            }
            let read = load(&path).and_then(|text| shape::read(&text, &identify(Some(&path))));
            let (servers, error) = match read {
                Ok(found) => (u32::try_from(found.servers.len()).unwrap_or(u32::MAX), None),
                // Settings of a program in which no server was ever configured.
                Err(ImportError::NoServers) => return None,
                Err(error) => (0, Some(error.to_string())),
            };
            (servers > 0 || error.is_some()).then(|| ImportSource {
                client: client.to_owned(),
                path: path.display().to_string(),
                servers,
                error,
            })
        })
        .collect()
}

/// The text of a client's file.
///
/// # Errors
/// When it cannot be read, is no text, or is larger than 32 MiB.
pub fn load(path: &Path) -> Result<String, ImportError> {
    let refuse = |error: String| ImportError::Read {
        path: path.display().to_string(),
        error,
    };
    let meta = fs::metadata(path).map_err(|e| refuse(e.to_string()))?;
    if !meta.is_file() {
        return Err(refuse("it is not a file".into()));
    }
    if meta.len() > LARGEST {
        return Err(refuse(format!(
            "it has {} bytes; accepted are up to {LARGEST}",
            meta.len()
        )));
    }
    fs::read_to_string(path).map_err(|e| refuse(e.to_string()))
}
