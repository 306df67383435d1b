//! Metrics that are kept: pages of real servers are scraped, a killed engine has lost nothing that was there, a gap is a gap.

use flotilla_contract::{
    ErrorCode, Millis,
    command::{EngineInfoCmd, MetricsQuery, MetricsRange, MetricsTargets},
    metric::{
        LabelMatch, Metric, MetricQuery, RangeFunction, RangeLine, RangeQuery, ScrapeTarget, Sum,
    },
    state::Status,
};
use flotilla_tests::{Bed, free_ports, program};
use std::{
    fs,
    time::{SystemTime, UNIX_EPOCH},
};

pub(crate) fn now() -> Millis {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    u64::try_from(since.expect("after 1970").as_millis()).expect("a time")
}

/// A reference server over HTTP whose page is said to be at a path.
fn server(name: &str, path: &str) -> String {
    format!(
        "[servers.{name}]\ncommand = {:?}\nargs = [\"vector_similarity\", \"--port\", \"{{port}}\"]\nport = {}\nmetrics_path = {path:?}\n",
        program("flotilla-reference").display().to_string(),
        free_ports(1),
    )
}

/// The latest values of a metric that was scraped from a server: the last ten minutes up to a moment, a point a second, one at the moment itself.
pub(crate) fn latest(metric: &str, job: &str, to: Millis) -> RangeQuery {
    RangeQuery {
        metric: metric.to_owned(),
        labels: vec![LabelMatch {
            label: "job".into(),
            is: true,
            values: vec![job.into()],
        }],
        from: to - 600_000,
        to,
        step: 1_000,
        function: RangeFunction::Last,
        range: None,
        grouping: None,
        quantile: None,
    }
}

async fn lines(bed: &Bed, query: RangeQuery) -> Vec<RangeLine> {
    let answer = bed.run::<MetricsRange>(query).await;
    answer.expect("the store answers").lines
}

async fn target(bed: &Bed, job: &str) -> Option<ScrapeTarget> {
    let targets = bed.run::<MetricsTargets>(Default::default()).await;
    let targets = targets.expect("there is a store");
    targets.into_iter().find(|target| target.job == job)
}

async fn up(bed: &Bed, job: &str) -> Option<bool> {
    target(bed, job).await.and_then(|target| target.up)
}

/// Memory of a server as the charts ask for it.
fn charted() -> MetricQuery {
    MetricQuery {
        metrics: vec![Metric::RssBytes],
        server: None,
        from: None,
        to: None,
        step: None,
        sum: Sum::Server,
        spread: false,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_scraped_outlives_a_killed_engine_and_a_gap_is_a_gap() {
    let mut bed = Bed::new(&(server("ship", "/metrics") + &server("lost", "/nowhere"))).await;
    for name in ["ship", "lost"] {
        bed.until(name, |v| v.status == Status::Running).await;
    }
    bed.eventually("a page is scraped, another is missed", async || {
        up(&bed, "ship").await == Some(true) && up(&bed, "lost").await == Some(false)
    })
    .await;

    // What a target says of itself, and what is said of one that has no page.
    let ship = target(&bed, "ship").await.expect("it is scraped");
    assert!(ship.samples > 5 && ship.error.is_none(), "{ship:?}");
    let lost = target(&bed, "lost").await.expect("it is tried");
    assert_eq!(lost.error.as_deref(), Some("it answered with status 404"));
    // The times of their rows.
    let end = ship.at.expect("it was scraped");
    let tried = lost.at.expect("it was tried");
    let ups = lines(&bed, latest("up", "ship", end)).await;
    let up = ups.first().expect("a line");
    assert_eq!(up.values.last(), Some(&Some(1.0)));
    let labels: Vec<&str> = up.labels.iter().map(|(k, _)| k.as_str()).collect();
    assert_eq!(labels, ["instance", "job"]);
    let down = lines(&bed, latest("up", "lost", tried)).await;
    assert_eq!(down[0].values.last(), Some(&Some(0.0)));
    assert_eq!(
        lines(&bed, latest("mcp_requests_total", "lost", tried)).await,
        []
    );
    let before = lines(&bed, latest("mcp_requests_total", "ship", end)).await;
    assert!(
        before
            .iter()
            .any(|line| line.values.last().is_some_and(Option::is_some)),
        "{before:?}"
    );

    // A span that is none is refused by name and value.
    let refused = bed
        .run::<MetricsRange>(RangeQuery {
            from: end,
            to: end - 1,
            ..latest("up", "ship", end)
        })
        .await;
    let refused = refused.expect_err("it ends before it begins");
    assert_eq!(refused.code, ErrorCode::BadRequest);
    for part in [
        format!("to is {}", end - 1),
        format!("from, which is {end}"),
    ] {
        assert!(refused.message.contains(&part), "{}", refused.message);
    }

    // The next engine has all of it, and its charts begin where they began.
    bed.eventually("a tick", async || {
        let ticks = bed.run::<MetricsQuery>(charted()).await.expect("an answer");
        ticks.series.len() == 2
    })
    .await;
    let ticks = bed.run::<MetricsQuery>(charted()).await.expect("an answer");
    bed.kill_engine();
    let killed = now();
    bed.start_engine().await;
    assert_eq!(
        lines(&bed, latest("mcp_requests_total", "ship", end)).await,
        before
    );
    let again = bed.run::<MetricsQuery>(charted()).await.expect("an answer");
    assert_eq!(again.times[..ticks.times.len()], ticks.times);
    for (old, new) in ticks.series.iter().zip(&again.series) {
        assert_eq!(new.values[..old.values.len()], old.values);
    }

    // A server that is stopped is nobody's page: its lines end, `up` too, and what was stays.
    let scraped = async |bed: &Bed| {
        let target = target(bed, "ship").await;
        target.is_some_and(|t| t.at.is_some_and(|at| at > killed))
    };
    bed.eventually("it is scraped again", async || scraped(&bed).await)
        .await;
    bed.stop(&["ship"]).await;
    bed.eventually("it is no target", async || {
        target(&bed, "ship").await.is_none()
    })
    .await;
    for metric in ["up", "mcp_requests_total"] {
        let ended = async || {
            let lines = lines(&bed, latest(metric, "ship", now())).await;
            lines.iter().all(|line| line.values.last() == Some(&None))
                && lines
                    .iter()
                    .any(|line| line.values.iter().any(Option::is_some))
        };
        bed.eventually("its lines end", ended).await;
    }

    // Without its folder the engine runs, says so, and charts what it sees itself.
    bed.stop_engine();
    let folder = bed.home().join("metrics");
    fs::remove_dir_all(&folder).expect("a folder");
    fs::write(&folder, "in the way").expect("a file");
    bed.start_engine().await;
    let info = bed.run::<EngineInfoCmd>(Default::default()).await;
    let notices = info.expect("an answer").notices;
    let said =
        |n: &&String| n.starts_with("Metrics are kept for half an hour only: failed to use ");
    assert_eq!(notices.iter().filter(said).count(), 1, "{notices:?}");
    let none = bed.run::<MetricsRange>(latest("up", "ship", end)).await;
    assert_eq!(
        none.expect_err("there is no store").code,
        ErrorCode::Unsupported
    );
    bed.eventually("a tick", async || {
        let ticks = bed.run::<MetricsQuery>(charted()).await.expect("an answer");
        !ticks.series.is_empty()
    })
    .await;
}
