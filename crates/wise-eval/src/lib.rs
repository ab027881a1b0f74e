//! Benchmarks for knowledge editors: data sets, protocols, metrics and reports.
//!
//! [`read`] turns a benchmark file into [`Record`]s. [`run`] gives their edits to an editor, one after another,
//! and only then scores all of them, so that a score says what is left of an edit after those that followed.
//! There are two protocols, and every number names the one it was measured under:
//!
//! * [`teacher_forced`]: the right answer is fed in and matching tokens are counted, as most papers do;
//! * [`generation`]: the model answers by itself until it stops, as it does for its users.
//!
//! Both score *reliability* (the edit's own prompt), *generalization* (its rephrasing), *locality* (unrelated
//! prompts, against the unedited model and against the truth) and, where the data has it, *portability* (what
//! follows from the edit). [`metrics`] describes what becomes of it: `metrics.json`.
//!
//! **Invariant:** an editor sees a record's [`edit`](Record::edit) and nothing else of it.
//!
//! ```no_run
//! use std::path::Path;
//! use std::sync::Arc;
//! use wise_edit::{Wise, WiseConfig, neutral_prompts};
//! use wise_eval::{Data, Format, Plan, Protocols, RunFolder, file_sha256, read, run};
//! use wise_model::{DeviceName, Model};
//!
//! let device = DeviceName::Cpu.open()?;
//! let model = Arc::new(Model::open("smollm2", &device, &mut |_| {})?);
//! let path = Path::new("zsre.jsonl");
//! let records = read(path, Format::Zsre, Some(100))?;
//! let mut editor = Wise::new(model, WiseConfig::default(), neutral_prompts())?;
//! let plan = Plan {
//!     data: Data {
//!         path: path.display().to_string(),
//!         format: Format::Zsre,
//!         sha256: file_sha256(path)?,
//!     },
//!     order: None,
//!     protocols: Protocols::BOTH,
//!     held_text: None,
//!     oracle_router: false,
//!     relations: None,
//!     negatives: None,
//! };
//! let folder = RunFolder { path: Path::new("report"), resume: false, baseline: None };
//! let report = run(&mut editor, &records, &plan, folder, &mut |_| {})?;
//! println!("{:?}", report.summary.routing);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

// Scores of hand-made inputs are exact.
#![cfg_attr(test, allow(clippy::float_cmp))]

pub mod compare;
mod dataset;
mod error;
mod label;
pub mod metrics;
pub mod page;
mod peak_memory;
mod protocol;
mod repeat;
mod runner;
pub mod statistics;

pub use dataset::{Format, Probe, Record, file_sha256, read, read_edits, read_negatives};
pub use error::{Error, Result};
pub use metrics::{Data, METRICS_FILE, ModelInfo, Report, SCHEMA};
pub use peak_memory::peak_memory_bytes;
pub use protocol::{
    Protocols, Reference, RouteTaken, drift, generation, ngram_entropy, perplexity, teacher_forced,
};
pub use repeat::{AcrossRuns, RUNS_FILE, across_runs};
pub use runner::{EvalProgress, HeldText, Plan, RunFolder, holds_run, run, shuffle, side_by_side};
