//! The tests of `wise_hf` that need neither torch nor a model.

use std::path::Path;
use std::process::{Command, Stdio};

use crate::error::{Error, Result};
use crate::process::{root, run as run_command, succeeds, target};

/// What these tests import.
const PACKAGES: [&str; 5] = [
    "cryptography",
    "numpy",
    "pytest",
    "safetensors",
    "tokenizers",
];

/// Runs them with packages that pip puts into a folder of its own.
pub(crate) fn run() -> Result {
    let packages = target()?.join("python");
    let imports = format!("import {}", PACKAGES.join(", "));
    if !succeeds(python(&packages)?.args(["-c", &imports])) {
        let pip = ["-m", "pip", "install", "--quiet", "--upgrade", "--target"];
        run_command(python(&packages)?.args(pip).arg(&packages).args(PACKAGES))?;
    }
    let pytest = ["-m", "pytest", "--quiet", "-p", "no:cacheprovider"];
    run_command(
        python(&packages)?
            .args(pytest)
            .arg("bindings/wise_hf/tests/test_patch.py"),
    )
}

fn python(packages: &Path) -> Result<Command> {
    let root = root();
    let folders = [packages, &root.join("bindings/wise_hf/src")];
    let path = std::env::join_paths(folders)
        .map_err(|error| Error::failed(format!("cannot name Python's folders: {error}")))?;
    let mut python = Command::new("python3");
    python
        .env("PYTHONPATH", path)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .current_dir(root)
        .stdin(Stdio::null());
    Ok(python)
}
