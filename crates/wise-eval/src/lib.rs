//! Benchmarks for knowledge editors: data sets, protocols, metrics and reports.
//!
//! [`read`] turns a benchmark file into [`Record`]s. [`run`] gives their edits to an editor, one after another,
//! and only then scores all of them, so that a score says what is left of an edit after those that followed.
//! There are two protocols, and every number names the one it was measured under:
//!
//! * [`teacher_forced`]: the right answer is fed in and matching tokens are counted, as most papers do;
//! * [`generation`]: the model answers by itself until it stops, as it does for its users.
//!
//! Both score *reliability* (the edit's own prompt), *generalization* (its rephrasing) and *locality* (an
//! unrelated prompt, compared with the unedited model). [`Report`] is what becomes of it: `metrics.json`, described in [`report`].
//!
//! **Invariant:** an editor sees a record's [`edit`](Record::edit) and nothing else of it.
//!
//! ```no_run
//! use std::path::Path;
//! use std::sync::Arc;
//! use wise_edit::{Snapshot, Wise, WiseConfig, neutral_prompts};
//! use wise_eval::{Data, Format, Protocols, Report, read, run};
//! use wise_model::{DeviceName, Model};
//!
//! let device = DeviceName::Cpu.open()?;
//! let model = Arc::new(Model::open("smollm2", &device, &mut |_| {})?);
//! let records = read(Path::new("zsre.jsonl"), Format::Zsre, Some(100))?;
//! let mut editor = Wise::new(Arc::clone(&model), WiseConfig::default(), neutral_prompts())?;
//! let unedited = Snapshot::unedited(Arc::clone(&model), model.default_format());
//! let scores = run(&mut editor, &unedited, &records, Protocols::BOTH, &mut |_| {})?;
//! let data = Data { path: "zsre.jsonl".to_owned(), format: Format::Zsre };
//! let report = Report::new(&editor, data, scores)?;
//! report.write(Path::new("report"))?;
//! println!("{}", report.table());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

// Scores of hand-made inputs are exact.
#![cfg_attr(test, allow(clippy::float_cmp))]

mod dataset;
mod error;
mod peak_memory;
mod protocol;
pub mod report;
mod runner;
mod table;

pub use dataset::{Format, Probe, Record, file_sha256, read, read_edits, read_negatives};
pub use error::{Error, Result};
pub use peak_memory::peak_memory_bytes;
pub use protocol::{Means, Measured, Protocols, RouteTaken, generation, teacher_forced};
pub use report::{Data, METRICS_FILE, ModelInfo, Report, SCHEMA, Summary};
pub use runner::{EvalProgress, RecordScores, Scores, run};
