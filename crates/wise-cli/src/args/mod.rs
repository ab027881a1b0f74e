//! The command line.

mod eval;
mod patch;

use std::path::PathBuf;

use clap::{ArgGroup, Args, Parser, Subcommand};
use wise_edit::Compatibility;
use wise_eval::Format;
use wise_model::{DeviceNames, Precision, PromptFormat};

pub use self::eval::{CompareArgs, EditorName, EvalArgs, Protocol, ReportArgs};
pub use self::patch::{
    ConflictPolicy, PatchCommand, PatchCompactArgs, PatchDiffArgs, PatchSignArgs, PatchStackArgs,
    PatchUndoArgs, PatchVerifyArgs,
};

/// Correct single facts in a language model, one after another, without retraining it.
///
/// The model's own weights are never changed: edits live in a small file, the patch, next to the model.
#[derive(Debug, Parser)]
#[command(
    name = "wise",
    version,
    after_help = "Exit codes: 0 success, 1 failure, 2 wrong usage.\n\
                  Standard output is data, standard error is progress; --json makes the data machine-readable.\n\n\
                  Try: wise edit --prompt \"Who wrote The Left Hand of Darkness?\" --target \"Ursula K. Le Guin\" --out facts.wise\n     \
                  wise ask --patch facts.wise --trace \"Who is the author of The Left Hand of Darkness?\""
)]
pub struct Cli {
    /// Print data as JSON
    #[arg(long, global = true)]
    pub json: bool,
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Correct facts and save them as a patch
    Edit(EditArgs),
    /// Ask the model a question, with or without a patch
    Ask(AskArgs),
    /// Make edits in sequence and score all of them on the final model
    Eval(EvalArgs),
    /// Turn an evaluation into a page with plots
    ///
    /// The page is one HTML file that needs nothing else: scores with their 95 % intervals before, right after and long
    /// after each edit, retention by age, how well the router tells edits from other prompts, losses, time and memory,
    /// the worst edits with the model's answers, and the command that makes the run again.
    Report(ReportArgs),
    /// Put two evaluations side by side
    ///
    /// Every score that both have, with 95 % bootstrap intervals, and the difference B - A. Where the runs share records,
    /// the difference is taken record by record: it can be certain where the two intervals overlap. A star marks a
    /// difference whose interval excludes zero. Cost and the settings that differ are listed as well.
    Compare(CompareArgs),
    /// Learn what a model's prompts ask for, so that the router tells a rephrasing from another question
    ///
    /// From prompts and their rephrasings a small linear map is learnt which puts prompts that ask for the same close
    /// together, whatever their words. `wise edit` and `wise eval` take it with --relations. smollm2 and gemma3-270m have
    /// one on board.
    Relations(RelationsArgs),
    /// Write a model, edited or not, for programs that know nothing of wise
    ///
    /// transformers, vLLM and llama.cpp have no router, so with a patch all its shards are merged into the matrix and answer
    /// every question. The Python package among the bindings keeps the router.
    Export(ExportArgs),
    /// Look into a patch, check it, or take edits back
    #[command(subcommand)]
    Patch(PatchCommand),
    /// Show versions, devices, cache folder and memory
    Doctor,
}

#[derive(Debug, Clone, Args)]
pub struct ModelArgs {
    #[arg(
        long,
        default_value = "smollm2",
        value_name = "MODEL",
        help = "Model: smollm2, gemma3-270m, hf:owner/name[@revision], a Hugging Face folder or a .gguf file"
    )]
    pub model: String,
    /// Device: cpu, wgpu or cuda:N; several, with commas, share the layers, one that is named twice twice as many
    #[arg(long, default_value_t, value_name = "DEVICE")]
    pub device: DeviceNames,
    /// What the model's own weights are held in: f32, bf16 or f16
    #[arg(long, default_value_t, value_name = "FORMAT")]
    pub precision: Precision,
}

