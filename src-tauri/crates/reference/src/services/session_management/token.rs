//! Tokens: JSON Web Tokens (RFC 7519) in the compact form, signed with HMAC-SHA-256 (HS256 of RFC 7518 §3.2), and nothing else.
//!
//! No other algorithm is accepted, "none" least of all, whatever a token's header says of itself.

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD as BASE64};
use hmac::{Hmac, KeyInit, Mac};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use uuid::Uuid;

/// How long a token is good for: 30 days, in seconds.
pub(super) const LIFETIME_S: i64 = 30 * 24 * 60 * 60;

/// What its bearer may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum Permission {
    // See sessions, and ask what changes nothing.
    Read,
    // Change sessions, and call tools.
    Write,
}

/// What a token says.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub(super) struct Claims {
    /// Who bears it.
    pub(super) client_id: String,
    /// What the bearer may do.
    pub(super) permissions: Vec<Permission>,
    /// When it was made, in seconds since 1970.
    pub(super) iat: i64,
    /// From when on it is no longer good, in seconds since 1970.
    pub(super) exp: i64,
}

/// Why a token is not good.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum TokenFault {
    #[error("the token is no HS256 JSON Web Token")]
    Malformed,
    #[error("the token was not signed here, or was changed")]
    Forged,
    #[error("the token has expired")]
    Expired,
}

/// What tokens are signed with.
pub(super) struct Secret(Hmac<Sha256>);

impl Secret {
    /// From the configuration; without one, or with one below 32 bytes (RFC 7518 §3.2 wants at least the hash's size), one that
    /// lives as long as this process.
    pub(super) fn new(configured: Option<&str>) -> Self {
        match configured.map(str::as_bytes) {
            Some(secret) if secret.len() >= 32 => Self::of(secret),
            too_short => {
                if too_short.is_some() {
                    tracing::warn!(
                        "SESSION_JWT_SECRET has less than 32 bytes and is not used: tokens end with this process"
                    );
                }
                // 244 random bits.
                let random = [Uuid::new_v4().into_bytes(), Uuid::new_v4().into_bytes()];
                Self::of(&random.concat())
            }
        }
    }

    #[expect(
        clippy::expect_used,
        reason = "HMAC takes keys of any length (RFC 2104 §2)"
    )]
    fn of(secret: &[u8]) -> Self {
        Self(Hmac::new_from_slice(secret).expect("HMAC takes any key"))
    }

    /// A token that says this.
    pub(super) fn sign(&self, claims: &Claims) -> String {
        let header = BASE64.encode(r#"{"alg":"HS256","typ":"JWT"}"#);
        // Strings and numbers: there is always a JSON.
        let payload = BASE64.encode(serde_json::to_vec(claims).unwrap_or_default());
        let signed = format!("{header}.{payload}");
        let signature = BASE64.encode(self.mac(&signed).finalize().into_bytes());
        format!("{signed}.{signature}")
    }

    /// What a token says, if it is good at this second.
    pub(super) fn verify(&self, token: &str, now_s: i64) -> Result<Claims, TokenFault> {
        let (signed, signature) = token.rsplit_once('.').ok_or(TokenFault::Malformed)?;
        let (header, payload) = signed.split_once('.').ok_or(TokenFault::Malformed)?;
        let header: Header = decode(header)?;
        if header.alg != "HS256" {
            return Err(TokenFault::Malformed);
        }
        let signature = BASE64
            .decode(signature)
            .map_err(|_| TokenFault::Malformed)?;
        // In constant time, and before anything the token says is believed.
        self.mac(signed)
            .verify_slice(&signature)
            .map_err(|_| TokenFault::Forged)?;
        let claims: Claims = decode(payload)?;
        if now_s >= claims.exp {
            return Err(TokenFault::Expired);
        }
        Ok(claims)
    }

    fn mac(&self, signed: &str) -> Hmac<Sha256> {
        let mut mac = self.0.clone();
        mac.update(signed.as_bytes());
        mac
    }
}

