//! What must be so when nothing is done to the fleet any more.

use crate::{
    model::{GENERATION, Kind, Model},
    picture::Picture,
    storm::{Live, UP},
};
use anyhow::{Context, Result, bail};
use flotilla_tests::load::process::{self, Entry};
use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    time::{Duration, Instant},
};

/// What a crash left behind is ended beside everything else; this much later it must be gone.
const SWEPT: Duration = Duration::from_secs(10);
/// Between two looks at processes, of which nobody tells when they end.
const LOOK: Duration = Duration::from_millis(100);
/// After the last change, before sizes are compared.
const SETTLED: Duration = Duration::from_secs(3);

/// Waits until every server is as it should be.
pub(crate) async fn at_rest(live: &Live, model: &Model) -> Result<()> {
    let model = model.clone();
    let seen = live
        .follower
        .until(UP, |picture| amiss(&model, picture).is_empty());
    if let Err(error) = seen.await {
        let list = amiss(&model, &live.follower.picture.borrow());
        bail!("{error}:\n  {}", list.join("\n  "));
    }
    Ok(())
}

fn amiss(model: &Model, picture: &Picture) -> Vec<String> {
    let declared = model.servers.iter().filter_map(|(name, server)| {
        let why = match picture.servers.get(name) {
            Some(view) => server.amiss(view)?,
            None => "not known".into(),
        };
        Some(format!("{name} ({:?}): {why}", server.kind))
    });
    let others = picture
        .servers
        .keys()
        .filter(|name| !model.servers.contains_key(*name))
        .map(|name| format!("{name}: not declared any more"));
    declared.chain(others).collect()
}

/// Every process of the run belongs to an instance that runs now. Gives their number.
pub(crate) async fn processes(live: &Live, model: &Model) -> Result<usize> {
    let deadline = Instant::now() + SWEPT;
    loop {
        let (count, strays) = strays(live, model);
        if strays.is_empty() {
            return Ok(count);
        }
        if Instant::now() > deadline {
            bail!(
                "{} of {count} processes are not right:\n  {}",
                strays.len(),
                strays.join("\n  ")
            );
        }
        tokio::time::sleep(LOOK).await;
    }
}

fn ours(model: &Model) -> Vec<Entry> {
    let mark = model.mark();
    let mut all = process::all();
    all.retain(|entry| entry.environment.contains(&mark));
    all
}

fn strays(live: &Live, model: &Model) -> (usize, Vec<String>) {
    let all = ours(model);
    let picture = live.follower.picture.borrow();
    // First processes as the engine names them, and whether they may have children.
    let mut roots: HashMap<u32, (&String, bool, u32)> = HashMap::new();
    for (name, server) in &model.servers {
        let instances = picture.servers.get(name).map(|view| &view.instances);
        for pid in instances.into_iter().flatten().filter_map(|i| i.pid) {
            let family = matches!(server.kind, Kind::Family { .. });
            roots.insert(pid, (name, family, server.generation));
        }
    }
    // The mark that the engine gave a root; its children carry the same one.
    let mark = |entry: &Entry| {
        let mut marks = entry.environment.iter();
        marks.find(|e| e.starts_with("FLOTILLA_MARK=")).cloned()
    };
    let families: Vec<String> = all
        .iter()
        .filter(|entry| roots.get(&entry.pid).is_some_and(|root| root.1))
        .filter_map(mark)
        .collect();
    let mut wrong: Vec<String> = all
        .iter()
        .filter_map(|entry| {
            let what = format!("process {} ({})", entry.pid, entry.arguments.join(" "));
            match roots.get(&entry.pid) {
                Some((name, _, generation)) => {
                    let declared = format!("{GENERATION}={generation}");
                    (!entry.environment.contains(&declared))
                        .then(|| format!("{what} of {name} runs an older declaration"))
                }
                None => {
                    let child = mark(entry).is_some_and(|mark| families.contains(&mark));
                    (!child).then(|| format!("{what} belongs to no instance that runs"))
                }
            }
        })
        .collect();
    let missing = roots
        .iter()
        .filter(|(pid, _)| !all.iter().any(|entry| entry.pid == **pid))
        // Those that crash all the time may just have done so.
        .filter(|(_, (name, ..))| {
            !matches!(
                model.servers.get(*name).map(|server| server.kind),
                Some(Kind::Crashing(_))
            )
        })
        .map(|(pid, (name, ..))| format!("process {pid} of {name} is shown and does not exist"));
    wrong.extend(missing);
    (all.len(), wrong)
}

/// After the engine has ended, nothing of the run is alive.
pub(crate) fn nothing_left(model: &Model) -> Result<()> {
    let left = ours(model);
    if let Some(one) = left.first() {
        bail!(
            "{} processes outlive an orderly end, process {} ({}) among them",
            left.len(),
            one.pid,
            one.arguments.join(" ")
        );
    }
    Ok(())
}

/// How large an engine is.
pub(crate) struct Size {
    rss: u64,
    /// By what they are.
    descriptors: BTreeMap<String, usize>,
    threads: usize,
}

/// How large the engine is now that nothing happens to it.
pub(crate) async fn size(live: &Live, model: &Model) -> Result<Size> {
    tokio::time::sleep(SETTLED).await;
    let pid = live.engine.pid();
    // Whoever crashes all the time has its descriptors open or not: the most that is seen counts.
    let crashing = |kind: Kind| matches!(kind, Kind::Crashing(_));
    let looks = if model.servers.values().any(|server| crashing(server.kind)) {
        30
    } else {
        1
    };
    let mut descriptors = BTreeMap::new();
    for _ in 0..looks {
        for (what, count) in process::descriptors(pid)? {
            let most = descriptors.entry(what).or_insert(0);
            *most = count.max(*most);
        }
        tokio::time::sleep(LOOK).await;
    }
    Ok(Size {
        rss: process::memory(pid).context("the engine has ended")?.rss,
        descriptors,
        threads: process::threads(pid)?,
    })
}

impl Size {
    /// Fails when this is more than the same fleet took at the start, beyond what is kept on purpose (log rings, the
    /// ring of samples, caches of the database) and what the allocator holds back.
    pub(crate) fn compare(&self, before: &Self) -> Result<()> {
        const KEPT: u64 = 48 << 20;
        const OPEN: usize = 32;
        if self.rss > before.rss + KEPT {
            bail!("the engine's memory has grown from {before} to {self}");
        }
        if self.open() > before.open() + OPEN {
            bail!(
                "the engine's descriptors have grown from {:?} to {:?}",
                before.descriptors,
                self.descriptors
            );
        }
        Ok(())
    }

    /// Without the log files: those of instances that are gone stay open, up to a fixed number.
    fn open(&self) -> usize {
        let counted = self.descriptors.iter();
        counted
            .filter(|(what, _)| !what.ends_with(".log"))
            .map(|(_, count)| count)
            .sum()
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:.1} MiB resident, {} descriptors, {} threads",
            self.rss as f64 / f64::from(1 << 20),
            self.open(),
            self.threads
        )
    }
}