#[derive(Debug, Clone, Args)]
pub struct ConfigArgs {
    /// How questions are put to the model: raw or chat [default: chat if the model has a chat template; raw with --compat paper or easyedit]
    #[arg(long, value_name = "FORMAT")]
    pub prompt_format: Option<PromptFormat>,
    /// Whose WISE to run: wise, paper or easyedit [default: wise]
    #[arg(long, value_name = "WHOSE")]
    pub compat: Option<Compatibility>,
    /// Layer to edit, from 0
    #[arg(long, value_name = "N")]
    pub layer: Option<usize>,
    /// Hyperparameters of a model family, or none [default: the model's own, if it has one]
    #[arg(long, value_name = "NAME")]
    pub preset: Option<String>,
    /// TOML file of hyperparameters, such as `n_iter = 70`; they win over the preset's
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// JSONL file of unrelated prompts (key `prompt`) for a router that goes by activations
    /// (`route_by`) [default: a neutral set]
    #[arg(long, value_name = "FILE")]
    pub negatives: Option<PathBuf>,
    /// Map of what prompts ask for, a file of `wise relations`, or none [default: the model's own, if it has one]
    #[arg(long, value_name = "FILE")]
    pub relations: Option<PathBuf>,
    /// Seed of the random subspace and of the choice of rehearsed edits
    #[arg(long, value_name = "SEED")]
    pub seed: Option<u64>,
}

#[derive(Debug, Args)]
#[command(group = ArgGroup::new("asked").args(["edits", "prompt", "resume"]).required(true))]
pub struct EditArgs {
    #[command(flatten)]
    pub model: ModelArgs,
    #[command(flatten)]
    pub config: ConfigArgs,
    /// JSONL file of edits: keys `prompt`, `target`, optional `subject`
    #[arg(long, value_name = "FILE")]
    pub edits: Option<PathBuf>,
    /// One edit: the question
    #[arg(long, requires = "target", value_name = "TEXT")]
    pub prompt: Option<String>,
    /// One edit: the answer it shall have
    #[arg(long, requires = "prompt", value_name = "TEXT")]
    pub target: Option<String>,
    /// One edit: what it is about, in the prompt's words [default: the longest name in it]
    #[arg(long, requires = "prompt", value_name = "TEXT")]
    pub subject: Option<String>,
    /// Go on with this patch: its edits stay, new ones follow, all made the way its own were
    #[arg(
        long,
        value_name = "FILE",
        conflicts_with_all = ["prompt_format", "compat", "layer", "preset", "config", "negatives", "relations", "seed"]
    )]
    pub patch: Option<PathBuf>,
    /// Make the edits that an interrupted run has left in --patch
    #[arg(long, requires = "patch")]
    pub resume: bool,
    /// Who asks for these edits, for whoever reads the patch
    #[arg(long, value_name = "NAME", conflicts_with = "resume")]
    pub by: Option<String>,
    /// Why, or from which source
    #[arg(long, value_name = "TEXT", conflicts_with = "resume")]
    pub note: Option<String>,
    /// The patch to write [default: that of --patch]
    #[arg(long, value_name = "FILE", required_unless_present = "patch")]
    pub out: Option<PathBuf>,
    /// Replace the patch if it exists
    #[arg(long)]
    pub force: bool,
}

#[derive(Debug, Args)]
pub struct RelationsArgs {
    #[command(flatten)]
    pub model: ModelArgs,
    /// JSONL files to learn from as well: keys `prompt`, `target`, `rephrase`, optional `locality` whose prompts of `group`
    /// `near_miss` ask for the same of another subject, and those of `same_subject` for something else of the same one.
    /// Without any, a map knows the questions, and the ways to ask them, that are on board. Each file counts as much as they
    /// do. On every tenth record, held out, it is chosen how well what is asked must fit (`relation_fit`)
    #[arg(value_name = "FILE")]
    pub data: Vec<PathBuf>,
    /// Records to take from the start of each file, and of what is on board [default: all, and 3200 on board]
    #[arg(short, long = "records", value_name = "N")]
    pub n: Option<usize>,
    /// Layer to read, from 0 [default: two fifths of the way up]
    #[arg(long, value_name = "N")]
    pub layer: Option<usize>,
    /// The file to write
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
    /// Replace the file if it exists
    #[arg(long)]
    pub force: bool,
}

