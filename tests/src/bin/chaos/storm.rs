//! The storm itself: what is done to the fleet, and what is known of it afterwards.

use crate::{
    check,
    model::{Kind, MOST_REPLICAS, Model, PORTS, Wanted},
    picture::{self, Follower, Unseen},
};
use anyhow::{Context, Result, bail};
use clap::Parser;
use flotilla_contract::{
    ErrorCode, ServerId,
    command::{
        Outcomes, ScaleParams, ServerRestart, ServerScale, ServerStart, ServerStop, Targets,
    },
};
use flotilla_remote::{Client, Error};
use flotilla_tests::load::{
    Dice, Engine, fixture_program, free_ports,
    process::{self, Watched},
    run as call,
};
use std::{
    fmt, fs,
    path::{Path, PathBuf},
    process::ExitCode,
    time::{Duration, Instant},
};
use tokio::task::JoinSet;

/// Commands and edits under way at most.
const UNDER_WAY: usize = 24;
/// Longer than an edit takes until it is in force.
const EDIT: Duration = Duration::from_secs(60);
/// Longer than a killed instance takes to be back.
const RECOVERY: Duration = Duration::from_secs(60);
/// A second is promised; what takes longer than this is not merely slow.
const GUARD: Duration = Duration::from_secs(10);
/// Longer than a fleet takes to come up.
pub(crate) const UP: Duration = Duration::from_secs(120);

/// A fleet under random kills, commands, edits and crashes of its engine.
#[derive(Debug, Parser)]
pub(crate) struct Args {
    /// How long
    #[arg(long, default_value_t = 600)]
    seconds: u64,
    /// How many servers
    #[arg(long, default_value_t = 200)]
    servers: u32,
    /// Decides what is done (default: another one each time; it is printed)
    #[arg(long)]
    seed: Option<u64>,
}

/// An engine and what it shows.
pub(crate) struct Live {
    pub(crate) engine: Engine,
    pub(crate) client: Client,
    pub(crate) follower: Follower,
}

impl Live {
    async fn start(home: &Path) -> Result<Self> {
        let engine = Engine::start(home, &[]).await?;
        let client = engine.connect().await?;
        let follower = Follower::follow(&client).await?;
        Ok(Self {
            engine,
            client,
            follower,
        })
    }
}

/// How something ended that was begun.
enum Done {
    /// A command on a server; what is wanted from now on if it was taken.
    Command {
        server: String,
        asked: Wanted,
        answer: Result<Outcomes, Error>,
    },
    /// An edit, and the server that it is about.
    Edit {
        server: Option<String>,
        asked: Option<Wanted>,
        seen: Result<(), Unseen>,
    },
    /// A kill; how long until it was back, if the engine lived and it was not stopped meanwhile.
    Back(Option<Duration>),
}

/// What was done, and how it went.
#[derive(Default)]
struct Tally {
    starts: u32,
    stops: u32,
    restarts: u32,
    scales: u32,
    edits: u32,
    broken: u32,
    kills: u32,
    engine_kills: u32,
    lost: u32,
    not_reached: u32,
    late: u32,
    back: Vec<Duration>,
    /// From SIGKILL of the engine to the end of the last process that it had started.
    cleared: Vec<Duration>,
    /// From the start of the next engine to its first picture.
    engine_back: Vec<Duration>,
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let worst = |times: &[Duration]| times.iter().max().copied().unwrap_or_default();
        let mid = |times: &[Duration]| {
            let mut times = times.to_vec();
            times.sort();
            times.get(times.len() / 2).copied().unwrap_or_default()
        };
        let commands = self.starts + self.stops + self.restarts + self.scales;
        writeln!(
            f,
            "  commands         {commands}: {} starts, {} stops, {} restarts, {} scales",
            self.starts, self.stops, self.restarts, self.scales
        )?;
        writeln!(
            f,
            "  of these         {} another end (crashing or failed servers), {} after 30 s without one, {} without an answer",
            self.not_reached, self.late, self.lost
        )?;
        writeln!(
            f,
            "  edits            {}, and {} that broke the file",
            self.edits, self.broken
        )?;
        writeln!(
            f,
            "  processes killed {}; back after {:.0?} (median), {:.0?} (worst of {})",
            self.kills,
            mid(&self.back),
            worst(&self.back),
            self.back.len()
        )?;
        write!(
            f,
            "  engines killed   {}; nothing left after {:.0?} (worst), the next one up after {:.0?} (worst)",
            self.engine_kills,
            worst(&self.cleared),
            worst(&self.engine_back)
        )
    }
}

