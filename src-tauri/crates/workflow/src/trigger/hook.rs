//! Who may call a hook.

use super::written::Auth;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

/// Bytes of a secret at least: shorter ones are guessed.
pub const SHORTEST: usize = 16;

/// A hook, as far as a request must know it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Known {
    /// Its name in the workflow.
    pub trigger: String,
    /// Name of its secret.
    pub secret: String,
    /// How that is proved.
    pub auth: Auth,
    /// Whether it starts runs.
    pub enabled: bool,
}

/// What a sender offers as proof.
#[derive(Clone, Debug, Default)]
pub struct Proof {
    /// `X-Hub-Signature-256`.
    pub signature: Option<String>,
    /// What follows `Bearer ` in `Authorization`.
    pub bearer: Option<String>,
}

/// Whether a sender knows the secret. Takes as long for a wrong proof as for a right one.
#[must_use]
pub fn knows(auth: Auth, secret: &str, proof: &Proof, body: &[u8]) -> bool {
    match auth {
        Auth::Bearer => proof.bearer.as_ref().is_some_and(|offered| {
            // Digests have one length, so the secret's does not show.
            let (known, offered) = (Sha256::digest(secret), Sha256::digest(offered));
            known.as_slice().ct_eq(offered.as_slice()).into()
        }),
        Auth::Hmac => {
            let offered = proof.signature.as_deref().and_then(bytes);
            let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(secret.as_bytes()) else {
                return false;
            };
            mac.update(body);
            offered.is_some_and(|offered| mac.verify_slice(&offered).is_ok())
        }
    }
}

/// The bytes of `sha256=HEX`.
fn bytes(signature: &str) -> Option<Vec<u8>> {
    let hex = signature.strip_prefix("sha256=")?;
    if hex.len() != 64 || !hex.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    (0..64)
        .step_by(2)
        .map(|at| u8::from_str_radix(hex.get(at..at + 2)?, 16).ok())
        .collect()
}

/// The name in `${secret:NAME}`, if the text is that and nothing else.
#[must_use]
pub fn secret_name(text: &str) -> Option<&str> {
    let name = text.strip_prefix("${secret:")?.strip_suffix('}')?;
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '/');
    (!name.is_empty() && name.chars().all(plain)).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_who_knows_the_secret() {
        // The example of GitHub's documentation of webhooks.
        let (secret, body) = ("It's a Secret to Everybody", b"Hello, World!");
        let right = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";
        let hmac = |signature: &str, body: &[u8]| {
            let proof = Proof {
                signature: Some(signature.into()),
                bearer: Some(secret.into()),
            };
            knows(Auth::Hmac, secret, &proof, body)
        };
        assert!(hmac(right, body));
        assert!(hmac(
            &right.to_uppercase().replace("SHA256", "sha256"),
            body
        ));
        assert!(!hmac(right, b"Hello, World?"));
        assert!(!hmac(&right.replace('7', "8"), body));
        for none in [
            "",
            "sha256=",
            &right[..70],
            "sha1=757107ea",
            &right.replace("75", "é"),
        ] {
            assert!(!hmac(none, body), "{none}");
        }
        let bearer = |offered: Option<&str>| {
            let proof = Proof {
                signature: Some(right.into()),
                bearer: offered.map(str::to_owned),
            };
            knows(Auth::Bearer, secret, &proof, body)
        };
        assert!(bearer(Some(secret)));
        assert!(!bearer(Some("It's a Secret to Everybod")) && !bearer(Some("")) && !bearer(None));
        assert_eq!(secret_name("${secret:hook-1}"), Some("hook-1"));
        for none in [
            "hook",
            "${secret:}",
            "${secret:a b}",
            "x${secret:a}",
            "${secret:a}${secret:b}",
        ] {
            assert_eq!(secret_name(none), None, "{none}");
        }
    }
}
