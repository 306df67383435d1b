//! Checks of this machine, each with what to do.

use crate::core::Core;
use flotilla_contract::{
    command::{DoctorFinding, DoctorLevel},
    spec::Transport,
};
use flotilla_os::launch::find_program;
use std::{
    collections::BTreeSet,
    ffi::OsString,
    net::{Ipv4Addr, TcpListener},
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
        let commands: BTreeSet<String> = fleet
            .servers
            .iter()
            .filter_map(|s| s.transport.launch())
            .map(|l| l.command.clone())
            .collect();
        let path = std::env::var_os("PATH").unwrap_or_default();
        let mut findings = self.about_the_home();
        for (name, remedy) in RUNTIMES {
            findings.push(runtime(name, remedy, commands.contains(name), &path).await);
        }
        for command in commands
            .iter()
            .filter(|c| !RUNTIMES.iter().any(|(name, _)| name == c) && !c.contains("${"))
        {
            findings.push(match find_program(command, &path, None) {
                Ok(found) => finding(command, DoctorLevel::Ok, found.display().to_string(), None),
                Err(_) => finding(
                    command,
                    DoctorLevel::Problem,
                    "a server runs it, and it is not there",
                    Some("install it, or correct the server's command"),
                ),
            });
        }
        for spec in &fleet.servers {
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

    async fn about_secrets(&self) -> Vec<DoctorFinding> {
        let secrets = self.secrets.clone();
        let used = self.fleet().secrets();
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

async fn runtime(name: &str, remedy: &str, needed: bool, path: &OsString) -> DoctorFinding {
    let Ok(program) = find_program(name, path, None) else {
        let (level, found) = if needed {
            (
                DoctorLevel::Problem,
                "a server needs it, and it is not there",
            )
        } else {
            (DoctorLevel::Neutral, "not there; no server needs it")
        };
        return finding(name, level, found, Some(remedy));
    };
    let asked = tokio::process::Command::new(&program)
        .arg("--version")
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
