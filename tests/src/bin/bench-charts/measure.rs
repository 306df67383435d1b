//! Takes the options, opens the page, and says what it found.

use crate::{
    browser::Browser,
    page::{Found, Page},
};
use anyhow::{Result, bail};
use clap::{Parser, ValueEnum};
use flotilla_tests::load::quantile;
use std::{path::PathBuf, process::ExitCode, time::Duration};

#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum Kind {
    Webkit,
    Chromium,
}

#[derive(Parser)]
pub(crate) struct Options {
    /// The folder of the built page.
    #[arg(long)]
    page: PathBuf,
    /// What draws.
    #[arg(long, value_enum, default_value = "webkit")]
    browser: Kind,
    /// Redraws that are counted, of each way.
    #[arg(long, default_value_t = 40)]
    rounds: u32,
    /// How long charts tick.
    #[arg(long, default_value_t = 20)]
    seconds: u64,
    /// How long all of it may take, in seconds.
    #[arg(long, default_value_t = 600)]
    limit: u64,
}

/// Milliseconds that a redraw of six charts may take, at the median.
const REDRAW_MS: f64 = 8.0;
/// Milliseconds that the main thread may be busy at once while sixteen charts tick.
const TASK_MS: f64 = 50.0;
/// The share of the main thread that they may take.
const SHARE: f64 = 0.2;

#[tokio::main]
pub(crate) async fn measure(options: Options) -> Result<ExitCode> {
    let mut page = Page::serve(options.page).await?;
    let address = page.address(options.rounds, options.seconds);
    let browser = match options.browser {
        Kind::Webkit => Browser::webkit(&address).await?,
        Kind::Chromium => Browser::chromium(&address)?,
    };
    let found = tokio::time::timeout(Duration::from_secs(options.limit), page.found()).await;
    browser.end().await;
    let Ok(found) = found else {
        bail!(
            "the page had not measured everything after {} s",
            options.limit
        );
    };
    Ok(report(found?))
}

fn report(mut found: Found) -> ExitCode {
    println!("{}", found.browser);
    println!(
        "{} × {} pixels, {} to one of the page's\n",
        found.inner_width, found.inner_height, found.device_pixel_ratio
    );
    println!(
        "6 canvases × 8 series × 3,600 points, ms; as pixels: until one of each canvas could be read"
    );
    println!(
        "{:<18}{:>12}{:>8}{:>14}{:>8}{:>10}",
        "", "calls p50", "p95", "as pixels p50", "p95", "× strips"
    );
    let redraw = found
        .ways
        .first_mut()
        .map(|way| quantile(&mut way.drawn, 0.5));
    for way in &mut found.ways {
        println!(
            "{:<18}{:>12.1}{:>8.1}{:>14.1}{:>8.1}{:>10.2}",
            way.name,
            quantile(&mut way.script, 0.5),
            quantile(&mut way.script, 0.95),
            quantile(&mut way.drawn, 0.5),
            quantile(&mut way.drawn, 0.95),
            quantile(&mut way.drawn, 0.5) / redraw.unwrap_or(f64::NAN),
        );
    }
    println!("\n16 charts × 8 series × 3,600 points, a tick every second");
    println!(
        "{:<18}{:>14}{:>12}{:>12}",
        "", "longest, ms", "busy, %", "calls p50"
    );
    // A timer that is due every 4 ms comes late by what else the thread does.
    let idle = found
        .spells
        .first_mut()
        .map_or(0.0, |spell| quantile(&mut spell.beats, 0.5));
    let mut busiest = (0.0, 0.0);
    for spell in &mut found.spells {
        let late = |beat: &f64| (beat - idle).max(0.0);
        let longest = spell.beats.iter().map(late).fold(0.0, f64::max);
        let share = spell.beats.iter().map(late).sum::<f64>() / spell.lasted;
        println!(
            "{:<18}{longest:>14.1}{:>12.1}{:>12.1}",
            spell.name,
            share * 100.0,
            quantile(&mut spell.script, 0.5)
        );
        busiest = (longest, share);
    }
    println!();
    let targets = [
        ("a redraw, ms", redraw.unwrap_or(f64::NAN), REDRAW_MS),
        ("longest task, ms", busiest.0, TASK_MS),
        ("share of the main thread", busiest.1, SHARE),
    ];
    let mut met = true;
    for (name, is, wanted) in targets {
        met &= is <= wanted;
        let word = if is <= wanted { "met" } else { "MISSED" };
        println!("{name:<26}{is:>8.2}   wanted {wanted:>5}   {word}");
    }
    if met {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
