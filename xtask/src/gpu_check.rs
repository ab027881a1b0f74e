//! Everything that has to be found out on a GPU, by one command.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::error::{Error, Result};
use crate::process::{cargo, run, target};

const USAGE: &str =
    "[--device D] [--precision f32|bf16|f16] [--small], by default cuda:0, and bf16 (f16 on wgpu)";

const PRECISIONS: [&str; 3] = ["f32", "bf16", "f16"];

/// A shape that takes seconds on the CPU, cut into files of 4 MB.
const SMALL: &str = "--layers 6 --hidden 256 --ffn 688 --vocabulary 1000 --heads 8 --shard 4";

struct Arguments {
    device: String,
    precision: String,
    small: bool,
}

/// Conformance in f32 and in the precision asked for, edits of the real model, and edits of random weights in the shape
/// of Llama 2 7B (or a small one) that are loaded file by file.
pub(crate) fn gpu_check(arguments: &[String]) -> Result {
    let Arguments {
        device,
        precision,
        small,
    } = parse(arguments)?;
    // Where time is measured, everything is optimised.
    let (profile, folder) = if small {
        ("dev", "debug")
    } else {
        ("release", "release")
    };
    let features = crate::conformance::features(&device)?;
    run(&mut cargo(&format!(
        "build --package wise-conformance --bins --profile {profile}{features}"
    )))?;
    let programs = target()?.join(folder);
    let program = |name: &str| {
        let mut command =
            Command::new(programs.join(format!("{name}{}", std::env::consts::EXE_SUFFIX)));
        command.args(["--device", &device]);
        command
    };
    let conformance = |held: &str| {
        let mut suite = program("wise-conformance");
        suite.args(["--precision", held]);
        suite.args(if small {
            &["--quick"][..]
        } else {
            &["--prompts", "48"]
        });
        run(&mut suite)
    };
    // What fails there is told at the end, so that the figures are taken all the same.
    let mut conforms = conformance("f32");
    if precision != "f32" {
        conforms = conforms.and(conformance(&precision));
    }
    let cache = Temporary::new()?;
    let edits = |model: &OsStr| {
        let mut command = Command::new(programs.join("gpu-check"));
        command.args([
            "edit",
            "--device",
            &device,
            "--precision",
            &precision,
            "--model",
        ]);
        command.arg(model);
        command
    };
    run(&mut edits("smollm2".as_ref()))?;
    let model = cache.0.join("model");
    let mut write = Command::new(programs.join("gpu-check"));
    write.arg("write").arg("--folder").arg(&model);
    if small {
        write.args(SMALL.split(' '));
    }
    run(&mut write)?;
    let layer = if small { "4" } else { "27" };
    let mut shaped = edits(model.as_os_str());
    // What is kept of the model for a next start is thrown away with it.
    run(shaped.args(["--layer", layer]).env("WISE_CACHE", &cache.0))?;
    conforms
}

fn parse(arguments: &[String]) -> Result<Arguments> {
    let mut parsed = Arguments {
        device: "cuda:0".to_owned(),
        precision: String::new(),
        small: false,
    };
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        let place = match argument.as_str() {
            "--small" => {
                parsed.small = true;
                continue;
            }
            "--device" => &mut parsed.device,
            "--precision" => &mut parsed.precision,
            other => return Err(Error::usage(format!("unknown argument {other:?}"), USAGE)),
        };
        let missing = || Error::usage(format!("nothing after {argument}"), USAGE);
        place.clone_from(rest.next().ok_or_else(missing)?);
    }
    if parsed.precision.is_empty() {
        // Shaders have no bf16.
        let shaders = parsed.device.contains("wgpu");
        parsed.precision = String::from(if shaders { "f16" } else { "bf16" });
    }
    if !PRECISIONS.contains(&parsed.precision.as_str()) {
        let unknown = format!("unknown precision {:?}", parsed.precision);
        return Err(Error::usage(unknown, USAGE));
    }
    Ok(parsed)
}

/// A folder that goes with its owner.
struct Temporary(PathBuf);

impl Temporary {
    fn new() -> Result<Self> {
        let name = format!("wise-gpu-check-{}", std::process::id());
        let path = std::env::temp_dir().join(name);
        let shown = |path: &Path| path.display().to_string();
        std::fs::create_dir(&path)
            .map_err(|error| Error::failed(format!("cannot make {}: {error}", shown(&path))))?;
        Ok(Self(path))
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_argument_is_a_usage_error() {
        let wrong: [&[&str]; 4] = [
            &["--gpu"],
            &["--device"],
            &["--device", "tpu"],
            &["--precision", "fp16"],
        ];
        for arguments in wrong {
            let arguments: Vec<String> = arguments.iter().map(|&a| a.to_owned()).collect();
            let error = gpu_check(&arguments).unwrap_err();
            assert_eq!(error.exit_code(), 2, "{error}");
        }
    }
}
