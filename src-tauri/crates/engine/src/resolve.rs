//! What `${VAR}` and secrets of a spec stand for, at the moment of a start.

use flotilla_config::{
    resolve::{self, Unresolved},
    secrets::{Secret, SecretStore, is_default_secret},
};
use flotilla_contract::{
    ServerSpec,
    spec::{Transport, Value},
    state::HealthCode,
};
use flotilla_supervisor::{Boxed, Resolve, Resolved};
use std::{collections::BTreeMap, sync::Arc};

/// Resolves against this process's environment and the secret store.
pub(crate) struct Resolver {
    pub(crate) secrets: Arc<dyn SecretStore>,
    /// Refuse secrets that are well-known values.
    pub(crate) production: bool,
}

impl Resolve for Resolver {
    fn resolve(
        &self,
        spec: Arc<ServerSpec>,
        port: Option<u16>,
    ) -> Boxed<Result<Resolved, flotilla_supervisor::Unresolved>> {
        let (secrets, production) = (self.secrets.clone(), self.production);
        if needs_secrets(&spec.transport) {
            // A keyring may ask its user: off the async threads.
            return Box::pin(async move {
                let resolved = tokio::task::spawn_blocking(move || {
                    resolve(&spec.transport, port, &*secrets, production)
                })
                .await;
                resolved.unwrap_or_else(|error| {
                    Err(unresolved(HealthCode::CannotStart, error.to_string()))
                })
            });
        }
        let resolved = resolve(&spec.transport, port, &*secrets, production);
        Box::pin(std::future::ready(resolved))
    }
}

fn resolve(
    transport: &Transport,
    port: Option<u16>,
    secrets: &dyn SecretStore,
    production: bool,
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
    let (launch, declared, url) = match transport {
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
    let headers = values(declared)?;
    if production {
        if let (Some(declared), Some(launch)) = (transport.launch(), &launch) {
            no_defaults("variable", &declared.env, &launch.env)?;
        }
        no_defaults("header", declared, &headers)?;
    }
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

/// A secret that everybody knows keeps its server from starting.
fn no_defaults(
    what: &str,
    declared: &BTreeMap<String, Value>,
    resolved: &BTreeMap<String, String>,
) -> Result<(), flotilla_supervisor::Unresolved> {
    for (name, declared) in declared {
        let known = resolved
            .get(name)
            .is_some_and(|value| is_default_secret(name, declared, value));
        if known {
            // Entered anew where it is kept by name, edited where the file holds it.
            let code = match declared {
                Value::Secret { .. } => HealthCode::SecretMissing,
                Value::Text { .. } => HealthCode::CannotStart,
            };
            return Err(unresolved(
                code,
                format!(
                    "its {what} {name} is a well-known default; production accepts a secret of its own"
                ),
            ));
        }
    }
    Ok(())
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

#[cfg(test)]
mod tests {
    use super::*;
    use flotilla_config::secrets::SecretError;

    /// Every secret has this value.
    struct All(&'static str);

    impl SecretStore for All {
        fn get(&self, _: &str) -> Result<Option<Secret>, SecretError> {
            Ok(Some(Secret::new(self.0)))
        }
        fn set(&self, _: &str, _: &Secret) -> Result<(), SecretError> {
            Ok(())
        }
        fn remove(&self, _: &str) -> Result<(), SecretError> {
            Ok(())
        }
        fn names(&self) -> Result<Vec<String>, SecretError> {
            Ok(Vec::new())
        }
        fn kept(&self) -> String {
            String::new()
        }
    }

    fn transport(text: &str) -> Transport {
        let text = format!("[servers.x]\n{text}\n");
        let fleet = flotilla_config::parse(&text).unwrap_or_else(|e| panic!("{e:?}"));
        fleet.servers[0].transport.clone()
    }

    fn check(declared: &str, secret: &'static str, says: Option<(HealthCode, &str)>) {
        let transport = transport(declared);
        let ends = resolve(&transport, None, &All(secret), true);
        match (ends, says) {
            (Ok(_), None) => {}
            (Err(error), Some((code, word))) => {
                assert_eq!(error.code, code, "{declared}");
                assert!(error.sentence.contains(word), "{}", error.sentence);
            }
            (ends, _) => panic!("{declared}: {:?}", ends.map_err(|e| e.sentence).err()),
        }
        assert!(
            resolve(&transport, None, &All(secret), false).is_ok(),
            "elsewhere it is the operator's own affair: {declared}"
        );
    }

    #[test]
    fn production_starts_nothing_with_a_default_secret() {
        let kept = "command = \"a\"\nenv.DB = { secret = \"db\" }";
        let missing = |word| Some((HealthCode::SecretMissing, word));
        let cannot = |word| Some((HealthCode::CannotStart, word));
        check(kept, "changeme", missing("variable DB"));
        check(kept, "s7Gq-90aLw", None);
        check(
            "command = \"a\"\nenv.API_TOKEN = \"your-api-key\"",
            "",
            cannot("variable API_TOKEN"),
        );
        check("command = \"a\"\nenv.MODE = \"default\"", "", None);
        check(
            "url = \"http://127.0.0.1:9/mcp\"\nheaders.Authorization = \"Bearer ${secret:t}\"",
            "password",
            cannot("header Authorization"),
        );
    }
}
