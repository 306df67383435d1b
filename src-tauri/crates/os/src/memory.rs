//! Where the memory of a process comes from, and where it goes when there is no more use for it.

/// The allocator of programs that host an engine, to be named as their `#[global_allocator]`. A relayed call spent a sixth of its
/// time in the C library's. C code (`SQLite`) keeps to the C library's.
pub type Allocator = mimalloc::MiMalloc;

/// See [`Allocator`].
pub const ALLOCATOR: Allocator = mimalloc::MiMalloc;

/// Gives memory that was freed back to the system: allocators keep it for later, after a burst often for good. Walks all of the heap
/// that it can reach, which takes milliseconds: for a moment of rest, off the threads that answer. What [`ALLOCATOR`] keeps for other
/// threads only they can give back, with [`rest`].
pub fn give_back() {
    rest();
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    gnu::malloc_trim(0);
}

/// Gives back what [`ALLOCATOR`] keeps for the calling thread. Walks its heap.
pub fn rest() {
    collect::mi_collect(true);
}

mod collect {
    use std::ptr::null_mut;

    #[expect(
        unsafe_code,
        reason = "declares mi_collect and mi_process_info as mimalloc has them; they may be called at any time, from any thread"
    )]
    unsafe extern "C" {
        /// Frees what the calling thread keeps; with `force`, all of it.
        pub(super) safe fn mi_collect(force: bool);
        /// Fills in what is asked for; what is null is left out.
        fn mi_process_info(
            elapsed_ms: *mut usize,
            user_ms: *mut usize,
            system_ms: *mut usize,
            resident: *mut usize,
            peak_resident: *mut usize,
            committed: *mut usize,
            peak_committed: *mut usize,
            page_faults: *mut usize,
        );
    }

    /// Bytes that the allocator took from the system.
    pub(super) fn committed() -> usize {
        let mut committed = 0;
        #[expect(
            unsafe_code,
            reason = "one pointer is to a number of ours, the others are null"
        )]
        unsafe {
            mi_process_info(
                null_mut(),
                null_mut(),
                null_mut(),
                null_mut(),
                null_mut(),
                &raw mut committed,
                null_mut(),
                null_mut(),
            );
        }
        committed
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

/// Bytes that allocators hold: what [`ALLOCATOR`] took from the system, and what the C library's gave out, where that tells.
pub(crate) fn allocated() -> u64 {
    let of_c = {
        #[cfg(all(target_os = "linux", target_env = "gnu"))]
        {
            let info = gnu::mallinfo2();
            info.uordblks + info.hblkhd
        }
        #[cfg(not(all(target_os = "linux", target_env = "gnu")))]
        0
    };
    (collect::committed() + of_c) as u64
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
