//! The display as a window manager and a keyboard see it.

use crate::app::eventually;
use std::time::{Duration, Instant};
use x11rb::{
    CURRENT_TIME,
    connection::Connection,
    protocol::{
        xproto::{
            AtomEnum, ClientMessageEvent, ConfigureWindowAux, ConnectionExt as _, EventMask,
            InputFocus, KEY_PRESS_EVENT, KEY_RELEASE_EVENT, MapState, Window,
        },
        xtest::ConnectionExt as _,
    },
    rust_connection::RustConnection,
    wrapper::ConnectionExt as _,
};

/// X11 keysyms.
pub(crate) const TAB: u32 = 0xff09;
pub(crate) const ENTER: u32 = 0xff0d;
pub(crate) const ESCAPE: u32 = 0xff1b;

/// A person presses again after about as long.
const AGAIN: Duration = Duration::from_secs(2);

pub(crate) struct Screen {
    x: RustConnection,
    root: Window,
}

impl Screen {
    pub(crate) fn open() -> Self {
        let (x, screen) = x11rb::connect(None).expect("connect to the display");
        let root = x.setup().roots[screen].root;
        Self { x, root }
    }

    fn atom(&self, name: &str) -> u32 {
        let asked = self.x.intern_atom(false, name.as_bytes());
        asked.expect("ask").reply().expect("an atom").atom
    }

    /// The window of a process with this title, if it is on the screen.
    pub(crate) fn find(&self, process: u32, title: &str) -> Option<Window> {
        let tree = self.x.query_tree(self.root).expect("ask").reply();
        let pid = self.atom("_NET_WM_PID");
        tree.expect("the windows")
            .children
            .into_iter()
            .find(|window| {
                // A window may go at any moment: then it is not the one.
                let property = |name: u32, kind: AtomEnum| {
                    let asked = self.x.get_property(false, *window, name, kind, 0, 64);
                    asked.expect("ask").reply().ok()
                };
                let attributes = self.x.get_window_attributes(*window).expect("ask").reply();
                attributes.is_ok_and(|a| a.map_state == MapState::VIEWABLE)
                    && property(AtomEnum::WM_NAME.into(), AtomEnum::ANY)
                        .is_some_and(|name| name.value == title.as_bytes())
                    && property(pid, AtomEnum::CARDINAL).is_some_and(|owner| {
                        owner
                            .value32()
                            .is_some_and(|mut v| v.next() == Some(process))
                    })
            })
    }

    pub(crate) async fn shows(&self, process: u32, title: &str) -> Window {
        eventually(title, || self.find(process, title)).await
    }

    pub(crate) async fn shows_no_more(&self, process: u32, title: &str) {
        eventually(title, || self.find(process, title).is_none().then_some(())).await;
    }

    /// Presses the cross of a window and waits for the question. A press that comes in the moment in which an earlier
    /// question goes is part of that one, so it is made again.
    pub(crate) async fn asks(&self, window: Window, process: u32, question: &str) -> Window {
        let mut pressed: Option<Instant> = None;
        eventually(question, || {
            let found = self.find(process, question);
            let due = pressed.is_none_or(|at| at.elapsed() > AGAIN);
            if found.is_none() && due {
                self.close(window);
                pressed = Some(Instant::now());
            }
            found
        })
        .await
    }

    /// Place and size of a window: left, top, width, height.
    pub(crate) fn place(&self, window: Window) -> (i16, i16, u16, u16) {
        let asked = self.x.get_geometry(window).expect("ask").reply();
        let is = asked.expect("it is on the screen");
        (is.x, is.y, is.width, is.height)
    }

    /// Moves and resizes a window, as dragging its edges does.
    pub(crate) fn put(&self, window: Window, (x, y, width, height): (i16, i16, u16, u16)) {
        let wanted = ConfigureWindowAux::new()
            .x(i32::from(x))
            .y(i32::from(y))
            .width(u32::from(width))
            .height(u32::from(height));
        let sent = self.x.configure_window(window, &wanted);
        sent.expect("send").check().expect("the window moves");
    }

    /// What a window manager says when the cross of a window is pressed.
    pub(crate) fn close(&self, window: Window) {
        let data = [self.atom("WM_DELETE_WINDOW"), CURRENT_TIME, 0, 0, 0];
        let message = ClientMessageEvent::new(32, window, self.atom("WM_PROTOCOLS"), data);
        let sent = self
            .x
            .send_event(false, window, EventMask::NO_EVENT, message);
        sent.expect("send").check().expect("the window takes it");
    }

    /// Presses keys, with the window in front.
    pub(crate) fn press(&self, window: Window, keys: &[u32]) {
        let front = self
            .x
            .set_input_focus(InputFocus::PARENT, window, CURRENT_TIME);
        front.expect("send").check().expect("the window takes keys");
        for key in keys {
            let code = self.code(*key);
            for kind in [KEY_PRESS_EVENT, KEY_RELEASE_EVENT] {
                let sent = self
                    .x
                    .xtest_fake_input(kind, code, CURRENT_TIME, self.root, 0, 0, 0);
                sent.expect("send").check().expect("a key is pressed");
            }
        }
        self.x.sync().expect("the display answers");
    }

    fn code(&self, keysym: u32) -> u8 {
        let setup = self.x.setup();
        let count = setup.max_keycode - setup.min_keycode + 1;
        let asked = self.x.get_keyboard_mapping(setup.min_keycode, count);
        let map = asked.expect("ask").reply().expect("the keyboard");
        let place = map
            .keysyms
            .chunks(map.keysyms_per_keycode.into())
            .position(|syms| syms.contains(&keysym))
            .expect("a key of that name");
        setup.min_keycode + u8::try_from(place).expect("a key code")
    }
}
