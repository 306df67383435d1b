//! The expression of an alert rule: a question to the metrics store, and a comparison of its answer with a number.
//!
//! ```text
//! condition   = term [ ("+" | "-" | "*" | "/") term ] ( ">" | ">=" | "<" | "<=" | "==" | "!=" ) number
//! term        = number | question
//! question    = "histogram_quantile" "(" number "," grouped ")" | grouped
//! grouped     = ("sum" | "avg" | "min" | "max" | "count") [ "by" "(" label { "," label } ")" ] "(" of ")" | of
//! of          = function "(" selector "[" duration "]" ")" | selector
//! function    = "rate" | "increase" | "delta" | ("avg" | "min" | "max" | "sum" | "count") "_over_time"
//! selector    = name [ "{" label ("=" | "!=") '"' text '"' { "," … } "}" ]
//! ```
//!
//! What is accepted means the same in Prometheus; it is the part of its language that the store answers, and no more: one operator, no
//! regular expressions, no `without`, no `offset`. Both sides of an operator are put together where all their labels are the same.

use crate::{
    Millis,
    metric::{LabelMatch, RangeAggregate, RangeAnswer, RangeFunction, RangeGrouping, RangeQuery},
    units,
};
use std::{collections::BTreeMap, fmt, str::FromStr};

/// A text is no longer than this, in bytes.
const LONGEST: usize = 1_000;

/// Labels by name.
pub type Labels = BTreeMap<String, String>;

/// A condition, read from its text.
#[derive(Clone, Debug, PartialEq)]
pub struct Expr {
    /// What is asked.
    pub left: Term,
    /// With what it is put together.
    pub right: Option<(Operator, Term)>,
    /// How it is compared.
    pub comparison: Comparison,
    /// With what.
    pub threshold: f64,
}

/// A side of an operator.
#[derive(Clone, Debug, PartialEq)]
pub enum Term {
    /// The same for all series.
    Number(f64),
    /// Asked of the store.
    Question(Question),
}

/// A question to the store, without its time.
#[derive(Clone, Debug, PartialEq)]
pub struct Question {
    /// Name of the metric.
    pub metric: String,
    /// What labels must be.
    pub labels: Vec<LabelMatch>,
    /// What the value is.
    pub function: RangeFunction,
    /// How far it looks back, in milliseconds; absent: as the store does.
    pub range: Option<u64>,
    /// How series are put together.
    pub grouping: Option<RangeGrouping>,
    /// The quantile of histograms.
    pub quantile: Option<f64>,
}

/// How two sides become one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operator {
    /// `+`
    Add,
    /// `-`
    Subtract,
    /// `*`
    Multiply,
    /// `/`; a division by zero has no value.
    Divide,
}

/// How a value is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comparison {
    /// `>`
    Above,
    /// `>=`
    AtLeast,
    /// `<`
    Below,
    /// `<=`
    AtMost,
    /// `==`
    Equal,
    /// `!=`
    Different,
}

impl Comparison {
    /// Whether a value fulfils it.
    #[must_use]
    #[expect(clippy::float_cmp, reason = "as Prometheus compares")]
    pub fn holds(self, value: f64, threshold: f64) -> bool {
        match self {
            Self::Above => value > threshold,
            Self::AtLeast => value >= threshold,
            Self::Below => value < threshold,
            Self::AtMost => value <= threshold,
            Self::Equal => value == threshold,
            Self::Different => value != threshold,
        }
    }

    /// As it is written.
    #[must_use]
    pub fn sign(self) -> &'static str {
        match self {
            Self::Above => ">",
            Self::AtLeast => ">=",
            Self::Below => "<",
            Self::AtMost => "<=",
            Self::Equal => "==",
            Self::Different => "!=",
        }
    }
}

/// A value of a series at one time.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// Its labels, without the metric's name.
    pub labels: Labels,
    /// Its value: finite.
    pub value: f64,
}

impl Question {
    /// The question at a time.
    #[must_use]
    pub fn at(&self, time: Millis) -> RangeQuery {
        RangeQuery {
            metric: self.metric.clone(),
            labels: self.labels.clone(),
            from: time,
            to: time,
            step: 1,
            function: self.function,
            range: self.range,
            grouping: self.grouping.clone(),
            quantile: self.quantile,
        }
    }

    /// What the answer says of that time.
    #[must_use]
    pub fn samples(answer: RangeAnswer) -> Vec<Sample> {
        let lines = answer.lines.into_iter();
        let sample = lines.filter_map(|line| {
            let value = (*line.values.last()?)?;
            let labels = line.labels.into_iter().filter(|(_, v)| !v.is_empty());
            Some(Sample {
                labels: labels.collect(),
                value,
            })
        });
        sample.collect()
    }
}

