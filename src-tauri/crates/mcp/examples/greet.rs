//! Greets a server, lists its tools and calls one: `greet http://HOST/mcp [TOOL ARGUMENTS]`, or
//! `greet [TOOL ARGUMENTS] -- COMMAND ARGS…` for a server on pipes.

use flotilla_mcp::{
    Closed, Error, HttpClient, HttpTarget, Options, RequestOptions, Session, fingerprint,
};
use serde_json::value::RawValue;
use std::{process::Stdio, time::Duration};
use tokio::{process::Command, sync::mpsc, time::Instant};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (garbage, mut lines) = mpsc::channel(100);
    tokio::spawn(async move {
        while let Some(line) = lines.recv().await {
            println!("not a message: {line:?}");
        }
    });
    let options = Options {
        garbage: Some(garbage),
        ..Options::default()
    };
    let split = arguments.iter().position(|argument| argument == "--");
    let (before, command) = split.map_or((&arguments[..], None), |at| {
        (&arguments[..at], Some(&arguments[at + 1..]))
    });

    let mut hint = None;
    let (session, _child) = loop {
        let (session, child) = match command {
            Some(command) => {
                let mut child = Command::new(&command[0])
                    .args(&command[1..])
                    .stdin(Stdio::piped())
                    .stdout(Stdio::piped())
                    .kill_on_drop(true)
                    .spawn()?;
                let (output, input) = (
                    child.stdout.take().ok_or("no output")?,
                    child.stdin.take().ok_or("no input")?,
                );
                (Session::stdio(output, input, options.clone()), Some(child))
            }
            None => {
                let target = HttpTarget::new(
                    &HttpClient::new(),
                    before.first().ok_or("give a URL or -- COMMAND")?,
                    [],
                )?;
                (Session::http(target, options.clone()), None)
            }
        };
        let started = Instant::now();
        match session.greet(hint).await {
            Ok(peer) => {
                println!("greeted in {:?}: {peer:#?}", started.elapsed());
                break (session, child);
            }
            Err(Error::DiedOnDiscover(reason)) => {
                println!("died on server/discover ({reason}); once more, as a legacy server");
                hint = Some(flotilla_contract::tool::Era::Legacy);
            }
            Err(error) => return Err(format!("failed to greet: {error}").into()),
        }
    };

    let list = session.list_tools(Duration::from_secs(10)).await?;
    let print = fingerprint(&list.tools);
    println!("{} tools, fingerprint {}", list.tools.len(), print.hash);
    for (name, _) in &print.tools {
        println!("  {name}");
    }
    println!("ping {:?}", session.ping(Duration::from_secs(5)).await?);

    let call = if command.is_some() {
        before
    } else {
        &before[1..]
    };
    if let [tool, arguments] = call {
        let (progress, mut steps) = mpsc::channel::<flotilla_mcp::Progress>(16);
        tokio::spawn(async move {
            while let Some(step) = steps.recv().await {
                println!("progress {:?}", step.read());
            }
        });
        let params =
            RawValue::from_string(format!(r#"{{"name":"{tool}","arguments":{arguments}}}"#))?;
        let options = RequestOptions {
            on_progress: Some(progress),
            ..RequestOptions::default()
        };
        let started = Instant::now();
        let result = session.request("tools/call", Some(params), options).await?;
        println!("called in {:?}: {}", started.elapsed(), result.get());
    }
    session.close().await;
    assert_eq!(session.closed().await, Closed::Ours);
    Ok(())
}
