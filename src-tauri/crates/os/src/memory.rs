//! Where the memory of a process comes from, and where it goes when there is no more use for it.

/// The allocator of programs that host an engine, to be named as their `#[global_allocator]`. A relayed call spent a sixth of its
/// time in the C library's, and a tenth less in all with this one. C code (`SQLite`) keeps to the C library's.
pub type Allocator = mimalloc::MiMalloc;

/// See [`Allocator`].
pub const ALLOCATOR: Allocator = mimalloc::MiMalloc;

use std::{
    cell::Cell,
    sync::atomic::{AtomicU32, Ordering},
};

/// How often memory was to be given back.
static ASKED: AtomicU32 = AtomicU32::new(0);

thread_local! {
    static DONE: Cell<u32> = const { Cell::new(0) };
}

/// Gives memory that was freed back to the system: allocators keep it for later, after a burst often for good. Walks all of the heap
/// that it can reach, which takes milliseconds: for a moment of rest, off the threads that answer. What [`ALLOCATOR`] keeps for other
/// threads they give back when they [`rest`] next.
pub fn give_back() {
    ASKED.fetch_add(1, Ordering::Relaxed);
    rest();
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    gnu::malloc_trim(0);
}

/// To be called by a thread that has nothing to do: gives back what it keeps, once after each [`give_back`]. Costs one read of memory
/// otherwise.
pub fn rest() {
    let asked = ASKED.load(Ordering::Relaxed);
    if DONE.replace(asked) != asked {
        collect::mi_collect(true);
    }
}

mod collect {
    #[expect(
        unsafe_code,
        reason = "declares mi_collect as mimalloc has it; it may be called at any time, from any thread"
    )]
    unsafe extern "C" {
        /// Frees what the calling thread keeps; with `force`, all of it.
        pub(super) safe fn mi_collect(force: bool);
    }
}

/// Lets large blocks go back to the system as soon as they are freed, from now on and in the whole process. By itself the
/// allocator of the GNU C library learns from the first large block to keep the next ones (`mallopt(3)`, M_MMAP_THRESHOLD): one
/// answer of 15 MiB, and up to 30 MiB stay in each of its arenas, out of the reach of [`give_back`].
pub fn keep_little() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        // Fails for no value within these bounds.
        gnu::mallopt(gnu::M_MMAP_THRESHOLD, 512 << 10);
        gnu::mallopt(gnu::M_TRIM_THRESHOLD, 1 << 20);
    }
}

/// Bytes that the allocator has given out; `None` for allocators that do not tell.
pub(crate) fn allocated() -> Option<u64> {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        let info = gnu::mallinfo2();
        Some((info.uordblks + info.hblkhd) as u64)
    }
    #[cfg(not(all(target_os = "linux", target_env = "gnu")))]
    None
}

#[cfg(all(target_os = "linux", target_env = "gnu"))]
mod gnu {
    pub(super) const M_TRIM_THRESHOLD: std::ffi::c_int = -1;
    pub(super) const M_MMAP_THRESHOLD: std::ffi::c_int = -3;

    /// `struct mallinfo2` of mallinfo(3), glibc 2.33 and newer.
    #[repr(C)]
    pub(super) struct Mallinfo2 {
        arena: usize,
        ordblks: usize,
        smblks: usize,
        hblks: usize,
        /// Bytes in blocks of their own.
        pub(super) hblkhd: usize,
        usmblks: usize,
        fsmblks: usize,
        /// Bytes in use, in all arenas.
        pub(super) uordblks: usize,
        fordblks: usize,
        keepcost: usize,
    }

    #[expect(
        unsafe_code,
        reason = "declares malloc_trim(3), mallopt(3) and mallinfo2(3) as the C library has them; they may be called at any time, from any thread"
    )]
    unsafe extern "C" {
        /// Keeps at least `pad` bytes at the top of the heap; tells whether anything was given back.
        pub(super) safe fn malloc_trim(pad: usize) -> std::ffi::c_int;
        /// Sets a parameter of the allocator; 1 when it was taken.
        pub(super) safe fn mallopt(
            parameter: std::ffi::c_int,
            value: std::ffi::c_int,
        ) -> std::ffi::c_int;
        /// Where memory is.
        pub(super) safe fn mallinfo2() -> Mallinfo2;
    }
}

#[cfg(all(test, target_os = "linux", target_env = "gnu"))]
mod tests {
    use super::*;
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
            // Small pieces, some of which stay, freed by somebody else.
            let pieces: Vec<Vec<u8>> = (0..300_000).map(|n| vec![n as u8; 200]).collect();
            burst.send(pieces).expect("somebody takes them");
            gone.recv().expect("a word");
            rest();
            resident()
        });
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
        assert!(
            resident() < before + 16,
            "{before} MiB before, {} after",
            resident()
        );
        assert_eq!(stays.len(), 512);
    }
}
