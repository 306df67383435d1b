//! Building the web panel, when something changed.

use crate::{
    shell::{self, npm, root, target},
    steps::Said,
};
use anyhow::{Context as _, Result};
use std::{
    fs,
    hash::{DefaultHasher, Hash as _, Hasher as _},
    path::{Path, PathBuf},
    time::SystemTime,
};

/// What does not go into the panel, and what building it makes.
const OUTSIDE: &[&str] = &[
    "node_modules",
    "bench",
    "dist",
    "tests",
    "test-results",
    "playwright-report",
];

/// `npm ci`, unless npm's own record of what it installed is newer than the lock.
pub(crate) fn install() -> Result<Said> {
    let changed = |path: &str| {
        fs::metadata(root().join("ui").join(path))
            .and_then(|meta| meta.modified())
            .ok()
    };
    let installed = changed("node_modules/.package-lock.json");
    let wanted = ["package.json", "package-lock.json"]
        .map(changed)
        .into_iter()
        .flatten()
        .max();
    if is_fresh(installed, wanted) {
        return Ok("up to date");
    }
    shell::quietly(npm().args(["ci", "--no-audit", "--no-fund", "--loglevel=error"]))?;
    Ok("installed")
}

fn is_fresh(installed: Option<SystemTime>, wanted: Option<SystemTime>) -> bool {
    installed
        .zip(wanted)
        .is_some_and(|(installed, wanted)| installed >= wanted)
}

/// `npm run build`, unless the sources are those of the last build.
pub(crate) fn build() -> Result<Said> {
    let stamp = target().join("xtask/panel");
    let sources = format!("{:016x}", fingerprint(&root().join("ui"))?);
    let built = root().join("ui/dist/index.html").exists();
    if built && fs::read_to_string(&stamp).is_ok_and(|last| last == sources) {
        return Ok("up to date");
    }
    shell::quietly(npm().args(["run", "--silent", "build"]))?;
    fs::create_dir_all(target().join("xtask"))
        .and_then(|()| fs::write(&stamp, sources))
        .context("failed to remember the build")?;
    Ok("built")
}

/// The page that measures charts, built from today's sources; its folder.
pub(crate) fn measured() -> Result<PathBuf> {
    install()?;
    let folder = target().join("bench-charts");
    let build = [
        "exec",
        "--",
        "vite",
        "build",
        "--config",
        "bench/vite.config.ts",
        "--outDir",
    ];
    shell::quietly(npm().args(build).arg(&folder))?;
    Ok(folder)
}

/// A number over names and contents of everything that goes into the panel.
fn fingerprint(folder: &Path) -> Result<u64> {
    let mut hasher = DefaultHasher::new();
    let mut open = vec![folder.to_owned()];
    while let Some(path) = open.pop() {
        let mut entries: Vec<_> = fs::read_dir(&path)
            .and_then(|entries| entries.collect::<std::io::Result<Vec<_>>>())
            .with_context(|| format!("failed to list {}", path.display()))?;
        entries.sort_by_key(fs::DirEntry::file_name);
        for entry in entries {
            let name = entry.file_name();
            let hidden = name.to_string_lossy().starts_with('.');
            if hidden || (path == folder && OUTSIDE.iter().any(|outside| name == *outside)) {
                continue;
            }
            let entry = entry.path();
            if entry.is_dir() {
                open.push(entry);
                continue;
            }
            entry
                .strip_prefix(folder)
                .unwrap_or(&entry)
                .hash(&mut hasher);
            fs::read(&entry)
                .with_context(|| format!("failed to read {}", entry.display()))?
                .hash(&mut hasher);
        }
    }
    Ok(hasher.finish())
}
