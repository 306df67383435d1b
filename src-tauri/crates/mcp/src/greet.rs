//! Finding out which era a server speaks, and greeting it in its own way.

use crate::{Error, Session, wire, wire::Outcome};
use flotilla_contract::tool::{Era, Peer};
use serde::Deserialize;
use serde_json::{Value, value::RawValue};

/// The modern revision that we speak.
pub const MODERN_VERSION: &str = "2026-07-28";
/// The legacy revisions that we speak, best first.
pub const LEGACY_VERSIONS: [&str; 5] = [
    "2025-11-25",
    "2025-06-18",
    "2025-03-26",
    "2024-11-05",
    "2024-10-07",
];

const HEADER_MISMATCH: i64 = -32020;
const MISSING_CAPABILITY: i64 = -32021;
const UNSUPPORTED_VERSION: i64 = -32022;

impl Session {
    /// Greets the server, and says what it said about itself.
    ///
    /// Without a hint a modern `server/discover` comes first, then a legacy `initialize`, on an error or after a silence.
    /// With the hint [`Era::Legacy`] only `initialize` is sent (unless the server refuses it as a modern one does); with
    /// [`Era::Modern`] silence is waited out. Keep the era
    /// that came out, and pass it as the hint from then on.
    ///
    /// # Errors
    /// [`Error::DiedOnDiscover`] asks for a new process and the hint [`Era::Legacy`]. [`Error::OldTransport`]: the server
    /// only speaks HTTP+SSE. [`Error::Timeout`] after [`Options::greet_timeout`](crate::Options::greet_timeout).
    pub async fn greet(&self, hint: Option<Era>) -> Result<Peer, Error> {
        self.forget_http_session();
        let limit = self.options().greet_timeout;
        let greeting = Box::pin(self.greet_unbounded(hint));
        match tokio::time::timeout(limit, greeting).await {
            Ok(outcome) => outcome,
            Err(_) => Err(Error::Timeout(limit)),
        }
    }

    async fn greet_unbounded(&self, hint: Option<Era>) -> Result<Peer, Error> {
        let greeted = if hint == Some(Era::Legacy) {
            match self.initialize(LEGACY_VERSIONS[0]).await {
                // It was replaced by a modern one since it was last greeted.
                Err(Error::Rpc {
                    code: UNSUPPORTED_VERSION,
                    data,
                    ..
                }) if supported(data.as_deref())
                    .iter()
                    .any(|version| version == MODERN_VERSION) =>
                {
                    self.discover(false).await
                }
                greeted => greeted,
            }
        } else {
            self.discover(hint.is_none()).await
        };
        match greeted {
            Err(Error::Http {
                status: 400 | 404 | 405 | 406 | 415,
                ..
            }) if self.old_transport().await => Err(Error::OldTransport),
            greeted => greeted,
        }
    }

    async fn discover(&self, impatient: bool) -> Result<Peer, Error> {
        let discover = self.handshake("server/discover", None, true);
        tokio::pin!(discover);
        tokio::select! {
            outcome = &mut discover => return self.discovered(outcome).await,
            () = tokio::time::sleep(self.options().discover_silence), if impatient => {}
        }
        // Silent: an old server that ignores what it does not know, or one that is still starting. Both questions stand
        // now. A server that is only slow answers them in their order, and then the first answer counts.
        let initialize = self.initialize(LEGACY_VERSIONS[0]);
        tokio::pin!(initialize);
        let refused = tokio::select! {
            biased;
            outcome = &mut discover => {
                return match outcome.ok().map(|result| self.modern_peer(&result)).transpose()? {
                    Some(Ok(peer)) => Ok(self.greeted(peer)),
                    _ => initialize.await,
                };
            }
            greeted = &mut initialize => match greeted {
                Err(refused @ Error::Rpc { .. }) => refused,
                greeted => return greeted,
            },
        };
        // Only a modern server refuses; over HTTP its refusal may overtake its first answer.
        match tokio::time::timeout(self.options().discover_silence, discover).await {
            Ok(Ok(result)) => match self.modern_peer(&result)? {
                Ok(peer) => Ok(self.greeted(peer)),
                Err(_) => Err(refused),
            },
            _ => Err(refused),
        }
    }

    /// What follows from the answer to `server/discover`.
    async fn discovered(&self, outcome: Outcome) -> Result<Peer, Error> {
        match outcome {
            Ok(result) => match self.modern_peer(&result)? {
                Ok(peer) => Ok(self.greeted(peer)),
                Err(version) => self.initialize(version).await,
            },
            Err(Error::Rpc {
                code: UNSUPPORTED_VERSION,
                data,
                ..
            }) => {
                let supported = supported(data.as_deref());
                self.initialize(legacy_of(&supported)?).await
            }
            Err(
                error @ Error::Rpc {
                    code: HEADER_MISMATCH | MISSING_CAPABILITY,
                    ..
                },
            ) => Err(error),
            Err(Error::Http {
                status: status @ (401 | 403 | 407 | 429),
                message,
            }) => Err(Error::Http { status, message }),
            Err(
                Error::Rpc { .. }
                | Error::Protocol(_)
                | Error::Http {
                    status: 400..500, ..
                },
            ) => self.initialize(LEGACY_VERSIONS[0]).await,
            Err(Error::Closed(reason)) => Err(Error::DiedOnDiscover(reason)),
            Err(error) => Err(error),
        }
    }