impl Expr {
    /// The questions, those of the left side first.
    pub fn questions(&self) -> impl Iterator<Item = &Question> {
        let terms = std::iter::once(&self.left).chain(self.right.as_ref().map(|(_, term)| term));
        terms.filter_map(|term| match term {
            Term::Question(question) => Some(question),
            Term::Number(_) => None,
        })
    }

    /// The values to compare, from the answers to [`questions`](Self::questions) in their order.
    #[must_use]
    pub fn values(&self, answers: Vec<Vec<Sample>>) -> Vec<Sample> {
        let mut answers = answers.into_iter();
        let mut side = |term: &Term| match term {
            Term::Number(number) => Side::Number(*number),
            Term::Question(_) => Side::Series(answers.next().unwrap_or_default()),
        };
        let left = side(&self.left);
        let Some((operator, term)) = &self.right else {
            return match left {
                Side::Series(series) => series,
                // Refused by the parser.
                Side::Number(_) => Vec::new(),
            };
        };
        let put = |a: f64, b: f64| match operator {
            Operator::Add => a + b,
            Operator::Subtract => a - b,
            Operator::Multiply => a * b,
            Operator::Divide => a / b,
        };
        let both: Vec<Sample> = match (left, side(term)) {
            (Side::Series(series), Side::Number(number)) => {
                mapped(series, |value| put(value, number))
            }
            (Side::Number(number), Side::Series(series)) => {
                mapped(series, |value| put(number, value))
            }
            (Side::Series(left), Side::Series(right)) => {
                let by: BTreeMap<&Labels, f64> =
                    right.iter().map(|s| (&s.labels, s.value)).collect();
                let matched = left.into_iter().filter_map(|sample| {
                    let value = put(sample.value, *by.get(&sample.labels)?);
                    Some(Sample { value, ..sample })
                });
                matched.collect()
            }
            (Side::Number(_), Side::Number(_)) => Vec::new(),
        };
        both.into_iter().filter(|s| s.value.is_finite()).collect()
    }

    /// Whether a value fulfils the condition.
    #[must_use]
    pub fn holds(&self, value: f64) -> bool {
        self.comparison.holds(value, self.threshold)
    }
}

enum Side {
    Number(f64),
    Series(Vec<Sample>),
}

fn mapped(mut series: Vec<Sample>, change: impl Fn(f64) -> f64) -> Vec<Sample> {
    for sample in &mut series {
        sample.value = change(sample.value);
    }
    series
}

/// Why a text is no condition.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("column {column}: {message}")]
pub struct ExprError {
    /// Where, in characters from 1.
    pub column: usize,
    /// What was found, and what is accepted.
    pub message: String,
}

impl FromStr for Expr {
    type Err = ExprError;

    fn from_str(text: &str) -> Result<Self, ExprError> {
        let mut reader = Reader { text, at: 0 };
        if text.len() > LONGEST {
            return Err(reader.error(format!(
                "the expression has {} bytes; accepted are up to {LONGEST}",
                text.len()
            )));
        }
        let left = reader.term()?;
        let right = match reader.operator() {
            Some(operator) => Some((operator, reader.term()?)),
            None => None,
        };
        let asks = |term: &Term| matches!(term, Term::Question(_));
        if !asks(&left) && !right.as_ref().is_some_and(|(_, term)| asks(term)) {
            reader.at = 0;
            return Err(reader.error("no metric is asked for; accepted is at least one".into()));
        }
        let comparison = reader.comparison()?;
        let threshold = reader.number()?;
        reader.blank();
        if !reader.rest().is_empty() {
            return Err(reader.expected("the end: a condition has one operator and one comparison"));
        }
        Ok(Self {
            left,
            right,
            comparison,
            threshold,
        })
    }
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
}

type Result<T, E = ExprError> = std::result::Result<T, E>;

const FUNCTIONS: [(&str, RangeFunction); 8] = [
    ("rate", RangeFunction::Rate),
    ("increase", RangeFunction::Increase),
    ("delta", RangeFunction::Delta),
    ("avg_over_time", RangeFunction::Mean),
    ("min_over_time", RangeFunction::Min),
    ("max_over_time", RangeFunction::Max),
    ("sum_over_time", RangeFunction::Sum),
    ("count_over_time", RangeFunction::Count),
];

const AGGREGATES: [(&str, RangeAggregate); 5] = [
    ("sum", RangeAggregate::Sum),
    ("avg", RangeAggregate::Avg),
    ("min", RangeAggregate::Min),
    ("max", RangeAggregate::Max),
    ("count", RangeAggregate::Count),
];

