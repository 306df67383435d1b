//! Commands and files of workflow steps, with real processes and links.

use flotilla_agents::work::{Place, Said, WorkError, file, shell};
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
        writable: Vec::new(),
        said: Said::default(),
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

/// As when another step of the same run removes what it no longer needs.
#[test]
fn what_goes_while_a_folder_is_looked_through_is_passed_over() {
    use std::sync::atomic::{AtomicBool, Ordering};
    let root = TempDir::new().unwrap();
    let place = place(&root);
    std::fs::create_dir(root.path().join("backups")).unwrap();
    std::fs::write(root.path().join("backups/backup-1.gz"), "x").unwrap();
    let fleeting = root.path().join("backups/backup-2");
    let done = AtomicBool::new(false);
    let results: Vec<_> = std::thread::scope(|threads| {
        threads.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                std::fs::write(&fleeting, "x").unwrap();
                std::fs::remove_file(&fleeting).unwrap();
            }
        });
        let prune = json!({
            "operation": "prune", "path": "backups", "prefix": "backup-", "suffix": ".gz", "days": 1, "keep": 1,
        });
        let results = (0..3_000).map(|_| file(&prune, &place)).collect();
        done.store(true, Ordering::Relaxed);
        results
    });
    for result in results {
        assert_eq!(result.unwrap()["kept"], 1);
    }
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

#[test]
fn a_scan_finds_secrets_and_never_repeats_them() {
    let root = TempDir::new().unwrap();
    let put = |path: &str, text: &[u8]| {
        let path = root.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    };
    // Put together here, so that nothing in this file looks like one.
    let key = format!("AKIA{}", "ABCDEFGHIJKLMNOP");
    put("src/a.py", format!("x = 1\nkey = '{key}'\n").as_bytes());
    put(
        "src/b.py",
        b"password = os.environ['PASSWORD']\npassword = \"${PASSWORD}\"\n",
    );
    put("src/deep/c.toml", b"api_key = \"0123456789abcdef\"\n");
    put("src/node_modules/d.js", format!("'{key}'").as_bytes());
    put("src/e.bin", format!("\0{key}").as_bytes());
    let on = |input: Value| file(&input, &place(&root));
    let found = on(json!({"operation": "scan", "path": "src"})).unwrap();
    assert_eq!(
        found["findings"],
        json!([
            {"path": "a.py", "line": 2, "rule": "aws-access-key"},
            {"path": "deep/c.toml", "line": 1, "rule": "literal"},
        ])
    );
    assert_eq!(
        (&found["total"], &found["files"], &found["passed_over"]),
        (&json!(2), &json!(3), &json!(1))
    );
    assert!(!found.to_string().contains(&key));
    let own = json!({"operation": "scan", "path": "src", "quote": true, "rules": {"number": "^x = [0-9]"}});
    assert_eq!(
        on(own).unwrap()["findings"],
        json!([{"path": "a.py", "line": 1, "rule": "number", "text": "x = 1"}])
    );
    let error = on(json!({"operation": "scan", "path": "src", "rules": {"bad": "("}})).unwrap_err();
    assert!(
        error.error.starts_with("with.rules.bad is \"(\": "),
        "{error}"
    );
}

