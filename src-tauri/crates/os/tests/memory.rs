//! Memory that was freed goes back to the system. A program of its own, since all memory of the process is measured.
#![cfg(all(target_os = "linux", target_env = "gnu"))]

use flotilla_os::{ALLOCATOR, Allocator, give_back, rest};
use std::sync::mpsc;

#[global_allocator]
static OURS: Allocator = ALLOCATOR;

/// Resident memory that belongs to no file, in MiB.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("it is there");
    let line = status.lines().find(|line| line.starts_with("RssAnon:"));
    let kib = line.and_then(|line| line.split_whitespace().nth(1));
    kib.and_then(|kib| kib.parse::<u64>().ok())
        .expect("a number")
        / 1024
}

// One test: two would measure each other.
#[test]
fn what_was_freed_goes_back() {
    what_another_thread_keeps_goes_back_when_it_rests();
    what_a_burst_left_between_things_that_stay_goes_back();
}

fn what_another_thread_keeps_goes_back_when_it_rests() {
    let before = resident();
    let (burst, bursts) = mpsc::channel();
    let (go, gone) = mpsc::channel::<()>();
    let other = std::thread::spawn(move || {
        let pieces: Vec<Vec<u8>> = (0..300_000).map(|n| vec![n as u8; 200]).collect();
        burst.send(pieces).expect("somebody takes them");
        gone.recv().expect("a word");
        rest();
        resident()
    });
    // Freed by another thread than the one that made them.
    drop(bursts.recv().expect("pieces"));
    give_back();
    go.send(()).expect("it waits");
    let after = other.join().expect("it ends");
    assert!(after < before + 16, "{before} MiB before, {after} after");
}

fn what_a_burst_left_between_things_that_stay_goes_back() {
    let before = resident();
    // The last of each pair stays, so that the top of the heap is never free.
    let burst: Vec<(Vec<u8>, Box<[u8]>)> = (0..512)
        .map(|n| (vec![n as u8; 100_000], vec![1; 64].into_boxed_slice()))
        .collect();
    let stays: Vec<Box<[u8]>> = burst.into_iter().map(|(_, small)| small).collect();
    give_back();
    let after = resident();
    assert!(after < before + 16, "{before} MiB before, {after} after");
    assert_eq!(stays.len(), 512);
}
