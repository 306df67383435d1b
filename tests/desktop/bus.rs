//! A desktop with a place for tray icons and for notifications: both are taken note of, on a bus of its own.

use flotilla_tests::PATIENCE;
use std::{
    collections::HashMap,
    io::{BufRead as _, BufReader},
    process::{Child, Command, Stdio},
};
use tokio::sync::mpsc;
use zbus::{
    Connection, Proxy, connection, interface,
    message::Header,
    zvariant::{OwnedObjectPath, OwnedValue, Structure, Value},
};

/// The bus, and what is told on it.
pub(crate) struct Desktop {
    daemon: Child,
    pub(crate) address: String,
    bus: Connection,
    icons: mpsc::UnboundedReceiver<(String, String)>,
    notes: mpsc::UnboundedReceiver<(String, String)>,
}

impl Desktop {
    pub(crate) async fn open() -> Self {
        let mut daemon = Command::new("dbus-daemon")
            .args(["--session", "--nofork", "--print-address"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("start dbus-daemon");
        let mut address = String::new();
        let said = daemon.stdout.take().expect("its output");
        BufReader::new(said)
            .read_line(&mut address)
            .expect("its address");
        let (icon, icons) = mpsc::unbounded_channel();
        let (note, notes) = mpsc::unbounded_channel();
        let bus = async {
            connection::Builder::address(address.trim())?
                .serve_at("/StatusNotifierWatcher", Tray(icon))?
                .serve_at("/org/freedesktop/Notifications", Bubbles(note))?
                .name("org.kde.StatusNotifierWatcher")?
                .name("org.freedesktop.Notifications")?
                .build()
                .await
        };
        Self {
            daemon,
            address: address.trim().to_owned(),
            bus: bus.await.expect("a place on the bus"),
            icons,
            notes,
        }
    }

    /// The icon that is in the tray now, or the next one. An icon asks for its place more than once, so that some of
    /// what was asked is of one that is gone.
    pub(crate) async fn icon(&mut self) -> Icon {
        loop {
            let told = tokio::time::timeout(PATIENCE, self.icons.recv()).await;
            let (owner, path) = told.expect("no icon came").expect("the bus is there");
            let item = self
                .proxy(&owner, &path, "org.kde.StatusNotifierItem")
                .await;
            if let Ok(menu) = item.get_property::<OwnedObjectPath>("Menu").await {
                let menu = self.proxy(&owner, &menu, "com.canonical.dbusmenu").await;
                return Icon { menu };
            }
        }
    }

    /// The next notification: its title and its text.
    pub(crate) async fn note(&mut self) -> (String, String) {
        let told = tokio::time::timeout(PATIENCE, self.notes.recv()).await;
        told.expect("no notification came")
            .expect("the bus is there")
    }

    async fn proxy(&self, owner: &str, path: &str, interface: &str) -> Proxy<'static> {
        let (owner, path, interface) = (owner.to_owned(), path.to_owned(), interface.to_owned());
        let proxy = Proxy::new(&self.bus, owner, path, interface).await;
        proxy.expect("an object on the bus")
    }
}

impl Drop for Desktop {
    fn drop(&mut self) {
        let _ = self.daemon.kill();
        let _ = self.daemon.wait();
    }
}

/// An icon in the tray, with its menu.
pub(crate) struct Icon {
    menu: Proxy<'static>,
}

impl Icon {
    /// Every line of the menu, those of submenus too, by the number it has now.
    async fn lines(&self) -> HashMap<String, i32> {
        let all = (0_i32, -1_i32, Vec::<&str>::new());
        let mut lines = HashMap::new();
        // The menu may be exchanged for a new one at any moment.
        if let Ok(answer) = self.menu.call_method("GetLayout", &all).await
            && let Ok(layout) = answer.body().deserialize::<Structure<'_>>()
            && let [_, root] = layout.fields()
        {
            collect(root, &mut lines);
        }
        lines
    }

    /// Waits for a line of the menu; gives its number.
    pub(crate) async fn says(&self, text: &str) -> i32 {
        let waited = tokio::time::timeout(PATIENCE, async {
            loop {
                if let Some(line) = self.lines().await.get(text) {
                    return *line;
                }
                tokio::time::sleep(std::time::Duration::from_millis(50)).await;
            }
        });
        match waited.await {
            Ok(line) => line,
            Err(_) => panic!("the menu never said {text:?}: {:?}", self.lines().await),
        }
    }

    /// Presses a line of the menu.
    pub(crate) async fn press(&self, text: &str) {
        let line = self.says(text).await;
        let pressed: zbus::Result<()> = self
            .menu
            .call("Event", &(line, "clicked", Value::from(0), 0_u32))
            .await;
        pressed.expect("the line is pressed");
    }
}

/// A line is its number, its properties, and the lines below it.
fn collect(line: &Value<'_>, lines: &mut HashMap<String, i32>) {
    match line {
        Value::Value(inner) => collect(inner, lines),
        Value::Structure(parts) => {
            let [
                Value::I32(number),
                Value::Dict(properties),
                Value::Array(below),
            ] = parts.fields()
            else {
                return;
            };
            for (key, value) in properties.iter() {
                if let (Value::Str(key), Value::Value(value)) = (key, value)
                    && let ("label", Value::Str(label)) = (key.as_str(), &**value)
                {
                    lines.insert(label.to_string(), *number);
                }
            }
            below.iter().for_each(|line| collect(line, lines));
        }
        _ => {}
    }
}

struct Tray(mpsc::UnboundedSender<(String, String)>);

#[interface(name = "org.kde.StatusNotifierWatcher")]
impl Tray {
    fn register_status_notifier_item(&self, path: String, #[zbus(header)] header: Header<'_>) {
        let owner = header.sender().map(ToString::to_string).unwrap_or_default();
        // A test that is over listens no more.
        let _ = self.0.send((owner, path));
    }

    #[zbus(property)]
    fn is_status_notifier_host_registered(&self) -> bool {
        true
    }

    #[zbus(property)]
    fn protocol_version(&self) -> i32 {
        0
    }

    #[zbus(property)]
    fn registered_status_notifier_items(&self) -> Vec<String> {
        Vec::new()
    }
}

struct Bubbles(mpsc::UnboundedSender<(String, String)>);

#[interface(name = "org.freedesktop.Notifications")]
impl Bubbles {
    #[expect(clippy::too_many_arguments, reason = "the specification has them")]
    fn notify(
        &self,
        _app: String,
        _replaces: u32,
        _icon: String,
        summary: String,
        body: String,
        _actions: Vec<String>,
        _hints: HashMap<String, OwnedValue>,
        _timeout: i32,
    ) -> u32 {
        let _ = self.0.send((summary, body));
        1
    }

    fn get_capabilities(&self) -> Vec<String> {
        vec!["body".into()]
    }

    fn get_server_information(&self) -> (String, String, String, String) {
        let text = |t: &str| t.to_owned();
        (text("test"), text("test"), text("1"), text("1.2"))
    }
}
