//! The rows that this is about: `flotilla serve`, as it is shipped, with the echo server behind its gateway.

use crate::rows::{Process, Row};
use anyhow::{Result, ensure};
use flotilla_contract::command::EngineInfoCmd;
use flotilla_tests::load::{Engine, mcp::Endpoint, run};
use std::fs;

/// How a call gets its answer.
#[derive(Clone, Copy)]
pub(crate) enum Kind {
    /// From the server that all others forward to.
    Forwarded,
    /// From the same, the first time; then from the cache.
    Cached,
    /// From a server that the engine runs on its standard streams.
    Stdio,
}

pub(crate) const KINDS: [Kind; 3] = [Kind::Forwarded, Kind::Cached, Kind::Stdio];

impl Kind {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Forwarded => "gateway",
            Self::Cached => "gateway-cached",
            Self::Stdio => "gateway-stdio",
        }
    }

    /// Its `fleet.toml`. Any free port; everything else is as shipped, without a profile that limits the rate of clients.
    fn fleet(self, echo: &Endpoint) -> Result<String> {
        let server = match self {
            Self::Forwarded => format!("url = \"{echo}\"\n"),
            Self::Cached => {
                format!("url = \"{echo}\"\n\n[servers.echo.gateway.tools.echo]\ncache = true\n")
            }
            Self::Stdio => format!(
                "command = {:?}\nargs = [\"stdio\"]\n",
                std::env::current_exe()?
            ),
        };
        Ok(format!("[gateway]\nport = 0\n\n[servers.echo]\n{server}"))
    }
}

/// An engine with a home of its own; none when it tells no address of a gateway.
pub(crate) async fn start(kind: Kind, echo: &Endpoint) -> Result<Option<Row>> {
    let folder = tempfile::Builder::new()
        .prefix("flotilla-bench-")
        .tempdir()?;
    let home = folder.path().join("home");
    fs::create_dir(&home)?;
    fs::write(home.join("fleet.toml"), kind.fleet(echo)?)?;
    let engine = Engine::start(&home, &[]).await?;
    let Some(endpoint) = engine.told("gateway").map(str::parse).transpose()? else {
        engine.end().await?;
        return Ok(None);
    };
    let findings = run::<EngineInfoCmd>(&engine.connect().await?, Default::default())
        .await?
        .config_findings;
    ensure!(
        findings.is_empty(),
        "the fleet.toml of {} is not accepted: {findings:#?}",
        kind.name()
    );
    let mut row = Row::new(
        kind.name(),
        endpoint,
        Process::Engine(Box::new(engine), folder),
    );
    row.tool = "echo__echo";
    row.same = matches!(kind, Kind::Cached);
    Ok(Some(row))
}