struct Storm {
    home: PathBuf,
    model: Model,
    live: Live,
    dice: Dice,
    tally: Tally,
    under_way: JoinSet<Done>,
    /// An edit is under way.
    editing: bool,
    /// The file on disk is broken.
    broken: bool,
}

pub(crate) async fn run(args: &Args) -> Result<ExitCode> {
    let seed = args
        .seed
        .unwrap_or_else(|| process::monotonic_ns() % 1_000_000);
    println!("{} s, {} servers, seed {seed}", args.seconds, args.servers);
    let folder = tempfile::Builder::new()
        .prefix("flotilla-chaos-")
        .tempdir()?;
    let end = weather(args, seed, folder.path()).await;
    match end {
        Ok(()) => {
            println!("observed is wanted, nothing is left over");
            Ok(ExitCode::SUCCESS)
        }
        Err(error) => {
            println!("FAILED: {error:#}");
            println!("kept: {}", folder.keep().display());
            Ok(ExitCode::FAILURE)
        }
    }
}

async fn weather(args: &Args, seed: u64, folder: &Path) -> Result<()> {
    let home = folder.join("home");
    fs::create_dir(&home)?;
    let run = folder.display().to_string();
    let first = Model::new(args.servers, run, &fixture_program()?, free_ports(PORTS)?);
    write(&home, &first.file(), true)?;
    let live = Live::start(&home).await?;
    check::at_rest(&live, &first)
        .await
        .context("the fleet does not come up")?;
    let baseline = check::size(&live, &first).await?;
    println!("  at the start     {baseline}");

    let mut storm = Storm {
        home,
        model: first.clone(),
        live,
        dice: Dice::new(seed),
        tally: Tally::default(),
        under_way: JoinSet::new(),
        editing: false,
        broken: false,
    };
    let blown = storm.blow(Duration::from_secs(args.seconds)).await;
    println!("{}", storm.tally);
    blown?;
    storm.calm().await?;
    check::at_rest(&storm.live, &storm.model)
        .await
        .context("observed is not wanted")?;
    let processes = check::processes(&storm.live, &storm.model).await?;
    println!("  at rest          {processes} processes, each of an instance that runs");

    // As at the start again: what is larger then has grown.
    let Storm { live, home, .. } = storm;
    write(&home, &first.file(), true)?;
    let last = first.clone();
    live.follower
        .until(EDIT, move |picture| {
            let all = last.servers.iter().all(|(name, server)| {
                let view = picture.servers.get(name);
                view.is_some_and(|view| server.is_declared_as(view))
            });
            all && picture.servers.len() == last.servers.len()
        })
        .await
        .context("the first configuration does not come into force")?;
    call::<flotilla_contract::command::ServerReset>(
        &live.client,
        Targets {
            all: true,
            ..Targets::default()
        },
    )
    .await?;
    check::at_rest(&live, &first)
        .await
        .context("the first configuration does not come up again")?;
    let size = check::size(&live, &first).await?;
    println!("  at the end       {size}");
    size.compare(&baseline)?;
    live.engine.end().await?;
    check::nothing_left(&first)
}

/// Writes `fleet.toml`: as an editor that replaces the file, or as one that writes into it.
fn write(home: &Path, text: &str, replace: bool) -> Result<()> {
    let file = home.join("fleet.toml");
    if replace {
        let beside = home.join("fleet.toml~");
        fs::write(&beside, text)?;
        fs::rename(&beside, &file)?;
    } else {
        fs::write(&file, text)?;
    }
    Ok(())
}

