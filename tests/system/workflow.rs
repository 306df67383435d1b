//! Workflows: real commands and files, tools of real servers, an engine that is killed in between.

use flotilla_contract::{
    command::{EventQuery, EventsRead, WorkflowRun, WorkflowStep, WorkflowView},
    workflow::{RunParams, RunRef, RunState, RunSummary, RunView, StepRef, StepState},
};
use flotilla_tests::{Bed, fixture};
use serde_json::{Value, json};
use std::{
    fs,
    path::{Path, PathBuf},
};

fn define(bed: &Bed, name: &str, steps: &str) {
    let folder = bed.home().join("workflows");
    fs::create_dir_all(&folder).expect("a folder");
    fs::write(
        folder.join(format!("{name}.yaml")),
        format!("name: {name}\nsteps:\n{steps}"),
    )
    .expect("a definition");
}

async fn start(bed: &Bed, name: &str) -> RunSummary {
    let params = RunParams {
        name: name.into(),
        vars: serde_json::Map::new(),
        workspace: None,
    };
    bed.run::<WorkflowRun>(params).await.expect("a run")
}

async fn view(bed: &Bed, run: u64) -> RunView {
    bed.run::<WorkflowView>(RunRef { run })
        .await
        .expect("a view")
}

async fn output(bed: &Bed, run: u64, step: &str) -> Value {
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

fn state(view: &RunView, step: &str) -> StepState {
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
");
    let said = bed.cli_says(0, &["--json", "workflow", "run", "all", "--wait"]);
    let run: RunSummary = serde_json::from_str(&said).expect("a summary");
    assert_eq!(
        (run.state, run.ended),
        (RunState::Completed, 5),
        "{:?}",
        view(&bed, run.run).await
    );
    assert_eq!(output(&bed, run.run, "read").await["json"], 42);
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_kill_nine_a_run_goes_on_and_asks_about_what_was_at_work() {
    let mut bed = Bed::new("").await;
    define(&bed, "long", "
  - { id: first, uses: shell, with: { run: echo once >> ../first } }
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
        fs::read_to_string(bed.home().join("runs/first")).expect("a file"),
        "once\n"
    );
    assert_eq!(output(&bed, run, "last").await["stdout"], json!("x\nx\n"));
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

/// A folder to work in, with these files.
fn workspace(bed: &Bed, files: &[(&str, &str)]) -> PathBuf {
    let folder = bed.path("work");
    for (path, text) in files {
        let path = folder.join(path);
        fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        fs::write(path, text).expect("a file");
    }
    folder
}

/// Runs a template to its end.
async fn template(bed: &Bed, name: &str, workspace: &Path, vars: Value) -> RunView {
    let params = RunParams {
        name: name.into(),
        vars: vars.as_object().cloned().unwrap_or_default(),
        workspace: Some(workspace.display().to_string()),
    };
    let run = bed.run::<WorkflowRun>(params).await.expect("a run").run;
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
