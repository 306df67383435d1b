//! Commands and files of workflow steps, with real processes and links.

use flotilla_agents::work::{Place, WorkError, file, shell};
use flotilla_contract::workflow::Failure;
use flotilla_os::Mark;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

fn place(root: &TempDir) -> Place {
    let path = std::env::var_os("PATH").unwrap_or_default();
    Place {
        root: root.path().to_owned(),
        mark: Mark::of_home(root.path()).narrow("test"),
        environment: vec![("PATH".into(), path)],
    }
}

fn secret(name: &str) -> Result<String, String> {
    match name {
        "token" => Ok("s3cr3t-value".into()),
        "short" => Ok("q7".into()),
        "long" => Ok("q7q7-and-more".into()),
        "empty" => Ok(String::new()),
        _ => Err(format!("no secret is named {name:?}")),
    }
}

async fn run(root: &TempDir, input: Value) -> Result<Value, WorkError> {
    shell(&input, &place(root), &secret, &CancellationToken::new()).await
}

#[tokio::test]
async fn a_command_gives_what_it_wrote_without_secrets() {
    let root = TempDir::new().unwrap();
    let output = run(&root, json!({"run": "echo \"$T\" and $EXTRA; pwd >&2", "env": {"T": "${secret:token}", "EXTRA": 12}})).await.unwrap();
    assert_eq!(output["stdout"], "*** and 12\n");
    assert_eq!(
        (&output["exit_code"], &output["success"]),
        (&json!(0), &json!(true))
    );
    let here = root.path().canonicalize().unwrap();
    assert_eq!(
        output["stderr"].as_str().unwrap().trim(),
        here.to_str().unwrap()
    );
    let output = run(
        &root,
        json!({"command": ["printf", "{\"n\": %d}", 5], "json": true}),
    )
    .await
    .unwrap();
    assert_eq!(output["json"], json!({"n": 5}));
    let long = run(
        &root,
        json!({"run": "head -c 300000 /dev/zero | tr '\\0' x; echo end"}),
    )
    .await
    .unwrap();
    assert_eq!(long["truncated"], true);
    assert!(long["stdout"].as_str().unwrap().ends_with("xend\n"));
    assert!(
        run(&root, json!({"run": "exit 3", "exit_codes": [3]}))
            .await
            .is_ok()
    );
    assert!(
        run(&root, json!({"run": "true", "exit_codes": [3]}))
            .await
            .is_ok()
    );
}