impl Storm {
    async fn blow(&mut self, span: Duration) -> Result<()> {
        let begun = Instant::now();
        // Engines die in the first four fifths, so that the last one has a life to look back on.
        let deaths = (span.as_secs() / 60).max(1);
        let mut deaths: Vec<Duration> = (0..deaths)
            .map(|_| span.mul_f64(self.dice.below(800) as f64 / 1_000.0))
            .collect();
        deaths.sort_by(|a, b| b.cmp(a));
        while begun.elapsed() < span {
            let pause = Duration::from_millis(10 + self.dice.below(60));
            tokio::select! {
                Some(done) = self.under_way.join_next() => self.take_in(done?)?,
                () = tokio::time::sleep(pause) => self.act()?,
            }
            if deaths.last().is_some_and(|due| begun.elapsed() >= *due) {
                deaths.pop();
                self.kill_engine().await?;
            }
        }
        Ok(())
    }

    /// Waits for everything under way, and repairs the file.
    async fn calm(&mut self) -> Result<()> {
        self.drain().await?;
        if self.broken {
            write(&self.home, &self.model.file(), true)?;
            self.live
                .follower
                .until(EDIT, |picture| !picture.broken)
                .await
                .context("the repaired file does not come into force")?;
        }
        Ok(())
    }

    async fn drain(&mut self) -> Result<()> {
        while let Some(done) = self.under_way.join_next().await {
            self.take_in(done?)?;
        }
        Ok(())
    }

    /// One thing, chosen by the dice.
    fn act(&mut self) -> Result<()> {
        match self.dice.below(100) {
            0..40 => self.kill(),
            _ if self.under_way.len() >= UNDER_WAY => {}
            40..58 => self.command(|server, _| (Verb::Start, server)),
            58..70 => self.command(|server, _| (Verb::Stop, server)),
            70..80 => self.command(|server, _| (Verb::Restart, server)),
            80..91 => self.command(|server, dice| {
                let replicas = dice.below(u64::from(MOST_REPLICAS) + 1) as u32;
                (Verb::Scale(replicas), server)
            }),
            _ => self.edit()?,
        }
        Ok(())
    }

    /// A server of which nothing is under way.
    fn idle(&mut self) -> Option<String> {
        let idle: Vec<&String> = self
            .model
            .servers
            .iter()
            .filter(|(_, server)| !server.busy)
            .map(|(name, _)| name)
            .collect();
        self.dice.pick(&idle).map(|name| (*name).clone())
    }

    fn command(&mut self, choose: impl Fn(Wanted, &mut Dice) -> (Verb, Wanted)) {
        let Some(name) = self.idle() else { return };
        let Some(server) = self.model.servers.get_mut(&name) else {
            return;
        };
        let (verb, was) = choose(server.wanted, &mut self.dice);
        // Starting what was scaled to nothing means: as declared.
        let up = Wanted {
            running: true,
            replicas: if was.replicas == 0 {
                server.declared
            } else {
                was.replicas
            },
        };
        let asked = match verb {
            Verb::Start | Verb::Restart => up,
            Verb::Stop => Wanted {
                running: false,
                ..was
            },
            Verb::Scale(replicas) => Wanted {
                running: replicas > 0 || was.running,
                replicas,
            },
        };
        server.busy = true;
        match verb {
            Verb::Start => self.tally.starts += 1,
            Verb::Stop => self.tally.stops += 1,
            Verb::Restart => self.tally.restarts += 1,
            Verb::Scale(_) => self.tally.scales += 1,
        }
        let client = self.live.client.clone();
        self.under_way.spawn(async move {
            let answer = verb.run(&client, &name).await;
            Done::Command {
                server: name,
                asked,
                answer,
            }
        });
    }

