//! The real window: what it shows, what its buttons do, and what its end leaves behind.
//!
//! `cargo xtask test desktop` gives it a display and a bus of its own; nowhere else does it run.

#![cfg(target_os = "linux")]

mod app;
mod bus;
mod page;
mod screen;

use app::{App, eventually};
use bus::Desktop;
use flotilla_contract::state::Status;
use flotilla_tests::{fixture, pid};
use page::Page;
use screen::{ENTER, ESCAPE, Screen, TAB};

const WINDOW: &str = "Flotilla";
const QUESTION: &str = "Close Flotilla";

/// Longer than a slow machine needs to see a countdown count.
const SLOW_RESTART: &str = "restart = { delays = [\"10s\"] }";

fn row(server: &str) -> String {
    format!("[role=row][data-server={server}]")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_window_shows_what_happens_and_does_what_is_pressed() {
    let steady = fixture("steady", "--stderr ahoy-from-steady", SLOW_RESTART);
    let broken = fixture(
        "broken",
        "--crash-at-once 3",
        "restart = { max_restarts = 0 }",
    );
    let later = fixture("later", "", "autostart = false");
    let mut app = App::new(&(steady + &broken + &later));
    let page = Page::open(&app).await;
    app.attach().await;

    page.sees("[aria-label=Attention]", "broken.*xited with code 3")
        .await;
    page.sees("main", r"Memory \d[\d.]* ?MiB").await;
    page.picture("overview").await;

    for place in ["Logs", "Agents", "Fleets", "Settings", "Servers"] {
        page.press(&format!(
            "//nav[@aria-label='Main']//a[.//*[normalize-space()='{place}']]"
        ))
        .await;
        page.sees("h1", &format!("^{place}$")).await;
    }
    page.sees(&row("steady"), "Running").await;
    page.sees(&row("broken"), "Failed").await;
    page.sees(&row("later"), "Stopped").await;
    page.picture("servers").await;

    // Killed from outside: the row counts down, and the server is back.
    let killed = pid(&app.until("steady", |v| v.status == Status::Running).await);
    app.kill(killed);
    let shown = page.sees(&row("steady"), r"Retry in \d+ s").await;
    let seconds: u32 = shown
        .split(' ')
        .nth(2)
        .and_then(|n| n.parse().ok())
        .expect("a number of seconds");
    let fewer: Vec<String> = (1..seconds).map(|n| n.to_string()).collect();
    page.sees(&row("steady"), &format!("Retry in ({}) s", fewer.join("|")))
        .await;
    page.sees(&row("steady"), "Running").await;
    let again = pid(&app.until("steady", |v| v.status == Status::Running).await);
    assert_ne!(again, killed);

    // What the palette offers is seen: a list that the window lays out with no height has its text, too.
    page.press("//button[starts-with(@aria-label, 'Search or run')]")
        .await;
    page.sees("#palette-list", "Restart a server").await;
    assert!(page.height("#palette-list").await > 200.0);
    page.picture("palette").await;
    page.types("[aria-controls=palette-list]", page::ESCAPE)
        .await;

    // Restart, which asks first and then tells the end.
    page.press("//*[@data-server='steady']//a[normalize-space()='steady']")
        .await;
    page.sees("h2", "^steady$").await;
    page.press("//button[normalize-space()='Restart']").await;
    page.press("//*[@role='alertdialog']//button[starts-with(normalize-space(), 'Restart')]")
        .await;
    page.sees("[aria-label=Notices]", "steady.*Running, .*tools")
        .await;
    let restarted = pid(&app.until("steady", |v| v.status == Status::Running).await);
    assert_ne!(restarted, again);

    // To three.
    page.press("//button[@aria-label='One more']").await;
    page.sees("[role=group][aria-label=replicas]", "2").await;
    page.press("//button[@aria-label='One more']").await;
    page.press("//button[normalize-space()='Scale to 3']").await;
    let view = app
        .until("steady", |v| {
            v.instances
                .iter()
                .filter(|i| i.status == Status::Running)
                .count()
                == 3
        })
        .await;
    assert_eq!(pid(&view), restarted, "what ran goes on");
    for instance in &view.instances {
        let pid = instance.pid.expect("it runs").to_string();
        page.sees("section[aria-label=Replicas] tr", &format!("Running {pid}"))
            .await;
    }
    page.picture("server").await;

    page.press("//*[@role='tab'][starts-with(normalize-space(), 'Logs')]")
        .await;
    page.sees("[role=log]", "ahoy-from-steady").await;
    page.picture("server-logs").await;

    // What is seen of the log is kept as a file.
    page.press("//button[normalize-space()='Export']").await;
    let kept = app.kept("steady-", ".log").await;
    assert!(kept.contains("ahoy-from-steady"), "{kept}");
    page.went_well().await;

    // Asked by a client of its engine, the window ends with its fleet.
    let engine = app.boot().pid;
    app.shut_down().await;
    app.ended(engine).await;
    app.leaves_nothing().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn closing_asks_a_second_launch_brings_it_back_and_the_end_takes_the_fleet_along() {
    let config = fixture("steady", "--children 2", "replicas = 2");
    let mut app = App::new(&config);
    let screen = Screen::open();
    app.launch();
    app.attach().await;
    let up = async |app: &mut App| {
        pid(&app
            .until("steady", |v| {
                v.instances.len() == 2 && v.status == Status::Running
            })
            .await)
    };
    let server = up(&mut app).await;
    let engine = app.boot();
    let window = screen.shows(engine.pid, WINDOW).await;

    // No tray on this display, so closing asks; a question that is dismissed changes nothing.
    let question = screen.asks(window, engine.pid, QUESTION).await;
    screen.press(question, &[ESCAPE]);
    screen.shows_no_more(engine.pid, QUESTION).await;
    let question = screen.asks(window, engine.pid, QUESTION).await;
    assert_eq!(screen.shows(engine.pid, WINDOW).await, window);

    // Kept running without a window, brought back by a second launch that is no second engine.
    screen.press(question, &[ENTER]);
    screen.shows_no_more(engine.pid, WINDOW).await;
    app.launch_again();
    assert_eq!(screen.shows(engine.pid, WINDOW).await, window);
    assert_eq!(app.boot().boot, engine.boot);
    assert_eq!(up(&mut app).await, server, "nothing was started anew");

    // Stop all and quit.
    let question = screen.asks(window, engine.pid, QUESTION).await;
    screen.press(question, &[TAB, ENTER]);
    app.ended_well().await;
    app.leaves_nothing().await;

    // Killed, it leaves nothing either; and the next one starts as if nothing had been.
    app.launch();
    app.attach().await;
    up(&mut app).await;
    app.kill_it();
    app.leaves_nothing().await;
    app.launch();
    app.attach().await;
    up(&mut app).await;
    screen.shows(app.boot().pid, WINDOW).await;
    app.terminate();
    app.ended_well().await;
    app.leaves_nothing().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tray_tells_acts_and_hides_the_window_which_comes_back_where_it_was() {
    const PLACE: (i16, i16, u16, u16) = (60, 40, 1000, 700);
    let limit = |n: u32| format!("restart = {{ delays = [\"100ms\"], max_restarts = {n} }}");
    let config = fixture("steady", "", &limit(3)) + &fixture("fragile", "", &limit(0));
    let (mut desktop, screen) = (Desktop::open().await, Screen::open());
    let mut app = App::new(&config).on(&desktop.address);
    app.launch();
    let icon = desktop.icon().await;
    icon.says("2 of 2 servers running").await;
    app.attach().await;

    // Failed and recovered are told, each once, and the menu names who needs attention.
    let up = async |name| pid(&app.until(name, |v| v.status == Status::Running).await);
    let killed = up("steady").await;
    app.kill(killed);
    assert_eq!(
        desktop.note().await,
        (
            "steady recovered".into(),
            "It works again after 1 restart.".into()
        )
    );
    app.kill(up("fragile").await);
    let (title, text) = desktop.note().await;
    assert_eq!(title, "fragile failed");
    assert!(text.contains("SIGKILL"), "{text}");
    icon.says("1 of 2 servers running, 1 needs attention").await;
    icon.says("fragile: failed").await;
    icon.press("Restart").await;
    icon.says("2 of 2 servers running").await;
    icon.press("Stop all").await;
    icon.says("0 of 2 servers running").await;
    app.leaves_nothing().await;
    icon.press("Start all").await;
    icon.says("2 of 2 servers running").await;

    // With a tray, closing asks nothing: it hides, and the menu brings it back.
    let process = app.boot().pid;
    let window = screen.shows(process, WINDOW).await;
    screen.put(window, PLACE);
    screen.close(window);
    screen.shows_no_more(process, WINDOW).await;
    assert_eq!(screen.find(process, QUESTION), None);
    icon.press("Open Flotilla").await;
    assert_eq!(screen.shows(process, WINDOW).await, window);
    icon.press("Quit").await;
    app.ended_well().await;
    app.leaves_nothing().await;

    // The next one opens where the last one was.
    app.launch();
    let icon = desktop.icon().await;
    icon.says("2 of 2 servers running").await;
    app.attach().await;
    let window = screen.shows(app.boot().pid, WINDOW).await;
    eventually("the place of the window", || {
        (screen.place(window) == PLACE).then_some(())
    })
    .await;
    icon.press("Quit").await;
    app.ended_well().await;
}
