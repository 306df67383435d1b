//! What the event log costs, beside bare sqlx on the same disk: `eventlog_bench [DIR] [SECONDS] [ROUNDS]`.
//!
//! The floor is what any writer through sqlx can reach with this durability: ten statements of a hundred rows a transaction,
//! `synchronous=FULL`, one index. The log does the same with events that come one by one through its ring, become JSON, and are
//! found by server and by kind. Both are run in turn, so that a busy machine troubles both. Prints one JSON line.

use flotilla_contract::{EventKind, event::NewEvent, state::LastExit};
use flotilla_store::{EventLog, Options, open};
use sqlx::{
    AssertSqlSafe, Connection, SqlSafeStr, SqliteConnection,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous},
};
use std::{
    path::Path,
    time::{Duration, Instant},
};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

const SERVERS: usize = 200;
const ROWS: usize = 100;
const STATEMENTS: usize = 10;
const MESSAGE: &str =
    "exited with code 137 after 4 s; attempt 3 of 10; the next one is due in 400 ms";

#[tokio::main]
async fn main() -> Result<()> {
    let mut args = std::env::args().skip(1);
    let dir = args.next().unwrap_or_else(|| {
        std::env::temp_dir()
            .join("flotilla-eventlog")
            .display()
            .to_string()
    });
    let seconds: f64 = args.next().map_or(Ok(2.0), |text| text.parse())?;
    let rounds: usize = args.next().map_or(Ok(3), |text| text.parse())?;
    let (dir, span) = (Path::new(&dir), Duration::from_secs_f64(seconds));

    let (mut floor, mut log, mut append_ns, mut append_worst_ns) =
        (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for _ in 0..rounds {
        floor.push(bare(&fresh(dir)?, span).await?);
        let measured = event_log(&fresh(dir)?, span).await?;
        log.push(measured.rows_per_s);
        append_ns.push(measured.append_ns);
        append_worst_ns.push(measured.append_worst_us);
    }
    std::fs::remove_dir_all(dir)?;
    let ratios: Vec<f64> = log
        .iter()
        .zip(&floor)
        .map(|(log, floor)| log / floor)
        .collect();
    println!(
        "{}",
        serde_json::json!({
            "bench": "eventlog",
            "bare_sqlx_rows_per_s": median(floor).round(),
            "event_log_rows_per_s": median(log).round(),
            "ratio": (median(ratios) * 100.0).round() / 100.0,
            "target_ratio": 0.8,
            "append_mean_ns": median(append_ns).round(),
            "append_p99_9_us": median(append_worst_ns),
        })
    );
    Ok(())
}

fn fresh(dir: &Path) -> Result<std::path::PathBuf> {
    let _ = std::fs::remove_dir_all(dir);
    std::fs::create_dir_all(dir)?;
    Ok(dir.to_owned())
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Rows a second of bare sqlx.
async fn bare(dir: &Path, span: Duration) -> Result<f64> {
    let options = SqliteConnectOptions::new()
        .filename(dir.join("bare.db"))
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full);
    let mut connection = SqliteConnection::connect_with(&options).await?;
    sqlx::raw_sql(
        "CREATE TABLE events (id INTEGER PRIMARY KEY, at INTEGER NOT NULL, server TEXT NOT NULL, kind TEXT NOT NULL, what TEXT NOT NULL);
         CREATE INDEX events_server ON events (server, at);",
    )
    .execute(&mut connection)
    .await?;
    let rows = vec!["(?, ?, ?, ?)"; ROWS].join(", ");
    let sql = AssertSqlSafe(format!(
        "INSERT INTO events (at, server, kind, what) VALUES {rows}"
    ))
    .into_sql_str();
    // Made once: the floor is what the database costs, not what events cost to make.
    let servers: Vec<String> = (0..SERVERS).map(name).collect();
    let what = serde_json::to_string(&what(7))?;

    let (began, mut written) = (Instant::now(), 0_usize);
    while began.elapsed() < span {
        let mut transaction = connection.begin().await?;
        for _ in 0..STATEMENTS {
            let mut query = sqlx::query(sql.clone());
            for _ in 0..ROWS {
                let at = 1_800_000_000_000 + written as i64;
                query = query
                    .bind(at)
                    .bind(&servers[written % SERVERS])
                    .bind("server:restarting")
                    .bind(&what);
                written += 1;
            }
            query.execute(&mut *transaction).await?;
        }
        transaction.commit().await?;
    }
    let rate = written as f64 / began.elapsed().as_secs_f64();
    connection.close().await?;
    Ok(rate)
}

struct Measured {
    rows_per_s: f64,
    append_ns: f64,
    append_worst_us: f64,
}

/// Durable events a second of the log, fed as fast as it takes them without loss, and what one costs its producer.
async fn event_log(dir: &Path, span: Duration) -> Result<Measured> {
    let store = open(Options::new(dir)).await?;
    let ids: Vec<_> = (0..SERVERS)
        .map(|n| name(n).parse())
        .collect::<std::result::Result<Vec<flotilla_contract::ServerId>, _>>()?;
    let began = Instant::now();
    while began.elapsed() < span {
        // Keeps the writer busy, and stays far from the bound of the backlog.
        if backlog(&store.events) < 20_000 {
            for n in 0..1_000 {
                store.events.append(event(&ids[n % SERVERS], n));
            }
        } else {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
    store.events.flush(Duration::from_secs(60)).await?;
    let rows_per_s = store.events.last_seq() as f64 / began.elapsed().as_secs_f64();
    let lost = store.events.state().borrow().lost;
    assert_eq!(lost, 0, "the bench feeds no faster than the disk takes");

    // What a producer pays, while the writer works: bursts of events that were made before.
    let (mut spent, mut count, mut each) = (Duration::ZERO, 0_u32, Vec::new());
    for _ in 0..20 {
        let events: Vec<NewEvent> = (0..1_000).map(|n| event(&ids[n % SERVERS], n)).collect();
        let began = Instant::now();
        for event in events {
            let one = Instant::now();
            store.events.append(event);
            each.push(one.elapsed());
        }
        spent += began.elapsed();
        count += 1_000;
        store.events.flush(Duration::from_secs(60)).await?;
    }
    each.sort();
    let append_worst_us = each[each.len() * 999 / 1_000].as_nanos() as f64 / 1_000.0;
    store.events.close(Duration::from_secs(60)).await?;
    store.control.close().await;
    Ok(Measured {
        rows_per_s,
        append_ns: spent.as_nanos() as f64 / f64::from(count),
        append_worst_us,
    })
}

fn backlog(log: &EventLog) -> u64 {
    log.last_seq() - log.state().borrow().durable
}

fn name(n: usize) -> String {
    format!("server-{n:03}")
}

fn event(server: &flotilla_contract::ServerId, n: usize) -> NewEvent {
    NewEvent {
        about: Some(server.instance(1)),
        correlation: None,
        what: what(n),
    }
}

fn what(n: usize) -> EventKind {
    let exit = LastExit {
        at: 1_800_000_000_000 + n as u64,
        code: Some(137),
        signal: None,
        reason: MESSAGE.into(),
        ran_ms: 4_000,
        peak_rss_bytes: None,
        last_lines: Vec::new(),
    };
    EventKind::Restarting {
        attempt: 3,
        delay: 400,
        next_try: 1_800_000_000_400,
        exit: Some(exit),
    }
}