    /// SIGKILL for a process of the fleet: mostly the first one of an instance, sometimes any.
    fn kill(&mut self) {
        let mark = self.model.mark();
        if self.dice.below(10) == 0 {
            let all: Vec<u32> = process::all()
                .into_iter()
                .filter(|entry| entry.environment.contains(&mark))
                .map(|entry| entry.pid)
                .collect();
            let killed = self
                .dice
                .pick(&all)
                .is_some_and(|pid| process::kill_marked(*pid, &mark));
            self.tally.kills += u32::from(killed);
            return;
        }
        let roots: Vec<(String, u32, u32)> = {
            let picture = self.live.follower.picture.borrow();
            let instances = picture.servers.iter().flat_map(|(name, view)| {
                let pids = view.instances.iter();
                pids.filter_map(move |i| Some((name.clone(), i.id.index, i.pid?)))
            });
            instances.collect()
        };
        let Some((name, index, pid)) = self.dice.pick(&roots).cloned() else {
            return;
        };
        if !process::kill_marked(pid, &mark) {
            return;
        }
        self.tally.kills += 1;
        let (killed, picture) = (Instant::now(), self.live.follower.picture.clone());
        self.under_way.spawn(async move {
            let mut stopped = false;
            let back = picture::until(picture, RECOVERY, |picture| {
                let Some(view) = picture.servers.get(&name) else {
                    stopped = true;
                    return true;
                };
                stopped = Wanted::seen(view).instances() < index;
                let replaced = view
                    .instances
                    .iter()
                    .any(|i| i.id.index == index && i.pid.is_some_and(|now| now != pid));
                stopped || replaced
            });
            let back = back.await.is_ok();
            Done::Back((back && !stopped).then(|| killed.elapsed()))
        });
    }

    /// A change of the file, by an editor.
    fn edit(&mut self) -> Result<()> {
        if self.editing {
            return Ok(());
        }
        let replace = self.dice.below(3) > 0;
        let choice = self.dice.below(10);
        if choice == 0 && !self.broken {
            let mut text = self.model.file();
            text += "\n[servers.half\ncommand = ";
            write(&self.home, &text, replace)?;
            (self.broken, self.editing) = (true, true);
            self.tally.broken += 1;
            let seen = self.live.follower.picture.clone();
            self.under_way.spawn(async move {
                let seen = picture::until(seen, EDIT, |picture| picture.broken).await;
                Done::Edit {
                    server: None,
                    asked: None,
                    seen,
                }
            });
            return Ok(());
        }
        let (name, asked) = match choice {
            1 => (self.model.add(), None),
            2 => {
                let Some(name) = self.idle() else {
                    return Ok(());
                };
                self.model.servers.remove(&name);
                (name, None)
            }
            _ => {
                let Some(name) = self.idle() else {
                    return Ok(());
                };
                let Some(server) = self.model.servers.get_mut(&name) else {
                    return Ok(());
                };
                if choice < 6 {
                    server.generation += 1;
                    (name, None)
                } else {
                    // The file is the newer word on this field.
                    server.declared = server.declared % MOST_REPLICAS + 1;
                    let asked = Wanted {
                        replicas: server.declared,
                        ..server.wanted
                    };
                    (name, Some(asked))
                }
            }
        };
        write(&self.home, &self.model.file(), replace)?;
        (self.broken, self.editing) = (false, true);
        self.tally.edits += 1;
        let declared = self.model.servers.get_mut(&name).map(|server| {
            server.busy = true;
            server.clone()
        });
        let picture = self.live.follower.picture.clone();
        self.under_way.spawn(async move {
            let seen = picture::until(picture, EDIT, |picture| {
                let view = picture.servers.get(&name);
                match (&declared, view) {
                    (Some(server), Some(view)) => {
                        server.is_declared_as(view)
                            && asked.is_none_or(|asked| asked == Wanted::seen(view))
                    }
                    (None, None) => true,
                    _ => false,
                }
            });
            let seen = seen.await;
            Done::Edit {
                server: Some(name),
                asked,
                seen,
            }
        });
        Ok(())
    }

