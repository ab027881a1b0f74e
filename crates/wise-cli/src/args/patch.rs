//! Arguments of `wise patch`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use wise_model::{DeviceNames, Precision};

use super::ModelArgs;

#[derive(Debug, Subcommand)]
pub enum PatchCommand {
    /// List the edits of a patch
    ///
    /// A line per edit: id, shard, prompt and target, and whether a later edit of the same prompt took its place. Needs no
    /// model. With --json, everything that the patch says about its edits.
    List(PatchFileArgs),
    /// Show one edit of a patch in full
    Show(PatchShowArgs),
    /// Check that a patch is whole, with --model that it was made for that model, with --key who signed it
    ///
    /// Every byte is covered by a checksum; what is damaged is named.
    Verify(PatchVerifyArgs),
    /// Sign a patch, so that others can check whom it is from
    ///
    /// The signature (Ed25519) is in the patch and covers all of it; any change takes it away.
    Sign(PatchSignArgs),
    /// Take edits back, as if they had never been made
    ///
    /// The shards that hold them are trained anew with the edits they keep; all others stay as they are. An edit whose place
    /// was taken by one of them holds again. Ids are never given twice. A patch may end up with no edits.
    Undo(PatchUndoArgs),
    /// Show what differs between two patches: edits, targets, settings, values
    Diff(PatchDiffArgs),
    /// Put patches of several authors on the same model together
    ///
    /// Nothing is trained: their side memories stand side by side. Where two give a prompt different targets, nothing is
    /// written unless --on-conflict says whose holds.
    Stack(PatchStackArgs),
    /// Round the values of full shards to bf16, half the bytes
    ///
    /// A shard that is still being filled stays as it is. An undo trains its shard anew, in f32.
    Compact(PatchCompactArgs),
}

#[derive(Debug, Args)]
pub struct PatchFileArgs {
    /// The patch
    #[arg(value_name = "FILE")]
    pub patch: PathBuf,
}

#[derive(Debug, Args)]
pub struct PatchShowArgs {
    /// The patch
    #[arg(value_name = "FILE")]
    pub patch: PathBuf,
    /// Id of the edit, as `wise patch list` says
    #[arg(value_name = "ID")]
    pub id: usize,
}

#[derive(Debug, Args)]
pub struct PatchVerifyArgs {
    /// The patch
    #[arg(value_name = "FILE")]
    pub patch: PathBuf,
    #[arg(
        long,
        help = "Model it should belong to: smollm2, gemma3-270m, hf:owner/name[@revision], a Hugging Face folder or a .gguf file",
        value_name = "MODEL"
    )]
    pub model: Option<String>,
    /// Device: cpu, wgpu or cuda:N; several, with commas, share the layers, one that is named twice twice as many
    #[arg(long, default_value_t, value_name = "DEVICE")]
    pub device: DeviceNames,
    /// What the model's own weights are held in: f32, bf16 or f16
    #[arg(long, default_value_t, value_name = "FORMAT")]
    pub precision: Precision,
    /// Public key, in PEM, that it should be signed with
    #[arg(long, value_name = "FILE")]
    pub key: Option<PathBuf>,
}

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  \
    openssl genpkey -algorithm ed25519 -out private.pem\n  \
    openssl pkey -in private.pem -pubout -out public.pem\n  \
    wise patch sign facts.wise --key private.pem\n  \
    wise patch verify facts.wise --key public.pem")]
pub struct PatchSignArgs {
    /// The patch
    #[arg(value_name = "FILE")]
    pub patch: PathBuf,
    /// Private Ed25519 key in PEM
    #[arg(long, value_name = "FILE")]
    pub key: PathBuf,
}

#[derive(Debug, Args)]
pub struct PatchDiffArgs {
    /// The first patch, A
    #[arg(value_name = "A")]
    pub a: PathBuf,
    /// The other, B
    #[arg(value_name = "B")]
    pub b: PathBuf,
}

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  \
    wise patch stack ours.wise theirs.wise --on-conflict last --out all.wise")]
pub struct PatchStackArgs {
    /// The patches
    #[arg(required = true, num_args = 2.., value_name = "FILE")]
    pub patches: Vec<PathBuf>,
    /// Whose answer holds where patches give a prompt different targets
    #[arg(long, value_enum, default_value_t = ConflictPolicy::Refuse, value_name = "WHOSE")]
    pub on_conflict: ConflictPolicy,
    /// The patch to write
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
    /// Replace the patch if it exists
    #[arg(long)]
    pub force: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ConflictPolicy {
    /// Nobody's: say what they disagree on and write nothing
    Refuse,
    /// That of the patch given first
    First,
    /// That of the patch given last
    Last,
}

#[derive(Debug, Args)]
pub struct PatchCompactArgs {
    /// The patch
    #[arg(value_name = "FILE")]
    pub patch: PathBuf,
    /// Where to write the result, replacing what is there [default: the patch itself]
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
}

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  \
    wise patch list facts.wise\n  \
    wise patch undo facts.wise 3 7")]
pub struct PatchUndoArgs {
    #[command(flatten)]
    pub model: ModelArgs,
    /// The patch
    #[arg(value_name = "FILE")]
    pub patch: PathBuf,
    /// Ids of the edits, as `wise patch list` says
    #[arg(required = true, value_name = "ID")]
    pub ids: Vec<usize>,
    /// Where to write the result, replacing what is there [default: the patch itself]
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
}
