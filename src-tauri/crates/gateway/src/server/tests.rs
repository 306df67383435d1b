//! A server on demand as calls meet it: one start for all of them, and no call to a process that is about to be stopped.

use super::*;
use crate::fleet::{AsClient, Boxed, Content, Opened};
use flotilla_contract::gateway::CallRecord;
use flotilla_mcp::PoolStats;

/// An engine that counts what it is asked; a start ends when the test says so.
#[derive(Default)]
struct Engine {
    woken: AtomicU32,
    ends: Mutex<Vec<tokio::sync::oneshot::Sender<Result<(), String>>>>,
}

impl Fleet for Engine {
    fn shared(&self, _: &InstanceId, _: Duration) -> Boxed<Opened> {
        Box::pin(async { Err(Error::Cancelled) })
    }

    fn own(&self, _: &InstanceId, _: AsClient, _: Duration) -> Boxed<Opened> {
        Box::pin(async { Err(Error::Cancelled) })
    }

    fn wake(&self, _: &ServerId, _: Option<&str>, _: Duration) -> Boxed<Result<(), String>> {
        self.woken.fetch_add(1, Ordering::Relaxed);
        let (end, ended) = tokio::sync::oneshot::channel();
        lock(&self.ends).push(end);
        Box::pin(async { ended.await.unwrap_or(Err("given up".to_owned())) })
    }

    fn sleep(&self, _: &ServerId, _: &str) -> bool {
        true
    }

    fn remembered(&self, _: &ServerId) -> Option<Arc<str>> {
        None
    }

    fn remember(&self, _: &ServerId, _: &str) {}

    fn keep(&self, _: &Arc<CallRecord>, _: Option<Content>) {}

    fn pool(&self, _: &InstanceId) -> Option<PoolStats> {
        None
    }

    fn breaker(&self, _: &ServerId, _: Option<&str>, _: BreakerState, _: &str) {}
}

const IDLE: Duration = Duration::from_secs(600);

/// The server as the engine tells of it: `spawn` runs, or it sleeps.
fn told(spawn: Option<u64>, comes: bool) -> Upstream {
    let id: ServerId = "quiet".parse().unwrap();
    let exposure = Exposure {
        max_in_flight: 2,
        queue: 3,
        ..Exposure::default()
    };
    Upstream {
        exposure: Arc::new(exposure),
        instances: vec![Instance {
            id: id.instance(1),
            spawn: spawn.unwrap_or_default(),
            unfit: spawn.is_none().then(|| "no call for 10 min".to_owned()),
        }],
        reason: "Stopped: stop requested".to_owned(),
        on_demand: Some(OnDemand {
            idle: IDLE,
            start: Duration::from_secs(60),
            comes,
            asleep: spawn.is_none(),
        }),
        id,
    }
}

struct Play {
    engine: Arc<Engine>,
    fleet: Arc<dyn Fleet>,
    server: Arc<Server>,
}

impl Play {
    fn new(first: &Upstream) -> Self {
        let engine = Arc::new(Engine::default());
        let server = Arc::new(Server::new(first, 7, Instant::now()));
        server.refit(first, Instant::now());
        Self {
            fleet: Arc::<Engine>::clone(&engine),
            engine,
            server,
        }
    }

    /// A call that asks for a place.
    fn call(&self) -> tokio::task::JoinHandle<Result<u64, String>> {
        let (server, fleet) = (Arc::clone(&self.server), Arc::clone(&self.fleet));
        tokio::spawn(async move {
            let deadline = Instant::now() + Duration::from_secs(300);
            let place = server.place(&fleet, None, None, &[], deadline).await;
            place
                .map(|place| place.spawn())
                .map_err(|refusal| refusal.reason)
        })
    }

    fn is(&self, upstream: &Upstream) {
        self.server.refit(upstream, Instant::now());
    }

    fn woken(&self) -> u32 {
        self.engine.woken.load(Ordering::Relaxed)
    }