#[derive(Deserialize)]
struct Header {
    alg: String,
}

fn decode<T: for<'a> Deserialize<'a>>(part: &str) -> Result<T, TokenFault> {
    let json = BASE64.decode(part).map_err(|_| TokenFault::Malformed)?;
    serde_json::from_slice(&json).map_err(|_| TokenFault::Malformed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SECRET: &str = "a secret of more than thirty-two bytes";

    fn claims() -> Claims {
        Claims {
            client_id: "ada".into(),
            permissions: vec![Permission::Read, Permission::Write],
            iat: 1_000,
            exp: 1_000 + LIFETIME_S,
        }
    }

    /// The example of RFC 7515, appendix A.1.
    #[test]
    fn signatures_are_those_of_the_standard() {
        let key = "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow";
        let secret = Secret::of(&BASE64.decode(key).unwrap());
        let signed = "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ";
        let signature = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
        assert_eq!(
            BASE64.encode(secret.mac(signed).finalize().into_bytes()),
            signature
        );
        // Signed well, but it says nothing of what ours say.
        assert_eq!(
            secret.verify(&format!("{signed}.{signature}"), 0),
            Err(TokenFault::Malformed)
        );
    }

    #[test]
    fn only_what_was_signed_here_is_believed_and_not_for_ever() {
        let secret = Secret::new(Some(SECRET));
        let token = secret.sign(&claims());
        let end = 1_000 + LIFETIME_S;
        assert_eq!(secret.verify(&token, end - 1), Ok(claims()));
        // RFC 7519 §4.1.4: not on or after that time.
        assert_eq!(secret.verify(&token, end), Err(TokenFault::Expired));
        // The same configuration believes it after a restart; another one, or none, does not.
        assert_eq!(Secret::new(Some(SECRET)).verify(&token, 0), Ok(claims()));
        for other in [
            Some("another secret of 32 bytes or more"),
            Some("short"),
            None,
        ] {
            assert_eq!(
                Secret::new(other).verify(&token, 0),
                Err(TokenFault::Forged),
                "{other:?}"
            );
        }
        assert_eq!(
            Secret::new(Some("short")).verify(&Secret::new(Some("short")).sign(&claims()), 0),
            Err(TokenFault::Forged)
        );
    }

    #[test]
    fn other_algorithms_are_refused() {
        let secret = Secret::new(Some(SECRET));
        let token = secret.sign(&claims());
        let payload = token.split('.').nth(1).unwrap();
        for header in [
            r#"{"alg":"none"}"#,
            r#"{"alg":"HS512"}"#,
            r#"{"alg":"RS256"}"#,
            r#"{"typ":"JWT"}"#,
            "no JSON",
        ] {
            let signed = format!("{}.{payload}", BASE64.encode(header));
            let signature = BASE64.encode(secret.mac(&signed).finalize().into_bytes());
            for token in [format!("{signed}.{signature}"), format!("{signed}.")] {
                assert_eq!(
                    secret.verify(&token, 0),
                    Err(TokenFault::Malformed),
                    "{token}"
                );
            }
        }
        for token in [
            "",
            ".",
            "..",
            "a.b",
            "a.b.c",
            "a.b.c.d",
            &format!("{token}.a"),
            &token[1..],
        ] {
            assert_eq!(
                secret.verify(token, 0),
                Err(TokenFault::Malformed),
                "{token}"
            );
        }
    }

    proptest! {
        /// No letter of a token can be another one.
        #[test]
        fn a_changed_token_is_refused(at in 0_usize..1000, by in "[A-Za-z0-9_.-]") {
            let secret = Secret::new(Some(SECRET));
            let token = secret.sign(&claims());
            let at = at % token.len();
            let mut changed = token.clone();
            changed.replace_range(at..=at, &by);
            prop_assume!(changed != token);
            prop_assert!(secret.verify(&changed, 0).is_err());
        }
    }
}