const QUANTILE: &str = "histogram_quantile";

fn find<T: Copy>(words: &[(&str, T)], word: &str) -> Option<T> {
    words.iter().find(|(w, _)| *w == word).map(|(_, t)| *t)
}

impl<'a> Reader<'a> {
    fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn blank(&mut self) {
        let rest = self.rest();
        self.at += rest.len() - rest.trim_start().len();
    }

    fn error(&self, message: String) -> ExprError {
        let before = self.text.get(..self.at).unwrap_or_default();
        ExprError {
            column: before.chars().count() + 1,
            message,
        }
    }

    fn expected(&self, accepted: impl fmt::Display) -> ExprError {
        let rest = self.rest();
        let word: String = rest
            .chars()
            .enumerate()
            .take_while(|(i, c)| *i == 0 || is_word(*c))
            .map(|(_, c)| c)
            .collect();
        let found = if word.is_empty() {
            "the end".to_owned()
        } else {
            format!("{word:?}")
        };
        self.error(format!("found {found}; accepted is {accepted}"))
    }

    /// Takes a sign if it comes next.
    fn takes(&mut self, sign: &str) -> bool {
        self.blank();
        let there = self.rest().starts_with(sign);
        if there {
            self.at += sign.len();
        }
        there
    }

    fn needs(&mut self, sign: &str) -> Result<()> {
        if self.takes(sign) {
            Ok(())
        } else {
            Err(self.expected(format_args!("{sign:?}")))
        }
    }

