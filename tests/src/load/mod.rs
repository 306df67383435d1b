//! What measurements and chaos runs share: an engine as a process of its own, and what the kernel knows about
//! processes. Linux only, like the figures that come out of it.

pub mod echo;
mod engine;
pub mod mcp;
pub mod process;

pub use engine::{Engine, engine_program, fixture_program, run};

/// A small random source whose seed is printed, so that a run can be repeated (xorshift64*, Vigna 2016).
#[derive(Debug)]
pub struct Dice(u64);

impl Dice {
    /// Numbers that follow from this seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        // Zero is the one state it never leaves; the factor spreads small seeds over all bits.
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    /// A number below `end`, which is not 0.
    pub fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 16) % end.max(1)
    }

    /// One of these, if there is any.
    pub fn pick<'a, T>(&mut self, of: &'a [T]) -> Option<&'a T> {
        of.get(self.below(of.len() as u64) as usize)
    }
}

/// The value below which this share of them lies (the nearest one there is); NaN where there is none. Sorts them.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "an index into some thousands"
)]
pub fn quantile(values: &mut [f64], share: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    let at = (values.len().saturating_sub(1) as f64 * share).round() as usize;
    values.get(at).copied().unwrap_or(f64::NAN)
}

/// The first port of `count` free ones in a row, looked for from a place that differs between processes.
///
/// # Errors
/// When there is no such row.
pub fn free_ports(count: u16) -> std::io::Result<u16> {
    // Below the range from which the kernel hands out ports by itself (32768 on).
    const FIRST: u32 = 10_000;
    const SPAN: u32 = 22_000;
    let offset = std::process::id().wrapping_mul(389) % SPAN;
    let mut start = FIRST + offset;
    for _ in 0..64 {
        if start + u32::from(count) > FIRST + SPAN {
            start = FIRST;
        }
        let taken = (start..start + u32::from(count))
            .rev()
            .find(|port| std::net::TcpListener::bind(("127.0.0.1", *port as u16)).is_err());
        match taken {
            None => return Ok(start as u16),
            Some(taken) => start = taken + 1,
        }
    }
    Err(std::io::Error::other(format!(
        "no {count} free ports in a row"
    )))
}
