//! Where the gateway is.

use flotilla_remote::{Boot, Error};
use std::path::{Path, PathBuf};

/// The gateway's endpoint: given, or as the engine that owns the home says.
pub(super) struct Address {
    given: Option<String>,
    home: PathBuf,
    group: Option<String>,
}

impl Address {
    pub(super) fn new(home: &Path, url: Option<&str>, group: Option<&str>) -> Result<Self, String> {
        if let Some(url) = url {
            let parsed = reqwest::Url::parse(url)
                .map_err(|error| format!("failed to use the URL {url:?}: {error}"))?;
            if !matches!(parsed.scheme(), "http" | "https") {
                return Err(format!(
                    "failed to use the URL {url:?}: it is not http:// or https://"
                ));
            }
        }
        let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        if let Some(name) = group.filter(|name| name.is_empty() || !name.bytes().all(plain)) {
            return Err(format!(
                "failed to use the group {name:?}: a name has characters of a-z 0-9 -"
            ));
        }
        Ok(Self {
            given: url.map(str::to_owned),
            home: home.to_owned(),
            group: group.map(str::to_owned),
        })
    }

    /// Whether the operator named it.
    pub(super) fn is_given(&self) -> bool {
        self.given.is_some()
    }

    /// The endpoint. `engine.json` is read each time: the next engine of the home may be at another address.
    pub(super) fn find(&self) -> Result<String, String> {
        let base = match &self.given {
            Some(url) => url.clone(),
            None => self.of_engine()?,
        };
        Ok(match &self.group {
            Some(group) => format!("{}/{group}", base.trim_end_matches('/')),
            None => base,
        })
    }

    fn of_engine(&self) -> Result<String, String> {
        let boot = Boot::read(&self.home).map_err(|error| match error {
            Error::NoEngine { home } => format!(
                "no Flotilla engine runs on the home {}; {START}",
                home.display()
            ),
            other => other.to_string(),
        })?;
        boot.gateway.ok_or_else(|| {
            format!(
                "the Flotilla engine of the home {} serves no gateway: gateway.enabled is false in fleet.toml, or its port is taken; `flotilla doctor` says more",
                self.home.display()
            )
        })
    }

    /// Why nobody answers at an address, with what to do.
    pub(super) fn silent(&self, url: &str, error: &dyn std::fmt::Display) -> String {
        match &self.given {
            Some(_) => format!("nothing answers at {url} ({error})"),
            None => format!(
                "no Flotilla engine answers at {url} ({error}), the address in {}; {START}",
                self.home.join("engine.json").display()
            ),
        }
    }
}

const START: &str = "start one with `flotilla serve`, or open the desktop application";