#[tokio::test]
async fn a_database_is_copied_while_it_is_written_and_what_is_damaged_is_found() {
    use sqlx::{Connection as _, SqliteConnection, sqlite::SqliteConnectOptions};
    let root = TempDir::new().unwrap();
    let options = SqliteConnectOptions::new()
        .filename(root.path().join("app.db"))
        .create_if_missing(true)
        .journal_mode(sqlx::sqlite::SqliteJournalMode::Wal);
    let mut writer = SqliteConnection::connect_with(&options).await.unwrap();
    let mut write = async |sql: &'static str| {
        sqlx::query(sql).execute(&mut writer).await.unwrap();
    };
    write("CREATE TABLE t (text TEXT)").await;
    write("CREATE TABLE \"o\"\"dd\" (n)").await;
    write("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 200) INSERT INTO t SELECT hex(randomblob(500)) FROM n").await;
    write("BEGIN").await;
    write("INSERT INTO t VALUES ('not yet')").await;
    let on = async |input: Value| {
        let place = place(&root);
        tokio::task::spawn_blocking(move || file(&input, &place))
            .await
            .unwrap()
    };
    let copy = json!({"operation": "sqlite_copy", "path": "app.db", "to": "b/1"});
    let copied = on(copy.clone()).await.unwrap();
    assert_eq!(copied["tables"], json!({"o\"dd": 0, "t": 200}));
    let twice = on(copy).await.unwrap_err();
    assert!(twice.error.contains("exists"), "{twice}");
    on(json!({"operation": "pack", "path": "b/1", "to": "b/1.gz"}))
        .await
        .unwrap();
    on(json!({"operation": "unpack", "path": "b/1.gz", "to": "b/2"}))
        .await
        .unwrap();
    let check =
        |tables: Value| json!({"operation": "sqlite_check", "path": "b/2", "tables": tables});
    on(check(copied["tables"].clone())).await.unwrap();
    let other = on(check(json!({"t": 201}))).await.unwrap_err();
    assert!(other.error.contains("expected are {\"t\":201}"), "{other}");
    // A page in the middle becomes another.
    let path = root.path().join("b/2");
    let mut bytes = std::fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle..middle + 4096].fill(0x55);
    std::fs::write(&path, bytes).unwrap();
    let damaged = json!({"operation": "sqlite_check", "path": "b/2"});
    let damaged = on(damaged).await.unwrap_err();
    assert_eq!(damaged.failure, Failure::Failed);
    std::fs::write(root.path().join("b/1.gz"), b"\x1f\x8b nothing").unwrap();
    let unpacked = on(json!({"operation": "unpack", "path": "b/1.gz", "to": "b/3"})).await;
    assert_eq!(unpacked.unwrap_err().failure, Failure::Failed);
    for path in ["none.db", "../x.db"] {
        let copy = json!({"operation": "sqlite_copy", "path": path, "to": "c"});
        on(copy).await.unwrap_err();
        assert!(!root.path().join("c").exists());
    }
}

#[test]
fn old_copies_go_and_the_newest_stay() {
    let root = TempDir::new().unwrap();
    let day = std::time::Duration::from_secs(86_400);
    for (name, days) in [
        ("backup-1.gz", 50),
        ("backup-2.gz", 40),
        ("backup-3.gz", 35),
        ("backup-4.gz", 1),
        ("other.gz", 99),
        ("backup-5.txt", 99),
    ] {
        let file = std::fs::File::create(root.path().join(name)).unwrap();
        let then = std::time::SystemTime::now() - day * days;
        file.set_modified(then).unwrap();
    }
    let prune = |keep: usize| {
        let input = json!({"operation": "prune", "path": ".", "prefix": "backup-", "suffix": ".gz", "days": 30, "keep": keep});
        file(&input, &place(&root)).unwrap()
    };
    let done = prune(2);
    assert_eq!(done["removed"], json!(["backup-1.gz", "backup-2.gz"]));
    assert_eq!(prune(2)["removed"], json!([]));
    assert_eq!(prune(0)["kept"], 1);
    assert!(root.path().join("other.gz").exists() && root.path().join("backup-5.txt").exists());
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_command_writes_only_where_it_may() {
    // Not among the folders for temporary files, where everybody may write.
    let base = std::env::current_dir().unwrap();
    let outside = tempfile::Builder::new()
        .prefix("outside")
        .tempdir_in(base)
        .unwrap();
    let root = TempDir::new().unwrap();
    let input = json!({"run": "echo in > in && cat /etc/passwd > copy && echo out > \"$OUT/out\"", "env": {"OUT": outside.path()}});
    let held = flotilla_os::landlock().is_some();
    let done = run(&root, input.clone()).await;
    assert_eq!(done.is_err(), held, "{done:?}");
    assert_eq!(outside.path().join("out").exists(), !held);
    assert!(root.path().join("copy").exists());
    let mut place = place(&root);
    place.writable = vec![outside.path().to_owned(), "/not/there".into()];
    let done = shell(&input, &place, &secret, &CancellationToken::new())
        .await
        .unwrap();
    assert_eq!(done["confined"], held);
    assert!(outside.path().join("out").exists());
}
