//! Workflows: real commands and files, tools of real servers, an engine that is killed in between.

use flotilla_contract::{
    ErrorCode,
    command::{
        BoardRead, BoardWrite, EventQuery, EventsRead, SecretSet, SecretsSet, WorkflowRun,
        WorkflowStep, WorkflowView,
    },
    frame::{Topic, Update},
    metric::{Board, ChartQuery, Pin, RangeFunction},
    state::Status,
    workflow::{
        RunParams, RunRef, RunState, RunSummary, RunView, StepLog, StepRef, StepState, Unconfirmed,
    },
};
use flotilla_remote::{News, Subscription};
use flotilla_tests::{Bed, PATIENCE, fixture, program};
use serde_json::{Value, json};
use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, SystemTime},
};

pub(super) fn define(bed: &Bed, name: &str, steps: &str) {
    let folder = bed.home().join("workflows");
    fs::create_dir_all(&folder).expect("a folder");
    fs::write(
        folder.join(format!("{name}.yaml")),
        format!("name: {name}\nsteps:\n{steps}"),
    )
    .expect("a definition");
}

pub(super) async fn start(bed: &Bed, name: &str) -> RunSummary {
    let params = RunParams {
        name: name.into(),
        vars: serde_json::Map::new(),
        workspace: None,
        confirm: None,
    };
    begin(bed, params).await
}

/// Starts a run; commands that are new to the engine are confirmed.
async fn begin(bed: &Bed, mut params: RunParams) -> RunSummary {
    let error = match bed.run::<WorkflowRun>(params.clone()).await {
        Ok(run) => return run,
        Err(error) => error,
    };
    assert_eq!(error.code, ErrorCode::Unconfirmed, "{error}");
    let asked: Unconfirmed =
        serde_json::from_value(error.detail.expect("a detail")).expect("what is asked");
    params.confirm = Some(asked.hash);
    bed.run::<WorkflowRun>(params).await.expect("a run")
}

pub(super) async fn view(bed: &Bed, run: u64) -> RunView {
    bed.run::<WorkflowView>(RunRef { run })
        .await
        .expect("a view")
}

pub(super) async fn output(bed: &Bed, run: u64, step: &str) -> Value {
    let params = StepRef {
        run,
        step: step.into(),
        item: None,
    };
    bed.run::<WorkflowStep>(params)
        .await
        .expect("a step")
        .output
}

