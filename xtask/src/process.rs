//! Other programs, run from the root of the workspace.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::error::{Error, Result};

/// Folder of the workspace. Cargo says at run time where this package is, which stays right when
/// checkouts share a target folder.
pub(crate) fn root() -> PathBuf {
    let package = std::env::var_os("CARGO_MANIFEST_DIR")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
    package.parent().map_or(package.clone(), Path::to_owned)
}

/// A cargo command; `arguments` are parted by spaces.
pub(crate) fn cargo(arguments: &str) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command
        .args(arguments.split_whitespace())
        .current_dir(root())
        .stdin(Stdio::null());
    command
}

/// Folder of build output.
pub(crate) fn target() -> Result<PathBuf> {
    let metadata = output(&mut cargo("metadata --format-version 1 --no-deps"))?;
    let metadata: serde_json::Value = serde_json::from_str(&metadata)
        .map_err(|error| Error::failed(format!("`cargo metadata` wrote no JSON: {error}")))?;
    Ok(metadata["target_directory"]
        .as_str()
        .unwrap_or("target")
        .into())
}

/// A program of this workspace that has been built.
pub(crate) fn built(name: &str) -> Result<PathBuf> {
    let name = format!("{name}{}", std::env::consts::EXE_SUFFIX);
    Ok(target()?.join("debug").join(name))
}

/// Runs a command with its output shown.
pub(crate) fn run(command: &mut Command) -> Result {
    let shown = describe(command);
    eprintln!("$ {shown}");
    let status = command
        .status()
        .map_err(|error| Error::failed(format!("cannot run `{shown}`: {error}")))?;
    if status.success() {
        return Ok(());
    }
    Err(Error::failed(format!(
        "`{shown}` ended with {status}, expected success"
    )))
}

/// Runs a command and returns what it writes to stdout.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let shown = describe(command);
    let output = command
        .stderr(Stdio::inherit())
        .output()
        .map_err(|error| Error::failed(format!("cannot run `{shown}`: {error}")))?;
    if !output.status.success() {
        let status = output.status;
        return Err(Error::failed(format!(
            "`{shown}` ended with {status}, expected success"
        )));
    }
    String::from_utf8(output.stdout)
        .map_err(|error| Error::failed(format!("`{shown}` wrote no UTF-8: {error}")))
}

/// Whether a command can be run and succeeds; its output is dropped.
pub(crate) fn succeeds(command: &mut Command) -> bool {
    let status = command.stdout(Stdio::null()).stderr(Stdio::null()).status();
    status.is_ok_and(|status| status.success())
}

fn describe(command: &Command) -> String {
    let program = Path::new(command.get_program())
        .file_stem()
        .unwrap_or_default();
    std::iter::once(program)
        .chain(command.get_args())
        .map(|part| part.to_string_lossy())
        .collect::<Vec<_>>()
        .join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_root_holds_the_workspace() {
        let manifest = std::fs::read_to_string(root().join("Cargo.toml")).unwrap();
        assert!(manifest.contains("[workspace]"));
    }

    #[test]
    fn a_failure_names_the_command() {
        let error = run(cargo("no-such-command").stderr(Stdio::null()))
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("`cargo no-such-command` ended with"),
            "{error}"
        );
        assert!(!succeeds(&mut cargo("no-such-command")));
        assert!(
            output(&mut cargo("--version"))
                .unwrap()
                .starts_with("cargo ")
        );
    }
}
