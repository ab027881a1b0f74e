//! Invariants that neither the compiler nor clippy checks.

use std::fs;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::process::{cargo, output, root, run};

/// Every crate that others may depend on.
const LIBRARIES: [&str; 7] = [
    "wise-tensor",
    "wise-merge",
    "wise-model",
    "wise-memory",
    "wise-edit",
    "wise-patch",
    "wise-eval",
];

/// Each library compiles by itself: inside the workspace, features that others switch on hide what it lacks.
pub(crate) fn libraries_alone() -> Result {
    LIBRARIES
        .iter()
        .try_for_each(|library| run(&mut cargo(&format!("check --package {library}"))))
}

/// `wise-merge` works on plain slices.
pub(crate) fn merge_without_burn() -> Result {
    let tree = output(&mut cargo(
        "tree --package wise-merge --locked --all-features --prefix none",
    ))?;
    match tree.lines().find(|line| is_burn(line)) {
        None => Ok(()),
        Some(line) => Err(Error::failed(format!(
            "wise-merge depends on {line}, expected no burn"
        ))),
    }
}

fn is_burn(tree_line: &str) -> bool {
    let name = tree_line.split_whitespace().next().unwrap_or_default();
    name == "burn" || name.starts_with("burn-")
}

/// Only the manifest of `wise-tensor` names a backend of burn; the others forward its features.
pub(crate) fn backends_in_one_crate() -> Result {
    let home = Path::new("crates").join("wise-tensor").join("Cargo.toml");
    for path in manifests()? {
        let relative = path.strip_prefix(root()).unwrap_or(&path).to_owned();
        if relative == home {
            continue;
        }
        if let Some(line) = read(&path)?.lines().find(|line| names_backend(line)) {
            return Err(Error::failed(format!(
                "{} has `{}`, expected backends of burn in wise-tensor only\n\
                 hint: forward a feature of wise-tensor, as wise-cli does",
                relative.display(),
                line.trim()
            )));
        }
    }
    Ok(())
}

/// Whether a line of a manifest switches a feature of burn on, or depends on one of its parts.
/// The workspace's own `burn` line may ask for the two features that are no backend.
fn names_backend(line: &str) -> bool {
    let line = line.split('#').next().unwrap_or_default().trim();
    let key = line.split(['=', '.', ' ']).next().unwrap_or_default();
    let harmless = [r#"["std", "autodiff"]"#];
    let asks = line.contains("features = [") && !harmless.iter().any(|list| line.contains(list));
    line.contains("\"burn/") || key.starts_with("burn-") || (key == "burn" && asks)
}

/// The manifest of the workspace and those of its members.
fn manifests() -> Result<Vec<PathBuf>> {
    let root = root();
    let mut found = vec![root.join("Cargo.toml")];
    for folder in ["benches", "conformance", "xtask"] {
        found.push(root.join(folder).join("Cargo.toml"));
    }
    for folder in ["crates", "examples"] {
        let folder = root.join(folder);
        let failed = |error| Error::failed(format!("cannot list {}: {error}", folder.display()));
        for entry in fs::read_dir(&folder).map_err(failed)? {
            found.push(entry.map_err(failed)?.path().join("Cargo.toml"));
        }
    }
    found.retain(|path| path.is_file());
    Ok(found)
}

fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path)
        .map_err(|error| Error::failed(format!("cannot read {}: {error}", path.display())))
}

/// Every crate can be packed as a registry wants it, and packing leaves nothing in the checkout.
pub(crate) fn package() -> Result {
    let before = checkout()?;
    run(&mut cargo(
        "package --workspace --no-verify --allow-dirty --quiet",
    ))?;
    if checkout()? == before {
        return Ok(());
    }
    Err(Error::failed(
        "cargo package changed the checkout, expected files under target only",
    ))
}

/// Names of what lies in the root of the workspace and in the crates.
fn checkout() -> Result<Vec<PathBuf>> {
    let mut folders = vec![root()];
    folders.extend(
        manifests()?
            .iter()
            .filter_map(|path| path.parent())
            .map(Path::to_owned),
    );
    let mut names = Vec::new();
    for folder in folders {
        let failed = |error| Error::failed(format!("cannot list {}: {error}", folder.display()));
        for entry in fs::read_dir(&folder).map_err(failed)? {
            names.push(entry.map_err(failed)?.path());
        }
    }
    names.retain(|path| !path.ends_with("target"));
    names.sort();
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn burn_and_its_parts_are_burn() {
        assert!(is_burn("burn v0.22.1"));
        assert!(is_burn("burn-tensor v0.22.1"));
        assert!(!is_burn("burning v1.0.0"));
    }

    #[test]
    fn a_backend_is_named_by_a_feature_or_a_dependency() {
        assert!(names_backend(r#"cuda = ["burn/cuda"]"#));
        assert!(names_backend(
            r#"burn = { workspace = true, features = ["flex"] }"#
        ));
        assert!(names_backend(r#"burn-flex = "0.22""#));
        assert!(!names_backend("burn.workspace = true"));
        assert!(!names_backend(
            r#"burn = { version = "1", features = ["std", "autodiff"] }"#
        ));
        assert!(!names_backend(r#"cuda = ["wise-tensor/cuda"]"#));
        assert!(!names_backend("# not \"burn/cuda\""));
    }

    #[test]
    fn this_workspace_keeps_its_backends_in_one_crate() {
        assert!(manifests().unwrap().len() >= 4);
        backends_in_one_crate().unwrap();
    }
}
