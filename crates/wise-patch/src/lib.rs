//! Edits as a file.
//!
//! A patch is one safetensors file that any reader opens. Its metadata carries a [`Manifest`]: the model it
//! belongs to, the edited matrix, every hyperparameter, and the edits with what they were trained against.
//! Its tensors are the values of each side memory inside that memory's random subspace; where they belong
//! follows from the subspace's seed. A file is replaced in one step, so a crash leaves the old one or the
//! new one. It also carries a sha256 of the manifest and of each tensor, so that a damaged one is not taken for whole.
//!
//! ```no_run
//! use std::{path::Path, sync::Arc};
//! use wise_model::{DeviceName, Model};
//! use wise_patch::Patch;
//!
//! let device = DeviceName::Cpu.open()?;
//! let model = Arc::new(Model::open("smollm2", &device, &mut |_| {})?);
//! let patch = Patch::load(Path::new("facts.wise"))?;
//! let edited = patch.snapshot(model)?;
//! let answer = edited.ask("What university did Watts Humphrey attend?", &Default::default())?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod checksums;
mod compact;
mod diff;
mod error;
mod manifest;
mod patch;
mod relations;
mod signature;
mod stack;
mod tensors;

pub use diff::{Difference, Setting};
pub use error::{Error, Result};
pub use manifest::{Manifest, ModelIdentity, Provenance, SCHEMA, Shard, Site};
pub use patch::Patch;
pub use relations::{relations_from_bytes, save_relations};
pub use signature::{PublicKey, SecretKey};
pub use stack::{Conflict, OnConflict, Stacked};
