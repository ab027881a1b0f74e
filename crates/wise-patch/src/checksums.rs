//! Checksums over everything that a patch says.

use safetensors::{Dtype, SafeTensors};
use sha2::{Digest, Sha256};

use crate::signature::SIGNATURE;

/// The tensor that holds them: `[1 + tensors, 32]` bytes, of the manifest and then of each tensor by name.
pub(crate) const CHECKSUMS: &str = "sha256";

/// Bytes of a checksum.
pub(crate) const LENGTH: usize = 32;

/// The checksums of a manifest and of tensors, which come by name.
pub(crate) fn checksums<'a>(
    manifest: &str,
    tensors: impl Iterator<Item = (&'a str, Dtype, &'a [u8])>,
) -> Vec<u8> {
    let mut all = of_manifest(manifest).to_vec();
    for (name, dtype, bytes) in tensors {
        all.extend(of_tensor(name, dtype, bytes));
    }
    all
}

/// The checksums of a file that says what was written; the error names what was changed.
pub(crate) fn check<'a>(manifest: &str, tensors: &'a SafeTensors<'_>) -> Result<&'a [u8], String> {
    let expected = tensors.tensor(CHECKSUMS);
    let expected = expected.map_err(|_| format!("got no tensor {CHECKSUMS}, expected one"))?;
    let (checksums, mut names) = (expected.data(), tensors.names());
    names.retain(|name| ![CHECKSUMS, SIGNATURE].contains(name));
    names.sort_unstable();
    let (got, count) = (checksums.len(), (names.len() + 1) * LENGTH);
    if got != count {
        return Err(format!(
            "its checksums are {got} bytes, expected {count}: {LENGTH} of the manifest and of each tensor"
        ));
    }
    let damaged = |what: &str| format!("{what} is damaged: its checksum is another one");
    let mut expected = checksums.chunks_exact(LENGTH);
    if expected.next() != Some(&of_manifest(manifest)) {
        return Err(damaged("its manifest"));
    }
    for (name, expected) in names.into_iter().zip(expected) {
        let tensor = tensors.tensor(name).map_err(|e| e.to_string())?;
        if of_tensor(name, tensor.dtype(), tensor.data()) != expected {
            return Err(damaged(&format!("its tensor {name}")));
        }
    }
    Ok(checksums)
}

fn of_manifest(manifest: &str) -> [u8; LENGTH] {
    Sha256::digest(manifest).into()
}

/// The name and type are part of it, so that a tensor cannot pass for another.
fn of_tensor(name: &str, dtype: Dtype, bytes: &[u8]) -> [u8; LENGTH] {
    let mut hash = Sha256::new();
    hash.update(format!("{name}\0{dtype:?}\0"));
    hash.update(bytes);
    hash.finalize().into()
}
