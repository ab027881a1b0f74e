//! The WISE editor: corrects single facts in a language model, one after another.
//!
//! An [`Editor`] takes [`Edit`]s and hands out a [`Snapshot`] of the edited model. [`Wise`] implements WISE
//! (Wang et al., "WISE: Rethinking the Knowledge Memory for Lifelong Model Editing of Large Language Models",
//! NeurIPS 2024): the edits train a copy of one FFN value matrix, the *side memory*, inside a random subspace.
//! The *edit loss* teaches the target behind several context templates. Which memory answers is decided by *keys*: a
//! question goes to the memory of the edit whose subject it names and whose relation it asks for. (The paper's router is
//! [`RouteBy::Activation`]: a *router loss* makes the side memory's output differ from the main memory's on the edits and
//! not on unrelated prompts, so that a threshold can tell them apart.) The model's own weights are never written.
//!
//! Other editors stand beside it, for comparison: see [`Rival`].
//!
//! Where the paper and its implementation fall short under ordinary generation, the default departs from
//! both; [`Compatibility`] lists how, and gives either back.
//!
//! ```no_run
//! use std::sync::Arc;
//! use wise_edit::{Edit, EditProgress, Editor, Wise, WiseConfig, neutral_prompts};
//! use wise_model::{DeviceName, GenerateOptions, Model};
//!
//! let device = DeviceName::Cpu.open()?;
//! let model = Arc::new(Model::open("smollm2", &device, &mut |_| {})?);
//! let mut editor = Wise::new(model, WiseConfig::default(), neutral_prompts())?;
//! let edit = Edit::new("What university did Watts Humphrey attend?", "University of Michigan");
//! editor.apply(&[edit], &mut |_: EditProgress| {})?;
//! let rephrased = "What university did Watts Humphrey take part in?";
//! let answer = editor.snapshot()?.ask(rephrased, &GenerateOptions::default())?;
//! println!("{}", answer.generation.text);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod edit;
mod editor;
mod error;
mod rivals;
mod snapshot;
#[cfg(test)]
mod testing;
mod wise;

pub use edit::{AppliedEdit, Edit};
pub use editor::{EditProgress, Editor, Made, StatePart, Watch, Work};
pub use error::{Error, Result};
pub use rivals::{
    FtLConfig, FtMConfig, GraceConfig, LoraConfig, Retrieval, RetrievalConfig, Rival, RivalConfig,
    Shared, ValueInit,
};
pub use snapshot::{Answer, Batch, Snapshot, TeacherForced};
pub use wise::{
    Compatibility, Optimizer, Planned, RouteBy, Shard, ShardState, StopRule, Wise, WiseConfig,
    context_templates, is_closed, neutral_prompts, ordinary_texts, subject, wordings,
};
pub use wise_memory::{
    Asked, ChosenFit, Considered, Distance, Key, KeyReader, Learnt, Pooling, ReaderState, Recall,
    RelationReader, Remembered, Route, RoutedBy, Threshold, TopOne, Voters,
};
pub use wise_merge::{LowRank, MaskSeed, MergeMethod, Overlap};