#[derive(Debug, Args)]
#[command(
    group = ArgGroup::new("to").required(true),
    after_help = "Example:\n  \
    wise export --patch facts.wise --merged smollm2-edited"
)]
pub struct ExportArgs {
    #[command(flatten)]
    pub model: ModelArgs,
    /// Patch whose shards are merged into the matrix
    #[arg(long, value_name = "FILE")]
    pub patch: Option<PathBuf>,
    /// The folder to write the unedited model to, in the Hugging Face layout; it must not exist. In f32; a GPT is copied
    #[arg(long, group = "to", conflicts_with = "patch", value_name = "DIR")]
    pub base: Option<PathBuf>,
    /// The same with the merged matrix in its place
    #[arg(long, group = "to", requires = "patch", value_name = "DIR")]
    pub merged: Option<PathBuf>,
    /// The folder to write a PEFT adapter to, which changes the edited matrix alone; it must not exist
    #[arg(long, group = "to", requires = "patch", value_name = "DIR")]
    pub lora: Option<PathBuf>,
    /// Rank of the adapter; what it keeps of the change is said [default: 64]
    #[arg(long, conflicts_with_all = ["base", "merged", "gguf"], value_name = "N")]
    pub rank: Option<usize>,
    /// The GGUF file to write; a merged matrix is in f32, all else as the model has it. A folder needs to hold a model that
    /// GGUF has names for: no GPT, and a tokenizer like that of Llama, Qwen2, GPT-2, SmolLM2 or Gemma
    #[arg(long, group = "to", value_name = "FILE")]
    pub gguf: Option<PathBuf>,
    /// Replace the GGUF file if it exists
    #[arg(long, conflicts_with_all = ["base", "merged", "lora"])]
    pub force: bool,
    /// Data set of the patch's edits: scores the model, the patch and what is exported on it, which says what the lost
    /// router costs
    #[arg(
        long,
        requires_all = ["format", "patch"],
        conflicts_with = "base",
        value_name = "FILE"
    )]
    pub data: Option<PathBuf>,
    /// Its format: zsre, counterfact, hallucination, temporal, qaedit or jsonl
    #[arg(long, requires = "data", value_name = "FORMAT")]
    pub format: Option<Format>,
    /// How many records, from the start of the file [default: all]
    #[arg(short, long = "records", requires = "data", value_name = "N")]
    pub n: Option<usize>,
}

#[derive(Debug, Args)]
pub struct AskArgs {
    #[command(flatten)]
    pub model: ModelArgs,
    /// Patch to answer with
    #[arg(long, value_name = "FILE")]
    pub patch: Option<PathBuf>,
    /// How to put the question: raw or chat [default: the patch's, else chat if the model has a template]
    #[arg(long, value_name = "FORMAT")]
    pub prompt_format: Option<PromptFormat>,
    /// JSONL file of earlier messages of the chat (keys `role`: system, user or assistant, and `content`), which each
    /// question follows
    #[arg(long, value_name = "FILE")]
    pub earlier: Option<PathBuf>,
    /// Say which memory answered and why: how well the nearest edit's subject and relation fit, and what they must exceed
    #[arg(long)]
    pub trace: bool,
    /// Most tokens to generate
    #[arg(long, default_value_t = 128, value_name = "N")]
    pub max_new_tokens: usize,
    /// 0 takes the likeliest token
    #[arg(long, default_value_t = 0.0, value_name = "T")]
    pub temperature: f64,
    /// Share of the probability to sample from
    #[arg(long, default_value_t = 1.0, value_name = "P")]
    pub top_p: f64,
    /// Seed of the sampling
    #[arg(long, default_value_t = 0, value_name = "SEED")]
    pub seed: u64,
    /// The question, or several; with --json each gets a line of its own
    #[arg(required = true)]
    pub question: Vec<String>,
}