    /// A name, or nothing.
    fn word(&mut self) -> &'a str {
        self.blank();
        let rest = self.rest();
        let end = rest
            .find(|c: char| !(is_word(c) || c == ':'))
            .unwrap_or(rest.len());
        let word = &rest[..end];
        if word.starts_with(|c: char| c.is_ascii_digit()) {
            return "";
        }
        self.at += end;
        word
    }

    fn number(&mut self) -> Result<f64> {
        self.blank();
        let rest = self.rest();
        let mut end = 0;
        for (i, c) in rest.char_indices() {
            let exponent = i > 0 && matches!(rest.as_bytes()[i - 1], b'e' | b'E');
            let part = c.is_ascii_digit()
                || matches!(c, '.' | 'e' | 'E')
                || (matches!(c, '+' | '-') && (i == 0 || exponent));
            if !part {
                break;
            }
            end = i + c.len_utf8();
        }
        match rest[..end].parse::<f64>() {
            Ok(number) if number.is_finite() => {
                self.at += end;
                Ok(number)
            }
            _ => Err(self.expected("a number")),
        }
    }

    fn operator(&mut self) -> Option<Operator> {
        let signs = [
            ("+", Operator::Add),
            ("-", Operator::Subtract),
            ("*", Operator::Multiply),
            ("/", Operator::Divide),
        ];
        let found = signs.into_iter().find(|(sign, _)| self.takes(sign))?;
        Some(found.1)
    }

    fn comparison(&mut self) -> Result<Comparison> {
        let signs = [
            (">=", Comparison::AtLeast),
            ("<=", Comparison::AtMost),
            ("==", Comparison::Equal),
            ("!=", Comparison::Different),
            (">", Comparison::Above),
            ("<", Comparison::Below),
        ];
        let found = signs.into_iter().find(|(sign, _)| self.takes(sign));
        found
            .map(|(_, comparison)| comparison)
            .ok_or_else(|| self.expected("a comparison with a number: >, >=, <, <=, == or !="))
    }

    fn term(&mut self) -> Result<Term> {
        self.blank();
        if self
            .rest()
            .starts_with(|c: char| c.is_ascii_digit() || matches!(c, '-' | '+' | '.'))
        {
            return self.number().map(Term::Number);
        }
        let start = self.at;
        if self.word() == QUANTILE && self.takes("(") {
            let at = self.at;
            let quantile = self.number()?;
            if !(0.0..=1.0).contains(&quantile) {
                self.at = at;
                return Err(self.expected("a quantile from 0 to 1"));
            }
            self.needs(",")?;
            let mut question = self.grouped()?;
            self.needs(")")?;
            question.quantile = Some(quantile);
            // The store keeps it by itself, as the quantile is made of it.
            if let Some(grouping) = &mut question.grouping {
                grouping.by.retain(|label| label != "le");
            }
            return Ok(Term::Question(question));
        }
        self.at = start;
        self.grouped().map(Term::Question)
    }

    fn grouped(&mut self) -> Result<Question> {
        self.blank();
        let start = self.at;
        let word = self.word();
        if let Some(aggregate) = find(&AGGREGATES, word) {
            let by = if self.word_is("by") {
                self.by()?
            } else {
                Vec::new()
            };
            self.needs("(")?;
            let mut question = self.of()?;
            self.needs(")")?;
            question.grouping = Some(RangeGrouping { aggregate, by });
            return Ok(question);
        }
        self.at = start;
        self.of()
    }

    fn word_is(&mut self, wanted: &str) -> bool {
        let start = self.at;
        let there = self.word() == wanted;
        if !there {
            self.at = start;
        }
        there
    }

    fn by(&mut self) -> Result<Vec<String>> {
        self.needs("(")?;
        let mut by = Vec::new();
        loop {
            by.push(self.label()?);
            if !self.takes(",") {
                break;
            }
        }
        self.needs(")")?;
        Ok(by)
    }

    fn label(&mut self) -> Result<String> {
        self.blank();
        let label = self.word();
        if label.is_empty() || label.contains(':') {
            return Err(self.expected("the name of a label"));
        }
        Ok(label.to_owned())
    }

    fn of(&mut self) -> Result<Question> {
        self.blank();
        let start = self.at;
        let word = self.word();
        if self.takes("(") {
            let Some(function) = find(&FUNCTIONS, word) else {
                self.at = start;
                let names: Vec<&str> = FUNCTIONS.iter().map(|(name, _)| *name).collect();
                return Err(self.expected(format_args!(
                    "one of {}, sum, avg, min, max, count, {QUANTILE}",
                    names.join(", ")
                )));
            };
            let mut question = self.selector()?;
            self.needs("[")?;
            question.range = Some(self.duration()?);
            self.needs("]")?;
            self.needs(")")?;
            question.function = function;
            return Ok(question);
        }
        self.at = start;
        let question = self.selector()?;
        self.blank();
        if self.rest().starts_with('[') {
            return Err(self.expected("a range only within a function, as in rate(x[5m])"));
        }
        Ok(question)
    }

    fn duration(&mut self) -> Result<u64> {
        self.blank();
        let rest = self.rest();
        let end = rest
            .find(|c: char| !(c.is_ascii_alphanumeric() || c == '.'))
            .unwrap_or(rest.len());
        match units::parse_duration(&rest[..end]) {
            Some(ms @ 1_000..=2_592_000_000) => {
                self.at += end;
                Ok(ms)
            }
            _ => Err(self.expected("a duration from 1s to 30d, such as 5m")),
        }
    }

    fn selector(&mut self) -> Result<Question> {
        self.blank();
        let metric = self.word();
        if metric.is_empty() {
            return Err(self.expected("the name of a metric"));
        }
        let mut labels = Vec::new();
        if self.takes("{") {
            while !self.takes("}") {
                let label = self.label()?;
                let is = if self.takes("!=") {
                    false
                } else if self.rest().trim_start().starts_with("=~") {
                    self.blank();
                    return Err(self.expected("= or !=; regular expressions are not"));
                } else if self.takes("=") {
                    true
                } else {
                    self.blank();
                    return Err(self.expected("= or !="));
                };
                let value = self.quoted()?;
                labels.push(LabelMatch {
                    label,
                    is,
                    values: vec![value],
                });
                if !self.takes(",") {
                    self.needs("}")?;
                    break;
                }
            }
        }
        Ok(Question {
            metric: metric.to_owned(),
            labels,
            function: RangeFunction::Last,
            range: None,
            grouping: None,
            quantile: None,
        })
    }

    fn quoted(&mut self) -> Result<String> {
        self.blank();
        let mut chars = self.rest().char_indices();
        if !matches!(chars.next(), Some((_, '"'))) {
            return Err(self.expected("a text in double quotes"));
        }
        let mut value = String::new();
        while let Some((i, c)) = chars.next() {
            match c {
                '"' => {
                    self.at += i + 1;
                    return Ok(value);
                }
                '\\' => match chars.next() {
                    Some((_, 'n')) => value.push('\n'),
                    Some((_, c @ ('"' | '\\'))) => value.push(c),
                    _ => return Err(self.error("a backslash stands before \\, \" or n".into())),
                },
                other => value.push(other),
            }
        }
        Err(self.error("the text in quotes has no end".into()))
    }
}

fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(labels: &[(&str, &str)], value: f64) -> Sample {
        let labels = labels.iter().map(|(k, v)| ((*k).into(), (*v).into()));
        Sample {
            labels: labels.collect(),
            value,
        }
    }

    #[test]
    fn what_is_read() {
        let plain: Expr = "flotilla_health < 0.5".parse().unwrap();
        let Term::Question(asked) = &plain.left else {
            panic!("{plain:?}")
        };
        assert_eq!(
            (asked.metric.as_str(), asked.function, asked.range),
            ("flotilla_health", RangeFunction::Last, None)
        );
        assert!(plain.holds(0.0) && !plain.holds(0.5));

        let whole: Expr = r#" sum by (server, tool) ( rate(x_total{status="er\"r",job!="a"}[5m]) ) / sum(rate(x_total[90s]))>=2e-2 "#.parse().unwrap();
        let [left, right] = whole.questions().collect::<Vec<_>>()[..] else {
            panic!("{whole:?}")
        };
        assert_eq!(left.range, Some(300_000));
        assert_eq!(
            left.grouping,
            Some(RangeGrouping {
                aggregate: RangeAggregate::Sum,
                by: vec!["server".into(), "tool".into()]
            })
        );
        assert_eq!(left.labels[0].values, ["er\"r"]);
        assert!(left.labels[0].is && !left.labels[1].is);
        assert_eq!(right.range, Some(90_000));
        assert_eq!(
            (whole.comparison, whole.threshold),
            (Comparison::AtLeast, 0.02)
        );
        let text = "histogram_quantile(0.95, sum by (le, server) (rate(x_bucket[5m]))) > 8";
        let quantile: Expr = text.parse().unwrap();
        let asked = quantile.questions().next().unwrap();
        assert_eq!(asked.quantile, Some(0.95));
        assert_eq!(asked.grouping.as_ref().unwrap().by, ["server"]);
        assert_eq!(asked.at(7).from, 7);
        // A metric may be named like a function where it is not called.
        assert!("rate > 1".parse::<Expr>().is_ok());
    }

    #[test]
    fn what_is_wrong_is_told_at_its_column() {
        for (text, said) in [
            (
                "",
                "column 1: found the end; accepted is the name of a metric",
            ),
            (
                "up",
                "column 3: found the end; accepted is a comparison with a number: >, >=, <, <=, == or !=",
            ),
            ("up == x", "column 7: found \"x\"; accepted is a number"),
            (
                "1 / 2 > 1",
                "column 1: no metric is asked for; accepted is at least one",
            ),
            (
                "foo(x[5m]) > 1",
                "column 1: found \"foo\"; accepted is one of rate, increase, delta, avg_over_time, min_over_time, max_over_time, sum_over_time, count_over_time, sum, avg, min, max, count, histogram_quantile",
            ),
            ("rate(x) > 1", "column 7: found \")\"; accepted is \"[\""),
            (
                "x[5m] > 1",
                "column 2: found \"[5m\"; accepted is a range only within a function, as in rate(x[5m])",
            ),
            (
                "rate(x[5x]) > 1",
                "column 8: found \"5x\"; accepted is a duration from 1s to 30d, such as 5m",
            ),
            (
                "x{a=~\"b\"} > 1",
                "column 4: found \"=\"; accepted is = or !=; regular expressions are not",
            ),
            (
                "x{a=b} > 1",
                "column 5: found \"b\"; accepted is a text in double quotes",
            ),
            ("x{a=\"b} > 1", "column 5: the text in quotes has no end"),
            (
                "a + b + c > 1",
                "column 7: found \"+\"; accepted is a comparison with a number: >, >=, <, <=, == or !=",
            ),
            (
                "a > 1 and b > 1",
                "column 7: found \"and\"; accepted is the end: a condition has one operator and one comparison",
            ),
            (
                "histogram_quantile(2, rate(x[5m])) > 1",
                "column 20: found \"2\"; accepted is a quantile from 0 to 1",
            ),
            (
                "ü > 1",
                "column 1: found \"ü\"; accepted is the name of a metric",
            ),
        ] {
            assert_eq!(
                text.parse::<Expr>().unwrap_err().to_string(),
                said,
                "{text}"
            );
        }
    }

    #[test]
    fn two_sides_meet_where_their_labels_are_the_same() {
        let ratio: Expr = "a / b > 0.02".parse().unwrap();
        let a = vec![
            sample(&[("server", "x")], 1.0),
            sample(&[("server", "y")], 1.0),
            sample(&[("server", "z")], 1.0),
        ];
        let b = vec![
            sample(&[("server", "x")], 4.0),
            sample(&[("server", "y")], 0.0),
        ];
        // One divided by nothing has no value, and z has nothing to be divided by.
        assert_eq!(
            ratio.values(vec![a.clone(), b]),
            [sample(&[("server", "x")], 0.25)]
        );
        let scaled: Expr = "1 - a < 0.5".parse().unwrap();
        assert_eq!(scaled.values(vec![a])[0].value, 0.0);
    }
}
