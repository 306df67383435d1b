//! Which literal values are secrets.

/// Whether a variable, header or flag of this name usually holds a secret.
pub(crate) fn is_secret_name(name: &str) -> bool {
    let words = words(name);
    let has = |list: &[&str]| words.iter().any(|word| list.contains(&word.as_str()));
    let last = words.last().map(String::as_str).unwrap_or_default();
    // What only points to a secret, or is meant to be seen.
    if [
        "path", "file", "dir", "url", "uri", "host", "port", "sock", "name", "id", "type", "ttl",
        "limit", "tokens", "mode", "kind", "method", "scheme",
    ]
    .contains(&last)
        || has(&["public"])
    {
        return false;
    }
    let telling = [
        "key",
        "apikey",
        "token",
        "secret",
        "password",
        "passwd",
        "passphrase",
        "pass",
        "pat",
        "credential",
        "credentials",
        "auth",
        "authorization",
        "bearer",
        "cookie",
        "jwt",
    ];
    has(&telling) || words.concat().ends_with("apikey")
}

/// `MAX_TOKENS`, `apiKey`, `X-Api-Key` as lower-case words.
fn words(name: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut before_lower = false;
    for c in name.chars() {
        let splits = !c.is_ascii_alphanumeric();
        if splits || (c.is_ascii_uppercase() && before_lower) {
            words.push(String::new());
        }
        if !splits && let Some(word) = words.last_mut() {
            word.push(c.to_ascii_lowercase());
        }
        before_lower = c.is_ascii_lowercase();
    }
    words.retain(|word| !word.is_empty());
    words
}

/// Whether a value looks like a token that a well-known service hands out.
pub(super) fn is_token(value: &str) -> bool {
    const PREFIXES: &[&str] = &[
        "sk-",
        "sk_live_",
        "sk_test_",
        "rk_live_",
        "pk_live_",
        "ghp_",
        "gho_",
        "ghu_",
        "ghs_",
        "ghr_",
        "github_pat_",
        "glpat-",
        "xoxb-",
        "xoxp-",
        "xoxa-",
        "xoxs-",
        "xapp-",
        "AKIA",
        "ASIA",
        "AIza",
        "ya29.",
        "npm_",
        "pypi-",
        "hf_",
        "dop_v1_",
        "SG.",
        "ntn_",
        "lin_api_",
        "tvly-",
        "figd_",
        "shpat_",
        "r8_",
        "gsk_",
        "fc-",
        "sbp_",
        "vercel_",
        "nvapi-",
        "pplx-",
        "xai-",
        "BSA",
    ];
    let value = value
        .strip_prefix("Bearer ")
        .or_else(|| value.strip_prefix("Basic "))
        .unwrap_or(value);
    let dense = value.len() >= 16
        && value
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"-_.~+/=".contains(&b));
    let has_digit = value.bytes().any(|b| b.is_ascii_digit());
    (dense && has_digit && PREFIXES.iter().any(|prefix| value.starts_with(prefix)))
        || is_jwt(value)
        || value.starts_with("-----BEGIN ")
        || value.starts_with("AGE-SECRET-KEY-")
}

fn is_jwt(value: &str) -> bool {
    let parts: Vec<&str> = value.split('.').collect();
    parts.len() == 3
        && value.starts_with("eyJ")
        && parts.iter().all(|part| {
            part.len() >= 4
                && part
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
        })
}

/// Whether a URL carries a password, or a query value that is one.
pub(super) fn is_url_with_secret(value: &str) -> bool {
    if !value.contains("://") {
        return false;
    }
    let Ok(url) = url::Url::parse(value) else {
        return false;
    };
    let password = url.password().is_some_and(|password| !password.is_empty());
    let user_token = is_token(url.username());
    password
        || user_token
        || url
            .query_pairs()
            .any(|(name, value)| is_secret_query(&name, &value))
}

pub(super) fn is_secret_query(name: &str, value: &str) -> bool {
    !value.is_empty()
        && (is_secret_name(name) || ["sig", "signature", "code"].contains(&name) || is_token(value))
}

/// Whether this value of this name is a secret: what was written literally, and is not plainly something else.
pub(crate) fn is_secret(name: &str, value: &str) -> bool {
    let plain = value.is_empty()
        || ["true", "false", "none", "null", "yes", "no"].contains(&value.to_lowercase().as_str());
    let small_number = value.len() < 6 && value.bytes().all(|b| b.is_ascii_digit());
    let is_path = value.starts_with(['/', '~', '.']);
    !plain
        && ((is_secret_name(name) && !small_number && !is_path)
            || is_token(value)
            || is_url_with_secret(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_a_secret() {
        for (name, value, secret) in [
            (
                "GITHUB_PERSONAL_ACCESS_TOKEN",
                "ghp_0123456789abcdefghij",
                true,
            ),
            ("OPENAI_API_KEY", "whatever", true),
            ("apiKey", "whatever", true),
            ("X-Api-Key", "whatever", true),
            ("OPENAIAPIKEY", "whatever", true),
            ("DB_PASSWORD", "hunter2", true),
            ("Authorization", "Bearer abc", true),
            ("CLIENT_SECRET", "x", true),
            ("DATABASE_URL", "postgres://u:p@host/db", true),
            ("WEBHOOK", "https://x.example/hook?token=abc", true),
            ("ANYTHING", "sk-proj-0123456789abcdef", true),
            ("ANYTHING", "eyJhbGciOi.eyJzdWIiOiIx.SflKxwRJSM", true),
            ("MAX_TOKENS", "4096", false),
            ("TOKEN_LIMIT", "100000", false),
            ("SSH_AUTH_SOCK", "/run/agent.sock", false),
            ("KEY_FILE", "/etc/key", false),
            ("PRIVATE_KEY", "~/.ssh/id", false),
            ("PUBLIC_KEY", "abc", false),
            ("KEYBOARD", "de", false),
            ("AUTH_ENABLED", "true", false),
            ("OPENAI_API_KEY", "", false),
            ("MONKEY", "george", false),
            ("HOME", "/home/me", false),
            ("API_URL", "https://api.example.com/v1?page=2", false),
            ("MODEL", "sk-learn", false),
        ] {
            assert_eq!(is_secret(name, value), secret, "{name}={value}");
        }
    }
}
