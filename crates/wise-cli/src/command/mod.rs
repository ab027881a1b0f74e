//! One file per command.

pub mod ask;
pub mod compare;
pub mod doctor;
pub mod edit;
pub mod editor;
pub mod eval;
pub mod export;
pub mod patch;
pub mod relations;
pub mod report;
pub mod table;

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use wise_model::{Model, Placement, folder_of, followed, lock_file, remove_unfinished};
use wise_patch::Patch;

use crate::args::ModelArgs;
use crate::error::{Error, Result};
use crate::output::{self, LoadBar};

/// Opens the model that the arguments name, with a progress bar.
pub fn open_model(args: &ModelArgs) -> Result<Arc<Model>> {
    let devices = args.device.open()?;
    let placement = Placement::new(devices, args.precision)?;
    let mut bar = LoadBar::new();
    let model = Model::open(&args.model, placement, &mut |progress| bar.update(progress));
    bar.finish();
    Ok(Arc::new(model?))
}

/// Finds out now, not after minutes of work, whether a file can be written.
pub fn check_out(path: &Path, force: bool) -> Result<()> {
    if path.is_dir() {
        let source = std::io::Error::from(std::io::ErrorKind::IsADirectory);
        return Err(Error::write(path, source));
    }
    if path.exists() && !force {
        return Err(Error::Exists(path.to_owned()));
    }
    tempfile::NamedTempFile::new_in(folder_of(path)).map_err(|e| Error::write(path, e))?;
    Ok(())
}

/// Says that a change costs a patch its signature.
pub fn note_signature(patch: &Patch, path: &Path) {
    if patch.signed_by().is_some() {
        let path = path.display();
        output::note(&format!(
            "note: the signature of {path} does not hold for what becomes of it: wise patch sign makes a new one"
        ));
    }
}

/// Finds out before anything is made whether a file can be read.
pub fn check_in(path: &Path) -> Result<()> {
    File::open(path).map_err(|e| Error::read(path, e))?;
    Ok(())
}

/// Keeps other processes from writing the same patch for as long as the lock lives; it dies with its owner. The lock
/// is on a file beside the patch, as the patch itself is replaced; all links to a patch have the same.
pub fn lock(out: &Path) -> Result<File> {
    let mut name = followed(out).into_os_string();
    name.push(".lock");
    let file = lock_file(Path::new(&name)).map_err(|e| Error::write(out, e))?;
    let file = file.ok_or_else(|| Error::Locked(out.to_owned()))?;
    remove_unfinished(out).map_err(|e| Error::write(out, e))?;
    Ok(file)
}

/// A patch that is asked or written out as it is; says so where edits of it are not made yet.
pub fn load(path: &Path) -> Result<Patch> {
    let patch = Patch::load(path)?;
    if let Some(unfinished) = unfinished(&patch, path) {
        output::note(&format!("note: {unfinished}"));
    }
    Ok(patch)
}

/// What is to be said of a patch with edits that are not made yet.
pub fn unfinished(patch: &Patch, path: &Path) -> Option<Error> {
    let ids: Vec<usize> = patch.manifest.planned.iter().map(|p| p.id).collect();
    let path = path.to_owned();
    (!ids.is_empty()).then_some(Error::Unfinished { path, ids })
}

/// A patch that becomes another one under `out`, and the lock on that. What cannot be read is found out before a lock is
/// left behind.
pub fn load_locked(path: &Path, out: &Path) -> Result<(Patch, File)> {
    check_in(path)?;
    let lock = lock(out)?;
    Ok((Patch::load(path)?, lock))
}

/// Bytes of a file, or of the weights in a folder.
pub fn size(path: &Path) -> Result<u64> {
    let read = |e| Error::read(path, e);
    let metadata = std::fs::metadata(path).map_err(read)?;
    if !metadata.is_dir() {
        return Ok(metadata.len());
    }
    let mut bytes = 0;
    for entry in std::fs::read_dir(path).map_err(read)? {
        let file = entry.map_err(read)?.path();
        if file.extension().is_some_and(|e| e == "safetensors") {
            bytes += size(&file)?;
        }
    }
    Ok(bytes)
}