    /// The peer as `server/discover` describes it; or, if it does not speak our modern revision, the version to
    /// `initialize` with.
    fn modern_peer(&self, result: &RawValue) -> Result<Result<Peer, &'static str>, Error> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct View {
            #[serde(default)]
            supported_versions: Vec<String>,
            #[serde(default)]
            capabilities: Value,
            #[serde(default)]
            instructions: Option<String>,
            #[serde(default)]
            server_info: Option<Info>,
            #[serde(default, rename = "_meta")]
            meta: Meta,
        }
        #[derive(Default, Deserialize)]
        struct Meta {
            #[serde(default, rename = "io.modelcontextprotocol/serverInfo")]
            server_info: Option<Info>,
        }
        // Old servers that answer anything to anything land here too.
        let Ok(view) = serde_json::from_str::<View>(result.get()) else {
            return Ok(Err(LEGACY_VERSIONS[0]));
        };
        if view.supported_versions.is_empty() {
            return Ok(Err(LEGACY_VERSIONS[0]));
        }
        if !view
            .supported_versions
            .iter()
            .any(|version| version == MODERN_VERSION)
        {
            return legacy_of(&view.supported_versions).map(Err);
        }
        let info = view
            .meta
            .server_info
            .or(view.server_info)
            .unwrap_or_default();
        Ok(Ok(Peer {
            era: Era::Modern,
            protocol_version: MODERN_VERSION.to_owned(),
            name: info.name,
            version: info.version,
            capabilities: view.capabilities,
            instructions: view.instructions,
        }))
    }

    /// The legacy handshake. A server that only knows other versions, and says which, is asked once more.
    pub(crate) async fn initialize(&self, version: &'static str) -> Result<Peer, Error> {
        let result = match self.offer(version).await {
            Err(Error::Rpc {
                code,
                message,
                data,
                raw,
            }) => {
                let known = supported(data.as_deref());
                let other = LEGACY_VERSIONS
                    .iter()
                    .find(|known_to_us| known.iter().any(|theirs| theirs == *known_to_us));
                match other {
                    Some(other) if *other != version => self.offer(other).await?,
                    _ => {
                        return Err(Error::Rpc {
                            code,
                            message,
                            data,
                            raw,
                        });
                    }
                }
            }
            outcome => outcome?,
        };
        let peer = legacy_peer(&result)?;
        // The version goes along with everything from here on, so it must be known before the next message.
        let peer = self.greeted(peer);
        self.notify("notifications/initialized", None).await?;
        self.listen_between();
        Ok(peer)
    }

    async fn offer(&self, version: &str) -> Outcome {
        let client = self.client_info();
        let capabilities = self.options().capabilities.as_deref();
        let capabilities = capabilities.map_or("{}", RawValue::get);
        let params = format!(
            r#"{{"protocolVersion":"{version}","capabilities":{capabilities},"clientInfo":{client}}}"#
        );
        let params =
            RawValue::from_string(params).map_err(|error| Error::Protocol(error.to_string()))?;
        self.handshake("initialize", Some(&params), false).await
    }
}

fn legacy_peer(result: &RawValue) -> Result<Peer, Error> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct View {
        protocol_version: String,
        #[serde(default)]
        capabilities: Value,
        #[serde(default)]
        server_info: Info,
        #[serde(default)]
        instructions: Option<String>,
    }
    let view: View = serde_json::from_str(result.get()).map_err(|_| {
        Error::Protocol(format!(
            "the server's answer to initialize is malformed: {}",
            wire::excerpt(result.get(), 200)
        ))
    })?;
    if !LEGACY_VERSIONS.contains(&view.protocol_version.as_str()) {
        return Err(Error::Protocol(format!(
            "the server speaks version {:?} of the protocol, and we speak {} and {MODERN_VERSION}",
            view.protocol_version,
            LEGACY_VERSIONS.join(", ")
        )));
    }
    Ok(Peer {
        era: Era::Legacy,
        protocol_version: view.protocol_version,
        name: view.server_info.name,
        version: view.server_info.version,
        capabilities: view.capabilities,
        instructions: view.instructions,
    })
}

#[derive(Default, Deserialize)]
struct Info {
    name: Option<String>,
    version: Option<String>,
}

/// The versions that the data of an error names.
fn supported(data: Option<&RawValue>) -> Vec<String> {
    #[derive(Deserialize)]
    struct View {
        supported: Vec<String>,
    }
    data.and_then(|data| serde_json::from_str::<View>(data.get()).ok())
        .map_or_else(Vec::new, |view| view.supported)
}

/// The best legacy version that both speak.
fn legacy_of(theirs: &[String]) -> Result<&'static str, Error> {
    LEGACY_VERSIONS
        .into_iter()
        .find(|ours| theirs.iter().any(|theirs| theirs == ours))
        .ok_or_else(|| {
            Error::Protocol(format!(
                "the server speaks only {} of the protocol, and we speak {MODERN_VERSION}, {}",
                if theirs.is_empty() {
                    "unnamed versions".to_owned()
                } else {
                    theirs.join(", ")
                },
                LEGACY_VERSIONS.join(", ")
            ))
        })
}
