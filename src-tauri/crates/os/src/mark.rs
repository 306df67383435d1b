/// Environment variable that carries a [`Mark`].
pub const MARK_VARIABLE: &str = "FLOTILLA_MARK";

/// Says whose process it is: home, boot, instance, spawn, each narrower than the one before.
///
/// Written `home:boot:server#index:spawn:`; a shorter mark matches every longer one that starts with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mark(String);

impl Mark {
    /// Everything ever started from this home directory.
    #[must_use]
    pub fn of_home(home: &std::path::Path) -> Self {
        // FNV-1a: the same home gives the same mark in every version of the program.
        let hash = home
            .as_os_str()
            .as_encoded_bytes()
            .iter()
            .fold(0xcbf2_9ce4_8422_2325_u64, |h, b| {
                (h ^ u64::from(*b)).wrapping_mul(0x0100_0000_01b3)
            });
        Self(format!("{hash:016x}:"))
    }

    /// The narrower mark of one part.
    #[must_use]
    pub fn narrow(&self, part: impl std::fmt::Display) -> Self {
        Self(format!("{}{part}:", self.0))
    }

    /// The mark as text, for the environment or an argument.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// A mark from its text.
    #[must_use]
    pub fn from_text(text: &str) -> Self {
        Self(text.to_owned())
    }

    /// The text of the mark that a process with this environment (`NAME=value`, NUL between) carries, if any.
    pub(crate) fn text_in(environ: &[u8]) -> Option<&[u8]> {
        environ.split(|b| *b == 0).find_map(|entry| {
            entry
                .strip_prefix(MARK_VARIABLE.as_bytes())?
                .strip_prefix(b"=")
        })
    }

    /// Whether this mark is that text or wider.
    pub(crate) fn covers(&self, text: &[u8]) -> bool {
        text.starts_with(self.0.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_matches_itself_and_what_is_narrower() {
        let home = Mark::of_home(std::path::Path::new("/a"));
        let boot = home.narrow("b1");
        let one = boot.narrow("s#1");
        let environ = format!("X=1\0{MARK_VARIABLE}={}\0Y=2", one.narrow(7).as_str());
        let is_in =
            |mark: &Mark, environ: &str| mark.covers(Mark::text_in(environ.as_bytes()).unwrap());
        for mark in [&home, &boot, &one] {
            assert!(is_in(mark, &environ), "{mark:?}");
        }
        // "s#1" must not match "s#10": every part ends in a colon.
        let ten = format!("{MARK_VARIABLE}={}", boot.narrow("s#10").narrow(7).as_str());
        assert!(!is_in(&one, &ten));
        assert!(!is_in(&home.narrow("b2"), &environ));
        assert!(!is_in(&Mark::of_home(std::path::Path::new("/b")), &environ));
    }
}