#[tokio::test]
async fn no_part_of_a_secret_leaves_in_an_output_that_is_cut() {
    let root = TempDir::new().unwrap();
    // What is kept of each of these begins within the secret, at another byte of it each time.
    for after in 65_536 - 11..65_536 {
        let script = format!("printf %s \"$T\"; head -c {after} /dev/zero | tr '\\0' x");
        let input = json!({"run": script, "env": {"T": "${secret:token}"}});
        let output = run(&root, input).await.unwrap();
        let text = output["stdout"].as_str().unwrap();
        let kept = text.trim_start_matches("***");
        assert!(kept.bytes().all(|byte| byte == b'x'), "{}", &text[..40]);
        assert_eq!(
            (output["truncated"].clone(), kept.len()),
            (json!(true), after)
        );
    }
    let input = json!({"run": "echo \"$A.$B\"; echo $B >&2; exit 1", "env": {"A": "${secret:short}", "B": "${secret:long}"}});
    let error = run(&root, input).await.unwrap_err().error;
    assert_eq!(error, "exit code 1: ***");
    let input = json!({"run": "echo \"$A.$B.$NONE.\"", "env": {"A": "${secret:short}", "B": "${secret:long}", "NONE": "${secret:empty}"}});
    assert_eq!(run(&root, input).await.unwrap()["stdout"], "***.***..\n");
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn what_left_its_group_ends_with_the_command() {
    let root = TempDir::new().unwrap();
    let input = json!({"run": "setsid -f sh -c 'echo up > up; exec sleep 600'; while ! test -e up; do :; done; echo ok"});
    assert_eq!(run(&root, input).await.unwrap()["stdout"], "ok\n");
    assert!(!alive(&place(&root)));
}

#[tokio::test]
async fn what_goes_wrong_says_what() {
    let root = TempDir::new().unwrap();
    for (input, failure, part) in [
        (
            json!({"run": "echo no such thing >&2; exit 7"}),
            Failure::Failed,
            "exit code 7: no such thing",
        ),
        (
            json!({"run": " "}),
            Failure::Refused,
            "accepted is either run",
        ),
        (
            json!({"run": "true", "command": ["true"]}),
            Failure::Refused,
            "accepted is either run",
        ),
        (json!({"run": "true", "cdw": "x"}), Failure::Refused, "cdw"),
        (
            json!({"command": ["no-such-program-here"]}),
            Failure::Refused,
            "start the command",
        ),
        (
            json!({"run": "true", "cwd": "../.."}),
            Failure::Refused,
            "outside of the workspace",
        ),
        (
            json!({"run": "true", "env": {"A": "${secret:none}"}}),
            Failure::Refused,
            "no secret is named",
        ),
        (
            json!({"run": "true", "env": {"A": [1]}}),
            Failure::Refused,
            "with.env.A is [1]; accepted is a text",
        ),
        (
            json!({"run": "echo nope", "json": true}),
            Failure::Failed,
            "as JSON",
        ),
    ] {
        let error = run(&root, input.clone()).await.unwrap_err();
        assert_eq!(error.failure, failure, "{input}");
        assert!(error.error.contains(part), "{input}: {error}");
    }
}

/// Whether any process bears the mark.
fn alive(place: &Place) -> bool {
    let wanted = [(place.mark.clone(), Vec::new())];
    !flotilla_os::family(&flotilla_os::ProcessTable::read(), &wanted)[0].is_empty()
}

#[cfg(unix)]
#[tokio::test]
async fn nothing_is_left_when_it_is_told_to_end_or_dropped() {
    let root = TempDir::new().unwrap();
    let place = place(&root);
    let input = json!({"run": "trap '' TERM; (sleep 600 & sleep 600) & echo up > up; wait"});
    for dropped in [false, true] {
        let stop = CancellationToken::new();
        let work = shell(&input, &place, &secret, &stop);
        tokio::pin!(work);
        let up = root.path().join("up");
        let told = async {
            while !up.exists() {
                tokio::task::yield_now().await;
            }
        };
        tokio::select! {
            ended = &mut work => panic!("{ended:?}"),
            () = told => {}
        }
        assert!(alive(&place));
        std::fs::remove_file(&up).unwrap();
        if dropped {
            break;
        }
        stop.cancel();
        assert!(work.await.is_err());
        assert!(!alive(&place));
    }
    while alive(&place) {
        tokio::task::yield_now().await;
    }
}

#[test]
fn files_stay_in_the_workspace() {
    let root = TempDir::new().unwrap();
    let place = place(&root);
    let on = |input: Value| file(&input, &place);
    on(json!({"operation": "create", "path": "a/b.txt", "content": "one\n"})).unwrap();
    on(json!({"operation": "append", "path": "a/b.txt", "content": "two\n"})).unwrap();
    assert_eq!(
        on(json!({"operation": "read", "path": "a/b.txt"})).unwrap()["content"],
        "one\ntwo\n"
    );
    on(json!({"operation": "create", "path": "c.json", "content": {"n": 1}})).unwrap();
    on(json!({"operation": "copy", "path": "c.json", "to": "a/d.json"})).unwrap();
    let listed = on(json!({"operation": "list", "path": ".", "recursive": true})).unwrap();
    let paths: Vec<_> = listed["entries"]
        .as_array()
        .unwrap()
        .iter()
        .map(|e| e["path"].as_str().unwrap())
        .collect();
    assert_eq!(paths, ["a", "a/b.txt", "a/d.json", "c.json"]);
    on(json!({"operation": "remove", "path": "c.json"})).unwrap();
    let elsewhere = TempDir::new().unwrap();
    let other = elsewhere.path().join("x");
    std::fs::write(&other, "theirs").unwrap();
    #[cfg(unix)]
    std::os::unix::fs::symlink(elsewhere.path(), root.path().join("out")).unwrap();
    std::fs::create_dir(root.path().join("here")).unwrap();
    #[cfg(unix)]
    std::os::unix::fs::symlink("a/b.txt", root.path().join("link")).unwrap();
    #[cfg(unix)]
    assert_eq!(
        on(json!({"operation": "read", "path": "link"})).unwrap()["content"],
        "one\ntwo\n"
    );
    for path in ["../x", other.to_str().unwrap(), "out/x", "a/../../x"] {
        for operation in ["read", "remove"] {
            let error = on(json!({"operation": operation, "path": path})).unwrap_err();
            assert!(
                error.error.contains("outside of the workspace"),
                "{path}: {error}"
            );
        }
    }
    assert_eq!(std::fs::read_to_string(&other).unwrap(), "theirs");
    assert_eq!(
        on(json!({"operation": "fly", "path": "x"}))
            .unwrap_err()
            .failure,
        Failure::Refused
    );
    assert_eq!(
        on(json!({"operation": "read", "path": "none"}))
            .unwrap_err()
            .failure,
        Failure::Failed
    );
}

/// A folder that becomes a link, again and again, while a file below it is written.
#[cfg(target_os = "linux")]
#[test]
fn a_link_that_is_swapped_in_leads_nowhere() {
    use rustix::fs::{CWD, RenameFlags, renameat_with};
    use std::sync::atomic::{AtomicBool, Ordering};
    let (root, elsewhere) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let place = place(&root);
    let (folder, link) = (root.path().join("folder"), root.path().join("link"));
    std::fs::create_dir(&folder).unwrap();
    std::os::unix::fs::symlink(elsewhere.path(), &link).unwrap();
    let done = AtomicBool::new(false);
    std::thread::scope(|threads| {
        threads.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                renameat_with(CWD, &folder, CWD, &link, RenameFlags::EXCHANGE).unwrap();
            }
        });
        let (mut inside, mut refused) = (0, 0);
        while inside < 200 || refused < 200 {
            match file(
                &json!({"operation": "create", "path": "folder/x", "content": "x"}),
                &place,
            ) {
                Ok(_) => inside += 1,
                Err(_) => refused += 1,
            }
        }
        done.store(true, Ordering::Relaxed);
    });
    assert_eq!(std::fs::read_dir(elsewhere.path()).unwrap().count(), 0);
}

#[cfg(unix)]
#[test]
fn a_pipe_is_refused_and_not_waited_for() {
    let root = TempDir::new().unwrap();
    let pipe = root.path().join("pipe");
    let made = std::process::Command::new("mkfifo").arg(&pipe).status();
    assert!(made.unwrap().success());
    for input in [
        json!({"operation": "read", "path": "pipe"}),
        json!({"operation": "create", "path": "pipe", "content": "x"}),
        json!({"operation": "append", "path": "pipe", "content": "x"}),
        json!({"operation": "copy", "path": "pipe", "to": "x"}),
    ] {
        let error = file(&input, &place(&root)).unwrap_err();
        assert_eq!(error.failure, Failure::Failed, "{input}: {error}");
    }
}