pub(super) fn state(view: &RunView, step: &str) -> StepState {
    view.steps
        .iter()
        .find(|s| s.id == step)
        .expect("the step")
        .state
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_workflow_works_with_commands_files_tools_and_the_fleet() {
    let bed = Bed::new(&fixture("calc", "", "")).await;
    bed.start(&["calc"]).await;
    define(&bed, "all", "
  - { id: write, uses: file, with: { operation: create, path: n.txt, content: '21' } }
  - { id: read, uses: shell, needs: [write], with: { run: 'echo $(( $(cat n.txt) * 2 ))', json: true }, outputs: { n: output.json } }
  - { id: call, uses: tool/calc__echo, needs: [read], with: { text: 'n is ${{ steps.read.outputs.n }}' } }
  - { id: again, uses: fleet/restart, needs: [call], with: { servers: [calc] } }
  - { id: tell, uses: notify, needs: [again], with: { message: 'n is ${{ steps.read.outputs.n }}' } }
  - { id: machine, uses: monitor, with: { checks: { load: false }, alert_threshold: { memory: 0 } } }
  - { id: keep, uses: fleet/backup, needs: [tell] }
");
    let board = bed.run::<BoardWrite>(pinned("up")).await;
    board.expect("it is taken");
    let said = bed.cli_says(0, &["--json", "workflow", "run", "all", "--wait", "--yes"]);
    let run: RunSummary = serde_json::from_str(&said).expect("a summary");
    assert_eq!(
        (run.state, run.ended),
        (RunState::Completed, 7),
        "{:?}",
        view(&bed, run.run).await
    );
    assert_eq!(output(&bed, run.run, "read").await["json"], 42);
    let machine = output(&bed, run.run, "machine").await;
    assert_eq!(machine["alerts"][0]["check"], "memory", "{machine}");
    assert!(machine.get("load").is_none(), "{machine}");
    a_home_is_made_anew_of_its_backup(&bed, &run, &output(&bed, run.run, "keep").await).await;
    let query = EventQuery {
        kinds: vec!["workflow:notice".into()],
        ..EventQuery::default()
    };
    let events = bed.run::<EventsRead>(query).await.expect("events").events;
    assert_eq!(
        serde_json::to_value(&events[0]).expect("json")["message"],
        "n is 42"
    );
    let wrong = bed.path("wrong.yaml");
    fs::write(
        &wrong,
        "name: w\nsteps:\n  - { id: a, uses: data, needs: [b] }\n",
    )
    .expect("a file");
    let said = bed.cli_says(5, &["workflow", "validate", &wrong.display().to_string()]);
    assert!(
        said.contains("steps.a.needs: no step has the id or name \"b\""),
        "{said}"
    );
}

/// A board that is none yet, with one chart.
fn pinned(metric: &str) -> Board {
    let asked = ChartQuery {
        metric: metric.to_owned(),
        labels: Vec::new(),
        function: RangeFunction::Max,
        grouping: None,
        quantile: None,
    };
    let title = metric.to_owned();
    Board {
        version: 0,
        charts: vec![Pin { title, asked }],
    }
}

async fn a_home_is_made_anew_of_its_backup(bed: &Bed, run: &RunSummary, kept: &Value) {
    let files: Vec<&str> = kept["files"]
        .as_array()
        .expect("files")
        .iter()
        .filter_map(|file| file["path"].as_str())
        .collect();
    for file in [
        "fleet.toml",
        "board.json",
        "control.db",
        "runs.db",
        "workflows/all.yaml",
    ] {
        assert!(files.contains(&file), "{kept}");
    }
    let workspace = bed.home().join("runs").join(run.run.to_string());
    let backup = workspace.join(kept["path"].as_str().expect("a folder"));
    let mut other = Bed::new("").await;
    other.kill_engine();
    fs::remove_dir_all(other.home()).expect("an empty place");
    let copied = Command::new("cp")
        .arg("-r")
        .arg(&backup)
        .arg(other.home())
        .status();
    assert!(copied.expect("cp").success());
    other.start_engine().await;
    assert_eq!(other.server("calc").await.id().as_str(), "calc");
    let board = other.run::<BoardRead>(Default::default()).await;
    assert_eq!(board.expect("a board").charts, pinned("up").charts);
    // The run that made it was at work then.
    let seen = view(&other, run.run).await;
    assert_eq!(seen.summary.workflow, "all");
    assert_eq!(state(&seen, "tell"), StepState::Completed);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_kill_nine_a_run_goes_on_and_asks_about_what_was_at_work() {
    let mut bed = Bed::new("").await;
    define(&bed, "long", "
  - { id: first, uses: shell, with: { run: echo once >> first } }
  - { id: hangs, uses: shell, needs: [first], with: { run: 'echo up > up; sleep 600' }, timeout: 1h }
  - { id: safe, uses: shell, needs: [first], idempotent: true, with: { run: 'echo x >> safe; test $(wc -l < safe) -ge 2 || sleep 600' }, timeout: 1h }
  - { id: last, uses: shell, needs: [hangs, safe], with: { run: cat safe } }
");
    let run = start(&bed, "long").await.run;
    let folder = bed.home().join("runs").join(run.to_string());
    bed.eventually("both commands run", async || {
        folder.join("up").exists() && folder.join("safe").exists()
    })
    .await;
    bed.kill_engine();
    bed.start_engine().await;
    bed.eventually("the safe step is done again", async || {
        state(&view(&bed, run).await, "safe") == StepState::Completed
    })
    .await;
    let seen = view(&bed, run).await;
    assert_eq!(state(&seen, "hangs"), StepState::Waiting);
    let waits = seen.summary.waits.expect("a reason");
    assert!(waits.contains("may not be safe"), "{waits}");
    bed.cli_says(0, &["workflow", "skip", &run.to_string(), "hangs"]);
    bed.eventually("the run has ended", async || {
        view(&bed, run).await.summary.state.ended()
    })
    .await;
    let seen = view(&bed, run).await;
    assert_eq!(seen.summary.state, RunState::Completed, "{seen:?}");
    assert_eq!(
        fs::read_to_string(folder.join("first")).expect("a file"),
        "once\n"
    );
    assert_eq!(output(&bed, run, "last").await["stdout"], json!("x\nx\n"));
}

/// The next piece of news that this holds for.
async fn next(news: &mut Subscription, is: impl Fn(&Update) -> bool) -> Update {
    let found = tokio::time::timeout(PATIENCE, async {
        loop {
            match news.next().await {
                Some(News::Update(update)) if is(&update) => return update,
                Some(News::Update(_) | News::Tick(_)) => {}
                end => panic!("{end:?}"),
            }
        }
    });
    found.await.expect("such news")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_is_followed_and_what_its_commands_write_is_read_while_they_do() {
    let mut bed = Bed::new("").await;
    let (name, value) = ("token".to_owned(), "s3cret-value".to_owned());
    bed.run::<SecretsSet>(SecretSet { name, value })
        .await
        .expect("it is stored");
    define(&bed, "slow", "
  - id: talk
    uses: shell
    timeout: 60s
    with:
      run: 'echo begins with \"$TOKEN\"; until [ -e go ]; do sleep 0.05; done; echo and ends >&2; exit 3'
      env: { TOKEN: '${secret:token}' }
  - { id: after, uses: data, needs: [talk] }
");
    let run = start(&bed, "slow").await.run;
    let client = bed.client();
    let mut of_run = client.subscribe(Topic::Run { run }).await.expect("news");
    let Update::Run(mut seen) = next(&mut of_run, |_| true).await else {
        panic!("all of it comes first");
    };
    let topic = |step: &str| Topic::Step {
        run,
        step: step.into(),
        item: None,
    };
    let mut of_step = client.subscribe(topic("talk")).await.expect("news");
    let log = |update: &Update| match update {
        Update::Step(detail) => detail.log.clone().unwrap_or_default(),
        _ => StepLog::default(),
    };
    let first = next(&mut of_step, |update| log(update).stdout.contains("begins")).await;
    // The secret, or what may become one, is never seen.
    assert!(
        "begins with ***\n".starts_with(&log(&first).stdout),
        "{first:?}"
    );
    assert!(!bed.everything_as_text().await.contains("s3cret-value"));

    let folder = bed.home().join("runs").join(run.to_string());
    fs::write(folder.join("go"), "").expect("a file");
    let ended = next(
        &mut of_step,
        |update| matches!(update, Update::Step(detail) if detail.step.state == StepState::Failed),
    )
    .await;
    let wrote = log(&ended);
    assert_eq!(
        (wrote.stdout.as_str(), wrote.stderr.as_str()),
        ("begins with ***\n", "and ends\n")
    );
    while !seen.summary.state.ended() {
        let Update::RunChanged { summary, steps } = next(&mut of_run, |_| true).await else {
            panic!("then what changed");
        };
        seen.summary = summary;
        for step in steps {
            let place = seen.steps.iter().position(|one| one.id == step.id);
            seen.steps[place.expect("a step of it")] = step;
        }
    }
    assert_eq!(seen, view(&bed, run).await);
    assert_eq!(state(&seen, "after"), StepState::Blocked);

    // It is kept with the run.
    bed.kill_engine();
    bed.start_engine().await;
    let params = StepRef {
        run,
        step: "talk".into(),
        item: None,
    };
    let detail = bed.run::<WorkflowStep>(params).await.expect("a step");
    assert_eq!(detail.log, Some(wrote));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cancel_leaves_no_process_and_restart_goes_on_from_there() {
    let bed = Bed::new("").await;
    define(
        &bed,
        "stuck",
        "
  - { id: a, uses: shell, with: { run: 'echo up > up; test -e go || sleep 600' }, timeout: 1h }
  - { id: b, uses: data, needs: [a], with: { value: '${{ steps.a.output.exit_code }}' } }
",
    );
    let run = start(&bed, "stuck").await.run;
    let folder = bed.home().join("runs").join(run.to_string());
    bed.eventually("the command runs", async || folder.join("up").exists())
        .await;
    bed.cli_says(0, &["workflow", "cancel", &run.to_string()]);
    bed.eventually("the run has ended", async || {
        view(&bed, run).await.summary.state.ended()
    })
    .await;
    assert_eq!(view(&bed, run).await.summary.state, RunState::Cancelled);
    assert!(bed.alive().is_empty(), "{:?}", bed.alive());
    fs::write(folder.join("go"), "").expect("a file");
    bed.cli_says(0, &["workflow", "restart", &run.to_string()]);
    bed.eventually("it has completed", async || {
        view(&bed, run).await.summary.state == RunState::Completed
    })
    .await;
    assert_eq!(output(&bed, run, "b").await, json!(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_done_says_what_and_why() {
    let bed = Bed::new("").await;
    define(
        &bed,
        "asks",
        "
  - { id: ask, uses: approval, with: { message: 'How many?', form: { n: { type: integer } } } }
  - { id: tell, uses: data, needs: [ask], with: { value: '${{ steps.ask.output.input.n }}' } }
",
    );
    let run = start(&bed, "asks").await.run;
    bed.eventually("it asks", async || {
        state(&view(&bed, run).await, "ask") == StepState::Waiting
    })
    .await;
    let number = run.to_string();
    for (words, said) in [
        (
            &["approve", &number, "ask", "--input", "n=many"][..],
            "failed to approve ask of run 1: input.n: it is \"many\"; accepted is an integer",
        ),
        (
            &["approve", &number, "ask", "--input", "many"],
            "failed to read --input \"many\": accepted is NAME=VALUE",
        ),
        (
            &["approve", &number, "tell"],
            "failed to approve tell of run 1: tell is no approval that waits",
        ),
        (
            &["skip", &number, "none"],
            "failed to skip none of run 1: run 1 has no step with the id or name \"none\"",
        ),
        (
            &["resume", &number],
            "failed to resume run 1: run 1 is running",
        ),
        (&["cancel", "77"], "failed to find the run 77"),
    ] {
        let code = if said.contains("--input") { 2 } else { 1 };
        let heard = bed.cli_says(code, &[&["workflow"], words].concat());
        assert!(heard.contains(said), "{words:?}: {heard}");
    }
    bed.cli_says(
        0,
        &["workflow", "approve", &number, "ask", "--input", "n=3"],
    );
    bed.eventually("the run has ended", async || {
        view(&bed, run).await.summary.state == RunState::Completed
    })
    .await;
    assert_eq!(output(&bed, run, "tell").await, json!(3));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commands_are_confirmed_once_for_each_text_before_they_run() {
    let bed = Bed::new("").await;
    let steps = "  - { id: a, uses: shell, with: { run: 'echo one > said' } }\n";
    define(&bed, "new", steps);
    let params = RunParams {
        name: "new".into(),
        vars: serde_json::Map::new(),
        workspace: None,
        confirm: None,
    };
    let refused = bed.run::<WorkflowRun>(params.clone()).await;
    let detail = refused.expect_err("nobody confirmed it").detail;
    let asked: Unconfirmed = serde_json::from_value(detail.expect("a detail")).expect("it");
    assert_eq!(asked.commands[0].command, "echo one > said");
    let said = bed.cli_says(2, &["workflow", "run", "new"]);
    assert!(
        said.contains("a: echo one > said") && said.contains("--yes"),
        "{said}"
    );
    let other = RunParams {
        confirm: Some("0".repeat(64)),
        ..params.clone()
    };
    assert!(bed.run::<WorkflowRun>(other).await.is_err());
    let runs = bed.cli_says(0, &["--json", "workflow", "runs"]);
    assert_eq!(runs.trim(), "[]", "nothing has run");
    let said = bed.cli_says(0, &["workflow", "run", "new", "--yes", "--wait"]);
    assert!(said.contains("is completed"), "{said}");
    assert!(bed.run::<WorkflowRun>(params.clone()).await.is_ok());
    define(&bed, "new", &steps.replace("one", "two"));
    let stale = RunParams {
        confirm: Some(asked.hash),
        ..params
    };
    let refused = bed
        .run::<WorkflowRun>(stale)
        .await
        .expect_err("it was edited");
    assert!(
        refused.message.contains("no longer what was confirmed"),
        "{refused}"
    );
    define(
        &bed,
        "quiet",
        "  - { id: a, uses: data, with: { value: 1 } }\n",
    );
    bed.cli_says(0, &["workflow", "run", "quiet", "--wait"]);
    // A template is trusted, an edited copy of it is not.
    let shown = bed.cli_says(0, &["--json", "workflow", "show", "cicd-pipeline"]);
    let shown: Value = serde_json::from_str(&shown).expect("JSON");
    let text = shown["text"].as_str().expect("a text");
    let copy = bed.home().join("workflows/cicd-pipeline.yaml");
    fs::write(&copy, text).expect("a file");
    let folder = workspace(&bed, &[("src/a", "")]);
    let at = folder.display().to_string();
    bed.cli_says(0, &["workflow", "run", "cicd-pipeline", "--workspace", &at]);
    fs::write(&copy, text.replace("mkdir -p", "mkdir  -p")).expect("a file");
    bed.cli_says(2, &["workflow", "run", "cicd-pipeline", "--workspace", &at]);
}

/// Holds what the steps of a template gave against its sample, by the names of the fields. With `FLOTILLA_GEN=1` the sample is written anew.
pub(super) async fn sample(bed: &Bed, run: &RunView) {
    let mut gave = serde_json::Map::new();
    for step in &run.steps {
        if step.state == StepState::Completed {
            let mut output = output(bed, run.summary.run, &step.id).await;
            shorten(&mut output, &bed.path("").display().to_string());
            gave.insert(step.id.clone(), output);
        }
    }
    let name = &run.summary.workflow;
    let file = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../src-tauri/crates/workflow/templates/samples")
        .join(format!("{name}.json"));
    if std::env::var_os("FLOTILLA_GEN").is_some() {
        let text = serde_json::to_string_pretty(&gave).expect("JSON");
        fs::write(&file, text + "\n").expect("a file");
    }
    let kept = fs::read_to_string(&file).expect("a sample");
    let kept: serde_json::Map<String, Value> = serde_json::from_str(&kept).expect("JSON");
    let fields = |outputs: &serde_json::Map<String, Value>| -> Vec<(String, Vec<String>)> {
        let of = |output: &Value| output.as_object().map(|map| map.keys().cloned().collect());
        let outputs = outputs.iter();
        outputs
            .map(|(step, output)| (step.clone(), of(output).unwrap_or_default()))
            .collect()
    };
    assert_eq!(fields(&gave), fields(&kept), "run it with FLOTILLA_GEN=1");
}

/// Leaves of an output what an example needs.
fn shorten(value: &mut Value, folder: &str) {
    match value {
        Value::String(text) => {
            *text = text.replace(folder, "/work/");
            if let Some((at, _)) = text.char_indices().nth(300) {
                text.truncate(at);
                text.push('…');
            }
        }
        Value::Array(list) => {
            list.truncate(3);
            list.iter_mut().for_each(|one| shorten(one, folder));
        }
        Value::Object(map) => map.values_mut().for_each(|one| shorten(one, folder)),
        _ => {}
    }
}

/// A folder to work in, with these files.
pub(super) fn workspace(bed: &Bed, files: &[(&str, &str)]) -> PathBuf {
    let folder = bed.path("work");
    for (path, text) in files {
        let path = folder.join(path);
        fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        fs::write(path, text).expect("a file");
    }
    folder
}

/// Runs a template to its end.
pub(super) async fn template(bed: &Bed, name: &str, workspace: &Path, vars: Value) -> RunView {
    let params = RunParams {
        name: name.into(),
        vars: vars.as_object().cloned().unwrap_or_default(),
        workspace: Some(workspace.display().to_string()),
        confirm: None,
    };
    let run = begin(bed, params).await.run;
    bed.eventually("the run has ended, or asks", async || {
        let summary = view(bed, run).await.summary;
        summary.state.ended() || summary.waits.is_some()
    })
    .await;
    view(bed, run).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_project_is_tested_built_and_deployed() {
    let bed = Bed::new("").await;
    let folder = workspace(&bed, &[("src/page.txt", "hello\n")]);
    let vars = json!({
        "test_command": "grep -q hello page.txt",
        "build_command": "mkdir -p out && tr a-z A-Z < page.txt > out/page.txt",
        "artifact_path": "./src/out",
        "smoke_command": "grep -q HELLO \"$STAGING/page.txt\"",
        "approval": true,
    });
    let asks = template(&bed, "cicd-pipeline", &folder, vars).await;
    assert_eq!(state(&asks, "run_linter"), StepState::Skipped);
    assert_eq!(
        state(&asks, "approve_production"),
        StepState::Waiting,
        "{asks:?}"
    );
    assert!(!folder.join("production").exists());
    let run = asks.summary.run;
    bed.cli_says(
        0,
        &[
            "workflow",
            "approve",
            &run.to_string(),
            "approve_production",
        ],
    );
    bed.eventually("it has completed", async || {
        view(&bed, run).await.summary.state == RunState::Completed
    })
    .await;
    sample(&bed, &view(&bed, run).await).await;
    let deployed = |path: &str| fs::read_to_string(folder.join(path)).expect("a file");
    assert_eq!(deployed("production/page.txt"), "HELLO\n");
    assert_eq!(
        deployed("production/deployment.txt"),
        format!("run {run}\n")
    );
    assert!(deployed("deployment.log").contains("deployed to ./production"));
    let failing = json!({ "test_command": "false" });
    let failed = template(&bed, "cicd-pipeline", &folder, failing).await;
    assert_eq!(failed.summary.state, RunState::Failed);
    assert_eq!(state(&failed, "deploy_staging"), StepState::Blocked);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_in_use_is_backed_up_restored_on_trial_and_old_copies_go() {
    let bed = Bed::new("").await;
    // The journal of these very runs is written while it is copied.
    let home = bed.home();
    let old = home.join("backups/backup-0.gz");
    fs::create_dir_all(old.parent().expect("a folder")).expect("a folder");
    let file = fs::File::create(&old).expect("a file");
    let long_ago = SystemTime::now() - Duration::from_secs(40 * 86_400);
    file.set_modified(long_ago).expect("a time");
    let idle = template(&bed, "data-backup-recovery", &home, json!({})).await;
    assert_eq!(idle.summary.state, RunState::Completed, "{idle:?}");
    assert!(idle.steps.iter().all(|s| s.state == StepState::Skipped));
    let vars = json!({ "database": "runs.db", "keep": 1 });
    let done = template(&bed, "data-backup-recovery", &home, vars).await;
    sample(&bed, &done).await;
    assert_eq!(done.summary.state, RunState::Completed, "{done:?}");
    let run = done.summary.run;
    let tables = output(&bed, run, "compare_restored").await["tables"].clone();
    assert!(tables["runs"].as_u64() >= Some(2), "{tables}");
    let packed = |folder: &str| {
        let path = home.join(format!("{folder}/backup-{run}.gz"));
        fs::read(path).expect("a copy")
    };
    assert!(packed("backups").starts_with(&[0x1f, 0x8b]));
    assert_eq!(packed("backups"), packed("cloud-backups"));
    let mut left: Vec<_> = fs::read_dir(home.join("backups"))
        .expect("a folder")
        .map(|entry| entry.expect("an entry").file_name())
        .collect();
    left.sort();
    assert_eq!(left, [format!("backup-{run}.gz").as_str()]);
    let log = fs::read_to_string(home.join("backup.log")).expect("a file");
    assert!(log.contains(&format!("backup-{run}.gz")), "{log}");
    let none = json!({ "database": "none.db" });
    let failed = template(&bed, "data-backup-recovery", &home, none).await;
    assert_eq!(failed.summary.state, RunState::Failed);
    assert_eq!(state(&failed, "cleanup_old_backups"), StepState::Blocked);
}

/// A PostgreSQL of Debian's package, that takes connections by a socket in its folder and by nothing else.
struct Postgres {
    child: Child,
    folder: tempfile::TempDir,
}

impl Drop for Postgres {
    fn drop(&mut self) {
        // A fast end: SIGINT. By force it would leave shared memory behind.
        let asked = Command::new("kill")
            .args(["-INT", &self.child.id().to_string()])
            .status();
        drop((asked, self.child.wait()));
    }
}

impl Postgres {
    /// One with a table of three rows.
    async fn start(bed: &Bed) -> Self {
        // Where its user gets in, and short enough for the path of a socket.
        let folder = tempfile::TempDir::new_in("/tmp").expect("a folder");
        let versions = fs::read_dir("/usr/lib/postgresql").expect("Debian's package postgresql");
        let bin = versions.flatten().map(|one| one.path().join("bin")).max();
        let bin = bin.expect("a version of it");
        // It does not run as root.
        let root = Command::new("id").arg("-u").output().expect("id").stdout == b"0\n";
        let command = |name: &str| {
            let program = bin.join(name);
            let mut command = match root {
                true => Command::new("setpriv"),
                false => Command::new(&program),
            };
            if root {
                command.args(["--reuid=postgres", "--regid=postgres", "--clear-groups"]);
                command.arg(&program);
            }
            command
                .current_dir(folder.path())
                .stdout(Stdio::null())
                .stderr(Stdio::null());
            command
        };
        if root {
            let owned = Command::new("chown")
                .arg("postgres")
                .arg(folder.path())
                .status();
            assert!(owned.expect("chown").success());
        }
        let made = command("initdb")
            .args(["-D", "data", "-U", "operator", "-A", "trust", "--no-sync"])
            .status();
        assert!(made.expect("initdb").success());
        let child = command("postgres")
            .args(["-D", "data", "-c", "listen_addresses=", "-k"])
            .arg(folder.path())
            .spawn()
            .expect("postgres");
        let postgres = Self { child, folder };
        let rows = "create table boats (name text); insert into boats values ('a'), ('b'), ('c')";
        bed.eventually("PostgreSQL answers", async || {
            let said = Command::new("psql")
                .args([&postgres.url(), "-c", rows])
                .output();
            said.expect("psql").status.success()
        })
        .await;
        postgres
    }

    fn url(&self) -> String {
        let folder = self.folder.path().display().to_string();
        let host = folder.replace('/', "%2F");
        format!("postgresql://operator@{host}/postgres")
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_postgresql_is_dumped_and_the_dump_can_be_read_back() {
    let bed = Bed::new("").await;
    let postgres = Postgres::start(&bed).await;
    let folder = workspace(&bed, &[]);
    fs::create_dir_all(&folder).expect("a folder");
    let vars = json!({ "database": postgres.url() });
    let done = template(&bed, "data-backup-recovery", &folder, vars).await;
    assert_eq!(done.summary.state, RunState::Completed, "{done:?}");
    assert_eq!(state(&done, "create_backup"), StepState::Skipped);
    assert_eq!(state(&done, "compare_restored"), StepState::Skipped);
    let packed = folder.join(format!("cloud-backups/backup-{}.gz", done.summary.run));
    let read = Command::new("gzip")
        .arg("-dc")
        .arg(&packed)
        .output()
        .expect("gzip");
    let dump = String::from_utf8(read.stdout).expect("text");
    let restored = dump.replace("public.boats", "public.restored");
    let file = folder.join("restored.sql");
    fs::write(&file, restored).expect("a file");
    let psql = |args: &[&str]| {
        let said = Command::new("psql").arg(postgres.url()).args(args).output();
        let said = said.expect("psql");
        assert!(said.status.success(), "{said:?}");
        String::from_utf8_lossy(&said.stdout).trim().to_owned()
    };
    psql(&["-v", "ON_ERROR_STOP=1", "-f", &file.display().to_string()]);
    assert_eq!(psql(&["-Atc", "select count(*) from restored"]), "3");
    // One that is not there is said, and nothing old is removed.
    let wrong = json!({ "database": postgres.url() + "-gone" });
    let failed = template(&bed, "data-backup-recovery", &folder, wrong).await;
    assert_eq!(failed.summary.state, RunState::Failed);
    let dumped = failed
        .steps
        .iter()
        .find(|step| step.id == "dump_postgresql");
    let why = dumped
        .and_then(|step| step.error.clone())
        .expect("a reason");
    assert!(why.contains("does not exist"), "{why}");
    assert!(packed.exists());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sources_are_audited_and_what_is_found_becomes_tickets() {
    let bed = Bed::new("").await;
    let secret = format!("token = \"ghp_{}\"\n", "a1B2".repeat(9));
    let files = [
        ("src/app.py", "import os\nos.system(command)\n"),
        ("src/settings.toml", secret.as_str()),
        ("src/LICENSE", "MIT\n"),
    ];
    let folder = workspace(&bed, &files);
    let read = |path: String| -> Value {
        let text = fs::read_to_string(folder.join(path)).expect("a file");
        serde_json::from_str(&text).expect("JSON")
    };
    let vars =
        json!({ "compliance_requirements": ["LICENSE", "SECURITY.md"], "audit_command": "exit 4" });
    let done = template(&bed, "security-audit", &folder, vars).await;
    sample(&bed, &done).await;
    assert_eq!(done.summary.state, RunState::Completed, "{done:?}");
    let run = done.summary.run;
    let report = read(format!("security-reports/security-audit-{run}.json"));
    assert_eq!(report["secrets"]["counts"]["github-token"], 1);
    assert_eq!(report["code"]["counts"]["command-from-text"], 1);
    assert_eq!(report["dependencies"]["state"], "failed");
    assert_eq!(
        report["compliance"],
        json!([{"requirement": "LICENSE", "met": true}, {"requirement": "SECURITY.md", "met": false}])
    );
    let tickets = read(format!("security-tickets/issues-{run}.json"));
    assert_eq!(tickets["findings"].as_array().map(Vec::len), Some(2));
    assert_eq!(tickets["not_met"], json!(["SECURITY.md"]));
    assert!(!report.to_string().contains("ghp_"));
    fs::remove_file(folder.join("src/settings.toml")).expect("a file");
    fs::write(folder.join("src/app.py"), "print(1)\n").expect("a file");
    let clean = template(&bed, "security-audit", &folder, json!({})).await;
    assert_eq!(clean.summary.state, RunState::Completed, "{clean:?}");
    assert_eq!(state(&clean, "create_tickets"), StepState::Skipped);
    assert_eq!(state(&clean, "scan_dependencies"), StepState::Skipped);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_incident_holds_what_the_fleet_said_and_what_failed_is_restarted() {
    let elsewhere = tempfile::TempDir::new().expect("a folder");
    let mended = elsewhere.path().join("mended");
    let script = format!(
        "test -e {} || {{ echo no space left on device >&2; exit 3; }}; exec {}",
        mended.display(),
        program("flotilla-fixture").display()
    );
    let sick = format!(
        "[servers.sick]\ncommand = \"/bin/sh\"\nargs = [\"-c\", {script:?}]\nrestart = {{ max_restarts = 0 }}\n"
    );
    let mut bed = Bed::new(&(fixture("calc", "", "") + &sick)).await;
    bed.until("sick", |v| v.status == Status::Failed).await;
    let folder = workspace(
        &bed,
        &[("logs/app.log", "ok\n12:00 connection refused by db\n")],
    );
    let vars = json!({ "severity": "low" });
    let done = template(&bed, "incident-response", &folder, vars).await;
    sample(&bed, &done).await;
    assert_eq!(done.summary.state, RunState::Completed, "{done:?}");
    assert_eq!(state(&done, "trigger_auto_remediation"), StepState::Skipped);
    let run = done.summary.run;
    let folder_of = folder.join(format!("incidents/incident-{run}"));
    let text = fs::read_to_string(folder_of.with_extension("json")).expect("a file");
    let incident: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(
        (
            &incident["severity"],
            &incident["likely"],
            &incident["troubled"]
        ),
        (&json!("low"), &json!("disk"), &json!(["sick"]))
    );
    let kinds = incident["kinds"].to_string();
    assert!(kinds.contains("connection"), "{kinds}");
    let log = fs::read_to_string(folder_of.join("sick.log")).expect("a file");
    assert!(log.contains("no space left on device"), "{log}");
    let told = fs::read_to_string(folder.join("notifications.log")).expect("a file");
    assert!(told.contains("1 servers in trouble"), "{told}");
    fs::write(&mended, "").expect("a file");
    let vars = json!({ "remediate": true });
    let done = template(&bed, "incident-response", &folder, vars).await;
    assert_eq!(done.summary.state, RunState::Completed, "{done:?}");
    assert_eq!(bed.server("sick").await.status, Status::Running);
}
