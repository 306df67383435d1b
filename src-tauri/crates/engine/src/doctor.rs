//! Checks of this machine, each with what to do.

use crate::{core::Core, resolve::Resolver};
use flotilla_contract::{
    ServerId, ServerSpec,
    command::{DoctorFinding, DoctorLevel},
    spec::Transport,
    state::HealthCode,
};
use flotilla_os::launch::{NotFound, find_program};
use flotilla_supervisor::{Resolve, program, search_path};
use std::{
    collections::BTreeMap,
    ffi::OsStr,
    net::{Ipv4Addr, TcpListener},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

/// Runtimes that MCP servers are commonly started with, and where to get them.
const RUNTIMES: [(&str, &str); 5] = [
    ("node", "install Node.js 20 or newer"),
    ("npx", "install Node.js with npm"),
    ("python3", "install Python 3.10 or newer"),
    ("uvx", "install uv (pip install uv)"),
    (
        "docker",
        "install Docker, if servers are to run in containers",
    ),
];

fn finding(
    name: &str,
    level: DoctorLevel,
    found: impl Into<String>,
    remedy: Option<&str>,
) -> DoctorFinding {
    DoctorFinding {
        name: name.to_owned(),
        level,
        found: found.into(),
        remedy: remedy.map(str::to_owned),
    }
}

impl Core {
    pub(crate) async fn doctor(&self) -> Vec<DoctorFinding> {
        let fleet = self.fleet();
        // What is disabled needs nothing.
        let enabled: Vec<&ServerSpec> = fleet
            .servers
            .iter()
            .filter(|spec| spec.disabled.is_none())
            .collect();
        let mut findings = self.about_the_home();
        findings.extend(self.about_programs(&enabled).await);
        for spec in &enabled {
            if let Transport::Http { port, .. } = spec.transport {
                let ours = self
                    .supervisor
                    .observe(&spec.id)
                    .is_some_and(|seen| seen.instances.iter().any(|i| i.pid.is_some()));
                let free = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok();
                let name = format!("port {port}");
                findings.push(match (ours, free) {
                    (true, _) => {
                        finding(&name, DoctorLevel::Ok, format!("used by {}", spec.id), None)
                    }
                    (false, true) => finding(
                        &name,
                        DoctorLevel::Ok,
                        format!("free for {}", spec.id),
                        None,
                    ),
                    (false, false) => {
                        let remedy =
                            "end the program that holds it, or give the server another port";
                        finding(
                            &name,
                            DoctorLevel::Problem,
                            format!("held by another program; {} needs it", spec.id),
                            Some(remedy),
                        )
                    }
                });
            }
        }
        findings.extend(self.about_secrets().await);
        findings
    }

    fn about_the_home(&self) -> Vec<DoctorFinding> {
        let mut findings = vec![finding(
            "home",
            DoctorLevel::Ok,
            self.home.path().display().to_string(),
            None,
        )];
        let problems = self.config.findings();
        findings.push(match problems.first() {
            None => finding(
                "fleet.toml",
                DoctorLevel::Ok,
                format!(
                    "{}, revision {}",
                    self.config.path.display(),
                    self.config.revision()
                ),
                None,
            ),
            Some(first) => {
                let found = format!(
                    "{} findings; line {}: {}",
                    problems.len(),
                    first.line,
                    first.message
                );
                finding(
                    "fleet.toml",
                    DoctorLevel::Problem,
                    found,
                    Some("correct the file; until then the last good one is in force"),
                )
            }
        });
        #[cfg(unix)]
        if let Ok(meta) = std::fs::metadata(self.home.path()) {
            use std::os::unix::fs::PermissionsExt;
            let mode = meta.permissions().mode() & 0o777;
            let open = mode & 0o077 != 0;
            let level = match (open, self.production) {
                (false, _) => DoctorLevel::Ok,
                (true, false) => DoctorLevel::Warning,
                (true, true) => DoctorLevel::Problem,
            };
            findings.push(finding(
                "permissions",
                level,
                format!("the home has mode {mode:o}"),
                open.then_some("chmod 700 the home: it holds a token"),
            ));
        }
        findings
    }

    /// The runtimes, then whatever else enabled servers run: looked for as a start would.
    async fn about_programs(&self, enabled: &[&ServerSpec]) -> Vec<DoctorFinding> {
        let mut findings = Vec::new();
        let mut needed: BTreeMap<String, Vec<Needed>> = BTreeMap::new();
        let resolver = Resolver {
            secrets: self.secrets.clone(),
            production: self.production,
        };
        for spec in enabled {
            let Some(launch) = spec.transport.launch() else {
                continue;
            };
            let port = match spec.transport {
                Transport::Http { port, .. } => Some(port),
                _ => None,
            };
            match resolver.resolve(Arc::new((*spec).clone()), port).await {
                Ok(resolved) => {
                    let found = tokio::task::spawn_blocking(move || program(&resolved)).await;
                    let found = found.unwrap_or(Err(NotFound::Missing));
                    let by = spec.id.clone();
                    let users = needed.entry(launch.command.clone()).or_default();
                    users.push(Needed { by, found });
                }
                // Secrets are looked at by themselves.
                Err(error) if error.code == HealthCode::SecretMissing => {}
                Err(error) => findings.push(finding(
                    spec.id.as_str(),
                    DoctorLevel::Problem,
                    format!("it cannot be started: {}", error.sentence),
                    Some("correct its table in fleet.toml, or set the variable where the engine is started"),
                )),
            }
        }
        let path = tokio::task::spawn_blocking(search_path)
            .await
            .unwrap_or_default();
        for (name, remedy) in RUNTIMES {
            let users = needed.remove(name).unwrap_or_default();
            findings.push(runtime(name, remedy, &users, &path).await);
        }
        for (command, users) in needed {
            let remedy = "install it, or correct the server's command";
            findings.push(match missing(&users) {
                Some(why) => finding(&command, DoctorLevel::Problem, why, Some(remedy)),
                None => {
                    let places = users.iter().filter_map(|n| n.found.as_ref().ok());
                    let place = places.map(|p| p.display().to_string()).next();
                    finding(&command, DoctorLevel::Ok, place.unwrap_or_default(), None)
                }
            });
        }
        findings
    }

    async fn about_secrets(&self) -> Vec<DoctorFinding> {
        let secrets = self.secrets.clone();
        let fleet = self.fleet();
        let enabled = |id: &ServerId| fleet.server(id).is_some_and(|s| s.disabled.is_none());
        let mut used = fleet.secrets();
        used.retain(|_, users| users.iter().any(enabled));
        let checked = tokio::task::spawn_blocking(move || {
            let missing: Vec<String> = used
                .keys()
                .filter(|name| !matches!(secrets.get(name), Ok(Some(_))))
                .cloned()
                .collect();
            (
                secrets.kept(),
                secrets.names().err().map(|e| e.to_string()),
                missing,
            )
        })
        .await;
        let Ok((kept, error, missing)) = checked else {
            return Vec::new();
        };
        let mut findings = vec![match error {
            None => finding("secrets", DoctorLevel::Ok, kept, None),
            Some(error) => finding(
                "secrets",
                DoctorLevel::Problem,
                format!("{kept}; {error}"),
                Some("unlock the keyring, or set FLOTILLA_SECRETS=file"),
            ),
        }];
        for name in missing {
            let remedy = format!("flotilla secret set {name}");
            findings.push(finding(
                &format!("secret {name}"),
                DoctorLevel::Problem,
                "a server needs it, and it is not stored",
                Some(&remedy),
            ));
        }
        findings
    }
}

/// A server that runs a program, and where a start would find it.
struct Needed {
    by: ServerId,
    found: Result<PathBuf, NotFound>,
}

/// Who would not find it, as a sentence.
fn missing(users: &[Needed]) -> Option<String> {
    let lacking = users.iter().filter(|n| n.found.is_err());
    let names: Vec<&str> = lacking.map(|n| n.by.as_str()).collect();
    let runs = if names.len() == 1 { "runs" } else { "run" };
    (!names.is_empty()).then(|| format!("{} {runs} it, and it is not there", names.join(", ")))
}

async fn runtime(name: &str, remedy: &str, users: &[Needed], path: &OsStr) -> DoctorFinding {
    if let Some(why) = missing(users) {
        return finding(name, DoctorLevel::Problem, why, Some(remedy));
    }
    // Where a server finds it, it is, even if only there.
    let own = users.iter().find_map(|n| n.found.as_ref().ok()).cloned();
    let Some(program) = own.or_else(|| find_program(name, path, None).ok()) else {
        let found = "not there; no server needs it";
        return finding(name, DoctorLevel::Neutral, found, Some(remedy));
    };
    // `npx` is a script of node's, which must be found too.
    let asked = tokio::process::Command::new(&program)
        .arg("--version")
        .env("PATH", path)
        .stdin(std::process::Stdio::null())
        .kill_on_drop(true)
        .output();
    let version = match tokio::time::timeout(Duration::from_secs(5), asked).await {
        Ok(Ok(output)) if output.status.success() => String::from_utf8_lossy(&output.stdout)
            .lines()
            .next()
            .unwrap_or_default()
            .trim()
            .chars()
            .take(80)
            .collect(),
        _ => String::from("version unknown"),
    };
    finding(
        name,
        DoctorLevel::Ok,
        format!("{version} ({})", program.display()),
        None,
    )
}
