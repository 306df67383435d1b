//! What this machine needs before anything can be built, and whether it is there.

use crate::{
    shell::{self, ask, program},
    steps::Said,
};
use anyhow::{Result, bail};
use std::path::Path;

/// Debian packages of the desktop window.
pub(crate) const DESKTOP: &[&str] = &[
    "pkg-config",
    "libwebkit2gtk-4.1-dev",
    "libayatana-appindicator3-dev",
    "librsvg2-dev",
    "libxdo-dev",
];

/// Debian packages of the tests, beside those of the window: a display, a bus, two browsers, Python, git (which one of the tested
/// servers needs), PostgreSQL (which is backed up), Prometheus (which reads our metrics) and its Alertmanager (which takes our alerts).
pub(crate) const TESTS: &[&str] = &[
    "xvfb",
    "xauth",
    "dbus-x11",
    "webkit2gtk-driver",
    "chromium",
    "fonts-dejavu-core",
    "python3-venv",
    "git",
    "postgresql",
    "prometheus",
    "prometheus-alertmanager",
];

/// Packages that bring a service of the same name, which starts by itself and which nobody here needs.
const SERVICES: &[&str] = &["postgresql", "prometheus", "prometheus-alertmanager"];

/// The oldest Node.js that builds the panel.
const NODE: (u32, u32) = (20, 19);

/// Whether a window can be opened.
pub(crate) fn has_display() -> bool {
    let set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    !cfg!(target_os = "linux") || set("DISPLAY") || set("WAYLAND_DISPLAY")
}

/// Installs what is missing, or says how.
pub(crate) fn packages(groups: &[&[&'static str]]) -> Result<Said> {
    let wanted: Vec<&str> = groups.iter().copied().flatten().copied().collect();
    if cfg!(target_os = "macos") {
        return Ok("macOS brings its web view; the compiler comes with `xcode-select --install`");
    }
    if cfg!(windows) {
        return Ok(
            "Windows 11 brings its web view; the compiler comes with the Visual Studio Build Tools",
        );
    }
    if !Path::new("/usr/bin/apt-get").exists() {
        return without_apt(&wanted);
    }
    let missing: Vec<&str> = wanted
        .into_iter()
        .filter(|package| !is_installed(package))
        .collect();
    if missing.is_empty() {
        return Ok("all there");
    }
    let Some(sudo) = privileged() else {
        bail!(
            "packages are missing and there is no right to install them; run\n\n  {}\n\nand try again",
            apt_line(&missing)
        );
    };
    println!("      installing {}", missing.join(" "));
    let apt = |args: &[&str]| {
        let mut command = program(sudo.first().copied().unwrap_or("env"));
        command
            .args(sudo.iter().skip(1))
            .args(["DEBIAN_FRONTEND=noninteractive", "apt-get", "-qq"])
            .args(args);
        shell::quietly(&mut command)
    };
    apt(&["update"])?;
    apt(&[
        &["install", "-y", "--no-install-recommends"],
        missing.as_slice(),
    ]
    .concat())?;
    for service in SERVICES.iter().filter(|name| missing.contains(name)) {
        let mut command = program(sudo.first().copied().unwrap_or("env"));
        command
            .args(sudo.iter().skip(1))
            .args(["systemctl", "disable", "--now", service]);
        // Where there is no systemd, nothing was started.
        let _ = command.stdin(std::process::Stdio::null()).output();
    }
    Ok("installed")
}

/// How a command gets the right to install: as it is, through sudo without a password, or not at all.
fn privileged() -> Option<&'static [&'static str]> {
    if ask(program("id").arg("-u")).as_deref() == Some("0") {
        return Some(&["env"]);
    }
    ask(program("sudo").args(["-n", "true"])).map(|_| &["sudo", "-n", "env"][..])
}

fn is_installed(package: &str) -> bool {
    let status = ask(program("dpkg-query").args(["-W", "-f=${db:Status-Abbrev}", package]));
    // Ubuntu's archive has no Chromium but a snap's; any browser of that family will do.
    let other = package == "chromium"
        && ["chromium", "chromium-browser", "google-chrome"]
            .iter()
            .any(|name| ask(program(name).arg("--version")).is_some());
    status.is_some_and(|status| status.starts_with("ii")) || other
}

fn apt_line(packages: &[&str]) -> String {
    format!(
        "sudo apt-get update && sudo apt-get install -y --no-install-recommends {}",
        packages.join(" ")
    )
}

/// Another Linux: the libraries can be looked for, not installed.
fn without_apt(wanted: &[&str]) -> Result<Said> {
    if wanted.iter().any(|package| DESKTOP.contains(package)) {
        let libraries = ["webkit2gtk-4.1", "ayatana-appindicator3-0.1", "librsvg-2.0"];
        let missing: Vec<_> = libraries
            .into_iter()
            .filter(|name| ask(program("pkg-config").args(["--exists", name])).is_none())
            .collect();
        if !missing.is_empty() {
            bail!(
                "the development files of {} are missing, and only apt is known here; on Debian they come with {}",
                missing.join(", "),
                DESKTOP.join(" ")
            );
        }
    }
    Ok("no apt here: what the programs need is looked for, not installed")
}

/// Makes sure that there is a Node.js that can build the panel.
pub(crate) fn node() -> Result<Said> {
    let found = ask(program("node").arg("--version"));
    let how = "install it from https://nodejs.org (Debian 12's own is too old)";
    let (major, minor) = NODE;
    let Some(found) = found else {
        bail!(
            "Node.js {major}.{minor} or newer is needed to build the panel, and there is none; {how}"
        )
    };
    if !is_at_least(&found, NODE) {
        bail!(
            "Node.js {major}.{minor} or newer is needed to build the panel, and this is {found}; {how}"
        );
    }
    if ask(shell::npm().arg("--version")).is_none() {
        bail!("Node.js {found} is here, but npm is not; {how}");
    }
    Ok("there")
}

/// Whether `v20.19.1` is at least 20.19.
fn is_at_least(version: &str, (major, minor): (u32, u32)) -> bool {
    let mut parts = version
        .trim()
        .trim_start_matches('v')
        .split('.')
        .map(str::parse::<u32>);
    match (parts.next(), parts.next()) {
        (Some(Ok(found_major)), Some(Ok(found_minor))) => {
            (found_major, found_minor) >= (major, minor)
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::is_at_least;

    #[test]
    fn versions_of_node_are_compared_by_number() {
        let ok = |version| is_at_least(version, (20, 19));
        assert!(ok("v20.19.0") && ok("v20.20.2\n") && ok("v22.0.0") && ok("v100.1.0"));
        assert!(!ok("v20.9.0") && !ok("v18.20.4") && !ok("v9.19.0") && !ok("") && !ok("node"));
    }
}
