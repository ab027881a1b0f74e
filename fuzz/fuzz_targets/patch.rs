//! A patch, as it came and with its checksums put right, so that what lies behind them is reached as well.
#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use safetensors::SafeTensors;
use sha2::{Digest, Sha256};
use wise_patch::{OnConflict, Patch};

fuzz_target!(|bytes: &[u8]| {
    read(bytes);
    if let Some(bytes) = with_checksums(bytes) {
        read(&bytes);
    }
});

fn read(bytes: &[u8]) {
    let Ok(mut patch) = Patch::from_bytes(bytes, Path::new("patch")) else {
        return;
    };
    patch.manifest.edits();
    patch.diff(&patch);
    let _ = Patch::stack(&[patch.clone(), patch.clone()], OnConflict::Last);
    patch.compact();
}

fn with_checksums(bytes: &[u8]) -> Option<Vec<u8>> {
    let (header, metadata) = SafeTensors::read_metadata(bytes).ok()?;
    let tensors = SafeTensors::deserialize(bytes).ok()?;
    let manifest = metadata.metadata().as_ref()?.get("wise")?;
    let mut names = tensors.names();
    names.retain(|name| !["sha256", "signature"].contains(name));
    names.sort_unstable();
    let mut checksums = Sha256::digest(manifest).to_vec();
    for name in names {
        let tensor = tensors.tensor(name).ok()?;
        let mut hash = Sha256::new();
        hash.update(format!("{name}\0{:?}\0", tensor.dtype()));
        hash.update(tensor.data());
        checksums.extend(hash.finalize());
    }
    let (from, to) = metadata.info("sha256")?.data_offsets;
    let mut bytes = bytes.to_vec();
    let place = bytes.get_mut(8 + header + from..8 + header + to)?;
    (place.len() == checksums.len()).then(|| place.copy_from_slice(&checksums))?;
    Some(bytes)
}
