//! The page in the window, driven and read as tauri-driver offers it.

use crate::app::{App, eventually};
use fantoccini::{
    Client, ClientBuilder, Locator,
    wd::{Capabilities, TimeoutConfiguration},
};
use flotilla_os::{Ending, ProcessTable, signal_process};
use flotilla_tests::{PATIENCE, foreign};
use hyper_util::client::legacy::connect::HttpConnector;
use serde_json::json;
use std::{
    fs,
    net::{TcpListener, TcpStream},
    path::PathBuf,
    process::Child,
};

/// Answers with the first text of an element that matches. Every change of the document is looked at: nothing polls.
const SEES: &str = r"
    const [css, pattern, done] = arguments;
    const wanted = new RegExp(pattern);
    const look = () => {
        for (const element of document.querySelectorAll(css)) {
            const found = wanted.exec(element.innerText.replace(/\s+/g, ' ').trim());
            if (!found) continue;
            changes.disconnect();
            done(found[0]);
            return true;
        }
        return false;
    };
    const changes = new MutationObserver(look);
    if (!look()) changes.observe(document, { attributes: true, characterData: true, childList: true, subtree: true });
";

/// The key, as WebDriver types it.
pub(crate) const ESCAPE: &str = "\u{e00c}";

/// Keeps what goes wrong without being seen: exceptions, and what the window's own policy forbids.
const LISTEN: &str = r"
    window.wrong = [];
    addEventListener('error', (event) => wrong.push(event.message));
    addEventListener('unhandledrejection', (event) => wrong.push(String(event.reason)));
    addEventListener('securitypolicyviolation', (event) => wrong.push(event.violatedDirective + ': ' + event.blockedURI));
";

/// The page, and the drivers that lead to it.
pub(crate) struct Page {
    client: Client,
    driver: Child,
}

impl Page {
    /// Opens the application's window.
    pub(crate) async fn open(app: &App) -> Self {
        let (port, native) = (free_port(), free_port());
        let driver = app
            .command(foreign("bin/tauri-driver").into())
            .args(["--port", &port.to_string()])
            .args(["--native-port", &native.to_string()])
            .spawn()
            .expect("start tauri-driver");
        eventually("tauri-driver", || {
            TcpStream::connect(("127.0.0.1", port)).ok()
        })
        .await;
        eventually("WebKitWebDriver", || {
            TcpStream::connect(("127.0.0.1", native)).ok()
        })
        .await;
        let wanted = json!({ "tauri:options": { "application": App::program() } });
        let wanted: Capabilities = serde_json::from_value(wanted).expect("capabilities");
        let client = ClientBuilder::new(HttpConnector::new())
            .capabilities(wanted)
            .connect(&format!("http://127.0.0.1:{port}"))
            .await
            .expect("open the window");
        let patience = TimeoutConfiguration::new(Some(PATIENCE), Some(PATIENCE), None);
        client
            .update_timeouts(patience)
            .await
            .expect("set the timeouts");
        let listening = client.execute(LISTEN, vec![]).await;
        listening.expect("listen to the page");
        Self { client, driver }
    }

    /// Waits until an element's text matches, and gives what matched.
    pub(crate) async fn sees(&self, css: &str, pattern: &str) -> String {
        let seen = self
            .client
            .execute_async(SEES, vec![json!(css), json!(pattern)])
            .await;
        match seen {
            Ok(found) => found.as_str().unwrap_or_default().to_owned(),
            Err(error) => {
                self.picture("failure").await;
                let text = self
                    .client
                    .execute("return document.body.innerText", vec![])
                    .await;
                panic!("{css} never said {pattern:?}: {error}\n{text:#?}")
            }
        }
    }

    /// Presses what this XPath names, once it is there.
    pub(crate) async fn press(&self, xpath: &str) {
        let pressed = async {
            let waiting = self.client.wait().at_most(PATIENCE);
            waiting
                .for_element(Locator::XPath(xpath))
                .await?
                .click()
                .await
        };
        if let Err(error) = pressed.await {
            self.picture("failure").await;
            panic!("failed to press {xpath}: {error}");
        }
    }

    /// Types into an element.
    pub(crate) async fn types(&self, css: &str, text: &str) {
        let element = self.client.find(Locator::Css(css)).await.expect(css);
        element.send_keys(text).await.expect(css);
    }

    /// How high an element is drawn, in pixels.
    pub(crate) async fn height(&self, css: &str) -> f64 {
        let element = self.client.find(Locator::Css(css)).await.expect(css);
        let (_, _, _, height) = element.rectangle().await.expect(css);
        height
    }

    /// Nothing went wrong on the page since it was opened.
    pub(crate) async fn went_well(&self) {
        let wrong = self.client.execute("return window.wrong", vec![]).await;
        assert_eq!(wrong.expect("ask the page"), json!([]));
    }

    /// Keeps a picture of the window in `TARGET/test-artifacts`.
    pub(crate) async fn picture(&self, name: &str) {
        let png = self.client.screenshot().await.expect("take a picture");
        let folder = artifacts();
        fs::create_dir_all(&folder).expect("a folder for pictures");
        fs::write(folder.join(format!("window-{name}.png")), png).expect("keep the picture");
    }
}

impl Drop for Page {
    /// The driver ends its own child when it is asked to end, not when it is killed.
    fn drop(&mut self) {
        if let Some(driver) = ProcessTable::read().get(self.driver.id()) {
            signal_process(driver.pid, driver.start_time, Ending::Polite);
        }
        let _ = self.driver.wait();
    }
}

fn artifacts() -> PathBuf {
    let program = App::program();
    let target = program.ancestors().nth(2).expect("a target directory");
    target.join("test-artifacts")
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("its address").port()
}
