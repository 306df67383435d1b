//! Logs and events, read once or followed.

use crate::{
    args::{Events, Logs},
    ask::Engine,
    exit::Failure,
    show::{self, Out},
};
use flotilla_contract::{
    Event,
    command::{EventQuery, EventsRead, LogsRead},
    frame::{Topic, Update},
    log::{LogEntry, LogQuery},
};
use flotilla_remote::{Error, News};
use jiff::tz::TimeZone;

pub(crate) async fn logs(to: &Engine, args: &Logs, out: Out) -> Result<(), Failure> {
    let servers = args.targets.names.all();
    if args.targets.instance.is_some() && servers.len() != 1 {
        return Err(Failure::usage(
            "failed to choose an instance: --instance goes with exactly one NAME",
        ));
    }
    let query = LogQuery {
        servers,
        instance: args.targets.instance,
        tail: Some(args.lines),
        contains: args.contains.clone(),
    };
    let zone = TimeZone::system();
    let line = |entry: &LogEntry| show::log_entry(entry, &zone, out);
    if !args.follow {
        let entries = to.run::<LogsRead>(query).await?;
        return out.json_or(&entries, || {
            entries.iter().map(|e| line(e) + "\n").collect()
        });
    }
    let mut news = to.subscribe(Topic::Logs { query }).await?;
    while let Some(piece) = news.next().await {
        match piece {
            News::Update(Update::Logs { entries }) => {
                for entry in &entries {
                    out.line_or(entry, || line(entry))?;
                }
            }
            News::Update(_) | News::Tick(_) => {}
            News::Failed(error) => return Err(Error::Command(error).into()),
        }
    }
    Err(Error::Lost.into())
}

pub(crate) async fn events(to: &Engine, args: &Events, out: Out) -> Result<(), Failure> {
    let query = EventQuery {
        server: args.server().cloned(),
        kinds: args.kinds.clone(),
        before: None,
        limit: Some(args.lines),
    };
    let zone = TimeZone::system();
    // Subscribed before the past is read: nothing falls between the two.
    let news = if args.follow {
        Some(to.subscribe(Topic::Events).await?)
    } else {
        None
    };
    let mut events = if args.lines == 0 {
        Vec::new()
    } else {
        to.run::<EventsRead>(query.clone()).await?.events
    };
    events.reverse();
    let Some(mut news) = news else {
        return out.json_or(&events, || {
            events
                .iter()
                .map(|e| show::event(e, &zone, out) + "\n")
                .collect()
        });
    };
    let mut last = 0;
    let mut print = |event: &Event| {
        if event.seq > last {
            last = event.seq;
            out.line_or(event, || show::event(event, &zone, out))?;
        }
        Ok::<(), Failure>(())
    };
    events.iter().try_for_each(&mut print)?;
    while let Some(piece) = news.next().await {
        match piece {
            News::Update(Update::Events { events, .. }) => {
                events
                    .iter()
                    .filter(|e| wanted(&query, e))
                    .try_for_each(&mut print)?;
            }
            News::Update(_) | News::Tick(_) => {}
            News::Failed(error) => return Err(Error::Command(error).into()),
        }
    }
    Err(Error::Lost.into())
}

fn wanted(query: &EventQuery, event: &Event) -> bool {
    query
        .server
        .as_ref()
        .is_none_or(|s| event.server.as_ref() == Some(s))
        && (query.kinds.is_empty() || query.kinds.iter().any(|k| k == event.what.word()))
}
