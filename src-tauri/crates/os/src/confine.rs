//! Where a process that we start may write.

use std::{io, path::PathBuf, sync::OnceLock};

/// The version of the kernel's Landlock, if it can confine processes. It is looked up once.
#[must_use]
pub fn landlock() -> Option<u32> {
    static KNOWN: OnceLock<Option<u32>> = OnceLock::new();
    *KNOWN.get_or_init(version)
}

/// Does work on a thread of its own that may write only below these folders and files, and to devices; everything can be read. A process that
/// it starts is held the same, with all that this starts in turn, and cannot gain rights by setuid programs. A path that is not there is left
/// out. Where there is no Landlock nothing is confined.
///
/// Nothing is asked of the kernel between fork and exec, so a process is started as quickly as without.
///
/// # Errors
/// When there can be no thread, or the kernel that has Landlock refuses; then the work is not done.
pub fn confined<T: Send>(writable: &[PathBuf], work: impl FnOnce() -> T + Send) -> io::Result<T> {
    if landlock().is_none() {
        return Ok(work());
    }
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new()
            .name("confined".into())
            .spawn_scoped(scope, || restrict(writable).map(|()| work()))?;
        let gone = |_| io::Error::other("the thread that confines it ended");
        thread.join().map_err(gone)?
    })
}

#[cfg(target_os = "linux")]
fn version() -> Option<u32> {
    use landlock::{ABI, AccessFs, CompatLevel, Compatible as _, Ruleset, RulesetAttr as _};
    // The newest version whose every right to write the kernel knows. What it allows is not made, only asked for.
    let known = |abi: ABI| {
        let ruleset = Ruleset::default()
            .set_compatibility(CompatLevel::HardRequirement)
            .handle_access(AccessFs::from_write(abi));
        ruleset.and_then(|ruleset| ruleset.create()).is_ok()
    };
    [(ABI::V5, 5), (ABI::V3, 3), (ABI::V2, 2), (ABI::V1, 1)]
        .into_iter()
        .find_map(|(abi, number)| known(abi).then_some(number))
}

#[cfg(not(target_os = "linux"))]
fn version() -> Option<u32> {
    None
}

#[cfg(target_os = "linux")]
fn restrict(writable: &[PathBuf]) -> io::Result<()> {
    use landlock::{
        ABI, AccessFs, BitFlags, PathBeneath, PathFd, Ruleset, RulesetAttr as _,
        RulesetCreatedAttr as _,
    };
    let failed = |error: landlock::RulesetError| io::Error::other(error.to_string());
    // What an older kernel does not know is left out: it is held as far as it can be.
    let all = AccessFs::from_write(ABI::V5);
    let devices: BitFlags<AccessFs> = AccessFs::WriteFile | AccessFs::Truncate | AccessFs::IoctlDev;
    let mut ruleset = Ruleset::default()
        .handle_access(all)
        .and_then(Ruleset::create)
        .map_err(failed)?;
    let paths = writable.iter().map(|path| (path.clone(), all));
    for (path, access) in paths.chain([(PathBuf::from("/dev"), devices)]) {
        let Ok(opened) = PathFd::new(&path) else {
            continue;
        };
        let access = if path.is_dir() {
            access
        } else {
            access & AccessFs::from_file(ABI::V5)
        };
        ruleset = ruleset
            .add_rule(PathBeneath::new(opened, access))
            .map_err(failed)?;
    }
    ruleset.restrict_self().map(drop).map_err(failed)
}

#[cfg(not(target_os = "linux"))]
fn restrict(_: &[PathBuf]) -> io::Result<()> {
    Ok(())
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;
    use std::{fs, process::Command};

    #[test]
    fn a_process_writes_only_where_it_may_and_this_one_stays_free() {
        let root = std::env::temp_dir().join(format!("flotilla-confine-{}", std::process::id()));
        let (inside, outside) = (root.join("inside"), root.join("outside"));
        for folder in [&inside, &outside] {
            fs::create_dir_all(folder).unwrap();
        }
        let script = "cat \"$1/old\" > \"$0/new\"; mv \"$0/new\" \"$0/moved\"; echo x > /dev/null; echo y > \"$1/new\"";
        fs::write(outside.join("old"), "read\n").unwrap();
        let status = confined(std::slice::from_ref(&inside), || {
            let mut command = Command::new("/bin/sh");
            command.args(["-c", script]).arg(&inside).arg(&outside);
            command.output().unwrap()
        });
        let output = status.unwrap();
        assert_eq!(fs::read_to_string(inside.join("moved")).unwrap(), "read\n");
        // A kernel without Landlock holds nobody.
        assert_eq!(output.status.success(), landlock().is_none());
        assert_eq!(outside.join("new").exists(), landlock().is_none());
        fs::write(outside.join("mine"), "").unwrap();
        fs::remove_dir_all(root).unwrap();
    }
}
