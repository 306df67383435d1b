//! What the gateway is to reach, and by how much it does not.

use crate::{
    gateway::Kind,
    measure::{Measured, Round, Shape},
    rows,
};
use std::fmt;

/// A figure beside its target.
pub(crate) struct Verdict {
    what: &'static str,
    figure: f64,
    target: Target,
}

#[derive(Clone, Copy)]
enum Target {
    AtMost(f64),
    AtLeast(f64),
}

impl Verdict {
    pub(crate) fn met(&self) -> bool {
        match self.target {
            Target::AtMost(limit) => self.figure <= limit,
            Target::AtLeast(limit) => self.figure >= limit,
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (sign, limit) = match self.target {
            Target::AtMost(limit) => ('≤', limit),
            Target::AtLeast(limit) => ('≥', limit),
        };
        let Self { what, figure, .. } = self;
        write!(f, "  {what:<56}{figure:>8.2}  {sign} {limit:<6}")?;
        if self.met() {
            write!(f, "ok")
        } else {
            let by = (figure / limit - 1.0).abs() * 100.0;
            write!(f, "missed by {by:.1} %")
        }
    }
}

/// A figure for each target whose rows were measured.
pub(crate) fn judge(measured: &[Measured]) -> Vec<Verdict> {
    use Shape::{ManyLarge, ManySmall, OneLarge, OneSmall};
    use Target::{AtLeast, AtMost};
    let row = |name: &str| {
        let found = measured.iter().find(|measured| measured.name == name);
        found.filter(|measured| measured.failed.is_none())
    };
    let p50 = |round: &Round| round.p50;
    let p99 = |round: &Round| round.p99;
    let rate = |round: &Round| round.rate;
    let mut verdicts = Vec::new();
    let mut say = |what, figure, target| {
        verdicts.push(Verdict {
            what,
            figure,
            target,
        })
    };
    let direct = row(rows::DIRECT);
    if let (Some(ours), Some(direct)) = (row(Kind::Forwarded.name()), direct) {
        let figure = ours.ratio(direct, OneSmall, p50);
        say("1 session, 200 B: p50 ÷ direct", figure, AtMost(1.9));
        let figure = ours.ratio(direct, OneLarge, p50);
        say("1 session, 64 KiB: p50 ÷ direct", figure, AtMost(1.7));
        let figure = ours.ratio(direct, ManySmall, rate);
        say(
            "32 sessions, 200 B: calls/s ÷ direct",
            figure,
            AtLeast(0.52),
        );
        let figure = ours.ratio(direct, ManyLarge, rate);
        say(
            "32 sessions, 64 KiB: calls/s ÷ direct",
            figure,
            AtLeast(0.62),
        );
        let figure = ours.median(ManySmall, |round| round.cpu);
        say("32 sessions, 200 B: CPU µs a call", figure, AtMost(35.0));
        let over = ours.peak(ManyLarge) as f64 - ours.idle as f64;
        say(
            "32 sessions, 64 KiB: MiB over the idle engine",
            over / f64::from(1 << 20),
            AtMost(50.0),
        );
        let figure = ours.after as f64 / ours.idle as f64;
        say("memory afterwards ÷ idle", figure, AtMost(1.1));
    }
    if let (Some(ours), Some(hop)) = (row(Kind::Forwarded.name()), row(rows::HYPER_HOP)) {
        let figure = ours.ratio(hop, OneSmall, p99);
        say("1 session, 200 B: p99 ÷ hyper-hop", figure, AtMost(1.3));
        let figure = ours.ratio(hop, ManySmall, rate);
        say(
            "32 sessions, 200 B: calls/s ÷ hyper-hop",
            figure,
            AtLeast(0.88),
        );
    }
    if let (Some(ours), Some(direct)) = (row(Kind::Cached.name()), direct) {
        let figure = ours.ratio(direct, ManySmall, rate);
        say(
            "from the cache, 32 sessions, 200 B: calls/s ÷ direct",
            figure,
            AtLeast(2.5),
        );
    }
    if let (Some(ours), Some(bridge)) = (row(Kind::Stdio.name()), row(rows::BRIDGE)) {
        let figure = ours.ratio(bridge, ManySmall, rate);
        say(
            "stdio, 32 sessions, 200 B: calls/s ÷ stdio-bridge",
            figure,
            AtLeast(0.85),
        );
    }
    verdicts
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A row that did the same under each load.
    fn measured(name: &str, rounds: &[(f64, f64)]) -> Measured {
        let mut measured = Measured::new(name, true);
        (measured.idle, measured.after) = (100, 109);
        for shape in Shape::ALL {
            for (p50, rate) in rounds {
                let (p50, rate) = (*p50, *rate);
                measured.add(
                    shape,
                    Round {
                        p50,
                        p99: p50 * 2.0,
                        rate,
                        cpu: 20.0,
                        peak: 100,
                    },
                );
            }
        }
        measured
    }

    fn lines(rows: &[Measured]) -> Vec<String> {
        judge(rows).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_miss_says_by_how_much_and_ratios_stay_within_their_round() {
        // The machine was twice as slow in the second round: no ratio shows it.
        let direct = || measured("direct", &[(50.0, 1000.0), (100.0, 500.0), (50.0, 1000.0)]);
        let gateway = measured("gateway", &[(90.0, 416.0), (180.0, 208.0), (90.0, 416.0)]);
        let found = lines(&[direct(), gateway]);
        assert_eq!(found.len(), 7);
        assert!(
            found[0].contains("1.80") && found[0].ends_with("ok"),
            "{}",
            found[0]
        );
        assert!(
            found[2].contains("0.42") && found[2].ends_with("missed by 20.0 %"),
            "{}",
            found[2]
        );

        let cached = || measured("gateway-cached", &[(20.0, 3000.0), (40.0, 1500.0)]);
        assert!(lines(&[direct(), cached()])[0].ends_with("ok"));
        let mut failed = cached();
        failed.failed = Some("it did not answer".to_owned());
        assert_eq!(lines(&[direct(), failed]).len(), 0);
    }
}
