//! Arguments of `wise eval` and of what reads its runs.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use wise_eval::Format;

use super::{ConfigArgs, ModelArgs};

#[derive(Debug, Clone, Args)]
pub struct EvalArgs {
    #[command(flatten)]
    pub model: ModelArgs,
    #[command(flatten)]
    pub config: ConfigArgs,
    /// Data set
    #[arg(long, value_name = "FILE")]
    pub data: PathBuf,
    /// Its format: zsre, counterfact, hallucination, temporal, qaedit or jsonl
    #[arg(long, value_name = "FORMAT")]
    pub format: Format,
    /// How many edits, from the start of the file [default: all]
    #[arg(short, long = "edits", value_name = "N")]
    pub n: Option<usize>,
    /// What to score
    #[arg(long, value_enum, default_value_t = Protocol::Both)]
    pub protocol: Protocol,
    /// Who edits
    #[arg(long, value_enum, default_value_t = EditorName::Wise)]
    pub editor: EditorName,
    /// Shuffle the records by this seed [default: as in the file]
    #[arg(long, value_name = "SEED")]
    pub order: Option<u64>,
    /// Do it N times, with the seeds and orders that follow --seed and --order, in folders run-0, run-1, .. of --out
    #[arg(long, value_name = "N")]
    pub repeat: Option<u64>,
    /// At the end ask each edit's memory about its edit, whatever the router says: what is lost then, no router can save
    #[arg(long)]
    pub oracle_router: bool,
    /// Text file whose perplexity is taken before and after the edits
    #[arg(long, value_name = "FILE")]
    pub held_text: Option<PathBuf>,
    /// Windows of 512 tokens to take of the held text, spread evenly
    #[arg(long, default_value = "40", value_name = "N", requires = "held_text")]
    pub held_windows: NonZeroUsize,
    /// Folder of the run: metrics.json and everything it needs to go on after an interruption
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// Go on with the interrupted run in --out, or begin it
    #[arg(long)]
    pub resume: bool,
    /// Take the unedited model's answers from this earlier run over the same records
    #[arg(long, value_name = "RUN")]
    pub baseline: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum EditorName {
    /// WISE: side memories behind a router
    Wise,
    /// Fine-tuning of one FFN matrix on the target
    FtM,
    /// Fine-tuning of one FFN matrix inside a small ball, from the last prompt token
    FtL,
    /// GRACE: a codebook of hidden states with deferral radii
    Grace,
    /// Low-rank additions to the attention, trained on continuously
    Lora,
    /// Nothing is edited: BM25 finds an edit, whose sentence is put in front of the question
    Retrieval,
}

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  \
    wise eval --data zsre.jsonl --format zsre -n 100 --out runs/first\n  \
    wise report runs/first && xdg-open runs/first/report.html\n\nFigures for a paper:\n  \
    wise report runs/first --plots figures")]
pub struct ReportArgs {
    /// Folder that `wise eval --out` wrote, or its metrics.json
    #[arg(value_name = "RUN")]
    pub run: PathBuf,
    /// The page to write, replacing what is there [default: report.html next to metrics.json]
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// Folder for the page's plots, each an SVG file of its own; made if absent
    #[arg(long, value_name = "FOLDER")]
    pub plots: Option<PathBuf>,
}

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  \
    wise eval --data zsre.jsonl --format zsre -n 100 --out runs/wise\n  \
    wise eval --data zsre.jsonl --format zsre -n 100 --compat paper --out runs/paper\n  \
    wise compare runs/wise runs/paper")]
pub struct CompareArgs {
    /// The run to compare with: a folder that `wise eval --out` wrote, or its metrics.json
    #[arg(value_name = "RUN_A")]
    pub a: PathBuf,
    /// The run to compare
    #[arg(value_name = "RUN_B")]
    pub b: PathBuf,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Protocol {
    /// Token accuracy while the true answer is fed in
    TeacherForced,
    /// Greedy generation with a natural stop
    Generation,
    /// Both, side by side
    Both,
}
