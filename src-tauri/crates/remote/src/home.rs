//! The home directory of an engine and the way in that its owner writes there.

use crate::Error;
use serde::Deserialize;
use std::{io, path::Path, path::PathBuf};

/// Largest `engine.json` that is read, in bytes.
const MAX_BOOT: u64 = 64 * 1024;

/// The way into a running engine, as `engine.json` of its home tells it. It stays behind when an engine is killed.
#[derive(Clone, PartialEq, Eq, Deserialize)]
pub struct Boot {
    /// Boot id.
    pub boot: String,
    /// Process id of the engine.
    pub pid: u32,
    /// Base address of the panel ("http://127.0.0.1:3000").
    pub url: String,
    /// Where AI clients reach the fleet (`http://127.0.0.1:8720/mcp`), while the gateway is served.
    #[serde(default)]
    pub gateway: Option<String>,
    /// Where the realtime dashboard listens (`ws://127.0.0.1:9000`), while it is served.
    #[serde(default)]
    pub dashboard: Option<String>,
    /// Where requests are followed (`ws://127.0.0.1:8787/stream`), while that is served.
    #[serde(default)]
    pub stream: Option<String>,
    /// Token of the control surfaces.
    pub token: String,
    /// Version of the engine.
    pub version: String,
}

impl std::fmt::Debug for Boot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Boot({}, pid {}, {})", self.boot, self.pid, self.url)
    }
}

impl Boot {
    /// Reads `engine.json` of a home.
    ///
    /// # Errors
    /// [`Error::NoEngine`] where there is none, [`Error::File`] where it cannot be read.
    pub fn read(home: &Path) -> Result<Self, Error> {
        let path = home.join("engine.json");
        let file = |error: String| Error::File {
            path: path.clone(),
            error,
        };
        let size = match std::fs::metadata(&path) {
            Ok(found) => found.len(),
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                return Err(Error::NoEngine { home: home.into() });
            }
            Err(e) => return Err(file(e.to_string())),
        };
        if size > MAX_BOOT {
            return Err(file(format!("it holds {size} bytes, more than {MAX_BOOT}")));
        }
        let text = std::fs::read(&path).map_err(|e| file(e.to_string()))?;
        serde_json::from_slice(&text).map_err(|e| file(e.to_string()))
    }
}

/// Where a home is when nobody says: `flotilla` in the platform's folder for application data.
#[must_use]
pub fn default_home() -> Option<PathBuf> {
    Some(dirs::data_dir()?.join("flotilla"))
}

/// The command line with which an AI client starts the bridge to the gateway of this home, for a host that is `program`: that
/// program itself if it is `flotilla`, or the one beside it. Empty where there is none, or its path is no text.
#[must_use]
pub fn bridge(program: &Path, home: &Path) -> Vec<String> {
    let name = format!("flotilla{}", std::env::consts::EXE_SUFFIX);
    let flotilla = program.with_file_name(name);
    let Some(command) = flotilla.to_str().filter(|_| flotilla.is_file()) else {
        return Vec::new();
    };
    let mut line = vec![command.to_owned(), "connect".into()];
    if default_home().as_deref() != Some(home) {
        let Some(home) = home.to_str() else {
            return Vec::new();
        };
        line.extend(["--home".into(), home.to_owned()]);
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bridge_is_the_program_beside_the_host_and_names_a_home_of_its_own() {
        let dir = tempfile::tempdir().unwrap();
        let host = dir.path().join("flotilla-desktop");
        let home = dir.path().join("home");
        assert_eq!(bridge(&host, &home), [""; 0]);
        let flotilla = dir
            .path()
            .join(format!("flotilla{}", std::env::consts::EXE_SUFFIX));
        std::fs::write(&flotilla, "").unwrap();
        let program = flotilla.to_str().unwrap();
        assert_eq!(
            bridge(&host, &home),
            [program, "connect", "--home", home.to_str().unwrap()]
        );
        if let Some(usual) = default_home() {
            assert_eq!(bridge(&flotilla, &usual), [program, "connect"]);
        }
    }
}