    /// The start under way ends like this.
    fn ends(&self, how: Result<(), String>) {
        let end = lock(&self.engine.ends).pop().expect("a start is under way");
        end.send(how).expect("it is awaited");
    }
}

async fn others_run() {
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(start_paused = true)]
async fn calls_of_a_sleeping_server_wait_for_one_start_in_a_bounded_queue() {
    let play = Play::new(&told(None, true));
    let calls = [play.call(), play.call(), play.call()];
    others_run().await;
    assert_eq!((play.woken(), play.server.queued()), (1, 3));
    assert_eq!(
        play.call().await.unwrap().unwrap_err(),
        "quiet is starting and 3 calls wait"
    );
    play.ends(Ok(()));
    others_run().await;
    // The start is over; that it serves is told a moment later.
    play.is(&told(Some(1), true));
    for call in calls {
        assert_eq!(call.await.unwrap(), Ok(1));
    }
    assert_eq!((play.woken(), play.server.queued()), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn a_start_that_fails_is_told_to_all_who_waited_and_the_next_call_begins_another() {
    let play = Play::new(&told(None, true));
    let calls = [play.call(), play.call()];
    others_run().await;
    play.ends(Err("exited with code 1 after 20 ms".to_owned()));
    for call in calls {
        assert_eq!(
            call.await.unwrap().unwrap_err(),
            "quiet did not come up for this call: exited with code 1 after 20 ms"
        );
    }
    let next = play.call();
    others_run().await;
    assert_eq!(play.woken(), 2);
    // An operator stops it meanwhile: nobody waits for what will not come.
    play.is(&told(None, false));
    let refused = next.await.unwrap().unwrap_err();
    assert!(refused.starts_with("quiet does not serve"), "{refused}");
    let refused = play.call().await.unwrap().unwrap_err();
    assert!(refused.starts_with("quiet does not serve"), "{refused}");
    assert_eq!(play.woken(), 2, "a stopped server is not woken");
    // One that never comes up is not waited for without end.
    let play = Play::new(&told(None, true));
    let begun = Instant::now();
    let refused = play.call().await.unwrap().unwrap_err();
    assert!(refused.contains("it did not start within"), "{refused}");
    assert_eq!(begun.elapsed(), Duration::from_secs(60));
}

#[tokio::test(start_paused = true)]
async fn a_server_dozes_only_when_no_call_came_and_none_is_under_way() {
    let play = Play::new(&told(Some(1), true));
    let server = &play.server;
    let start = Instant::now();
    assert_eq!(server.idle_at(), Some(start + IDLE));
    let deadline = start + 3 * IDLE;
    let place = server
        .place(&play.fleet, None, None, &[], deadline)
        .await
        .unwrap_or_else(|refusal| panic!("{}", refusal.reason));
    tokio::time::advance(IDLE).await;
    assert_eq!(server.doze(Instant::now()), None, "a call is under way");
    tokio::time::advance(IDLE / 2).await;
    drop(place);
    assert_eq!(server.idle_at(), Some(Instant::now() + IDLE));
    tokio::time::advance(IDLE).await;
    assert_eq!(server.doze(Instant::now()), Some(IDLE));
    // From here on the old process gets no call, whatever is still told about it.
    play.is(&told(Some(1), true));
    let call = play.call();
    others_run().await;
    assert_eq!((play.woken(), play.server.serving().len()), (1, 0));
    play.ends(Ok(()));
    play.is(&told(Some(2), true));
    assert_eq!(call.await.unwrap(), Ok(2));
    // Where the engine does not put it to sleep after all, it serves on.
    tokio::time::advance(IDLE).await;
    assert_eq!(server.doze(Instant::now()), Some(IDLE));
    server.stays_awake(Instant::now());
    assert_eq!(play.call().await.unwrap(), Ok(2));
    assert_eq!(play.woken(), 1);
}
