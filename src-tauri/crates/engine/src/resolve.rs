//! What `${VAR}` and secrets of a spec stand for, at the moment of a start.

use flotilla_config::{
    resolve::{self, Unresolved},
    secrets::{Secret, SecretStore},
};
use flotilla_contract::{
    ServerSpec,
    spec::{Transport, Value},
    state::HealthCode,
};
use flotilla_supervisor::{Boxed, Resolve, Resolved};
use std::{collections::BTreeMap, sync::Arc};

/// Resolves against this process's environment and the secret store.
pub(crate) struct Resolver(pub(crate) Arc<dyn SecretStore>);

impl Resolve for Resolver {
    fn resolve(
        &self,
        spec: Arc<ServerSpec>,
        port: Option<u16>,
    ) -> Boxed<Result<Resolved, flotilla_supervisor::Unresolved>> {
        let secrets = self.0.clone();
        if needs_secrets(&spec.transport) {
            // A keyring may ask its user: off the async threads.
            return Box::pin(async move {
                let resolved =
                    tokio::task::spawn_blocking(move || resolve(&spec.transport, port, &*secrets))
                        .await;
                resolved.unwrap_or_else(|error| {
                    Err(unresolved(HealthCode::CannotStart, error.to_string()))
                })
            });
        }
        let resolved = resolve(&spec.transport, port, &*secrets);
        Box::pin(std::future::ready(resolved))
    }
}

fn resolve(
    transport: &Transport,
    port: Option<u16>,
    secrets: &dyn SecretStore,
) -> Result<Resolved, flotilla_supervisor::Unresolved> {
    let lookup = |name: &str| std::env::var(name).ok();
    let secret = |name: &str| -> Result<Option<Secret>, String> {
        secrets.get(name).map_err(|e| e.to_string())
    };
    let values = |declared: &BTreeMap<String, Value>| {
        resolve::values(declared, port, lookup, secret).map_err(refused)
    };
    let launched = |launch| resolve::launch(launch, port, lookup, secret).map_err(refused);
    let no_headers = BTreeMap::new();
    let (launch, headers, url) = match transport {
        Transport::Stdio { launch } => (Some(launched(launch)?), &no_headers, None),
        Transport::Http {
            launch, headers, ..
        } => (Some(launched(launch)?), headers, None),
        Transport::Url { url, headers } => (
            None,
            headers,
            Some(resolve::text(url, port, lookup, secret).map_err(refused)?),
        ),
        Transport::Sse { .. } => {
            return Err(unresolved(
                HealthCode::CannotStart,
                "it speaks the old HTTP+SSE transport, which the protocol has dropped".into(),
            ));
        }
    };
    let headers = values(headers)?;
    Ok(match launch {
        Some(launch) => Resolved {
            command: launch.command,
            args: launch.args,
            env: launch.env,
            cwd: launch.cwd,
            headers,
            url,
        },
        None => Resolved {
            headers,
            url,
            ..Resolved::default()
        },
    })
}

fn refused(error: Unresolved) -> flotilla_supervisor::Unresolved {
    let code = match &error {
        Unresolved::Variable(_) => HealthCode::CannotStart,
        Unresolved::Secret { .. } | Unresolved::Store { .. } => HealthCode::SecretMissing,
    };
    unresolved(code, error.to_string())
}

fn unresolved(code: HealthCode, sentence: String) -> flotilla_supervisor::Unresolved {
    flotilla_supervisor::Unresolved { code, sentence }
}

fn needs_secrets(transport: &Transport) -> bool {
    let secret = |value: &Value| match value {
        Value::Secret { .. } => true,
        Value::Text { text } => text.contains("${secret:"),
    };
    let in_text = |text: &String| text.contains("${secret:");
    let in_launch = transport.launch().is_some_and(|l| {
        l.env.values().any(secret) || l.args.iter().any(in_text) || in_text(&l.command)
    });
    in_launch
        || match transport {
            Transport::Http { headers, .. } => headers.values().any(secret),
            Transport::Url { url, headers } => headers.values().any(secret) || in_text(url),
            Transport::Stdio { .. } | Transport::Sse { .. } => false,
        }
}
