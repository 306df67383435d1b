//! What happened lately: the newest few, older ones are forgotten.

use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard, PoisonError},
};

/// At most so many entries, oldest first.
pub(crate) struct Recent<T> {
    most: usize,
    kept: Mutex<VecDeque<T>>,
}

impl<T: Clone> Recent<T> {
    /// Keeps the newest `most`.
    pub(crate) fn new(most: usize) -> Self {
        Self {
            most,
            kept: Mutex::default(),
        }
    }

    /// Adds the newest.
    pub(crate) fn push(&self, entry: T) {
        push(&mut self.lock(), self.most, entry);
    }

    /// Adds the newest, in place of those that `same` picks. Says whether there were any.
    pub(crate) fn replace(&self, same: impl Fn(&T) -> bool, entry: T) -> bool {
        let mut kept = self.lock();
        let before = kept.len();
        kept.retain(|old| !same(old));
        let replaced = kept.len() < before;
        push(&mut kept, self.most, entry);
        replaced
    }

    /// All, oldest first.
    pub(crate) fn all(&self) -> Vec<T> {
        self.lock().iter().cloned().collect()
    }

    /// The newest that `wanted` picks.
    pub(crate) fn find(&self, wanted: impl Fn(&T) -> bool) -> Option<T> {
        self.lock()
            .iter()
            .rev()
            .find(|entry| wanted(entry))
            .cloned()
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<T>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn push<T>(kept: &mut VecDeque<T>, most: usize, entry: T) {
    kept.push_back(entry);
    while kept.len() > most {
        kept.pop_front();
    }
}
