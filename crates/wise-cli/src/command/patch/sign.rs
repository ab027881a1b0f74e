//! `wise patch sign` and `wise patch verify`: whether a patch is what somebody vouched for.

use serde::Serialize;
use wise_patch::{Patch, PublicKey, SecretKey};

use super::count;
use crate::args::{ModelArgs, PatchSignArgs, PatchVerifyArgs};
use crate::command::{self, size};
use crate::error::{Error, Result};
use crate::output::Output;

#[derive(Debug, Serialize)]
struct Verified {
    patch: String,
    schema: u32,
    edits: usize,
    bytes: u64,
    /// The model it was checked against; none where only the file was.
    model: Option<String>,
    /// Whose signature it has, if any; that of somebody in particular only where --key was given.
    signed_by: Option<String>,
}

#[derive(Debug, Serialize)]
struct Outcome {
    patch: String,
    signed_by: String,
    bytes: u64,
}

/// Checks a patch.
pub fn verify(args: &PatchVerifyArgs, output: Output) -> Result<()> {
    let patch = Patch::load(&args.patch)?;
    check_signer(&patch, args)?;
    if let Some(model) = &args.model {
        let model = command::open_model(&ModelArgs {
            model: model.clone(),
            device: args.device.clone(),
            precision: args.precision,
        })?;
        // Whether the shards fit shows when they are put in place.
        patch.snapshot(model)?;
    }
    let verified = Verified {
        patch: args.patch.display().to_string(),
        schema: patch.manifest.schema,
        edits: patch.manifest.edits().len(),
        bytes: size(&args.patch)?,
        model: args.model.clone(),
        signed_by: patch.signed_by().map(|key| key.to_string()),
    };
    let fits = match &verified.model {
        Some(model) => format!(" and belongs to {model}"),
        None => String::new(),
    };
    let signed = match &verified.signed_by {
        Some(key) => format!(", signed by {key}"),
        None => ", not signed".to_owned(),
    };
    let text = format!(
        "{} is whole{fits}{signed}: {}",
        verified.patch,
        count(verified.edits)
    );
    output.data(&verified, &text)
}

/// Signs a patch.
pub fn sign(args: &PatchSignArgs, output: Output) -> Result<()> {
    let key = SecretKey::read(&args.key)?;
    let (mut patch, _lock) = command::load_locked(&args.patch, &args.patch)?;
    patch.sign(&key)?;
    patch.save(&args.patch)?;
    let signed = Outcome {
        patch: args.patch.display().to_string(),
        signed_by: patch
            .signed_by()
            .map(|key| key.to_string())
            .unwrap_or_default(),
        bytes: size(&args.patch)?,
    };
    let text = format!("{} is signed by {}", signed.patch, signed.signed_by);
    output.data(&signed, &text)
}

/// Whether the patch is signed with this key.
fn check_signer(patch: &Patch, args: &PatchVerifyArgs) -> Result<()> {
    let Some(path) = &args.key else {
        return Ok(());
    };
    let expected = PublicKey::read(path)?;
    match patch.signed_by() {
        Some(got) if got == expected => Ok(()),
        got => Err(Error::NotSignedBy {
            path: args.patch.clone(),
            got: got.map_or_else(|| "nobody".to_owned(), |key| key.to_string()),
            expected: expected.to_string(),
        }),
    }
}
