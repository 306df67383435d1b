//! Values that everybody knows: they stand where a secret belongs and protect nothing.

use crate::{import::detect, resolve};
use flotilla_contract::spec::Value;

/// Words that examples and defaults are made of.
const WORDS: &[&str] = &[
    "add",
    "admin",
    "administrator",
    "api",
    "apikey",
    "bar",
    "change",
    "changeit",
    "default",
    "demo",
    "dummy",
    "enter",
    "example",
    "fixme",
    "foo",
    "foobar",
    "goes",
    "guest",
    "here",
    "in",
    "insecure",
    "insert",
    "it",
    "key",
    "letmein",
    "me",
    "my",
    "pass",
    "passw0rd",
    "password",
    "passwd",
    "placeholder",
    "please",
    "production",
    "put",
    "qwerty",
    "replace",
    "root",
    "sample",
    "secret",
    "test",
    "testing",
    "the",
    "this",
    "todo",
    "token",
    "welcome",
    "with",
    "x",
    "your",
];

/// A key from outside has at least this many characters in production.
const LEAST: usize = 16;
/// And at least so many different ones.
const DIFFERENT: usize = 6;

/// Whether a value is made of nothing but well-known words (`changeme`, `your-api-key`, `secret123`, `123456`), in any case
/// and with anything but letters and digits between them.
#[must_use]
pub fn is_well_known(value: &str) -> bool {
    if !value.is_ascii() {
        return false;
    }
    let plain: String = value
        .chars()
        .filter(char::is_ascii_alphanumeric)
        .map(|c| c.to_ascii_lowercase())
        .collect();
    let words = plain.trim_end_matches(|c: char| c.is_ascii_digit());
    if words.is_empty() {
        return !plain.is_empty() && "01234567890".contains(&plain);
    }
    // What can be reached from the start by whole words.
    let mut reached = vec![false; words.len() + 1];
    reached[0] = true;
    for at in 0..words.len() {
        if reached[at] {
            for word in WORDS.iter().filter(|word| words[at..].starts_with(**word)) {
                reached[at + word.len()] = true;
            }
        }
    }
    reached[words.len()]
}

/// Whether this variable or header is a secret, by its declaration or its name, and came out as a well-known value. A scheme
/// before the secret (`Bearer …`) is left aside.
#[must_use]
pub fn is_default_secret(name: &str, declared: &Value, value: &str) -> bool {
    let secret = match declared {
        Value::Secret { .. } => true,
        Value::Text { text } => {
            resolve::secrets_in(text).next().is_some() || detect::is_secret_name(name)
        }
    };
    let bare = ["Bearer ", "Basic ", "Token "]
        .iter()
        .find_map(|scheme| value.strip_prefix(scheme))
        .unwrap_or(value);
    secret && is_well_known(bare)
}

/// What is wrong with a key for the secrets that comes from outside, if anything.
///
/// # Errors
/// A half-sentence that says what it is and what is accepted; never the key.
pub fn judge_key(key: &str) -> Result<(), String> {
    let many = key.chars().count();
    if is_well_known(key) {
        return Err(
            "it is made of well-known words; production accepts a key of its own, for instance of `openssl rand -base64 32`"
                .into(),
        );
    }
    if many < LEAST {
        return Err(format!(
            "it has {many} {}; production accepts {LEAST} or more",
            if many == 1 { "character" } else { "characters" }
        ));
    }
    let different = key.chars().collect::<std::collections::BTreeSet<_>>().len();
    if different < DIFFERENT {
        return Err(format!(
            "it has only {different} different characters; production accepts {DIFFERENT} or more"
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_everybody_knows() {
        for known in [
            "changeme",
            "Change-Me!",
            "secret",
            "password1",
            "passw0rd",
            "admin",
            "default",
            "your-api-key",
            "YOUR_API_KEY_HERE",
            "<insert token here>",
            "xxxx-xxxx",
            "123456",
            "my-secret-token-2024",
        ] {
            assert!(is_well_known(known), "{known}");
        }
        for own in [
            "",
            "sk-1234567890abcdef",
            "correct horse battery staple",
            "ghp_x7Yq2",
            "geheim",
            "4829174839",
            "passwört",
            "keyboard",
        ] {
            assert!(!is_well_known(own), "{own}");
        }
    }

    #[test]
    fn only_secrets_are_judged() {
        let text = |text: &str| Value::Text { text: text.into() };
        let kept = Value::Secret { name: "a/b".into() };
        let judge =
            |name: &str, declared: &Value, value: &str| is_default_secret(name, declared, value);
        assert!(judge("ANYTHING", &kept, "changeme"));
        assert!(judge("API_KEY", &text("changeme"), "changeme"));
        assert!(judge("X", &text("Bearer ${secret:t}"), "Bearer password"));
        assert!(!judge("PROFILE", &text("default"), "default"));
        assert!(!judge("USER", &text("admin"), "admin"));
        assert!(!judge("AUTH_METHOD", &text("token"), "token"));
        assert!(!judge("ANYTHING", &kept, "f3c9a1"));
    }

    #[test]
    fn keys_from_outside() {
        let refused = |key: &str, why: &str| {
            let said = judge_key(key).unwrap_err();
            assert!(said.contains(why) && !said.contains(key), "{key}: {said}");
        };
        refused("changeme-changeme", "well-known");
        refused("Tr0ub4dor&3", "it has 11 characters");
        refused("abababababababab", "only 2 different");
        judge_key("correct horse battery staple").unwrap();
        judge_key("f3c9a1d07be24586").unwrap();
    }
}
