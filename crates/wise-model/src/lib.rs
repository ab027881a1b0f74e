//! Loads and runs decoder language models, split at the matrix that an editor changes.
//!
//! A knowledge editor changes one matrix, the FFN value matrix (`down_proj`) of one layer, and trains it for
//! dozens of iterations on the same few sequences. Everything below that matrix gives the same result each
//! time. So a forward pass here has two halves: [`Model::prefix`] runs up to the input of the matrix and
//! returns an [`EditSite`], computed once; [`Model::suffix`] runs from the matrix's output to the logits, at
//! the tokens asked for only. A whole forward pass is prefix, then suffix: there is one code path.
//!
//! Sequences of different lengths are packed one behind the other, so there is no padding anywhere.
//!
//! A model comes from a Hugging Face folder, a GGUF file, the Hugging Face Hub, or by name:
//!
//! ```no_run
//! use wise_model::{DeviceName, GenerateOptions, Model, Overlay};
//!
//! let device = DeviceName::Cpu.open()?;
//! let model = Model::open("smollm2", &device, &mut |_progress| {})?;
//! let prompt = model.prompt(model.default_format(), "", "What is the capital of France?")?;
//! let answer = model.generate(&prompt, 0, &GenerateOptions::default(), &mut |_site| Overlay::Main)?;
//! println!("{}", answer.text);
//! # Ok::<(), wise_model::Error>(())
//! ```

mod atomic;
mod beginnings;
mod cache;
mod config;
mod decoder;
mod error;
mod generate;
mod layout;
mod model;
mod overlay;
mod placement;
mod prompt;
mod rope;
mod source;
mod weights;

pub use atomic::{folder_of, followed, lock_file, remove_unfinished, replace_file};
pub use beginnings::Beginnings;
pub use cache::KvCache;
pub use config::{Config, Family, LocalLayers, RopeScaling};
pub use error::{Error, Result};
pub use generate::{Finish, GenerateOptions, Generation, argmax};
pub use layout::{Layout, Row};
pub use model::{EditSite, Model};
pub use overlay::{Adapters, LayerAdapter, LowRank, Overlay};
pub use prompt::{Answered, Prompt, PromptFormat};
pub use source::{
    Adapter, ChatTemplate, ChatTemplateSource, LoadReport, Message, Misshaped, ModelFiles,
    Progress, Replaced, TensorSource, cache_dir, expected_tensors, is_cached, open, write_adapter,
    write_folder, write_gguf,
};
pub use wise_tensor::{DeviceName, DeviceNames, Placement, Precision};