    fn take_in(&mut self, done: Done) -> Result<()> {
        match done {
            Done::Back(took) => self.tally.back.extend(took),
            Done::Edit {
                server,
                asked,
                seen,
            } => {
                self.editing = false;
                // Of a killed engine nothing is seen any more; the next one reads the file.
                if let Err(Unseen::Late(limit)) = seen {
                    let what = server.as_deref().unwrap_or("the broken file");
                    bail!("the edit of {what} is not in force after {limit:?}");
                }
                let server = server.and_then(|name| self.model.servers.get_mut(&name));
                if let Some(server) = server {
                    server.busy = false;
                    match (&seen, asked) {
                        (Ok(()), Some(asked)) => server.wanted = asked,
                        (Err(_), Some(asked)) => server.perhaps = Some(asked),
                        (_, None) => {}
                    }
                }
            }
            Done::Command {
                server: name,
                asked,
                answer,
            } => {
                let Some(server) = self.model.servers.get_mut(&name) else {
                    return Ok(());
                };
                server.busy = false;
                match answer {
                    Ok(outcomes) => {
                        server.wanted = asked;
                        for outcome in outcomes.outcomes {
                            match outcome.error.map(|error| error.code) {
                                None => {}
                                Some(ErrorCode::NotReached)
                                    if matches!(server.kind, Kind::Limited | Kind::Crashing(_)) =>
                                {
                                    self.tally.not_reached += 1;
                                }
                                Some(ErrorCode::Timeout) => self.tally.late += 1,
                                Some(code) => bail!(
                                    "a command on {name} ({:?}) ended in {code:?}: {}",
                                    server.kind,
                                    outcome.sentence
                                ),
                            }
                        }
                    }
                    Err(Error::Command(error)) => {
                        bail!(
                            "a command on {name} ({:?}) was refused: {error}",
                            server.kind
                        )
                    }
                    Err(_) => {
                        self.tally.lost += 1;
                        server.perhaps = Some(asked);
                    }
                }
            }
        }
        Ok(())
    }

    /// SIGKILL for the engine; the guard must end the fleet, and the next engine bring it back as it was wanted.
    async fn kill_engine(&mut self) -> Result<()> {
        let mark = self.model.mark();
        let fleet = process::all()
            .into_iter()
            .filter(|entry| entry.environment.contains(&mark))
            .map(|entry| entry.pid);
        let watched = Watched::new(fleet);
        let killed = process::monotonic_ns();
        self.live.engine.kill().await?;
        self.live.follower.stop();
        self.tally.engine_kills += 1;
        let clearing = tokio::task::spawn_blocking(move || watched.gone(GUARD));
        if self.dice.below(2) == 0 {
            // The next engine finds a machine that has been cleared; otherwise the guard is still at work.
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        let begun = Instant::now();
        self.live = Live::start(&self.home).await?;
        self.tally.engine_back.push(begun.elapsed());
        let gone = clearing
            .await?
            .context("processes of a killed engine are still there")?;
        self.tally
            .cleared
            .push(Duration::from_nanos(gone.saturating_sub(killed)));
        self.drain().await?;
        self.learn()
    }

    /// After an engine was killed: what it had acknowledged must hold; what it had not may hold.
    fn learn(&mut self) -> Result<()> {
        let picture = self.live.follower.picture.borrow();
        self.broken = picture.broken;
        for (name, server) in &mut self.model.servers {
            let Some(view) = picture.servers.get(name) else {
                bail!("{name} is declared and the next engine does not know it");
            };
            let seen = Wanted::seen(view);
            let allowed = [Some(server.wanted), server.perhaps];
            if !allowed.contains(&Some(seen)) {
                bail!(
                    "{name} comes back wanted as {seen:?}, asked was {:?} or {:?}",
                    server.wanted,
                    server.perhaps
                );
            }
            (server.wanted, server.perhaps) = (seen, None);
        }
        Ok(())
    }
}

#[derive(Clone, Copy)]
enum Verb {
    Start,
    Stop,
    Restart,
    Scale(u32),
}

impl Verb {
    async fn run(self, client: &Client, name: &str) -> Result<Outcomes, Error> {
        // The model makes only names that are names.
        #[expect(clippy::expect_used, reason = "names are made by the model")]
        let server: ServerId = name.parse().expect("a name");
        let targets = Targets {
            all: false,
            servers: vec![server.clone()],
            instance: None,
        };
        match self {
            Self::Start => call::<ServerStart>(client, targets).await,
            Self::Stop => call::<ServerStop>(client, targets).await,
            Self::Restart => call::<ServerRestart>(client, targets).await,
            Self::Scale(replicas) => {
                call::<ServerScale>(client, ScaleParams { server, replicas }).await
            }
        }
    }
}
